//! Reads through the page cache, on helper threads.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use bytes::Bytes;

use super::disk_error;
use super::files::Files;
use crate::locate::{LocateStep, LocateWalk};
use crate::op::{DiskError, FileSlice, LocateOp, LocatedRange};

pub(super) async fn read_bytes(disk: &Files, slice: FileSlice) -> Result<Bytes, DiskError> {
    let file = disk.open_for_read(&slice.file).await?;
    disk.help(move || read_up_to(&file, slice.position, slice.length as usize))
        .await
        .map_err(|error| disk_error(&slice.file, error))
}

pub(super) async fn locate(disk: &Files, op: LocateOp) -> Result<LocatedRange, DiskError> {
    let file = disk.open_for_read(&op.file).await?;
    disk.help(move || {
        let mut walk = LocateWalk::new(&op);
        loop {
            match walk.step() {
                LocateStep::Read { position, length } => {
                    let window =
                        read_up_to(&file, position, length).map_err(|error| disk_error(&op.file, error))?;
                    walk.feed(&window);
                }
                LocateStep::Done(result) => return result,
            }
        }
    })
    .await
}

/// Reads a range; shorter only at the end of the file.
pub(super) fn read_up_to(file: &File, position: u64, length: usize) -> io::Result<Bytes> {
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match file.read_at(&mut bytes[filled..], position + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(Bytes::from(bytes))
}
