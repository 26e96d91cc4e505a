//! What keys are, and which partition they belong to.

use rand::Rng;
use rand_distr::{Distribution, Zipf};

use crate::workload;

/// Bytes of a key: sixteen hexadecimal digits.
pub const KEY_BYTES: usize = 16;

/// Draws keys.
#[derive(Debug, Clone)]
pub enum Keys {
    /// There are none.
    None,
    /// In turn: the next one, and how many there are.
    RoundRobin(u64, u64),
    /// By rank.
    Zipf(Zipf<f64>),
}

impl Keys {
    /// Keys as asked, which has been checked. `start` is where a turn begins.
    pub fn new(keys: &workload::Keys, start: u64) -> Self {
        match keys {
            workload::Keys::None => Self::None,
            workload::Keys::RoundRobin { count } => Self::RoundRobin(start % count, *count),
            workload::Keys::Zipf { count, theta } => {
                Self::Zipf(Zipf::new(*count as f64, *theta).expect("theta is not negative"))
            }
        }
    }

    /// The next key, if there are keys.
    pub fn next_key(&mut self, random: &mut impl Rng) -> Option<[u8; KEY_BYTES]> {
        match self {
            Self::None => None,
            Self::RoundRobin(next, count) => {
                let key = *next;
                *next = (key + 1) % *count;
                Some(digits(key))
            }
            Self::Zipf(zipf) => Some(digits(zipf.sample(random) as u64 - 1)),
        }
    }
}

fn digits(number: u64) -> [u8; KEY_BYTES] {
    let mut digits = [0; KEY_BYTES];
    for (index, digit) in digits.iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(number >> (60 - 4 * index)) as usize & 15];
    }
    digits
}

/// The partition of a key, as Kafka's default partitioner finds it.
pub fn partition_of(key: &[u8], partitions: usize) -> usize {
    (murmur2(key) & 0x7fff_ffff) as usize % partitions
}

/// Kafka's murmur2, which is the 32-bit one with a seed of its own.
fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ bytes.len() as u32;
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        let mut mixed = u32::from_le_bytes(*word).wrapping_mul(M);
        mixed ^= mixed >> 24;
        hash = hash.wrapping_mul(M) ^ mixed.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (index, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    #[test]
    fn murmur2_is_that_of_kafka() {
        // From UtilsTest.testMurmur2 of Apache Kafka.
        let cases: [(&str, i32); 6] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ];
        for (key, hash) in cases {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
    }

    #[test]
    fn keys_come_in_turn() {
        let mut keys = Keys::new(&workload::Keys::RoundRobin { count: 3 }, 2);
        let mut random = random::stream(1, 1);
        let drawn: Vec<_> = (0..4).map(|_| keys.next_key(&mut random).unwrap()).collect();
        assert_eq!(drawn, [digits(2), digits(0), digits(1), digits(2)]);
        assert_eq!(&digits(0x1f), b"000000000000001f");
    }

    #[test]
    fn zipf_keys_are_skewed_as_asked() {
        let mut keys = Keys::new(&workload::Keys::Zipf { count: 100, theta: 1.0 }, 0);
        let mut random = random::stream(1, 1);
        let mut counts = [0u32; 100];
        for _ in 0..100_000 {
            let key = keys.next_key(&mut random).unwrap();
            counts[usize::from_str_radix(std::str::from_utf8(&key).unwrap(), 16).unwrap()] += 1;
        }
        // The harmonic number of 100 is 5.187.
        assert!(counts[0].abs_diff(19_278) < 800, "{}", counts[0]);
        assert!(counts[9].abs_diff(1928) < 200, "{}", counts[9]);
    }
}
