//! A store on a disk in memory, driven turn by turn, and what was promised to its clients.
#![allow(dead_code, missing_docs)]

use bytes::Bytes;
use std::collections::BTreeMap;
use storage::batch::RecordBatchBuilder;
use storage::config::{LogConfig, StoreConfig};
use storage::header::BatchHeader;
use storage::memory_disk::{MemoryDisk, Random};
use storage::op::FileSlice;
use storage::recovery::{Recovered, recover_volume};
use storage::store::{AppendOrigin, Appended, Event, Located, Read, Store};
use storage::types::{LeaderEpoch, Now, Offset, PartitionKey, ProducerId, Slot, TopicId};

pub const EPOCH: LeaderEpoch = LeaderEpoch(3);

pub fn key(partition: i32) -> PartitionKey {
    PartitionKey { topic_id: TopicId([7; 16]), partition }
}

/// Small limits, so that little data reaches every path.
pub fn small_config() -> StoreConfig {
    StoreConfig {
        wal_first_file_bytes: 64 << 10,
        wal_file_bytes: 256 << 10,
        wal_block_bytes: 32 << 10,
        checkpoint_wal_bytes: 300 << 10,
        checkpoint_interval_us: 5_000_000,
        segment_chunk_bytes: 16 << 10,
        bypass_bytes_min: 24 << 10,
        dirty_bytes_max: 4 << 20,
        tail_cache_bytes: 64 << 10,
        index_entries_max: 16,
        ..StoreConfig::default()
    }
}

pub fn small_log() -> LogConfig {
    LogConfig { segment_bytes: 300 << 10, ..LogConfig::default() }
}

/// A batch of `count` records whose values are about `bytes` long in total and begin with `tag`.
pub fn batch(tag: u64, count: i32, bytes: usize, timestamp_ms: i64) -> Bytes {
    filled(RecordBatchBuilder::new(), tag, count, bytes, timestamp_ms)
}

pub fn filled(builder: RecordBatchBuilder, tag: u64, count: i32, bytes: usize, timestamp_ms: i64) -> Bytes {
    let mut random = Random::new(tag);
    let mut builder = builder;
    for _ in 0..count {
        let mut value = tag.to_be_bytes().to_vec();
        while value.len() < bytes / count as usize {
            value.extend(random.draw().to_be_bytes());
        }
        builder = builder.record(timestamp_ms, Some(b"key"), Some(&value));
    }
    builder.build()
}

/// A volume with one store per shard.
pub struct World {
    pub disk: MemoryDisk,
    pub stores: Vec<Store>,
    pub config: StoreConfig,
    pub log_config: LogConfig,
    pub now: Now,
    pub shards: u16,
    pub events: Vec<(u16, Event)>,
    /// Which shard asked for an operation: ids are per store.
    owners: BTreeMap<u64, (u16, u64)>,
    next_id: u64,
}

pub fn shard_of(key: PartitionKey, shards: u16) -> u16 {
    (key.partition as u16) % shards
}

impl World {
    pub fn new(seed: u64, shards: u16) -> World {
        World::with(seed, shards, small_config(), small_log())
    }

    pub fn with(seed: u64, shards: u16, config: StoreConfig, log_config: LogConfig) -> World {
        let mut world = World {
            disk: MemoryDisk::new(seed),
            stores: Vec::new(),
            config,
            log_config,
            now: Now { monotonic_us: 1_000_000, wall_ms: 1_700_000_000_000 },
            shards,
            events: Vec::new(),
            owners: BTreeMap::new(),
            next_id: 1,
        };
        world.start(shards);
        world
    }

    /// Recovers the volume and opens a store per shard.
    pub fn start(&mut self, shards: u16) -> Vec<storage::recovery::RecoveryReport> {
        let recovered = self.recover(shards);
        self.open(recovered)
    }

    pub fn recover(&mut self, shards: u16) -> Vec<Recovered> {
        recover_volume(&mut self.disk, shards, &|key| shard_of(key, shards)).expect("the disk can be read")
    }

    pub fn open(&mut self, recovered: Vec<Recovered>) -> Vec<storage::recovery::RecoveryReport> {
        self.shards = recovered.len() as u16;
        self.owners.clear();
        self.events.clear();
        let reports = recovered.iter().map(|recovered| recovered.report.clone()).collect();
        self.stores = recovered
            .into_iter()
            .map(|recovered| Store::open(recovered, self.config.clone(), self.now))
            .collect();
        reports
    }

    pub fn store(&mut self, key: PartitionKey) -> &mut Store {
        &mut self.stores[usize::from(shard_of(key, self.shards))]
    }

    pub fn slot(&mut self, key: PartitionKey) -> Slot {
        let config = self.log_config.clone();
        self.store(key).create_partition(key, config)
    }

    pub fn append(&mut self, key: PartitionKey, batch: Bytes) -> Appended {
        let slot = self.slot(key);
        let now = self.now;
        self.store(key).append(now, slot, batch, AppendOrigin::Client, EPOCH).expect("the batch is good")
    }

    pub fn end_turn(&mut self) {
        (0..self.stores.len()).for_each(|shard| self.end_turn_of(shard));
    }

    fn end_turn_of(&mut self, shard: usize) {
        let mut ops = Vec::new();
        self.stores[shard].end_turn(self.now, &mut ops);
        for mut op in ops {
            self.owners.insert(self.next_id, (shard as u16, op.id.0));
            op.id.0 = self.next_id;
            self.next_id += 1;
            self.disk.submit(op);
        }
    }

    /// Runs until nothing is in flight, and only this shard gets turns.
    pub fn settle_alone(&mut self, shard: usize) {
        self.end_turn_of(shard);
        while self.complete_one() {
            self.end_turn_of(shard);
        }
    }

    /// Tells every store that all shards have their first checkpoint.
    pub fn release_previous(&mut self) {
        self.stores.iter_mut().for_each(Store::release_previous);
    }

    /// Completes one operation, in an order of the disk's choice.
    pub fn complete_one(&mut self) -> bool {
        let Some(mut done) = self.disk.complete_any() else { return false };
        let (shard, id) = self.owners.remove(&done.id.0).expect("each operation has an owner");
        done.id.0 = id;
        let mut events = Vec::new();
        self.stores[usize::from(shard)].complete(self.now, done, &mut events);
        self.events.extend(events.into_iter().map(|event| (shard, event)));
        true
    }

    pub fn advance(&mut self, micros: u64) {
        self.now.monotonic_us += micros;
        self.now.wall_ms += (micros / 1000) as i64;
    }

    /// Runs until nothing is in flight. A store that has nothing to do then sleeps.
    pub fn settle(&mut self) {
        self.end_turn();
        while self.complete_one() {
            self.end_turn();
        }
        for store in &self.stores {
            let wakes_us = store.next_timeout();
            assert!(
                wakes_us.is_none_or(|at| at > self.now.monotonic_us),
                "{wakes_us:?} is over, and nothing was done"
            );
        }
    }

    /// Stops in order.
    pub fn stop(&mut self) {
        let now = self.now;
        self.stores.iter_mut().for_each(|store| store.begin_stop(now));
        for _ in 0..1000 {
            self.settle();
            if self.stores.iter().all(Store::stopped) {
                return;
            }
            self.advance(1_000_000);
        }
        panic!("the store does not stop");
    }

    pub fn checkpoint(&mut self) {
        let interval = self.config.checkpoint_interval_us;
        self.advance(interval + 1);
        self.settle();
    }

    /// Reads a log from `from` to its end through the public face: (base offset, batch).
    pub fn read_all(&mut self, key: PartitionKey, from: Offset, max_bytes: u32) -> Vec<(i64, Vec<u8>)> {
        let slot = self.slot(key);
        let limit = self.store(key).offsets(slot).log_end;
        let mut from = from;
        let mut batches = Vec::new();
        while from < limit {
            let bytes = self.read_once(key, slot, from, limit, max_bytes);
            assert!(!bytes.is_empty(), "{key} has nothing at {from}, below its end {limit}");
            let mut at = 0;
            while at < bytes.len() {
                let header = BatchHeader::read(&bytes[at..]).expect("reads end at batch boundaries");
                assert!(at + header.bytes <= bytes.len(), "reads end at batch boundaries");
                let batch = &bytes[at..at + header.bytes];
                assert_eq!(crc32c::crc32c(&batch[21..]), header.crc, "{key} serves damage at {from}");
                assert!(header.last_offset() >= from, "reads begin with the batch that was asked for");
                batches.push((header.base_offset.0, batch.to_vec()));
                from = header.last_offset().next();
                at += header.bytes;
            }
        }
        batches
    }

    fn read_once(&mut self, key: PartitionKey, slot: Slot, from: Offset, limit: Offset, max: u32) -> Vec<u8> {
        let store = self.store(key);
        match store.read(slot, from, limit, max, true).expect("the offset is in the log") {
            Read::Memory(parts) => parts.concat(),
            Read::File(slice) => self.slice(slice),
            Read::Empty => Vec::new(),
            Read::Locate(locate) => {
                store.locate(locate, 77);
                match self.answer(77) {
                    Located::Slice(slice) => self.slice(slice),
                    other => panic!("{key} at {from}: {other:?}"),
                }
            }
        }
    }

    fn slice(&self, slice: FileSlice) -> Vec<u8> {
        self.disk.slice(&slice).expect("the file is there")
    }

    /// Runs until the search with this token is answered.
    pub fn answer(&mut self, token: u64) -> Located {
        self.end_turn();
        loop {
            let found = self.events.iter().position(
                |(_, event)| matches!(event, Event::Located { token: other, .. } if *other == token),
            );
            if let Some(index) = found {
                let (_, Event::Located { located, .. }) = self.events.remove(index) else { unreachable!() };
                return located;
            }
            assert!(self.complete_one(), "the search is never answered");
            self.end_turn();
        }
    }
}

/// An idempotent producer's next batch.
pub fn producer_batch(id: i64, epoch: i16, sequence: i32, tag: u64, count: i32, now_ms: i64) -> Bytes {
    filled(RecordBatchBuilder::new().producer(ProducerId(id), epoch, sequence), tag, count, 64, now_ms)
}
