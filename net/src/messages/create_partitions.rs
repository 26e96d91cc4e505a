//! CreatePartitions (key 37): adds partitions to topics.

use crate::error_code::ErrorCode;
use crate::message::message;

message! {
    pub struct CreatePartitionsRequest (versions 0..=3, flexible 2..) {
        topics: Vec<CreatePartitionsTopic>,
        timeout_ms: i32,
        validate_only: bool,
    }

    pub struct CreatePartitionsTopic {
        name: String,
        count: i32,
        assignments: Option<Vec<CreatePartitionsAssignment>>,
    }

    pub struct CreatePartitionsAssignment {
        broker_ids: Vec<i32>,
    }
}

message! {
    pub struct CreatePartitionsResponse (versions 0..=3, flexible 2..) {
        throttle_time_ms: i32,
        results: Vec<CreatePartitionsTopicResult>,
    }

    pub struct CreatePartitionsTopicResult {
        name: String,
        error_code: ErrorCode,
        error_message: Option<String>,
    }
}
