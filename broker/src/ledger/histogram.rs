//! A histogram of microseconds of fixed size: log-linear like HdrHistogram, 32 steps to an octave, so a value is known to
//! 3 %. Nothing is sampled, the sum is exact, and adding two of them loses nothing.
//!
//! The `hdrhistogram` crate would do; with the bounds needed here one of it takes 20 KiB, and a shard clears, hands over
//! and adds sixteen of them every second. This one takes 3 KiB.

/// Steps to an octave are two to this power.
const STEP_BITS: u32 = 5;
const STEPS: usize = 1 << STEP_BITS;

/// Values are known up to two to this power, above five minutes; what is longer counts as that long in the buckets, not
/// in the sum.
const VALUE_BITS: u32 = 29;

/// Values below `2 * STEPS` have a bucket each, then every octave has `STEPS`.
const BUCKETS: usize = 2 * STEPS + (VALUE_BITS - STEP_BITS - 1) as usize * STEPS;

/// Counts of values in microseconds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Histogram {
    counts: Box<[u32; BUCKETS]>,
    count: u64,
    sum_us: u64,
    max_us: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: Box::new([0; BUCKETS]), count: 0, sum_us: 0, max_us: 0 }
    }
}

impl Histogram {
    /// Counts a value.
    pub fn record(&mut self, us: u64) {
        let count = &mut self.counts[bucket_of(us)];
        *count = count.saturating_add(1);
        self.count += 1;
        self.sum_us += us;
        self.max_us = self.max_us.max(us);
    }

    /// Adds all that another has counted.
    pub fn add(&mut self, other: &Histogram) {
        for (count, more) in self.counts.iter_mut().zip(other.counts.iter()) {
            *count = count.saturating_add(*more);
        }
        self.count += other.count;
        self.sum_us += other.sum_us;
        self.max_us = self.max_us.max(other.max_us);
    }

    /// How many values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their exact sum, microseconds.
    #[must_use]
    pub fn sum_us(&self) -> u64 {
        self.sum_us
    }

    /// The largest, microseconds.
    #[must_use]
    pub fn max_us(&self) -> u64 {
        self.max_us
    }

    /// The exact mean, microseconds; zero if there are no values.
    #[must_use]
    pub fn mean_us(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum_us as f64 / self.count as f64 }
    }

    /// A value that this share of all values (0 to 1) does not exceed: at most 3 % above the least such value. Zero if
    /// there are no values.
    #[must_use]
    pub fn quantile_us(&self, quantile: f64) -> u64 {
        let wanted = ((self.count as f64 * quantile).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= wanted {
                return highest_of(bucket).min(self.max_us);
            }
        }
        self.max_us
    }

    /// `(highest value, count)` of the buckets that are not empty: all that there is to know but for sum and maximum.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u32)> + '_ {
        let filled = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        filled.map(|(bucket, count)| (highest_of(bucket), *count))
    }
}

fn bucket_of(us: u64) -> usize {
    let us = us.min((1 << VALUE_BITS) - 1);
    if us < 2 * STEPS as u64 {
        return us as usize;
    }
    let octave = 63 - us.leading_zeros() - STEP_BITS;
    // The leading bit and the STEP_BITS below it.
    octave as usize * STEPS + (us >> octave) as usize
}

/// The highest value of a bucket.
fn highest_of(bucket: usize) -> u64 {
    if bucket < 2 * STEPS {
        return bucket as u64;
    }
    let octave = bucket / STEPS - 1;
    let step = (bucket - octave * STEPS) as u64;
    ((step + 1) << octave) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_a_bucket_that_is_narrow() {
        let mut before = None;
        for us in (0..5_000).chain((5_000..1 << VALUE_BITS).step_by(99_991)) {
            let bucket = bucket_of(us);
            assert!(before.is_none_or(|before| before <= bucket), "buckets stand in order");
            before = Some(bucket);
            let highest = highest_of(bucket);
            assert!(us <= highest && (highest - us) * 32 <= us, "{us} is told as {highest}");
            assert_eq!(bucket_of(highest), bucket);
            assert_eq!(bucket_of(highest + 1), (bucket + 1).min(BUCKETS - 1));
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_mean_and_sum() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.quantile_us(0.5), histogram.mean_us()), (0, 0.0));
        (1..=100).for_each(|us| histogram.record(us));
        assert_eq!(histogram.sum_us(), 5_050);
        assert_eq!(histogram.mean_us(), 50.5);
        assert_eq!(histogram.quantile_us(0.5), 50);
        assert!((99..=101).contains(&histogram.quantile_us(0.99)));
        assert_eq!(histogram.quantile_us(1.0), 100);
        let mut longest = Histogram::default();
        longest.record(u64::from(u32::MAX));
        assert_eq!((longest.sum_us(), longest.max_us()), (u64::from(u32::MAX), u64::from(u32::MAX)));
    }

    #[test]
    fn adding_two_is_as_if_one_had_counted_all() {
        let (mut odd, mut even, mut all) = (Histogram::default(), Histogram::default(), Histogram::default());
        for n in 0..2_000u64 {
            let us = n * n * 7 % 1_000_003;
            if n % 2 == 0 { &mut even } else { &mut odd }.record(us);
            all.record(us);
        }
        odd.add(&even);
        assert_eq!(odd, all);
        assert_eq!(all.buckets().map(|(_, count)| u64::from(count)).sum::<u64>(), all.count());
    }
}
