//! Metadata (key 3): tells topics, their partitions and leaders, and the brokers of the cluster.

use crate::error_code::ErrorCode;
use crate::message::message;
use crate::wire::Uuid;

message! {
    pub struct MetadataRequest (versions 0..=12, flexible 9..) {
        topics: Option<Vec<MetadataRequestTopic>> [nullable_since(1)],
        allow_auto_topic_creation: bool [since(4)] = true,
        include_cluster_authorized_operations: bool [since(8), until(10)],
        include_topic_authorized_operations: bool [since(8)],
    }

    pub struct MetadataRequestTopic {
        topic_id: Uuid [since(10), ignorable],
        name: Option<String> [nullable_since(10)],
    }
}

message! {
    pub struct MetadataResponse (versions 0..=12, flexible 9..) {
        throttle_time_ms: i32 [since(3), ignorable],
        brokers: Vec<MetadataResponseBroker>,
        cluster_id: Option<String> [since(2), ignorable],
        controller_id: i32 [since(1), ignorable] = -1,
        topics: Vec<MetadataResponseTopic>,
        cluster_authorized_operations: i32 [since(8), until(10), ignorable] = i32::MIN,
    }

    pub struct MetadataResponseBroker {
        node_id: i32,
        host: String,
        port: i32,
        rack: Option<String> [since(1), ignorable],
    }

    pub struct MetadataResponseTopic {
        error_code: ErrorCode,
        name: Option<String> [nullable_since(12)],
        topic_id: Uuid [since(10), ignorable],
        is_internal: bool [since(1), ignorable],
        partitions: Vec<MetadataResponsePartition>,
        topic_authorized_operations: i32 [since(8), ignorable] = i32::MIN,
    }

    pub struct MetadataResponsePartition {
        error_code: ErrorCode,
        partition_index: i32,
        leader_id: i32,
        leader_epoch: i32 [since(7), ignorable] = -1,
        replica_nodes: Vec<i32>,
        isr_nodes: Vec<i32>,
        offline_replicas: Vec<i32> [since(5), ignorable],
    }
}
