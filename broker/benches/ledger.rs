//! What the ledger costs: the same load on two brokers, one of them started with `--no-ledger`, in turns; and what it
//! costs to write down one request.
//!
//! ```text
//! cargo bench -p monedula-broker --bench ledger                       # 20 rounds of half a second each
//! MONEDULA_LEDGER_ROUNDS=60 cargo bench -p monedula-broker --bench ledger
//! ```
//!
//! A machine changes its speed by more than 1 % from minute to minute, so the brokers take turns, in changing order, and
//! what counts is the median of the ratios of neighbours. CPU a request is steadier than requests a second.

#![allow(clippy::disallowed_methods, reason = "a load has clocks, threads and files")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;
use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use broker::ids::ConnectionId;
use broker::ledger::{Api, Arrival, Gauges, Ledger, Passage, Trace};
use bytes::{BufMut, BytesMut};
use net::client::RequestEncoder;
use net::{ErrorCode, Part, Request};
use support::{Broker, TestDirectory, batch, produce_request, start_command};

const CONNECTIONS: i32 = 4;
const DEPTH: usize = 5;
const SLICE: Duration = Duration::from_millis(500);
const VALUE_BYTES: usize = 100;
const PRODUCE_VERSION: i16 = 7;

fn main() {
    // What `cargo test` passes to benches: there is nothing to test here.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    println!("to write down one request: {:.0} ns", nanoseconds_a_request());
    let rounds =
        std::env::var("MONEDULA_LEDGER_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let test = TestDirectory::new_in(&std::env::current_dir().expect("there is one"), "ledger-bench");
    let mut brokers = ["with", "without"].map(|name| Loaded::start(&test, name));
    for broker in &mut brokers {
        broker.slice();
    }
    let mut ratios = Vec::new();
    for round in 0..rounds {
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        let mut measured = [Slice::default(); 2];
        for place in order {
            measured[place] = brokers[place].slice();
        }
        let [with, without] = measured;
        println!(
            "round {round}: {:.0} requests/s with, {:.0} without; {:.2} and {:.2} µs of CPU a request",
            with.per_s, without.per_s, with.cpu_us, without.cpu_us
        );
        ratios.push((with.per_s / without.per_s, with.cpu_us / without.cpu_us));
    }
    let throughput = median(ratios.iter().map(|(per_s, _)| *per_s).collect());
    let cpu = median(ratios.iter().map(|(_, cpu)| *cpu).collect());
    println!(
        "with / without, medians of {rounds} rounds: requests/s {throughput:.4}, CPU a request {cpu:.4}"
    );
}

/// Of the bookkeeping alone, with everything in the caches.
fn nanoseconds_a_request() -> f64 {
    const REQUESTS: u64 = 1_000_000;
    let mut ledger = Ledger::new(0);
    let begun = Instant::now();
    for n in 0..REQUESTS {
        let at_us = n * 20;
        if n % 10 == 0 {
            ledger.begin_turn(at_us, Gauges::default());
        }
        ledger.request(200);
        let arrival =
            Arrival { api: Some(Api::Produce), bytes: 200, readable_us: at_us, parsed_us: at_us + 3 };
        let passage = Passage {
            at_owner_us: at_us + 5,
            in_block_us: at_us + 40 + n % 7,
            submitted_us: at_us + 50,
            durable_us: at_us + 300 + n % 91,
            found_us: 0,
        };
        let trace = black_box(Trace { arrival, passage });
        ledger.written(ConnectionId(1), &trace, at_us + 410, at_us + 420 + n % 13);
        if n % 10 == 9 {
            ledger.end_turn(at_us + 19);
        }
        if n % 50_000 == 0 {
            black_box(ledger.take_second(at_us, Gauges::default()));
        }
    }
    begun.elapsed().as_nanos() as f64 / REQUESTS as f64
}

/// What half a second of load came to.
#[derive(Clone, Copy, Default)]
struct Slice {
    per_s: f64,
    cpu_us: f64,
}

struct Loaded {
    broker: Broker,
    sockets: Vec<TcpStream>,
}

impl Loaded {
    fn start(test: &TestDirectory, name: &str) -> Loaded {
        let mut command = start_command(&test.path().join(name));
        if name == "without" {
            command.arg("--no-ledger");
        }
        let broker = Broker::start_with(command);
        assert_eq!(broker.client().create_topic("load", CONNECTIONS, &[]), ErrorCode::None);
        let connect = |address: SocketAddr| {
            let socket = TcpStream::connect(address).expect("a broker that is ready accepts connections");
            socket.set_nodelay(true).expect("a socket of TCP has this option");
            socket.set_read_timeout(Some(support::PATIENCE)).expect("a timeout can be set");
            socket
        };
        let sockets = (0..CONNECTIONS).map(|_| connect(broker.address)).collect();
        Loaded { broker, sockets }
    }

    fn slice(&mut self) -> Slice {
        let (cpu_before, begun) = (cpu_us(self.broker.pid()), Instant::now());
        let answered: u64 = std::thread::scope(|scope| {
            let loads: Vec<_> = (0..)
                .zip(&self.sockets)
                .map(|(partition, socket)| scope.spawn(move || load(socket, partition, begun + SLICE)))
                .collect();
            loads.into_iter().map(|load| load.join().expect("a load does not panic")).sum()
        });
        let cpu_us = cpu_us(self.broker.pid()) - cpu_before;
        Slice { per_s: answered as f64 / begun.elapsed().as_secs_f64(), cpu_us: cpu_us / answered as f64 }
    }
}

/// Keeps [`DEPTH`] requests in flight until then, and returns how many were answered.
fn load(mut socket: &TcpStream, partition: i32, until: Instant) -> u64 {
    let request = frame(partition);
    let mut answers = BufReader::new(socket);
    let mut answer = Vec::new();
    let mut answered = 0;
    socket.write_all(&request.repeat(DEPTH)).expect("a broker reads");
    let mut in_flight = DEPTH;
    while in_flight > 0 {
        let mut length = [0; 4];
        answers.read_exact(&mut length).expect("a broker answers");
        answer.resize(u32::from_be_bytes(length) as usize, 0);
        answers.read_exact(&mut answer).expect("a broker answers");
        answered += 1;
        in_flight -= 1;
        if Instant::now() < until {
            socket.write_all(&request).expect("a broker reads");
            in_flight += 1;
        }
    }
    answered
}

fn frame(partition: i32) -> BytesMut {
    let request = produce_request("load", partition, -1, batch(&[&[7; VALUE_BYTES]]));
    let mut encoder = RequestEncoder::new(Some("ledger-bench".into()));
    let encoded = encoder.encode(PRODUCE_VERSION, &Request::Produce(request)).expect("it has a form");
    let mut frame = BytesMut::new();
    for part in encoded.parts {
        match part {
            Part::Bytes(bytes) => frame.put_slice(&bytes),
            Part::File { .. } => unreachable!("a request has no files"),
        }
    }
    frame
}

/// CPU time of all threads of a process that live, microseconds: to the nanosecond, where `/proc/PID/stat` has ticks.
fn cpu_us(pid: u32) -> f64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let of_task = |entry: std::io::Result<std::fs::DirEntry>| {
        let text = std::fs::read_to_string(entry.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok()
    };
    tasks.filter_map(of_task).sum::<f64>() / 1e3
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
