//! The command line: what each command is called, and who carries it out.

mod compare;
mod keep;
pub mod load;
mod omb;
mod process;
mod report;
mod run;
mod series;

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
    /// Puts a load on a broker and says what came of it
    Run(run::RunArguments),
    /// Measures one load at several rates: latency against throughput
    Sweep(series::SweepArguments),
    /// Finds the highest rate at which the p99 keeps to an objective
    Search(series::SearchArguments),
    /// Measures one load over different numbers of partitions
    Partitions(series::PartitionsArguments),
    /// Measures one load with every acknowledgement and promise of durability
    Matrix(series::MatrixArguments),
    /// Lets a second subscription build a backlog and drain it, and watches the live one meanwhile
    Drain(series::DrainArguments),
    /// Measures for hours while retention removes what is old
    Endurance(series::EnduranceArguments),
    /// Opens and closes connections, so many a second
    Churn(series::ChurnArguments),
    /// Measures the harness itself, on a broker in this process that does nothing
    Calibrate(series::CalibrateArguments),
    /// Runs the same load on Monedula and a real Apache Kafka in turns, and writes one report
    Compare(Box<compare::CompareArguments>),
    /// Runs a workload of the OpenMessaging Benchmark with one of its Kafka drivers
    Omb(omb::OmbArguments),
    /// Derives the report of a result directory again
    Report(report::ReportArguments),
    /// Packs a result directory into one file
    Bundle(report::BundleArguments),
    /// Derives every figure of a bundle or result directory again, and names each that differs
    Verify(report::VerifyArguments),
    /// Becomes another program, pinned, that ends with its parent; `compare` starts brokers so
    #[command(hide = true)]
    Become(compare::BecomeArguments),
    /// Prints the default workload as JSON: a file of it, changed, is what `run --workload` reads
    Workload,
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Sweep(arguments) => series::sweep(&arguments),
        Command::Search(arguments) => series::search(&arguments),
        Command::Partitions(arguments) => series::partitions(&arguments),
        Command::Matrix(arguments) => series::matrix(&arguments),
        Command::Drain(arguments) => series::drain(&arguments),
        Command::Endurance(arguments) => series::endurance(&arguments),
        Command::Churn(arguments) => series::churn_command(&arguments),
        Command::Calibrate(arguments) => series::calibrate_command(&arguments),
        Command::Compare(arguments) => compare::run(&arguments),
        Command::Omb(arguments) => omb::run(&arguments),
        Command::Report(arguments) => report::report(&arguments),
        Command::Bundle(arguments) => report::bundle(&arguments),
        Command::Verify(arguments) => report::verify(&arguments),
        Command::Become(arguments) => compare::become_program(&arguments),
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

/// What a command came to: an exit code, or an error for people.
pub type Outcome = Result<ExitCode, Box<dyn std::error::Error>>;

/// The exit code of a run whose figures may not be believed.
pub const INVALID: u8 = 3;

fn print_default_workload() -> Outcome {
    println!("{}", serde_json::to_string_pretty(&crate::workload::Workload::default())?);
    Ok(ExitCode::SUCCESS)
}
