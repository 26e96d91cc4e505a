//! Heartbeat (key 12): keeps a member of a consumer group alive.

use crate::error_code::ErrorCode;
use crate::message::message;

message! {
    pub struct HeartbeatRequest (versions 0..=4, flexible 4..) {
        group_id: String,
        generation_id: i32,
        member_id: String,
        group_instance_id: Option<String> [since(3)],
    }
}

message! {
    pub struct HeartbeatResponse (versions 0..=4, flexible 4..) {
        throttle_time_ms: i32 [since(1), ignorable],
        error_code: ErrorCode,
    }
}
