//! One segment of a log: a file of batches back to back, of which the youngest are in memory. Positions, in
//! order: `tail start ≤ written ≤ durable ≤ length`, and `synced ≤ written`.
//!
//! A segment is *open* while it is appended to, *closed* once a younger one exists, *sealed* when it is in its
//! file with its exact length and has an index file. Each block of the file is written once: whole blocks
//! only, until the segment is closed and its last block goes out with zeros behind, which sealing cuts off.

use crate::index::{SegmentSummary, SparseIndex};
use crate::op::{BLOCK_BYTES, FileName, IndexEntry};
use crate::tail::{Tail, TailBatch};
use crate::types::{Offset, PartitionKey};
use bytes::Bytes;

/// One segment.
#[derive(Debug)]
pub struct Segment {
    /// Offset of the first batch; names the file.
    pub base: Offset,
    /// Offset after the last record.
    pub next_offset: Offset,
    /// Length in bytes, what is in memory included.
    pub length: u32,
    /// What is known to be in the WAL, or synced.
    pub durable: u32,
    /// What is in the file: whole blocks, or everything.
    pub written: u32,
    /// What is in the file and on stable storage.
    pub synced: u32,
    /// A younger segment exists or will.
    pub closed: bool,
    /// That it is closed is durable: a younger segment has durable batches, or a checkpoint says so. Only then is
    /// its last block written and the file cut: a start that finds it open would go on in that very block.
    pub close_durable: bool,
    /// The file is complete.
    pub sealed: bool,
    /// Appends may go to the file before they are durable. A start never appends to such a segment: a write of
    /// the process that died may still be on its way to it.
    pub bypass_open: bool,
    /// An entry that says so is in a block, durable or not.
    pub opens_bypass: bool,
    /// Timestamp of the first batch, ms since 1970, for rolling by age; −1 if unknown.
    pub first_timestamp: i64,
    /// Largest timestamp, ms since 1970; −1 if there is none.
    pub max_timestamp: i64,
    /// Known batch boundaries.
    pub index: SparseIndex,
    /// Whether the index file was read, or need not be.
    pub index_loaded: bool,
    /// The youngest batches.
    pub tail: Tail,
}

impl Segment {
    /// An empty segment.
    #[must_use]
    pub fn new(base: Offset) -> Segment {
        Segment {
            base,
            next_offset: base,
            length: 0,
            durable: 0,
            written: 0,
            synced: 0,
            closed: false,
            close_durable: false,
            sealed: false,
            bypass_open: false,
            opens_bypass: false,
            first_timestamp: -1,
            max_timestamp: -1,
            index: SparseIndex::default(),
            index_loaded: true,
            tail: Tail::default(),
        }
    }

    /// The file of the segment.
    #[must_use]
    pub fn file(&self, partition: PartitionKey) -> FileName {
        FileName::Segment { partition, base: self.base }
    }

    /// Notes a batch that was put at the end.
    pub fn note_batch(&mut self, batch: &TailBatch) {
        assert_eq!(batch.position, self.length, "batches lie back to back");
        self.index.note(IndexEntry {
            offset: batch.base,
            position: batch.position,
            max_timestamp_before: self.max_timestamp,
        });
        if self.length == 0 {
            self.first_timestamp = batch.max_timestamp;
        }
        self.length = batch.end();
        self.next_offset = batch.last.next();
        self.max_timestamp = self.max_timestamp.max(batch.max_timestamp);
    }

    /// Bytes that are not in the file.
    #[must_use]
    pub fn dirty_bytes(&self) -> u64 {
        u64::from(self.length - self.written)
    }

    /// Where the part in memory begins, and with which offset. The end of the segment if nothing is in memory.
    #[must_use]
    pub fn memory_start(&self) -> (u32, Offset) {
        let front = self.tail.batches().front();
        front.map_or((self.length, self.next_offset), |batch| (batch.position, batch.base))
    }

    /// Whether what is left may be written and the file sealed.
    #[must_use]
    pub fn may_finish(&self) -> bool {
        self.closed && self.close_durable && self.durable == self.length
    }

    /// What may be written now: whole durable blocks, or all that is left of a closed segment.
    #[must_use]
    pub fn flush_end(&self) -> u32 {
        if self.may_finish() { self.length } else { self.durable - self.durable % BLOCK_BYTES as u32 }
    }

    /// The bytes between two positions, the last block filled with zeros.
    #[must_use]
    pub fn blocks(&self, start: u32, end: u32) -> Vec<Bytes> {
        let mut parts = self.tail.slice(start, end);
        let padding = (end - start).next_multiple_of(BLOCK_BYTES as u32) - (end - start);
        parts.extend(zeros(padding as usize));
        parts
    }

    /// What its index file says about it.
    #[must_use]
    pub fn summary(&self) -> SegmentSummary {
        SegmentSummary {
            base: self.base,
            next_offset: self.next_offset,
            max_timestamp: self.max_timestamp,
            length: self.length,
        }
    }
}

/// Up to a block of zeros; None if none are asked for.
#[must_use]
pub fn zeros(count: usize) -> Option<Bytes> {
    static ZEROS: [u8; BLOCK_BYTES as usize] = [0; BLOCK_BYTES as usize];
    (count > 0).then(|| Bytes::from_static(&ZEROS[..count]))
}
