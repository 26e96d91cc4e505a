//! What the workers of a run and the thread that leads them share. Numbers that are read every turn are atomic; what
//! changes seldom is behind a lock that is taken only when a number says so.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::cluster::Layout;
use crate::correctness::PartitionCheck;

/// A time that never comes.
pub const NEVER_NS: u64 = u64::MAX;

/// What a run shares.
#[derive(Debug)]
pub struct Shared {
    layout: Mutex<Arc<Layout>>,
    /// Counts the layouts.
    pub layout_generation: AtomicU64,
    /// A worker met a stale leader or a lost connection.
    pub refresh_wanted: AtomicBool,
    /// Records intended from then on are measured.
    pub measure_from_ns: AtomicU64,
    /// No record is intended from then on.
    pub generate_until_ns: AtomicU64,
    /// Workers end at once.
    pub stop: AtomicBool,
    /// By subscription: its consumers fetch from then on.
    pub consume_from_ns: Vec<AtomicU64>,
    /// By subscription and partition.
    pub checks: Vec<Vec<Mutex<PartitionCheck>>>,
    /// Records acknowledged, in the whole run.
    pub acked: AtomicU64,
    /// Records that failed for good or were given up, in the whole run.
    pub failed: AtomicU64,
    /// Records received for the first time, by subscription, in the whole run.
    pub received: Vec<AtomicU64>,
    /// Workers whose producers have nothing left to send or to wait for.
    pub quiet_workers: AtomicU64,
    /// Group members that have partitions.
    pub members_ready: AtomicU64,
}

impl Shared {
    /// The beginning of a run.
    pub fn new(layout: Layout, subscriptions: usize) -> Self {
        let partitions = layout.leaders.len();
        let numbers = |value: u64| (0..subscriptions).map(|_| AtomicU64::new(value)).collect();
        Self {
            layout: Mutex::new(Arc::new(layout)),
            layout_generation: AtomicU64::new(0),
            refresh_wanted: AtomicBool::new(false),
            measure_from_ns: AtomicU64::new(NEVER_NS),
            generate_until_ns: AtomicU64::new(NEVER_NS),
            stop: AtomicBool::new(false),
            consume_from_ns: numbers(0),
            checks: (0..subscriptions)
                .map(|_| (0..partitions).map(|_| Mutex::new(PartitionCheck::default())).collect())
                .collect(),
            acked: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            received: numbers(0),
            quiet_workers: AtomicU64::new(0),
            members_ready: AtomicU64::new(0),
        }
    }

    /// The layout as it is now.
    pub fn layout(&self) -> Arc<Layout> {
        Arc::clone(&lock(&self.layout))
    }

    /// Replaces the layout.
    pub fn set_layout(&self, layout: Layout) {
        *lock(&self.layout) = Arc::new(layout);
        self.layout_generation.fetch_add(1, Ordering::Release);
    }
}

/// Locks. A worker that panicked ends the run anyway.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
