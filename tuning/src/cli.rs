//! The command line.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tune::apply::{self, Outcome, Plan, RealPrograms};
use tune::calls::Kernel;
use tune::change::Change;
use tune::cpu_set::CpuSet;
use tune::echo::{self, Bounds, Ended};
use tune::floor::Options;
use tune::knob::{Definition, Knob, State};
use tune::machine::{Interrupts, Machine, Subject};
use tune::rollback::{self, Keeper};
use tune::root::Root;
use tune::{knobs, report};

/// The exit code where a command could not do its work.
pub const EXIT_FAILED: u8 = 2;

/// Where `apply` notes how things were.
const ROLLBACK: &str = "/var/lib/monedula-tune/rollback.json";

/// Checks and tunes the machine under a Monedula broker, and measures what it can do.
///
/// `check`, `explain`, `floor` and `echo` need no root. Exit codes of `check`: 0 all as it should be, 1 something differs,
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
    /// Set every knob that differs and can be set, after noting how it was. Needs root.
    Apply(ApplyArgs),
    /// Take back what `apply` did. Needs root.
    Undo(UndoArgs),
    /// Measure what this machine can do at best, idle and with busy cores, and name what limits it.
    Floor(FloorArgs),
    /// Serve the other end of `floor --peer`: send back what it sends, until Ctrl-C.
    Echo(EchoArgs),
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
struct ApplyArgs {
    /// Only these knobs, by the names that `check` prints; all if left out.
    #[arg(value_name = "KNOB")]
    knobs: Vec<String>,
    #[command(flatten)]
    subject: SubjectArgs,
    /// Print what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print a shell script that does it, and do nothing.
    #[arg(long, conflicts_with = "dry_run")]
    output_script: bool,
    /// Where to note how things were.
    #[arg(long, value_name = "FILE", default_value = ROLLBACK)]
    rollback: PathBuf,
}

#[derive(Args, Debug)]
struct UndoArgs {
    /// Where `apply` noted how things were.
    #[arg(long, value_name = "FILE", default_value = ROLLBACK)]
    rollback: PathBuf,
    /// Print what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Work on the files of a machine below this folder.
    #[arg(long, value_name = "DIR", hide = true)]
    root: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct FloorArgs {
    /// The data directory to write to: 16 MiB for the time being.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Measure the round trip to another machine, where `monedula-tune echo` runs, in place of the loopback interface.
    #[arg(long, value_name = "HOST:PORT")]
    peer: Option<String>,
    /// How long to measure, all in all, seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Cores that carry shards, like `0-3,6`; by default all that this process may use.
    #[arg(long, value_name = "LIST")]
    cores: Option<CpuSet>,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Args, Debug)]
struct EchoArgs {
    /// Where to listen, like 10.0.0.2:9777; port 0 takes a free one and names it.
    #[arg(value_name = "HOST:PORT")]
    address: String,
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
        Command::Apply(args) => apply(args),
        Command::Undo(args) => undo(args),
        Command::Floor(args) => floor(args),
        Command::Echo(args) => echo(args),
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

fn apply(args: ApplyArgs) -> Result<u8, String> {
    let names: Vec<String> = args
        .knobs
        .iter()
        .map(|name| definition(name).map(|definition| definition.name.to_owned()))
        .collect::<Result<_, _>>()?;
    let machine = args.subject.machine()?;
    let knobs = knobs::read(&machine);
    let plan = Plan::new(&machine, &knobs, &names);
    if args.output_script {
        print!("{}", plan.script());
        return Ok(0);
    }
    for left in &plan.left {
        println!("left      {}: {}", left.knob, left.reason);
        left.commands.iter().for_each(|command| println!("          {command}"));
    }
    if args.dry_run {
        for step in &plan.steps {
            println!("would set {}", step.knob);
            tune::change::commands(&step.changes).iter().for_each(|command| println!("          {command}"));
        }
        return Ok(0);
    }
    let unreadable = knobs.iter().filter(|knob| knob.reading.state == State::Unreadable);
    for knob in unreadable {
        println!("unread    {}: {}", knob.definition.name, knob.reading.found);
    }
    if plan.steps.is_empty() {
        println!("nothing is to be set");
        return Ok(0);
    }
    let keeper = Keeper::lock(&args.rollback)?;
    let outcomes = apply::apply(&machine.root, &mut RealPrograms, &keeper, &plan)?;
    let code = show(&outcomes, "set");
    println!("`monedula-tune undo` takes it back, from {}", keeper.path().display());
    Ok(code)
}

fn undo(args: UndoArgs) -> Result<u8, String> {
    let root = args.root.map_or_else(Root::real, Root::at);
    if args.dry_run {
        let rollback = rollback::load(&args.rollback)?
            .ok_or_else(|| format!("there is no rollback file {}", args.rollback.display()))?;
        rollback.entries.iter().rev().for_each(|entry| println!("would undo {}", entry.reverse()));
        return Ok(0);
    }
    let keeper = Keeper::lock(&args.rollback)?;
    let outcomes = apply::undo(&root, &mut RealPrograms, &keeper)?;
    Ok(show(&outcomes, "restored"))
}

/// Prints what became of changes. 1 if one of them failed.
fn show(outcomes: &[(Change, Outcome)], done: &str) -> u8 {
    for (change, outcome) in outcomes {
        match outcome {
            Outcome::Done => println!("{done:<9} {change}"),
            Outcome::Already => println!("already   {change}"),
            Outcome::Foreign(now) => {
                println!("left      {change}: it is `{now}`, which this program did not set");
            }
            Outcome::Failed(why) => println!("failed    {change}: {why}"),
        }
    }
    u8::from(outcomes.iter().any(|(_, outcome)| matches!(outcome, Outcome::Failed(_))))
}

fn floor(args: FloorArgs) -> Result<u8, String> {
    let cores = match args.cores {
        Some(cores) if cores.is_empty() => {
            return Err("--cores names no core: write a list like 0-3,6".to_owned());
        }
        Some(cores) => cores,
        None => {
            tune::machine::allowed(&Root::real()).map_err(|error| format!("{error}: name --cores LIST"))?
        }
    };
    let duration = Duration::from_secs(args.seconds);
    let options = Options { cores, data: args.data, peer: args.peer, duration };
    let floor = tune::floor::measure(options, |what| eprintln!("measuring {what}"))?;
    match args.format {
        Format::Text => print!("{}", floor.text()),
        Format::Json => println!("{}", floor.json()),
    }
    Ok(0)
}

fn echo(args: EchoArgs) -> Result<u8, String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", args.address);
    let listener = TcpListener::bind(&args.address).map_err(|error| {
        format!("{}: name an address of this machine and a free port, like 0.0.0.0:9777", wrong(error))
    })?;
    // Set by Ctrl-C and by what stops a service.
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [libc::SIGINT, libc::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(wrong)?;
    }
    let address = listener.local_addr().map_err(wrong)?;
    println!(
        "listening at {address}: `monedula-tune floor --peer HOST:{}` elsewhere, Ctrl-C here ends it",
        address.port()
    );
    let say = |Ended { peer, messages, why }: Ended| println!("{peer} {messages} round trips, {why}");
    echo::serve(&listener, Bounds::default(), &stop, say).map_err(wrong)?;
    println!("stopped");
    Ok(0)
}

fn definition(name: &str) -> Result<&'static Definition, String> {
    knobs::find(name).ok_or_else(|| format!("no knob is named {name}: `monedula-tune explain` lists them"))
}

fn explain(args: ExplainArgs) -> Result<u8, String> {
    let Some(name) = &args.knob else {
        for definition in knobs::all() {
            println!("{:<32} {}", definition.name, definition.wanted);
        }
        return Ok(0);
    };
    let definition = definition(name)?;
    let machine = args.subject.machine()?;
    let here: Vec<_> =
        (definition.read)(&machine).into_iter().map(|reading| Knob { definition, reading }).collect();
    print!("{}", report::explain(&machine, definition, &here));
    Ok(0)
}
