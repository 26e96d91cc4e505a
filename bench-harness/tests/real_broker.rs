//! Against a real broker, when one is there:
//!
//! ```text
//! cargo build --release -p monedula-broker
//! MONEDULA=target/release/monedula cargo test --release -p monedula-bench --test real_broker -- --ignored
//! ```

#![allow(clippy::disallowed_methods, reason = "these tests start a process, and wait for what they caused")]

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use bench::engine::{self, Options, Unwatched};
use bench::outcome::{Measure, Outcome};
use bench::workload::{Codec, ConsumerMode, SizeDistribution, Workload};
use rustix::process::{Pid, Signal, kill_process};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The broker that `MONEDULA` names, in a directory of its own.
struct Broker {
    process: Child,
    data: PathBuf,
    bootstrap: String,
}

impl Broker {
    fn start() -> Self {
        let program = std::env::var_os("MONEDULA").expect("MONEDULA names the broker's executable");
        let port = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (port, core_port) = (port(), port());
        let data = std::env::temp_dir().join(format!("monedula-bench-{}-{port}", std::process::id()));
        let bootstrap = format!("127.0.0.1:{port}");
        let core = format!("127.0.0.1:{core_port}");
        let process = Command::new(program)
            .args(["start", "--cores", "0", "--listen", &bootstrap, "--core-listen", &core, "--data"])
            .arg(&data)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let until = Instant::now() + Duration::from_secs(30);
        while std::net::TcpStream::connect(&bootstrap).is_err() {
            assert!(Instant::now() < until, "the broker does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { process, data, bootstrap }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.process.id() as i32).unwrap();
        kill_process(pid, signal).unwrap();
    }

    fn run(&self, workload: &Workload) -> Outcome {
        let interrupt = AtomicBool::new(false);
        engine::run(workload, &self.bootstrap, &Options::default(), &interrupt, &mut Unwatched).unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have been stopped by a test.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

fn workload(rate: f64, seconds: f64) -> Workload {
    let mut workload = Workload {
        rate,
        duration_s: seconds,
        record_bytes: SizeDistribution::Fixed { bytes: 100 },
        ..Workload::default()
    };
    workload.warm_up.min_s = 1.0;
    workload
}

#[test]
#[ignore = "it needs a broker"]
fn a_process_that_is_stopped_for_half_a_second_delays_ten_thousand_records() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let broker = Broker::start();
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(2_500));
            broker.signal(Signal::STOP);
            std::thread::sleep(Duration::from_millis(500));
            broker.signal(Signal::CONT);
        });
        broker.run(&workload(20_000.0, 4.0))
    });
    let produce = &outcome.histograms[&Measure::Produce];
    let delayed = produce.count_between(50_000_000, 1_000_000_000);
    assert!(
        (8_000..=12_000).contains(&delayed),
        "{delayed} of {} were delayed by 50 ms and more",
        produce.len()
    );
    assert!(produce.max() >= 450_000_000, "{}", produce.max());
    assert_eq!((outcome.counts.acked, outcome.counts.lost), (80_000, 0));
}

#[test]
#[ignore = "it needs a broker"]
fn a_real_broker_loses_nothing() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let broker = Broker::start();
    let mut base = workload(5_000.0, 2.0);
    base.topics.partitions = 6;
    let mut group = Workload { idempotence: true, producers: 3, ..base.clone() };
    group.topics.name = "in-groups".to_owned();
    group.consumers.mode = ConsumerMode::Group;
    group.consumers.subscriptions = 2;
    group.consumers.per_subscription = 3;
    group.consumers.commit_interval_ms = 200;
    let mut loads = vec![group];
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let mut load = Workload { codec, ..base.clone() };
        load.topics.name = format!("{codec:?}").to_lowercase();
        loads.push(load);
    }
    for load in loads {
        let outcome = broker.run(&load);
        let counts = &outcome.counts;
        let times = load.consumers.subscriptions as u64;
        assert_eq!((counts.acked, counts.received), (10_000, times * 10_000), "{counts:?} of {load:?}");
        assert_eq!(counts.lost + counts.duplicated + counts.reordered + counts.corrupt, 0, "{counts:?}");
        let commits = outcome.histograms.contains_key(&Measure::Commit);
        assert_eq!(commits, load.consumers.mode == ConsumerMode::Group);
    }
}

#[test]
#[ignore = "it needs a broker"]
fn a_broker_that_is_killed_and_started_again_loses_nothing() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut broker = Broker::start();
    let load = Workload { idempotence: true, ..workload(2_000.0, 4.0) };
    let program = std::env::var_os("MONEDULA").unwrap();
    let (bootstrap, data) = (broker.bootstrap.clone(), broker.data.clone());
    let pid = Pid::from_raw(broker.process.id() as i32).unwrap();
    let (outcome, again) = std::thread::scope(|scope| {
        let again = scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(2_500));
            kill_process(pid, Signal::KILL).unwrap();
            std::thread::sleep(Duration::from_millis(300));
            Command::new(program)
                .args([
                    "start",
                    "--cores",
                    "0",
                    "--listen",
                    &bootstrap,
                    "--core-listen",
                    "127.0.0.1:0",
                    "--data",
                ])
                .arg(&data)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        });
        let interrupt = AtomicBool::new(false);
        let outcome = engine::run(&load, &bootstrap, &Options::default(), &interrupt, &mut Unwatched);
        (outcome.unwrap(), again.join().unwrap())
    });
    let _ = broker.process.wait();
    broker.process = again;
    let counts = &outcome.counts;
    assert_eq!((counts.acked, counts.lost, counts.duplicated), (8_000, 0, 0), "{counts:?}");
    assert!(counts.reconnects > 0, "{counts:?}");
}
