//! OffsetForLeaderEpoch, versions 2–4: where a leader epoch ends (KIP-320).

use net::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderTopicResult,
};
use net::{ErrorCode, Response};
use storage::Now;

use super::split::{Layout, Part, ask_owners, by_topic};
use crate::effects::{Context, Effects};
use crate::letter::{Answer, Ask, EpochPart};
use crate::shard::Shard;

/// `(error, leader epoch, end offset)`; -1 where unknown.
type EpochEnd = (ErrorCode, i32, i64);

/// Splits a request by owner.
pub(super) fn handle(
    shard: &mut Shard,
    now: Now,
    context: Context,
    request: OffsetForLeaderEpochRequest,
    effects: &mut Effects,
) {
    let mut layout = Vec::with_capacity(request.topics.len());
    let mut parts = Vec::new();
    for topic in request.topics {
        let mut indexes = Vec::with_capacity(topic.partitions.len());
        for partition in topic.partitions {
            indexes.push(partition.partition);
            parts.push(match shard.resolve(&topic.topic, partition.partition) {
                None => Part::Known((ErrorCode::UnknownTopicOrPartition, -1, -1)),
                Some(key) => Part::Ask(
                    key,
                    EpochPart {
                        key,
                        current_leader_epoch: partition.current_leader_epoch,
                        leader_epoch: partition.leader_epoch,
                    },
                ),
            });
        }
        layout.push((topic.topic, indexes));
    }
    ask_owners(shard, now, parts, effects, Ask::OffsetForLeaderEpoch, ends, move |_, _, results, effects| {
        effects.respond(&context, Response::OffsetForLeaderEpoch(response(layout, results)));
    });
}

fn ends(answer: Answer) -> Vec<EpochEnd> {
    match answer {
        Answer::EpochEnds(ends) => ends,
        other => unreachable!("a lookup of epochs is answered by their ends, not {other:?}"),
    }
}

fn response(layout: Layout, results: Vec<EpochEnd>) -> OffsetForLeaderEpochResponse {
    let partition = |partition, (error_code, leader_epoch, end_offset)| EpochEndOffset {
        error_code,
        partition,
        leader_epoch,
        end_offset,
    };
    let topic = |topic, partitions| OffsetForLeaderTopicResult { topic, partitions };
    OffsetForLeaderEpochResponse { topics: by_topic(layout, results, partition, topic), ..Default::default() }
}

/// Looks the ends up on the owner.
pub(crate) fn look_up(shard: &Shard, parts: &[EpochPart]) -> Vec<EpochEnd> {
    parts.iter().map(|part| look_up_one(shard, part)).collect()
}

fn look_up_one(shard: &Shard, part: &EpochPart) -> EpochEnd {
    let partition = match shard.led(&part.key, part.current_leader_epoch) {
        Ok(partition) => partition,
        Err(error) => return (error, -1, -1),
    };
    let end = shard.store.offsets(partition.slot).log_end;
    let (epoch, end) = shard.epoch_end(partition, storage::LeaderEpoch(part.leader_epoch), end);
    (ErrorCode::None, epoch, end)
}
