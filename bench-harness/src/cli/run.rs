//! `monedula-bench run`, and what every command that puts a load on a broker is asked.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::Outcome;
use super::keep::{KeepArguments, exit_code};
use super::load::LoadOptions;
use super::process::interrupt;
use crate::compare::cores::Cores;
use crate::engine::Options;
use crate::outcome::Verdict;
use crate::progress::Progress;
use crate::scenario::{self, Step};
use crate::{status_socket, table};

/// Puts a load on a broker and says what came of it.
#[derive(Debug, Args)]
pub struct RunArguments {
    #[command(flatten)]
    engine: EngineArguments,
    #[command(flatten)]
    load: LoadOptions,
    #[command(flatten)]
    keep: KeepArguments,
    /// Say what would be run, how many samples lie beyond each percentile, and how much goes to disk; do nothing
    #[arg(long)]
    dry_run: bool,
}

/// Where the load goes and what carries it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Broker and generator")]
pub struct EngineArguments {
    /// Brokers to begin with
    #[arg(long, short, value_name = "HOST:PORT,…", default_value = "127.0.0.1:9092")]
    pub bootstrap: String,
    /// Worker threads
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub workers: usize,
    /// Cores that workers are pinned to, such as `1` or `2-5`; nowhere without it
    #[arg(long, value_name = "LIST")]
    pub cores: Option<Cores>,
    /// Spin instead of sleeping: less lag, a whole core for each worker
    #[arg(long)]
    pub busy: bool,
    /// Do not measure the harness itself (2.5 s before each load) to print its floor beside the result
    #[arg(long)]
    pub no_calibration: bool,
    /// A Monedula on this machine, by its data directory or DATA/monedula.sock: its own stages are printed beside our figures
    #[arg(long, value_name = "PATH")]
    pub broker_status: Option<PathBuf>,
    /// The broker's process on this machine, of whatever kind: its CPU time is printed [default: that of --broker-status]
    #[arg(long, value_name = "PID")]
    pub broker_pid: Option<u32>,
}

impl EngineArguments {
    /// The options of the engine. A broker that cannot be asked is told of; the load goes on without its answers.
    pub fn options(&self) -> Options {
        Options {
            workers: self.workers,
            cores: self.cores.clone().unwrap_or_default().0,
            busy: self.busy,
            broker_status: self.broker_status.as_deref().and_then(find_broker),
            broker_process: self.broker_pid,
            ..Options::default()
        }
    }
}

/// The status socket, if somebody answers there. If not, that is said, and the load goes on without.
pub fn find_broker(path: &Path) -> Option<PathBuf> {
    let path = status_socket::locate(path);
    match status_socket::read(&path) {
        Ok(_) => Some(path),
        Err(why) => {
            eprintln!("monedula-bench: {why}. The load goes on without the broker's own stages.");
            None
        }
    }
}

/// Carries the command out.
pub fn run(arguments: &RunArguments) -> Outcome {
    let workload = arguments.load.workload()?;
    if arguments.dry_run {
        print!("{}", table::forecast(&workload));
        return Ok(ExitCode::SUCCESS);
    }
    let flag = interrupt()?;
    let mut progress = Progress::new(workload.duration_s);
    let engine = &arguments.engine;
    let step = Step { label: workload.name.clone(), workload };
    let outcomes = scenario::carry_out(
        std::slice::from_ref(&step),
        &engine.bootstrap,
        &engine.options(),
        !engine.no_calibration,
        &flag,
        &mut progress,
        |_, _| true,
    )?;
    drop(progress);
    outcomes.iter().for_each(|outcome| print!("{}", table::table(outcome)));
    let code = exit_code(outcomes.iter());
    if let Some(Verdict::Invalid { .. }) = outcomes.first().map(|outcome| &outcome.verdict) {
        eprintln!("monedula-bench: the run is INVALID; the exit code is {}", super::INVALID);
    }
    arguments
        .keep
        .keep(outcomes.into_iter().map(|outcome| (outcome.workload.name.clone(), outcome)).collect())?;
    Ok(code)
}
