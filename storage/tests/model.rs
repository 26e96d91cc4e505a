//! Random lives of a volume against a simple model: what was acknowledged is there, at its offset, byte for byte
//! (S1), recovery may be repeated (S2), damage is never served nor passed over in silence (S3), blocks are written
//! once (S4), a checkpoint and the WAL after it are as good as the whole WAL (S5), what is deleted stays so (S6), no
//! life writes to the WAL of an earlier one (S7). A failure names the seed: `MONEDULA_SEED=n cargo test --test model`
//! runs that one alone; `MONEDULA_SEEDS_TIMES=n` runs n times as many.
#![allow(missing_docs)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use storage::config::FlushMode;
use storage::memory_disk::{MemoryDisk, Random};
use storage::op::FileName;
use storage::recovery::{RecoveryReport, recover_volume};
use storage::store::{AppendError, AppendOrigin, Event, ReadError};
use storage::types::{Offset, PartitionKey, Slot};
use support::*;

const PARTITIONS: u64 = 6;

#[derive(Default)]
struct Promise {
    /// Base offset → batch as it was appended (tag), for all that was appended in this life or before.
    appended: BTreeMap<i64, (u64, i64)>,
    /// What earlier starts did not find, and a later one still may: (base offset, tag, last offset).
    lost: BTreeSet<(i64, u64, i64)>,
    acknowledged_end: i64,
    /// Which the store has told to be durable.
    log_start: i64,
    next_sequence: i32,
}

struct Run {
    world: World,
    random: Random,
    promises: BTreeMap<PartitionKey, Promise>,
    next_tag: u64,
    /// Shards that have their first checkpoint of this life.
    first_checkpoints: u16,
    /// Something of this life is durable, so that all know which blocks of earlier ones count.
    has_begun: bool,
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut random = Random::new(seed);
        let shards = 1 + random.below(3) as u16;
        let mut config = small_config();
        if random.chance(30) {
            config.bypass_bytes_min = u32::MAX;
        }
        if random.chance(30) {
            config.tail_cache_bytes = 0;
        }
        let mut log = small_log();
        log.segment_bytes = [100 << 10, 200 << 10, 1 << 20][random.below(3) as usize];
        Run {
            world: World::with(seed ^ 0xd15c, shards, config, log),
            random,
            promises: BTreeMap::new(),
            next_tag: 1,
            first_checkpoints: 0,
            has_begun: false,
        }
    }

    /// A life that may be one of interval mode. What is acknowledged from memory is no promise of the model's; what is
    /// durable, and what is told of log starts, is the same in either mode.
    fn of_any_mode(seed: u64) -> Run {
        let mut run = Run::new(seed);
        let mut random = Random::new(seed ^ 0x0de5);
        if random.chance(30) {
            let ms = [1, 50, 10_000][random.below(3) as usize];
            run.world.log_config.flush_mode = FlushMode::Interval { ms };
        }
        run
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..45 => self.append(),
            45..60 => self.world.end_turn(),
            60..85 => {
                let count = 1 + self.random.below(6);
                for _ in 0..count {
                    self.world.complete_one();
                    self.heed_events();
                }
            }
            85..90 => {
                let micros = [100, 25_000, 6_000_000, 400_000_000][self.random.below(4) as usize];
                self.world.advance(micros);
            }
            90..92 => self.delete_records(),
            92..95 => self.world.settle(),
            95 => self.world.disk.land_late_writes(),
            96 => self.check_all(),
            97 => self.fill_or_empty_the_disk(),
            _ => self.restart(),
        }
        self.heed_events();
    }

    fn append(&mut self) {
        let key = key(self.random.below(PARTITIONS) as i32);
        let tag = self.next_tag;
        self.next_tag += 1;
        let bytes = [60, 500, 3000, 9000, 30_000, 70_000][self.random.below(6) as usize];
        let count = 1 + self.random.below(3) as i32;
        let now = self.world.now;
        let promise = self.promises.entry(key).or_default();
        let builder = storage::batch::RecordBatchBuilder::new();
        let builder = if self.random.chance(50) {
            let id = storage::types::ProducerId(i64::from(key.partition));
            let sequence = promise.next_sequence;
            promise.next_sequence += count;
            builder.producer(id, 0, sequence)
        } else {
            builder
        };
        let batch = filled(builder, tag, count, bytes, now.wall_ms);
        let slot = self.world.slot(key);
        let appended = match self.world.store(key).append(now, slot, batch, AppendOrigin::Client, EPOCH) {
            Ok(appended) => appended,
            Err(AppendError::StorageFull) => {
                let known = self.world.store(key).producer_states(slot).next();
                let promise = self.promises.get_mut(&key).expect("it was just made");
                promise.next_sequence = known.map_or(0, |state| state.last_sequence + 1);
                return;
            }
            Err(error) => panic!("{key}: {error}"),
        };
        assert!(!appended.duplicate);
        let promise = self.promises.get_mut(&key).expect("it was just made");
        let (base, last) = (appended.base_offset.0, appended.last_offset.0);
        assert_eq!(last - base, i64::from(count) - 1);
        assert!(promise.appended.insert(base, (tag, last)).is_none(), "an offset is given once");
    }

    fn heed_events(&mut self) {
        for (shard, event) in std::mem::take(&mut self.world.events) {
            match event {
                Event::FirstCheckpoint => {
                    self.first_checkpoints += 1;
                    if self.first_checkpoints == self.world.shards {
                        self.world.release_previous();
                    }
                }
                Event::Durable { slot, end } => {
                    self.has_begun = true;
                    if let Some(promise) = self.promise(shard, slot) {
                        promise.acknowledged_end = promise.acknowledged_end.max(end.0);
                    }
                }
                Event::LogStart { slot, offset } => {
                    if let Some(promise) = self.promise(shard, slot) {
                        promise.log_start = promise.log_start.max(offset.0);
                    }
                }
                Event::Failed { message } => panic!("the store failed: {message}"),
                _ => {}
            }
        }
    }

    fn promise(&mut self, shard: u16, slot: Slot) -> Option<&mut Promise> {
        let store = &self.world.stores[usize::from(shard)];
        let (_, key) = store.partitions().find(|(other, _)| *other == slot)?;
        Some(self.promises.get_mut(&key).expect("it was appended to"))
    }

    fn fill_or_empty_the_disk(&mut self) {
        let room = self.random.below(200_000);
        let full = self.random.chance(50);
        let capacity = self.world.disk.used_bytes() + room;
        self.world.disk.set_capacity(full.then_some(capacity));
    }

    fn delete_records(&mut self) {
        let keys: Vec<PartitionKey> = self.promises.keys().copied().collect();
        if keys.is_empty() {
            return;
        }
        let key = keys[self.random.below(keys.len() as u64) as usize];
        let slot = self.world.slot(key);
        let offsets = self.world.store(key).offsets(slot);
        let span = (offsets.acknowledged_end.0 - offsets.log_start.0).max(0) as u64 + 1;
        let before = Offset(offsets.log_start.0 + self.random.below(span) as i64);
        self.world.store(key).delete_records(slot, before).expect("it is in the log");
    }

    fn restart(&mut self) {
        let how = self.random.below(4);
        self.world.disk.set_capacity(None);
        match how {
            0 => self.world.disk.lose_power(),
            1 => self.world.disk.kill(),
            2 => {
                self.world.stop();
                self.heed_events();
            }
            _ => {
                self.world.disk.kill();
                self.world.disk.lose_power();
            }
        }
        let shards = if self.random.chance(30) { 1 + self.random.below(3) as u16 } else { self.world.shards };
        let reports = self.recover(shards);
        for report in &reports {
            assert_eq!(report.damaged, [], "nothing was damaged");
            assert_eq!(report.unattributed_loss, None);
        }
        self.world.disk.wal_writes.clear();
        self.forget_what_was_lost();
        self.check_all();
        let newest = self.world.disk.wal_writes.iter().map(|write| write.1).collect::<Vec<_>>();
        assert!(newest.windows(2).all(|pair| pair[0] == pair[1]), "one life, one incarnation (S7)");
    }

    fn recover(&mut self, shards: u16) -> Vec<RecoveryReport> {
        // A recovery that is repeated finds the same (S2).
        let first = self.world.recover(shards);
        let again = self.world.recover(shards);
        for (first, again) in first.iter().zip(&again) {
            assert_eq!(first.report, again.report);
            let state = |recovered: &storage::recovery::Recovered| -> Vec<_> {
                let logs = recovered.partitions.iter();
                logs.map(|log| (log.key, log.log_start, log.next_offset, log.producers.describe())).collect()
            };
            assert_eq!(state(first), state(again));
        }
        self.first_checkpoints = 0;
        self.world.open(again)
    }

    /// What was never acknowledged may be gone, from some batch on; what is there may stay.
    fn forget_what_was_lost(&mut self) {
        let keys: Vec<PartitionKey> = self.promises.keys().copied().collect();
        let has_begun = std::mem::take(&mut self.has_begun);
        for key in keys {
            self.take_back(key, has_begun);
            let slot = self.world.slot(key);
            let offsets = self.world.store(key).offsets(slot);
            let promise = self.promises.get_mut(&key).expect("it is known");
            assert!(
                offsets.log_end.0 >= promise.acknowledged_end,
                "{key} ends at {}, {} was acknowledged (S1)",
                offsets.log_end,
                promise.acknowledged_end
            );
            assert!(
                offsets.log_start.0 >= promise.log_start,
                "{key} starts at {}, records below {} were deleted (S6)",
                offsets.log_start,
                promise.log_start
            );
            let lost = promise.appended.split_off(&offsets.log_end.0);
            promise.lost.extend(lost.into_iter().map(|(base, (tag, last))| (base, tag, last)));
            promise.acknowledged_end = offsets.log_end.0;
            promise.log_start = offsets.log_start.0;
            let known = self.world.store(key).producer_states(slot).next();
            promise.next_sequence = known.map_or(0, |state| state.last_sequence + 1);
        }
    }

    /// What a start did not find, because it came to the disk late, the next may find if the life between has come to
    /// nothing.
    fn take_back(&mut self, key: PartitionKey, has_begun: bool) {
        let lost = &mut self.promises.get_mut(&key).expect("it is known").lost;
        if has_begun {
            lost.clear();
        }
        if lost.is_empty() {
            return;
        }
        let slot = self.world.slot(key);
        let start = self.world.store(key).offsets(slot).log_start;
        let found = self.world.read_all(key, start, 1 << 20);
        let promise = self.promises.get_mut(&key).expect("it is known");
        for (base, bytes) in found {
            let returned = promise.lost.iter().find(|(at, tag, _)| (*at, *tag) == (base, tag_of(&bytes)));
            if let Some((_, tag, last)) = returned {
                promise.appended.insert(base, (*tag, *last));
            }
        }
    }

    fn check_all(&mut self) {
        let keys: Vec<PartitionKey> = self.promises.keys().copied().collect();
        for key in keys {
            let slot = self.world.slot(key);
            let offsets = self.world.store(key).offsets(slot);
            let max_bytes = [1, 10_000, 1 << 20][self.random.below(3) as usize];
            let from = offsets.log_start;
            let batches = self.world.read_all(key, from, max_bytes);
            let promise = &self.promises[&key];
            let expected: Vec<(i64, u64)> = promise
                .appended
                .iter()
                .filter(|(_, (_, last))| *last >= from.0)
                .map(|(base, (tag, _))| (*base, *tag))
                .collect();
            let found: Vec<(i64, u64)> = batches.iter().map(|(base, bytes)| (*base, tag_of(bytes))).collect();
            assert_eq!(found, expected, "{key} from {from}");
        }
        // The last block of an unacknowledged bypass may be written again: its acknowledged bytes are in the WAL.
        if self.world.config.bypass_bytes_min == u32::MAX {
            assert_eq!(self.world.disk.rewritten_blocks, 0, "a block is written once (S4)");
        }
    }
}

/// The tag is the beginning of the first record's value: header 61, then length, attributes, two deltas, key.
fn tag_of(batch: &[u8]) -> u64 {
    let record = storage::record::Records::new(&batch[61..]).next().expect("a record").expect("a whole one");
    u64::from_be_bytes(record.value.expect("a value")[..8].try_into().expect("eight bytes"))
}

/// Seeds that found something.
const REGRESSIONS: [u64; 4] = [63, 193, 438, 757];

fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("MONEDULA_SEED") {
        Ok(seed) => vec![seed.parse().expect("MONEDULA_SEED is a number")],
        Err(_) => {
            let times: u64 =
                std::env::var("MONEDULA_SEEDS_TIMES").map_or(1, |n| n.parse().expect("a number"));
            (0..count * times).chain(REGRESSIONS).collect()
        }
    }
}

struct Named(&'static str, u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}: MONEDULA_SEED={}", self.0, self.1);
        }
    }
}

#[test]
fn acknowledged_records_survive_whatever_happens() {
    for seed in seeds(8) {
        let _named = Named("acknowledged_records_survive_whatever_happens", seed);
        let mut run = Run::of_any_mode(seed);
        for _ in 0..400 {
            run.step();
        }
        run.restart();
    }
}

/// Every moment of a sequence of writes is a moment at which the power may go.
#[test]
fn every_prefix_of_the_writes_reopens_to_what_was_durable() {
    for seed in seeds(3) {
        let _named = Named("every_prefix_of_the_writes_reopens_to_what_was_durable", seed);
        let mut run = Run::new(seed);
        for _ in 0..150 {
            match run.random.below(3) {
                0 => run.append(),
                1 => run.world.end_turn(),
                _ => {
                    run.world.complete_one();
                }
            }
            run.heed_events();
            for torn in 0..2 {
                let mut image = run.world.disk.clone();
                (0..torn).for_each(|_| image.kill());
                image.lose_power();
                let shards = run.world.shards;
                let recovered =
                    recover_volume(&mut image, shards, &|key| shard_of(key, shards)).expect("it can be read");
                for (key, promise) in &run.promises {
                    let log = recovered.iter().flat_map(|r| &r.partitions).find(|log| log.key == *key);
                    let end = log.map_or(0, |log| log.next_offset.0);
                    assert!(end >= promise.acknowledged_end, "{key} ends at {end}");
                    assert!(log.is_none_or(|log| log.damaged_from.is_none()));
                }
            }
        }
    }
}

/// Bits rot while the broker is down. A wrong answer is never given: either all that was acknowledged is there, or
/// what is missing is told.
#[test]
fn rot_is_never_served_and_never_passed_over() {
    for seed in seeds(12) {
        let _named = Named("rot_is_never_served_and_never_passed_over", seed);
        let mut run = Run::new(seed);
        for _ in 0..150 {
            match run.random.below(10) {
                0..5 => run.append(),
                5..7 => run.world.end_turn(),
                7..9 => {
                    run.world.complete_one();
                }
                _ => run.world.advance(25_000),
            }
            run.heed_events();
        }
        // The last acknowledged block must have been vouched for: that is the promise.
        run.world.settle();
        run.world.advance(25_000);
        run.world.settle();
        run.heed_events();
        if run.random.chance(50) {
            run.world.checkpoint();
            run.heed_events();
        }
        run.world.disk.lose_power();
        let wal: Vec<FileName> = run
            .world
            .disk
            .files()
            .map(|file| file.0)
            .filter(|name| matches!(name, FileName::Wal { .. } | FileName::Checkpoint { .. }))
            .collect();
        for _ in 0..1 + run.random.below(3) {
            let name = wal[run.random.below(wal.len() as u64) as usize];
            run.world.disk.rot_somewhere(&name);
        }
        let shards = run.world.shards;
        let reports = run.recover(shards);
        let told = reports.iter().any(|report| report.unattributed_loss.is_some());
        for (key, promise) in &run.promises {
            let slot = {
                let config = run.world.log_config.clone();
                run.world.stores[usize::from(shard_of(*key, shards))].create_partition(*key, config)
            };
            let store = &run.world.stores[usize::from(shard_of(*key, shards))];
            let end = store.offsets(slot).log_end.0;
            match store.damaged_from(slot) {
                Some(offset) => {
                    assert!(told || reports.iter().any(|r| r.damaged.iter().any(|(k, _)| k == key)));
                    assert!(offset.0 <= promise.acknowledged_end, "what was kept is not told as lost");
                    let read = store.read(slot, Offset(0), Offset(1), 100, true);
                    assert!(matches!(read, Err(ReadError::Offline(_))));
                }
                None => assert!(end >= promise.acknowledged_end, "{key} lost records in silence (S3)"),
            }
        }
    }
}

/// A checkpoint and the WAL after it make the same logs as the whole WAL (S5).
#[test]
fn a_checkpoint_changes_nothing() {
    for seed in seeds(10) {
        let _named = Named("a_checkpoint_changes_nothing", seed);
        let mut config = small_config();
        config.wal_file_bytes = 8 << 20;
        config.wal_first_file_bytes = 8 << 20;
        config.checkpoint_wal_bytes = u64::MAX;
        let mut plain = World::with(seed, 1, config.clone(), small_log());
        let mut taken = World::with(seed, 1, config, small_log());
        let mut random = Random::new(seed);
        for tag in 0..80 {
            let key = key(random.below(3) as i32);
            let bytes = [60, 3000, 30_000][random.below(3) as usize];
            for world in [&mut plain, &mut taken] {
                world.append(key, batch(tag, 2, bytes, 5));
                world.settle();
            }
            if tag % 20 == 10 {
                taken.checkpoint();
            }
        }
        for world in [&mut plain, &mut taken] {
            world.disk.lose_power();
            world.start(1);
        }
        for partition in 0..3 {
            let (left, right) = (
                plain.read_all(key(partition), Offset(0), 1 << 20),
                taken.read_all(key(partition), Offset(0), 1 << 20),
            );
            assert_eq!(left, right);
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    let life = |seed| {
        let mut run = Run::new(seed);
        for _ in 0..200 {
            run.step();
        }
        let content = |disk: &MemoryDisk| -> Vec<_> {
            disk.files()
                .map(|(name, _)| (name, crc32c::crc32c(&disk.content(&name).expect("listed"))))
                .collect()
        };
        content(&run.world.disk)
    };
    assert_eq!(life(3), life(3));
}
