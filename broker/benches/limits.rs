//! What a broker reaches beside what the machine gives: one number a line, each as a ratio within one run, because
//! machine and hour decide absolute figures.
//!
//! ```text
//! cargo bench -p monedula-broker --bench limits
//! ```
//!
//! It starts brokers of its own in a directory below the current one, or below `MONEDULA_BENCH_DIR`: the disk is part of
//! what is measured.

#![allow(clippy::disallowed_methods, reason = "a bench has clocks, threads and files")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use net::ErrorCode;
use net::Request;
use net::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use storage::disk::AlignedBuffer;
use support::{Broker, Session, TestDirectory, batch, start_command};

/// Rounds of what is measured one at a time; the kinds take turns, so that each meets the same machine.
const ROUNDS: usize = 2_000;

/// How long the throughput of one shard is measured.
const STREAM: Duration = Duration::from_secs(5);

/// What a shard writes for a lone record: header, entry, batch.
const BLOCK_BYTES: usize = 4096;

/// What the least broker answers; about what a broker does.
const ANSWER_BYTES: usize = 64;

/// The core of all brokers with one shard, and that of a client who sends one request at a time.
const BROKER_CORE: usize = 0;
const CLIENT_CORE: usize = 1;

const TOPIC: &str = "limits";
const WIDE: i32 = 64;

fn main() {
    let parent = std::env::var_os("MONEDULA_BENCH_DIR")
        .map_or_else(|| Path::new(".").into(), std::path::PathBuf::from);
    let directory = TestDirectory::new_in(&parent, "limits");
    start_and_rest(directory.path());
    let broker = one_shard(&directory.path().join("one"));
    let mut session = broker.client();
    assert_eq!(session.create_topic(TOPIC, WIDE, &[]), ErrorCode::None);
    acknowledgement(directory.path(), &mut session);
    window(&mut session);
    let before = written_bytes(broker.pid());
    let records = small_records(&mut session);
    let written = written_bytes(broker.pid()) - before;
    println!("write amplification, 1 KB records one by one      {:.2}", written as f64 / records as f64);
    stream(&broker);
}

fn one_shard(data: &Path) -> Broker {
    let mut command = start_command(data);
    command.args(["--cores", &BROKER_CORE.to_string()]);
    Broker::start_with(command)
}

/// How long a start takes, and what a broker without work takes of memory and CPU.
fn start_and_rest(directory: &Path) {
    let data = directory.join("rest");
    Broker::start(&data).stop();
    let mut starts: Vec<Duration> = (0..9)
        .map(|_| {
            let begun = Instant::now();
            let broker = Broker::start(&data);
            let ready = begun.elapsed();
            broker.stop();
            ready
        })
        .collect();
    starts.sort_unstable();
    println!("start until ready, median and worst of 9          {:.0?} {:.0?}", starts[4], starts[8]);
    let broker = Broker::start(&data);
    std::thread::sleep(Duration::from_secs(1));
    let cpu_s = cpu_s(broker.pid());
    std::thread::sleep(Duration::from_secs(5));
    let cpu_percent = (self::cpu_s(broker.pid()) - cpu_s) / 5.0 * 100.0;
    println!(
        "idle: resident memory and CPU                     {} MB, {cpu_percent:.1} % of a core",
        resident_bytes(broker.pid()) >> 20
    );
    broker.stop();
}

/// A lone 1 KB record, acknowledged when durable, beside what it is made of: a round trip, a write, a flush, by the least
/// program that does them on the broker's core. Which core matters: the disk interrupts one of them, and to wake another
/// takes longer.
fn acknowledgement(directory: &Path, session: &mut Session) {
    let record = batch(&[&[7; 1024]]);
    let mut least = least_broker(&directory.join("raw"), record.len());
    let (mut floors, mut produces) = (Vec::new(), Vec::new());
    // In a thread of its own, as the rest of the bench shall run anywhere.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            pin_to(CLIENT_CORE);
            for _ in 0..ROUNDS {
                let begun = Instant::now();
                least.write_all(&record).expect("the peer is there");
                least.read_exact(&mut [0; ANSWER_BYTES]).expect("the peer answers");
                floors.push(begun.elapsed());
                let begun = Instant::now();
                session.produce(TOPIC, 0, -1, record.clone()).expect("it is acknowledged");
                produces.push(begun.elapsed());
            }
        });
    });
    let (floor, produce) = (median(floors), median(produces));
    println!(
        "one record, durable: median beside its floor      {produce:.0?} / {floor:.0?} = {:.2}",
        ratio(produce, floor)
    );
}

/// The same bytes in one request, to one partition or to 64: one flush for either.
fn window(session: &mut Session) {
    let narrow = batch(&[&[7u8; 1024][..]; WIDE as usize]);
    let single = batch(&[&[7; 1024]]);
    let one = request([(0, narrow)]);
    let many = request((0..WIDE).map(|partition| (partition, single.clone())));
    let (mut ones, mut manies) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS / 4 {
        for (request, times) in [(&one, &mut ones), (&many, &mut manies)] {
            let begun = Instant::now();
            send(session, request);
            times.push(begun.elapsed());
        }
    }
    let (one, many) = (median(ones), median(manies));
    println!(
        "64 KB to 64 partitions beside 64 KB to one        {many:.0?} / {one:.0?} = {:.2}",
        ratio(many, one)
    );
}

/// Returns the bytes that were produced.
fn small_records(session: &mut Session) -> u64 {
    let record = batch(&[&[7; 1024]]);
    for _ in 0..ROUNDS {
        session.produce(TOPIC, 1, -1, record.clone()).expect("it is acknowledged");
    }
    (ROUNDS * record.len()) as u64
}

/// One shard on one core: 1 KB records, a hundred to a batch, everything durable before it is acknowledged.
fn stream(broker: &Broker) {
    let sent = AtomicU64::new(0);
    let (cpu, written) = (cpu_s(broker.pid()), written_bytes(broker.pid()));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for partition in 0..4 {
            let (sent, address) = (&sent, broker.address);
            scope.spawn(move || stream_to(address, partition, begun, sent));
        }
    });
    let seconds = begun.elapsed().as_secs_f64();
    let bytes = sent.load(Ordering::Relaxed) as f64;
    let cpu = cpu_s(broker.pid()) - cpu;
    println!(
        "one shard, batches of 100 KB, durable             {:.0} MB/s, {:.2} ms of CPU per MB, {:.2} cores",
        bytes / seconds / 1e6,
        cpu / bytes * 1e9,
        cpu / seconds
    );
    let written = (written_bytes(broker.pid()) - written) as f64;
    println!("write amplification, batches of 100 KB            {:.2}", written / bytes);
}

/// Keeps four requests in flight.
fn stream_to(address: SocketAddr, partition: i32, begun: Instant, sent: &AtomicU64) {
    const DEPTH: usize = 4;
    let values = vec![[partition as u8; 1024]; 100];
    let values: Vec<&[u8]> = values.iter().map(|value| &value[..]).collect();
    let batch = batch(&values);
    let request = Request::Produce(request([(partition, batch.clone())]));
    let mut client = Session::connect(address).expect("the broker is there").0;
    let mut in_flight = 0;
    while in_flight > 0 || begun.elapsed() < STREAM {
        while in_flight < DEPTH && begun.elapsed() < STREAM {
            client.send(9, &request).expect("the broker reads");
            in_flight += 1;
        }
        if in_flight > 0 {
            client.receive().expect("the broker answers");
            in_flight -= 1;
            sent.fetch_add(batch.len() as u64, Ordering::Relaxed);
        }
    }
}

fn request(batches: impl IntoIterator<Item = (i32, bytes::Bytes)>) -> ProduceRequest {
    let partition = |(index, batch)| PartitionProduceData { index, records: Some(batch) };
    ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            name: TOPIC.to_owned(),
            partition_data: batches.into_iter().map(partition).collect(),
        }],
        ..ProduceRequest::default()
    }
}

fn send(session: &mut Session, request: &ProduceRequest) {
    let response = session.0.call(9, request.clone()).expect("the broker answers");
    for partition in &response.responses[0].partition_responses {
        assert_eq!(partition.error_code, ErrorCode::None);
    }
}

/// A peer on loopback that writes a block, flushes it and answers, as often as `request_bytes` come.
fn least_broker(path: &Path, request_bytes: usize) -> TcpStream {
    const FILE_BYTES: usize = 4 << 20;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(libc::O_DIRECT)
        .open(path)
        .expect("a file for direct writes");
    let zeros = AlignedBuffer::zeroed(FILE_BYTES);
    file.write_all_at(zeros.as_slice(), 0).expect("the disk takes it");
    file.sync_all().expect("the disk takes it");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        pin_to(BROKER_CORE);
        let (mut socket, _) = listener.accept().expect("the bench connects");
        socket.set_nodelay(true).expect("a socket");
        let mut request = vec![0; request_bytes];
        for position in (0..FILE_BYTES).step_by(BLOCK_BYTES).cycle() {
            if socket.read_exact(&mut request).is_err() {
                return;
            }
            file.write_all_at(&zeros.as_slice()[..BLOCK_BYTES], position as u64).expect("the disk takes it");
            file.sync_data().expect("the disk takes it");
            socket.write_all(&[0; ANSWER_BYTES]).expect("the bench reads");
        }
    });
    let socket = TcpStream::connect(address).expect("the peer listens");
    socket.set_nodelay(true).expect("a socket");
    socket
}

/// Where there are so many cores.
fn pin_to(core: usize) {
    if let Some(id) = core_affinity::get_core_ids().unwrap_or_default().get(core) {
        assert!(core_affinity::set_for_current(*id), "a thread may be pinned");
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn ratio(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64()
}

/// User and system time of a process.
fn cpu_s(pid: u32) -> f64 {
    /// USER_HZ is 100 on every Linux.
    const TICKS_PER_S: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let fields: Vec<&str> = stat[stat.rfind(')').expect("a name in brackets")..].split(' ').collect();
    let ticks = |place: usize| fields[place].parse::<f64>().expect("a number");
    (ticks(12) + ticks(13)) / TICKS_PER_S
}

fn written_bytes(pid: u32) -> u64 {
    number_of(&format!("/proc/{pid}/io"), "write_bytes:")
}

fn resident_bytes(pid: u32) -> u64 {
    number_of(&format!("/proc/{pid}/status"), "VmRSS:") << 10
}

fn number_of(path: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(path).expect("the process runs");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel tells it");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
