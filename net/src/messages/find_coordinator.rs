//! FindCoordinator (key 10): finds the broker that coordinates a group or a transactional id, several since version 4.

use crate::error_code::ErrorCode;
use crate::message::message;

message! {
    pub struct FindCoordinatorRequest (versions 0..=6, flexible 3..) {
        key: String [until(3)],
        key_type: i8 [since(1)],
        coordinator_keys: Vec<String> [since(4)],
    }
}

message! {
    pub struct FindCoordinatorResponse (versions 0..=6, flexible 3..) {
        throttle_time_ms: i32 [since(1), ignorable],
        error_code: ErrorCode [until(3)],
        error_message: Option<String> [since(1), until(3), ignorable],
        node_id: i32 [until(3)],
        host: String [until(3)],
        port: i32 [until(3)],
        coordinators: Vec<Coordinator> [since(4)],
    }

    pub struct Coordinator {
        key: String,
        node_id: i32,
        host: String,
        port: i32,
        error_code: ErrorCode,
        error_message: Option<String>,
    }
}
