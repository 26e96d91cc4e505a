//! DeleteTopics (key 20): deletes topics, by id since version 6.

use crate::error_code::ErrorCode;
use crate::message::message;
use crate::wire::Uuid;

message! {
    pub struct DeleteTopicsRequest (versions 1..=6, flexible 4..) {
        topics: Vec<DeleteTopicState> [since(6)],
        topic_names: Vec<String> [until(5), ignorable],
        timeout_ms: i32,
    }

    pub struct DeleteTopicState {
        name: Option<String>,
        topic_id: Uuid,
    }
}

message! {
    pub struct DeleteTopicsResponse (versions 1..=6, flexible 4..) {
        throttle_time_ms: i32,
        responses: Vec<DeletableTopicResult>,
    }

    pub struct DeletableTopicResult {
        name: Option<String> [nullable_since(6)],
        topic_id: Uuid [since(6), ignorable],
        error_code: ErrorCode,
        error_message: Option<String> [since(5), ignorable],
    }
}
