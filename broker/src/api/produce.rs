//! Produce, versions 3–11: appends record batches.
//!
//! The shard of the connection splits the request; owners append and answer when the batches are as durable as the
//! topic asks. `acks=0` is owed no response, and a failure closes the connection, as in Kafka.

use net::messages::produce::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, ProduceRequest, ProduceResponse,
    TopicProduceResponse,
};
use net::{ErrorCode, Response};
use storage::batch::only_batch;
use storage::{AppendError, AppendOrigin, BatchHeader, Now, Slot};

use super::split::{Layout, Part, ask_owners, by_topic};
use crate::effects::{Context, Effects};
use crate::ledger::Passage;
use crate::letter::{Answer, AppendAsk, AppendPart, AppendedPart, Ask};
use crate::limits::APPEND_WAITS_MAX;
use crate::shard::Shard;
use crate::waits::{AppendWait, Asker, WaitId};

/// The client id by which Kafka's own tools may write to internal topics.
const ADMIN_CLIENT_ID: &str = "__admin_client";

/// First version that may carry zstd (KIP-110), and its number in the attributes of a batch.
const VERSION_ZSTD: i16 = 7;
const ZSTD: u8 = 4;

/// Splits a request by owner.
pub(super) fn handle(
    shard: &mut Shard,
    now: Now,
    context: Context,
    request: ProduceRequest,
    effects: &mut Effects,
) {
    let (acks, timeout_ms) = (request.acks, request.timeout_ms);
    let refusal = refusal_of_all(&request);
    let mut layout = Vec::with_capacity(request.topic_data.len());
    let mut parts = Vec::new();
    for topic in request.topic_data {
        let indexes: Vec<i32> = topic.partition_data.iter().map(|partition| partition.index).collect();
        for partition in topic.partition_data {
            let part = match &refusal {
                Some(refused) => Part::Known(refused.clone()),
                None => part(shard, &context, &topic.name, partition.index, partition.records),
            };
            parts.push(part);
        }
        layout.push((topic.name, indexes));
    }
    let question = |parts| Ask::Append(AppendAsk { acks, timeout_ms, parts });
    ask_owners(shard, now, parts, effects, question, appended, move |_, _, results, effects| match acks {
        0 => finish_unacknowledged(&context, &layout, &results, effects),
        _ => effects.respond(&context, Response::Produce(response(layout, results))),
    });
}

/// What is wrong with the request as a whole.
fn refusal_of_all(request: &ProduceRequest) -> Option<AppendedPart> {
    if !matches!(request.acks, -1..=1) {
        return Some(AppendedPart::refused(ErrorCode::InvalidRequiredAcks));
    }
    request.transactional_id.as_ref().map(|_| AppendedPart {
        error_message: Some("This broker does not serve transactions yet.".into()),
        ..AppendedPart::refused(ErrorCode::InvalidTxnState)
    })
}

fn part(
    shard: &Shard,
    context: &Context,
    topic: &str,
    partition: i32,
    records: Option<bytes::Bytes>,
) -> Part<AppendPart, AppendedPart> {
    let Some(key) = shard.resolve(topic, partition) else {
        return Part::Known(AppendedPart::refused(ErrorCode::UnknownTopicOrPartition));
    };
    if shard.is_internal(topic) && context.client.id != ADMIN_CLIENT_ID {
        return Part::Known(AppendedPart::refused(ErrorCode::InvalidTopicException));
    }
    let records = match only_batch(&records.unwrap_or_default()) {
        Ok(records) => records,
        Err(error) => return Part::Known(refused(error)),
    };
    let is_zstd = BatchHeader::read(&records).is_some_and(|head| head.compression_id() == ZSTD);
    if context.version < VERSION_ZSTD && is_zstd {
        return Part::Known(AppendedPart {
            error_message: Some(
                "Produce requests with version less than 7 are not allowed to use ZStandard.".into(),
            ),
            ..AppendedPart::refused(ErrorCode::UnsupportedCompressionType)
        });
    }
    Part::Ask(key, AppendPart { key, records })
}

fn appended(answer: Answer) -> Vec<AppendedPart> {
    match answer {
        Answer::Appended(parts) => parts,
        other => unreachable!("an append is answered by what was appended, not {other:?}"),
    }
}

fn finish_unacknowledged(
    context: &Context,
    layout: &[(String, Vec<i32>)],
    results: &[AppendedPart],
    effects: &mut Effects,
) {
    let names = layout.iter().flat_map(|(topic, indexes)| indexes.iter().map(move |index| (topic, index)));
    let failed = names.zip(results).find(|(_, result)| result.error != ErrorCode::None);
    match failed {
        Some(((topic, index), result)) => {
            effects.close(
                context,
                format!("produce with acks=0 to {topic}-{index} failed: {}", result.error.name()),
            );
        }
        None => effects.respond_nothing(context),
    }
}

fn response(layout: Layout, results: Vec<AppendedPart>) -> ProduceResponse {
    let topic = |name, partition_responses| TopicProduceResponse { name, partition_responses };
    ProduceResponse { responses: by_topic(layout, results, partition_response, topic), ..Default::default() }
}

fn partition_response(index: i32, result: AppendedPart) -> PartitionProduceResponse {
    let record_errors = result.record_errors.into_iter().map(|(batch_index, message)| {
        BatchIndexAndErrorMessage { batch_index, batch_index_error_message: Some(message) }
    });
    PartitionProduceResponse {
        index,
        error_code: result.error,
        base_offset: result.base_offset,
        log_append_time_ms: result.log_append_time_ms,
        log_start_offset: result.log_start_offset,
        record_errors: record_errors.collect(),
        error_message: result.error_message,
        ..PartitionProduceResponse::default()
    }
}

/// Appends on the owner; answers when everything is durable, at once for `acks=0`.
pub(crate) fn append(shard: &mut Shard, now: Now, asker: Asker, ask: AppendAsk, effects: &mut Effects) {
    if shard.waits.appends.len() >= APPEND_WAITS_MAX {
        for part in &ask.parts {
            if let Some(slot) = shard.partition(&part.key).map(|partition| partition.slot) {
                shard.store.turn_away(now, slot, &part.records);
            }
        }
        let refused = vec![AppendedPart::refused(ErrorCode::RequestTimedOut); ask.parts.len()];
        return shard.answer(asker, Answer::Appended(refused), effects);
    }
    let id = shard.waits.id();
    let mut parts = Vec::with_capacity(ask.parts.len());
    let mut missing = 0;
    let mut moved = Vec::new();
    for part in ask.parts {
        match append_part(shard, now, part) {
            Ok((slot, end, appended)) => {
                if shard.high_watermark(slot) >= end {
                    moved.push(slot);
                } else if ask.acks != 0 {
                    missing += 1;
                    shard.partition_at(slot).expect("just appended").wait_for_append(end, id);
                }
                parts.push(appended);
            }
            Err(refused) => parts.push(refused),
        }
    }
    let at_owner_us = now.monotonic_us;
    if missing == 0 {
        let passage = Passage { at_owner_us, ..Passage::default() };
        shard.answer_passed(asker, Answer::Appended(parts), passage, effects);
    } else {
        let timeout_us = u64::try_from(ask.timeout_ms).unwrap_or(0) * 1_000;
        let deadline_us = now.monotonic_us + timeout_us;
        shard.waits.appends.insert(id, AppendWait { asker, parts, missing, deadline_us, at_owner_us });
    }
    // What is acknowledged from memory can be read at once.
    for slot in moved {
        shard.high_watermark_moved(now, slot, effects);
    }
}

/// The slot, the end that has to be durable, and the answer for then.
fn append_part(
    shard: &mut Shard,
    now: Now,
    part: AppendPart,
) -> Result<(Slot, storage::Offset, AppendedPart), AppendedPart> {
    let partition =
        shard.partition(&part.key).ok_or(AppendedPart::refused(ErrorCode::NotLeaderOrFollower))?;
    let (slot, epoch) = (partition.slot, storage::LeaderEpoch(partition.leader_epoch));
    let bytes = part.records.len() as u64;
    if shard.volume.refuses_records() {
        shard.store.turn_away(now, slot, &part.records);
        return Err(AppendedPart {
            error_message: Some("The volume of this broker is short of space.".into()),
            ..AppendedPart::refused(ErrorCode::KafkaStorageError)
        });
    }
    let appended = shard.store.append(now, slot, part.records, AppendOrigin::Client, epoch);
    let appended = appended.map_err(|error| {
        let log_start_offset =
            if tells_log_start(&error) { shard.store.offsets(slot).log_start.0 } else { -1 };
        AppendedPart { log_start_offset, ..refused(error) }
    })?;
    shard.count(slot, |traffic| {
        traffic.batches_in += 1;
        traffic.bytes_in += bytes;
    });
    let answer = AppendedPart {
        error: ErrorCode::None,
        base_offset: appended.base_offset.0,
        log_append_time_ms: appended.log_append_time_ms.unwrap_or(-1),
        log_start_offset: appended.log_start_offset.0,
        record_errors: Vec::new(),
        error_message: None,
    };
    Ok((slot, appended.last_offset.next(), answer))
}

/// Whether the refusal says where the log starts, as Kafka's does for some errors and not for others.
fn tells_log_start(error: &AppendError) -> bool {
    !matches!(
        error,
        AppendError::CorruptMessage(_)
            | AppendError::MessageTooLarge { .. }
            | AppendError::StorageFull
            | AppendError::StorageFailed(_)
    )
}

/// Kafka's code for each way in which a log refuses a batch.
fn refused(error: AppendError) -> AppendedPart {
    let message = Some(error.to_string());
    let (code, record_errors) = match error {
        AppendError::CorruptMessage(_) => (ErrorCode::CorruptMessage, Vec::new()),
        AppendError::InvalidRecord { errors, .. } => (ErrorCode::InvalidRecord, errors),
        AppendError::MessageTooLarge { .. } => (ErrorCode::MessageTooLarge, Vec::new()),
        AppendError::UnsupportedCompression(_) => (ErrorCode::UnsupportedCompressionType, Vec::new()),
        AppendError::InvalidTimestamp { errors, .. } => (ErrorCode::InvalidTimestamp, errors),
        AppendError::OutOfOrderSequence(_) => (ErrorCode::OutOfOrderSequenceNumber, Vec::new()),
        AppendError::InvalidProducerEpoch(_) => (ErrorCode::InvalidProducerEpoch, Vec::new()),
        AppendError::StorageFull | AppendError::StorageFailed(_) => {
            (ErrorCode::KafkaStorageError, Vec::new())
        }
    };
    AppendedPart { record_errors, error_message: message, ..AppendedPart::refused(code) }
}

/// Answers the appends that the high watermark has reached.
pub(crate) fn release(shard: &mut Shard, slot: Slot, effects: &mut Effects) {
    let high_watermark = shard.high_watermark(slot);
    while let Some(id) =
        shard.partition_at(slot).and_then(|partition| partition.released_append(high_watermark))
    {
        let Some(wait) = shard.waits.appends.get_mut(&id) else { continue };
        wait.missing -= 1;
        if wait.missing == 0 {
            let wait = shard.waits.appends.remove(&id).expect("just found");
            let passage = Passage { at_owner_us: wait.at_owner_us, ..shard.block };
            shard.answer_passed(wait.asker, Answer::Appended(wait.parts), passage, effects);
        }
    }
}

/// Answers all appends that wait on a partition with an error: it has no future here.
pub(crate) fn fail_waiting(shard: &mut Shard, slot: Slot, error: ErrorCode, effects: &mut Effects) {
    let Some(partition) = shard.partition_at(slot) else { return };
    for id in partition.take_appends() {
        fail(shard, id, error, effects);
    }
}

/// Answers the appends whose time is over.
pub(crate) fn expire(shard: &mut Shard, now: Now, effects: &mut Effects) {
    for id in shard.waits.expired_appends(now.monotonic_us) {
        fail(shard, id, ErrorCode::RequestTimedOut, effects);
    }
}

fn fail(shard: &mut Shard, id: WaitId, error: ErrorCode, effects: &mut Effects) {
    let Some(wait) = shard.waits.appends.remove(&id) else { return };
    let refused = wait.parts.into_iter().map(|part| match part.error {
        ErrorCode::None => AppendedPart::refused(error),
        _ => part,
    });
    // It waited for the disk until now.
    let passage = Passage { at_owner_us: wait.at_owner_us, durable_us: shard.step_us, ..Passage::default() };
    shard.answer_passed(wait.asker, Answer::Appended(refused.collect()), passage, effects);
}
