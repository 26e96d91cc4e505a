//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tune::calls::Kernel;
use tune::cpu_set::CpuSet;
use tune::machine::{Interrupts, Machine, Subject};
use tune::root::Root;
use tune::{knobs, report};

/// The exit code where a command could not do its work.
pub const EXIT_FAILED: u8 = 2;

/// Checks and tunes the machine under a Monedula broker, and measures what it can do.
///
/// `check`, `explain` and `floor` need no root. Exit codes of `check`: 0 all as it should be, 1 something differs,
/// 2 it could not run, 3 nothing differs but something is not known.
#[derive(Debug, Parser)]
#[command(name = "monedula-tune", version, about, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compare every knob with what it should be; change nothing.
    Check(CheckArgs),
    /// Say what a knob does, why it matters, what can go wrong, and how it stands here.
    Explain(ExplainArgs),
}

/// What the broker will use.
#[derive(Args, Debug)]
struct SubjectArgs {
    /// Cores that carry shards, like `0-3,6`; by default all that this process may use.
    #[arg(long, value_name = "LIST")]
    cores: Option<CpuSet>,
    /// The broker's data directory: names the disk and the file system to look at.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where interrupts should go: away from the shards' cores, onto them, or away if there are others.
    #[arg(long, value_enum, default_value_t = InterruptsArg::Auto)]
    interrupts: InterruptsArg,
    /// Look at the files of a machine below this folder.
    #[arg(long, value_name = "DIR", hide = true)]
    root: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum InterruptsArg {
    /// Away where some cores carry no shards.
    Auto,
    /// To the cores without shards.
    Away,
    /// To the shards' cores, evenly.
    Onto,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// A table for people.
    Text,
    /// For programs.
    Json,
}

#[derive(Args, Debug)]
struct CheckArgs {
    #[command(flatten)]
    subject: SubjectArgs,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Args, Debug)]
struct ExplainArgs {
    /// A name as `check` prints it; all are listed if left out.
    #[arg(value_name = "KNOB")]
    knob: Option<String>,
    #[command(flatten)]
    subject: SubjectArgs,
}

impl SubjectArgs {
    fn machine(self) -> Result<Machine, String> {
        let subject = Subject {
            cores: self.cores,
            data: self.data,
            interrupts: match self.interrupts {
                InterruptsArg::Auto => Interrupts::Auto,
                InterruptsArg::Away => Interrupts::Away,
                InterruptsArg::Onto => Interrupts::Onto,
            },
        };
        Machine::new(self.root.map_or_else(Root::real, Root::at), Box::new(Kernel), &subject)
    }
}

/// Does what was asked. The exit code, or why it could not be done.
pub fn run(cli: Cli) -> Result<u8, String> {
    match cli.command {
        Command::Check(args) => check(args),
        Command::Explain(args) => explain(args),
    }
}

fn check(args: CheckArgs) -> Result<u8, String> {
    let machine = args.subject.machine()?;
    let knobs = knobs::read(&machine);
    match args.format {
        Format::Text => print!("{}", report::text(&machine, &knobs)),
        Format::Json => println!("{}", report::json(&machine, &knobs)),
    }
    Ok(report::Count::of(&knobs).exit_code())
}

fn explain(args: ExplainArgs) -> Result<u8, String> {
    let Some(name) = &args.knob else {
        for definition in knobs::all() {
            println!("{:<32} {}", definition.name, definition.wanted);
        }
        return Ok(0);
    };
    let definition = knobs::find(name)
        .ok_or_else(|| format!("no knob is named {name}: `monedula-tune explain` lists them"))?;
    let machine = args.subject.machine()?;
    let here: Vec<_> = (definition.read)(&machine)
        .into_iter()
        .map(|reading| tune::knob::Knob { definition, reading })
        .collect();
    print!("{}", report::explain(&machine, definition, &here));
    Ok(0)
}
