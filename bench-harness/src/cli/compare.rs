//! `monedula-bench compare`, and the hidden command by which it starts brokers.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use clap::Args;

use super::process::{command_line, interrupt};
use super::{INVALID, Outcome};
use crate::calibrate::{self, calibrate};
use crate::compare::{self, Arguments};
use crate::engine::{self, Options, Unwatched};
use crate::figures::invalid_runs;
use crate::outcome::Floor;
use crate::report::{HTML_FILE, MARKDOWN_FILE, write};
use crate::scenario::CALIBRATION_S;
use crate::workload::Workload;

/// The same load on several brokers, in turns.
#[derive(Debug, Args)]
pub struct CompareArguments {
    #[command(flatten)]
    compare: Arguments,
    /// Worker threads of the generator
    #[arg(long, value_name = "N", default_value_t = 1)]
    workers: usize,
    /// Workers spin instead of sleeping: less lag where they have cores of their own
    #[arg(long)]
    busy: bool,
}

/// Carries the command out.
pub fn run(arguments: &CompareArguments) -> Outcome {
    let interrupt = interrupt()?;
    let mut floors = Floors::default();
    let mut load = |workload: &Workload, destination: &compare::Destination| {
        let options = Options {
            workers: arguments.workers,
            cores: destination.generator.0.clone(),
            busy: arguments.busy,
            read_afterwards: destination.read_afterwards,
            broker_status: destination.broker_status.clone(),
            broker_process: Some(destination.broker_process),
            ends_with_broker: true,
            ..Options::default()
        };
        let floor = match destination.with_floor {
            true => Some(floors.of(
                workload,
                &options,
                destination.broker_cores.0.first().copied(),
                &interrupt,
            )?),
            false => None,
        };
        let options = Options { floor, ..options };
        let outcome = engine::run(workload, &destination.bootstrap, &options, &interrupt, &mut Unwatched);
        let mut outcome = outcome.map_err(|error| error.to_string())?;
        outcome.target.name = Some(destination.name.clone());
        outcome.target.version = destination.version.clone();
        Ok(outcome)
    };
    let compared = compare::compare(&arguments.compare, command_line(), &mut load)?;
    let output = &arguments.compare.output;
    if compared.results.runs.is_empty() {
        return Err(compared.ended_early.unwrap_or_else(|| "nothing was measured".to_owned()).into());
    }
    write(output, &compared.results)?;
    let tables = output.join(MARKDOWN_FILE);
    println!("report: {}\ntables: {}", output.join(HTML_FILE).display(), tables.display());
    if let Some(error) = compared.ended_early {
        return Err(format!("ended early, what was measured until then is kept: {error}").into());
    }
    Ok(match invalid_runs(&compared.results).is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(INVALID),
    })
}

/// Floors by what decides them. A broker's figures and those of the others stand beside the same floor.
#[derive(Default)]
struct Floors(BTreeMap<(i32, u64, String), Floor>);

impl Floors {
    /// The floor at the workload's rate and partitions, measured once.
    fn of(
        &mut self,
        workload: &Workload,
        options: &Options,
        core: Option<usize>,
        interrupt: &AtomicBool,
    ) -> Result<Floor, String> {
        let arrival = format!("{:?}", workload.arrival);
        let key = (workload.topics.partitions, workload.rate as u64, arrival);
        if let Some(floor) = self.0.get(&key) {
            return Ok(floor.clone());
        }
        let outcome = calibrate(workload, CALIBRATION_S, options, core, interrupt, &mut Unwatched);
        let floor = calibrate::floor(&outcome.map_err(|error| error.to_string())?);
        self.0.insert(key, floor.clone());
        Ok(floor)
    }
}

/// What to become.
#[derive(Debug, Args)]
pub struct BecomeArguments {
    /// The process that it must not outlive
    parent: u32,
    /// The cores that it may use
    cores: String,
    /// The program and its arguments
    #[arg(last = true)]
    program: Vec<String>,
}

/// Carries the hidden command out: returns only where that fails.
pub fn become_program(arguments: &BecomeArguments) -> Outcome {
    Err(compare::become_program(arguments.parent, &arguments.cores, &arguments.program).into())
}
