//! Validation of record batches.

/// Who sends a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOrigin {
    /// A client: nothing about the batch is taken on trust.
    Client,
    /// A coordinator of this broker.
    Coordinator,
}

/// Why an append was refused; each is one of Kafka's error codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendError {
    /// CORRUPT_MESSAGE: checksum, length or count do not fit.
    CorruptMessage(String),
    /// INVALID_RECORD, with the records at fault where they are known: (index in the batch, why).
    InvalidRecord {
        /// Index and reason per record.
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
    /// UNSUPPORTED_FOR_MESSAGE_FORMAT: not a v2 batch.
    UnsupportedFormat(i8),
    /// UNSUPPORTED_COMPRESSION_TYPE.
    UnsupportedCompression(u8),
    /// INVALID_TIMESTAMP: outside of what the topic allows, with the records at fault.
    InvalidTimestamp {
        /// Index and reason per record.
        errors: Vec<(i32, String)>,
        /// What is wrong with the batch as a whole.
        message: String,
    },
    /// OUT_OF_ORDER_SEQUENCE_NUMBER.
    OutOfOrderSequence(String),
    /// INVALID_PRODUCER_EPOCH: the producer has been replaced by a newer one.
    InvalidProducerEpoch(String),
    /// KAFKA_STORAGE_ERROR, retriable: the volume is full.
    StorageFull,
    /// KAFKA_STORAGE_ERROR: the volume failed, or this partition is damaged.
    StorageFailed(String),
}

impl std::fmt::Display for AppendError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AppendError::CorruptMessage(why) => write!(f, "corrupt batch: {why}"),
            AppendError::InvalidRecord { message, .. } | AppendError::InvalidTimestamp { message, .. } => {
                f.write_str(message)
            }
            AppendError::MessageTooLarge { bytes, max } => {
                write!(f, "the batch has {bytes} bytes, max.message.bytes is {max}")
            }
            AppendError::UnsupportedFormat(magic) => write!(f, "record format {magic} is not 2"),
            AppendError::UnsupportedCompression(id) => write!(f, "unknown compression {id}"),
            AppendError::OutOfOrderSequence(why) | AppendError::InvalidProducerEpoch(why) => f.write_str(why),
            AppendError::StorageFull => f.write_str("the volume is full"),
            AppendError::StorageFailed(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for AppendError {}
