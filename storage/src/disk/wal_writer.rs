//! Makes WAL blocks ready for the ring of their shard: an open file, and the block's parts gathered into aligned
//! memory. The write itself, and the flush behind it, are two linked entries of that ring, so that a commit window
//! costs one system call and no other thread has to run before its records are durable.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::aligned::AlignedBuffer;
use super::directory::DataDirectory;
use super::disk_error;
use super::executor::SyncMethod;
use crate::op::{BLOCK_BYTES, DiskError, FileName};

/// The smallest buffer: most windows fit, so most buffers can be used again.
const BUFFER_BYTES: usize = 64 << 10;

/// Larger buffers than this go back to the system at once.
const SPARE_BYTES_MAX: usize = 1 << 20;

/// Buffers kept for the next windows.
const SPARES_MAX: usize = 2;

/// The WAL files of one shard, as far as they are being written.
pub struct WalWriter {
    root: PathBuf,
    direct_io: bool,
    sync_method: SyncMethod,
    /// The file that the last block went to.
    open: Option<(FileName, Arc<File>)>,
    spares: Vec<AlignedBuffer>,
}

/// One write to be carried out, whole, and to be flushed after that if [`WalWrite::flush`] says so. Hand it back to
/// [`WalWriter::finish`] when both are done.
pub struct WalWrite {
    name: FileName,
    file: Arc<File>,
    position: u64,
    length: usize,
    buffer: AlignedBuffer,
    flush: bool,
}

impl WalWriter {
    /// For a shard of this directory.
    pub fn new(directory: &DataDirectory, sync_method: SyncMethod) -> WalWriter {
        WalWriter {
            root: directory.root().to_path_buf(),
            direct_io: directory.direct_io(),
            sync_method,
            open: None,
            spares: Vec::new(),
        }
    }

    /// Opens the file if the last block went to another one, and gathers the parts, whose sum is whole blocks.
    pub fn prepare(
        &mut self,
        name: FileName,
        position: u64,
        parts: &[Bytes],
        flush: bool,
    ) -> Result<WalWrite, DiskError> {
        let length: usize = parts.iter().map(Bytes::len).sum();
        assert!(
            length > 0 && length.is_multiple_of(BLOCK_BYTES as usize) && position.is_multiple_of(BLOCK_BYTES),
            "a direct write is made of whole blocks"
        );
        let file = self.open(name).map_err(|error| disk_error(&name, error))?;
        let mut buffer = self.buffer(length);
        let mut into = &mut buffer.as_mut_slice()[..length];
        for part in parts {
            let (here, rest) = into.split_at_mut(part.len());
            here.copy_from_slice(part);
            into = rest;
        }
        let flush = flush && self.sync_method == SyncMethod::Fdatasync;
        Ok(WalWrite { name, file, position, length, buffer, flush })
    }

    /// Says how a write ended, and takes its buffer back.
    pub fn finish(
        &mut self,
        write: WalWrite,
        written: io::Result<usize>,
        flushed: io::Result<()>,
    ) -> Result<(), DiskError> {
        let WalWrite { name, length, buffer, .. } = write;
        if buffer.as_slice().len() <= SPARE_BYTES_MAX && self.spares.len() < SPARES_MAX {
            self.spares.push(buffer);
        }
        match written {
            Err(error) => Err(disk_error(&name, error)),
            // A device writes all or fails; what cuts a write short is the end of the space.
            Ok(count) if count < length => Err(disk_error(&name, io::ErrorKind::StorageFull.into())),
            Ok(_) => flushed.map_err(|error| disk_error(&name, error)),
        }
    }

    fn open(&mut self, name: FileName) -> io::Result<Arc<File>> {
        if let Some((open, file)) = &self.open
            && *open == name
        {
            return Ok(file.clone());
        }
        let mut flags = if self.direct_io { libc::O_DIRECT } else { 0 };
        if self.sync_method == SyncMethod::Dsync {
            flags |= libc::O_DSYNC;
        }
        let file = OpenOptions::new().write(true).custom_flags(flags).open(self.root.join(name.path()))?;
        let file = Arc::new(file);
        self.open = Some((name, file.clone()));
        Ok(file)
    }

    fn buffer(&mut self, length: usize) -> AlignedBuffer {
        match self.spares.iter().position(|spare| spare.as_slice().len() >= length) {
            Some(place) => self.spares.swap_remove(place),
            None => AlignedBuffer::zeroed(length.next_power_of_two().max(BUFFER_BYTES)),
        }
    }
}

impl WalWrite {
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

    /// Carries the write out on the calling thread, which waits for the disk.
    pub fn perform(&self) -> (io::Result<usize>, io::Result<()>) {
        let written = self.file.write_all_at(self.bytes(), self.position).map(|()| self.length);
        let flushed = if self.flush && written.is_ok() { self.file.sync_data() } else { Ok(()) };
        (written, flushed)
    }
}
