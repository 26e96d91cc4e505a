//! Apache Kafka as one node: KRaft, broker and controller in one process. Where its jars are, which JVM flags and
//! properties it gets, and starting it. Everything it is given is shown in the report.
#![allow(clippy::disallowed_methods, reason = "this is the shell around Kafka's files and processes")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::cores::Cores;
use super::process::Process;

/// Names Kafka's jars for Maven; the compatibility tests use the same file.
const POM: &str = include_str!("../../../broker/compat/kafka/pom.xml");

/// What Kafka logs: warnings, on its standard error.
const LOG_PROPERTIES: &str = include_str!("../../../broker/compat/kafka/log4j2.properties");

/// Where Kafka's classes come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Maven fetches them.
    Maven,
    /// A class path.
    ClassPath(String),
}

impl Source {
    /// From `maven`, the directory of an unpacked Kafka, or a class path.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "maven" {
            return Ok(Self::Maven);
        }
        let directory = Path::new(text);
        if directory.is_dir() {
            let jars = directory.join("libs");
            let has_jars =
                jars.is_dir() && fs::read_dir(&jars).is_ok_and(|mut entries| entries.next().is_some());
            return match has_jars {
                true => Ok(Self::ClassPath(format!("{}/*", jars.display()))),
                false => Err(format!(
                    "{text} has no folder libs with jars: give the directory of an unpacked binary release of Kafka, a \
                     class path, or `maven`"
                )),
            };
        }
        match text.contains(':') || text.ends_with(".jar") || text.ends_with('*') {
            true => Ok(Self::ClassPath(text.to_owned())),
            false => Err(format!(
                "{text} is no directory and no class path; `--kafka maven` fetches Kafka through Maven"
            )),
        }
    }

    /// The class path; Maven is asked once for each version and keeps its answer in the user's cache.
    fn class_path(&self, version: &str) -> Result<String, String> {
        match self {
            Self::ClassPath(path) => Ok(path.clone()),
            Self::Maven => maven_class_path(version),
        }
    }
}

fn maven_class_path(version: &str) -> Result<String, String> {
    let cache = cache_directory();
    let answer = cache.join(format!("kafka-{version}-{:08x}.classpath", crc32c::crc32c(POM.as_bytes())));
    if let Ok(path) = fs::read_to_string(&answer)
        && path.split(':').all(|jar| Path::new(jar.trim()).exists())
    {
        return Ok(path.trim().to_owned());
    }
    let failed = |error: std::io::Error| format!("{}: {error}", cache.display());
    fs::create_dir_all(&cache).map_err(failed)?;
    let pom = cache.join("pom.xml");
    fs::write(&pom, POM).map_err(failed)?;
    eprintln!("asking Maven for Apache Kafka {version} (once)");
    let new = answer.with_extension("new");
    let output = Command::new("mvn")
        .args(["-q", "-B", "-f"])
        .arg(&pom)
        .arg(format!("-Dkafka.version={version}"))
        .arg("dependency:build-classpath")
        .arg(format!("-Dmdep.outputFile={}", new.display()))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                "there is no mvn: install it (apt-get install maven, dnf install maven), or give --kafka the directory of \
                 an unpacked Kafka"
                    .to_owned()
            }
            _ => format!("cannot run mvn: {error}"),
        })?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let first: Vec<&str> = said.lines().filter(|line| line.contains("ERROR")).take(5).collect();
        return Err(format!("Maven found no Apache Kafka {version}:\n{}", first.join("\n")));
    }
    fs::rename(&new, &answer).map_err(failed)?;
    Ok(fs::read_to_string(&answer).map_err(failed)?.trim().to_owned())
}

fn cache_directory() -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    base.unwrap_or_else(std::env::temp_dir).join("monedula-bench")
}

/// A Java that can run Kafka.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Java {
    /// The program.
    pub program: PathBuf,
    /// The first line of its version.
    pub version: String,
}

/// The oldest Java that runs Kafka 4.
const JAVA_VERSION_MIN: u32 = 17;

impl Java {
    /// The one of `JAVA_HOME`, or else of the path.
    pub fn find() -> Result<Self, String> {
        let of_home = std::env::var_os("JAVA_HOME").map(|home| PathBuf::from(home).join("bin/java"));
        let program = of_home.filter(|program| program.exists()).unwrap_or_else(|| PathBuf::from("java"));
        let output = Command::new(&program).arg("-version").stdin(Stdio::null()).output().map_err(|_| {
            format!(
                "there is no Java: install {JAVA_VERSION_MIN} or newer (apt-get install openjdk-17-jre-headless, dnf \
                 install java-21-openjdk-headless), or set JAVA_HOME"
            )
        })?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        match java_major(&said) {
            Some(major) if major >= JAVA_VERSION_MIN => {
                Ok(Self { program, version: said.lines().next().unwrap_or_default().to_owned() })
            }
            Some(major) => {
                Err(format!("Java {major} is too old for Kafka 4, which needs {JAVA_VERSION_MIN} or newer"))
            }
            None => Err(format!("{} -version says no version: {said}", program.display())),
        }
    }
}

/// 17 from `openjdk version "17.0.15" …`.
fn java_major(said: &str) -> Option<u32> {
    said.split('"').nth(1)?.split(['.', '-', '+']).next()?.parse().ok()
}

/// A Kafka that is ready to be started.
#[derive(Clone, Debug)]
pub struct Kafka {
    java: Java,
    class_path: String,
    jvm_flags: Vec<String>,
    /// Overrides of properties, as given.
    overrides: Vec<String>,
    cores: Cores,
}

impl Kafka {
    /// Finds Java and Kafka. `heap_megabytes` is both the smallest and the largest heap.
    pub fn find(
        source: &Source,
        version: &str,
        heap_megabytes: u64,
        extra_flags: &[String],
        overrides: &[String],
        cores: &Cores,
    ) -> Result<Self, String> {
        let java = Java::find()?;
        let class_path = source.class_path(version)?;
        let mut jvm_flags = flags(heap_megabytes);
        jvm_flags.extend(extra_flags.iter().cloned());
        Ok(Self { java, class_path, jvm_flags, overrides: overrides.to_vec(), cores: cores.clone() })
    }

    /// What runs it.
    pub fn java_version(&self) -> &str {
        &self.java.version
    }

    /// Its version, from the name of its jar.
    pub fn version(&self) -> Option<String> {
        let jars: Vec<String> = match self.class_path.strip_suffix("/*") {
            Some(directory) => {
                let entries = fs::read_dir(directory).ok()?;
                entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
            }
            None => self.class_path.split(':').map(str::to_owned).collect(),
        };
        jars.iter().find_map(|jar| {
            let name = jar.rsplit('/').next()?;
            Some(name.strip_prefix("kafka_2.13-")?.strip_suffix(".jar")?.to_owned())
        })
    }

    /// The command, without paths that mean nothing elsewhere.
    pub fn command(&self) -> String {
        format!("java {} -cp KAFKA kafka.Kafka server.properties", self.jvm_flags.join(" "))
    }

    /// Its properties.
    pub fn properties(&self, port: u16, controller_port: u16, data: &str) -> String {
        let cores = self.cores.0.len();
        let mut lines: Vec<String> = vec![
            "process.roles=broker,controller".to_owned(),
            "node.id=1".to_owned(),
            format!("controller.quorum.voters=1@127.0.0.1:{controller_port}"),
            "controller.listener.names=CONTROLLER".to_owned(),
            format!("listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}"),
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned(),
            format!("advertised.listeners=PLAINTEXT://127.0.0.1:{port}"),
            format!("log.dirs={data}"),
            // Kafka's defaults are 3 and 8; more cores get more.
            format!("num.network.threads={}", cores.max(3)),
            format!("num.io.threads={}", (2 * cores).max(8)),
            // The default of 100 kB limits a connection; -1 lets the kernel tune.
            "socket.send.buffer.bytes=-1".to_owned(),
            "socket.receive.buffer.bytes=-1".to_owned(),
            "num.recovery.threads.per.data.dir=2".to_owned(),
            "auto.create.topics.enable=false".to_owned(),
            "offsets.topic.replication.factor=1".to_owned(),
            "offsets.topic.num.partitions=8".to_owned(),
            "transaction.state.log.replication.factor=1".to_owned(),
            "transaction.state.log.min.isr=1".to_owned(),
            "share.coordinator.state.topic.replication.factor=1".to_owned(),
            "share.coordinator.state.topic.min.isr=1".to_owned(),
            "group.initial.rebalance.delay.ms=0".to_owned(),
        ];
        lines.extend(self.overrides.iter().cloned());
        lines.join("\n") + "\n"
    }

    /// Formats an empty directory and starts the broker there.
    pub fn start(&self, directory: &Path, port: u16, controller_port: u16) -> Result<Process, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", directory.display());
        let properties = directory.join("server.properties");
        let data = directory.join("data");
        fs::write(&properties, self.properties(port, controller_port, &data.to_string_lossy()))
            .map_err(failed)?;
        fs::write(directory.join("log4j2.properties"), LOG_PROPERTIES).map_err(failed)?;
        let log = directory.join("kafka.log");
        self.format(directory, &properties)?;
        let mut program = vec![self.java.program.to_string_lossy().into_owned()];
        program.extend(self.jvm_flags.iter().cloned());
        program.extend(self.main("kafka.Kafka", directory));
        program.push(properties.to_string_lossy().into_owned());
        Process::start("Kafka", &program, &self.cores, &log)
    }

    fn format(&self, directory: &Path, properties: &Path) -> Result<(), String> {
        let output = Command::new(&self.java.program)
            .args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .args(self.main("kafka.tools.StorageTool", directory))
            // Any 16 bytes in Kafka's base64 name a cluster.
            .args(["format", "-t", "bW9uZWR1bGEtYmVuY2gtMQ", "-c"])
            .arg(properties)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("cannot run Java: {error}"))?;
        match output.status.success() {
            true => Ok(()),
            false => {
                let said = [output.stdout, output.stderr].concat();
                Err(format!("Kafka did not format its directory:\n{}", String::from_utf8_lossy(&said)))
            }
        }
    }

    fn main(&self, class: &str, directory: &Path) -> Vec<String> {
        let log = directory.join("log4j2.properties");
        vec![
            "-cp".to_owned(),
            self.class_path.clone(),
            format!("-Dlog4j2.configurationFile={}", log.display()),
            class.to_owned(),
        ]
    }
}

/// Kafka's own flags of `kafka-run-class.sh`, with a heap that neither grows nor is first touched while measuring.
fn flags(heap_megabytes: u64) -> Vec<String> {
    [
        "-server",
        &format!("-Xms{heap_megabytes}m"),
        &format!("-Xmx{heap_megabytes}m"),
        "-XX:+AlwaysPreTouch",
        "-XX:+UseG1GC",
        "-XX:MaxGCPauseMillis=20",
        "-XX:InitiatingHeapOccupancyPercent=35",
        "-XX:+ExplicitGCInvokesConcurrent",
        "-XX:MaxInlineLevel=15",
        "-Djava.awt.headless=true",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// 6 GB, or a quarter of the memory if that is less, and at least half a gigabyte.
pub fn heap_megabytes(memory_megabytes: u64) -> u64 {
    (memory_megabytes / 4).clamp(512, 6144)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn javas_version_is_understood() {
        assert_eq!(java_major("openjdk version \"17.0.15\" 2025-04-15\nmore"), Some(17));
        assert_eq!(java_major("openjdk version \"21\" 2023-09-19"), Some(21));
        assert_eq!(java_major("java version \"1.8.0_392\""), Some(1));
        assert_eq!(java_major("nothing"), None);
    }

    #[test]
    fn a_source_is_maven_a_directory_or_a_class_path() {
        assert_eq!(Source::parse("maven"), Ok(Source::Maven));
        assert_eq!(Source::parse("/a/b.jar:/c.jar"), Ok(Source::ClassPath("/a/b.jar:/c.jar".to_owned())));
        assert!(Source::parse("/").unwrap_err().contains("no folder libs"));
        assert!(Source::parse("nowhere").unwrap_err().contains("--kafka maven"));
    }

    #[test]
    fn threads_follow_cores_and_overrides_come_last() {
        let kafka = |cores: usize| Kafka {
            java: Java { program: "java".into(), version: String::new() },
            class_path: "/jars/kafka_2.13-4.3.1.jar:/jars/other.jar".to_owned(),
            jvm_flags: flags(1024),
            overrides: vec!["num.io.threads=5".to_owned()],
            cores: Cores((0..cores).collect()),
        };
        let small = kafka(2).properties(1, 2, "/data");
        assert!(
            small.contains("num.network.threads=3\nnum.io.threads=8\n")
                && small.ends_with("num.io.threads=5\n")
        );
        assert!(kafka(16).properties(1, 2, "/data").contains("num.network.threads=16\nnum.io.threads=32\n"));
        assert_eq!(kafka(2).version(), Some("4.3.1".to_owned()));
        assert!(!kafka(2).command().contains("/jars"));
        assert_eq!([1024, 16_384, 65_536].map(heap_megabytes), [512, 4096, 6144]);
    }
}
