//! JoinGroup (key 11): enters a consumer group and waits for its next generation.

use bytes::Bytes;

use crate::error_code::ErrorCode;
use crate::message::message;

message! {
    pub struct JoinGroupRequest (versions 0..=9, flexible 6..) {
        group_id: String,
        session_timeout_ms: i32,
        rebalance_timeout_ms: i32 [since(1), ignorable] = -1,
        member_id: String,
        group_instance_id: Option<String> [since(5)],
        protocol_type: String,
        protocols: Vec<JoinGroupRequestProtocol>,
        reason: Option<String> [since(8), ignorable],
    }

    pub struct JoinGroupRequestProtocol {
        name: String,
        metadata: Bytes,
    }
}

message! {
    pub struct JoinGroupResponse (versions 0..=9, flexible 6..) {
        throttle_time_ms: i32 [since(2), ignorable],
        error_code: ErrorCode,
        generation_id: i32 = -1,
        protocol_type: Option<String> [since(7), ignorable],
        protocol_name: Option<String> [nullable_since(7)],
        leader: String,
        skip_assignment: bool [since(9), ignorable],
        member_id: String,
        members: Vec<JoinGroupResponseMember>,
    }

    pub struct JoinGroupResponseMember {
        member_id: String,
        group_instance_id: Option<String> [since(5), ignorable],
        metadata: Bytes,
    }
}
