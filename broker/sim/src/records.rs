//! Record batches as a client writes and reads them. Written apart from the broker's own code: it is its judge.

use bytes::{BufMut, Bytes, BytesMut};

use crate::codec::Codec;

const HEADER_BYTES: usize = 61;
const CRC_START: usize = 21;
const CODEC_MASK: i16 = 7;

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
    /// How the records are packed.
    pub codec: Codec,
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
            record.put_bytes(filling(value.number), length - 8);
            put_varint(&mut record, 0);
            put_varint(&mut records, record.len() as i64);
            records.put(record);
        }
        let mut body = BytesMut::new();
        let count = self.values.len() as i32;
        body.put_i16(self.codec as i16);
        body.put_i32(count - 1);
        body.put_i64(self.timestamp_ms);
        body.put_i64(self.timestamp_ms);
        body.put_i64(self.producer_id);
        body.put_i16(self.producer_epoch);
        body.put_i32(self.base_sequence);
        body.put_i32(count);
        body.put(&self.codec.compress(&records)[..]);
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

/// What fills a value behind its number.
fn filling(number: u32) -> u8 {
    number as u8 | 1
}

/// Reads batches that lie back to back; the last one may be cut off. Those that are sound, and what is wrong with the
/// one after them.
pub fn read_batches(mut bytes: &[u8]) -> (Vec<ReadBatch>, Option<String>) {
    let mut batches = Vec::new();
    while bytes.len() >= HEADER_BYTES {
        let length = i32::from_be_bytes(bytes[8..12].try_into().expect("four bytes"));
        let whole = usize::try_from(length).unwrap_or(0) + 12;
        if whole < HEADER_BYTES {
            return (batches, Some(format!("a batch of {length} bytes")));
        }
        if whole > bytes.len() {
            break;
        }
        match read_batch(&bytes[..whole]) {
            Ok(batch) => batches.push(batch),
            Err(what) => return (batches, Some(what)),
        }
        bytes = &bytes[whole..];
    }
    (batches, None)
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
    let attributes = i16::from_be_bytes(batch[21..23].try_into().expect("two bytes"));
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
    let records = Codec::decompress(attributes & CODEC_MASK, &batch[HEADER_BYTES..])
        .map_err(|why| format!("the batch at offset {base_offset} does not unpack: {why}"))?;
    let mut at = 0;
    for _ in 0..count {
        let (delta, value) =
            read_record(&records, &mut at).ok_or(format!("a record of offset {base_offset} is wrong"))?;
        read.records.push((base_offset + delta, value));
    }
    if at < records.len() {
        return Err(format!("the batch at offset {base_offset} has more than its {count} records"));
    }
    Ok(read)
}

fn read_record(batch: &[u8], at: &mut usize) -> Option<(i64, Value)> {
    let length = varint(batch, at)?;
    let end = *at + usize::try_from(length).ok()?;
    *at += 1;
    varint(batch, at)?;
    let delta = varint(batch, at)?;
    if varint(batch, at)? != -1 {
        return None;
    }
    let length = usize::try_from(varint(batch, at)?).ok().filter(|length| *length >= 8)?;
    let value = batch.get(*at..*at + length)?;
    let stream = u32::from_be_bytes(value[..4].try_into().expect("four bytes"));
    let number = u32::from_be_bytes(value[4..8].try_into().expect("four bytes"));
    let is_filled = value[8..].iter().all(|byte| *byte == filling(number));
    *at = end;
    (end <= batch.len() && is_filled).then_some((delta, Value { stream, number }))
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
    use crate::codec::CODECS;

    fn batch(codec: Codec) -> NewBatch {
        NewBatch {
            producer_id: 1,
            producer_epoch: 0,
            base_sequence: 0,
            timestamp_ms: 5,
            values: (0..3).map(|number| Value { stream: 7, number }).collect(),
            value_bytes: 100,
            codec,
        }
    }

    #[test]
    fn a_batch_reads_back_whatever_packs_it() {
        for codec in CODECS {
            let batch = batch(codec);
            let (read, wrong) = read_batches(&batch.encode());
            assert_eq!(wrong, None, "{codec:?}");
            assert_eq!(read[0].records, (0..).zip(batch.values).collect::<Vec<_>>(), "{codec:?}");
        }
    }

    #[test]
    fn a_flipped_bit_is_found_and_what_stands_before_it_is_read() {
        let one = batch(Codec::None).encode();
        let mut two = [&one[..], &one[..]].concat();
        two[one.len() + 70] ^= 1;
        let (read, wrong) = read_batches(&two);
        assert_eq!(read.len(), 1);
        assert!(wrong.is_some());
    }

    #[test]
    fn what_a_value_is_filled_with_is_looked_at() {
        let mut other = batch(Codec::None).encode().to_vec();
        other[100] ^= 1;
        let crc = crc32c::crc32c(&other[CRC_START..]);
        other[17..21].copy_from_slice(&crc.to_be_bytes());
        assert!(read_batches(&other).1.is_some(), "the checksum is right, the value is not");
    }
}
