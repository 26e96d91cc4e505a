//! The ids and numbers of the log, each a type of its own, so that an offset is never a position.
//! Nothing here knows about bytes or files.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// The place of a record in a partition's log.
    Offset(i64)
}
number! {
    /// The term of a partition's leader.
    LeaderEpoch(i32)
}
number! {
    /// The id of an idempotent producer; −1 means none.
    ProducerId(i64)
}
number! {
    /// The number of a WAL block within one shard and one incarnation; the first block is 1.
    Lsn(u64)
}
number! {
    /// Dense index of a partition within its shard's store.
    Slot(u32)
}

impl Offset {
    /// The offset of the next record.
    #[must_use]
    pub fn next(self) -> Offset {
        Offset(self.0 + 1)
    }
}

impl Lsn {
    /// The LSN of the next block.
    #[must_use]
    pub fn next(self) -> Lsn {
        Lsn(self.0 + 1)
    }
}

impl Slot {
    /// The slot as an index into a vector.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The unique id of a topic. A topic that is deleted and created again has another id.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub [u8; 16]);

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicId({self})")
    }
}

/// Names a partition for as long as it exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionKey {
    /// The topic.
    pub topic_id: TopicId,
    /// The number of the partition within the topic.
    pub partition: i32,
}

impl fmt::Display for PartitionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic_id, self.partition)
    }
}

/// The time of one turn. Cores read no clock: time is always an argument.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Microseconds on a clock that never goes back.
    pub monotonic_us: u64,
    /// Milliseconds since 1970, as records carry them.
    pub wall_ms: i64,
}
