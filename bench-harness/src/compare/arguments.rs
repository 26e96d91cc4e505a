//! What a comparison is asked for.

use std::path::PathBuf;

use clap::Args;

use crate::results::Preset;
use crate::workload::{Batching, SizeDistribution, Workload};

use super::cores::{Cores, Division};
use super::plan::Rate;

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
    /// Records per second; `max` for the highest rate that keeps to the objective; `closed:RECORDS` for as fast as the
    /// broker answers with so many on their way; `catch-up:RATE` to write at that rate and then read everything.
    #[arg(long, value_delimiter = ',', value_name = "LIST", default_value = "1000,10000,max")]
    pub(super) rates: Vec<Rate>,
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
    /// Bytes that fill a batch.
    #[arg(long, value_name = "BYTES")]
    pub batch_bytes: Option<usize>,
    /// Records that fill a batch.
    #[arg(long, value_name = "N")]
    pub batch_records: Option<usize>,
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

impl Arguments {
    /// Who gets which cores.
    pub(super) fn division(&self) -> Result<Division, String> {
        let available = core_affinity::get_core_ids().ok_or("the cores of this process cannot be told")?;
        let available: Vec<usize> = available.into_iter().map(|core| core.id).collect();
        Division::of(&available, self.broker_cores.clone(), self.generator_cores.clone())
    }

    /// The load, but for topics, rate and times.
    #[allow(clippy::disallowed_methods, reason = "the user's workload is read here")]
    pub(super) fn base_workload(&self) -> Result<Workload, String> {
        let mut workload = match &self.workload {
            None => Workload::default(),
            Some(path) => {
                let named = |error: String| format!("{}: {error}", path.display());
                let text = std::fs::read_to_string(path).map_err(|error| named(error.to_string()))?;
                serde_json::from_str(&text).map_err(|error| named(error.to_string()))?
            }
        };
        workload.seed = self.seed;
        if let Some(bytes) = self.record_bytes {
            workload.record_bytes = SizeDistribution::Fixed { bytes };
        }
        if let Some(producers) = self.producers {
            workload.producers = producers;
        }
        if let Some(preset) = &self.batching {
            let known = Batching::PRESETS.join(", ");
            workload.batching =
                Batching::preset(preset).ok_or_else(|| format!("`{preset}` is no batching: {known}"))?;
        }
        workload.batching.batch_bytes = self.batch_bytes.unwrap_or(workload.batching.batch_bytes);
        workload.batching.batch_records = self.batch_records.unwrap_or(workload.batching.batch_records);
        workload.check().map_err(|error| error.to_string())?;
        Ok(workload)
    }
}
