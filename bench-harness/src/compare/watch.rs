//! Watches the machine and the broker's process while runs go on, from a thread of its own.
#![allow(clippy::disallowed_methods, reason = "this is a thread that reads clocks and the kernel's files")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::environment::{Counters, Sample, block_device, cpu_seconds_of};

/// Between two looks at the broker's CPU time.
const LOOK: Duration = Duration::from_millis(200);

/// Looks for one sample of the machine.
const LOOKS_PER_SAMPLE: u32 = 5;

/// The most looks that are kept: half a day. After that nothing more is noted.
const LOOKS_MAX: usize = 216_000;

/// A broker's CPU time at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// The process.
    pub process: u32,
    /// Seconds so far.
    pub cpu_seconds: f64,
}

/// The thread that watches.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Noted>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// The process to look at; 0 for none.
    process: AtomicU32,
}

/// What was seen.
#[derive(Debug, Default)]
pub struct Noted {
    /// The machine, each second.
    pub samples: Vec<Sample>,
    /// The brokers.
    pub looks: Vec<Look>,
}

impl Watch {
    /// Begins to watch; the disk is the one that holds `data`.
    pub fn start(data: &Path) -> Self {
        let shared = Arc::new(Shared::default());
        let (theirs, data) = (Arc::clone(&shared), data.to_owned());
        let thread = thread::spawn(move || watch(&theirs, &data));
        Self { shared, thread: Some(thread) }
    }

    /// The process to look at from now on.
    pub fn look_at(&self, process: u32) {
        self.shared.process.store(process, Ordering::Relaxed);
    }

    /// Ends it.
    pub fn finish(mut self) -> Noted {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

fn watch(shared: &Shared, data: &Path) -> Noted {
    let root = PathBuf::from("/");
    let device = block_device(&root, data);
    let ticks = rustix::param::clock_ticks_per_second();
    let mut noted = Noted::default();
    let mut last = Counters::read(&root, device.as_deref(), now_ms());
    let mut look = 0u32;
    while !shared.stop.load(Ordering::Relaxed) && noted.looks.len() < LOOKS_MAX {
        thread::sleep(LOOK);
        let at_ms = now_ms();
        let process = shared.process.load(Ordering::Relaxed);
        if process != 0
            && let Some(cpu_seconds) = cpu_seconds_of(&root, process, ticks)
        {
            noted.looks.push(Look { at_ms, process, cpu_seconds });
        }
        look += 1;
        if look.is_multiple_of(LOOKS_PER_SAMPLE) {
            let counters = Counters::read(&root, device.as_deref(), at_ms);
            noted.samples.push(counters.since(&last));
            last = counters;
        }
    }
    noted
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// The CPU seconds of a process between two times, interpolated between looks; `None` where it was not seen around both.
pub fn cpu_seconds_between(looks: &[Look], process: u32, from_ms: u64, to_ms: u64) -> Option<f64> {
    let looks: Vec<&Look> = looks.iter().filter(|look| look.process == process).collect();
    let at = |time: u64| -> Option<f64> {
        let after = looks.iter().position(|look| look.at_ms >= time)?;
        let right = looks[after];
        if right.at_ms == time {
            return Some(right.cpu_seconds);
        }
        let left = looks[after.checked_sub(1)?];
        let share = (time - left.at_ms) as f64 / (right.at_ms - left.at_ms) as f64;
        Some(left.cpu_seconds + share * (right.cpu_seconds - left.cpu_seconds))
    };
    Some(at(to_ms)? - at(from_ms)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_interpolated_between_looks() {
        let look = |at_ms, process, cpu_seconds| Look { at_ms, process, cpu_seconds };
        let looks = [look(1000, 7, 1.0), look(1100, 8, 50.0), look(1200, 7, 1.2), look(2000, 7, 2.0)];
        let seconds = cpu_seconds_between(&looks, 7, 1100, 1600).unwrap();
        assert!((seconds - 0.5).abs() < 1e-9, "{seconds}");
        assert_eq!(cpu_seconds_between(&looks, 7, 900, 1600), None);
        assert_eq!(cpu_seconds_between(&looks, 7, 1100, 2100), None);
        assert_eq!(cpu_seconds_between(&looks, 9, 1100, 1600), None);
    }

    #[test]
    fn a_process_is_watched() {
        let watch = Watch::start(Path::new("/"));
        watch.look_at(std::process::id());
        thread::sleep(LOOK * 2);
        let noted = watch.finish();
        assert!(noted.looks.iter().all(|look| look.process == std::process::id()));
    }
}
