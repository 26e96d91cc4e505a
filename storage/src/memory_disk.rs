//! A disk in memory for tests and the simulator, with the ways in which real ones fail: written but unflushed
//! sectors are kept or lost one by one at a power loss, what was in flight is torn, a killed process's writes land
//! later, bits rot, space runs out, devices fail. One seed gives one behaviour.
//!
//! What was *flushed* survives everything but rot. A write becomes visible when its operation completes, and may be
//! partly on the medium before that.

use crate::locate::{LocateStep, LocateWalk};
use crate::op::{
    BLOCK_BYTES, DiskError, DiskErrorKind, Done, FileName, FileSlice, LocateOp, LocatedRange, Op, OpKind,
    Outcome, RecoverySource,
};
use crate::types::PartitionKey;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// What a power loss keeps or loses as a whole.
pub const SECTOR_BYTES: u64 = 512;

type Sector = [u8; SECTOR_BYTES as usize];

/// A stream of random numbers (splitmix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound
    }

    /// True `percent` times in a hundred.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// A file: what reads see, and what is on the medium. Sectors that are not there are zeros.
#[derive(Clone, Debug, Default)]
struct File {
    seen: BTreeMap<u64, Sector>,
    seen_length: u64,
    stable: BTreeMap<u64, Sector>,
    stable_length: u64,
    unflushed: BTreeSet<u64>,
    name_is_stable: bool,
    /// Blocks that an operation of a living process synced.
    synced: BTreeSet<u64>,
}

impl File {
    fn write(&mut self, position: u64, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            let place = position + at as u64;
            let (sector, offset) = (place / SECTOR_BYTES, (place % SECTOR_BYTES) as usize);
            let count = (SECTOR_BYTES as usize - offset).min(bytes.len() - at);
            let content = self.seen.entry(sector).or_insert([0; SECTOR_BYTES as usize]);
            content[offset..offset + count].copy_from_slice(&bytes[at..at + count]);
            self.unflushed.insert(sector);
            at += count;
        }
        self.seen_length = self.seen_length.max(position + bytes.len() as u64);
    }

    fn flush(&mut self) {
        for sector in std::mem::take(&mut self.unflushed) {
            self.keep(sector);
        }
        self.stable_length = self.seen_length;
        self.name_is_stable = true;
    }

    /// Flushes, and remembers which blocks may not change any more.
    fn sync(&mut self) {
        self.flush();
        self.synced = (0..self.seen_length / BLOCK_BYTES).collect();
    }

    /// Brings one sector to the medium.
    fn keep(&mut self, sector: u64) {
        match self.seen.get(&sector) {
            Some(content) => self.stable.insert(sector, *content),
            None => self.stable.remove(&sector),
        };
    }

    fn truncate(&mut self, length: u64) {
        let first = length.div_ceil(SECTOR_BYTES);
        for sector in self.seen.split_off(&first).into_keys() {
            self.unflushed.insert(sector);
        }
        if let Some(content) = self.seen.get_mut(&(length / SECTOR_BYTES)) {
            content[(length % SECTOR_BYTES) as usize..].fill(0);
            self.unflushed.insert(length / SECTOR_BYTES);
        }
        self.seen_length = length;
    }

    fn read(&self, position: u64, length: usize) -> Vec<u8> {
        let end = (position + length as u64).min(self.seen_length);
        let mut out = vec![0; end.saturating_sub(position) as usize];
        let sectors = position / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES).max(position / SECTOR_BYTES);
        for (sector, content) in self.seen.range(sectors) {
            let start = sector * SECTOR_BYTES;
            let from = start.max(position);
            let to = (start + SECTOR_BYTES).min(end);
            if from < to {
                out[(from - position) as usize..(to - position) as usize]
                    .copy_from_slice(&content[(from - start) as usize..(to - start) as usize]);
            }
        }
        out
    }

    /// The power goes: of each unflushed sector either the old or the new content is left.
    fn lose_power(&mut self, random: &mut Random) {
        let keep_percent = [0, 50, 90, 100][random.below(4) as usize];
        for sector in std::mem::take(&mut self.unflushed) {
            if random.chance(keep_percent) {
                self.keep(sector);
            }
        }
        if random.chance(keep_percent) {
            self.stable_length = self.seen_length;
        }
        self.seen = self.stable.clone();
        self.seen_length = self.stable_length;
    }
}

/// A disk in memory.
#[derive(Clone, Debug)]
pub struct MemoryDisk {
    files: BTreeMap<FileName, File>,
    removed: BTreeMap<FileName, File>,
    in_flight: Vec<Op>,
    late: Vec<Op>,
    random: Random,
    capacity_bytes: Option<u64>,
    broken: bool,
    /// Synced segment blocks that were written again with other content. This must never happen (S4), but for the
    /// last block of an append that bypassed the WAL and was never acknowledged.
    pub rewritten_blocks: u64,
    /// WAL files that were written to: the oldest incarnation among the last writes, for S7.
    pub wal_writes: BTreeSet<(u16, u64)>,
    /// Bytes written to WAL files, to segments, and to checkpoints and indexes.
    pub written_bytes: [u64; 3],
}

impl MemoryDisk {
    /// An empty disk.
    #[must_use]
    pub fn new(seed: u64) -> MemoryDisk {
        MemoryDisk {
            files: BTreeMap::new(),
            removed: BTreeMap::new(),
            in_flight: Vec::new(),
            late: Vec::new(),
            random: Random::new(seed),
            capacity_bytes: None,
            broken: false,
            rewritten_blocks: 0,
            wal_writes: BTreeSet::new(),
            written_bytes: [0; 3],
        }
    }

    /// Takes an operation; nothing happens before it is completed.
    pub fn submit(&mut self, op: Op) {
        self.in_flight.push(op);
    }

    /// How many operations are in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Completes one of the operations in flight, in an order of the seed's choice.
    pub fn complete_any(&mut self) -> Option<Done> {
        let count = self.in_flight.len() as u64;
        let index = if count == 0 { return None } else { self.random.below(count) };
        Some(self.complete(index as usize))
    }

    /// Completes the operation that was submitted first.
    pub fn complete_first(&mut self) -> Option<Done> {
        (!self.in_flight.is_empty()).then(|| self.complete(0))
    }

    fn complete(&mut self, index: usize) -> Done {
        let op = self.in_flight.remove(index);
        let result = self.perform(&op.kind);
        Done { id: op.id, result }
    }

    /// From here on every write and flush fails with an I/O error.
    pub fn fail(&mut self) {
        self.broken = true;
    }

    /// Limits the space; what does not fit is answered with `NoSpace`.
    pub fn set_capacity(&mut self, bytes: Option<u64>) {
        self.capacity_bytes = bytes;
    }

    /// Bytes that files take.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.files.values().map(|file| file.seen_length).sum()
    }

    /// The power goes. What was in flight reaches the medium in pieces or not at all, what was not flushed sector by
    /// sector, what was not synced by name may not be there.
    pub fn lose_power(&mut self) {
        self.late.clear();
        for op in std::mem::take(&mut self.in_flight) {
            self.tear(&op.kind);
        }
        let random = &mut self.random;
        for (name, file) in std::mem::take(&mut self.removed) {
            // A name that was removed may come back: removal was not flushed either.
            if file.name_is_stable && random.chance(30) {
                self.files.entry(name).or_insert(file);
            }
        }
        self.files.retain(|_, file| {
            file.lose_power(random);
            let kept = file.name_is_stable || random.chance(50);
            file.name_is_stable = true;
            kept
        });
    }

    /// The process is killed: the kernel finishes or cancels what was in flight, some of it only
    /// when [`MemoryDisk::land_late_writes`] says so, after the next process has begun.
    pub fn kill(&mut self) {
        for op in std::mem::take(&mut self.in_flight) {
            match self.random.below(4) {
                0 => {}
                1 => self.tear(&op.kind),
                _ => self.late.push(op),
            }
        }
    }

    /// Late writes of killed processes land now, in any order.
    pub fn land_late_writes(&mut self) {
        while !self.late.is_empty() {
            let index = self.random.below(self.late.len() as u64) as usize;
            let op = self.late.remove(index);
            self.perform_unheard(&op.kind);
        }
    }

    /// Does an operation that nobody hears of any more. A sync of that kind makes no promise of any block: the pieces of a
    /// write that was torn may be among what it finds.
    fn perform_unheard(&mut self, kind: &OpKind) {
        if let OpKind::SyncSegments { files } = kind {
            files.iter().for_each(|name| _ = self.files.get_mut(name).map(File::flush));
        } else {
            // Nobody waits for the answer.
            let _ = self.perform(kind);
        }
    }

    /// Does some of an operation, or none.
    fn tear(&mut self, kind: &OpKind) {
        match kind {
            OpKind::WriteWal { file, position, parts, .. }
            | OpKind::WriteSegment { file, position, parts, .. } => {
                let bytes = parts.concat();
                let percent = [0, 30, 70, 100][self.random.below(4) as usize];
                let is_wal = matches!(file, FileName::Wal { .. });
                if is_wal && !self.files.contains_key(file) {
                    return;
                }
                for (index, sector) in bytes.chunks(SECTOR_BYTES as usize).enumerate() {
                    if self.random.chance(percent) {
                        let place = position + index as u64 * SECTOR_BYTES;
                        self.files.entry(*file).or_default().write(place, sector);
                    }
                }
            }
            OpKind::WriteFile { file, parts } => {
                let bytes = parts.concat();
                let cut = self.random.below(bytes.len() as u64 + 1) as usize;
                let target = self.files.entry(*file).or_default();
                target.truncate(0);
                target.write(0, &bytes[..cut]);
            }
            other => {
                if self.random.chance(50) {
                    self.perform_unheard(other);
                }
            }
        }
    }

    /// Flips one bit of a file, on the medium.
    pub fn rot(&mut self, name: &FileName, position: u64) {
        let Some(file) = self.files.get_mut(name) else { return };
        let (sector, offset) = (position / SECTOR_BYTES, (position % SECTOR_BYTES) as usize);
        for content in [file.seen.get_mut(&sector), file.stable.get_mut(&sector)].into_iter().flatten() {
            content[offset] ^= 0x10;
        }
    }

    /// Flips one bit somewhere in what was written to a file. Says where.
    pub fn rot_somewhere(&mut self, name: &FileName) -> Option<u64> {
        let sectors: Vec<u64> = self.files.get(name)?.stable.keys().copied().collect();
        let sector = *sectors.get(self.random.below(sectors.len().max(1) as u64) as usize)?;
        let position = sector * SECTOR_BYTES + self.random.below(SECTOR_BYTES);
        self.rot(name, position);
        Some(position)
    }

    /// The files, with their lengths.
    pub fn files(&self) -> impl Iterator<Item = (FileName, u64)> + '_ {
        self.files.iter().map(|(name, file)| (*name, file.seen_length))
    }

    /// The content of a file, as a read would see it.
    #[must_use]
    pub fn content(&self, name: &FileName) -> Option<Vec<u8>> {
        self.files.get(name).map(|file| file.read(0, file.seen_length as usize))
    }

    /// A range of a file, as a shell would send it.
    #[must_use]
    pub fn slice(&self, slice: &FileSlice) -> Option<Vec<u8>> {
        self.files.get(&slice.file).map(|file| file.read(slice.position, slice.length as usize))
    }

    fn perform(&mut self, kind: &OpKind) -> Result<Outcome, DiskError> {
        let reads = matches!(kind, OpKind::ReadBytes { .. } | OpKind::ReadFile { .. } | OpKind::Locate(_));
        if self.broken && !reads {
            return Err(DiskError::new(DiskErrorKind::Io, "the device failed"));
        }
        match kind {
            OpKind::PrepareWal { file, bytes, recycle } => self.prepare_wal(*file, *bytes, *recycle)?,
            OpKind::WriteWal { file, position, parts, flush } => {
                let bytes = parts.concat();
                check_alignment(*position, bytes.len());
                self.written_bytes[0] += bytes.len() as u64;
                if let FileName::Wal { shard, incarnation, .. } = file {
                    self.wal_writes.insert((*shard, *incarnation));
                }
                let target = self.existing(file)?;
                assert!(position + bytes.len() as u64 <= target.seen_length, "a WAL file never grows");
                target.write(*position, &bytes);
                if *flush {
                    target.flush();
                }
            }
            OpKind::WriteSegment { file, position, parts, flush } => {
                self.write_segment(*file, *position, parts)?;
                if *flush {
                    self.existing(file)?.sync();
                }
            }
            OpKind::SyncSegments { files } => {
                for file in files {
                    self.existing(file)?.sync();
                }
            }
            OpKind::SealSegment { file, length } => {
                let target = self.existing(file)?;
                target.truncate(*length);
                target.sync();
            }
            OpKind::ReadBytes { slice } => {
                let file = self.existing(&slice.file)?;
                return Ok(Outcome::Bytes(Bytes::from(file.read(slice.position, slice.length as usize))));
            }
            OpKind::Locate(op) => return self.locate(op).map(Outcome::Located),
            OpKind::WriteFile { file, parts } => {
                let bytes = parts.concat();
                self.reserve(bytes.len() as u64)?;
                self.written_bytes[2] += bytes.len() as u64;
                let target = self.files.entry(*file).or_default();
                target.truncate(0);
                target.write(0, &bytes);
                target.flush();
            }
            OpKind::ReadFile { file } => {
                let target = self.existing(file)?;
                return Ok(Outcome::Bytes(Bytes::from(target.read(0, target.seen_length as usize))));
            }
            OpKind::Remove { files } => files.iter().for_each(|file| self.remove(file)),
            OpKind::RemovePartition { partition } => {
                let of_partition = |file: &&FileName| {
                    matches!(file,
                    FileName::Segment { partition: other, .. } | FileName::Index { partition: other, .. }
                        if other == partition)
                };
                let files: Vec<FileName> = self.files.keys().filter(of_partition).copied().collect();
                files.iter().for_each(|file| self.remove(file));
            }
        }
        Ok(Outcome::Unit)
    }

    fn prepare_wal(
        &mut self,
        file: FileName,
        bytes: u64,
        recycle: Option<FileName>,
    ) -> Result<(), DiskError> {
        let mut target = match recycle.and_then(|old| self.files.remove(&old)) {
            Some(old) => old,
            None => {
                self.reserve(bytes)?;
                File::default()
            }
        };
        target.seen_length = bytes;
        target.flush();
        self.files.insert(file, target);
        Ok(())
    }

    fn write_segment(&mut self, file: FileName, position: u64, parts: &[Bytes]) -> Result<(), DiskError> {
        let bytes = parts.concat();
        check_alignment(position, bytes.len());
        let length = self.files.get(&file).map_or(0, |file| file.seen_length);
        self.reserve((position + bytes.len() as u64).saturating_sub(length))?;
        self.written_bytes[1] += bytes.len() as u64;
        let target = self.files.entry(file).or_default();
        for (index, block) in bytes.chunks(BLOCK_BYTES as usize).enumerate() {
            let place = position + index as u64 * BLOCK_BYTES;
            let old = target.read(place, block.len());
            let synced = target.synced.contains(&(place / BLOCK_BYTES));
            self.rewritten_blocks += u64::from(synced && old[..] != block[..old.len()]);
        }
        target.write(position, &bytes);
        Ok(())
    }

    fn remove(&mut self, name: &FileName) {
        if let Some(file) = self.files.remove(name) {
            self.removed.insert(*name, file);
        }
    }

    fn reserve(&mut self, bytes: u64) -> Result<(), DiskError> {
        if self.capacity_bytes.is_some_and(|capacity| self.used_bytes() + bytes > capacity) {
            return Err(DiskError::new(DiskErrorKind::NoSpace, "the disk is full"));
        }
        Ok(())
    }

    fn existing(&mut self, name: &FileName) -> Result<&mut File, DiskError> {
        self.files.get_mut(name).ok_or_else(|| DiskError::new(DiskErrorKind::NotFound, name.path()))
    }

    /// Runs a walk to its end.
    pub fn locate(&mut self, op: &LocateOp) -> Result<LocatedRange, DiskError> {
        let mut walk = LocateWalk::new(op);
        loop {
            match walk.step() {
                LocateStep::Done(result) => return result,
                LocateStep::Read { position, length } => {
                    let bytes = self.existing(&op.file)?.read(position, length);
                    walk.feed(&bytes);
                }
            }
        }
    }
}

fn check_alignment(position: u64, length: usize) {
    assert!(
        position.is_multiple_of(BLOCK_BYTES) && (length as u64).is_multiple_of(BLOCK_BYTES),
        "direct I/O is aligned: {length} bytes at {position}"
    );
}

impl RecoverySource for MemoryDisk {
    fn wal_shards(&mut self) -> Result<Vec<u16>, DiskError> {
        let shard = |name: &FileName| match name {
            FileName::Wal { shard, .. } | FileName::Checkpoint { shard, .. } => Some(*shard),
            FileName::Segment { .. } | FileName::Index { .. } => None,
        };
        let shards: BTreeSet<u16> = self.files.keys().filter_map(shard).collect();
        Ok(shards.into_iter().collect())
    }

    fn wal_files(&mut self, shard: u16) -> Result<Vec<(FileName, u64)>, DiskError> {
        let of_shard = |name: &FileName| match name {
            FileName::Wal { shard: other, .. } | FileName::Checkpoint { shard: other, .. } => *other == shard,
            FileName::Segment { .. } | FileName::Index { .. } => false,
        };
        Ok(self.files().filter(|(name, _)| of_shard(name)).collect())
    }

    fn partitions(&mut self) -> Result<Vec<PartitionKey>, DiskError> {
        let partition = |name: &FileName| match name {
            FileName::Segment { partition, .. } | FileName::Index { partition, .. } => Some(*partition),
            FileName::Wal { .. } | FileName::Checkpoint { .. } => None,
        };
        let partitions: BTreeSet<PartitionKey> = self.files.keys().filter_map(partition).collect();
        Ok(partitions.into_iter().collect())
    }

    fn read(&mut self, file: &FileName, position: u64, length: usize) -> Result<Bytes, DiskError> {
        Ok(Bytes::from(self.existing(file)?.read(position, length)))
    }

    fn sync(&mut self, file: &FileName) -> Result<(), DiskError> {
        self.existing(file)?.flush();
        Ok(())
    }
}
