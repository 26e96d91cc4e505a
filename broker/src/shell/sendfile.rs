//! `sendfile(2)`, and what the page cache has of a file.

use std::fs::File;
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use crate::ids::ConnectionId;

/// A part of a file that a helper thread is to send.
#[derive(Debug)]
pub struct FilePart {
    /// For whom.
    pub connection: ConnectionId,
    /// Its socket, which does not block.
    pub socket: Arc<TcpStream>,
    /// The file.
    pub file: Arc<File>,
    /// Where the part begins.
    pub position: u64,
    /// Its bytes.
    pub length: usize,
}

impl FilePart {
    /// Sends as far as the socket takes it, waiting for the disk. Returns the bytes that were sent.
    pub fn send(&self) -> io::Result<usize> {
        read_ahead(&self.file, self.position, 2 * self.length);
        send_resident(&self.socket, &self.file, self.position, self.length)
    }
}

/// Starts reading a range into the page cache: the whole of it at once, where the kernel by itself would take small
/// steps. What is read beyond the range is what the next fetch of a reader in order asks for.
fn read_ahead(file: &File, position: u64, length: usize) {
    // SAFETY: takes four numbers. It is advice: that it was not taken is no error.
    unsafe {
        libc::posix_fadvise(
            file.as_raw_fd(),
            position as libc::off_t,
            length as libc::off_t,
            libc::POSIX_FADV_WILLNEED,
        );
    }
}

/// Sends a part of a file that is in the page cache as far as the socket takes it.
pub fn send_resident(socket: &TcpStream, file: &File, position: u64, length: usize) -> io::Result<usize> {
    let mut position = position as libc::off_t;
    // SAFETY: both descriptors are borrowed for as long as the call takes, and `position` is valid for writes.
    let sent = unsafe { libc::sendfile(socket.as_raw_fd(), file.as_raw_fd(), &mut position, length) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(sent as usize) }
}

/// Whether all pages of a range are in the page cache and filled. False where the kernel cannot tell (before 6.5).
pub fn is_resident(file: &File, position: u64, length: usize) -> bool {
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
