//! ListOffsets, versions 1–7: the offset at a timestamp, at the start, at the end, or of the newest timestamp.

use net::messages::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use net::{ErrorCode, Response};
use storage::{FoundTimestamp, Locate, Located, Now, Offset, Slot, TimestampSearch};

use super::split::{Layout, Part, ask_owners, by_topic};
use crate::effects::{Context, Effects};
use crate::letter::{Answer, Ask, FoundOffset, ListOffsetsPart};
use crate::shard::Shard;
use crate::waits::{Asker, LookupWait, StoreAsk, WaitId};

/// Kafka's `ListOffsetsRequest.LATEST_TIMESTAMP`.
const LATEST: i64 = -1;
/// Kafka's `ListOffsetsRequest.EARLIEST_TIMESTAMP`.
const EARLIEST: i64 = -2;
/// Kafka's `ListOffsetsRequest.MAX_TIMESTAMP` (KIP-734).
const MAX_TIMESTAMP: i64 = -3;
/// The first version that may ask for it.
const VERSION_MAX_TIMESTAMP: i16 = 7;

/// Splits a request by owner.
pub(super) fn handle(
    shard: &mut Shard,
    now: Now,
    context: Context,
    request: ListOffsetsRequest,
    effects: &mut Effects,
) {
    let mut layout = Vec::with_capacity(request.topics.len());
    let mut parts = Vec::new();
    for topic in request.topics {
        let mut indexes = Vec::with_capacity(topic.partitions.len());
        for partition in topic.partitions {
            indexes.push(partition.partition_index);
            let is_of_version =
                partition.timestamp != MAX_TIMESTAMP || context.version >= VERSION_MAX_TIMESTAMP;
            parts.push(match shard.resolve(&topic.name, partition.partition_index) {
                _ if !is_of_version => Part::Known(FoundOffset::refused(ErrorCode::UnsupportedVersion)),
                None => Part::Known(FoundOffset::refused(ErrorCode::UnknownTopicOrPartition)),
                Some(key) => Part::Ask(
                    key,
                    ListOffsetsPart {
                        key,
                        current_leader_epoch: partition.current_leader_epoch,
                        timestamp: partition.timestamp,
                    },
                ),
            });
        }
        layout.push((topic.name, indexes));
    }
    ask_owners(shard, now, parts, effects, Ask::ListOffsets, found, move |_, _, results, effects| {
        effects.respond(&context, Response::ListOffsets(response(layout, results)));
    });
}

fn found(answer: Answer) -> Vec<FoundOffset> {
    match answer {
        Answer::Offsets(found) => found,
        other => unreachable!("a lookup is answered by offsets, not {other:?}"),
    }
}

fn response(layout: Layout, results: Vec<FoundOffset>) -> ListOffsetsResponse {
    let partition = |partition_index, found: FoundOffset| ListOffsetsPartitionResponse {
        partition_index,
        error_code: found.error,
        timestamp: found.timestamp,
        offset: found.offset,
        leader_epoch: found.leader_epoch,
    };
    let topic = |name, partitions| ListOffsetsTopicResponse { name, partitions };
    ListOffsetsResponse { topics: by_topic(layout, results, partition, topic), ..Default::default() }
}

/// Looks offsets up on the owner; answers when cold segments have been searched where that is needed.
pub(crate) fn look_up(shard: &mut Shard, asker: Asker, asked: Vec<ListOffsetsPart>, effects: &mut Effects) {
    let id = shard.waits.id();
    let mut parts = Vec::with_capacity(asked.len());
    let mut missing = 0;
    for (place, part) in asked.iter().enumerate() {
        let found = match look_up_one(shard, part) {
            Ok(LookUp::Found(found)) => found,
            Ok(LookUp::Cold(locate)) => {
                missing += 1;
                let token = shard.waits.token(StoreAsk::Lookup(id, place));
                shard.store.locate(locate, token);
                NOTHING
            }
            Err(error) => FoundOffset::refused(error),
        };
        parts.push(found);
    }
    if missing == 0 {
        return shard.answer(asker, Answer::Offsets(parts), effects);
    }
    shard.waits.lookups.insert(id, LookupWait { asker, parts, missing });
}

/// No record is at or after the timestamp.
const NOTHING: FoundOffset =
    FoundOffset { error: ErrorCode::None, timestamp: -1, offset: -1, leader_epoch: -1 };

enum LookUp {
    Found(FoundOffset),
    Cold(Locate),
}

fn look_up_one(shard: &Shard, part: &ListOffsetsPart) -> Result<LookUp, ErrorCode> {
    let partition = shard.led(&part.key, part.current_leader_epoch)?;
    let slot = partition.slot;
    let search = match part.timestamp {
        LATEST => return Ok(LookUp::Found(at(shard.high_watermark(slot), partition.leader_epoch))),
        EARLIEST => {
            let start = shard.store.offsets(slot).log_start;
            let epoch = shard.store.leader_epochs(slot).epoch_at(start);
            // Where no record tells, it is the leader's that would append one.
            let epoch = epoch.map_or(partition.leader_epoch, |epoch| epoch.0);
            return Ok(LookUp::Found(at(start, epoch)));
        }
        MAX_TIMESTAMP => shard.store.max_timestamp(slot),
        timestamp if timestamp < 0 => return Err(ErrorCode::UnsupportedVersion),
        timestamp => shard.store.offset_for_timestamp(slot, timestamp),
    };
    Ok(match search {
        TimestampSearch::Found(found) => LookUp::Found(visible(shard, slot, found)),
        TimestampSearch::Locate(locate) => LookUp::Cold(locate),
        TimestampSearch::None => LookUp::Found(NOTHING),
    })
}

fn at(offset: Offset, leader_epoch: i32) -> FoundOffset {
    FoundOffset { error: ErrorCode::None, timestamp: -1, offset: offset.0, leader_epoch }
}

/// Nothing above the high watermark is told.
fn visible(shard: &Shard, slot: Slot, found: FoundTimestamp) -> FoundOffset {
    if found.offset >= shard.high_watermark(slot) {
        return NOTHING;
    }
    FoundOffset {
        error: ErrorCode::None,
        timestamp: found.timestamp_ms,
        offset: found.offset.0,
        leader_epoch: found.leader_epoch.0,
    }
}

/// Takes in what a search of a cold segment found.
pub(super) fn located(
    shard: &mut Shard,
    id: WaitId,
    place: usize,
    found: Result<Located, ErrorCode>,
    effects: &mut Effects,
) {
    let wait = shard.waits.lookups.get_mut(&id).expect("a lookup is not given up");
    wait.parts[place] = match found {
        Ok(Located::Timestamp(found)) => FoundOffset {
            error: ErrorCode::None,
            timestamp: found.timestamp_ms,
            offset: found.offset.0,
            leader_epoch: found.leader_epoch.0,
        },
        Ok(_) => NOTHING,
        Err(error) => FoundOffset::refused(error),
    };
    wait.missing -= 1;
    if wait.missing == 0 {
        let wait = shard.waits.lookups.remove(&id).expect("just found");
        shard.answer(wait.asker, Answer::Offsets(wait.parts), effects);
    }
}
