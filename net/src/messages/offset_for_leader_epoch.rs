//! OffsetForLeaderEpoch (key 23): tells where a leader epoch ends, which is how a consumer finds a
//! truncation (KIP-320).

use crate::error_code::ErrorCode;
use crate::message::message;

message! {
    pub struct OffsetForLeaderEpochRequest (versions 2..=4, flexible 4..) {
        replica_id: i32 [since(3), ignorable] = -2,
        topics: Vec<OffsetForLeaderTopic>,
    }

    pub struct OffsetForLeaderTopic {
        topic: String,
        partitions: Vec<OffsetForLeaderPartition>,
    }

    pub struct OffsetForLeaderPartition {
        partition: i32,
        current_leader_epoch: i32 = -1,
        leader_epoch: i32,
    }
}

message! {
    pub struct OffsetForLeaderEpochResponse (versions 2..=4, flexible 4..) {
        throttle_time_ms: i32,
        topics: Vec<OffsetForLeaderTopicResult>,
    }

    pub struct OffsetForLeaderTopicResult {
        topic: String,
        partitions: Vec<EpochEndOffset>,
    }

    pub struct EpochEndOffset {
        error_code: ErrorCode,
        partition: i32,
        leader_epoch: i32 = -1,
        end_offset: i64 = -1,
    }
}
