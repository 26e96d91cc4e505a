//! What the ledger costs, shown in two ways that noise cannot drown.
//!
//! **By its parts.** What a broker with a ledger does more is bookkeeping and readings of the clock. Both are timed alone,
//! the bookkeeping with all caches emptied before each turn too, multiplied by how often a request needs them (the broker
//! itself tells of its turns), and divided by the CPU time of a request.
//!
//! **By comparison.** The same load on one broker that keeps a ledger and does not, in turns of a tenth of a second
//! (`monedula ledger on` and `off`); what counts is the CPU time of a request. It must be one process: of two that do the
//! same, one may be several percent faster for its whole life, by where its memory and its files happen to lie. And a machine
//! changes its speed by more than 1 % from second to second, so each slice is compared with its neighbour alone, in an order
//! drawn by lot, and the answer is a trimmed mean of several hundred such pairs with its confidence interval. A third slice
//! of each round, like the first, shows what the method finds where there is nothing to be found.
//!
//! ```text
//! cargo bench -p monedula-broker --bench ledger
//! MONEDULA_LEDGER_ROUNDS=400 MONEDULA_LEDGER_ROUNDS_FILE=rounds.txt cargo bench -p monedula-broker --bench ledger
//! ```
//!
//! With a file of rounds, those of earlier calls count too, so a long comparison can be made in pieces.

#![allow(clippy::disallowed_methods, reason = "a load has clocks, threads and files")]
#![allow(unsafe_code, reason = "the clock of another process is asked of the kernel; proven where it stands")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;
use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use broker::ids::ConnectionId;
use broker::ledger::{Api, Arrival, Gauges, Ledger, Passage, Trace};
use bytes::{BufMut, BytesMut};
use net::client::RequestEncoder;
use net::{ErrorCode, Part, Request};
use support::{Broker, Random, TestDirectory, batch, produce_request, start_command};

const CONNECTIONS: i32 = 4;
const DEPTH: usize = 5;
const SLICE: Duration = Duration::from_millis(100);

/// Before a slice, for all that the change of kinds brings with it.
const SETTLE: Duration = Duration::from_millis(50);
const VALUE_BYTES: usize = 100;
const PRODUCE_VERSION: i16 = 7;

/// Rounds, unless another number is asked for: a minute and a half.
const ROUNDS: usize = 200;

/// The slices of a round: with a ledger, without one, and with one again.
const WITH: usize = 0;
const WITHOUT: usize = 1;
const AGAIN: usize = 2;

/// Slices before the first that counts.
const WARM_UP_SLICES: usize = 10;

/// Requests that a turn takes up, when the bookkeeping is timed.
const REQUESTS_PER_TURN: u64 = 10;

/// Readings of the clock that a turn makes for the ledger, at most: one at its end, and one for what is queued.
const READINGS_PER_TURN: f64 = 2.0;

/// The share at each end of the sorted pairs that does not count: slices in which the core was taken away.
const TRIMMED: f64 = 0.2;

/// Resamples of the pairs for their confidence interval.
const RESAMPLES: usize = 4_000;

fn main() {
    // What `cargo test` passes to benches: there is nothing to test here.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let rounds =
        std::env::var("MONEDULA_LEDGER_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    let test = TestDirectory::new_in(&std::env::current_dir().expect("there is one"), "ledger-bench");
    let mut broker = Loaded::start(test.path());
    for slice in 0..WARM_UP_SLICES {
        broker.slice(slice % 2 == 0);
    }
    let turns_per_request = broker.turns_per_request();
    let mut random = Random::new(u64::from(std::process::id()));
    let mut rounds: Vec<[Slice; 3]> = (0..rounds)
        .map(|_| {
            let mut measured = [Slice::default(); 3];
            let mut order = [WITH, WITHOUT, AGAIN];
            for place in (1..order.len()).rev() {
                order.swap(place, random.below(place as u64 + 1) as usize);
            }
            order.into_iter().for_each(|kind| measured[kind] = broker.slice(kind != WITHOUT));
            measured
        })
        .collect();
    by_parts(&rounds, turns_per_request);
    if let Some(path) = std::env::var_os("MONEDULA_LEDGER_ROUNDS_FILE") {
        rounds = with_earlier(Path::new(&path), &rounds);
    }
    by_comparison("with the ledger", &rounds, &[WITH, AGAIN], WITHOUT);
    by_comparison("with the ledger against itself", &rounds, &[AGAIN], WITH);
}

/// Bookkeeping and clocks, each by itself.
fn by_parts(rounds: &[[Slice; 3]], turns_per_request: f64) {
    let cpu_us = median(rounds.iter().map(|slices| slices[WITH].cpu_us).collect());
    let (warm_ns, cold_ns) = (bookkeeping_ns(false), bookkeeping_ns(true));
    let reading_ns = clock_reading_ns();
    let readings = READINGS_PER_TURN * turns_per_request;
    println!("a request takes {cpu_us:.2} µs of CPU, and {turns_per_request:.3} of a turn");
    println!(
        "bookkeeping of a request: {warm_ns:.0} ns, {cold_ns:.0} ns when every turn finds the caches empty"
    );
    println!("readings of the clock: {readings:.2} of {reading_ns:.0} ns");
    let share = |bookkeeping_ns: f64| (bookkeeping_ns + readings * reading_ns) / cpu_us / 10.0;
    println!(
        "by parts: {:.2} % of the CPU of a request, {:.2} % with empty caches",
        share(warm_ns),
        share(cold_ns)
    );
}

/// Some slices of a round beside another of it, round by round.
fn by_comparison(what: &str, rounds: &[[Slice; 3]], these: &[usize], other: usize) {
    type Figure = fn(&Slice) -> f64;
    let figures: [(&str, Figure); 2] =
        [("CPU a request", |slice| slice.cpu_us), ("requests a second", |slice| slice.per_s)];
    for (name, figure) in figures {
        let log = |slices: &[Slice; 3]| {
            let logs = these.iter().map(|this| (figure(&slices[*this]) / figure(&slices[other])).ln());
            logs.sum::<f64>() / these.len() as f64
        };
        let logs: Vec<f64> = rounds.iter().map(log).collect();
        let (middle, low, high) = trimmed_mean_with_band(&logs);
        let percent = |log: f64| (log.exp() - 1.0) * 100.0;
        println!(
            "by comparison: {name} {:+.2} % {what}, 95 % from {:+.2} to {:+.2} %, of {} rounds",
            percent(middle),
            percent(low),
            percent(high),
            logs.len()
        );
    }
}

/// Adds rounds to those of a file, and returns all.
fn with_earlier(path: &Path, rounds: &[[Slice; 3]]) -> Vec<[Slice; 3]> {
    let mut text = std::fs::read_to_string(path).unwrap_or_default();
    for slices in rounds {
        let numbers: Vec<String> =
            slices.iter().map(|slice| format!("{} {}", slice.cpu_us, slice.per_s)).collect();
        text += &(numbers.join(" ") + "\n");
    }
    std::fs::write(path, &text).expect("the file of rounds can be written");
    let of_line = |line: &str| {
        let numbers: Vec<f64> =
            line.split_whitespace().map(|word| word.parse().expect("a line has six numbers")).collect();
        [WITH, WITHOUT, AGAIN].map(|kind| Slice { cpu_us: numbers[2 * kind], per_s: numbers[2 * kind + 1] })
    };
    text.lines().map(of_line).collect()
}

/// The mean without the ends, and its confidence interval by resampling.
fn trimmed_mean_with_band(values: &[f64]) -> (f64, f64, f64) {
    let mut random = Random::new(7);
    let mut means: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let drawn = (0..values.len()).map(|_| values[random.below(values.len() as u64) as usize]);
            trimmed_mean(drawn.collect())
        })
        .collect();
    means.sort_by(f64::total_cmp);
    let at = |share: f64| means[((means.len() - 1) as f64 * share) as usize];
    (trimmed_mean(values.to_vec()), at(0.025), at(0.975))
}

fn trimmed_mean(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let cut = (values.len() as f64 * TRIMMED) as usize;
    let kept = &values[cut..values.len() - cut];
    kept.iter().sum::<f64>() / kept.len() as f64
}

/// Nanoseconds that a request takes in the ledger, those of its turn and second included. With `cold`, the caches are
/// emptied before every turn, and the time of that does not count.
fn bookkeeping_ns(cold: bool) -> f64 {
    const REQUESTS: u64 = 1_000_000;
    // Emptying takes a thousand times as long as what is timed.
    let requests = if cold { REQUESTS / 100 } else { REQUESTS };
    let mut ledger = Ledger::new(0);
    let mut ballast = vec![1u8; if cold { 48 << 20 } else { 0 }];
    let mut spent = Duration::ZERO;
    for turn in 0..requests / REQUESTS_PER_TURN {
        for place in (0..ballast.len()).step_by(64) {
            ballast[place] = ballast[place].wrapping_add(1);
        }
        black_box(&mut ballast);
        let begun = Instant::now();
        ledger.begin_turn(turn * 200, Gauges::default());
        for n in turn * REQUESTS_PER_TURN..(turn + 1) * REQUESTS_PER_TURN {
            one_request(&mut ledger, n);
        }
        ledger.end_turn(turn * 200 + 190);
        if turn % 2_500 == 0 {
            black_box(ledger.take_second(turn * 200, Gauges::default()));
        }
        spent += begun.elapsed();
    }
    spent.as_nanos() as f64 / requests as f64
}

fn one_request(ledger: &mut Ledger, n: u64) {
    let at_us = n * 20;
    ledger.request(200);
    let arrival = Arrival { api: Some(Api::Produce), bytes: 200, readable_us: at_us, parsed_us: at_us + 3 };
    let passage = Passage {
        at_owner_us: at_us + 5,
        in_block_us: at_us + 40 + n % 7,
        submitted_us: at_us + 50,
        durable_us: at_us + 300 + n % 91,
        found_us: 0,
    };
    let trace = black_box(Trace { arrival, passage });
    ledger.written(ConnectionId(1), &trace, at_us + 410, at_us + 420 + n % 13);
}

fn clock_reading_ns() -> f64 {
    const READINGS: u32 = 1_000_000;
    let begun = Instant::now();
    for _ in 0..READINGS {
        black_box(begun.elapsed().as_micros());
    }
    begun.elapsed().as_nanos() as f64 / f64::from(READINGS)
}

/// What a slice of load came to.
#[derive(Clone, Copy, Default)]
struct Slice {
    per_s: f64,
    cpu_us: f64,
}

struct Loaded {
    broker: Broker,
    status: PathBuf,
    sockets: Vec<TcpStream>,
}

impl Loaded {
    fn start(data: &Path) -> Loaded {
        // On one core, with the load on the others if there are any: then a request costs what it costs.
        let mut command = start_command(data);
        command.args(["--cores", "0"]);
        let broker = Broker::start_with(command);
        assert_eq!(broker.client().create_topic("load", CONNECTIONS, &[]), ErrorCode::None);
        let connect = |address: SocketAddr| {
            let socket = TcpStream::connect(address).expect("a broker that is ready accepts connections");
            socket.set_nodelay(true).expect("a socket of TCP has this option");
            socket.set_read_timeout(Some(support::PATIENCE)).expect("a timeout can be set");
            socket
        };
        let sockets = (0..CONNECTIONS).map(|_| connect(broker.address)).collect();
        Loaded { broker, status: data.join("monedula.sock"), sockets }
    }

    fn ask(&self, question: &str) -> serde_json::Value {
        let mut stream = UnixStream::connect(&self.status).expect("a broker listens");
        stream.write_all(format!("{question}\n").as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        serde_json::from_str(&answer).expect("it answers in JSON")
    }

    /// Of all shards during a second of load, as the broker itself tells.
    fn turns_per_request(&mut self) -> f64 {
        self.slice(true);
        self.load_for(Duration::from_secs(3));
        let status = self.ask("status");
        let shards = status["shards"].as_array().expect("a list");
        let sum = |name: &str| shards.iter().filter_map(|shard| shard["second"][name].as_f64()).sum::<f64>();
        sum("turns_per_s") / sum("requests_per_s").max(1.0)
    }

    fn slice(&mut self, ledger: bool) -> Slice {
        let answer = self.ask(if ledger { "ledger on" } else { "ledger off" });
        assert_eq!(answer["ledger"], ledger);
        // The shard hears of it in its next turn.
        self.load_for(SETTLE);
        self.load_for(SLICE)
    }

    fn load_for(&mut self, duration: Duration) -> Slice {
        let (cpu_before, begun) = (cpu_us(self.broker.pid()), Instant::now());
        let answered: u64 = std::thread::scope(|scope| {
            let loads: Vec<_> = (0..)
                .zip(&self.sockets)
                .map(|(partition, socket)| {
                    scope.spawn(move || {
                        keep_off_the_brokers_core();
                        load(socket, partition, begun + duration)
                    })
                })
                .collect();
            loads.into_iter().map(|load| load.join().expect("a load does not panic")).sum()
        });
        let cpu_us = cpu_us(self.broker.pid()) - cpu_before;
        Slice { per_s: answered as f64 / begun.elapsed().as_secs_f64(), cpu_us: cpu_us / answered as f64 }
    }
}

fn keep_off_the_brokers_core() {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    if let Some(last) = cores.last().filter(|_| cores.len() > 1) {
        core_affinity::set_for_current(*last);
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

/// CPU time of a process, threads that have ended included, microseconds: to the nanosecond, where `/proc/PID/stat` has
/// ticks.
fn cpu_us(pid: u32) -> f64 {
    let mut clock = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both calls write into a value that is alive, and the second reads the clock that the first has named.
    let results = unsafe {
        [libc::clock_getcpuclockid(pid as libc::pid_t, &mut clock), libc::clock_gettime(clock, &mut time)]
    };
    assert_eq!(results, [0, 0], "a process that runs has a clock");
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
