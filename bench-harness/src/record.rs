//! What stands at the head of every value, so that a consumer can tell what came late, twice, damaged or not at all.
//!
//! ```text
//!   0 run u32 | 4 producer u32 | 8 sequence u64 | 16 intended u64 (CLOCK_MONOTONIC, ns) | 24 crc32c u32 | 28 payload
//! ```
//!
//! All big-endian. The CRC is of everything but itself. The sequence counts a producer's records to one partition.
//! It stands in the value and not in a record header, so it survives every client, codec and mirror.

use crate::workload::RECORD_BYTES_MIN;

const CRC_AT: usize = 24;
const _: () = assert!(CRC_AT + 4 == RECORD_BYTES_MIN);

/// The head of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The run that it belongs to.
    pub run: u32,
    /// The producer.
    pub producer: u32,
    /// Which of the producer's records to this partition it is, from 0.
    pub sequence: u64,
    /// When it was meant to be sent.
    pub intended_ns: u64,
}

/// What is wrong with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotOurs {
    /// It is too short or of another run.
    Foreign,
    /// It is of this run and its CRC is wrong.
    Corrupt,
}

/// Appends a value: the head, and what is left of `length` from the payload.
pub fn append(buffer: &mut Vec<u8>, head: Head, payload: &[u8]) {
    let start = buffer.len();
    buffer.extend_from_slice(&head.run.to_be_bytes());
    buffer.extend_from_slice(&head.producer.to_be_bytes());
    buffer.extend_from_slice(&head.sequence.to_be_bytes());
    buffer.extend_from_slice(&head.intended_ns.to_be_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&buffer[start..]), payload);
    buffer.extend_from_slice(&crc.to_be_bytes());
    buffer.extend_from_slice(payload);
}

/// Reads and checks a value of the run.
pub fn check(value: &[u8], run: u32) -> Result<Head, NotOurs> {
    let (head, payload) = value.split_at_checked(RECORD_BYTES_MIN).ok_or(NotOurs::Foreign)?;
    let u32_at = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().expect("four bytes"));
    let u64_at = |at: usize| u64::from_be_bytes(head[at..at + 8].try_into().expect("eight bytes"));
    if u32_at(0) != run {
        return Err(NotOurs::Foreign);
    }
    if crc32c::crc32c_append(crc32c::crc32c(&head[..CRC_AT]), payload) != u32_at(CRC_AT) {
        return Err(NotOurs::Corrupt);
    }
    Ok(Head { run, producer: u32_at(4), sequence: u64_at(8), intended_ns: u64_at(16) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_checked() {
        let head = Head { run: 7, producer: 3, sequence: 1 << 40, intended_ns: 123_456_789 };
        let mut value = Vec::new();
        append(&mut value, head, b"payload");
        assert_eq!(value.len(), RECORD_BYTES_MIN + 7);
        assert_eq!(check(&value, 7), Ok(head));
        assert_eq!(check(&value, 8), Err(NotOurs::Foreign));
        assert_eq!(check(&value[..20], 7), Err(NotOurs::Foreign));
        for at in 4..value.len() {
            let mut damaged = value.clone();
            damaged[at] ^= 1;
            assert_eq!(check(&damaged, 7), Err(NotOurs::Corrupt), "byte {at}");
        }
    }
}
