//! Prepares WAL files, and writes segment chunks: gathered into aligned memory, by direct I/O.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use glommio::io::DmaFile;

use super::aligned::AlignedBuffer;
use super::directory::sync_directory;
use super::disk_error;
use super::executor::Disk;
use super::small_files::make_directory;
use crate::op::{BLOCK_BYTES, DiskError, FileName};

/// The largest single write: what does not fit becomes several.
const WRITE_BYTES_MAX: usize = 1 << 20;

pub(super) async fn prepare_wal(
    disk: &Disk,
    name: FileName,
    bytes: u64,
    recycle: Option<FileName>,
) -> Result<(), DiskError> {
    assert!(bytes > 0 && bytes.is_multiple_of(BLOCK_BYTES), "a WAL file is made of whole blocks");
    let root = disk.root.clone();
    let path = disk.path(&name);
    let old = recycle.map(|file| disk.path(&file));
    let direct_io = disk.direct_io;
    disk.files.forget(|file| Some(*file) == recycle);
    disk.help(move || {
        let folder = path.parent().expect("a WAL file has a folder");
        match old {
            Some(old) => fs::rename(old, &path)?,
            None => {
                make_directory(&root, folder)?;
                fill_with_zeros(&path, bytes, direct_io)?;
            }
        }
        sync_directory(folder)
    })
    .await
    .map_err(|error| disk_error(&name, error))
}

/// Blocks that were written once are overwritten in half the time that merely allocated ones take.
fn fill_with_zeros(path: &Path, bytes: u64, direct_io: bool) -> io::Result<()> {
    let flags = if direct_io { libc::O_DIRECT } else { 0 };
    let file = OpenOptions::new().write(true).create(true).truncate(true).custom_flags(flags).open(path)?;
    let zeros = AlignedBuffer::zeroed(WRITE_BYTES_MAX);
    let mut position = 0;
    while position < bytes {
        let length = (bytes - position).min(WRITE_BYTES_MAX as u64) as usize;
        file.write_all_at(&zeros.as_slice()[..length], position)?;
        position += length as u64;
    }
    file.sync_all()
}

pub(super) async fn write_segment(
    disk: &Disk,
    name: FileName,
    position: u64,
    parts: Vec<Bytes>,
) -> Result<(), DiskError> {
    if !disk.direct_io {
        let file = disk.open(name, true).await?;
        return write_buffered(disk, name, file, position, parts).await;
    }
    let file = disk.open_direct(name, true).await?;
    write_direct(&name, &file, position, &parts).await
}

pub(super) async fn sync_segments(disk: &Disk, names: Vec<FileName>) -> Result<(), DiskError> {
    for name in names {
        let file = disk.open(name, false).await?;
        disk.help(move || file.sync_data()).await.map_err(|error| disk_error(&name, error))?;
    }
    Ok(())
}

pub(super) async fn seal_segment(disk: &Disk, name: FileName, length: u64) -> Result<(), DiskError> {
    let file = disk.open(name, false).await?;
    disk.help(move || file.set_len(length).and_then(|()| file.sync_data()))
        .await
        .map_err(|error| disk_error(&name, error))
}

async fn write_direct(
    name: &FileName,
    file: &DmaFile,
    position: u64,
    parts: &[Bytes],
) -> Result<(), DiskError> {
    let total: usize = parts.iter().map(Bytes::len).sum();
    assert!(
        total.is_multiple_of(BLOCK_BYTES as usize) && position.is_multiple_of(BLOCK_BYTES),
        "a direct write is made of whole blocks"
    );
    let mut source = Gather { parts: parts.iter(), rest: &[] };
    let mut written = 0;
    while written < total {
        let length = (total - written).min(WRITE_BYTES_MAX);
        let mut buffer = file.alloc_dma_buffer(length);
        source.fill(&mut buffer.as_bytes_mut()[..length]);
        let done = file
            .write_at(buffer, position + written as u64)
            .await
            .map_err(|error| disk_error(name, error.into()))?;
        if done != length {
            // A device writes all or fails; what cuts a write short is the end of the space.
            return Err(disk_error(name, io::ErrorKind::StorageFull.into()));
        }
        written += length;
    }
    Ok(())
}

async fn write_buffered(
    disk: &Disk,
    name: FileName,
    file: Arc<File>,
    position: u64,
    parts: Vec<Bytes>,
) -> Result<(), DiskError> {
    disk.help(move || {
        let mut position = position;
        for part in &parts {
            file.write_all_at(part, position)?;
            position += part.len() as u64;
        }
        Ok(())
    })
    .await
    .map_err(|error| disk_error(&name, error))
}

/// Copies parts that lie anywhere to where they lie back to back.
struct Gather<'a> {
    parts: std::slice::Iter<'a, Bytes>,
    rest: &'a [u8],
}

impl Gather<'_> {
    fn fill(&mut self, mut into: &mut [u8]) {
        while !into.is_empty() {
            while self.rest.is_empty() {
                self.rest = self.parts.next().expect("the parts are as long as their sum");
            }
            let length = self.rest.len().min(into.len());
            into[..length].copy_from_slice(&self.rest[..length]);
            self.rest = &self.rest[length..];
            into = &mut into[length..];
        }
    }
}
