//! Committed offsets of all groups of one coordinator: what is durable, and over it what waits to become so.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::BatchId;
use super::group::GroupId;

/// A partition of a topic, by name: offsets are kept under names, as in Kafka's records.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct TopicPartition {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
}

/// What a consumer committed for a partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct CommittedOffset {
    pub(super) offset: i64,
    /// -1 if the client gave none.
    pub(super) leader_epoch: i32,
    /// The client's own note; comes back byte for byte.
    pub(super) metadata: String,
    pub(super) commit_timestamp_ms: i64,
    /// Set by clients of OffsetCommit 2–4 that bring a retention of their own.
    pub(super) expire_timestamp_ms: Option<i64>,
}

/// The value that readers see, and the writes that are in the log but not durable yet, oldest first.
#[derive(Clone, Default, PartialEq, Debug)]
struct Cell {
    committed: Option<CommittedOffset>,
    pending: VecDeque<(BatchId, Option<CommittedOffset>)>,
}

/// Offsets by group and partition.
#[derive(Clone, Default, PartialEq, Debug)]
pub(super) struct Offsets {
    groups: BTreeMap<GroupId, BTreeMap<TopicPartition, Cell>>,
}

impl Offsets {
    /// The durable offset of a partition.
    pub(super) fn committed(&self, group: &str, topic: &str, partition: i32) -> Option<&CommittedOffset> {
        let key = TopicPartition { topic: topic.into(), partition };
        self.groups.get(group)?.get(&key)?.committed.as_ref()
    }

    /// All durable offsets of a group, in the order of topic names and partitions.
    pub(super) fn all_committed(
        &self,
        group: &str,
    ) -> impl Iterator<Item = (&TopicPartition, &CommittedOffset)> {
        let cells = self.groups.get(group).into_iter().flatten();
        cells.filter_map(|(key, cell)| Some((key, cell.committed.as_ref()?)))
    }

    /// Partitions of a group that have an offset once everything in the log is durable, with that offset.
    pub(super) fn latest(&self, group: &str) -> impl Iterator<Item = (&TopicPartition, &CommittedOffset)> {
        let cells = self.groups.get(group).into_iter().flatten();
        cells.filter_map(|(key, cell)| {
            let latest = cell.pending.back().map_or(&cell.committed, |(_, value)| value);
            Some((key, latest.as_ref()?))
        })
    }

    /// True if a partition has an offset once everything in the log is durable.
    pub(super) fn has_latest(&self, group: &str, key: &TopicPartition) -> bool {
        let cell = self.groups.get(group).and_then(|cells| cells.get(key));
        cell.is_some_and(|cell| cell.pending.back().map_or(&cell.committed, |(_, value)| value).is_some())
    }

    /// The durable offsets of each group, in order of groups, topics and partitions.
    pub(super) fn all_groups(
        &self,
    ) -> impl Iterator<Item = (&GroupId, impl Iterator<Item = (&TopicPartition, &CommittedOffset)>)> {
        self.groups.iter().map(|(group, cells)| {
            (group, cells.iter().filter_map(|(key, cell)| Some((key, cell.committed.as_ref()?))))
        })
    }

    /// Every group that has an offset, durable or not.
    pub(super) fn groups(&self) -> impl Iterator<Item = &GroupId> {
        self.groups.keys()
    }

    /// Puts a value in place at once: the record was read from the log.
    pub(super) fn replay(&mut self, group: &GroupId, key: TopicPartition, value: Option<CommittedOffset>) {
        let cell = self.groups.entry(group.clone()).or_default().entry(key.clone()).or_default();
        cell.committed = value;
        self.forget_if_blank(group, &key);
    }

    /// Notes a write that is on its way to the log in `batch`; none deletes.
    pub(super) fn write(
        &mut self,
        batch: BatchId,
        group: &GroupId,
        key: TopicPartition,
        value: Option<CommittedOffset>,
    ) {
        let cell = self.groups.entry(group.clone()).or_default().entry(key).or_default();
        cell.pending.push_back((batch, value));
    }

    /// A batch is durable: its writes to this partition become what readers see.
    pub(super) fn commit(&mut self, batch: BatchId, group: &GroupId, key: &TopicPartition) {
        let cell = self.cell(group, key);
        // A request may name a partition twice; then the batch holds both writes.
        while cell.pending.front().is_some_and(|(first, _)| *first == batch) {
            let (_, value) = cell.pending.pop_front().expect("just seen");
            cell.committed = value;
        }
        assert!(cell.pending.iter().all(|(later, _)| *later > batch), "batches become durable in order");
        self.forget_if_blank(group, key);
    }

    /// A batch was refused by the log: its writes never were.
    pub(super) fn abandon(&mut self, batch: BatchId, group: &GroupId, key: &TopicPartition) {
        self.cell(group, key).pending.retain(|(other, _)| *other != batch);
        self.forget_if_blank(group, key);
    }

    fn cell(&mut self, group: &GroupId, key: &TopicPartition) -> &mut Cell {
        self.groups.entry(group.clone()).or_default().entry(key.clone()).or_default()
    }

    fn forget_if_blank(&mut self, group: &GroupId, key: &TopicPartition) {
        let Some(cells) = self.groups.get_mut(group) else { return };
        if cells.get(key).is_some_and(|cell| cell.committed.is_none() && cell.pending.is_empty()) {
            cells.remove(key);
        }
        if cells.is_empty() {
            self.groups.remove(group);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: i64) -> Option<CommittedOffset> {
        Some(CommittedOffset {
            offset,
            leader_epoch: -1,
            metadata: String::new(),
            commit_timestamp_ms: 0,
            expire_timestamp_ms: None,
        })
    }

    fn key(partition: i32) -> TopicPartition {
        TopicPartition { topic: "t".into(), partition }
    }

    fn offset(offsets: &Offsets) -> Option<i64> {
        offsets.committed("g", "t", 0).map(|c| c.offset)
    }

    #[test]
    fn readers_see_a_write_once_it_is_durable() {
        let (group, mut offsets) = (GroupId::from("g"), Offsets::default());
        offsets.write(BatchId(1), &group, key(0), at(5));
        offsets.write(BatchId(2), &group, key(0), at(7));
        assert_eq!(offset(&offsets), None);
        assert_eq!(offsets.latest("g").map(|(_, c)| c.offset).collect::<Vec<_>>(), [7]);
        offsets.commit(BatchId(1), &group, &key(0));
        assert_eq!(offset(&offsets), Some(5));
        offsets.commit(BatchId(2), &group, &key(0));
        assert_eq!(offset(&offsets), Some(7));
    }

    #[test]
    fn a_refused_write_leaves_no_trace() {
        let (group, mut offsets) = (GroupId::from("g"), Offsets::default());
        offsets.write(BatchId(1), &group, key(0), at(5));
        offsets.abandon(BatchId(1), &group, &key(0));
        assert_eq!(offsets, Offsets::default());
    }

    #[test]
    fn a_durable_deletion_removes_the_group_with_its_last_offset() {
        let (group, mut offsets) = (GroupId::from("g"), Offsets::default());
        offsets.replay(&group, key(0), at(5));
        offsets.write(BatchId(1), &group, key(0), None);
        assert_eq!(offset(&offsets), Some(5));
        assert!(!offsets.has_latest("g", &key(0)));
        offsets.commit(BatchId(1), &group, &key(0));
        assert_eq!(offsets, Offsets::default());
    }
}
