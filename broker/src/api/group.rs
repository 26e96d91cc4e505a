//! Group coordinators on the shard of their partition: loading them, asking them, appending what they want kept.

use std::sync::Arc;

use bytes::Bytes;
use net::{ErrorCode, Request};
use storage::{
    AppendError, AppendOrigin, BatchHeader, DiskError, LeaderEpoch, Located, Now, Offset, Read, Slot,
};

use crate::coordinator::{
    self, CoordinatorEffect, CoordinatorEvent, CoordinatorRecord, GroupCoordinator, OFFSETS_TOPIC,
};
use crate::effects::Effects;
use crate::group_host::Hosted;
use crate::letter::{Answer, Client};
use crate::limits::COORDINATOR_LOAD_BYTES;
use crate::shard::Shard;
use crate::waits::{Asker, StoreAsk};

/// Begins to coordinate the groups of a partition of `__consumer_offsets`: replays it first.
pub(crate) fn host(shard: &mut Shard, now: Now, slot: Slot, effects: &mut Effects) {
    let config = shard.config.group_config();
    let seed = (now.wall_ms as u64).rotate_left(24) ^ now.monotonic_us ^ u64::from(slot.0) << 48;
    let coordinator = GroupCoordinator::new(config, seed);
    let loading = Some(shard.store.offsets(slot).log_start);
    shard.groups.hosted.insert(slot, Hosted { coordinator, loading });
    load(shard, now, slot, effects);
}

/// Ends it: everyone who waits is told.
pub(crate) fn unhost(shard: &mut Shard, now: Now, slot: Slot, effects: &mut Effects) {
    tell(shard, now, slot, CoordinatorEvent::Unload, effects);
    shard.groups.hosted.remove(&slot);
}

/// Replays what is in memory, and asks the disk for what is not.
fn load(shard: &mut Shard, now: Now, slot: Slot, effects: &mut Effects) {
    while let Some(next) = shard.groups.hosted.get(&slot).and_then(|hosted| hosted.loading) {
        let end = shard.high_watermark(slot);
        match shard.store.read(slot, next, end, COORDINATOR_LOAD_BYTES, true) {
            Ok(Read::Memory(parts)) => {
                // The parts are cut anywhere; only together are they whole batches.
                if !replay(shard, now, slot, Bytes::from(parts.concat()), effects) {
                    return give_up(shard, slot, "no whole batch in memory");
                }
            }
            Ok(Read::File(slice)) => {
                let token = shard.waits.token(StoreAsk::Load(slot));
                return shard.store.read_bytes(slice, token);
            }
            Ok(Read::Locate(locate)) => {
                let token = shard.waits.token(StoreAsk::Load(slot));
                return shard.store.locate(locate, token);
            }
            Ok(Read::Empty) => finish_load(shard, now, slot, effects),
            Err(error) => return give_up(shard, slot, &format!("{error:?}")),
        }
    }
}

fn finish_load(shard: &mut Shard, now: Now, slot: Slot, effects: &mut Effects) {
    shard.groups.hosted.get_mut(&slot).expect("it is being loaded").loading = None;
    tell(shard, now, slot, CoordinatorEvent::Loaded, effects);
    // Topics that were deleted when nobody was there to be told.
    let topics = shard.groups.hosted[&slot].coordinator.topics();
    let gone = topics.into_iter().filter(|topic| shard.image.topic(topic).is_none()).collect();
    tell(shard, now, slot, CoordinatorEvent::TopicsDeleted(gone), effects);
}

/// Tells the coordinators that a topic is gone, and with it what groups have read of it.
pub(crate) fn topic_deleted(shard: &mut Shard, now: Now, topic: &Arc<str>, effects: &mut Effects) {
    for slot in shard.groups.hosted.keys().copied().collect::<Vec<_>>() {
        tell(shard, now, slot, CoordinatorEvent::TopicsDeleted(vec![topic.clone()]), effects);
    }
}

/// Gives the coordinators the settings that the broker has now.
pub(crate) fn configure(shard: &mut Shard) {
    let config = shard.config.group_config();
    for hosted in shard.groups.hosted.values_mut() {
        hosted.coordinator.configure(config.clone());
    }
}

/// The coordinator stays in `COORDINATOR_LOAD_IN_PROGRESS`: serving half of the groups would lose offsets in silence.
fn give_up(shard: &Shard, slot: Slot, why: &str) {
    tracing::error!(
        shard = shard.id.0,
        "{OFFSETS_TOPIC} in slot {} cannot be read, its groups are not served: {why}",
        slot.0
    );
}

/// Takes in where the next piece of a partition is.
pub(super) fn located(shard: &mut Shard, now: Now, slot: Slot, located: Located, effects: &mut Effects) {
    match located {
        Located::Slice(slice) => {
            let token = shard.waits.token(StoreAsk::Load(slot));
            shard.store.read_bytes(slice, token);
        }
        Located::Failed(error) => give_up(shard, slot, &error.to_string()),
        Located::Empty | Located::Timestamp(_) => finish_load(shard, now, slot, effects),
    }
}

/// Takes in the next piece of a partition.
pub(crate) fn read(
    shard: &mut Shard,
    now: Now,
    token: u64,
    result: Result<Bytes, DiskError>,
    effects: &mut Effects,
) {
    let StoreAsk::Load(slot) = shard.waits.store_ask(token) else {
        unreachable!("only coordinators read bytes")
    };
    if !shard.groups.hosted.contains_key(&slot) {
        return; // The topic was deleted meanwhile.
    }
    match result {
        Ok(bytes) => match replay(shard, now, slot, bytes, effects) {
            true => load(shard, now, slot, effects),
            false => give_up(shard, slot, "no whole batch in the file"),
        },
        Err(error) => give_up(shard, slot, &error.to_string()),
    }
}

/// Replays whole batches; false if there is none, so that nobody reads the same bytes for ever.
fn replay(shard: &mut Shard, now: Now, slot: Slot, mut batches: Bytes, effects: &mut Effects) -> bool {
    let mut has_batch = false;
    while let Some(header) = BatchHeader::read(&batches) {
        let records = match coordinator::replay_batch(&mut batches) {
            None => break,
            Some(Ok(records)) => records,
            Some(Err(why)) => {
                tracing::error!(
                    shard = shard.id.0,
                    "{OFFSETS_TOPIC}: batch at {} left out: {why}",
                    header.base_offset
                );
                Vec::new()
            }
        };
        for (key, value) in records {
            tell(shard, now, slot, CoordinatorEvent::Replay { key, value }, effects);
        }
        let hosted = shard.groups.hosted.get_mut(&slot).expect("it is being loaded");
        hosted.loading = Some(header.last_offset().next());
        has_batch = true;
    }
    has_batch
}

/// Asks the coordinator of a partition of `__consumer_offsets`.
#[expect(clippy::too_many_arguments, reason = "what a question for a group consists of, and who asks when")]
pub(crate) fn serve(
    shard: &mut Shard,
    now: Now,
    asker: Asker,
    partition: i32,
    client: Client,
    version: i16,
    request: Request,
    effects: &mut Effects,
) {
    let key = shard.resolve(OFFSETS_TOPIC, partition);
    let slot = key.and_then(|key| shard.partition(&key)).map(|partition| partition.slot);
    match slot.filter(|slot| shard.groups.hosted.contains_key(slot)) {
        Some(slot) => {
            let token = shard.groups.token(asker);
            tell(shard, now, slot, CoordinatorEvent::Request { token, client, version, request }, effects);
        }
        None => {
            let response = coordinator::refusal(&request, version, ErrorCode::NotCoordinator);
            shard.answer(asker, Answer::Response(response), effects);
        }
    }
}

/// Tells a coordinator what of its partition is durable.
pub(crate) fn committed(shard: &mut Shard, now: Now, slot: Slot, effects: &mut Effects) {
    let end = shard.high_watermark(slot);
    tell(shard, now, slot, CoordinatorEvent::Committed { end }, effects);
}

/// Tells the coordinators the time.
pub(crate) fn timeout(shard: &mut Shard, now: Now, effects: &mut Effects) {
    let due = |hosted: &Hosted| hosted.coordinator.next_timeout().is_some_and(|at| at <= now.monotonic_us);
    let slots = shard.groups.hosted.iter().filter(|(_, hosted)| due(hosted)).map(|(slot, _)| *slot);
    for slot in slots.collect::<Vec<_>>() {
        tell(shard, now, slot, CoordinatorEvent::Timeout, effects);
    }
}

/// Tells a coordinator something, and does what it wants done.
fn tell(shard: &mut Shard, now: Now, slot: Slot, event: CoordinatorEvent, effects: &mut Effects) {
    let Some(hosted) = shard.groups.hosted.get_mut(&slot) else { return };
    let mut wanted = Vec::new();
    hosted.coordinator.handle(now, event, &mut wanted);
    for effect in wanted {
        match effect {
            CoordinatorEffect::Respond { token, response } => {
                let asker = shard.groups.asker(token);
                shard.answer(asker, Answer::Response(response), effects);
            }
            CoordinatorEffect::Append { batch, records } => {
                let event = match append(shard, now, slot, &records) {
                    Ok(end) => CoordinatorEvent::Appended { batch, end },
                    Err(error) => CoordinatorEvent::Refused { batch, error },
                };
                tell(shard, now, slot, event, effects);
                if shard.store.offsets(slot).log_end <= shard.high_watermark(slot) {
                    // With `flush.mode=interval` what was appended counts as durable at once.
                    committed(shard, now, slot, effects);
                }
            }
        }
    }
}

fn append(
    shard: &mut Shard,
    now: Now,
    slot: Slot,
    records: &[CoordinatorRecord],
) -> Result<Offset, ErrorCode> {
    let epoch = shard.partition_at(slot).ok_or(ErrorCode::NotCoordinator)?.leader_epoch;
    let batch = coordinator::records_batch(records, now.wall_ms);
    let appended = shard.store.append(now, slot, batch, AppendOrigin::Coordinator, LeaderEpoch(epoch));
    match appended {
        Ok(appended) => Ok(appended.last_offset.next()),
        Err(error) => {
            tracing::warn!(shard = shard.id.0, "{OFFSETS_TOPIC} did not take a batch: {error}");
            Err(match error {
                AppendError::MessageTooLarge { .. } => ErrorCode::MessageTooLarge,
                _ => ErrorCode::CoordinatorNotAvailable,
            })
        }
    }
}
