//! What a partition knows about its idempotent producers, with Kafka's rules: the last five batches of each are
//! remembered, one that comes again gets its old offsets, a sequence that does not follow is refused, a producer
//! that is not known may begin anywhere (KIP-360), a newer epoch begins at sequence 0.
//!
//! One rule more: where the batch of an unknown producer was turned away, which the client sends again, what it had
//! sent after it is out of order. Otherwise the second batch would be taken for the beginning, and the first refused
//! for ever.

use crate::batch::AppendError;
use crate::header::{BatchHeader, increment_sequence};
use crate::types::{Offset, ProducerId};
use foldhash::fast::FixedState;
use hashbrown::HashMap;

/// Batches remembered per producer: a client has at most five requests in flight.
pub const BATCHES_MAX: usize = 5;

/// Producers of a partition whose first batch was turned away, at most. Beyond, Kafka's rules are all there is.
const TURNED_AWAY_MAX: usize = 1000;

/// One remembered batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProducerBatch {
    /// Sequence of the first record.
    pub first_sequence: i32,
    /// Sequence of the last record.
    pub last_sequence: i32,
    /// Offset of the last record.
    pub last_offset: Offset,
    /// Offset of the last record less that of the first.
    pub offset_delta: i32,
    /// Max timestamp of the batch, ms since 1970.
    pub timestamp_ms: i64,
}

impl ProducerBatch {
    fn of(header: &BatchHeader, base_offset: Offset) -> ProducerBatch {
        ProducerBatch {
            first_sequence: header.base_sequence,
            last_sequence: header.last_sequence(),
            last_offset: Offset(base_offset.0 + i64::from(header.last_offset_delta)),
            offset_delta: header.last_offset_delta,
            timestamp_ms: header.max_timestamp,
        }
    }

    /// Offset of the first record.
    #[must_use]
    pub fn first_offset(&self) -> Offset {
        Offset(self.last_offset.0 - i64::from(self.offset_delta))
    }
}

/// One producer of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerEntry {
    /// The producer's epoch.
    pub epoch: i16,
    /// Its last batches, oldest first, never empty and at most [`BATCHES_MAX`].
    pub batches: Vec<ProducerBatch>,
    /// When it was last heard of, ms since 1970 on the broker's clock.
    pub heard_ms: i64,
}

impl ProducerEntry {
    fn last(&self) -> &ProducerBatch {
        self.batches.last().expect("a producer is remembered by its batches")
    }
}

/// What is known about one producer, as DescribeProducers tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerState {
    /// The producer.
    pub producer_id: ProducerId,
    /// Its epoch.
    pub epoch: i16,
    /// Sequence of its last record.
    pub last_sequence: i32,
    /// Offset of its last record.
    pub last_offset: Offset,
    /// Timestamp of its last batch, ms since 1970.
    pub last_timestamp_ms: i64,
}

/// What is to be done with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sequenced {
    /// It is new: append it.
    New,
    /// It was appended before.
    Duplicate(ProducerBatch),
}

/// The producers of one partition.
#[derive(Clone, Debug, Default)]
pub struct ProducerStates {
    producers: HashMap<ProducerId, ProducerEntry, FixedState>,
    turned_away: HashMap<ProducerId, TurnedAway, FixedState>,
}

/// The first batch of a producer that is not known, which could not be taken.
#[derive(Clone, Copy, Debug)]
struct TurnedAway {
    epoch: i16,
    sequence: i32,
    heard_ms: i64,
}

impl ProducerStates {
    /// Whether no producer is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// Judges a batch by its sequence. Changes nothing.
    pub fn check(&self, header: &BatchHeader) -> Result<Sequenced, AppendError> {
        if !header.has_producer() {
            return Ok(Sequenced::New);
        }
        let Some(entry) = self.producers.get(&header.producer_id) else {
            return match self.turned_away.get(&header.producer_id) {
                Some(first)
                    if first.epoch == header.producer_epoch && header.base_sequence > first.sequence =>
                {
                    Err(out_of_order(header, first.sequence - 1))
                }
                _ => Ok(Sequenced::New),
            };
        };
        if header.producer_epoch < entry.epoch {
            return Err(AppendError::InvalidProducerEpoch(format!(
                "epoch {} of producer {} is older than {}",
                header.producer_epoch, header.producer_id, entry.epoch
            )));
        }
        if header.is_control() {
            return Ok(Sequenced::New);
        }
        if header.producer_epoch > entry.epoch {
            return if header.base_sequence == 0 {
                Ok(Sequenced::New)
            } else {
                Err(out_of_order(header, -1))
            };
        }
        let again = |batch: &&ProducerBatch| {
            batch.first_sequence == header.base_sequence && batch.last_sequence == header.last_sequence()
        };
        if let Some(batch) = entry.batches.iter().find(again) {
            return Ok(Sequenced::Duplicate(*batch));
        }
        let last = entry.last().last_sequence;
        if header.base_sequence == increment_sequence(last, 1) {
            Ok(Sequenced::New)
        } else {
            Err(out_of_order(header, last))
        }
    }

    /// Remembers that a batch could not be taken now, for reasons that are not its own.
    pub fn turn_away(&mut self, header: &BatchHeader, heard_ms: i64) {
        let (id, epoch) = (header.producer_id, header.producer_epoch);
        if !header.has_producer() || self.producers.contains_key(&id) {
            return;
        }
        let known = self.turned_away.get(&id).filter(|first| first.epoch >= epoch);
        if known.is_none() && (self.turned_away.len() < TURNED_AWAY_MAX || self.turned_away.contains_key(&id))
        {
            self.turned_away.insert(id, TurnedAway { epoch, sequence: header.base_sequence, heard_ms });
        }
    }

    /// Remembers an appended batch. A batch at or below the last one known is passed over, so a batch may be
    /// replayed twice.
    pub fn update(&mut self, header: &BatchHeader, base_offset: Offset, heard_ms: i64) {
        if !header.has_producer() || header.is_control() {
            return;
        }
        let batch = ProducerBatch::of(header, base_offset);
        self.turned_away.remove(&header.producer_id);
        let entry = self.producers.entry(header.producer_id).or_insert_with(|| ProducerEntry {
            epoch: header.producer_epoch,
            batches: Vec::with_capacity(1),
            heard_ms,
        });
        if entry.batches.last().is_some_and(|last| last.last_offset >= batch.last_offset) {
            return;
        }
        if entry.epoch != header.producer_epoch {
            entry.epoch = header.producer_epoch;
            entry.batches.clear();
        }
        if entry.batches.len() == BATCHES_MAX {
            entry.batches.remove(0);
        }
        entry.batches.push(batch);
        entry.heard_ms = heard_ms;
    }

    /// Forgets producers that were not heard of since `expired_before_ms`.
    pub fn expire(&mut self, expired_before_ms: i64) {
        self.producers.retain(|_, entry| entry.heard_ms >= expired_before_ms);
        self.turned_away.retain(|_, first| first.heard_ms >= expired_before_ms);
    }

    /// Every producer, by id.
    #[must_use]
    pub fn entries(&self) -> Vec<(ProducerId, &ProducerEntry)> {
        let mut entries: Vec<_> = self.producers.iter().map(|(id, entry)| (*id, entry)).collect();
        entries.sort_unstable_by_key(|entry| entry.0);
        entries
    }

    /// Puts a producer back as a checkpoint remembers it.
    pub fn restore(&mut self, producer_id: ProducerId, entry: ProducerEntry) {
        assert!(!entry.batches.is_empty(), "a producer is remembered by its batches");
        self.producers.insert(producer_id, entry);
    }

    /// Every producer as DescribeProducers tells it, by id.
    #[must_use]
    pub fn describe(&self) -> Vec<ProducerState> {
        let describe = |(producer_id, entry): (ProducerId, &ProducerEntry)| ProducerState {
            producer_id,
            epoch: entry.epoch,
            last_sequence: entry.last().last_sequence,
            last_offset: entry.last().last_offset,
            last_timestamp_ms: entry.last().timestamp_ms,
        };
        self.entries().into_iter().map(describe).collect()
    }
}

fn out_of_order(header: &BatchHeader, last: i32) -> AppendError {
    AppendError::OutOfOrderSequence(format!(
        "producer {} epoch {}: sequence {} does not follow {last}",
        header.producer_id, header.producer_epoch, header.base_sequence
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(epoch: i16, sequence: i32, count: i32) -> BatchHeader {
        BatchHeader {
            producer_id: ProducerId(7),
            producer_epoch: epoch,
            base_sequence: sequence,
            record_count: count,
            last_offset_delta: count - 1,
            ..BatchHeader::default()
        }
    }

    fn append(states: &mut ProducerStates, header: &BatchHeader, offset: i64) {
        assert_eq!(states.check(header), Ok(Sequenced::New));
        states.update(header, Offset(offset), 0);
    }

    #[test]
    fn five_batches_are_remembered_and_an_older_one_is_out_of_order() {
        let mut states = ProducerStates::default();
        for index in 0..6 {
            append(&mut states, &batch(0, index * 2, 2), i64::from(index) * 100);
        }
        assert!(matches!(states.check(&batch(0, 0, 2)), Err(AppendError::OutOfOrderSequence(_))));
        let Ok(Sequenced::Duplicate(found)) = states.check(&batch(0, 2, 2)) else { panic!("a duplicate") };
        assert_eq!((found.first_offset(), found.last_offset), (Offset(100), Offset(101)));
        assert!(matches!(states.check(&batch(0, 2, 1)), Err(AppendError::OutOfOrderSequence(_))));
        assert!(matches!(states.check(&batch(0, 13, 1)), Err(AppendError::OutOfOrderSequence(_))));
        assert_eq!(states.check(&batch(0, 12, 1)), Ok(Sequenced::New));
    }

    #[test]
    fn an_unknown_producer_may_begin_anywhere_and_a_newer_epoch_at_zero_only() {
        let mut states = ProducerStates::default();
        append(&mut states, &batch(3, 41, 1), 10);
        assert!(matches!(states.check(&batch(2, 42, 1)), Err(AppendError::InvalidProducerEpoch(_))));
        assert!(matches!(states.check(&batch(4, 42, 1)), Err(AppendError::OutOfOrderSequence(_))));
        append(&mut states, &batch(4, 0, 1), 11);
        assert!(matches!(states.check(&batch(3, 42, 1)), Err(AppendError::InvalidProducerEpoch(_))));
        append(&mut states, &batch(4, 1, 1), 12);
    }

    #[test]
    fn what_was_sent_behind_a_first_batch_that_was_turned_away_is_out_of_order() {
        let mut states = ProducerStates::default();
        states.turn_away(&batch(0, 0, 2), 5);
        states.turn_away(&batch(0, 2, 2), 5);
        assert!(matches!(states.check(&batch(0, 2, 2)), Err(AppendError::OutOfOrderSequence(_))));
        append(&mut states, &batch(0, 0, 2), 10);
        append(&mut states, &batch(0, 2, 2), 12);
        // A producer with another epoch, or one that is known, is judged as ever; one that never comes is forgotten.
        states.turn_away(&batch(0, 9, 1), 6);
        append(&mut states, &batch(0, 4, 1), 14);
        let mut states = ProducerStates::default();
        states.turn_away(&batch(3, 0, 1), 5);
        assert_eq!(states.check(&batch(4, 7, 1)), Ok(Sequenced::New));
        states.expire(6);
        assert_eq!(states.check(&batch(3, 1, 1)), Ok(Sequenced::New));
    }

    #[test]
    fn sequences_wrap() {
        let mut states = ProducerStates::default();
        append(&mut states, &batch(0, i32::MAX - 1, 2), 0);
        append(&mut states, &batch(0, 0, 1), 2);
    }

    #[test]
    fn a_replayed_batch_changes_nothing() {
        let mut states = ProducerStates::default();
        states.update(&batch(0, 0, 2), Offset(0), 5);
        states.update(&batch(0, 2, 2), Offset(2), 6);
        let before = states.describe();
        states.update(&batch(0, 0, 2), Offset(0), 9);
        assert_eq!(states.describe(), before);
    }

    #[test]
    fn a_silent_producer_is_forgotten() {
        let mut states = ProducerStates::default();
        states.update(&batch(0, 0, 1), Offset(0), 1000);
        states.expire(1000);
        assert!(!states.is_empty());
        states.expire(1001);
        assert!(states.is_empty());
    }
}
