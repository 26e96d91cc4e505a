//! A broker as a process: the ready line, stops in order and at once, and what is kept over them.

#![allow(clippy::disallowed_methods, reason = "tests of processes use clocks, files and threads")]

mod support;

use net::ErrorCode;
use net::messages::metadata::MetadataRequest;
use support::{Broker, Session, TestDirectory, batch, output_of, refusal, start_command};

#[test]
fn the_ready_line_names_all_that_one_needs() {
    let test = TestDirectory::new("ready");
    let data = test.path().join("data");
    let broker = Broker::start(&data);
    let line = &broker.ready_line;
    for part in [
        concat!("monedula ", env!("CARGO_PKG_VERSION"), " ready on 127.0.0.1:"),
        " (core-direct 127.0.0.1:",
        " shard",
        &format!("data {}", data.display()),
        "sync write+fdatasync",
        " ms\n",
    ] {
        assert!(line.contains(part), "{part:?} is missing in {line:?}");
    }
    assert!(broker.stop().success());
}

#[test]
fn records_and_topics_are_there_after_a_stop_in_order() {
    let test = TestDirectory::new("restart");
    let broker = Broker::start(test.path());
    let mut client = broker.client();
    assert_eq!(client.create_topic("t", 3, &[]), ErrorCode::None);
    for partition in 0..3 {
        for n in 0..10i64 {
            let value = format!("{partition}/{n}");
            assert_eq!(client.produce("t", partition, -1, batch(&[value.as_bytes()])), Ok(n));
        }
    }
    assert!(broker.stop().success());
    assert!(test.path().join("node.clean").exists(), "a stop in order leaves its mark");

    let broker = Broker::start(test.path());
    assert!(!test.path().join("node.clean").exists(), "the mark counts for one start");
    let mut client = broker.client();
    assert_eq!(client.create_topic("t", 3, &[]), ErrorCode::TopicAlreadyExists);
    for partition in 0..3 {
        let expected: Vec<_> = (0..10).map(|n| (n, format!("{partition}/{n}").into_bytes())).collect();
        assert_eq!(client.read_all("t", partition, 0), expected);
        assert_eq!(client.produce("t", partition, -1, batch(&[b"more"])), Ok(10));
    }
    assert!(broker.stop().success());
}

#[test]
fn who_connects_after_the_ready_line_is_told_the_address_of_this_start() {
    let test = TestDirectory::new("addresses");
    for _ in 0..5 {
        let broker = Broker::start(test.path());
        let response = broker.client().0.call(9, MetadataRequest::default()).expect("Metadata is answered");
        assert_eq!(response.brokers[0].port, i32::from(broker.address.port()));
        broker.kill();
    }
}

#[test]
fn another_number_of_shards_finds_everything() {
    let test = TestDirectory::new("reshard");
    let with_cores = |cores: &str| {
        let mut command = start_command(test.path());
        command.args(["--cores", cores]);
        Broker::start_with(command)
    };
    for (round, cores) in ["0", "0-1", "0"].into_iter().enumerate() {
        if cores == "0-1" && std::thread::available_parallelism().map_or(1, usize::from) < 2 {
            continue;
        }
        let broker = with_cores(cores);
        let mut client = broker.client();
        if round == 0 {
            assert_eq!(client.create_topic("t", 4, &[]), ErrorCode::None);
        }
        for partition in 0..4 {
            let found = client.read_all("t", partition, 0);
            assert_eq!(found.len(), found.last().map_or(0, |(offset, _)| *offset as usize + 1));
            let expected = found.len() as i64;
            assert_eq!(client.produce("t", partition, -1, batch(&[b"v"])), Ok(expected));
        }
        // Every other time without a stop in order.
        if round % 2 == 0 { broker.kill() } else { assert!(broker.stop().success()) }
    }
}

#[test]
fn a_stop_cuts_a_long_poll_short() {
    use net::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
    let test = TestDirectory::new("longpoll");
    let broker = Broker::start(test.path());
    let mut client = broker.client();
    assert_eq!(client.create_topic("t", 1, &[]), ErrorCode::None);
    let request = FetchRequest {
        max_wait_ms: 300_000,
        min_bytes: 1,
        topics: vec![FetchTopic {
            topic: "t".into(),
            partitions: vec![FetchPartition { partition_max_bytes: 1000, ..Default::default() }],
        }],
        ..Default::default()
    };
    client.0.send(11, &request.into()).expect("it is sent");
    // The stop waits for what is in flight, but not that long.
    assert!(broker.stop().success());
}

#[test]
fn a_second_signal_ends_the_process_at_once_and_nothing_is_lost() {
    let test = TestDirectory::new("twice");
    let mut broker = Broker::start(test.path());
    let mut client = broker.client();
    assert_eq!(client.create_topic("t", 1, &[]), ErrorCode::None);
    assert_eq!(client.produce("t", 0, -1, batch(&[b"kept"])), Ok(0));
    broker.signal(libc::SIGINT);
    broker.signal(libc::SIGTERM);
    let status = broker.wait();
    // The first may have been enough already.
    assert!(status.success() || status.code() == Some(130), "{status:?}");
    let broker = Broker::start(test.path());
    assert_eq!(broker.client().read_all("t", 0, 0), vec![(0, b"kept".to_vec())]);
}

#[test]
fn core_direct_listeners_show_every_shard_as_a_broker() {
    let test = TestDirectory::new("core");
    let broker = Broker::start(test.path());
    let brokers = |address| {
        let mut client = Session::connect(address).expect("it listens");
        let response = client.0.call(9, MetadataRequest::default()).expect("Metadata is answered");
        response.brokers.iter().map(|broker| (broker.node_id, broker.port)).collect::<Vec<_>>()
    };
    assert_eq!(brokers(broker.address).len(), 1);
    let shards = brokers(broker.core_address);
    for (index, (_, port)) in shards.iter().enumerate() {
        assert_eq!(*port, i32::from(broker.core_address.port()) + index as i32, "ports follow each other");
    }
    let mut client = Session::connect(broker.core_address).expect("it listens");
    assert_eq!(client.create_topic("t", 8, &[]), ErrorCode::None);
    for partition in 0..8 {
        assert_eq!(client.produce("t", partition, -1, batch(&[b"v"])), Ok(0), "whichever core is asked");
    }
}

#[test]
fn bad_command_lines_and_config_files_are_refused() {
    let test = TestDirectory::new("config");
    let with = |arguments: &[&str]| {
        let mut command = start_command(test.path());
        command.args(arguments);
        command
    };
    assert!(refusal(with(&["--cores", "4000"])).contains("is not one that this process may run on"));
    assert!(refusal(with(&["--config", "/no/such/file"])).contains("/no/such/file"));
    let usage = output_of(with(&["--cores", "3-1"]));
    assert_eq!(usage.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&usage.stderr).contains("backwards"));
    let file = test.path().with_extension("properties");
    std::fs::write(&file, "num.partitions=zero\n").expect("a test can write a file");
    let error = refusal(with(&["--config", file.to_str().expect("it is UTF-8")]));
    assert!(error.contains("num.partitions") && error.contains("line 1"), "{error}");
    std::fs::remove_file(file).expect("it is there");
}
