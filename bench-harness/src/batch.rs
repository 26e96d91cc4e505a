//! Record batches of format v2, written and read without an allocation per record.

use bytes::Bytes;

use crate::codec::{compress, decompress};
use crate::workload::Codec;

/// Bytes of a batch before its records.
pub const BATCH_HEADER_BYTES: usize = 61;
/// Bytes before the part of the header that the CRC covers.
const CRC_COVERS_FROM: usize = 21;
const CONTROL_ATTRIBUTE: i16 = 0x20;

/// Who wrote a batch, for idempotence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerId {
    /// The producer id.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
}

/// Writes the records of one batch behind a place for its header.
#[derive(Debug)]
pub struct BatchWriter {
    buffer: Vec<u8>,
    records: u32,
    base_timestamp_ms: i64,
    last_timestamp_ms: i64,
}

impl BatchWriter {
    /// A batch in this buffer, whose content is forgotten and whose memory is used.
    pub fn new(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        buffer.resize(BATCH_HEADER_BYTES, 0);
        Self { buffer, records: 0, base_timestamp_ms: 0, last_timestamp_ms: 0 }
    }

    /// Records so far.
    pub fn records(&self) -> u32 {
        self.records
    }

    /// Bytes so far, uncompressed.
    pub fn bytes(&self) -> usize {
        self.buffer.len()
    }

    /// The most bytes that a record can take in a batch.
    pub fn record_bytes_max(key: Option<&[u8]>, value_bytes: usize) -> usize {
        key.map_or(0, <[u8]>::len) + value_bytes + 32
    }

    /// Appends a record; `write_value` must append exactly `value_bytes`.
    pub fn append(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value_bytes: usize,
        write_value: impl FnOnce(&mut Vec<u8>),
    ) {
        if self.records == 0 {
            self.base_timestamp_ms = timestamp_ms;
        }
        self.last_timestamp_ms = self.last_timestamp_ms.max(timestamp_ms);
        let timestamp_delta = timestamp_ms - self.base_timestamp_ms;
        let offset_delta = i64::from(self.records);
        let key_length = key.map_or(-1, |key| key.len() as i64);
        let length = 1
            + varint_bytes(timestamp_delta)
            + varint_bytes(offset_delta)
            + varint_bytes(key_length)
            + key.map_or(0, <[u8]>::len)
            + varint_bytes(value_bytes as i64)
            + value_bytes
            + 1;
        put_varint(&mut self.buffer, length as i64);
        let start = self.buffer.len();
        self.buffer.push(0); // attributes
        put_varint(&mut self.buffer, timestamp_delta);
        put_varint(&mut self.buffer, offset_delta);
        put_varint(&mut self.buffer, key_length);
        self.buffer.extend_from_slice(key.unwrap_or_default());
        put_varint(&mut self.buffer, value_bytes as i64);
        write_value(&mut self.buffer);
        self.buffer.push(0); // headers
        assert_eq!(self.buffer.len() - start, length, "a record is as long as its fields");
        self.records += 1;
    }

    /// The batch. With a codec its records move into `spare`, and the memory that is left over is given back.
    pub fn finish(
        mut self,
        codec: Codec,
        producer: Option<(ProducerId, i32)>,
        mut spare: Vec<u8>,
    ) -> (Bytes, Vec<u8>) {
        assert!(self.records > 0, "a batch has records");
        if codec != Codec::None {
            spare.clear();
            spare.resize(BATCH_HEADER_BYTES, 0);
            compress(codec, &self.buffer[BATCH_HEADER_BYTES..], &mut spare);
            std::mem::swap(&mut self.buffer, &mut spare);
        }
        let (id, base_sequence) = producer.unwrap_or((ProducerId { id: -1, epoch: -1 }, -1));
        let length = self.buffer.len() as i32 - 12;
        let mut header = [0; BATCH_HEADER_BYTES];
        header[8..12].copy_from_slice(&length.to_be_bytes());
        header[12..16].copy_from_slice(&(-1i32).to_be_bytes()); // leader epoch
        header[16] = 2;
        header[21..23].copy_from_slice(&codec.attribute().to_be_bytes());
        header[23..27].copy_from_slice(&(self.records as i32 - 1).to_be_bytes());
        header[27..35].copy_from_slice(&self.base_timestamp_ms.to_be_bytes());
        header[35..43].copy_from_slice(&self.last_timestamp_ms.to_be_bytes());
        header[43..51].copy_from_slice(&id.id.to_be_bytes());
        header[51..53].copy_from_slice(&id.epoch.to_be_bytes());
        header[53..57].copy_from_slice(&base_sequence.to_be_bytes());
        header[57..61].copy_from_slice(&(self.records as i32).to_be_bytes());
        self.buffer[..BATCH_HEADER_BYTES].copy_from_slice(&header);
        let crc = crc32c::crc32c(&self.buffer[CRC_COVERS_FROM..]);
        self.buffer[17..21].copy_from_slice(&crc.to_be_bytes());
        (Bytes::from(self.buffer), spare)
    }
}

/// Reads the values of batches, a few at a time.
#[derive(Debug)]
pub struct BatchReader {
    bytes: Bytes,
    /// Where the next batch begins.
    next_batch_at: usize,
    /// The batch that is being read.
    current: Option<Current>,
    /// Its records, if it is compressed.
    decompressed: Vec<u8>,
    /// The offset behind the last whole batch.
    next_offset: Option<i64>,
}

#[derive(Debug, Clone, Copy)]
struct Current {
    base_offset: i64,
    compressed: bool,
    position: usize,
    end: usize,
    records_left: i32,
}

/// Why bytes are no batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MalformedBatch(pub String);

impl BatchReader {
    /// Reads what a fetch returned: whole batches, and perhaps a last one that is cut off.
    pub fn new(bytes: Bytes) -> Self {
        Self { bytes, next_batch_at: 0, current: None, decompressed: Vec::new(), next_offset: None }
    }

    /// The offset behind the last batch that has been begun, if there was one.
    pub fn next_offset(&self) -> Option<i64> {
        self.next_offset
    }

    /// The next value and its offset; `None` behind the last whole batch.
    pub fn next_value(&mut self) -> Result<Option<(i64, &[u8])>, MalformedBatch> {
        loop {
            match &self.current {
                Some(current) if current.records_left > 0 => break,
                _ => {}
            }
            if !self.begin_batch()? {
                return Ok(None);
            }
        }
        let current = self.current.as_mut().expect("there is a batch");
        let bytes = match current.compressed {
            true => &self.decompressed[..],
            false => &self.bytes[..],
        };
        let record = Record::read(&bytes[..current.end], &mut current.position).ok_or_else(|| {
            MalformedBatch(format!("a record of the batch at offset {} is malformed", current.base_offset))
        })?;
        current.records_left -= 1;
        Ok(Some((current.base_offset + record.offset_delta, &bytes[record.value])))
    }

    /// Whether there is another whole batch; goes to its first record.
    fn begin_batch(&mut self) -> Result<bool, MalformedBatch> {
        let at = self.next_batch_at;
        let Some(header) = self.bytes.get(at..at + BATCH_HEADER_BYTES) else { return Ok(false) };
        let i64_at = |at: usize| i64::from_be_bytes(header[at..at + 8].try_into().expect("eight bytes"));
        let i32_at = |at: usize| i32::from_be_bytes(header[at..at + 4].try_into().expect("four bytes"));
        let i16_at = |at: usize| i16::from_be_bytes(header[at..at + 2].try_into().expect("two bytes"));
        let (base_offset, length, magic) = (i64_at(0), i32_at(8), header[16]);
        let malformed = |what: String| MalformedBatch(format!("the batch at offset {base_offset}: {what}"));
        if magic != 2 {
            return Err(malformed(format!("magic {magic}; only record batches of format 2 are read")));
        }
        if (length as usize) < BATCH_HEADER_BYTES - 12 || length < 0 {
            return Err(malformed(format!("length {length}")));
        }
        let end = at + 12 + length as usize;
        if end > self.bytes.len() {
            return Ok(false);
        }
        let attributes = i16_at(21);
        let records = i32_at(57);
        self.next_batch_at = end;
        self.next_offset = Some(base_offset + i64::from(i32_at(23)) + 1);
        let codec = Codec::from_attributes(attributes)
            .ok_or_else(|| malformed(format!("unknown codec, attributes {attributes:#x}")))?;
        let records_left = match attributes & CONTROL_ATTRIBUTE {
            0 => records,
            _ => 0,
        };
        let (position, end) = match codec {
            Codec::None => (at + BATCH_HEADER_BYTES, end),
            _ => {
                decompress(codec, &self.bytes[at + BATCH_HEADER_BYTES..end], &mut self.decompressed)
                    .map_err(malformed)?;
                (0, self.decompressed.len())
            }
        };
        self.current =
            Some(Current { base_offset, compressed: codec != Codec::None, position, end, records_left });
        Ok(true)
    }
}

struct Record {
    offset_delta: i64,
    value: std::ops::Range<usize>,
}

impl Record {
    /// Reads the record at a position and moves behind it. `None` if it does not fit.
    fn read(bytes: &[u8], position: &mut usize) -> Option<Self> {
        let mut at = *position;
        let length = usize::try_from(varint(bytes, &mut at)?).ok()?;
        let end = at.checked_add(length).filter(|end| *end <= bytes.len())?;
        *position = end;
        at += 1; // attributes
        varint(bytes, &mut at)?; // timestamp delta
        let offset_delta = varint(bytes, &mut at)?;
        let key = varint(bytes, &mut at)?.max(0) as usize;
        at = at.checked_add(key)?;
        let value_bytes = varint(bytes, &mut at)?.max(0) as usize;
        let value = at..at.checked_add(value_bytes)?;
        (value.end <= end).then_some(Self { offset_delta, value })
    }
}

fn varint(bytes: &[u8], at: &mut usize) -> Option<i64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    None
}

fn varint_bytes(value: i64) -> usize {
    let bits = 64 - zigzag(value).leading_zeros() as usize;
    bits.div_ceil(7).max(1)
}

fn put_varint(to: &mut Vec<u8>, value: i64) {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        to.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    to.push(rest as u8);
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(codec: Codec, values: &[&[u8]], base_offset: i64) -> Vec<u8> {
        let mut writer = BatchWriter::new(Vec::new());
        for (index, value) in values.iter().enumerate() {
            let key = (index % 2 == 0).then_some(&b"key"[..]);
            let before = writer.bytes();
            writer.append(1_000 + index as i64, key, value.len(), |buffer| buffer.extend_from_slice(value));
            assert!(writer.bytes() - before <= BatchWriter::record_bytes_max(key, value.len()));
        }
        let (bytes, _) = writer.finish(codec, None, Vec::new());
        let mut bytes = bytes.to_vec();
        bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
        bytes
    }

    fn read(bytes: Vec<u8>) -> (Vec<(i64, Vec<u8>)>, Option<i64>) {
        let mut reader = BatchReader::new(Bytes::from(bytes));
        let mut values = Vec::new();
        while let Some((offset, value)) = reader.next_value().unwrap() {
            values.push((offset, value.to_vec()));
        }
        (values, reader.next_offset())
    }

    #[test]
    fn records_come_back_from_batches_of_every_codec() {
        for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let long = vec![7; 300];
            let mut bytes = batch(codec, &[b"one", &long, b""], 10);
            bytes.extend(batch(Codec::None, &[b"four"], 13));
            let cut_off = batch(codec, &[b"five"], 14);
            bytes.extend(&cut_off[..cut_off.len() - 1]);
            let (values, next_offset) = read(bytes);
            let expected = vec![(10, b"one".to_vec()), (11, long), (12, vec![]), (13, b"four".to_vec())];
            assert_eq!(values, expected, "{codec:?}");
            assert_eq!(next_offset, Some(14));
        }
    }

    #[test]
    fn a_batch_is_what_the_format_says() {
        let bytes = batch(Codec::None, &[b"v"], 0);
        assert_eq!(bytes.len(), BATCH_HEADER_BYTES + 11);
        assert_eq!(i32::from_be_bytes(bytes[8..12].try_into().unwrap()) as usize, bytes.len() - 12);
        assert_eq!(bytes[16], 2);
        assert_eq!(crc32c::crc32c(&bytes[21..]), u32::from_be_bytes(bytes[17..21].try_into().unwrap()));
        // Length 10, attributes, timestamp, offset, key of 3, value of 1, no headers.
        assert_eq!(&bytes[61..], [20, 0, 0, 0, 6, b'k', b'e', b'y', 2, b'v', 0]);
    }

    #[test]
    fn damaged_batches_are_errors_and_never_panics() {
        let whole = batch(Codec::None, &[b"one", b"two"], 0);
        for at in 8..whole.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] ^= flip;
                let mut reader = BatchReader::new(Bytes::from(damaged));
                while let Ok(Some(_)) = reader.next_value() {}
            }
        }
        let mut old = whole;
        old[16] = 1;
        let error = BatchReader::new(Bytes::from(old)).next_value().unwrap_err();
        assert!(error.0.contains("magic 1"), "{error:?}");
    }

    #[test]
    fn varints_are_those_of_protobuf() {
        for (value, bytes) in
            [(0, vec![0]), (-1, vec![1]), (1, vec![2]), (-64, vec![127]), (64, vec![128, 1])]
        {
            let mut buffer = Vec::new();
            put_varint(&mut buffer, value);
            assert_eq!(buffer, bytes);
            assert_eq!(varint_bytes(value), bytes.len());
            assert_eq!(varint(&buffer, &mut 0), Some(value));
        }
        for value in [i64::MIN, i64::MAX] {
            let mut buffer = Vec::new();
            put_varint(&mut buffer, value);
            assert_eq!((buffer.len(), varint(&buffer, &mut 0)), (varint_bytes(value), Some(value)));
        }
    }
}
