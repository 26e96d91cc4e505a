//! What the fuzz targets do with their input. `tests/fuzz.rs` runs the same bodies on seeded input.

use bytes::Bytes;
use storage::batch::{AppendOrigin, BatchRules, UncheckedBatch, find_timestamp};
use storage::checkpoint::CheckpointV1;
use storage::config::TimestampType;
use storage::header::CRC_START;
use storage::index::SparseIndex;
use storage::types::Offset;
use storage::wal::parse_block;

/// A batch from a client, as it is, and with a checksum that fits, so that what lies behind it is reached.
#[allow(dead_code)]
pub fn batch(input: &[u8]) {
    let mut fitting = input.to_vec();
    if fitting.len() > CRC_START {
        let length = (fitting.len() - 12) as i32;
        fitting[8..12].copy_from_slice(&length.to_be_bytes());
        fitting[16] = 2;
        let crc = crc32c::crc32c(&fitting[CRC_START..]);
        fitting[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    for bytes in [input.to_vec(), fitting] {
        for keys_required in [false, true] {
            let rules = BatchRules {
                origin: AppendOrigin::Client,
                max_message_bytes: 1 << 20,
                timestamp_type: TimestampType::CreateTime,
                timestamp_before_max_ms: 1_000_000,
                timestamp_after_max_ms: 1_000_000,
                keys_required,
                now_ms: 1_700_000_000_000,
            };
            if let Ok(batch) = UncheckedBatch::new(Bytes::from(bytes.clone())).validate(&rules) {
                let header = batch.header();
                assert_eq!(header.last_offset_delta + 1, header.record_count);
                assert_eq!(header.bytes, bytes.len());
            }
        }
        // A consumer of a damaged file: an answer or an error, whatever the bytes.
        let _ = find_timestamp(&bytes, Offset(0), 0);
    }
}

/// What a start reads: a WAL block, an index file, a checkpoint.
#[allow(dead_code)]
pub fn wal_block(input: &[u8]) {
    let salt = input.get(8..16).map_or(0, |salt| u64::from_le_bytes(salt.try_into().expect("eight bytes")));
    if let Some(block) = parse_block(&Bytes::copy_from_slice(input), salt) {
        let payload: u64 = block.entries.iter().map(|(entry, _)| u64::from(entry.payload)).sum();
        assert_eq!(payload, u64::from(block.header.payload_length));
    }
    let _ = SparseIndex::decode(input);
    let _ = CheckpointV1::decode(input);
}
