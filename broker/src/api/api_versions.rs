//! ApiVersions, versions 0–4: what this broker serves.

use net::messages::ApiVersionsRequest;
use net::messages::api_versions::{ApiVersion, ApiVersionsResponse};
use net::{ApiKey, ErrorCode};

use crate::effects::{Context, Effects};

/// Answers with the advertised range of every API. A client software name of odd characters is refused as by Kafka.
pub(super) fn handle(context: &Context, request: &ApiVersionsRequest, effects: &mut Effects) {
    let is_named = context.version < 3
        || (is_plain(&request.client_software_name) && is_plain(&request.client_software_version));
    let error_code = if is_named { ErrorCode::None } else { ErrorCode::InvalidRequest };
    let api_keys = match error_code {
        ErrorCode::None => ApiKey::ALL.iter().map(|api| advertised(*api)).collect(),
        _ => Vec::new(),
    };
    effects.respond(context, ApiVersionsResponse { error_code, api_keys, ..Default::default() }.into());
}

fn advertised(api: ApiKey) -> ApiVersion {
    let range = api.advertised();
    ApiVersion { api_key: api.key(), min_version: range.min, max_version: range.max }
}

/// KIP-511: letters and digits, inside also dots and dashes.
fn is_plain(name: &str) -> bool {
    let is_edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    is_edge(bytes.first())
        && is_edge(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_names_are_plain() {
        for good in ["apache-kafka-java", "4.3.1", "librdkafka", "a"] {
            assert!(is_plain(good), "{good}");
        }
        for bad in ["", "-a", "a.", "a b", "ä"] {
            assert!(!is_plain(bad), "{bad}");
        }
    }
}
