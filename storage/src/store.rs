//! One shard's store: its WAL, all its logs, its checkpoints. The broker sees only this type.
//! It never waits: it hands out operations and takes their completions.

use crate::config::{LogConfig, StoreConfig};
use crate::leader_epochs::LeaderEpochs;
use crate::op::{DiskError, Done, FileSlice, Op};
use crate::producer_state::ProducerState;
use crate::recovery::Recovered;
use crate::types::{LeaderEpoch, Now, Offset, PartitionKey, Slot};
use bytes::Bytes;

pub use crate::batch::{AppendError, AppendOrigin};

/// One shard's store.
#[derive(Debug)]
pub struct Store {}

/// What an append was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Offset of the last record; durable when the durable end is above.
    pub last_offset: Offset,
    /// The time of the append, if the topic stamps it on records.
    pub log_append_time_ms: Option<i64>,
    /// First offset of the log.
    pub log_start_offset: Offset,
    /// The batch had been appended before, at these offsets.
    pub duplicate: bool,
}

/// The offsets that bound a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    /// First offset that can be read.
    pub log_start: Offset,
    /// End of what may be acknowledged: the durable end, or the log end with `flush.mode=interval`.
    pub acknowledged_end: Offset,
    /// End of what is on stable storage.
    pub durable_end: Offset,
    /// The offset that the next record gets.
    pub log_end: Offset,
}

/// What a read found.
#[derive(Clone, Debug)]
pub enum Read {
    /// Whole batches from memory.
    Memory(Vec<Bytes>),
    /// Whole batches in a file.
    File(FileSlice),
    /// In a file, but where exactly is not known: give this to [`Store::locate`].
    Locate(Locate),
    /// Nothing between `from` and the limit that fits.
    Empty,
}

/// Why a read was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// OFFSET_OUT_OF_RANGE: below the log start or above the log end.
    OutOfRange,
    /// KAFKA_STORAGE_ERROR: the volume failed or the partition is damaged.
    Offline(String),
}

/// A search that needs the disk.
#[derive(Clone, Copy, Debug)]
pub struct Locate {
    /// The partition.
    pub slot: Slot,
}

/// The answer to [`Store::locate`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Located {
    /// Whole batches in a file.
    Slice(FileSlice),
    /// Nothing fits.
    Empty,
    /// The record with the timestamp searched.
    Timestamp(FoundTimestamp),
    /// The disk could not say.
    Failed(DiskError),
}

/// A record found by its timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundTimestamp {
    /// Its offset.
    pub offset: Offset,
    /// Its timestamp, ms since 1970.
    pub timestamp_ms: i64,
    /// The epoch of the leader that appended it.
    pub leader_epoch: LeaderEpoch,
}

/// The answer to a search by timestamp.
#[derive(Clone, Debug)]
pub enum TimestampSearch {
    /// The first record at or after the timestamp.
    Found(FoundTimestamp),
    /// It is in a file: give this to [`Store::locate`].
    Locate(Locate),
    /// There is none.
    None,
}

/// What a completion brought about.
#[derive(Clone, Debug)]
pub enum Event {
    /// Everything below `end` is on stable storage.
    Durable {
        /// The partition.
        slot: Slot,
        /// The new durable end.
        end: Offset,
    },
    /// Records below `offset` are gone, for good.
    LogStart {
        /// The partition.
        slot: Slot,
        /// The new first offset.
        offset: Offset,
    },
    /// The answer to [`Store::locate`].
    Located {
        /// The caller's token.
        token: u64,
        /// The answer.
        located: Located,
    },
    /// The answer to [`Store::read_bytes`].
    Bytes {
        /// The caller's token.
        token: u64,
        /// The bytes, shorter than asked only at the end of the file.
        result: Result<Bytes, DiskError>,
    },
    /// This life's first checkpoint is complete. When all shards of a volume have said so, each may be told to
    /// [`Store::release_previous`].
    FirstCheckpoint,
    /// The store failed for this process: every append and read is refused from here on.
    Failed {
        /// Why.
        message: String,
    },
}

/// How much is waiting to reach its segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Bytes in memory and WAL that are not yet in a segment.
    pub dirty_bytes: u64,
    /// The broker should stop taking produce requests from sockets.
    pub over: bool,
}

#[allow(unused_variables, missing_docs, clippy::must_use_candidate, clippy::todo)]
impl Store {
    /// A store that goes on where `recovered` ended.
    pub fn open(recovered: Recovered, config: StoreConfig, now: Now) -> Store {
        todo!()
    }
    /// Makes a partition known; one that is known keeps its data and takes the configuration.
    pub fn create_partition(&mut self, key: PartitionKey, config: LogConfig) -> Slot {
        todo!()
    }
    /// The broker has created every partition that its metadata knows: any other is new.
    pub fn loaded(&mut self) {
        todo!()
    }
    /// The slot of a partition.
    pub fn slot(&self, key: &PartitionKey) -> Option<Slot> {
        todo!()
    }
    /// The partitions that are known.
    pub fn partitions(&self) -> impl Iterator<Item = (Slot, PartitionKey)> + '_ {
        std::iter::empty()
    }
    /// Takes new settings for a partition.
    pub fn configure(&mut self, slot: Slot, config: LogConfig) {
        todo!()
    }
    /// Forgets a partition and removes its files. The slot may be given to another partition later.
    pub fn delete_partition(&mut self, slot: Slot) {
        todo!()
    }
    /// Validates and appends one batch.
    pub fn append(
        &mut self,
        now: Now,
        slot: Slot,
        batches: Bytes,
        origin: AppendOrigin,
        epoch: LeaderEpoch,
    ) -> Result<Appended, AppendError> {
        todo!()
    }
    /// Whole batches from the one with `from` on, below `limit`.
    pub fn read(
        &self,
        slot: Slot,
        from: Offset,
        limit: Offset,
        max_bytes: u32,
        min_one: bool,
    ) -> Result<Read, ReadError> {
        todo!()
    }
    /// Answered by [`Event::Located`] with the token.
    pub fn locate(&mut self, locate: Locate, token: u64) {
        todo!()
    }
    /// Answered by [`Event::Bytes`] with the token.
    pub fn read_bytes(&mut self, slice: FileSlice, token: u64) {
        todo!()
    }
    /// The bounds of a log.
    pub fn offsets(&self, slot: Slot) -> Offsets {
        todo!()
    }
    /// The epochs of a log.
    pub fn leader_epochs(&self, slot: Slot) -> &LeaderEpochs {
        todo!()
    }
    /// The first record at or after a timestamp.
    pub fn offset_for_timestamp(&self, slot: Slot, timestamp_ms: i64) -> TimestampSearch {
        todo!()
    }
    /// The record with the largest timestamp.
    pub fn max_timestamp(&self, slot: Slot) -> TimestampSearch {
        todo!()
    }
    /// Removes records below `before` (or the durable end, for −1). Done when [`Event::LogStart`] says so.
    pub fn delete_records(&mut self, slot: Slot, before: Offset) -> Result<Offset, ReadError> {
        todo!()
    }
    /// The producers of a partition.
    pub fn producer_states(&self, slot: Slot) -> impl Iterator<Item = ProducerState> + '_ {
        std::iter::empty()
    }
    /// Size of a log, in bytes.
    pub fn size_bytes(&self, slot: Slot) -> u64 {
        todo!()
    }
    /// Ends a turn: what was appended leaves as operations.
    pub fn end_turn(&mut self, now: Now, ops: &mut Vec<Op>) {
        todo!()
    }
    /// Takes an answer of the disk.
    pub fn complete(&mut self, now: Now, done: Done, events: &mut Vec<Event>) {
        todo!()
    }
    /// When [`Store::end_turn`] wants to be called at the latest, in microseconds of the monotonic clock.
    pub fn next_timeout(&self) -> Option<u64> {
        todo!()
    }
    /// Flushes everything and takes a last checkpoint. Appends are refused from here on.
    pub fn begin_stop(&mut self, now: Now) {
        todo!()
    }
    /// Whether the stop is complete.
    pub fn stopped(&self) -> bool {
        todo!()
    }
    /// How much is waiting to reach its segment.
    pub fn pressure(&self) -> Pressure {
        todo!()
    }
    /// Every shard of the volume has its first checkpoint: files of earlier lives may go. Needed only where
    /// [`Recovered`] says that partitions changed their shard.
    pub fn release_previous(&mut self) {
        todo!()
    }
    /// Why the store failed, if it did.
    pub fn failure(&self) -> Option<&str> {
        todo!()
    }
    /// The first offset lost, if the partition is damaged and therefore offline.
    pub fn damaged_from(&self, slot: Slot) -> Option<Offset> {
        todo!()
    }
}
