//! DescribeLogDirs (key 35): tells the size of partitions on disk.

use crate::error_code::ErrorCode;
use crate::message::message;

message! {
    pub struct DescribeLogDirsRequest (versions 1..=4, flexible 2..) {
        topics: Option<Vec<DescribableLogDirTopic>>,
    }

    pub struct DescribableLogDirTopic {
        topic: String,
        partitions: Vec<i32>,
    }
}

message! {
    pub struct DescribeLogDirsResponse (versions 1..=4, flexible 2..) {
        throttle_time_ms: i32,
        error_code: ErrorCode [since(3), ignorable],
        results: Vec<DescribeLogDirsResult>,
    }

    pub struct DescribeLogDirsResult {
        error_code: ErrorCode,
        log_dir: String,
        topics: Vec<DescribeLogDirsTopic>,
        total_bytes: i64 [since(4), ignorable] = -1,
        usable_bytes: i64 [since(4), ignorable] = -1,
    }

    pub struct DescribeLogDirsTopic {
        name: String,
        partitions: Vec<DescribeLogDirsPartition>,
    }

    pub struct DescribeLogDirsPartition {
        partition_index: i32,
        partition_size: i64,
        offset_lag: i64,
        is_future_key: bool,
    }
}
