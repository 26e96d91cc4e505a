//! OffsetCommit, versions 2–9: stores the positions of a group. Version 5 drops the retention, 6 adds leader epochs,
//! 7 static members.

use net::messages::offset_commit::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use net::messages::{OffsetCommitRequest, OffsetCommitResponse};
use net::{ErrorCode, Response};
use storage::Now;

use super::coordinators::ask_coordinator_then;
use crate::effects::{Context, Effects};
use crate::shard::Shard;

/// Sorts out partitions that there are not, and hands the rest to the coordinator of the group.
pub(super) fn handle(
    shard: &mut Shard,
    _now: Now,
    context: Context,
    mut request: OffsetCommitRequest,
    effects: &mut Effects,
) {
    let mut unknown: Vec<OffsetCommitResponseTopic> = Vec::new();
    for topic in &mut request.topics {
        let name = topic.name.as_str();
        let missing = topic.partitions.extract_if(.., |p| shard.resolve(name, p.partition_index).is_none());
        let partitions: Vec<_> = missing
            .map(|partition| OffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code: ErrorCode::UnknownTopicOrPartition,
            })
            .collect();
        if !partitions.is_empty() {
            unknown.push(OffsetCommitResponseTopic { name: topic.name.clone(), partitions });
        }
    }
    request.topics.retain(|topic| !topic.partitions.is_empty());
    if request.topics.is_empty() {
        let response = OffsetCommitResponse { topics: unknown, ..Default::default() };
        return effects.respond(&context, response.into());
    }
    let group_id = request.group_id.clone();
    ask_coordinator_then(shard, context, &group_id, request, effects, move |response| {
        let Response::OffsetCommit(mut response) = response else {
            unreachable!("a commit is answered as a commit")
        };
        response.topics = merged(unknown, response.topics);
        response.into()
    });
}

/// Each topic once, its unknown partitions first.
fn merged(
    unknown: Vec<OffsetCommitResponseTopic>,
    committed: Vec<OffsetCommitResponseTopic>,
) -> Vec<OffsetCommitResponseTopic> {
    let mut topics = unknown;
    for topic in committed {
        match topics.iter_mut().find(|other| other.name == topic.name) {
            Some(other) => other.partitions.extend(topic.partitions),
            None => topics.push(topic),
        }
    }
    topics
}
