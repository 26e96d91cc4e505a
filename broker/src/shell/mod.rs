//! The shell: what runs shards and the controller on a machine. The only part of the broker that knows io_uring, glommio,
//! clocks, threads, sockets and files.
//!
//! One thread per core, pinned, with a shard, its connections and its WAL on one ring; for each an unpinned glommio
//! executor that does all else with files; one such executor with the controller; the watchdog thread; and the main
//! thread, which starts them, waits for signals and ends the process.

#![allow(clippy::disallowed_methods, reason = "clocks, threads and files belong here")]
#![allow(unsafe_code, reason = "system calls that nobody wraps; each use is proven where it stands")]

mod addresses;
mod alarm;
mod bell;
mod cgroup;
mod clock;
mod connections;
mod control;
mod cores;
mod disk_link;
mod disk_speed;
mod driver;
mod file_sender;
mod host;
mod inbox;
mod lifecycle;
mod mailbox;
mod memory;
mod meta_disk;
mod notify;
mod preflight;
mod report;
mod ring;
mod sendfile;
mod signals;
mod space;
mod stall;
mod start;
mod status;
mod watchdog;

use std::path::{Path, PathBuf};
use std::time::Duration;

use storage::disk::SyncMethod;

pub use cores::{CoreList, SHARDS_MAX};
pub use memory::TAIL_MEMORY_PERCENT;
pub use start::run;
pub use status::{ledger, slow, top};
pub use watchdog::STALL_MS;

/// What the command line says. `None` leaves it to the config file, or to a default.
#[derive(Clone, Debug)]
pub struct Options {
    /// Data directory.
    pub data: Option<PathBuf>,
    /// `HOST:PORT` of the listener that all shards share.
    pub listen: Option<String>,
    /// `HOST:PORT` of the first core-direct listener, or `none`.
    pub core_listen: Option<String>,
    /// Host that clients are told to connect to.
    pub advertised: Option<String>,
    /// Cores that carry shards.
    pub cores: Option<CoreList>,
    /// File of Kafka's form `key=value`.
    pub config: Option<PathBuf>,
    /// Go on without O_DIRECT.
    pub allow_buffered_io: bool,
    /// Look at the machine, and do not start.
    pub check: bool,
    /// How a WAL block is made durable.
    pub sync_method: SyncMethod,
    /// Share of the memory that the ends of logs may take, percent.
    pub tail_memory_percent: u64,
    /// Whether it is written down where the time of each request went.
    pub ledger: bool,
    /// How long a turn of a shard may take before it is reported, milliseconds.
    pub stall_ms: u64,
}

/// Why the broker does not start, or did not stop as it should. The text names the remedy.
#[derive(Debug)]
pub struct StartError(pub(crate) String);

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

/// Sends log lines to stderr, as many as `filter` lets through.
pub fn start_logging(filter: &str) -> Result<(), StartError> {
    let filter = tracing_subscriber::EnvFilter::try_new(filter).map_err(|error| {
        StartError(format!("--log {filter}: {error}: write `info`, or `warn,broker=debug`"))
    })?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    Ok(())
}

/// Measures how to make writes durable on the disk of a directory, and prints what it advises.
pub fn probe(data: &Path, seconds: u64) -> Result<(), StartError> {
    host::check(1)?;
    let report = storage::disk::probe(data, Duration::from_secs(seconds.clamp(1, 60)))
        .map_err(|error| StartError(error.to_string()))?;
    println!("{report}");
    Ok(())
}
