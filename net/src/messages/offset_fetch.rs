//! OffsetFetch (key 9): reads the positions of a consumer group, of several since version 8.

use crate::error_code::ErrorCode;
use crate::message::message;

message! {
    pub struct OffsetFetchRequest (versions 1..=9, flexible 6..) {
        group_id: String [until(7)],
        topics: Option<Vec<OffsetFetchRequestTopic>> [until(7), nullable_since(2)],
        groups: Vec<OffsetFetchRequestGroup> [since(8)],
        require_stable: bool [since(7)],
    }

    pub struct OffsetFetchRequestTopic {
        name: String,
        partition_indexes: Vec<i32>,
    }

    pub struct OffsetFetchRequestGroup {
        group_id: String,
        member_id: Option<String> [since(9), ignorable],
        member_epoch: i32 [since(9), ignorable] = -1,
        topics: Option<Vec<OffsetFetchRequestTopics>>,
    }

    pub struct OffsetFetchRequestTopics {
        name: String,
        partition_indexes: Vec<i32>,
    }
}

message! {
    pub struct OffsetFetchResponse (versions 1..=9, flexible 6..) {
        throttle_time_ms: i32 [since(3), ignorable],
        topics: Vec<OffsetFetchResponseTopic> [until(7)],
        error_code: ErrorCode [since(2), until(7), ignorable],
        groups: Vec<OffsetFetchResponseGroup> [since(8)],
    }

    pub struct OffsetFetchResponseTopic {
        name: String,
        partitions: Vec<OffsetFetchResponsePartition>,
    }

    pub struct OffsetFetchResponsePartition {
        partition_index: i32,
        committed_offset: i64,
        committed_leader_epoch: i32 [since(5), ignorable] = -1,
        metadata: Option<String>,
        error_code: ErrorCode,
    }

    pub struct OffsetFetchResponseGroup {
        group_id: String,
        topics: Vec<OffsetFetchResponseTopics>,
        error_code: ErrorCode,
    }

    pub struct OffsetFetchResponseTopics {
        name: String,
        partitions: Vec<OffsetFetchResponsePartitions>,
    }

    pub struct OffsetFetchResponsePartitions {
        partition_index: i32,
        committed_offset: i64,
        committed_leader_epoch: i32 = -1,
        metadata: Option<String>,
        error_code: ErrorCode,
    }
}
