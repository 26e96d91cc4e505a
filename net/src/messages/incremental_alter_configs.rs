//! IncrementalAlterConfigs (key 44): changes single configurations of topics and brokers (KIP-339).

use crate::error_code::ErrorCode;
use crate::message::message;

message! {
    pub struct IncrementalAlterConfigsRequest (versions 0..=1, flexible 1..) {
        resources: Vec<AlterConfigsResource>,
        validate_only: bool,
    }

    pub struct AlterConfigsResource {
        resource_type: i8,
        resource_name: String,
        configs: Vec<AlterableConfig>,
    }

    pub struct AlterableConfig {
        name: String,
        config_operation: i8,
        value: Option<String>,
    }
}

message! {
    pub struct IncrementalAlterConfigsResponse (versions 0..=1, flexible 1..) {
        throttle_time_ms: i32,
        responses: Vec<AlterConfigsResourceResponse>,
    }

    pub struct AlterConfigsResourceResponse {
        error_code: ErrorCode,
        error_message: Option<String>,
        resource_type: i8,
        resource_name: String,
    }
}
