//! A workload and a driver as a workload of ours. What cannot be carried over is an error, or a note where it does not
//! change the load.

use crate::workload::{
    Acks, Batching, Codec, ConsumerMode, Consumers, Create, Keys, Payload, SizeDistribution, Topics, WarmUp,
    Workload,
};

use super::driver::{Driver, Properties};
use super::workload::{KeyDistributor, OmbWorkload};

/// Keys that OMB chooses from.
const OMB_KEYS: u64 = 10_000;

/// OMB's payload files hold hexadecimal digits: half of their bits are random.
const PAYLOAD_FILE_RANDOM_SHARE: f64 = 0.5;

/// OMB's Kafka driver commits after every poll; so often do we.
const COMMIT_INTERVAL_MS: u64 = 100;

/// The rate at which OMB begins its search.
const SEARCH_FROM: f64 = 10_000.0;

/// What two files ask for.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The load.
    pub workload: Workload,
    /// Whether its rate is to be searched.
    pub search: bool,
    /// Bytes to store before consumers begin; 0 for none.
    pub backlog_bytes: u64,
    /// The share of them that must be read for the run to be complete.
    pub backlog_drain_ratio: f64,
    /// What was understood otherwise than OMB would, each a sentence.
    pub notes: Vec<String>,
}

impl Plan {
    /// Seconds that producers need for the backlog.
    pub fn backlog_seconds(&self) -> f64 {
        self.backlog_bytes as f64 / (self.workload.rate * self.workload.record_bytes.mean_bytes())
    }
}

/// Understands both files.
pub fn plan(omb: &OmbWorkload, driver: &Driver) -> Result<Plan, String> {
    let mut notes = Vec::new();
    let mut workload = Workload {
        name: omb.name.clone(),
        topics: topics(omb, driver),
        producers: omb.producers_per_topic * omb.topics,
        consumers: consumers(omb, &driver.consumer, &mut notes)?,
        rate: if omb.producer_rate == 0 { SEARCH_FROM } else { omb.producer_rate as f64 },
        record_bytes: SizeDistribution::Fixed { bytes: omb.message_size },
        payload: payload(omb, &mut notes),
        keys: keys(omb.key_distributor),
        duration_s: omb.test_duration_minutes * 60.0,
        warm_up: warm_up(omb),
        ..Workload::default()
    };
    producer(&mut workload, &driver.producer, &mut notes)?;
    workload.check().map_err(|error| error.to_string())?;
    let backlog_bytes = (omb.consumer_backlog_size_gb * 1e9) as u64;
    let (search, backlog_drain_ratio) = (omb.producer_rate == 0, omb.backlog_drain_ratio);
    if !(0.0..=1.0).contains(&backlog_drain_ratio) {
        return Err("backlogDrainRatio must be from 0.0 to 1.0".to_owned());
    }
    Ok(Plan { workload, search, backlog_bytes, backlog_drain_ratio, notes })
}

fn topics(omb: &OmbWorkload, driver: &Driver) -> Topics {
    Topics {
        name: "test-topic".to_owned(),
        count: omb.topics,
        partitions: omb.partitions_per_topic,
        replication_factor: driver.replication_factor,
        configs: driver.topic.clone(),
        create: Create::Recreate,
    }
}

fn warm_up(omb: &OmbWorkload) -> WarmUp {
    let seconds = omb.warmup_duration_minutes * 60.0;
    WarmUp { min_s: seconds, max_s: WarmUp::default().max_s.max(seconds), ..WarmUp::default() }
}

fn payload(omb: &OmbWorkload, notes: &mut Vec<String>) -> Payload {
    if omb.use_randomized_payloads {
        let pool_bytes =
            (omb.message_size * omb.randomized_payload_pool_size.max(1)).max(Payload::default().pool_bytes);
        return Payload { random_share: omb.random_bytes_ratio, pool_bytes };
    }
    let file = omb.payload_file.as_deref().unwrap_or("none");
    notes.push(format!(
        "The payload file ({file}) is not read: values carry sequence numbers and checksums. They are as compressible as \
         OMB's payload files, half random."
    ));
    Payload { random_share: PAYLOAD_FILE_RANDOM_SHARE, ..Payload::default() }
}

fn keys(distributor: KeyDistributor) -> Keys {
    match distributor {
        KeyDistributor::NoKey => Keys::None,
        KeyDistributor::KeyRoundRobin => Keys::RoundRobin { count: OMB_KEYS },
        KeyDistributor::RandomNano => Keys::Zipf { count: OMB_KEYS, theta: 0.0 },
    }
}

fn consumers(
    omb: &OmbWorkload,
    properties: &Properties,
    notes: &mut Vec<String>,
) -> Result<Consumers, String> {
    let default = Consumers::default();
    let mut consumers = Consumers {
        mode: if omb.subscriptions_per_topic == 0 { ConsumerMode::None } else { ConsumerMode::Group },
        subscriptions: omb.subscriptions_per_topic,
        // OMB's consumers each read one topic of a subscription; ours share all topics of one.
        per_subscription: omb.consumer_per_subscription * omb.topics,
        commit_interval_ms: COMMIT_INTERVAL_MS,
        ..default
    };
    for (key, value) in properties {
        match key.as_str() {
            "max.partition.fetch.bytes" => consumers.partition_max_bytes = number(key, value)?,
            "fetch.max.bytes" => consumers.fetch_max_bytes = number(key, value)?,
            "fetch.min.bytes" => consumers.fetch_min_bytes = number(key, value)?,
            "fetch.max.wait.ms" => consumers.fetch_max_wait_ms = number(key, value)?,
            "session.timeout.ms" => consumers.session_timeout_ms = number(key, value)?,
            "auto.commit.interval.ms" => consumers.commit_interval_ms = number(key, value)?,
            "enable.auto.commit" | "auto.offset.reset" | "max.poll.records" | "heartbeat.interval.ms" => {}
            _ => client(key, value, notes)?,
        }
    }
    Ok(consumers)
}

fn producer(workload: &mut Workload, properties: &Properties, notes: &mut Vec<String>) -> Result<(), String> {
    let mut batching = Batching::java();
    let mut idempotence = None;
    for (key, value) in properties {
        match key.as_str() {
            "acks" => workload.acks = acks(value)?,
            "linger.ms" => batching.linger_ms = number(key, value)?,
            "batch.size" => batching.batch_bytes = number(key, value)?,
            "max.request.size" => batching.request_bytes = number(key, value)?,
            "buffer.memory" => batching.buffer_bytes = number(key, value)?,
            "max.in.flight.requests.per.connection" => batching.max_in_flight = number(key, value)?,
            "enable.idempotence" => idempotence = Some(value == "true"),
            "compression.type" => workload.codec = codec(value)?,
            "retries" | "retry.backoff.ms" | "delivery.timeout.ms" | "max.block.ms" => {}
            _ => client(key, value, notes)?,
        }
    }
    // The Java client cannot have a request smaller than its batch.
    batching.request_bytes = batching.request_bytes.max(batching.batch_bytes);
    // Its default since 3.0, unless another property rules it out.
    let possible = workload.acks == Acks::All && batching.max_in_flight <= 5;
    workload.idempotence = idempotence.unwrap_or(possible);
    batching.preset = "omb".to_owned();
    workload.batching = batching;
    Ok(())
}

/// Properties of any client that do not change the load.
fn client(key: &str, value: &str, notes: &mut Vec<String>) -> Result<(), String> {
    match key {
        "bootstrap.servers"
        | "client.id"
        | "request.timeout.ms"
        | "default.api.timeout.ms"
        | "metadata.max.age.ms"
        | "receive.buffer.bytes"
        | "send.buffer.bytes"
        | "connections.max.idle.ms"
        | "reconnect.backoff.ms" => {
            if !matches!(key, "bootstrap.servers" | "client.id") {
                notes.push(format!("{key}={value} has no counterpart here and is left out."));
            }
            Ok(())
        }
        "security.protocol" if value == "PLAINTEXT" => Ok(()),
        _ => Err(format!(
            "the property {key}={value} is not understood: remove it, or it would be silently ignored"
        )),
    }
}

fn acks(value: &str) -> Result<Acks, String> {
    match value {
        "0" => Ok(Acks::None),
        "1" => Ok(Acks::Leader),
        "all" | "-1" => Ok(Acks::All),
        _ => Err(format!("acks={value}: there are 0, 1 and all")),
    }
}

fn codec(value: &str) -> Result<Codec, String> {
    match value {
        "none" => Ok(Codec::None),
        "gzip" => Ok(Codec::Gzip),
        "snappy" => Ok(Codec::Snappy),
        "lz4" => Ok(Codec::Lz4),
        "zstd" => Ok(Codec::Zstd),
        _ => Err(format!("compression.type={value}: there are none, gzip, snappy, lz4 and zstd")),
    }
}

fn number<T: std::str::FromStr>(key: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{key}={value} is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In the form of the stock files, with every field.
    const WORKLOAD: &str = "
name: Backlog with keys, 4 producers and 2 consumers
topics: 2
partitionsPerTopic: 8
keyDistributor: \"KEY_ROUND_ROBIN\"
messageSize: 1024
useRandomizedPayloads: true
randomBytesRatio: 0.5
randomizedPayloadPoolSize: 5000
payloadFile: \"payload/payload-1Kb.data\"
subscriptionsPerTopic: 3
producersPerTopic: 4
consumerPerSubscription: 2
# a comment
producerRate: 20000
consumerBacklogSizeGB: 1
backlogDrainRatio: 0.9
testDurationMinutes: 5
warmupDurationMinutes: 2
";

    const DRIVER: &str = "
name: Kafka
driverClass: io.openmessaging.benchmark.driver.kafka.KafkaBenchmarkDriver

# Kafka client-specific configuration
replicationFactor: 3

topicConfig: |
  min.insync.replicas=2
  flush.messages=1

commonConfig: |
  bootstrap.servers=broker:9092
  request.timeout.ms=1200000

producerConfig: |
  acks=all
  linger.ms=1
  batch.size=131072
  compression.type=lz4

consumerConfig: |
  auto.offset.reset=earliest
  enable.auto.commit=false
  max.partition.fetch.bytes=10485760
";

    fn read(workload: &str, driver: &str) -> Result<Plan, String> {
        plan(&OmbWorkload::parse(workload)?, &Driver::parse(driver)?)
    }

    #[test]
    fn stock_files_are_understood() {
        let plan = read(WORKLOAD, DRIVER).unwrap();
        let workload = &plan.workload;
        assert_eq!(
            (workload.topics.count, workload.topics.partitions, workload.topics.replication_factor),
            (2, 8, 3)
        );
        assert_eq!(workload.topics.configs["flush.messages"], "1");
        assert_eq!((workload.producers, workload.rate), (8, 20_000.0));
        assert_eq!(workload.keys, Keys::RoundRobin { count: 10_000 });
        assert_eq!((workload.consumers.mode, workload.consumers.subscriptions), (ConsumerMode::Group, 3));
        assert_eq!(
            (workload.consumers.per_subscription, workload.consumers.partition_max_bytes),
            (4, 10_485_760)
        );
        assert_eq!((workload.payload.random_share, workload.payload.pool_bytes), (0.5, 5_120_000));
        assert_eq!((workload.batching.linger_ms, workload.batching.batch_bytes), (1.0, 131_072));
        assert_eq!((workload.acks, workload.codec, workload.idempotence), (Acks::All, Codec::Lz4, true));
        assert_eq!((workload.duration_s, workload.warm_up.min_s), (300.0, 120.0));
        assert_eq!((plan.search, plan.backlog_bytes, plan.backlog_drain_ratio), (false, 1_000_000_000, 0.9));
        assert!((plan.backlog_seconds() - 48.8).abs() < 0.1);
        assert!(plan.notes.iter().any(|note| note.contains("request.timeout.ms")));
    }

    #[test]
    fn defaults_are_those_of_the_java_classes() {
        let short = "name: one\ntopics: 1\npartitionsPerTopic: 1\nmessageSize: 100\nsubscriptionsPerTopic: 1\n\
            consumerPerSubscription: 1\nproducersPerTopic: 1\nproducerRate: 0\nconsumerBacklogSizeGB: 0\ntestDurationMinutes: 15\n\
            payloadFile: \"payload/payload-100b.data\"\n";
        let plan = read(short, DRIVER).unwrap();
        assert!(plan.search);
        assert_eq!((plan.workload.keys.clone(), plan.workload.warm_up.min_s), (Keys::None, 60.0));
        assert!(plan.notes.iter().any(|note| note.contains("payload-100b.data")));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let refused = |workload: &str, driver: &str| read(workload, driver).unwrap_err();
        assert!(refused(&WORKLOAD.replace("topics: 2", "topics: 2\ntopicz: 3"), DRIVER).contains("topicz"));
        assert!(refused(&WORKLOAD.replace("KEY_ROUND_ROBIN", "ZIPF"), DRIVER).contains("ZIPF"));
        assert!(refused(WORKLOAD, &DRIVER.replace("linger.ms", "lingering.ms")).contains("lingering.ms=1"));
        assert!(refused(WORKLOAD, &DRIVER.replace("acks=all", "acks=two")).contains("acks=two"));
        assert!(
            refused(WORKLOAD, &DRIVER.replace("kafka.KafkaBench", "pulsar.PulsarBench"))
                .contains("only drivers for Kafka")
        );
        assert!(
            refused(WORKLOAD, &DRIVER.replace("replicationFactor: 3", "replicas: 3")).contains("replicas")
        );
        assert!(refused("a: [", DRIVER).contains("not YAML"));
        assert!(refused(&WORKLOAD.replace("producerRate: 20000", ""), DRIVER).contains("producerRate"));
    }
}
