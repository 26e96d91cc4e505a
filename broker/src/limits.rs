//! The bounds of every queue in the broker, and how they relate.

/// Questions that one shard may have open to other shards and the controller.
pub const PENDING_MAX: usize = 65_536;

/// Produce requests that may wait for durability on one shard.
pub const APPEND_WAITS_MAX: usize = 65_536;

/// Fetch requests that may wait for data on one shard.
pub const FETCH_WAITS_MAX: usize = 65_536;

/// Longest time that a fetch waits for data, whatever its `max_wait_ms` says, milliseconds.
pub const FETCH_WAIT_MS_MAX: i32 = 300_000;

/// Topic partitions that one fetch session may hold.
pub const FETCH_SESSION_PARTITIONS_MAX: usize = 100_000;

/// Record bytes in one fetch response, whatever its `max_bytes` says.
pub const FETCH_RESPONSE_BYTES_MAX: i32 = 64 << 20;

/// Bytes that a coordinator reads in one piece while it loads its partition.
pub const COORDINATOR_LOAD_BYTES: u32 = 1 << 20;

/// How often waiting produce requests are looked through for those out of time, microseconds.
pub const APPEND_SWEEP_US: u64 = 500_000;

const _: () = assert!(PENDING_MAX <= APPEND_WAITS_MAX, "whatever may be pending may also wait");
