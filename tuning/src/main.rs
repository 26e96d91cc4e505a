//! `monedula-tune`: the machine under a broker.

#![warn(missing_docs)]

mod cli;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // SAFETY: no other thread runs yet. A reader that has seen enough (`| head`) ends this program without a word.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    match cli::run(cli::Cli::parse()) {
        Ok(code) => ExitCode::from(code),
        Err(why) => {
            eprintln!("monedula-tune: {why}");
            ExitCode::from(cli::EXIT_FAILED)
        }
    }
}
