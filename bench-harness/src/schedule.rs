//! When records are due. A schedule is known before anything is sent and waits for nobody.

use rand::Rng;
use rand_distr::{Distribution, Exp1};
use rand_pcg::Pcg64Mcg;

use crate::clock::MILLISECOND_NS;
use crate::workload::Arrival;

/// The intended times of one worker's records, in nanoseconds from the start of the schedule, ascending.
#[derive(Debug, Clone)]
pub struct Schedule {
    kind: Kind,
    random: Pcg64Mcg,
    /// The mean distance.
    gap_ns: f64,
    /// Records so far.
    index: u64,
    /// The time of the last record, without the pauses of a bursty schedule.
    elapsed_ns: f64,
    /// Uniform: a shift that puts the workers' records between each other's.
    phase_ns: f64,
}

#[derive(Debug, Clone)]
enum Kind {
    Uniform,
    Poisson,
    Bursty { on_ns: f64, off_ns: f64 },
    Trace { gaps_ns: Vec<f64> },
    Closed,
}

impl Schedule {
    /// A schedule of so many records per second. `phase`, from 0 to 1, shifts a uniform one by a share of its distance.
    pub fn new(arrival: &Arrival, rate: f64, phase: f64, random: Pcg64Mcg) -> Self {
        assert!(rate > 0.0, "a schedule has a rate");
        let mut gap_ns = 1e9 / rate;
        let kind = match arrival {
            Arrival::Uniform => Kind::Uniform,
            Arrival::Poisson => Kind::Poisson,
            Arrival::Bursty { on_ms, off_ms } => {
                let on_ns = (on_ms * MILLISECOND_NS) as f64;
                let off_ns = (off_ms * MILLISECOND_NS) as f64;
                gap_ns *= on_ns / (on_ns + off_ns);
                Kind::Bursty { on_ns, off_ns }
            }
            Arrival::Trace { gaps } => {
                let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
                Kind::Trace { gaps_ns: gaps.iter().map(|gap| gap / mean * gap_ns).collect() }
            }
            Arrival::Closed { .. } => Kind::Closed,
        };
        Self { kind, random, gap_ns, index: 0, elapsed_ns: 0.0, phase_ns: phase * gap_ns }
    }

    /// The time of the next record.
    pub fn next_ns(&mut self) -> u64 {
        let index = self.index;
        self.index += 1;
        match &self.kind {
            // By its index and not by summing, so that nothing drifts.
            Kind::Uniform => (index as f64 * self.gap_ns + self.phase_ns) as u64,
            Kind::Poisson => {
                self.elapsed_ns += exponential(&mut self.random) * self.gap_ns;
                self.elapsed_ns as u64
            }
            Kind::Bursty { on_ns, off_ns } => {
                self.elapsed_ns += exponential(&mut self.random) * self.gap_ns;
                let bursts = (self.elapsed_ns / on_ns).floor();
                (self.elapsed_ns + bursts * off_ns) as u64
            }
            // At once, whenever it is asked: how many may be on their way is the worker's to know.
            Kind::Closed => 0,
            Kind::Trace { gaps_ns } => {
                self.elapsed_ns += gaps_ns[(index % gaps_ns.len() as u64) as usize];
                self.elapsed_ns as u64
            }
        }
    }
}

fn exponential(random: &mut impl Rng) -> f64 {
    Exp1.sample(random)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    fn times(arrival: Arrival, rate: f64, count: usize) -> Vec<u64> {
        let mut schedule = Schedule::new(&arrival, rate, 0.0, random::stream(7, 0));
        (0..count).map(|_| schedule.next_ns()).collect()
    }

    #[test]
    fn uniform_does_not_drift() {
        // 3 per second do not divide a second.
        let times = times(Arrival::Uniform, 3.0, 300_001);
        assert_eq!(times[..4], [0, 333_333_333, 666_666_666, 1_000_000_000]);
        assert_eq!(times[300_000], 100_000_000_000_000);
    }

    #[test]
    fn poisson_has_its_rate_and_its_variance() {
        let times = times(Arrival::Poisson, 1000.0, 200_000);
        let seconds = *times.last().unwrap() as f64 / 1e9;
        assert!((seconds - 200.0).abs() < 2.0, "{seconds}");
        let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 1e6).collect();
        let variance = gaps.iter().map(|gap| (gap - 1.0).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((variance - 1.0).abs() < 0.05, "{variance}");
    }

    #[test]
    fn a_burst_keeps_to_its_time_and_the_mean_to_the_rate() {
        let times = times(Arrival::Bursty { on_ms: 10, off_ms: 90 }, 1000.0, 100_000);
        assert!(times.iter().all(|time| time % 100_000_000 < 10_000_000));
        let seconds = *times.last().unwrap() as f64 / 1e9;
        assert!((seconds - 100.0).abs() < 2.0, "{seconds}");
    }

    #[test]
    fn a_trace_is_scaled_and_repeated() {
        let times = times(Arrival::Trace { gaps: vec![1.0, 3.0] }, 500.0, 4);
        assert_eq!(times, [1_000_000, 4_000_000, 5_000_000, 8_000_000]);
    }

    #[test]
    fn the_same_seed_is_the_same_schedule() {
        assert_eq!(times(Arrival::Poisson, 10.0, 100), times(Arrival::Poisson, 10.0, 100));
    }
}
