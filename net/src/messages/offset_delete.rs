//! OffsetDelete (key 47): deletes committed offsets of a group.

use crate::error_code::ErrorCode;
use crate::message::message;

message! {
    pub struct OffsetDeleteRequest (versions 0..=0) {
        group_id: String,
        topics: Vec<OffsetDeleteRequestTopic>,
    }

    pub struct OffsetDeleteRequestTopic {
        name: String,
        partitions: Vec<OffsetDeleteRequestPartition>,
    }

    pub struct OffsetDeleteRequestPartition {
        partition_index: i32,
    }
}

message! {
    pub struct OffsetDeleteResponse (versions 0..=0) {
        error_code: ErrorCode,
        throttle_time_ms: i32,
        topics: Vec<OffsetDeleteResponseTopic>,
    }

    pub struct OffsetDeleteResponseTopic {
        name: String,
        partitions: Vec<OffsetDeleteResponsePartition>,
    }

    pub struct OffsetDeleteResponsePartition {
        partition_index: i32,
        error_code: ErrorCode,
    }
}
