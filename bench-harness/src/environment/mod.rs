//! The machine that was measured on: what is set up before a run, and what the kernel counts during it. Everything is read
//! below a root directory, so that tests have a machine of their own; what cannot be read is recorded as not readable and
//! never an error. Host names, serial numbers and paths of the user's are left out: results are for publishing.

mod capture;
mod sampler;

pub use capture::{block_device, capture};
pub use sampler::{Counters, Sample, SampleTable, cpu_seconds_of, is_running};

use serde::{Deserialize, Serialize};

/// What stands where a file could not be read.
pub const UNREADABLE: &str = "not readable";

/// Facts about a machine, in the order in which they are shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// What was set up.
    pub facts: Vec<Fact>,
    /// What was counted each second while runs went on. A file of its own.
    #[serde(skip)]
    pub samples: Vec<Sample>,
}

/// One fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// What it belongs to: `cpu`, `disk`.
    pub section: String,
    /// What it is.
    pub name: String,
    /// As the kernel says it.
    pub value: String,
}

impl Environment {
    /// The value of a fact.
    pub fn get(&self, section: &str, name: &str) -> Option<&str> {
        self.facts
            .iter()
            .find(|fact| fact.section == section && fact.name == name)
            .map(|fact| fact.value.as_str())
    }

    /// The samples taken between two times, milliseconds since 1970.
    pub fn samples_between(&self, from_ms: u64, to_ms: u64) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |sample| (from_ms..=to_ms).contains(&sample.at_ms))
    }
}
