//! The metadata log over a directory in memory, with crashes.

use std::collections::BTreeMap;

use super::*;
use crate::metadata::record::{FeatureLevelV1, ProducerIdBlockV1};

/// A directory: what is durable.
#[derive(Clone, Default)]
struct Directory(BTreeMap<String, Vec<u8>>);

impl Directory {
    fn perform(&mut self, kind: &MetaOpKind) {
        match kind {
            MetaOpKind::Create { file, head, size } => {
                let mut content = vec![0; *size as usize];
                content[..head.len()].copy_from_slice(head);
                let before = self.0.insert(file.name(), content);
                assert!(before.is_none(), "{} is created once", file.name());
            }
            MetaOpKind::Append { file, position, bytes } => {
                let content = self.0.get_mut(&file.name()).expect("a file is created before it is written");
                let at = *position as usize;
                assert!(content[at..at + bytes.len()].iter().all(|b| *b == 0), "nothing is written twice");
                content[at..at + bytes.len()].copy_from_slice(bytes);
            }
            MetaOpKind::Replace { file, bytes } => {
                self.0.insert(file.name(), bytes.to_vec());
            }
            MetaOpKind::Remove { file } => {
                self.0.remove(&file.name());
            }
        }
    }

    fn recover(&self) -> Result<RecoveredMeta, RecoveryError> {
        recover(self.0.iter().map(|(name, bytes)| (name.as_str(), Bytes::copy_from_slice(bytes))))
    }

    /// The newest log file.
    fn newest(&mut self) -> &mut Vec<u8> {
        self.0.iter_mut().rfind(|(name, _)| name.starts_with("meta-")).expect("there is a log").1
    }
}

/// A process that writes the log.
struct Process {
    log: MetaLog,
    image: Image,
}

impl Process {
    fn start(directory: &mut Directory, salt: u64) -> Process {
        let recovered = directory.recover().expect("the log is sound");
        let mut ops = Vec::new();
        let log = MetaLog::open(&recovered, salt, &mut ops);
        let mut process = Process { log, image: recovered.image };
        process.finish(directory, ops);
        process
    }

    fn append(&mut self, record: Record) -> u64 {
        self.image.apply(&record);
        self.log.append(&record)
    }

    /// Lets the disk do all that is asked of it.
    fn settle(&mut self, directory: &mut Directory) {
        let mut ops = Vec::new();
        self.log.flush(&mut ops);
        self.finish(directory, ops);
    }

    fn finish(&mut self, directory: &mut Directory, mut ops: Vec<MetaOp>) {
        while let Some(op) = ops.pop() {
            directory.perform(&op.kind);
            let done = MetaDone { id: op.id, result: Ok(()) };
            self.log.complete(done, &mut ops).expect("the disk is sound");
        }
    }

    fn snapshot(&mut self, directory: &mut Directory) {
        let mut ops = Vec::new();
        self.log.snapshot(&self.image, &mut ops);
        self.finish(directory, ops);
    }
}

fn feature(level: i16) -> Record {
    Record::FeatureLevel(FeatureLevelV1 { name: "level".to_owned(), level })
}

fn level(recovered: &RecoveredMeta) -> i16 {
    recovered.image.features().get("level").copied().unwrap_or(0)
}

#[test]
fn what_was_durable_is_there_after_every_start() {
    let mut directory = Directory::default();
    for start in 0..5 {
        let mut process = Process::start(&mut directory, 100 + start);
        for n in 1..=10 {
            process.append(feature(start as i16 * 10 + n));
        }
        process.settle(&mut directory);
        assert_eq!(process.log.durable(), (start + 1) * 10);
    }
    let recovered = directory.recover().expect("sound");
    assert_eq!((recovered.image.version(), level(&recovered)), (50, 50));
    assert_eq!(recovered.replayed, 50);
}

#[test]
fn records_that_wait_go_in_one_write() {
    let mut directory = Directory::default();
    let mut process = Process::start(&mut directory, 1);
    let mut ops = Vec::new();
    process.append(feature(1));
    process.log.flush(&mut ops);
    for n in 2..=100 {
        process.append(feature(n));
        process.log.flush(&mut ops);
    }
    assert_eq!(ops.len(), 1, "one write is in flight at a time");
    let first = ops.remove(0);
    let progress = process.log.complete(MetaDone { id: first.id, result: Ok(()) }, &mut ops);
    assert_eq!(progress, Ok(Progress::Durable(1)));
    assert_eq!(ops.len(), 1);
    let second = ops.remove(0);
    let progress = process.log.complete(MetaDone { id: second.id, result: Ok(()) }, &mut ops);
    assert_eq!(progress, Ok(Progress::Durable(100)));
}

#[test]
fn a_torn_write_is_the_end_and_the_next_start_goes_on_from_there() {
    let mut directory = Directory::default();
    let mut process = Process::start(&mut directory, 1);
    process.append(feature(1));
    process.settle(&mut directory);
    let mut ops = Vec::new();
    process.append(feature(2));
    process.append(feature(3));
    process.log.flush(&mut ops);
    let MetaOpKind::Append { position, bytes, .. } = &ops[0].kind else { panic!("a write") };
    for cut in [1, 8, 47, 48, 60, bytes.len() - 9, bytes.len() - 8] {
        let mut torn = directory.clone();
        let at = *position as usize;
        torn.newest()[at..at + cut].copy_from_slice(&bytes[..cut]);
        let recovered = torn.recover().expect("a torn tail is no damage");
        assert!((1..=3).contains(&recovered.image.version()), "cut {cut}");
        let version = recovered.image.version();
        let mut next = Process::start(&mut torn, 2);
        next.append(feature(9));
        next.settle(&mut torn);
        let recovered = torn.recover().expect("sound");
        assert_eq!((recovered.image.version(), level(&recovered)), (version + 1, 9), "cut {cut}");
        // The write of the dead process lands after all: it is not looked at.
        let file = torn.0.iter_mut().find(|(name, _)| name.ends_with("1.log")).expect("the first file").1;
        file[at..at + bytes.len()].copy_from_slice(bytes);
        let recovered = torn.recover().expect("sound");
        assert_eq!((recovered.image.version(), level(&recovered)), (version + 1, 9), "cut {cut}");
    }
}

#[test]
fn damage_below_a_valid_entry_is_refused_and_names_the_place() {
    let mut directory = Directory::default();
    let mut process = Process::start(&mut directory, 1);
    let mut ends = vec![FILE_HEADER_BYTES];
    for n in 1..=5 {
        process.append(feature(n));
        process.settle(&mut directory);
        ends.push(process.log.active.position as usize);
    }
    for (entry, start) in ends[..5].iter().enumerate() {
        let mut damaged = directory.clone();
        damaged.newest()[start + ENTRY_HEADER_BYTES + 3] ^= 0x40;
        match damaged.recover() {
            Err(RecoveryError::Corrupt { position, .. }) => assert_eq!(position as usize, *start),
            other => panic!("entry {entry} was acknowledged and is gone: {other:?}"),
        }
    }
}

#[test]
fn the_last_record_is_vouched_for() {
    // What broke: with nothing behind it, a rotten last record looked like a torn write.
    let mut directory = Directory::default();
    let mut process = Process::start(&mut directory, 1);
    process.append(feature(1));
    process.settle(&mut directory);
    directory.newest()[FILE_HEADER_BYTES + 50] ^= 1;
    assert!(matches!(directory.recover(), Err(RecoveryError::Corrupt { .. })));
}

#[test]
fn a_log_file_that_is_missing_is_noticed() {
    let mut directory = Directory::default();
    for start in 0..3 {
        let mut process = Process::start(&mut directory, start);
        process.append(feature(1));
        process.settle(&mut directory);
    }
    directory.0.remove(&MetaFile::Log { sequence: 2 }.name());
    assert_eq!(directory.recover().expect_err("refused"), RecoveryError::Missing { from: 2, to: 3 });
}

#[test]
fn a_damaged_header_is_refused_and_an_unwritten_file_is_not() {
    let mut directory = Directory::default();
    let mut process = Process::start(&mut directory, 1);
    process.append(feature(1));
    process.settle(&mut directory);
    let mut unwritten = directory.clone();
    unwritten.0.insert(MetaFile::Log { sequence: 2 }.name(), vec![0; 100]);
    unwritten.0.insert(MetaFile::Log { sequence: 3 }.name(), Vec::new());
    assert_eq!(unwritten.recover().expect("sound").image.version(), 1);
    let mut next = Process::start(&mut unwritten, 2);
    next.append(feature(2));
    next.settle(&mut unwritten);
    assert_eq!(unwritten.recover().expect("sound").image.version(), 2);

    directory.newest()[30] ^= 1;
    assert!(matches!(directory.recover(), Err(RecoveryError::Corrupt { position: 0, .. })));
}

#[test]
fn files_of_a_newer_release_are_named() {
    let mut directory = Directory::default();
    Process::start(&mut directory, 1);
    let file = directory.newest();
    file[8] = 2;
    let crc = crc32c::crc32c(&file[..FILE_CHECKSUM_AT]);
    file[FILE_CHECKSUM_AT..FILE_HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    let error = directory.recover().expect_err("refused").to_string();
    assert!(error.contains("newer release (format 2)"), "{error}");
}

#[test]
fn two_snapshots_are_kept_and_the_log_since_the_older() {
    let mut directory = Directory::default();
    for start in 0..6u64 {
        let mut process = Process::start(&mut directory, start);
        assert!(process.log.wants_snapshot(), "the first of a start");
        process.snapshot(&mut directory);
        assert!(!process.log.wants_snapshot());
        process.append(feature(start as i16 + 1));
        process.settle(&mut directory);
    }
    let names: Vec<&str> = directory.0.keys().map(String::as_str).collect();
    let expected = [
        "meta-0000000000000005.log",
        "meta-0000000000000006.log",
        "snap-0000000000000004.meta",
        "snap-0000000000000005.meta",
    ];
    assert_eq!(names, expected);
    // The newest snapshot is damaged: the older one and the log since then give the same.
    let name = MetaFile::Snapshot { version: 5 }.name();
    directory.0.get_mut(&name).expect("there")[20] ^= 1;
    let recovered = directory.recover().expect("sound");
    assert_eq!((recovered.image.version(), level(&recovered), recovered.replayed), (6, 6, 2));
    assert!(recovered.warnings[0].contains("is damaged"), "{:?}", recovered.warnings);
    // Both are: what the log lacks is missed.
    let name = MetaFile::Snapshot { version: 4 }.name();
    directory.0.get_mut(&name).expect("there")[20] ^= 1;
    assert_eq!(directory.recover().expect_err("refused"), RecoveryError::Missing { from: 1, to: 5 });
}

#[test]
fn a_full_file_is_followed_by_another() {
    let mut directory = Directory::default();
    let mut process = Process::start(&mut directory, 1);
    let big = "x".repeat(1 << 20);
    for level in 1..=20 {
        process.append(Record::FeatureLevel(FeatureLevelV1 { name: format!("{big}{level}"), level }));
        process.settle(&mut directory);
    }
    // One that no ordinary file holds.
    let huge = "y".repeat(20 << 20);
    process.append(Record::FeatureLevel(FeatureLevelV1 { name: huge, level: 1 }));
    process.settle(&mut directory);
    let logs = directory.0.keys().filter(|name| name.starts_with("meta-")).count();
    // None in the small first file, seven in each of the next three, the huge one alone, and the vouch for it in the last.
    assert_eq!(logs, 6);
    assert_eq!(directory.recover().expect("sound").image.features().len(), 21);
}

#[test]
fn a_failed_write_is_an_error_and_nothing_is_tried_again() {
    let mut directory = Directory::default();
    let mut process = Process::start(&mut directory, 1);
    let mut ops = Vec::new();
    process.append(feature(1));
    process.log.flush(&mut ops);
    let done = MetaDone { id: ops.remove(0).id, result: Err("no space".to_owned()) };
    assert_eq!(process.log.complete(done, &mut ops), Err("no space".to_owned()));
    assert!(ops.is_empty());
}

#[test]
fn crashes_at_every_operation_lose_nothing_that_was_durable() {
    for seed in 0..12u64 {
        let mut state = seed;
        let mut random = move |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % n
        };
        let mut directory = Directory::default();
        let (mut durable, mut highest) = (0, 0);
        for start in 0..8 {
            let recovered = directory.recover().unwrap_or_else(|e| panic!("seed {seed}, start {start}: {e}"));
            let version = recovered.image.version();
            assert!(
                (durable..=highest).contains(&version),
                "seed {seed}: {version} of {durable}..={highest}"
            );
            assert_eq!(recovered.image.next_producer_id(), version as i64, "seed {seed}");
            (durable, highest) = (version, version);
            let mut ops = Vec::new();
            let mut image = recovered.image.clone();
            let mut log = MetaLog::open(&recovered, random(u64::MAX), &mut ops);
            let mut left = random(40);
            while left > 0 {
                left -= 1;
                let first = image.next_producer_id();
                if random(2) == 0 {
                    let record = Record::ProducerIdBlock(ProducerIdBlockV1 { node_id: 1, first, count: 1 });
                    image.apply(&record);
                    highest = log.append(&record);
                }
                log.flush(&mut ops);
                if log.wants_snapshot() && log.durable() == image.version() && random(4) == 0 {
                    log.snapshot(&image, &mut ops);
                }
                if !ops.is_empty() && random(2) == 0 {
                    let op = ops.swap_remove(random(ops.len() as u64) as usize);
                    directory.perform(&op.kind);
                    let done = MetaDone { id: op.id, result: Ok(()) };
                    if let Ok(Progress::Durable(version)) = log.complete(done, &mut ops) {
                        durable = version;
                    }
                }
            }
            // The crash: of what is in flight some is there, some is torn, some is not.
            for op in ops {
                match (random(3), &op.kind) {
                    (0, _) => directory.perform(&op.kind),
                    (1, MetaOpKind::Append { file, position, bytes }) => {
                        let cut = random(bytes.len() as u64 + 1) as usize;
                        let (file, bytes) = (*file, bytes.slice(..cut));
                        directory.perform(&MetaOpKind::Append { file, position: *position, bytes });
                    }
                    (1, MetaOpKind::Create { file, head, .. }) => {
                        let cut = random(head.len() as u64 + 1) as usize;
                        directory.0.insert(file.name(), head[..cut].to_vec());
                    }
                    _ => {}
                }
            }
        }
    }
}
