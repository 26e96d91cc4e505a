//! SyncGroup (key 14): hands out the assignments that the leader of a group made.

use bytes::Bytes;

use crate::error_code::ErrorCode;
use crate::message::message;

message! {
    pub struct SyncGroupRequest (versions 0..=5, flexible 4..) {
        group_id: String,
        generation_id: i32,
        member_id: String,
        group_instance_id: Option<String> [since(3)],
        protocol_type: Option<String> [since(5), ignorable],
        protocol_name: Option<String> [since(5), ignorable],
        assignments: Vec<SyncGroupRequestAssignment>,
    }

    pub struct SyncGroupRequestAssignment {
        member_id: String,
        assignment: Bytes,
    }
}

message! {
    pub struct SyncGroupResponse (versions 0..=5, flexible 4..) {
        throttle_time_ms: i32 [since(1), ignorable],
        error_code: ErrorCode,
        protocol_type: Option<String> [since(5), ignorable],
        protocol_name: Option<String> [since(5), ignorable],
        assignment: Bytes,
    }
}
