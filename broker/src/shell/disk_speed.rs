//! Decides whether a shard waits for its own disk.
//!
//! A block of the WAL is written by the ring while the shard goes on, or by the shard itself, which then does nothing
//! else. The first costs a wake-up between write and flush, a kernel thread for the flush, and a wake-up after it: a lone
//! record took 420 µs where the disk and a round trip take 200. When little is going on, nobody but the producer waits
//! for the shard, and he waits for the flush anyway. So a shard writes the smallest blocks itself, as long as the disk is
//! quick.

/// Blocks up to this size are waited for, bytes: a few records. A larger one tells of many who are busy.
const SMALL_BYTES: usize = 8 << 10;

/// The disk is quick while a small block takes less than this on average, microseconds.
const QUICK_US: u64 = 1_000;

/// The last block counts for one part in this many of the average.
const PARTS: u64 = 8;

/// What is known of the disk. In doubt it is quick: one block tells.
#[derive(Debug, Default)]
pub struct DiskSpeed {
    average_us: u64,
}

impl DiskSpeed {
    /// Whether the shard writes a block of so many bytes itself.
    pub fn is_worth_waiting_for(&self, bytes: usize) -> bool {
        Self::is_small(bytes) && self.average_us < QUICK_US
    }

    /// Whether a block of so many bytes says something about the next small one.
    pub fn is_small(bytes: usize) -> bool {
        bytes <= SMALL_BYTES
    }

    /// Notes how long a small block took, write and flush.
    pub fn took(&mut self, duration_us: u64) {
        // One stall must not tell for ever, nor be forgotten at once.
        let last_us = duration_us.min(QUICK_US * PARTS);
        self.average_us = (self.average_us * (PARTS - 1) + last_us) / PARTS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_waits_for_a_quick_disk_only() {
        let mut speed = DiskSpeed::default();
        assert!(speed.is_worth_waiting_for(4096));
        assert!(!speed.is_worth_waiting_for(SMALL_BYTES + 1));
        for _ in 0..100 {
            speed.took(200);
        }
        assert!(speed.is_worth_waiting_for(4096));
        for _ in 0..100 {
            speed.took(1_500);
        }
        assert!(!speed.is_worth_waiting_for(4096), "a slow disk is left to the ring");
        for _ in 0..100 {
            speed.took(300);
        }
        assert!(speed.is_worth_waiting_for(4096), "a disk may become quick again");
    }

    #[test]
    fn a_stall_is_forgotten_after_some_blocks() {
        let mut speed = DiskSpeed::default();
        speed.took(3_600_000_000);
        let blocks = (0..100).position(|_| {
            speed.took(200);
            speed.is_worth_waiting_for(4096)
        });
        assert!(blocks.is_some_and(|blocks| blocks < 10), "{blocks:?}");
    }
}
