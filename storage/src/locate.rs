//! The walk along batch headers that answers a [`LocateOp`], without the reading: the disk reads the ranges
//! that the walk asks for and feeds them back, in whatever way it reads best.

use crate::header::{BatchHeader, HEADER_BYTES, MAGIC};
use crate::op::{DiskError, DiskErrorKind, FileName, IndexEntry, LocateOp, LocateTarget, LocatedRange};
use crate::types::Offset;

/// The distance of entries in a sparse index.
pub const INDEX_INTERVAL_BYTES: u64 = 64 << 10;

/// What is read at once: many small batches, or the header of one large.
const WINDOW_BYTES: u64 = 64 << 10;

/// What a [`LocateWalk`] wants next.
#[derive(Clone, Debug)]
pub enum LocateStep {
    /// Read this range of the file and give it to [`LocateWalk::feed`].
    Read {
        /// Where.
        position: u64,
        /// How much; a shorter answer than this is the end of the file.
        length: usize,
    },
    /// It is over.
    Done(Result<LocatedRange, DiskError>),
}

/// A search in progress.
#[derive(Debug)]
pub struct LocateWalk {
    op: LocateOp,
    position: u64,
    /// Where the next batch has to begin, if that is known.
    next_offset: Option<Offset>,
    max_timestamp: i64,
    last_learnt: u64,
    found: LocatedRange,
    done: Option<Result<(), DiskError>>,
}

impl LocateWalk {
    /// Begins the walk.
    #[must_use]
    pub fn new(op: &LocateOp) -> LocateWalk {
        LocateWalk {
            op: *op,
            position: op.start,
            next_offset: match op.file {
                FileName::Segment { base, .. } if op.start == 0 => Some(base),
                _ => None,
            },
            max_timestamp: -1,
            last_learnt: op.start,
            found: LocatedRange::default(),
            done: None,
        }
    }

    /// Says what to do next.
    pub fn step(&mut self) -> LocateStep {
        if let Some(result) = self.done.take() {
            return LocateStep::Done(result.map(|()| std::mem::take(&mut self.found)));
        }
        if self.position >= self.op.end {
            return LocateStep::Done(Ok(std::mem::take(&mut self.found)));
        }
        let length = (self.op.end - self.position).min(WINDOW_BYTES);
        LocateStep::Read { position: self.position, length: length as usize }
    }

    /// Takes what was read at the position of the last [`LocateStep::Read`].
    pub fn feed(&mut self, window: &[u8]) {
        let start = self.position;
        while self.done.is_none() && self.position < self.op.end {
            let at = (self.position - start) as usize;
            if at > 0 && at + HEADER_BYTES > window.len() {
                return;
            }
            match BatchHeader::read(window.get(at..).unwrap_or_default()) {
                Some(header) if self.continues(&header) => self.visit(&header),
                // What was found is sound; whoever asks for what follows is told.
                _ if self.found.length > 0 => self.done = Some(Ok(())),
                _ => {
                    let message = format!("{} holds no batch at {}", self.op.file, self.position);
                    self.done = Some(Err(DiskError::new(DiskErrorKind::Corrupt, message)));
                }
            }
        }
    }

    /// Headers are not under a checksum as they pass by: one that does not join the last is rot, and what it hides must
    /// not be passed over. Nothing is compacted, so there are no gaps.
    fn continues(&self, header: &BatchHeader) -> bool {
        header.magic == MAGIC
            && header.last_offset_delta >= 0
            && self.next_offset.is_none_or(|offset| header.base_offset == offset)
            && self.position + header.bytes as u64 <= self.op.end
    }

    fn visit(&mut self, header: &BatchHeader) {
        self.learn(header);
        match self.op.target {
            LocateTarget::Range { from, limit, max_bytes, min_one, stop } => {
                let began_before = self.found.length > 0 && self.found.position < stop;
                if header.last_offset() >= limit || (began_before && self.position >= stop) {
                    self.done = Some(Ok(()));
                } else if header.last_offset() >= from {
                    self.take(header, max_bytes, min_one);
                }
            }
            LocateTarget::Timestamp { from, timestamp_ms } => {
                if header.last_offset() >= from && header.max_timestamp >= timestamp_ms {
                    self.take(header, u32::MAX, true);
                    self.done = Some(Ok(()));
                }
            }
        }
        self.position += header.bytes as u64;
        self.next_offset = Some(header.last_offset().next());
        self.max_timestamp = self.max_timestamp.max(header.max_timestamp);
    }

    fn take(&mut self, header: &BatchHeader, max_bytes: u32, min_one: bool) {
        let first = self.found.length == 0;
        let fits = u64::from(self.found.length) + header.bytes as u64 <= u64::from(max_bytes);
        if !fits && (!first || !min_one) {
            self.done = Some(Ok(()));
            return;
        }
        if first {
            self.found.position = self.position;
        }
        self.found.length += header.bytes as u32;
    }

    /// Remembers a boundary. The timestamps are those met since the start of the walk.
    fn learn(&mut self, header: &BatchHeader) {
        if self.position >= self.last_learnt + INDEX_INTERVAL_BYTES {
            self.last_learnt = self.position;
            let position = self.position as u32;
            let max_timestamp_before = self.max_timestamp;
            self.found.learnt.push(IndexEntry { offset: header.base_offset, position, max_timestamp_before });
        }
    }
}
