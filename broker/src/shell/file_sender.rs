//! Sends file ranges to sockets.
//!
//! `sendfile(2)` copies nothing in user space, but waits for the disk when pages are not in the page cache. So the
//! shard calls it only for ranges that are known to be there, and asks a helper thread for the others; at most
//! [`HELPED_SENDS_MAX`] at a time, so that they leave helpers to the disk. The socket does not block, so neither waits
//! for a slow reader.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::net::TcpStream;
use std::sync::Arc;

use storage::op::FileName;

use super::disk_link::DiskLink;
use super::sendfile::{FilePart, is_resident, send_resident};
use crate::ids::ConnectionId;

/// Helper threads that one shard's sends take at a time.
const HELPED_SENDS_MAX: usize = 2;

/// What the shard sends in one call from the page cache, bytes: it takes about 0.1 ms.
const RESIDENT_BYTES: usize = 256 << 10;

/// What the shard sends for one connection before others get their turn, bytes.
const TURN_BYTES: usize = 1 << 20;

/// What a helper sends in one call at the most, bytes.
const HELPED_BYTES: usize = 4 << 20;

/// Descriptors that a shard keeps for the next fetch of the same file.
const FILES_MAX: usize = 64;

/// How far a range was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sent {
    /// To its end.
    All,
    /// There is more, and the socket takes it: others first.
    Paused,
    /// The socket takes no more for now.
    Blocked,
    /// A helper goes on; [`FileSender::helped`] is to be called with what it has sent.
    Helped,
}

/// A part of a file on its way to a socket.
#[derive(Debug)]
pub struct Range {
    /// The file.
    pub file: Arc<File>,
    /// Where what is left begins.
    pub position: u64,
    /// What is left, bytes.
    pub length: usize,
}

/// Sends file ranges for the connections of one shard.
#[derive(Default)]
pub struct FileSender {
    files: BTreeMap<FileName, Arc<File>>,
    helped: usize,
    waiting: VecDeque<FilePart>,
}

impl FileSender {
    /// A descriptor that is open already.
    pub fn file(&self, name: &FileName) -> Option<Arc<File>> {
        self.files.get(name).cloned()
    }

    /// Keeps a descriptor for the next who asks.
    pub fn keep(&mut self, name: FileName, file: Arc<File>) {
        if self.files.len() >= FILES_MAX {
            self.files.pop_first();
        }
        self.files.insert(name, file);
    }

    /// Closes all descriptors: some may be of files that were removed.
    pub fn close_files(&mut self) {
        self.files.clear();
    }

    /// Sends as far as it goes without waiting.
    pub fn send(
        &mut self,
        connection: ConnectionId,
        socket: &Arc<TcpStream>,
        range: &mut Range,
        disk: &mut DiskLink,
    ) -> io::Result<Sent> {
        let mut turn = 0;
        while range.length > 0 {
            if turn >= TURN_BYTES {
                return Ok(Sent::Paused);
            }
            let resident = RESIDENT_BYTES.min(range.length);
            if !is_resident(&range.file, range.position, resident) {
                self.waiting.push_back(FilePart {
                    connection,
                    socket: socket.clone(),
                    file: range.file.clone(),
                    position: range.position,
                    length: HELPED_BYTES.min(range.length),
                });
                self.start_helped(disk);
                return Ok(Sent::Helped);
            }
            match send_resident(socket, &range.file, range.position, resident) {
                Ok(count) => {
                    range.advance(count)?;
                    turn += count;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Sent::Blocked),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Sent::All)
    }

    /// A helper is done: its place is free. Says how its range stands, which may be `None` if its connection is gone.
    pub fn helped(
        &mut self,
        range: Option<&mut Range>,
        result: io::Result<usize>,
        disk: &mut DiskLink,
    ) -> io::Result<Sent> {
        self.helped -= 1;
        self.start_helped(disk);
        match (result, range) {
            (_, None) => Ok(Sent::All),
            (Ok(count), Some(range)) => {
                range.advance(count)?;
                Ok(if range.length == 0 { Sent::All } else { Sent::Paused })
            }
            (Err(error), _) if error.kind() == io::ErrorKind::WouldBlock => Ok(Sent::Blocked),
            (Err(error), _) if error.kind() == io::ErrorKind::Interrupted => Ok(Sent::Paused),
            (Err(error), _) => Err(error),
        }
    }

    fn start_helped(&mut self, disk: &mut DiskLink) {
        while self.helped < HELPED_SENDS_MAX
            && let Some(part) = self.waiting.pop_front()
        {
            self.helped += 1;
            disk.send_file(part);
        }
    }
}

impl Range {
    fn advance(&mut self, count: usize) -> io::Result<()> {
        if count == 0 {
            return Err(io::Error::other("a segment is shorter than its index says"));
        }
        self.position += count as u64;
        self.length -= count;
        Ok(())
    }
}
