//! `compare`: the same load on brokers that are started for it, in turns, and one report of all.
//!
//! | file | what |
//! |---|---|
//! | `plan` | what is run in which order |
//! | `arguments` | what is asked for |
//! | `cores` | who gets which cores |
//! | `contender` | a broker that can be started, and what the report says of it |
//! | `kafka`, `monedula` | how each broker is started |
//! | `process`, `watch` | child processes, and looking at them |
//!
//! A broker starts with an empty directory for each stretch of the plan, is warmed up, takes the steps of the stretch, is
//! stopped, and its directory is removed. What was measured before an error or Ctrl-C is kept and reported.

mod arguments;
mod contender;
pub mod cores;
mod kafka;
mod monedula;
mod plan;
mod process;
pub mod watch;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::environment::{Environment, capture};
use crate::figures::acked_per_second;
use crate::outcome::{Measure, Outcome};
use crate::plot::units;
use crate::results::{Results, Run};
use crate::sustain::{Held, Objective, sustain};
use crate::workload::{Arrival, Create, Topics, Workload};

use contender::{Contender, commit, contenders, notes, title};
use cores::{Cores, Division};
use plan::{Matrix, Rate, Stretch, load_label, stretches};
use process::{Process, Scratch};
use watch::{Look, Watch, cpu_seconds_between};

pub use arguments::Arguments;
pub use process::{BECOME, become_program};

/// Rest after a stop, so that what the disk still does is not measured with the next broker.
const SETTLE: Duration = Duration::from_secs(1);

/// Measurements at length of the rate that a search has found, until one keeps to the objective.
const TRIES_AT_LENGTH_MAX: u32 = 4;

/// From one of them to the next the rate is divided by this.
const BACK_OFF: f64 = 1.25;

/// Warm-up of each try of a search, at most.
const SEARCH_WARM_UP_S: f64 = 2.0;

/// Where a load goes, and from where.
#[derive(Clone, Debug)]
pub struct Destination {
    /// `host:port` of the broker.
    pub bootstrap: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: Option<String>,
    /// The cores of the generator.
    pub generator: Cores,
    /// The cores of the broker.
    pub broker_cores: Cores,
    /// Whether the harness's own floor is wanted beside the result.
    pub with_floor: bool,
    /// Whether everything is to be written before anything is read.
    pub read_afterwards: bool,
    /// Where the broker tells of its own stages, if it does.
    pub broker_status: Option<PathBuf>,
    /// Its process.
    pub broker_process: u32,
}

/// Whoever makes the load. An outcome with `interrupted` ends the comparison.
pub type Load<'a> = dyn FnMut(&Workload, &Destination) -> Result<Outcome, String> + 'a;

/// What is known when a comparison is over.
#[derive(Debug)]
pub struct Compared {
    /// All that was measured.
    pub results: Results,
    /// Why it ended early, if it did.
    pub ended_early: Option<String>,
}

/// A broker that runs.
struct Running {
    process: Process,
    bootstrap: String,
    directory: String,
    status: Option<PathBuf>,
}

/// What a load has besides itself.
#[derive(Clone, Copy, Default)]
struct Extras {
    floor: bool,
    read_afterwards: bool,
}

/// Runs the comparison. Must be called from the main thread: brokers die with the thread that started them.
pub fn compare(arguments: &Arguments, command: String, load: &mut Load<'_>) -> Result<Compared, String> {
    let division = arguments.division()?;
    let contenders = contenders(arguments, &division)?;
    let base = arguments.base_workload()?;
    let parent = arguments.data.clone().unwrap_or_else(std::env::temp_dir);
    let scratch = Scratch::create(&parent, arguments.keep)?;
    let environment = Environment { facts: capture(Path::new("/"), scratch.path()), samples: Vec::new() };
    let notes = notes(arguments, &division, &environment.facts, &contenders);
    let results = Results {
        title: title(&contenders),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: commit(),
        command,
        created_at_ms: 0,
        notes,
        brokers: contenders.iter().map(Contender::describe).collect(),
        environment,
        runs: Vec::new(),
    };
    let watch = Watch::start(scratch.path());
    let mut comparison = Comparison {
        arguments,
        contenders,
        division,
        base,
        scratch,
        watch,
        results,
        load,
        processes: Vec::new(),
    };
    let ended_early = comparison.run().err();
    Ok(comparison.finish(ended_early))
}

struct Comparison<'a, 'l> {
    arguments: &'a Arguments,
    contenders: Vec<Contender>,
    division: Division,
    base: Workload,
    scratch: Scratch,
    watch: Watch,
    results: Results,
    load: &'a mut Load<'l>,
    /// The process of each run.
    processes: Vec<u32>,
}

impl Comparison<'_, '_> {
    fn run(&mut self) -> Result<(), String> {
        let matrix = Matrix {
            presets: self.arguments.presets.clone(),
            partitions: self.arguments.partitions.clone(),
            rates: self.arguments.rates.clone(),
            rounds: self.arguments.rounds,
            brokers: self.contenders.len(),
        };
        let plan = stretches(&matrix);
        let mut others: Vec<Running> = Vec::new();
        for (at, stretch) in plan.iter().enumerate() {
            eprintln!(
                "[{}/{}] {}, {}, round {}: {}",
                at + 1,
                plan.len(),
                stretch.preset.name(),
                self.load_label(stretch),
                stretch.round,
                self.contenders[stretch.broker].name
            );
            if self.arguments.at_once && stretch.broker == 0 {
                self.stop_all(&mut others)?;
                for broker in 0..self.contenders.len() {
                    others.push(self.start(broker)?);
                }
            }
            if self.arguments.at_once {
                self.stretch(stretch, &mut others[stretch.broker])?;
            } else {
                let mut running = self.start(stretch.broker)?;
                self.stretch(stretch, &mut running)?;
                self.stop_all(&mut vec![running])?;
            }
        }
        self.stop_all(&mut others)
    }

    fn start(&mut self, broker: usize) -> Result<Running, String> {
        let contender = &self.contenders[broker];
        let directory = format!("broker-{broker}");
        let place = self.scratch.empty(&directory)?;
        let (process, bootstrap) =
            contender.start(&place, self.arguments.port.map(|port| port + 2 * broker as u16))?;
        let status = contender.status(&place);
        Ok(Running { process, bootstrap, directory, status })
    }

    fn stop_all(&mut self, running: &mut Vec<Running>) -> Result<(), String> {
        for mut running in running.drain(..) {
            running.process.stop();
            if !self.arguments.keep {
                self.scratch.remove(&running.directory)?;
            }
        }
        rest(SETTLE);
        Ok(())
    }

    /// Warms a broker up and takes it through the steps of a stretch.
    fn stretch(&mut self, stretch: &Stretch, running: &mut Running) -> Result<(), String> {
        let first = stretch.rates.iter().find_map(|rate| match rate {
            Rate::Fixed(rate) => Some(*rate),
            Rate::Maximum | Rate::Closed(_) | Rate::CatchUp(_) => None,
        });
        let mut warm_up = self.workload(stretch, "warm-up", first.unwrap_or(self.arguments.search_from));
        warm_up.duration_s = self.arguments.start_warm_up.max(0.1);
        warm_up.warm_up.min_s = 0.0;
        let warmed = self.load_of(stretch, &warm_up, Extras::default(), running)?;
        running.process.check()?;
        if warmed.interrupted {
            return Err("interrupted".to_owned());
        }
        for (at, rate) in stretch.rates.iter().enumerate() {
            let topic = format!("step-{at}");
            match rate {
                Rate::Fixed(per_second) | Rate::CatchUp(per_second) => {
                    let workload = self.workload(stretch, &topic, *per_second);
                    self.measure(stretch, &workload, *rate, running)?;
                }
                Rate::Closed(records) => {
                    let mut workload = self.workload(stretch, &topic, self.arguments.search_from);
                    workload.arrival = Arrival::Closed { records: *records };
                    self.measure(stretch, &workload, *rate, running)?;
                }
                Rate::Maximum => self.maximum(stretch, &topic, running)?,
            }
        }
        Ok(())
    }

    /// Searches the highest sustained rate, and measures there for the whole time.
    fn maximum(&mut self, stretch: &Stretch, topic: &str, running: &mut Running) -> Result<(), String> {
        let objective = Objective { p99_ns: (self.arguments.objective_p99_ms * 1e6) as u64 };
        let from = self.arguments.search_from;
        let mut tried = Vec::new();
        let found = {
            let mut attempt = |rate: f64| {
                let mut workload = self.workload(stretch, &format!("{topic}-try"), rate);
                workload.duration_s = self.arguments.search_seconds;
                workload.warm_up.min_s = workload.warm_up.min_s.min(SEARCH_WARM_UP_S);
                let outcome = self.load_of(stretch, &workload, Extras::default(), running)?;
                running.process.check()?;
                Ok(outcome)
            };
            let mut watch = |rate: f64, outcome: Outcome, held: Held| {
                let label = Rate::Fixed(rate).label();
                eprintln!("    {label}: {}, {}", line(&outcome), words(held));
                tried.push((format!("{label} tried"), outcome));
            };
            sustain(&objective, from, &mut attempt, &mut watch)
        };
        for (step, outcome) in tried {
            self.keep_run(stretch, step, true, outcome, running);
        }
        let found = found?;
        let name = self.contenders[stretch.broker].name.clone();
        if found.client_bound {
            self.note(format!(
                "The search for the maximum of {name} ended where the generator was late too: the broker may be able to do more."
            ));
        }
        let Some(found) = found.rate else {
            self.note(format!(
                "{name} sustained no rate within the objective ({}, {}, round {}).",
                stretch.preset.name(),
                self.load_label(stretch),
                stretch.round
            ));
            return Ok(());
        };
        self.maximum_at_length(stretch, topic, &objective, found, running)
    }

    /// Measures at the rate that was found. A short try may have been lucky: where the objective does not hold for the whole
    /// time, that is kept as another try, and the next is a little lower.
    fn maximum_at_length(
        &mut self,
        stretch: &Stretch,
        topic: &str,
        objective: &Objective,
        found: f64,
        running: &mut Running,
    ) -> Result<(), String> {
        let mut rate = found;
        for _ in 1..TRIES_AT_LENGTH_MAX {
            let workload = self.workload(stretch, topic, rate.round());
            let extras = Extras { floor: true, ..Extras::default() };
            let outcome = self.load_of(stretch, &workload, extras, running)?;
            let held = objective.judge(&outcome);
            if held == Held::Yes || outcome.interrupted {
                return self.keep_measured(stretch, Rate::Maximum, outcome, running);
            }
            let label = format!("{} tried at length", Rate::Fixed(rate.round()).label());
            eprintln!("    {label}: {}, {}", line(&outcome), words(held));
            self.keep_run(stretch, label, true, outcome, running);
            running.process.check()?;
            rate /= BACK_OFF;
        }
        // The last is shown as it is.
        let workload = self.workload(stretch, topic, rate.round());
        self.measure(stretch, &workload, Rate::Maximum, running)
    }

    fn measure(
        &mut self,
        stretch: &Stretch,
        workload: &Workload,
        rate: Rate,
        running: &mut Running,
    ) -> Result<(), String> {
        let extras = Extras { floor: true, read_afterwards: matches!(rate, Rate::CatchUp(_)) };
        let outcome = self.load_of(stretch, workload, extras, running)?;
        self.keep_measured(stretch, rate, outcome, running)
    }

    fn keep_measured(
        &mut self,
        stretch: &Stretch,
        rate: Rate,
        outcome: Outcome,
        running: &mut Running,
    ) -> Result<(), String> {
        let interrupted = outcome.interrupted;
        eprintln!("    {}: {}", rate.label(), line(&outcome));
        for reason in outcome.verdict.reasons() {
            eprintln!("    INVALID: {reason}");
        }
        self.keep_run(stretch, rate.label(), false, outcome, running);
        running.process.check()?;
        if interrupted { Err("interrupted".to_owned()) } else { Ok(()) }
    }

    /// One load. An outcome is kept even if the broker has ended meanwhile.
    fn load_of(
        &mut self,
        stretch: &Stretch,
        workload: &Workload,
        extras: Extras,
        running: &mut Running,
    ) -> Result<Outcome, String> {
        let broker = &self.results.brokers[stretch.broker];
        let destination = Destination {
            bootstrap: running.bootstrap.clone(),
            name: broker.name.clone(),
            version: broker.version.clone(),
            generator: self.division.generator.clone(),
            broker_cores: self.division.brokers.clone(),
            with_floor: extras.floor,
            read_afterwards: extras.read_afterwards,
            broker_status: running.status.clone(),
            broker_process: running.process.id(),
        };
        self.watch.look_at(running.process.id());
        let outcome = (self.load)(workload, &destination);
        if outcome.is_err() {
            // What the broker said at its end tells more.
            running.process.check()?;
        }
        outcome.map_err(|error| format!("{}: {error}", broker.name))
    }

    fn keep_run(
        &mut self,
        stretch: &Stretch,
        step: String,
        probe: bool,
        outcome: Outcome,
        running: &Running,
    ) {
        self.processes.push(running.process.id());
        self.results.runs.push(Run {
            preset: Some(stretch.preset),
            load: self.load_label(stretch),
            step,
            broker: self.contenders[stretch.broker].name.clone(),
            round: stretch.round,
            probe,
            broker_cpu_seconds: None,
            outcome,
        });
    }

    fn load_label(&self, stretch: &Stretch) -> String {
        load_label(stretch.partitions, self.base.record_bytes.mean_bytes() as usize)
    }

    fn note(&mut self, note: String) {
        if !self.results.notes.contains(&note) {
            self.results.notes.push(note);
        }
    }

    fn workload(&self, stretch: &Stretch, topic: &str, rate: f64) -> Workload {
        let mut workload = self.base.clone();
        workload.name = format!("{topic} {}", stretch.preset.name());
        workload.topics = Topics {
            name: format!("compare-{}-{topic}", stretch.round),
            count: 1,
            partitions: stretch.partitions,
            replication_factor: 1,
            configs: self.contenders[stretch.broker].configs(stretch.preset),
            create: Create::IfMissing,
        };
        workload.rate = rate;
        workload.duration_s = self.arguments.seconds;
        workload.warm_up.min_s = self.arguments.warm_up;
        workload
    }

    /// Adds what was watched; removes what was started.
    fn finish(mut self, ended_early: Option<String>) -> Compared {
        let noted = self.watch.finish();
        for (run, process) in self.results.runs.iter_mut().zip(self.processes) {
            let watched = || cpu_of(&noted.looks, process, &run.outcome);
            run.broker_cpu_seconds = run.outcome.broker_cpu_seconds.or_else(watched);
        }
        self.results.environment.samples = noted.samples;
        self.results.created_at_ms = now_ms();
        if let Some(error) = &ended_early {
            self.results.notes.push(format!("Ended early: {}", error.lines().next().unwrap_or_default()));
        }
        Compared { results: self.results, ended_early }
    }
}

fn cpu_of(looks: &[Look], process: u32, outcome: &Outcome) -> Option<f64> {
    let from_ms = outcome.started_at_ms;
    let to_ms = from_ms + (outcome.measured_seconds * 1000.0) as u64;
    cpu_seconds_between(looks, process, from_ms, to_ms)
}

#[allow(clippy::disallowed_methods, reason = "the disk is left alone for a while")]
fn rest(time: Duration) {
    std::thread::sleep(time);
}

#[allow(clippy::disallowed_methods, reason = "results are dated")]
fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

/// A run in one line.
fn line(outcome: &Outcome) -> String {
    let percentile = |percentile: f64| {
        let value = outcome.percentile(Measure::Produce, percentile);
        value.map_or("–".to_owned(), |value| units::latency(value as f64))
    };
    let per_second = acked_per_second(outcome);
    let cpu = outcome.broker_cpu_seconds.map_or(String::new(), |cpu| {
        format!(", broker {} cores", units::ratio(cpu / outcome.measured_seconds.max(1e-9)))
    });
    let read = outcome.catch_up.as_ref().map_or(String::new(), |read| {
        format!(", then read at {}", units::throughput(read.bytes as f64 / read.seconds.max(1e-9)))
    });
    format!(
        "{}/s, p50 {}, p99 {}, p99.9 {}{cpu}{read}",
        units::rate(per_second),
        percentile(50.0),
        percentile(99.0),
        percentile(99.9)
    )
}

fn words(held: Held) -> &'static str {
    match held {
        Held::Yes => "sustained",
        Held::No => "not sustained",
        Held::ClientBound => "not sustained, and the generator was late",
    }
}
