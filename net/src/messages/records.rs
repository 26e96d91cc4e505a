//! What Kafka stores rather than sends: values that begin with their own version.

pub mod consumer_protocol;
pub mod group_metadata;
pub mod offset_commit;

use bytes::Bytes;

use crate::wire::{Message, Reader, Version, Wire, WireError, Writer};

pub use consumer_protocol::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};
pub use group_metadata::{GroupMetadataKey, GroupMetadataValue};
pub use offset_commit::{OffsetCommitKey, OffsetCommitValue};

const PLAIN: Version = Version { number: 0, flexible: false };

/// Writes a record with its version before it.
pub fn encode_record<M: Message>(record: &M, version: i16) -> Result<Bytes, WireError> {
    let mut writer = Writer::new();
    version.write(&mut writer, PLAIN)?;
    record.encode(&mut writer, version)?;
    Ok(writer.into_bytes())
}

/// The version that a stored key or value begins with: it also tells which kind of key it is.
pub fn record_version(bytes: &Bytes) -> Result<i16, WireError> {
    i16::read(&mut Reader::new(bytes.clone()), PLAIN)
}

/// Reads a record at the version that it begins with.
pub fn decode_record<M: Message>(bytes: Bytes) -> Result<M, WireError> {
    let mut reader = Reader::new(bytes);
    let version = i16::read(&mut reader, PLAIN)?;
    let record = M::decode(&mut reader, version)?;
    reader.finish()?;
    Ok(record)
}
