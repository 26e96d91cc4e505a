//! How long a start takes after `kill -9`, with ten thousand partitions and a gigabyte that was produced just before.
//!
//! ```text
//! cargo bench -p monedula-broker --bench restart
//! ```
//!
//! It starts brokers of its own in a directory below the current one, or below `MONEDULA_BENCH_DIR`. What was written is
//! still in the page cache when it is read again; after a power loss it would come from the disk.

#![allow(clippy::disallowed_methods, reason = "a bench has clocks, threads and files")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use net::ErrorCode;
use net::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use support::{Broker, Session, TestDirectory, batch};

const TOPICS: usize = 100;
const PARTITIONS: i32 = 100;

/// Enough for several checkpoints, so that a start meets an old one and a WAL behind it.
const BYTES: usize = 1 << 30;

/// What each partition of a request gets.
const BATCH_BYTES: usize = 16 << 10;

/// Where producing ends, however much that was.
const PRODUCE: Duration = Duration::from_secs(30);

/// Starts after a kill: the first replays what was produced, the others what the one before left.
const STARTS: usize = 3;

fn main() {
    let parent = std::env::var_os("MONEDULA_BENCH_DIR")
        .map_or_else(|| Path::new(".").into(), std::path::PathBuf::from);
    let directory = TestDirectory::new_in(&parent, "restart");
    let data = directory.path().join("data");
    let log = directory.path().join("log");
    let broker = start(&data, &log);
    let mut session = broker.client();
    let begun = Instant::now();
    for topic in 0..TOPICS {
        assert_eq!(session.create_topic(&name(topic), PARTITIONS, &[]), ErrorCode::None);
    }
    println!("{} partitions made in            {:.2?}", TOPICS * PARTITIONS as usize, begun.elapsed());
    let begun = Instant::now();
    let rounds = produce(&mut session);
    let mib = (rounds.iter().sum::<usize>() * PARTITIONS as usize * BATCH_BYTES) >> 20;
    println!("{mib} MiB produced in                 {:.2?}", begun.elapsed());
    broker.kill();
    for number in 1..=STARTS {
        let begun = Instant::now();
        let broker = start(&data, &log);
        let ready = begun.elapsed();
        let mut session = broker.client();
        let missing = (0..TOPICS)
            .flat_map(|topic| [(topic, 0), (topic, PARTITIONS - 1)])
            .filter(|(topic, partition)| {
                session.list_offset(&name(*topic), *partition, -1) != rounds[*topic] as i64
            })
            .count();
        assert_eq!(missing, 0, "everything that was acknowledged is there");
        println!("start {number} after kill -9, until ready   {ready:.2?}{}", replayed(&log));
        broker.kill();
    }
}

fn name(topic: usize) -> String {
    format!("restart-{topic}")
}

fn start(data: &Path, log: &Path) -> Broker {
    let mut command = Command::new(env!("CARGO_BIN_EXE_monedula"));
    command.args(["start", "--listen", "127.0.0.1:0", "--core-listen", "127.0.0.1:0", "--log", "info"]);
    command.arg("--data").arg(data).env("NO_COLOR", "1");
    command.stderr(File::create(log).expect("a bench can write a file"));
    Broker::start_with(command)
}

/// What the broker says of its recovery.
fn replayed(log: &Path) -> String {
    let text = std::fs::read_to_string(log).expect("the broker has a log");
    let line = text.lines().find_map(|line| line.split_once("replayed the WAL"));
    line.map_or(", nothing to replay".to_owned(), |(_, figures)| format!(", replayed{figures}"))
}

/// A record for every partition of a topic in each request, topic after topic. Returns how many each topic got.
fn produce(session: &mut Session) -> Vec<usize> {
    let value = vec![7; BATCH_BYTES - 70];
    let batch = batch(&[&value]);
    let mut rounds = vec![0; TOPICS];
    let begun = Instant::now();
    for request in 0..BYTES / (BATCH_BYTES * PARTITIONS as usize) {
        if begun.elapsed() > PRODUCE {
            break;
        }
        send(session, request % TOPICS, &batch);
        rounds[request % TOPICS] += 1;
    }
    rounds
}

fn send(session: &mut Session, topic: usize, batch: &Bytes) {
    let data = |index| PartitionProduceData { index, records: Some(batch.clone()) };
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            name: name(topic),
            partition_data: (0..PARTITIONS).map(data).collect(),
        }],
        ..ProduceRequest::default()
    };
    let response = session.0.call(9, request).expect("the broker answers");
    for partition in &response.responses[0].partition_responses {
        assert_eq!(partition.error_code, ErrorCode::None);
    }
}
