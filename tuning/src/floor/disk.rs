//! Writes that are made durable, by size and by method, through plain system calls and through io_uring: the broker
//! takes the latter, and on busy cores the two differ.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use io_uring::{IoUring, opcode, types};

use super::figures::{Kind, Method};
use super::{Figures, Line, Load, pin};

/// The file that is written to, over and over, from one end to the other.
const FILE_BYTES: u64 = 16 << 20;

/// A header and some records; a turn of a busy shard; a large batch.
const SIZES: [usize; 3] = [4 << 10, 16 << 10, 64 << 10];

/// The largest of them.
const BUFFER_BYTES: usize = 64 << 10;

/// Measurements under one load.
pub(super) const CELLS: usize = SIZES.len() * METHODS.len() + 1;

const METHODS: [Method; 4] = [Method::Fdatasync, Method::Dsync, Method::UringFdatasync, Method::UringDsync];

/// What a file is opened with for a method.
fn flags(method: Method) -> i32 {
    match method {
        Method::Fdatasync | Method::UringFdatasync => libc::O_DIRECT,
        Method::Dsync | Method::UringDsync => libc::O_DIRECT | libc::O_DSYNC,
    }
}

/// What O_DIRECT writes from.
#[repr(C, align(4096))]
struct Buffer([u8; BUFFER_BYTES]);

/// A file of our own in the data directory; removed when dropped.
pub(super) struct Target {
    path: PathBuf,
}

impl Target {
    pub(super) fn make(directory: &Path) -> Result<Target, String> {
        let target = Target { path: directory.join(format!("monedula-tune.floor.{}", std::process::id())) };
        target.fill().map_err(|error| {
            format!(
                "--data {}: {error}: name an existing directory on a file system with O_DIRECT (xfs, ext4) that this \
                 user may write to and that has 16 MiB free",
                directory.display()
            )
        })?;
        Ok(target)
    }

    /// Writes every block once, so that none is allocated while it is measured.
    fn fill(&self) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).custom_flags(libc::O_DIRECT).open(&self.path)?;
        let buffer = Box::new(Buffer([0; BUFFER_BYTES]));
        (0..FILE_BYTES / BUFFER_BYTES as u64)
            .try_for_each(|index| file.write_all_at(&buffer.0, index * BUFFER_BYTES as u64))?;
        file.sync_all()
    }

    /// All sizes and methods, from one core.
    pub(super) fn measure(&self, core: usize, load: Load, each: Duration) -> Result<Vec<Line>, String> {
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                pin(core)?;
                let wrong = |error: io::Error| format!("{}: {error}", self.path.display());
                let mut lines = vec![self.unflushed(load, each).map_err(wrong)?];
                for size in SIZES {
                    for method in METHODS {
                        lines.push(self.durable(method, size, load, each).map_err(wrong)?);
                    }
                }
                Ok(lines)
            });
            worker.join().expect("measurements do not panic")
        })
    }

    fn open(&self, flags: i32) -> io::Result<File> {
        OpenOptions::new().write(true).custom_flags(flags).open(&self.path)
    }

    fn unflushed(&self, load: Load, each: Duration) -> io::Result<Line> {
        let file = self.open(libc::O_DIRECT)?;
        repeat(Kind::DiskUnflushed, SIZES[0], load, each, |buffer, position| {
            file.write_all_at(buffer, position)
        })
    }

    fn durable(&self, method: Method, size: usize, load: Load, each: Duration) -> io::Result<Line> {
        let file = self.open(flags(method))?;
        let kind = Kind::Disk(method);
        match method {
            Method::Dsync => {
                repeat(kind, size, load, each, |buffer, position| file.write_all_at(buffer, position))
            }
            Method::Fdatasync => repeat(kind, size, load, each, |buffer, position| {
                file.write_all_at(buffer, position)?;
                file.sync_data()
            }),
            Method::UringDsync => {
                let mut ring = new_ring()?;
                repeat(kind, size, load, each, |buffer, position| {
                    uring_write(&mut ring, &file, buffer, position)
                })
            }
            Method::UringFdatasync => {
                let mut ring = new_ring()?;
                repeat(kind, size, load, each, |buffer, position| {
                    uring_write(&mut ring, &file, buffer, position)?;
                    let fsync = opcode::Fsync::new(types::Fd(file.as_raw_fd()))
                        .flags(types::FsyncFlags::DATASYNC)
                        .build();
                    uring_do(&mut ring, &fsync).map(|_| ())
                })
            }
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            eprintln!("monedula-tune: {} stays behind: {error}: remove it", self.path.display());
        }
    }
}

/// Repeats a write for a while, from one end of the file to the other and again.
fn repeat(
    kind: Kind,
    size: usize,
    load: Load,
    each: Duration,
    mut write: impl FnMut(&[u8], u64) -> io::Result<()>,
) -> io::Result<Line> {
    let buffer = Box::new(Buffer([0x5a; BUFFER_BYTES]));
    let mut figures = Figures::default();
    let mut position = 0;
    let start = Instant::now();
    loop {
        let before = Instant::now();
        write(&buffer.0[..size], position)?;
        figures.record(before.elapsed());
        position = (position + size as u64) % FILE_BYTES;
        if start.elapsed() >= each {
            let place = format!("{} KiB", size >> 10);
            return Ok(Line { kind, place, load, lasted: start.elapsed(), figures });
        }
    }
}

/// io_uring may be refused; that is said in words, with who can tell more.
fn new_ring() -> io::Result<IoUring> {
    IoUring::new(2).map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("io_uring cannot be used ({error}): `monedula-tune check` says who refuses it"),
        )
    })
}

fn uring_write(ring: &mut IoUring, file: &File, buffer: &[u8], position: u64) -> io::Result<()> {
    let write = opcode::Write::new(types::Fd(file.as_raw_fd()), buffer.as_ptr(), buffer.len() as u32)
        .offset(position)
        .build();
    match uring_do(ring, &write)? {
        written if written as usize == buffer.len() => Ok(()),
        written => Err(io::Error::other(format!("{written} of {} bytes were written", buffer.len()))),
    }
}

/// Does one thing and waits until it is done.
fn uring_do(ring: &mut IoUring, entry: &io_uring::squeue::Entry) -> io::Result<u32> {
    // SAFETY: what the entry points to, a borrowed buffer and an open file, is there when the kernel takes it up, and
    // this returns when the kernel has answered. Should io_uring_enter fail for good with the write in flight, the kernel
    // would still only read from the buffer's pages, which it holds itself, into a file that is thrown away.
    unsafe { ring.submission().push(entry) }.map_err(|_| io::Error::other("the ring is full"))?;
    loop {
        match ring.submit_and_wait(1) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        if let Some(answer) = ring.completion().next() {
            return match answer.result() {
                error if error < 0 => Err(io::Error::from_raw_os_error(-error)),
                done => Ok(done as u32),
            };
        }
    }
}
