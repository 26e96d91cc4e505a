//! Fetch (key 1): reads record batches from partitions, in sessions since version 7 (KIP-227).

use crate::error_code::ErrorCode;
use crate::message::message;
use crate::wire::Records;

message! {
    pub struct FetchRequest (versions 4..=12, flexible 12..) {
        cluster_id: Option<String> [since(12), tag(0), ignorable],
        replica_id: i32 = -1,
        max_wait_ms: i32,
        min_bytes: i32,
        max_bytes: i32 = i32::MAX,
        isolation_level: i8,
        session_id: i32 [since(7), ignorable],
        session_epoch: i32 [since(7), ignorable] = -1,
        topics: Vec<FetchTopic>,
        forgotten_topics_data: Vec<ForgottenTopic> [since(7)],
        rack_id: String [since(11), ignorable],
    }

    pub struct FetchTopic {
        topic: String,
        partitions: Vec<FetchPartition>,
    }

    pub struct FetchPartition {
        partition: i32,
        current_leader_epoch: i32 [since(9), ignorable] = -1,
        fetch_offset: i64,
        last_fetched_epoch: i32 [since(12)] = -1,
        log_start_offset: i64 [since(5), ignorable] = -1,
        partition_max_bytes: i32,
    }

    pub struct ForgottenTopic {
        topic: String,
        partitions: Vec<i32>,
    }
}

message! {
    pub struct FetchResponse (versions 4..=12, flexible 12..) {
        throttle_time_ms: i32,
        error_code: ErrorCode [since(7), ignorable],
        session_id: i32 [since(7), ignorable],
        responses: Vec<FetchableTopicResponse>,
    }

    pub struct FetchableTopicResponse {
        topic: String,
        partitions: Vec<PartitionData>,
    }

    pub struct PartitionData {
        partition_index: i32,
        error_code: ErrorCode,
        high_watermark: i64,
        last_stable_offset: i64 = -1,
        log_start_offset: i64 [since(5), ignorable] = -1,
        diverging_epoch: EpochEndOffset [since(12), tag(0), ignorable],
        current_leader: LeaderIdAndEpoch [since(12), tag(1), ignorable],
        snapshot_id: SnapshotId [since(12), tag(2), ignorable],
        aborted_transactions: Option<Vec<AbortedTransaction>>,
        preferred_read_replica: i32 [since(11), ignorable] = -1,
        records: Option<Records> = Some(Records::default()),
    }

    pub struct EpochEndOffset {
        epoch: i32 = -1,
        end_offset: i64 = -1,
    }

    pub struct LeaderIdAndEpoch {
        leader_id: i32 = -1,
        leader_epoch: i32 = -1,
    }

    pub struct SnapshotId {
        end_offset: i64 = -1,
        epoch: i32 = -1,
    }

    pub struct AbortedTransaction {
        producer_id: i64,
        first_offset: i64,
    }
}
