//! The command line: what each command is called, and who carries it out.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Open-loop load on any Kafka-protocol broker, and latency that can be believed.
#[derive(Debug, Parser)]
#[command(name = "monedula-bench", version, about, max_term_width = 110)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prints the default workload as JSON: a file of it, changed, is what `run --workload` reads.
    Workload,
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Workload => print_default_workload(),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("monedula-bench: {error}");
            ExitCode::from(2)
        }
    }
}

type Outcome = Result<ExitCode, Box<dyn std::error::Error>>;

fn print_default_workload() -> Outcome {
    println!("{}", serde_json::to_string_pretty(&crate::workload::Workload::default())?);
    Ok(ExitCode::SUCCESS)
}
