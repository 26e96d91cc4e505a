//! Taking a checkpoint: flush what can be flushed; take the state of one moment, in which every segment is taken
//! for synced as far as it is written; make that true; wait until the WAL has all that the state holds; write
//! the file. Then WAL files that only hold older blocks go.
//!
//! WAL is kept back to the checkpoint *before* the newest, so that one rotten slot costs nothing. The first
//! checkpoint of an incarnation goes to both slots, and only then do files of earlier incarnations go.

use super::commit::Wal;
use super::{Event, OPS_RETRY_US, Purpose, Store};
use crate::checkpoint::{CheckpointV1, KeyV1, PartitionV1, ProducerV1, SegmentV1};
use crate::config::mutated;
use crate::log::Log;
use crate::op::{BLOCK_BYTES, DiskError, DiskErrorKind, FileName, OpKind, Which};
use crate::segment::Segment;
use crate::types::{Lsn, Now, Offset, PartitionKey, Slot};

/// Segments synced by one operation.
const SYNC_FILES: usize = 32;
/// Such operations in flight.
const SYNCS_MAX: u32 = 4;
/// Boundaries of an open segment that a checkpoint remembers.
const INDEX_ENTRIES: usize = 64;

#[derive(Debug)]
enum Phase {
    Idle,
    Flushing,
    Syncing {
        state: Box<CheckpointV1>,
        entries: u64,
        queue: Vec<Synced>,
        in_flight: u32,
    },
    Writing {
        replay_from: Lsn,
        parts: Vec<bytes::Bytes>,
        which: Which,
        again: bool,
        retry_at_us: Option<u64>,
    },
}

/// A segment that is being synced, with how far it was written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Synced {
    slot: Slot,
    key: PartitionKey,
    segment: Offset,
    written: u32,
}

/// The state of checkpointing.
#[derive(Debug)]
pub(super) struct Checkpointer {
    phase: Phase,
    generation: u64,
    next: Which,
    requested: bool,
    next_at_us: Option<u64>,
    wal_bytes: u64,
    /// Where the newest checkpoint begins to replay.
    replay_from: Lsn,
    /// The state that a stop in order leaves behind was taken.
    pub final_is_taken: bool,
    pub last_is_final: bool,
}

impl Checkpointer {
    pub(super) fn new(first_at_us: Option<u64>) -> Checkpointer {
        Checkpointer {
            phase: Phase::Idle,
            generation: 0,
            next: Which::A,
            requested: false,
            next_at_us: first_at_us,
            wal_bytes: 0,
            replay_from: Lsn(0),
            final_is_taken: false,
            last_is_final: false,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Idle)
    }

    pub(super) fn request(&mut self) {
        self.requested = true;
    }

    /// Whether the checkpoint under way holds entries that are not durable yet.
    pub(super) fn waits_for(&self, wal: &Wal) -> bool {
        matches!(&self.phase, Phase::Syncing { entries, .. } if !wal.is_durable_until(*entries))
    }

    pub(super) fn next_timeout(&self, stopping: bool) -> Option<u64> {
        match &self.phase {
            // The last checkpoint waits for the WAL, and for no time.
            Phase::Idle if stopping => None,
            Phase::Idle => self.next_at_us,
            Phase::Writing { retry_at_us, .. } => *retry_at_us,
            _ => None,
        }
    }

    /// Something changed that the next checkpoint will hold.
    pub(super) fn changed(&mut self, at_us: u64) {
        self.next_at_us.get_or_insert(at_us);
    }
}

impl Store {
    /// Takes the next step of a checkpoint, or begins one that is due.
    pub(super) fn advance_checkpoint(&mut self, now: Now) {
        if self.failed.is_some() || !self.wal.has_file() {
            return;
        }
        if self.checkpoint.is_idle() && self.checkpoint_is_due(now) {
            self.flush_all();
            self.checkpoint.phase = Phase::Flushing;
        }
        if let Phase::Writing { retry_at_us, .. } = &mut self.checkpoint.phase
            && retry_at_us.is_some_and(|at| now.monotonic_us >= at)
        {
            *retry_at_us = None;
            self.write_checkpoint();
        }
        if matches!(self.checkpoint.phase, Phase::Flushing) && self.forced_flushes == 0 {
            self.take_state(now);
        }
        self.sync_segments();
    }

    fn checkpoint_is_due(&self, now: Now) -> bool {
        let since = self.wal.written_bytes - self.checkpoint.wal_bytes;
        if self.stopping {
            return self.wal.is_idle() && !self.checkpoint.last_is_final;
        }
        self.checkpoint.requested
            || since >= self.config.checkpoint_wal_bytes
            || self.checkpoint.next_at_us.is_some_and(|at| now.monotonic_us >= at)
    }

    fn take_state(&mut self, now: Now) {
        let drop_tails = mutated!(self.config, DropTailImage);
        let mut queue = Vec::new();
        let mut partitions = Vec::new();
        for (index, partition) in self.partitions.iter().enumerate() {
            let Some(partition) = partition else { continue };
            let slot = Slot(index as u32);
            let log = &partition.log;
            partitions.push(partition_state(log, drop_tails));
            let touched = log.segments.iter().filter(|segment| segment.synced < segment.written);
            queue.extend(touched.map(|segment| Synced {
                slot,
                key: log.key,
                segment: segment.base,
                written: segment.written,
            }));
        }
        self.checkpoint.generation += 1;
        self.checkpoint.requested = false;
        self.checkpoint.wal_bytes = self.wal.written_bytes;
        self.checkpoint.next_at_us = None;
        self.checkpoint.last_is_final = false;
        let idle = self.wal.is_idle();
        if !idle {
            self.checkpoint.changed(now.monotonic_us + self.config.checkpoint_interval_us);
        }
        self.checkpoint.final_is_taken = self.stopping && idle;
        let state = CheckpointV1 {
            shard: self.shard,
            shards: self.shards,
            incarnation: self.wal.incarnation,
            remapped: self.remapped,
            obsolete_below: self.obsolete_below,
            generation: self.checkpoint.generation,
            replay_from: self.wal.next_lsn.0,
            prev_crc: self.wal.prev_crc,
            durable_lsn: self.wal.durable_lsn.0,
            clean: self.checkpoint.final_is_taken,
            partitions,
            doomed: self.doomed.keys().map(key_state).collect(),
            unattributed_loss: self.unattributed_loss.clone(),
        };
        self.wal.set_barrier();
        let entries = self.wal.end();
        self.checkpoint.phase = Phase::Syncing { state: Box::new(state), entries, queue, in_flight: 0 };
    }

    fn sync_segments(&mut self) {
        let Phase::Syncing { queue, in_flight, .. } = &mut self.checkpoint.phase else { return };
        let mut batches = Vec::new();
        while *in_flight < SYNCS_MAX && !queue.is_empty() {
            let batch = queue.split_off(queue.len().saturating_sub(SYNC_FILES));
            *in_flight += 1;
            batches.push(batch);
        }
        for batch in batches {
            self.issue_sync(batch);
        }
        self.finish_state();
    }

    fn issue_sync(&mut self, mut batch: Vec<Synced>) {
        batch.retain(|synced| {
            let partition = self.partitions[synced.slot.index()].as_ref();
            let log = partition.map(|partition| &partition.log).filter(|log| log.key == synced.key);
            log.is_some_and(|log| log.segment(synced.segment).is_some())
        });
        let file = |synced: &Synced| FileName::Segment { partition: synced.key, base: synced.segment };
        let files = batch.iter().map(file).collect();
        self.issue(OpKind::SyncSegments { files }, Purpose::CheckpointSync(batch));
    }

    /// A sync of a checkpoint is done.
    pub(super) fn synced(
        &mut self,
        batch: Vec<Synced>,
        result: Result<(), DiskError>,
    ) -> Result<(), DiskError> {
        if let Err(error) = result {
            let before = batch.len();
            let left: Vec<Synced> = batch
                .into_iter()
                .filter(|synced| {
                    let partition = self.partitions[synced.slot.index()].as_ref();
                    partition.is_some_and(|partition| partition.log.segment(synced.segment).is_some())
                })
                .collect();
            // A segment that was removed meanwhile need not be synced, but the others must.
            if error.kind != DiskErrorKind::NotFound || left.len() == before {
                return Err(error);
            }
            self.issue_sync(left);
            return Ok(());
        }
        for synced in batch {
            let partition = self.partitions[synced.slot.index()].as_mut();
            if let Some(segment) = partition.and_then(|partition| partition.log.segment_mut(synced.segment)) {
                segment.synced = segment.synced.max(synced.written);
            }
        }
        if let Phase::Syncing { in_flight, .. } = &mut self.checkpoint.phase {
            *in_flight -= 1;
        }
        self.sync_segments();
        Ok(())
    }

    /// Writes the state once everything it claims is true.
    fn finish_state(&mut self) {
        let Phase::Syncing { state, entries, queue, in_flight } = &mut self.checkpoint.phase else { return };
        if *in_flight > 0 || !queue.is_empty() || !self.wal.is_durable_until(*entries) {
            return;
        }
        state.durable_lsn = self.wal.durable_lsn.0;
        let parts = vec![bytes::Bytes::from(state.encode())];
        let replay_from = Lsn(state.replay_from);
        self.checkpoint.last_is_final = state.clean;
        let which = self.checkpoint.next;
        let again = state.generation == 1;
        self.checkpoint.phase = Phase::Writing { replay_from, parts, which, again, retry_at_us: None };
        self.write_checkpoint();
    }

    fn write_checkpoint(&mut self) {
        let Phase::Writing { parts, which, .. } = &self.checkpoint.phase else { return };
        let file =
            FileName::Checkpoint { shard: self.shard, incarnation: self.wal.incarnation, which: *which };
        let parts = parts.clone();
        self.issue(OpKind::WriteFile { file, parts }, Purpose::WriteCheckpoint);
    }

    pub(super) fn checkpoint_written(
        &mut self,
        now: Now,
        result: Result<(), DiskError>,
        events: &mut Vec<Event>,
    ) -> Result<(), DiskError> {
        let Phase::Writing { replay_from, which, again, retry_at_us, .. } = &mut self.checkpoint.phase else {
            unreachable!("a checkpoint is written in this phase only")
        };
        if let Err(error) = result {
            if error.kind != DiskErrorKind::NoSpace {
                return Err(error);
            }
            *retry_at_us = Some(now.monotonic_us + OPS_RETRY_US);
            self.set_no_space(true);
            return Ok(());
        }
        if *again {
            (*which, *again) = (which.other(), false);
            self.write_checkpoint();
            return Ok(());
        }
        let (replay_from, which) = (*replay_from, *which);
        self.checkpoint.phase = Phase::Idle;
        self.checkpoint.next = which.other();
        let keep_from = std::mem::replace(&mut self.checkpoint.replay_from, replay_from);
        self.retire_wal(keep_from);
        if self.checkpoint.generation == 1 {
            events.push(Event::FirstCheckpoint);
            if !self.remapped {
                self.release_previous();
            }
        }
        Ok(())
    }
}

fn key_state(key: &PartitionKey) -> KeyV1 {
    KeyV1 { topic_id: key.topic_id.0, partition: key.partition }
}

fn partition_state(log: &Log, drop_tails: bool) -> PartitionV1 {
    let producer =
        |(id, entry): (crate::types::ProducerId, &crate::producer_state::ProducerEntry)| ProducerV1 {
            producer_id: id.0,
            epoch: entry.epoch,
            heard_ms: entry.heard_ms,
            batches: entry
                .batches
                .iter()
                .map(|b| (b.first_sequence, b.last_sequence, b.last_offset.0, b.offset_delta, b.timestamp_ms))
                .collect(),
        };
    PartitionV1 {
        key: key_state(&log.key),
        log_start: log.log_start.0,
        next_offset: log.next_offset.0,
        epochs: log.epochs.entries().iter().map(|(epoch, start)| (epoch.0, start.0)).collect(),
        producers: log.producers.entries().into_iter().map(producer).collect(),
        damaged_from: log.damaged_from.map(|offset| offset.0),
        segments: log.segments.iter().map(|segment| segment_state(segment, drop_tails)).collect(),
        doomed: log.doomed.iter().map(|base| base.0).collect(),
    }
}

fn segment_state(segment: &Segment, drop_tail: bool) -> SegmentV1 {
    let batches = segment.tail.batches();
    let first_dirty = batches.partition_point(|batch| batch.end() <= segment.written);
    let tail_start = batches.get(first_dirty).map_or(segment.length, |batch| batch.position);
    // The head of a large batch stays in the file, where a start reads it.
    let head_is_small = u64::from(segment.written.saturating_sub(tail_start)) <= BLOCK_BYTES;
    let tail_position = if head_is_small { tail_start } else { segment.written };
    let tail =
        if drop_tail { Vec::new() } else { segment.tail.slice(tail_position, segment.length).concat() };
    let header_end = tail_start + crate::header::HEADER_BYTES as u32;
    let head = if head_is_small { Vec::new() } else { segment.tail.slice(tail_start, header_end).concat() };
    let index = segment.index.thinned(if segment.sealed { 0 } else { INDEX_ENTRIES });
    SegmentV1 {
        base: segment.base.0,
        next_offset: segment.next_offset.0,
        length: segment.length,
        synced: segment.written,
        closed: segment.closed,
        sealed: segment.sealed,
        bypass_open: segment.bypass_open || segment.opens_bypass,
        first_timestamp: segment.first_timestamp,
        max_timestamp: segment.max_timestamp,
        index: index.iter().map(|e| (e.offset.0, e.position, e.max_timestamp_before)).collect(),
        tail_start,
        tail_position,
        head,
        tail,
    }
}
