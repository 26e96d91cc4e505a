//! What this machine can do at best: measured without a broker, idle and with busy cores.
//!
//! Each measurement takes the smallest step that a broker cannot do without (sleep and wake, a write and its flush, a
//! round trip) and repeats it. What a broker then adds is the broker's; what is measured here nobody can take away.

#![allow(clippy::disallowed_methods, reason = "clocks, threads and files are what is measured")]
#![allow(unsafe_code, reason = "system calls that nobody wraps; each use is proven where it stands")]

mod load;
mod figures;
mod timer;
mod wake;
mod theft;
mod disk;
mod loopback;
mod peer;
mod verdict;
mod table;

use std::path::PathBuf;
use std::time::Duration;

pub use figures::{Figures, Kind, Line, Method};
pub use load::Load;
pub use verdict::{Part, Verdict};

use crate::cpu_set::CpuSet;

/// Below this a measurement says nothing.
const LEAST: Duration = Duration::from_millis(100);

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// Cores that carry shards.
    pub cores: CpuSet,
    /// The data directory; its disk is left out without.
    pub data: Option<PathBuf>,
    /// Where `monedula-tune echo` listens on another machine, as host and port: the round trip goes there in place of
    /// the loopback interface.
    pub peer: Option<String>,
    /// For all measurements together, about.
    pub duration: Duration,
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Floor {
    /// What to measure.
    pub options: Options,
    /// Line by line, as in the table.
    pub lines: Vec<Line>,
    /// What to expect, idle and busy.
    pub verdicts: Vec<Verdict>,
}

/// Measures. Calls `progress` before each measurement with its name. The error names its remedy.
pub fn measure(options: Options, mut progress: impl FnMut(&str)) -> Result<Floor, String> {
    let cores: Vec<usize> = options.cores.iter().collect();
    let peer = options.peer.as_deref().map(peer::Peer::find).transpose()?;
    let disk = options.data.as_deref().map(disk::Target::make).transpose()?;
    let cells = 2 * (4 + disk.as_ref().map_or(0, |_| disk::CELLS));
    let each = (options.duration / cells as u32).max(LEAST);
    let mut lines = Vec::new();
    let mut verdicts = Vec::new();
    for load in [Load::Idle, Load::Busy] {
        let first = lines.len();
        load.during(&cores, || -> Result<(), String> {
            progress(&format!("timers, {load}"));
            lines.extend(timer::measure(&cores, load, each)?);
            progress(&format!("waking up, {load}"));
            lines.extend(wake::measure(&cores, load, each)?);
            progress(&format!("theft, {load}"));
            lines.extend(theft::measure(&cores, load, each)?);
            lines.push(match &peer {
                None => {
                    progress(&format!("loopback, {load}"));
                    loopback::measure(&cores, load, each)?
                }
                Some(peer) => {
                    progress(&format!("the round trip to the peer, {load}"));
                    peer.measure(cores[0], load, each)?
                }
            });
            if let Some(disk) = &disk {
                progress(&format!("disk, {load}"));
                lines.extend(disk.measure(cores[0], load, each)?);
            }
            Ok(())
        })??;
        verdicts.push(Verdict::of(load, &lines[first..]));
    }
    Ok(Floor { options, lines, verdicts })
}

impl Floor {
    /// The table for people.
    pub fn text(&self) -> String {
        table::text(self)
    }

    /// For programs: all that the table has, and the histograms.
    pub fn json(&self) -> String {
        table::json(self)
    }
}

/// Binds this thread to a core.
fn pin(core: usize) -> Result<(), String> {
    // Asked only for cores that are there: beyond the size of its set core_affinity does not return.
    let is_there = core_affinity::get_core_ids().is_some_and(|ids| ids.iter().any(|id| id.id == core));
    if is_there && core_affinity::set_for_current(core_affinity::CoreId { id: core }) {
        Ok(())
    } else {
        Err(format!(
            "core {core} cannot be used by this process: choose others with --cores, or widen its cpuset"
        ))
    }
}

/// Runs the same on threads that are pinned to cores, all at once. The first error counts.
fn on_each<T: Send>(
    cores: &[usize],
    work: impl Fn(usize) -> Result<T, String> + Sync,
) -> Result<Vec<T>, String> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = cores
            .iter()
            .map(|core| {
                let (core, work) = (*core, &work);
                scope.spawn(move || pin(core).and_then(|()| work(core)))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("measurements do not panic")).collect()
    })
}
