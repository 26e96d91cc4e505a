//! What a shard's store is at one moment, so that a start need not replay the WAL before it. Two slots take turns,
//! so a torn write spoils only the newer.
//!
//! ```text
//!  0 magic "MCKP" · 4 version u32 = 1 · 8 generation u64 · 16 length u64 · 24 crc32c of the archive u32
//! 28 crc32c of bytes 0 to 27 u32 · 32 archive (rkyv), `length` bytes
//! ```
//! The version stands outside of the archive: an archived struct that was released is frozen, and a change is
//! another struct under another version. The archive is validated (bytecheck) before it is read.

use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};

const MAGIC: &[u8; 4] = b"MCKP";
const VERSION: u32 = 1;
const HEAD_BYTES: usize = 32;

/// The state of a shard's store.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckpointV1 {
    /// The shard.
    pub shard: u16,
    /// How many shards there were.
    pub shards: u16,
    /// The life of the process.
    pub incarnation: u64,
    /// Partitions changed their shard at the start of the incarnation, so files of earlier ones may hold what no
    /// checkpoint of this shard does.
    pub remapped: bool,
    /// Lives below this one count no more, whatever is left of them or comes back: when this life began, all shards
    /// of this one or a later one had checkpoints.
    pub obsolete_below: u64,
    /// Counts the checkpoints of the incarnation from 1.
    pub generation: u64,
    /// The first WAL block of the incarnation that is not covered.
    pub replay_from: u64,
    /// The `header_crc` of the block before.
    pub prev_crc: u32,
    /// The highest WAL block known to be durable.
    pub durable_lsn: u64,
    /// Taken by a stop in order: nothing follows.
    pub clean: bool,
    /// The partitions.
    pub partitions: Vec<PartitionV1>,
    /// Partitions that are gone but may still have files.
    pub doomed: Vec<KeyV1>,
    /// Set if records were lost of partitions that cannot be named.
    pub unattributed_loss: Option<String>,
}

/// Names a partition.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyV1 {
    /// The topic.
    pub topic_id: [u8; 16],
    /// The number of the partition.
    pub partition: i32,
}

/// The state of a partition: its manifest.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionV1 {
    /// The partition.
    pub key: KeyV1,
    /// First offset that can be read.
    pub log_start: i64,
    /// The offset that the next record gets.
    pub next_offset: i64,
    /// (epoch, start offset).
    pub epochs: Vec<(i32, i64)>,
    /// The idempotent producers.
    pub producers: Vec<ProducerV1>,
    /// The first offset lost.
    pub damaged_from: Option<i64>,
    /// The segments.
    pub segments: Vec<SegmentV1>,
    /// Bases of segments that are gone but may still have files.
    pub doomed: Vec<i64>,
}

/// A producer.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct ProducerV1 {
    /// Its id.
    pub producer_id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// When it was last heard of, ms since 1970.
    pub heard_ms: i64,
    /// (first sequence, last sequence, last offset, offset delta, timestamp), oldest first.
    pub batches: Vec<(i32, i32, i64, i32, i64)>,
}

/// A segment.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentV1 {
    /// Offset of the first batch.
    pub base: i64,
    /// Offset after the last record.
    pub next_offset: i64,
    /// Length in bytes.
    pub length: u32,
    /// What is in the file and synced; a multiple of 4096, or the length if sealed.
    pub synced: u32,
    /// A younger segment exists or will.
    pub closed: bool,
    /// The file is complete.
    pub sealed: bool,
    /// Appends may have gone to the file before they were durable.
    pub bypass_open: bool,
    /// Timestamp of the first batch.
    pub first_timestamp: i64,
    /// Largest timestamp.
    pub max_timestamp: i64,
    /// Some known boundaries (offset, position, max timestamp before), if it is not sealed.
    pub index: Vec<(i64, u32, i64)>,
    /// Where the first batch begins that is not wholly in the file; the length if there is none.
    pub tail_start: u32,
    /// Where `tail` begins: `tail_start`, or later if the head of that batch is to be read from the file.
    pub tail_position: u32,
    /// The header of that batch, if so.
    pub head: Vec<u8>,
    /// The bytes up to `length`.
    pub tail: Vec<u8>,
}

impl CheckpointV1 {
    /// The content of the file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let archive = rkyv::to_bytes::<rkyv::rancor::Error>(self).expect("plain values can be archived");
        let mut out = Vec::with_capacity(HEAD_BYTES + archive.len());
        out.extend(MAGIC);
        out.extend(VERSION.to_le_bytes());
        out.extend(self.generation.to_le_bytes());
        out.extend((archive.len() as u64).to_le_bytes());
        out.extend(crc32c::crc32c(&archive).to_le_bytes());
        out.extend(crc32c::crc32c(&out).to_le_bytes());
        out.extend_from_slice(&archive);
        out
    }

    /// Reads a file; trailing bytes of an older, longer content are passed over. Says what is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<CheckpointV1, String> {
        let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or("shorter than its header")?;
        let u32_at = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
        let u64_at = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"));
        if &head[..4] != MAGIC || crc32c::crc32c(&head[..28]) != u32_at(28) {
            return Err("its header is damaged".into());
        }
        if u32_at(4) != VERSION {
            return Err(format!("version {} is not known to this release", u32_at(4)));
        }
        let length = usize::try_from(u64_at(16)).map_err(|_| "an impossible length")?;
        let archive = rest.get(..length).ok_or("it is cut off")?;
        if crc32c::crc32c(archive) != u32_at(24) {
            return Err("its checksum does not fit".into());
        }
        let mut aligned = AlignedVec::<16>::with_capacity(archive.len());
        aligned.extend_from_slice(archive);
        rkyv::from_bytes::<CheckpointV1, rkyv::rancor::Error>(&aligned).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_comes_back_and_a_damaged_one_does_not() {
        let segment = SegmentV1 { tail: vec![1, 2, 3], index: vec![(4, 5, 6)], ..SegmentV1::default() };
        let partition =
            PartitionV1 { segments: vec![segment], damaged_from: Some(4), ..PartitionV1::default() };
        let checkpoint =
            CheckpointV1 { generation: 9, partitions: vec![partition], ..CheckpointV1::default() };
        let mut bytes = checkpoint.encode();
        for at in 0..bytes.len() {
            bytes[at] ^= 0x40;
            assert!(CheckpointV1::decode(&bytes).is_err(), "byte {at} is covered");
            bytes[at] ^= 0x40;
            assert!(CheckpointV1::decode(&bytes[..at]).is_err(), "cut at {at}");
        }
        bytes.extend([7; 100]);
        assert_eq!(CheckpointV1::decode(&bytes), Ok(checkpoint));
    }
}
