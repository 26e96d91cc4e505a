//! Where a worker thread writes down what it measures. Nobody else writes there, so there is no lock and no atomic; once
//! an interval the sheet is handed over whole and an empty one is taken.

use hdrhistogram::Histogram;

use crate::histogram;
use crate::outcome::{Counts, Flow, Measure, Requests};

/// What one worker measured in one interval.
#[derive(Debug)]
pub struct Sheet {
    histograms: [Histogram<u64>; Measure::ALL.len()],
    /// Records and bytes.
    pub flow: Flow,
    /// What was counted.
    pub counts: Counts,
    /// Requests and batches.
    pub requests: Requests,
}

impl Default for Sheet {
    fn default() -> Self {
        Self {
            histograms: std::array::from_fn(|_| histogram::new()),
            flow: Flow::default(),
            counts: Counts::default(),
            requests: Requests::default(),
        }
    }
}

impl Sheet {
    /// Takes one sample, in nanoseconds.
    pub fn record(&mut self, measure: Measure, ns: u64) {
        self.histograms[measure as usize].saturating_record(ns);
    }

    /// Takes several equal samples.
    pub fn record_n(&mut self, measure: Measure, ns: u64, count: u64) {
        self.histograms[measure as usize].saturating_record_n(ns, count);
    }

    /// The samples of a measure.
    pub fn histogram(&self, measure: Measure) -> &Histogram<u64> {
        &self.histograms[measure as usize]
    }

    /// The samples of a measure, to change.
    pub fn histogram_mut(&mut self, measure: Measure) -> &mut Histogram<u64> {
        &mut self.histograms[measure as usize]
    }

    /// Adds another.
    pub fn add(&mut self, other: &Self) {
        for (own, others) in self.histograms.iter_mut().zip(&other.histograms) {
            if !others.is_empty() {
                own.add(others).expect("the bounds are the same");
            }
        }
        self.flow.add(&other.flow);
        self.counts.add(&other.counts);
        self.requests.add(&other.requests);
    }

    /// Makes it empty again, without giving its memory back.
    pub fn clear(&mut self) {
        for histogram in &mut self.histograms {
            if !histogram.is_empty() {
                histogram.reset();
            }
        }
        self.flow = Flow::default();
        self.counts = Counts::default();
        let (mut per_request, mut per_batch) = (
            std::mem::replace(&mut self.requests.records_per_request, Histogram::new(1).expect("one digit")),
            std::mem::replace(&mut self.requests.records_per_batch, Histogram::new(1).expect("one digit")),
        );
        per_request.reset();
        per_batch.reset();
        self.requests = Requests {
            produce: 0,
            batches: 0,
            fetch: 0,
            bytes_out: 0,
            bytes_in: 0,
            records_per_request: per_request,
            records_per_batch: per_batch,
        };
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::random;

    #[test]
    fn sheets_of_many_workers_are_one_sheet() {
        let mut random = random::stream(1, 1);
        let (mut one, mut sum) = (Sheet::default(), Sheet::default());
        let mut sheets: Vec<Sheet> = (0..5).map(|_| Sheet::default()).collect();
        for index in 0..100_000 {
            let sample = 1u64 << random.random_range(0..40);
            let sample = random.random_range(sample..=2 * sample);
            let measure = Measure::ALL[index % Measure::ALL.len()];
            one.record(measure, sample);
            sheets[random.random_range(0..5)].record(measure, sample);
        }
        for sheet in &mut sheets {
            sheet.requests.records_per_batch.record(3).unwrap();
            one.requests.records_per_batch.record(3).unwrap();
            sum.add(sheet);
            sheet.clear();
            assert!(Measure::ALL.iter().all(|measure| sheet.histogram(*measure).is_empty()));
            assert!(sheet.requests.records_per_batch.is_empty());
        }
        for measure in Measure::ALL {
            assert_eq!(sum.histogram(measure), one.histogram(measure));
        }
        assert_eq!(sum.requests, one.requests);
    }
}
