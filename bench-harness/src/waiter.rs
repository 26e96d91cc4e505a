//! Waiting for sockets until a time, to the microsecond: epoll beside a timer of CLOCK_MONOTONIC, and a short spin at the
//! end, because waking up takes a while itself.

use std::io;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::clock::SECOND_NS;

/// A sleep ends so long before its time; the rest is spun through.
pub const SPIN_NS: u64 = 60_000;
/// Events that one wait takes.
const EVENTS_MAX: usize = 1024;
/// The token of the timer, which nobody else may use.
const TIMER: Token = Token(usize::MAX);

/// Waits for sockets and for a time.
#[derive(Debug)]
pub struct Waiter {
    poll: Poll,
    timer: OwnedFd,
    events: Events,
}

/// What happened to a socket.
#[derive(Debug, Clone, Copy)]
pub struct Happened {
    /// The token that it was registered with.
    pub token: usize,
    /// There may be something to read.
    pub readable: bool,
    /// There may be room to write.
    pub writable: bool,
    /// The peer will send no more, or there is an error to be read.
    pub ended: bool,
}

impl Waiter {
    /// A waiter without sockets.
    pub fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        Ok(Self { poll, timer, events: Events::with_capacity(EVENTS_MAX) })
    }

    /// Where sockets are registered.
    pub fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// Looks at the sockets, and waits for them until `until_ns` if nothing has happened; not at all if that is less than
    /// [`SPIN_NS`] away. What happened is in [`Self::happened`].
    pub fn wait(&mut self, now_ns: u64, until_ns: u64) -> io::Result<()> {
        let timeout = match until_ns <= now_ns + SPIN_NS {
            true => Some(Duration::ZERO),
            false => {
                self.arm(until_ns - SPIN_NS)?;
                None
            }
        };
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            result => result,
        }
    }

    /// What happened during the last wait.
    pub fn happened(&self) -> impl Iterator<Item = Happened> + '_ {
        self.events.iter().filter(|event| event.token() != TIMER).map(|event| Happened {
            token: event.token().0,
            readable: event.is_readable() || event.is_error(),
            writable: event.is_writable(),
            ended: event.is_read_closed() || event.is_error(),
        })
    }

    fn arm(&self, at_ns: u64) -> io::Result<()> {
        let it_value = Timespec { tv_sec: (at_ns / SECOND_NS) as i64, tv_nsec: (at_ns % SECOND_NS) as _ };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &once)?;
        Ok(())
    }
}
