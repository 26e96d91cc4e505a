//! What one entry of the WAL, or one partition of a checkpoint, does to a log.

use crate::checkpoint::{PartitionV1, SegmentV1};
use crate::config::LogConfig;
use crate::header::{BatchHeader, CRC_START, HEADER_BYTES, MAGIC};
use crate::index::SparseIndex;
use crate::leader_epochs::LeaderEpochs;
use crate::log::Log;
use crate::op::{BLOCK_BYTES, DiskError, DiskErrorKind, IndexEntry, RecoverySource};
use crate::producer_state::{BATCHES_MAX, ProducerBatch, ProducerEntry};
use crate::segment::Segment;
use crate::tail::TailBatch;
use crate::types::{LeaderEpoch, Offset, PartitionKey, ProducerId, TopicId};
use crate::wal::{Entry, EntryKind, OPENS_BYPASS, ROLLED};
use bytes::Bytes;

/// What an entry did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Applied {
    /// It followed on what was there.
    Contiguous,
    /// It was known already.
    Nothing,
    /// Something before it, or in it, is missing.
    Damaged,
}

/// Takes up an entry.
pub(super) fn entry(log: &mut Log, entry: &Entry, payload: Option<&Bytes>) -> Applied {
    match entry.kind {
        EntryKind::Data | EntryKind::Direct if entry.next <= log.next_offset => {
            // The checkpoint that held its batches may have been taken before this was known.
            let opens = entry.kind == EntryKind::Direct || entry.flags & OPENS_BYPASS != 0;
            if let Some(segment) = log.segment_mut(entry.segment) {
                segment.bypass_open |= opens;
            }
            Applied::Nothing
        }
        EntryKind::Data | EntryKind::Direct if entry.base > log.next_offset => Applied::Damaged,
        EntryKind::Data => payload.map_or(Applied::Damaged, |payload| data(log, entry, payload)),
        EntryKind::Direct => payload.map_or(Applied::Damaged, |payload| direct(log, entry, payload)),
        EntryKind::LogStart => {
            if entry.base > log.next_offset {
                return Applied::Damaged;
            }
            if entry.flags & ROLLED != 0 && entry.base == log.next_offset {
                log.roll();
                log.note_close(entry.base);
            }
            log.advance_log_start(entry.base);
            Applied::Nothing
        }
        EntryKind::EpochStart if entry.base > log.next_offset => Applied::Damaged,
        EntryKind::EpochStart => {
            log.epochs.assign(entry.leader_epoch, entry.base);
            Applied::Nothing
        }
        EntryKind::Delete | EntryKind::Inherit => unreachable!("these are no business of a log"),
    }
}

fn data(log: &mut Log, entry: &Entry, payload: &Bytes) -> Applied {
    let mut at = 0;
    let mut fresh = payload.len();
    let mut result = Applied::Contiguous;
    while at < payload.len() {
        let Some(header) = whole_batch(&payload[at..]) else {
            result = Applied::Damaged;
            break;
        };
        if header.last_offset() >= log.next_offset {
            if !place(log, entry, &header, at as u32) {
                result = Applied::Damaged;
                break;
            }
            fresh = fresh.min(at);
        }
        at += header.bytes;
    }
    if fresh < at {
        let active = log.segments.back_mut().expect("a batch was placed");
        active.tail.restore_bytes(entry.position + fresh as u32, Bytes::copy_from_slice(&payload[fresh..at]));
        active.bypass_open |= entry.flags & OPENS_BYPASS != 0;
    }
    result
}

fn direct(log: &mut Log, entry: &Entry, payload: &Bytes) -> Applied {
    let Some((headers, tail)) = split_direct(entry, payload) else { return Applied::Damaged };
    let mut at = 0;
    for header in &headers {
        if header.last_offset() >= log.next_offset && !place(log, entry, header, at) {
            return Applied::Damaged;
        }
        at += header.bytes as u32;
    }
    let written = whole_blocks(entry.position + entry.length);
    let active = log.segments.back_mut().expect("a batch was placed");
    active.tail.drop_until(written);
    active.tail.restore_bytes(written, Bytes::copy_from_slice(&tail));
    (active.written, active.synced) = (written, written);
    active.bypass_open = true;
    Applied::Contiguous
}

/// The headers of a direct entry's batches, and the bytes of its last partial block.
fn split_direct(entry: &Entry, payload: &Bytes) -> Option<(Vec<BatchHeader>, Bytes)> {
    let end = entry.position.checked_add(entry.length)?;
    let tail = (end - whole_blocks(end)) as usize;
    let headers_end = payload.len().checked_sub(tail)?;
    let chunks = payload[..headers_end].chunks(HEADER_BYTES);
    let headers: Vec<BatchHeader> = chunks.map(BatchHeader::read).collect::<Option<_>>()?;
    let total: usize = headers.iter().map(|header| header.bytes).sum();
    (total == entry.length as usize).then(|| (headers, payload.slice(headers_end..)))
}

/// Whether the segment holds the batches that a direct entry says it does.
pub(super) fn direct_is_there(
    source: &mut dyn RecoverySource,
    entry: &Entry,
    payload: &Bytes,
) -> Result<bool, DiskError> {
    let Some((headers, tail)) = split_direct(entry, payload) else { return Ok(false) };
    let file = crate::op::FileName::Segment { partition: entry.key, base: entry.segment };
    let in_file = entry.length as usize - tail.len();
    let read = match source.read(&file, u64::from(entry.position), in_file) {
        Ok(read) if read.len() == in_file => read,
        Ok(_) => return Ok(false),
        Err(error) if error.kind == DiskErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let all = [read, tail].concat();
    let mut at = 0;
    for header in headers {
        if whole_batch(&all[at..]) != Some(header) {
            return Ok(false);
        }
        at += header.bytes;
    }
    source.sync(&file)?;
    Ok(true)
}

/// The header of the batch that begins here, if all of it is here and intact.
fn whole_batch(bytes: &[u8]) -> Option<BatchHeader> {
    let header = BatchHeader::read(bytes)?;
    let batch = bytes.get(..header.bytes)?;
    let intact = header.magic == MAGIC
        && header.last_offset_delta >= 0
        && crc32c::crc32c(&batch[CRC_START..]) == header.crc;
    intact.then_some(header)
}

/// Puts a batch at the end of the log, where the entry says that it was put. False if that is not the end.
fn place(log: &mut Log, entry: &Entry, header: &BatchHeader, at: u32) -> bool {
    if header.base_offset != log.next_offset {
        return false;
    }
    let position = entry.position + at;
    let active = log.segments.back().filter(|active| active.base == entry.segment);
    match active {
        Some(active) if active.length != position => return false,
        Some(_) => {}
        None if entry.segment != log.next_offset || position != 0 => return false,
        None => {
            log.roll();
            log.note_close(entry.segment);
            log.segments.push_back(Segment::new(entry.segment));
        }
    }
    log.replay(header, header.max_timestamp);
    true
}

/// Rebuilds a partition from a checkpoint. What does not fit together makes it damaged.
pub(super) fn restore_partition(state: &PartitionV1) -> Log {
    let key = PartitionKey { topic_id: TopicId(state.key.topic_id), partition: state.key.partition };
    let mut log = Log::new(key, LogConfig::default());
    log.log_start = Offset(state.log_start);
    log.next_offset = Offset(state.next_offset);
    log.durable_end = log.next_offset;
    log.damaged_from = state.damaged_from.map(Offset);
    log.doomed = state.doomed.iter().map(|base| Offset(*base)).collect();
    let epochs = state.epochs.iter().map(|(epoch, start)| (LeaderEpoch(*epoch), Offset(*start)));
    log.epochs = LeaderEpochs::from_entries(epochs.collect());
    for producer in &state.producers {
        let batch = |b: &(i32, i32, i64, i32, i64)| ProducerBatch {
            first_sequence: b.0,
            last_sequence: b.1,
            last_offset: Offset(b.2),
            offset_delta: b.3,
            timestamp_ms: b.4,
        };
        let batches: Vec<ProducerBatch> = producer.batches.iter().take(BATCHES_MAX).map(batch).collect();
        if !batches.is_empty() {
            let entry = ProducerEntry { epoch: producer.epoch, batches, heard_ms: producer.heard_ms };
            log.producers.restore(ProducerId(producer.producer_id), entry);
        }
    }
    for segment in &state.segments {
        let (restored, lost) = restore_segment(segment);
        log.segments.push_back(restored);
        if let Some(lost) = lost {
            let known = log.damaged_from.map_or(lost, |offset| offset.min(lost));
            log.damaged_from = Some(known);
        }
    }
    log
}

/// A segment, and the first offset lost if its tail is not what it should be.
fn restore_segment(state: &SegmentV1) -> (Segment, Option<Offset>) {
    let mut segment = Segment::new(Offset(state.base));
    segment.next_offset = Offset(state.next_offset);
    segment.length = state.length;
    segment.durable = state.length;
    segment.written = state.synced;
    segment.synced = state.synced;
    segment.closed = state.closed;
    segment.sealed = state.sealed;
    segment.index_loaded = !state.sealed;
    segment.bypass_open = state.bypass_open;
    segment.first_timestamp = state.first_timestamp;
    segment.max_timestamp = state.max_timestamp;
    let entries = state.index.iter().map(|(offset, position, max_timestamp_before)| IndexEntry {
        offset: Offset(*offset),
        position: *position,
        max_timestamp_before: *max_timestamp_before,
    });
    segment.index = SparseIndex::from_entries(entries.collect());
    if state.tail_position as usize + state.tail.len() != state.length as usize {
        return (segment, Some(Offset(state.base)));
    }
    segment.tail.restore_bytes(state.tail_position, Bytes::copy_from_slice(&state.tail));
    let mut position = state.tail_start;
    if state.tail_position > state.tail_start {
        // The head of this batch is read from the file when everything is replayed.
        let Some(header) = BatchHeader::read(&state.head) else { return (segment, Some(Offset(state.base))) };
        segment.tail.restore_batch(TailBatch::of(&header, position));
        position += header.bytes as u32;
    }
    while position < state.length {
        let at = (position - state.tail_position) as usize;
        let Some(header) = state.tail.get(at..).and_then(whole_batch) else {
            return (segment, Some(Offset(state.base)));
        };
        segment.tail.restore_batch(TailBatch::of(&header, position));
        position += header.bytes as u32;
    }
    (segment, None)
}

/// After the replay: what a later segment closed, what the log start passed, what must not be appended to.
pub(super) fn settle(log: &mut Log) {
    let last = log.segments.len().saturating_sub(1);
    for (index, segment) in log.segments.iter_mut().enumerate() {
        segment.closed |= index < last || segment.bypass_open;
        segment.close_durable |= segment.closed;
        segment.durable = segment.length;
    }
    log.durable_end = log.next_offset;
    log.drop_segments();
}

/// Reads from the files the heads of batches whose ends are in memory.
pub(super) fn read_heads(log: &mut Log, source: &mut dyn RecoverySource) -> Result<(), DiskError> {
    let key = log.key;
    let mut lost = None;
    for segment in &mut log.segments {
        let (Some(start), Some(bytes)) = (segment.tail.start(), segment.tail.bytes_start()) else { continue };
        if bytes <= start {
            continue;
        }
        let head = match source.read(&segment.file(key), u64::from(start), (bytes - start) as usize) {
            Ok(head) => head,
            Err(error) if error.kind == DiskErrorKind::Io => return Err(error),
            Err(_) => Bytes::new(),
        };
        let first = segment.tail.batches()[0];
        let complete = head.len() == (bytes - start) as usize;
        segment.tail.restore_head(head);
        if !complete || whole_batch(&segment.tail.slice(start, first.end()).concat()).is_none() {
            lost = Some(first.base);
            break;
        }
    }
    if lost.is_some() {
        log.damaged_from = lost;
    }
    Ok(())
}

fn whole_blocks(position: u32) -> u32 {
    position - position % BLOCK_BYTES as u32
}
