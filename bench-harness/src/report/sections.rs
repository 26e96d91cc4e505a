//! The plots of a report, made from groups of runs.

use hdrhistogram::Histogram;

use crate::figures::{Group, Side, acked_per_second, is_valid, ratio, ratio_name};
use crate::outcome::Measure;
use crate::plot::curve::{self, Curve, Ratio};
use crate::plot::over_time::{self, Track};
use crate::plot::throughput::{self, Step, Sweep};
use crate::plot::units;
use crate::results::Preset;
use crate::statistics::{Bootstrap, SAMPLES_BEYOND_MIN, Samples};

/// A colour that no broker has, for the harness's floor.
const FLOOR_COLOUR: usize = 2;

/// Fewer steps than this make no curve.
const SWEEP_STEPS_MIN: usize = 3;

/// The plots of a group: name and SVG.
pub fn plots(group: &Group<'_>) -> Vec<(String, String)> {
    let mut plots = vec![("percentiles".to_owned(), percentiles(group))];
    plots.extend(ratios(group).map(|svg| ("ratio".to_owned(), svg)));
    plots.extend(heat_maps(group).into_iter().map(|(broker, svg)| (format!("over-time-{broker}"), svg)));
    plots
}

/// The percentile curves of all sides with their bands, and the floor of the harness.
fn percentiles(group: &Group<'_>) -> String {
    let count =
        group.sides.iter().filter_map(|side| side.samples(Measure::Produce)).map(|samples| samples.count());
    let quantiles = curve::quantiles(count.max().unwrap_or(0));
    let mut curves: Vec<Curve<'_>> = group
        .sides
        .iter()
        .filter_map(|side| {
            let bands = Bootstrap::default().bands(&side.rounds(), &quantiles);
            let name =
                if is_valid(side) { side.broker.to_owned() } else { format!("{} INVALID", side.broker) };
            let samples = side.samples(Measure::Produce)?;
            Some(Curve { name, colour: side.colour, reference: false, samples, bands })
        })
        .collect();
    if let Some(floor) = group.sides.iter().find_map(|side| floor(side)) {
        let samples = Samples::all(floor);
        let name = "floor of the harness".to_owned();
        curves.push(Curve { name, colour: FLOOR_COLOUR, reference: true, samples, bands: None });
    }
    let title = format!("latency by percentile, {} at {}", group.load, group.step);
    curve::percentiles(&title, &curves)
}

fn floor<'a>(side: &'a Side<'_>) -> Option<&'a Histogram<u64>> {
    side.merged.floor.as_ref()?.histograms.get(&Measure::Produce)
}

/// How many times as long as the first every other side takes, with the band.
fn ratios(group: &Group<'_>) -> Option<String> {
    let (first, others) = group.sides.split_first()?;
    if others.is_empty() {
        return None;
    }
    let ratios: Vec<Ratio> = others
        .iter()
        .map(|other| {
            let counts = [first, other]
                .map(|side| side.samples(Measure::Produce).map_or(0, |samples| samples.count()));
            let count = counts.into_iter().min().unwrap_or(0);
            let tells = |quantile: &f64| (1.0 - quantile) * count as f64 >= SAMPLES_BEYOND_MIN as f64;
            let quantiles: Vec<f64> = curve::quantiles(count).into_iter().filter(tells).collect();
            let bands = Bootstrap::default().ratio_bands(&other.rounds(), &first.rounds(), &quantiles);
            let point = |(at, quantile): (usize, &f64)| {
                let band = bands.as_ref().map(|bands| bands[at]);
                Some((*quantile, ratio(other, first, *quantile)?, band))
            };
            let points = quantiles.iter().enumerate().filter_map(point).collect();
            let name = format!("{} ÷ {}", other.broker, first.broker);
            Ratio { name, colour: other.colour, points, count }
        })
        .collect();
    let title = format!("ratio of latencies, {}", ratio_name(&others[0], first));
    Some(curve::ratios(&title, &ratios))
}

/// One heat map for each side, all over the same range of latencies. Rounds follow each other.
fn heat_maps(group: &Group<'_>) -> Vec<(String, String)> {
    let tracks: Vec<Track<'_>> = group
        .sides
        .iter()
        .map(|side| {
            let interval_seconds = side.rounds.first().map_or(1.0, |run| run.outcome.workload.interval_s);
            let rounds =
                if side.rounds.len() > 1 { format!(", {} rounds", side.rounds.len()) } else { String::new() };
            let intervals = side.intervals.iter().flatten().collect();
            Track {
                name: format!("{}{rounds}", side.broker),
                colour: side.colour,
                intervals,
                interval_seconds,
            }
        })
        .collect();
    let range = over_time::range(&tracks);
    let named = tracks.iter().zip(&group.sides);
    named.map(|(track, side)| (side.broker.to_owned(), over_time::heat_map(track, range))).collect()
}

/// Latency against throughput for every preset and load with enough steps: name and SVG.
pub fn sweeps(groups: &[Group<'_>]) -> Vec<(String, String)> {
    let mut loads: Vec<(Option<Preset>, &str)> = Vec::new();
    for group in groups {
        if !loads.contains(&(group.preset, group.load)) {
            loads.push((group.preset, group.load));
        }
    }
    let of = |load: &(Option<Preset>, &str)| {
        let of_load = groups.iter().filter(|group| (group.preset, group.load) == *load).collect::<Vec<_>>();
        (of_load.len() >= SWEEP_STEPS_MIN).then(|| sweep(&of_load))
    };
    loads
        .iter()
        .filter_map(|load| {
            Some((format!("{} {} throughput", load.0.map_or("run", Preset::name), load.1), of(load)?))
        })
        .collect()
}

fn sweep(groups: &[&Group<'_>]) -> String {
    let mut sweeps: Vec<Sweep> = Vec::new();
    for side in groups.iter().flat_map(|group| &group.sides) {
        let at = sweeps.iter().position(|sweep| sweep.name == side.broker).unwrap_or_else(|| {
            sweeps.push(Sweep { name: side.broker.to_owned(), colour: side.colour, steps: Vec::new() });
            sweeps.len() - 1
        });
        let value = |quantile| Some(side.samples(Measure::Produce)?.at(quantile).value_ns()? as f64);
        let per_second = acked_per_second(&side.merged);
        let latency_ns = [0.5, 0.99, 0.999].map(value);
        sweeps[at].steps.push(Step { per_second, latency_ns, valid: is_valid(side) });
    }
    for sweep in &mut sweeps {
        sweep.steps.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
    }
    let title = format!("latency against throughput, {}", groups[0].load);
    throughput::plot(&title, &sweeps)
}

/// The percentiles of headline tables, with their names in figures.
pub const HEADLINES: [f64; 3] = [0.5, 0.99, 0.999];

/// The name of a percentile in figures and headings.
pub fn name(quantile: f64) -> String {
    units::percentile(quantile)
}
