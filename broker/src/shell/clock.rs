//! The one place where the broker reads clocks.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use storage::Now;

/// Both clocks of this machine; monotonic time counts from the start of the process.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts counting.
    pub fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    /// The present.
    pub fn now(&self) -> Now {
        let wall_ms = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            // A machine whose clock was never set lives before 1970; Kafka has no such timestamps.
            Err(_) => 0,
        };
        Now { monotonic_us: self.elapsed_us(), wall_ms }
    }

    /// Microseconds since the start.
    pub fn elapsed_us(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// From now until a moment of the monotonic clock; zero if it is over.
    pub fn until(&self, monotonic_us: u64) -> Duration {
        Duration::from_micros(monotonic_us.saturating_sub(self.elapsed_us()))
    }
}

/// CPU time that the calling thread has had, microseconds.
pub fn thread_cpu_us() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes into a value that is alive; the clock exists on every Linux.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(result, 0, "a thread has a clock of its own");
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000
}
