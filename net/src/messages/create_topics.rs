//! CreateTopics (key 19): creates topics.

use crate::error_code::ErrorCode;
use crate::message::message;
use crate::wire::Uuid;

message! {
    pub struct CreateTopicsRequest (versions 2..=7, flexible 5..) {
        topics: Vec<CreatableTopic>,
        timeout_ms: i32 = 60000,
        validate_only: bool,
    }

    pub struct CreatableTopic {
        name: String,
        num_partitions: i32,
        replication_factor: i16,
        assignments: Vec<CreatableReplicaAssignment>,
        configs: Vec<CreatableTopicConfig>,
    }

    pub struct CreatableReplicaAssignment {
        partition_index: i32,
        broker_ids: Vec<i32>,
    }

    pub struct CreatableTopicConfig {
        name: String,
        value: Option<String>,
    }
}

message! {
    pub struct CreateTopicsResponse (versions 2..=7, flexible 5..) {
        throttle_time_ms: i32,
        topics: Vec<CreatableTopicResult>,
    }

    pub struct CreatableTopicResult {
        name: String,
        topic_id: Uuid [since(7), ignorable],
        error_code: ErrorCode,
        error_message: Option<String>,
        topic_config_error_code: ErrorCode [since(5), tag(0), ignorable],
        num_partitions: i32 [since(5), ignorable] = -1,
        replication_factor: i16 [since(5), ignorable] = -1,
        configs: Option<Vec<CreatableTopicConfigs>> [since(5), ignorable],
    }

    pub struct CreatableTopicConfigs {
        name: String,
        value: Option<String>,
        read_only: bool,
        config_source: i8 = -1,
        is_sensitive: bool,
    }
}
