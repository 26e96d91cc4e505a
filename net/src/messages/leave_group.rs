//! LeaveGroup (key 13): takes members out of a consumer group, several since version 3.

use crate::error_code::ErrorCode;
use crate::message::message;

message! {
    pub struct LeaveGroupRequest (versions 0..=5, flexible 4..) {
        group_id: String,
        member_id: String [until(2)],
        members: Vec<MemberIdentity> [since(3)],
    }

    pub struct MemberIdentity {
        member_id: String,
        group_instance_id: Option<String>,
        reason: Option<String> [since(5), ignorable],
    }
}

message! {
    pub struct LeaveGroupResponse (versions 0..=5, flexible 4..) {
        throttle_time_ms: i32 [since(1), ignorable],
        error_code: ErrorCode,
        members: Vec<MemberResponse> [since(3)],
    }

    pub struct MemberResponse {
        member_id: String,
        group_instance_id: Option<String>,
        error_code: ErrorCode,
    }
}
