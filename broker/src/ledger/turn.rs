//! One turn of a shard, as the ledger remembers it.

/// One turn of a shard: what it took in, and how much was waiting when it began.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Turn {
    /// When it began, microseconds.
    pub begun_us: u64,
    /// How long it took, microseconds.
    pub length_us: u64,
    /// Requests of all kinds that came in.
    pub requests: u32,
    /// Letters from other shards.
    pub letters: u32,
    /// Operations of the disk that ended.
    pub disk: u32,
    /// How much was waiting.
    pub gauges: Gauges,
}

/// How much is waiting at a moment.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Gauges {
    /// Open connections.
    pub connections: u32,
    /// Requests that are not answered yet.
    pub requests_in_flight: u32,
    /// Letters that found no room in the queue of their receiver.
    pub letters_waiting: u32,
    /// Appends, fetches and questions to other shards that are not answered yet.
    pub open_work: u32,
    /// Bytes that are in no segment file yet.
    pub dirty_bytes: u64,
}
