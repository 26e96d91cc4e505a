//! Records of the coordinator as record batches (format v2) and back.
//!
//! What is written is one plain batch: no compression, no producer, one timestamp. Offsets and the leader's epoch are
//! stamped by the log.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::CoordinatorRecord;

/// Bytes of a batch before its records, and of that what stands before the checksummed part.
const HEADER_BYTES: usize = 61;
const BEFORE_CHECKSUMMED: usize = 21;
/// Bytes of base offset and length: the length counts what follows them.
const LENGTH_END: usize = 12;
const MAGIC: i8 = 2;

const ATTRIBUTE_COMPRESSION: i16 = 0b111;
const ATTRIBUTE_CONTROL: i16 = 1 << 5;

/// Key and value of a record that is read back; no value for a tombstone.
pub type KeyValue = (Bytes, Option<Bytes>);

/// One batch of these records, for the log to append.
pub fn records_batch(records: &[CoordinatorRecord], timestamp_ms: i64) -> Bytes {
    assert!(!records.is_empty(), "a batch has records");
    let bytes: usize =
        records.iter().map(|r| 32 + r.key.len() + r.value.as_ref().map_or(0, Bytes::len)).sum();
    let mut batch = BytesMut::with_capacity(HEADER_BYTES + bytes);
    batch.put_i64(0);
    batch.put_i32(0);
    batch.put_i32(-1);
    batch.put_i8(MAGIC);
    batch.put_u32(0);
    batch.put_i16(0);
    batch.put_i32(records.len() as i32 - 1);
    batch.put_i64(timestamp_ms);
    batch.put_i64(timestamp_ms);
    batch.put_i64(-1);
    batch.put_i16(-1);
    batch.put_i32(-1);
    batch.put_i32(records.len() as i32);
    assert_eq!(batch.len(), HEADER_BYTES, "the header has its size");
    for (delta, record) in records.iter().enumerate() {
        put_record(&mut batch, delta as i64, record);
    }
    let length = (batch.len() - LENGTH_END) as i32;
    batch[8..LENGTH_END].copy_from_slice(&length.to_be_bytes());
    let checksum = crc32c::crc32c(&batch[BEFORE_CHECKSUMMED..]);
    batch[17..BEFORE_CHECKSUMMED].copy_from_slice(&checksum.to_be_bytes());
    batch.freeze()
}

fn put_record(batch: &mut BytesMut, offset_delta: i64, record: &CoordinatorRecord) {
    let mut body = BytesMut::with_capacity(24 + record.key.len());
    body.put_i8(0);
    put_varint(&mut body, 0);
    put_varint(&mut body, offset_delta);
    put_varint(&mut body, record.key.len() as i64);
    body.put_slice(&record.key);
    match &record.value {
        None => put_varint(&mut body, -1),
        Some(value) => {
            put_varint(&mut body, value.len() as i64);
            body.put_slice(value);
        }
    }
    put_varint(&mut body, 0);
    put_varint(batch, body.len() as i64);
    batch.put_slice(&body);
}

/// Takes the first batch off `bytes` and returns its records as key and value; those of control batches, and records
/// without a key, which mean nothing here, are left out. None if the bytes do not hold a whole batch any more.
///
/// # Errors
/// Says what is wrong with the batch, which is taken off all the same: the log has checked its checksum, so this is a
/// batch that no coordinator wrote.
pub fn replay_batch(bytes: &mut Bytes) -> Option<Result<Vec<KeyValue>, &'static str>> {
    if bytes.len() < HEADER_BYTES {
        return None;
    }
    let length = i32::from_be_bytes(bytes[8..LENGTH_END].try_into().expect("four bytes"));
    let size = LENGTH_END + usize::try_from(length).ok()?;
    if size < HEADER_BYTES || bytes.len() < size {
        return None;
    }
    Some(records_of(bytes.split_to(size)))
}

fn records_of(mut batch: Bytes) -> Result<Vec<KeyValue>, &'static str> {
    let attributes = i16::from_be_bytes([batch[21], batch[22]]);
    let count = i32::from_be_bytes(batch[57..HEADER_BYTES].try_into().expect("four bytes"));
    if attributes & ATTRIBUTE_CONTROL != 0 {
        return Ok(Vec::new());
    }
    if attributes & ATTRIBUTE_COMPRESSION != 0 {
        return Err("it is compressed");
    }
    batch.advance(HEADER_BYTES);
    let mut records = Vec::new();
    for _ in 0..count {
        match take_record(&mut batch) {
            Some((Some(key), value)) => records.push((key, value)),
            Some((None, _)) => (),
            None => return Err("a record ends behind its batch"),
        }
    }
    Ok(records)
}

fn take_record(batch: &mut Bytes) -> Option<(Option<Bytes>, Option<Bytes>)> {
    let length = usize::try_from(take_varint(batch)?).ok()?;
    if batch.len() < length {
        return None;
    }
    let mut body = batch.split_to(length);
    if body.is_empty() {
        return None;
    }
    body.advance(1);
    take_varint(&mut body)?;
    take_varint(&mut body)?;
    let key = take_bytes(&mut body)?;
    let value = take_bytes(&mut body)?;
    Some((key, value))
}

fn take_bytes(body: &mut Bytes) -> Option<Option<Bytes>> {
    match take_varint(body)? {
        -1 => Some(None),
        length => {
            let length = usize::try_from(length).ok()?;
            (body.len() >= length).then(|| Some(body.split_to(length)))
        }
    }
}

/// A zigzag number of seven bits a byte, as in Protocol Buffers.
fn put_varint(bytes: &mut BytesMut, value: i64) {
    let mut left = ((value << 1) ^ (value >> 63)) as u64;
    while left >= 0x80 {
        bytes.put_u8(left as u8 | 0x80);
        left >>= 7;
    }
    bytes.put_u8(left as u8);
}

fn take_varint(bytes: &mut Bytes) -> Option<i64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        if bytes.is_empty() {
            return None;
        }
        let byte = bytes.get_u8();
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &'static [u8], value: Option<&'static [u8]>) -> CoordinatorRecord {
        CoordinatorRecord { key: Bytes::from_static(key), value: value.map(Bytes::from_static) }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let long = vec![7; 300].leak();
        let written = [record(b"k", Some(b"v")), record(long, None), record(b"", Some(b""))];
        let mut bytes = BytesMut::from(&records_batch(&written, 42)[..]);
        bytes.extend_from_slice(&records_batch(&written[..1], 43));
        let mut bytes = bytes.freeze();
        let first = replay_batch(&mut bytes).unwrap().unwrap();
        assert_eq!(first, written.map(|r| (r.key, r.value)));
        assert_eq!(replay_batch(&mut bytes).unwrap().unwrap().len(), 1);
        assert_eq!(replay_batch(&mut bytes), None);
    }

    #[test]
    fn a_cut_batch_is_no_batch() {
        let batch = records_batch(&[record(b"key", Some(b"value"))], 42);
        for end in 0..batch.len() {
            assert_eq!(replay_batch(&mut batch.slice(..end)), None);
        }
    }

    #[test]
    fn lengths_beyond_the_batch_are_refused() {
        let mut batch = BytesMut::from(&records_batch(&[record(b"key", Some(b"value"))], 42)[..]);
        batch[HEADER_BYTES] = 0x7e;
        assert!(replay_batch(&mut batch.freeze()).unwrap().is_err());
    }
}
