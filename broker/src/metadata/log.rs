//! The metadata log: which bytes go to which file, and what they mean after a crash. A pure state machine; whoever drives it
//! executes a [`MetaOp`] and reports it back as one [`MetaDone`].
//!
//! ```text
//! meta-<sequence>.log   header 4096 bytes, then entries; zero-filled to its size when it is created
//! snap-<version>.meta   a snapshot of the image, written whole under another name, flushed and renamed
//!
//! header  magic 8 | format u32 | zero u32 | sequence u64 | salt u64 | first index u64 | zero 4052 | crc32c u32
//! entry   crc32c u32 | length u32 | kind u8 | version u8 | zero 6 | term u64 | index u64 | durable u64 | salt u64
//!         then `length` bytes of payload, then zeros up to a multiple of 8
//! ```
//!
//! All little-endian; a checksum covers what follows it (an entry's with its payload) or, in the header, what stands before.
//!
//! * Every start opens a new file with a new salt: a write of a killed process that lands late can only land in its own file,
//!   and what it adds there at or beyond the first index of the next file is not looked at.
//! * One write is in flight at a time, and `durable` is the index that was durable when it was issued. Behind the last write a
//!   *vouch* follows, an entry without a record that says that all before it was flushed.
//! * An entry that is not valid ends the log (a torn write, never acknowledged), unless a valid one with the same salt follows,
//!   or a later file begins beyond it. Then something acknowledged is missing, and recovery refuses.
//! * Two snapshots are kept, and the log since the older of them.

use std::fmt;

use bytes::Bytes;

use super::image::Image;
use super::record::{PAYLOAD_BYTES_MAX, Record, RecordError};
use super::snapshot;

/// Size of a log file, unless one record needs more.
pub const FILE_BYTES: u64 = 8 << 20;

/// Size of the first log file of a start: small, so that a start is quick.
pub const FIRST_FILE_BYTES: u64 = 256 << 10;

/// A snapshot is taken after this much of log.
pub const SNAPSHOT_LOG_BYTES: u64 = 64 << 20;

/// Snapshots that are kept.
const SNAPSHOTS_KEPT: usize = 2;

const FORMAT: u32 = 1;
const MAGIC: [u8; 8] = *b"MNDLMETA";
/// A block of its own: what a torn creation leaves in it can not be taken for entries, and no later write touches it.
const FILE_HEADER_BYTES: usize = 4096;
const FILE_CHECKSUM_AT: usize = FILE_HEADER_BYTES - 4;
const ENTRY_HEADER_BYTES: usize = 48;
const ENTRY_RECORD: u8 = 1;
const ENTRY_VOUCH: u8 = 2;

/// The term of entries as long as there is one voter.
const TERM: u64 = 1;

/// A file of the metadata directory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum MetaFile {
    /// A log file.
    Log {
        /// Rises by one with every file.
        sequence: u64,
    },
    /// A snapshot.
    Snapshot {
        /// `Image::version` of what it holds.
        version: u64,
    },
}

impl MetaFile {
    /// Its name within the metadata directory.
    pub fn name(&self) -> String {
        match self {
            MetaFile::Log { sequence } => format!("meta-{sequence:016x}.log"),
            MetaFile::Snapshot { version } => format!("snap-{version:016x}.meta"),
        }
    }

    /// The file that goes by a name, if it is one of these.
    pub fn from_name(name: &str) -> Option<MetaFile> {
        let number = |text: &str| (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok()).flatten();
        let file = match (name.strip_prefix("meta-"), name.strip_prefix("snap-")) {
            (Some(rest), _) => MetaFile::Log { sequence: number(rest.strip_suffix(".log")?)? },
            (_, Some(rest)) => MetaFile::Snapshot { version: number(rest.strip_suffix(".meta")?)? },
            _ => return None,
        };
        (file.name() == name).then_some(file)
    }
}

/// Names an operation until it is done.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MetaOpId(pub u64);

/// Something to do in the metadata directory. Operations in flight are unordered among themselves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MetaOp {
    /// Comes back in the `MetaDone`.
    pub id: MetaOpId,
    /// What to do.
    pub kind: MetaOpKind,
}

/// What to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MetaOpKind {
    /// Create a file with `head` at its start and zeros up to `size`; flush it, then the directory.
    Create {
        /// A file that does not exist.
        file: MetaFile,
        /// First bytes.
        head: Bytes,
        /// Size in bytes.
        size: u64,
    },
    /// Write bytes at a position within the file and flush it.
    Append {
        /// A file that was created.
        file: MetaFile,
        /// Where, bytes.
        position: u64,
        /// What.
        bytes: Bytes,
    },
    /// Write a whole file under another name, flush it, rename it, flush the directory.
    Replace {
        /// The name that it gets in the end.
        file: MetaFile,
        /// What.
        bytes: Bytes,
    },
    /// Remove a file; one that is not there is removed.
    Remove {
        /// Which.
        file: MetaFile,
    },
}

/// The end of an operation. After an error nothing is known of the bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MetaDone {
    /// Which one.
    pub id: MetaOpId,
    /// What went wrong, in words for a log line.
    pub result: Result<(), String>,
}

/// What recovery found.
#[derive(Clone, Debug)]
pub struct RecoveredMeta {
    /// The image after all records that were found.
    pub image: Image,
    /// Records that were replayed on top of the snapshot.
    pub replayed: u64,
    /// What an operator should know although nothing is lost, a line each.
    pub warnings: Vec<String>,
    last_sequence: u64,
    /// Log files, with the index that each begins at.
    logs: Vec<(u64, u64)>,
    /// Versions of the good snapshots, in order.
    snapshots: Vec<u64>,
    /// Files that are of no use: damaged snapshots, and logs that a crash left without a header.
    garbage: Vec<MetaFile>,
}

/// Why the metadata cannot be recovered. Nothing has been changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RecoveryError {
    /// An entry is damaged although later ones are there.
    Corrupt {
        /// File name.
        file: String,
        /// Where, bytes.
        position: u64,
        /// What is wrong there.
        message: String,
    },
    /// Entries between two indexes are in no file.
    Missing {
        /// First index that is missing.
        from: u64,
        /// First index that is there again.
        to: u64,
    },
    /// Written by a newer release.
    Newer {
        /// File name.
        file: String,
        /// What is not known.
        message: String,
    },
}

impl fmt::Display for RecoveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecoveryError::Corrupt { file, position, message } => write!(
                f,
                "the metadata log is damaged: {file} at byte {position}: {message}; acknowledged changes would be lost, so the broker \
                 does not start: restore the file from a copy"
            ),
            RecoveryError::Missing { from, to } => write!(
                f,
                "the metadata log lacks the records {from} to {}: a file was removed, or a snapshot is damaged; restore it from a copy",
                to - 1
            ),
            RecoveryError::Newer { file, message } => {
                write!(f, "{file} was written by a newer release ({message}): start that release")
            }
        }
    }
}

impl std::error::Error for RecoveryError {}

/// Finds out what the files of a metadata directory say. Files with other names are not looked at.
pub fn recover<'a>(
    files: impl IntoIterator<Item = (&'a str, Bytes)>,
) -> Result<RecoveredMeta, RecoveryError> {
    let mut warnings = Vec::new();
    let (mut logs, mut snapshots) = (Vec::new(), Vec::new());
    for (name, bytes) in files {
        match MetaFile::from_name(name) {
            Some(MetaFile::Log { sequence }) => logs.push((sequence, bytes)),
            Some(MetaFile::Snapshot { version }) => snapshots.push((version, bytes)),
            None => {}
        }
    }
    logs.sort_by_key(|(sequence, _)| *sequence);
    snapshots.sort_by_key(|(version, _)| *version);
    let (good, base) = good_snapshots(&snapshots, &mut warnings)?;
    let files = open_logs(&logs)?;
    let (image, replayed) = replay(base, &files)?;
    let bad = snapshots.iter().filter(|(version, _)| !good.contains(version));
    let empty = logs.iter().filter(|(sequence, _)| !files.iter().any(|f| f.sequence == *sequence));
    Ok(RecoveredMeta {
        image,
        replayed,
        warnings,
        last_sequence: logs.last().map_or(0, |(sequence, _)| *sequence),
        garbage: bad
            .map(|(version, _)| MetaFile::Snapshot { version: *version })
            .chain(empty.map(|(sequence, _)| MetaFile::Log { sequence: *sequence }))
            .collect(),
        logs: files.iter().map(|file| (file.sequence, file.first_index)).collect(),
        snapshots: good,
    })
}

/// The versions of all good snapshots, and the newest of them.
fn good_snapshots(
    snapshots: &[(u64, Bytes)],
    warnings: &mut Vec<String>,
) -> Result<(Vec<u64>, Image), RecoveryError> {
    let (mut good, mut newest) = (Vec::new(), Image::empty());
    for (version, bytes) in snapshots {
        let file = MetaFile::Snapshot { version: *version }.name();
        match snapshot::decode(bytes) {
            Ok(image) if image.version() == *version => {
                good.push(*version);
                newest = image;
            }
            Ok(image) => warnings.push(format!("{file} holds version {}: it is not used", image.version())),
            Err(error @ RecordError::Unknown { .. }) => {
                return Err(RecoveryError::Newer { file, message: error.to_string() });
            }
            Err(error) => warnings.push(format!("{file} is damaged ({error}): it is not used")),
        }
    }
    Ok((good, newest))
}

/// A log file whose header is good.
struct LogFile<'a> {
    sequence: u64,
    salt: u64,
    first_index: u64,
    bytes: &'a [u8],
}

fn open_logs(logs: &[(u64, Bytes)]) -> Result<Vec<LogFile<'_>>, RecoveryError> {
    let mut files = Vec::with_capacity(logs.len());
    for (sequence, bytes) in logs {
        let name = MetaFile::Log { sequence: *sequence }.name();
        match open_log(*sequence, bytes) {
            Ok(Some(file)) => files.push(file),
            // Created, and the process died before its header was on the disk: nothing was ever written to it.
            Ok(None) => {}
            Err(Header::Newer(format)) => {
                return Err(RecoveryError::Newer { file: name, message: format!("format {format}") });
            }
            Err(Header::Damaged) => {
                let message = "its header is damaged".to_owned();
                return Err(RecoveryError::Corrupt { file: name, position: 0, message });
            }
        }
    }
    Ok(files)
}

enum Header {
    Newer(u32),
    Damaged,
}

fn open_log(sequence: u64, bytes: &[u8]) -> Result<Option<LogFile<'_>>, Header> {
    let header = bytes.get(..FILE_HEADER_BYTES).unwrap_or(bytes);
    let whole = header.len() == FILE_HEADER_BYTES && header[..8] == MAGIC;
    if !whole
        || u32_at(header, FILE_CHECKSUM_AT) != crc32c::crc32c(&header[..FILE_CHECKSUM_AT])
        || u64_at(header, 16) != sequence
    {
        let is_unused = used(bytes.get(FILE_HEADER_BYTES..).unwrap_or_default()) == 0;
        return if is_unused { Ok(None) } else { Err(Header::Damaged) };
    }
    match u32_at(header, 8) {
        FORMAT => {
            Ok(Some(LogFile { sequence, salt: u64_at(header, 24), first_index: u64_at(header, 32), bytes }))
        }
        format => Err(Header::Newer(format)),
    }
}

/// Applies what the files hold beyond the snapshot.
fn replay(base: Image, files: &[LogFile<'_>]) -> Result<(Image, u64), RecoveryError> {
    let mut image = base;
    let mut replayed = 0;
    for (at, file) in files.iter().enumerate() {
        // What a later incarnation did not see when it began is not part of the log.
        let end = files[at + 1..].iter().map(|later| later.first_index).min().unwrap_or(u64::MAX);
        if file.first_index > image.version() + 1 {
            return Err(RecoveryError::Missing { from: image.version() + 1, to: file.first_index });
        }
        let mut index = file.first_index;
        let mut position = FILE_HEADER_BYTES;
        while index < end {
            match file.entry_at(position) {
                Some(entry) if entry.kind == ENTRY_VOUCH => position += entry.total_bytes,
                Some(entry) if entry.index == index => {
                    if index > image.version() {
                        let record = file.record(position, &entry)?;
                        image.apply(&record);
                        replayed += 1;
                    }
                    index += 1;
                    position += entry.total_bytes;
                }
                _ => {
                    file.expect_end(position, end)?;
                    break;
                }
            }
        }
    }
    Ok((image, replayed))
}

struct Entry<'a> {
    kind: u8,
    version: u8,
    index: u64,
    total_bytes: usize,
    payload: &'a [u8],
}

impl<'a> LogFile<'a> {
    /// The entry at a position, if there is a valid one.
    fn entry_at(&self, position: usize) -> Option<Entry<'a>> {
        let header = self.bytes.get(position..position + ENTRY_HEADER_BYTES)?;
        let length = u32_at(header, 4) as usize;
        // Cheap and telling, and almost always wrong where no entry begins: it goes before the checksum.
        if u64_at(header, 40) != self.salt {
            return None;
        }
        let payload = self.bytes.get(position + ENTRY_HEADER_BYTES..)?.get(..length)?;
        let crc = crc32c::crc32c_append(crc32c::crc32c(&header[4..]), payload);
        if crc != u32_at(header, 0) {
            return None;
        }
        Some(Entry {
            kind: header[8],
            version: header[9],
            index: u64_at(header, 24),
            total_bytes: padded(ENTRY_HEADER_BYTES + length),
            payload,
        })
    }

    fn record(&self, position: usize, entry: &Entry<'_>) -> Result<Record, RecoveryError> {
        let file = MetaFile::Log { sequence: self.sequence }.name();
        if entry.kind != ENTRY_RECORD || entry.version != 1 {
            let message = format!("entry kind {} version {}", entry.kind, entry.version);
            return Err(RecoveryError::Newer { file, message });
        }
        match Record::decode(entry.payload) {
            Ok((record, _)) => Ok(record),
            Err(error @ RecordError::Unknown { .. }) => {
                Err(RecoveryError::Newer { file, message: error.to_string() })
            }
            Err(error) => {
                let message = format!("entry {}: {error}", entry.index);
                Err(RecoveryError::Corrupt { file, position: position as u64, message })
            }
        }
    }

    /// No valid entry follows an invalid one, but for those that a later incarnation did not see (`index >= end`).
    fn expect_end(&self, position: usize, end: u64) -> Result<(), RecoveryError> {
        let later = (position + 8..used(self.bytes).saturating_sub(ENTRY_HEADER_BYTES))
            .step_by(8)
            .find(|at| self.entry_at(*at).is_some_and(|entry| entry.index < end));
        match later {
            None => Ok(()),
            Some(at) => Err(RecoveryError::Corrupt {
                file: MetaFile::Log { sequence: self.sequence }.name(),
                position: position as u64,
                message: format!("no valid entry here, and one at byte {at}"),
            }),
        }
    }
}

/// The log as it is written.
#[derive(Debug)]
pub struct MetaLog {
    next_op: u64,
    salt_base: u64,
    /// Log files that exist, with the index that each begins at.
    files: Vec<(u64, u64)>,
    active: Active,
    in_flight: Option<InFlight>,
    /// Encoded entries that wait for the write in flight.
    queued: Vec<u8>,
    appended: u64,
    /// All records up to this index are on stable storage.
    durable: u64,
    vouched: u64,
    snapshots: Vec<u64>,
    garbage: Vec<MetaFile>,
    snapshot_in_flight: Option<(MetaOpId, u64)>,
    bytes_since_snapshot: u64,
    /// None was taken since the start.
    is_without_snapshot: bool,
    removals: Vec<MetaOpId>,
}

#[derive(Debug)]
struct Active {
    sequence: u64,
    salt: u64,
    position: u64,
    size: u64,
}

#[derive(Debug)]
struct InFlight {
    id: MetaOpId,
    /// What is durable when it is done.
    covers: u64,
}

/// What the end of an operation means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// Nothing that anyone waits for.
    Nothing,
    /// Records up to this index are durable.
    Durable(u64),
}

impl MetaLog {
    /// The log behind what was recovered, in a new file. `salt` is random.
    pub fn open(recovered: &RecoveredMeta, salt: u64, ops: &mut Vec<MetaOp>) -> MetaLog {
        let version = recovered.image.version();
        let mut log = MetaLog {
            next_op: 0,
            salt_base: salt,
            files: recovered.logs.clone(),
            active: Active { sequence: recovered.last_sequence, salt: 0, position: 0, size: 0 },
            in_flight: None,
            queued: Vec::new(),
            appended: version,
            durable: version,
            vouched: version,
            snapshots: recovered.snapshots.clone(),
            garbage: recovered.garbage.clone(),
            snapshot_in_flight: None,
            bytes_since_snapshot: 0,
            is_without_snapshot: true,
            removals: Vec::new(),
        };
        log.create_file(version, FIRST_FILE_BYTES, ops);
        log
    }

    /// Index of the last record that was appended.
    pub fn appended(&self) -> u64 {
        self.appended
    }

    /// All records up to this index are on stable storage.
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// Bytes that wait for the write in flight.
    pub fn queued_bytes(&self) -> usize {
        self.queued.len()
    }

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_none()
            && self.queued.is_empty()
            && self.snapshot_in_flight.is_none()
            && self.removals.is_empty()
    }

    /// Adds a record and returns its index. It is on its way with the next `flush`.
    pub fn append(&mut self, record: &Record) -> u64 {
        self.appended += 1;
        let mut payload = Vec::new();
        record.encode(&mut payload);
        self.enqueue(ENTRY_RECORD, &payload);
        self.appended
    }

    /// Issues what is queued, unless a write is in flight: then it follows that one.
    pub fn flush(&mut self, ops: &mut Vec<MetaOp>) {
        if self.in_flight.is_some() || self.queued.is_empty() {
            return;
        }
        let needed = self.queued.len() as u64;
        if self.active.position + needed > self.active.size {
            self.create_file(self.durable, (FILE_HEADER_BYTES as u64 + needed).max(FILE_BYTES), ops);
            return;
        }
        // Salt, durable index and checksum belong to the file and the moment of the write.
        let mut bytes = std::mem::take(&mut self.queued);
        seal_entries(&mut bytes, self.active.salt, self.durable);
        let position = self.active.position;
        self.active.position += needed;
        self.bytes_since_snapshot += needed;
        let file = MetaFile::Log { sequence: self.active.sequence };
        let id = self.emit(MetaOpKind::Append { file, position, bytes: bytes.into() }, ops);
        self.in_flight = Some(InFlight { id, covers: self.appended });
    }

    /// The version that is durable once the operation in flight is done.
    pub fn in_flight_version(&self) -> Option<u64> {
        self.in_flight.as_ref().map(|in_flight| in_flight.covers)
    }

    /// Whether it is time for a snapshot: the first of every start bounds what the next start replays.
    pub fn wants_snapshot(&self) -> bool {
        self.snapshot_in_flight.is_none()
            && (self.is_without_snapshot || self.bytes_since_snapshot >= SNAPSHOT_LOG_BYTES)
    }

    /// Writes a snapshot of an image, all of which is durable.
    pub fn snapshot(&mut self, image: &Image, ops: &mut Vec<MetaOp>) {
        assert!(image.version() <= self.durable, "a snapshot holds only what the log keeps");
        assert!(self.snapshot_in_flight.is_none(), "one snapshot at a time");
        self.bytes_since_snapshot = 0;
        self.is_without_snapshot = false;
        let file = MetaFile::Snapshot { version: image.version() };
        let bytes = snapshot::encode(image).into();
        let id = self.emit(MetaOpKind::Replace { file, bytes }, ops);
        self.snapshot_in_flight = Some((id, image.version()));
    }

    /// Takes the end of an operation. An error is the end of the log: what was being written may or may not be there, and a
    /// flush that failed once says nothing the second time.
    pub fn complete(&mut self, done: MetaDone, ops: &mut Vec<MetaOp>) -> Result<Progress, String> {
        if let Some(at) = self.removals.iter().position(|id| *id == done.id) {
            self.removals.swap_remove(at);
            // A file too many is a matter of space, and the next start removes it.
            return Ok(Progress::Nothing);
        }
        done.result?;
        if self.snapshot_in_flight.is_some_and(|(id, _)| id == done.id) {
            let (_, version) = self.snapshot_in_flight.take().expect("just seen");
            self.snapshots.push(version);
            self.remove_old(ops);
            return Ok(Progress::Nothing);
        }
        let in_flight = self.in_flight.take();
        assert!(in_flight.as_ref().is_some_and(|f| f.id == done.id), "an operation ends once");
        let covers = in_flight.map_or(0, |f| f.covers);
        let news = covers > self.durable;
        self.durable = covers;
        if self.queued.is_empty() && self.vouched < self.durable {
            self.vouched = self.durable;
            self.enqueue(ENTRY_VOUCH, &[]);
        }
        self.flush(ops);
        Ok(if news { Progress::Durable(covers) } else { Progress::Nothing })
    }

    fn create_file(&mut self, last_index: u64, size: u64, ops: &mut Vec<MetaOp>) {
        let sequence = self.active.sequence + 1;
        let first_index = last_index + 1;
        // Files of one start differ in their salts too.
        let salt = self.salt_base.wrapping_add(sequence.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        self.active = Active { sequence, salt, position: FILE_HEADER_BYTES as u64, size };
        self.files.push((sequence, first_index));
        let head = file_header(sequence, salt, first_index);
        let id = self.emit(MetaOpKind::Create { file: MetaFile::Log { sequence }, head, size }, ops);
        self.in_flight = Some(InFlight { id, covers: self.durable });
    }

    fn enqueue(&mut self, kind: u8, payload: &[u8]) {
        let start = self.queued.len();
        self.queued.extend_from_slice(&[0; 4]);
        self.queued.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        self.queued.extend_from_slice(&[kind, 1, 0, 0, 0, 0, 0, 0]);
        self.queued.extend_from_slice(&TERM.to_le_bytes());
        self.queued.extend_from_slice(&self.appended.to_le_bytes());
        self.queued.extend_from_slice(&[0; 16]);
        self.queued.extend_from_slice(payload);
        self.queued.resize(start + padded(self.queued.len() - start), 0);
    }

    /// Keeps the two newest snapshots and the log since the older of them.
    fn remove_old(&mut self, ops: &mut Vec<MetaOp>) {
        for file in std::mem::take(&mut self.garbage) {
            // A damaged snapshot may just have been replaced by a good one of that very version.
            if !self.snapshots.iter().any(|version| file == MetaFile::Snapshot { version: *version }) {
                self.remove(file, ops);
            }
        }
        while self.snapshots.len() > SNAPSHOTS_KEPT {
            let version = self.snapshots.remove(0);
            self.remove(MetaFile::Snapshot { version }, ops);
        }
        if self.snapshots.len() < SNAPSHOTS_KEPT {
            return;
        }
        // A file is needed as long as the next one begins beyond the first index that the older snapshot lacks.
        let needed_from = self.snapshots[0] + 1;
        while self.files.len() > 1 && self.files[1].1 <= needed_from {
            let (sequence, _) = self.files.remove(0);
            self.remove(MetaFile::Log { sequence }, ops);
        }
    }

    fn remove(&mut self, file: MetaFile, ops: &mut Vec<MetaOp>) {
        let id = self.emit(MetaOpKind::Remove { file }, ops);
        self.removals.push(id);
    }

    fn emit(&mut self, kind: MetaOpKind, ops: &mut Vec<MetaOp>) -> MetaOpId {
        self.next_op += 1;
        let id = MetaOpId(self.next_op);
        ops.push(MetaOp { id, kind });
        id
    }
}

fn file_header(sequence: u64, salt: u64, first_index: u64) -> Bytes {
    let mut head = Vec::with_capacity(FILE_HEADER_BYTES);
    head.extend_from_slice(&MAGIC);
    head.extend_from_slice(&FORMAT.to_le_bytes());
    head.extend_from_slice(&[0; 4]);
    head.extend_from_slice(&sequence.to_le_bytes());
    head.extend_from_slice(&salt.to_le_bytes());
    head.extend_from_slice(&first_index.to_le_bytes());
    head.resize(FILE_CHECKSUM_AT, 0);
    let crc = crc32c::crc32c(&head);
    head.extend_from_slice(&crc.to_le_bytes());
    head.into()
}

fn seal_entries(bytes: &mut [u8], salt: u64, durable: u64) {
    let mut at = 0;
    while at < bytes.len() {
        let length = u32_at(&bytes[at..], 4) as usize;
        let end = at + ENTRY_HEADER_BYTES + length;
        bytes[at + 32..at + 40].copy_from_slice(&durable.to_le_bytes());
        bytes[at + 40..at + 48].copy_from_slice(&salt.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[at + 4..end]);
        bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
        at += padded(ENTRY_HEADER_BYTES + length);
    }
}

/// How far the bytes go before nothing but zeros follows, rounded up. A log file is zeros for the most part.
fn used(bytes: &[u8]) -> usize {
    const PIECE: usize = 4096;
    let last = bytes.chunks(PIECE).rposition(|piece| piece != &[0; PIECE][..piece.len()]);
    last.map_or(0, |at| ((at + 1) * PIECE).min(bytes.len()))
}

fn padded(length: usize) -> usize {
    length.next_multiple_of(8)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

const _: () = assert!(PAYLOAD_BYTES_MAX < u32::MAX as usize, "a length is a u32");

#[cfg(test)]
mod tests;
