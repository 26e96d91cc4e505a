//! `monedula-bench omb`.
#![allow(clippy::disallowed_methods, reason = "the files of the user are read here")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use clap::Args;

use super::process::{command_line, interrupt};
use super::run::find_broker;
use super::{INVALID, Outcome};
use crate::compare::cores::Cores;
use crate::engine::{self, Options};
use crate::omb::{Driver, OmbWorkload, Plan, plan, render_result};
use crate::progress::Progress;
use crate::results::{Results, Run, slug};
use crate::sustain::{Objective, sustain};
use crate::workload::Workload;
use crate::{outcome, report, table};

/// Seconds of each try where a rate is searched.
const TRY_SECONDS: f64 = 15.0;

/// A workload of the OpenMessaging Benchmark.
#[derive(Debug, Args)]
pub struct OmbArguments {
    /// The Kafka driver, such as driver-kafka/kafka-latency.yaml
    driver: PathBuf,
    /// The workload, such as workloads/1-topic-16-partitions-1kb.yaml
    workload: PathBuf,
    /// Brokers to begin with [default: bootstrap.servers of the driver]
    #[arg(long, short, value_name = "HOST:PORT,…")]
    bootstrap: Option<String>,
    /// Replicas of each partition [default: that of the driver]
    #[arg(long, value_name = "N")]
    replication_factor: Option<i16>,
    /// Minutes of measurement instead of those of the workload
    #[arg(long, value_name = "MINUTES")]
    minutes: Option<f64>,
    /// Minutes of warm-up instead of those of the workload
    #[arg(long, value_name = "MINUTES")]
    warm_up_minutes: Option<f64>,
    /// Where producerRate is 0: a rate is sustained while p99 is no more than this
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 100.0)]
    objective_p99_ms: f64,
    /// Worker threads
    #[arg(long, value_name = "N", default_value_t = 1)]
    workers: usize,
    /// Cores that workers are pinned to
    #[arg(long, value_name = "LIST")]
    cores: Option<Cores>,
    /// A Monedula on this machine, by its data directory or DATA/monedula.sock: its own stages are printed beside our figures
    #[arg(long, value_name = "PATH")]
    broker_status: Option<PathBuf>,
    /// The broker's process on this machine: its CPU time is printed [default: that of --broker-status]
    #[arg(long, value_name = "PID")]
    broker_pid: Option<u32>,
    /// Where the result of OMB's form, the report and the logs go
    #[arg(long, short, value_name = "DIR", default_value = "omb-result")]
    output: PathBuf,
}

/// Carries the command out.
pub fn run(arguments: &OmbArguments) -> Outcome {
    let mut driver = read(&arguments.driver, Driver::parse)?;
    let mut omb = read(&arguments.workload, OmbWorkload::parse)?;
    driver.replication_factor = arguments.replication_factor.unwrap_or(driver.replication_factor);
    omb.test_duration_minutes = arguments.minutes.unwrap_or(omb.test_duration_minutes);
    omb.warmup_duration_minutes = arguments.warm_up_minutes.unwrap_or(omb.warmup_duration_minutes);
    let mut plan = plan(&omb, &driver)?;
    let bootstrap = arguments.bootstrap.as_deref().or(driver.bootstrap());
    let bootstrap = bootstrap.ok_or("the driver has no bootstrap.servers: give --bootstrap")?;
    for note in &plan.notes {
        eprintln!("note: {note}");
    }
    let interrupt = interrupt()?;
    if plan.search {
        search(arguments, &mut plan, bootstrap, &interrupt)?;
    }
    let outcome = measure(arguments, &plan, bootstrap, &interrupt)?;
    print!("{}", table::table(&outcome));
    let valid = outcome.verdict.is_valid();
    keep(arguments, &omb, &driver, plan, outcome)?;
    Ok(if valid { ExitCode::SUCCESS } else { ExitCode::from(INVALID) })
}

fn read<T>(path: &Path, parse: impl Fn(&str) -> Result<T, String>) -> Result<T, String> {
    let named = |error: String| format!("{}: {error}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| named(error.to_string()))?;
    parse(&text).map_err(named)
}

fn options(arguments: &OmbArguments) -> Options {
    let cores = arguments.cores.clone().unwrap_or_default().0;
    Options {
        workers: arguments.workers,
        cores,
        broker_status: arguments.broker_status.as_deref().and_then(find_broker),
        broker_process: arguments.broker_pid,
        ..Options::default()
    }
}

/// Finds the highest sustained rate and puts it into the plan.
fn search(
    arguments: &OmbArguments,
    plan: &mut Plan,
    bootstrap: &str,
    interrupt: &AtomicBool,
) -> Result<(), String> {
    let objective = Objective { p99_ns: (arguments.objective_p99_ms * 1e6) as u64 };
    let options = options(arguments);
    let mut attempt = |rate: f64| {
        let mut workload = Workload { rate, duration_s: TRY_SECONDS, ..plan.workload.clone() };
        workload.warm_up.min_s = workload.warm_up.min_s.min(TRY_SECONDS / 3.0);
        let mut progress = Progress::new(workload.duration_s);
        let outcome = engine::run(&workload, bootstrap, &options, interrupt, &mut progress);
        outcome.map_err(|error| error.to_string())
    };
    let found = sustain(&objective, plan.workload.rate, &mut attempt, &mut |_, _, _| {})?;
    plan.workload.rate =
        found.rate.ok_or("no rate was sustained within the objective: raise --objective-p99-ms")?;
    plan.notes.push("The rate was searched.".to_owned());
    Ok(())
}

/// The measurement; with a backlog, consumers begin when it is stored.
fn measure(
    arguments: &OmbArguments,
    plan: &Plan,
    bootstrap: &str,
    interrupt: &AtomicBool,
) -> Result<outcome::Outcome, Box<dyn std::error::Error>> {
    let mut workload = plan.workload.clone();
    let mut options = options(arguments);
    if plan.backlog_bytes > 0 {
        if workload.consumers.subscriptions != 1 {
            return Err("a backlog is built for one subscription: set subscriptionsPerTopic to 1".into());
        }
        options.late_subscription = Some((0, plan.backlog_seconds()));
        workload.duration_s += plan.backlog_seconds();
    }
    let mut progress = Progress::new(workload.duration_s);
    let outcome = engine::run(&workload, bootstrap, &options, interrupt, &mut progress)?;
    drop(progress);
    Ok(outcome)
}

fn keep(
    arguments: &OmbArguments,
    omb: &OmbWorkload,
    driver: &Driver,
    plan: Plan,
    outcome: outcome::Outcome,
) -> Result<(), String> {
    let result = render_result(omb, &driver.name, &outcome)?;
    let broker = outcome.target.name.clone().unwrap_or_else(|| "broker".to_owned());
    let run = Run {
        preset: None,
        load: omb.name.clone(),
        step: format!("{}/s", crate::plot::units::rate(outcome.workload.rate)),
        broker,
        round: 1,
        probe: false,
        broker_cpu_seconds: outcome.broker_cpu_seconds,
        outcome,
    };
    let mut results = Results::of_run(run, command_line());
    results.notes.extend(plan.notes);
    report::write(&arguments.output, &results)?;
    let name = slug(&format!("{} {}", omb.name, driver.name)) + ".json";
    let path = arguments.output.join(name);
    std::fs::write(&path, result).map_err(|error| format!("{}: {error}", path.display()))?;
    println!(
        "report: {}\nOMB's result: {}",
        arguments.output.join(report::HTML_FILE).display(),
        path.display()
    );
    Ok(())
}
