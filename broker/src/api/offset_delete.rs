//! OffsetDelete, version 0: deletes positions of a group in topics that its members do not read (KIP-496).

use net::messages::OffsetDeleteRequest;
use net::messages::offset_delete::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
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
    mut request: OffsetDeleteRequest,
    effects: &mut Effects,
) {
    let mut unknown: Vec<OffsetDeleteResponseTopic> = Vec::new();
    for topic in &mut request.topics {
        let name = topic.name.as_str();
        let missing = topic.partitions.extract_if(.., |p| shard.resolve(name, p.partition_index).is_none());
        let partitions: Vec<_> = missing
            .map(|partition| OffsetDeleteResponsePartition {
                partition_index: partition.partition_index,
                error_code: ErrorCode::UnknownTopicOrPartition,
            })
            .collect();
        if !partitions.is_empty() {
            unknown.push(OffsetDeleteResponseTopic { name: topic.name.clone(), partitions });
        }
    }
    // Even with nothing left the coordinator says whether there is such a group.
    request.topics.retain(|topic| !topic.partitions.is_empty());
    let group_id = request.group_id.clone();
    ask_coordinator_then(shard, context, &group_id, request, effects, move |response| {
        let Response::OffsetDelete(mut response) = response else {
            unreachable!("a deletion is answered as a deletion")
        };
        if !response.error_code.is_error() {
            response.topics = merged(unknown, response.topics);
        }
        response.into()
    });
}

/// Each topic once, its unknown partitions first.
fn merged(
    unknown: Vec<OffsetDeleteResponseTopic>,
    deleted: Vec<OffsetDeleteResponseTopic>,
) -> Vec<OffsetDeleteResponseTopic> {
    let mut topics = unknown;
    for topic in deleted {
        match topics.iter_mut().find(|other| other.name == topic.name) {
            Some(other) => other.partitions.extend(topic.partitions),
            None => topics.push(topic),
        }
    }
    topics
}
