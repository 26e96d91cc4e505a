//! Record batches from outside: [`UncheckedBatch`] → [`RecordBatch`], as Kafka's `LogValidator` does it, and a
//! builder for batches of our own. What a `RecordBatch` holds needs no further check.
//!
//! Kafka decompresses every batch on its way in. We do so only where a topic is compacted (each record needs
//! a key): otherwise the producer's count and timestamps of a *compressed* batch are believed as its header
//! states them. A producer that lies there deceives only the readers of its own records.

use crate::compression::Compression;
use crate::config::TimestampType;
use crate::header::{self, BatchHeader, CRC_START, HEADER_BYTES, LENGTH_OVERHEAD, MAGIC};
use crate::record::{self, Record, Records};
use crate::types::{LeaderEpoch, Offset, ProducerId};
use bytes::{Bytes, BytesMut};
use std::borrow::Cow;
use std::fmt;

/// What a batch may decompress to when the broker has to look inside.
pub const DECOMPRESSED_BYTES_MAX: usize = 128 << 20;
/// Records at fault that an error lists at most.
const RECORD_ERRORS_MAX: usize = 100;

/// Who sends a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOrigin {
    /// A client: nothing about the batch is taken on trust.
    Client,
    /// A coordinator of this broker, which may write control batches.
    Coordinator,
}

/// Why an append was refused; each is one of Kafka's error codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendError {
    /// CORRUPT_MESSAGE: checksum or length do not fit.
    CorruptMessage(String),
    /// INVALID_RECORD, with the records at fault where they are known: (index in the batch, why).
    InvalidRecord {
        /// Index and reason per record, a hundred at most.
        errors: Vec<(i32, String)>,
        /// What is wrong with the batch as a whole.
        message: String,
    },
    /// MESSAGE_TOO_LARGE: larger than `max.message.bytes`.
    MessageTooLarge {
        /// Size of the batch.
        bytes: usize,
        /// The limit.
        max: u32,
    },
    /// UNSUPPORTED_COMPRESSION_TYPE.
    UnsupportedCompression(u8),
    /// INVALID_TIMESTAMP: outside of what the topic allows, with the records at fault.
    InvalidTimestamp {
        /// Index and reason per record, a hundred at most.
        errors: Vec<(i32, String)>,
        /// What is wrong with the batch as a whole.
        message: String,
    },
    /// OUT_OF_ORDER_SEQUENCE_NUMBER.
    OutOfOrderSequence(String),
    /// INVALID_PRODUCER_EPOCH: the producer has been replaced by a newer one.
    InvalidProducerEpoch(String),
    /// KAFKA_STORAGE_ERROR, retriable: the volume is full, or the WAL is at its limit.
    StorageFull,
    /// KAFKA_STORAGE_ERROR: the volume failed, or this partition is damaged.
    StorageFailed(String),
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AppendError::CorruptMessage(why) => write!(f, "corrupt batch: {why}"),
            AppendError::InvalidRecord { message, .. } | AppendError::InvalidTimestamp { message, .. } => {
                f.write_str(message)
            }
            AppendError::MessageTooLarge { bytes, max } => {
                write!(f, "the batch has {bytes} bytes, max.message.bytes is {max}")
            }
            AppendError::UnsupportedCompression(id) => write!(f, "compression {id} is not known"),
            AppendError::OutOfOrderSequence(why) | AppendError::InvalidProducerEpoch(why) => f.write_str(why),
            AppendError::StorageFull => f.write_str("the volume is full"),
            AppendError::StorageFailed(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for AppendError {}

/// What a partition demands of a batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchRules {
    /// Who sends it.
    pub origin: AppendOrigin,
    /// The largest batch.
    pub max_message_bytes: u32,
    /// Who stamps the records.
    pub timestamp_type: TimestampType,
    /// How old a record may be, ms.
    pub timestamp_before_max_ms: i64,
    /// How far in the future a record may be, ms.
    pub timestamp_after_max_ms: i64,
    /// Whether every record needs a key.
    pub keys_required: bool,
    /// The time of the append, ms since 1970.
    pub now_ms: i64,
}

/// Bytes that claim to be a batch.
#[derive(Clone, Debug)]
pub struct UncheckedBatch(Bytes);

/// A batch that may be appended.
#[derive(Clone, Debug)]
pub struct RecordBatch {
    bytes: Bytes,
    header: BatchHeader,
    /// Timestamp type and max timestamp where they differ from what the producer wrote.
    restamp: Option<(bool, i64)>,
}

/// The one batch in the record field of a produce request. What follows it and is no whole batch is left out, as
/// Kafka does.
pub fn only_batch(records: &Bytes) -> Result<Bytes, AppendError> {
    let Some(length) = whole_batch(records)? else {
        return Err(invalid("a produce request must contain exactly one record batch, and has none"));
    };
    if records[16] as i8 != MAGIC {
        return Err(invalid("only record batches with magic version 2 are allowed"));
    }
    if whole_batch(&records[length..])?.is_some() {
        return Err(invalid("a produce request must contain exactly one record batch, and has more"));
    }
    Ok(records.slice(..length))
}

/// The length of the batch that `bytes` begin with, if they hold all of it. The same refusals in the same order as
/// Kafka's `ByteBufferLogInputStream`.
fn whole_batch(bytes: &[u8]) -> Result<Option<usize>, AppendError> {
    /// What the smallest batch of any format adds to base offset and length.
    const LENGTH_MIN: i32 = 14;
    let Some(length) = bytes.get(8..12) else { return Ok(None) };
    let length = i32::from_be_bytes(length.try_into().expect("four bytes"));
    if length < LENGTH_MIN {
        return Err(corrupt(format!("a batch of {length} bytes is impossible")));
    }
    let Some(magic) = bytes.get(16) else { return Ok(None) };
    if !(0..=MAGIC).contains(&(*magic as i8)) {
        return Err(corrupt(format!("record format {} is not known", *magic as i8)));
    }
    let end = length as usize + LENGTH_OVERHEAD;
    Ok((end <= bytes.len()).then_some(end))
}

impl UncheckedBatch {
    /// Takes the record field of a produce request: one batch, see [`only_batch`].
    #[must_use]
    pub fn new(bytes: Bytes) -> UncheckedBatch {
        UncheckedBatch(bytes)
    }

    /// Checks everything that does not depend on the log.
    pub fn validate(mut self, rules: &BatchRules) -> Result<RecordBatch, AppendError> {
        let header = self.check_frame(rules)?;
        check_header(&header, rules)?;
        let seen = self.check_records(&header, rules)?;
        let restamp = match rules.timestamp_type {
            TimestampType::LogAppendTime => Some((true, rules.now_ms)),
            TimestampType::CreateTime => {
                let wrong = header.is_log_append_time() || header.max_timestamp != seen;
                wrong.then_some((false, seen))
            }
        };
        let header = BatchHeader { max_timestamp: restamp.map_or(header.max_timestamp, |s| s.1), ..header };
        Ok(RecordBatch { bytes: self.0, header, restamp })
    }

    fn check_frame(&mut self, rules: &BatchRules) -> Result<BatchHeader, AppendError> {
        self.0 = only_batch(&self.0)?;
        let bytes = &self.0;
        let header = BatchHeader::read(bytes).ok_or_else(|| corrupt("shorter than a batch header"))?;
        if rules.origin == AppendOrigin::Client && header.base_offset.0 != 0 {
            return Err(invalid(format!(
                "the base offset of the batch should be 0, but it is {}",
                header.base_offset
            )));
        }
        if bytes.len() > rules.max_message_bytes as usize {
            return Err(AppendError::MessageTooLarge { bytes: bytes.len(), max: rules.max_message_bytes });
        }
        if crc32c::crc32c(&bytes[CRC_START..]) != header.crc {
            return Err(corrupt("the checksum does not fit"));
        }
        Ok(header)
    }

    /// Walks the records where that needs no decompression or the topic asks for it. Returns the largest
    /// timestamp.
    fn check_records(&self, header: &BatchHeader, rules: &BatchRules) -> Result<i64, AppendError> {
        let codec = Compression::from_id(header.compression_id())
            .ok_or(AppendError::UnsupportedCompression(header.compression_id()))?;
        if codec != Compression::None && !rules.keys_required {
            check_timestamp(header.max_timestamp, rules).map_err(|why| invalid_timestamp(vec![(0, why)]))?;
            return Ok(header.max_timestamp);
        }
        let body = &self.0[HEADER_BYTES..];
        let records = match codec {
            Compression::None => Cow::Borrowed(body),
            _ => Cow::Owned(codec.decompress(body, DECOMPRESSED_BYTES_MAX).map_err(corrupt)?),
        };
        walk_records(&records, header, rules)
    }
}

fn walk_records(bytes: &[u8], header: &BatchHeader, rules: &BatchRules) -> Result<i64, AppendError> {
    let mut records = Records::new(bytes);
    let mut max_timestamp = -1;
    let mut keyless = Vec::new();
    let mut untimely = Vec::new();
    for index in 0..header.record_count {
        let record = records.next().ok_or_else(|| invalid("fewer records than the batch header says"))?;
        let record = record.map_err(invalid)?;
        if record.offset_delta != index {
            let message =
                format!("record {index} has offset delta {}: they must be consecutive", record.offset_delta);
            return Err(AppendError::InvalidRecord { errors: vec![(index, message.clone())], message });
        }
        if rules.keys_required && record.key.is_none() && keyless.len() < RECORD_ERRORS_MAX {
            keyless.push((index, "Compacted topic cannot accept message without key".to_owned()));
        }
        let timestamp = header.base_timestamp.saturating_add(record.timestamp_delta);
        max_timestamp = max_timestamp.max(timestamp);
        if let Err(why) = check_timestamp(timestamp, rules)
            && untimely.len() < RECORD_ERRORS_MAX
        {
            untimely.push((index, why));
        }
    }
    if !records.rest().is_empty() {
        return Err(invalid("more records than the batch header says"));
    }
    if !keyless.is_empty() {
        let message = "One or more records have been rejected: a compacted topic needs keys".to_owned();
        return Err(AppendError::InvalidRecord { errors: keyless, message });
    }
    if untimely.is_empty() { Ok(max_timestamp) } else { Err(invalid_timestamp(untimely)) }
}

fn check_timestamp(timestamp: i64, rules: &BatchRules) -> Result<(), String> {
    if rules.timestamp_type == TimestampType::LogAppendTime || timestamp == -1 {
        return Ok(());
    }
    let age = rules.now_ms.saturating_sub(timestamp);
    let early = age > rules.timestamp_before_max_ms;
    let late = age.saturating_neg() > rules.timestamp_after_max_ms;
    if early || late {
        let first = rules.now_ms.saturating_sub(rules.timestamp_before_max_ms);
        let last = rules.now_ms.saturating_add(rules.timestamp_after_max_ms);
        return Err(format!("Timestamp {timestamp} is out of range. It should be within [{first}, {last}]"));
    }
    Ok(())
}

fn check_header(header: &BatchHeader, rules: &BatchRules) -> Result<(), AppendError> {
    let by_client = rules.origin == AppendOrigin::Client;
    if header.record_count <= 0 {
        return Err(invalid(format!("invalid count of records: {}", header.record_count)));
    }
    if header.last_offset_delta != header.record_count - 1 {
        return Err(invalid(format!(
            "inconsistent offset range: last offset delta {} with {} records",
            header.last_offset_delta, header.record_count
        )));
    }
    if by_client && header.is_control() {
        return Err(invalid("clients are not allowed to write control records"));
    }
    if by_client && header.is_transactional() {
        return Err(invalid("transactional batches are not supported"));
    }
    if header.has_producer()
        && (header.base_sequence < 0 || header.producer_epoch < 0)
        && !header.is_control()
    {
        return Err(invalid(format!(
            "invalid sequence {} or epoch {} of producer {}",
            header.base_sequence, header.producer_epoch, header.producer_id
        )));
    }
    Ok(())
}

fn corrupt(why: impl Into<String>) -> AppendError {
    AppendError::CorruptMessage(why.into())
}

fn invalid(message: impl Into<String>) -> AppendError {
    AppendError::InvalidRecord { errors: Vec::new(), message: message.into() }
}

fn invalid_timestamp(errors: Vec<(i32, String)>) -> AppendError {
    let message = "One or more records have been rejected due to invalid timestamp".to_owned();
    AppendError::InvalidTimestamp { errors, message }
}

impl RecordBatch {
    /// The header as it will be stored, but for base offset and leader epoch.
    #[must_use]
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Appends the batch to `out` with its place in the log.
    pub fn write_stamped(&self, out: &mut BytesMut, base_offset: Offset, leader_epoch: LeaderEpoch) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let batch = &mut out[start..];
        header::stamp(batch, base_offset, leader_epoch);
        if let Some((log_append_time, max_timestamp)) = self.restamp {
            header::stamp_timestamp(batch, log_append_time, max_timestamp);
        }
    }
}

/// Finds the first record of a stored batch at or above `from` with at least this timestamp.
pub fn find_timestamp(
    batch: &[u8],
    from: Offset,
    timestamp_ms: i64,
) -> Result<Option<(Offset, i64)>, String> {
    let header = BatchHeader::read(batch).ok_or("no batch header")?;
    if header.bytes > batch.len() {
        return Err("the batch is cut off".into());
    }
    if header.is_log_append_time() {
        let first = header.base_offset.max(from);
        let found = header.max_timestamp >= timestamp_ms && first <= header.last_offset();
        return Ok(found.then_some((first, header.max_timestamp)));
    }
    let codec = Compression::from_id(header.compression_id()).ok_or("unknown compression")?;
    let body = &batch[HEADER_BYTES..header.bytes];
    let records = match codec {
        Compression::None => Cow::Borrowed(body),
        _ => Cow::Owned(codec.decompress(body, DECOMPRESSED_BYTES_MAX)?),
    };
    for record in Records::new(&records) {
        let record = record?;
        let offset = Offset(header.base_offset.0 + i64::from(record.offset_delta));
        let timestamp = header.base_timestamp.saturating_add(record.timestamp_delta);
        if offset >= from && timestamp >= timestamp_ms {
            return Ok(Some((offset, timestamp)));
        }
    }
    Ok(None)
}

/// Builds a batch of records, for coordinators and tests.
#[derive(Clone, Debug)]
pub struct RecordBatchBuilder {
    records: Vec<u8>,
    scratch: Vec<u8>,
    count: i32,
    base_timestamp: i64,
    max_timestamp: i64,
    producer: (ProducerId, i16, i32),
    compression: Compression,
    attributes: i16,
}

impl Default for RecordBatchBuilder {
    fn default() -> Self {
        RecordBatchBuilder {
            records: Vec::new(),
            scratch: Vec::new(),
            count: 0,
            base_timestamp: -1,
            max_timestamp: -1,
            producer: (ProducerId(-1), -1, -1),
            compression: Compression::None,
            attributes: 0,
        }
    }
}

impl RecordBatchBuilder {
    /// An empty batch.
    #[must_use]
    pub fn new() -> RecordBatchBuilder {
        RecordBatchBuilder::default()
    }

    /// Makes it the batch of an idempotent producer.
    #[must_use]
    pub fn producer(mut self, id: ProducerId, epoch: i16, base_sequence: i32) -> Self {
        self.producer = (id, epoch, base_sequence);
        self
    }

    /// Compresses the records.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Adds attribute bits, such as those of control batches.
    #[must_use]
    pub fn attributes(mut self, attributes: i16) -> Self {
        self.attributes = attributes;
        self
    }

    /// Adds a record without headers.
    #[must_use]
    pub fn record(self, timestamp_ms: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> Self {
        self.record_with_headers(timestamp_ms, key, value, &[])
    }

    /// Adds a record.
    #[must_use]
    pub fn record_with_headers(
        mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) -> Self {
        if self.count == 0 {
            self.base_timestamp = timestamp_ms;
        }
        self.max_timestamp = self.max_timestamp.max(timestamp_ms);
        let timestamp_delta = timestamp_ms - self.base_timestamp;
        let header_count = headers.len() as i32;
        let record = Record { timestamp_delta, offset_delta: self.count, key, value, header_count };
        record::write_record(&mut self.records, &record, headers, &mut self.scratch);
        self.count += 1;
        self
    }

    /// The batch, with base offset 0 and leader epoch −1 as a producer sends it.
    #[must_use]
    pub fn build(self) -> Bytes {
        let body = match self.compression {
            Compression::None => self.records,
            codec => codec.compress(&self.records),
        };
        let mut out = Vec::with_capacity(HEADER_BYTES + body.len());
        out.extend(0i64.to_be_bytes());
        out.extend(((HEADER_BYTES - LENGTH_OVERHEAD + body.len()) as i32).to_be_bytes());
        out.extend((-1i32).to_be_bytes());
        out.push(MAGIC as u8);
        out.extend([0; 4]);
        out.extend((self.attributes | i16::from(self.compression.id())).to_be_bytes());
        out.extend((self.count - 1).to_be_bytes());
        out.extend(self.base_timestamp.to_be_bytes());
        out.extend(self.max_timestamp.to_be_bytes());
        out.extend(self.producer.0.0.to_be_bytes());
        out.extend(self.producer.1.to_be_bytes());
        out.extend(self.producer.2.to_be_bytes());
        out.extend(self.count.to_be_bytes());
        out.extend(body);
        let crc = crc32c::crc32c(&out[CRC_START..]);
        out[17..21].copy_from_slice(&crc.to_be_bytes());
        Bytes::from(out)
    }
}
