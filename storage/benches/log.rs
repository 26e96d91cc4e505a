//! What the core costs by itself, without a disk: append, read, recovery; time and allocations per record.
//! `cargo bench -p monedula-storage --no-default-features --bench log`
#![allow(missing_docs, unsafe_code, clippy::disallowed_methods)]

use bytes::Bytes;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use storage::batch::RecordBatchBuilder;
use storage::config::{LogConfig, StoreConfig};
use storage::memory_disk::MemoryDisk;
use storage::op::{Done, Outcome};
use storage::recovery::{Recovered, recover_volume};
use storage::store::{AppendOrigin, Read, Store};
use storage::types::{LeaderEpoch, Now, Offset, PartitionKey, TopicId};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator unchanged; counting touches no memory of the caller.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const NOW: Now = Now { monotonic_us: 1_000_000, wall_ms: 1_700_000_000_000 };

fn key(partition: i32) -> PartitionKey {
    PartitionKey { topic_id: TopicId([3; 16]), partition }
}

fn batch(records: i32, bytes: usize) -> Bytes {
    let mut builder = RecordBatchBuilder::new();
    for _ in 0..records {
        builder = builder.record(NOW.wall_ms, None, Some(&vec![0x5a; bytes]));
    }
    builder.build()
}

/// Answers every operation at once, and keeps nothing.
fn answer_all(store: &mut Store) {
    let (mut ops, mut events) = (Vec::new(), Vec::new());
    loop {
        store.end_turn(NOW, &mut ops);
        if ops.is_empty() {
            return;
        }
        for op in ops.drain(..) {
            store.complete(NOW, Done { id: op.id, result: Ok(Outcome::Unit) }, &mut events);
        }
        events.clear();
    }
}

/// `turns` turns of `per_turn` appends, round robin over `partitions`.
fn append(name: &str, partitions: i32, records: i32, bytes: usize, per_turn: usize, turns: usize) {
    let mut store = Store::open(Recovered::empty(0, 1), StoreConfig::default(), NOW);
    let slots: Vec<_> =
        (0..partitions).map(|n| store.create_partition(key(n), LogConfig::default())).collect();
    let batch = batch(records, bytes);
    answer_all(&mut store);
    let mut run = |turns: usize| {
        for turn in 0..turns {
            for index in 0..per_turn {
                let slot = slots[(turn * per_turn + index) % slots.len()];
                let appended = store.append(NOW, slot, batch.clone(), AppendOrigin::Client, LeaderEpoch(0));
                appended.expect("the batch is good");
            }
            answer_all(&mut store);
        }
    };
    run(turns / 10);
    let allocations = ALLOCATIONS.load(Ordering::Relaxed);
    let start = Instant::now();
    run(turns);
    let seconds = start.elapsed().as_secs_f64();
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - allocations;
    let batches = (turns * per_turn) as f64;
    let total = batches * f64::from(records);
    println!(
        "{name:<44} {:>8.0} ns/batch {:>7.1} ns/record {:>6.0} MB/s {:>7.2} allocations/batch {:>7.4}/record",
        seconds * 1e9 / batches,
        seconds * 1e9 / total,
        batches * batch.len() as f64 / seconds / 1e6,
        allocations as f64 / batches,
        allocations as f64 / total,
    );
}

fn read() {
    let config = StoreConfig { tail_cache_bytes: 256 << 20, ..StoreConfig::default() };
    let mut store = Store::open(Recovered::empty(0, 1), config, NOW);
    let slot = store.create_partition(key(0), LogConfig::default());
    for _ in 0..4000 {
        let appended = store.append(NOW, slot, batch(16, 1000), AppendOrigin::Client, LeaderEpoch(0));
        appended.expect("the batch is good");
        answer_all(&mut store);
    }
    let end = store.offsets(slot).log_end;
    let allocations = ALLOCATIONS.load(Ordering::Relaxed);
    let start = Instant::now();
    let rounds = 20_000u64;
    let mut bytes = 0;
    for round in 0..rounds {
        let from = Offset((round * 7919) as i64 % (end.0 - 2000));
        match store.read(slot, from, end, 1 << 20, true).expect("in the log") {
            Read::Memory(parts) => bytes += parts.iter().map(Bytes::len).sum::<usize>(),
            other => panic!("the log is in memory, not {other:?}"),
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let allocations = (ALLOCATIONS.load(Ordering::Relaxed) - allocations) as f64;
    println!(
        "{:<44} {:>8.0} ns/read  {:>7.2} allocations/read {:>9.5}/record, {} KB each",
        "read 1 MiB of the tail, 16 KB batches",
        seconds * 1e9 / rounds as f64,
        allocations / rounds as f64,
        allocations / (bytes as f64 / 1000.0),
        bytes / rounds as usize / 1000,
    );
}

fn recovery(name: &str, partitions: i32, megabytes: usize) {
    let config = StoreConfig {
        checkpoint_wal_bytes: u64::MAX,
        dirty_bytes_max: 8 << 30,
        wal_bytes_max: 8 << 30,
        segment_chunk_bytes: u32::MAX,
        ..StoreConfig::default()
    };
    let mut disk = MemoryDisk::new(1);
    let mut store = Store::open(Recovered::empty(0, 1), config.clone(), NOW);
    let slots: Vec<_> =
        (0..partitions).map(|n| store.create_partition(key(n), LogConfig::default())).collect();
    let batch = batch(4, 1000);
    let (mut ops, mut events) = (Vec::new(), Vec::new());
    for index in 0..(megabytes << 20) / batch.len() {
        let slot = slots[index % slots.len()];
        store.append(NOW, slot, batch.clone(), AppendOrigin::Client, LeaderEpoch(0)).expect("good");
        if index % 200 == 0 {
            loop {
                store.end_turn(NOW, &mut ops);
                ops.drain(..).for_each(|op| disk.submit(op));
                let Some(done) = disk.complete_first() else { break };
                store.complete(NOW, done, &mut events);
            }
        }
    }
    drop(store);
    let start = Instant::now();
    let recovered = recover_volume(&mut disk, 1, &|_| 0).expect("the disk can be read");
    let report = &recovered[0].report;
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{name:<44} {:>8.2} s for {} MB in {} blocks, {} partitions",
        seconds,
        report.replayed_bytes >> 20,
        report.replayed_blocks,
        recovered[0].partitions.len()
    );
}

fn main() {
    append("append 1 × 1 KB, one a turn", 1, 1, 1000, 1, 200_000);
    append("append 1 × 1 KB, 64 a turn, 64 partitions", 64, 1, 1000, 64, 10_000);
    append("append 16 × 1 KB, 8 a turn, 8 partitions", 8, 16, 1000, 8, 10_000);
    append("append 100 × 1 KB, 4 a turn, 4 partitions", 4, 100, 1000, 4, 4_000);
    append("append 1,000 × 100 B, 4 a turn, 4 partitions", 4, 1000, 100, 4, 4_000);
    read();
    recovery("recovery, 100 partitions", 100, 256);
    recovery("recovery, 10,000 partitions", 10_000, 256);
}
