//! `monedula-sim`: runs worlds, one for each seed, and says which of them went wrong.

use std::process::ExitCode;

use clap::Parser;
use sim::options::Options;
use sim::run_seed;

/// Runs whole brokers under virtual time, one world for each seed.
#[derive(Parser, Debug)]
#[command(name = "monedula-sim", version)]
struct Cli {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, each one more than the last.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Go on with further seeds for so many minutes.
    #[arg(long)]
    minutes: Option<u64>,
    /// Print everything that happens.
    #[arg(long)]
    trace: bool,
}

#[allow(clippy::disallowed_methods, reason = "how long to go on is asked of the world outside")]
fn main() -> ExitCode {
    let cli = Cli::parse();
    let until =
        cli.minutes.map(|minutes| std::time::Instant::now() + std::time::Duration::from_secs(minutes * 60));
    let (mut passed, mut failed) = (0u64, 0u64);
    let mut seed = cli.seed;
    loop {
        let more = match until {
            Some(until) => std::time::Instant::now() < until,
            None => passed + failed < cli.seeds,
        };
        if !more {
            break;
        }
        let outcome = run_seed(seed, Options::draw(seed), cli.trace);
        if outcome.violations.is_empty() {
            passed += 1;
        } else {
            failed += 1;
            println!(
                "seed {seed} failed after {} lines of trace; replay: monedula-sim --seed {seed} --trace",
                outcome.lines
            );
            outcome.violations.iter().take(5).for_each(|violation| println!("  {violation}"));
        }
        if cli.seeds == 1 && cli.minutes.is_none() {
            println!(
                "seed {seed}: {} acknowledged, {} read, {} lives, {} times met rot, trace {:016x}{}",
                outcome.acknowledged,
                outcome.read,
                outcome.lives,
                outcome.rot_met,
                outcome.trace,
                outcome.unavailable.map(|why| format!(", unavailable: {why}")).unwrap_or_default()
            );
        }
        seed += 1;
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
