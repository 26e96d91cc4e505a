//! S2: recovery, some work, a power cut, recovery again; the logs end where they ended.

use std::collections::BTreeMap;

use broker::placement::shard_of;
use storage::config::{LogConfig, StoreConfig};
use storage::recovery::{RecoveryReport, recover_volume};
use storage::store::Store;
use storage::types::{Now, Offset, PartitionKey};

use crate::checker::{Checker, Violation};
use crate::disk::{Answer, Disk};
use crate::random::Random;

/// Log start and log end of every partition.
type Ends = BTreeMap<PartitionKey, (Offset, Offset)>;

struct Opened {
    ends: Ends,
    stores: Vec<Store>,
    reports: Vec<RecoveryReport>,
}

/// Recovers a copy of the disk twice, with a crash in between.
pub fn check(
    disk: &Disk,
    keys: &[PartitionKey],
    shards: u16,
    config: &StoreConfig,
    now: Now,
) -> Result<(), Violation> {
    let mut disk = disk.copy();
    let mut random = Random::new(now.monotonic_us, "recovery");
    // What the start itself will refuse is not repeated here.
    let Some(first) = open(&mut disk, shards, keys, config, now) else { return Ok(()) };
    work(&mut disk, first.stores, now, &mut random);
    disk.lose_power();
    let Some(second) = open(&mut disk, shards, keys, config, now) else {
        return Err(Violation::new(Checker::S2, "the second recovery refuses"));
    };
    let differs = first.ends.iter().find(|(key, ends)| second.ends.get(key) != Some(ends));
    let Some((key, ends)) = differs else { return Ok(()) };
    let message = format!(
        "{key} was recovered as {ends:?}, then as {:?}; reports {:?} and {:?}",
        second.ends.get(key),
        first.reports,
        second.reports
    );
    Err(Violation::new(Checker::S2, message))
}

fn open(
    disk: &mut Disk,
    shards: u16,
    keys: &[PartitionKey],
    config: &StoreConfig,
    now: Now,
) -> Option<Opened> {
    disk.start_process();
    let place = |key: PartitionKey| shard_of(key.topic_id, key.partition, shards).0;
    let recovered = recover_volume(disk, shards, &place).ok()?;
    let mut opened = Opened { ends: Ends::new(), stores: Vec::new(), reports: Vec::new() };
    for (shard, part) in (0..).zip(recovered) {
        opened.reports.push(part.report.clone());
        let mut store = Store::open(part, config.clone(), now);
        for key in keys.iter().filter(|key| place(**key) == shard) {
            let slot = store.create_partition(*key, LogConfig::default());
            let offsets = store.offsets(slot);
            opened.ends.insert(*key, (offsets.log_start, offsets.log_end));
        }
        store.loaded();
        opened.stores.push(store);
    }
    Some(opened)
}

/// Lets the stores do some of what they do at a start.
fn work(disk: &mut Disk, mut stores: Vec<Store>, mut now: Now, random: &mut Random) {
    let mut in_flight = Vec::new();
    let mut first_checkpoints = 0;
    for _ in 0..random.below(40) {
        now.monotonic_us += random.below(200_000);
        for (shard, store) in (0..).zip(&mut stores) {
            let mut ops = Vec::new();
            store.end_turn(now, &mut ops);
            for op in ops {
                in_flight.push(disk.start(shard, op).0);
            }
        }
        for _ in 0..random.below(in_flight.len() as u64 + 1) {
            let ticket = in_flight.swap_remove(random.below(in_flight.len() as u64) as usize);
            let Some(Answer::Shard(shard, done)) = disk.finish(ticket) else { continue };
            let mut events = Vec::new();
            stores[usize::from(shard)].complete(now, done, &mut events);
            let checkpointed =
                events.iter().filter(|event| matches!(event, storage::store::Event::FirstCheckpoint));
            first_checkpoints += checkpointed.count();
            if first_checkpoints == stores.len() {
                first_checkpoints = 0;
                stores.iter_mut().for_each(Store::release_previous);
            }
        }
    }
}
