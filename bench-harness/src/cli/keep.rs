//! What commands leave behind: a directory with report and logs, outcomes as JSON, and an exit code.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::INVALID;
use super::process::command_line;
use crate::outcome::Outcome;
use crate::report;
use crate::results::{Results, Run};

/// Where results go besides the terminal.
#[derive(Debug, Args)]
#[command(next_help_heading = "Results")]
pub struct KeepArguments {
    /// Write a directory: an HTML report, interval logs (.hlog), .hgrm, CSV, JSON and the machine's description
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Write the whole outcomes as JSON, one a line
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// What the broker is called in reports
    #[arg(long, value_name = "NAME", default_value = "broker")]
    broker_name: String,
}

impl KeepArguments {
    /// Writes what was asked for. Each outcome has the name of its step.
    pub fn keep(&self, steps: Vec<(String, Outcome)>) -> Result<(), String> {
        if let Some(path) = &self.json {
            let failed = |error: String| format!("{}: {error}", path.display());
            write_lines(path, &steps).map_err(|error| failed(error.to_string()))?;
        }
        let Some(directory) = &self.output else { return Ok(()) };
        let mut rounds: BTreeMap<String, u32> = BTreeMap::new();
        let mut runs = steps.into_iter().map(|(step, outcome)| {
            let round = rounds.entry(step.clone()).or_default();
            *round += 1;
            let topics = &outcome.workload.topics;
            Run {
                preset: None,
                load: format!("{} partitions", topics.count as i64 * i64::from(topics.partitions)),
                step,
                broker: self.broker_name.clone(),
                round: *round,
                probe: false,
                broker_cpu_seconds: outcome.broker_cpu_seconds,
                outcome,
            }
        });
        let Some(first) = runs.next() else { return Ok(()) };
        let mut results = Results::of_run(first, command_line());
        results.runs.extend(runs);
        report::write(directory, &results)?;
        println!("report: {}", directory.join(report::HTML_FILE).display());
        Ok(())
    }
}

#[allow(clippy::disallowed_methods, reason = "the command line writes the file that it is told to")]
fn write_lines(path: &PathBuf, steps: &[(String, Outcome)]) -> std::io::Result<()> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    for (_, outcome) in steps {
        serde_json::to_writer(&mut file, outcome)?;
        file.write_all(b"\n")?;
    }
    file.flush()
}

/// Success, if the figures of all may be believed.
pub fn exit_code<'a>(mut outcomes: impl Iterator<Item = &'a Outcome>) -> ExitCode {
    match outcomes.all(|outcome| outcome.verdict.is_valid()) {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(INVALID),
    }
}
