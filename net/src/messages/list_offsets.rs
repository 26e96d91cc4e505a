//! ListOffsets (key 2): finds offsets by timestamp.
//!
//! Timestamp -1 asks for the end, -2 for the start, -3 (since version 7) for the newest timestamp.

use crate::error_code::ErrorCode;
use crate::message::message;

message! {
    pub struct ListOffsetsRequest (versions 1..=7, flexible 6..) {
        replica_id: i32,
        isolation_level: i8 [since(2)],
        topics: Vec<ListOffsetsTopic>,
    }

    pub struct ListOffsetsTopic {
        name: String,
        partitions: Vec<ListOffsetsPartition>,
    }

    pub struct ListOffsetsPartition {
        partition_index: i32,
        current_leader_epoch: i32 [since(4), ignorable] = -1,
        timestamp: i64,
    }
}

message! {
    pub struct ListOffsetsResponse (versions 1..=7, flexible 6..) {
        throttle_time_ms: i32 [since(2), ignorable],
        topics: Vec<ListOffsetsTopicResponse>,
    }

    pub struct ListOffsetsTopicResponse {
        name: String,
        partitions: Vec<ListOffsetsPartitionResponse>,
    }

    pub struct ListOffsetsPartitionResponse {
        partition_index: i32,
        error_code: ErrorCode,
        timestamp: i64 = -1,
        offset: i64 = -1,
        leader_epoch: i32 [since(4), ignorable] = -1,
    }
}
