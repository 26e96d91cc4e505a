//! What members of a group of protocol type "consumer" put into JoinGroup and SyncGroup.
//!
//! Newer versions only add fields at the end, so a version that we do not know is read as the newest that we do;
//! [`ConsumerProtocolSubscription::decode_any`] does so.

use bytes::Bytes;

use crate::message::message;
use crate::wire::{Message, Reader, Version, Wire, WireError};

message! {
    pub struct ConsumerProtocolSubscription (versions 0..=3) {
        topics: Vec<String>,
        user_data: Option<Bytes>,
        owned_partitions: Vec<SubscribedTopicPartition> [since(1), ignorable],
        generation_id: i32 [since(2), ignorable] = -1,
        rack_id: Option<String> [since(3), ignorable],
    }

    pub struct SubscribedTopicPartition {
        topic: String,
        partitions: Vec<i32>,
    }
}

message! {
    pub struct ConsumerProtocolAssignment (versions 0..=3) {
        assigned_partitions: Vec<AssignedTopicPartition>,
        user_data: Option<Bytes>,
    }

    pub struct AssignedTopicPartition {
        topic: String,
        partitions: Vec<i32>,
    }
}

fn decode_any<M: Message>(bytes: Bytes) -> Result<M, WireError> {
    let mut reader = Reader::new(bytes);
    let version = i16::read(&mut reader, Version { number: 0, flexible: false })?;
    M::decode(&mut reader, version.min(M::VERSION_MAX))
}

impl ConsumerProtocolSubscription {
    /// Reads a subscription of any version, and leaves what newer versions added.
    pub fn decode_any(bytes: Bytes) -> Result<Self, WireError> {
        decode_any(bytes)
    }
}

impl ConsumerProtocolAssignment {
    /// Reads an assignment of any version, and leaves what newer versions added.
    pub fn decode_any(bytes: Bytes) -> Result<Self, WireError> {
        decode_any(bytes)
    }
}
