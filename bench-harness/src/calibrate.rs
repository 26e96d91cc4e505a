//! The floor of the harness: the same load on a broker that does nothing. What a result shows below that is nobody's merit.

#![allow(clippy::disallowed_methods, reason = "looking at the clock is what this is about")]

use std::sync::atomic::AtomicBool;
use std::thread;

use hdrhistogram::Histogram;

use crate::clock;
use crate::engine::{self, Observer, Options, RunError};
use crate::histogram;
use crate::null_broker::{Behaviour, NullBroker};
use crate::outcome::{Floor, Outcome};
use crate::workload::{ConsumerMode, Create, Workload};

/// Seconds of load before a calibration.
const WARM_UP_S: f64 = 0.5;
/// Distance of the records that a thread which only looks at the clock pretends to send.
const JITTER_DUE_NS: u64 = 1_000;

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
    let options = Options {
        floor: None,
        late_subscription: None,
        read_afterwards: false,
        broker_status: None,
        broker_process: None,
        ends_with_broker: false,
        ..options.clone()
    };
    engine::run(&workload, &broker.bootstrap(), &options, interrupt, observer)
}

/// How late a thread that only looks at the clock would be with records due every microsecond, in nanoseconds: what the
/// machine takes away from whoever runs on it.
pub fn jitter(core: Option<usize>, seconds: f64) -> Histogram<u64> {
    let watch = move || {
        if let Some(core) = core {
            core_affinity::set_for_current(core_affinity::CoreId { id: core });
        }
        let mut late = histogram::new();
        let mut due_ns = clock::monotonic_ns();
        let until_ns = due_ns + clock::seconds_to_ns(seconds);
        while due_ns < until_ns {
            let now_ns = clock::monotonic_ns();
            while due_ns <= now_ns {
                late.saturating_record(now_ns - due_ns);
                due_ns += JITTER_DUE_NS;
            }
        }
        late
    };
    // A thread of its own, so that nobody else stays pinned.
    thread::scope(|scope| scope.spawn(watch).join().expect("it only looks at the clock"))
}

/// The floor that a calibration found.
pub fn floor(outcome: &Outcome) -> Floor {
    Floor {
        rate: outcome.workload.rate,
        seconds: outcome.measured_seconds,
        histograms: outcome.histograms.clone(),
    }
}
