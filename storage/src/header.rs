//! The 61 bytes at the head of a v2 record batch, read and stamped in place. Nothing is validated here:
//! see [`crate::batch`] for bytes from outside.
//!
//! ```text
//!  0 base_offset i64 · 8 batch_length i32 · 12 leader_epoch i32 · 16 magic i8 · 17 crc u32
//! 21 attributes i16 · 23 last_offset_delta i32 · 27 base_timestamp i64 · 35 max_timestamp i64
//! 43 producer_id i64 · 51 producer_epoch i16 · 53 base_sequence i32 · 57 record_count i32
//! ```
//! `crc` covers everything from `attributes` on; base offset, length, epoch and magic lie outside of it.

use crate::types::{LeaderEpoch, Offset, ProducerId};

/// The length of a batch header.
pub const HEADER_BYTES: usize = 61;
/// What `batch_length` does not count: base offset and itself.
pub const LENGTH_OVERHEAD: usize = 12;
/// Where the checksummed part begins.
pub const CRC_START: usize = 21;
/// The only record format that is stored.
pub const MAGIC: i8 = 2;

const COMPRESSION_MASK: i16 = 0x07;
const TIMESTAMP_TYPE: i16 = 0x08;
const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;

/// The fields of a batch header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Length of the whole batch in bytes, header and all.
    pub bytes: usize,
    /// The epoch of the leader that appended it.
    pub leader_epoch: LeaderEpoch,
    /// Record format.
    pub magic: i8,
    /// CRC-32C of everything from the attributes on.
    pub crc: u32,
    /// Compression, timestamp type, transactional, control.
    pub attributes: i16,
    /// Offset of the last record relative to the first.
    pub last_offset_delta: i32,
    /// Timestamp that the records' deltas refer to.
    pub base_timestamp: i64,
    /// Largest timestamp of the records.
    pub max_timestamp: i64,
    /// −1 if the producer is not idempotent.
    pub producer_id: ProducerId,
    /// The producer's epoch.
    pub producer_epoch: i16,
    /// Sequence of the first record.
    pub base_sequence: i32,
    /// Number of records.
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads a header; None if there are not [`HEADER_BYTES`] or the length field is impossible.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<BatchHeader> {
        let bytes: &[u8; HEADER_BYTES] = bytes.get(..HEADER_BYTES)?.try_into().ok()?;
        let length = usize::try_from(read_i32(bytes, 8)).ok()?;
        if length < HEADER_BYTES - LENGTH_OVERHEAD {
            return None;
        }
        Some(BatchHeader {
            base_offset: Offset(read_i64(bytes, 0)),
            bytes: length + LENGTH_OVERHEAD,
            leader_epoch: LeaderEpoch(read_i32(bytes, 12)),
            magic: bytes[16] as i8,
            crc: read_i32(bytes, 17) as u32,
            attributes: read_i16(bytes, 21),
            last_offset_delta: read_i32(bytes, 23),
            base_timestamp: read_i64(bytes, 27),
            max_timestamp: read_i64(bytes, 35),
            producer_id: ProducerId(read_i64(bytes, 43)),
            producer_epoch: read_i16(bytes, 51),
            base_sequence: read_i32(bytes, 53),
            record_count: read_i32(bytes, 57),
        })
    }

    /// Offset of the last record.
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        Offset(self.base_offset.0 + i64::from(self.last_offset_delta))
    }

    /// Sequence of the last record; sequences wrap from `i32::MAX` to 0.
    #[must_use]
    pub fn last_sequence(&self) -> i32 {
        increment_sequence(self.base_sequence, self.last_offset_delta)
    }

    /// The compression id of the attributes, 0 to 7.
    #[must_use]
    pub fn compression_id(&self) -> u8 {
        (self.attributes & COMPRESSION_MASK) as u8
    }

    /// Whether the broker stamped the records with the time of their append.
    #[must_use]
    pub fn is_log_append_time(&self) -> bool {
        self.attributes & TIMESTAMP_TYPE != 0
    }

    /// Whether the batch belongs to a transaction.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    /// Whether the batch holds control records, which clients never see.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    /// Whether the batch comes from an idempotent producer.
    #[must_use]
    pub fn has_producer(&self) -> bool {
        self.producer_id.0 >= 0
    }
}

/// `sequence + by`, wrapping from `i32::MAX` to 0.
#[must_use]
pub fn increment_sequence(sequence: i32, by: i32) -> i32 {
    if sequence > i32::MAX - by { by - (i32::MAX - sequence) - 1 } else { sequence + by }
}

/// Writes the fields that lie outside of the checksum.
pub fn stamp(batch: &mut [u8], base_offset: Offset, leader_epoch: LeaderEpoch) {
    batch[0..8].copy_from_slice(&base_offset.0.to_be_bytes());
    batch[12..16].copy_from_slice(&leader_epoch.0.to_be_bytes());
}

/// Writes timestamp type and max timestamp, and the checksum that follows from them.
pub fn stamp_timestamp(batch: &mut [u8], log_append_time: bool, max_timestamp: i64) {
    let attributes = read_i16(batch, 21) & !TIMESTAMP_TYPE | if log_append_time { TIMESTAMP_TYPE } else { 0 };
    batch[21..23].copy_from_slice(&attributes.to_be_bytes());
    batch[35..43].copy_from_slice(&max_timestamp.to_be_bytes());
    let crc = crc32c::crc32c(&batch[CRC_START..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

fn read_i16(bytes: &[u8], at: usize) -> i16 {
    i16::from_be_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

fn read_i32(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn read_i64(bytes: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_to_zero() {
        assert_eq!(increment_sequence(i32::MAX, 1), 0);
        assert_eq!(increment_sequence(i32::MAX - 1, 3), 1);
        assert_eq!(increment_sequence(7, 3), 10);
    }

    #[test]
    fn a_header_needs_all_its_bytes_and_a_possible_length() {
        assert_eq!(BatchHeader::read(&[0; HEADER_BYTES - 1]), None);
        assert_eq!(BatchHeader::read(&[0; HEADER_BYTES]), None);
        assert_eq!(BatchHeader::read(&[0xff; HEADER_BYTES]), None);
    }
}
