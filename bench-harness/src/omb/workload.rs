//! A workload file.

use serde::Deserialize;

use super::yaml;

/// The fields of OMB's `Workload.java`, with its defaults.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OmbWorkload {
    /// For people.
    pub name: String,
    /// Topics.
    pub topics: usize,
    /// Partitions of each.
    pub partitions_per_topic: i32,
    /// How keys are chosen.
    #[serde(default)]
    pub key_distributor: KeyDistributor,
    /// Bytes of a value.
    pub message_size: usize,
    /// Values from a pool of random ones instead of one from a file.
    #[serde(default)]
    pub use_randomized_payloads: bool,
    /// The share of random bytes in them.
    #[serde(default)]
    pub random_bytes_ratio: f64,
    /// How many there are.
    #[serde(default)]
    pub randomized_payload_pool_size: usize,
    /// The file of the one value.
    #[serde(default)]
    pub payload_file: Option<String>,
    /// Subscriptions of each topic.
    pub subscriptions_per_topic: usize,
    /// Producers of each topic.
    pub producers_per_topic: usize,
    /// Consumers of each subscription.
    pub consumer_per_subscription: usize,
    /// Records per second, all topics together; 0 to search the highest.
    pub producer_rate: u64,
    /// Consumers begin when so much is stored.
    #[serde(default, rename = "consumerBacklogSizeGB")]
    pub consumer_backlog_size_gb: f64,
    /// The share of the backlog that must be drained.
    #[serde(default = "whole")]
    pub backlog_drain_ratio: f64,
    /// Length of the measurement.
    pub test_duration_minutes: f64,
    /// What comes before it.
    #[serde(default = "one")]
    pub warmup_duration_minutes: f64,
}

/// OMB's ways to choose a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum KeyDistributor {
    /// None.
    #[default]
    NoKey,
    /// Its 10,000 keys in turn.
    KeyRoundRobin,
    /// One of them by the clock's nanoseconds.
    RandomNano,
}

fn whole() -> f64 {
    1.0
}

fn one() -> f64 {
    1.0
}

impl OmbWorkload {
    /// Reads a file's text.
    pub fn parse(text: &str) -> Result<Self, String> {
        yaml::read(text)
    }
}
