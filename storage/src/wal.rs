//! The blocks of the shard's WAL: how one is laid out, written and read. All numbers are little-endian.
//!
//! ```text
//! header, 64 bytes
//!  0 magic "MWAL" · 4 version u16 = 1 · 6 shard u16 · 8 salt u64 · 16 lsn u64 · 24 durable_lsn u64
//! 32 length u32 (of the block, a multiple of 4096) · 36 payload_length u32 · 40 entries n u32
//! 44 prev_crc u32 (header_crc of the block before; 0 for the first) · 48 incarnation u64
//! 56 payload_crc u32 · 60 header_crc u32 (of bytes 0 to 59 and the directory)
//! directory, n × 64 bytes
//!  0 kind u8 · 1 flags u8 · 2 zero u16 · 4 partition i32 · 8 topic_id [16] · 24 base i64 · 32 next i64
//! 40 segment i64 · 48 position u32 · 52 length u32 · 56 leader_epoch i32 · 60 payload u32
//! payload, then zeros up to length
//! ```
//!
//! The salt follows from shard, incarnation and file, so a block in a recycled file cannot pass for one of the
//! file's new life. An entry names its partition in full: no table of names can be lost.

use crate::op::BLOCK_BYTES;
use crate::segment::zeros;
use crate::types::{LeaderEpoch, Lsn, Offset, PartitionKey, TopicId};
use bytes::Bytes;

/// Length of a block's header.
pub const BLOCK_HEADER_BYTES: usize = 64;
/// Length of an entry of a block's directory.
pub const ENTRY_BYTES: usize = 64;
/// A block longer than this is not believed.
pub const BLOCK_BYTES_MAX: u32 = 1 << 30;
/// Entries in one block at most, so that a header that lies reserves nothing large.
pub const ENTRIES_MAX: u32 = 1 << 16;
/// [`Entry::flags`]: from here on, appends to this segment may bypass the WAL.
pub const OPENS_BYPASS: u8 = 1;
/// [`Entry::flags`] of a log start: the active segment was closed before.
pub const ROLLED: u8 = 2;

const MAGIC: &[u8; 4] = b"MWAL";
const VERSION: u16 = 1;

/// What an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// Batches, in the payload.
    Data = 1,
    /// Batches in the segment; the payload has their headers, then the bytes of the last partial block.
    Direct = 2,
    /// The log start is `base`.
    LogStart = 3,
    /// The leader epoch begins at `base`.
    EpochStart = 4,
    /// The partition is gone.
    Delete = 5,
    /// Where the WALs of earlier incarnations end: the payload is n × { shard u16, incarnation u64, end lsn u64 }.
    Inherit = 6,
}

/// One entry of a block's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it says.
    pub kind: EntryKind,
    /// See [`OPENS_BYPASS`].
    pub flags: u8,
    /// Of which partition.
    pub key: PartitionKey,
    /// First offset.
    pub base: Offset,
    /// Offset after the last.
    pub next: Offset,
    /// Base of the segment.
    pub segment: Offset,
    /// Position of the first batch in the segment.
    pub position: u32,
    /// Length of the batches in the segment.
    pub length: u32,
    /// Epoch of the leader.
    pub leader_epoch: LeaderEpoch,
    /// Length of the payload in this block.
    pub payload: u32,
}

impl Entry {
    /// An entry with nothing but its kind and partition.
    #[must_use]
    pub fn new(kind: EntryKind, key: PartitionKey) -> Entry {
        Entry {
            kind,
            flags: 0,
            key,
            base: Offset(0),
            next: Offset(0),
            segment: Offset(0),
            position: 0,
            length: 0,
            leader_epoch: LeaderEpoch(-1),
            payload: 0,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend([self.kind as u8, self.flags, 0, 0]);
        out.extend(self.key.partition.to_le_bytes());
        out.extend(self.key.topic_id.0);
        out.extend(self.base.0.to_le_bytes());
        out.extend(self.next.0.to_le_bytes());
        out.extend(self.segment.0.to_le_bytes());
        out.extend(self.position.to_le_bytes());
        out.extend(self.length.to_le_bytes());
        out.extend(self.leader_epoch.0.to_le_bytes());
        out.extend(self.payload.to_le_bytes());
    }

    fn read(bytes: &[u8; ENTRY_BYTES]) -> Option<Entry> {
        let kind = match bytes[0] {
            1 => EntryKind::Data,
            2 => EntryKind::Direct,
            3 => EntryKind::LogStart,
            4 => EntryKind::EpochStart,
            5 => EntryKind::Delete,
            6 => EntryKind::Inherit,
            _ => return None,
        };
        let topic_id = TopicId(bytes[8..24].try_into().expect("sixteen bytes"));
        Some(Entry {
            kind,
            flags: bytes[1],
            key: PartitionKey { topic_id, partition: u32_at(bytes, 4) as i32 },
            base: Offset(u64_at(bytes, 24) as i64),
            next: Offset(u64_at(bytes, 32) as i64),
            segment: Offset(u64_at(bytes, 40) as i64),
            position: u32_at(bytes, 48),
            length: u32_at(bytes, 52),
            leader_epoch: LeaderEpoch(u32_at(bytes, 56) as i32),
            payload: u32_at(bytes, 60),
        })
    }
}

/// The header of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    /// The shard.
    pub shard: u16,
    /// The life of the process.
    pub incarnation: u64,
    /// Belongs to the file.
    pub salt: u64,
    /// The number of the block.
    pub lsn: Lsn,
    /// The highest block that was known to be durable when this one was issued.
    pub durable_lsn: Lsn,
    /// Length of the block.
    pub length: u32,
    /// Length of the payload.
    pub payload_length: u32,
    /// Number of entries.
    pub entries: u32,
    /// `header_crc` of the block before.
    pub prev_crc: u32,
    /// Of the payload.
    pub payload_crc: u32,
    /// Of the header and the directory.
    pub header_crc: u32,
}

impl BlockHeader {
    /// Reads a header without checking it against its checksum. None if it is not one of this file.
    #[must_use]
    pub fn read(bytes: &[u8], salt: u64) -> Option<BlockHeader> {
        let bytes: &[u8; BLOCK_HEADER_BYTES] = bytes.get(..BLOCK_HEADER_BYTES)?.try_into().ok()?;
        let header = BlockHeader {
            shard: u16::from_le_bytes([bytes[6], bytes[7]]),
            salt: u64_at(bytes, 8),
            lsn: Lsn(u64_at(bytes, 16)),
            durable_lsn: Lsn(u64_at(bytes, 24)),
            length: u32_at(bytes, 32),
            payload_length: u32_at(bytes, 36),
            entries: u32_at(bytes, 40),
            prev_crc: u32_at(bytes, 44),
            incarnation: u64_at(bytes, 48),
            payload_crc: u32_at(bytes, 56),
            header_crc: u32_at(bytes, 60),
        };
        let version = u16::from_le_bytes([bytes[4], bytes[5]]);
        (&bytes[..4] == MAGIC && version == VERSION && header.salt == salt && header.is_plausible())
            .then_some(header)
    }

    fn is_plausible(&self) -> bool {
        let content = self.directory_end() as u64 + u64::from(self.payload_length);
        self.length > 0
            && self.length <= BLOCK_BYTES_MAX
            && u64::from(self.length) == content.next_multiple_of(BLOCK_BYTES)
            && self.entries <= ENTRIES_MAX
    }

    /// Where the directory ends and the payload begins.
    #[must_use]
    pub fn directory_end(&self) -> usize {
        BLOCK_HEADER_BYTES + self.entries as usize * ENTRY_BYTES
    }

    /// Whether header and directory are what was written. `block` has at least the directory.
    #[must_use]
    pub fn directory_is_valid(&self, block: &[u8]) -> bool {
        let Some(directory) = block.get(BLOCK_HEADER_BYTES..self.directory_end()) else { return false };
        crc32c::crc32c_append(crc32c::crc32c(&block[..60]), directory) == self.header_crc
    }
}

/// A block as it was found.
#[derive(Clone, Debug)]
pub struct ParsedBlock {
    /// Its header.
    pub header: BlockHeader,
    /// Its directory with the payload of each entry; None of the payloads if the payload is damaged.
    pub entries: Vec<(Entry, Option<Bytes>)>,
}

impl ParsedBlock {
    /// Whether nothing is damaged.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.entries.iter().all(|(entry, payload)| entry.payload == 0 || payload.is_some())
    }
}

/// Reads a block. None if its header or directory is damaged, or there is none.
#[must_use]
pub fn parse_block(block: &Bytes, salt: u64) -> Option<ParsedBlock> {
    let header = BlockHeader::read(block, salt)?;
    if !header.directory_is_valid(block) {
        return None;
    }
    let start = header.directory_end();
    let payload = (block.len() >= header.length as usize)
        .then(|| block.slice(start..start + header.payload_length as usize))
        .filter(|payload| crc32c::crc32c(payload) == header.payload_crc);
    let mut entries = Vec::with_capacity(header.entries as usize);
    let mut at = 0usize;
    for bytes in block[BLOCK_HEADER_BYTES..start].chunks_exact(ENTRY_BYTES) {
        let entry = Entry::read(bytes.try_into().expect("chunks of an entry"))?;
        let end = at.checked_add(entry.payload as usize)?;
        if end > header.payload_length as usize {
            return None;
        }
        entries.push((entry, payload.as_ref().map(|payload| payload.slice(at..end))));
        at = end;
    }
    (at == header.payload_length as usize).then_some(ParsedBlock { header, entries })
}

/// The salt of a file.
#[must_use]
pub fn salt(shard: u16, incarnation: u64, sequence: u64) -> u64 {
    let mut mixed = 0x6d6f_6e65_6475_6c61;
    for value in [u64::from(shard), incarnation, sequence] {
        // The finalizer of splitmix64: a bijection, so two files of a shard differ for sure in the last round.
        mixed = (mixed ^ value).wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
    }
    mixed
}

/// A block in the making.
#[derive(Debug, Default)]
pub struct BlockBuilder {
    directory: Vec<u8>,
    entries: u32,
    parts: Vec<Bytes>,
    payload_length: u32,
    payload_crc: u32,
}

/// What a block says about itself and its place.
#[derive(Clone, Copy, Debug)]
pub struct BlockPlace {
    /// The shard.
    pub shard: u16,
    /// The life of the process.
    pub incarnation: u64,
    /// Of the file.
    pub salt: u64,
    /// The number of the block.
    pub lsn: Lsn,
    /// The highest block known to be durable.
    pub durable_lsn: Lsn,
    /// `header_crc` of the block before.
    pub prev_crc: u32,
}

impl BlockBuilder {
    /// Adds an entry with its payload; fills in `entry.payload`.
    pub fn add(&mut self, entry: Entry, payload: impl IntoIterator<Item = Bytes>) {
        let before = self.payload_length;
        for part in payload {
            self.payload_length += part.len() as u32;
            self.payload_crc = crc32c::crc32c_append(self.payload_crc, &part);
            self.parts.push(part);
        }
        let entry = Entry { payload: self.payload_length - before, ..entry };
        entry.write(&mut self.directory);
        self.entries += 1;
    }

    /// The length that the block has now.
    #[must_use]
    pub fn length(&self) -> u64 {
        let content = BLOCK_HEADER_BYTES + self.directory.len() + self.payload_length as usize;
        (content as u64).next_multiple_of(BLOCK_BYTES)
    }

    /// The block's parts, padded, and its `header_crc`.
    #[must_use]
    pub fn finish(self, place: BlockPlace) -> (Vec<Bytes>, u32) {
        let length = self.length();
        let mut head = Vec::with_capacity(BLOCK_HEADER_BYTES + self.directory.len());
        head.extend(MAGIC);
        head.extend(VERSION.to_le_bytes());
        head.extend(place.shard.to_le_bytes());
        head.extend(place.salt.to_le_bytes());
        head.extend(place.lsn.0.to_le_bytes());
        head.extend(place.durable_lsn.0.to_le_bytes());
        head.extend((length as u32).to_le_bytes());
        head.extend(self.payload_length.to_le_bytes());
        head.extend(self.entries.to_le_bytes());
        head.extend(place.prev_crc.to_le_bytes());
        head.extend(place.incarnation.to_le_bytes());
        head.extend(self.payload_crc.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&head), &self.directory);
        head.extend(crc.to_le_bytes());
        head.extend(self.directory);
        let padding = length as usize - head.len() - self.payload_length as usize;
        let mut parts = Vec::with_capacity(self.parts.len() + 2);
        parts.push(Bytes::from(head));
        parts.extend(self.parts);
        parts.extend(zeros(padding));
        (parts, crc)
    }
}

/// Where the WAL of one shard and one incarnation ends: blocks from `end` on never count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalEnd {
    /// The shard.
    pub shard: u16,
    /// The life of the process.
    pub incarnation: u64,
    /// The first block that does not count.
    pub end: Lsn,
}

const WAL_END_BYTES: usize = 18;

/// The payload of an [`EntryKind::Inherit`].
#[must_use]
pub fn write_inherit(ends: &[WalEnd]) -> Bytes {
    let mut out = Vec::with_capacity(ends.len() * WAL_END_BYTES);
    for end in ends {
        out.extend(end.shard.to_le_bytes());
        out.extend(end.incarnation.to_le_bytes());
        out.extend(end.end.0.to_le_bytes());
    }
    Bytes::from(out)
}

/// Reads the payload of an [`EntryKind::Inherit`].
#[must_use]
pub fn read_inherit(payload: &[u8]) -> Vec<WalEnd> {
    let read = |bytes: &[u8]| WalEnd {
        shard: u16::from_le_bytes([bytes[0], bytes[1]]),
        incarnation: u64_at(bytes, 2),
        end: Lsn(u64_at(bytes, 10)),
    };
    payload.chunks_exact(WAL_END_BYTES).map(read).collect()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
