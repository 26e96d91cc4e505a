//! AlterConfigs (key 33): replaces the configuration of topics and brokers.

use crate::error_code::ErrorCode;
use crate::message::message;

message! {
    pub struct AlterConfigsRequest (versions 0..=2, flexible 2..) {
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
        value: Option<String>,
    }
}

message! {
    pub struct AlterConfigsResponse (versions 0..=2, flexible 2..) {
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
