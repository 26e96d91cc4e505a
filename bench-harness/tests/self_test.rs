//! The harness, measured: a broker that misbehaves in a known way, and whether the harness says so.

#![allow(clippy::disallowed_methods, reason = "these tests wait for what they caused")]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use bench::engine::{self, Options, RunError, Unwatched};
use bench::null_broker::{Behaviour, Fault, NullBroker};
use bench::outcome::{Measure, Outcome, StagesRead};
use bench::workload::{
    Acks, Arrival, Batching, Codec, ConsumerMode, Keys, QueuePolicy, SizeDistribution, Workload,
};

/// They measure time: one after another, whatever the test runner does.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// 100 B and no warm-up: every record counts.
fn workload(rate: f64, seconds: f64) -> Workload {
    let mut workload = Workload {
        rate,
        duration_s: seconds,
        record_bytes: SizeDistribution::Fixed { bytes: 100 },
        deadline_ms: 10_000,
        ..Workload::default()
    };
    workload.warm_up.min_s = 0.0;
    workload.interval_s = 0.25;
    workload
}

fn run_with(workload: &Workload, behaviour: Behaviour, options: &Options) -> Outcome {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let broker =
        NullBroker::start(Behaviour { partitions: workload.topics.partitions, ..behaviour }).unwrap();
    engine::run(workload, &broker.bootstrap(), options, &AtomicBool::new(false), &mut Unwatched).unwrap()
}

fn run(workload: &Workload, behaviour: Behaviour) -> Outcome {
    let options = Options { read_patience_ns: Some(300_000_000), ..Options::default() };
    run_with(workload, behaviour, &options)
}

/// Every record ends in exactly one way.
fn check_sums(outcome: &Outcome) {
    let counts = &outcome.counts;
    assert_eq!(counts.intended, counts.sent + counts.dropped, "{counts:?}");
    let ends = counts.acked + counts.failed_total() + counts.beyond_deadline + counts.unfinished;
    assert_eq!(counts.sent, ends, "{counts:?}");
    assert_eq!(outcome.histograms[&Measure::Produce].len(), counts.acked);
    let of_intervals: u64 = outcome
        .intervals
        .iter()
        .filter_map(|interval| interval.histogram(Measure::Produce).unwrap())
        .map(|histogram| histogram.len())
        .sum();
    assert_eq!(of_intervals, counts.acked, "the intervals are the whole");
}

#[test]
fn a_stall_is_seen_by_every_record_that_it_delays() {
    // A closed loop would see one late record for each producer.
    let behaviour = Behaviour { stall: Some((500_000_000, 500_000_000)), ..Behaviour::default() };
    let outcome = run(&workload(20_000.0, 1.5), behaviour);
    check_sums(&outcome);
    assert_eq!(outcome.counts.acked, 30_000);
    let produce = &outcome.histograms[&Measure::Produce];
    // 10,000 records were due in these 500 ms; those of the last 50 are less than 50 ms late.
    let delayed = produce.count_between(50_000_000, 600_000_000);
    assert!((8_500..=10_500).contains(&delayed), "{delayed} of 30000 were delayed by 50 ms and more");
    let half = produce.count_between(250_000_000, 600_000_000);
    assert!((4_500..=5_800).contains(&half), "{half} were delayed by 250 ms and more");
    assert!(produce.max() >= 490_000_000, "the first was delayed by all of it: {}", produce.max());
    assert!(outcome.histograms[&Measure::EndToEnd].max() >= 490_000_000);
}

#[test]
fn a_known_distribution_comes_back() {
    // One request in flight on each of 100 connections, so that no response waits for another one.
    let mut workload = workload(150.0, 4.0);
    workload.producers = 100;
    workload.batching = Batching::none();
    workload.consumers.mode = ConsumerMode::None;
    let delays = vec![(60, 100_000_000), (30, 250_000_000), (10, 500_000_000)];
    let outcome = run(&workload, Behaviour { delays, ..Behaviour::default() });
    check_sums(&outcome);
    let produce = &outcome.histograms[&Measure::Produce];
    for (quantile, delay_ns) in [(0.3, 100_000_000), (0.75, 250_000_000), (0.95, 500_000_000)] {
        let found_ns = produce.value_at_quantile(quantile);
        let off = found_ns.abs_diff(delay_ns) as f64 / delay_ns as f64;
        // Three digits of the histogram are 0.1 %.
        assert!(off <= 0.01, "p{}: {found_ns} ns for {delay_ns} ns", 100.0 * quantile);
    }
    let shares = [(0, 170_000_000, 0.6), (170_000_000, 370_000_000, 0.3), (370_000_000, 2_000_000_000, 0.1)];
    for (from, to, share) in shares {
        let found = produce.count_between(from, to) as f64 / produce.len() as f64;
        assert!((found - share).abs() < 0.06, "{found} of the records for {share}");
    }
}

#[test]
fn a_generator_that_cannot_keep_up_makes_the_run_invalid() {
    let mut workload = workload(50_000_000.0, 0.5);
    workload.queue = QueuePolicy::Drop;
    workload.batching.buffer_bytes = 4 << 20;
    workload.consumers.mode = ConsumerMode::None;
    let outcome = run(&workload, Behaviour::default());
    check_sums(&outcome);
    let reasons = outcome.verdict.reasons();
    assert!(reasons.iter().any(|reason| reason.starts_with("client bound")), "{reasons:?}");
}

/// A run of 2,000 records, each a batch, of which every hundredth meets a fault.
fn with_fault(fault: Fault) -> Outcome {
    let mut workload = workload(4_000.0, 0.5);
    workload.batching = Batching::none();
    workload.topics.partitions = 3;
    let outcome = run(&workload, Behaviour { fault: Some((99, fault)), ..Behaviour::default() });
    check_sums(&outcome);
    assert_eq!(outcome.counts.acked, 2_000, "the broker acknowledged everything");
    assert!(!outcome.verdict.is_valid(), "{fault:?} is held against the run");
    outcome
}

#[test]
fn what_is_wrong_with_records_is_found() {
    assert_eq!(with_fault(Fault::Lose).counts.lost, 20);
    assert_eq!(with_fault(Fault::Duplicate).counts.duplicated, 20);
    assert_eq!(with_fault(Fault::Corrupt).counts.corrupt, 20);
    let counts = with_fault(Fault::Reorder).counts;
    assert_eq!((counts.reordered, counts.lost, counts.duplicated), (20, 0, 0));
}

#[test]
fn a_sound_broker_is_found_sound_with_every_kind_of_load() {
    let base = workload(5_000.0, 0.4);
    let mut loads = Vec::new();
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        loads.push(Workload { codec, ..base.clone() });
    }
    loads.push(Workload { acks: Acks::None, ..base.clone() });
    loads.push(Workload { acks: Acks::Leader, arrival: Arrival::Poisson, producers: 7, ..base.clone() });
    loads.push(Workload { idempotence: true, batching: Batching::librdkafka(), ..base.clone() });
    loads.push(Workload {
        keys: Keys::Zipf { count: 1000, theta: 0.99 },
        record_bytes: SizeDistribution::LogNormal { median_bytes: 200, sigma: 1.0, max_bytes: 10_000 },
        arrival: Arrival::Bursty { on_ms: 20, off_ms: 60 },
        ..base.clone()
    });
    let mut many = Workload { keys: Keys::RoundRobin { count: 77 }, producers: 2, ..base.clone() };
    many.topics.count = 3;
    many.consumers.subscriptions = 2;
    many.consumers.per_subscription = 3;
    loads.push(many);
    for mut load in loads {
        load.topics.partitions = 5;
        let options = Options { workers: 2, ..Options::default() };
        let outcome = run_with(&load, Behaviour::default(), &options);
        check_sums(&outcome);
        let counts = &outcome.counts;
        let times = load.consumers.subscriptions as u64;
        assert_eq!(counts.acked, counts.intended, "{load:?}");
        assert_eq!(counts.received, times * counts.acked, "{load:?}");
        let wrong = counts.lost + counts.duplicated + counts.reordered + counts.corrupt + counts.negative;
        assert_eq!(wrong, 0, "{counts:?} of {load:?}");
        assert_eq!(outcome.histograms[&Measure::EndToEnd].len(), counts.received);
    }
}

#[test]
fn the_same_seed_intends_the_same_records() {
    let mut load = workload(3_000.0, 0.3);
    load.arrival = Arrival::Poisson;
    let sent = |outcome: Outcome| (outcome.counts.intended, outcome.counts.sent);
    // The number of records within a time is random, but by the seed.
    let first = sent(run(&load, Behaviour::default()));
    assert_eq!(first, sent(run(&load, Behaviour::default())));
    load.seed += 1;
    assert_ne!(first, sent(run(&load, Behaviour::default())));
}

#[test]
fn a_full_buffer_does_what_it_was_told_to() {
    let stalled = || Behaviour { stall: Some((100_000_000, 300_000_000)), ..Behaviour::default() };
    let mut load = workload(20_000.0, 0.6);
    load.batching.buffer_bytes = 100_000;
    load.queue = QueuePolicy::Drop;
    let dropped = run(&load, stalled());
    check_sums(&dropped);
    assert!(dropped.counts.dropped > 1_000, "{:?}", dropped.counts);
    assert!(dropped.counts.infinite_share() > 0.05, "what was dropped is infinitely late");

    load.queue = QueuePolicy::Block;
    let blocked = run(&load, stalled());
    check_sums(&blocked);
    assert!(blocked.counts.blocked > 1_000, "{:?}", blocked.counts);
    assert_eq!((blocked.counts.dropped, blocked.counts.acked), (0, 12_000));
    assert!(blocked.histograms[&Measure::Produce].max() > 200_000_000, "waiting counts");

    load.queue = QueuePolicy::Unbounded;
    let reasons = run(&load, stalled()).verdict.reasons().join("\n");
    assert!(reasons.contains("overflowed"), "{reasons}");
}

#[test]
fn what_is_not_acknowledged_in_time_is_not_forgotten() {
    // The broker falls silent for longer than the deadline allows.
    let behaviour = Behaviour { stall: Some((200_000_000, 1_500_000_000)), ..Behaviour::default() };
    let mut load = workload(1_000.0, 0.5);
    load.deadline_ms = 300;
    let outcome = run(&load, behaviour);
    check_sums(&outcome);
    assert!(outcome.counts.beyond_deadline >= 250, "{:?}", outcome.counts);
    assert!(outcome.counts.infinite_share() >= 0.5);
}

#[test]
fn a_broker_that_goes_away_leaves_partial_results() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let broker = NullBroker::start(Behaviour::default()).unwrap();
    let bootstrap = broker.bootstrap();
    let mut load = workload(1_000.0, 1.0);
    load.deadline_ms = 300;
    let outcome = std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(700));
            drop(broker);
        });
        let options = Options { read_patience_ns: Some(300_000_000), ..Options::default() };
        engine::run(&load, &bootstrap, &options, &AtomicBool::new(false), &mut Unwatched).unwrap()
    });
    check_sums(&outcome);
    assert!(outcome.counts.acked > 0 && outcome.counts.beyond_deadline > 0, "{:?}", outcome.counts);
    assert!(outcome.counts.reconnects > 0);
    assert!(outcome.counts.retried.keys().any(|name| name.contains("connection")), "{:?}", outcome.counts);
}

#[test]
fn an_interrupted_run_says_what_it_has() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let broker = NullBroker::start(Behaviour::default()).unwrap();
    let interrupt = AtomicBool::new(false);
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(700));
            interrupt.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        let load = workload(2_000.0, 60.0);
        engine::run(&load, &broker.bootstrap(), &Options::default(), &interrupt, &mut Unwatched).unwrap()
    });
    check_sums(&outcome);
    assert!(outcome.interrupted);
    assert!(outcome.measured_seconds < 10.0 && outcome.counts.acked > 0, "{:?}", outcome.counts);
}

#[test]
fn nobody_there_is_said_clearly() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let load = workload(1_000.0, 1.0);
    let run = |bootstrap: &str| {
        engine::run(&load, bootstrap, &Options::default(), &AtomicBool::new(false), &mut Unwatched)
    };
    let Err(RunError::Cluster(error)) = run(&free.to_string()) else { panic!("nobody is there") };
    assert!(error.0.contains("nothing listens there"), "{error}");
    let Err(RunError::Cluster(error)) = run("no such place") else { panic!("it is no address") };
    assert!(error.0.contains("cannot be resolved"), "{error}");
    let mut wrong = load.clone();
    wrong.topics.partitions = 4;
    let broker = NullBroker::start(Behaviour::default()).unwrap();
    let result = engine::run(
        &wrong,
        &broker.bootstrap(),
        &Options::default(),
        &AtomicBool::new(false),
        &mut Unwatched,
    );
    let Err(RunError::Cluster(error)) = result else { panic!("the topic has one partition") };
    assert!(error.0.contains("--create recreate"), "{error}");
}

#[test]
fn a_closed_loop_has_as_many_records_on_their_way_as_it_may() {
    let mut workload = workload(1_000_000.0, 1.0);
    workload.arrival = Arrival::Closed { records: 10 };
    workload.producers = 10;
    workload.batching = Batching::none();
    let outcome = run(&workload, Behaviour { delays: vec![(1, 20_000_000)], ..Behaviour::default() });
    check_sums(&outcome);
    assert!(outcome.verdict.is_valid(), "{:?}", outcome.verdict);
    let acked = outcome.counts.acked;
    // Ten every 20 ms at most; on a machine that is busy fewer.
    assert!((50..=520).contains(&acked), "{acked}");
    assert!(outcome.histograms[&Measure::Produce].min() >= 19_900_000, "none was answered sooner");
}

#[test]
fn what_was_written_is_read_afterwards() {
    let options = Options { read_afterwards: true, ..Options::default() };
    let mut workload = workload(4_000.0, 0.5);
    workload.topics.partitions = 3;
    let outcome = run_with(&workload, Behaviour::default(), &options);
    check_sums(&outcome);
    let read = outcome.catch_up.expect("it was measured");
    assert_eq!((read.records, read.bytes, outcome.counts.lost), (2_000, 200_000, 0));
    assert!(read.seconds > 0.0);
    assert!(
        !outcome.histograms.contains_key(&Measure::EndToEnd),
        "what waited for its reader has no latency"
    );
}

/// What a run has of a broker whose status socket gives these answers.
fn run_beside(name: &str, answers: Vec<String>) -> StagesRead {
    let path = std::env::temp_dir().join(format!("monedula-bench-{name}-{}.sock", std::process::id()));
    let listener = UnixListener::bind(&path).unwrap();
    let options = Options { broker_status: Some(path.clone()), ..Options::default() };
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut question = String::new();
                BufReader::new(&stream).read_line(&mut question).unwrap();
                assert_eq!(question, "status\n");
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        run_with(&workload(1_000.0, 0.5), Behaviour::default(), &options)
    });
    std::fs::remove_file(&path).unwrap();
    assert_eq!(outcome.counts.acked, 500, "whatever the broker says of itself, the load goes on");
    outcome.broker_stages.expect("it was asked for")
}

#[test]
fn a_broker_is_asked_for_its_own_stages() {
    let answer = |requests: u64, pid: u32| {
        let times =
            format!("\"count\": {requests}, \"sum_us\": {}, \"buckets\": [[70, {requests}]]", 70 * requests);
        format!(
            "{{\"form\": 1, \"version\": \"1.2\", \"pid\": {pid}, \"ledger\": true, \"shards\": [{{\"second\": null, \
             \"since_start\": [{{\"api\": \"produce\", \"total\": {{{times}}}, \"stages\": [{{\"stage\": \"disk\", {times}}}]}}]}}]}}"
        )
    };
    let process = std::process::id();
    let read = run_beside("stages", vec![answer(100, process), answer(600, process)]);
    let produce = &read.stages().expect("they were read").apis[0];
    assert_eq!((produce.total.count, produce.total.mean_us()), (500, 70.0));

    let StagesRead::NotRead(why) = run_beside("restart", vec![answer(100, process), answer(1, 1)]) else {
        panic!("another process has begun to count anew");
    };
    assert!(why.contains("started anew"), "{why}");
    let foreign = "{\"form\": 7, \"version\": \"9.0\"}".to_owned();
    let StagesRead::NotRead(why) = run_beside("foreign", vec![foreign.clone(), foreign]) else {
        panic!("nobody knows this form");
    };
    assert!(why.contains("another version") && why.contains("9.0"), "{why}");
}
