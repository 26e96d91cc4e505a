//! OffsetCommit (key 8): stores the positions of a consumer group.

use crate::error_code::ErrorCode;
use crate::message::message;

message! {
    pub struct OffsetCommitRequest (versions 2..=9, flexible 8..) {
        group_id: String,
        generation_id_or_member_epoch: i32 = -1,
        member_id: String,
        group_instance_id: Option<String> [since(7)],
        retention_time_ms: i64 [until(4), ignorable] = -1,
        topics: Vec<OffsetCommitRequestTopic>,
    }

    pub struct OffsetCommitRequestTopic {
        name: String,
        partitions: Vec<OffsetCommitRequestPartition>,
    }

    pub struct OffsetCommitRequestPartition {
        partition_index: i32,
        committed_offset: i64,
        committed_leader_epoch: i32 [since(6), ignorable] = -1,
        committed_metadata: Option<String>,
    }
}

message! {
    pub struct OffsetCommitResponse (versions 2..=9, flexible 8..) {
        throttle_time_ms: i32 [since(3), ignorable],
        topics: Vec<OffsetCommitResponseTopic>,
    }

    pub struct OffsetCommitResponseTopic {
        name: String,
        partitions: Vec<OffsetCommitResponsePartition>,
    }

    pub struct OffsetCommitResponsePartition {
        partition_index: i32,
        error_code: ErrorCode,
    }
}
