//! The floor of the harness: the same load on a broker that does nothing. What a result shows below that is nobody's merit.

use std::sync::atomic::AtomicBool;

use crate::engine::{self, Observer, Options, RunError};
use crate::null_broker::{Behaviour, NullBroker};
use crate::outcome::{Floor, Outcome};
use crate::workload::{ConsumerMode, Create, Workload};

/// Seconds of load before a calibration.
const WARM_UP_S: f64 = 0.5;

/// Carries a workload out against a null broker in this process, for so many seconds. `core` is where that broker runs.
pub fn calibrate(
    workload: &Workload,
    seconds: f64,
    options: &Options,
    core: Option<usize>,
    interrupt: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<Outcome, RunError> {
    let mut workload = workload.clone();
    workload.name = "calibration".to_owned();
    workload.duration_s = seconds;
    workload.warm_up.min_s = WARM_UP_S;
    workload.warm_up.until_stable = false;
    workload.topics.create = Create::IfMissing;
    // A null broker keeps no groups; what is measured of consumers is the same.
    if workload.consumers.mode == ConsumerMode::Group {
        workload.consumers.mode = ConsumerMode::Assign;
    }
    let behaviour = Behaviour { partitions: workload.topics.partitions, core, ..Behaviour::default() };
    let broker = NullBroker::start(behaviour)
        .map_err(|error| RunError::Worker(format!("the null broker cannot be started: {error}")))?;
    let options = Options { floor: None, late_subscription: None, ..options.clone() };
    engine::run(&workload, &broker.bootstrap(), &options, interrupt, observer)
}

/// The floor that a calibration found.
pub fn floor(outcome: &Outcome) -> Floor {
    Floor {
        rate: outcome.workload.rate,
        seconds: outcome.measured_seconds,
        histograms: outcome.histograms.clone(),
    }
}
