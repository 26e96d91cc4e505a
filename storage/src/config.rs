//! The settings of one log and of one store, as plain values. Parsing them is the broker's work.

/// Who stamps the records of a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's timestamps stay (`message.timestamp.type=CreateTime`).
    #[default]
    CreateTime,
    /// The broker overwrites them on append (`LogAppendTime`).
    LogAppendTime,
}

/// When an append counts as acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FlushMode {
    /// When the WAL block that holds it is on stable storage.
    #[default]
    Durable,
    /// At once, from memory; the WAL follows within `ms`. A crash loses what was younger.
    Interval {
        /// The longest time that acknowledged records stay in memory only.
        ms: u32,
    },
}

/// What happens to old records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cleanup {
    /// Segments past `retention_ms` or `retention_bytes` are removed.
    pub delete: bool,
    /// Only the latest record of each key is kept, so a record without a key is refused.
    pub compact: bool,
}

impl Default for Cleanup {
    fn default() -> Self {
        Cleanup { delete: true, compact: false }
    }
}

/// The settings of one partition's log. Defaults are Kafka's, but for durability.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Records older than this are removed; −1 keeps them for ever.
    pub retention_ms: i64,
    /// The log is cut from the front above this size; −1 means no limit.
    pub retention_bytes: i64,
    /// A segment is rolled before it grows past this size.
    pub segment_bytes: u32,
    /// A segment is rolled when its first record is older than this.
    pub segment_ms: i64,
    /// The largest batch that is accepted.
    pub max_message_bytes: u32,
    /// Who stamps the records.
    pub timestamp_type: TimestampType,
    /// A record older than this at the time of its append is refused (CreateTime only).
    pub timestamp_before_max_ms: i64,
    /// A record this far in the future at the time of its append is refused (CreateTime only).
    pub timestamp_after_max_ms: i64,
    /// When an append counts as acknowledged.
    pub flush_mode: FlushMode,
    /// What happens to old records.
    pub cleanup: Cleanup,
}

impl Default for LogConfig {
    fn default() -> Self {
        LogConfig {
            retention_ms: 7 * 24 * 3600 * 1000,
            retention_bytes: -1,
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3600 * 1000,
            max_message_bytes: (1 << 20) + 12,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            flush_mode: FlushMode::Durable,
            cleanup: Cleanup::default(),
        }
    }
}

/// The settings of one shard's store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// Size of the first WAL file of an incarnation: small, so that a start is quick.
    pub wal_first_file_bytes: u64,
    /// Size of every other WAL file.
    pub wal_file_bytes: u64,
    /// A block is closed when it holds this much; one larger batch still fits in a block of its own.
    pub wal_block_bytes: u32,
    /// The WAL of this incarnation never grows past this; appends are refused before.
    pub wal_bytes_max: u64,
    /// After this long without an append a header-only block vouches for the last one.
    pub wal_vouch_after_us: u64,
    /// A checkpoint is taken after this much of WAL.
    pub checkpoint_wal_bytes: u64,
    /// A checkpoint is taken after this long, if anything was appended.
    pub checkpoint_interval_us: u64,
    /// A segment is written when this much of whole blocks is pending.
    pub segment_chunk_bytes: u32,
    /// Appends of at least this size bypass the WAL; `u32::MAX` switches the bypass off.
    pub bypass_bytes_min: u32,
    /// Segment writes in flight at the same time.
    pub segment_writes_max: u32,
    /// Bytes not yet in segments above which `pressure().over` is set and flushes begin at once.
    pub dirty_bytes_max: u64,
    /// Flushed batches kept in memory for readers that are close behind.
    pub tail_cache_bytes: u64,
    /// In-memory index entries of sealed segments kept across the store.
    pub index_entries_max: u32,
    /// How often old segments are looked for.
    pub retention_check_interval_us: u64,
    /// An idempotent producer silent for this long is forgotten (`producer.id.expiration.ms`).
    pub producer_id_expiration_ms: i64,
    /// A fault that tests switch on to see that their checkers find it.
    #[cfg(feature = "mutations")]
    pub mutation: Option<Mutation>,
}

impl Default for StoreConfig {
    fn default() -> Self {
        StoreConfig {
            wal_first_file_bytes: 4 << 20,
            wal_file_bytes: 64 << 20,
            wal_block_bytes: 1 << 20,
            wal_bytes_max: 1 << 30,
            wal_vouch_after_us: 20_000,
            checkpoint_wal_bytes: 128 << 20,
            checkpoint_interval_us: 60_000_000,
            segment_chunk_bytes: 256 << 10,
            bypass_bytes_min: 128 << 10,
            segment_writes_max: 16,
            dirty_bytes_max: 256 << 20,
            tail_cache_bytes: 64 << 20,
            index_entries_max: 1 << 20,
            retention_check_interval_us: 300_000_000,
            producer_id_expiration_ms: 24 * 3600 * 1000,
            #[cfg(feature = "mutations")]
            mutation: None,
        }
    }
}

/// Faults that a test switches on to prove that a checker finds them. Present only with feature `mutations`.
#[cfg(feature = "mutations")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Appends count as durable when their block is issued.
    AckBeforeDurable,
    /// WAL blocks are written but never flushed.
    SkipFlush,
    /// Recovery takes every bad block for a torn tail.
    IgnoreDurableLsn,
    /// The first blocks go behind the last block of the incarnation before.
    WriteOldIncarnationWal,
    /// Checkpoints leave out the bytes that are not yet in a segment.
    DropTailImage,
    /// Reads ignore the limit that the caller gives.
    ServeAboveDurable,
}

/// Whether a [`Mutation`] is on; false at compile time without the feature.
macro_rules! mutated {
    ($config:expr, $name:ident) => {{
        #[cfg(feature = "mutations")]
        let on = $config.mutation == Some(crate::config::Mutation::$name);
        #[cfg(not(feature = "mutations"))]
        let on = false;
        on
    }};
}
pub(crate) use mutated;
