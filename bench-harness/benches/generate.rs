//! The cost of a record on its way through producer and checker, without sockets, and the allocations that it takes.
//!
//! ```text
//! cargo bench -p monedula-bench --bench generate
//! ```

#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]
#![allow(unsafe_code, reason = "an allocator that counts is the only way to know")]

use std::alloc::{GlobalAlloc, Layout as MemoryLayout, System};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bench::batch::BatchReader;
use bench::cluster::{Layout, Topic};
use bench::correctness::PartitionCheck;
use bench::engine::producer::{NewRecord, Producer, RequestRules, Spares};
use bench::payload::Pool;
use bench::workload::{Batching, Codec, Payload};
use bench::{random, record};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: MemoryLayout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: MemoryLayout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: MemoryLayout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const RECORDS: u64 = 2_000_000;
const RUN: u32 = 7;

fn main() {
    for (name, batching) in [("java-4.x", Batching::java()), ("librdkafka", Batching::librdkafka())] {
        // The first round grows the buffers.
        produce(&batching, RECORDS / 10);
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        let start = Instant::now();
        let (batches, steady) = produce(&batching, RECORDS);
        let each = start.elapsed().as_nanos() as f64 / RECORDS as f64;
        let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
        println!(
            "{name:<12} append, seal, read and check: {each:.0} ns a record of 100 B; {batches} batches, \
             {:.4} allocations a record, {:.4} in the second half",
            allocations as f64 / RECORDS as f64,
            steady as f64 / (RECORDS / 2) as f64,
        );
    }
}

/// Produces, reads and checks so many records. Batches, and the allocations of the second half.
fn produce(batching: &Batching, records: u64) -> (u64, u64) {
    let topic = Topic { name: "t".to_owned(), first: 0, partitions: 4 };
    let layout = Layout { topics: vec![topic], leaders: vec![Some(0); 4], ..Layout::default() };
    let mut producer = Producer::new(0, RUN, None, &[0], &layout, batching, random::stream(1, 1));
    let mut pool = Pool::new(&Payload::default(), 100, 1);
    let mut spares = Spares::default();
    let mut checks: Vec<PartitionCheck> = (0..4).map(|_| PartitionCheck::default()).collect();
    let (mut taken, mut spare, mut batches, mut at_half) = (Vec::new(), Vec::new(), 0, 0);
    let rules = RequestRules { batching, codec: Codec::None, layout: &layout };
    for index in 0..records {
        if index == records / 2 {
            at_half = ALLOCATIONS.load(Ordering::Relaxed);
        }
        let now_ns = index * 2_000;
        let record =
            NewRecord { intended_ns: now_ns, lag_ns: 0, key: None, value_bytes: 100, timestamp_ms: 1 };
        let appended = producer.append(&record, now_ns, batching, &mut pool, &layout, &mut spares);
        if appended.ready_node.is_none() {
            continue;
        }
        producer.take_request(0, now_ns, &rules, &mut spare, &mut taken);
        for (batch, sealed) in taken.drain(..) {
            let mut reader = BatchReader::new(sealed);
            while let Some((_, value)) = reader.next_value().expect("it was just written") {
                let head = record::check(value, RUN).expect("it was just written");
                checks[batch.partition].observe(head.producer, head.sequence);
            }
            drop(reader);
            spares.give(batch);
            batches += 1;
        }
    }
    (batches, ALLOCATIONS.load(Ordering::Relaxed) - at_half)
}
