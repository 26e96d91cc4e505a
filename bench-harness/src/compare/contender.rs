//! A broker that can be started, and what the report says of it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cluster::Cluster;
use crate::environment::{Fact, capture};
use crate::results::{Broker, Preset};

use super::arguments::Arguments;
use super::cores::Division;
use super::process::Process;
use super::{kafka, monedula};

/// How long a broker may take until it answers.
const READY_WAIT: Duration = Duration::from_secs(90);

/// Between two tries whether it does.
const READY_POLL: Duration = Duration::from_millis(100);

/// A broker that can be started.
pub struct Contender {
    /// What it is called in the report.
    pub name: String,
    program: Program,
}

enum Program {
    Kafka(kafka::Kafka),
    Monedula(monedula::Monedula),
}

impl Contender {
    /// Starts it in an empty directory and waits until it answers; also gives its `host:port`.
    pub fn start(&self, place: &Path, port: Option<u16>) -> Result<(Process, String), String> {
        let main = port.map_or_else(free_port, taken_or)?;
        let mut process = match &self.program {
            Program::Kafka(kafka) => {
                let controller = port.map_or_else(free_port, |port| taken_or(port + 1))?;
                kafka.start(place, main, controller)?
            }
            Program::Monedula(monedula) => monedula.start(place, main)?,
        };
        let bootstrap = format!("127.0.0.1:{main}");
        wait_until_ready(&mut process, &bootstrap)?;
        Ok((process, bootstrap))
    }

    /// The socket that tells of its own stages when it runs in this directory, if it has one.
    pub fn status(&self, place: &Path) -> Option<PathBuf> {
        match &self.program {
            Program::Kafka(_) => None,
            Program::Monedula(monedula) => Some(monedula.status(place)),
        }
    }

    /// What a topic needs for a preset.
    pub fn configs(&self, preset: Preset) -> BTreeMap<String, String> {
        let config = match (&self.program, preset) {
            // Kafka leaves flushing to the page cache; with this an append is flushed before its acknowledgement.
            (Program::Kafka(_), Preset::Durable) => Some(("flush.messages", "1")),
            (Program::Kafka(_), Preset::ReplicatedMemory) => None,
            // Durable is Monedula's default.
            (Program::Monedula(_), Preset::Durable) => None,
            (Program::Monedula(_), Preset::ReplicatedMemory) => Some(("flush.mode", "interval")),
        };
        config.map(|(key, value)| (key.to_owned(), value.to_owned())).into_iter().collect()
    }

    /// For the report.
    pub fn describe(&self) -> Broker {
        match &self.program {
            Program::Kafka(kafka) => {
                let version = kafka.version().unwrap_or_else(|| "unknown".to_owned());
                Broker {
                    name: self.name.clone(),
                    version: Some(format!("{version} on {}", kafka.java_version())),
                    command: Some(kafka.command()),
                    configuration: Some(kafka.properties(9092, 9093, "DATA")),
                }
            }
            Program::Monedula(monedula) => Broker {
                name: self.name.clone(),
                version: Some(monedula.version().to_owned()),
                command: Some(monedula.command()),
                configuration: None,
            },
        }
    }

    fn is_kafka(&self) -> bool {
        matches!(self.program, Program::Kafka(_))
    }
}

/// The brokers that are asked for, in the order of tables.
pub fn contenders(arguments: &Arguments, division: &Division) -> Result<Vec<Contender>, String> {
    let mut contenders: Vec<Contender> = Vec::new();
    for program in &arguments.monedula {
        let (name, program) = program.split_once('=').unwrap_or(("monedula", program));
        if contenders.iter().any(|other| other.name == name) {
            return Err(format!("two brokers are called {name}: give them names, --monedula NAME=PROGRAM"));
        }
        let monedula =
            monedula::Monedula::find(Path::new(program), &arguments.monedula_argument, &division.brokers)?;
        contenders.push(Contender { name: name.to_owned(), program: Program::Monedula(monedula) });
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
        contenders.push(Contender { name: "kafka".to_owned(), program: Program::Kafka(kafka) });
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

/// What the report is called.
pub fn title(contenders: &[Contender]) -> String {
    let names: Vec<&str> = contenders.iter().map(|contender| contender.name.as_str()).collect();
    names.join(" beside ")
}

/// What a reader must know before the figures.
pub fn notes(
    arguments: &Arguments,
    division: &Division,
    facts: &[Fact],
    contenders: &[Contender],
) -> Vec<String> {
    let all = core_affinity::get_core_ids().map_or(0, |cores| cores.len());
    let mut notes = vec![division.note(all)];
    notes.push(format!(
        "{} in turns, {} s measured after {} s of warm-up at the same rate; every broker began each stretch of steps \
         with an empty directory and {} s of load. Same seed, same schedule.",
        if arguments.rounds == 1 { "1 round".to_owned() } else { format!("{} rounds", arguments.rounds) },
        arguments.seconds,
        arguments.warm_up, arguments.start_warm_up
    ));
    if contenders.iter().any(Contender::is_kafka) {
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
pub fn commit() -> Option<String> {
    let output = std::process::Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn free_port() -> Result<u16, String> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| format!("no free port: {error}"))?;
    listener.local_addr().map(|address| address.port()).map_err(|error| format!("no free port: {error}"))
}

/// The port, unless somebody listens there.
fn taken_or(port: u16) -> Result<u16, String> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Ok(port),
        Err(error) => {
            Err(format!("port {port} cannot be had ({error}): stop what listens there, or leave --port out"))
        }
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
                return Err(format!(
                    "no answer within {} s: {error}; it said:\n{}",
                    READY_WAIT.as_secs(),
                    process.tail()
                ));
            }
            Err(_) => {}
        }
        std::thread::sleep(READY_POLL);
        waited += READY_POLL;
    }
}
