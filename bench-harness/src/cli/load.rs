//! The options that describe a load, and the workload that they make.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::workload::{
    Acks, Arrival, Batching, Codec, ConsumerMode, Create, InvalidWorkload, Keys, QueuePolicy,
    SizeDistribution, Workload,
};

/// What the load is. Without any of these it is the default workload, or that of a file.
#[derive(Debug, Args)]
#[command(next_help_heading = "Load")]
pub struct LoadOptions {
    /// A workload as JSON (`monedula-bench workload` prints one); the other options change it
    #[arg(long, value_name = "FILE")]
    workload: Option<PathBuf>,
    /// Records per second, all producers together
    #[arg(long, value_name = "R")]
    rate: Option<f64>,
    /// Seconds of measurement
    #[arg(long, value_name = "S")]
    seconds: Option<f64>,
    /// Seconds of load before it
    #[arg(long, value_name = "S")]
    warm_up: Option<f64>,
    /// Go on warming up until the p99 stays within 10 %, at most so many seconds (a JVM wants 60, big disks 1800)
    #[arg(long, value_name = "MAX_S")]
    until_stable: Option<f64>,
    /// When records are due: `uniform`, `poisson`, `bursty:ON_MS:OFF_MS`, or `closed:RECORDS` for as fast as the broker
    /// answers with so many records on their way
    #[arg(long, value_parser = arrival)]
    arrival: Option<Arrival>,
    /// Bytes of a value: `100`, `uniform:MIN:MAX`, or `lognormal:MEDIAN:SIGMA:MAX`
    #[arg(long, value_parser = size)]
    size: Option<SizeDistribution>,
    /// The share of random bytes in values, 0 to 1: 1 cannot be compressed
    #[arg(long, value_name = "SHARE")]
    random: Option<f64>,
    /// Keys: `none`, `round-robin:COUNT`, or `zipf:COUNT:THETA`
    #[arg(long, value_parser = keys)]
    keys: Option<Keys>,
    /// Virtual producers
    #[arg(long, value_name = "N")]
    producers: Option<usize>,
    /// Consumers of each subscription; 0 for none
    #[arg(long, value_name = "N")]
    consumers: Option<usize>,
    /// How often everything is read
    #[arg(long, value_name = "N")]
    subscriptions: Option<usize>,
    /// Read in consumer groups whose names begin so; without it partitions are dealt out directly
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Milliseconds that a fetch waits for records
    #[arg(long, value_name = "MS")]
    fetch_wait: Option<i32>,
    /// The topic, or what several begin with
    #[arg(long, value_name = "NAME")]
    topic: Option<String>,
    /// How many topics
    #[arg(long, value_name = "N")]
    topics: Option<usize>,
    /// Partitions of each topic
    #[arg(long, value_name = "N")]
    partitions: Option<i32>,
    /// Replicas of each partition; the broker's default without it
    #[arg(long, value_name = "N")]
    replication: Option<i16>,
    /// A config to create topics with, as often as wanted
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    topic_config: Vec<(String, String)>,
    /// What to do where a topic exists or does not
    #[arg(long)]
    create: Option<CreateName>,
    /// Batching as this client does it
    #[arg(long, value_parser = Batching::PRESETS)]
    batching: Option<String>,
    /// Milliseconds that a batch waits for company
    #[arg(long, value_name = "MS")]
    linger: Option<f64>,
    /// Bytes that fill a batch
    #[arg(long, value_name = "BYTES")]
    batch_bytes: Option<usize>,
    /// Records that fill a batch
    #[arg(long, value_name = "N")]
    batch_records: Option<usize>,
    /// Requests in flight on a connection
    #[arg(long, value_name = "N")]
    max_in_flight: Option<usize>,
    /// Bytes that may wait in a worker's producers; see --queue
    #[arg(long, value_name = "BYTES")]
    buffer_bytes: Option<usize>,
    /// What a full buffer does to records that are due
    #[arg(long)]
    queue: Option<QueueName>,
    /// The acknowledgement to wait for
    #[arg(long)]
    acks: Option<AcksName>,
    /// Idempotent producers
    #[arg(long)]
    idempotence: bool,
    /// Compression
    #[arg(long)]
    codec: Option<CodecName>,
    /// A record not acknowledged so long after its intended time has an infinite latency
    #[arg(long, value_name = "MS")]
    deadline: Option<u64>,
    /// The same seed is the same load
    #[arg(long)]
    seed: Option<u64>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum CreateName {
    /// Create what is missing
    IfMissing,
    /// Delete and create
    Recreate,
    /// Take them as they are
    Never,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum QueueName {
    /// It must not happen: drop, and the run is invalid
    Unbounded,
    /// Drop and count
    Drop,
    /// Wait and count
    Block,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum AcksName {
    /// None
    #[value(name = "0")]
    None,
    /// The leader's
    #[value(name = "1")]
    Leader,
    /// All in-sync replicas'
    All,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum CodecName {
    /// As they are
    None,
    /// gzip, level 6
    Gzip,
    /// Snappy
    Snappy,
    /// LZ4
    Lz4,
    /// Zstandard, level 3
    Zstd,
}

/// Why options make no workload.
pub type LoadError = Box<dyn std::error::Error>;

impl LoadOptions {
    /// The workload that the options make.
    pub fn workload(&self) -> Result<Workload, LoadError> {
        let workload = match &self.workload {
            Some(path) => read_workload(path)?,
            None => Workload::default(),
        };
        let workload = self.change(workload);
        workload.check().map_err(|InvalidWorkload(message)| message)?;
        Ok(workload)
    }

    /// A workload, changed by the options that were given.
    pub fn change(&self, mut workload: Workload) -> Workload {
        fn set<T: Clone>(to: &mut T, from: &Option<T>) {
            if let Some(value) = from {
                *to = value.clone();
            }
        }
        if let Some(preset) = self.batching.as_deref().and_then(Batching::preset) {
            workload.batching = preset;
        }
        set(&mut workload.rate, &self.rate);
        set(&mut workload.duration_s, &self.seconds);
        set(&mut workload.warm_up.min_s, &self.warm_up);
        if let Some(max_s) = self.until_stable {
            workload.warm_up.until_stable = true;
            workload.warm_up.max_s = max_s;
        }
        workload.warm_up.max_s = workload.warm_up.max_s.max(workload.warm_up.min_s);
        set(&mut workload.arrival, &self.arrival);
        set(&mut workload.record_bytes, &self.size);
        set(&mut workload.payload.random_share, &self.random);
        set(&mut workload.keys, &self.keys);
        set(&mut workload.producers, &self.producers);
        set(&mut workload.consumers.per_subscription, &self.consumers);
        set(&mut workload.consumers.subscriptions, &self.subscriptions);
        if let Some(group) = &self.group {
            workload.consumers.mode = ConsumerMode::Group;
            workload.consumers.group.clone_from(group);
        }
        if self.consumers == Some(0) {
            workload.consumers.mode = ConsumerMode::None;
        }
        set(&mut workload.consumers.fetch_max_wait_ms, &self.fetch_wait);
        set(&mut workload.topics.name, &self.topic);
        set(&mut workload.topics.count, &self.topics);
        set(&mut workload.topics.partitions, &self.partitions);
        set(&mut workload.topics.replication_factor, &self.replication);
        workload.topics.configs.extend(self.topic_config.iter().cloned().collect::<BTreeMap<_, _>>());
        set(&mut workload.batching.linger_ms, &self.linger);
        set(&mut workload.batching.batch_bytes, &self.batch_bytes);
        set(&mut workload.batching.batch_records, &self.batch_records);
        set(&mut workload.batching.max_in_flight, &self.max_in_flight);
        set(&mut workload.batching.buffer_bytes, &self.buffer_bytes);
        set(&mut workload.deadline_ms, &self.deadline);
        set(&mut workload.seed, &self.seed);
        workload.idempotence |= self.idempotence;
        if let Some(create) = self.create {
            workload.topics.create = match create {
                CreateName::IfMissing => Create::IfMissing,
                CreateName::Recreate => Create::Recreate,
                CreateName::Never => Create::Never,
            };
        }
        if let Some(queue) = self.queue {
            workload.queue = match queue {
                QueueName::Unbounded => QueuePolicy::Unbounded,
                QueueName::Drop => QueuePolicy::Drop,
                QueueName::Block => QueuePolicy::Block,
            };
        }
        if let Some(acks) = self.acks {
            workload.acks = match acks {
                AcksName::None => Acks::None,
                AcksName::Leader => Acks::Leader,
                AcksName::All => Acks::All,
            };
        }
        if let Some(codec) = self.codec {
            workload.codec = match codec {
                CodecName::None => Codec::None,
                CodecName::Gzip => Codec::Gzip,
                CodecName::Snappy => Codec::Snappy,
                CodecName::Lz4 => Codec::Lz4,
                CodecName::Zstd => Codec::Zstd,
            };
        }
        workload
    }
}

#[allow(clippy::disallowed_methods, reason = "the command line reads the file that it is told to")]
fn read_workload(path: &PathBuf) -> Result<Workload, LoadError> {
    let text = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// `name:number:number…`
fn parts<const N: usize>(text: &str, name: &str) -> Option<Result<[f64; N], String>> {
    let mut words = text.split(':');
    if words.next() != Some(name) {
        return None;
    }
    let numbers: Result<Vec<f64>, _> = words.map(str::parse).collect();
    let fault = || format!("{name} wants {N} numbers behind it, with colons between");
    Some(numbers.ok().and_then(|numbers| numbers.try_into().ok()).ok_or_else(fault))
}

fn arrival(text: &str) -> Result<Arrival, String> {
    match text {
        "uniform" => Ok(Arrival::Uniform),
        "poisson" => Ok(Arrival::Poisson),
        _ => {
            let bursty = parts(text, "bursty").map(|numbers| {
                numbers.map(|[on, off]| Arrival::Bursty { on_ms: on as u64, off_ms: off as u64 })
            });
            let closed = || {
                parts(text, "closed")
                    .map(|numbers| numbers.map(|[records]| Arrival::Closed { records: records as u64 }))
            };
            let fault = || Err("one of uniform, poisson, bursty:ON_MS:OFF_MS, closed:RECORDS".to_owned());
            bursty.or_else(closed).unwrap_or_else(fault)
        }
    }
}

fn size(text: &str) -> Result<SizeDistribution, String> {
    if let Ok(bytes) = text.parse() {
        return Ok(SizeDistribution::Fixed { bytes });
    }
    if let Some(numbers) = parts(text, "uniform") {
        return numbers.map(|[min, max]| SizeDistribution::Uniform {
            min_bytes: min as usize,
            max_bytes: max as usize,
        });
    }
    if let Some(numbers) = parts(text, "lognormal") {
        return numbers.map(|[median, sigma, max]| SizeDistribution::LogNormal {
            median_bytes: median as usize,
            sigma,
            max_bytes: max as usize,
        });
    }
    Err("one of BYTES, uniform:MIN:MAX, lognormal:MEDIAN:SIGMA:MAX".to_owned())
}

fn keys(text: &str) -> Result<Keys, String> {
    if text == "none" {
        return Ok(Keys::None);
    }
    if let Some(numbers) = parts(text, "round-robin") {
        return numbers.map(|[count]| Keys::RoundRobin { count: count as u64 });
    }
    if let Some(numbers) = parts(text, "zipf") {
        return numbers.map(|[count, theta]| Keys::Zipf { count: count as u64, theta });
    }
    Err("one of none, round-robin:COUNT, zipf:COUNT:THETA".to_owned())
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("it wants KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_forms_are_read() {
        assert_eq!(arrival("bursty:10:90"), Ok(Arrival::Bursty { on_ms: 10, off_ms: 90 }));
        assert_eq!(arrival("closed:20"), Ok(Arrival::Closed { records: 20 }));
        assert_eq!(size("100"), Ok(SizeDistribution::Fixed { bytes: 100 }));
        assert_eq!(size("uniform:50:150"), Ok(SizeDistribution::Uniform { min_bytes: 50, max_bytes: 150 }));
        assert_eq!(keys("zipf:1000:0.99"), Ok(Keys::Zipf { count: 1000, theta: 0.99 }));
        assert!(keys("zipf:1000").unwrap_err().contains("2 numbers"));
        assert!(arrival("now and then").unwrap_err().starts_with("one of"));
    }
}
