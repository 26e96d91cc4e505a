//! Prepares WAL files, and writes segment chunks: gathered into aligned memory, by direct I/O.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use glommio::io::DmaFile;

use super::aligned::{AlignedBuffer, direct_length, gather};
use super::directory::{make_directory, sync_directory};
use super::disk_error;
use super::files::Files;
use crate::op::{BLOCK_BYTES, DiskError, FileName};

/// Zeros that are written at once.
const ZEROS_BYTES: usize = 1 << 20;

pub(super) async fn prepare_wal(
    disk: &Files,
    name: FileName,
    bytes: u64,
    recycle: Option<FileName>,
) -> Result<(), DiskError> {
    assert!(bytes > 0 && bytes.is_multiple_of(BLOCK_BYTES), "a WAL file is made of whole blocks");
    let root = disk.root.clone();
    let path = disk.path(&name);
    let old = recycle.map(|file| disk.path(&file));
    let direct_io = disk.direct_io;
    disk.forget(|file| Some(*file) == recycle);
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
    let zeros = AlignedBuffer::zeroed(ZEROS_BYTES);
    let mut position = 0;
    while position < bytes {
        let length = (bytes - position).min(ZEROS_BYTES as u64) as usize;
        file.write_all_at(&zeros.as_slice()[..length], position)?;
        position += length as u64;
    }
    file.sync_all()
}

pub(super) async fn write_segment(
    disk: &Files,
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

pub(super) async fn sync_segments(disk: &Files, names: Vec<FileName>) -> Result<(), DiskError> {
    for name in names {
        let file = disk.open(name, false).await?;
        disk.help(move || file.sync_data()).await.map_err(|error| disk_error(&name, error))?;
    }
    Ok(())
}

pub(super) async fn seal_segment(disk: &Files, name: FileName, length: u64) -> Result<(), DiskError> {
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
    let length = direct_length(position, parts);
    let mut buffer = file.alloc_dma_buffer(length);
    gather(parts, &mut buffer.as_bytes_mut()[..length]);
    match file.write_at(buffer, position).await {
        Ok(written) if written == length => Ok(()),
        // A device writes all or fails; what cuts a write short is the end of the space.
        Ok(_) => Err(disk_error(name, io::ErrorKind::StorageFull.into())),
        Err(error) => Err(disk_error(name, error.into())),
    }
}

async fn write_buffered(
    disk: &Files,
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
