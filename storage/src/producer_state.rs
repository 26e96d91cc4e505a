//! What a partition knows about its idempotent producers.
use crate::types::{Offset, ProducerId};

/// What is known about one producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerState {
    /// The producer.
    pub producer_id: ProducerId,
    /// Its epoch.
    pub epoch: i16,
    /// Sequence of its last record; −1 if none is known.
    pub last_sequence: i32,
    /// Offset of its last record; −1 if none is known.
    pub last_offset: Offset,
    /// Timestamp of its last batch, ms since 1970; −1 if none is known.
    pub last_timestamp_ms: i64,
}
