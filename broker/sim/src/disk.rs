//! A disk under virtual time: what is written is seen at once, and stays over a power cut only once it was flushed.
//!
//! * An operation is *started* and later *finished*; in between nothing of it is seen.
//! * A power cut takes each sector that was not flushed by itself: the new content, the old, or (rarely) a mixture.
//!   Operations in flight leave any of their sectors. Names that were not made durable may be gone, and removed ones back.
//! * A kill leaves all that was written. Writes in flight are cancelled, done, or done *later*, when the next process
//!   may already have read the file.
//! * A flush may fail. What it should have flushed then stays volatile as long as the process lives, whatever later
//!   flushes say.

use std::collections::{BTreeMap, BTreeSet};

use broker::metadata::log::{MetaFile, MetaOp, MetaOpKind};
use bytes::Bytes;
use storage::locate::{LocateStep, LocateWalk};
use storage::op::{
    BLOCK_BYTES, DiskError, DiskErrorKind, Done, FileName, Op, OpKind, Outcome, RecoverySource,
};
use storage::types::PartitionKey;

use crate::checker::{Checker, Violation};
use crate::random::Random;

/// What a disk writes as one piece.
const SECTOR_BYTES: u64 = 512;

/// A file of the volume.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Name {
    Log(FileName),
    Meta(MetaFile),
}

/// Who started an operation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Owner {
    /// A shard.
    Shard(u16),
    /// The controller.
    Control,
}

/// Names an operation that was started.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Ticket(u64);

/// The answer to an operation.
#[derive(Clone, Debug)]
pub enum Answer {
    /// For a shard.
    Shard(u16, Done),
    /// For the controller.
    Control(broker::metadata::log::MetaDone),
}

/// How the disk misbehaves.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskFaults {
    /// Mean time of an operation, microseconds.
    pub latency_us: u64,
    /// Share of operations that take very long, in thousandths.
    pub spike_permille: u64,
    /// Share of flushes that fail, in thousandths.
    pub flush_failure_permille: u64,
    /// Chance that a volatile sector is lost in a power cut, percent.
    pub lost_percent: u64,
    /// Chance that a volatile sector becomes a mixture of its old and its new content in a power cut, percent. What
    /// both have in common it keeps.
    pub mixture_percent: u64,
    /// Chance that a write in flight is done after the kill, percent.
    pub late_percent: u64,
}

#[derive(Clone, Debug)]
struct File {
    /// Differs from file to file, whatever it is called.
    inode: u64,
    /// What a read sees.
    content: Vec<u8>,
    /// Length that survives a power cut.
    durable_length: usize,
    /// Sectors that differ from what survives, with what survives.
    volatile: BTreeMap<u64, Volatile>,
    /// Whether the name survives.
    name_is_durable: bool,
}

#[derive(Clone, Debug)]
struct Volatile {
    durable: Vec<u8>,
    /// A flush of it failed: no later one of this process will bring it to the disk.
    stuck: bool,
}

impl File {
    fn new(inode: u64, name_is_durable: bool) -> File {
        File { inode, content: Vec::new(), durable_length: 0, volatile: BTreeMap::new(), name_is_durable }
    }

    fn write(&mut self, position: u64, bytes: &[u8]) {
        let end = position as usize + bytes.len();
        if self.content.len() < end {
            self.content.resize(end, 0);
        }
        let sectors = position / SECTOR_BYTES..(end as u64).div_ceil(SECTOR_BYTES);
        for sector in sectors {
            let from = (sector * SECTOR_BYTES) as usize;
            let to = (from + SECTOR_BYTES as usize).min(self.content.len());
            let content = &self.content;
            self.volatile
                .entry(sector)
                .or_insert_with(|| Volatile { durable: content[from..to].to_vec(), stuck: false });
        }
        self.content[position as usize..end].copy_from_slice(bytes);
    }

    fn flush(&mut self) {
        self.volatile.retain(|_, volatile| volatile.stuck);
        self.durable_length = self.content.len();
        self.name_is_durable = true;
    }

    fn fail_to_flush(&mut self) {
        self.volatile.values_mut().for_each(|volatile| volatile.stuck = true);
    }

    /// To the next process what could not be flushed is as never written, or a write like any other. A process that
    /// only tries again is told that all is well, and it is not.
    fn forget_failed_flush(&mut self, random: &mut Random) {
        for (sector, volatile) in &mut self.volatile {
            if !std::mem::take(&mut volatile.stuck) || random.percent(50) {
                continue;
            }
            let from = (sector * SECTOR_BYTES) as usize;
            let to = (from + volatile.durable.len()).min(self.content.len());
            self.content[from..to].copy_from_slice(&volatile.durable[..to - from]);
        }
    }

    fn truncate(&mut self, length: usize) {
        self.content.resize(length, 0);
        self.volatile.retain(|sector, _| ((sector * SECTOR_BYTES) as usize) < length);
    }

    fn lose_power(&mut self, random: &mut Random, faults: &DiskFaults) {
        for (sector, volatile) in std::mem::take(&mut self.volatile) {
            let from = (sector * SECTOR_BYTES) as usize;
            let to = (from + volatile.durable.len()).min(self.content.len());
            let place = &mut self.content[from..to];
            if volatile.stuck || random.percent(faults.lost_percent) {
                let length = place.len();
                place.copy_from_slice(&volatile.durable[..length]);
            } else if random.percent(faults.mixture_percent) {
                let bytes = place.iter_mut().zip(&volatile.durable);
                bytes.filter(|_| random.percent(50)).for_each(|(byte, old)| *byte = *old);
            }
        }
        if self.content.len() > self.durable_length && random.percent(50) {
            let between = random.between(self.durable_length as u64, self.content.len() as u64);
            self.content
                .truncate((between / SECTOR_BYTES * SECTOR_BYTES).max(self.durable_length as u64) as usize);
        }
        self.durable_length = self.content.len();
        self.name_is_durable = true;
    }
}

/// A bit that has flipped.
#[derive(Clone, Debug)]
pub struct Rot {
    /// Where, for the trace.
    pub what: String,
    /// The batch of a segment that it is in: its partition and its base offset.
    pub batch: Option<(PartitionKey, i64)>,
}

#[derive(Clone, Debug)]
enum Job {
    Log { shard: u16, op: Op },
    Meta(MetaOp),
}

/// A write of a dead process that is still on its way.
#[derive(Clone, Debug)]
struct LateWrite {
    name: Name,
    inode: u64,
    position: u64,
    bytes: Vec<u8>,
}

/// The disk.
#[derive(Clone, Debug)]
pub struct Disk {
    files: BTreeMap<Name, File>,
    /// Removed, but the removal is not durable.
    ghosts: Vec<(Name, File)>,
    in_flight: BTreeMap<Ticket, Job>,
    late: BTreeMap<Ticket, LateWrite>,
    next_ticket: u64,
    next_inode: u64,
    random: Random,
    /// How it misbehaves now.
    pub faults: DiskFaults,
    /// Bytes that it holds at most.
    pub capacity: Option<u64>,
    /// WAL files that this process prepared.
    prepared: BTreeSet<FileName>,
    /// Checksums of the segment blocks that this process wrote.
    written_once: BTreeMap<(FileName, u64), u32>,
    /// Flushes that failed.
    pub failed_flushes: u64,
    /// What processes did that they must not.
    pub violations: Vec<Violation>,
}

impl Disk {
    /// An empty disk.
    pub fn new(seed: u64) -> Disk {
        Disk {
            files: BTreeMap::new(),
            ghosts: Vec::new(),
            in_flight: BTreeMap::new(),
            late: BTreeMap::new(),
            next_ticket: 0,
            next_inode: 0,
            random: Random::new(seed, "disk"),
            faults: DiskFaults { latency_us: 200, ..DiskFaults::default() },
            capacity: None,
            prepared: BTreeSet::new(),
            written_once: BTreeMap::new(),
            failed_flushes: 0,
            violations: Vec::new(),
        }
    }

    /// The same logs on a disk without faults whose future is its own.
    pub fn copy(&self) -> Disk {
        let mut copy = self.clone();
        copy.faults = DiskFaults { latency_us: 100, lost_percent: 50, ..DiskFaults::default() };
        copy.capacity = None;
        copy.in_flight.clear();
        copy.late.clear();
        copy.files.retain(|name, _| matches!(name, Name::Log(_)));
        copy.violations.clear();
        copy
    }

    /// Bytes in all files.
    pub fn used(&self) -> u64 {
        self.files.values().map(|file| file.content.len() as u64).sum()
    }

    /// Operations that are in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// A process begins to use the disk.
    pub fn start_process(&mut self) {
        let random = &mut self.random;
        self.files.values_mut().for_each(|file| file.forget_failed_flush(random));
        self.prepared.clear();
        self.written_once.clear();
    }

    /// Starts an operation of a shard; it is to be finished after the time that is returned.
    pub fn start(&mut self, shard: u16, op: Op) -> (Ticket, u64) {
        self.watch(shard, &op.kind);
        self.begin(Job::Log { shard, op })
    }

    /// Starts an operation of the controller.
    pub fn start_meta(&mut self, op: MetaOp) -> (Ticket, u64) {
        self.begin(Job::Meta(op))
    }

    fn begin(&mut self, job: Job) -> (Ticket, u64) {
        let ticket = self.ticket();
        let mut latency = 20 + self.random.around(self.faults.latency_us);
        if self.random.permille(self.faults.spike_permille) {
            latency += 20_000 + self.random.around(200_000);
        }
        self.in_flight.insert(ticket, job);
        (ticket, latency)
    }

    fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket)
    }

    /// What must never be asked of a disk.
    fn watch(&mut self, shard: u16, kind: &OpKind) {
        match kind {
            OpKind::PrepareWal { file, .. } => {
                self.prepared.insert(*file);
            }
            OpKind::WriteWal { file, .. } if !self.prepared.contains(file) => {
                let message = format!("shard {shard} writes to {file}, which is not of this process");
                self.violations.push(Violation::new(Checker::S7, message));
            }
            OpKind::WriteSegment { file, position, parts, .. } => {
                let bytes = gather(parts);
                for (index, block) in bytes.chunks(BLOCK_BYTES as usize).enumerate() {
                    let at = position + index as u64 * BLOCK_BYTES;
                    let sum = crc32c::crc32c(block);
                    if self.written_once.insert((*file, at), sum).is_some_and(|before| before != sum) {
                        let message =
                            format!("shard {shard} writes block {at} of {file} twice, not the same bytes");
                        self.violations.push(Violation::new(Checker::S4, message));
                    }
                }
            }
            _ => {}
        }
    }

    /// Finishes an operation; None if it died with its process.
    pub fn finish(&mut self, ticket: Ticket) -> Option<Answer> {
        Some(match self.in_flight.remove(&ticket)? {
            Job::Log { shard, op } => {
                let result = self.perform(op.kind);
                Answer::Shard(shard, Done { id: op.id, result })
            }
            Job::Meta(op) => {
                let result = self.perform_meta(op.kind).map_err(|error| error.to_string());
                Answer::Control(broker::metadata::log::MetaDone { id: op.id, result })
            }
        })
    }

    /// Whether a flush fails.
    fn flush_fails(&mut self) -> bool {
        let fails = self.random.permille(self.faults.flush_failure_permille);
        self.failed_flushes += u64::from(fails);
        fails
    }

    fn room_for(&self, more: u64) -> bool {
        self.capacity.is_none_or(|capacity| self.used() + more <= capacity)
    }

    fn perform(&mut self, kind: OpKind) -> Result<Outcome, DiskError> {
        match kind {
            OpKind::PrepareWal { file, bytes, recycle } => self.prepare_wal(file, bytes, recycle)?,
            OpKind::WriteWal { file, position, parts, flush } => {
                let bytes = gather(&parts);
                assert_aligned(position, &bytes);
                self.file(Name::Log(file))?.write(position, &bytes);
                if flush {
                    self.flush(Name::Log(file))?;
                }
            }
            OpKind::WriteSegment { file, position, parts, flush } => {
                self.write_segment(file, position, &gather(&parts))?;
                if flush {
                    self.flush(Name::Log(file))?;
                }
            }
            OpKind::SyncSegments { files } => {
                files.into_iter().try_for_each(|file| self.flush(Name::Log(file)))?;
            }
            OpKind::SealSegment { file, length } => {
                self.file(Name::Log(file))?.truncate(length as usize);
                self.flush(Name::Log(file))?;
            }
            OpKind::ReadBytes { slice } => {
                return self.read(&slice.file, slice.position, slice.length as usize).map(Outcome::Bytes);
            }
            OpKind::Locate(locate) => {
                let mut walk = LocateWalk::new(&locate);
                loop {
                    match walk.step() {
                        LocateStep::Read { position, length } => {
                            let window = self.read(&locate.file, position, length)?;
                            walk.feed(&window);
                        }
                        LocateStep::Done(result) => return result.map(Outcome::Located),
                    }
                }
            }
            OpKind::WriteFile { file, parts } => self.replace(Name::Log(file), &gather(&parts))?,
            OpKind::ReadFile { file } => {
                return self.file(Name::Log(file)).map(|file| Outcome::Bytes(file.content.clone().into()));
            }
            OpKind::Remove { files } => {
                files.into_iter().for_each(|file| self.remove(Name::Log(file)));
            }
            OpKind::RemovePartition { partition } => {
                let names: Vec<Name> =
                    self.files.keys().filter(|name| partition_of(name) == Some(partition)).copied().collect();
                names.into_iter().for_each(|name| self.remove(name));
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
        let name = Name::Log(file);
        self.settle_names(name);
        if let Some(old) = recycle {
            let mut renamed = self.files.remove(&Name::Log(old)).ok_or_else(|| not_found(Name::Log(old)))?;
            renamed.flush();
            self.files.insert(name, renamed);
            return Ok(());
        }
        if !self.room_for(bytes) {
            return Err(DiskError::new(DiskErrorKind::NoSpace, file.path()));
        }
        let inode = self.inode();
        let mut new = File::new(inode, true);
        new.content = vec![0; bytes as usize];
        new.flush();
        self.files.insert(name, new);
        Ok(())
    }

    fn write_segment(&mut self, file: FileName, position: u64, bytes: &[u8]) -> Result<(), DiskError> {
        assert_aligned(position, bytes);
        let name = Name::Log(file);
        let length = self.files.get(&name).map_or(0, |file| file.content.len() as u64);
        if !self.room_for((position + bytes.len() as u64).saturating_sub(length)) {
            return Err(DiskError::new(DiskErrorKind::NoSpace, file.path()));
        }
        let inode = self.inode();
        self.files.entry(name).or_insert_with(|| File::new(inode, false)).write(position, bytes);
        Ok(())
    }

    fn replace(&mut self, name: Name, bytes: &[u8]) -> Result<(), DiskError> {
        if !self.room_for(bytes.len() as u64) {
            return Err(DiskError::new(DiskErrorKind::NoSpace, format!("{name:?}")));
        }
        self.settle_names(name);
        let mut new = File::new(self.inode(), true);
        new.content = bytes.to_vec();
        new.flush();
        if self.flush_fails() {
            return Err(DiskError::new(DiskErrorKind::Io, format!("{name:?}: the flush failed")));
        }
        self.files.insert(name, new);
        Ok(())
    }

    fn perform_meta(&mut self, kind: MetaOpKind) -> Result<(), DiskError> {
        match kind {
            // The zeros behind the head, megabytes of them, are left out: the log reads the same without.
            MetaOpKind::Create { file, head, .. } => self.replace(Name::Meta(file), &head),
            MetaOpKind::Append { file, position, bytes } => {
                self.file(Name::Meta(file))?.write(position, &bytes);
                self.flush(Name::Meta(file))
            }
            MetaOpKind::Replace { file, bytes } => self.replace(Name::Meta(file), &bytes),
            MetaOpKind::Remove { file } => {
                self.remove(Name::Meta(file));
                Ok(())
            }
        }
    }

    fn flush(&mut self, name: Name) -> Result<(), DiskError> {
        let fails = self.flush_fails();
        let file = self.file(name)?;
        if fails {
            file.fail_to_flush();
            return Err(DiskError::new(DiskErrorKind::Io, format!("{name:?}: the flush failed")));
        }
        file.flush();
        self.settle_names(name);
        Ok(())
    }

    fn file(&mut self, name: Name) -> Result<&mut File, DiskError> {
        self.files.get_mut(&name).ok_or_else(|| not_found(name))
    }

    fn inode(&mut self) -> u64 {
        self.next_inode += 1;
        self.next_inode
    }

    fn remove(&mut self, name: Name) {
        if let Some(file) = self.files.remove(&name) {
            self.ghosts.push((name, file));
        }
    }

    /// Making a name of a folder durable makes its removals durable, too.
    fn settle_names(&mut self, name: Name) {
        self.ghosts.retain(|(ghost, _)| folder(ghost) != folder(&name));
    }

    /// Part of a file for a socket.
    pub fn read(&self, file: &FileName, position: u64, length: usize) -> Result<Bytes, DiskError> {
        let name = Name::Log(*file);
        let content = &self.files.get(&name).ok_or_else(|| not_found(name))?.content;
        let from = content.len().min(position as usize);
        let to = content.len().min(from + length);
        Ok(Bytes::copy_from_slice(&content[from..to]))
    }

    /// Makes durable what the metadata has: a start does so before it reads.
    pub fn sync_meta(&mut self) {
        let metas = self.files.iter_mut().filter(|(name, _)| matches!(name, Name::Meta(_)));
        metas.for_each(|(_, file)| file.flush());
    }

    /// The files of the metadata, by name.
    pub fn meta_files(&self) -> Vec<(String, Bytes)> {
        let metas = self.files.iter().filter_map(|(name, file)| match name {
            Name::Meta(meta) => Some((meta.name(), Bytes::copy_from_slice(&file.content))),
            Name::Log(_) => None,
        });
        metas.collect()
    }

    /// The power fails.
    pub fn lose_power(&mut self) {
        self.late.clear();
        for job in std::mem::take(&mut self.in_flight).into_values() {
            self.tear(job);
        }
        let faults = self.faults;
        for (name, file) in std::mem::take(&mut self.ghosts) {
            if file.name_is_durable && self.random.percent(50) {
                self.files.entry(name).or_insert(file);
            }
        }
        let random = &mut self.random;
        self.files.retain(|_, file| file.name_is_durable || !random.percent(50));
        self.files.values_mut().for_each(|file| file.lose_power(random, &faults));
    }

    /// What an operation in flight leaves behind when the power fails: any part of what it was to do.
    fn tear(&mut self, job: Job) {
        match job {
            Job::Log { op: Op { kind, .. }, .. } => match kind {
                OpKind::WriteWal { file, position, parts, .. } => {
                    self.tear_write(Name::Log(file), position, &gather(&parts));
                }
                OpKind::WriteSegment { file, position, parts, .. } => {
                    let inode = self.inode();
                    self.files.entry(Name::Log(file)).or_insert_with(|| File::new(inode, false));
                    self.tear_write(Name::Log(file), position, &gather(&parts));
                }
                OpKind::WriteFile { file, parts } => self.tear_file(Name::Log(file), gather(&parts)),
                OpKind::PrepareWal { file, bytes, recycle: None } => {
                    let length = self.random.below(bytes + 1) / BLOCK_BYTES * BLOCK_BYTES;
                    self.tear_file(Name::Log(file), vec![0; length as usize]);
                }
                whole @ (OpKind::PrepareWal { .. }
                | OpKind::Remove { .. }
                | OpKind::RemovePartition { .. }
                | OpKind::SealSegment { .. }
                | OpKind::SyncSegments { .. }) => {
                    if self.random.percent(50) {
                        // Whether it ends well is nobody's concern any more.
                        drop(self.perform(whole));
                    }
                }
                OpKind::ReadBytes { .. } | OpKind::Locate(_) | OpKind::ReadFile { .. } => {}
            },
            Job::Meta(op) => match op.kind {
                MetaOpKind::Append { file, position, bytes } => {
                    self.tear_write(Name::Meta(file), position, &bytes)
                }
                whole => {
                    if self.random.percent(50) {
                        drop(self.perform_meta(whole));
                    }
                }
            },
        }
    }

    fn tear_write(&mut self, name: Name, position: u64, bytes: &[u8]) {
        let Disk { files, random, .. } = self;
        let Some(file) = files.get_mut(&name) else { return };
        let share = *random.pick(&[0, 10, 50, 90, 100]);
        let mut at = position;
        for sector in bytes.chunks(SECTOR_BYTES as usize) {
            if random.percent(share) {
                file.write(at, sector);
            }
            at += sector.len() as u64;
        }
    }

    /// A slot that is being replaced may be lost.
    fn tear_file(&mut self, name: Name, bytes: Vec<u8>) {
        match self.random.below(4) {
            0 => {}
            1 => self.remove(name),
            torn => {
                let mut file = File::new(self.inode(), true);
                let length =
                    if torn == 2 { self.random.below(bytes.len() as u64 + 1) } else { bytes.len() as u64 };
                file.content = bytes[..length as usize].to_vec();
                file.flush();
                self.files.insert(name, file);
            }
        }
    }

    /// The process is killed. Returns the writes that the kernel does later, each with its delay.
    pub fn kill(&mut self) -> Vec<(Ticket, u64)> {
        let mut late = Vec::new();
        for (ticket, job) in std::mem::take(&mut self.in_flight) {
            let write = match &job {
                Job::Log { op: Op { kind: OpKind::WriteWal { file, position, parts, .. }, .. }, .. }
                | Job::Log {
                    op: Op { kind: OpKind::WriteSegment { file, position, parts, .. }, .. }, ..
                } => self.late_write(Name::Log(*file), *position, gather(parts)),
                Job::Meta(MetaOp { kind: MetaOpKind::Append { file, position, bytes }, .. }) => {
                    self.late_write(Name::Meta(*file), *position, bytes.to_vec())
                }
                _ => None,
            };
            match write {
                Some(write) if self.random.percent(self.faults.late_percent) => {
                    let delay = 1_000 + self.random.around(100_000);
                    self.late.insert(ticket, write);
                    late.push((ticket, delay));
                }
                _ => self.interrupt(job),
            }
        }
        late
    }

    fn late_write(&self, name: Name, position: u64, bytes: Vec<u8>) -> Option<LateWrite> {
        let inode = self.files.get(&name)?.inode;
        Some(LateWrite { name, inode, position, bytes })
    }

    /// What an operation in flight leaves behind when its process is killed: all or nothing, or a block of it.
    fn interrupt(&mut self, job: Job) {
        match job {
            Job::Log { op: Op { kind: OpKind::WriteFile { .. }, .. }, .. } if self.random.percent(50) => {}
            Job::Log { op, .. } if self.random.percent(50) => drop(self.perform(op.kind)),
            Job::Meta(op) if self.random.percent(50) => drop(self.perform_meta(op.kind)),
            job => {
                if self.random.percent(30) && is_write(&job) {
                    self.tear(job);
                }
            }
        }
    }

    /// Does a late write, if its file is still there.
    pub fn finish_late(&mut self, ticket: Ticket) -> Option<String> {
        let write = self.late.remove(&ticket)?;
        let file = self.files.get_mut(&write.name).filter(|file| file.inode == write.inode)?;
        file.write(write.position, &write.bytes);
        Some(format!("late write of {} bytes at {} of {:?}", write.bytes.len(), write.position, write.name))
    }

    /// Flips a bit of a WAL, a checkpoint or an index.
    pub fn rot(&mut self) -> Option<Rot> {
        let name = self.some_file(|name| !matches!(name, Name::Meta(_)) && !is_segment(name))?;
        let content = &self.files[&name].content;
        let last = content.iter().rposition(|byte| *byte != 0).expect("some_file has looked");
        let byte = self.random.below(last as u64 + 1) as usize;
        self.flip(name, byte, None)
    }

    /// Flips a bit of a batch in a segment. Not in its base offset, which no checksum covers, in Kafka neither; nor in its
    /// leader epoch, of which the same is true and which matters less.
    pub fn rot_segment(&mut self) -> Option<Rot> {
        const LENGTH: usize = 8;
        const LEADER_EPOCH: std::ops::Range<usize> = 12..16;
        let name = self.some_file(is_segment)?;
        let batches = batches_of(&self.files[&name].content);
        if batches.is_empty() {
            return None;
        }
        let (start, length, base_offset) = *self.random.pick(&batches);
        let mut byte = self.random.between(LENGTH as u64, length as u64 - 1) as usize;
        if LEADER_EPOCH.contains(&byte) {
            byte = LEADER_EPOCH.end;
        }
        let partition = partition_of(&name).expect("a segment is of a partition");
        self.flip(name, start + byte, Some((partition, base_offset)))
    }

    fn some_file(&mut self, wanted: impl Fn(&Name) -> bool) -> Option<Name> {
        let names: Vec<Name> = self
            .files
            .iter()
            .filter(|(name, file)| wanted(name) && file.content.iter().any(|byte| *byte != 0))
            .map(|(name, _)| *name)
            .collect();
        if names.is_empty() { None } else { Some(*self.random.pick(&names)) }
    }

    fn flip(&mut self, name: Name, byte: usize, batch: Option<(PartitionKey, i64)>) -> Option<Rot> {
        let content = &mut self.files.get_mut(&name)?.content;
        content[byte] ^= 1 << self.random.below(8);
        Some(Rot { what: format!("rot in byte {byte} of {name:?}, batch {batch:?}"), batch })
    }
}

impl RecoverySource for Disk {
    fn wal_shards(&mut self) -> Result<Vec<u16>, DiskError> {
        let shards: BTreeSet<u16> = self.files.keys().filter_map(wal_shard_of).collect();
        Ok(shards.into_iter().collect())
    }

    fn wal_files(&mut self, shard: u16) -> Result<Vec<(FileName, u64)>, DiskError> {
        let files = self.files.iter().filter_map(|(name, file)| match name {
            Name::Log(log) if wal_shard_of(name) == Some(shard) => Some((*log, file.content.len() as u64)),
            _ => None,
        });
        Ok(files.collect())
    }

    fn partitions(&mut self) -> Result<Vec<PartitionKey>, DiskError> {
        let keys: BTreeSet<PartitionKey> = self.files.keys().filter_map(partition_of).collect();
        Ok(keys.into_iter().collect())
    }

    fn read(&mut self, file: &FileName, position: u64, length: usize) -> Result<Bytes, DiskError> {
        Disk::read(self, file, position, length)
    }

    fn sync(&mut self, file: &FileName) -> Result<(), DiskError> {
        self.file(Name::Log(*file)).map(File::flush)
    }
}

fn is_segment(name: &Name) -> bool {
    matches!(name, Name::Log(FileName::Segment { .. }))
}

/// Where each batch of a segment begins, its length, its base offset.
fn batches_of(content: &[u8]) -> Vec<(usize, usize, i64)> {
    const HEADER_BYTES: usize = 61;
    let (mut batches, mut at) = (Vec::new(), 0);
    while let Some(header) = content.get(at..at + HEADER_BYTES) {
        let base_offset = i64::from_be_bytes(header[..8].try_into().expect("eight bytes"));
        let length = i32::from_be_bytes(header[8..12].try_into().expect("four bytes"));
        let length = usize::try_from(length).unwrap_or(0) + 12;
        if length < HEADER_BYTES || at + length > content.len() {
            break;
        }
        batches.push((at, length, base_offset));
        at += length;
    }
    batches
}

fn gather(parts: &[Bytes]) -> Vec<u8> {
    parts.concat()
}

fn assert_aligned(position: u64, bytes: &[u8]) {
    let aligned = position.is_multiple_of(BLOCK_BYTES) && (bytes.len() as u64).is_multiple_of(BLOCK_BYTES);
    assert!(aligned, "a direct write is made of whole blocks");
}

fn not_found(name: Name) -> DiskError {
    DiskError::new(DiskErrorKind::NotFound, format!("{name:?}"))
}

fn is_write(job: &Job) -> bool {
    matches!(
        job,
        Job::Log { op: Op { kind: OpKind::WriteWal { .. } | OpKind::WriteSegment { .. }, .. }, .. }
            | Job::Meta(MetaOp { kind: MetaOpKind::Append { .. }, .. })
    )
}

fn wal_shard_of(name: &Name) -> Option<u16> {
    match name {
        Name::Log(FileName::Wal { shard, .. } | FileName::Checkpoint { shard, .. }) => Some(*shard),
        _ => None,
    }
}

fn partition_of(name: &Name) -> Option<PartitionKey> {
    match name {
        Name::Log(FileName::Segment { partition, .. } | FileName::Index { partition, .. }) => {
            Some(*partition)
        }
        _ => None,
    }
}

#[derive(PartialEq, Eq)]
enum Folder {
    Wal(u16),
    Partition(PartitionKey),
    Meta,
}

fn folder(name: &Name) -> Folder {
    match (wal_shard_of(name), partition_of(name)) {
        (Some(shard), _) => Folder::Wal(shard),
        (_, Some(partition)) => Folder::Partition(partition),
        _ => Folder::Meta,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use storage::op::OpId;

    const FILE: FileName = FileName::Wal { shard: 0, incarnation: 1, sequence: 1 };

    fn run(disk: &mut Disk, kind: OpKind) -> Result<Outcome, DiskError> {
        let (ticket, _) = disk.start(0, Op { id: OpId(1), kind });
        match disk.finish(ticket) {
            Some(Answer::Shard(_, done)) => done.result,
            other => panic!("an operation is answered, not {other:?}"),
        }
    }

    fn block(byte: u8) -> Vec<Bytes> {
        vec![Bytes::from(vec![byte; 4096])]
    }

    fn disk() -> Disk {
        let mut disk = Disk::new(1);
        disk.faults.lost_percent = 100;
        run(&mut disk, OpKind::PrepareWal { file: FILE, bytes: 8192, recycle: None }).expect("there is room");
        disk
    }

    #[test]
    fn what_is_flushed_survives_and_the_rest_may_not() {
        let mut disk = disk();
        let write =
            |position, byte, flush| OpKind::WriteWal { file: FILE, position, parts: block(byte), flush };
        run(&mut disk, write(0, 1, true)).expect("it is there");
        run(&mut disk, write(4096, 2, false)).expect("it is there");
        assert_eq!(disk.read(&FILE, 4096, 1).expect("it is there")[..], [2]);
        disk.lose_power();
        assert_eq!(disk.read(&FILE, 0, 1).expect("it is there")[..], [1]);
        assert_eq!(disk.read(&FILE, 4096, 1).expect("it is there")[..], [0]);
    }

    #[test]
    fn a_late_write_lands_after_the_kill() {
        let mut disk = disk();
        disk.faults.late_percent = 100;
        let kind = OpKind::WriteWal { file: FILE, position: 0, parts: block(7), flush: true };
        disk.start(0, Op { id: OpId(2), kind });
        let late = disk.kill();
        assert_eq!(disk.read(&FILE, 0, 1).expect("it is there")[..], [0]);
        assert!(disk.finish_late(late[0].0).is_some());
        assert_eq!(disk.read(&FILE, 0, 1).expect("it is there")[..], [7]);
    }

    #[test]
    fn a_write_to_the_wal_of_an_earlier_process_is_named() {
        let mut disk = disk();
        disk.start_process();
        let kind = OpKind::WriteWal { file: FILE, position: 0, parts: block(7), flush: true };
        run(&mut disk, kind).expect("the disk does it");
        assert_eq!(disk.violations[0].checker, Checker::S7);
    }
}
