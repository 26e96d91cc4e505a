//! `compare`: the same load on brokers that are started for it, in turns, and one report of all.
//!
//! | file | what |
//! |---|---|
//! | `plan` | what is run in which order |
//! | `cores` | who gets which cores |
//! | `kafka`, `monedula` | how each broker is started |
//! | `process`, `watch` | child processes, and looking at them |
//!
//! A broker starts with an empty directory for each stretch of the plan, is warmed up, takes the steps of the stretch, is
//! stopped, and its directory is removed. What was measured before an error or Ctrl-C is kept and reported.

pub mod cores;
mod kafka;
mod monedula;
mod plan;
mod process;
pub mod watch;

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::cluster::Cluster;
use crate::environment::{Environment, Fact, capture};
use crate::outcome::Outcome;
use crate::plot::units;
use crate::results::{Broker, Preset, Results, Run};
use crate::sustain::{Held, Objective, sustain};
use crate::workload::{Batching, Create, SizeDistribution, Topics, Workload};

use cores::{Cores, Division};
use plan::{Matrix, Rate, Stretch, load_label, stretches};
use process::{Process, Scratch};
use watch::{Look, Watch, cpu_seconds_between};

pub use process::{BECOME, become_program};

/// How long a broker may take until it answers.
const READY_WAIT: Duration = Duration::from_secs(90);

/// Between two tries whether it does.
const READY_POLL: Duration = Duration::from_millis(100);

/// Rest after a stop, so that what the disk still does is not measured with the next broker.
const SETTLE: Duration = Duration::from_secs(1);

/// Warm-up of each try of a search, at most.
const SEARCH_WARM_UP_S: f64 = 2.0;

/// The version of Kafka that is compared with unless another is asked for.
const KAFKA_VERSION: &str = "4.3.1";

/// What `compare` is asked for.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// Apache Kafka: `maven` to fetch it, the directory of an unpacked release, or a class path.
    #[arg(long, value_name = "maven|DIR|CLASSPATH")]
    pub kafka: Option<String>,
    /// The broker program of Monedula, or NAME=PROGRAM; given several times, several are compared.
    #[arg(long, value_name = "[NAME=]PROGRAM")]
    pub monedula: Vec<String>,
    /// What an acknowledgement promises.
    #[arg(long, value_delimiter = ',', value_name = "LIST", default_value = "durable,replicated-memory", value_parser = parse_preset)]
    pub presets: Vec<Preset>,
    /// Partitions of the topic.
    #[arg(long, value_delimiter = ',', value_name = "LIST", default_value = "1,16,100")]
    pub partitions: Vec<i32>,
    /// Records per second, and `max` for the highest rate that keeps to the objective.
    #[arg(long, value_delimiter = ',', value_name = "LIST", default_value = "1000,10000,max")]
    rates: Vec<Rate>,
    /// How often the brokers take turns.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub rounds: u32,
    /// Seconds of each measurement.
    #[arg(long, value_name = "SECONDS", default_value_t = 20.0)]
    pub seconds: f64,
    /// Seconds of warm-up before each measurement, at its rate.
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    pub warm_up: f64,
    /// Seconds of load after a broker's start that no measurement sees: a JVM compiles meanwhile.
    #[arg(long, value_name = "SECONDS", default_value_t = 15.0)]
    pub start_warm_up: f64,
    /// A workload to start from, as `monedula-bench workload` prints it; topics, rate and times are set here.
    #[arg(long, value_name = "FILE")]
    pub workload: Option<PathBuf>,
    /// Bytes of a record's value.
    #[arg(long, value_name = "BYTES")]
    pub record_bytes: Option<usize>,
    /// How records become batches: java-4.x, librdkafka, none.
    #[arg(long, value_name = "PRESET")]
    pub batching: Option<String>,
    /// Producers.
    #[arg(long, value_name = "N")]
    pub producers: Option<usize>,
    /// The seed of schedule, keys and payload; the same for every broker.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// A rate is sustained while p99 of the response is no more than this.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 100.0)]
    pub objective_p99_ms: f64,
    /// The first rate of a search.
    #[arg(long, value_name = "RATE", default_value_t = 5000.0)]
    pub search_from: f64,
    /// Seconds of each try of a search.
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    pub search_seconds: f64,
    /// Cores of the broker under test, such as 0-3 [default: all but the generator's].
    #[arg(long, value_name = "LIST")]
    pub broker_cores: Option<Cores>,
    /// Cores of the generator [default: a quarter where there are four or more, otherwise all, shared].
    #[arg(long, value_name = "LIST")]
    pub generator_cores: Option<Cores>,
    /// All brokers stay up through a round instead of one at a time; the load still goes to one at a time.
    #[arg(long)]
    pub at_once: bool,
    /// Kafka's version, with `--kafka maven`.
    #[arg(long, value_name = "VERSION", default_value = KAFKA_VERSION)]
    pub kafka_version: String,
    /// Kafka's heap [default: 6144, or a quarter of the memory].
    #[arg(long, value_name = "MEGABYTES")]
    pub kafka_heap: Option<u64>,
    /// A further flag for Kafka's JVM.
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    pub kafka_jvm: Vec<String>,
    /// A further property for Kafka's server.properties.
    #[arg(long, value_name = "KEY=VALUE")]
    pub kafka_property: Vec<String>,
    /// A further argument for `monedula start`.
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    pub monedula_argument: Vec<String>,
    /// The port of the broker under test [default: a free one].
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Where brokers keep their data while they run [default: the temporary directory].
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Keep the brokers' logs and last data.
    #[arg(long)]
    pub keep: bool,
    /// Where report and results go.
    #[arg(long, value_name = "DIR", default_value = "comparison")]
    pub output: PathBuf,
}

fn parse_preset(text: &str) -> Result<Preset, String> {
    let preset = Preset::ALL.into_iter().find(|preset| preset.name() == text);
    preset.ok_or_else(|| format!("`{text}` is no preset: durable, replicated-memory"))
}

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

/// A broker that can be started.
enum Contender {
    Kafka(kafka::Kafka),
    Monedula(monedula::Monedula),
}

struct Named {
    name: String,
    contender: Contender,
}

/// A broker that runs.
struct Running {
    process: Process,
    bootstrap: String,
    directory: String,
}

/// Runs the comparison. Must be called from the main thread: brokers die with the thread that started them.
pub fn compare(arguments: &Arguments, command: String, load: &mut Load<'_>) -> Result<Compared, String> {
    let division = division(arguments)?;
    let contenders = contenders(arguments, &division)?;
    let base = base_workload(arguments)?;
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
        brokers: contenders.iter().map(describe).collect(),
        environment,
        runs: Vec::new(),
    };
    let watch = Watch::start(scratch.path());
    let mut comparison =
        Comparison { arguments, contenders, division, base, scratch, watch, results, load, processes: Vec::new() };
    let ended_early = comparison.run().err();
    Ok(comparison.finish(ended_early))
}

struct Comparison<'a, 'l> {
    arguments: &'a Arguments,
    contenders: Vec<Named>,
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
                load_label(stretch.partitions, self.base.record_bytes.mean_bytes() as usize),
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
        let named = &self.contenders[broker];
        let directory = format!("broker-{broker}");
        let place = self.scratch.empty(&directory)?;
        let port = match self.arguments.port {
            Some(port) => taken_or(port + 2 * broker as u16)?,
            None => free_port()?,
        };
        let mut process = match &named.contender {
            Contender::Kafka(kafka) => {
                let controller = if self.arguments.port.is_some() { taken_or(port + 1)? } else { free_port()? };
                kafka.start(&place, port, controller)?
            }
            Contender::Monedula(monedula) => monedula.start(&place, port)?,
        };
        let bootstrap = format!("127.0.0.1:{port}");
        wait_until_ready(&mut process, &bootstrap)?;
        Ok(Running { process, bootstrap, directory })
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
            Rate::Maximum => None,
        });
        let mut warm_up = self.workload(stretch, "warm-up", first.unwrap_or(self.arguments.search_from));
        warm_up.duration_s = self.arguments.start_warm_up.max(0.1);
        warm_up.warm_up.min_s = 0.0;
        self.load_of(stretch, &warm_up, running)?;
        for (at, rate) in stretch.rates.iter().enumerate() {
            let topic = format!("step-{at}");
            match rate {
                Rate::Fixed(per_second) => {
                    let workload = self.workload(stretch, &topic, *per_second);
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
                self.load_of(stretch, &workload, running)
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
                "The search for the maximum of {name} was ended by the generator, not by the broker: it may be able to do more."
            ));
        }
        let Some(found) = found.rate else {
            self.note(format!(
                "{name} sustained no rate within the objective ({}, {} partitions, round {}).",
                stretch.preset.name(),
                stretch.partitions,
                stretch.round
            ));
            return Ok(());
        };
        let workload = self.workload(stretch, topic, found);
        self.measure(stretch, &workload, Rate::Maximum, running)
    }

    fn measure(&mut self, stretch: &Stretch, workload: &Workload, rate: Rate, running: &mut Running) -> Result<(), String> {
        let outcome = self.load_of(stretch, workload, running)?;
        let interrupted = outcome.interrupted;
        eprintln!("    {}: {}", rate.label(), line(&outcome));
        for reason in outcome.verdict.reasons() {
            eprintln!("    INVALID: {reason}");
        }
        self.keep_run(stretch, rate.label(), false, outcome, running);
        if interrupted { Err("interrupted".to_owned()) } else { Ok(()) }
    }

    /// One load; fails with the broker's own words if the broker has ended.
    fn load_of(&mut self, stretch: &Stretch, workload: &Workload, running: &mut Running) -> Result<Outcome, String> {
        let broker = &self.results.brokers[stretch.broker];
        let destination = Destination {
            bootstrap: running.bootstrap.clone(),
            name: broker.name.clone(),
            version: broker.version.clone(),
            generator: self.division.generator.clone(),
        };
        self.watch.look_at(running.process.id());
        let outcome = (self.load)(workload, &destination);
        running.process.check()?;
        outcome.map_err(|error| format!("{}: {error}", broker.name))
    }

    fn keep_run(&mut self, stretch: &Stretch, step: String, probe: bool, outcome: Outcome, running: &Running) {
        self.processes.push(running.process.id());
        self.results.runs.push(Run {
            preset: Some(stretch.preset),
            load: load_label(stretch.partitions, self.base.record_bytes.mean_bytes() as usize),
            step,
            broker: self.contenders[stretch.broker].name.clone(),
            round: stretch.round,
            probe,
            broker_cpu_seconds: None,
            outcome,
        });
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
            configs: configs(&self.contenders[stretch.broker].contender, stretch.preset),
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
            run.broker_cpu_seconds = cpu_of(&noted.looks, process, &run.outcome);
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

/// What a topic needs for a preset.
fn configs(contender: &Contender, preset: Preset) -> std::collections::BTreeMap<String, String> {
    let config = match (contender, preset) {
        // Kafka's default leaves flushing to the page cache; with this every append is flushed before its acknowledgement.
        (Contender::Kafka(_), Preset::Durable) => Some(("flush.messages", "1")),
        (Contender::Kafka(_), Preset::ReplicatedMemory) => None,
        // Durable is Monedula's default.
        (Contender::Monedula(_), Preset::Durable) => None,
        (Contender::Monedula(_), Preset::ReplicatedMemory) => Some(("flush.mode", "interval")),
    };
    config.map(|(key, value)| (key.to_owned(), value.to_owned())).into_iter().collect()
}

fn division(arguments: &Arguments) -> Result<Division, String> {
    let available = core_affinity::get_core_ids().ok_or("the cores of this process cannot be told")?;
    let available: Vec<usize> = available.into_iter().map(|core| core.id).collect();
    Division::of(&available, arguments.broker_cores.clone(), arguments.generator_cores.clone())
}

fn contenders(arguments: &Arguments, division: &Division) -> Result<Vec<Named>, String> {
    let mut contenders: Vec<Named> = Vec::new();
    for program in &arguments.monedula {
        let (name, program) = program.split_once('=').unwrap_or(("monedula", program));
        if contenders.iter().any(|other| other.name == name) {
            return Err(format!("two brokers are called {name}: give them names, --monedula NAME=PROGRAM"));
        }
        let monedula = monedula::Monedula::find(Path::new(program), &arguments.monedula_argument, &division.brokers)?;
        contenders.push(Named { name: name.to_owned(), contender: Contender::Monedula(monedula) });
    }
    if let Some(source) = &arguments.kafka {
        let heap = arguments.kafka_heap.unwrap_or_else(|| kafka::heap_megabytes(memory_megabytes()));
        let kafka = kafka::Kafka::find(
            &kafka::Source::parse(source)?,
            &arguments.kafka_version,
            heap,
            &arguments.kafka_jvm,
            &arguments.kafka_property,
            &division.brokers,
        )?;
        contenders.push(Named { name: "kafka".to_owned(), contender: Contender::Kafka(kafka) });
    }
    match contenders.is_empty() {
        true => Err("nothing to compare: give --kafka, --monedula or both".to_owned()),
        false => Ok(contenders),
    }
}

fn memory_megabytes() -> u64 {
    let facts = capture(Path::new("/"), Path::new("/"));
    let total = facts.iter().find(|fact| fact.name == "MemTotal");
    let kilobytes = total.and_then(|fact| fact.value.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) / 1024
}

#[allow(clippy::disallowed_methods, reason = "the user's workload is read here")]
fn base_workload(arguments: &Arguments) -> Result<Workload, String> {
    let mut workload = match &arguments.workload {
        None => Workload::default(),
        Some(path) => {
            let named = |error: String| format!("{}: {error}", path.display());
            let text = std::fs::read_to_string(path).map_err(|error| named(error.to_string()))?;
            serde_json::from_str(&text).map_err(|error| named(error.to_string()))?
        }
    };
    workload.seed = arguments.seed;
    if let Some(bytes) = arguments.record_bytes {
        workload.record_bytes = SizeDistribution::Fixed { bytes };
    }
    if let Some(producers) = arguments.producers {
        workload.producers = producers;
    }
    if let Some(preset) = &arguments.batching {
        let known = Batching::PRESETS.join(", ");
        workload.batching = Batching::preset(preset).ok_or_else(|| format!("`{preset}` is no batching: {known}"))?;
    }
    workload.check().map_err(|error| error.to_string())?;
    Ok(workload)
}

fn describe(named: &Named) -> Broker {
    match &named.contender {
        Contender::Kafka(kafka) => Broker {
            name: named.name.clone(),
            version: Some(format!("{} on {}", kafka.version().unwrap_or_else(|| "unknown".to_owned()), kafka.java_version())),
            command: Some(kafka.command()),
            configuration: Some(kafka.properties(9092, 9093, "DATA")),
        },
        Contender::Monedula(monedula) => Broker {
            name: named.name.clone(),
            version: Some(monedula.version().to_owned()),
            command: Some(monedula.command()),
            configuration: None,
        },
    }
}

fn title(contenders: &[Named]) -> String {
    let names: Vec<&str> = contenders.iter().map(|named| named.name.as_str()).collect();
    names.join(" beside ")
}

/// What a reader must know before the figures.
fn notes(arguments: &Arguments, division: &Division, facts: &[Fact], contenders: &[Named]) -> Vec<String> {
    let all = core_affinity::get_core_ids().map_or(0, |cores| cores.len());
    let mut notes = vec![division.note(all)];
    notes.push(format!(
        "{} rounds in turns, {} s measured after {} s of warm-up at the same rate; every broker began each stretch of steps \
         with an empty directory and {} s of load. Same seed, same schedule.",
        arguments.rounds, arguments.seconds, arguments.warm_up, arguments.start_warm_up
    ));
    if contenders.iter().any(|named| matches!(named.contender, Contender::Kafka(_))) {
        notes.push(
            "durable: an acknowledged record is on stable storage; Kafka's topics have flush.messages=1, Monedula's are as \
             they come. replicated-memory: Kafka's topics are as they come, Monedula's have flush.mode=interval; on one \
             node neither is durable."
                .to_owned(),
        );
    }
    let fact = |section: &str, name: &str| {
        facts.iter().find(|fact| fact.section == section && fact.name == name).map(|fact| fact.value.as_str())
    };
    if fact("cpu", "virtual machine") == Some("yes") {
        notes.push("The machine is a virtual one: neighbours that cannot be seen share its disk and may take its CPU.".to_owned());
    }
    if fact("disk", "file system").is_some_and(|kind| matches!(kind, "tmpfs" | "overlay")) {
        notes.push("The brokers' data was not on a disk of its own kind: no figure here says anything about durability.".to_owned());
    }
    if arguments.at_once {
        notes.push("All brokers were up all the time; the load went to one at a time.".to_owned());
    }
    notes
}

/// The commit of the source tree, where there is one.
#[allow(clippy::disallowed_methods, reason = "git is asked")]
fn commit() -> Option<String> {
    let output = std::process::Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| format!("no free port: {error}"))?;
    listener.local_addr().map(|address| address.port()).map_err(|error| format!("no free port: {error}"))
}

/// The port, unless somebody listens there.
fn taken_or(port: u16) -> Result<u16, String> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Ok(port),
        Err(error) => Err(format!("port {port} cannot be had ({error}): stop what listens there, or leave --port out")),
    }
}

#[allow(clippy::disallowed_methods, reason = "waits for a process")]
fn wait_until_ready(process: &mut Process, bootstrap: &str) -> Result<(), String> {
    let mut waited = Duration::ZERO;
    loop {
        process.check()?;
        match Cluster::connect(bootstrap) {
            Ok(_) => return Ok(()),
            Err(error) if waited >= READY_WAIT => {
                return Err(format!("no answer within {} s: {error}; it said:\n{}", READY_WAIT.as_secs(), process.tail()));
            }
            Err(_) => {}
        }
        std::thread::sleep(READY_POLL);
        waited += READY_POLL;
    }
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
    use crate::outcome::Measure;
    let percentile = |percentile: f64| {
        let value = outcome.percentile(Measure::Produce, percentile);
        value.map_or("–".to_owned(), |value| units::latency(value as f64))
    };
    let per_second = outcome.counts.acked as f64 / outcome.measured_seconds.max(f64::MIN_POSITIVE);
    format!("{}/s, p50 {}, p99 {}, p99.9 {}", units::rate(per_second), percentile(50.0), percentile(99.0), percentile(99.9))
}

fn words(held: Held) -> &'static str {
    match held {
        Held::Yes => "sustained",
        Held::No => "not sustained",
        Held::ClientBound => "the generator was the limit",
    }
}
