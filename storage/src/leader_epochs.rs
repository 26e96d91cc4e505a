//! Where each leader's term begins in a log (KIP-101). A function of the log: each batch carries its epoch.

use crate::types::{LeaderEpoch, Offset};

/// The epochs of a log with the offsets at which they begin, both strictly ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaderEpochs {
    entries: Vec<(LeaderEpoch, Offset)>,
}

impl LeaderEpochs {
    /// From entries in order.
    #[must_use]
    pub fn from_entries(entries: Vec<(LeaderEpoch, Offset)>) -> LeaderEpochs {
        LeaderEpochs { entries }
    }

    /// The entries in order.
    #[must_use]
    pub fn entries(&self) -> &[(LeaderEpoch, Offset)] {
        &self.entries
    }

    /// The newest epoch.
    #[must_use]
    pub fn latest(&self) -> Option<LeaderEpoch> {
        self.entries.last().map(|entry| entry.0)
    }

    /// Notes that `epoch` begins at `start`, if it is newer than all that are known. An epoch that began at the
    /// same offset and got no records is replaced.
    pub fn assign(&mut self, epoch: LeaderEpoch, start: Offset) -> bool {
        if epoch.0 < 0 || self.latest().is_some_and(|latest| epoch <= latest) {
            return false;
        }
        self.entries.retain(|entry| entry.1 < start);
        self.entries.push((epoch, start));
        true
    }

    /// The end offset of the largest epoch at or below `epoch`, as OffsetForLeaderEpoch answers it. An epoch from
    /// before the first one ends where that begins; of one that is newer than all nothing is known.
    #[must_use]
    pub fn end_offset_for(&self, epoch: LeaderEpoch, log_end: Offset) -> Option<(LeaderEpoch, Offset)> {
        if epoch.0 < 0 {
            return None;
        }
        if self.latest() == Some(epoch) {
            return Some((epoch, log_end));
        }
        let after = self.entries.partition_point(|entry| entry.0 <= epoch);
        let end = self.entries.get(after)?.1;
        let floor = after.checked_sub(1).map_or(epoch, |before| self.entries[before].0);
        Some((floor, end))
    }

    /// The epoch of the record at `offset`.
    #[must_use]
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.entries.partition_point(|entry| entry.1 <= offset);
        Some(self.entries.get(after.checked_sub(1)?)?.0)
    }

    /// Forgets what lies below the log start; the epoch at the log start begins there.
    pub fn trim_front(&mut self, log_start: Offset) {
        let after = self.entries.partition_point(|entry| entry.1 <= log_start);
        if after > 0 {
            self.entries.drain(..after - 1);
            self.entries[0].1 = log_start;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(entries: &[(i32, i64)]) -> LeaderEpochs {
        let mut epochs = LeaderEpochs::default();
        for (epoch, start) in entries {
            epochs.assign(LeaderEpoch(*epoch), Offset(*start));
        }
        epochs
    }

    #[test]
    fn an_older_epoch_and_one_without_records_leave_no_trace() {
        let epochs = epochs(&[(0, 0), (2, 10), (1, 12), (3, 20), (4, 20)]);
        let entries: Vec<(i32, i64)> = epochs.entries().iter().map(|e| (e.0.0, e.1.0)).collect();
        assert_eq!(entries, [(0, 0), (2, 10), (4, 20)]);
    }

    #[test]
    fn the_end_of_an_epoch_is_the_start_of_the_next() {
        let epochs = epochs(&[(1, 5), (3, 20)]);
        let end = |epoch| epochs.end_offset_for(LeaderEpoch(epoch), Offset(30)).map(|(e, o)| (e.0, o.0));
        assert_eq!(end(0), Some((0, 5)));
        assert_eq!(end(1), Some((1, 20)));
        assert_eq!(end(2), Some((1, 20)));
        assert_eq!(end(3), Some((3, 30)));
        assert_eq!(end(9), None);
        assert_eq!(end(-1), None);
    }

    #[test]
    fn trimming_keeps_the_epoch_of_the_log_start() {
        let mut epochs = epochs(&[(1, 0), (3, 20), (4, 40)]);
        epochs.trim_front(Offset(25));
        let entries: Vec<(i32, i64)> = epochs.entries().iter().map(|e| (e.0.0, e.1.0)).collect();
        assert_eq!(entries, [(3, 25), (4, 40)]);
    }
}
