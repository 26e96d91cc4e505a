//! ListGroups (key 16): lists the groups of a broker, by state (version 4) and by type (version 5).

use crate::error_code::ErrorCode;
use crate::message::message;

message! {
    pub struct ListGroupsRequest (versions 0..=5, flexible 3..) {
        states_filter: Vec<String> [since(4)],
        types_filter: Vec<String> [since(5)],
    }
}

message! {
    pub struct ListGroupsResponse (versions 0..=5, flexible 3..) {
        throttle_time_ms: i32 [since(1), ignorable],
        error_code: ErrorCode,
        groups: Vec<ListedGroup>,
    }

    pub struct ListedGroup {
        group_id: String,
        protocol_type: String,
        group_state: String [since(4), ignorable],
        group_type: String [since(5), ignorable],
    }
}
