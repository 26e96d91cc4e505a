//! Sends file ranges to sockets.
//!
//! `sendfile(2)` copies nothing in user space, but waits for the disk when pages are not in the page cache. So the
//! shard calls it only for ranges that are known to be there, and a helper thread does for the others; at most
//! [`HELPED_SENDS_MAX`] at a time, so that they leave helpers to the disk. The socket does not block, so neither waits
//! for a slow reader: the shard does, and is told when there is room again.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::sync::Arc;

use glommio::sync::Semaphore;
use net::connection::Ticket;
use net::socket::{FrameWriter, SendFileRange};

/// Helper threads that one shard's sends take at a time.
const HELPED_SENDS_MAX: u64 = 2;

/// What the shard sends in one call from the page cache, bytes: it takes less than 0.1 ms.
const RESIDENT_BYTES: usize = 256 << 10;

/// What a helper sends in one call at the most, bytes.
const HELPED_BYTES: usize = 4 << 20;

/// A piece of the reading method, bytes.
const READ_BYTES: usize = 1 << 20;

/// Pieces that the reading method reads ahead.
const READS_AHEAD: usize = 4;

/// How file ranges leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FetchMethod {
    /// `sendfile(2)` from the page cache.
    Sendfile,
    /// Read into memory by helper threads, ahead of the socket, and written from there.
    Read,
}

/// Sends file ranges for the connections of one shard.
pub struct FileSender {
    method: FetchMethod,
    helpers: Semaphore,
}

/// The ranges of some responses: where `length` bytes begin, by response and slot.
pub struct Ranges {
    sender: Rc<FileSender>,
    ranges: BTreeMap<(Ticket, u32), (Arc<File>, u64)>,
}

impl FileSender {
    /// For one shard.
    pub fn new(method: FetchMethod) -> Rc<FileSender> {
        Rc::new(FileSender { method, helpers: Semaphore::new(HELPED_SENDS_MAX) })
    }

    /// Sends these.
    pub fn for_ranges(self: &Rc<Self>, ranges: BTreeMap<(Ticket, u32), (Arc<File>, u64)>) -> Ranges {
        Ranges { sender: self.clone(), ranges }
    }

    async fn send(
        &self,
        writer: &mut FrameWriter,
        file: Arc<File>,
        position: u64,
        length: usize,
    ) -> io::Result<()> {
        let socket = writer.descriptor()?;
        let mut sent = 0;
        while sent < length {
            let from = position + sent as u64;
            let resident = RESIDENT_BYTES.min(length - sent);
            let result = if is_resident(&file, from, resident) {
                let result = send_file(&socket, &file, from, resident);
                glommio::yield_if_needed().await;
                result
            } else {
                // The semaphore is never closed: it lives as long as the sender that this borrows.
                let _turn = self.helpers.acquire_permit(1).await.expect("the semaphore is there");
                let (socket, file, length) = (socket.clone(), file.clone(), HELPED_BYTES.min(length - sent));
                glommio::executor().spawn_blocking(move || send_file(&socket, &file, from, length)).await
            };
            match result {
                Ok(0) => return Err(io::Error::other("a segment is shorter than its index says")),
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => writer.writable().await?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn read_and_write(
        &self,
        writer: &mut FrameWriter,
        file: Arc<File>,
        position: u64,
        length: usize,
    ) -> io::Result<()> {
        let mut starts = (0..length).step_by(READ_BYTES);
        let mut ahead = VecDeque::new();
        loop {
            while ahead.len() < READS_AHEAD
                && let Some(start) = starts.next()
            {
                let (file, length) = (file.clone(), READ_BYTES.min(length - start));
                let from = position + start as u64;
                ahead.push_back(glommio::spawn_local(async move {
                    glommio::executor()
                        .spawn_blocking(move || {
                            let mut piece = vec![0; length];
                            file.read_exact_at(&mut piece, from).map(|()| piece)
                        })
                        .await
                }));
            }
            match ahead.pop_front() {
                None => return Ok(()),
                Some(piece) => writer.write_all(&piece.await?).await?,
            }
        }
    }
}

impl SendFileRange for Ranges {
    async fn send_file_range(
        &mut self,
        writer: &mut FrameWriter,
        ticket: Ticket,
        slot: u32,
        length: u32,
    ) -> io::Result<()> {
        let (file, position) = self
            .ranges
            .remove(&(ticket, slot))
            .expect("a response names ranges that came with it, each once");
        match self.sender.method {
            FetchMethod::Sendfile => self.sender.send(writer, file, position, length as usize).await,
            FetchMethod::Read => self.sender.read_and_write(writer, file, position, length as usize).await,
        }
    }
}

fn send_file(socket: &OwnedFd, file: &File, position: u64, length: usize) -> io::Result<usize> {
    let mut position = position as libc::off_t;
    // SAFETY: both descriptors are borrowed for as long as the call takes, and `position` is valid for writes.
    let sent = unsafe { libc::sendfile(socket.as_raw_fd(), file.as_raw_fd(), &mut position, length) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(sent as usize) }
}

/// Whether all pages of a range are in the page cache and filled. False where the kernel cannot tell (before 6.5).
fn is_resident(file: &File, position: u64, length: usize) -> bool {
    const PAGE: u64 = 4096;
    let end = position + length as u64;
    let pages = end.div_ceil(PAGE) - position / PAGE;
    // Pages that are being read count as cached, so look into the last one: read-ahead fills them in order.
    cached_pages(file.as_raw_fd(), position, length as u64) == Some(pages)
        && is_filled(file.as_raw_fd(), end - 1)
}

fn cached_pages(file: RawFd, position: u64, length: u64) -> Option<u64> {
    /// The same number on all architectures.
    const SYS_CACHESTAT: libc::c_long = 451;
    let range = [position, length];
    // struct cachestat: cached, dirty, under write-back, evicted, recently evicted.
    let mut stat = [0u64; 5];
    // SAFETY: `range` is valid for reads and `stat` for writes, of the sizes that the call knows.
    let result = unsafe { libc::syscall(SYS_CACHESTAT, file, range.as_ptr(), stat.as_mut_ptr(), 0) };
    (result == 0).then_some(stat[0])
}

fn is_filled(file: RawFd, position: u64) -> bool {
    let mut byte = 0u8;
    let into = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    // SAFETY: `into` names one byte that is valid for writes.
    unsafe { libc::preadv2(file, &into, 1, position as libc::off_t, libc::RWF_NOWAIT) == 1 }
}
