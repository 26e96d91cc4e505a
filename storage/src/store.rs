//! One shard's store: its WAL, all its logs, its checkpoints. The broker sees only this type.
//! It never waits: it hands out operations and takes their completions.
//!
//! `append` puts a batch at the end of its log, in memory, and lists it for the WAL. `end_turn` issues what is due:
//! a WAL block (`commit`), segment writes (`flush`), the next step of a checkpoint (`checkpointing`).
//! `complete` takes an answer and says what it brought about.

mod checkpointing;
mod commit;
mod flush;
mod gathering;
mod reading;

use crate::batch::UncheckedBatch;
use crate::config::{FlushMode, LogConfig, StoreConfig, TimestampType, mutated};
use crate::header::BatchHeader;
use crate::leader_epochs::LeaderEpochs;
use crate::log::{Log, LogAppend, LogRead, TimestampCursor, TimestampStep};
use crate::op::{DiskError, Done, FileName, FileSlice, LocateOp, Op, OpId, OpKind, Outcome};
use crate::producer_state::ProducerState;
use crate::recovery::Recovered;
use crate::types::{LeaderEpoch, Now, Offset, PartitionKey, Slot};
use crate::wal::{Entry, EntryKind, write_inherit};
use bytes::Bytes;
use checkpointing::{Checkpointer, Synced};
use commit::{Wal, partition_entry};
use flush::Flusher;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use reading::{IndexCache, Search};
use std::collections::BTreeMap;

pub use crate::batch::{AppendError, AppendOrigin};

/// Bytes that wait for a WAL block at most: above, appends are refused.
const WAL_PENDING_BYTES_MAX: u64 = 64 << 20;
/// What met a full disk is tried again after this long.
const OPS_RETRY_US: u64 = 1_000_000;
/// The first checkpoint after a start is taken this soon, so that what was replayed need not be replayed again.
const FIRST_CHECKPOINT_US: u64 = 1_000_000;

/// One shard's store.
#[derive(Debug)]
pub struct Store {
    config: StoreConfig,
    shard: u16,
    shards: u16,
    /// By slot. A slot is used once in the life of a process.
    partitions: Vec<Option<Box<Partition>>>,
    by_key: HashMap<PartitionKey, Slot, FixedState>,
    wal: Wal,
    flusher: Flusher,
    checkpoint: Checkpointer,
    indexes: IndexCache,
    /// What the operations in flight are for.
    purposes: BTreeMap<OpId, Purpose>,
    next_op: u64,
    issued: Vec<Op>,
    /// Bytes that are in no segment file.
    dirty_bytes: u64,
    /// Partitions that were asked to flush all they can and have not.
    forced_flushes: u32,
    /// Deleted partitions whose folders may still be there, and whether the deletion is durable.
    doomed: BTreeMap<PartitionKey, bool>,
    /// Files of earlier incarnations, which go after the first checkpoint.
    previous: Vec<FileName>,
    remapped: bool,
    /// Lives below this one count no more.
    obsolete_below: u64,
    unattributed_loss: Option<String>,
    loading: bool,
    no_space: bool,
    failed: Option<String>,
    failure_told: bool,
    stopping: bool,
    next_retention_us: u64,
}

#[derive(Debug)]
struct Partition {
    log: Log,
    /// Whether the broker has said what the settings are: until then nothing is removed.
    configured: bool,
    /// The number of the newest WAL entry of this partition, which a further append may join.
    pending_entry: Option<u64>,
    /// The segment that is being written.
    flushing: Option<Offset>,
    flush_queued: bool,
    flush_forced: bool,
    /// Log starts that are not durable yet.
    log_starts_pending: u32,
    /// Segments whose files are being removed.
    removing: Vec<Offset>,
}

impl Partition {
    fn new(log: Log) -> Partition {
        Partition {
            log,
            configured: false,
            pending_entry: None,
            flushing: None,
            flush_queued: false,
            flush_forced: false,
            log_starts_pending: 0,
            removing: Vec::new(),
        }
    }
}

/// What an operation in flight is for.
#[derive(Clone, Debug)]
enum Purpose {
    PrepareWal { sequence: u64, bytes: u64 },
    Block,
    DirectWrite { slot: Slot, key: PartitionKey, segment: Offset, end: u32 },
    DirectOrphan,
    EarlyAcknowledgement,
    Flush { slot: Slot, key: PartitionKey, segment: Offset, end: u32 },
    Seal { slot: Slot, key: PartitionKey, segment: Offset },
    WriteIndex { slot: Slot, key: PartitionKey, segment: Offset },
    CheckpointSync(Vec<Synced>),
    WriteCheckpoint,
    Remove,
    RemoveSegments { slot: Slot, bases: Vec<Offset> },
    RemovePartition { key: PartitionKey },
    LoadIndex { search: Search, segment: Offset },
    Locate { search: Search, op: LocateOp },
    ReadBatch { search: Search, slice: FileSlice },
    ReadBytes { token: u64 },
    Answer { token: u64, located: Located },
}

/// What an append was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Offset of the last record; durable when the durable end is above.
    pub last_offset: Offset,
    /// The time of the append, if the topic stamps it on records; of a duplicate, the largest timestamp.
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
    slot: Slot,
    what: LocateWhat,
}

#[derive(Clone, Copy, Debug)]
enum LocateWhat {
    Range { segment: Offset, from: Offset, limit: Offset, max_bytes: u32, min_one: bool },
    Timestamp { timestamp_ms: i64, cursor: TimestampCursor },
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

impl Store {
    /// A store that goes on where `recovered` ended.
    #[must_use]
    pub fn open(recovered: Recovered, config: StoreConfig, now: Now) -> Store {
        let anything = !recovered.partitions.is_empty() || !recovered.previous.is_empty();
        let first_checkpoint = anything.then_some(now.monotonic_us + FIRST_CHECKPOINT_US);
        let mut store = Store {
            shard: recovered.shard,
            shards: recovered.shards,
            partitions: Vec::new(),
            by_key: HashMap::default(),
            wal: Wal::new(recovered.incarnation),
            flusher: Flusher::default(),
            checkpoint: Checkpointer::new(first_checkpoint),
            indexes: IndexCache::default(),
            purposes: BTreeMap::new(),
            next_op: 1,
            issued: Vec::new(),
            dirty_bytes: 0,
            forced_flushes: 0,
            doomed: BTreeMap::new(),
            previous: recovered.previous,
            remapped: recovered.remapped,
            obsolete_below: recovered.obsolete_below,
            unattributed_loss: recovered.report.unattributed_loss,
            loading: true,
            no_space: false,
            failed: None,
            failure_told: false,
            stopping: false,
            next_retention_us: now.monotonic_us + config.retention_check_interval_us,
            config,
        };
        #[cfg(feature = "mutations")]
        if let Some(old) = &recovered.old_wal
            && mutated!(store.config, WriteOldIncarnationWal)
        {
            store.wal.continue_old(old);
            store.previous.clear();
        }
        if !recovered.ends.is_empty() {
            let entry = Entry::new(EntryKind::Inherit, PartitionKey::default());
            store.wal.push(Slot(0), entry, write_inherit(&recovered.ends), 0);
        }
        for key in recovered.doomed {
            store.doomed.insert(key, true);
            store.remove_partition_files(key);
        }
        for log in recovered.partitions {
            store.dirty_bytes += log.dirty_bytes();
            let slot = store.add(log);
            store.remove_doomed(slot);
            store.flush_if_due(slot);
        }
        store
    }

    fn add(&mut self, log: Log) -> Slot {
        let slot = Slot(u32::try_from(self.partitions.len()).expect("fewer than 2^32 partitions in a life"));
        self.by_key.insert(log.key, slot);
        self.partitions.push(Some(Box::new(Partition::new(log))));
        slot
    }

    fn log(&self, slot: Slot) -> &Log {
        &self.partitions[slot.index()].as_ref().expect("the slot belongs to a partition").log
    }

    fn issue(&mut self, kind: OpKind, purpose: Purpose) {
        let id = OpId(self.next_op);
        self.next_op += 1;
        self.purposes.insert(id, purpose);
        self.issued.push(Op { id, kind });
    }

    fn is_removing(&self, key: &PartitionKey) -> bool {
        self.doomed.contains_key(key)
    }

    fn set_no_space(&mut self, no_space: bool) {
        self.no_space = no_space;
    }

    /// Makes a partition known; one that is known keeps its data and takes the configuration. Nothing is written
    /// before the first append.
    pub fn create_partition(&mut self, key: PartitionKey, config: LogConfig) -> Slot {
        if let Some(slot) = self.by_key.get(&key).copied() {
            self.configure(slot, config);
            return slot;
        }
        let mut log = Log::new(key, config);
        if self.loading && self.unattributed_loss.is_some() {
            // It may have had records: what it had is among what was lost.
            log.damaged_from = Some(Offset(0));
        }
        let slot = self.add(log);
        self.partitions[slot.index()].as_mut().expect("it was just added").configured = true;
        slot
    }

    /// The broker has created every partition that its metadata knows: any further one is new.
    pub fn loaded(&mut self) {
        self.loading = false;
    }

    /// The slot of a partition.
    #[must_use]
    pub fn slot(&self, key: &PartitionKey) -> Option<Slot> {
        self.by_key.get(key).copied()
    }

    /// The partitions that are known, by slot.
    pub fn partitions(&self) -> impl Iterator<Item = (Slot, PartitionKey)> + '_ {
        let known = |(index, partition): (usize, &Option<Box<Partition>>)| {
            partition.as_ref().map(|partition| (Slot(index as u32), partition.log.key))
        };
        self.partitions.iter().enumerate().filter_map(known)
    }

    /// Takes new settings for a partition.
    pub fn configure(&mut self, slot: Slot, config: LogConfig) {
        let partition = self.partitions[slot.index()].as_mut().expect("the slot belongs to a partition");
        partition.log.config = config;
        partition.configured = true;
    }

    /// Forgets a partition; its files go once that is durable. The slot is not used again.
    pub fn delete_partition(&mut self, slot: Slot) {
        let Some(partition) = self.partitions[slot.index()].take() else { return };
        let key = partition.log.key;
        self.by_key.remove(&key);
        self.dirty_bytes -= partition.log.dirty_bytes();
        self.forced_flushes -= u32::from(partition.flush_forced);
        self.doomed.insert(key, false);
        self.wal.push(slot, partition_entry(EntryKind::Delete, key, Offset(0)), Bytes::new(), 0);
    }

    /// Validates and appends one batch: the record field of a produce request.
    pub fn append(
        &mut self,
        now: Now,
        slot: Slot,
        batches: Bytes,
        origin: AppendOrigin,
        epoch: LeaderEpoch,
    ) -> Result<Appended, AppendError> {
        if let Err(why) = self.accepts_appends() {
            self.turn_away(now, slot, &batches);
            return Err(why);
        }
        let partition = self.partitions[slot.index()].as_mut().expect("the slot belongs to a partition");
        let log = &mut partition.log;
        if let Some(offset) = log.damaged_from {
            let why = format!("partition {} lost acknowledged records from offset {offset} on", log.key);
            return Err(AppendError::StorageFailed(why));
        }
        let batch = UncheckedBatch::new(batches).validate(&log.rules(origin, now))?;
        let stamped = log.config.timestamp_type == TimestampType::LogAppendTime;
        let log_start_offset = log.log_start;
        match log.append(now, &batch, epoch)? {
            LogAppend::Duplicate { base, last, timestamp_ms } => Ok(Appended {
                base_offset: base,
                last_offset: last,
                // Kafka tells the time of a duplicate whoever stamped it.
                log_append_time_ms: Some(timestamp_ms),
                log_start_offset,
                duplicate: true,
            }),
            LogAppend::Placed(placed) => {
                self.dirty_bytes += u64::from(placed.batch.bytes);
                self.log_append(now, slot, &placed);
                self.checkpoint.changed(now.monotonic_us + self.config.checkpoint_interval_us);
                Ok(Appended {
                    base_offset: placed.batch.base,
                    last_offset: placed.batch.last,
                    log_append_time_ms: stamped.then_some(now.wall_ms),
                    log_start_offset,
                    duplicate: false,
                })
            }
        }
    }

    /// Notes that a batch is not taken now, for reasons that are not its own: what its producer has already sent
    /// behind it must not be taken for a beginning.
    pub fn turn_away(&mut self, now: Now, slot: Slot, batches: &[u8]) {
        let partition = self.partitions[slot.index()].as_mut().expect("the slot belongs to a partition");
        if let Some(header) = BatchHeader::read(batches) {
            partition.log.producers.turn_away(&header, now.wall_ms);
        }
    }

    fn accepts_appends(&self) -> Result<(), AppendError> {
        if let Some(why) = &self.failed {
            return Err(AppendError::StorageFailed(why.clone()));
        }
        if self.stopping {
            return Err(AppendError::StorageFailed("the broker is stopping".into()));
        }
        if self.wal.is_over() || self.dirty_bytes > 2 * self.config.dirty_bytes_max {
            return Err(AppendError::StorageFull);
        }
        Ok(())
    }

    /// Notes that a leader's term begins at the log end. Appends under the new epoch note it by themselves.
    pub fn start_epoch(&mut self, slot: Slot, epoch: LeaderEpoch) {
        let partition = self.partitions[slot.index()].as_mut().expect("the slot belongs to a partition");
        let log = &mut partition.log;
        if log.damaged_from.is_none() && log.epochs.assign(epoch, log.next_offset) {
            let entry = Entry {
                leader_epoch: epoch,
                ..partition_entry(EntryKind::EpochStart, log.key, log.next_offset)
            };
            self.wal.push(slot, entry, Bytes::new(), 0);
        }
    }

    /// Whole batches from the one that contains `from` on, below `limit`; the first may begin before `from`.
    pub fn read(
        &self,
        slot: Slot,
        from: Offset,
        limit: Offset,
        max_bytes: u32,
        min_one: bool,
    ) -> Result<Read, ReadError> {
        let log = self.readable(slot)?;
        if from < log.log_start || from > log.next_offset {
            return Err(ReadError::OutOfRange);
        }
        let limit = if mutated!(self.config, ServeAboveDurable) { log.next_offset } else { limit };
        Ok(match log.read(from, limit, max_bytes, min_one) {
            LogRead::Memory(parts) => Read::Memory(parts),
            LogRead::File(slice) => Read::File(slice),
            LogRead::Walk(segment) => {
                let what = LocateWhat::Range { segment, from, limit, max_bytes, min_one };
                Read::Locate(Locate { slot, what })
            }
            LogRead::Empty => Read::Empty,
        })
    }

    fn readable(&self, slot: Slot) -> Result<&Log, ReadError> {
        let log = self.log(slot);
        if let Some(why) = &self.failed {
            return Err(ReadError::Offline(why.clone()));
        }
        match log.damaged_from {
            Some(offset) => Err(ReadError::Offline(format!(
                "partition {} lost acknowledged records from offset {offset} on",
                log.key
            ))),
            None => Ok(log),
        }
    }

    /// Answered by [`Event::Located`] with the token.
    pub fn locate(&mut self, locate: Locate, token: u64) {
        let mut events = Vec::new();
        self.search(Search { locate, token }, &mut events);
        // What was in a file may be in memory only by an error of ours, or gone since: then nothing is there.
        for event in events {
            let Event::Located { token, located } = event else { unreachable!("a search ends in an answer") };
            self.issue(OpKind::Remove { files: Vec::new() }, Purpose::Answer { token, located });
        }
    }

    /// Answered by [`Event::Bytes`] with the token.
    pub fn read_bytes(&mut self, slice: FileSlice, token: u64) {
        self.issue(OpKind::ReadBytes { slice }, Purpose::ReadBytes { token });
    }

    /// The bounds of a log.
    #[must_use]
    pub fn offsets(&self, slot: Slot) -> Offsets {
        let log = self.log(slot);
        let interval = log.config.flush_mode != FlushMode::Durable;
        Offsets {
            log_start: log.log_start,
            acknowledged_end: if interval { log.next_offset } else { log.durable_end },
            durable_end: log.durable_end,
            log_end: log.next_offset,
        }
    }

    /// The epochs of a log.
    #[must_use]
    pub fn leader_epochs(&self, slot: Slot) -> &LeaderEpochs {
        &self.log(slot).epochs
    }

    /// The first record at or after a timestamp.
    #[must_use]
    pub fn offset_for_timestamp(&self, slot: Slot, timestamp_ms: i64) -> TimestampSearch {
        match self.log(slot).find_timestamp(timestamp_ms, None) {
            TimestampStep::Found(offset, timestamp_ms, leader_epoch) => {
                TimestampSearch::Found(FoundTimestamp { offset, timestamp_ms, leader_epoch })
            }
            TimestampStep::Walk(cursor) => {
                TimestampSearch::Locate(Locate { slot, what: LocateWhat::Timestamp { timestamp_ms, cursor } })
            }
            TimestampStep::None => TimestampSearch::None,
        }
    }

    /// The first record with the largest timestamp.
    #[must_use]
    pub fn max_timestamp(&self, slot: Slot) -> TimestampSearch {
        match self.log(slot).max_timestamp() {
            Some(timestamp_ms) => self.offset_for_timestamp(slot, timestamp_ms),
            None => TimestampSearch::None,
        }
    }

    /// Removes records below `before`; −1 stands for the acknowledged end. Returns the new log start; it is durable
    /// when [`Event::LogStart`] says so, or at once if it was there already. What waits for its interval to be flushed
    /// is flushed now: the WAL keeps its order, so a log start that is durable never lies above the end that a start finds.
    pub fn delete_records(&mut self, slot: Slot, before: Offset) -> Result<Offset, ReadError> {
        self.readable(slot)?;
        let end = self.offsets(slot).acknowledged_end;
        let before = if before.0 == -1 { end } else { before };
        if before.0 < 0 || before > end {
            return Err(ReadError::OutOfRange);
        }
        self.set_log_start(slot, before, 0);
        Ok(self.log(slot).log_start)
    }

    /// Whether a new log start waits to become durable.
    #[must_use]
    pub fn log_start_is_pending(&self, slot: Slot) -> bool {
        self.partitions[slot.index()].as_ref().is_some_and(|partition| partition.log_starts_pending > 0)
    }

    /// The idempotent producers of a partition, by id.
    pub fn producer_states(&self, slot: Slot) -> impl Iterator<Item = ProducerState> + '_ {
        self.log(slot).producers.describe().into_iter()
    }

    /// Size of a log, in bytes.
    #[must_use]
    pub fn size_bytes(&self, slot: Slot) -> u64 {
        self.log(slot).size_bytes()
    }

    /// Ends a turn: what is due leaves as operations.
    pub fn end_turn(&mut self, now: Now, ops: &mut Vec<Op>) {
        if now.monotonic_us >= self.next_retention_us && self.failed.is_none() {
            self.next_retention_us = now.monotonic_us + self.config.retention_check_interval_us;
            self.retain(now);
        }
        self.flush(now);
        self.advance_checkpoint(now);
        self.commit(now);
        self.flush(now);
        ops.append(&mut self.issued);
    }

    /// Takes an answer of the disk.
    pub fn complete(&mut self, now: Now, done: Done, events: &mut Vec<Event>) {
        let purpose = self.purposes.remove(&done.id).expect("each operation is answered once");
        if let Err(error) = self.apply(now, purpose, done.result, events) {
            self.failed.get_or_insert(error.to_string());
        }
        if let Some(message) = self.failed.clone().filter(|_| !self.failure_told) {
            self.failure_told = true;
            events.push(Event::Failed { message });
        }
    }

    /// An error means that the volume failed: what was not known to be durable may be lost, and asking the
    /// device again proves nothing (Rebello et al., ATC 2020).
    fn apply(
        &mut self,
        now: Now,
        purpose: Purpose,
        result: Result<Outcome, DiskError>,
        events: &mut Vec<Event>,
    ) -> Result<(), DiskError> {
        let failed = self.failed.is_some();
        match purpose {
            Purpose::LoadIndex { search, segment } => {
                self.index_read(search, segment, bytes_of(result), events);
            }
            Purpose::Locate { search, op } => {
                let result = result.map(|outcome| match outcome {
                    Outcome::Located(range) => range,
                    other => unreachable!("a locate is answered with a range, not {other:?}"),
                });
                self.located(search, op, result, events);
            }
            Purpose::ReadBatch { search, slice } => self.batch_read(search, slice, bytes_of(result), events),
            Purpose::ReadBytes { token } => events.push(Event::Bytes { token, result: bytes_of(result) }),
            Purpose::Answer { token, located } => events.push(Event::Located { token, located }),
            // Once failed, nothing is learnt from writes any more.
            _ if failed => {}
            Purpose::PrepareWal { sequence, bytes } => {
                self.wal_prepared(now, sequence, bytes, result.map(drop))?;
            }
            Purpose::Block => {
                result?;
                self.block_part_done(now, events);
            }
            Purpose::DirectOrphan => {
                result?;
                self.block_part_done(now, events);
            }
            Purpose::EarlyAcknowledgement => self.acknowledge_early(events),
            Purpose::DirectWrite { .. }
            | Purpose::Flush { .. }
            | Purpose::Seal { .. }
            | Purpose::WriteIndex { .. } => {
                self.segment_op_done(now, purpose, result.map(drop), events)?;
            }
            Purpose::CheckpointSync(batch) => self.synced(batch, result.map(drop))?,
            Purpose::WriteCheckpoint => self.checkpoint_written(now, result.map(drop), events)?,
            Purpose::RemoveSegments { slot, bases } => {
                result?;
                self.segments_removed(slot, &bases);
            }
            Purpose::RemovePartition { key } => {
                result?;
                self.doomed.remove(&key);
                if let Some(slot) = self.slot(&key) {
                    self.flush_if_due(slot);
                }
            }
            Purpose::Remove => {
                result?;
            }
        }
        Ok(())
    }

    /// When [`Store::end_turn`] wants to be called at the latest, in microseconds of the monotonic clock.
    #[must_use]
    pub fn next_timeout(&self) -> Option<u64> {
        if self.failed.is_some() {
            return None;
        }
        let checkpoint = if self.wal.has_file() { self.checkpoint.next_timeout(self.stopping) } else { None };
        let wal = if self.checkpoint.final_is_taken { None } else { self.wal.next_timeout() };
        let others = [wal, self.flusher.next_timeout(), checkpoint];
        others.into_iter().flatten().chain([self.next_retention_us]).min()
    }

    /// Flushes everything and takes a last checkpoint. Appends are refused from here on.
    pub fn begin_stop(&mut self, _now: Now) {
        self.stopping = true;
    }

    /// Whether the stop is complete: nothing is in flight, and all is in segments or in the last checkpoint.
    #[must_use]
    pub fn stopped(&self) -> bool {
        let idle = self.purposes.is_empty() && self.issued.is_empty();
        // Without a file this life has written nothing, and what is there is that of an earlier one.
        let checkpointed = self.checkpoint.is_idle() && self.checkpoint.last_is_final;
        let saved = checkpointed || (self.wal.is_idle() && !self.wal.has_file());
        self.stopping && idle && (saved || self.failed.is_some())
    }

    /// How much is waiting to reach its segment.
    #[must_use]
    pub fn pressure(&self) -> Pressure {
        let limit = if self.no_space { self.config.dirty_bytes_max / 2 } else { self.config.dirty_bytes_max };
        let over = self.dirty_bytes > limit || self.wal.is_over();
        Pressure { dirty_bytes: self.dirty_bytes, over }
    }

    /// Every shard of the volume has its first checkpoint: files of earlier lives may go. A store does this by
    /// itself unless partitions changed their shard at this start.
    pub fn release_previous(&mut self) {
        let files = std::mem::take(&mut self.previous);
        if !files.is_empty() {
            self.issue(OpKind::Remove { files }, Purpose::Remove);
        }
    }

    /// Why the store failed, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    /// The first offset lost, if the partition is damaged and therefore offline.
    #[must_use]
    pub fn damaged_from(&self, slot: Slot) -> Option<Offset> {
        self.log(slot).damaged_from
    }
}

fn bytes_of(result: Result<Outcome, DiskError>) -> Result<Bytes, DiskError> {
    result.map(|outcome| match outcome {
        Outcome::Bytes(bytes) => bytes,
        other => unreachable!("a read is answered with bytes, not {other:?}"),
    })
}
