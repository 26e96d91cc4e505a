//! `monedula`: the broker as a process.

#![warn(missing_docs)]

mod cli;

use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Command, Format, StartArgs, Switch};

/// Requests are allocated on one shard and freed on another, and some are large: see the README, "Decisions".
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Some(Command::Probe(args)) => broker::shell::probe(&args.data, args.seconds),
        Some(Command::Top(args)) => broker::shell::top(&args.data, args.once, args.format == Format::Json),
        Some(Command::Slow(args)) => {
            broker::shell::slow(&args.data, args.seconds, args.format == Format::Json)
        }
        Some(Command::Ledger(args)) => broker::shell::ledger(&args.data, args.state == Switch::On),
        Some(Command::Start(args)) => start(args),
        None => match Cli::parse_from(["monedula", "start"]).command {
            Some(Command::Start(args)) => start(args),
            _ => unreachable!("`monedula start` parses to start"),
        },
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("monedula: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start(args: StartArgs) -> Result<(), broker::shell::StartError> {
    broker::shell::start_logging(&args.log)?;
    broker::shell::run(args.into_options())
}
