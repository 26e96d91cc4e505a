//! DescribeGroups (key 15): tells the state and the members of groups.

use bytes::Bytes;

use crate::error_code::ErrorCode;
use crate::message::message;

message! {
    pub struct DescribeGroupsRequest (versions 0..=6, flexible 5..) {
        groups: Vec<String>,
        include_authorized_operations: bool [since(3)],
    }
}

message! {
    pub struct DescribeGroupsResponse (versions 0..=6, flexible 5..) {
        throttle_time_ms: i32 [since(1), ignorable],
        groups: Vec<DescribedGroup>,
    }

    pub struct DescribedGroup {
        error_code: ErrorCode,
        error_message: Option<String> [since(6), ignorable],
        group_id: String,
        group_state: String,
        protocol_type: String,
        protocol_data: String,
        members: Vec<DescribedGroupMember>,
        authorized_operations: i32 [since(3), ignorable] = i32::MIN,
    }

    pub struct DescribedGroupMember {
        member_id: String,
        group_instance_id: Option<String> [since(4), ignorable],
        client_id: String,
        client_host: String,
        member_metadata: Bytes,
        member_assignment: Bytes,
    }
}
