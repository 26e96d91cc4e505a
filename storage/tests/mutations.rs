//! A checker that cannot fail is no evidence: each mutation breaks the promise that its test names.
#![cfg(feature = "mutations")]
#![allow(missing_docs)]

mod support;

use storage::config::Mutation;
use storage::memory_disk::Random;
use storage::op::FileName;
use storage::recovery::recover_volume_mutated;
use storage::store::{Event, Read};
use storage::types::Offset;
use support::*;

fn world(seed: u64, mutation: Option<Mutation>) -> World {
    let mut config = small_config();
    config.mutation = mutation;
    World::with(seed, 1, config, small_log())
}

/// Appends and loses power at some moment; whether every acknowledged record is there afterwards.
fn survives_power_loss(seed: u64, mutation: Option<Mutation>) -> bool {
    let mut world = world(seed, mutation);
    let mut random = Random::new(seed);
    let mut acknowledged = Offset(0);
    for tag in 0..random.below(30) + 1 {
        world.append(key(0), batch(tag, 1, 3000, 0));
        world.end_turn();
        for _ in 0..random.below(4) {
            world.complete_one();
            world.end_turn();
        }
        if random.chance(10) {
            world.checkpoint();
        }
        for (_, event) in world.events.drain(..) {
            if let Event::Durable { end, .. } = event {
                acknowledged = acknowledged.max(end);
            }
        }
    }
    world.disk.lose_power();
    world.start(1);
    let slot = world.slot(key(0));
    let store = world.store(key(0));
    store.damaged_from(slot).is_none() && store.offsets(slot).log_end >= acknowledged
}

fn found_within(seeds: u64, survives: impl Fn(u64) -> bool) -> bool {
    (0..seeds).any(|seed| !survives(seed))
}

#[test]
fn without_a_mutation_every_seed_keeps_its_promise() {
    assert!(!found_within(100, |seed| survives_power_loss(seed, None)));
}

#[test]
fn acknowledging_before_durable_loses_records() {
    assert!(found_within(100, |seed| survives_power_loss(seed, Some(Mutation::AckBeforeDurable))));
}

#[test]
fn skipping_the_flush_loses_records() {
    assert!(found_within(100, |seed| survives_power_loss(seed, Some(Mutation::SkipFlush))));
}

#[test]
fn dropping_the_tail_image_loses_records() {
    assert!(found_within(100, |seed| survives_power_loss(seed, Some(Mutation::DropTailImage))));
}

#[test]
fn ignoring_durable_lsn_passes_over_damage() {
    let mut world = world(1, None);
    for tag in 0..4 {
        world.append(key(tag), batch(7, 1, 300, 0));
        world.settle();
    }
    let wal = world.disk.files().map(|file| file.0).find(|name| matches!(name, FileName::Wal { .. }));
    world.disk.rot(&wal.expect("there is a WAL"), 200);
    let honest = &world.recover(1)[0].report;
    assert_eq!(honest.damaged.len(), 1);
    let mutation = Some(Mutation::IgnoreDurableLsn);
    let silent = recover_volume_mutated(&mut world.disk, 1, &|_| 0, mutation).expect("it can be read");
    assert!(silent[0].report.damaged.is_empty() && silent[0].partitions.is_empty(), "lost in silence (S3)");
}

#[test]
fn writing_into_an_earlier_wal_is_seen_on_the_disk() {
    for (mutation, expected) in [(None, 2), (Some(Mutation::WriteOldIncarnationWal), 1)] {
        let mut world = world(2, mutation);
        world.append(key(0), batch(1, 1, 300, 0));
        world.settle();
        world.disk.lose_power();
        world.start(1);
        world.disk.wal_writes.clear();
        world.append(key(0), batch(2, 1, 300, 0));
        world.settle();
        let incarnations: Vec<u64> = world.disk.wal_writes.iter().map(|write| write.1).collect();
        assert_eq!(incarnations, [expected], "S7 with {mutation:?}");
    }
}

#[test]
fn serving_above_the_limit_is_seen_by_the_reader() {
    for (mutation, expected) in [(None, 1), (Some(Mutation::ServeAboveDurable), 2)] {
        let mut world = world(3, mutation);
        world.append(key(0), batch(1, 1, 5000, 0));
        world.settle();
        world.append(key(0), batch(2, 1, 5000, 0));
        let slot = world.slot(key(0));
        let Ok(Read::Memory(parts)) = world.store(key(0)).read(slot, Offset(0), Offset(1), 1 << 20, true)
        else {
            panic!("it is in memory")
        };
        let bytes: usize = parts.iter().map(bytes::Bytes::len).sum();
        assert_eq!(bytes / 5000, expected, "with {mutation:?}");
    }
}
