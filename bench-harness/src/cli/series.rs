//! The commands that make several runs: `sweep`, `search`, `partitions`, `matrix`, `drain`, `endurance`; and `calibrate`
//! and `churn`, which make other ones.

use std::process::ExitCode;

use clap::Args;

use super::Outcome;
use super::keep::{KeepArguments, exit_code};
use super::load::LoadOptions;
use super::process::interrupt;
use super::run::EngineArguments;
use crate::calibrate;
use crate::churn;
use crate::engine;
use crate::outcome;
use crate::progress::Progress;
use crate::scenario::{self, DrainWatch, Durability, Order, Step};
use crate::sustain::{Objective, sustain};
use crate::table::{duration, table};
use crate::workload::{Acks, ConsumerMode, Workload};

/// Seconds of looking at the clock.
const JITTER_S: f64 = 2.0;

/// What all series are asked.
#[derive(Debug, Args)]
pub struct SeriesArguments {
    #[command(flatten)]
    engine: EngineArguments,
    #[command(flatten)]
    load: LoadOptions,
    #[command(flatten)]
    keep: KeepArguments,
}

/// `sweep`.
#[derive(Debug, Args)]
pub struct SweepArguments {
    /// The lowest rate
    #[arg(long, value_name = "R", default_value_t = 1000.0)]
    from: f64,
    /// The highest
    #[arg(long, value_name = "R", default_value_t = 128_000.0)]
    to: f64,
    /// From one to the next
    #[arg(long, default_value_t = 2.0)]
    factor: f64,
    /// In which order
    #[arg(long, value_enum, default_value_t = Order::Up)]
    order: Order,
    #[command(flatten)]
    series: SeriesArguments,
}

/// `search`.
#[derive(Debug, Args)]
pub struct SearchArguments {
    /// The rate to begin with
    #[arg(long, value_name = "R", default_value_t = 1000.0)]
    from: f64,
    /// What must hold: the p99 of the response in milliseconds, with 99.9 % of the records acknowledged in time
    #[arg(long, value_name = "MS", default_value_t = 10.0)]
    slo_p99: f64,
    #[command(flatten)]
    series: SeriesArguments,
}

/// `partitions`.
#[derive(Debug, Args)]
pub struct PartitionsArguments {
    /// How many
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 100, 1000, 10_000])]
    counts: Vec<i32>,
    #[command(flatten)]
    series: SeriesArguments,
}

/// `matrix`.
#[derive(Debug, Args)]
pub struct MatrixArguments {
    /// A promise as `NAME` or `NAME:KEY=VALUE,…` with configs of topics, such as `memory:flush.mode=interval` for Monedula or
    /// `durable:flush.messages=1` for Kafka; as often as wanted
    #[arg(long, value_parser = durability, default_value = "default")]
    durability: Vec<Durability>,
    #[command(flatten)]
    series: SeriesArguments,
}

/// `drain`.
#[derive(Debug, Args)]
pub struct DrainArguments {
    /// Seconds of the measurement before the second subscription begins to read
    #[arg(long, value_name = "S", default_value_t = 20.0)]
    pause: f64,
    /// Nobody reads before everything has been written, and nothing is written while it is read: how fast, and for how much
    /// of the broker's CPU (with --broker-pid or --broker-status)
    #[arg(long, conflicts_with = "pause")]
    after: bool,
    #[command(flatten)]
    series: SeriesArguments,
}

/// `endurance`.
#[derive(Debug, Args)]
pub struct EnduranceArguments {
    /// How long
    #[arg(long, default_value_t = 1.0)]
    hours: f64,
    /// Bytes of a segment: small ones make retention work from the first minute
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20)]
    segment_bytes: u64,
    /// How long records are kept
    #[arg(long, value_name = "MS", default_value_t = 60_000)]
    retention_ms: u64,
    #[command(flatten)]
    series: SeriesArguments,
}

/// `calibrate`.
#[derive(Debug, Args)]
pub struct CalibrateArguments {
    /// The core that the null broker is pinned to
    #[arg(long, value_name = "CORE")]
    broker_core: Option<usize>,
    #[command(flatten)]
    series: SeriesArguments,
}

/// `churn`.
#[derive(Debug, Args)]
pub struct ChurnArguments {
    /// A broker
    #[arg(long, short, value_name = "HOST:PORT", default_value = "127.0.0.1:9092")]
    bootstrap: String,
    /// Connections per second
    #[arg(long, value_name = "R", default_value_t = 200.0)]
    rate: f64,
    /// Seconds
    #[arg(long, value_name = "S", default_value_t = 10.0)]
    seconds: f64,
    /// The same seed is the same schedule
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Rates one after another: latency against throughput.
pub fn sweep(arguments: &SweepArguments) -> Outcome {
    let base = arguments.series.load.workload()?;
    let steps = scenario::sweep(&base, arguments.from, arguments.to, arguments.factor, arguments.order)?;
    series(&steps, &arguments.series)
}

/// One load over different numbers of partitions.
pub fn partitions(arguments: &PartitionsArguments) -> Outcome {
    let base = arguments.series.load.workload()?;
    series(&scenario::partitions(&base, &arguments.counts), &arguments.series)
}

/// Acknowledgements against durability.
pub fn matrix(arguments: &MatrixArguments) -> Outcome {
    let base = arguments.series.load.workload()?;
    let acks = [Acks::None, Acks::Leader, Acks::All];
    series(&scenario::matrix(&base, &acks, &arguments.durability), &arguments.series)
}

fn series(steps: &[Step], arguments: &SeriesArguments) -> Outcome {
    for step in steps {
        step.workload.check()?;
    }
    let flag = interrupt()?;
    println!("{}", scenario::summary_head());
    let mut progress = Progress::new(steps.first().map_or(0.0, |step| step.workload.duration_s));
    let engine = &arguments.engine;
    let outcomes = scenario::carry_out(
        steps,
        &engine.bootstrap,
        &engine.options(),
        !engine.no_calibration,
        &flag,
        &mut progress,
        |step, outcome| {
            println!("{}", scenario::summary(&step.label, outcome));
            true
        },
    )?;
    drop(progress);
    let labels = steps.iter().map(|step| step.label.clone());
    finish(labels.zip(outcomes).collect(), arguments)
}

fn finish(steps: Vec<(String, outcome::Outcome)>, arguments: &SeriesArguments) -> Outcome {
    // A single one has said so in its table.
    for (label, outcome) in steps.iter().filter(|_| steps.len() > 1) {
        outcome.verdict.reasons().iter().for_each(|reason| println!("INVALID {label}: {reason}"));
    }
    let code = exit_code(steps.iter().map(|(_, outcome)| outcome));
    arguments.keep.keep(steps)?;
    Ok(code)
}

/// The highest rate that an objective holds at.
pub fn search(arguments: &SearchArguments) -> Outcome {
    let base = arguments.series.load.workload()?;
    let objective = Objective { p99_ns: (arguments.slo_p99 * 1e6) as u64 };
    let flag = interrupt()?;
    let engine = &arguments.series.engine;
    let mut steps = Vec::new();
    println!("{}", scenario::summary_head());
    let mut attempt = |rate: f64| {
        let workload = Workload { rate, name: format!("{rate:.0}/s"), ..base.clone() };
        let mut progress = Progress::new(workload.duration_s);
        let outcome = engine::run(&workload, &engine.bootstrap, &engine.options(), &flag, &mut progress);
        outcome.map_err(|error| error.to_string())
    };
    let mut watch = |rate: f64, outcome: outcome::Outcome, _| {
        let label = format!("{rate:.0}/s");
        println!("{}", scenario::summary(&label, &outcome));
        steps.push((label, outcome));
    };
    let found = sustain(&objective, arguments.from, &mut attempt, &mut watch);
    arguments.series.keep.keep(steps)?;
    let found = found?;
    if found.client_bound {
        println!(
            "the generator was the limit: give it more --workers and --cores; the broker may be able to do more"
        );
    }
    let objective = duration(objective.p99_ns);
    match found.rate {
        Some(rate) => println!("p99 ≤ {objective} holds up to {rate:.0} records/s"),
        None => println!("p99 ≤ {objective} holds at no rate that was tried"),
    }
    Ok(match found.rate.is_some() && !found.client_bound {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(super::INVALID),
    })
}

/// Everything is written, then everything is read.
fn read_afterwards(arguments: &DrainArguments) -> Outcome {
    let workload = arguments.series.load.workload()?;
    if workload.consumers.mode != ConsumerMode::Assign {
        return Err("drain --after reads without a group: leave --group and --consumers 0 out".into());
    }
    let flag = interrupt()?;
    let engine_arguments = &arguments.series.engine;
    let options = engine::Options { read_afterwards: true, ..engine_arguments.options() };
    let mut progress = Progress::new(workload.duration_s);
    let outcome = engine::run(&workload, &engine_arguments.bootstrap, &options, &flag, &mut progress)?;
    drop(progress);
    print!("{}", table(&outcome));
    finish(vec![("catch-up".to_owned(), outcome)], &arguments.series)
}

/// A backlog and how it is drained.
pub fn drain(arguments: &DrainArguments) -> Outcome {
    if arguments.after {
        return read_afterwards(arguments);
    }
    let workload = scenario::drain_workload(&arguments.series.load.workload()?);
    workload.check()?;
    if arguments.pause >= workload.duration_s {
        return Err(
            format!("--pause {} must end within --seconds {}", arguments.pause, workload.duration_s).into()
        );
    }
    let flag = interrupt()?;
    let engine_arguments = &arguments.series.engine;
    let mut options = engine_arguments.options();
    options.late_subscription = Some((1, arguments.pause));
    let mut progress = Progress::new(workload.duration_s);
    let mut watch = DrainWatch::new(&mut progress, 1, arguments.pause, workload.rate);
    let outcome = engine::run(&workload, &engine_arguments.bootstrap, &options, &flag, &mut watch)?;
    let drain = watch.drain();
    drop(progress);
    print!("{}", table(&outcome));
    println!("\nbacklog  {:>12} records when the second subscription began", drain.backlog_records);
    println!("drained  {:>12.0} records/s", drain.records_per_second);
    match drain.caught_up_after_s {
        Some(seconds) => println!("caught up{seconds:>12.1} s later: less than a second behind"),
        None => println!("caught up        never within the run"),
    }
    let pair = |(before, during): (u64, u64)| format!("{} → {}", duration(before), duration(during));
    println!("live producers' p99, before → meanwhile: {}", pair(drain.produce_p99_ns));
    println!("live consumers' p99, before → meanwhile: {}", pair(drain.end_to_end_p99_ns));
    finish(vec![("drain".to_owned(), outcome)], &arguments.series)
}

/// Hours of load with retention at work.
pub fn endurance(arguments: &EnduranceArguments) -> Outcome {
    let base = arguments.series.load.workload()?;
    let workload =
        scenario::endurance(&base, arguments.hours, arguments.segment_bytes, arguments.retention_ms);
    let steps = [Step { label: format!("{} h", arguments.hours), workload }];
    series(&steps, &arguments.series)
}

/// The floor of the harness.
pub fn calibrate_command(arguments: &CalibrateArguments) -> Outcome {
    let workload = arguments.series.load.workload()?;
    let flag = interrupt()?;
    let mut progress = Progress::new(workload.duration_s);
    let options = arguments.series.engine.options();
    let outcome = calibrate::calibrate(
        &workload,
        workload.duration_s,
        &options,
        arguments.broker_core,
        &flag,
        &mut progress,
    )?;
    drop(progress);
    print!("{}", table(&outcome));
    let jitter = calibrate::jitter(options.cores.first().copied(), JITTER_S);
    let at = |quantile| duration(jitter.value_at_quantile(quantile));
    println!(
        "\nA thread that does nothing but look at the clock, on the same core, would have been late by {} at p99, {} at p99.9, \
         {} at most: this is what the machine adds, and no generator on it can be better.",
        at(0.99),
        at(0.999),
        at(1.0)
    );
    finish(vec![("calibration".to_owned(), outcome)], &arguments.series)
}

/// Connections that come and go.
pub fn churn_command(arguments: &ChurnArguments) -> Outcome {
    if !(arguments.rate > 0.0 && arguments.seconds > 0.0 && arguments.rate * arguments.seconds < 1e8) {
        return Err(
            "churn wants a --rate and --seconds above 0, and fewer than 100,000,000 connections".into()
        );
    }
    let flag = interrupt()?;
    let churn = churn::churn(&arguments.bootstrap, arguments.rate, arguments.seconds, arguments.seed, &flag)?;
    println!("{:<28}{:>10}{:>11}{:>11}{:>11}{:>11}", "", "samples", "p50", "p99", "p99.9", "max");
    let rows = [("connected, asked, answered", &churn.response), ("  of that connecting", &churn.connect)];
    for (name, histogram) in rows {
        let at = |quantile| duration(histogram.value_at_quantile(quantile));
        println!(
            "{name:<28}{:>10}{:>11}{:>11}{:>11}{:>11}",
            histogram.len(),
            at(0.5),
            at(0.99),
            at(0.999),
            at(1.0)
        );
    }
    println!("{:.1} connections/s", churn.response.len() as f64 / churn.seconds.max(1e-9));
    for (reason, count) in &churn.failed {
        println!("failed {count:>8}   {reason}");
    }
    Ok(match churn.response.is_empty() {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

fn durability(text: &str) -> Result<Durability, String> {
    let (name, configs) = text.split_once(':').unwrap_or((text, ""));
    let pairs = configs.split(',').filter(|pair| !pair.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=').ok_or_else(|| format!("{pair:?} is no KEY=VALUE"))?;
        Ok((key.to_owned(), value.to_owned()))
    });
    Ok((name.to_owned(), pairs.collect::<Result<_, String>>()?))
}
