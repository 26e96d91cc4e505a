//! What a start finds on a volume: checkpoints, then the WAL blocks after them, of every shard and every earlier
//! incarnation that is still needed, oldest first. Each record is taken up by its offset, so nothing counts twice and
//! a start may be repeated at any point.
//!
//! **Torn or damaged?** A block that is not what was written is either the end of the log (it was in flight
//! when the process died, so nothing in it was acknowledged) or damage to acknowledged records. What decides is
//! whether anything *vouches* for it: a later block whose `durable_lsn` reaches it, a checkpoint, or the first
//! block of a later incarnation, which says how far it took this one over. Damage is never passed over in
//! silence: partitions that lost records go offline and are listed.

mod apply;
mod walk;

use crate::checkpoint::CheckpointV1;
use crate::config::LogConfig;
use crate::log::Log;
use crate::op::{BLOCK_BYTES, DiskError, DiskErrorKind, FileName, RecoverySource};
use crate::types::{Lsn, Offset, PartitionKey};
use crate::wal::{EntryKind, ParsedBlock, WalEnd, read_inherit};
use apply::{Applied, restore_partition};
use std::collections::{BTreeMap, BTreeSet};
use walk::BlockWalk;

/// A checkpoint larger than this is not believed.
const CHECKPOINT_BYTES_MAX: u64 = 4 << 30;

/// What one shard's store starts from.
#[derive(Debug)]
pub struct Recovered {
    /// The shard.
    pub shard: u16,
    /// How many shards there are.
    pub shards: u16,
    /// This life of the process.
    pub incarnation: u64,
    /// The logs of the shard, with what is not in their files in memory.
    pub partitions: Vec<Log>,
    /// Deleted partitions that may still have files.
    pub doomed: Vec<PartitionKey>,
    /// How far each earlier WAL was taken over.
    pub ends: Vec<WalEnd>,
    /// Files of earlier incarnations.
    pub previous: Vec<FileName>,
    /// Partitions changed their shard: `previous` may go only when every shard has its first checkpoint.
    pub remapped: bool,
    /// Lives below this one count no more.
    pub obsolete_below: u64,
    /// What a start has to tell; of the whole volume, but for `damaged`, which is of this shard.
    pub report: RecoveryReport,
    /// The last WAL file of the shard, for a store that wrongly goes on in it.
    #[cfg(feature = "mutations")]
    pub old_wal: Option<OldWal>,
}

impl Recovered {
    /// What a shard of an empty volume starts from.
    #[must_use]
    pub fn empty(shard: u16, shards: u16) -> Recovered {
        Recovered {
            shard,
            shards,
            incarnation: 1,
            partitions: Vec::new(),
            doomed: Vec::new(),
            ends: Vec::new(),
            previous: Vec::new(),
            remapped: false,
            obsolete_below: 0,
            report: RecoveryReport::default(),
            #[cfg(feature = "mutations")]
            old_wal: None,
        }
    }
}

/// Where an earlier incarnation stopped writing.
#[cfg(feature = "mutations")]
#[derive(Clone, Copy, Debug)]
pub struct OldWal {
    /// The life of the process.
    pub incarnation: u64,
    /// The file.
    pub sequence: u64,
    /// Its size.
    pub bytes: u64,
    /// Where its last block ends.
    pub position: u64,
    /// The block that would come next.
    pub next_lsn: Lsn,
    /// `header_crc` of the last block.
    pub prev_crc: u32,
}

/// What recovery found, for the log and for the controller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Bytes of WAL that were replayed.
    pub replayed_bytes: u64,
    /// Blocks of WAL that were replayed.
    pub replayed_blocks: u64,
    /// WALs whose end was torn, which is what a crash leaves.
    pub torn_tails: u32,
    /// A block at the end was damaged, and nothing proves that it had not been acknowledged. That takes a power
    /// loss and a rotten sector written within the last 20 ms; most often it is just torn.
    pub tail_uncertain: bool,
    /// Checkpoint slots that could not be read, most often because a crash tore the newest.
    pub bad_checkpoints: u32,
    /// Partitions that lost acknowledged records, with the first offset lost.
    pub damaged: Vec<(PartitionKey, Offset)>,
    /// Set if acknowledged records were lost of partitions that cannot be named. Partitions that the broker
    /// creates before [`crate::store::Store::loaded`] and that are not known are then offline.
    pub unattributed_loss: Option<String>,
}

/// Reads a volume and hands each of its partitions to its shard: `placement` says which. The number of shards
/// may differ from that of the last start.
pub fn recover_volume(
    source: &mut dyn RecoverySource,
    shards: u16,
    placement: &dyn Fn(PartitionKey) -> u16,
) -> Result<Vec<Recovered>, DiskError> {
    recover(source, shards, placement, true)
}

/// [`recover_volume`] with a mutation on.
#[cfg(feature = "mutations")]
pub fn recover_volume_mutated(
    source: &mut dyn RecoverySource,
    shards: u16,
    placement: &dyn Fn(PartitionKey) -> u16,
    mutation: Option<crate::config::Mutation>,
) -> Result<Vec<Recovered>, DiskError> {
    let heeds_durable_lsn = mutation != Some(crate::config::Mutation::IgnoreDurableLsn);
    recover(source, shards, placement, heeds_durable_lsn)
}

fn recover(
    source: &mut dyn RecoverySource,
    shards: u16,
    placement: &dyn Fn(PartitionKey) -> u16,
    heeds_durable_lsn: bool,
) -> Result<Vec<Recovered>, DiskError> {
    assert!(shards > 0, "a broker has at least one shard");
    let mut volume = Volume::scan(source)?;
    volume.heeds_durable_lsn = heeds_durable_lsn;
    volume.read_ends(source)?;
    let ids: Vec<LifeId> = volume.lives.keys().copied().collect();
    for id in ids {
        if !volume.is_obsolete(id) {
            volume.replay(source, id)?;
        }
    }
    volume.finish(source)?;
    Ok(volume.hand_out(shards, placement))
}

/// (incarnation, shard): one life of one shard.
type LifeId = (u64, u16);

#[derive(Debug, Default)]
struct Life {
    /// (sequence, size), ascending.
    wal: Vec<(u64, u64)>,
    slots: Vec<(FileName, u64)>,
    checkpoint: Option<CheckpointV1>,
    bad_slots: u32,
}

/// A partition as far as it has been rebuilt.
#[derive(Debug)]
struct Rebuilt {
    log: Log,
    home: LifeId,
    /// A block was lost that may have held records of this partition.
    suspect: bool,
}

#[derive(Debug)]
struct Volume {
    lives: BTreeMap<LifeId, Life>,
    /// Lives below this one count no more.
    obsolete_below: u64,
    ends: BTreeMap<LifeId, Lsn>,
    /// What later incarnations say about how far they took earlier ones over.
    taken_over: BTreeMap<LifeId, Lsn>,
    partitions: BTreeMap<PartitionKey, Rebuilt>,
    doomed: BTreeSet<PartitionKey>,
    /// The shards in whose files there is something of a partition that counts, be it that it is gone.
    sources: BTreeMap<PartitionKey, BTreeSet<u16>>,
    report: RecoveryReport,
    heeds_durable_lsn: bool,
    #[cfg(feature = "mutations")]
    old_wals: BTreeMap<u16, OldWal>,
}

impl Volume {
    fn scan(source: &mut dyn RecoverySource) -> Result<Volume, DiskError> {
        let mut lives: BTreeMap<LifeId, Life> = BTreeMap::new();
        let mut report = RecoveryReport::default();
        for shard in source.wal_shards()? {
            for (file, bytes) in source.wal_files(shard)? {
                match file {
                    FileName::Wal { shard, incarnation, sequence } => {
                        lives.entry((incarnation, shard)).or_default().wal.push((sequence, bytes));
                    }
                    FileName::Checkpoint { shard, incarnation, .. } => {
                        lives.entry((incarnation, shard)).or_default().slots.push((file, bytes));
                    }
                    FileName::Segment { .. } | FileName::Index { .. } => {}
                }
            }
        }
        for life in lives.values_mut() {
            life.wal.sort_unstable();
            life.read_checkpoints(source)?;
            report.bad_checkpoints += life.bad_slots;
        }
        Ok(Volume {
            obsolete_below: obsolete_below(&lives),
            lives,
            ends: BTreeMap::new(),
            taken_over: BTreeMap::new(),
            partitions: BTreeMap::new(),
            doomed: BTreeSet::new(),
            sources: BTreeMap::new(),
            report,
            heeds_durable_lsn: true,
            #[cfg(feature = "mutations")]
            old_wals: BTreeMap::new(),
        })
    }

    /// Whether later checkpoints hold all that this life could tell: either the shard itself has one and no
    /// partition changed its shard, or all shards of some later life have one, or had.
    fn is_obsolete(&self, (incarnation, shard): LifeId) -> bool {
        let replaces = |(later, life): (&LifeId, &Life)| {
            *later > (incarnation, shard)
                && later.1 == shard
                && life.checkpoint.as_ref().is_some_and(|checkpoint| !checkpoint.remapped)
        };
        incarnation < self.obsolete_below || self.lives.iter().any(replaces)
    }

    /// Learns from the first block of each life how far it took the earlier ones over. Newest first: a block that a
    /// later life did not take over does not count, although it may have come to the disk since.
    fn read_ends(&mut self, source: &mut dyn RecoverySource) -> Result<(), DiskError> {
        let ids: Vec<LifeId> = self.lives.keys().copied().collect();
        for id in ids.into_iter().rev() {
            let Some(first) = self.first_block(source, id)? else { continue };
            if self.taken_over.get(&id).is_some_and(|end| first.header.lsn >= *end) {
                continue;
            }
            for (_, payload) in first.entries.iter().filter(|(entry, _)| entry.kind == EntryKind::Inherit) {
                let ends = read_inherit(payload.as_deref().unwrap_or_default());
                for end in ends {
                    let known = self.taken_over.entry((end.incarnation, end.shard)).or_insert(end.end);
                    *known = (*known).min(end.end);
                }
                self.check_inheritance(id, payload.as_deref().unwrap_or_default());
            }
        }
        Ok(())
    }

    /// A life without a readable checkpoint stands on the lives before it: they must be there.
    fn check_inheritance(&mut self, id: LifeId, payload: &[u8]) {
        let life = &self.lives[&id];
        if life.checkpoint.is_some() || life.bad_slots == 0 || self.is_obsolete(id) {
            return;
        }
        // What went because another shard's checkpoint covers it is not missing.
        let is_gone = |id: &LifeId| !self.lives.contains_key(id) && !self.is_obsolete(*id);
        let missing = read_inherit(payload)
            .into_iter()
            .any(|end| end.end > Lsn(1) && is_gone(&(end.incarnation, end.shard)));
        if missing {
            self.lose(id, "no checkpoint can be read, and the files before it are gone");
        }
    }

    /// The block that a life began with. It is not always in the file of number 1: a file that could not be prepared for
    /// want of space leaves its number unused, or nothing but zeros behind.
    fn first_block(
        &self,
        source: &mut dyn RecoverySource,
        id: LifeId,
    ) -> Result<Option<ParsedBlock>, DiskError> {
        for file in &self.lives[&id].wal {
            if let Some(block) = BlockWalk::new(id, vec![*file]).next_in_place(source)? {
                return Ok(Some(block).filter(|block| block.header.lsn == Lsn(1) && block.is_intact()));
            }
        }
        Ok(None)
    }

    /// Whether the WAL of a life tells what the life stood on, or shows that it stood on nothing and has come to
    /// nothing.
    fn has_beginning(&self, source: &mut dyn RecoverySource, id: LifeId) -> Result<bool, DiskError> {
        if self.first_block(source, id)?.is_some() {
            return Ok(true);
        }
        let (incarnation, shard) = id;
        let Some((sequence @ 1, _)) = self.lives[&id].wal.first().copied() else { return Ok(false) };
        let start = source.read(&FileName::Wal { shard, incarnation, sequence }, 0, BLOCK_BYTES as usize)?;
        Ok(incarnation == 1 && start.iter().all(|byte| *byte == 0))
    }

    /// Any partition that a life may have held is taken to have lost something, unless its next record proves
    /// otherwise.
    fn suspect(&mut self, id: LifeId) {
        for partition in self.partitions.values_mut() {
            if partition.home.0 < id.0 || partition.home == id {
                partition.suspect = true;
            }
        }
    }

    fn lose(&mut self, (incarnation, shard): LifeId, why: &str) {
        let message = format!("shard {shard}, incarnation {incarnation}: {why}");
        self.report.unattributed_loss.get_or_insert(message);
    }

    /// Rebuilds from one life: its checkpoint, then its WAL.
    fn replay(&mut self, source: &mut dyn RecoverySource, id: LifeId) -> Result<(), DiskError> {
        let life = &self.lives[&id];
        let (wal, checkpoint, bad_slots) = (life.wal.clone(), life.checkpoint.clone(), life.bad_slots);
        let mut expected = Lsn(1);
        let mut vouched = Lsn(0);
        let mut prev_crc = Some(0);
        if let Some(checkpoint) = &checkpoint {
            expected = Lsn(checkpoint.replay_from);
            vouched = Lsn(checkpoint.durable_lsn);
            prev_crc = Some(checkpoint.prev_crc);
            self.load_checkpoint(id, checkpoint);
        } else if bad_slots > 0 && !self.has_beginning(source, id)? {
            self.lose(id, "no checkpoint can be read, nor the beginning of the WAL");
            self.suspect(id);
        }
        let taken_over = self.taken_over.get(&id).copied();
        if checkpoint.is_some_and(|checkpoint| checkpoint.clean) {
            // A stop in order: nothing was written after it.
            self.ends.insert(id, expected);
            return Ok(());
        }
        if let Some(end) = taken_over {
            vouched = vouched.max(Lsn(end.0.saturating_sub(1)));
        }
        let replay = Replay { id, expected, vouched, prev_crc, end: taken_over };
        self.replay_blocks(source, replay, wal)
    }

    fn load_checkpoint(&mut self, id: LifeId, checkpoint: &CheckpointV1) {
        for state in &checkpoint.partitions {
            let log = restore_partition(state);
            self.doomed.remove(&log.key);
            self.sources.insert(log.key, BTreeSet::from([id.1]));
            self.partitions.insert(log.key, Rebuilt { log, home: id, suspect: false });
        }
        for key in &checkpoint.doomed {
            let topic_id = crate::types::TopicId(key.topic_id);
            let key = PartitionKey { topic_id, partition: key.partition };
            self.sources.insert(key, BTreeSet::from([id.1]));
            self.doomed.insert(key);
        }
        if let Some(loss) = &checkpoint.unattributed_loss {
            self.report.unattributed_loss.get_or_insert_with(|| loss.clone());
        }
    }

    fn replay_blocks(
        &mut self,
        source: &mut dyn RecoverySource,
        mut replay: Replay,
        wal: Vec<(u64, u64)>,
    ) -> Result<(), DiskError> {
        let id = replay.id;
        for (sequence, _) in &wal {
            source.sync(&FileName::Wal { shard: id.1, incarnation: id.0, sequence: *sequence })?;
        }
        let mut walk = BlockWalk::new(id, wal);
        let mut held: Option<ParsedBlock> = None;
        while let Some(block) = walk.next(source)? {
            let lsn = block.header.lsn;
            if lsn < replay.expected || replay.end.is_some_and(|end| lsn >= end) {
                continue;
            }
            if self.heeds_durable_lsn {
                replay.vouched = replay.vouched.max(block.header.durable_lsn);
            }
            if !self.take(source, &mut replay, held.take())? {
                return self.end_life(&walk, &replay, true);
            }
            if lsn > replay.expected {
                if replay.vouched < replay.expected {
                    return self.end_life(&walk, &replay, true);
                }
                self.lose_blocks(&replay, lsn);
                (replay.expected, replay.prev_crc) = (lsn, None);
            }
            assert!(lsn == replay.expected, "lower blocks were passed over");
            if replay.prev_crc.is_some_and(|crc| crc != block.header.prev_crc) {
                // Written by a process that had another block before.
                if replay.vouched < lsn {
                    return self.end_life(&walk, &replay, true);
                }
                self.lose_blocks(&replay, lsn.next());
                (replay.expected, replay.prev_crc) = (lsn.next(), None);
                continue;
            }
            held = Some(block);
        }
        let whole = self.take(source, &mut replay, held.take())?;
        let missing = replay.vouched >= replay.expected && self.heeds_durable_lsn;
        if missing {
            self.lose_blocks(&replay, replay.vouched.next());
            replay.expected = replay.vouched.next();
        }
        self.end_life(&walk, &replay, !whole)
    }

    /// Takes up a block. False if it is the torn end of the log.
    fn take(
        &mut self,
        source: &mut dyn RecoverySource,
        replay: &mut Replay,
        block: Option<ParsedBlock>,
    ) -> Result<bool, DiskError> {
        let Some(block) = block else { return Ok(true) };
        let vouched = replay.vouched >= block.header.lsn;
        if !vouched && (!block.is_intact() || !self.direct_is_there(source, &block)?) {
            return Ok(false);
        }
        for (entry, payload) in &block.entries {
            self.apply(replay.id, entry, payload.as_ref());
        }
        self.report.replayed_blocks += 1;
        self.report.replayed_bytes += u64::from(block.header.length);
        replay.expected = block.header.lsn.next();
        replay.prev_crc = Some(block.header.header_crc);
        Ok(true)
    }

    /// Blocks up to `next` are lost, and with them their directories.
    fn lose_blocks(&mut self, replay: &Replay, next: Lsn) {
        let (expected, id) = (replay.expected, replay.id);
        self.lose(id, &format!("durable WAL blocks {expected} to {} cannot be read", next.0 - 1));
        self.suspect(id);
    }

    fn end_life(&mut self, walk: &BlockWalk, replay: &Replay, torn: bool) -> Result<(), DiskError> {
        if torn || walk.met_rubbish() {
            self.report.torn_tails += 1;
            self.report.tail_uncertain |= replay.end.is_none();
        }
        self.ends.insert(replay.id, replay.expected);
        #[cfg(feature = "mutations")]
        if let Some((sequence, bytes, position)) = walk.place_after(Lsn(replay.expected.0 - 1)) {
            let old = OldWal {
                incarnation: replay.id.0,
                sequence,
                bytes,
                position,
                next_lsn: replay.expected,
                prev_crc: replay.prev_crc.unwrap_or(0),
            };
            self.old_wals.insert(replay.id.1, old);
        }
        Ok(())
    }

    /// Completes what is in memory, and decides about partitions that may have lost something.
    fn finish(&mut self, source: &mut dyn RecoverySource) -> Result<(), DiskError> {
        if self.report.unattributed_loss.is_some() {
            for key in source.partitions()? {
                if !self.partitions.contains_key(&key) && !self.doomed.contains(&key) {
                    let log = Log::new(key, LogConfig::default());
                    self.partitions.insert(key, Rebuilt { log, home: (0, 0), suspect: true });
                }
            }
        }
        for partition in self.partitions.values_mut() {
            let log = &mut partition.log;
            if partition.suspect {
                log.damaged_from.get_or_insert(log.next_offset);
            }
            apply::settle(log);
            if log.damaged_from.is_none() {
                apply::read_heads(log, source)?;
            }
        }
        Ok(())
    }

    #[cfg_attr(not(feature = "mutations"), expect(unused_mut))]
    fn hand_out(mut self, shards: u16, placement: &dyn Fn(PartitionKey) -> u16) -> Vec<Recovered> {
        let incarnation = self.lives.keys().map(|id| id.0).max().unwrap_or(0) + 1;
        let obsolete: BTreeSet<LifeId> =
            self.lives.keys().copied().filter(|id| self.is_obsolete(*id)).collect();
        let strays = self.lives.keys().any(|id| id.1 >= shards && !obsolete.contains(id));
        let moved = |(key, sources): (&PartitionKey, &BTreeSet<u16>)| {
            let shard = placement(*key);
            sources.iter().any(|source| *source != shard)
        };
        let remapped = strays || self.sources.iter().any(moved);
        let ends: Vec<WalEnd> =
            self.ends.iter().map(|(id, end)| WalEnd { shard: id.1, incarnation: id.0, end: *end }).collect();
        let mut recovered: Vec<Recovered> = (0..shards)
            .map(|shard| Recovered {
                incarnation,
                ends: ends.clone(),
                remapped,
                obsolete_below: self.obsolete_below,
                report: self.report.clone(),
                #[cfg(feature = "mutations")]
                old_wal: self.old_wals.remove(&shard),
                ..Recovered::empty(shard, shards)
            })
            .collect();
        for (id, life) in &self.lives {
            let files = life.wal.iter().map(|(sequence, _)| FileName::Wal {
                shard: id.1,
                incarnation: id.0,
                sequence: *sequence,
            });
            let home = &mut recovered[usize::from(id.1 % shards)];
            home.previous.extend(files.chain(life.slots.iter().map(|slot| slot.0)));
        }
        for key in self.doomed {
            recovered[usize::from(placement(key) % shards)].doomed.push(key);
        }
        for (key, partition) in self.partitions {
            let shard = placement(key);
            assert!(shard < shards, "partitions are placed on shards that exist");
            let home = &mut recovered[usize::from(shard)];
            if let Some(offset) = partition.log.damaged_from {
                home.report.damaged.push((key, offset));
            }
            home.partitions.push(partition.log);
        }
        recovered
    }

    fn apply(&mut self, id: LifeId, entry: &crate::wal::Entry, payload: Option<&bytes::Bytes>) {
        if entry.kind != EntryKind::Inherit {
            self.sources.entry(entry.key).or_default().insert(id.1);
        }
        match entry.kind {
            EntryKind::Inherit => return,
            EntryKind::Delete => {
                self.partitions.remove(&entry.key);
                self.doomed.insert(entry.key);
                return;
            }
            _ => {}
        }
        self.doomed.remove(&entry.key);
        let partition = self.partitions.entry(entry.key).or_insert_with(|| Rebuilt {
            log: Log::new(entry.key, LogConfig::default()),
            home: id,
            suspect: false,
        });
        partition.home = id;
        if partition.log.damaged_from.is_some() {
            return;
        }
        match apply::entry(&mut partition.log, entry, payload) {
            Applied::Contiguous => partition.suspect = false,
            Applied::Nothing => {}
            Applied::Damaged => partition.log.damaged_from = Some(partition.log.next_offset),
        }
    }

    /// Whether what bypassed a block is in its segment.
    fn direct_is_there(
        &self,
        source: &mut dyn RecoverySource,
        block: &ParsedBlock,
    ) -> Result<bool, DiskError> {
        for (entry, payload) in block.entries.iter().filter(|(entry, _)| entry.kind == EntryKind::Direct) {
            let payload = payload.as_ref().expect("the block is intact");
            if !apply::direct_is_there(source, entry, payload)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The newest life of which all shards have checkpoints, or had: files of one shard may go before what they made
/// obsolete in another, so each later checkpoint remembers.
fn obsolete_below(lives: &BTreeMap<LifeId, Life>) -> u64 {
    let checkpoint = |id: &LifeId| lives.get(id).and_then(|life| life.checkpoint.as_ref());
    let known = lives.keys().filter_map(|id| {
        let newest = checkpoint(id)?;
        let complete = (0..newest.shards).all(|shard| checkpoint(&(id.0, shard)).is_some());
        Some(if complete { id.0 } else { newest.obsolete_below })
    });
    known.max().unwrap_or(0)
}

/// Where the replay of a life stands.
#[derive(Debug)]
struct Replay {
    id: LifeId,
    /// The block that comes next.
    expected: Lsn,
    /// Every block up to this one was durable.
    vouched: Lsn,
    /// `header_crc` of the block before; None after a hole.
    prev_crc: Option<u32>,
    /// Where a later incarnation took over.
    end: Option<Lsn>,
}

impl Life {
    fn read_checkpoints(&mut self, source: &mut dyn RecoverySource) -> Result<(), DiskError> {
        for (file, bytes) in &self.slots {
            let length = usize::try_from((*bytes).min(CHECKPOINT_BYTES_MAX)).expect("64-bit sizes");
            let content = match source.read(file, 0, length) {
                Ok(content) => content,
                Err(error) if error.kind == DiskErrorKind::Io => return Err(error),
                Err(_) => bytes::Bytes::new(),
            };
            match CheckpointV1::decode(&content) {
                Ok(checkpoint) => {
                    let newer = |old: &CheckpointV1| old.generation < checkpoint.generation;
                    if self.checkpoint.as_ref().is_none_or(newer) {
                        self.checkpoint = Some(checkpoint);
                    }
                }
                Err(_) => self.bad_slots += 1,
            }
        }
        Ok(())
    }
}
