//! The clocks. Latency is of CLOCK_MONOTONIC, whose nanoseconds all processes of a host share.

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Nanoseconds in a second.
pub const SECOND_NS: u64 = 1_000_000_000;
/// Nanoseconds in a millisecond.
pub const MILLISECOND_NS: u64 = 1_000_000;

/// CLOCK_MONOTONIC, in nanoseconds.
pub fn monotonic_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::Monotonic))
}

/// The wall clock, in milliseconds of the Unix epoch.
pub fn wall_ms() -> u64 {
    nanoseconds(clock_gettime(ClockId::Realtime)) / MILLISECOND_NS
}

/// CPU time that this thread has used, in nanoseconds.
pub fn thread_cpu_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::ThreadCPUTime))
}

/// A length in seconds as nanoseconds.
pub fn seconds_to_ns(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

fn nanoseconds(time: Timespec) -> u64 {
    time.tv_sec.max(0) as u64 * SECOND_NS + time.tv_nsec.max(0) as u64
}
