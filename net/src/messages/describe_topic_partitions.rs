//! DescribeTopicPartitions (key 75): tells topics page by page (KIP-966).

use crate::error_code::ErrorCode;
use crate::message::message;
use crate::wire::Uuid;

message! {
    pub struct DescribeTopicPartitionsRequest (versions 0..=0, flexible 0..) {
        topics: Vec<TopicRequest>,
        response_partition_limit: i32 = 2000,
        cursor: Option<Cursor>,
    }

    pub struct TopicRequest {
        name: String,
    }

    pub struct Cursor {
        topic_name: String,
        partition_index: i32,
    }
}

message! {
    pub struct DescribeTopicPartitionsResponse (versions 0..=0, flexible 0..) {
        throttle_time_ms: i32,
        topics: Vec<DescribeTopicPartitionsResponseTopic>,
        next_cursor: Option<Cursor>,
    }

    pub struct DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode,
        name: Option<String>,
        topic_id: Uuid,
        is_internal: bool,
        partitions: Vec<DescribeTopicPartitionsResponsePartition>,
        topic_authorized_operations: i32 = i32::MIN,
    }

    pub struct DescribeTopicPartitionsResponsePartition {
        error_code: ErrorCode,
        partition_index: i32,
        leader_id: i32,
        leader_epoch: i32 = -1,
        replica_nodes: Vec<i32>,
        isr_nodes: Vec<i32>,
        eligible_leader_replicas: Option<Vec<i32>>,
        last_known_elr: Option<Vec<i32>>,
        offline_replicas: Vec<i32>,
    }
}
