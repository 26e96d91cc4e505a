//! Carries out operations, each in a task of its own, and hands in each answer once.

use std::cell::Cell;
use std::fs::File;
use std::rc::Rc;
use std::sync::Arc;

use super::directory::DataDirectory;
use super::files::Files;
use super::{reader, small_files, writer};
use crate::op::{DiskError, Done, FileName, Op, OpKind, Outcome};

/// How a write is made durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SyncMethod {
    /// Write, then `fdatasync`. Never bad.
    Fdatasync,
    /// Write through a file opened with `O_DSYNC`: fewer steps, but slow where the machine is busy.
    Dsync,
}

impl std::fmt::Display for SyncMethod {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            SyncMethod::Fdatasync => "write+fdatasync",
            SyncMethod::Dsync => "write with O_DSYNC",
        })
    }
}

/// The disk of one shard: everything but the blocks that [`BlockWriter`](super::BlockWriter) makes ready. Lives in an
/// executor.
pub struct Disk {
    files: Files,
    in_flight: Cell<usize>,
    answer: Box<dyn Fn(Done)>,
}

impl Disk {
    /// A disk over an open directory that keeps at most `files_max` descriptors open. `answer` is called once for
    /// every op, from a task of this executor.
    pub fn new(directory: &DataDirectory, files_max: usize, answer: impl Fn(Done) + 'static) -> Rc<Disk> {
        Rc::new(Disk {
            files: Files::new(directory, files_max),
            in_flight: Cell::new(0),
            answer: Box::new(answer),
        })
    }

    /// Starts an operation.
    pub fn submit(self: &Rc<Self>, op: Op) {
        let disk = self.clone();
        self.in_flight.set(self.in_flight.get() + 1);
        glommio::spawn_local(async move {
            let result = disk.perform(op.kind).await;
            disk.in_flight.set(disk.in_flight.get() - 1);
            (disk.answer)(Done { id: op.id, result });
        })
        .detach();
    }

    /// Operations that are not answered yet.
    pub fn in_flight(&self) -> usize {
        self.in_flight.get()
    }

    /// Closes descriptors that nobody used since the last call: those of files that others have removed, too.
    pub fn close_idle_files(&self) {
        self.files.close_idle();
    }

    /// A descriptor for reads through the page cache, and for `sendfile`.
    pub async fn open_for_read(&self, name: &FileName) -> Result<Arc<File>, DiskError> {
        self.files.open_for_read(name).await
    }

    async fn perform(&self, kind: OpKind) -> Result<Outcome, DiskError> {
        match kind {
            OpKind::PrepareWal { file, bytes, recycle } => {
                writer::prepare_wal(&self.files, file, bytes, recycle).await.map(unit)
            }
            OpKind::WriteWal { .. } => unreachable!("a shard writes its WAL by a ring of its own"),
            OpKind::WriteSegment { file, position, parts, flush } => {
                writer::write_segment(&self.files, file, position, parts).await?;
                if flush {
                    writer::sync_segments(&self.files, vec![file]).await?;
                }
                Ok(Outcome::Unit)
            }
            OpKind::SyncSegments { files } => writer::sync_segments(&self.files, files).await.map(unit),
            OpKind::SealSegment { file, length } => {
                writer::seal_segment(&self.files, file, length).await.map(unit)
            }
            OpKind::ReadBytes { slice } => reader::read_bytes(&self.files, slice).await.map(Outcome::Bytes),
            OpKind::Locate(locate) => reader::locate(&self.files, locate).await.map(Outcome::Located),
            OpKind::WriteFile { file, parts } => small_files::write(&self.files, file, parts).await.map(unit),
            OpKind::ReadFile { file } => small_files::read(&self.files, file).await.map(Outcome::Bytes),
            OpKind::Remove { files } => small_files::remove(&self.files, files).await.map(unit),
            OpKind::RemovePartition { partition } => {
                small_files::remove_partition(&self.files, partition).await.map(unit)
            }
        }
    }
}

fn unit((): ()) -> Outcome {
    Outcome::Unit
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;

    use bytes::Bytes;
    use glommio::LocalExecutorBuilder;

    use super::*;
    use crate::disk::BlockWriter;
    use crate::disk::directory::DirectoryOptions;
    use crate::disk::recovery_source::DirectorySource;
    use crate::disk::test_directory::TestDirectory;
    use crate::op::{DiskErrorKind, FileSlice, OpId, RecoverySource, Which};
    use crate::types::{Offset, PartitionKey, TopicId};

    const PARTITION: PartitionKey = PartitionKey { topic_id: TopicId([7; 16]), partition: 3 };
    const SEGMENT: FileName = FileName::Segment { partition: PARTITION, base: Offset(0) };

    fn wal(sequence: u64) -> FileName {
        FileName::Wal { shard: 0, incarnation: 1, sequence }
    }

    /// A disk and its answers, which come one at a time here.
    struct Bench {
        disk: Rc<Disk>,
        writer: RefCell<BlockWriter>,
        answers: Rc<RefCell<VecDeque<Done>>>,
        next: Cell<u64>,
    }

    impl Bench {
        async fn try_do(&self, kind: OpKind) -> Result<Outcome, DiskError> {
            let id = OpId(self.next.get());
            self.next.set(id.0 + 1);
            self.writer.borrow_mut().forget_files_of(&kind);
            self.disk.submit(Op { id, kind });
            while self.disk.in_flight() > 0 {
                glommio::executor().yield_now().await;
            }
            let done =
                self.answers.borrow_mut().pop_front().expect("an op that is not in flight was answered");
            assert_eq!(done.id, id);
            assert!(self.answers.borrow().is_empty(), "an op is answered once");
            done.result
        }

        fn write_wal(&self, file: FileName, position: u64, parts: &[Bytes]) -> Result<(), DiskError> {
            let mut writer = self.writer.borrow_mut();
            let write = writer.prepare_wal(file, position, parts, true)?;
            let (written, flushed) = write.perform();
            writer.finish(write, written, flushed)
        }

        async fn run(&self, kind: OpKind) -> Outcome {
            self.try_do(kind).await.expect("the disk is sound")
        }

        async fn read(&self, file: FileName, position: u64, length: u32) -> Bytes {
            match self.run(OpKind::ReadBytes { slice: FileSlice { file, position, length } }).await {
                Outcome::Bytes(bytes) => bytes,
                other => panic!("a read is answered with bytes, not {other:?}"),
            }
        }
    }

    /// Runs a story on direct I/O where there is some, and on buffered I/O.
    fn check<F: Future<Output = ()>>(
        name: &str,
        files_max: usize,
        story: impl Fn(Bench, TestDirectory) -> F,
    ) {
        for direct_io in [true, false] {
            let test = TestDirectory::new(name);
            let options = DirectoryOptions { cluster_id: None, node_id: 1, allow_buffered_io: true };
            let directory = DataDirectory::open(test.path(), &options).expect("a new directory opens");
            let executor =
                LocalExecutorBuilder::default().io_memory(1 << 20).make().expect("an executor starts");
            executor.run(async {
                let answers = Rc::new(RefCell::new(VecDeque::new()));
                let queue = answers.clone();
                let mut disk =
                    Disk::new(&directory, files_max, move |done| queue.borrow_mut().push_back(done));
                Rc::get_mut(&mut disk).expect("nobody else has it yet").files.direct_io &= direct_io;
                let mut writer = BlockWriter::new(&directory, SyncMethod::Fdatasync);
                writer.direct_io &= direct_io;
                let writer = RefCell::new(writer);
                story(Bench { disk, writer, answers, next: Cell::new(0) }, test).await;
            });
        }
    }

    fn block(byte: u8, blocks: usize) -> Bytes {
        Bytes::from(vec![byte; blocks * 4096])
    }

    #[test]
    fn a_wal_file_is_prepared_written_and_recycled() {
        check("wal", 64, |bench, test| async move {
            bench.run(OpKind::PrepareWal { file: wal(1), bytes: 3 << 20, recycle: None }).await;
            let path = test.path().join(wal(1).path());
            assert_eq!(std::fs::read(&path).expect("it is there"), vec![0; 3 << 20]);
            // Parts that are no blocks by themselves, over more than one write.
            let parts = vec![block(1, 300).slice(..1000), block(2, 300).slice(1000..), block(3, 1)];
            bench.write_wal(wal(1), 8192, &parts).expect("the disk is sound");
            let written = std::fs::read(&path).expect("it is there");
            assert!(written[..8192].iter().all(|byte| *byte == 0));
            assert!(written[8192..9192].iter().all(|byte| *byte == 1));
            assert!(written[9192..8192 + 300 * 4096].iter().all(|byte| *byte == 2));
            assert!(written[8192 + 300 * 4096..][..4096].iter().all(|byte| *byte == 3));
            bench.run(OpKind::PrepareWal { file: wal(2), bytes: 3 << 20, recycle: Some(wal(1)) }).await;
            assert!(!path.exists());
            assert_eq!(std::fs::read(test.path().join(wal(2).path())).expect("it is there"), written);
            bench.write_wal(wal(2), 0, &[block(4, 1)]).expect("the disk is sound");
            assert_eq!(bench.read(wal(2), 0, 1).await, [4][..]);
            let error = bench.write_wal(wal(1), 0, &[block(5, 1)]).expect_err("it was renamed");
            assert_eq!(error.kind, DiskErrorKind::NotFound);
        });
    }

    #[test]
    fn segments_are_written_synced_sealed_read_and_removed() {
        check("segment", 64, |bench, test| async move {
            let parts = vec![block(1, 1), block(2, 2)];
            bench.run(OpKind::WriteSegment { file: SEGMENT, position: 0, parts, flush: true }).await;
            bench.run(OpKind::SyncSegments { files: vec![SEGMENT] }).await;
            bench.run(OpKind::SealSegment { file: SEGMENT, length: 5000 }).await;
            assert_eq!(bench.read(SEGMENT, 4095, 2).await, [1, 2][..]);
            assert_eq!(
                bench.read(SEGMENT, 4096, 9999).await.len(),
                904,
                "a read is cut at the end of the file"
            );
            // Parts that are no blocks by themselves, and more than the executor has memory for.
            let file = FileName::Segment { partition: PARTITION, base: Offset(9) };
            let parts = vec![block(1, 1500).slice(..1000), block(2, 1500).slice(1000..), block(3, 1)];
            let expected = parts.concat();
            bench.run(OpKind::WriteSegment { file, position: 0, parts, flush: true }).await;
            assert_eq!(bench.read(file, 0, expected.len() as u32).await, expected);
            let file = FileName::Index { partition: PARTITION, base: Offset(0) };
            let parts = vec![Bytes::from_static(b"ab"), Bytes::from_static(b"c")];
            bench.run(OpKind::WriteFile { file, parts }).await;
            match bench.run(OpKind::ReadFile { file }).await {
                Outcome::Bytes(bytes) => assert_eq!(bytes, "abc"),
                other => panic!("a read is answered with bytes, not {other:?}"),
            }
            bench.run(OpKind::Remove { files: vec![file, file] }).await;
            let error = bench.try_do(OpKind::ReadFile { file }).await.expect_err("it was removed");
            assert_eq!(error.kind, DiskErrorKind::NotFound);
            bench.run(OpKind::RemovePartition { partition: PARTITION }).await;
            bench.run(OpKind::RemovePartition { partition: PARTITION }).await;
            assert!(!test.path().join(SEGMENT.path()).exists());
        });
    }

    #[test]
    fn a_shard_writes_to_segments_that_are_there() {
        check("blocks", 64, |bench, test| async move {
            let parts = [block(2, 1), block(3, 1)];
            let prepare =
                |position| bench.writer.borrow_mut().prepare_segment(SEGMENT, position, &parts, true);
            let sound = "the disk is sound";
            for position in [0, 4096] {
                assert!(prepare(position).expect(sound).is_none(), "the segment is not made yet");
            }
            let first = vec![block(1, 1)];
            bench.run(OpKind::WriteSegment { file: SEGMENT, position: 0, parts: first, flush: false }).await;
            let write = prepare(4096).expect(sound);
            assert_eq!(write.is_some(), bench.disk.files.direct_io);
            let Some(write) = write else { return };
            let (written, flushed) = write.perform();
            bench.writer.borrow_mut().finish(write, written, flushed).expect(sound);
            let content = std::fs::read(test.path().join(SEGMENT.path())).expect("it is there");
            assert_eq!(content, [block(1, 1), block(2, 1), block(3, 1)].concat());
            bench.run(OpKind::RemovePartition { partition: PARTITION }).await;
            assert!(prepare(4096).expect(sound).is_none(), "what was removed is not written to");
        });
    }

    #[test]
    fn more_files_than_descriptors() {
        check("lru", 8, |bench, test| async move {
            let name = |base| FileName::Segment { partition: PARTITION, base: Offset(base) };
            for base in 0..20 {
                let parts = vec![block(base as u8, 1)];
                bench.run(OpKind::WriteSegment { file: name(base), position: 0, parts, flush: false }).await;
            }
            for base in 0..20 {
                assert_eq!(bench.read(name(base), 0, 1).await, [base as u8][..]);
            }
            bench.disk.close_idle_files();
            bench.disk.close_idle_files();
            assert_eq!(bench.read(name(3), 0, 1).await, [3][..]);
            drop(test);
        });
    }

    #[test]
    fn recovery_finds_what_was_written() {
        check("recovery", 64, |bench, test| async move {
            let checkpoint = FileName::Checkpoint { shard: 0, incarnation: 1, which: Which::B };
            bench.run(OpKind::PrepareWal { file: wal(1), bytes: 8192, recycle: None }).await;
            bench.run(OpKind::WriteFile { file: checkpoint, parts: vec![Bytes::from_static(b"c")] }).await;
            let parts = vec![block(9, 1)];
            bench.run(OpKind::WriteSegment { file: SEGMENT, position: 0, parts, flush: false }).await;
            std::fs::write(test.path().join("wal/0/core.1234"), b"").expect("a stranger's file");
            let mut source = DirectorySource { root: test.path().to_path_buf(), open: None };
            assert_eq!(source.wal_shards(), Ok(vec![0]));
            assert_eq!(source.wal_files(0), Ok(vec![(wal(1), 8192), (checkpoint, 1)]));
            assert_eq!(source.wal_files(1), Ok(vec![]));
            assert_eq!(source.partitions(), Ok(vec![PARTITION]));
            assert_eq!(source.read(&SEGMENT, 4000, 500).expect("reads").len(), 96);
            assert_eq!(source.read(&wal(1), 0, 3).expect("reads"), [0, 0, 0][..]);
            source.sync(&SEGMENT).expect("syncs");
            let error = source.read(&wal(2), 0, 1).expect_err("it is not there");
            assert_eq!(error.kind, DiskErrorKind::NotFound);
        });
    }
}
