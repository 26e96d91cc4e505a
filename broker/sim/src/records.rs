//! Record batches as a client writes and reads them. Written apart from the broker's own code: it is its judge.

use bytes::{BufMut, Bytes, BytesMut};

const HEADER_BYTES: usize = 61;
const CRC_START: usize = 21;

/// The value of a record: who sent it, and as the how-manyeth to its partition.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Value {
    /// The producer, and which of its connections if it is not idempotent.
    pub stream: u32,
    /// Counts the stream's records of one partition.
    pub number: u32,
}

/// A batch to be sent.
#[derive(Clone, Debug)]
pub struct NewBatch {
    /// −1 if the producer is not idempotent.
    pub producer_id: i64,
    /// The producer's epoch.
    pub producer_epoch: i16,
    /// Sequence of the first record.
    pub base_sequence: i32,
    /// Timestamp of all records, milliseconds since 1970.
    pub timestamp_ms: i64,
    /// The records.
    pub values: Vec<Value>,
    /// How long each value is made.
    pub value_bytes: usize,
}

impl NewBatch {
    /// The batch as bytes.
    pub fn encode(&self) -> Bytes {
        let mut records = BytesMut::new();
        for (index, value) in self.values.iter().enumerate() {
            let mut record = BytesMut::new();
            record.put_u8(0);
            put_varint(&mut record, 0);
            put_varint(&mut record, index as i64);
            put_varint(&mut record, -1);
            let length = self.value_bytes.max(8);
            put_varint(&mut record, length as i64);
            record.put_u32(value.stream);
            record.put_u32(value.number);
            record.put_bytes(value.number as u8 | 1, length - 8);
            put_varint(&mut record, 0);
            put_varint(&mut records, record.len() as i64);
            records.put(record);
        }
        let mut body = BytesMut::new();
        let count = self.values.len() as i32;
        body.put_i16(0);
        body.put_i32(count - 1);
        body.put_i64(self.timestamp_ms);
        body.put_i64(self.timestamp_ms);
        body.put_i64(self.producer_id);
        body.put_i16(self.producer_epoch);
        body.put_i32(self.base_sequence);
        body.put_i32(count);
        body.put(records);
        let mut batch = BytesMut::new();
        batch.put_i64(0);
        batch.put_i32((body.len() + CRC_START - 12) as i32);
        batch.put_i32(-1);
        batch.put_i8(2);
        batch.put_u32(crc32c::crc32c(&body));
        batch.put(body);
        batch.freeze()
    }
}

/// A batch as it was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadBatch {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Offset of the last record.
    pub last_offset: i64,
    /// Size in bytes.
    pub bytes: usize,
    /// Largest timestamp of the records.
    pub max_timestamp_ms: i64,
    /// Its records: offset and value.
    pub records: Vec<(i64, Value)>,
}

/// Reads batches that lie back to back; the last one may be cut off. Says what is wrong with them.
pub fn read_batches(mut bytes: &[u8]) -> Result<Vec<ReadBatch>, String> {
    let mut batches = Vec::new();
    while bytes.len() >= HEADER_BYTES {
        let length = i32::from_be_bytes(bytes[8..12].try_into().expect("four bytes"));
        let length = usize::try_from(length).map_err(|_| format!("a batch of {length} bytes"))? + 12;
        if length < HEADER_BYTES {
            return Err(format!("a batch of {length} bytes"));
        }
        if length > bytes.len() {
            break;
        }
        batches.push(read_batch(&bytes[..length])?);
        bytes = &bytes[length..];
    }
    Ok(batches)
}

fn read_batch(batch: &[u8]) -> Result<ReadBatch, String> {
    let base_offset = i64::from_be_bytes(batch[0..8].try_into().expect("eight bytes"));
    let crc = u32::from_be_bytes(batch[17..21].try_into().expect("four bytes"));
    if batch[16] != 2 {
        return Err(format!("magic {} at offset {base_offset}", batch[16]));
    }
    if crc32c::crc32c(&batch[CRC_START..]) != crc {
        return Err(format!("the checksum of the batch at offset {base_offset} is wrong"));
    }
    let last_delta = i32::from_be_bytes(batch[23..27].try_into().expect("four bytes"));
    let max_timestamp_ms = i64::from_be_bytes(batch[35..43].try_into().expect("eight bytes"));
    let count = i32::from_be_bytes(batch[57..61].try_into().expect("four bytes"));
    let mut read = ReadBatch {
        base_offset,
        last_offset: base_offset + i64::from(last_delta),
        bytes: batch.len(),
        max_timestamp_ms,
        records: Vec::new(),
    };
    let mut at = HEADER_BYTES;
    for _ in 0..count {
        let (delta, value) =
            read_record(batch, &mut at).ok_or(format!("a record of offset {base_offset} is cut"))?;
        read.records.push((base_offset + delta, value));
    }
    Ok(read)
}

fn read_record(batch: &[u8], at: &mut usize) -> Option<(i64, Value)> {
    let length = varint(batch, at)?;
    let end = *at + usize::try_from(length).ok()?;
    *at += 1;
    varint(batch, at)?;
    let delta = varint(batch, at)?;
    if varint(batch, at)? != -1 || varint(batch, at)? < 8 {
        return None;
    }
    let value = batch.get(*at..*at + 8)?;
    let stream = u32::from_be_bytes(value[..4].try_into().expect("four bytes"));
    let number = u32::from_be_bytes(value[4..].try_into().expect("four bytes"));
    *at = end;
    (end <= batch.len()).then_some((delta, Value { stream, number }))
}

fn put_varint(bytes: &mut BytesMut, value: i64) {
    let mut zigzag = ((value << 1) ^ (value >> 63)) as u64;
    while zigzag >= 0x80 {
        bytes.put_u8(zigzag as u8 | 0x80);
        zigzag >>= 7;
    }
    bytes.put_u8(zigzag as u8);
}

fn varint(bytes: &[u8], at: &mut usize) -> Option<i64> {
    let (mut zigzag, mut shift) = (0u64, 0);
    loop {
        let byte = *bytes.get(*at)?;
        *at += 1;
        zigzag |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return Some((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64));
        }
        if shift > 63 {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_reads_back_and_a_flipped_bit_is_found() {
        let values: Vec<Value> = (0..3).map(|number| Value { stream: 7, number }).collect();
        let batch = NewBatch {
            producer_id: 1,
            producer_epoch: 0,
            base_sequence: 0,
            timestamp_ms: 5,
            values: values.clone(),
            value_bytes: 100,
        };
        let bytes = batch.encode();
        let read = read_batches(&bytes).expect("it is sound");
        assert_eq!(read[0].records, (0..).zip(values).collect::<Vec<_>>());
        let mut flipped = bytes.to_vec();
        flipped[150] ^= 1;
        assert!(read_batches(&flipped).is_err());
    }
}
