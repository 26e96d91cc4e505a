//! The sparse index of one segment: batch boundaries 64 KiB apart, with offsets and timestamps. It may have gaps,
//! as after a start, and learns from every walk along the file; an entry is always a true boundary.
//!
//! Its file, written when the segment is sealed (all numbers little-endian):
//! ```text
//!  0 magic "MIDX" · 4 version u32 = 1 · 8 base offset i64 · 16 next offset i64 · 24 max timestamp i64
//! 32 length u32 · 36 entries n u32 · 40 n × { relative offset u32 · position u32 · max timestamp before i64 }
//! 40 + 16n  crc32c of everything before, u32
//! ```

use crate::locate::INDEX_INTERVAL_BYTES;
use crate::op::IndexEntry;
use crate::types::Offset;
use bytes::Bytes;

const MAGIC: &[u8; 4] = b"MIDX";
const VERSION: u32 = 1;
const HEAD_BYTES: usize = 40;
const ENTRY_BYTES: usize = 16;

/// Batch boundaries of one segment, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SparseIndex {
    entries: Vec<IndexEntry>,
}

/// What the footer of an index file says about its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentSummary {
    /// Offset of the first batch.
    pub base: Offset,
    /// Offset after the last record.
    pub next_offset: Offset,
    /// Largest timestamp, ms since 1970.
    pub max_timestamp: i64,
    /// Length in bytes.
    pub length: u32,
}

impl SparseIndex {
    /// From entries in order.
    #[must_use]
    pub fn from_entries(entries: Vec<IndexEntry>) -> SparseIndex {
        SparseIndex { entries }
    }

    /// The entries, ascending.
    #[must_use]
    pub fn entries(&self) -> &[IndexEntry] {
        &self.entries
    }

    /// Notes the batch that begins here if it is far enough from the last entry.
    pub fn note(&mut self, entry: IndexEntry) {
        let last = self.entries.last().map_or(0, |last| u64::from(last.position));
        if u64::from(entry.position) >= last + INDEX_INTERVAL_BYTES {
            self.entries.push(entry);
        }
    }

    /// Takes the boundaries that a walk from `start` learnt.
    pub fn learn(&mut self, start: u64, learnt: &[IndexEntry]) {
        if learnt.is_empty() {
            return;
        }
        let before = self.entries.partition_point(|entry| u64::from(entry.position) <= start);
        let known = before.checked_sub(1).map_or(-1, |index| self.entries[index].max_timestamp_before);
        let raised = learnt.iter().map(|entry| IndexEntry {
            max_timestamp_before: entry.max_timestamp_before.max(known),
            ..*entry
        });
        self.merge(raised.collect());
    }

    /// Takes entries of the same segment.
    pub fn merge(&mut self, others: Vec<IndexEntry>) {
        self.entries.extend(others);
        self.entries.sort_by_key(|entry| entry.position);
        self.entries.dedup_by_key(|entry| entry.position);
    }

    /// Forgets all entries; returns how many there were.
    pub fn clear(&mut self) -> usize {
        std::mem::take(&mut self.entries).len()
    }

    /// Where the batch with exactly this base offset begins, if that is known.
    #[must_use]
    pub fn exact(&self, offset: Offset) -> Option<u64> {
        let found = self.entries.binary_search_by_key(&offset, |entry| entry.offset).ok()?;
        Some(u64::from(self.entries[found].position))
    }

    /// The last boundary at or before the batch that contains `offset`.
    #[must_use]
    pub fn floor(&self, offset: Offset) -> u64 {
        let after = self.entries.partition_point(|entry| entry.offset <= offset);
        after.checked_sub(1).map_or(0, |index| u64::from(self.entries[index].position))
    }

    /// The last boundary before which every timestamp is below `timestamp_ms`.
    #[must_use]
    pub fn floor_timestamp(&self, timestamp_ms: i64) -> u64 {
        let after = self.entries.partition_point(|entry| entry.max_timestamp_before < timestamp_ms);
        after.checked_sub(1).map_or(0, |index| u64::from(self.entries[index].position))
    }

    /// The last boundary at or before `position` whose offset is at most `limit`; 0 if there is none.
    #[must_use]
    pub fn boundary(&self, position: u64, limit: Offset) -> u64 {
        let after = self
            .entries
            .partition_point(|entry| u64::from(entry.position) <= position && entry.offset <= limit);
        after.checked_sub(1).map_or(0, |index| u64::from(self.entries[index].position))
    }

    /// At most `count` of the entries, evenly chosen: enough to begin a walk close by.
    #[must_use]
    pub fn thinned(&self, count: usize) -> Vec<IndexEntry> {
        let step = self.entries.len().div_ceil(count.max(1)).max(1);
        self.entries.iter().step_by(step).take(count).copied().collect()
    }

    /// The content of the index file.
    #[must_use]
    pub fn encode(&self, summary: &SegmentSummary) -> Bytes {
        let mut out = Vec::with_capacity(HEAD_BYTES + self.entries.len() * ENTRY_BYTES + 4);
        out.extend(MAGIC);
        out.extend(VERSION.to_le_bytes());
        out.extend(summary.base.0.to_le_bytes());
        out.extend(summary.next_offset.0.to_le_bytes());
        out.extend(summary.max_timestamp.to_le_bytes());
        out.extend(summary.length.to_le_bytes());
        out.extend((self.entries.len() as u32).to_le_bytes());
        for entry in &self.entries {
            out.extend(((entry.offset.0 - summary.base.0) as u32).to_le_bytes());
            out.extend(entry.position.to_le_bytes());
            out.extend(entry.max_timestamp_before.to_le_bytes());
        }
        let crc = crc32c::crc32c(&out);
        out.extend(crc.to_le_bytes());
        Bytes::from(out)
    }

    /// Reads an index file. None if it is damaged; the index can be had from the segment again.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<(SparseIndex, SegmentSummary)> {
        let (content, crc) = bytes.split_last_chunk::<4>()?;
        if crc32c::crc32c(content) != u32::from_le_bytes(*crc) || content.len() < HEAD_BYTES {
            return None;
        }
        let i64_at = |at: usize| content.get(at..at + 8)?.try_into().ok().map(i64::from_le_bytes);
        let u32_at = |at: usize| content.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        if &content[..4] != MAGIC || u32_at(4)? != VERSION {
            return None;
        }
        let summary = SegmentSummary {
            base: Offset(i64_at(8)?),
            next_offset: Offset(i64_at(16)?),
            max_timestamp: i64_at(24)?,
            length: u32_at(32)?,
        };
        if content.len() != HEAD_BYTES + u32_at(36)? as usize * ENTRY_BYTES {
            return None;
        }
        let entries = (HEAD_BYTES..content.len()).step_by(ENTRY_BYTES).map(|at| {
            Some(IndexEntry {
                offset: Offset(summary.base.0 + i64::from(u32_at(at)?)),
                position: u32_at(at + 4)?,
                max_timestamp_before: i64_at(at + 8)?,
            })
        });
        Some((SparseIndex { entries: entries.collect::<Option<_>>()? }, summary))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> SparseIndex {
        let mut index = SparseIndex::default();
        for n in 0..10u32 {
            index.note(IndexEntry {
                offset: Offset(1000 + i64::from(n) * 10),
                position: n * 40_000,
                max_timestamp_before: i64::from(n) * 100 - 1,
            });
        }
        index
    }

    #[test]
    fn entries_lie_an_interval_apart() {
        let positions: Vec<u32> = index().entries().iter().map(|entry| entry.position).collect();
        assert_eq!(positions, [80_000, 160_000, 240_000, 320_000]);
    }

    #[test]
    fn searches_end_at_boundaries() {
        let index = index();
        assert_eq!((index.exact(Offset(1040)), index.exact(Offset(1041))), (Some(160_000), None));
        assert_eq!((index.floor(Offset(1039)), index.floor(Offset(1001))), (80_000, 0));
        assert_eq!(index.boundary(239_999, Offset(i64::MAX)), 160_000);
        assert_eq!(index.boundary(u64::MAX, Offset(1039)), 80_000);
        assert_eq!((index.floor_timestamp(400), index.floor_timestamp(399)), (160_000, 80_000));
    }

    #[test]
    fn the_file_gives_back_the_index_and_nothing_from_a_damaged_one() {
        let summary = SegmentSummary {
            base: Offset(1000),
            next_offset: Offset(1100),
            max_timestamp: 5,
            length: 400_000,
        };
        let bytes = index().encode(&summary);
        assert_eq!(SparseIndex::decode(&bytes), Some((index(), summary)));
        for at in 0..bytes.len() {
            let mut rotten = bytes.to_vec();
            rotten[at] ^= 0x10;
            assert_eq!(SparseIndex::decode(&rotten), None, "byte {at}");
            assert_eq!(SparseIndex::decode(&bytes[..at]), None, "cut at {at}");
        }
    }
}
