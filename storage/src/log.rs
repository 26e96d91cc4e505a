//! The log of one partition: its segments, offsets, epochs and producers. It decides where a batch goes and where
//! one is found; what must reach the disk and when is decided by the store.

use crate::batch::{AppendError, AppendOrigin, BatchRules, RecordBatch, find_timestamp};
use crate::config::LogConfig;
use crate::header::BatchHeader;
use crate::leader_epochs::LeaderEpochs;
use crate::op::{FileSlice, LocateOp, LocateTarget};
use crate::producer_state::{ProducerStates, Sequenced};
use crate::segment::Segment;
use crate::tail::TailBatch;
use crate::types::{LeaderEpoch, Now, Offset, PartitionKey};
use bytes::Bytes;
use std::collections::VecDeque;

/// The log of one partition.
#[derive(Debug)]
pub struct Log {
    /// The partition.
    pub key: PartitionKey,
    /// Its settings.
    pub config: LogConfig,
    /// Its segments, ascending. There is none before the first append, and none after retention took all.
    pub segments: VecDeque<Segment>,
    /// First offset that can be read.
    pub log_start: Offset,
    /// The offset that the next record gets.
    pub next_offset: Offset,
    /// End of what is on stable storage.
    pub durable_end: Offset,
    /// Where each leader's term begins.
    pub epochs: LeaderEpochs,
    /// The idempotent producers.
    pub producers: ProducerStates,
    /// The first offset of acknowledged records that were lost. The log is offline.
    pub damaged_from: Option<Offset>,
    /// Segments that are no longer part of the log but may still have files.
    pub doomed: Vec<Offset>,
}

/// Where an append went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The segment.
    pub segment: Offset,
    /// The batch in it.
    pub batch: TailBatch,
}

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogAppend {
    /// It is at the end of the log.
    Placed(Placed),
    /// It was there before, at these offsets, with this timestamp.
    Duplicate {
        /// Offset of the first record.
        base: Offset,
        /// Offset of the last record.
        last: Offset,
        /// Max timestamp of the batch.
        timestamp_ms: i64,
    },
}

/// Where batches were found.
#[derive(Clone, Debug)]
pub enum LogRead {
    /// In memory.
    Memory(Vec<Bytes>),
    /// In a file.
    File(FileSlice),
    /// Somewhere in the file of the segment with this base.
    Walk(Offset),
    /// Nothing fits.
    Empty,
}

/// Where a search by timestamp goes on. Ordered: first the file of a segment, then what it has in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampCursor {
    /// The segment.
    pub segment: Offset,
    /// Where in its file; None once the file has been searched.
    pub position: Option<u64>,
}

/// A step of a search by timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampStep {
    /// The record, its timestamp, its epoch.
    Found(Offset, i64, LeaderEpoch),
    /// Walk the file from the cursor.
    Walk(TimestampCursor),
    /// There is none.
    None,
}

impl Log {
    /// A log without records.
    #[must_use]
    pub fn new(key: PartitionKey, config: LogConfig) -> Log {
        Log {
            key,
            config,
            segments: VecDeque::new(),
            log_start: Offset(0),
            next_offset: Offset(0),
            durable_end: Offset(0),
            epochs: LeaderEpochs::default(),
            producers: ProducerStates::default(),
            damaged_from: None,
            doomed: Vec::new(),
        }
    }

    /// The rules that a batch must meet now.
    #[must_use]
    pub fn rules(&self, origin: AppendOrigin, now: Now) -> BatchRules {
        BatchRules {
            origin,
            max_message_bytes: self.config.max_message_bytes.min(self.config.segment_bytes),
            timestamp_type: self.config.timestamp_type,
            timestamp_before_max_ms: self.config.timestamp_before_max_ms,
            timestamp_after_max_ms: self.config.timestamp_after_max_ms,
            keys_required: self.config.cleanup.compact && origin == AppendOrigin::Client,
            now_ms: now.wall_ms,
        }
    }

    /// Puts a batch at the end, in memory.
    pub fn append(
        &mut self,
        now: Now,
        batch: &RecordBatch,
        epoch: LeaderEpoch,
    ) -> Result<LogAppend, AppendError> {
        if let Sequenced::Duplicate(old) = self.producers.check(batch.header())? {
            let (base, last, timestamp_ms) = (old.first_offset(), old.last_offset, old.timestamp_ms);
            return Ok(LogAppend::Duplicate { base, last, timestamp_ms });
        }
        self.roll_if_needed(now, batch.header());
        let base = self.next_offset;
        let active = self.active_or_new();
        active.tail.append(batch, base, epoch, active.length);
        let placed = *active.tail.batches().back().expect("a batch was just appended");
        active.note_batch(&placed);
        let segment = active.base;
        self.note_batch(batch.header(), base, epoch, now.wall_ms);
        Ok(LogAppend::Placed(Placed { segment, batch: placed }))
    }

    /// Takes a batch that recovery found at the end of the log.
    pub(crate) fn replay(&mut self, header: &BatchHeader, heard_ms: i64) {
        let active = self.segments.back_mut().expect("a batch lies in a segment");
        let batch = TailBatch::of(header, active.length);
        active.tail.restore_batch(batch);
        active.note_batch(&batch);
        active.durable = active.length;
        self.note_batch(header, header.base_offset, header.leader_epoch, heard_ms);
        self.durable_end = self.next_offset;
    }

    fn note_batch(&mut self, header: &BatchHeader, base: Offset, epoch: LeaderEpoch, heard_ms: i64) {
        self.epochs.assign(epoch, base);
        self.producers.update(header, base, heard_ms);
        self.next_offset = Offset(base.0 + i64::from(header.last_offset_delta) + 1);
    }

    fn active_or_new(&mut self) -> &mut Segment {
        if self.segments.back().is_none_or(|active| active.closed) {
            self.segments.push_back(Segment::new(self.next_offset));
        }
        self.segments.back_mut().expect("there is a segment now")
    }

    fn roll_if_needed(&mut self, now: Now, header: &BatchHeader) {
        let config = &self.config;
        let Some(active) = self.segments.back_mut() else { return };
        let full = u64::from(active.length) + header.bytes as u64 > u64::from(config.segment_bytes);
        let newest = if header.max_timestamp >= 0 { header.max_timestamp } else { now.wall_ms };
        let old =
            active.first_timestamp >= 0 && newest.saturating_sub(active.first_timestamp) > config.segment_ms;
        let wide =
            self.next_offset.0 + i64::from(header.last_offset_delta) - active.base.0 > i64::from(i32::MAX);
        if active.length > 0 && (full || old || wide) {
            active.closed = true;
        }
    }

    /// Closes the active segment: the next append begins another.
    pub fn roll(&mut self) {
        if let Some(active) = self.segments.back_mut() {
            active.closed = true;
        }
    }

    /// The segment with this base.
    #[must_use]
    pub fn segment(&self, base: Offset) -> Option<&Segment> {
        let index = self.segments.binary_search_by_key(&base, |segment| segment.base).ok()?;
        self.segments.get(index)
    }

    /// The segment with this base.
    pub fn segment_mut(&mut self, base: Offset) -> Option<&mut Segment> {
        let index = self.segments.binary_search_by_key(&base, |segment| segment.base).ok()?;
        self.segments.get_mut(index)
    }

    /// A batch of `segment` is durable, and with it that the segment before is closed.
    pub fn note_close(&mut self, segment: Offset) {
        let index = self.segments.partition_point(|other| other.base < segment);
        if let Some(before) = index.checked_sub(1).and_then(|before| self.segments.get_mut(before)) {
            before.close_durable = true;
        }
    }

    /// Moves the log start up and drops what may be dropped. Returns whether anything changed.
    pub fn advance_log_start(&mut self, offset: Offset) -> bool {
        if offset <= self.log_start {
            return false;
        }
        assert!(offset <= self.next_offset, "the log start never passes the log end");
        self.log_start = offset;
        self.epochs.trim_front(offset);
        self.drop_segments();
        true
    }

    /// Drops closed segments that lie below the log start as a whole. Those that are not durable stay until they are:
    /// the WAL has yet to take its entries from them, and a replay that misses one takes the log for damaged. So do those
    /// of which a start would not know that they are closed: it would go on in a file that is about to be removed.
    pub fn drop_segments(&mut self) {
        let below = self.log_start.min(self.durable_end);
        while self.segments.front().is_some_and(|front| front.close_durable && front.next_offset <= below) {
            let front = self.segments.pop_front().expect("there is a front");
            self.doomed.push(front.base);
        }
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| u64::from(segment.length)).sum()
    }

    /// Bytes that are in no file yet.
    #[must_use]
    pub fn dirty_bytes(&self) -> u64 {
        let unsealed = self.segments.partition_point(|segment| segment.sealed);
        self.segments.range(unsealed..).map(Segment::dirty_bytes).sum()
    }

    /// Whole batches from the one that contains `from`, below `limit`. `from` is within the log.
    #[must_use]
    pub fn read(&self, from: Offset, limit: Offset, max_bytes: u32, min_one: bool) -> LogRead {
        let index = self.segments.partition_point(|segment| segment.next_offset <= from);
        let Some(segment) = self.segments.get(index) else { return LogRead::Empty };
        if from >= limit {
            return LogRead::Empty;
        }
        let (file_end, memory_offset) = segment.memory_start();
        if from >= memory_offset {
            let parts = segment.tail.read(from, limit, max_bytes, min_one);
            return if parts.is_empty() { LogRead::Empty } else { LogRead::Memory(parts) };
        }
        let start = if from <= segment.base { Some(0) } else { segment.index.exact(from) };
        let Some(start) = start else { return LogRead::Walk(segment.base) };
        let reach = start + u64::from(max_bytes);
        let end = if u64::from(file_end) <= reach && memory_offset <= limit {
            u64::from(file_end)
        } else {
            segment.index.boundary(reach, limit)
        };
        if end <= start {
            return LogRead::Walk(segment.base);
        }
        let length = (end - start) as u32;
        LogRead::File(FileSlice { file: segment.file(self.key), position: start, length })
    }

    /// The walk that finds what [`Log::read`] could not. None if the segment is gone or wholly in memory.
    #[must_use]
    pub fn walk_for(
        &self,
        segment: Offset,
        from: Offset,
        limit: Offset,
        max_bytes: u32,
        min_one: bool,
    ) -> Option<LocateOp> {
        let segment = self.segment(segment)?;
        let end = u64::from(segment.memory_start().0);
        let start = segment.index.floor(from);
        // Ending at a known boundary spares a sequential reader its next walk.
        let reach = start + u64::from(max_bytes);
        let stop = if end <= reach { end } else { segment.index.boundary(reach, limit) };
        let target = LocateTarget::Range { from, limit, max_bytes, min_one, stop };
        (start < end).then_some(LocateOp { file: segment.file(self.key), start, end, target })
    }

    /// Looks for the first record at or above the log start with at least this timestamp.
    #[must_use]
    pub fn find_timestamp(&self, timestamp_ms: i64, cursor: Option<TimestampCursor>) -> TimestampStep {
        let first = cursor.map_or(Offset(i64::MIN), |cursor| cursor.segment);
        for segment in self.segments.iter().filter(|segment| segment.base >= first) {
            if segment.max_timestamp < timestamp_ms || segment.next_offset <= self.log_start {
                continue;
            }
            let here = cursor.filter(|cursor| cursor.segment == segment.base);
            let end = u64::from(segment.memory_start().0);
            let known = segment.index.floor_timestamp(timestamp_ms).max(segment.index.floor(self.log_start));
            let position = here.map_or(Some(known), |cursor| cursor.position);
            if let Some(position) = position.filter(|position| *position < end) {
                let cursor = TimestampCursor { segment: segment.base, position: Some(position) };
                return TimestampStep::Walk(cursor);
            }
            if let Some(found) = self.find_in_memory(segment, timestamp_ms) {
                return found;
            }
        }
        TimestampStep::None
    }

    fn find_in_memory(&self, segment: &Segment, timestamp_ms: i64) -> Option<TimestampStep> {
        let candidates = segment.tail.batches().iter().filter(|batch| batch.max_timestamp >= timestamp_ms);
        candidates.filter(|batch| batch.last >= self.log_start).find_map(|batch| {
            let bytes: Vec<u8> = segment.tail.slice(batch.position, batch.end()).concat();
            let (offset, timestamp) = find_timestamp(&bytes, self.log_start, timestamp_ms).ok()??;
            Some(TimestampStep::Found(offset, timestamp, batch.leader_epoch))
        })
    }

    /// The largest timestamp of the log; None if it has no records with timestamps.
    #[must_use]
    pub fn max_timestamp(&self) -> Option<i64> {
        self.segments.iter().map(|segment| segment.max_timestamp).max().filter(|timestamp| *timestamp >= 0)
    }
}
