//! Deadlines of one coordinator: sessions, rebalances and the clean-up of offsets.
//!
//! Setting a timer replaces the one with the same key, as in Kafka's coordinator timer.

use std::collections::BTreeMap;

use super::group::{GroupId, MemberId};

/// What a deadline is about.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum TimerKey {
    /// A member that must be heard of before its session ends.
    Session(GroupId, MemberId),
    /// The end of a group's join phase.
    Join(GroupId),
    /// The end of the wait for the SyncGroup requests of a generation.
    Sync(GroupId),
    /// The next look for expired offsets and groups.
    Retention,
}

/// Deadlines by time and by key; equal deadlines fire in the order they were set.
#[derive(Default, Debug)]
pub(super) struct Timers {
    by_time: BTreeMap<(u64, u64), TimerKey>,
    by_key: BTreeMap<TimerKey, (u64, u64)>,
    next: u64,
}

impl Timers {
    /// Sets `key` to fire at `deadline_us` of the monotonic clock.
    pub(super) fn set(&mut self, key: TimerKey, deadline_us: u64) {
        self.cancel(&key);
        let place = (deadline_us, self.next);
        self.next += 1;
        self.by_time.insert(place, key.clone());
        self.by_key.insert(key, place);
    }

    pub(super) fn cancel(&mut self, key: &TimerKey) {
        if let Some(place) = self.by_key.remove(key) {
            self.by_time.remove(&place);
        }
    }

    /// Takes the earliest timer that is due at `now_us`.
    pub(super) fn pop_due(&mut self, now_us: u64) -> Option<TimerKey> {
        let (place, _) = self.by_time.first_key_value()?;
        if place.0 > now_us {
            return None;
        }
        let (_, key) = self.by_time.pop_first().expect("just seen");
        self.by_key.remove(&key);
        assert_eq!(self.by_key.len(), self.by_time.len(), "a timer has one key and one time");
        Some(key)
    }

    pub(super) fn next_us(&self) -> Option<u64> {
        self.by_time.first_key_value().map(|(place, _)| place.0)
    }
}
