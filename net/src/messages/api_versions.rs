//! ApiVersions (key 18): tells the versions that a broker serves.
//!
//! The response header is version 0 whatever the body is. Before version 4 a supported feature must not have
//! `min_version` 0: older clients refuse the whole response (KAFKA-17011).

use crate::error_code::ErrorCode;
use crate::message::message;

message! {
    pub struct ApiVersionsRequest (versions 0..=4, flexible 3..) {
        client_software_name: String [since(3), ignorable],
        client_software_version: String [since(3), ignorable],
    }
}

message! {
    pub struct ApiVersionsResponse (versions 0..=4, flexible 3..) {
        error_code: ErrorCode,
        api_keys: Vec<ApiVersion>,
        throttle_time_ms: i32 [since(1), ignorable],
        supported_features: Vec<SupportedFeatureKey> [since(3), tag(0), ignorable],
        finalized_features_epoch: i64 [since(3), tag(1), ignorable] = -1,
        finalized_features: Vec<FinalizedFeatureKey> [since(3), tag(2), ignorable],
        zk_migration_ready: bool [since(3), tag(3), ignorable],
    }

    pub struct ApiVersion {
        api_key: i16,
        min_version: i16,
        max_version: i16,
    }

    pub struct SupportedFeatureKey {
        name: String,
        min_version: i16,
        max_version: i16,
    }

    pub struct FinalizedFeatureKey {
        name: String,
        max_version_level: i16,
        min_version_level: i16,
    }
}
