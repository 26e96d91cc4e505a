//! DeleteRecords, versions 0–2: moves the first offset of logs.

use net::messages::delete_records::{
    DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopicResult,
};
use net::{ErrorCode, Response};
use storage::{Now, Offset, Slot};

use super::split::{Layout, Part, ask_owners, by_topic};
use crate::effects::{Context, Effects};
use crate::letter::{Answer, Ask, DeleteRecordsPart};
use crate::shard::Shard;
use crate::waits::{Asker, DeleteWait, WaitId};

/// `before` that stands for the high watermark.
const HIGH_WATERMARK: i64 = -1;

/// `(error, low watermark)`.
type LowWatermark = (ErrorCode, i64);

/// Splits a request by owner.
pub(super) fn handle(
    shard: &mut Shard,
    now: Now,
    context: Context,
    request: DeleteRecordsRequest,
    effects: &mut Effects,
) {
    let mut layout = Vec::with_capacity(request.topics.len());
    let mut parts = Vec::new();
    for topic in request.topics {
        let mut indexes = Vec::with_capacity(topic.partitions.len());
        for partition in topic.partitions {
            indexes.push(partition.partition_index);
            parts.push(match shard.resolve(&topic.name, partition.partition_index) {
                None => Part::Known((ErrorCode::UnknownTopicOrPartition, -1)),
                Some(_) if shard.is_internal(&topic.name) => {
                    Part::Known((ErrorCode::InvalidTopicException, -1))
                }
                Some(_) if is_only_compacted(shard, &topic.name) => {
                    Part::Known((ErrorCode::PolicyViolation, -1))
                }
                Some(key) => Part::Ask(key, DeleteRecordsPart { key, before: partition.offset }),
            });
        }
        layout.push((topic.name, indexes));
    }
    ask_owners(
        shard,
        now,
        parts,
        effects,
        Ask::DeleteRecords,
        low_watermarks,
        move |_, _, results, effects| {
            effects.respond(&context, Response::DeleteRecords(response(layout, results)));
        },
    );
}

/// Whether the policy of a topic keeps the last record of each key for ever.
fn is_only_compacted(shard: &Shard, topic: &str) -> bool {
    shard.image.topic(topic).is_some_and(|topic| {
        let cleanup = shard.config.log_config(&topic.name, &topic.configs).cleanup;
        cleanup.compact && !cleanup.delete
    })
}

fn low_watermarks(answer: Answer) -> Vec<LowWatermark> {
    match answer {
        Answer::LowWatermarks(low) => low,
        other => unreachable!("a move of log starts is answered by low watermarks, not {other:?}"),
    }
}

fn response(layout: Layout, results: Vec<LowWatermark>) -> DeleteRecordsResponse {
    let partition = |partition_index, (error_code, low_watermark)| DeleteRecordsPartitionResult {
        partition_index,
        low_watermark,
        error_code,
    };
    let topic = |name, partitions| DeleteRecordsTopicResult { name, partitions };
    DeleteRecordsResponse { topics: by_topic(layout, results, partition, topic), ..Default::default() }
}

/// Moves log starts on the owner; answers when the moves are durable.
pub(crate) fn delete(shard: &mut Shard, asker: Asker, asked: Vec<DeleteRecordsPart>, effects: &mut Effects) {
    let id = shard.waits.id();
    let mut parts = Vec::with_capacity(asked.len());
    let mut missing = 0;
    for (place, part) in asked.into_iter().enumerate() {
        match delete_one(shard, part) {
            Ok(Moved::Already(offset)) => parts.push((ErrorCode::None, offset.0)),
            Ok(Moved::Begun(slot, offset)) => {
                missing += 1;
                parts.push((ErrorCode::None, offset.0));
                shard.partition_at(slot).expect("just found").deletes.push((offset, id, place));
            }
            Err(error) => parts.push((error, -1)),
        }
    }
    if missing == 0 {
        return shard.answer(asker, Answer::LowWatermarks(parts), effects);
    }
    shard.waits.deletes.insert(id, DeleteWait { asker, parts, missing });
}

enum Moved {
    Already(Offset),
    Begun(Slot, Offset),
}

fn delete_one(shard: &mut Shard, part: DeleteRecordsPart) -> Result<Moved, ErrorCode> {
    let slot = shard.led(&part.key, -1)?.slot;
    let high_watermark = shard.high_watermark(slot);
    let before = if part.before == HIGH_WATERMARK { high_watermark } else { Offset(part.before) };
    if before.0 < 0 || before > high_watermark {
        return Err(ErrorCode::OffsetOutOfRange);
    }
    let log_start = shard.store.offsets(slot).log_start;
    if before <= log_start {
        // A move that is not durable yet may be undone by a crash, and is no answer.
        let pending = shard.store.log_start_is_pending(slot);
        return Ok(if pending { Moved::Begun(slot, log_start) } else { Moved::Already(log_start) });
    }
    shard.store.delete_records(slot, before).map_err(|_| ErrorCode::KafkaStorageError)?;
    Ok(Moved::Begun(slot, before))
}

/// Answers the moves that are durable now.
pub(crate) fn moved(shard: &mut Shard, slot: Slot, offset: Offset, effects: &mut Effects) {
    let Some(partition) = shard.partition_at(slot) else { return };
    let (done, waiting): (Vec<_>, Vec<_>) =
        std::mem::take(&mut partition.deletes).into_iter().partition(|(before, ..)| *before <= offset);
    partition.deletes = waiting;
    for (_, id, place) in done {
        settle(shard, id, place, (ErrorCode::None, offset.0), effects);
    }
}

/// Answers all moves that wait on a partition with an error: it has no future here.
pub(crate) fn fail_waiting(shard: &mut Shard, slot: Slot, error: ErrorCode, effects: &mut Effects) {
    let Some(partition) = shard.partition_at(slot) else { return };
    for (_, id, place) in std::mem::take(&mut partition.deletes) {
        settle(shard, id, place, (error, -1), effects);
    }
}

fn settle(shard: &mut Shard, id: WaitId, place: usize, result: LowWatermark, effects: &mut Effects) {
    let wait = shard.waits.deletes.get_mut(&id).expect("a queued move has its wait");
    wait.parts[place] = result;
    wait.missing -= 1;
    if wait.missing == 0 {
        let wait = shard.waits.deletes.remove(&id).expect("just found");
        shard.answer(wait.asker, Answer::LowWatermarks(wait.parts), effects);
    }
}
