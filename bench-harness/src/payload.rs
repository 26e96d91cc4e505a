//! What values are made of: a pool of bytes with a share of random ones, made once and cut from thereafter.

use std::sync::Arc;

use rand::Rng;

use crate::random;
use crate::workload::Payload;

/// Random bytes and zeros alternate within blocks of this length.
const BLOCK_BYTES: usize = 64;

/// Bytes to cut values from, shared by all workers.
#[derive(Debug, Clone)]
pub struct Pool {
    bytes: Arc<[u8]>,
    position: usize,
    rounds: usize,
}

impl Pool {
    /// A pool that values of up to `longest_bytes` can be cut from.
    pub fn new(payload: &Payload, longest_bytes: usize, seed: u64) -> Self {
        let length = payload.pool_bytes.max(2 * longest_bytes).next_multiple_of(BLOCK_BYTES);
        let mut bytes = vec![0; length];
        let mut random = random::stream(seed, u64::MAX);
        let random_bytes = (payload.random_share * BLOCK_BYTES as f64).round() as usize;
        for block in bytes.chunks_mut(BLOCK_BYTES) {
            random.fill_bytes(&mut block[..random_bytes]);
        }
        Self { bytes: bytes.into(), position: 0, rounds: 0 }
    }

    /// The same bytes, cut from another place on.
    pub fn starting_at(&self, share: f64) -> Self {
        let position = (share * self.bytes.len() as f64) as usize;
        Self { bytes: Arc::clone(&self.bytes), position, rounds: 0 }
    }

    /// The next so many bytes.
    pub fn cut(&mut self, bytes: usize) -> &[u8] {
        if self.position + bytes > self.bytes.len() {
            // Every round is cut differently, so that values do not repeat soon.
            self.rounds += 1;
            self.position = self.rounds % BLOCK_BYTES;
        }
        let start = self.position;
        self.position += bytes;
        &self.bytes[start..start + bytes]
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn compressed_share(random_share: f64) -> f64 {
        let mut pool = Pool::new(&Payload { random_share, pool_bytes: 1 << 20 }, 1000, 1);
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        for _ in 0..1000 {
            encoder.write_all(pool.cut(1000)).unwrap();
        }
        encoder.finish().unwrap().len() as f64 / 1e6
    }

    #[test]
    fn values_can_be_compressed_as_much_as_was_asked() {
        assert!(compressed_share(1.0) > 0.99);
        let half = compressed_share(0.5);
        assert!((0.45..0.65).contains(&half), "{half}");
        assert!(compressed_share(0.0) < 0.01);
    }

    #[test]
    fn every_length_can_be_cut_for_ever() {
        let mut pool = Pool::new(&Payload { random_share: 1.0, pool_bytes: 100 }, 1000, 1);
        for bytes in (28..1000).cycle().take(10_000) {
            assert_eq!(pool.cut(bytes).len(), bytes);
        }
    }
}
