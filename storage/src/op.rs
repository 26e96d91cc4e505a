//! What the core asks of a disk, as values. A disk (glommio, or simulated) answers each [`Op`] with exactly
//! one [`Done`]. Operations in flight are unordered among themselves: if B must follow A, the core issues B
//! when A is done. A disk therefore never orders anything by itself.
//!
//! The bytes of `parts` lie back to back in the file. Where a total is said to be aligned, it is a multiple
//! of [`BLOCK_BYTES`], and so is the position.

use crate::types::{Offset, PartitionKey};
use bytes::Bytes;
use std::fmt;

/// The unit of direct I/O.
pub const BLOCK_BYTES: u64 = 4096;

/// One of the two slots of a file that is replaced, never overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Which {
    /// The first slot.
    A,
    /// The second slot.
    B,
}

impl Which {
    /// The other slot.
    #[must_use]
    pub fn other(self) -> Which {
        match self {
            Which::A => Which::B,
            Which::B => Which::A,
        }
    }
}

/// Names a file of a volume by what it is. [`FileName::path`] says where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileName {
    /// A WAL file of one shard and one life of the process.
    Wal {
        /// The shard.
        shard: u16,
        /// The life of the process; each start takes the next number.
        incarnation: u64,
        /// The number of the file within the incarnation; the first is 1.
        sequence: u64,
    },
    /// A checkpoint of one shard and one life of the process.
    Checkpoint {
        /// The shard.
        shard: u16,
        /// The life of the process.
        incarnation: u64,
        /// The slot.
        which: Which,
    },
    /// Batches of a partition, back to back.
    Segment {
        /// The partition.
        partition: PartitionKey,
        /// The offset of the first batch.
        base: Offset,
    },
    /// The sparse index of a segment.
    Index {
        /// The partition.
        partition: PartitionKey,
        /// The offset of the first batch of the segment.
        base: Offset,
    },
}

impl FileName {
    /// The path of the file relative to its volume.
    #[must_use]
    pub fn path(&self) -> String {
        match self {
            FileName::Wal { shard, incarnation, sequence } => {
                format!("{}/{incarnation:010}-{sequence:010}.wal", wal_directory(*shard))
            }
            FileName::Checkpoint { shard, incarnation, which } => {
                let slot = if *which == Which::A { 'a' } else { 'b' };
                format!("{}/{incarnation:010}.ckpt.{slot}", wal_directory(*shard))
            }
            FileName::Segment { partition, base } => {
                format!("{}/{:020}.log", partition_directory(partition), base.0)
            }
            FileName::Index { partition, base } => {
                format!("{}/{:020}.idx", partition_directory(partition), base.0)
            }
        }
    }

    /// The file of a shard's WAL directory that is called `name`; None if the name is not one of ours.
    #[must_use]
    pub fn parse_wal(shard: u16, name: &str) -> Option<FileName> {
        if let Some(stem) = name.strip_suffix(".wal") {
            let (incarnation, sequence) = stem.split_once('-')?;
            let (incarnation, sequence) = (digits(incarnation)?, digits(sequence)?);
            return Some(FileName::Wal { shard, incarnation, sequence });
        }
        let (stem, slot) = name.split_once(".ckpt.")?;
        let which = match slot {
            "a" => Which::A,
            "b" => Which::B,
            _ => return None,
        };
        Some(FileName::Checkpoint { shard, incarnation: digits(stem)?, which })
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path())
    }
}

fn digits(text: &str) -> Option<u64> {
    if text.len() != 10 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// The folder that holds one folder per shard's WAL, relative to the volume.
pub const WAL_DIRECTORY: &str = "wal";
/// The folder that holds the partitions, relative to the volume.
pub const PARTITION_DIRECTORY: &str = "p";

/// The folder of a shard's WAL files and checkpoints, relative to the volume.
#[must_use]
pub fn wal_directory(shard: u16) -> String {
    format!("{WAL_DIRECTORY}/{shard}")
}

/// The folder of a partition's segments, relative to the volume. Folders are spread over 256 parents.
#[must_use]
pub fn partition_directory(partition: &PartitionKey) -> String {
    let spread = partition.topic_id.0[15] ^ partition.partition as u8;
    format!("{PARTITION_DIRECTORY}/{spread:02x}/{}-{}", partition.topic_id, partition.partition)
}

/// The partition whose folder has this name (the last component only); None if it is not one of ours.
#[must_use]
pub fn parse_partition_directory(name: &str) -> Option<PartitionKey> {
    let (topic, partition) = name.split_at_checked(32)?;
    let mut topic_id = crate::types::TopicId::default();
    for (index, byte) in topic_id.0.iter_mut().enumerate() {
        *byte = u8::from_str_radix(topic.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    let partition = partition.strip_prefix('-')?.parse().ok().filter(|number| *number >= 0)?;
    let key = PartitionKey { topic_id, partition };
    (key.to_string() == name).then_some(key)
}

/// A range of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSlice {
    /// The file.
    pub file: FileName,
    /// Where the range begins, in bytes.
    pub position: u64,
    /// How long it is, in bytes.
    pub length: u32,
}

/// Names an operation among those in flight of one store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);

/// One thing that a disk has to do.
#[derive(Clone, Debug)]
pub struct Op {
    /// Comes back in [`Done`].
    pub id: OpId,
    /// What to do.
    pub kind: OpKind,
}

/// What a disk can do. Each is answered with the [`Outcome`] named.
#[derive(Clone, Debug)]
pub enum OpKind {
    /// Make a WAL file of `bytes` bytes whose blocks are allocated and written (zeros, or what was in
    /// `recycle`, which is then renamed), and make its name durable. [`Outcome::Unit`].
    PrepareWal {
        /// The new file. Not there before.
        file: FileName,
        /// Its size, aligned.
        bytes: u64,
        /// A file of the same size and incarnation that is no longer needed.
        recycle: Option<FileName>,
    },
    /// Write a block into a prepared WAL file and, if `flush`, bring it to stable storage before answering.
    /// Aligned. [`Outcome::Unit`].
    WriteWal {
        /// The file.
        file: FileName,
        /// Where.
        position: u64,
        /// The block.
        parts: Vec<Bytes>,
        /// Whether the answer promises durability. Always, outside of tests.
        flush: bool,
    },
    /// Write whole blocks of a segment, making its folder and file if they are not there, and, if `flush`, bring the
    /// segment to stable storage before answering; else what is written is durable only after
    /// [`OpKind::SyncSegments`]. Aligned. [`Outcome::Unit`].
    WriteSegment {
        /// The segment.
        file: FileName,
        /// Where.
        position: u64,
        /// The blocks.
        parts: Vec<Bytes>,
        /// Whether the answer promises durability: where the WAL has no copy of these blocks.
        flush: bool,
    },
    /// Make the content, the size and the name of segments durable. [`Outcome::Unit`].
    SyncSegments {
        /// The segments; each was written before.
        files: Vec<FileName>,
    },
    /// Cut a segment to its exact length and make that durable. [`Outcome::Unit`].
    SealSegment {
        /// The segment.
        file: FileName,
        /// Its length in bytes.
        length: u64,
    },
    /// Read a range through the page cache. [`Outcome::Bytes`], shorter only at the end of the file.
    ReadBytes {
        /// The range.
        slice: FileSlice,
    },
    /// Walk batch headers: see [`crate::locate::LocateWalk`], which does all but the reading.
    /// [`Outcome::Located`].
    Locate(LocateOp),
    /// Replace a small file as a whole and make it durable. The slot's old content may be lost on a crash, so
    /// what must survive is kept in two slots. [`Outcome::Unit`].
    WriteFile {
        /// The file; its folder is made if it is not there.
        file: FileName,
        /// The content.
        parts: Vec<Bytes>,
    },
    /// Read a small file as a whole. [`Outcome::Bytes`].
    ReadFile {
        /// The file.
        file: FileName,
    },
    /// Remove files; one that is not there is no error. [`Outcome::Unit`].
    Remove {
        /// The files.
        files: Vec<FileName>,
    },
    /// Remove the folder of a partition with all that is in it; not there is no error. [`Outcome::Unit`].
    RemovePartition {
        /// The partition.
        partition: PartitionKey,
    },
}

/// A search for batches in the part of a segment that is in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocateOp {
    /// The segment.
    pub file: FileName,
    /// The start of some batch at or before the one searched.
    pub start: u64,
    /// The end of the last batch in the file; a batch boundary.
    pub end: u64,
    /// What is searched.
    pub target: LocateTarget,
}

/// What a [`LocateOp`] searches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocateTarget {
    /// Whole batches from the one that contains `from` (or the first after it) that fit in `max_bytes`.
    Range {
        /// The offset wanted first.
        from: Offset,
        /// Batches at or above this offset are left out.
        limit: Offset,
        /// What may be returned.
        max_bytes: u32,
        /// The first batch is returned even if it is larger than `max_bytes`.
        min_one: bool,
        /// The range ends here at the latest, if it began before.
        stop: u64,
    },
    /// The first batch at or above `from` whose max timestamp is at least this. Only this batch is returned.
    Timestamp {
        /// Records below this offset do not count.
        from: Offset,
        /// Milliseconds since 1970.
        timestamp_ms: i64,
    },
}

/// One entry of a sparse index: a batch boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// Base offset of the batch that begins here.
    pub offset: Offset,
    /// Where in the segment.
    pub position: u32,
    /// The largest timestamp of all batches of the segment before this one; −1 if there is none.
    pub max_timestamp_before: i64,
}

/// The answer to an [`Op`]. Each op is answered once.
#[derive(Clone, Debug)]
pub struct Done {
    /// The id of the op.
    pub id: OpId,
    /// What came of it.
    pub result: Result<Outcome, DiskError>,
}

/// What came of an op that succeeded.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It is done.
    Unit,
    /// What was read.
    Bytes(Bytes),
    /// What was found.
    Located(LocatedRange),
}

/// The answer to a [`LocateOp`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocatedRange {
    /// Where the first batch begins.
    pub position: u64,
    /// The length of all batches found; zero if there is none.
    pub length: u32,
    /// Batch boundaries met on the way, 64 KiB apart or more: the core learns them. Their timestamps are those
    /// of the batches since the start of the walk.
    pub learnt: Vec<IndexEntry>,
}

/// Why a disk could not do something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskError {
    /// What the caller can do about it.
    pub kind: DiskErrorKind,
    /// For people.
    pub message: String,
}

/// The kinds of [`DiskError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskErrorKind {
    /// The volume is full: keep the data and try again later.
    NoSpace,
    /// The device failed. What was not known to be durable may be lost.
    Io,
    /// What was read is not what was written.
    Corrupt,
    /// There is no such file.
    NotFound,
}

impl DiskError {
    /// An error of this kind.
    #[must_use]
    pub fn new(kind: DiskErrorKind, message: impl Into<String>) -> DiskError {
        DiskError { kind, message: message.into() }
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            DiskErrorKind::NoSpace => "no space left",
            DiskErrorKind::Io => "I/O error",
            DiskErrorKind::Corrupt => "corrupt",
            DiskErrorKind::NotFound => "not found",
        };
        write!(f, "{kind}: {}", self.message)
    }
}

impl std::error::Error for DiskError {}

/// What recovery reads at start-up, before there is an event loop. Synchronous on purpose.
pub trait RecoverySource {
    /// The shards that have a WAL folder, ascending.
    fn wal_shards(&mut self) -> Result<Vec<u16>, DiskError>;
    /// The WAL files and checkpoints of a shard with their sizes in bytes; names that are not ours are left out.
    fn wal_files(&mut self, shard: u16) -> Result<Vec<(FileName, u64)>, DiskError>;
    /// The partitions that have a folder.
    fn partitions(&mut self) -> Result<Vec<PartitionKey>, DiskError>;
    /// Up to `length` bytes from `position`; shorter only at the end of the file.
    fn read(&mut self, file: &FileName, position: u64, length: usize) -> Result<Bytes, DiskError>;
    /// Make what was just read durable: it may still lie in a cache of a process that died.
    fn sync(&mut self, file: &FileName) -> Result<(), DiskError>;
}
