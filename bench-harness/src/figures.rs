//! Every figure that a report shows, by name. A figure is derived from results in one place, here; tables look it up, and
//! `verify` derives it once more from the interval logs and compares.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::environment::{Environment, Sample};
use crate::outcome::{Measure, Outcome, StagesRead, Verdict};
use crate::plot::units;
use crate::results::{Preset, Results, Run, slug};
use crate::stages::{BrokerStages, Spread};
use crate::statistics::{Band, Bootstrap, Reading, Rounds, SAMPLES_BEYOND_MIN, Samples, TABLE_QUANTILES};

/// Behind a percentile at which the generator was late.
const CLIENT_BOUND_MARK: &str = " ‡";

/// The percentiles whose ratios are shown.
pub const RATIO_QUANTILES: [f64; 4] = [0.5, 0.99, 0.999, 0.9999];

/// The percentiles of the broker's own stages.
pub const STAGE_QUANTILES: [f64; 3] = [0.5, 0.99, 0.999];

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// The number, in nanoseconds, records, or whatever its name says; absent where there is none to give.
    pub value: Option<f64>,
    /// As it is printed.
    pub text: String,
}

/// Figures by name: `durable/16-partitions/1000-s/monedula/produce/p99`.
pub type Figures = BTreeMap<String, Figure>;

/// The runs of one preset, load and step, by broker.
#[derive(Clone, Debug)]
pub struct Group<'a> {
    /// The preset, if there is one.
    pub preset: Option<Preset>,
    /// The load.
    pub load: &'a str,
    /// The step.
    pub step: &'a str,
    /// Whether its runs are tries of a search.
    pub probe: bool,
    /// One side for each broker that was measured, in the order of the results.
    pub sides: Vec<Side<'a>>,
}

/// The rounds of one broker within a group.
#[derive(Clone, Debug)]
pub struct Side<'a> {
    /// The broker's name.
    pub broker: &'a str,
    /// Its place among the brokers of the results, which is its colour.
    pub colour: usize,
    /// Its runs.
    pub rounds: Vec<&'a Run>,
    /// All rounds as one.
    pub merged: Outcome,
    /// The produce latencies of each round by interval.
    pub intervals: Vec<Vec<Histogram<u64>>>,
}

impl Side<'_> {
    /// The samples of a measure, with those that never came back; `None` where nothing was measured.
    pub fn samples(&self, measure: Measure) -> Option<Samples<'_>> {
        samples(&self.merged, measure)
    }

    /// The intervals as a bootstrap takes them.
    pub fn rounds(&self) -> Rounds<'_> {
        self.intervals.iter().map(|round| round.iter().collect()).collect()
    }
}

/// The samples of a measure of one outcome. A record that failed or passed its deadline was late without bound.
pub fn samples(outcome: &Outcome, measure: Measure) -> Option<Samples<'_>> {
    let histogram = outcome.histograms.get(&measure)?;
    let counts = &outcome.counts;
    let unbounded = match measure {
        Measure::Produce => counts.beyond_deadline + counts.dropped + counts.failed_total(),
        _ => 0,
    };
    Some(Samples { histogram, unbounded })
}

impl Group<'_> {
    /// What the names of its figures begin with.
    pub fn id(&self) -> String {
        let preset = self.preset.map_or("run", Preset::name);
        format!("{preset}/{}/{}", slug(self.load), slug(self.step))
    }
}

/// The runs of the results in groups, in order of first appearance.
pub fn groups(results: &Results) -> Result<Vec<Group<'_>>, String> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for run in &results.runs {
        let key = (run.preset, run.load.as_str(), run.step.as_str(), run.probe);
        let same = |group: &Group<'_>| (group.preset, group.load, group.step, group.probe) == key;
        let at = groups.iter().position(same).unwrap_or_else(|| {
            let (load, step) = (run.load.as_str(), run.step.as_str());
            groups.push(Group { preset: run.preset, load, step, probe: run.probe, sides: Vec::new() });
            groups.len() - 1
        });
        add(&mut groups[at], results, run)?;
    }
    for group in &mut groups {
        group.sides.sort_by_key(|side| side.colour);
    }
    groups.sort_by_key(|group| group.preset);
    Ok(groups)
}

fn add<'a>(group: &mut Group<'a>, results: &Results, run: &'a Run) -> Result<(), String> {
    let intervals = run
        .outcome
        .intervals
        .iter()
        .filter_map(|interval| interval.histogram(Measure::Produce).transpose())
        .collect::<Result<Vec<_>, _>>()?;
    match group.sides.iter_mut().find(|side| side.broker == run.broker) {
        Some(side) => {
            side.merged.absorb(run.outcome.clone());
            side.rounds.push(run);
            side.intervals.push(intervals);
        }
        None => {
            let colour = results.brokers.iter().position(|broker| broker.name == run.broker).unwrap_or(0);
            let (rounds, merged, intervals) = (vec![run], run.outcome.clone(), vec![intervals]);
            group.sides.push(Side { broker: &run.broker, colour, rounds, merged, intervals });
        }
    }
    Ok(())
}

/// All figures of the results.
pub fn figures(results: &Results) -> Result<Figures, String> {
    let mut figures = Figures::new();
    for group in groups(results)?.into_iter().filter(|group| !group.probe) {
        for side in &group.sides {
            let id = format!("{}/{}", group.id(), slug(side.broker));
            add_side(&mut figures, &id, side);
            add_machine(&mut figures, &id, side, &results.environment);
        }
        add_ratios(&mut figures, &group);
    }
    Ok(figures)
}

fn add_side(figures: &mut Figures, id: &str, side: &Side<'_>) {
    let outcome = &side.merged;
    for measure in Measure::ALL {
        let Some(samples) = side.samples(measure) else { continue };
        let id = format!("{id}/{measure}");
        figures
            .insert(format!("{id}/samples"), number(samples.count() as f64, units::count(samples.count())));
        for quantile in TABLE_QUANTILES {
            let mut figure = reading(quantile, samples.at(quantile));
            if is_client_bound(outcome, measure, quantile) {
                figure.text += CLIENT_BOUND_MARK;
            }
            figures.insert(format!("{id}/{}", units::percentile(quantile)), figure);
        }
    }
    if let Some(floor) = outcome.floor.as_ref().and_then(|floor| floor.histograms.get(&Measure::Produce)) {
        for quantile in TABLE_QUANTILES {
            figures.insert(
                format!("{id}/floor/{}", units::percentile(quantile)),
                reading(quantile, Samples::all(floor).at(quantile)),
            );
        }
    }
    add_bands(figures, id, side);
    add_stages(figures, id, side);
    for (name, figure) in flow(side) {
        figures.insert(format!("{id}/{name}"), figure);
    }
}

/// The broker's own stages: `broker/produce/disk/mean`; `total` is the whole.
fn add_stages(figures: &mut Figures, id: &str, side: &Side<'_>) {
    let Some(stages) = side.merged.broker_stages.as_ref().and_then(StagesRead::stages) else { return };
    for (api, stage, spread) in broker_rows(stages) {
        let id = format!("{id}/broker/{api}/{stage}");
        let time = |us: f64| number(us * 1e3, units::latency(us * 1e3));
        figures.insert(format!("{id}/requests"), number(spread.count as f64, units::count(spread.count)));
        figures.insert(format!("{id}/mean"), time(spread.mean_us()));
        for quantile in STAGE_QUANTILES {
            figures.insert(
                format!("{id}/{}", units::percentile(quantile)),
                time(spread.quantile_us(quantile) as f64),
            );
        }
    }
}

/// The lines of a table of the broker's stages: API, stage, times. An API without requests has none.
pub fn broker_rows(stages: &BrokerStages) -> Vec<(&str, &str, &Spread)> {
    let mut rows = Vec::new();
    for api in stages.apis.iter().filter(|api| api.total.count > 0) {
        rows.extend(api.stages.iter().map(|(name, spread)| (api.api.as_str(), name.as_str(), spread)));
        rows.push((api.api.as_str(), "total", &api.total));
    }
    rows
}

/// Records acknowledged each second, from the first to the last acknowledgement of the measurement. A broker that cannot keep
/// up goes on answering after the last record was due; the time that this takes counts.
pub fn acked_per_second(outcome: &Outcome) -> f64 {
    let records: u64 = outcome.intervals.iter().map(|interval| interval.flow.acked_records).sum();
    let seconds: f64 = outcome.intervals.iter().map(|interval| interval.length_s).sum();
    records as f64 / seconds.max(f64::MIN_POSITIVE)
}

/// CPU seconds of the broker in each second of a side, if all its runs know them.
fn broker_cores(side: &Side<'_>) -> Option<f64> {
    let seconds: Option<f64> = side.rounds.iter().map(|run| run.broker_cpu_seconds).sum();
    seconds
        .map(|seconds| seconds / side.merged.measured_seconds.max(f64::MIN_POSITIVE))
        .filter(|cores| *cores > 0.0)
}

/// Rates, requests, CPU and checks of one side.
fn flow(side: &Side<'_>) -> Vec<(&'static str, Figure)> {
    let outcome = &side.merged;
    let (counts, seconds) = (&outcome.counts, outcome.measured_seconds.max(f64::MIN_POSITIVE));
    let per_second = |rate: f64| number(rate, units::rate(rate));
    let plain = |count: u64| number(count as f64, units::count(count));
    let acked = acked_per_second(outcome);
    let bytes = acked * outcome.workload.record_bytes.mean_bytes();
    let mut out = vec![
        ("intended-per-second", per_second(counts.intended as f64 / seconds)),
        ("acked-per-second", per_second(acked)),
        ("acked-bytes-per-second", number(bytes, units::throughput(bytes))),
        ("received-per-second", per_second(counts.received as f64 / seconds)),
        ("requests-per-second", per_second(outcome.requests.produce as f64 / seconds)),
        ("acked", plain(counts.acked)),
        ("beyond-deadline", plain(counts.beyond_deadline)),
        ("failed", plain(counts.failed_total())),
        ("dropped", plain(counts.dropped)),
        ("lost", plain(counts.lost)),
        ("duplicated", plain(counts.duplicated)),
        ("reordered", plain(counts.reordered)),
        ("corrupt", plain(counts.corrupt)),
    ];
    if outcome.requests.produce > 0 {
        let records = outcome.requests.records_per_request.mean();
        out.push(("records-per-request", number(records, units::ratio(records))));
    }
    let generator = outcome.generator_cpu_seconds / seconds;
    out.push(("generator-cores", number(generator, units::ratio(generator))));
    if let Some(cores) = broker_cores(side) {
        out.push(("broker-cores", number(cores, units::ratio(cores))));
        if acked > 0.0 {
            out.push(("acked-per-core-second", per_second(acked / cores)));
            let micros = cores * 1e6 / acked;
            out.push(("broker-cpu-us-per-record", number(micros, units::ratio(micros))));
        }
        if outcome.requests.produce > 0 {
            let micros = cores * 1e6 * seconds / outcome.requests.produce as f64;
            out.push(("broker-cpu-us-per-request", number(micros, units::ratio(micros))));
        }
    }
    if let Some(read) = &outcome.catch_up {
        let rate = read.bytes as f64 / read.seconds.max(f64::MIN_POSITIVE);
        out.push(("catch-up-bytes-per-second", number(rate, units::throughput(rate))));
        if let Some(cpu) = read.broker_cpu_seconds.filter(|_| read.bytes > 0) {
            let per_gigabyte = cpu * 1e9 / read.bytes as f64;
            out.push(("catch-up-cpu-seconds-per-gb", number(per_gigabyte, units::ratio(per_gigabyte))));
        }
    }
    out
}

/// How busy the whole machine was while the side was measured, and how much of it was taken away by the host.
fn add_machine(figures: &mut Figures, id: &str, side: &Side<'_>, environment: &Environment) {
    let seconds: Vec<_> = side
        .rounds
        .iter()
        .flat_map(|run| {
            let from_ms = run.outcome.started_at_ms;
            environment.samples_between(from_ms, from_ms + (run.outcome.measured_seconds * 1000.0) as u64)
        })
        .collect();
    let shares = |share: fn(&Sample) -> Option<f64>| {
        seconds.iter().filter_map(|second| share(second)).collect::<Vec<_>>()
    };
    let busy = shares(Sample::busy);
    if !busy.is_empty() {
        let mean = busy.iter().sum::<f64>() / busy.len() as f64;
        figures.insert(format!("{id}/machine-busy"), number(mean, format!("{:.0} %", mean * 100.0)));
    }
    let worst = |values: Vec<f64>| values.into_iter().reduce(f64::max);
    let steal = worst(shares(|second| second.get("steal")));
    let pressure = worst(shares(|second| second.get("pressure_cpu")));
    for (name, share) in [("steal-worst-second", steal), ("cpu-pressure-worst-second", pressure)] {
        if let Some(share) = share {
            figures.insert(format!("{id}/{name}"), number(share, format!("{:.0} %", share * 100.0)));
        }
    }
}

/// Whether the generator may have set a percentile of what counts from the intended time.
fn is_client_bound(outcome: &Outcome, measure: Measure, quantile: f64) -> bool {
    matches!(measure, Measure::Produce | Measure::EndToEnd)
        && outcome.client_bound(quantile * 100.0).is_some()
}

/// The ends of the confidence band of each percentile.
fn add_bands(figures: &mut Figures, id: &str, side: &Side<'_>) {
    let Some(bands) = Bootstrap::default().bands(&side.rounds(), &RATIO_QUANTILES) else { return };
    for (quantile, band) in RATIO_QUANTILES.into_iter().zip(bands) {
        let tells =
            side.samples(Measure::Produce).is_some_and(|samples| samples.at(quantile).value_ns().is_some());
        if tells {
            let text = format!("{} – {}", units::latency(band.low), units::latency(band.high));
            let id = format!("{id}/produce/{}", units::percentile(quantile));
            figures.insert(format!("{id}/band"), Figure { value: Some(band.high - band.low), text });
        }
    }
}

/// How many times as long as the first side every other side takes.
fn add_ratios(figures: &mut Figures, group: &Group<'_>) {
    let Some((first, others)) = group.sides.split_first() else { return };
    for other in others {
        let bands = Bootstrap::default().ratio_bands(&other.rounds(), &first.rounds(), &RATIO_QUANTILES);
        let id = format!("{}/{}", group.id(), ratio_name(other, first));
        for (at, quantile) in RATIO_QUANTILES.into_iter().enumerate() {
            let Some(value) = ratio(other, first, quantile) else { continue };
            let id = format!("{id}/{}", units::percentile(quantile));
            let bound =
                [other, first].iter().any(|side| is_client_bound(&side.merged, Measure::Produce, quantile));
            let mark = if bound { CLIENT_BOUND_MARK } else { "" };
            figures.insert(id.clone(), number(value, format!("{} ×{mark}", units::ratio(value))));
            if let Some(Band { low, high }) = bands.as_ref().map(|bands| bands[at]) {
                let text = format!("{} – {}", units::ratio(low), units::ratio(high));
                figures.insert(format!("{id}/band"), Figure { value: Some(high - low), text });
            }
        }
        add_throughput_ratios(figures, &id, other, first);
    }
}

fn add_throughput_ratios(figures: &mut Figures, id: &str, other: &Side<'_>, first: &Side<'_>) {
    let rate = |side: &Side<'_>| acked_per_second(&side.merged);
    let cpu = |side: &Side<'_>| Some(rate(side) / broker_cores(side)?);
    // Here the first side is divided: more is better.
    if rate(other) > 0.0 {
        let value = rate(first) / rate(other);
        figures.insert(format!("{id}/acked-per-second"), number(value, format!("{} ×", units::ratio(value))));
    }
    if let (Some(ours), Some(theirs)) = (cpu(first), cpu(other))
        && theirs > 0.0
    {
        let value = ours / theirs;
        figures.insert(
            format!("{id}/acked-per-core-second"),
            number(value, format!("{} ×", units::ratio(value))),
        );
    }
}

/// The name of a ratio in the names of figures.
pub fn ratio_name(other: &Side<'_>, first: &Side<'_>) -> String {
    format!("{}-over-{}", slug(other.broker), slug(first.broker))
}

/// `other / first` at a percentile that both can tell.
pub fn ratio(other: &Side<'_>, first: &Side<'_>, quantile: f64) -> Option<f64> {
    let value = |side: &Side<'_>| side.samples(Measure::Produce)?.at(quantile).value_ns();
    Some(value(other)? as f64 / value(first)?.max(1) as f64)
}

fn number(value: f64, text: String) -> Figure {
    Figure { value: Some(value), text }
}

fn reading(quantile: f64, reading: Reading) -> Figure {
    match reading {
        Reading::Value { value_ns, beyond } => {
            // A dagger where fewer than a hundred samples lie beyond; the maximum never has any.
            let few = if beyond < SAMPLES_BEYOND_MIN && quantile < 1.0 { " †" } else { "" };
            number(value_ns as f64, format!("{}{few}", units::latency(value_ns as f64)))
        }
        Reading::TooFew { beyond } => Figure { value: None, text: format!("too few ({beyond} beyond)") },
        Reading::BeyondDeadline => Figure { value: None, text: "beyond deadline".to_owned() },
        Reading::NoSamples => Figure { value: None, text: "no samples".to_owned() },
    }
}

/// The runs that may not be believed, with the reasons. A search tries rates that are too high; they are not counted.
pub fn invalid_runs(results: &Results) -> Vec<(&Run, &[String])> {
    let invalid = |run: &&Run| !run.probe && !run.outcome.verdict.is_valid();
    results.runs.iter().filter(invalid).map(|run| (run, run.outcome.verdict.reasons())).collect()
}

/// Whether all rounds of a side may be believed.
pub fn is_valid(side: &Side<'_>) -> bool {
    side.merged.verdict == Verdict::Valid
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::synthetic;

    #[test]
    fn sides_are_merged_and_never_averaged() {
        let results = synthetic::comparison();
        let groups = groups(&results).unwrap();
        assert_eq!(groups.len(), 8);
        let side = &groups[0].sides[0];
        assert_eq!((side.broker, side.rounds.len()), ("monedula", 2));
        assert_eq!(side.merged.histograms[&Measure::Produce].len(), 2 * 12 * 200);
        let figures = figures(&results).unwrap();
        let p99 = &figures["durable/1-partition/200-s/monedula/produce/p99"];
        let merged = Samples::all(&side.merged.histograms[&Measure::Produce]).at(0.99);
        assert_eq!(p99.value, merged.value_ns().map(|value| value as f64));
        assert_eq!(figures["durable/1-partition/200-s/monedula/produce/p99.99"].text, "too few (0 beyond)");
    }

    #[test]
    fn the_brokers_stages_are_figures_and_their_means_sum_to_the_total() {
        let figures = figures(&synthetic::comparison()).unwrap();
        let mean = |stage: &str| {
            figures[&format!("durable/1-partition/200-s/monedula/broker/produce/{stage}/mean")].value.unwrap()
        };
        assert_eq!(mean("parse") + mean("disk"), mean("total"));
        // Two rounds of 200 requests.
        assert_eq!(figures["durable/1-partition/200-s/monedula/broker/produce/disk/requests"].text, "400");
        assert!(figures.keys().all(|name| !name.contains("kafka/broker/")));
    }

    #[test]
    fn a_ratio_comes_with_a_band_around_it() {
        let figures = figures(&synthetic::comparison()).unwrap();
        let ratio = figures["durable/1-partition/400-s/kafka-over-monedula/p50"].value.unwrap();
        assert!((2.0..2.6).contains(&ratio), "{ratio}");
        assert!(figures.contains_key("durable/1-partition/400-s/kafka-over-monedula/p50/band"));
        let faster = figures["durable/1-partition/400-s/kafka-over-monedula/acked-per-second"].value.unwrap();
        assert!((faster - 1.0).abs() < 1e-9);
    }
}
