//! The io_uring of one shard: everything that a shard waits for, it waits for here, in one system call a turn.
//!
//! Sockets and listeners are watched, not read: the shard reads and writes them itself when they are ready. Blocks of
//! the WAL and of segments are written, and flushed by a linked entry that starts when the write has succeeded, without
//! the shard.
//!
//! glommio's own reactor is not used here. It serves three rings and two timers in every pass, five to eight system
//! calls for one event, which came to 130 µs of CPU a wake-up and a request has about five; and it can sleep with work to
//! do. What runs on glommio, the disk executors and the controller, is not on the way of a request.

use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use io_uring::squeue::{Entry, Flags};
use io_uring::types::{Fd, FsyncFlags, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode};
use storage::disk::BlockWrite;
use storage::op::OpId;

use crate::ids::ConnectionId;

/// Entries that can be queued before they go to the kernel; more are submitted in between.
const ENTRIES: u32 = 512;

/// Completions that the kernel keeps for a shard; beyond that it holds on to them until there is room.
const COMPLETIONS: u32 = 4096;

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The bell was rung.
    Bell,
    /// A listener has connections, or is to be watched again.
    Listener(u32),
    /// A socket has become readable or was closed by its peer.
    Readable(ConnectionId),
    /// A socket is not watched any more, though nobody asked for that: the kernel had no room to tell of it.
    Unwatched(ConnectionId),
    /// A socket takes bytes again.
    Writable(ConnectionId),
    /// The write of a block has ended: bytes, or an error number below zero.
    Written(OpId, i32),
    /// The flush behind a block has ended.
    Flushed(OpId, i32),
}

/// The kind of an entry stands in the high byte of its user data, whose it is in the rest.
const KIND_SHIFT: u32 = 56;
const BELL: u64 = 1;
const LISTENER: u64 = 2;
const READABLE: u64 = 3;
const WRITABLE: u64 = 4;
const WRITTEN: u64 = 5;
const FLUSHED: u64 = 6;
const FORGOTTEN: u64 = 7;

/// The ring. Belongs to the thread that made it.
pub struct Ring {
    ring: IoUring,
    bell: RawFd,
    /// Where the read of the bell goes. Never freed: the kernel ends what is pending only after the ring is gone.
    rings: *mut u64,
    /// What found no room among the entries yet. As long as what is asked for in one turn.
    backlog: VecDeque<Vec<Entry>>,
    watched: Vec<RawFd>,
}

impl Ring {
    /// A ring for the calling thread that hears this bell.
    pub fn new(bell: RawFd) -> io::Result<Ring> {
        let mut builder = IoUring::builder();
        builder.setup_cqsize(COMPLETIONS);
        // Completions are taken when the shard asks for them, not by interrupting it; from Linux 6.1 on.
        let ring = match builder.clone().setup_single_issuer().setup_defer_taskrun().build(ENTRIES) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => builder.build(ENTRIES),
            result => result,
        }?;
        let mut ring =
            Ring { ring, bell, rings: Box::leak(Box::new(0)), backlog: VecDeque::new(), watched: Vec::new() };
        ring.hear_bell();
        Ok(ring)
    }

    /// Watches a listener, whose number in [`Event::Listener`] is returned, for as long as the ring lives.
    pub fn watch_listener(&mut self, listener: RawFd) -> u32 {
        let number = self.watched.len() as u32;
        self.watched.push(listener);
        self.push(&[watch_listener(listener, number)]);
        number
    }

    /// Tells of a socket whenever bytes arrive, until [`Ring::forget`].
    pub fn watch(&mut self, socket: RawFd, connection: ConnectionId) {
        let watch = opcode::PollAdd::new(Fd(socket), (libc::POLLIN | libc::POLLRDHUP) as u32).multi(true);
        self.push(&[watch.build().user_data(data(READABLE, connection.0))]);
    }

    /// Tells once when a socket takes bytes.
    pub fn await_writable(&mut self, socket: RawFd, connection: ConnectionId) {
        let watch = opcode::PollAdd::new(Fd(socket), libc::POLLOUT as u32);
        self.push(&[watch.build().user_data(data(WRITABLE, connection.0))]);
    }

    /// Ends the watches of a socket, which keep it open: it is closed when its descriptor is, and this has been
    /// submitted.
    pub fn forget(&mut self, connection: ConnectionId, awaits_writable: bool) {
        let forget = |kind| {
            opcode::PollRemove::new(data(kind, connection.0)).build().user_data(data(FORGOTTEN, connection.0))
        };
        self.push(&[forget(READABLE)]);
        if awaits_writable {
            self.push(&[forget(WRITABLE)]);
        }
    }

    /// Starts the write of a block, and its flush if it has one.
    ///
    /// # Safety
    ///
    /// `write` lives until the events of all its entries have been taken from this ring, or the ring is gone.
    pub unsafe fn write_block(&mut self, id: OpId, write: &BlockWrite) {
        assert!(id.0 >> KIND_SHIFT == 0, "operations are counted from zero");
        let bytes = write.bytes();
        let file = Fd(write.descriptor());
        let entry = opcode::Write::new(file, bytes.as_ptr(), bytes.len() as u32)
            .offset(write.position())
            .build()
            .user_data(data(WRITTEN, id.0));
        if write.flush() {
            let flush = opcode::Fsync::new(file).flags(FsyncFlags::DATASYNC).build();
            self.push(&[entry.flags(Flags::IO_LINK), flush.user_data(data(FLUSHED, id.0))]);
        } else {
            self.push(&[entry]);
        }
    }

    /// Submits what is queued, waits until something happens or `timeout` is over, and puts what has happened into
    /// `events`.
    pub fn wait(&mut self, timeout: Duration, events: &mut Vec<Event>) -> io::Result<()> {
        self.move_up()?;
        if timeout.is_zero() || !self.backlog.is_empty() {
            self.enter_without_wait()?;
        } else {
            let timespec = Timespec::from(timeout);
            let arguments = SubmitArgs::new().timespec(&timespec);
            tolerate(self.ring.submitter().submit_with_args(1, &arguments))?;
        }
        let mut bell = false;
        let mut ended = Vec::new();
        for completion in self.ring.completion() {
            let (kind, id) =
                (completion.user_data() >> KIND_SHIFT, completion.user_data() & !(0xff << KIND_SHIFT));
            let more = cqueue::more(completion.flags());
            match kind {
                BELL => bell = true,
                LISTENER => {
                    let number = id as u32;
                    if !more {
                        ended.push(watch_listener(self.watched[number as usize], number));
                    }
                    events.push(Event::Listener(number));
                }
                // A watch that was forgotten.
                READABLE if completion.result() < 0 => {}
                READABLE => {
                    events.push(Event::Readable(ConnectionId(id)));
                    if !more {
                        events.push(Event::Unwatched(ConnectionId(id)));
                    }
                }
                WRITABLE => events.push(Event::Writable(ConnectionId(id))),
                WRITTEN => events.push(Event::Written(OpId(id), completion.result())),
                FLUSHED => events.push(Event::Flushed(OpId(id), completion.result())),
                FORGOTTEN => {}
                kind => unreachable!("no entry of kind {kind} was ever queued"),
            }
        }
        for entry in ended {
            self.push(&[entry]);
        }
        if bell {
            events.push(Event::Bell);
            self.hear_bell();
        }
        Ok(())
    }

    fn hear_bell(&mut self) {
        let read = opcode::Read::new(Fd(self.bell), self.rings.cast(), 8).build().user_data(data(BELL, 0));
        self.push(&[read]);
    }

    /// Submits, and lets the kernel post what has completed meanwhile.
    fn enter_without_wait(&mut self) -> io::Result<()> {
        const GETEVENTS: u32 = 1;
        let queued = self.ring.submission().len() as u32;
        // SAFETY: no argument is passed, and the entries that are queued are sound as their own functions say.
        tolerate(unsafe { self.ring.submitter().enter::<libc::sigset_t>(queued, 0, GETEVENTS, None) })
    }

    /// Queues entries, of which the kernel sees all at once.
    fn push(&mut self, entries: &[Entry]) {
        if !self.backlog.is_empty() || !self.queue(entries) {
            self.backlog.push_back(entries.to_vec());
        }
    }

    /// Queues what found no room before. What finds none even now has to wait until completions are taken.
    fn move_up(&mut self) -> io::Result<()> {
        while let Some(entries) = self.backlog.pop_front() {
            if self.queue(&entries) {
                continue;
            }
            tolerate(self.ring.submit())?;
            if !self.queue(&entries) {
                self.backlog.push_front(entries);
                break;
            }
        }
        Ok(())
    }

    fn queue(&mut self, entries: &[Entry]) -> bool {
        // SAFETY: what an entry points to is alive until it completes: the bell's number is never
        // freed, and the caller of `write_block` answers for its buffer.
        unsafe { self.ring.submission().push_multiple(entries) }.is_ok()
    }
}

fn watch_listener(listener: RawFd, number: u32) -> Entry {
    let watch = opcode::PollAdd::new(Fd(listener), libc::POLLIN as u32).multi(true);
    watch.build().user_data(data(LISTENER, u64::from(number)))
}

fn data(kind: u64, id: u64) -> u64 {
    kind << KIND_SHIFT | id
}

/// Interrupted, out of time, or busy until completions are taken: all that is to be done is to look and go on.
fn tolerate(result: io::Result<usize>) -> io::Result<()> {
    match result {
        Ok(_) => Ok(()),
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EINTR | libc::ETIME | libc::EBUSY | libc::EAGAIN)
            ) =>
        {
            Ok(())
        }
        Err(error) => Err(error),
    }
}
