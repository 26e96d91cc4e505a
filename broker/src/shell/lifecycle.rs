//! Start and orderly stop, agreed among threads.
//!
//! ```text
//! Starting ─ every shard has applied the metadata ─→ Running ─ signal ─→ Draining
//!          ─ every shard has answered its requests ─→ Flushing ─ every store has stopped ─→ end
//! ```
//!
//! Shards accept connections only when all of them are ready, and flush only when all of them are drained: until
//! then any of them may ask another.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;

/// Where the broker is in its life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// Not every shard has applied the metadata yet.
    Starting,
    /// Connections are accepted.
    Running,
    /// No new connections, no new requests; those in flight are answered.
    Draining,
    /// Stores flush and take their last checkpoint.
    Flushing,
}

/// What the threads share.
#[derive(Debug)]
pub struct Lifecycle {
    phase: AtomicU8,
    not_drained: AtomicUsize,
    wakers: Vec<OnceLock<Waker>>,
}

impl Lifecycle {
    /// For that many shards.
    pub fn new(shards: usize) -> Arc<Lifecycle> {
        Arc::new(Lifecycle {
            phase: AtomicU8::new(Phase::Starting as u8),
            not_drained: AtomicUsize::new(shards),
            wakers: (0..shards).map(|_| OnceLock::new()).collect(),
        })
    }

    /// Where the broker is in its life.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::SeqCst) {
            0 => Phase::Starting,
            1 => Phase::Running,
            2 => Phase::Draining,
            _ => Phase::Flushing,
        }
    }

    /// Every shard has applied the metadata.
    pub fn ready(&self) {
        self.enter(Phase::Running);
    }

    /// Asks for the stop.
    pub fn begin_stop(&self) {
        self.enter(Phase::Draining);
    }

    /// A shard has nothing in flight any more. Each says so once.
    pub fn drained(&self) {
        if self.not_drained.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.enter(Phase::Flushing);
        }
    }

    /// Remembers whom to wake when the phase changes: the driver of a shard, which is one task all its life.
    pub fn register(&self, shard: usize, waker: &Waker) {
        self.wakers[shard].get_or_init(|| waker.clone());
    }

    fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::SeqCst);
        for waker in self.wakers.iter().filter_map(OnceLock::get) {
            waker.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flushing_begins_when_the_last_shard_is_drained() {
        let life = Lifecycle::new(2);
        assert_eq!(life.phase(), Phase::Starting);
        life.ready();
        assert_eq!(life.phase(), Phase::Running);
        life.begin_stop();
        life.drained();
        assert_eq!(life.phase(), Phase::Draining);
        life.drained();
        assert_eq!(life.phase(), Phase::Flushing);
        life.ready();
        assert_eq!(life.phase(), Phase::Flushing, "life goes only forward");
    }
}
