//! Looks at the broker from beside while a run is measured: the CPU time of its process, and what it counts of its own
//! stages. Two looks, at the beginning and the end, so that it costs the broker next to nothing.

use std::path::{Path, PathBuf};

use crate::environment::{cpu_seconds_of, is_running};
use crate::outcome::StagesRead;
use crate::stages::Reading;
use crate::status_socket;

/// A witness of one run.
#[derive(Debug, Default)]
pub struct Witness {
    status: Option<PathBuf>,
    process: Option<u32>,
    begun: Option<Look>,
    /// CPU time of the measured seconds.
    pub cpu_seconds: Option<f64>,
    /// What the broker said of them.
    pub stages: Option<StagesRead>,
}

#[derive(Debug)]
struct Look {
    cpu_seconds: Option<f64>,
    reading: Option<Result<Reading, String>>,
}

impl Witness {
    /// A witness that asks at this socket and looks at this process; without a process, at the one that answers there.
    pub fn new(status: Option<PathBuf>, process: Option<u32>) -> Self {
        Self { status, process, ..Self::default() }
    }

    /// The measurement begins. Later calls do nothing.
    pub fn begin(&mut self) {
        if self.begun.is_none() {
            self.begun = Some(self.look());
        }
    }

    /// It has ended.
    pub fn end(&mut self) {
        let Some(begun) = self.begun.take() else { return };
        // First what does not wait for anybody.
        let cpu_seconds = self.cpu_so_far();
        self.cpu_seconds = cpu_seconds.zip(begun.cpu_seconds).map(|(now, then)| now - then);
        self.stages = self.read().zip(begun.reading).map(|(now, then)| {
            let stages = then.and_then(|then| now.and_then(|now| now.since(&then)));
            stages.map_or_else(StagesRead::NotRead, StagesRead::Read)
        });
    }

    /// CPU seconds of the broker's process so far.
    pub fn cpu_so_far(&self) -> Option<f64> {
        cpu_seconds_of(Path::new("/"), self.process?, rustix::param::clock_ticks_per_second())
    }

    /// Whether it is known which process the broker is, and that it has ended.
    pub fn is_gone(&self) -> bool {
        self.process.is_some_and(|process| !is_running(Path::new("/"), process))
    }

    fn look(&mut self) -> Look {
        let reading = self.read();
        if self.process.is_none() {
            self.process =
                reading.as_ref().and_then(|reading| reading.as_ref().ok()).map(|reading| reading.pid);
        }
        Look { cpu_seconds: self.cpu_so_far(), reading }
    }

    fn read(&self) -> Option<Result<Reading, String>> {
        self.status.as_deref().map(status_socket::read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_looked_at_and_a_socket_that_is_not_there_is_told() {
        let mut witness = Witness::new(Some("/nowhere/monedula.sock".into()), Some(std::process::id()));
        witness.begin();
        witness.end();
        assert!(witness.cpu_seconds.is_some_and(|seconds| seconds >= 0.0) && !witness.is_gone());
        assert!(
            matches!(&witness.stages, Some(StagesRead::NotRead(why)) if why.contains("no Monedula listens")),
            "{witness:?}"
        );
        let mut blind = Witness::new(None, None);
        blind.begin();
        blind.end();
        assert!(!blind.is_gone());
        assert_eq!((blind.cpu_seconds, blind.stages), (None, None));
    }
}
