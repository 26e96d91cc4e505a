//! SIGTERM and SIGINT, taken by the main thread alone.

use std::io;
use std::time::Duration;

/// The signals that ask for an end. Blocked in every thread, so that only `wait` sees them.
pub struct StopSignals {
    set: libc::sigset_t,
}

impl StopSignals {
    /// Blocks the signals in this thread and in all that it will start. Call it before the first thread.
    pub fn block() -> io::Result<StopSignals> {
        // SAFETY: sigset_t is plain data, and `sigemptyset` gives it its value.
        let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: `set` is valid for reads and writes; the signal numbers exist.
        let result = unsafe {
            libc::sigemptyset(&mut set);
            libc::sigaddset(&mut set, libc::SIGTERM);
            libc::sigaddset(&mut set, libc::SIGINT);
            libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut())
        };
        match result {
            0 => Ok(StopSignals { set }),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    /// The name of the next signal, if one comes within `timeout`.
    pub fn wait(&self, timeout: Duration) -> Option<&'static str> {
        let timeout = libc::timespec {
            tv_sec: timeout.as_secs() as libc::time_t,
            tv_nsec: timeout.subsec_nanos() as libc::c_long,
        };
        // SAFETY: both references are valid for as long as the call takes; no siginfo is asked for.
        match unsafe { libc::sigtimedwait(&self.set, std::ptr::null_mut(), &timeout) } {
            libc::SIGTERM => Some("SIGTERM"),
            libc::SIGINT => Some("SIGINT"),
            // Nothing came, or a signal for someone else interrupted the wait.
            _ => None,
        }
    }
}
