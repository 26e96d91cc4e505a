//! InitProducerId (key 22): hands out a producer id for idempotent and transactional producers.

use crate::error_code::ErrorCode;
use crate::message::message;

message! {
    pub struct InitProducerIdRequest (versions 0..=5, flexible 2..) {
        transactional_id: Option<String>,
        transaction_timeout_ms: i32,
        producer_id: i64 [since(3)] = -1,
        producer_epoch: i16 [since(3)] = -1,
    }
}

message! {
    pub struct InitProducerIdResponse (versions 0..=5, flexible 2..) {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        producer_id: i64 = -1,
        producer_epoch: i16,
    }
}
