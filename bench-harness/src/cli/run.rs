//! `monedula-bench run`.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::load::LoadOptions;
use super::{INVALID, Outcome};
use crate::engine::{self, Options};
use crate::progress::Progress;
use crate::table;

/// Puts a load on a broker and says what came of it.
#[derive(Debug, Args)]
pub struct RunArguments {
    #[command(flatten)]
    engine: EngineArguments,
    #[command(flatten)]
    load: LoadOptions,
}

/// Where the load goes and what carries it.
#[derive(Debug, Args)]
pub struct EngineArguments {
    /// Brokers to begin with
    #[arg(long, short, value_name = "HOST:PORT,…", default_value = "127.0.0.1:9092")]
    pub bootstrap: String,
    /// Worker threads
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub workers: usize,
    /// Cores that workers are pinned to, such as `1` or `2-5`; nowhere without it
    #[arg(long, value_name = "LIST", value_parser = cores)]
    pub cores: Option<Cores>,
    /// Spin instead of sleeping: less lag, a whole core for each worker
    #[arg(long)]
    pub busy: bool,
}

/// Cores as a list.
#[derive(Debug, Clone)]
pub struct Cores(pub Vec<usize>);

impl EngineArguments {
    /// The options of the engine.
    pub fn options(&self) -> Options {
        Options {
            workers: self.workers,
            cores: self.cores.clone().map(|Cores(list)| list).unwrap_or_default(),
            busy: self.busy,
            ..Options::default()
        }
    }
}

/// A flag that Ctrl-C sets. A second Ctrl-C ends the process at once.
pub fn interrupt() -> Result<Arc<AtomicBool>, std::io::Error> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&flag))?;
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
    }
    Ok(flag)
}

/// Carries the command out.
pub fn run(arguments: &RunArguments) -> Outcome {
    let workload = arguments.load.workload()?;
    let interrupt = interrupt()?;
    let mut progress = Progress::new(workload.duration_s);
    let bootstrap = &arguments.engine.bootstrap;
    let outcome = engine::run(&workload, bootstrap, &arguments.engine.options(), &interrupt, &mut progress)?;
    drop(progress);
    print!("{}", table::table(&outcome));
    Ok(match outcome.verdict.is_valid() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(INVALID),
    })
}

fn cores(text: &str) -> Result<Cores, String> {
    let mut list = Vec::new();
    for piece in text.split(',') {
        let (first, last) = piece.split_once('-').unwrap_or((piece, piece));
        let number = |word: &str| word.parse::<usize>().map_err(|_| format!("{word:?} is no core"));
        let (first, last) = (number(first)?, number(last)?);
        if last < first || last - first > 1024 {
            return Err(format!("{piece:?} is no range of cores"));
        }
        list.extend(first..=last);
    }
    Ok(Cores(list))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_listed() {
        assert_eq!(cores("0,2-4").unwrap().0, [0, 2, 3, 4]);
        assert!(cores("4-2").is_err());
        assert!(cores("x").unwrap_err().contains("no core"));
    }
}
