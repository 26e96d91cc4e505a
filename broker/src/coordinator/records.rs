//! Keys and values of `__consumer_offsets`, in Kafka's schemas, and what they mean when they are read back.

use std::collections::BTreeMap;

use bytes::Bytes;
use net::WireError;
use net::messages::records::group_metadata::MemberMetadata;
use net::messages::records::{
    GroupMetadataKey, GroupMetadataValue, OffsetCommitKey, OffsetCommitValue, decode_record, encode_record,
    record_version,
};
use storage::Now;

use super::group::{Group, GroupId, Member, MemberId};
use super::offsets::{CommittedOffset, TopicPartition};
use super::{CoordinatorRecord, GroupCoordinator};

/// Versions of keys, which tell what a record is about: 0 and 1 offsets, 2 classic groups, above that newer kinds.
const OFFSET_KEY: i16 = 1;
const GROUP_KEY: i16 = 2;
/// Versions of values that Kafka 4 writes: the highest that are not flexible.
const OFFSET_VALUE: i16 = 3;
/// The one version that has a place for an expiry of the client's own.
const OFFSET_VALUE_WITH_EXPIRY: i16 = 1;
const GROUP_VALUE: i16 = 3;

/// A group as it is.
pub(super) fn group_metadata(group: &Group) -> CoordinatorRecord {
    let assignments = group.members().map(|m| (m.id.clone(), m.assignment.clone())).collect();
    group_metadata_with(group, &assignments)
}

/// A group as it will be when these assignments hold.
pub(super) fn group_metadata_with(
    group: &Group,
    assignments: &BTreeMap<MemberId, Bytes>,
) -> CoordinatorRecord {
    let protocol = group.protocol_name.as_deref().unwrap_or_default();
    let members = group.members().map(|member| MemberMetadata {
        member_id: member.id.to_string(),
        group_instance_id: member.group_instance_id.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        rebalance_timeout: member.rebalance_timeout_ms,
        session_timeout: member.session_timeout_ms,
        subscription: member.metadata(protocol),
        assignment: assignments.get(&member.id).cloned().unwrap_or_default(),
    });
    // Members are written once they have a generation; before that a restart should find the group empty.
    let has_generation = group.protocol_name.is_some();
    let value = GroupMetadataValue {
        protocol_type: group.protocol_type.clone().unwrap_or_default(),
        generation: group.generation_id,
        protocol: group.protocol_name.clone(),
        leader: group.leader.as_deref().filter(|_| has_generation).map(str::to_owned),
        current_state_timestamp: group.state_since_ms.unwrap_or(-1),
        members: members.filter(|_| has_generation).collect(),
    };
    record(group_key(&group.id), Some(encode_record(&value, GROUP_VALUE)))
}

/// Says that a group is gone.
pub(super) fn group_tombstone(group: &GroupId) -> CoordinatorRecord {
    record(group_key(group), None)
}

/// An offset that a group committed.
pub(super) fn offset_commit(
    group: &GroupId,
    key: &TopicPartition,
    offset: &CommittedOffset,
) -> CoordinatorRecord {
    let value = OffsetCommitValue {
        offset: offset.offset,
        leader_epoch: offset.leader_epoch,
        metadata: offset.metadata.clone(),
        commit_timestamp: offset.commit_timestamp_ms,
        expire_timestamp: offset.expire_timestamp_ms.unwrap_or(-1),
    };
    let version = if offset.expire_timestamp_ms.is_some() { OFFSET_VALUE_WITH_EXPIRY } else { OFFSET_VALUE };
    record(offset_key(group, key), Some(encode_record(&value, version)))
}

/// Says that an offset is gone.
pub(super) fn offset_tombstone(group: &GroupId, key: &TopicPartition) -> CoordinatorRecord {
    record(offset_key(group, key), None)
}

fn group_key(group: &GroupId) -> Result<Bytes, WireError> {
    encode_record(&GroupMetadataKey { group: group.to_string() }, GROUP_KEY)
}

fn offset_key(group: &GroupId, key: &TopicPartition) -> Result<Bytes, WireError> {
    let key =
        OffsetCommitKey { group: group.to_string(), topic: key.topic.to_string(), partition: key.partition };
    encode_record(&key, OFFSET_KEY)
}

fn record(key: Result<Bytes, WireError>, value: Option<Result<Bytes, WireError>>) -> CoordinatorRecord {
    let fits = "what a request brought fits into a record: both count strings in 16 bits";
    CoordinatorRecord { key: key.expect(fits), value: value.map(|value| value.expect(fits)) }
}

impl GroupCoordinator {
    /// Takes in one record of the log. What cannot be read is left out, with a line in the log: one bad record shall
    /// not keep all groups of the partition from their offsets.
    pub(super) fn replay(&mut self, key: Bytes, value: Option<Bytes>, now: Now) {
        assert!(!self.is_loaded(), "records are replayed before the partition is served");
        if let Err(error) = self.replay_record(key, value, now) {
            tracing::warn!("a record of the offsets topic cannot be read and is left out: {error}");
        }
    }

    fn replay_record(&mut self, key: Bytes, value: Option<Bytes>, now: Now) -> Result<(), WireError> {
        match record_version(&key)? {
            ..=OFFSET_KEY => self.replay_offset(decode_record(key)?, value, now),
            GROUP_KEY => self.replay_group(decode_record(key)?, value),
            // Groups of the newer protocols: not served, and none of our records.
            _ => Ok(()),
        }
    }

    fn replay_offset(
        &mut self,
        key: OffsetCommitKey,
        value: Option<Bytes>,
        now: Now,
    ) -> Result<(), WireError> {
        let partition = TopicPartition { topic: key.topic.as_str().into(), partition: key.partition };
        let value = value.map(decode_record::<OffsetCommitValue>).transpose()?;
        let offset = value.map(|value| CommittedOffset {
            offset: value.offset,
            leader_epoch: value.leader_epoch,
            metadata: value.metadata,
            commit_timestamp_ms: value.commit_timestamp,
            expire_timestamp_ms: (value.expire_timestamp >= 0).then_some(value.expire_timestamp),
        });
        let group: GroupId = match offset {
            Some(_) => self.group_for_offsets(&key.group, now),
            None => key.group.as_str().into(),
        };
        self.offsets.replay(&group, partition, offset);
        Ok(())
    }

    fn replay_group(&mut self, key: GroupMetadataKey, value: Option<Bytes>) -> Result<(), WireError> {
        let id: GroupId = key.group.as_str().into();
        let Some(value) = value else {
            self.groups.remove(&id);
            return Ok(());
        };
        let value: GroupMetadataValue = decode_record(value)?;
        let protocol = value.protocol.clone().unwrap_or_default();
        let members = value.members.into_iter().map(|member| {
            let rebalance_timeout = match member.rebalance_timeout {
                -1 => member.session_timeout,
                timeout => timeout,
            };
            Member::new(
                member.member_id.into(),
                member.group_instance_id,
                member.client_id,
                member.client_host,
                rebalance_timeout,
                member.session_timeout,
                // Copied: a slice would keep the whole piece of the log that was read.
                vec![(protocol.clone(), Bytes::copy_from_slice(&member.subscription))],
                Bytes::copy_from_slice(&member.assignment),
            )
        });
        let group = Group::restored(
            id.clone(),
            value.generation,
            Some(value.protocol_type).filter(|protocol_type| !protocol_type.is_empty()),
            value.protocol,
            value.leader.map(Into::into),
            (value.current_state_timestamp >= 0).then_some(value.current_state_timestamp),
            members.collect(),
        );
        self.groups.insert(id, group);
        Ok(())
    }
}
