//! The results of a command as a whole: runs side by side, where they were measured and how. As files they are
//!
//! | file | contents |
//! |---|---|
//! | `results.json` | everything but latencies: what was asked, counts, brokers, environment |
//! | `runs/NAME.hlog` | the latencies of a run by interval; the only source of every latency figure |
//! | `runs/NAME.csv` | the flow of a run by interval, with percentiles for convenience |
//! | `environment.csv` | what the kernel counted each second |
//!
//! from which everything else is derived, again and again the same.

#[cfg(test)]
pub mod synthetic;

use serde::{Deserialize, Serialize};

use crate::environment::{Environment, SampleTable, capture};
use crate::files::{Files, csv, interval_log, text};
use crate::histogram::EncodedHistogram;
use crate::outcome::{Interval, Measure, Outcome};
use crate::statistics::merge;

/// The name of the file that names the others.
pub const RESULTS_FILE: &str = "results.json";

/// What the kernel counted.
const ENVIRONMENT_FILE: &str = "environment.csv";

/// Results and all that is needed to judge them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// What the report is called.
    pub title: String,
    /// The version of this program.
    pub version: String,
    /// The commit it was built from or run in, if that can be told.
    pub commit: Option<String>,
    /// The exact command line.
    pub command: String,
    /// When the results were complete, milliseconds since 1970.
    pub created_at_ms: u64,
    /// What a reader must know before the figures: which cores are shared, what is not durable.
    pub notes: Vec<String>,
    /// The brokers, in the order in which tables show them. Ratios divide by the first.
    pub brokers: Vec<Broker>,
    /// The machine.
    pub environment: Environment,
    /// The runs, in the order in which they were made.
    pub runs: Vec<Run>,
}

/// A broker that was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Broker {
    /// The name that runs use.
    pub name: String,
    /// Version, if known.
    pub version: Option<String>,
    /// How it was started, if we started it.
    pub command: Option<String>,
    /// Its configuration file, if we wrote it.
    pub configuration: Option<String>,
}

/// What an acknowledgement promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// Every acknowledged record is on stable storage.
    Durable,
    /// An acknowledged record is in the memory of every replica.
    ReplicatedMemory,
}

impl Preset {
    /// Both, in the order of reports.
    pub const ALL: [Self; 2] = [Self::Durable, Self::ReplicatedMemory];

    /// Its name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Durable => "durable",
            Self::ReplicatedMemory => "replicated-memory",
        }
    }

    /// What stands above a table. One node is all that this program starts, so the second is never durable there.
    pub fn heading(self) -> &'static str {
        match self {
            Self::Durable => "durable: on stable storage before the acknowledgement",
            Self::ReplicatedMemory => "replicated-memory: not durable on one node",
        }
    }
}

/// One run of one broker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The preset, where one was used.
    pub preset: Option<Preset>,
    /// The load apart from its rate, such as `16 partitions`.
    pub load: String,
    /// The rate in words, such as `1,000/s` or `maximum`.
    pub step: String,
    /// The broker's name.
    pub broker: String,
    /// From 1.
    pub round: u32,
    /// Whether it was a try of a search: a dot in plots of throughput and no line in tables.
    #[serde(default)]
    pub probe: bool,
    /// CPU time of the broker's process during the measurement, if we could see it.
    pub broker_cpu_seconds: Option<f64>,
    /// What was measured. In `results.json` without histograms and intervals.
    pub outcome: Outcome,
}

impl Run {
    /// The name of the run's files, without extension.
    pub fn file_stem(&self) -> String {
        let preset = self.preset.map_or("", Preset::name);
        slug(&format!("{preset} {} {} {} {}", self.load, self.step, self.broker, self.round))
    }

    /// The interval log of the run.
    pub fn interval_log(&self) -> Result<interval_log::IntervalLog, String> {
        let mut intervals = Vec::new();
        for interval in &self.outcome.intervals {
            for measure in Measure::ALL {
                if let Some(histogram) = interval.histogram(measure)? {
                    intervals.push(interval_log::Interval {
                        tag: measure.name().to_owned(),
                        start_ms: milliseconds(interval.start_s),
                        duration_ms: milliseconds(interval.length_s),
                        histogram,
                    });
                }
            }
        }
        Ok(interval_log::IntervalLog { started_at_ms: self.outcome.started_at_ms, intervals })
    }

    /// Puts the latencies of an interval log and the flow of a table in place of those that are here.
    fn restore(&mut self, log: &interval_log::IntervalLog, mut flow: Vec<Interval>) -> Result<(), String> {
        for line in &log.intervals {
            let measure =
                Measure::from_name(&line.tag).ok_or_else(|| format!("unknown tag `{}`", line.tag))?;
            let place =
                flow.iter_mut().find(|interval| milliseconds(interval.start_s) == line.start_ms).ok_or_else(
                    || format!("`{}` at {} ms is missing in the table of intervals", line.tag, line.start_ms),
                )?;
            place.histograms.insert(measure, EncodedHistogram::encode(&line.histogram));
        }
        self.outcome.intervals = flow;
        self.outcome.histograms.clear();
        for measure in Measure::ALL {
            let total = merge(log.of_tag(measure.name()));
            if !total.is_empty() {
                self.outcome.histograms.insert(measure, total);
            }
        }
        self.outcome.judge_again();
        Ok(())
    }
}

impl Results {
    /// The results of one run of a broker that somebody else started.
    #[allow(clippy::disallowed_methods, reason = "results are dated")]
    pub fn of_run(run: Run, command: String) -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let target = &run.outcome.target;
        let broker = Broker {
            name: run.broker.clone(),
            version: target.version.clone(),
            command: None,
            configuration: None,
        };
        let here = std::path::Path::new("/");
        Self {
            title: run.outcome.workload.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: None,
            command,
            created_at_ms: now.map_or(0, |since| since.as_millis() as u64),
            notes: Vec::new(),
            brokers: vec![broker],
            environment: Environment { facts: capture(here, here), samples: Vec::new() },
            runs: vec![run],
        }
    }

    /// The sources as files: the table of the module's head.
    pub fn to_files(&self) -> Result<Files, String> {
        let mut bare = self.clone();
        for run in &mut bare.runs {
            run.outcome.histograms.clear();
            run.outcome.intervals.clear();
        }
        let mut json = serde_json::to_string_pretty(&bare).map_err(|error| error.to_string())?;
        json.push('\n');
        let mut files = Files::from([(RESULTS_FILE.to_owned(), json.into_bytes())]);
        files.insert(ENVIRONMENT_FILE.to_owned(), SampleTable::write(&self.environment.samples).into_bytes());
        for run in &self.runs {
            let stem = run.file_stem();
            let text = interval_log::write(&run.interval_log()?, &stem)?;
            if files.insert(format!("runs/{stem}.hlog"), text.into_bytes()).is_some() {
                return Err(format!("two runs are called {stem}"));
            }
            files.insert(format!("runs/{stem}.csv"), csv::write(&run.outcome.intervals)?.into_bytes());
        }
        Ok(files)
    }

    /// The results from their sources. Latencies come from the interval logs alone.
    pub fn from_files(files: &Files) -> Result<Self, String> {
        let mut results: Self = serde_json::from_str(text(files, RESULTS_FILE)?)
            .map_err(|error| format!("{RESULTS_FILE}: {error}"))?;
        results.environment.samples = SampleTable::read(text(files, ENVIRONMENT_FILE)?)
            .map_err(|error| format!("{ENVIRONMENT_FILE}: {error}"))?;
        for run in &mut results.runs {
            let stem = run.file_stem();
            let (log, table) = (format!("runs/{stem}.hlog"), format!("runs/{stem}.csv"));
            let in_file = |name: &str, error: String| format!("{name}: {error}");
            let intervals = interval_log::read(text(files, &log)?).map_err(|error| in_file(&log, error))?;
            let flow = csv::read(text(files, &table)?).map_err(|error| in_file(&table, error))?;
            run.restore(&intervals, flow).map_err(|error| in_file(&log, error))?;
        }
        Ok(results)
    }
}

/// Lower case, digits and single hyphens.
pub fn slug(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars().filter(|character| *character != ',') {
        if character.is_ascii_alphanumeric() || character == '.' {
            out.push(character.to_ascii_lowercase());
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
    }
    out.trim_end_matches('-').to_owned()
}

fn milliseconds(seconds: f64) -> u64 {
    (seconds * 1000.0).round() as u64
}

#[cfg(test)]
mod tests {
    use super::synthetic::{Shape, outcome, stages};
    use super::*;
    use crate::outcome::{CatchUp, StagesRead};
    use crate::table::table;

    #[test]
    fn results_come_back_from_their_files() {
        let results = synthetic::comparison();
        let files = results.to_files().unwrap();
        let bare: Results = serde_json::from_slice(&files[RESULTS_FILE]).unwrap();
        assert!(
            bare.runs.iter().all(|run| run.outcome.histograms.is_empty() && run.outcome.intervals.is_empty())
        );
        let back = Results::from_files(&files).unwrap();
        assert_eq!(back.to_files().unwrap(), files);
        for (ours, theirs) in results.runs.iter().zip(&back.runs) {
            assert_eq!(ours.outcome.histograms, theirs.outcome.histograms, "{}", ours.file_stem());
        }
    }

    #[test]
    fn a_missing_log_is_named() {
        let mut files = synthetic::comparison().to_files().unwrap();
        let log = files.keys().find(|name| name.ends_with(".hlog")).unwrap().clone();
        files.remove(&log);
        assert_eq!(Results::from_files(&files).unwrap_err(), format!("{log} is missing"));
    }

    #[test]
    fn the_brokers_own_stages_stand_below_ours() {
        let shape = Shape { median_ns: 1e6, sigma: 0.1, stall_ns: 0, seconds: 2, rate: 100, seed: 1 };
        let mut outcome = outcome(shape);
        assert!(!table(&outcome).contains("broker"));
        outcome.broker_cpu_seconds = Some(0.5);
        outcome.catch_up =
            Some(CatchUp { records: 10, bytes: 2_000_000_000, seconds: 1.0, broker_cpu_seconds: Some(3.0) });
        outcome.broker_stages = Some(StagesRead::Read(stages(100)));
        let said = table(&outcome);
        assert!(said.contains("0.25 cores, 2500.00 µs per acknowledged record"), "{said}");
        assert!(said.contains("2.00 GB/s, 1.500 s of the broker's CPU per GB"), "{said}");
        let rows = "\
produce                 100      400.0        400        400        400
  parse                 100      100.0        100        100        100
  disk                  100      300.0        300        300        300
";
        assert!(said.contains(rows), "{said}");
        outcome.broker_stages = Some(StagesRead::NotRead("it is gone".to_owned()));
        assert!(table(&outcome).contains("not read, because it is gone"));
    }

    #[test]
    fn names_of_files_are_plain() {
        assert_eq!(
            slug("durable 16 partitions, 1 KB 20,000/s kafka 1"),
            "durable-16-partitions-1-kb-20000-s-kafka-1"
        );
    }
}
