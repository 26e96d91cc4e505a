//! Series of runs: the same load, changed step by step in one respect.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use crate::calibrate;
use crate::engine::{self, Observer, Options, Phase, RunError, View};
use crate::outcome::{Measure, Outcome};
use crate::random;
use crate::recorder::Sheet;
use crate::table::duration;
use crate::workload::{Acks, Create, Workload};

/// The most steps of a series.
pub const STEPS_MAX: usize = 1000;
/// Seconds of a calibration.
pub const CALIBRATION_S: f64 = 2.0;
/// A subscription that began late has caught up when its end-to-end latency would be below this.
pub const CAUGHT_UP_S: f64 = 1.0;

/// How finely a drain is watched, at least: a short backlog is read in a second or two.
pub const DRAIN_INTERVAL_S: f64 = 0.2;

/// One run of a series.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What is different in it.
    pub label: String,
    /// The load.
    pub workload: Workload,
}

/// In which order rates are tried. A broker that was overloaded may be slower afterwards: going up and down shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Order {
    /// From the lowest to the highest
    Up,
    /// Up, and down again
    UpDown,
    /// Shuffled by the seed
    Random,
}

/// Rates from one to another, each `factor` times the one before.
pub fn sweep(base: &Workload, from: f64, to: f64, factor: f64, order: Order) -> Result<Vec<Step>, String> {
    if !(from > 0.0 && to >= from && factor > 1.0 && to.is_finite()) {
        return Err("a sweep wants 0 < from ≤ to and a factor above 1".to_owned());
    }
    let mut rates = Vec::new();
    let mut rate = from;
    while rate <= to * (1.0 + 1e-9) {
        rates.push(rate);
        rate *= factor;
        if rates.len() > STEPS_MAX {
            return Err(format!("a sweep of more than {STEPS_MAX} steps; a larger factor makes fewer"));
        }
    }
    match order {
        Order::Up => {}
        Order::UpDown => rates.extend(rates.clone().into_iter().rev().skip(1)),
        Order::Random => rates.sort_by_key(|rate| random::scatter(base.seed ^ rate.to_bits())),
    }
    let step =
        |rate: f64| Step { label: format!("{rate:.0}/s"), workload: Workload { rate, ..base.clone() } };
    Ok(rates.into_iter().map(step).collect())
}

/// The same load over so many partitions. Each number has a topic of its own.
pub fn partitions(base: &Workload, counts: &[i32]) -> Vec<Step> {
    let step = |count: &i32| {
        let mut workload = base.clone();
        workload.topics.partitions = *count;
        workload.topics.name = format!("{}-p{count}", base.topics.name);
        Step { label: format!("{count} partitions"), workload }
    };
    counts.iter().map(step).collect()
}

/// A promise of durability by name, as configs of a topic.
pub type Durability = (String, BTreeMap<String, String>);

/// Every acknowledgement with every durability.
pub fn matrix(base: &Workload, acks: &[Acks], durabilities: &[Durability]) -> Vec<Step> {
    let mut steps = Vec::new();
    for (durability, configs) in durabilities {
        for acks in acks {
            let mut workload = base.clone();
            workload.acks = *acks;
            workload.idempotence &= *acks == Acks::All;
            workload.topics.name = format!("{}-{durability}", base.topics.name);
            workload.topics.configs.extend(configs.clone());
            steps.push(Step { label: format!("acks {} {durability}", acks.number()), workload });
        }
    }
    steps
}

/// A load for hours with retention at work from the first minute: segments of `segment_bytes`, kept for `retention_ms`.
pub fn endurance(base: &Workload, hours: f64, segment_bytes: u64, retention_ms: u64) -> Workload {
    let mut workload = base.clone();
    workload.duration_s = hours * 3600.0;
    workload.interval_s = workload.interval_s.max(10.0);
    let configs = [
        ("segment.bytes", segment_bytes.to_string()),
        ("retention.ms", retention_ms.to_string()),
        ("cleanup.policy", "delete".to_owned()),
    ];
    for (name, value) in configs {
        workload.topics.configs.entry(name.to_owned()).or_insert(value);
    }
    workload
}

/// Carries out a series, calibrating the harness before it if that is wanted. After each step `done` is told; it says
/// whether to go on.
pub fn carry_out(
    steps: &[Step],
    bootstrap: &str,
    options: &Options,
    calibrated: bool,
    interrupt: &AtomicBool,
    observer: &mut dyn Observer,
    mut done: impl FnMut(&Step, &Outcome) -> bool,
) -> Result<Vec<Outcome>, RunError> {
    let mut outcomes = Vec::new();
    for step in steps {
        if interrupt.load(std::sync::atomic::Ordering::Relaxed) {
            break;
        }
        let mut options = options.clone();
        if calibrated {
            let floor =
                calibrate::calibrate(&step.workload, CALIBRATION_S, &options, None, interrupt, observer)?;
            options.floor = Some(calibrate::floor(&floor));
        }
        let mut outcome = engine::run(&step.workload, bootstrap, &options, interrupt, observer)?;
        outcome.workload.name.clone_from(&step.label);
        let go_on = done(step, &outcome);
        outcomes.push(outcome);
        if !go_on {
            break;
        }
    }
    Ok(outcomes)
}

/// One line of a table of a series.
pub fn summary(label: &str, outcome: &Outcome) -> String {
    let at = |measure, percentile| outcome.percentile(measure, percentile).map_or("-".to_owned(), duration);
    let verdict = match outcome.verdict.reasons().first() {
        None => String::new(),
        Some(reason) => format!("  INVALID {}", reason.split(':').next().unwrap_or_default()),
    };
    format!(
        "{label:<24}{:>12.0}/s{:>11}{:>11}{:>11}{:>11}{:>11}{:>9.4}%{verdict}",
        outcome.counts.acked as f64 / outcome.measured_seconds.max(1e-9),
        at(Measure::Produce, 50.0),
        at(Measure::Produce, 99.0),
        at(Measure::Produce, 99.9),
        at(Measure::EndToEnd, 99.0),
        at(Measure::GeneratorLag, 99.9),
        100.0 * outcome.counts.infinite_share(),
    )
}

/// What stands above such lines.
pub fn summary_head() -> String {
    format!(
        "{:<24}{:>14}{:>11}{:>11}{:>11}{:>11}{:>11}{:>10}",
        "", "acked", "p50", "p99", "p99.9", "e2e p99", "lag p99.9", "infinite"
    )
}

// ---- backlog drain ------------------------------------------------------------------------------------------------

/// A load on whose topics a second subscription begins to read late.
pub fn drain_workload(base: &Workload) -> Workload {
    let mut workload = base.clone();
    workload.consumers.subscriptions = 2;
    workload.interval_s = workload.interval_s.min(DRAIN_INTERVAL_S);
    workload
}

/// How a subscription that began late caught up.
#[derive(Debug, Clone, PartialEq)]
pub struct Drain {
    /// Records that waited for it when it began.
    pub backlog_records: u64,
    /// Records per second that it read until it had caught up, or the end.
    pub records_per_second: f64,
    /// Seconds until its latency was below a second; `None` if that did not happen.
    pub caught_up_after_s: Option<f64>,
    /// The p99 of live producers before it began, and while it read, in nanoseconds.
    pub produce_p99_ns: (u64, u64),
    /// The p99 of live consumers, likewise.
    pub end_to_end_p99_ns: (u64, u64),
}

/// Watches a drain, and passes on what it sees.
pub struct DrainWatch<'a> {
    observer: &'a mut dyn Observer,
    late_from_s: f64,
    subscription: usize,
    rate: f64,
    before: Sheet,
    during: Sheet,
    /// When each interval ended, and how far behind the late subscription was.
    behind: Vec<(f64, u64)>,
}

impl<'a> DrainWatch<'a> {
    /// Watches a subscription that begins so many seconds into the measurement.
    pub fn new(observer: &'a mut dyn Observer, subscription: usize, late_from_s: f64, rate: f64) -> Self {
        let (before, during) = (Sheet::default(), Sheet::default());
        Self { observer, late_from_s, subscription, rate, before, during, behind: Vec::new() }
    }

    /// What came of it.
    pub fn drain(&self) -> Drain {
        let began = self.behind.iter().rposition(|(end_s, _)| *end_s <= self.late_from_s).unwrap_or(0);
        let (began_s, backlog_records) = self.behind.get(began).copied().unwrap_or_default();
        let caught_up = self.behind[began.min(self.behind.len())..]
            .iter()
            .find(|(end_s, behind)| *end_s > self.late_from_s && (*behind as f64) < self.rate * CAUGHT_UP_S);
        let (until_s, left) = caught_up.or(self.behind.last()).copied().unwrap_or_default();
        let seconds = (until_s - began_s).max(1e-9);
        // What was produced meanwhile was read too.
        let read = backlog_records as f64 - left as f64 + self.rate * seconds;
        let p99 = |sheet: &Sheet, measure| sheet.histogram(measure).value_at_quantile(0.99);
        Drain {
            backlog_records,
            records_per_second: read / seconds,
            caught_up_after_s: caught_up.map(|(end_s, _)| end_s - self.late_from_s),
            produce_p99_ns: (p99(&self.before, Measure::Produce), p99(&self.during, Measure::Produce)),
            end_to_end_p99_ns: (p99(&self.before, Measure::EndToEnd), p99(&self.during, Measure::EndToEnd)),
        }
    }
}

impl Observer for DrainWatch<'_> {
    fn interval(&mut self, view: &View<'_>) {
        self.observer.interval(view);
        if view.phase == Phase::WarmUp {
            return;
        }
        let caught_up = self
            .behind
            .iter()
            .any(|(end_s, behind)| *end_s > self.late_from_s && (*behind as f64) < self.rate * CAUGHT_UP_S);
        match view.end_s <= self.late_from_s {
            true => self.before.add(view.sheet),
            false if !caught_up => self.during.add(view.sheet),
            false => {}
        }
        let behind = view.behind_records.get(self.subscription).copied().unwrap_or(0);
        self.behind.push((view.end_s, behind));
    }

    fn phase(&mut self, phase: Phase) {
        self.observer.phase(phase);
    }
}

/// Topics of a series that must not find what an earlier one left.
pub fn recreate(mut steps: Vec<Step>) -> Vec<Step> {
    steps.iter_mut().for_each(|step| step.workload.topics.create = Create::Recreate);
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Unwatched;

    #[test]
    fn a_sweep_is_geometric() {
        let rates = |order| {
            let steps = sweep(&Workload::default(), 1000.0, 8000.0, 2.0, order).unwrap();
            steps.iter().map(|step| step.workload.rate).collect::<Vec<_>>()
        };
        assert_eq!(rates(Order::Up), [1000.0, 2000.0, 4000.0, 8000.0]);
        assert_eq!(rates(Order::UpDown), [1000.0, 2000.0, 4000.0, 8000.0, 4000.0, 2000.0, 1000.0]);
        let mut random = rates(Order::Random);
        assert_eq!(random, rates(Order::Random));
        random.sort_by(f64::total_cmp);
        assert_eq!(random, rates(Order::Up));
        assert!(sweep(&Workload::default(), 1.0, 1e9, 1.0001, Order::Up).unwrap_err().contains("1000 steps"));
    }

    #[test]
    fn a_matrix_has_every_pair() {
        let durable = ("durable".to_owned(), BTreeMap::from([("flush.messages".to_owned(), "1".to_owned())]));
        let steps = matrix(
            &Workload::default(),
            &[Acks::None, Acks::All],
            &[durable, ("page".to_owned(), BTreeMap::new())],
        );
        let labels: Vec<&str> = steps.iter().map(|step| step.label.as_str()).collect();
        assert_eq!(labels, ["acks 0 durable", "acks -1 durable", "acks 0 page", "acks -1 page"]);
        assert_eq!(steps[0].workload.topics.configs["flush.messages"], "1");
        assert!(steps.iter().all(|step| step.workload.check().is_ok()));
    }

    #[test]
    fn a_drain_is_measured_from_how_far_behind_it_was() {
        let mut unwatched = Unwatched;
        let mut watch = DrainWatch::new(&mut unwatched, 1, 2.0, 1000.0);
        let sheet = Sheet::default();
        for (end_s, behind) in [(1.0, 1000), (2.0, 2000), (3.0, 1500), (4.0, 1000), (5.0, 500), (6.0, 0)] {
            let behind_records = [0, behind];
            watch.interval(&View {
                phase: Phase::Measure,
                end_s,
                length_s: 1.0,
                sheet: &sheet,
                behind_records: &behind_records,
            });
        }
        let drain = watch.drain();
        assert_eq!(drain.backlog_records, 2000);
        // 1500 fewer in three seconds, while 3000 came.
        assert_eq!(drain.records_per_second, 1500.0);
        assert_eq!(drain.caught_up_after_s, Some(3.0));
    }
}
