//! The shard's WAL as it is written. At most one block is in flight; what arrives meanwhile goes into the next, so
//! commits group themselves. A block counts as durable when its write *and* every segment write
//! of its bypassing appends are on stable storage.
//!
//! Files: the first of an incarnation is small, so that a start is quick; each next one is prepared ahead. No
//! block is ever written into a file of an earlier incarnation.

use super::gathering::Gathering;
use super::{Event, OPS_RETRY_US, Purpose, Store, WAL_PENDING_BYTES_MAX};
use crate::config::{FlushMode, mutated};
use crate::log::Placed;
use crate::op::{BLOCK_BYTES, DiskError, DiskErrorKind, FileName, OpKind};
use crate::types::{Lsn, Now, Offset, PartitionKey, Slot};
use crate::wal::{BlockBuilder, BlockPlace, Entry, EntryKind, OPENS_BYPASS, ROLLED, salt};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// Appends to one segment in one turn share an entry up to this size.
const ENTRY_BYTES_MAX: u32 = 1 << 20;
/// Entries in a block at most; see [`crate::wal::ENTRIES_MAX`].
const BLOCK_ENTRIES_MAX: usize = 8192;
/// Bytes that bypass one block at most, so that the block's commit stays short.
const BLOCK_BYPASS_BYTES_MAX: u64 = 8 << 20;
/// Used-up files kept for their blocks.
const RECYCLABLE_MAX: usize = 2;

const _: () = assert!(BLOCK_ENTRIES_MAX <= crate::wal::ENTRIES_MAX as usize);

/// A WAL file of this incarnation.
#[derive(Clone, Copy, Debug)]
struct WalFile {
    sequence: u64,
    bytes: u64,
    position: u64,
    last_lsn: Lsn,
}

/// An entry that waits for a block.
#[derive(Clone, Debug)]
struct Pending {
    slot: Slot,
    entry: Entry,
    payload: Bytes,
    /// May wait until this time (µs) for company; 0 for what somebody waits for.
    lazy_until_us: u64,
}

/// What an entry in flight brings about once it is durable.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub slot: Slot,
    pub entry: Entry,
}

#[derive(Debug)]
struct InFlight {
    lsn: Lsn,
    waits: u32,
    marks: Vec<Mark>,
    content: bool,
}

/// The state of the WAL.
#[derive(Debug)]
pub(super) struct Wal {
    pub incarnation: u64,
    pending: VecDeque<Pending>,
    first_pending: u64,
    /// Entries before this number are not added to any more: a checkpoint was taken after them.
    barrier: u64,
    pending_bytes: u64,
    pub next_lsn: Lsn,
    pub durable_lsn: Lsn,
    /// Entries below this number are durable.
    durable_entries: u64,
    pub prev_crc: u32,
    files: VecDeque<WalFile>,
    ready: Option<WalFile>,
    preparing: bool,
    next_sequence: u64,
    recyclable: Vec<FileName>,
    in_flight: Option<InFlight>,
    vouch_at_us: Option<u64>,
    retry_at_us: Option<u64>,
    /// Bytes of this incarnation's WAL and bypass so far.
    pub written_bytes: u64,
    wants_file: bool,
    /// A block is due and finds no room: what comes next is a file, not a time.
    waits_for_room: bool,
    gathering: Gathering,
}

impl Wal {
    pub(super) fn new(incarnation: u64) -> Wal {
        Wal {
            incarnation,
            pending: VecDeque::new(),
            first_pending: 0,
            barrier: 0,
            pending_bytes: 0,
            next_lsn: Lsn(1),
            durable_lsn: Lsn(0),
            durable_entries: 0,
            prev_crc: 0,
            files: VecDeque::new(),
            ready: None,
            preparing: false,
            next_sequence: 1,
            recyclable: Vec::new(),
            in_flight: None,
            vouch_at_us: None,
            retry_at_us: None,
            written_bytes: 0,
            wants_file: true,
            waits_for_room: false,
            gathering: Gathering::default(),
        }
    }

    /// Goes on behind the last block of an earlier incarnation, which is wrong.
    #[cfg(feature = "mutations")]
    pub(super) fn continue_old(&mut self, old: &crate::recovery::OldWal) {
        self.incarnation = old.incarnation;
        self.next_lsn = old.next_lsn;
        self.durable_lsn = Lsn(old.next_lsn.0 - 1);
        self.prev_crc = old.prev_crc;
        self.next_sequence = old.sequence + 1;
        self.wants_file = false;
        self.files.push_back(WalFile {
            sequence: old.sequence,
            bytes: old.bytes,
            position: old.position,
            last_lsn: self.durable_lsn,
        });
    }

    pub(super) fn push(&mut self, slot: Slot, entry: Entry, payload: Bytes, lazy_until_us: u64) -> u64 {
        self.pending_bytes += u64::from(entry.length);
        self.pending.push_back(Pending { slot, entry, payload, lazy_until_us });
        self.first_pending + self.pending.len() as u64 - 1
    }

    /// The number that the next entry gets.
    pub(super) fn end(&self) -> u64 {
        self.first_pending + self.pending.len() as u64
    }

    /// From here on no entry that waits now is added to.
    pub(super) fn set_barrier(&mut self) {
        self.barrier = self.end();
    }

    pub(super) fn is_durable_until(&self, entry: u64) -> bool {
        self.durable_entries >= entry
    }

    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.in_flight.is_none()
    }

    pub(super) fn has_file(&self) -> bool {
        !self.files.is_empty()
    }

    pub(super) fn is_over(&self) -> bool {
        self.pending_bytes > WAL_PENDING_BYTES_MAX
    }

    fn extend(&mut self, number: u64, placed: &Placed, lazy_until_us: u64) -> bool {
        if number < self.first_pending.max(self.barrier) {
            return false;
        }
        let pending = &mut self.pending[(number - self.first_pending) as usize];
        let (entry, batch) = (&mut pending.entry, &placed.batch);
        let fits = entry.segment == placed.segment
            && entry.next == batch.base
            && entry.leader_epoch == batch.leader_epoch
            && entry.length + batch.bytes <= ENTRY_BYTES_MAX;
        if fits {
            entry.length += batch.bytes;
            entry.next = batch.last.next();
            pending.lazy_until_us = pending.lazy_until_us.min(lazy_until_us);
            self.pending_bytes += u64::from(batch.bytes);
        }
        fits
    }

    /// Bytes of the files that hold something, or will next.
    fn total_bytes(&self) -> u64 {
        self.files.iter().chain(&self.ready).map(|file| file.bytes).sum()
    }

    /// When a block is to be issued at the latest, if nothing else happens.
    pub(super) fn next_timeout(&self) -> Option<u64> {
        if self.waits_for_room {
            return self.retry_at_us;
        }
        let lazy = self.pending.iter().map(|pending| pending.lazy_until_us).min();
        // Also what nobody counts for company, a log start say, waits for it: and then for no longer.
        let due = lazy.map(|at| at.max(self.gathering.waits_until(self.pending_bytes)));
        let due = if self.in_flight.is_none() && self.has_file() { due.filter(|at| *at > 0) } else { None };
        // What waits vouches for the last block when it becomes one itself.
        let vouch = if self.pending.is_empty() { self.vouch_at_us } else { None };
        [due, vouch, self.retry_at_us].into_iter().flatten().min()
    }
}

impl Store {
    /// Adds an append to the entries that wait, or to the one before it of the same partition.
    pub(super) fn log_append(&mut self, now: Now, slot: Slot, placed: &Placed) {
        let partition =
            self.partitions[slot.index()].as_mut().expect("appends go to a partition that exists");
        let lazy_until_us = match partition.log.config.flush_mode {
            FlushMode::Durable => {
                self.wal.gathering.appended();
                0
            }
            FlushMode::Interval { ms } => now.monotonic_us + u64::from(ms) * 1000,
        };
        if let Some(number) = partition.pending_entry
            && self.wal.extend(number, placed, lazy_until_us)
        {
            return;
        }
        let batch = &placed.batch;
        let entry = Entry {
            base: batch.base,
            next: batch.last.next(),
            segment: placed.segment,
            position: batch.position,
            length: batch.bytes,
            leader_epoch: batch.leader_epoch,
            ..Entry::new(EntryKind::Data, partition.log.key)
        };
        partition.pending_entry = Some(self.wal.push(slot, entry, Bytes::new(), lazy_until_us));
    }

    /// Issues a block if one is due and none is in flight, and sees to the files.
    pub(super) fn commit(&mut self, now: Now) {
        // Nothing follows the last checkpoint of a stop in order: a start does not look for it.
        if self.failed.is_some() || self.checkpoint.final_is_taken {
            return;
        }
        if self.wal.retry_at_us.is_some_and(|at| now.monotonic_us >= at) {
            self.wal.retry_at_us = None;
        }
        // What is not due yet waits for its time, whatever was due before.
        self.wal.waits_for_room = false;
        if self.wal.in_flight.is_none() && self.block_is_due(now) {
            if self.make_room() {
                self.wal.gathering.begun(now.monotonic_us);
                self.issue_block();
            } else {
                self.wal.waits_for_room = true;
            }
        }
        self.prepare_file();
    }

    fn block_is_due(&self, now: Now) -> bool {
        let wal = &self.wal;
        if wal.pending.is_empty() {
            return wal.vouch_at_us.is_some_and(|at| now.monotonic_us >= at);
        }
        let due = |pending: &Pending| pending.lazy_until_us <= now.monotonic_us;
        self.stopping
            || !self.checkpoint.is_idle()
            || wal.pending_bytes >= u64::from(self.config.wal_block_bytes)
            || (wal.gathering.may_begin(now.monotonic_us, wal.pending_bytes) && wal.pending.iter().any(due))
    }

    /// Whether the current file has room for the first entry; goes on to the next file if not.
    fn make_room(&mut self) -> bool {
        let first = self.wal.pending.front();
        let content = first.map_or(0, |p| p.entry.length as usize + p.payload.len());
        let needed = (content as u64 + 2 * BLOCK_BYTES).next_multiple_of(BLOCK_BYTES);
        if self.wal.files.back().is_some_and(|file| file.bytes - file.position >= needed) {
            return true;
        }
        self.wal.wants_file = true;
        match self.wal.ready.take() {
            Some(ready) if ready.bytes >= needed => {
                self.wal.files.push_back(ready);
                true
            }
            Some(small) => {
                let file = self.wal_file(small.sequence);
                self.issue(OpKind::Remove { files: vec![file] }, Purpose::Remove);
                false
            }
            None => false,
        }
    }

    fn wal_file(&self, sequence: u64) -> FileName {
        FileName::Wal { shard: self.shard, incarnation: self.wal.incarnation, sequence }
    }

    fn prepare_file(&mut self) {
        let wal = &self.wal;
        if !wal.wants_file || wal.preparing || wal.ready.is_some() || wal.retry_at_us.is_some() {
            return;
        }
        let first = wal.pending.front().map_or(0, |p| p.entry.length as usize + p.payload.len());
        let needed = (first as u64 + 2 * BLOCK_BYTES).next_multiple_of(BLOCK_BYTES);
        let usual =
            if wal.files.is_empty() { self.config.wal_first_file_bytes } else { self.config.wal_file_bytes };
        let bytes = usual.max(needed).next_multiple_of(BLOCK_BYTES);
        // A checkpoint that waits for entries here gets its file: without it there would never be room again. They are
        // WAL_PENDING_BYTES_MAX at most.
        let is_full = wal.total_bytes() + bytes > self.config.wal_bytes_max && !wal.files.is_empty();
        if is_full && !self.checkpoint.waits_for(wal) {
            self.checkpoint.request();
            return;
        }
        let recycle = if bytes == self.config.wal_file_bytes { self.wal.recyclable.pop() } else { None };
        let sequence = self.wal.next_sequence;
        self.wal.next_sequence += 1;
        self.wal.preparing = true;
        let file = self.wal_file(sequence);
        self.issue(OpKind::PrepareWal { file, bytes, recycle }, Purpose::PrepareWal { sequence, bytes });
    }

    pub(super) fn wal_prepared(
        &mut self,
        now: Now,
        sequence: u64,
        bytes: u64,
        result: Result<(), DiskError>,
    ) -> Result<(), DiskError> {
        self.wal.preparing = false;
        match result {
            Ok(()) => {
                let file = WalFile { sequence, bytes, position: 0, last_lsn: Lsn(0) };
                self.wal.wants_file = false;
                self.set_no_space(false);
                if self.wal.files.is_empty() {
                    self.wal.files.push_back(file);
                } else {
                    self.wal.ready = Some(file);
                }
                Ok(())
            }
            Err(error) if error.kind == DiskErrorKind::NoSpace => {
                self.set_no_space(true);
                self.wal.retry_at_us = Some(now.monotonic_us + OPS_RETRY_US);
                // What there is of it would only take the room that the next try needs.
                let file = self.wal_file(sequence);
                self.issue(OpKind::Remove { files: vec![file] }, Purpose::Remove);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn issue_block(&mut self) {
        let file = *self.wal.files.back().expect("there is room in a file");
        let room = file.bytes - file.position;
        let mut builder = BlockBuilder::default();
        let mut marks = Vec::new();
        let mut direct: BTreeMap<(Slot, Offset), u32> = BTreeMap::new();
        let mut direct_bytes = 0;
        while let Some(pending) = self.wal.pending.front() {
            let bypasses = self.may_bypass(pending) && direct_bytes < BLOCK_BYPASS_BYTES_MAX;
            // What bypasses leaves its headers in the block, which are no longer than itself.
            let content = u64::from(pending.entry.length) + pending.payload.len() as u64;
            let length = builder.length() + content + BLOCK_BYTES;
            let full = !bypasses && length > u64::from(self.config.wal_block_bytes);
            if length > room || (!marks.is_empty() && (full || marks.len() >= BLOCK_ENTRIES_MAX)) {
                break;
            }
            let pending = self.wal.pending.pop_front().expect("there is a front");
            self.wal.first_pending += 1;
            self.wal.pending_bytes -= u64::from(pending.entry.length);
            let entry = self.add_entry(&mut builder, &pending, bypasses);
            if let Some(entry) = entry {
                if entry.kind == EntryKind::Direct {
                    direct_bytes += u64::from(entry.length);
                    direct.insert((pending.slot, entry.segment), entry.position + entry.length);
                }
                marks.push(Mark { slot: pending.slot, entry });
            }
        }
        let data = marks.iter().any(|mark| mark.entry.length > 0);
        self.send_block(builder, marks, &direct);
        self.wal.written_bytes += direct_bytes;
        self.plan_file(data);
    }

    /// The next file is prepared with the first data in a small one, and in a full-sized one at half.
    fn plan_file(&mut self, data: bool) {
        let current = self.wal.files.back().expect("a block was just written to it");
        let small = current.bytes < self.config.wal_file_bytes;
        if self.wal.ready.is_none() && ((small && data) || current.position * 2 > current.bytes) {
            self.wal.wants_file = true;
        }
    }

    /// Puts one entry into the block. None if its partition or segment is gone.
    fn add_entry(&mut self, builder: &mut BlockBuilder, pending: &Pending, bypasses: bool) -> Option<Entry> {
        let mut entry = pending.entry;
        if entry.kind != EntryKind::Data {
            builder.add(entry, (!pending.payload.is_empty()).then(|| pending.payload.clone()));
            return Some(entry);
        }
        let bypass_bytes_min = self.config.bypass_bytes_min;
        let partition = self.partitions[pending.slot.index()].as_mut()?;
        let segment = partition.log.segment_mut(entry.segment)?;
        let end = entry.position + entry.length;
        segment.tail.freeze();
        if bypasses {
            entry.kind = EntryKind::Direct;
            let first = segment.tail.find(entry.base);
            let batches = segment.tail.batches().range(first..).take_while(|batch| batch.position < end);
            let header_bytes = crate::header::HEADER_BYTES as u32;
            let headers: Vec<Bytes> = batches
                .flat_map(|batch| segment.tail.slice(batch.position, batch.position + header_bytes))
                .collect();
            builder.add(entry, headers.into_iter().chain(segment.tail.slice(whole_blocks(end), end)));
        } else {
            if entry.length >= bypass_bytes_min {
                entry.flags |= OPENS_BYPASS;
                segment.opens_bypass = true;
            }
            builder.add(entry, segment.tail.slice(entry.position, end));
        }
        Some(entry)
    }

    /// Whether an append goes straight to its segment: large, into a segment that is known for it, and with no
    /// other write of the partition under way.
    fn may_bypass(&self, pending: &Pending) -> bool {
        let entry = &pending.entry;
        if entry.kind != EntryKind::Data || entry.length < self.config.bypass_bytes_min || self.no_space {
            return false;
        }
        let Some(partition) = self.partitions[pending.slot.index()].as_ref() else { return false };
        let first_unsealed = partition.log.segments.partition_point(|segment| segment.sealed);
        partition.flushing.is_none()
            && !self.is_removing(&entry.key)
            && partition.log.segments.get(first_unsealed).is_some_and(|segment| {
                segment.base == entry.segment
                    && segment.bypass_open
                    && whole_blocks(entry.position + entry.length) > segment.written
            })
    }

    fn send_block(
        &mut self,
        builder: BlockBuilder,
        marks: Vec<Mark>,
        direct: &BTreeMap<(Slot, Offset), u32>,
    ) {
        let lsn = self.wal.next_lsn;
        let file = self.wal.files.back_mut().expect("there is room in a file");
        let (sequence, position, length) = (file.sequence, file.position, builder.length());
        assert!(position + length <= file.bytes, "a block lies within its file");
        file.position += length;
        file.last_lsn = lsn;
        let place = BlockPlace {
            shard: self.shard,
            incarnation: self.wal.incarnation,
            salt: salt(self.shard, self.wal.incarnation, sequence),
            lsn,
            durable_lsn: self.wal.durable_lsn,
            prev_crc: self.wal.prev_crc,
        };
        let (parts, crc) = builder.finish(place);
        self.wal.prev_crc = crc;
        self.wal.next_lsn = lsn.next();
        self.wal.written_bytes += length;
        self.wal.vouch_at_us = None;
        let content = !marks.is_empty();
        self.wal.in_flight = Some(InFlight { lsn, waits: 1 + direct.len() as u32, marks, content });
        let file = self.wal_file(sequence);
        let flush = !mutated!(self.config, SkipFlush);
        self.issue(OpKind::WriteWal { file, position, parts, flush }, Purpose::Block);
        for ((slot, segment), end) in direct {
            self.write_direct(*slot, *segment, whole_blocks(*end));
        }
        if mutated!(self.config, AckBeforeDurable) {
            self.issue(OpKind::Remove { files: Vec::new() }, Purpose::EarlyAcknowledgement);
        }
    }

    /// One part of the block in flight is durable. Once all are, so is the block.
    pub(super) fn block_part_done(&mut self, now: Now, events: &mut Vec<Event>) {
        let block = self.wal.in_flight.as_mut().expect("a block is in flight until all its parts are done");
        block.waits -= 1;
        if block.waits > 0 {
            return;
        }
        let block = self.wal.in_flight.take().expect("it was there");
        self.wal.gathering.ended(now.monotonic_us);
        self.wal.durable_lsn = block.lsn;
        self.wal.durable_entries = self.wal.first_pending;
        if block.content {
            self.wal.vouch_at_us = Some(now.monotonic_us + self.config.wal_vouch_after_us);
        }
        for mark in block.marks {
            self.entry_durable(&mark, events);
        }
    }

    fn entry_durable(&mut self, mark: &Mark, events: &mut Vec<Event>) {
        let Mark { slot, entry } = mark;
        match entry.kind {
            EntryKind::Data | EntryKind::Direct => {
                let Some(partition) = self.partitions[slot.index()].as_mut() else { return };
                partition.log.note_close(entry.segment);
                if let Some(segment) = partition.log.segment_mut(entry.segment) {
                    segment.durable = segment.durable.max(entry.position + entry.length);
                    segment.bypass_open |= entry.flags & OPENS_BYPASS != 0;
                }
                partition.log.durable_end = partition.log.durable_end.max(entry.next);
                events.push(Event::Durable { slot: *slot, end: entry.next });
                self.flush_if_due(*slot);
            }
            EntryKind::LogStart => {
                if let Some(partition) = self.partitions[slot.index()].as_mut() {
                    partition.log_starts_pending -= 1;
                    if entry.flags & ROLLED != 0 {
                        partition.log.note_close(entry.base);
                    }
                }
                // The WAL keeps its order: what was appended before the move is durable now, too.
                self.drop_segments(*slot);
                events.push(Event::LogStart { slot: *slot, offset: entry.base });
                self.remove_doomed(*slot);
            }
            EntryKind::Delete => {
                self.doomed.insert(entry.key, true);
                self.remove_partition_files(entry.key);
            }
            EntryKind::EpochStart | EntryKind::Inherit => {}
        }
    }

    /// What is in flight passes for durable, which is wrong: see [`crate::config`], mutations.
    pub(super) fn acknowledge_early(&mut self, events: &mut Vec<Event>) {
        let Some(block) = &self.wal.in_flight else { return };
        let early = block.marks.iter().filter(|mark| mark.entry.length > 0);
        let ends: Vec<(Slot, Offset)> = early.map(|mark| (mark.slot, mark.entry.next)).collect();
        for (slot, end) in ends {
            if let Some(partition) = self.partitions[slot.index()].as_mut()
                && partition.log.durable_end < end
            {
                partition.log.durable_end = end;
                events.push(Event::Durable { slot, end });
            }
        }
    }

    /// Gives up the files that only hold blocks below `keep_from`.
    pub(super) fn retire_wal(&mut self, keep_from: Lsn) {
        let mut removed = Vec::new();
        while self.wal.files.len() > 1 && self.wal.files[0].last_lsn < keep_from {
            let file = self.wal.files.pop_front().expect("there is more than one");
            let name = self.wal_file(file.sequence);
            if file.bytes == self.config.wal_file_bytes && self.wal.recyclable.len() < RECYCLABLE_MAX {
                self.wal.recyclable.push(name);
            } else {
                removed.push(name);
            }
        }
        if !removed.is_empty() {
            self.issue(OpKind::Remove { files: removed }, Purpose::Remove);
        }
    }
}

/// The end of the whole blocks below `position`.
fn whole_blocks(position: u32) -> u32 {
    position - position % BLOCK_BYTES as u32
}

/// An entry about a partition as a whole.
pub(super) fn partition_entry(kind: EntryKind, key: PartitionKey, base: Offset) -> Entry {
    Entry { base, ..Entry::new(kind, key) }
}
