//! `monedula-tune`: the machine under a broker.

#![warn(missing_docs)]

mod cli;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::run(cli::Cli::parse()) {
        Ok(code) => ExitCode::from(code),
        Err(why) => {
            eprintln!("monedula-tune: {why}");
            ExitCode::from(cli::EXIT_FAILED)
        }
    }
}
