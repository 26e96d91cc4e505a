//! DescribeConfigs (key 32): tells the configuration of topics and brokers.

use crate::error_code::ErrorCode;
use crate::message::message;

message! {
    pub struct DescribeConfigsRequest (versions 1..=4, flexible 4..) {
        resources: Vec<DescribeConfigsResource>,
        include_synonyms: bool,
        include_documentation: bool [since(3)],
    }

    pub struct DescribeConfigsResource {
        resource_type: i8,
        resource_name: String,
        configuration_keys: Option<Vec<String>>,
    }
}

message! {
    pub struct DescribeConfigsResponse (versions 1..=4, flexible 4..) {
        throttle_time_ms: i32,
        results: Vec<DescribeConfigsResult>,
    }

    pub struct DescribeConfigsResult {
        error_code: ErrorCode,
        error_message: Option<String>,
        resource_type: i8,
        resource_name: String,
        configs: Vec<DescribeConfigsResourceResult>,
    }

    pub struct DescribeConfigsResourceResult {
        name: String,
        value: Option<String>,
        read_only: bool,
        config_source: i8 = -1,
        is_sensitive: bool,
        synonyms: Vec<DescribeConfigsSynonym>,
        config_type: i8 [since(3), ignorable],
        documentation: Option<String> [since(3), ignorable],
    }

    pub struct DescribeConfigsSynonym {
        name: String,
        value: Option<String>,
        source: i8,
    }
}
