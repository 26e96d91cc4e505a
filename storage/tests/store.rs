//! The store, one story at a time.
#![allow(missing_docs)]

mod support;

use storage::config::{FlushMode, LogConfig, StoreConfig};
use storage::memory_disk::MemoryDisk;
use storage::op::{FileName, Op, OpId, OpKind, Which};
use storage::store::{AppendError, AppendOrigin, Event, Located, Read, ReadError, TimestampSearch};
use storage::types::{LeaderEpoch, Lsn, Offset};
use support::*;

#[test]
fn what_is_acknowledged_survives_a_power_loss() {
    let mut world = World::new(1, 1);
    let appended = world.append(key(0), batch(1, 3, 100, world.now.wall_ms));
    assert_eq!((appended.base_offset, appended.last_offset), (Offset(0), Offset(2)));
    world.settle();
    let slot = world.slot(key(0));
    assert_eq!(world.store(key(0)).offsets(slot).durable_end, Offset(3));
    assert!(world.events.iter().any(|(_, e)| matches!(e, Event::Durable { end: Offset(3), .. })));
    let before = world.read_all(key(0), Offset(0), 1 << 20);
    world.disk.lose_power();
    world.start(1);
    assert_eq!(world.read_all(key(0), Offset(0), 1 << 20), before);
    let slot = world.slot(key(0));
    assert_eq!(world.store(key(0)).offsets(slot).log_end, Offset(3));
    let epochs = world.store(key(0)).leader_epochs(slot).entries().to_vec();
    assert_eq!(epochs, [(EPOCH, Offset(0))]);
}

#[test]
fn appends_during_a_write_share_the_next_block() {
    let mut world = World::new(2, 1);
    world.append(key(0), batch(0, 1, 100, 0));
    world.settle();
    world.append(key(0), batch(1, 1, 100, 0));
    world.end_turn();
    assert_eq!(world.disk.in_flight(), 1);
    for partition in 0..64 {
        world.append(key(partition), batch(2, 1, 100, 0));
        world.end_turn();
        assert_eq!(world.disk.in_flight(), 1, "one block at a time");
    }
    let before = world.disk.written_bytes[0];
    world.settle();
    let blocks = world.disk.written_bytes[0] - before;
    assert!(blocks <= 6 * 4096, "64 appends share one flush, not {blocks} bytes");
    world.disk.lose_power();
    world.start(1);
    for partition in 0..64 {
        assert!(!world.read_all(key(partition), Offset(0), 1000).is_empty());
    }
}

#[test]
fn a_duplicate_gets_its_old_offsets_also_after_a_restart() {
    let mut world = World::new(3, 1);
    let now = world.now.wall_ms;
    let first = world.append(key(0), producer_batch(5, 0, 0, 1, 2, now));
    world.append(key(0), producer_batch(5, 0, 2, 2, 2, now));
    world.settle();
    for restart in 0..3 {
        let again = world.append(key(0), producer_batch(5, 0, 0, 1, 2, now));
        assert!(again.duplicate, "after {restart} restarts");
        assert_eq!((again.base_offset, again.last_offset), (first.base_offset, first.last_offset));
        assert_eq!(
            again.log_append_time_ms,
            Some(now),
            "as Kafka tells it, although the producer stamped it"
        );
        if restart == 1 {
            world.checkpoint();
        }
        world.disk.lose_power();
        world.start(1);
    }
    let slot = world.slot(key(0));
    let now = world.now;
    let wrong = producer_batch(5, 0, 9, 3, 1, now.wall_ms);
    let refused = world.store(key(0)).append(now, slot, wrong, AppendOrigin::Client, EPOCH);
    assert!(matches!(refused, Err(AppendError::OutOfOrderSequence(_))));
    let states: Vec<_> = world.store(key(0)).producer_states(slot).collect();
    assert_eq!((states[0].last_sequence, states[0].last_offset), (3, Offset(3)));
}

/// Appends `bytes` in batches of `size`.
fn fill(world: &mut World, partition: i32, bytes: usize, size: usize) {
    for tag in 0..bytes / size {
        world.append(key(partition), batch(tag as u64, 2, size, world.now.wall_ms + tag as i64));
        world.end_turn();
        if tag % 3 == 0 {
            world.settle();
        }
    }
    world.settle();
}

#[test]
fn reads_come_from_memory_and_from_files_and_end_at_boundaries() {
    let mut world = World::new(4, 1);
    fill(&mut world, 0, 1 << 20, 3000);
    world.checkpoint();
    let slot = world.slot(key(0));
    let limit = world.store(key(0)).offsets(slot).durable_end;
    let all = world.read_all(key(0), Offset(0), 1 << 20);
    assert_eq!(all.len(), (1 << 20) / 3000);
    for max_bytes in [1, 5000, 70_000, 300_000] {
        assert_eq!(world.read_all(key(0), Offset(0), max_bytes), all, "max {max_bytes}");
    }
    // A sequential reader needs no walk once it stands on a boundary.
    let mut walks = 0;
    let mut from = Offset(0);
    while from < limit {
        match world.store(key(0)).read(slot, from, limit, 128 << 10, true).expect("in the log") {
            Read::File(slice) => {
                let bytes = world.disk.slice(&slice).expect("there");
                let mut at = 0;
                while at < bytes.len() {
                    let header = storage::header::BatchHeader::read(&bytes[at..]).expect("a boundary");
                    (from, at) = (header.last_offset().next(), at + header.bytes);
                }
                assert_eq!(at, bytes.len());
            }
            Read::Memory(parts) => {
                let header = storage::header::BatchHeader::read(&parts[0]).expect("a boundary");
                from = header.last_offset().next();
            }
            Read::Locate(_) => {
                walks += 1;
                break;
            }
            Read::Empty => panic!("nothing at {from}"),
        }
    }
    assert_eq!(walks, 0);
    let out = world.store(key(0)).read(slot, Offset(limit.0 + 1), limit, 1, true);
    assert_eq!(out.err(), Some(ReadError::OutOfRange));
    assert_eq!(world.disk.rewritten_blocks, 0);
}

#[test]
fn reads_after_a_restart_find_their_way_without_an_index() {
    let mut world = World::new(5, 1);
    fill(&mut world, 0, 1 << 20, 2000);
    let all = world.read_all(key(0), Offset(0), 1 << 20);
    world.stop();
    world.start(1);
    for max_bytes in [1, 5000, 200_000] {
        assert_eq!(world.read_all(key(0), Offset(0), max_bytes), all, "max {max_bytes}");
        assert_eq!(world.read_all(key(0), Offset(601), max_bytes)[..], all[300..], "max {max_bytes}");
    }
}

#[test]
fn timestamps_are_found_exactly_in_memory_and_in_files() {
    let mut world = World::new(6, 1);
    let start = world.now.wall_ms;
    fill(&mut world, 0, 600 << 10, 2000);
    let count = ((600 << 10) / 2000) as i64;
    for restart in [false, true] {
        if restart {
            world.stop();
            world.start(1);
        }
        let slot = world.slot(key(0));
        for wanted in [0, 1, 57, 150, count - 1] {
            let found = match world.store(key(0)).offset_for_timestamp(slot, start + wanted) {
                TimestampSearch::Found(found) => found,
                TimestampSearch::None => panic!("{wanted} is there"),
                TimestampSearch::Locate(locate) => {
                    world.store(key(0)).locate(locate, 9);
                    match world.answer(9) {
                        Located::Timestamp(found) => found,
                        other => panic!("{wanted}: {other:?}"),
                    }
                }
            };
            assert_eq!((found.offset, found.timestamp_ms), (Offset(wanted * 2), start + wanted));
            assert_eq!(found.leader_epoch, EPOCH);
        }
        let store = world.store(key(0));
        assert!(matches!(store.offset_for_timestamp(slot, start + count), TimestampSearch::None));
    }
}

#[test]
fn deleted_records_stay_deleted_and_their_segments_go() {
    let mut world = World::new(7, 1);
    fill(&mut world, 0, 1 << 20, 4000);
    world.checkpoint();
    let slot = world.slot(key(0));
    let segments = |world: &World| {
        world.disk.files().filter(|(name, _)| matches!(name, FileName::Segment { .. })).count()
    };
    let before = segments(&world);
    assert_eq!(world.store(key(0)).delete_records(slot, Offset(400)), Ok(Offset(400)));
    assert!(world.store(key(0)).log_start_is_pending(slot));
    world.settle();
    assert!(world.events.iter().any(|(_, e)| matches!(e, Event::LogStart { offset: Offset(400), .. })));
    assert!(segments(&world) < before);
    assert_eq!(
        world.store(key(0)).read(slot, Offset(399), Offset(500), 1000, true).err(),
        Some(ReadError::OutOfRange)
    );
    let left = world.read_all(key(0), Offset(400), 1 << 20);
    world.disk.lose_power();
    world.start(1);
    let slot = world.slot(key(0));
    assert_eq!(world.store(key(0)).offsets(slot).log_start, Offset(400));
    assert_eq!(world.read_all(key(0), Offset(400), 1 << 20), left);
    let end = world.store(key(0)).offsets(slot).log_end;
    assert_eq!(
        world.store(key(0)).delete_records(slot, Offset(end.0 + 1)).err(),
        Some(ReadError::OutOfRange)
    );
    assert_eq!(world.store(key(0)).delete_records(slot, Offset(-1)), Ok(end));
}

#[test]
fn retention_removes_what_is_too_old_or_too_much() {
    let mut world = World::new(8, 1);
    world.log_config.retention_bytes = 400 << 10;
    fill(&mut world, 0, 1 << 20, 4000);
    world.advance(world.config.retention_check_interval_us);
    world.settle();
    let slot = world.slot(key(0));
    let size = world.store(key(0)).size_bytes(slot);
    assert!((400 << 10..700 << 10).contains(&size), "{size}");
    // Everything is too old after a week and a bit: even the active segment goes.
    world.advance(8 * 24 * 3600 * 1_000_000);
    world.settle();
    let offsets = world.store(key(0)).offsets(slot);
    assert_eq!((offsets.log_start, world.store(key(0)).size_bytes(slot)), (offsets.log_end, 0));
    world.append(key(0), batch(1, 1, 100, world.now.wall_ms));
    world.settle();
    world.disk.lose_power();
    world.start(1);
    let slot = world.slot(key(0));
    assert_eq!(world.store(key(0)).offsets(slot).log_start, offsets.log_start);
    assert_eq!(world.read_all(key(0), offsets.log_end, 100).len(), 1);
}

#[test]
fn a_deleted_partition_leaves_nothing() {
    let mut world = World::new(9, 1);
    fill(&mut world, 0, 200 << 10, 4000);
    fill(&mut world, 1, 200 << 10, 4000);
    let slot = world.slot(key(0));
    world.store(key(0)).delete_partition(slot);
    assert_eq!(world.store(key(0)).slot(&key(0)), None);
    world.settle();
    world.disk.lose_power();
    world.start(1);
    world.settle();
    assert_eq!(world.store(key(0)).partitions().count(), 1);
    let of_deleted = |name: &FileName| {
        matches!(name, FileName::Segment { partition, .. } | FileName::Index { partition, .. }
            if *partition == key(0))
    };
    assert!(!world.disk.files().any(|(name, _)| of_deleted(&name)));
    assert_eq!(world.store(key(0)).pressure().dirty_bytes, {
        let slot = world.slot(key(1));
        let size = world.store(key(1)).size_bytes(slot);
        let file = |(name, length): (FileName, u64)| {
            if matches!(name, FileName::Segment { .. }) { length } else { 0 }
        };
        size.saturating_sub(world.disk.files().map(file).sum())
    });
}

#[test]
fn a_stop_in_order_leaves_nothing_to_replay() {
    let mut world = World::new(10, 1);
    fill(&mut world, 0, 500 << 10, 5000);
    let all = world.read_all(key(0), Offset(0), 1 << 20);
    let now = world.now;
    world.stop();
    let slot = world.slot(key(0));
    let refused = world.store(key(0)).append(now, slot, batch(1, 1, 10, 0), AppendOrigin::Client, EPOCH);
    assert!(matches!(refused, Err(AppendError::StorageFailed(_))));
    let reports = world.start(1);
    assert_eq!((reports[0].replayed_blocks, reports[0].torn_tails), (0, 0));
    assert_eq!(world.read_all(key(0), Offset(0), 1 << 20), all);
}

/// The last checkpoint of a stop waits for the WAL. One that had been due by its time was a reason not to sleep meanwhile.
#[test]
fn a_stop_on_a_full_disk_sleeps_until_it_may_try_again() {
    let mut world = World::new(38, 1);
    world.append(key(0), batch(0, 1, 100, 0));
    world.settle();
    world.disk.set_capacity(Some(world.disk.used_bytes()));
    for tag in 1..60 {
        world.append(key(0), batch(tag, 1, 10_000, 0));
    }
    world.settle();
    let slot = world.slot(key(0));
    let offsets = world.store(key(0)).offsets(slot);
    assert!(offsets.durable_end < offsets.log_end, "there is more than the WAL has room for");
    world.advance(world.config.checkpoint_interval_us + 1);
    let now = world.now;
    world.store(key(0)).begin_stop(now);
    world.settle();
    assert!(!world.store(key(0)).stopped());
    world.disk.set_capacity(None);
    world.stop();
    let reports = world.start(1);
    assert_eq!(reports[0].replayed_blocks, 0);
    assert_eq!(world.read_all(key(0), Offset(0), 1 << 20).len(), 60);
}

#[test]
fn nothing_is_removed_behind_the_last_checkpoint_of_a_stop() {
    let mut world = World::new(29, 1);
    fill(&mut world, 0, 1 << 20, 3000);
    let expected = world.read_all(key(0), Offset(0), 1 << 20);
    world.stop();
    let slot = world.slot(key(0));
    world.store(key(0)).delete_records(slot, Offset(600)).expect("it is in the log");
    world.advance(1_000_000);
    world.settle();
    assert!(world.stores[0].stopped());
    assert!(
        !world.events.iter().any(|(_, event)| matches!(event, Event::LogStart { .. })),
        "it is not promised"
    );
    world.start(1);
    assert_eq!(world.read_all(key(0), Offset(0), 1 << 20), expected);
    world.settle();
    assert_eq!(world.stores[0].failure(), None);
}

#[test]
fn files_of_earlier_lives_go_after_the_first_checkpoint_and_none_is_written_to() {
    let mut world = World::new(11, 1);
    for life in 1..5u64 {
        fill(&mut world, 0, 100 << 10, 5000);
        assert!(world.disk.wal_writes.iter().all(|(_, incarnation)| *incarnation == life));
        world.checkpoint();
        let old = |name: &FileName| match name {
            FileName::Wal { incarnation, .. } | FileName::Checkpoint { incarnation, .. } => {
                *incarnation < life
            }
            _ => false,
        };
        assert!(!world.disk.files().any(|(name, _)| old(&name)), "life {life}");
        world.disk.wal_writes.clear();
        world.disk.lose_power();
        world.start(1);
    }
}

#[test]
fn wal_files_are_recycled_and_do_not_pile_up() {
    let mut world = World::new(12, 1);
    for _ in 0..20 {
        fill(&mut world, 0, 400 << 10, 3000);
    }
    let wal: u64 = world
        .disk
        .files()
        .filter(|(name, _)| matches!(name, FileName::Wal { .. }))
        .map(|(_, length)| length)
        .sum();
    assert!(wal <= 2 << 20, "8 MB were appended, {wal} bytes of WAL are left");
    let all = world.read_all(key(0), Offset(0), 1 << 20);
    world.disk.lose_power();
    world.start(1);
    assert_eq!(world.read_all(key(0), Offset(0), 1 << 20), all);
}

#[test]
fn a_full_wal_makes_room_although_its_checkpoint_waits_for_it() {
    let config = StoreConfig {
        wal_bytes_max: 512 << 10,
        checkpoint_wal_bytes: u64::MAX,
        bypass_bytes_min: u32::MAX,
        ..small_config()
    };
    let mut world = World::with(28, 1, config, small_log());
    for tag in 0..400 {
        world.append(key(0), batch(tag, 1, 5000, 0));
    }
    let end = Offset(400);
    // Most of it still waits for room when the checkpoint that is to make room takes its state.
    world.settle();
    let slot = world.slot(key(0));
    assert_eq!(world.store(key(0)).offsets(slot).durable_end, end);
    world.settle();
    let wal = |name: &FileName| matches!(name, FileName::Wal { .. });
    let bytes: u64 = world.disk.files().filter(|file| wal(&file.0)).map(|file| file.1).sum();
    assert!(bytes <= (512 << 10) + (2 << 20) + (512 << 10), "{bytes} bytes of WAL");
}

#[test]
fn large_appends_are_written_once() {
    let mut world = World::new(13, 1);
    world.config.bypass_bytes_min = 64 << 10;
    world.config.wal_block_bytes = 1 << 20;
    world.config.wal_file_bytes = 4 << 20;
    world.config.wal_first_file_bytes = 2 << 20;
    world.log_config.segment_bytes = 32 << 20;
    let config = world.config.clone();
    let log_config = world.log_config.clone();
    let mut world = World::with(13, 1, config, log_config);
    let total = 16u64 << 20;
    for tag in 0..total / (128 << 10) {
        world.append(key(0), batch(tag, 4, 128 << 10, 0));
        world.settle();
    }
    let written: u64 = world.disk.written_bytes.iter().sum();
    let amplification = written as f64 / total as f64;
    assert!(amplification < 1.15, "wrote {amplification:.3} times what was appended");
    let all = world.read_all(key(0), Offset(0), 1 << 20);
    world.disk.lose_power();
    world.start(1);
    assert_eq!(world.read_all(key(0), Offset(0), 1 << 20), all);
    assert_eq!(world.disk.rewritten_blocks, 0);
}

/// A bypassing write of a killed process may land late, so a start closes each segment that was open for one. It did not
/// know that where a checkpoint had been taken while the entry that opens the segment was pending or in flight.
#[test]
fn a_segment_open_for_bypass_is_closed_by_a_start_whenever_the_checkpoint_was_taken() {
    for in_flight in [false, true] {
        let mut world = World::new(40, 1);
        world.append(key(0), batch(0, 1, 100, 0));
        world.settle();
        world.append(key(0), batch(1, 1, 30_000, 0));
        if in_flight {
            world.end_turn();
        }
        world.checkpoint();
        let checkpoint = FileName::Checkpoint { shard: 0, incarnation: 1, which: Which::A };
        assert!(world.disk.content(&checkpoint).is_some());
        // From here on appends may bypass.
        world.disk.lose_power();
        let recovered = world.recover(1);
        let active = recovered[0].partitions[0].segments.back().expect("it holds two batches");
        assert!(active.closed, "in flight: {in_flight}");
    }
}

#[test]
fn a_full_disk_holds_data_in_memory_and_goes_on_when_there_is_room() {
    let mut world = World::new(14, 1);
    world.append(key(0), batch(0, 1, 1000, 0));
    world.settle();
    world.disk.set_capacity(Some(world.disk.used_bytes()));
    let slot = world.slot(key(0));
    let mut refused = false;
    for tag in 1..2000 {
        let now = world.now;
        match world.store(key(0)).append(now, slot, batch(tag, 1, 8000, 0), AppendOrigin::Client, EPOCH) {
            Ok(_) => {}
            Err(AppendError::StorageFull) => refused = true,
            Err(other) => panic!("{other}"),
        }
        if tag % 5 == 0 {
            world.settle();
        }
    }
    assert!(refused, "memory is bounded");
    assert!(world.store(key(0)).pressure().over);
    assert_eq!(world.store(key(0)).failure(), None, "a full disk is no failure");
    world.disk.set_capacity(None);
    for _ in 0..5 {
        world.advance(2_000_000);
        world.settle();
    }
    let offsets = world.store(key(0)).offsets(slot);
    assert_eq!(offsets.durable_end, offsets.log_end);
    assert!(!world.store(key(0)).pressure().over);
    let all = world.read_all(key(0), Offset(0), 1 << 20);
    world.disk.lose_power();
    world.start(1);
    assert_eq!(world.read_all(key(0), Offset(0), 1 << 20), all);
}

#[test]
fn a_device_error_fails_the_store_for_good() {
    let mut world = World::new(15, 1);
    world.append(key(0), batch(0, 1, 1000, 0));
    world.settle();
    let slot = world.slot(key(0));
    world.append(key(0), batch(1, 1, 1000, 0));
    world.disk.fail();
    world.settle();
    assert!(world.events.iter().any(|(_, event)| matches!(event, Event::Failed { .. })));
    assert_eq!(world.store(key(0)).offsets(slot).durable_end, Offset(1), "it was not acknowledged");
    let now = world.now;
    let refused = world.store(key(0)).append(now, slot, batch(2, 1, 10, 0), AppendOrigin::Client, EPOCH);
    assert!(matches!(refused, Err(AppendError::StorageFailed(_))));
    assert!(matches!(
        world.store(key(0)).read(slot, Offset(0), Offset(1), 10, true),
        Err(ReadError::Offline(_))
    ));
    world.store(key(0)).begin_stop(now);
    assert!(world.store(key(0)).stopped());
}

#[test]
fn interval_mode_acknowledges_from_memory_and_writes_later() {
    let mut world = World::new(16, 1);
    world.log_config.flush_mode = FlushMode::Interval { ms: 50 };
    world.append(key(0), batch(0, 2, 1000, 0));
    world.settle();
    world.append(key(0), batch(1, 2, 1000, 0));
    world.settle();
    let slot = world.slot(key(0));
    let offsets = world.store(key(0)).offsets(slot);
    assert_eq!((offsets.acknowledged_end, offsets.durable_end), (Offset(4), Offset(0)));
    let timeout = world.store(key(0)).next_timeout().expect("something waits");
    assert_eq!(timeout, world.now.monotonic_us + 50_000);
    world.advance(50_000);
    world.settle();
    assert_eq!(world.store(key(0)).offsets(slot).durable_end, Offset(4));
    // What waits will vouch for that block: the store sleeps until then, and does not try to vouch for it meanwhile.
    world.append(key(0), batch(2, 2, 1000, 0));
    world.settle();
    world.advance(world.config.wal_vouch_after_us);
    world.settle();
    let timeout = world.store(key(0)).next_timeout().expect("something waits");
    assert_eq!(timeout, world.now.monotonic_us + 50_000 - world.config.wal_vouch_after_us);
}

#[test]
fn interval_mode_deletes_up_to_its_end_and_flushes_for_that() {
    let mut world = World::new(34, 1);
    world.log_config.flush_mode = FlushMode::Interval { ms: 60_000 };
    world.append(key(0), batch(0, 2, 1000, 0));
    world.settle();
    world.append(key(1), batch(1, 2, 1000, 0));
    world.settle();
    let slot = world.slot(key(0));
    let store = world.store(key(0));
    let offsets = store.offsets(slot);
    assert_eq!((offsets.acknowledged_end, offsets.durable_end), (Offset(2), Offset(0)));
    assert_eq!(store.delete_records(slot, Offset(3)), Err(ReadError::OutOfRange));
    assert_eq!(store.delete_records(slot, Offset(-1)), Ok(Offset(2)));
    assert!(store.log_start_is_pending(slot), "a crash may still undo it, so it is not answered");
    // It waits for no interval.
    world.settle();
    assert!(world.events.iter().any(|(_, e)| matches!(e, Event::LogStart { offset: Offset(2), .. })));
    world.disk.lose_power();
    let reports = world.start(1);
    assert_eq!(reports[0].damaged, []);
    let slot = world.slot(key(0));
    let offsets = world.store(key(0)).offsets(slot);
    assert_eq!((offsets.log_start, offsets.log_end), (Offset(2), Offset(2)));
    assert_eq!(world.append(key(0), batch(2, 1, 100, 0)).base_offset, Offset(2));
}

#[test]
fn a_log_start_above_segments_that_are_not_durable_never_outlives_what_it_stands_on() {
    let config = StoreConfig { checkpoint_wal_bytes: u64::MAX, ..small_config() };
    let mut log_config = LogConfig { segment_bytes: 20 << 10, ..small_log() };
    log_config.flush_mode = FlushMode::Interval { ms: 60_000 };
    let mut world = World::with(35, 1, config, log_config);
    world.append(key(0), batch(0, 1, 100, 0));
    world.settle();
    // A dozen segments, none of them on the disk, and less than a block holds. All of them but the last go.
    for tag in 1..12 {
        world.append(key(0), batch(tag, 1, 16 << 10, 0));
    }
    let slot = world.slot(key(0));
    let (start, end) = (Offset(11), Offset(12));
    assert_eq!(world.store(key(0)).delete_records(slot, start), Ok(start));
    let is_told = |world: &World| world.events.iter().any(|(_, e)| matches!(e, Event::LogStart { .. }));
    // Whenever the power fails: what was told stays, and nothing is taken for damaged.
    for _ in 0..1000 {
        world.end_turn();
        let (told, mut image) = (is_told(&world), world.disk.clone());
        image.lose_power();
        let recovered = storage::recovery::recover_volume(&mut image, 1, &|_| 0).expect("it can be read");
        assert_eq!(recovered[0].report.damaged, []);
        let log = recovered[0].partitions.iter().find(|log| log.key == key(0));
        assert!(!told || log.is_some_and(|log| log.log_start == start && log.next_offset == end));
        if !world.complete_one() {
            break;
        }
    }
    assert!(is_told(&world));
    world.settle();
    let segments: Vec<FileName> =
        world.disk.files().map(|f| f.0).filter(|name| matches!(name, FileName::Segment { .. })).collect();
    assert!(segments.len() <= 1, "what was deleted leaves no files: {segments:?}");
    let pressure = world.store(key(0)).pressure();
    assert!(pressure.dirty_bytes <= 17 << 10, "{pressure:?}: what was deleted need not be written");
    assert_eq!(world.read_all(key(0), start, 1 << 20).len(), 1);
}

/// A start goes on in a segment whose closing it does not know of, so its file must stay, whatever the log start is.
#[test]
fn a_segment_below_the_log_start_stays_until_its_closing_is_durable() {
    let mut log_config = LogConfig { segment_bytes: 20 << 10, ..small_log() };
    log_config.flush_mode = FlushMode::Interval { ms: 60_000 };
    let mut world = World::with(39, 1, small_config(), log_config);
    world.append(key(0), batch(0, 1, 17 << 10, 0));
    world.settle();
    let slot = world.slot(key(0));
    assert_eq!(world.store(key(0)).delete_records(slot, Offset(-1)), Ok(Offset(1)));
    world.end_turn();
    // While the log start is written, an append begins another segment. It waits for its interval.
    world.append(key(0), batch(1, 1, 17 << 10, 0));
    world.settle();
    assert!(!world.store(key(0)).log_start_is_pending(slot));
    let file = FileName::Segment { partition: key(0), base: Offset(0) };
    assert!(world.disk.content(&file).is_some());
    world.disk.lose_power();
    world.start(1);
    for tag in 2..20 {
        world.append(key(0), batch(tag, 1, 1000, 0));
    }
    world.checkpoint();
    assert_eq!(world.read_all(key(0), Offset(1), 1 << 20).len(), 18);
}

#[test]
fn a_log_start_waits_for_company_no_longer_than_an_append() {
    let mut world = World::new(36, 1);
    world.append(key(0), batch(0, 1, 100, 0));
    world.settle();
    // Two producers are answered together, and both are expected again.
    world.append(key(0), batch(1, 1, 100, 0));
    world.append(key(1), batch(2, 1, 100, 0));
    world.end_turn();
    world.advance(300);
    world.settle();
    // Neither comes; somebody deletes records instead.
    let slot = world.slot(key(0));
    world.store(key(0)).delete_records(slot, Offset(2)).expect("it is in the log");
    world.settle();
    let timeout = world.store(key(0)).next_timeout().expect("something waits");
    assert_eq!(timeout, world.now.monotonic_us + 150);
    world.advance(150);
    world.settle();
    assert!(!world.store(key(0)).log_start_is_pending(slot));
}

#[test]
fn what_comes_when_there_is_room_again_is_flushed_in_its_time() {
    let config = StoreConfig {
        wal_first_file_bytes: 4 * 4096,
        checkpoint_interval_us: 3_600_000_000,
        ..small_config()
    };
    let log_config = LogConfig { flush_mode: FlushMode::Interval { ms: 50 }, ..small_log() };
    let mut world = World::with(37, 1, config, log_config);
    // The first WAL file has blocks for two appends and a log start, and then one, which is too little for any. There is
    // no space for a second file.
    for tag in 0..2 {
        world.append(key(0), batch(tag, 1, 100, 0));
        world.settle();
        world.disk.set_capacity(Some(world.disk.used_bytes()));
        world.advance(50_000);
        world.settle();
    }
    let slot = world.slot(key(0));
    world.store(key(0)).delete_records(slot, Offset(1)).expect("it is in the log");
    world.settle();
    assert!(!world.store(key(0)).log_start_is_pending(slot));
    // The block that is to vouch for the last one finds no room, and there is nothing to do but to try again.
    let written = world.disk.written_bytes[0];
    world.advance(world.config.wal_vouch_after_us);
    world.settle();
    assert_eq!(world.disk.written_bytes[0], written);
    let retry_us = world.store(key(0)).next_timeout().expect("something waits");
    assert!(retry_us > world.now.monotonic_us + 900_000, "a second after the last try");
    // Just before that comes an append that is not due before its interval is over; then there is room.
    world.advance(retry_us - world.now.monotonic_us - 10_000);
    world.append(key(0), batch(2, 1, 100, 0));
    world.settle();
    let due_us = world.now.monotonic_us + 50_000;
    world.disk.set_capacity(None);
    world.advance(10_000);
    world.settle();
    assert_eq!(world.store(key(0)).next_timeout(), Some(due_us));
    world.advance(40_000);
    world.settle();
    assert_eq!(world.store(key(0)).offsets(slot).durable_end, Offset(3));
}

#[test]
fn the_last_block_is_vouched_for_when_nothing_follows() {
    let mut world = World::new(17, 1);
    world.append(key(0), batch(0, 1, 100, 0));
    world.settle();
    world.advance(20_000);
    world.settle();
    let before = world.disk.written_bytes[0];
    world.advance(1_000_000);
    world.settle();
    assert_eq!(world.disk.written_bytes[0], before, "one block vouches, and none for it");
    rot_payload(&mut world.disk, 1);
    let reports = world.start(1);
    assert_eq!(reports[0].damaged, [(key(0), Offset(0))]);
}

/// Damages the payload of the n-th block of the newest WAL file, counted from 1.
fn rot_payload(disk: &mut MemoryDisk, lsn: u64) {
    rot_block(disk, lsn, 200);
}

fn rot_block(disk: &mut MemoryDisk, lsn: u64, offset: u64) {
    let files: Vec<FileName> =
        disk.files().map(|file| file.0).filter(|name| matches!(name, FileName::Wal { .. })).collect();
    for name in files {
        let FileName::Wal { shard, incarnation, sequence } = name else { unreachable!() };
        let content = disk.content(&name).expect("it was listed");
        let salt = storage::wal::salt(shard, incarnation, sequence);
        let mut at = 0;
        while let Some(header) = storage::wal::BlockHeader::read(&content[at..], salt) {
            if header.lsn == Lsn(lsn) {
                disk.rot(&name, at as u64 + offset);
                return;
            }
            at += header.length as usize;
        }
    }
    panic!("there is no block {lsn}");
}

/// Four blocks: partitions 0, 1, 0, 2.
fn four_blocks(seed: u64) -> World {
    let mut world = World::new(seed, 1);
    for partition in [0, 1, 0, 2] {
        world.append(key(partition), batch(7, 2, 300, 0));
        world.settle();
    }
    world
}

#[test]
fn damage_behind_which_others_were_acknowledged_is_never_a_torn_tail() {
    let mut world = four_blocks(18);
    rot_payload(&mut world.disk, 1);
    let reports = world.start(1);
    assert_eq!(reports[0].damaged, [(key(0), Offset(0))], "only the partition in the damaged block");
    assert_eq!(reports[0].unattributed_loss, None);
    assert_eq!(world.read_all(key(1), Offset(0), 1000).len(), 1);
    assert_eq!(world.read_all(key(2), Offset(0), 1000).len(), 1);
    let slot = world.slot(key(0));
    assert_eq!(world.store(key(0)).damaged_from(slot), Some(Offset(0)));
    let now = world.now;
    let read = world.store(key(0)).read(slot, Offset(0), Offset(2), 100, true);
    assert!(matches!(read, Err(ReadError::Offline(_))));
    let refused = world.store(key(0)).append(now, slot, batch(1, 1, 1, 0), AppendOrigin::Client, EPOCH);
    assert!(matches!(refused, Err(AppendError::StorageFailed(_))));
    // It stays known after checkpoints and restarts.
    world.checkpoint();
    world.disk.lose_power();
    let reports = world.start(1);
    assert_eq!(reports[0].damaged, [(key(0), Offset(0))]);
}

#[test]
fn a_lost_directory_takes_every_partition_that_cannot_prove_itself() {
    let mut world = four_blocks(19);
    rot_block(&mut world.disk, 2, 70);
    let reports = world.start(1);
    // Partition 0 goes on behind the hole without a gap, and 2 begins there: both are whole. Partition 1 was in
    // the hole, and nothing else names it: it is offline when the broker says that it should be there.
    assert!(reports[0].unattributed_loss.is_some());
    assert!(reports[0].damaged.is_empty());
    let slot = world.slot(key(1));
    assert_eq!(world.store(key(1)).damaged_from(slot), Some(Offset(0)));
    assert_eq!(world.read_all(key(0), Offset(0), 1000).len(), 2);
    world.store(key(0)).loaded();
    let slot = world.slot(key(9));
    assert_eq!(world.store(key(9)).damaged_from(slot), None, "this one is new");
}

#[test]
fn a_damaged_last_block_that_nobody_vouches_for_is_the_torn_end() {
    let mut world = four_blocks(20);
    rot_payload(&mut world.disk, 4);
    let reports = world.start(1);
    assert_eq!((reports[0].torn_tails, reports[0].damaged.len()), (1, 0));
    assert!(reports[0].tail_uncertain);
    let slot = world.slot(key(2));
    assert_eq!(world.store(key(2)).offsets(slot).log_end, Offset(0));
}

#[test]
fn one_rotten_checkpoint_costs_nothing_and_two_are_told() {
    for rotten in 0..3 {
        let mut world = World::new(21, 1);
        for _ in 0..3 {
            fill(&mut world, 0, 100 << 10, 3000);
            world.checkpoint();
        }
        fill(&mut world, 0, 50 << 10, 3000);
        let all = world.read_all(key(0), Offset(0), 1 << 20);
        let slot = |which| FileName::Checkpoint { shard: 0, incarnation: 1, which };
        for which in [vec![Which::A], vec![Which::B], vec![Which::A, Which::B]][rotten].iter() {
            world.disk.rot(&slot(*which), 100);
        }
        let reports = world.start(1);
        assert!(reports[0].bad_checkpoints > 0);
        if rotten < 2 {
            assert_eq!(reports[0].damaged, []);
            assert_eq!(world.read_all(key(0), Offset(0), 1 << 20), all);
        } else {
            assert_eq!(reports[0].damaged.len(), 1);
        }
    }
}

/// Lets a turn issue its WAL block, and takes the disk back to before: the file as it is when the block comes late.
fn late_block(world: &mut World, incarnation: u64) -> (FileName, Vec<u8>) {
    let before = world.disk.clone();
    world.end_turn();
    while world.complete_one() {}
    let file = FileName::Wal { shard: 0, incarnation, sequence: 1 };
    let content = world.disk.content(&file).expect("it was prepared");
    world.disk = before;
    (file, content)
}

fn land(world: &mut World, (file, content): (FileName, Vec<u8>)) {
    let kind = OpKind::WriteWal { file, position: 0, parts: vec![content.into()], flush: false };
    world.disk.submit(Op { id: OpId(u64::MAX), kind });
    world.disk.complete_first().expect("it was submitted");
}

#[test]
fn what_a_life_says_that_was_not_taken_over_does_not_count() {
    let mut world = World::new(31, 1);
    world.append(key(0), batch(1, 1, 300, 0));
    world.settle();
    world.append(key(0), batch(2, 1, 300, 0));
    let second = late_block(&mut world, 1);
    // The second life finds one block of the first. It says so, and is killed before its own block is on the disk.
    world.start(1);
    world.end_turn();
    while world.complete_one() {}
    let inherit = late_block(&mut world, 2);
    // The third finds both blocks, as the second has landed, and serves them.
    land(&mut world, second);
    world.start(1);
    world.append(key(0), batch(3, 1, 300, 0));
    world.settle();
    let expected = world.read_all(key(0), Offset(0), 1 << 20);
    assert_eq!(expected.len(), 3);
    // Now lands what the second life had to say about the first.
    land(&mut world, inherit);
    let reports = world.start(1);
    assert_eq!(reports[0].damaged, []);
    assert_eq!(world.read_all(key(0), Offset(0), 1 << 20), expected);
}

#[test]
fn a_life_whose_first_file_found_no_space_says_what_it_took_over_too() {
    let mut world = World::new(33, 1);
    world.append(key(0), batch(1, 1, 300, 0));
    world.settle();
    world.append(key(0), batch(2, 1, 300, 0));
    let second = late_block(&mut world, 1);
    // The second life finds one block of the first, and no space for a file of its own until the next try.
    world.start(1);
    world.disk.set_capacity(Some(world.disk.used_bytes()));
    world.append(key(0), batch(3, 1, 300, 0));
    world.settle();
    world.disk.set_capacity(None);
    world.advance(10_000_000);
    world.settle();
    let expected = world.read_all(key(0), Offset(0), 1 << 20);
    assert_eq!(expected.len(), 2);
    assert!(world.disk.content(&FileName::Wal { shard: 0, incarnation: 2, sequence: 1 }).is_none());
    // Now lands the block that the second life did not find, with another record of the same offset.
    land(&mut world, second);
    let reports = world.start(1);
    assert_eq!(reports[0].damaged, []);
    assert_eq!(world.read_all(key(0), Offset(0), 1 << 20), expected);
}

#[test]
fn a_life_without_a_readable_beginning_is_a_loss() {
    let mut world = World::new(30, 1);
    for partition in 0..2 {
        world.append(key(partition), batch(7, 1, 300, 0));
    }
    world.stop();
    world.start(1);
    world.stop();
    let name = |which| FileName::Checkpoint { shard: 0, incarnation: 2, which };
    world.disk.rot(&name(Which::A), 100);
    world.disk.rot(&name(Which::B), 100);
    // The salt of the first block: nothing shows that there ever was one.
    world.disk.rot(&FileName::Wal { shard: 0, incarnation: 2, sequence: 1 }, 8);
    let reports = world.start(1);
    assert!(reports[0].unattributed_loss.is_some());
    let slot = world.slot(key(0));
    assert_eq!(world.store(key(0)).damaged_from(slot), Some(Offset(0)));
}

#[test]
fn another_number_of_shards_finds_every_partition() {
    let mut world = World::new(22, 4);
    let mut expected = Vec::new();
    for partition in 0..10 {
        fill(&mut world, partition, 40 << 10, 3000);
        expected.push(world.read_all(key(partition), Offset(0), 1 << 20));
    }
    for shards in [2, 3, 1, 5, 5, 4] {
        world.disk.lose_power();
        world.start(shards);
        for partition in 0..10 {
            world.append(key(partition), batch(1, 1, 50, 0));
        }
        world.settle();
        for (partition, expected) in expected.iter_mut().enumerate() {
            *expected = {
                let now = world.read_all(key(partition as i32), Offset(0), 1 << 20);
                assert_eq!(now[..expected.len()], expected[..], "{partition} with {shards} shards");
                assert_eq!(now.len(), expected.len() + 1);
                now
            };
        }
        if shards == 3 {
            world.checkpoint();
            let firsts = world.events.iter().filter(|(_, e)| matches!(e, Event::FirstCheckpoint)).count();
            assert_eq!(firsts, 3);
            world.release_previous();
            world.settle();
            let old = |name: &FileName| matches!(name, FileName::Wal { shard, .. } if *shard > 2);
            assert!(!world.disk.files().any(|(name, _)| old(&name)));
        }
    }
}

#[test]
fn what_comes_back_of_a_life_long_covered_is_no_loss() {
    let mut world = World::new(25, 1);
    for partition in 0..4 {
        world.append(key(partition), batch(1, 1, 3000, 0));
    }
    world.checkpoint();
    world.append(key(0), batch(2, 1, 3000, 0));
    world.settle();
    // The second life spreads the partitions over two shards, each takes its checkpoint, and the files of the first
    // life begin to go: its WAL does, its checkpoints do not.
    world.disk.lose_power();
    world.start(2);
    world.checkpoint();
    world.disk.submit(Op {
        id: OpId(u64::MAX),
        kind: OpKind::Remove { files: vec![FileName::Wal { shard: 0, incarnation: 1, sequence: 1 }] },
    });
    world.disk.complete_first().expect("it was submitted");
    let expected: Vec<_> =
        (0..4).map(|partition| world.read_all(key(partition), Offset(0), 1 << 20)).collect();
    // In the third life only one shard lives to its checkpoint, and removes its own of the second.
    world.disk.kill();
    world.start(2);
    world.advance(world.config.checkpoint_interval_us + 1);
    world.settle_alone(1);
    assert!(
        !world
            .disk
            .files()
            .any(|(name, _)| matches!(name, FileName::Checkpoint { shard: 1, incarnation: 2, .. }))
    );
    world.disk.kill();
    let reports = world.start(2);
    assert_eq!(
        reports[0].unattributed_loss, None,
        "what the first life had is in the checkpoints of the second"
    );
    for (partition, expected) in (0..4).zip(expected) {
        assert_eq!(world.read_all(key(partition), Offset(0), 1 << 20), expected);
    }
}

#[test]
fn a_partition_that_moved_keeps_what_its_old_shard_has_until_all_shards_have_checkpoints() {
    let mut world = World::new(26, 1);
    world.append(key(1), batch(1, 1, 3000, 0));
    world.settle();
    // It moves to a shard of its own and goes on there; no checkpoint is taken.
    world.start(2);
    world.append(key(1), batch(2, 1, 3000, 0));
    world.settle();
    let expected = world.read_all(key(1), Offset(0), 1 << 20);
    // In the third life only its old shard lives to a checkpoint, which covers nothing of the partition.
    world.start(2);
    world.advance(world.config.checkpoint_interval_us + 1);
    world.settle_alone(0);
    world.disk.kill();
    let reports = world.start(2);
    assert_eq!(reports[1].damaged, []);
    assert_eq!(world.read_all(key(1), Offset(0), 1 << 20), expected);
}

#[test]
fn a_torn_first_checkpoint_does_not_miss_what_another_shard_has_covered() {
    let mut world = World::new(27, 2);
    for partition in 0..2 {
        world.append(key(partition), batch(1, 1, 3000, 0));
    }
    world.settle();
    let expected: Vec<_> =
        (0..2).map(|partition| world.read_all(key(partition), Offset(0), 1 << 20)).collect();
    // The second life takes both WALs over. One shard's checkpoint is complete, and its WAL of the first life goes;
    // the other's is cut off.
    world.start(2);
    world.settle();
    world.advance(world.config.checkpoint_interval_us + 1);
    world.settle_alone(1);
    let file = FileName::Checkpoint { shard: 0, incarnation: 2, which: Which::A };
    let kind = OpKind::WriteFile { file, parts: vec![b"MCKP".to_vec().into()] };
    world.disk.submit(Op { id: OpId(u64::MAX), kind });
    world.disk.complete_first().expect("it was submitted");
    world.disk.kill();
    let reports = world.start(2);
    assert_eq!((reports[0].bad_checkpoints, reports[0].unattributed_loss.as_deref()), (1, None));
    for (partition, expected) in (0..2).zip(expected) {
        assert_eq!(world.read_all(key(partition), Offset(0), 1 << 20), expected);
    }
}

#[test]
fn epochs_begin_where_the_leader_says() {
    let mut world = World::new(23, 1);
    world.append(key(0), batch(1, 5, 100, 0));
    let slot = world.slot(key(0));
    world.store(key(0)).start_epoch(slot, LeaderEpoch(8));
    world.settle();
    world.disk.lose_power();
    world.start(1);
    let slot = world.slot(key(0));
    let epochs = world.store(key(0)).leader_epochs(slot);
    assert_eq!(epochs.entries(), [(EPOCH, Offset(0)), (LeaderEpoch(8), Offset(5))]);
}

#[test]
fn ten_thousand_partitions_come_back() {
    let config = StoreConfig::default();
    let mut world = World::with(24, 1, config, LogConfig::default());
    for partition in 0..10_000 {
        world.append(key(partition), batch(partition as u64, 1, 200, 0));
    }
    world.settle();
    world.checkpoint();
    for partition in (0..10_000).step_by(7) {
        world.append(key(partition), batch(partition as u64, 1, 200, 0));
    }
    world.settle();
    world.disk.lose_power();
    world.start(1);
    for partition in 0..10_000 {
        let slot = world.slot(key(partition));
        let end = if partition % 7 == 0 { 2 } else { 1 };
        assert_eq!(world.store(key(partition)).offsets(slot).log_end, Offset(end));
    }
    let folders = world.disk.files().filter(|(name, _)| matches!(name, FileName::Segment { .. })).count();
    assert_eq!(folders, 0, "a partition with less than a block has no file");
}
