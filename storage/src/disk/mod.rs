//! The disk: data directories, and the executor of [`Op`](crate::op::Op)s on glommio. The only part of this crate
//! that knows files, threads and a runtime.
//!
//! Blocks of the WAL and of segments are made ready here and written by the ring of their shard, with O_DIRECT.
//! Everything else is an executor's: the first blocks of a segment are written by glommio, and all that may block
//! otherwise (making, preparing, renaming, removing, reading through the page cache) runs on its helper threads, a
//! bounded number at a time, so a shard never waits for a disk.

#![allow(unsafe_code, reason = "aligned memory and a few system calls; each use is proven where it stands")]
#![allow(clippy::disallowed_methods, reason = "files and clocks belong here")]

mod aligned;
mod block_writer;
mod directory;
mod executor;
mod files;
mod probe;
mod reader;
mod recovery_source;
mod small_files;
#[cfg(test)]
mod test_directory;
mod writer;

pub use aligned::{ALIGNMENT, AlignedBuffer};
pub use block_writer::{BlockWrite, BlockWriter};
pub use directory::{
    DataDirectory, DirectoryError, DirectoryOptions, FORMAT, Identity, drop_cached, probe_writing, space,
};
pub use executor::{Disk, SyncMethod};
pub use probe::{ProbeReport, probe};
pub use recovery_source::DirectorySource;

use crate::op::{DiskError, DiskErrorKind};

/// What went wrong with which file.
fn disk_error(file: &impl std::fmt::Display, error: std::io::Error) -> DiskError {
    use std::io::ErrorKind;
    let kind = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => DiskErrorKind::NoSpace,
        ErrorKind::NotFound => DiskErrorKind::NotFound,
        ErrorKind::UnexpectedEof | ErrorKind::InvalidData => DiskErrorKind::Corrupt,
        _ => DiskErrorKind::Io,
    };
    DiskError::new(kind, format!("{file}: {error}"))
}
