//! How long values are.

use rand::{Rng, RngExt};
use rand_distr::{Distribution, LogNormal};

use crate::workload::{RECORD_BYTES_MIN, SizeDistribution};

/// Draws lengths of values.
#[derive(Debug, Clone)]
pub enum Sizes {
    /// All the same.
    Fixed(usize),
    /// Equally likely between two lengths.
    Uniform(usize, usize),
    /// Log-normal, at most so long.
    LogNormal(LogNormal<f64>, usize),
    /// One of these.
    Trace(Vec<usize>),
}

impl Sizes {
    /// Lengths of this distribution, which has been checked.
    pub fn new(distribution: &SizeDistribution) -> Self {
        match distribution {
            SizeDistribution::Fixed { bytes } => Self::Fixed(*bytes),
            SizeDistribution::Uniform { min_bytes, max_bytes } => Self::Uniform(*min_bytes, *max_bytes),
            SizeDistribution::LogNormal { median_bytes, sigma, max_bytes } => {
                let normal = LogNormal::new((*median_bytes as f64).ln(), sigma.abs());
                Self::LogNormal(normal.expect("sigma is a number"), *max_bytes)
            }
            SizeDistribution::Trace { bytes } => Self::Trace(bytes.clone()),
        }
    }

    /// The next length, in bytes.
    pub fn next_bytes(&self, random: &mut impl Rng) -> usize {
        match self {
            Self::Fixed(bytes) => *bytes,
            Self::Uniform(min, max) => random.random_range(*min..=*max),
            Self::LogNormal(normal, max) => (normal.sample(random) as usize).clamp(RECORD_BYTES_MIN, *max),
            Self::Trace(bytes) => bytes[random.random_range(0..bytes.len())],
        }
    }

    /// The longest that may come.
    pub fn longest_bytes(&self) -> usize {
        match self {
            Self::Fixed(bytes) => *bytes,
            Self::Uniform(_, max) | Self::LogNormal(_, max) => *max,
            Self::Trace(bytes) => bytes.iter().copied().max().unwrap_or(RECORD_BYTES_MIN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    fn drawn(distribution: SizeDistribution) -> Vec<usize> {
        let (sizes, mut random) = (Sizes::new(&distribution), random::stream(1, 1));
        let mut drawn: Vec<usize> = (0..10_001).map(|_| sizes.next_bytes(&mut random)).collect();
        drawn.sort_unstable();
        assert!(*drawn.last().unwrap() <= sizes.longest_bytes());
        drawn
    }

    #[test]
    fn lengths_have_their_distribution() {
        assert!(drawn(SizeDistribution::Fixed { bytes: 100 }).iter().all(|bytes| *bytes == 100));
        let uniform = drawn(SizeDistribution::Uniform { min_bytes: 100, max_bytes: 200 });
        assert_eq!((uniform[0], uniform[10_000]), (100, 200));
        assert!(uniform[5000].abs_diff(150) < 5, "{}", uniform[5000]);
        let normal = drawn(SizeDistribution::LogNormal { median_bytes: 500, sigma: 1.0, max_bytes: 5000 });
        assert!(normal[5000].abs_diff(500) < 25, "{}", normal[5000]);
        assert!(normal[8413].abs_diff(1359) < 100, "one sigma up is a factor e: {}", normal[8413]);
        assert_eq!(normal[10_000], 5000);
        let trace = drawn(SizeDistribution::Trace { bytes: vec![50, 60, 60] });
        assert!(trace.iter().filter(|bytes| **bytes == 60).count().abs_diff(6667) < 200);
    }
}
