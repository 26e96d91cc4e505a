//! Measures the ways to make a write durable, and advises; it decides nothing.
//!
//! It measures twice: on the machine as it is, and with every core busy, because that is where `O_DSYNC` through
//! io_uring turns from slightly faster into many times slower.

use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use glommio::{LocalExecutorBuilder, Placement};

use super::aligned::AlignedBuffer;
use super::directory::DirectoryError;
use super::executor::SyncMethod;

const FILE_BYTES: u64 = 16 << 20;
const BLOCK_BYTES: usize = 4096;

/// What was measured.
#[derive(Clone, Debug)]
pub struct ProbeReport {
    directory: PathBuf,
    measurements: Vec<Measurement>,
}

#[derive(Clone, Debug)]
struct Measurement {
    method: SyncMethod,
    busy: bool,
    /// Sorted.
    latencies: Vec<Duration>,
}

/// Measures in a directory, each method for `duration` idle and as long under load.
pub fn probe(directory: &Path, duration: Duration) -> Result<ProbeReport, DirectoryError> {
    let file = directory.join("probe.wal");
    let result = std::fs::create_dir_all(directory)
        .and_then(|()| fill(&file))
        .and_then(|()| measure_all(&file, duration));
    let removed = std::fs::remove_file(&file);
    let measurements = result.and_then(|measurements| removed.map(|()| measurements)).map_err(|error| {
        DirectoryError(format!(
            "{} cannot be probed ({error}): name a directory on a file system with O_DIRECT that this user may \
             write to with --data DIR",
            directory.display()
        ))
    })?;
    Ok(ProbeReport { directory: directory.to_path_buf(), measurements })
}

impl ProbeReport {
    /// The method that is better with busy cores at the median and at the 99th percentile, by a tenth at least;
    /// `Fdatasync` if neither is.
    pub fn advice(&self) -> SyncMethod {
        let of = |method| {
            self.measurements
                .iter()
                .find(|m| m.busy && m.method == method)
                .map(|m| (m.quantile(0.5), m.quantile(0.99)))
        };
        match (of(SyncMethod::Fdatasync), of(SyncMethod::Dsync)) {
            (Some(fdatasync), Some(dsync))
                if dsync.0 * 10 < fdatasync.0 * 9 && dsync.1 * 10 < fdatasync.1 * 9 =>
            {
                SyncMethod::Dsync
            }
            _ => SyncMethod::Fdatasync,
        }
    }
}

impl fmt::Display for ProbeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "4 KiB durable writes in {}, one at a time, microseconds", self.directory.display())?;
        writeln!(
            f,
            "{:<20} {:<5} {:>8} {:>8} {:>8} {:>8}",
            "method", "cores", "writes", "p50", "p99", "max"
        )?;
        for m in &self.measurements {
            writeln!(
                f,
                "{:<20} {:<5} {:>8} {:>8} {:>8} {:>8}",
                m.method.to_string(),
                if m.busy { "busy" } else { "idle" },
                m.latencies.len(),
                m.quantile(0.5).as_micros(),
                m.quantile(0.99).as_micros(),
                m.quantile(1.0).as_micros()
            )?;
        }
        match self.advice() {
            SyncMethod::Fdatasync => write!(f, "advice: keep the default, --sync-method fdatasync"),
            SyncMethod::Dsync => write!(f, "advice: --sync-method dsync"),
        }
    }
}

impl Measurement {
    fn quantile(&self, q: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get((last as f64 * q) as usize).copied().unwrap_or_default()
    }
}

fn fill(path: &Path) -> io::Result<()> {
    let file =
        OpenOptions::new().write(true).create(true).truncate(true).custom_flags(libc::O_DIRECT).open(path)?;
    let zeros = AlignedBuffer::zeroed(1 << 20);
    (0..FILE_BYTES >> 20).try_for_each(|mib| file.write_all_at(zeros.as_slice(), mib << 20))?;
    file.sync_all()
}

fn measure_all(path: &Path, duration: Duration) -> io::Result<Vec<Measurement>> {
    let mut measurements = Vec::new();
    for busy in [false, true] {
        for method in [SyncMethod::Fdatasync, SyncMethod::Dsync] {
            let latencies = if busy {
                under_load(|| measure(path, method, duration))?
            } else {
                measure(path, method, duration)?
            };
            measurements.push(Measurement { method, busy, latencies });
        }
    }
    Ok(measurements)
}

/// Keeps every core busy meanwhile.
fn under_load<T>(work: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let result = work();
        stop.store(true, Ordering::Relaxed);
        result
    })
}

fn measure(path: &Path, method: SyncMethod, duration: Duration) -> io::Result<Vec<Duration>> {
    let path = path.to_path_buf();
    let executor = LocalExecutorBuilder::new(Placement::Unbound).io_memory(1 << 20).make()?;
    executor.run(async move {
        let mut options = glommio::io::OpenOptions::new();
        options.read(true).write(true);
        if method == SyncMethod::Dsync {
            options.custom_flags(libc::O_DSYNC);
        }
        let file = options.dma_open(path).await?;
        let start = Instant::now();
        let mut latencies = Vec::new();
        while start.elapsed() < duration {
            let position = latencies.len() as u64 * BLOCK_BYTES as u64 % FILE_BYTES;
            let buffer = file.alloc_dma_buffer(BLOCK_BYTES);
            let before = Instant::now();
            file.write_at(buffer, position).await?;
            if method == SyncMethod::Fdatasync {
                file.fdatasync().await?;
            }
            latencies.push(before.elapsed());
        }
        file.close().await?;
        latencies.sort_unstable();
        Ok(latencies)
    })
}
