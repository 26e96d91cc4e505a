//! What one run measured. Written by the engine, read by everything that shows, packs or compares.

use std::collections::BTreeMap;
use std::fmt;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::histogram::{self, EncodedHistogram, duration};
use crate::stages::BrokerStages;
use crate::workload::Workload;

/// The most intervals of an outcome. Before there are more, neighbours are merged and intervals are twice as long.
pub const INTERVALS_MAX: usize = 7200;
/// A generator lag up to this is never held against a run.
pub const LAG_ALLOWED_NS: u64 = 100_000;
/// A generator lag up to this share of the response is not held against a run either.
pub const LAG_ALLOWED_SHARE: f64 = 0.05;

/// How a reason begins that holds the generator against a run.
pub const CLIENT_BOUND: &str = "client bound";
/// Where a generator that is late makes the whole run INVALID. Further out, where some milliseconds that a machine takes
/// from the generator are enough, it makes the percentile so.
const RUN_PERCENTILES: [(&str, f64); 3] = [("p50", 50.0), ("p90", 90.0), ("p99", 99.0)];
/// A generator in a closed loop that is busy for more than this share of the time may have been the limit.
pub const CLOSED_LOOP_BUSY_MAX: f64 = 0.95;

/// What one run measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// What was asked.
    pub workload: Workload,
    /// Whom.
    pub target: Target,
    /// When the measurement began, in milliseconds of the Unix epoch.
    pub started_at_ms: u64,
    /// Seconds of warm-up before it.
    pub warm_up_seconds: f64,
    /// Seconds in which records were intended. Less than was asked where the run was interrupted.
    pub measured_seconds: f64,
    /// Whether it was ended before its time, by Ctrl-C for example.
    pub interrupted: bool,
    /// Whether the figures may be believed.
    pub verdict: Verdict,
    /// The latencies of all records that were intended in the measured seconds, in nanoseconds. A measure without
    /// samples is absent.
    #[serde(with = "histogram::map")]
    pub histograms: BTreeMap<Measure, Histogram<u64>>,
    /// The same by the time at which a sample was taken. The last one lasts until everything has been answered.
    pub intervals: Vec<Interval>,
    /// What was counted.
    pub counts: Counts,
    /// Requests and batches.
    pub requests: Requests,
    /// What the harness itself adds, if it was calibrated.
    pub floor: Option<Floor>,
    /// CPU time of the generator in the measured seconds, all its threads.
    pub generator_cpu_seconds: f64,
    /// CPU time of the broker's process in the measured seconds, where it is known which that is and it is on this machine.
    #[serde(default)]
    pub broker_cpu_seconds: Option<f64>,
    /// What the broker said of its own time, where it was to be asked.
    #[serde(default)]
    pub broker_stages: Option<StagesRead>,
    /// How everything was read once it had been written, where that was asked for.
    #[serde(default)]
    pub catch_up: Option<CatchUp>,
    /// Worker threads of the generator.
    pub workers: usize,
    /// The cores they were pinned to; empty if they were not.
    pub cores: Vec<usize>,
}

/// A generator that was late at some percentile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientBound {
    /// How late.
    pub lag_ns: u64,
    /// More than this is held against it.
    pub allowed_ns: u64,
}

/// What came of asking the broker for its stages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StagesRead {
    /// They were read.
    Read(BrokerStages),
    /// They were not; why, as a sentence.
    NotRead(String),
}

impl StagesRead {
    /// The stages, if they were read.
    pub fn stages(&self) -> Option<&BrokerStages> {
        match self {
            Self::Read(stages) => Some(stages),
            Self::NotRead(_) => None,
        }
    }

    /// Adds a repetition. What could not be read in one of them is missing in both.
    fn absorb(&mut self, other: Self) {
        match (&mut *self, other) {
            (Self::Read(stages), Self::Read(more)) => stages.add(&more),
            (Self::Read(_), not_read) => *self = not_read,
            (Self::NotRead(_), _) => {}
        }
    }
}

/// Reading from the first record to the last after all had been written: nothing was produced meanwhile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CatchUp {
    /// Records that consumers got, of all subscriptions.
    pub records: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// Seconds from the first fetch until the last record was looked at.
    pub seconds: f64,
    /// CPU time of the broker meanwhile, if it can be told.
    pub broker_cpu_seconds: Option<f64>,
}

impl CatchUp {
    /// Adds a repetition.
    fn absorb(&mut self, other: &Self) {
        self.records += other.records;
        self.bytes += other.bytes;
        self.seconds += other.seconds;
        self.broker_cpu_seconds = self.broker_cpu_seconds.zip(other.broker_cpu_seconds).map(|(a, b)| a + b);
    }
}

/// Where a load went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The address that was given.
    pub bootstrap: String,
    /// Brokers of the cluster, as `host:port`, by their ids.
    pub brokers: BTreeMap<i32, String>,
    /// The cluster's id, where the broker tells it.
    pub cluster_id: Option<String>,
    /// What the broker is, as far as somebody knows: `monedula`, `kafka`.
    pub name: Option<String>,
    /// Its version, as far as somebody knows.
    pub version: Option<String>,
}

/// What a histogram is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// Response: from a record's intended time to its acknowledgement. The headline.
    Produce,
    /// From a record's request being written to its acknowledgement.
    Service,
    /// What the generator adds: from a record's intended time until it is in its batch, and from the moment that its
    /// batch could have been sent until it is written.
    GeneratorLag,
    /// From a record's intended time until a consumer has it.
    EndToEnd,
    /// From a fetch request to its response with records; includes the wait for records.
    Fetch,
    /// From an offset commit to its response.
    Commit,
}

impl Measure {
    /// Every measure.
    pub const ALL: [Self; 6] =
        [Self::Produce, Self::Service, Self::GeneratorLag, Self::EndToEnd, Self::Fetch, Self::Commit];

    /// The name, as in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Produce => "produce",
            Self::Service => "service",
            Self::GeneratorLag => "generator-lag",
            Self::EndToEnd => "end-to-end",
            Self::Fetch => "fetch",
            Self::Commit => "commit",
        }
    }

    /// The measure of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|measure| measure.name() == name)
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether the figures of a run may be believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Verdict {
    /// They may.
    Valid,
    /// They may not.
    Invalid {
        /// Why, each a sentence.
        reasons: Vec<String>,
    },
}

impl Verdict {
    /// Whether they may.
    pub fn is_valid(&self) -> bool {
        matches!(self, Self::Valid)
    }

    /// Why not; empty if they may.
    pub fn reasons(&self) -> &[String] {
        match self {
            Self::Valid => &[],
            Self::Invalid { reasons } => reasons,
        }
    }

    /// The verdict for these reasons.
    pub fn of(reasons: Vec<String>) -> Self {
        match reasons.is_empty() {
            true => Self::Valid,
            false => Self::Invalid { reasons },
        }
    }
}

/// A piece of the measured time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Seconds from the start of the measurement.
    pub start_s: f64,
    /// Seconds.
    pub length_s: f64,
    /// The samples taken in it.
    pub histograms: BTreeMap<Measure, EncodedHistogram>,
    /// Records and bytes.
    pub flow: Flow,
}

impl Interval {
    /// The samples of one measure, or `None` if there are none. Bytes that are no histogram are an error.
    pub fn histogram(&self, measure: Measure) -> Result<Option<Histogram<u64>>, String> {
        self.histograms.get(&measure).map(EncodedHistogram::decode).transpose()
    }

    /// Adds what the next interval has; it must begin where this one ends.
    fn append(&mut self, next: &Self) {
        self.length_s = next.start_s + next.length_s - self.start_s;
        self.flow.add(&next.flow);
        for (measure, more) in &next.histograms {
            let sum = match self.histograms.get(measure) {
                None => more.clone(),
                Some(have) => {
                    let mut sum = have.decode().expect("it was encoded here");
                    sum.add(more.decode().expect("it was encoded here")).expect("the bounds are the same");
                    EncodedHistogram::encode(&sum)
                }
            };
            self.histograms.insert(*measure, sum);
        }
    }
}

/// Halves the number of intervals; each is twice as long.
pub fn merge_neighbours(intervals: &mut Vec<Interval>) {
    let mut merged: Vec<Interval> = Vec::with_capacity(intervals.len().div_ceil(2));
    for (index, interval) in intervals.drain(..).enumerate() {
        match merged.last_mut() {
            Some(last) if index % 2 == 1 => last.append(&interval),
            _ => merged.push(interval),
        }
    }
    *intervals = merged;
}

/// Records and bytes of values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// Records that were put into a batch.
    pub sent_records: u64,
    /// Bytes of their values.
    pub sent_bytes: u64,
    /// Records that were acknowledged.
    pub acked_records: u64,
    /// Bytes of their values.
    pub acked_bytes: u64,
    /// Records that consumers got, of all subscriptions.
    pub received_records: u64,
    /// Bytes of their values.
    pub received_bytes: u64,
}

impl Flow {
    /// Adds another.
    pub fn add(&mut self, other: &Self) {
        self.sent_records += other.sent_records;
        self.sent_bytes += other.sent_bytes;
        self.acked_records += other.acked_records;
        self.acked_bytes += other.acked_bytes;
        self.received_records += other.received_records;
        self.received_bytes += other.received_bytes;
    }
}

/// What was counted. Those of the first part are of records intended in the measured seconds; the checks are of the
/// whole run, warm-up included.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Records that the schedule asked for.
    pub intended: u64,
    /// Records that were put into a batch.
    pub sent: u64,
    /// Records that were acknowledged before their deadline.
    pub acked: u64,
    /// Records that failed for good, by the error's name; none of them has a latency.
    pub failed: BTreeMap<String, u64>,
    /// Records not acknowledged before their deadline: their latency is infinite.
    pub beyond_deadline: u64,
    /// Records that found the buffer full and were dropped: their latency is infinite.
    pub dropped: u64,
    /// Records that found the buffer full and waited.
    pub blocked: u64,
    /// Records without an answer when the run was interrupted.
    pub unfinished: u64,
    /// Records that consumers got, of all subscriptions.
    pub received: u64,

    /// Acknowledged records that a subscription did not get.
    pub lost: u64,
    /// Records that a subscription got more than once.
    pub duplicated: u64,
    /// Records that a subscription got after one that the same producer had sent to the same partition later.
    pub reordered: u64,
    /// Records whose CRC is wrong.
    pub corrupt: u64,
    /// Records of no run, or of another one, or before this one.
    pub foreign: u64,
    /// Records that arrived before their intended time, by the clock.
    pub negative: u64,
    /// Acknowledged records that nobody was given the time to read, in an interrupted run.
    pub unread: u64,

    /// Errors after which something was tried again, by name.
    pub retried: BTreeMap<String, u64>,
    /// Records that were sent again.
    pub resent: u64,
    /// Connections that ended and were opened again.
    pub reconnects: u64,
    /// Rebalances of consumer groups.
    pub rebalances: u64,
}

impl Counts {
    /// Adds another.
    pub fn add(&mut self, other: &Self) {
        for (own, others) in [(&mut self.failed, &other.failed), (&mut self.retried, &other.retried)] {
            for (name, count) in others {
                *own.entry(name.clone()).or_default() += count;
            }
        }
        let pairs = [
            (&mut self.intended, other.intended),
            (&mut self.sent, other.sent),
            (&mut self.acked, other.acked),
            (&mut self.beyond_deadline, other.beyond_deadline),
            (&mut self.dropped, other.dropped),
            (&mut self.blocked, other.blocked),
            (&mut self.unfinished, other.unfinished),
            (&mut self.received, other.received),
            (&mut self.lost, other.lost),
            (&mut self.duplicated, other.duplicated),
            (&mut self.reordered, other.reordered),
            (&mut self.corrupt, other.corrupt),
            (&mut self.foreign, other.foreign),
            (&mut self.negative, other.negative),
            (&mut self.unread, other.unread),
            (&mut self.resent, other.resent),
            (&mut self.reconnects, other.reconnects),
            (&mut self.rebalances, other.rebalances),
        ];
        for (own, others) in pairs {
            *own += others;
        }
    }

    /// Records that failed for good.
    pub fn failed_total(&self) -> u64 {
        self.failed.values().sum()
    }

    /// The share of intended records whose latency is infinite, and that of those that failed, from 0 to 1. A
    /// percentile above one minus this is infinite too.
    pub fn infinite_share(&self) -> f64 {
        let infinite = self.beyond_deadline + self.dropped + self.failed_total();
        infinite as f64 / self.intended.max(1) as f64
    }
}

/// Requests and batches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Requests {
    /// Produce requests.
    pub produce: u64,
    /// Batches in them.
    pub batches: u64,
    /// Fetch requests.
    pub fetch: u64,
    /// Bytes written to sockets.
    pub bytes_out: u64,
    /// Bytes read from sockets.
    pub bytes_in: u64,
    /// Records of each produce request; the values are counts, not nanoseconds.
    #[serde(with = "histogram::one")]
    pub records_per_request: Histogram<u64>,
    /// Records of each batch; the values are counts, not nanoseconds.
    #[serde(with = "histogram::one")]
    pub records_per_batch: Histogram<u64>,
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            produce: 0,
            batches: 0,
            fetch: 0,
            bytes_out: 0,
            bytes_in: 0,
            records_per_request: histogram::new(),
            records_per_batch: histogram::new(),
        }
    }
}

impl Requests {
    /// Adds another.
    pub fn add(&mut self, other: &Self) {
        self.produce += other.produce;
        self.batches += other.batches;
        self.fetch += other.fetch;
        self.bytes_out += other.bytes_out;
        self.bytes_in += other.bytes_in;
        self.records_per_request.add(&other.records_per_request).expect("the bounds are the same");
        self.records_per_batch.add(&other.records_per_batch).expect("the bounds are the same");
    }
}

/// What the harness measures where there is no broker to speak of: no result below it means anything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Floor {
    /// Records per second of the calibration.
    pub rate: f64,
    /// Seconds of it.
    pub seconds: f64,
    /// Its latencies.
    #[serde(with = "histogram::map")]
    pub histograms: BTreeMap<Measure, Histogram<u64>>,
}

impl Outcome {
    /// A percentile of a measure in nanoseconds, from 0 to 100; `None` without samples. Infinite latencies are not in
    /// the histogram: see [`Counts::infinite_share`].
    pub fn percentile(&self, measure: Measure, percentile: f64) -> Option<u64> {
        let histogram = self.histograms.get(&measure)?;
        (!histogram.is_empty()).then(|| histogram.value_at_percentile(percentile))
    }

    /// Adds a repetition of the same workload: the samples of both together, its intervals behind those that are here.
    pub fn absorb(&mut self, other: Self) {
        for (measure, more) in other.histograms {
            match self.histograms.entry(measure) {
                std::collections::btree_map::Entry::Vacant(place) => {
                    place.insert(more);
                }
                std::collections::btree_map::Entry::Occupied(mut have) => {
                    have.get_mut().add(more).expect("the bounds are the same");
                }
            }
        }
        let after_s = self.intervals.last().map_or(0.0, |last| last.start_s + last.length_s);
        for mut interval in other.intervals {
            interval.start_s += after_s;
            self.intervals.push(interval);
        }
        while self.intervals.len() > INTERVALS_MAX {
            merge_neighbours(&mut self.intervals);
        }
        let mut reasons = self.verdict.reasons().to_vec();
        for reason in other.verdict.reasons() {
            if !reasons.contains(reason) {
                reasons.push(reason.clone());
            }
        }
        self.verdict = Verdict::of(reasons);
        self.counts.add(&other.counts);
        self.requests.add(&other.requests);
        self.measured_seconds += other.measured_seconds;
        self.generator_cpu_seconds += other.generator_cpu_seconds;
        self.broker_cpu_seconds = self.broker_cpu_seconds.zip(other.broker_cpu_seconds).map(|(a, b)| a + b);
        self.broker_stages = match (self.broker_stages.take(), other.broker_stages) {
            (Some(mut stages), Some(more)) => {
                stages.absorb(more);
                Some(stages)
            }
            _ => None,
        };
        self.catch_up = match (self.catch_up.take(), other.catch_up) {
            (Some(mut catch_up), Some(more)) => {
                catch_up.absorb(&more);
                Some(catch_up)
            }
            _ => None,
        };
        self.interrupted |= other.interrupted;
    }

    /// Why the figures may not be believed, from the figures themselves; empty if they may.
    pub fn reasons_against(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if let Some(reason) = self.closed_loop_bound() {
            reasons.push(reason);
        }
        if let Some((name, bound)) =
            RUN_PERCENTILES.iter().find_map(|(name, at)| Some((name, self.client_bound(*at)?)))
        {
            reasons.push(format!(
                "{CLIENT_BOUND}: the generator was {} late at {name}, more than {} (100 µs or 5 % of the response's {name}); \
                 give it a core of its own, more --workers, or a lower --rate",
                duration(bound.lag_ns),
                duration(bound.allowed_ns)
            ));
        }
        let checks = [
            (self.counts.lost, "lost"),
            (self.counts.duplicated, "duplicated"),
            (self.counts.reordered, "reordered"),
            (self.counts.corrupt, "corrupt"),
        ];
        for (count, what) in checks {
            // A retry of a producer that is not idempotent may store a record twice or late: the broker keeps its word.
            let excused = matches!(what, "duplicated" | "reordered")
                && !self.workload.idempotence
                && self.counts.resent > 0;
            // A group that is rebalanced reads again what was not committed.
            let excused = excused || (what == "duplicated" && self.counts.rebalances > 0);
            if count > 0 && !excused {
                reasons.push(format!("records {what}: {count}; a latency without them would mean nothing"));
            }
        }
        if self.counts.dropped > 0 && self.workload.queue == crate::workload::QueuePolicy::Unbounded {
            reasons.push(format!(
                "the buffer of {} bytes overflowed and {} records were dropped: the rate is beyond what the broker takes",
                self.workload.batching.buffer_bytes, self.counts.dropped
            ));
        }
        if self.counts.intended > 0 && self.counts.acked == 0 {
            reasons.push("no record was acknowledged".to_owned());
        }
        reasons
    }

    /// Judges figures that come from their sources: what they do not say of themselves stays as it was found.
    pub fn judge_again(&mut self) {
        let mut reasons = self.reasons_against();
        let others = self.verdict.reasons().iter().filter(|reason| !reason.starts_with(CLIENT_BOUND));
        let others: Vec<String> = others.filter(|reason| !reasons.contains(reason)).cloned().collect();
        reasons.extend(others);
        self.verdict = Verdict::of(reasons);
    }

    /// How late the generator was at a percentile, if that is so late that it and not the broker may have set the response
    /// there. A closed loop has no intended times to be late for.
    pub fn client_bound(&self, percentile: f64) -> Option<ClientBound> {
        if self.workload.arrival.is_closed() {
            return None;
        }
        let lag_ns = self.percentile(Measure::GeneratorLag, percentile)?;
        let response_ns = self.percentile(Measure::Produce, percentile).unwrap_or(0);
        let allowed_ns = LAG_ALLOWED_NS.max((response_ns as f64 * LAG_ALLOWED_SHARE) as u64);
        (lag_ns > allowed_ns).then_some(ClientBound { lag_ns, allowed_ns })
    }

    /// A closed loop has no intended times to be late for; there the generator was the limit if it was always busy.
    fn closed_loop_bound(&self) -> Option<String> {
        let share =
            self.generator_cpu_seconds / (self.measured_seconds * self.workers as f64).max(f64::MIN_POSITIVE);
        (self.workload.arrival.is_closed() && share > CLOSED_LOOP_BUSY_MAX).then(|| {
            format!(
                "{CLIENT_BOUND}: a closed loop kept the generator busy {:.0} % of the time, so it and not the broker may have \
                 set the throughput; give it more --workers and cores",
                share * 100.0
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(samples: &[u64]) -> Outcome {
        let mut histogram = histogram::new();
        for sample in samples {
            histogram.record(*sample).unwrap();
        }
        let interval = Interval {
            start_s: 0.0,
            length_s: 1.0,
            histograms: BTreeMap::from([(Measure::Produce, EncodedHistogram::encode(&histogram))]),
            flow: Flow { acked_records: samples.len() as u64, ..Flow::default() },
        };
        Outcome {
            workload: Workload::default(),
            target: Target::default(),
            started_at_ms: 0,
            warm_up_seconds: 0.0,
            measured_seconds: 1.0,
            interrupted: false,
            verdict: Verdict::Valid,
            histograms: BTreeMap::from([(Measure::Produce, histogram)]),
            intervals: vec![interval],
            counts: Counts {
                acked: samples.len() as u64,
                intended: samples.len() as u64,
                ..Counts::default()
            },
            requests: Requests::default(),
            floor: None,
            generator_cpu_seconds: 0.5,
            broker_cpu_seconds: None,
            broker_stages: None,
            catch_up: None,
            workers: 1,
            cores: vec![],
        }
    }

    #[test]
    fn repetitions_are_one_histogram() {
        let (first, second) = ([1_000, 20_000, 30], [5_000_000, 70]);
        let mut merged = outcome(&first);
        merged.absorb(outcome(&second));
        let all = outcome(&[first.as_slice(), &second].concat());
        assert_eq!(merged.histograms, all.histograms);
        assert_eq!(merged.counts, all.counts);
        assert_eq!(merged.intervals[1].start_s, 1.0);

        merge_neighbours(&mut merged.intervals);
        assert_eq!(merged.intervals.len(), 1);
        assert_eq!(merged.intervals[0].length_s, 2.0);
        assert_eq!(
            merged.intervals[0].histogram(Measure::Produce).unwrap().unwrap(),
            all.histograms[&Measure::Produce]
        );
    }

    #[test]
    fn an_outcome_comes_back_from_json() {
        let mut outcome = outcome(&[1_000, 2_000]);
        outcome.verdict = Verdict::of(vec!["because".to_owned()]);
        outcome.floor = Some(Floor { rate: 1.0, seconds: 2.0, histograms: outcome.histograms.clone() });
        let text = serde_json::to_string(&outcome).unwrap();
        assert_eq!(serde_json::from_str::<Outcome>(&text).unwrap(), outcome);
    }

    #[test]
    fn a_starved_generator_is_held_against_the_run() {
        let mut outcome = outcome(&[1_000_000; 1000]);
        let lag = |ns: u64| {
            let mut lag = histogram::new();
            lag.record_n(ns, 1000).unwrap();
            lag
        };
        outcome.histograms.insert(Measure::GeneratorLag, lag(90_000));
        assert_eq!(outcome.reasons_against(), Vec::<String>::new());
        outcome.histograms.insert(Measure::GeneratorLag, lag(150_000));
        assert!(outcome.reasons_against()[0].starts_with("client bound"));
        let mut late_at_last = lag(90_000);
        late_at_last.record_n(4_000_000, 5).unwrap();
        outcome.histograms.insert(Measure::GeneratorLag, late_at_last);
        assert_eq!(outcome.reasons_against(), Vec::<String>::new(), "p99 may be believed");
        assert_eq!(outcome.client_bound(99.0), None);
        assert!(outcome.client_bound(99.9).is_some_and(|bound| bound.lag_ns > 3_900_000), "p99.9 may not");
        outcome.histograms.insert(Measure::GeneratorLag, lag(150_000));
        // 5 % of 10 ms are 500 µs.
        outcome.histograms.insert(Measure::Produce, lag(10_000_000));
        assert_eq!(outcome.reasons_against(), Vec::<String>::new());
    }

    #[test]
    fn a_closed_loop_is_judged_by_how_busy_the_generator_was() {
        let mut outcome = outcome(&[1_000_000; 1000]);
        outcome.workload.arrival = crate::workload::Arrival::Closed { records: 10 };
        let mut lag = histogram::new();
        lag.record_n(5_000_000, 1000).unwrap();
        outcome.histograms.insert(Measure::GeneratorLag, lag);
        assert_eq!(outcome.reasons_against(), Vec::<String>::new());
        outcome.generator_cpu_seconds = 0.99;
        assert!(outcome.reasons_against()[0].contains("busy 99 % of the time"));
    }

    #[test]
    fn a_lost_record_is_held_against_the_run() {
        let mut outcome = outcome(&[1]);
        outcome.counts.lost = 1;
        assert!(outcome.reasons_against()[0].starts_with("records lost: 1"));
    }
}
