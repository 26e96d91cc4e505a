//! What may be said of a set of samples: percentiles with the number of samples beyond each, and how far they would have
//! strayed in another run of the same length.
//!
//! Histograms are merged, percentiles are never averaged. The unit of repetition is the one-second interval and not the
//! sample: a stall of 300 ms delays thousands of samples at once, so neighbours are not independent and a bootstrap over
//! samples would promise far too narrow a band. Blocks of neighbouring intervals are drawn instead (Künsch 1989, circular as
//! in Politis and Romano 1992), and where there are several rounds, rounds first and blocks within them.

use hdrhistogram::Histogram;

use crate::histogram::DIGITS;

/// A percentile at or above [`STRICT_QUANTILE`] is refused with fewer samples than this beyond it.
pub const SAMPLES_BEYOND_MIN: u64 = 100;

/// From here on [`SAMPLES_BEYOND_MIN`] is a condition; below it, it is a remark beside the figure.
pub const STRICT_QUANTILE: f64 = 0.9999;

/// The quantiles of every table.
pub const TABLE_QUANTILES: [f64; 6] = [0.5, 0.9, 0.99, 0.999, 0.9999, 1.0];

/// Samples of one measure: those that were recorded, and how many never came back before their deadline. The latter rank
/// above all others, with a latency without bound.
#[derive(Clone, Copy, Debug)]
pub struct Samples<'a> {
    /// What was recorded, in nanoseconds.
    pub histogram: &'a Histogram<u64>,
    /// How many are beyond their deadline and not in the histogram.
    pub unbounded: u64,
}

/// One percentile, as far as the samples carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The value in nanoseconds and the number of samples that rank beyond it.
    Value {
        /// Nanoseconds.
        value_ns: u64,
        /// Samples that rank beyond.
        beyond: u64,
    },
    /// Too few samples beyond it for a figure.
    TooFew {
        /// Samples that rank beyond.
        beyond: u64,
    },
    /// The percentile falls among samples that were beyond their deadline.
    BeyondDeadline,
    /// There are no samples.
    NoSamples,
}

impl<'a> Samples<'a> {
    /// Samples of which none was beyond its deadline.
    pub fn all(histogram: &'a Histogram<u64>) -> Self {
        Self { histogram, unbounded: 0 }
    }

    /// How many there are, recorded or not.
    pub fn count(&self) -> u64 {
        self.histogram.len() + self.unbounded
    }

    /// The value that the fraction `quantile` of the samples does not exceed; 1.0 is the maximum.
    pub fn at(&self, quantile: f64) -> Reading {
        assert!((0.0..=1.0).contains(&quantile), "a quantile lies between 0 and 1");
        let count = self.count();
        if count == 0 {
            return Reading::NoSamples;
        }
        let rank = rank(quantile, count);
        let beyond = count - rank;
        if rank > self.histogram.len() {
            return Reading::BeyondDeadline;
        }
        let is_maximum = quantile == 1.0;
        if quantile >= STRICT_QUANTILE && !is_maximum && beyond < SAMPLES_BEYOND_MIN {
            return Reading::TooFew { beyond };
        }
        Reading::Value { value_ns: value_at_rank(self.histogram, rank), beyond }
    }
}

impl Reading {
    /// The value in nanoseconds, if there is one.
    pub fn value_ns(&self) -> Option<u64> {
        match self {
            Reading::Value { value_ns, .. } => Some(*value_ns),
            _ => None,
        }
    }
}

/// The rank of a quantile among `count` samples, from 1. The small subtraction keeps 0.999 × 1000 at 999: in binary the
/// product is a hair above it.
fn rank(quantile: f64, count: u64) -> u64 {
    let exact = quantile * count as f64;
    ((exact - exact * 1e-12).ceil() as u64).clamp(1, count)
}

fn value_at_rank(histogram: &Histogram<u64>, rank: u64) -> u64 {
    let mut seen = 0;
    for step in histogram.iter_recorded() {
        seen += step.count_since_last_iteration();
        if seen >= rank {
            return step.value_iterated_to();
        }
    }
    histogram.max()
}

/// `histograms` added up, exactly.
pub fn merge<'a>(histograms: impl IntoIterator<Item = &'a Histogram<u64>>) -> Histogram<u64> {
    let mut sum = empty_histogram();
    for histogram in histograms {
        sum.add(histogram).expect("a histogram that resizes takes every value");
    }
    sum
}

/// A histogram with the precision of this crate that grows as needed.
pub fn empty_histogram() -> Histogram<u64> {
    let mut histogram = Histogram::new(DIGITS).expect("the digits are within HdrHistogram's range");
    histogram.auto(true);
    histogram
}

/// The settings of a bootstrap.
#[derive(Clone, Copy, Debug)]
pub struct Bootstrap {
    /// How often to draw.
    pub resamples: usize,
    /// Neighbouring intervals drawn together; `None` for the cube root of their number, rounded up.
    pub block_intervals: Option<usize>,
    /// The share of resamples that the band encloses, such as 0.95.
    pub confidence: f64,
    /// The same seed gives the same band.
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { resamples: 400, block_intervals: None, confidence: 0.95, seed: 1 }
    }
}

/// The two ends of a confidence band.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Band {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// The intervals of one side: rounds, and the intervals of each in order of time.
pub type Rounds<'a> = Vec<Vec<&'a Histogram<u64>>>;

impl Bootstrap {
    /// The band of each quantile, nanoseconds. `None` with fewer than two intervals, where nothing can be said.
    pub fn bands(&self, rounds: &Rounds<'_>, quantiles: &[f64]) -> Option<Vec<Band>> {
        let drawn = self.draw(rounds, quantiles, self.seed)?;
        Some((0..quantiles.len()).map(|at| self.band(drawn.iter().map(|row| row[at]).collect())).collect())
    }

    /// The band of `a / b` for each quantile, the sides drawn independently of each other.
    pub fn ratio_bands(&self, a: &Rounds<'_>, b: &Rounds<'_>, quantiles: &[f64]) -> Option<Vec<Band>> {
        let upper = self.draw(a, quantiles, self.seed)?;
        let lower = self.draw(b, quantiles, self.seed ^ 0x5851_F42D_4C95_7F2D)?;
        let ratio = |at: usize| upper.iter().zip(&lower).map(|(a, b)| a[at] / b[at].max(1.0)).collect();
        Some((0..quantiles.len()).map(|at| self.band(ratio(at))).collect())
    }

    /// One row of quantile values per resample.
    fn draw(&self, rounds: &Rounds<'_>, quantiles: &[f64], seed: u64) -> Option<Vec<Vec<f64>>> {
        assert!(self.resamples > 0, "a bootstrap draws at least once");
        let intervals = Intervals::of(rounds);
        if intervals.len() < 2 || intervals.values_ns.is_empty() {
            return None;
        }
        let mut random = SplitMix(seed);
        let mut counts = vec![0u64; intervals.values_ns.len()];
        let rows = (0..self.resamples).map(|_| {
            counts.fill(0);
            for _ in 0..intervals.rounds.len() {
                let round = &intervals.rounds[random.below(intervals.rounds.len())];
                self.add_round(round, &mut counts, &mut random);
            }
            intervals.quantiles(&counts, quantiles)
        });
        Some(rows.collect())
    }

    /// Adds as many intervals as the round has, in blocks that wrap around at its end.
    fn add_round(&self, round: &[Sparse], counts: &mut [u64], random: &mut SplitMix) {
        let length = round.len();
        let block = self.block_intervals.unwrap_or((length as f64).cbrt().ceil() as usize).clamp(1, length);
        let mut added = 0;
        while added < length {
            let start = random.below(length);
            for offset in 0..block.min(length - added) {
                for (at, count) in &round[(start + offset) % length] {
                    counts[*at] += count;
                }
            }
            added += block;
        }
    }

    fn band(&self, mut drawn: Vec<f64>) -> Band {
        drawn.sort_by(f64::total_cmp);
        let tail = (1.0 - self.confidence) / 2.0;
        let last = drawn.len() - 1;
        let low = (last as f64 * tail).floor() as usize;
        Band { low: drawn[low], high: drawn[last - low] }
    }
}

/// Counts by index into the values that occur anywhere.
type Sparse = Vec<(usize, u64)>;

/// All intervals over one table of the values that occur, so that adding them up is adding numbers.
struct Intervals {
    values_ns: Vec<u64>,
    rounds: Vec<Vec<Sparse>>,
}

impl Intervals {
    fn of(rounds: &Rounds<'_>) -> Self {
        let all = rounds.iter().flatten();
        let mut values_ns: Vec<u64> =
            all.flat_map(|interval| interval.iter_recorded().map(|step| step.value_iterated_to())).collect();
        values_ns.sort_unstable();
        values_ns.dedup();
        let sparse = |interval: &&Histogram<u64>| -> Sparse {
            let at = |value| values_ns.binary_search(&value).expect("every value is in the table");
            let steps = interval.iter_recorded();
            steps.map(|step| (at(step.value_iterated_to()), step.count_since_last_iteration())).collect()
        };
        let rounds = rounds.iter().filter(|round| !round.is_empty());
        let rounds = rounds.map(|round| round.iter().map(sparse).collect()).collect();
        Self { values_ns, rounds }
    }

    fn len(&self) -> usize {
        self.rounds.iter().map(Vec::len).sum()
    }

    /// Values at ascending or other quantiles, of one resample.
    fn quantiles(&self, counts: &[u64], quantiles: &[f64]) -> Vec<f64> {
        let total: u64 = counts.iter().sum();
        let mut cumulative = Vec::with_capacity(counts.len());
        let mut seen = 0;
        for count in counts {
            seen += count;
            cumulative.push(seen);
        }
        let value = |quantile: &f64| {
            // A resample of empty intervals only has nothing to rank.
            let at = if total == 0 {
                0
            } else {
                cumulative.partition_point(|seen| *seen < rank(*quantile, total))
            };
            self.values_ns[at.min(self.values_ns.len() - 1)] as f64
        };
        quantiles.iter().map(value).collect()
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): enough for drawing intervals, and the same everywhere.
#[derive(Clone, Debug)]
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Below `bound`; the bias of the multiplication is one part in 2^64 / bound.
    fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: impl IntoIterator<Item = u64>) -> Histogram<u64> {
        let mut histogram = empty_histogram();
        for value in values {
            histogram.record(value).unwrap();
        }
        histogram
    }

    #[test]
    fn a_percentile_comes_with_the_samples_beyond_it() {
        let thousand = histogram(1..=1000);
        let samples = Samples::all(&thousand);
        assert_eq!(samples.at(0.5), Reading::Value { value_ns: 500, beyond: 500 });
        assert_eq!(samples.at(0.999), Reading::Value { value_ns: 999, beyond: 1 });
        assert_eq!(samples.at(1.0), Reading::Value { value_ns: 1000, beyond: 0 });
        assert_eq!(Samples::all(&empty_histogram()).at(0.5), Reading::NoSamples);
    }

    #[test]
    fn the_last_percentile_needs_a_hundred_samples_beyond() {
        let mut many = empty_histogram();
        many.record_n(5, 999_999).unwrap();
        assert_eq!(Samples::all(&many).at(0.9999), Reading::TooFew { beyond: 99 });
        many.record_n(7, 1).unwrap();
        assert_eq!(Samples::all(&many).at(0.9999), Reading::Value { value_ns: 5, beyond: 100 });
    }

    #[test]
    fn what_never_came_back_ranks_above_all() {
        let recorded = histogram(std::iter::repeat_n(10, 98));
        let samples = Samples { histogram: &recorded, unbounded: 2 };
        assert_eq!(samples.at(0.98), Reading::Value { value_ns: 10, beyond: 2 });
        assert_eq!(samples.at(0.99), Reading::BeyondDeadline);
        assert_eq!(samples.at(1.0), Reading::BeyondDeadline);
    }

    #[test]
    fn merging_is_the_same_as_recording_together() {
        let together = histogram((0..5000).map(|n| n * n));
        let (even, odd): (Vec<u64>, Vec<u64>) = (0..5000).map(|n| n * n).partition(|n| n % 2 == 0);
        assert_eq!(merge([&histogram(even), &histogram(odd)]), together);
    }

    /// Intervals whose level wanders slowly, as stalls make it: sample `n` of interval `i` is `base(i) × (1 + n/100)`.
    fn wandering(seed: u64, intervals: usize) -> Vec<Histogram<u64>> {
        let mut random = SplitMix(seed);
        let mut level = 0.0f64;
        (0..intervals)
            .map(|_| {
                level = 0.7 * level + (random.below(2001) as f64 / 1000.0 - 1.0) * 100.0;
                let base = 1000.0 + level;
                histogram((0..100).map(|n| (base * (1.0 + f64::from(n) / 100.0)) as u64))
            })
            .collect()
    }

    #[test]
    fn a_band_encloses_the_truth_about_as_often_as_it_says() {
        let truth = merge(&wandering(99, 20_000)).value_at_quantile(0.5) as f64;
        let settings = Bootstrap { resamples: 100, ..Bootstrap::default() };
        let hits = (0..60).filter(|seed| {
            let intervals = wandering(*seed, 60);
            let band = settings.bands(&vec![intervals.iter().collect()], &[0.5]).unwrap()[0];
            (band.low..=band.high).contains(&truth)
        });
        let hits = hits.count();
        // Short blocks of correlated intervals fall a little short of 95 %; single intervals would reach some 60 %.
        assert!((47..=60).contains(&hits), "{hits} of 60 bands enclose the truth");
    }

    #[test]
    fn blocks_widen_the_band_of_correlated_intervals() {
        let intervals = wandering(7, 200);
        let rounds: Rounds = vec![intervals.iter().collect()];
        let width = |block| {
            let settings = Bootstrap { block_intervals: Some(block), ..Bootstrap::default() };
            let band = settings.bands(&rounds, &[0.5]).unwrap()[0];
            band.high - band.low
        };
        assert!(width(10) > 1.2 * width(1), "{} against {}", width(10), width(1));
    }

    #[test]
    fn a_ratio_has_a_band_too_and_the_seed_gives_it_again() {
        let slow = wandering(1, 60);
        let fast: Vec<_> = wandering(1, 60).iter().map(halved).collect();
        let (slow, fast): (Rounds, Rounds) = (vec![slow.iter().collect()], vec![fast.iter().collect()]);
        let bands = Bootstrap::default().ratio_bands(&slow, &fast, &[0.5, 0.99]).unwrap();
        assert!(bands.iter().all(|band| (band.low..=band.high).contains(&2.0)), "{bands:?}");
        assert_eq!(Some(bands), Bootstrap::default().ratio_bands(&slow, &fast, &[0.5, 0.99]));
    }

    fn halved(histogram: &Histogram<u64>) -> Histogram<u64> {
        let mut half = empty_histogram();
        for step in histogram.iter_recorded() {
            half.record_n(step.value_iterated_to() / 2, step.count_since_last_iteration()).unwrap();
        }
        half
    }

    #[test]
    fn nothing_is_said_of_one_interval() {
        let one = histogram(1..=10);
        assert_eq!(Bootstrap::default().bands(&vec![vec![&one]], &[0.5]), None);
        assert_eq!(Bootstrap::default().bands(&vec![], &[0.5]), None);
    }
}
