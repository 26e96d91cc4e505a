//! What the wire costs: time and allocations of the messages on the data path. `cargo bench -p monedula-net`.

#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use net::client::RequestEncoder;
use net::messages::*;
use net::wire::Writer;
use net::{Connection, ConnectionLimits, Part, Received, Records, RecordsPart, Request, Response};

struct CountingAllocator;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: all work is the system allocator's; the counter is a plain cell of the thread, which does not allocate.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Rounds of a bench; the fastest counts, for the others had company.
const ROUNDS: usize = 20;
const ROUND_TIME: Duration = Duration::from_millis(20);

fn bench<T>(name: &str, mut run: impl FnMut() -> T) {
    let mut count = 1u32;
    let elapsed = |count: u32, run: &mut dyn FnMut() -> T| {
        let start = Instant::now();
        for _ in 0..count {
            black_box(run());
        }
        start.elapsed()
    };
    while elapsed(count, &mut run) < ROUND_TIME {
        count *= 2;
    }
    let fastest = (0..ROUNDS).map(|_| elapsed(count, &mut run)).min().expect("there are rounds");
    let before = ALLOCATIONS.get();
    black_box(run());
    let allocations = ALLOCATIONS.get() - before;
    let nanoseconds = fastest.as_nanos() as f64 / f64::from(count);
    println!("{name:<58} {nanoseconds:>10.0} ns {allocations:>6} allocations");
}

fn frame(version: i16, request: impl Into<Request>) -> Bytes {
    let mut encoder = RequestEncoder::new(Some(String::from("bench")));
    let encoded = encoder.encode(version, &request.into()).expect("the request has a form");
    let whole: Vec<u8> = encoded
        .parts
        .iter()
        .flat_map(|part| match part {
            Part::Bytes(bytes) => bytes.to_vec(),
            Part::File { .. } => panic!("a request carries no file range"),
        })
        .collect();
    Bytes::from(whole).slice(4..)
}

fn produce_request(partitions: i32, record_bytes: usize) -> ProduceRequest {
    let records = Bytes::from(vec![0; record_bytes]);
    let partition_data = (0..partitions)
        .map(|index| produce::PartitionProduceData { index, records: Some(records.clone()) })
        .collect();
    let topic_data = vec![produce::TopicProduceData { name: "topic".into(), partition_data }];
    ProduceRequest { acks: -1, topic_data, ..Default::default() }
}

fn produce_response(partitions: i32) -> Response {
    let partition_responses = (0..partitions)
        .map(|index| produce::PartitionProduceResponse { index, ..Default::default() })
        .collect();
    let responses = vec![produce::TopicProduceResponse { name: "topic".into(), partition_responses }];
    ProduceResponse { responses, ..Default::default() }.into()
}

fn fetch_request(partitions: i32) -> FetchRequest {
    let partitions =
        (0..partitions).map(|partition| fetch::FetchPartition { partition, ..Default::default() }).collect();
    FetchRequest {
        topics: vec![fetch::FetchTopic { topic: "topic".into(), partitions }],
        ..Default::default()
    }
}

fn fetch_response(partitions: i32, batches: usize) -> Response {
    let batch = Bytes::from(vec![0; 16 * 1024]);
    let parts: Vec<_> = (0..batches).map(|_| RecordsPart::Memory(batch.clone())).collect();
    let partitions = (0..partitions)
        .map(|partition_index| fetch::PartitionData {
            partition_index,
            records: Some(Records { parts: parts.clone() }),
            ..Default::default()
        })
        .collect();
    let responses = vec![fetch::FetchableTopicResponse { topic: "topic".into(), partitions }];
    FetchResponse { responses, ..Default::default() }.into()
}

fn metadata_response(partitions: i32) -> Response {
    let partitions = (0..partitions)
        .map(|partition_index| metadata::MetadataResponsePartition {
            partition_index,
            replica_nodes: vec![1],
            isr_nodes: vec![1],
            ..Default::default()
        })
        .collect();
    let topics = vec![metadata::MetadataResponseTopic {
        name: Some("topic".into()),
        partitions,
        ..Default::default()
    }];
    MetadataResponse { topics, ..Default::default() }.into()
}

fn receive(connection: &mut Connection, frame: &Bytes) -> net::Ticket {
    match connection.receive(frame.clone()).expect("the request is well-formed") {
        Received::Request { ticket, .. } => ticket,
        Received::Answered => panic!("it waits for its response"),
    }
}

fn main() {
    for (partitions, record_bytes) in [(1, 1024), (1, 1 << 20), (64, 16 * 1024)] {
        let frame = frame(11, produce_request(partitions, record_bytes));
        let response = produce_response(partitions);
        let mut connection = Connection::new(ConnectionLimits::default());
        let mut out = Vec::new();
        bench(&format!("produce: in and out, {partitions} × {record_bytes} bytes"), || {
            let ticket = receive(&mut connection, &frame);
            connection.respond(ticket, response.clone()).expect("the response has a form");
            connection.take_writes(&mut out);
            out.clear();
        });
    }
    for partitions in [1, 100] {
        let frame = frame(12, fetch_request(partitions));
        let mut connection = Connection::new(ConnectionLimits::default());
        bench(&format!("fetch request: in, {partitions} partitions"), || {
            let ticket = receive(&mut connection, &frame);
            connection.respond_nothing(ticket);
            connection.take_writes(&mut Vec::new());
        });
    }
    let encode = |name: &str, version: i16, response: Response| {
        bench(name, || {
            let mut writer = Writer::framed();
            response.encode(version, &mut writer).expect("the response has a form");
            writer.finish_frame()
        });
    };
    encode("fetch response: out, 1 partition, 1 batch", 12, fetch_response(1, 1));
    encode("fetch response: out, 1 partition, 64 batches", 12, fetch_response(1, 64));
    encode("fetch response: out, 100 partitions, 1 batch each", 12, fetch_response(100, 1));
    encode("metadata response: out, 1,000 partitions", 12, metadata_response(1000));
}
