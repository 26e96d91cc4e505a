//! S2: recovery, some work, a power cut, recovery again; the logs end where they ended.

use std::collections::BTreeMap;

use broker::metadata::log::recover;
use broker::placement::shard_of;
use storage::config::{LogConfig, StoreConfig};
use storage::recovery::recover_volume;
use storage::store::Store;
use storage::types::{Now, Offset, PartitionKey};

use crate::checker::{Checker, Violation};
use crate::disk::{Answer, Disk};
use crate::random::Random;
use crate::world::partitions_of;

/// Log start and log end of every partition.
type Ends = BTreeMap<PartitionKey, (Offset, Offset)>;

/// Recovers a copy of the disk twice, with a crash in between.
pub fn check(disk: &Disk, shards: u16, config: &StoreConfig, now: Now) -> Result<(), Violation> {
    let mut disk = disk.copy();
    disk.sync_meta();
    let files = disk.meta_files();
    let files = files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone()));
    // What the start itself will say about the metadata is not repeated here.
    let Ok(meta) = recover(files) else { return Ok(()) };
    let keys = partitions_of(&meta.image);
    let mut random = Random::new(now.monotonic_us, "recovery");
    let Some((first, stores)) = open(&mut disk, shards, &keys, config, now) else { return Ok(()) };
    work(&mut disk, stores, now, &mut random);
    disk.lose_power();
    let second = open(&mut disk, shards, &keys, config, now).map(|(ends, _)| ends);
    if second.as_ref() == Some(&first) {
        return Ok(());
    }
    let differs = second.as_ref().and_then(|second| {
        first.iter().find(|(key, ends)| second.get(key) != Some(ends)).map(|(key, ends)| (*key, *ends, second.get(key)))
    });
    Err(Violation::new(Checker::S2, format!("the second recovery differs: {differs:?}")))
}

fn open(
    disk: &mut Disk,
    shards: u16,
    keys: &[PartitionKey],
    config: &StoreConfig,
    now: Now,
) -> Option<(Ends, Vec<Store>)> {
    disk.start_process();
    let place = |key: PartitionKey| shard_of(key.topic_id, key.partition, shards).0;
    let recovered = recover_volume(disk, shards, &place).ok()?;
    let mut ends = Ends::new();
    let mut stores = Vec::new();
    for (shard, part) in (0..).zip(recovered) {
        let mut store = Store::open(part, config.clone(), now);
        for key in keys.iter().filter(|key| place(**key) == shard) {
            let slot = store.create_partition(*key, LogConfig::default());
            let offsets = store.offsets(slot);
            ends.insert(*key, (offsets.log_start, offsets.log_end));
        }
        store.loaded();
        stores.push(store);
    }
    Some((ends, stores))
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
            let checkpointed = events.iter().filter(|event| matches!(event, storage::store::Event::FirstCheckpoint));
            first_checkpoints += checkpointed.count();
            if first_checkpoints == stores.len() {
                first_checkpoints = 0;
                stores.iter_mut().for_each(Store::release_previous);
            }
        }
    }
}
