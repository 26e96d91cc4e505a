//! The APIs that are served, at which versions, and what ApiVersions says about them.

use std::fmt;

/// An inclusive range of versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionRange {
    /// The lowest version.
    pub min: i16,
    /// The highest version.
    pub max: i16,
}

impl VersionRange {
    /// Whether `version` is in the range.
    pub fn contains(self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}–{}", self.min, self.max)
    }
}

macro_rules! api_keys {
    ($($name:ident = $key:literal serves $min:literal ..= $max:literal $(flexible $flexible:literal ..)?;)+) => {
        /// An API, by Kafka's name and key.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum ApiKey {
            $(#[doc = concat!("Key ", stringify!($key), ".")] $name = $key,)+
        }

        impl ApiKey {
            /// Every API that is served, by ascending key.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The API with this key, if it is served.
            pub fn from_key(key: i16) -> Option<Self> {
                match key {
                    $($key => Some(Self::$name),)+
                    _ => None,
                }
            }

            /// The name, as Kafka spells it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }

            /// The versions that are served.
            pub const fn served(self) -> VersionRange {
                match self {
                    $(Self::$name => VersionRange { min: $min, max: $max },)+
                }
            }

            /// The first flexible version (KIP-482), `i16::MAX` for none.
            pub const fn flexible_since(self) -> i16 {
                match self {
                    $(Self::$name => flexible_since!($($flexible)?),)+
                }
            }
        }
    };
}

macro_rules! flexible_since {
    () => {
        i16::MAX
    };
    ($flexible:literal) => {
        $flexible
    };
}

api_keys! {
    Produce = 0 serves 3..=11 flexible 9..;
    Fetch = 1 serves 4..=12 flexible 12..;
    ListOffsets = 2 serves 1..=7 flexible 6..;
    Metadata = 3 serves 0..=12 flexible 9..;
    OffsetCommit = 8 serves 2..=9 flexible 8..;
    OffsetFetch = 9 serves 1..=9 flexible 6..;
    FindCoordinator = 10 serves 0..=6 flexible 3..;
    JoinGroup = 11 serves 0..=9 flexible 6..;
    Heartbeat = 12 serves 0..=4 flexible 4..;
    LeaveGroup = 13 serves 0..=5 flexible 4..;
    SyncGroup = 14 serves 0..=5 flexible 4..;
    DescribeGroups = 15 serves 0..=6 flexible 5..;
    ListGroups = 16 serves 0..=5 flexible 3..;
    ApiVersions = 18 serves 0..=4 flexible 3..;
    CreateTopics = 19 serves 2..=7 flexible 5..;
    DeleteTopics = 20 serves 1..=6 flexible 4..;
    DeleteRecords = 21 serves 0..=2 flexible 2..;
    InitProducerId = 22 serves 0..=5 flexible 2..;
    OffsetForLeaderEpoch = 23 serves 2..=4 flexible 4..;
    DescribeConfigs = 32 serves 1..=4 flexible 4..;
    AlterConfigs = 33 serves 0..=2 flexible 2..;
    DescribeLogDirs = 35 serves 1..=4 flexible 2..;
    CreatePartitions = 37 serves 0..=3 flexible 2..;
    DeleteGroups = 42 serves 0..=2 flexible 2..;
    IncrementalAlterConfigs = 44 serves 0..=1 flexible 1..;
    OffsetDelete = 47 serves 0..=0;
    DescribeCluster = 60 serves 0..=2 flexible 0..;
    DescribeProducers = 61 serves 0..=0 flexible 0..;
    DescribeTopicPartitions = 75 serves 0..=0 flexible 0..;
}

impl ApiKey {
    /// The number on the wire.
    pub fn key(self) -> i16 {
        self as i16
    }

    /// The versions that ApiVersions announces. librdkafka before 2.11.1 takes gzip, snappy and lz4 for absent
    /// unless Produce 0 is in the range; nobody sends it.
    pub const fn advertised(self) -> VersionRange {
        match self {
            Self::Produce => VersionRange { min: 0, max: self.served().max },
            _ => self.served(),
        }
    }

    /// Whether requests and responses of this version are flexible.
    pub const fn is_flexible(self, version: i16) -> bool {
        version >= self.flexible_since()
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
