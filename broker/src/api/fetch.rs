//! Fetch, versions 4–12: reads record batches, waits for more, in sessions (KIP-227).
//!
//! The shard of the connection keeps the session and splits the request; owners read up to the high watermark and
//! wait for `min_bytes`. The first owner with data or an error ends the waiting of the others: each waits for
//! `min_bytes` of its own, so a response that several shards could only fill together leaves at `max_wait_ms`.
//! Each reads up to `max_bytes`, as no other may have anything; what is too much together is left out of the response.

use net::messages::fetch::{
    EpochEndOffset, FetchRequest, FetchResponse, FetchTopic, FetchableTopicResponse, PartitionData,
};
use net::{ErrorCode, Records, RecordsPart, Response};
use storage::{FileSlice, LeaderEpoch, Locate, Located, Now, Offset, Read, ReadError, Slot};

use super::split::{Part, ask_owners};
use crate::effects::{Context, Effects};
use crate::fetch_session::{Asked, Plan, Wanted};
use crate::ledger::Passage;
use crate::letter::{Answer, Ask, FetchAsk, FetchPart, FetchedPart, FetchedRecords};
use crate::limits::{FETCH_RESPONSE_BYTES_MAX, FETCH_WAIT_MS_MAX, FETCH_WAITS_MAX};
use crate::shard::Shard;
use crate::waits::{Asker, FetchWait, Locating, StoreAsk, WaitId};

/// Kafka's `IsolationLevel.READ_UNCOMMITTED`.
const READ_UNCOMMITTED: i8 = 0;
/// Kafka's `IsolationLevel.READ_COMMITTED`.
const READ_COMMITTED: i8 = 1;

/// Finds the session and splits the request by owner.
pub(super) fn handle(
    shard: &mut Shard,
    now: Now,
    context: Context,
    request: FetchRequest,
    effects: &mut Effects,
) {
    if !matches!(request.isolation_level, READ_UNCOMMITTED | READ_COMMITTED) {
        return effects.respond(&context, Response::Fetch(of_no_isolation(request)));
    }
    let asked = Asked {
        session_id: request.session_id,
        session_epoch: request.session_epoch,
        forgotten: forgotten(&request),
        wanted: wanted(request.topics),
    };
    let plan = match shard.sessions.plan(now, asked) {
        Ok(plan) => plan,
        Err(error_code) => {
            let response = FetchResponse { error_code, ..FetchResponse::default() };
            return effects.respond(&context, Response::Fetch(response));
        }
    };
    let parts = plan.wanted.iter().map(|wanted| part(shard, wanted)).collect();
    let max_bytes = request.max_bytes.min(FETCH_RESPONSE_BYTES_MAX);
    let question = |parts| {
        Ask::Fetch(FetchAsk {
            parts,
            min_bytes: request.min_bytes,
            max_bytes,
            wait_ms: request.max_wait_ms.clamp(0, FETCH_WAIT_MS_MAX),
        })
    };
    let read_committed = request.isolation_level == READ_COMMITTED;
    ask_owners(shard, now, parts, effects, question, fetched, move |shard, _, mut results, effects| {
        leave_out_what_is_too_much(&mut results, max_bytes);
        let (response, files) = response(shard, plan, results, read_committed);
        effects.respond_with_files(&context, Response::Fetch(response), files);
    });
}

/// Kafka's answer to an isolation level that does not exist.
fn of_no_isolation(request: FetchRequest) -> FetchResponse {
    let error = ErrorCode::UnknownServerError;
    let responses = request.topics.into_iter().map(|topic| FetchableTopicResponse {
        topic: topic.topic,
        partitions: topic
            .partitions
            .into_iter()
            .map(|partition| {
                partition_data(partition.partition, FetchedPart::refused(error), false, &mut Vec::new())
            })
            .collect(),
    });
    FetchResponse {
        error_code: error,
        session_id: request.session_id,
        responses: responses.collect(),
        ..FetchResponse::default()
    }
}

fn forgotten(request: &FetchRequest) -> Vec<(String, i32)> {
    let topics = request.forgotten_topics_data.iter();
    topics.flat_map(|topic| topic.partitions.iter().map(|index| (topic.topic.clone(), *index))).collect()
}

fn wanted(topics: Vec<FetchTopic>) -> Vec<Wanted> {
    let mut all = Vec::new();
    for topic in topics {
        for partition in topic.partitions {
            all.push(Wanted {
                topic: topic.topic.clone(),
                partition: partition.partition,
                fetch_offset: partition.fetch_offset,
                max_bytes: partition.partition_max_bytes,
                current_leader_epoch: partition.current_leader_epoch,
                last_fetched_epoch: partition.last_fetched_epoch,
            });
        }
    }
    all
}

fn part(shard: &Shard, wanted: &Wanted) -> Part<FetchPart, FetchedPart> {
    match shard.resolve(&wanted.topic, wanted.partition) {
        None => Part::Known(FetchedPart::refused(ErrorCode::UnknownTopicOrPartition)),
        Some(key) => Part::Ask(
            key,
            FetchPart {
                key,
                offset: Offset(wanted.fetch_offset),
                max_bytes: wanted.max_bytes,
                current_leader_epoch: wanted.current_leader_epoch,
                last_fetched_epoch: wanted.last_fetched_epoch,
            },
        ),
    }
}

fn fetched(answer: Answer) -> Vec<FetchedPart> {
    match answer {
        Answer::Fetched(parts) => parts,
        other => unreachable!("a fetch is answered by what was read, not {other:?}"),
    }
}

/// Keeps to the bound of the request, in its order; the first records may exceed it, so that every client gets on.
fn leave_out_what_is_too_much(results: &mut [FetchedPart], max_bytes: i32) {
    let mut left = max_bytes.max(0) as usize;
    let mut is_first = true;
    for records in results.iter_mut().map(|result| &mut result.records).filter(|records| !records.is_empty())
    {
        if records.len() > left && !is_first {
            *records = FetchedRecords::Memory(Vec::new());
        }
        left = left.saturating_sub(records.len());
        is_first = false;
    }
}

fn response(
    shard: &mut Shard,
    plan: Plan,
    results: Vec<FetchedPart>,
    read_committed: bool,
) -> (FetchResponse, Vec<FileSlice>) {
    let mut files = Vec::new();
    let mut responses: Vec<FetchableTopicResponse> = Vec::new();
    for (wanted, result) in plan.wanted.into_iter().zip(results) {
        let is_news = shard.sessions.tell(
            plan.session_id,
            (&wanted.topic, wanted.partition),
            result.high_watermark,
            result.log_start_offset,
            result.error != ErrorCode::None || result.diverging_epoch.is_some(),
            !result.records.is_empty(),
        );
        if plan.incremental && !is_news {
            continue;
        }
        let data = partition_data(wanted.partition, result, read_committed, &mut files);
        match responses.last_mut().filter(|last| last.topic == wanted.topic) {
            Some(last) => last.partitions.push(data),
            None => {
                responses.push(FetchableTopicResponse { topic: wanted.topic, partitions: vec![data] });
            }
        }
    }
    (FetchResponse { session_id: plan.session_id, responses, ..FetchResponse::default() }, files)
}

fn partition_data(
    partition_index: i32,
    result: FetchedPart,
    read_committed: bool,
    files: &mut Vec<FileSlice>,
) -> PartitionData {
    let parts = match result.records {
        FetchedRecords::Memory(parts) => parts.into_iter().map(RecordsPart::Memory).collect(),
        FetchedRecords::File(slice) => {
            files.push(slice);
            vec![RecordsPart::File { slot: files.len() as u32 - 1, length: slice.length }]
        }
    };
    let (epoch, end_offset) = result.diverging_epoch.unwrap_or((-1, -1));
    PartitionData {
        partition_index,
        error_code: result.error,
        high_watermark: result.high_watermark,
        // Without transactions everything below the high watermark is decided.
        last_stable_offset: result.high_watermark,
        log_start_offset: result.log_start_offset,
        diverging_epoch: EpochEndOffset { epoch, end_offset },
        aborted_transactions: lists_aborted(read_committed, result.error).then(Vec::new),
        records: Some(Records { parts }),
        ..PartitionData::default()
    }
}

/// Whether aborted transactions are listed, though there are none, or left out. As in Kafka's answers.
fn lists_aborted(read_committed: bool, error: ErrorCode) -> bool {
    match error {
        ErrorCode::None => read_committed,
        ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownServerError => true,
        _ => false,
    }
}

/// Reads on the owner, or waits for enough.
pub(crate) fn read(shard: &mut Shard, now: Now, asker: Asker, ask: FetchAsk, effects: &mut Effects) {
    let reading = attempt(shard, &ask);
    let may_wait = ask.wait_ms > 0 && shard.waits.fetches.len() < FETCH_WAITS_MAX;
    if reading.is_enough(ask.min_bytes) || !may_wait {
        return conclude(shard, asker, ask, now.monotonic_us, reading, effects);
    }
    let id = shard.waits.id();
    for part in &ask.parts {
        if let Some(slot) = shard.partition(&part.key).map(|partition| partition.slot) {
            shard.partition_at(slot).expect("just found").wait_for_data(id);
        }
    }
    let deadline_us = now.monotonic_us + ask.wait_ms as u64 * 1_000;
    shard.waits.insert_fetch(
        id,
        FetchWait { asker, ask, deadline_us, at_owner_us: now.monotonic_us, locating: None },
    );
}

/// One look at all parts of a fetch.
struct Reading {
    parts: Vec<FetchedPart>,
    bytes: usize,
    has_error: bool,
    /// Parts whose positions in cold segments have to be found first.
    cold: Vec<(usize, Locate)>,
}

impl Reading {
    fn is_enough(&self, min_bytes: i32) -> bool {
        self.has_error || !self.cold.is_empty() || self.bytes as i64 >= i64::from(min_bytes)
    }
}

fn attempt(shard: &Shard, ask: &FetchAsk) -> Reading {
    let mut reading =
        Reading { parts: Vec::with_capacity(ask.parts.len()), bytes: 0, has_error: false, cold: Vec::new() };
    for (place, part) in ask.parts.iter().enumerate() {
        let left = (ask.max_bytes as usize).saturating_sub(reading.bytes);
        let result = attempt_one(shard, part, left, reading.bytes == 0 && reading.cold.is_empty());
        let fetched = match result {
            Ok((fetched, None)) => fetched,
            Ok((fetched, Some(locate))) => {
                reading.bytes += part.max_bytes.max(0) as usize;
                reading.cold.push((place, locate));
                fetched
            }
            Err(error) => FetchedPart::refused(error),
        };
        reading.has_error |= fetched.error != ErrorCode::None || fetched.diverging_epoch.is_some();
        reading.bytes += fetched.records.len();
        reading.parts.push(fetched);
    }
    reading
}

type Attempt = (FetchedPart, Option<Locate>);

fn attempt_one(shard: &Shard, part: &FetchPart, left: usize, min_one: bool) -> Result<Attempt, ErrorCode> {
    let partition = shard.led(&part.key, part.current_leader_epoch)?;
    let slot = partition.slot;
    let offsets = shard.store.offsets(slot);
    let high_watermark = shard.high_watermark(slot);
    let mut fetched = FetchedPart {
        error: ErrorCode::None,
        high_watermark: high_watermark.0,
        log_start_offset: offsets.log_start.0,
        diverging_epoch: None,
        records: FetchedRecords::Memory(Vec::new()),
    };
    if part.last_fetched_epoch >= 0 {
        let asked = LeaderEpoch(part.last_fetched_epoch);
        let (epoch, end) = shard.epoch_end(partition, asked, offsets.log_end);
        if epoch < 0 {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        if epoch < part.last_fetched_epoch || end < part.offset.0 {
            fetched.diverging_epoch = Some((epoch, end));
            return Ok((fetched, None));
        }
    }
    if part.offset < offsets.log_start || part.offset > offsets.log_end {
        return Err(ErrorCode::OffsetOutOfRange);
    }
    let max_bytes = left.min(part.max_bytes.max(0) as usize) as u32;
    if part.offset >= high_watermark || (max_bytes == 0 && !min_one) {
        return Ok((fetched, None));
    }
    match shard.store.read(slot, part.offset, high_watermark, max_bytes, min_one).map_err(read_error)? {
        Read::Memory(batches) => fetched.records = FetchedRecords::Memory(batches),
        Read::File(slice) => fetched.records = FetchedRecords::File(slice),
        Read::Empty => {}
        Read::Locate(locate) => return Ok((fetched, Some(locate))),
    }
    Ok((fetched, None))
}

/// Answers with a reading, once the positions that it lacks are found.
fn conclude(
    shard: &mut Shard,
    asker: Asker,
    ask: FetchAsk,
    at_owner_us: u64,
    reading: Reading,
    effects: &mut Effects,
) {
    if reading.cold.is_empty() {
        return answer(shard, asker, &ask, at_owner_us, reading.parts, effects);
    }
    let id = shard.waits.id();
    let missing = reading.cold.len();
    for (place, locate) in reading.cold {
        let token = shard.waits.token(StoreAsk::Fetch(id, place));
        shard.store.locate(locate, token);
    }
    let locating = Some(Locating { parts: reading.parts, missing });
    shard.waits.insert_fetch(id, FetchWait { asker, ask, deadline_us: u64::MAX, at_owner_us, locating });
}

fn answer(
    shard: &mut Shard,
    asker: Asker,
    ask: &FetchAsk,
    at_owner_us: u64,
    parts: Vec<FetchedPart>,
    effects: &mut Effects,
) {
    for (asked, fetched) in ask.parts.iter().zip(&parts) {
        let bytes = fetched.records.len() as u64;
        if bytes > 0
            && let Some(slot) = shard.partition(&asked.key).map(|partition| partition.slot)
        {
            shard.count(slot, |traffic| {
                traffic.reads += 1;
                traffic.bytes_out += bytes;
            });
        }
    }
    let passage = Passage { at_owner_us, found_us: shard.step_us, ..Passage::default() };
    shard.answer_passed(asker, Answer::Fetched(parts), passage, effects);
}

/// Takes in a position that a fetch was waiting for.
pub(super) fn located(
    shard: &mut Shard,
    id: WaitId,
    place: usize,
    found: Result<Located, ErrorCode>,
    effects: &mut Effects,
) {
    let wait = shard.waits.fetches.get_mut(&id).expect("a fetch that locates is not given up");
    let locating = wait.locating.as_mut().expect("it locates");
    match found {
        Ok(Located::Slice(slice)) => locating.parts[place].records = FetchedRecords::File(slice),
        Ok(_) => {}
        Err(error) => locating.parts[place] = FetchedPart::refused(error),
    }
    locating.missing -= 1;
    if locating.missing == 0 {
        let wait = shard.waits.remove_fetch(id).expect("just found");
        let parts = wait.locating.expect("it located").parts;
        answer(shard, wait.asker, &wait.ask, wait.at_owner_us, parts, effects);
    }
}

/// Looks again at the fetches that wait for a partition.
pub(crate) fn wake(shard: &mut Shard, slot: Slot, effects: &mut Effects) {
    let Some(partition) = shard.partition_at(slot) else { return };
    for id in partition.take_fetches() {
        if !look_again(shard, id, effects)
            && let Some(partition) = shard.partition_at(slot)
        {
            partition.wait_for_data(id);
        }
    }
}

/// Looks again at these fetches: a partition of theirs is gone.
pub(crate) fn wake_each(shard: &mut Shard, ids: Vec<WaitId>, effects: &mut Effects) {
    for id in ids {
        look_again(shard, id, effects);
    }
}

/// True if the fetch waits no longer.
fn look_again(shard: &mut Shard, id: WaitId, effects: &mut Effects) -> bool {
    let Some(wait) = shard.waits.fetches.get(&id) else { return true };
    let reading = attempt(shard, &wait.ask);
    let is_enough = reading.is_enough(wait.ask.min_bytes);
    if is_enough {
        finish_wait(shard, id, reading, effects);
    }
    is_enough
}

/// Answers the fetches whose time is over with what there is.
pub(crate) fn expire(shard: &mut Shard, now: Now, effects: &mut Effects) {
    while let Some(id) = shard.waits.expired_fetch(now.monotonic_us) {
        answer_now(shard, id, effects);
    }
}

/// The asker has enough: answers with what there is.
pub(crate) fn hurry(shard: &mut Shard, asker: Asker, effects: &mut Effects) {
    if let Some(id) = shard.waits.fetch_of(asker) {
        answer_now(shard, id, effects);
    }
}

fn answer_now(shard: &mut Shard, id: WaitId, effects: &mut Effects) {
    let wait = &shard.waits.fetches[&id];
    if wait.locating.is_none() {
        let reading = attempt(shard, &wait.ask);
        finish_wait(shard, id, reading, effects);
    }
}

fn finish_wait(shard: &mut Shard, id: WaitId, reading: Reading, effects: &mut Effects) {
    let wait = shard.waits.remove_fetch(id).expect("a fetch is answered once");
    for part in &wait.ask.parts {
        if let Some(slot) = shard.partition(&part.key).map(|partition| partition.slot) {
            shard.partition_at(slot).expect("just found").forget_fetch(id);
        }
    }
    conclude(shard, wait.asker, wait.ask, wait.at_owner_us, reading, effects);
}

fn read_error(error: ReadError) -> ErrorCode {
    match error {
        ReadError::OutOfRange => ErrorCode::OffsetOutOfRange,
        ReadError::Offline(_) => ErrorCode::KafkaStorageError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(bytes: usize) -> FetchedPart {
        let records = FetchedRecords::Memory(vec![bytes::Bytes::from(vec![0; bytes])]);
        FetchedPart {
            error: ErrorCode::None,
            high_watermark: 1,
            log_start_offset: 0,
            diverging_epoch: None,
            records,
        }
    }

    #[test]
    fn what_several_shards_have_read_keeps_to_the_bound_of_the_request() {
        let kept = |lengths: &[usize], max_bytes| {
            let mut results: Vec<FetchedPart> = lengths.iter().map(|length| part(*length)).collect();
            leave_out_what_is_too_much(&mut results, max_bytes);
            results.iter().map(|result| result.records.len()).collect::<Vec<_>>()
        };
        assert_eq!(kept(&[60, 50, 40, 1], 100), [60, 0, 40, 0]);
        assert_eq!(kept(&[0, 500, 1], 100), [0, 500, 0], "the first batch goes, whatever its size");
        assert_eq!(kept(&[60, 40], 100), [60, 40]);
        assert_eq!(kept(&[1, 1], 0), [1, 0]);
    }
}
