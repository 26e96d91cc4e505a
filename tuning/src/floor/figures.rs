//! Latencies of one kind, and what is said of them.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::Load;

/// Beyond this everything is equally bad.
const MAX_NS: u64 = 60_000_000_000;

/// A histogram of durations, nanoseconds, exact to three digits.
#[derive(Clone, Debug)]
pub struct Figures(Histogram<u64>);

impl Default for Figures {
    fn default() -> Figures {
        Figures(Histogram::new_with_bounds(1, MAX_NS, 3).expect("the bounds are sound"))
    }
}

impl Figures {
    /// Adds a duration.
    pub fn record(&mut self, duration: Duration) {
        self.0.saturating_record((duration.as_nanos() as u64).max(1));
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Microseconds that this share of them does not exceed; 0 if there are none.
    pub fn quantile_us(&self, quantile: f64) -> f64 {
        if self.0.is_empty() { 0.0 } else { self.0.value_at_quantile(quantile) as f64 / 1000.0 }
    }

    /// All of them together, microseconds.
    pub fn sum_us(&self) -> f64 {
        self.0.mean() * self.0.len() as f64 / 1000.0
    }

    /// Values that occurred, microseconds, and how often.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        self.0
            .iter_recorded()
            .map(|value| (value.value_iterated_to() as f64 / 1000.0, value.count_since_last_iteration()))
    }
}

/// A measurement in one place under one load.
#[derive(Clone, Debug)]
pub struct Line {
    /// What was measured.
    pub kind: Kind,
    /// The core, the size: what tells it from others of its kind.
    pub place: String,
    /// The load meanwhile.
    pub load: Load,
    /// How long it was measured.
    pub lasted: Duration,
    /// The latencies.
    pub figures: Figures,
}

/// What can be measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// How late a timer wakes a thread.
    Timer,
    /// How long it takes until a sleeping core runs the thread that another one woke.
    Wake,
    /// How long a thread that never sleeps was kept from its core.
    Theft,
    /// A message over loopback TCP and back.
    Loopback,
    /// A message to another machine and back.
    Peer,
    /// A write that is made durable.
    Disk(Method),
    /// A write that is not.
    DiskUnflushed,
}

/// How a write is made durable. All go past the page cache (O_DIRECT).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// pwrite(2), then fdatasync(2).
    Fdatasync,
    /// pwrite(2) through a descriptor with O_DSYNC.
    Dsync,
    /// The first, through io_uring: the broker's default.
    UringFdatasync,
    /// The second, through io_uring.
    UringDsync,
}

impl Method {
    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Method::Fdatasync => "write+fdatasync",
            Method::Dsync => "O_DSYNC write",
            Method::UringFdatasync => "write+fdatasync, uring",
            Method::UringDsync => "O_DSYNC write, uring",
        }
    }
}

impl Kind {
    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Timer => "timer jitter",
            Kind::Wake => "wake-up",
            Kind::Theft => "theft",
            Kind::Loopback => "loopback round trip",
            Kind::Peer => "peer round trip",
            Kind::Disk(method) => method.name(),
            Kind::DiskUnflushed => "write, not flushed",
        }
    }
}
