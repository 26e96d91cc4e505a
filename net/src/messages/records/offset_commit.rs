//! A committed offset in `__consumer_offsets`.

use crate::message::message;

message! {
    pub struct OffsetCommitKey (versions 0..=1) {
        group: String,
        topic: String,
        partition: i32,
    }
}

message! {
    pub struct OffsetCommitValue (versions 0..=4, flexible 4..) {
        offset: i64,
        leader_epoch: i32 [since(3), ignorable] = -1,
        metadata: String,
        commit_timestamp: i64,
        expire_timestamp: i64 [since(1), until(1), ignorable] = -1,
    }
}
