//! The load that `run.sh` puts on two brokers to compare them; knows nothing of either.
//!
//! ```text
//! load create  BOOTSTRAP TOPIC PARTITIONS [KEY=VALUE...]
//! load open    BOOTSTRAP TOPIC --pid PID --seconds S --rate R        latency from the intended time of each request
//! load closed  BOOTSTRAP TOPIC --pid PID --seconds S --records N --connections C --depth D
//! load fill    BOOTSTRAP TOPIC --pid PID --bytes B                   to read afterwards
//! load read    BOOTSTRAP TOPIC --pid PID                             every partition from its start to its end
//! ```
//!
//! Each prints one JSON object. Requests are encoded before the clock starts and responses are looked at only for their
//! error, so that what is measured is the broker; CPU is what `/proc/PID/stat` says of it.

#![allow(clippy::disallowed_methods, reason = "a load has clocks, threads and files")]

use std::error::Error;
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::{BufMut, Bytes, BytesMut};
use hdrhistogram::Histogram;
use net::ErrorCode;
use net::client::RequestEncoder;
use net::client::blocking::Client;
use net::messages::create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use net::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use net::messages::metadata::{MetadataRequest, MetadataRequestTopic};
use net::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use net::{Part, Request};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Bytes of a record's value.
const VALUE_BYTES: usize = 1024;
/// The last versions before the flexible ones: their responses can be read without a decoder.
const PRODUCE_VERSION: i16 = 7;
const FETCH_VERSION: i16 = 4;
/// What a fetch asks for, of Kafka's own clients' order of magnitude.
const FETCH_BYTES: i32 = 4 << 20;
/// Ticks of `/proc/PID/stat` in a second: USER_HZ is 100 on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;
const SOCKET_TIMEOUT: Duration = Duration::from_secs(30);

fn main() -> Outcome<()> {
    // Sleeps end when they should, not up to 50 µs later. Threads inherit it; without the file it stays as it was.
    let _ = std::fs::write("/proc/self/timerslack_ns", "1");
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [command, bootstrap, topic, rest @ ..] = &arguments[..] else {
        return Err("load COMMAND BOOTSTRAP TOPIC …".into());
    };
    if command == "create" {
        return create(bootstrap, topic, rest);
    }
    let options = Options::parse(rest)?;
    let target = Target { topic: topic.clone(), leaders: leaders(bootstrap, topic)? };
    let report = match command.as_str() {
        "open" => open(&target, &options)?,
        "closed" => closed(&target, &options)?,
        "fill" => fill(&target, &options)?,
        "read" => read(&target, &options)?,
        other => return Err(format!("no command {other}").into()),
    };
    println!("{report}");
    Ok(())
}

/// A topic, and where the leader of each partition listens.
struct Target {
    topic: String,
    leaders: Vec<String>,
}

struct Options {
    pid: u32,
    seconds: f64,
    rate: u64,
    records: usize,
    connections: usize,
    depth: usize,
    bytes: u64,
}

impl Options {
    fn parse(words: &[String]) -> Outcome<Self> {
        let mut options =
            Self { pid: 0, seconds: 5.0, rate: 1000, records: 1, connections: 4, depth: 5, bytes: 1 << 30 };
        for pair in words.chunks(2) {
            let [name, value] = pair else { return Err(format!("{} wants a value", pair[0]).into()) };
            match name.as_str() {
                "--pid" => options.pid = value.parse()?,
                "--seconds" => options.seconds = value.parse()?,
                "--rate" => options.rate = value.parse()?,
                "--records" => options.records = value.parse()?,
                "--connections" => options.connections = value.parse()?,
                "--depth" => options.depth = value.parse()?,
                "--bytes" => options.bytes = value.parse()?,
                other => return Err(format!("no option {other}").into()),
            }
        }
        Ok(options)
    }
}

// ---- topics ---------------------------------------------------------------------------------------------------

fn create(bootstrap: &str, topic: &str, rest: &[String]) -> Outcome<()> {
    let (partitions, configs) = rest.split_first().ok_or("create wants a number of partitions")?;
    let config = |pair: &String| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        CreatableTopicConfig { name: name.to_owned(), value: Some(value.to_owned()) }
    };
    let request = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: topic.to_owned(),
            num_partitions: partitions.parse()?,
            replication_factor: 1,
            configs: configs.iter().map(config).collect(),
            ..CreatableTopic::default()
        }],
        timeout_ms: 30_000,
        ..CreateTopicsRequest::default()
    };
    let response = connect(bootstrap)?.call(4, request)?;
    match response.topics.first().map(|topic| topic.error_code) {
        Some(ErrorCode::None) => Ok(()),
        other => Err(format!("create {topic}: {other:?}").into()),
    }
}

/// Asks until every partition has a leader: a broker may need a moment for a new topic.
fn leaders(bootstrap: &str, topic: &str) -> Outcome<Vec<String>> {
    let mut client = connect(bootstrap)?;
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let named = MetadataRequestTopic { name: Some(topic.to_owned()), ..MetadataRequestTopic::default() };
        let request = MetadataRequest { topics: Some(vec![named]), ..MetadataRequest::default() };
        let response = client.call(4, request)?;
        let answered = response.topics.first().ok_or("no topic in the metadata")?;
        let mut partitions: Vec<_> = answered.partitions.iter().collect();
        partitions.sort_by_key(|partition| partition.partition_index);
        let found: Option<Vec<String>> = partitions
            .iter()
            .map(|partition| response.brokers.iter().find(|broker| broker.node_id == partition.leader_id))
            .map(|broker| broker.map(|broker| format!("{}:{}", broker.host, broker.port)))
            .collect();
        match found {
            Some(found) if !found.is_empty() && answered.error_code == ErrorCode::None => return Ok(found),
            _ if Instant::now() > until => return Err(format!("{topic}: {answered:?}").into()),
            _ => thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn connect(address: &str) -> Outcome<Client> {
    let mut client = Client::connect(address).map_err(|error| format!("{address}: {error}"))?;
    client.set_timeout(Some(SOCKET_TIMEOUT))?;
    Ok(client)
}

// ---- produce --------------------------------------------------------------------------------------------------

/// Sends at fixed times, whatever the answers do, one record a request, round the partitions. One connection for each
/// partition, and on it any number of requests in flight.
fn open(target: &Target, options: &Options) -> Outcome<String> {
    let count = (options.rate as f64 * options.seconds) as u64;
    let partitions = target.leaders.len() as u64;
    let interval = Duration::from_nanos(1_000_000_000 / options.rate);
    let mut sockets = Vec::new();
    let mut frames = Vec::new();
    for (partition, leader) in target.leaders.iter().enumerate() {
        sockets.push(plain_socket(leader)?);
        frames.push(produce_frame(&target.topic, partition, 1)?);
    }
    let cpu = Cpu::of(options.pid);
    let start = Instant::now() + Duration::from_millis(50);
    let readers: Vec<_> = (0..partitions)
        .map(|partition| -> Outcome<_> {
            let socket = sockets[partition as usize].try_clone()?;
            let mut responses = ProduceResponses::new(socket, &target.topic);
            Ok(thread::spawn(move || -> Outcome<Histogram<u64>> {
                let mut latencies = histogram();
                for index in (partition..count).step_by(partitions as usize) {
                    responses.next()?;
                    latencies
                        .saturating_record((start + interval * index as u32).elapsed().as_nanos() as u64);
                }
                Ok(latencies)
            }))
        })
        .collect::<Outcome<_>>()?;
    let mut late = histogram();
    for index in 0..count {
        let intended = start + interval * index as u32;
        thread::sleep(intended.saturating_duration_since(Instant::now()));
        late.saturating_record(intended.elapsed().as_nanos() as u64);
        let partition = (index % partitions) as usize;
        sockets[partition].write_all(&frames[partition])?;
    }
    let mut latencies = histogram();
    for reader in readers {
        latencies.add(reader.join().map_err(|_| "a reader panicked")??)?;
    }
    let (seconds, cpu_s) = (start.elapsed().as_secs_f64(), cpu.seconds());
    let us = |quantile: f64| latencies.value_at_quantile(quantile) as f64 / 1000.0;
    Ok(format!(
        "{{\"requests\": {count}, \"rate\": {:.1}, \"p50_us\": {:.1}, \"p99_us\": {:.1}, \"p999_us\": {:.1}, \
         \"max_us\": {:.1}, \"late_p999_us\": {:.1}, \"cpu_us_per_request\": {:.2}}}",
        count as f64 / seconds,
        us(0.5),
        us(0.99),
        us(0.999),
        latencies.max() as f64 / 1000.0,
        late.value_at_quantile(0.999) as f64 / 1000.0,
        cpu_s * 1e6 / count as f64,
    ))
}

/// Keeps `depth` requests in flight on each connection for the time that is given.
fn closed(target: &Target, options: &Options) -> Outcome<String> {
    let length = Duration::from_secs_f64(options.seconds);
    saturate(target, options, move |_, elapsed| elapsed < length)
}

/// Writes so many bytes, a hundred records a request.
fn fill(target: &Target, options: &Options) -> Outcome<String> {
    let frame = produce_frame(&target.topic, 0, options.records)?.len() as u64;
    let each = options.bytes / frame / options.connections as u64;
    saturate(target, options, move |sent, _| sent < each)
}

fn saturate(
    target: &Target,
    options: &Options,
    more: impl Fn(u64, Duration) -> bool + Copy + Send + 'static,
) -> Outcome<String> {
    let barrier = Arc::new(Barrier::new(options.connections + 1));
    let mut connections = Vec::new();
    for connection in 0..options.connections {
        let partition = connection % target.leaders.len();
        let mut socket = plain_socket(&target.leaders[partition])?;
        let frame = produce_frame(&target.topic, partition, options.records)?;
        let mut responses = ProduceResponses::new(socket.try_clone()?, &target.topic);
        let (barrier, depth) = (Arc::clone(&barrier), options.depth as u64);
        connections.push(thread::spawn(move || -> Outcome<(u64, Histogram<u64>)> {
            barrier.wait();
            let start = Instant::now();
            let mut sent_at = std::collections::VecDeque::new();
            let (mut sent, mut received, mut latencies) = (0, 0, histogram());
            loop {
                while sent - received < depth && more(sent, start.elapsed()) {
                    sent_at.push_back(Instant::now());
                    socket.write_all(&frame)?;
                    sent += 1;
                }
                let Some(at) = sent_at.pop_front() else { return Ok((received, latencies)) };
                responses.next()?;
                latencies.saturating_record(at.elapsed().as_nanos() as u64);
                received += 1;
            }
        }));
    }
    let cpu = Cpu::of(options.pid);
    barrier.wait();
    let start = Instant::now();
    let (mut requests, mut latencies) = (0, histogram());
    for connection in connections {
        let (received, seen) = connection.join().map_err(|_| "a connection panicked")??;
        requests += received;
        latencies.add(seen)?;
    }
    let (seconds, cpu_s) = (start.elapsed().as_secs_f64(), cpu.seconds());
    let records = requests as f64 * options.records as f64;
    Ok(format!(
        "{{\"requests\": {requests}, \"rate\": {:.1}, \"records_per_s\": {:.1}, \"mb_per_s\": {:.2}, \
         \"p50_us\": {:.1}, \"p99_us\": {:.1}, \"cpu_us_per_request\": {:.2}, \"cpu_cores\": {:.3}}}",
        requests as f64 / seconds,
        records / seconds,
        records * VALUE_BYTES as f64 / seconds / 1e6,
        latencies.value_at_quantile(0.5) as f64 / 1000.0,
        latencies.value_at_quantile(0.99) as f64 / 1000.0,
        cpu_s * 1e6 / requests as f64,
        cpu_s / seconds,
    ))
}

/// A whole request, length prefix included, of one batch with so many records.
fn produce_frame(topic: &str, partition: usize, records: usize) -> Outcome<Vec<u8>> {
    let partition_data =
        vec![PartitionProduceData { index: partition as i32, records: Some(batch(records)) }];
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData { name: topic.to_owned(), partition_data }],
        ..ProduceRequest::default()
    };
    encode(PRODUCE_VERSION, request.into())
}

fn encode(version: i16, request: Request) -> Outcome<Vec<u8>> {
    let encoded = RequestEncoder::new(Some("load".into())).encode(version, &request)?;
    let bytes = encoded.parts.iter().flat_map(|part| match part {
        Part::Bytes(bytes) => bytes.to_vec(),
        Part::File { .. } => unreachable!("a request carries no file range"),
    });
    Ok(bytes.collect())
}

/// A record batch of format v2 without compression, its values not compressible either.
fn batch(records: usize) -> Bytes {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    let mut body = BytesMut::new();
    body.put_i16(0); // attributes
    body.put_i32(records as i32 - 1);
    body.put_i64(now_ms);
    body.put_i64(now_ms);
    body.put_i64(-1); // producer id
    body.put_i16(-1);
    body.put_i32(-1);
    body.put_i32(records as i32);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for index in 0..records {
        let mut record = BytesMut::new();
        record.put_i8(0); // attributes
        put_varint(&mut record, 0);
        put_varint(&mut record, index as i64);
        put_varint(&mut record, -1); // no key
        put_varint(&mut record, VALUE_BYTES as i64);
        for _ in 0..VALUE_BYTES / 8 {
            state = state.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
            record.put_u64(state ^ (state >> 29));
        }
        put_varint(&mut record, 0); // headers
        put_varint(&mut body, record.len() as i64);
        body.put(record);
    }
    let mut batch = BytesMut::new();
    batch.put_i64(0); // base offset
    batch.put_i32(4 + 1 + 4 + body.len() as i32);
    batch.put_i32(-1); // leader epoch
    batch.put_i8(2); // magic
    batch.put_u32(crc32c::crc32c(&body));
    batch.put(body);
    batch.freeze()
}

fn put_varint(to: &mut BytesMut, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        to.put_u8(rest as u8 | 0x80);
        rest >>= 7;
    }
    to.put_u8(rest as u8);
}

/// Reads the responses to produce requests of one partition and looks for their error.
struct ProduceResponses {
    socket: BufReader<TcpStream>,
    error_at: usize,
    buffer: Vec<u8>,
}

impl ProduceResponses {
    fn new(socket: TcpStream, topic: &str) -> Self {
        // Correlation id, topics, name, partitions, index.
        let error_at = 4 + 4 + 2 + topic.len() + 4 + 4;
        Self { socket: BufReader::with_capacity(1 << 16, socket), error_at, buffer: Vec::new() }
    }

    fn next(&mut self) -> Outcome<()> {
        read_frame(&mut self.socket, &mut self.buffer)?;
        match i16_at(&self.buffer, self.error_at) {
            Some(0) => Ok(()),
            other => Err(format!("a produce was answered with error {other:?}").into()),
        }
    }
}

// ---- fetch ----------------------------------------------------------------------------------------------------

/// Reads every partition from its start to its end, a connection and a thread for each.
fn read(target: &Target, options: &Options) -> Outcome<String> {
    let barrier = Arc::new(Barrier::new(target.leaders.len() + 1));
    let mut connections = Vec::new();
    for (partition, leader) in target.leaders.iter().enumerate() {
        let mut socket = plain_socket(leader)?;
        let (topic, barrier) = (target.topic.clone(), Arc::clone(&barrier));
        connections.push(thread::spawn(move || -> Outcome<u64> {
            barrier.wait();
            read_partition(&mut socket, &topic, partition)
        }));
    }
    let cpu = Cpu::of(options.pid);
    barrier.wait();
    let start = Instant::now();
    let mut bytes = 0;
    for connection in connections {
        bytes += connection.join().map_err(|_| "a connection panicked")??;
    }
    let (seconds, cpu_s) = (start.elapsed().as_secs_f64(), cpu.seconds());
    let gigabytes = bytes as f64 / 1e9;
    Ok(format!(
        "{{\"gb\": {gigabytes:.3}, \"seconds\": {seconds:.3}, \"gb_per_s\": {:.3}, \"cpu_s_per_gb\": {:.3}}}",
        gigabytes / seconds,
        cpu_s / gigabytes,
    ))
}

fn read_partition(socket: &mut TcpStream, topic: &str, partition: usize) -> Outcome<u64> {
    let (mut offset, mut bytes, mut buffer) = (0, 0, Vec::new());
    loop {
        let asked = FetchPartition {
            partition: partition as i32,
            fetch_offset: offset,
            partition_max_bytes: FETCH_BYTES,
            ..FetchPartition::default()
        };
        let request = FetchRequest {
            max_wait_ms: 500,
            min_bytes: 1,
            max_bytes: 50 << 20,
            topics: vec![FetchTopic { topic: topic.to_owned(), partitions: vec![asked] }],
            ..FetchRequest::default()
        };
        socket.write_all(&encode(FETCH_VERSION, request.into())?)?;
        read_frame(socket, &mut buffer)?;
        let fetched = Fetched::parse(&buffer, topic).ok_or("a fetch response that is cut off")?;
        if fetched.error != 0 {
            return Err(format!("a fetch was answered with error {}", fetched.error).into());
        }
        bytes += fetched.records.len() as u64;
        offset = next_offset(fetched.records).unwrap_or(offset);
        if offset >= fetched.high_watermark {
            return Ok(bytes);
        }
    }
}

/// What a fetch response of version 4 says of its only partition.
struct Fetched<'a> {
    error: i16,
    high_watermark: i64,
    records: &'a [u8],
}

impl<'a> Fetched<'a> {
    fn parse(frame: &'a [u8], topic: &str) -> Option<Self> {
        // Correlation id, throttle time, topics, name, partitions, index; then the partition.
        let at = 4 + 4 + 4 + 2 + topic.len() + 4 + 4;
        let aborted = i32_at(frame, at + 18)?.max(0) as usize;
        let records = frame.get(at + 22 + 16 * aborted + 4..)?;
        Some(Self { error: i16_at(frame, at)?, high_watermark: i64_at(frame, at + 2)?, records })
    }
}

/// The offset after the last whole batch. The last one may be cut off.
fn next_offset(records: &[u8]) -> Option<i64> {
    let (mut at, mut next) = (0, None);
    while let (Some(base), Some(length)) = (i64_at(records, at), i32_at(records, at + 8)) {
        let end = at + 12 + length as usize;
        if end > records.len() {
            break;
        }
        next = Some(base + i64::from(i32_at(records, at + 23)?) + 1);
        at = end;
    }
    next
}

// ---- helpers --------------------------------------------------------------------------------------------------

fn plain_socket(address: &str) -> Outcome<TcpStream> {
    let socket = TcpStream::connect(address).map_err(|error| format!("{address}: {error}"))?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(SOCKET_TIMEOUT))?;
    socket.set_write_timeout(Some(SOCKET_TIMEOUT))?;
    Ok(socket)
}

fn read_frame(socket: &mut impl Read, buffer: &mut Vec<u8>) -> Outcome<()> {
    let mut length = [0; 4];
    socket.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    buffer.resize(length, 0);
    Ok(socket.read_exact(buffer)?)
}

fn i16_at(bytes: &[u8], at: usize) -> Option<i16> {
    Some(i16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn i64_at(bytes: &[u8], at: usize) -> Option<i64> {
    Some(i64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are valid")
}

/// The CPU time of a process since a moment.
struct Cpu {
    pid: u32,
    before: f64,
}

impl Cpu {
    fn of(pid: u32) -> Self {
        Self { pid, before: Self::now(pid) }
    }

    fn seconds(&self) -> f64 {
        Self::now(self.pid) - self.before
    }

    /// User and system time; 0 for a process that is not there.
    fn now(pid: u32) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name, in parentheses, may contain anything; utime and stime are fields 14 and 15.
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().skip(11).take(2);
        fields.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND
    }
}
