//! DeleteGroups (key 42): deletes empty groups.

use crate::error_code::ErrorCode;
use crate::message::message;

message! {
    pub struct DeleteGroupsRequest (versions 0..=2, flexible 2..) {
        groups_names: Vec<String>,
    }
}

message! {
    pub struct DeleteGroupsResponse (versions 0..=2, flexible 2..) {
        throttle_time_ms: i32,
        results: Vec<DeletableGroupResult>,
    }

    pub struct DeletableGroupResult {
        group_id: String,
        error_code: ErrorCode,
    }
}
