//! OffsetCommit, OffsetFetch and OffsetDelete, and the expiry of offsets nobody has use for.

use net::ErrorCode;
use std::collections::BTreeSet;
use std::sync::Arc;

use net::messages::offset_commit::{
    OffsetCommitRequestPartition, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use net::messages::offset_delete::{
    OffsetDeleteRequestTopic, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use net::messages::offset_fetch::{
    OffsetFetchRequestTopics, OffsetFetchResponseGroup, OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions, OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use net::messages::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse, OffsetFetchRequest,
    OffsetFetchResponse,
};
use storage::Now;

use crate::lag::Committed;

use super::appends::{Promise, StableRead, Work};
use super::group::{Group, GroupId, GroupState, Waiter};
use super::groups::DEAD;
use super::offsets::{CommittedOffset, TopicPartition};
use super::responses::{FETCH_VERSION_GROUPS, commit_error, no_offset};
use super::timers::TimerKey;
use super::{BatchId, CoordinatorEffect, CoordinatorRecord, GroupCoordinator, records};

/// From this version on a commit to a missing group is told so.
const COMMIT_VERSION_GROUP_NOT_FOUND: i16 = 9;

/// Deletions in one batch: a tombstone is small, but a broker may refuse batches of more than a megabyte.
const TOMBSTONES_PER_BATCH: usize = 1_000;

/// Partitions of one topic in the answer to a fetch of all offsets.
type FetchedTopic = (String, Vec<OffsetFetchResponsePartition>);

impl GroupCoordinator {
    pub(super) fn commit_offsets(
        &mut self,
        now: Now,
        waiter: Waiter,
        request: OffsetCommitRequest,
        out: &mut Vec<CoordinatorEffect>,
    ) {
        if let Err(error) = self.validate_commit(now, waiter.version, &request, out) {
            let response = commit_error(&request, error).into();
            out.push(CoordinatorEffect::Respond { token: waiter.token, response });
            return;
        }
        let group_id = self.group_for_offsets(&request.group_id, now);
        let retention = (request.retention_time_ms >= 0).then_some(request.retention_time_ms);
        let expire_timestamp_ms = retention.map(|ms| now.wall_ms.saturating_add(ms));
        let (mut records, mut writes) = (Vec::new(), Vec::new());
        let mut response = OffsetCommitResponse::default();
        for topic in request.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in topic.partitions {
                let metadata = partition.committed_metadata.as_deref().unwrap_or_default();
                let too_large = metadata_units(metadata) > self.config.offset_metadata_bytes_max;
                partitions.push(OffsetCommitResponsePartition {
                    partition_index: partition.partition_index,
                    error_code: if too_large { ErrorCode::OffsetMetadataTooLarge } else { ErrorCode::None },
                });
                if !too_large {
                    let key = TopicPartition {
                        topic: topic.name.as_str().into(),
                        partition: partition.partition_index,
                    };
                    let value = committed_offset(partition, now, expire_timestamp_ms);
                    records.push(records::offset_commit(&group_id, &key, &value));
                    writes.push((key, Some(value)));
                }
            }
            response.topics.push(OffsetCommitResponseTopic { name: topic.name, partitions });
        }
        if records.is_empty() {
            out.push(CoordinatorEffect::Respond { token: waiter.token, response: response.into() });
            return;
        }
        let promise = Promise::Respond { waiter, response: response.into() };
        self.append_offsets(&group_id, records, writes, promise, out);
    }

    fn validate_commit(
        &mut self,
        now: Now,
        version: i16,
        request: &OffsetCommitRequest,
        out: &mut Vec<CoordinatorEffect>,
    ) -> Result<(), ErrorCode> {
        let generation_id = request.generation_id_or_member_epoch;
        let valid = self.with_group(now, &request.group_id, out, |group, turn| {
            let instance = request.group_instance_id.as_deref();
            group.validate_offset_commit(&request.member_id, instance, generation_id)?;
            group.committed_offsets(turn, &request.member_id);
            Ok(())
        });
        match valid {
            Some(valid) => valid,
            // An administrator, or a consumer that manages its partitions itself: the group comes into being.
            None if generation_id < 0 => Ok(()),
            None if version >= COMMIT_VERSION_GROUP_NOT_FOUND => Err(ErrorCode::GroupIdNotFound),
            None => Err(ErrorCode::IllegalGeneration),
        }
    }

    /// Offsets are kept for groups that exist, if only as a name.
    pub(super) fn group_for_offsets(&mut self, id: &str, now: Now) -> GroupId {
        if let Some((id, _)) = self.groups.get_key_value(id) {
            return id.clone();
        }
        let id: GroupId = id.into();
        self.groups.insert(id.clone(), Group::new(id.clone(), now.wall_ms));
        id
    }

    /// A group that was deleted in part only keeps the offsets that are left: they expire with it.
    pub(super) fn keep_groups_of_offsets(&mut self, now: Now) {
        let orphans = self.offsets.groups().filter(|group| !self.groups.contains_key(*group));
        for group in orphans.cloned().collect::<Vec<_>>() {
            if self.offsets.latest(&group).next().is_some() {
                self.group_for_offsets(&group, now);
            }
        }
    }

    /// Appends one batch that writes offsets of one group.
    fn append_offsets(
        &mut self,
        group: &GroupId,
        records: Vec<CoordinatorRecord>,
        writes: Vec<(TopicPartition, Option<CommittedOffset>)>,
        promise: Promise,
        out: &mut Vec<CoordinatorEffect>,
    ) {
        let mut work = Work::promise(promise);
        work.offsets = writes.iter().map(|(key, _)| (group.clone(), key.clone())).collect();
        let batch = self.appends.append(records, work, out);
        for (key, value) in writes {
            self.offsets.write(batch, group, key, value);
        }
    }

    // ------------------------------------------------------------------------------------------------ reading

    /// What the groups have committed, topic by topic, as readers see it: `tell` says whether to go on after each group.
    /// Groups after that are not looked at, and their number is the result.
    pub fn committed_offsets(&self, mut tell: impl FnMut(Vec<Committed>) -> bool) -> usize {
        let mut groups = self.offsets.all_groups();
        for (id, offsets) in groups.by_ref() {
            let group = self.groups.get(id);
            let mut topics: Vec<Committed> = Vec::new();
            for (key, committed) in offsets {
                let place = (key.partition, committed.offset);
                match topics.last_mut() {
                    Some(last) if last.topic == key.topic => last.offsets.push(place),
                    _ => topics.push(Committed {
                        group: id.clone(),
                        state: group.map_or(DEAD, |group| group.state().name()),
                        members: group.map_or(0, |group| group.members().count()),
                        topic: key.topic.clone(),
                        offsets: vec![place],
                    }),
                }
            }
            if !tell(topics) {
                break;
            }
        }
        groups.count()
    }

    pub(super) fn fetch_offsets(
        &mut self,
        waiter: Waiter,
        request: OffsetFetchRequest,
        out: &mut Vec<CoordinatorEffect>,
    ) {
        let mut read = StableRead { waiter, request };
        if read.request.require_stable {
            match self.appends.wait_stable(read) {
                Some(nothing_to_wait_for) => read = nothing_to_wait_for,
                None => return,
            }
        }
        self.answer_fetch(read, out);
    }

    /// Answers the reads that have waited for what is durable now.
    pub(super) fn release_stable_reads(&mut self, out: &mut Vec<CoordinatorEffect>) {
        while let Some(read) = self.appends.pop_stable_read() {
            self.answer_fetch(read, out);
        }
    }

    fn answer_fetch(&self, read: StableRead, out: &mut Vec<CoordinatorEffect>) {
        let StableRead { waiter, request } = read;
        let mut response = OffsetFetchResponse::default();
        if waiter.version >= FETCH_VERSION_GROUPS {
            response.groups =
                request.groups.into_iter().map(|g| self.fetch_group(g.group_id, g.topics)).collect();
        } else {
            let topics = request.topics.map(|topics| {
                topics.into_iter().map(|topic| (topic.name, topic.partition_indexes)).collect()
            });
            let topics = self.fetch_topics(&request.group_id, topics).into_iter();
            response.topics =
                topics.map(|(name, partitions)| OffsetFetchResponseTopic { name, partitions }).collect();
        }
        out.push(CoordinatorEffect::Respond { token: waiter.token, response: response.into() });
    }

    fn fetch_group(
        &self,
        group_id: String,
        topics: Option<Vec<OffsetFetchRequestTopics>>,
    ) -> OffsetFetchResponseGroup {
        let topics = topics
            .map(|topics| topics.into_iter().map(|topic| (topic.name, topic.partition_indexes)).collect());
        let topics = self.fetch_topics(&group_id, topics).into_iter().map(|(name, partitions)| {
            let partition = |p: OffsetFetchResponsePartition| OffsetFetchResponsePartitions {
                partition_index: p.partition_index,
                committed_offset: p.committed_offset,
                committed_leader_epoch: p.committed_leader_epoch,
                metadata: p.metadata,
                error_code: p.error_code,
            };
            OffsetFetchResponseTopics { name, partitions: partitions.into_iter().map(partition).collect() }
        });
        OffsetFetchResponseGroup { topics: topics.collect(), group_id, error_code: ErrorCode::None }
    }

    /// The offsets of the named partitions, or of all that have one.
    fn fetch_topics(&self, group: &str, topics: Option<Vec<(String, Vec<i32>)>>) -> Vec<FetchedTopic> {
        let Some(topics) = topics else {
            let mut all: Vec<FetchedTopic> = Vec::new();
            for (key, value) in self.offsets.all_committed(group) {
                if all.last().is_none_or(|(name, _)| **name != *key.topic) {
                    all.push((key.topic.to_string(), Vec::new()));
                }
                all.last_mut().expect("just pushed").1.push(found(key.partition, value));
            }
            return all;
        };
        let fetch = |topic: &str, partition: i32| match self.offsets.committed(group, topic, partition) {
            Some(value) => found(partition, value),
            None => no_offset(partition, ErrorCode::None),
        };
        let topics = topics.into_iter().map(|(topic, partitions)| {
            let partitions = partitions.into_iter().map(|partition| fetch(&topic, partition)).collect();
            (topic, partitions)
        });
        topics.collect()
    }

    // ----------------------------------------------------------------------------------------------- deleting

    pub(super) fn delete_offsets(
        &mut self,
        now: Now,
        waiter: Waiter,
        request: OffsetDeleteRequest,
        out: &mut Vec<CoordinatorEffect>,
    ) {
        let error_code = match self.groups.get(request.group_id.as_str()) {
            _ if request.group_id.is_empty() => ErrorCode::InvalidGroupId,
            None => ErrorCode::GroupIdNotFound,
            Some(group) if !group.is(GroupState::Empty) && !group.has_consumers() => ErrorCode::NonEmptyGroup,
            Some(_) => ErrorCode::None,
        };
        if error_code.is_error() {
            let response = OffsetDeleteResponse { error_code, ..Default::default() }.into();
            out.push(CoordinatorEffect::Respond { token: waiter.token, response });
            return;
        }
        let group_id = self.group_for_offsets(&request.group_id, now);
        let mut gone = Vec::new();
        let topics =
            request.topics.into_iter().map(|topic| self.delete_topic_offsets(&group_id, topic, &mut gone));
        let response = OffsetDeleteResponse { topics: topics.collect(), ..Default::default() };
        let promise = Promise::Respond { waiter, response: response.into() };
        self.append_tombstones(gone, Vec::new(), promise, out);
    }

    fn delete_topic_offsets(
        &self,
        group_id: &GroupId,
        topic: OffsetDeleteRequestTopic,
        gone: &mut Vec<(GroupId, TopicPartition)>,
    ) -> OffsetDeleteResponseTopic {
        let in_use = self.groups[group_id].is_subscribed(&topic.name);
        let error_code = if in_use { ErrorCode::GroupSubscribedToTopic } else { ErrorCode::None };
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in topic.partitions {
            let partition_index = partition.partition_index;
            partitions.push(OffsetDeleteResponsePartition { partition_index, error_code });
            let key = TopicPartition { topic: topic.name.as_str().into(), partition: partition_index };
            if !in_use && self.offsets.has_latest(group_id, &key) {
                gone.push((group_id.clone(), key));
            }
        }
        OffsetDeleteResponseTopic { name: topic.name, partitions }
    }

    /// Drops the offsets of topics that are gone. While the partition is read there is nothing to drop yet; what was
    /// missed then is in [`GroupCoordinator::topics`].
    pub(super) fn drop_topics(&mut self, topics: &[Arc<str>], out: &mut Vec<CoordinatorEffect>) {
        if !self.is_loaded() {
            return;
        }
        let mut gone = Vec::new();
        for group in self.offsets.groups() {
            let of_topics = self.offsets.latest(group).filter(|(key, _)| topics.contains(&key.topic));
            gone.extend(of_topics.map(|(key, _)| (group.clone(), key.clone())));
        }
        self.append_tombstones(gone, Vec::new(), Promise::Nothing, out);
    }

    /// The topics that groups have offsets of. Those that are no more after a start are to be told by
    /// `TopicsDeleted`.
    pub fn topics(&self) -> BTreeSet<Arc<str>> {
        let latest = self.offsets.groups().flat_map(|group| self.offsets.latest(group));
        latest.map(|(key, _)| key.topic.clone()).collect()
    }

    /// Deletes offsets that were kept for long enough, and groups that have nothing left.
    pub(super) fn expire_offsets(&mut self, now: Now, out: &mut Vec<CoordinatorEffect>) {
        let interval_us = self.config.offsets_retention_check_interval_ms.max(1) as u64 * 1000;
        self.timers.set(TimerKey::Retention, now.monotonic_us + interval_us);
        let (mut gone, mut removed) = (Vec::new(), Vec::new());
        for group in self.groups.values() {
            let before = gone.len();
            let mut kept = 0;
            for (key, value) in self.offsets.latest(&group.id) {
                if self.is_expired(group, key, value, now) {
                    gone.push((group.id.clone(), key.clone()));
                } else {
                    kept += 1;
                }
            }
            // A group that has never had offsets is kept while someone is on the way into it.
            let unused = group.is(GroupState::Empty) && group.pending_join.is_empty();
            if kept == 0 && unused && (gone.len() > before || self.is_stale(group, now)) {
                removed.push(group.id.clone());
            }
        }
        let removed = removed.iter().map(|id| self.groups.remove(id).expect("just seen")).collect();
        self.append_tombstones(gone, removed, Promise::Nothing, out);
    }

    fn is_expired(&self, group: &Group, key: &TopicPartition, value: &CommittedOffset, now: Now) -> bool {
        if group.is_subscribed(&key.topic) && !group.is(GroupState::Empty) {
            return false;
        }
        let since_ms = match group.state() {
            // A simple group has no members to come back: each offset counts from its own commit.
            _ if group.protocol_type.is_none() => value.commit_timestamp_ms,
            GroupState::Empty => group.state_since_ms.unwrap_or(value.commit_timestamp_ms),
            GroupState::Stable if group.knows_subscriptions() => value.commit_timestamp_ms,
            _ => return false,
        };
        match value.expire_timestamp_ms {
            Some(expire_ms) => now.wall_ms >= expire_ms,
            None => now.wall_ms.saturating_sub(since_ms) >= self.config.offsets_retention_ms,
        }
    }

    /// An empty group without offsets goes with the next look, but not before anyone could commit to it.
    fn is_stale(&self, group: &Group, now: Now) -> bool {
        let since_ms = group.state_since_ms.unwrap_or(0);
        now.wall_ms.saturating_sub(since_ms) >= self.config.offsets_retention_check_interval_ms
    }

    /// Deletes offsets, and groups that were taken out already. The promise hangs on the last batch, or is kept at
    /// once if there is nothing to delete.
    pub(super) fn append_tombstones(
        &mut self,
        offsets: Vec<(GroupId, TopicPartition)>,
        mut groups: Vec<Group>,
        mut promise: Promise,
        out: &mut Vec<CoordinatorEffect>,
    ) {
        let count = offsets.len() + groups.len();
        if count == 0 {
            if let Promise::Respond { waiter, response } = promise {
                out.push(CoordinatorEffect::Respond { token: waiter.token, response });
            }
            return;
        }
        let last = BatchId(self.appends.next_id().0 + count.div_ceil(TOMBSTONES_PER_BATCH) as u64 - 1);
        let mut left = offsets.into_iter().peekable();
        loop {
            let chunk: Vec<_> = left.by_ref().take(TOMBSTONES_PER_BATCH).collect();
            let is_last = left.peek().is_none() && groups.len() <= TOMBSTONES_PER_BATCH - chunk.len();
            let group_count = if left.peek().is_none() { TOMBSTONES_PER_BATCH - chunk.len() } else { 0 };
            let removed: Vec<Group> = groups.drain(..group_count.min(groups.len())).collect();
            let offset_records = chunk.iter().map(|(group, key)| records::offset_tombstone(group, key));
            let group_records = removed.iter().map(|group| records::group_tombstone(&group.id));
            let records: Vec<_> = offset_records.chain(group_records).collect();
            let promise =
                if is_last { std::mem::replace(&mut promise, Promise::Nothing) } else { Promise::Nothing };
            let last_part = (!is_last).then_some(last);
            let work = Work { offsets: chunk.clone(), removed_groups: removed, promise, last_part };
            let batch = self.appends.append(records, work, out);
            assert_eq!(batch == last, is_last, "full batches, and one for the rest");
            for (group, key) in chunk {
                self.offsets.write(batch, &group, key, None);
            }
            if is_last {
                return;
            }
        }
    }
}

/// Kafka says bytes and counts the units of UTF-16.
fn metadata_units(metadata: &str) -> usize {
    metadata.encode_utf16().count()
}

fn committed_offset(
    partition: OffsetCommitRequestPartition,
    now: Now,
    expire_timestamp_ms: Option<i64>,
) -> CommittedOffset {
    CommittedOffset {
        offset: partition.committed_offset,
        leader_epoch: partition.committed_leader_epoch,
        metadata: partition.committed_metadata.unwrap_or_default(),
        commit_timestamp_ms: now.wall_ms,
        expire_timestamp_ms,
    }
}

fn found(partition_index: i32, value: &CommittedOffset) -> OffsetFetchResponsePartition {
    OffsetFetchResponsePartition {
        partition_index,
        committed_offset: value.offset,
        committed_leader_epoch: value.leader_epoch,
        metadata: Some(value.metadata.clone()),
        error_code: ErrorCode::None,
    }
}
