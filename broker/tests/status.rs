//! `monedula top` and `monedula slow` beside a real broker, and those who ask its socket for what it does not have.

#![allow(clippy::disallowed_methods, reason = "tests of processes use clocks, files and threads")]

mod support;

use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use net::ErrorCode;
use net::messages::find_coordinator::FindCoordinatorRequest;
use net::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use serde_json::Value;
use support::{Broker, PATIENCE, Random, Session, TestDirectory, batch, output_of, start_command};

fn monedula(arguments: &[&str], data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_monedula"));
    command.args(arguments).arg("--data").arg(data);
    command
}

/// What a command prints that must succeed.
fn stdout_of(arguments: &[&str], data: &Path) -> String {
    let output = output_of(monedula(arguments, data));
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    stdout.into_owned()
}

fn json_of(arguments: &[&str], data: &Path) -> Value {
    serde_json::from_str(&stdout_of(arguments, data)).expect("it prints JSON")
}

fn ask(data: &Path, question: &[u8]) -> Value {
    let mut stream = UnixStream::connect(data.join("monedula.sock")).expect("a broker listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    // It may answer and close before it has read everything.
    let _ = stream.write_all(question);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    if stream.read_to_end(&mut answer).is_err() && answer.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(&answer).unwrap_or_else(|error| panic!("{question:?}: {error}: {answer:?}"))
}

/// Requests of one API that all shards have answered since the start.
fn answered(status: &Value, api: &str) -> Vec<Value> {
    let shards = status["shards"].as_array().expect("a list");
    let all = shards.iter().flat_map(|shard| shard["since_start"].as_array().expect("a list"));
    all.filter(|requests| requests["api"] == api).cloned().collect()
}

fn count(status: &Value, api: &str) -> u64 {
    answered(status, api).iter().map(|requests| requests["total"]["count"].as_u64().expect("a number")).sum()
}

/// The status once it tells of all that was answered, which is a second later.
fn status_with(data: &Path, produces: u64, fetches: u64) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = json_of(&["top", "--format", "json"], data);
        if count(&status, "produce") >= produces && count(&status, "fetch") >= fetches {
            return status;
        }
        assert!(Instant::now() < deadline, "{produces} and {fetches} were not told of: {status:#}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn every_produce_and_fetch_is_kept_account_of() {
    let test = TestDirectory::new("status");
    let broker = Broker::start(test.path());
    let mut client = broker.client();
    assert_eq!(client.create_topic("account", 4, &[]), ErrorCode::None);
    for n in 0..60 {
        let acks = if n % 3 == 0 { 1 } else { -1 };
        client.produce("account", n % 4, acks, batch(&[b"value"])).expect("it is appended");
    }
    assert_eq!(client.produce("account", 99, -1, batch(&[b"x"])), Err(ErrorCode::UnknownTopicOrPartition));
    for partition in 0..4 {
        client.fetch("account", partition, 0, 1 << 20).expect("it can be read");
    }
    let status = status_with(test.path(), 61, 4);
    assert_eq!((count(&status, "produce"), count(&status, "fetch")), (61, 4), "each once");
    assert_eq!(status["pid"], broker.pid());
    for requests in answered(&status, "produce").into_iter().chain(answered(&status, "fetch")) {
        let total = &requests["total"];
        let stages = requests["stages"].as_array().expect("a list");
        let sum =
            |field: &str| stages.iter().map(|stage| stage[field].as_f64().expect("a number")).sum::<f64>();
        assert_eq!(sum("sum_us"), total["sum_us"].as_f64().expect("a number"), "{requests:#}");
        assert!((sum("mean_us") - total["mean_us"].as_f64().expect("a number")).abs() < 1e-3, "{requests:#}");
        for stage in stages {
            assert_eq!(stage["count"], total["count"]);
        }
    }
    let disk_us: u64 = answered(&status, "produce")
        .iter()
        .flat_map(|requests| requests["stages"].as_array().expect("a list").clone())
        .filter(|stage| stage["stage"] == "disk")
        .map(|stage| stage["sum_us"].as_u64().expect("a number"))
        .sum();
    assert!(disk_us > 0, "what was flushed has waited for the disk: {status:#}");

    let slow = json_of(&["slow", "--seconds", "60", "--format", "json"], test.path());
    let slowest = slow["requests"].as_array().expect("a list");
    assert!(!slowest.is_empty());
    for request in slowest {
        let stages = request["stages"].as_array().expect("a list");
        let sum: u64 = stages.iter().map(|stage| stage[1].as_u64().expect("a number")).sum();
        assert_eq!(Some(sum), request["total_us"].as_u64(), "{request:#}");
        assert!(
            request["written"]["requests"].is_u64() && request["longest"]["length_us"].is_u64(),
            "{request:#}"
        );
    }
    let own: Vec<u64> = slowest.iter().filter_map(|request| request["own_us"].as_u64()).collect();
    assert!(own.is_sorted_by(|a, b| a >= b), "the slowest first: {own:?}");
    let text = stdout_of(&["slow", "--seconds", "60"], test.path());
    assert!(text.contains(" µs  produce = ") && text.contains("longest turn meanwhile"), "{text}");
    assert!(broker.stop().success());
}

#[test]
fn a_frame_of_top_shows_the_load() {
    let test = TestDirectory::new("top");
    let broker = Broker::start(test.path());
    assert_eq!(broker.client().create_topic("shown", 2, &[]), ErrorCode::None);
    let deadline = Instant::now() + PATIENCE;
    let mut client = broker.client();
    let frame = loop {
        for n in 0..50 {
            client.produce("shown", n % 2, -1, batch(&[b"value"])).expect("it is appended");
        }
        let frame = stdout_of(&["top", "--once"], test.path());
        if frame.contains("shown") && frame.contains("produce, µs") {
            break frame;
        }
        assert!(Instant::now() < deadline, "no load is shown: {frame}");
    };
    for line in frame.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    for part in ["monedula ", "shard ", "req/s", "wal/s", "stall", "total", "p99", "topic"] {
        assert!(frame.contains(part), "{part:?} is missing in {frame}");
    }
    let refused = output_of(monedula(&["top"], test.path()));
    assert!(!refused.status.success(), "without a terminal there is nothing to draw on");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--once"));
    assert!(broker.stop().success());
}

/// Commits an offset as an administrator does, once the coordinator is there.
fn commit(session: &mut Session, group: &str, topic: &str, partition: i32, offset: i64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let find = FindCoordinatorRequest { coordinator_keys: vec![group.into()], ..Default::default() };
        let found = session.0.call(4, find).expect("FindCoordinator is answered");
        let partitions = vec![OffsetCommitRequestPartition {
            partition_index: partition,
            committed_offset: offset,
            ..Default::default()
        }];
        let topics = vec![OffsetCommitRequestTopic { name: topic.into(), partitions }];
        let request = OffsetCommitRequest { group_id: group.into(), topics, ..Default::default() };
        let answer = session.0.call(7, request).expect("OffsetCommit is answered");
        match answer.topics[0].partitions[0].error_code {
            ErrorCode::None => return,
            error => assert!(Instant::now() < deadline, "{error:?} after {found:?}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn the_lag_of_groups_is_told_to_who_asks() {
    let test = TestDirectory::new("lag");
    let broker = Broker::start(test.path());
    let mut client = broker.client();
    assert_eq!(client.create_topic("orders", 4, &[]), ErrorCode::None);
    for n in 0..40 {
        client.produce("orders", n % 4, -1, batch(&[b"value"])).expect("it is appended");
    }
    for partition in 0..4 {
        commit(&mut client, "billing", "orders", partition, i64::from(partition));
        commit(&mut client, "audit", "orders", partition, 10);
    }
    let status = json_of(&["top", "--format", "json"], test.path());
    assert_eq!(status["groups"]["settled"], true, "{status:#}");
    let told: Vec<_> = status["groups"]["lags"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|lag| {
            (
                lag["group"].as_str().unwrap_or_default(),
                &lag["topic"],
                &lag["partitions"],
                &lag["lag"],
                &lag["worst_lag"],
            )
        })
        .map(|(group, topic, partitions, lag, worst)| {
            (group, topic.as_str(), partitions.as_u64(), lag.as_u64(), worst.as_u64())
        })
        .collect();
    let expected = [
        ("billing", Some("orders"), Some(4), Some(10 + 9 + 8 + 7), Some(10)),
        ("audit", Some("orders"), Some(4), Some(0), Some(0)),
    ];
    assert_eq!(told, expected);
    let frame = stdout_of(&["top", "--once"], test.path());
    let line = frame.lines().find(|line| line.starts_with("billing")).expect("the group is shown");
    let cells: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(cells, ["billing", "orders", "Empty", "0", "4", "34", "10"], "{frame}");
    assert!(ask(test.path(), b"status\n")["groups"].is_null(), "who does not ask is not told");
    assert!(broker.stop().success());
}

#[test]
fn the_socket_is_the_owners_alone_and_goes_with_the_broker() {
    let test = TestDirectory::new("socket");
    let data = test.path().join("a-name-that-is-too-long-for-the-address-of-a-unix-socket-".repeat(3));
    let socket = data.join("monedula.sock");
    let broker = Broker::start(&data);
    let metadata = std::fs::metadata(&socket).expect("there is a socket");
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    broker.kill();
    assert!(socket.exists(), "a kill leaves it behind");
    let gone = output_of(monedula(&["slow"], &data));
    assert!(String::from_utf8_lossy(&gone.stderr).contains("monedula start --data"), "{gone:?}");

    let broker = Broker::start(&data);
    assert!(
        stdout_of(&["top", "--once"], &data).contains(&format!("pid {}", broker.pid())),
        "it is replaced"
    );
    assert!(broker.stop().success());
    assert!(!socket.exists(), "a stop removes it");
    let gone = output_of(monedula(&["top", "--once"], &data));
    assert_eq!(gone.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&gone.stderr);
    assert!(stderr.contains("no broker runs on") && stderr.contains("--data DIR"), "{stderr}");
}

#[test]
fn hostile_questions_do_no_harm() {
    let test = TestDirectory::new("questions");
    let broker = Broker::start(test.path());
    for refused in
        ["", "\n", "stat", "status now\n", "slow\n", "slow 0\n", "slow 61\n", "slow -1\n", "slow 1 2\n"]
    {
        let answer = ask(test.path(), refused.as_bytes());
        assert!(answer["error"].is_string(), "{refused:?}: {answer}");
    }
    let mut random = Random::new(21);
    for _ in 0..30 {
        let length = random.below(300) as usize;
        let answer = ask(test.path(), &random.bytes(length));
        assert!(answer.is_null() || answer["error"].is_string(), "{answer}");
    }
    // Who says nothing, and who does not listen, holds up the others for a moment only.
    let silent: Vec<UnixStream> = (0..3)
        .map(|_| UnixStream::connect(test.path().join("monedula.sock")).expect("a broker listens"))
        .collect();
    let mut deaf = UnixStream::connect(test.path().join("monedula.sock")).expect("a broker listens");
    deaf.write_all(b"status\n").expect("it is there");
    assert_eq!(ask(test.path(), b"status")["pid"], broker.pid(), "a line may end with the connection");
    assert!(ask(test.path(), b"slow 60\r\n")["requests"].is_array());
    drop((silent, deaf));
    assert_eq!(broker.client().create_topic("t", 1, &[]), ErrorCode::None);
    assert!(broker.stop().success());
}

#[test]
fn without_a_ledger_there_is_a_socket_that_says_so() {
    let test = TestDirectory::new("no-ledger");
    let mut command = start_command(test.path());
    command.arg("--no-ledger");
    let broker = Broker::start_with(command);
    let mut client = broker.client();
    assert_eq!(client.create_topic("t", 1, &[]), ErrorCode::None);
    client.produce("t", 0, -1, batch(&[b"x"])).expect("it is appended");
    for question in [&["top", "--once"][..], &["slow"]] {
        assert!(stdout_of(question, test.path()).contains("monedula ledger on"));
    }
    assert!(broker.stop().success());
}

#[test]
fn a_ledger_is_begun_and_ended_while_the_broker_runs() {
    let test = TestDirectory::new("switched-ledger");
    let mut command = start_command(test.path());
    command.arg("--no-ledger");
    let broker = Broker::start_with(command);
    let mut client = broker.client();
    assert_eq!(client.create_topic("t", 1, &[]), ErrorCode::None);
    client.produce("t", 0, -1, batch(&[b"before"])).expect("it is appended");

    assert_eq!(stdout_of(&["ledger", "on"], test.path()), "A ledger is kept.\n");
    let produced = || -> u64 {
        let status: Value = serde_json::from_str(&stdout_of(&["top", "--format", "json"], test.path()))
            .expect("it answers in JSON");
        assert_eq!(status["ledger"], true);
        let shards = status["shards"].as_array().expect("a list");
        shards.iter().filter_map(|shard| shard["since_start"][0]["total"]["count"].as_u64()).sum()
    };
    client.produce("t", 0, -1, batch(&[b"meanwhile"])).expect("it is appended");
    // A shard hands its ledger over once a second.
    let deadline = Instant::now() + PATIENCE;
    while produced() < 1 {
        assert!(Instant::now() < deadline, "what came after `ledger on` is never accounted for");
    }
    assert_eq!(produced(), 1, "what came before is nobody's");

    assert_eq!(stdout_of(&["ledger", "off"], test.path()), "No ledger is kept.\n");
    client.produce("t", 0, -1, batch(&[b"after"])).expect("it is appended");
    assert!(stdout_of(&["slow"], test.path()).contains("monedula ledger on"));
    assert!(broker.stop().success());
}
