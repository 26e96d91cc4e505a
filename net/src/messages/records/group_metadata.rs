//! A classic consumer group in `__consumer_offsets`.

use bytes::Bytes;

use crate::message::message;

message! {
    pub struct GroupMetadataKey (versions 2..=2) {
        group: String,
    }
}

message! {
    pub struct GroupMetadataValue (versions 0..=4, flexible 4..) {
        protocol_type: String,
        generation: i32,
        protocol: Option<String>,
        leader: Option<String>,
        current_state_timestamp: i64 [since(2), ignorable] = -1,
        members: Vec<MemberMetadata>,
    }

    pub struct MemberMetadata {
        member_id: String,
        group_instance_id: Option<String> [since(3), ignorable],
        client_id: String,
        client_host: String,
        rebalance_timeout: i32 [since(1), ignorable] = -1,
        session_timeout: i32,
        subscription: Bytes,
        assignment: Bytes,
    }
}
