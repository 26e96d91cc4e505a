//! From memory to segments: whole durable blocks once 256 KiB of them wait, everything that is durable at a
//! checkpoint or under pressure, the last block when a segment is closed. One write per partition at a time.
//! Then sealing, and removing what retention took.

use super::commit::partition_entry;
use super::{Event, OPS_RETRY_US, Purpose, Store};
use crate::op::{DiskError, DiskErrorKind, FileName, OpKind};
use crate::types::{Now, Offset, PartitionKey, Slot};
use crate::wal::{Entry, EntryKind, ROLLED};
use std::collections::VecDeque;

/// Bytes in one segment write at most; a multiple of the block size.
const WRITE_BYTES_MAX: u32 = 4 << 20;

/// Segment writes that wait, and what was written and is still in memory.
#[derive(Debug, Default)]
pub(super) struct Flusher {
    queue: VecDeque<Slot>,
    in_flight: u32,
    retry_at_us: Option<u64>,
    /// (partition, segment, written up to, bytes), oldest first.
    cached: VecDeque<(Slot, Offset, u32, u64)>,
    cached_bytes: u64,
    /// Bypassing writes that met a full disk.
    direct_retries: Vec<(Slot, Offset, u32)>,
}

impl Flusher {
    pub(super) fn next_timeout(&self) -> Option<u64> {
        self.retry_at_us
    }
}

impl Store {
    /// Queues a partition if enough waits.
    pub(super) fn flush_if_due(&mut self, slot: Slot) {
        let Some(partition) = self.partitions[slot.index()].as_mut() else { return };
        if partition.flush_queued || partition.flushing.is_some() {
            return;
        }
        let unsealed = partition.log.segments.partition_point(|segment| segment.sealed);
        let Some(segment) = partition.log.segments.get(unsealed) else { return };
        let waiting = segment.flush_end().saturating_sub(segment.written);
        let due = waiting >= self.config.segment_chunk_bytes
            || segment.may_finish()
            || (partition.flush_forced && waiting > 0);
        if due {
            partition.flush_queued = true;
            self.flusher.queue.push_back(slot);
        } else if partition.flush_forced {
            partition.flush_forced = false;
            self.forced_flushes -= 1;
        }
    }

    /// Asks for all that can be flushed.
    pub(super) fn flush_all(&mut self) {
        for index in 0..self.partitions.len() {
            let Some(partition) = self.partitions[index].as_mut() else { continue };
            if !partition.flush_forced && partition.log.dirty_bytes() > 0 {
                partition.flush_forced = true;
                self.forced_flushes += 1;
                self.flush_if_due(Slot(index as u32));
            }
        }
    }

    /// Starts as many of the queued writes as may be in flight.
    pub(super) fn flush(&mut self, now: Now) {
        if self.flusher.retry_at_us.is_some_and(|at| now.monotonic_us < at) || self.failed.is_some() {
            return;
        }
        self.flusher.retry_at_us = None;
        for (slot, segment, end) in std::mem::take(&mut self.flusher.direct_retries) {
            self.write_direct(slot, segment, end);
        }
        if self.dirty_bytes > self.config.dirty_bytes_max / 2 && self.forced_flushes == 0 {
            self.flush_all();
        }
        while self.flusher.in_flight < self.config.segment_writes_max {
            let Some(slot) = self.flusher.queue.pop_front() else { break };
            self.flush_partition(slot);
        }
        self.evict();
    }

    fn flush_partition(&mut self, slot: Slot) {
        let Some(partition) = self.partitions[slot.index()].as_mut() else { return };
        partition.flush_queued = false;
        if partition.flushing.is_some() {
            return;
        }
        let key = partition.log.key;
        let unsealed = partition.log.segments.partition_point(|segment| segment.sealed);
        let Some(segment) = partition.log.segments.get_mut(unsealed) else { return };
        let (base, start) = (segment.base, segment.written);
        let end = segment.flush_end().min(start.saturating_add(WRITE_BYTES_MAX));
        let (kind, purpose) = if end > start {
            segment.tail.freeze();
            let parts = segment.blocks(start, end);
            let (file, position) = (segment.file(key), u64::from(start));
            let kind = OpKind::WriteSegment { file, position, parts, flush: false };
            (kind, Purpose::Flush { slot, key, segment: base, end })
        } else if segment.may_finish() && segment.written == segment.length {
            let kind = OpKind::SealSegment { file: segment.file(key), length: u64::from(segment.length) };
            (kind, Purpose::Seal { slot, key, segment: base })
        } else {
            self.flush_if_due(slot);
            return;
        };
        let removing = self.is_removing(&key);
        let partition = self.partitions[slot.index()].as_mut().expect("it was there");
        if removing {
            // The folder of an earlier partition of this name is on its way out; the next append asks again.
            self.forced_flushes -= u32::from(std::mem::take(&mut partition.flush_forced));
            return;
        }
        partition.flushing = Some(base);
        self.flusher.in_flight += 1;
        self.issue(kind, purpose);
    }

    /// Writes what bypasses the WAL, and all that lies before it.
    pub(super) fn write_direct(&mut self, slot: Slot, base: Offset, end: u32) {
        let gone = |store: &Store| {
            let partition = store.partitions[slot.index()].as_ref();
            partition.and_then(|partition| partition.log.segment(base)).is_none()
        };
        if gone(self) {
            // Deleted between issue and retry: nobody will miss it, and the block is complete without.
            self.issue(OpKind::Remove { files: Vec::new() }, Purpose::DirectOrphan);
            return;
        }
        let partition = self.partitions[slot.index()].as_mut().expect("it was just there");
        let key = partition.log.key;
        partition.flushing = Some(base);
        let segment = partition.log.segment_mut(base).expect("it was just there");
        segment.tail.freeze();
        let parts = segment.tail.slice(segment.written, end);
        let (file, position) = (segment.file(key), u64::from(segment.written));
        let kind = OpKind::WriteSegment { file, position, parts, flush: true };
        self.flusher.in_flight += 1;
        self.issue(kind, Purpose::DirectWrite { slot, key, segment: base, end });
    }

    /// A write is done: the next step of the same partition, if there is one.
    pub(super) fn segment_op_done(
        &mut self,
        now: Now,
        purpose: Purpose,
        result: Result<(), DiskError>,
        events: &mut Vec<Event>,
    ) -> Result<(), DiskError> {
        if let Err(error) = result {
            return self.segment_op_failed(now, purpose, error, events);
        }
        match purpose {
            Purpose::Flush { slot, key, segment, end } => {
                self.flusher.in_flight -= 1;
                self.set_no_space(false);
                self.written(slot, segment, end, false);
                self.partition_flushed(slot, key);
            }
            Purpose::DirectWrite { slot, key, segment, end } => {
                self.flusher.in_flight -= 1;
                self.written(slot, segment, end, true);
                self.partition_flushed(slot, key);
                self.block_part_done(now, events);
            }
            Purpose::Seal { slot, key, segment } => self.write_index(slot, key, segment),
            Purpose::WriteIndex { slot, key, segment } => {
                self.flusher.in_flight -= 1;
                self.sealed(slot, segment);
                self.partition_flushed(slot, key);
            }
            other => unreachable!("{other:?} is no segment write"),
        }
        Ok(())
    }

    fn segment_op_failed(
        &mut self,
        now: Now,
        purpose: Purpose,
        error: DiskError,
        events: &mut Vec<Event>,
    ) -> Result<(), DiskError> {
        let (Purpose::Flush { slot, key, segment, .. }
        | Purpose::DirectWrite { slot, key, segment, .. }
        | Purpose::Seal { slot, key, segment }
        | Purpose::WriteIndex { slot, key, segment }) = purpose
        else {
            unreachable!("{purpose:?} is no segment write")
        };
        let partition = self.partitions[slot.index()].as_ref();
        let gone = partition.and_then(|partition| partition.log.segment(segment)).is_none();
        if error.kind != DiskErrorKind::NoSpace && !(gone && error.kind == DiskErrorKind::NotFound) {
            return Err(error);
        }
        self.flusher.in_flight -= 1;
        if error.kind == DiskErrorKind::NoSpace {
            self.set_no_space(true);
            self.flusher.retry_at_us = Some(now.monotonic_us + OPS_RETRY_US);
        }
        match purpose {
            Purpose::DirectWrite { end, .. } if !gone => {
                self.flusher.direct_retries.push((slot, segment, end));
            }
            Purpose::DirectWrite { .. } => {
                self.partition_flushed(slot, key);
                self.block_part_done(now, events);
            }
            _ => {
                self.partition_flushed(slot, key);
            }
        }
        Ok(())
    }

    fn written(&mut self, slot: Slot, base: Offset, end: u32, synced: bool) {
        let Some(partition) = self.partitions[slot.index()].as_mut() else { return };
        let Some(segment) = partition.log.segment_mut(base) else { return };
        let bytes = u64::from(end - segment.written);
        segment.written = end;
        if synced {
            segment.synced = end;
        }
        self.dirty_bytes -= bytes;
        self.flusher.cached_bytes += bytes;
        self.flusher.cached.push_back((slot, base, end, bytes));
    }

    fn write_index(&mut self, slot: Slot, key: PartitionKey, base: Offset) {
        let partition = self.partitions[slot.index()].as_ref();
        let segment = partition.and_then(|partition| partition.log.segment(base));
        let Some(segment) = segment else {
            self.flusher.in_flight -= 1;
            self.partition_flushed(slot, key);
            return;
        };
        let parts = vec![segment.index.encode(&segment.summary())];
        let file = FileName::Index { partition: key, base };
        self.issue(OpKind::WriteFile { file, parts }, Purpose::WriteIndex { slot, key, segment: base });
    }

    fn sealed(&mut self, slot: Slot, base: Offset) {
        let Some(partition) = self.partitions[slot.index()].as_mut() else { return };
        let Some(segment) = partition.log.segment_mut(base) else { return };
        segment.sealed = true;
        segment.synced = segment.length;
        let entries = segment.index.entries().len();
        self.keep_index(slot, base, entries);
    }

    /// The partition may be written again: queue it if more waits, and remove what was held back.
    fn partition_flushed(&mut self, slot: Slot, key: PartitionKey) {
        let Some(partition) =
            self.partitions[slot.index()].as_mut().filter(|partition| partition.log.key == key)
        else {
            if self.doomed.get(&key) == Some(&true) {
                self.remove_partition_files(key);
            }
            return;
        };
        partition.flushing = None;
        self.forced_flushes -= u32::from(std::mem::take(&mut partition.flush_forced));
        self.flush_if_due(slot);
        self.remove_doomed(slot);
    }

    /// Drops from memory what was written longest ago.
    fn evict(&mut self) {
        while self.flusher.cached_bytes > self.config.tail_cache_bytes {
            let Some((slot, base, end, bytes)) = self.flusher.cached.pop_front() else { break };
            self.flusher.cached_bytes -= bytes;
            let partition = self.partitions[slot.index()].as_mut();
            if let Some(segment) = partition.and_then(|partition| partition.log.segment_mut(base)) {
                segment.tail.drop_until(end);
            }
        }
    }

    /// Removes the files of segments below the log start, which is durable.
    pub(super) fn remove_doomed(&mut self, slot: Slot) {
        let Some(partition) = self.partitions[slot.index()].as_mut() else { return };
        let (flushing, log) = (partition.flushing, &mut partition.log);
        let key = log.key;
        let ready =
            log.doomed.iter().filter(|base| Some(**base) != flushing && !partition.removing.contains(base));
        let bases: Vec<Offset> = ready.copied().collect();
        if bases.is_empty() || partition.log_starts_pending > 0 {
            return;
        }
        partition.removing.extend(&bases);
        let file = |base: &Offset| {
            let (partition, base) = (key, *base);
            [FileName::Segment { partition, base }, FileName::Index { partition, base }]
        };
        let files = bases.iter().flat_map(file).collect();
        self.issue(OpKind::Remove { files }, Purpose::RemoveSegments { slot, bases });
    }

    pub(super) fn segments_removed(&mut self, slot: Slot, bases: &[Offset]) {
        if let Some(partition) = self.partitions[slot.index()].as_mut() {
            partition.log.doomed.retain(|base| !bases.contains(base));
            partition.removing.retain(|base| !bases.contains(base));
        }
    }

    /// Removes the folder of a partition whose deletion is durable, once no write to it is under way.
    pub(super) fn remove_partition_files(&mut self, key: PartitionKey) {
        let writing = self.purposes.values().any(|purpose| match purpose {
            Purpose::Flush { key: other, .. }
            | Purpose::DirectWrite { key: other, .. }
            | Purpose::Seal { key: other, .. }
            | Purpose::WriteIndex { key: other, .. } => *other == key,
            Purpose::RemovePartition { key: other } => *other == key,
            _ => false,
        });
        if !writing {
            self.issue(OpKind::RemovePartition { partition: key }, Purpose::RemovePartition { key });
        }
    }

    /// Looks for segments that are too old or too many.
    pub(super) fn retain(&mut self, now: Now) {
        for index in 0..self.partitions.len() {
            let Some(partition) = self.partitions[index].as_mut() else { continue };
            let expired = now.wall_ms.saturating_sub(self.config.producer_id_expiration_ms);
            partition.log.producers.expire(expired);
            if !partition.configured {
                continue;
            }
            if let Some(start) = crate::retention::new_log_start(&partition.log, now.wall_ms) {
                let flags = if start == partition.log.next_offset { ROLLED } else { 0 };
                self.set_log_start(Slot(index as u32), start, flags);
            }
        }
    }

    /// Moves the log start; durable when [`Event::LogStart`] says so.
    pub(super) fn set_log_start(&mut self, slot: Slot, offset: Offset, flags: u8) {
        let Some(partition) = self.partitions[slot.index()].as_mut() else { return };
        if flags & ROLLED != 0 {
            partition.log.roll();
        }
        let before = partition.log.dirty_bytes();
        if !partition.log.advance_log_start(offset) {
            return;
        }
        partition.log_starts_pending += 1;
        self.dirty_bytes -= before - partition.log.dirty_bytes();
        let entry = partition_entry(EntryKind::LogStart, partition.log.key, offset);
        let entry = Entry { flags, ..entry };
        self.wal.push(slot, entry, bytes::Bytes::new(), 0);
    }

    /// Drops what lies below the log start and was not durable when that moved.
    pub(super) fn drop_segments(&mut self, slot: Slot) {
        let Some(partition) = self.partitions[slot.index()].as_mut() else { return };
        let before = partition.log.dirty_bytes();
        partition.log.drop_segments();
        self.dirty_bytes -= before - partition.log.dirty_bytes();
    }
}
