//! Makes blocks of the WAL and of segments ready for the ring of their shard: an open file, and the block's parts
//! gathered into aligned memory. The write itself, and the flush behind it, are two linked entries of that ring, so that
//! a commit window costs one system call and no other thread has to run before its records are durable.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::aligned::{AlignedBuffer, direct_length, gather};
use super::directory::DataDirectory;
use super::disk_error;
use super::executor::SyncMethod;
use crate::op::{DiskError, FileName, OpKind};

/// The smallest buffer: most windows fit, so most buffers can be used again.
const BUFFER_BYTES: usize = 64 << 10;

/// What is kept of buffers for the next blocks, bytes.
const SPARE_BYTES_MAX: usize = 8 << 20;

/// Files that are kept open to be written, per shard.
const FILES_MAX: usize = 64;

/// The files of one shard that blocks are being written to.
pub struct BlockWriter {
    root: PathBuf,
    pub(super) direct_io: bool,
    sync_method: SyncMethod,
    open: BTreeMap<FileName, OpenFile>,
    uses: u64,
    uses_at_last_sweep: u64,
    spares: Vec<AlignedBuffer>,
    spare_bytes: usize,
}

struct OpenFile {
    file: Arc<File>,
    last_use: u64,
}

/// One write to be carried out, whole, and to be flushed after that if [`BlockWrite::flush`] says so. Hand it back to
/// [`BlockWriter::finish`] when both are done.
pub struct BlockWrite {
    name: FileName,
    file: Arc<File>,
    position: u64,
    length: usize,
    buffer: AlignedBuffer,
    flush: bool,
}

impl BlockWriter {
    /// For a shard of this directory.
    pub fn new(directory: &DataDirectory, sync_method: SyncMethod) -> BlockWriter {
        BlockWriter {
            root: directory.root().to_path_buf(),
            direct_io: directory.direct_io(),
            sync_method,
            open: BTreeMap::new(),
            uses: 0,
            uses_at_last_sweep: 0,
            spares: Vec::new(),
            spare_bytes: 0,
        }
    }

    /// A block of the WAL: opens the file if it is not open, and gathers the parts, whose sum is whole blocks.
    pub fn prepare_wal(
        &mut self,
        name: FileName,
        position: u64,
        parts: &[Bytes],
        flush: bool,
    ) -> Result<BlockWrite, DiskError> {
        let flush = flush && self.sync_method == SyncMethod::Fdatasync;
        let file = self.open(name).map_err(|error| disk_error(&name, error))?;
        Ok(self.gather(name, file, position, parts, flush))
    }

    /// Blocks of a segment, in the same way. None if that is a [`Disk`](super::Disk)'s: the segment is new, so that its
    /// name is to be made durable, or the page cache takes the bytes as they are.
    pub fn prepare_segment(
        &mut self,
        name: FileName,
        position: u64,
        parts: &[Bytes],
        flush: bool,
    ) -> Result<Option<BlockWrite>, DiskError> {
        if position == 0 || !self.direct_io {
            return Ok(None);
        }
        match self.open(name) {
            Ok(file) => Ok(Some(self.gather(name, file, position, parts, flush))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(disk_error(&name, error)),
        }
    }

    /// Says how a write ended, and takes its buffer back.
    pub fn finish(
        &mut self,
        write: BlockWrite,
        written: io::Result<usize>,
        flushed: io::Result<()>,
    ) -> Result<(), DiskError> {
        let BlockWrite { name, length, buffer, .. } = write;
        let bytes = buffer.as_slice().len();
        if self.spare_bytes + bytes <= SPARE_BYTES_MAX {
            self.spare_bytes += bytes;
            self.spares.push(buffer);
        }
        match written {
            Err(error) => Err(disk_error(&name, error)),
            // A device writes all or fails; what cuts a write short is the end of the space.
            Ok(count) if count < length => Err(disk_error(&name, io::ErrorKind::StorageFull.into())),
            Ok(_) => flushed.map_err(|error| disk_error(&name, error)),
        }
    }

    /// Closes the files that an operation is about to end, rename or remove. Their names may come again.
    pub fn forget_files_of(&mut self, kind: &OpKind) {
        match kind {
            OpKind::SealSegment { file, .. } | OpKind::PrepareWal { recycle: Some(file), .. } => {
                self.open.remove(file);
            }
            OpKind::Remove { files } => files.iter().for_each(|file| {
                self.open.remove(file);
            }),
            OpKind::RemovePartition { partition } => {
                self.open.retain(|name, _| !matches!(name, FileName::Segment { partition: other, .. } if other == partition));
            }
            _ => {}
        }
    }

    /// Gives back what was not used since the last call.
    pub fn close_idle(&mut self) {
        let since = std::mem::replace(&mut self.uses_at_last_sweep, self.uses);
        self.open.retain(|_, file| file.last_use > since);
        if self.uses == since {
            self.spares.clear();
            self.spare_bytes = 0;
        }
    }

    fn gather(
        &mut self,
        name: FileName,
        file: Arc<File>,
        position: u64,
        parts: &[Bytes],
        flush: bool,
    ) -> BlockWrite {
        let length = direct_length(position, parts);
        let mut buffer = self.buffer(length);
        gather(parts, &mut buffer.as_mut_slice()[..length]);
        BlockWrite { name, file, position, length, buffer, flush }
    }

    fn open(&mut self, name: FileName) -> io::Result<Arc<File>> {
        self.uses += 1;
        if let Some(open) = self.open.get_mut(&name) {
            open.last_use = self.uses;
            return Ok(open.file.clone());
        }
        let mut flags = if self.direct_io { libc::O_DIRECT } else { 0 };
        if self.sync_method == SyncMethod::Dsync && matches!(name, FileName::Wal { .. }) {
            flags |= libc::O_DSYNC;
        }
        let file = OpenOptions::new().write(true).custom_flags(flags).open(self.root.join(name.path()))?;
        let file = Arc::new(file);
        if self.open.len() >= FILES_MAX {
            let oldest = self.open.iter().min_by_key(|(_, open)| open.last_use).map(|(name, _)| *name);
            self.open.remove(&oldest.expect("a full cache has an oldest entry"));
        }
        self.open.insert(name, OpenFile { file: file.clone(), last_use: self.uses });
        Ok(file)
    }

    /// The smallest of the spare buffers that is large enough, else a new one.
    fn buffer(&mut self, length: usize) -> AlignedBuffer {
        let large_enough =
            self.spares.iter().enumerate().filter(|(_, spare)| spare.as_slice().len() >= length);
        let best = large_enough.min_by_key(|(_, spare)| spare.as_slice().len()).map(|(place, _)| place);
        match best {
            Some(place) => {
                let buffer = self.spares.swap_remove(place);
                self.spare_bytes -= buffer.as_slice().len();
                buffer
            }
            None => AlignedBuffer::zeroed(length.next_power_of_two().max(BUFFER_BYTES)),
        }
    }
}

impl BlockWrite {
    /// The file. It stays open as long as `self` lives.
    pub fn descriptor(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Where the bytes go.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The bytes. They stay where they are as long as `self` lives, wherever `self` is moved.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer.as_slice()[..self.length]
    }

    /// Whether `fdatasync` must follow before the block is durable.
    pub fn flush(&self) -> bool {
        self.flush
    }

    /// Whether it is a block of the WAL.
    pub fn is_wal(&self) -> bool {
        matches!(self.name, FileName::Wal { .. })
    }

    /// Carries the write out on the calling thread, which waits for the disk.
    pub fn perform(&self) -> (io::Result<usize>, io::Result<()>) {
        let written = self.file.write_all_at(self.bytes(), self.position).map(|()| self.length);
        let flushed = if self.flush && written.is_ok() { self.file.sync_data() } else { Ok(()) };
        (written, flushed)
    }
}
