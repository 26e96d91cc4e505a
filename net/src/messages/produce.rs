//! Produce (key 0): appends record batches to partitions.

use bytes::Bytes;

use crate::error_code::ErrorCode;
use crate::message::message;

message! {
    pub struct ProduceRequest (versions 3..=11, flexible 9..) {
        transactional_id: Option<String>,
        acks: i16,
        timeout_ms: i32,
        topic_data: Vec<TopicProduceData>,
    }

    pub struct TopicProduceData {
        name: String,
        partition_data: Vec<PartitionProduceData>,
    }

    pub struct PartitionProduceData {
        index: i32,
        records: Option<Bytes>,
    }
}

message! {
    pub struct ProduceResponse (versions 3..=11, flexible 9..) {
        responses: Vec<TopicProduceResponse>,
        throttle_time_ms: i32,
        node_endpoints: Vec<NodeEndpoint> [since(10), tag(0), ignorable],
    }

    pub struct TopicProduceResponse {
        name: String,
        partition_responses: Vec<PartitionProduceResponse>,
    }

    pub struct PartitionProduceResponse {
        index: i32,
        error_code: ErrorCode,
        base_offset: i64,
        log_append_time_ms: i64 = -1,
        log_start_offset: i64 [since(5), ignorable] = -1,
        record_errors: Vec<BatchIndexAndErrorMessage> [since(8), ignorable],
        error_message: Option<String> [since(8), ignorable],
        current_leader: LeaderIdAndEpoch [since(10), tag(0), ignorable],
    }

    pub struct BatchIndexAndErrorMessage {
        batch_index: i32,
        batch_index_error_message: Option<String>,
    }

    pub struct LeaderIdAndEpoch {
        leader_id: i32 = -1,
        leader_epoch: i32 = -1,
    }

    pub struct NodeEndpoint {
        node_id: i32,
        host: String,
        port: i32,
        rack: Option<String>,
    }
}
