//! DeleteRecords (key 21): moves the log start offset of partitions forward.

use crate::error_code::ErrorCode;
use crate::message::message;

message! {
    pub struct DeleteRecordsRequest (versions 0..=2, flexible 2..) {
        topics: Vec<DeleteRecordsTopic>,
        timeout_ms: i32,
    }

    pub struct DeleteRecordsTopic {
        name: String,
        partitions: Vec<DeleteRecordsPartition>,
    }

    pub struct DeleteRecordsPartition {
        partition_index: i32,
        offset: i64,
    }
}

message! {
    pub struct DeleteRecordsResponse (versions 0..=2, flexible 2..) {
        throttle_time_ms: i32,
        topics: Vec<DeleteRecordsTopicResult>,
    }

    pub struct DeleteRecordsTopicResult {
        name: String,
        partitions: Vec<DeleteRecordsPartitionResult>,
    }

    pub struct DeleteRecordsPartitionResult {
        partition_index: i32,
        low_watermark: i64,
        error_code: ErrorCode,
    }
}
