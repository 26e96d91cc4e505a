//! What a run is asked to do: everything that shapes the load, and nothing about where it goes or how it is shown.
//!
//! Every field has a default, so a file needs to name only what it changes.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The fewest bytes of a record's value: its sequence number, intended time and CRC stand at its head.
pub const RECORD_BYTES_MIN: usize = 28;
/// The most bytes of a record's value.
pub const RECORD_BYTES_MAX: usize = 64 << 20;
/// The most virtual producers or consumers of a run.
pub const CLIENTS_MAX: usize = 100_000;
/// The most partitions of a run, all topics together.
pub const PARTITIONS_MAX: usize = 1_000_000;

/// The load of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Workload {
    /// A name for people.
    pub name: String,
    /// The topics that are written and read.
    pub topics: Topics,
    /// Virtual producers, each with connections, batches and (if idempotent) a producer id of its own. Dealt out to the
    /// topics in turn; with fewer producers than topics a producer writes to several.
    pub producers: usize,
    /// Who reads.
    pub consumers: Consumers,
    /// Records per second, all producers together.
    pub rate: f64,
    /// When they are due.
    pub arrival: Arrival,
    /// Bytes of a record's value.
    pub record_bytes: SizeDistribution,
    /// What the values are made of.
    pub payload: Payload,
    /// What the keys are.
    pub keys: Keys,
    /// How records become batches and requests.
    pub batching: Batching,
    /// Which acknowledgement a produce waits for.
    pub acks: Acks,
    /// Whether producers are idempotent: they have a producer id, and a retry is stored once.
    pub idempotence: bool,
    /// How batches are compressed.
    pub codec: Codec,
    /// What happens to records that are due while `batching.buffer_bytes` are waiting.
    pub queue: QueuePolicy,
    /// A record that is not acknowledged so long after its intended time has an infinite latency.
    pub deadline_ms: u64,
    /// What comes before the measurement.
    pub warm_up: WarmUp,
    /// Seconds of measurement.
    pub duration_s: f64,
    /// Seconds of one interval of the result. It doubles when a run is longer than
    /// [`INTERVALS_MAX`](crate::outcome::INTERVALS_MAX) of them.
    pub interval_s: f64,
    /// Seed of schedule, sizes, keys and payload: the same seed is the same load.
    pub seed: u64,
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            name: String::from("run"),
            topics: Topics::default(),
            producers: 1,
            consumers: Consumers::default(),
            rate: 1000.0,
            arrival: Arrival::Uniform,
            record_bytes: SizeDistribution::Fixed { bytes: 1024 },
            payload: Payload::default(),
            keys: Keys::None,
            batching: Batching::default(),
            acks: Acks::All,
            idempotence: false,
            codec: Codec::None,
            queue: QueuePolicy::Unbounded,
            deadline_ms: 30_000,
            warm_up: WarmUp::default(),
            duration_s: 30.0,
            interval_s: 1.0,
            seed: 1,
        }
    }
}

/// The topics of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Topics {
    /// The name, or with several topics what comes before `-0`, `-1`, ….
    pub name: String,
    /// How many.
    pub count: usize,
    /// Partitions of each.
    pub partitions: i32,
    /// Replicas of each partition; -1 for the broker's default.
    pub replication_factor: i16,
    /// Configs that they are created with, such as `flush.messages`.
    pub configs: BTreeMap<String, String>,
    /// What to do where a topic exists or does not.
    pub create: Create,
}

impl Default for Topics {
    fn default() -> Self {
        Self {
            name: String::from("monedula-bench"),
            count: 1,
            partitions: 1,
            replication_factor: -1,
            configs: BTreeMap::new(),
            create: Create::IfMissing,
        }
    }
}

impl Topics {
    /// The name of the topic with this index.
    pub fn topic_name(&self, index: usize) -> String {
        match self.count {
            1 => self.name.clone(),
            _ => format!("{}-{index}", self.name),
        }
    }
}

/// How topics come to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Create {
    /// Created where they are missing; those that exist must have the partitions that are asked for.
    IfMissing,
    /// Deleted and created.
    Recreate,
    /// Used as they are; their partitions count, not those that are asked for.
    Never,
}

/// Who reads, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Consumers {
    /// How partitions come to consumers.
    pub mode: ConsumerMode,
    /// How often everything is read: consumer groups, or with direct assignment as many independent sets of consumers.
    pub subscriptions: usize,
    /// Consumers of each subscription; in it every partition of every topic has one of them.
    pub per_subscription: usize,
    /// The prefix of the groups' names.
    pub group: String,
    /// How long a fetch may wait for bytes.
    pub fetch_max_wait_ms: i32,
    /// Bytes that end the waiting.
    pub fetch_min_bytes: i32,
    /// Bytes of a fetch response, about.
    pub fetch_max_bytes: i32,
    /// Bytes of a partition in a fetch response, about.
    pub partition_max_bytes: i32,
    /// Milliseconds between offset commits; 0 for none. Only in groups.
    pub commit_interval_ms: u64,
    /// `session.timeout.ms` of group members.
    pub session_timeout_ms: i32,
}

impl Default for Consumers {
    fn default() -> Self {
        Self {
            mode: ConsumerMode::Assign,
            subscriptions: 1,
            per_subscription: 1,
            group: String::from("monedula-bench"),
            fetch_max_wait_ms: 500,
            fetch_min_bytes: 1,
            fetch_max_bytes: 50 << 20,
            partition_max_bytes: 1 << 20,
            commit_interval_ms: 5000,
            session_timeout_ms: 45_000,
        }
    }
}

/// How partitions come to consumers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConsumerMode {
    /// Nobody reads.
    None,
    /// They are dealt out by us.
    Assign,
    /// They are dealt out by a classic consumer group.
    Group,
}

/// When records are due.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Arrival {
    /// At equal distances.
    Uniform,
    /// As from many who do not know each other: exponential distances.
    Poisson,
    /// Poisson at a higher rate for `on_ms`, nothing for `off_ms`; the mean is the rate that is asked for.
    Bursty {
        /// Length of a burst.
        on_ms: u64,
        /// Length of a pause.
        off_ms: u64,
    },
    /// These distances over and over, scaled so that the mean is the rate that is asked for.
    Trace {
        /// Distances, in any unit.
        gaps: Vec<f64>,
    },
    /// No schedule: so many records are on their way, all producers together, and the next one is due the moment that an
    /// earlier one is answered. It finds what a broker does at most; its latencies are those of a load that waits for the
    /// broker, and the rate that is asked for does not count.
    Closed {
        /// Records on their way.
        records: u64,
    },
}

impl Arrival {
    /// Whether the load waits for the broker.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed { .. })
    }
}

/// How long values are. No value is shorter than [`RECORD_BYTES_MIN`] or longer than [`RECORD_BYTES_MAX`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum SizeDistribution {
    /// All the same.
    Fixed {
        /// Bytes.
        bytes: usize,
    },
    /// Equally likely between two lengths.
    Uniform {
        /// The shortest.
        min_bytes: usize,
        /// The longest.
        max_bytes: usize,
    },
    /// Log-normal, as real messages tend to be.
    LogNormal {
        /// Half are shorter.
        median_bytes: usize,
        /// Standard deviation of the logarithm.
        sigma: f64,
        /// Longer ones are cut to this.
        max_bytes: usize,
    },
    /// One of these, each as likely as it is frequent in the list.
    Trace {
        /// Lengths.
        bytes: Vec<usize>,
    },
}

impl SizeDistribution {
    /// The mean, in bytes, about.
    pub fn mean_bytes(&self) -> f64 {
        match self {
            Self::Fixed { bytes } => *bytes as f64,
            Self::Uniform { min_bytes, max_bytes } => (min_bytes + max_bytes) as f64 / 2.0,
            Self::LogNormal { median_bytes, sigma, max_bytes } => {
                (*median_bytes as f64 * (sigma * sigma / 2.0).exp()).min(*max_bytes as f64)
            }
            Self::Trace { bytes } => bytes.iter().sum::<usize>() as f64 / bytes.len().max(1) as f64,
        }
    }

    fn bounds(&self) -> (usize, usize) {
        match self {
            Self::Fixed { bytes } => (*bytes, *bytes),
            Self::Uniform { min_bytes, max_bytes } => (*min_bytes, *max_bytes),
            Self::LogNormal { max_bytes, .. } => (RECORD_BYTES_MIN, *max_bytes),
            Self::Trace { bytes } => {
                (bytes.iter().copied().min().unwrap_or(0), bytes.iter().copied().max().unwrap_or(0))
            }
        }
    }
}

/// What values are made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Payload {
    /// The share of random bytes, 0 to 1; the rest are zeros, in runs. 1 cannot be compressed.
    pub random_share: f64,
    /// Bytes that values are cut from.
    pub pool_bytes: usize,
}

impl Default for Payload {
    fn default() -> Self {
        Self { random_share: 1.0, pool_bytes: 4 << 20 }
    }
}

/// What keys are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Keys {
    /// There are none; a partition is kept for a whole batch, as clients do.
    None,
    /// So many keys in turn.
    RoundRobin {
        /// Keys.
        count: u64,
    },
    /// So many keys, the k-th most frequent one as likely as 1/k^theta.
    Zipf {
        /// Keys.
        count: u64,
        /// How skewed; 0 is not at all, YCSB has 0.99.
        theta: f64,
    },
}

/// How records become batches and requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Batching {
    /// What it was taken from, for people.
    pub preset: String,
    /// How long a batch waits for company.
    pub linger_ms: f64,
    /// Bytes that fill a batch.
    pub batch_bytes: usize,
    /// Records that fill a batch.
    pub batch_records: usize,
    /// Bytes of a request at most.
    pub request_bytes: usize,
    /// Whether a request carries batches of several partitions (the Java client) or of one (librdkafka).
    pub many_partitions: bool,
    /// Requests of a connection that may wait for their response.
    pub max_in_flight: usize,
    /// Bytes that may wait in all producers of a worker; see [`QueuePolicy`].
    pub buffer_bytes: usize,
    /// How a record without a key finds its partition.
    pub partitioner: Partitioner,
}

impl Default for Batching {
    fn default() -> Self {
        Self::java()
    }
}

impl Batching {
    /// The presets by name.
    pub const PRESETS: [&'static str; 3] = ["java-4.x", "librdkafka", "none"];

    /// As the Java client since 4.0: linger.ms 5, batch.size 16 KiB, five requests in flight.
    pub fn java() -> Self {
        Self {
            preset: String::from("java-4.x"),
            linger_ms: 5.0,
            batch_bytes: 16 << 10,
            batch_records: 1_000_000,
            request_bytes: 1 << 20,
            many_partitions: true,
            max_in_flight: 5,
            buffer_bytes: 1 << 30,
            partitioner: Partitioner::StickyBytes,
        }
    }

    /// As librdkafka: linger.ms 5, batch.size 1 MB, 10,000 messages, a request for each partition.
    pub fn librdkafka() -> Self {
        Self {
            preset: String::from("librdkafka"),
            linger_ms: 5.0,
            batch_bytes: 1_000_000,
            batch_records: 10_000,
            request_bytes: 1_000_000,
            many_partitions: false,
            max_in_flight: 1_000_000,
            buffer_bytes: 1 << 30,
            partitioner: Partitioner::StickyTime,
        }
    }

    /// Every record is a request of its own, sent at once.
    pub fn none() -> Self {
        Self {
            preset: String::from("none"),
            linger_ms: 0.0,
            batch_bytes: 1 << 20,
            batch_records: 1,
            request_bytes: 1 << 20,
            many_partitions: false,
            max_in_flight: 100_000,
            buffer_bytes: 1 << 30,
            partitioner: Partitioner::RoundRobin,
        }
    }

    /// The preset of this name.
    pub fn preset(name: &str) -> Option<Self> {
        match name {
            "java-4.x" => Some(Self::java()),
            "librdkafka" => Some(Self::librdkafka()),
            "none" => Some(Self::none()),
            _ => None,
        }
    }
}

/// How a record without a key finds its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Partitioner {
    /// A random partition for every `batch_bytes` (KIP-794).
    StickyBytes,
    /// A random partition for every 10 ms (`sticky.partitioning.linger.ms`).
    StickyTime,
    /// The next partition for every record.
    RoundRobin,
}

/// Which acknowledgement a produce waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Acks {
    /// None: a record counts as acknowledged when it is written to the socket.
    None,
    /// The leader's.
    Leader,
    /// That of all in-sync replicas.
    All,
}

impl Acks {
    /// The number on the wire.
    pub fn number(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Leader => 1,
            Self::All => -1,
        }
    }
}

/// How batches are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Codec {
    /// They are not.
    None,
    /// gzip, level 6 as Java's default.
    Gzip,
    /// Snappy in the framing that Java's clients write.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// Zstandard, level 3.
    Zstd,
}

/// What happens to records that are due while the buffer is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QueuePolicy {
    /// The buffer is meant never to fill. Where it does all the same, records are dropped and the run is invalid.
    Unbounded,
    /// They are dropped and counted; their latency is infinite.
    Drop,
    /// They wait, as in a client whose `send` blocks, and are counted. Their latency still counts from the intended time.
    Block,
}

/// What comes before the measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WarmUp {
    /// At least so many seconds.
    pub min_s: f64,
    /// Whether to go on until the p99 of three intervals in a row is within `stable_within` of their mean.
    pub until_stable: bool,
    /// What counts as stable, as a share.
    pub stable_within: f64,
    /// At most so many seconds.
    pub max_s: f64,
}

impl Default for WarmUp {
    fn default() -> Self {
        Self { min_s: 5.0, until_stable: false, stable_within: 0.1, max_s: 1800.0 }
    }
}

/// Why a workload cannot be run. The message says what to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidWorkload(pub String);

impl fmt::Display for InvalidWorkload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidWorkload {}

impl Workload {
    /// Whether it can be run.
    pub fn check(&self) -> Result<(), InvalidWorkload> {
        let (shortest, longest) = self.record_bytes.bounds();
        let partitions = self.topics.count.saturating_mul(self.topics.partitions.max(0) as usize);
        let rules = [
            (self.topics.count > 0, "topics.count must be at least 1".to_owned()),
            (self.topics.partitions > 0, "topics.partitions must be at least 1".to_owned()),
            (
                partitions <= PARTITIONS_MAX,
                format!("{partitions} partitions are more than the {PARTITIONS_MAX} that a run can have"),
            ),
            (self.producers <= CLIENTS_MAX, format!("producers must be at most {CLIENTS_MAX}")),
            (
                self.consumers.subscriptions.saturating_mul(self.consumers.per_subscription) <= CLIENTS_MAX,
                format!("subscriptions × consumers of each must be at most {CLIENTS_MAX}"),
            ),
            (
                self.consumers.mode == ConsumerMode::None
                    || (self.consumers.subscriptions > 0 && self.consumers.per_subscription > 0),
                "consumers.subscriptions and per_subscription must be at least 1 (or mode `none`)".to_owned(),
            ),
            (
                self.producers > 0 || self.consumers.mode != ConsumerMode::None,
                "there must be a producer or a consumer".to_owned(),
            ),
            (
                self.rate.is_finite() && self.rate > 0.0 && self.rate <= 1e8,
                format!("rate must be above 0 and at most 100,000,000 records/s, not {}", self.rate),
            ),
            (
                shortest >= RECORD_BYTES_MIN,
                format!(
                    "record_bytes must be at least {RECORD_BYTES_MIN}: sequence number, intended time and CRC stand in the value"
                ),
            ),
            (longest <= RECORD_BYTES_MAX, format!("record_bytes must be at most {RECORD_BYTES_MAX}")),
            (shortest <= longest, "record_bytes: the shortest is longer than the longest".to_owned()),
            (
                (0.0..=1.0).contains(&self.payload.random_share),
                "payload.random_share must be from 0 to 1".to_owned(),
            ),
            (
                !matches!(self.keys, Keys::RoundRobin { count: 0 } | Keys::Zipf { count: 0, .. }),
                "keys.count must be at least 1".to_owned(),
            ),
            (
                !matches!(self.keys, Keys::Zipf { theta, .. } if !(theta >= 0.0 && theta.is_finite())),
                "keys.theta must not be negative".to_owned(),
            ),
            (
                !matches!(self.arrival, Arrival::Bursty { on_ms: 0, .. }),
                "arrival.on_ms must be at least 1".to_owned(),
            ),
            (
                !matches!(&self.arrival, Arrival::Trace { gaps } if !(gaps.iter().all(|gap| *gap >= 0.0) && gaps.iter().sum::<f64>() > 0.0)),
                "arrival.gaps must be numbers of which none is negative and one is above 0".to_owned(),
            ),
            (
                !matches!(self.arrival, Arrival::Closed { records: 0 }),
                "arrival.records must be at least 1: the records on their way".to_owned(),
            ),
            (
                !(self.idempotence && self.acks != Acks::All),
                "idempotence needs acks all, as with every Kafka client".to_owned(),
            ),
            (self.batching.max_in_flight > 0, "batching.max_in_flight must be at least 1".to_owned()),
            (self.batching.batch_records > 0, "batching.batch_records must be at least 1".to_owned()),
            (
                self.batching.linger_ms >= 0.0 && self.batching.linger_ms.is_finite(),
                "batching.linger_ms must not be negative".to_owned(),
            ),
            (
                self.duration_s.is_finite() && self.duration_s > 0.0,
                format!("duration_s must be above 0, not {}", self.duration_s),
            ),
            (
                self.interval_s.is_finite() && self.interval_s >= 0.01,
                "interval_s must be at least 0.01".to_owned(),
            ),
            (
                self.warm_up.min_s >= 0.0 && self.warm_up.max_s >= self.warm_up.min_s,
                "warm_up.max_s must not be below warm_up.min_s".to_owned(),
            ),
            (self.deadline_ms > 0, "deadline_ms must be at least 1".to_owned()),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, message)) => Err(InvalidWorkload(message)),
            None => Ok(()),
        }
    }

    /// Records that the measurement intends to send.
    pub fn records_intended(&self) -> f64 {
        self.rate * self.duration_s
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Workload)) -> String {
        let mut workload = Workload::default();
        change(&mut workload);
        workload.check().expect_err("it cannot be run").to_string()
    }

    #[test]
    fn the_default_can_be_run() {
        assert_eq!(Workload::default().check(), Ok(()));
    }

    #[test]
    fn what_cannot_be_run_names_its_remedy() {
        assert!(refused(|w| w.record_bytes = SizeDistribution::Fixed { bytes: 10 }).contains("at least 28"));
        assert!(refused(|w| w.rate = 0.0).contains("rate must be above 0"));
        assert!(refused(|w| (w.idempotence, w.acks) = (true, Acks::Leader)).contains("acks all"));
        assert!(refused(|w| w.arrival = Arrival::Trace { gaps: vec![] }).contains("gaps"));
        assert!(refused(|w| w.arrival = Arrival::Closed { records: 0 }).contains("arrival.records"));
        assert!(refused(|w| w.topics.count = 0).contains("topics.count"));
    }

    #[test]
    fn a_file_names_what_it_changes() {
        let text = r#"{"rate": 5000, "keys": {"kind": "zipf", "count": 1000, "theta": 0.99}, "batching": {"linger_ms": 1}}"#;
        let workload: Workload = serde_json::from_str(text).unwrap();
        assert_eq!(workload.rate, 5000.0);
        assert_eq!(workload.keys, Keys::Zipf { count: 1000, theta: 0.99 });
        assert_eq!(workload.batching, Batching { linger_ms: 1.0, ..Batching::java() });
        let again: Workload = serde_json::from_str(&serde_json::to_string(&workload).unwrap()).unwrap();
        assert_eq!(again, workload);
        assert!(serde_json::from_str::<Workload>(r#"{"raet": 1}"#).is_err());
    }
}
