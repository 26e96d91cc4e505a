//! Reads that need the disk: walks along batch headers, searches by timestamp, plain ranges. A sealed segment's
//! index file is read first, once; what a walk learns is kept.

use super::{Event, FoundTimestamp, Locate, LocateWhat, Located, Purpose, Store};
use crate::batch::find_timestamp;
use crate::index::SparseIndex;
use crate::log::{TimestampCursor, TimestampStep};
use crate::op::{
    DiskError, DiskErrorKind, FileName, FileSlice, LocateOp, LocateTarget, LocatedRange, OpKind,
};
use crate::types::{Offset, Slot};
use bytes::Bytes;
use std::collections::VecDeque;

/// The indexes of sealed segments that are in memory, oldest first.
#[derive(Debug, Default)]
pub(super) struct IndexCache {
    loaded: VecDeque<(Slot, Offset, usize)>,
    entries: usize,
}

/// A search that is under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search {
    pub locate: Locate,
    pub token: u64,
}

impl Store {
    /// Does the next step of a search: the index file, a walk, or the answer.
    pub(super) fn search(&mut self, search: Search, events: &mut Vec<Event>) {
        let Search { locate, token } = search;
        let Some(log) = self.partitions[locate.slot.index()].as_ref().map(|partition| &partition.log) else {
            let located = Located::Failed(DiskError::new(DiskErrorKind::NotFound, "the partition is gone"));
            events.push(Event::Located { token, located });
            return;
        };
        let base = match locate.what {
            LocateWhat::Range { segment, .. } => segment,
            LocateWhat::Timestamp { cursor, .. } => cursor.segment,
        };
        if log.segment(base).is_some_and(|segment| segment.sealed && !segment.index_loaded) {
            let file = FileName::Index { partition: log.key, base };
            self.issue(OpKind::ReadFile { file }, Purpose::LoadIndex { search, segment: base });
            return;
        }
        match locate.what {
            LocateWhat::Range { segment, from, limit, max_bytes, min_one } => {
                match log.walk_for(segment, from, limit, max_bytes, min_one) {
                    Some(op) => self.issue(OpKind::Locate(op), Purpose::Locate { search, op }),
                    None => events.push(Event::Located { token, located: Located::Empty }),
                }
            }
            LocateWhat::Timestamp { timestamp_ms, cursor } => {
                self.search_timestamp(search, timestamp_ms, cursor, events);
            }
        }
    }

    fn search_timestamp(
        &mut self,
        search: Search,
        timestamp_ms: i64,
        cursor: TimestampCursor,
        events: &mut Vec<Event>,
    ) {
        let Search { locate, token } = search;
        let log = &self.partitions[locate.slot.index()].as_ref().expect("the search looked").log;
        match log.find_timestamp(timestamp_ms, Some(cursor)) {
            TimestampStep::Found(offset, timestamp_ms, leader_epoch) => {
                let found = FoundTimestamp { offset, timestamp_ms, leader_epoch };
                events.push(Event::Located { token, located: Located::Timestamp(found) });
            }
            TimestampStep::None => events.push(Event::Located { token, located: Located::Empty }),
            TimestampStep::Walk(next) if next.segment != cursor.segment => {
                let what = LocateWhat::Timestamp { timestamp_ms, cursor: next };
                self.search(Search { locate: Locate { what, ..locate }, token }, events);
            }
            TimestampStep::Walk(next) => {
                let segment = log.segment(next.segment).expect("the log just named it");
                let op = LocateOp {
                    file: segment.file(log.key),
                    // The index may have been read since the search began, and know better.
                    start: next.position.unwrap_or(0).max(segment.index.floor_timestamp(timestamp_ms)),
                    end: u64::from(segment.memory_start().0),
                    target: LocateTarget::Timestamp { from: log.log_start, timestamp_ms },
                };
                self.issue(OpKind::Locate(op), Purpose::Locate { search, op });
            }
        }
    }

    pub(super) fn index_read(
        &mut self,
        search: Search,
        base: Offset,
        result: Result<Bytes, DiskError>,
        events: &mut Vec<Event>,
    ) {
        let slot = search.locate.slot;
        let partition = self.partitions[slot.index()].as_mut();
        if let Some(segment) = partition.and_then(|partition| partition.log.segment_mut(base)) {
            // Without its file the index is learnt again, walk by walk.
            segment.index_loaded = true;
            let decoded = result.ok().and_then(|bytes| SparseIndex::decode(&bytes));
            if let Some((index, _)) = decoded.filter(|(_, summary)| *summary == segment.summary()) {
                segment.index.merge(index.entries().to_vec());
            }
            let entries = segment.index.entries().len();
            self.keep_index(slot, base, entries);
        }
        self.search(search, events);
    }

    /// Counts the index of a sealed segment, and forgets the one counted longest ago if there are too many.
    pub(super) fn keep_index(&mut self, slot: Slot, base: Offset, entries: usize) {
        self.indexes.loaded.push_back((slot, base, entries));
        self.indexes.entries += entries;
        while self.indexes.entries > self.config.index_entries_max as usize && self.indexes.loaded.len() > 1 {
            let (slot, base, entries) = self.indexes.loaded.pop_front().expect("there is more than one");
            self.indexes.entries -= entries;
            let partition = self.partitions[slot.index()].as_mut();
            if let Some(segment) = partition.and_then(|partition| partition.log.segment_mut(base)) {
                segment.index.clear();
                segment.index_loaded = false;
            }
        }
    }

    pub(super) fn located(
        &mut self,
        search: Search,
        op: LocateOp,
        result: Result<LocatedRange, DiskError>,
        events: &mut Vec<Event>,
    ) {
        let Search { locate, token } = search;
        let range = match result {
            Ok(range) => range,
            Err(error) => {
                events.push(Event::Located { token, located: Located::Failed(error) });
                return;
            }
        };
        self.learn(locate.slot, &op, &range);
        let slice = FileSlice { file: op.file, position: range.position, length: range.length };
        match locate.what {
            LocateWhat::Range { .. } => {
                let located = if range.length == 0 { Located::Empty } else { Located::Slice(slice) };
                events.push(Event::Located { token, located });
            }
            LocateWhat::Timestamp { timestamp_ms, cursor } if range.length == 0 => {
                let cursor = TimestampCursor { position: None, ..cursor };
                let what = LocateWhat::Timestamp { timestamp_ms, cursor };
                self.search(Search { locate: Locate { what, ..locate }, token }, events);
            }
            LocateWhat::Timestamp { .. } => {
                self.issue(OpKind::ReadBytes { slice }, Purpose::ReadBatch { search, slice });
            }
        }
    }

    fn learn(&mut self, slot: Slot, op: &LocateOp, range: &LocatedRange) {
        let FileName::Segment { base, .. } = op.file else { return };
        let partition = self.partitions[slot.index()].as_mut();
        if let Some(segment) = partition.and_then(|partition| partition.log.segment_mut(base)) {
            segment.index.learn(op.start, &range.learnt);
        }
    }

    /// The batch that a search by timestamp found has been read: which record is it?
    pub(super) fn batch_read(
        &mut self,
        search: Search,
        slice: FileSlice,
        result: Result<Bytes, DiskError>,
        events: &mut Vec<Event>,
    ) {
        let Search { locate, token } = search;
        let LocateWhat::Timestamp { timestamp_ms, cursor } = locate.what else {
            unreachable!("only searches by timestamp read batches")
        };
        let log_start = self.partitions[locate.slot.index()].as_ref().map_or(Offset(0), |p| p.log.log_start);
        let corrupt = |why: String| DiskError::new(DiskErrorKind::Corrupt, format!("{}: {why}", slice.file));
        let found = result.and_then(|bytes| {
            let header =
                crate::header::BatchHeader::read(&bytes).ok_or_else(|| corrupt("no batch".into()))?;
            let found = find_timestamp(&bytes, log_start, timestamp_ms).map_err(corrupt)?;
            Ok(found.map(|(offset, timestamp_ms)| FoundTimestamp {
                offset,
                timestamp_ms,
                leader_epoch: header.leader_epoch,
            }))
        });
        match found {
            Ok(Some(found)) => events.push(Event::Located { token, located: Located::Timestamp(found) }),
            Err(error) => events.push(Event::Located { token, located: Located::Failed(error) }),
            Ok(None) => {
                // Its header promised more than its records hold: go on behind it.
                let position = Some(slice.position + u64::from(slice.length));
                let cursor = TimestampCursor { position, ..cursor };
                let what = LocateWhat::Timestamp { timestamp_ms, cursor };
                self.search(Search { locate: Locate { what, ..locate }, token }, events);
            }
        }
    }
}
