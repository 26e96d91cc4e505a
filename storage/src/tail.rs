//! The youngest bytes of a segment, in memory: what is not yet written to the file, and what was written lately.
//! A batch is copied once, from its request into a chunk of its partition, and stamped there; WAL blocks,
//! segment writes and reads share the chunk. So no request buffer outlives its request, however small the batch.

use crate::batch::RecordBatch;
use crate::header::BatchHeader;
use crate::types::{LeaderEpoch, Offset};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;

/// A chunk of a partition that appends little.
const CHUNK_BYTES_MIN: usize = 1 << 10;
/// A chunk of a partition that appends much.
const CHUNK_BYTES_MAX: usize = 64 << 10;
/// Parts of a read below this size are put together by copying: an entry of a vectored write costs more.
const PART_BYTES_MIN: usize = 4 << 10;

/// A batch in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TailBatch {
    /// Offset of the first record.
    pub base: Offset,
    /// Offset of the last record.
    pub last: Offset,
    /// Where it begins in the segment.
    pub position: u32,
    /// Its length.
    pub bytes: u32,
    /// Its largest timestamp.
    pub max_timestamp: i64,
    /// The epoch of the leader that appended it.
    pub leader_epoch: LeaderEpoch,
}

impl TailBatch {
    /// The batch with this (stamped) header at `position`.
    #[must_use]
    pub fn of(header: &BatchHeader, position: u32) -> TailBatch {
        TailBatch {
            base: header.base_offset,
            last: header.last_offset(),
            position,
            bytes: header.bytes as u32,
            max_timestamp: header.max_timestamp,
            leader_epoch: header.leader_epoch,
        }
    }

    /// Where the next batch begins.
    #[must_use]
    pub fn end(&self) -> u32 {
        self.position + self.bytes
    }
}

/// The batches of a segment from some boundary to its end.
#[derive(Debug, Default)]
pub struct Tail {
    batches: VecDeque<TailBatch>,
    /// (position, bytes), back to back; the first may begin within the first batch while a start is under way.
    runs: VecDeque<(u32, Bytes)>,
    /// What was appended since the last freeze, behind the last run.
    open: BytesMut,
    open_position: u32,
    chunk_bytes: usize,
}

impl Tail {
    /// The batches, ascending.
    #[must_use]
    pub fn batches(&self) -> &VecDeque<TailBatch> {
        &self.batches
    }

    /// Where the first batch begins.
    #[must_use]
    pub fn start(&self) -> Option<u32> {
        self.batches.front().map(|batch| batch.position)
    }

    /// Copies a batch to the end, with its place in the log.
    pub fn append(&mut self, batch: &RecordBatch, base: Offset, epoch: LeaderEpoch, position: u32) {
        let header = BatchHeader { base_offset: base, leader_epoch: epoch, ..*batch.header() };
        if self.open.capacity() - self.open.len() < header.bytes {
            self.freeze();
            let chunk = (self.chunk_bytes * 2).clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX);
            self.chunk_bytes = chunk;
            self.open = BytesMut::with_capacity(header.bytes.max(chunk));
        }
        if self.open.is_empty() {
            self.open_position = position;
        }
        batch.write_stamped(&mut self.open, base, epoch);
        self.batches.push_back(TailBatch::of(&header, position));
    }

    /// Takes bytes found by recovery; `batch` if one begins within.
    pub(crate) fn restore_bytes(&mut self, position: u32, bytes: Bytes) {
        debug_assert!(self.open.is_empty(), "recovery comes before appends");
        if !bytes.is_empty() {
            self.runs.push_back((position, bytes));
        }
    }

    /// Notes a batch found by recovery.
    pub(crate) fn restore_batch(&mut self, batch: TailBatch) {
        self.batches.push_back(batch);
    }

    /// Puts the missing head of the first batch in front.
    pub(crate) fn restore_head(&mut self, bytes: Bytes) {
        let position = self.batches.front().expect("a head belongs to a batch").position;
        self.runs.push_front((position, bytes));
    }

    /// Where the bytes begin: after the start of the first batch if its head is missing.
    pub(crate) fn bytes_start(&self) -> Option<u32> {
        let open = (!self.open.is_empty()).then_some(self.open_position);
        self.runs.front().map(|run| run.0).or(open)
    }

    /// Makes everything shareable.
    pub fn freeze(&mut self) {
        if !self.open.is_empty() {
            let bytes = self.open.split().freeze();
            self.runs.push_back((self.open_position, bytes));
        }
    }

    /// The bytes between two positions, shared where they were frozen.
    #[must_use]
    pub fn slice(&self, start: u32, end: u32) -> Vec<Bytes> {
        let mut parts = Vec::new();
        let first = partition_point_from_end(&self.runs, |run| end_of(run) <= start);
        for (position, bytes) in self.runs.range(first..) {
            if *position >= end {
                break;
            }
            let from = start.saturating_sub(*position) as usize;
            let to = ((end - position) as usize).min(bytes.len());
            parts.push(bytes.slice(from..to));
        }
        let open_end = self.open_position + self.open.len() as u32;
        if !self.open.is_empty() && end > self.open_position && start < open_end {
            let from = start.saturating_sub(self.open_position) as usize;
            let to = (end.min(open_end) - self.open_position) as usize;
            parts.push(Bytes::copy_from_slice(&self.open[from..to]));
        }
        parts
    }

    /// The index of the batch that contains `offset`, or of the first after it.
    #[must_use]
    pub fn find(&self, offset: Offset) -> usize {
        partition_point_from_end(&self.batches, |batch| batch.last < offset)
    }

    /// Whole batches from the one that contains `from`, below `limit`, that fit in `max_bytes`; the first
    /// regardless of its size if `min_one`.
    #[must_use]
    pub fn read(&self, from: Offset, limit: Offset, max_bytes: u32, min_one: bool) -> Vec<Bytes> {
        let first = self.find(from);
        let Some(start) = self.batches.get(first).map(|batch| batch.position) else { return Vec::new() };
        let mut end = start;
        for batch in self.batches.range(first..) {
            let fits = batch.end() - start <= max_bytes || (min_one && end == start);
            if batch.last >= limit || !fits {
                break;
            }
            end = batch.end();
        }
        join_small(self.slice(start, end))
    }

    /// Drops the batches that end at or before `position`. Returns how many bytes that were.
    pub fn drop_until(&mut self, position: u32) -> u64 {
        let before = self.start();
        while self.batches.front().is_some_and(|batch| batch.end() <= position) {
            self.batches.pop_front();
        }
        let Some(before) = before else { return 0 };
        let start = self.start().unwrap_or(position.max(before));
        while self.runs.front().is_some_and(|run| end_of(run) <= start) {
            self.runs.pop_front();
        }
        if self.batches.is_empty() {
            self.runs.clear();
            self.open = BytesMut::new();
        }
        if let Some((at, bytes)) = self.runs.front_mut()
            && *at < start
        {
            *bytes = bytes.slice((start - *at) as usize..);
            *at = start;
        }
        self.shrink();
        u64::from(start - before)
    }

    /// What little is left moves to memory of its own, so that an idle partition pins no chunk.
    fn shrink(&mut self) {
        let ends = self.runs.front().zip(self.runs.back());
        let left = ends.map_or(0, |(first, last)| end_of(last) - first.0) as usize;
        if left >= PART_BYTES_MIN || !self.open.is_empty() {
            return;
        }
        self.open = BytesMut::new();
        self.chunk_bytes /= 2;
        if let Some(first) = self.runs.front() {
            let position = first.0;
            let mut copy = Vec::with_capacity(left);
            self.runs.iter().for_each(|run| copy.extend_from_slice(&run.1));
            self.runs.clear();
            self.runs.push_back((position, Bytes::from(copy.into_boxed_slice())));
        }
    }
}

/// Where a run ends.
fn end_of(run: &(u32, Bytes)) -> u32 {
    run.0 + run.1.len() as u32
}

/// [`VecDeque::partition_point`], from the end in steps that double: the youngest are asked for most, and what lies before
/// them is in no cache.
fn partition_point_from_end<T>(items: &VecDeque<T>, before: impl Fn(&T) -> bool) -> usize {
    let (mut low, mut high) = (0, items.len());
    let mut step = 1;
    while high > 0 {
        let probe = high.saturating_sub(step);
        if before(&items[probe]) {
            low = probe + 1;
            break;
        }
        high = probe;
        step *= 2;
    }
    while low < high {
        let middle = low + (high - low) / 2;
        if before(&items[middle]) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

fn join_small(parts: Vec<Bytes>) -> Vec<Bytes> {
    if parts.len() < 2 {
        return parts;
    }
    let mut joined: Vec<Bytes> = Vec::with_capacity(parts.len());
    let mut small = BytesMut::new();
    for part in parts {
        if part.len() < PART_BYTES_MIN {
            small.extend_from_slice(&part);
            continue;
        }
        if !small.is_empty() {
            joined.push(small.split().freeze());
        }
        joined.push(part);
    }
    if !small.is_empty() {
        joined.push(small.freeze());
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_from_the_end_finds_what_one_from_the_middle_does() {
        for length in 0..70 {
            let items: VecDeque<usize> = (0..length).collect();
            for wanted in 0..=length {
                let found = partition_point_from_end(&items, |item| *item < wanted);
                assert_eq!(found, items.partition_point(|item| *item < wanted), "{wanted} of {length}");
            }
        }
    }
}
