//! DescribeCluster (key 60): tells the brokers of the cluster.

use crate::error_code::ErrorCode;
use crate::message::message;

message! {
    pub struct DescribeClusterRequest (versions 0..=2, flexible 0..) {
        include_cluster_authorized_operations: bool,
        endpoint_type: i8 [since(1)] = 1,
        include_fenced_brokers: bool [since(2)],
    }
}

message! {
    pub struct DescribeClusterResponse (versions 0..=2, flexible 0..) {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        error_message: Option<String>,
        endpoint_type: i8 [since(1), ignorable] = 1,
        cluster_id: String,
        controller_id: i32 = -1,
        brokers: Vec<DescribeClusterBroker>,
        cluster_authorized_operations: i32 = i32::MIN,
    }

    pub struct DescribeClusterBroker {
        broker_id: i32,
        host: String,
        port: i32,
        rack: Option<String>,
        is_fenced: bool [since(2), ignorable],
    }
}
