//! What one run measured, as a table for a terminal.

use std::fmt::Write;

use hdrhistogram::Histogram;

pub use crate::histogram::duration;
use crate::outcome::{Outcome, StagesRead, Verdict};
use crate::stages::Spread;
use crate::workload::{Arrival, Workload};

/// The percentiles that a table shows.
const PERCENTILES: [(&str, f64); 7] = [
    ("p50", 50.0),
    ("p90", 90.0),
    ("p99", 99.0),
    ("p99.9", 99.9),
    ("p99.99", 99.99),
    ("p99.999", 99.999),
    ("max", 100.0),
];
/// A percentile with fewer samples beyond it is not shown: it would be the story of a few.
pub const SAMPLES_BEYOND_MIN: u64 = 100;
/// About what a record takes in a batch besides its value.
const RECORD_OVERHEAD_BYTES: f64 = 8.0;
const COLUMN: usize = 11;

/// The table.
pub fn table(outcome: &Outcome) -> String {
    let mut text = String::new();
    write_table(&mut text, outcome).expect("writing to a string does not fail");
    text
}

fn write_table(text: &mut String, outcome: &Outcome) -> std::fmt::Result {
    let (workload, counts, seconds) =
        (&outcome.workload, &outcome.counts, outcome.measured_seconds.max(1e-9));
    let load = match workload.arrival {
        Arrival::Closed { records } => format!("a closed loop of {records} records"),
        _ => format!("{} records/s", workload.rate),
    };
    writeln!(
        text,
        "{}: {load} of {:.0} B for {:.1} s, {} producers, {} partitions, acks {:?}, batching {}, seed {}",
        workload.name,
        workload.record_bytes.mean_bytes(),
        seconds,
        workload.producers,
        workload.topics.count * workload.topics.partitions.max(0) as usize,
        workload.acks,
        workload.batching.preset,
        workload.seed,
    )?;
    write!(text, "\n{:<16}{:>COLUMN$}", "", "samples")?;
    PERCENTILES.iter().try_for_each(|(name, _)| write!(text, "{name:>COLUMN$}"))?;
    writeln!(text)?;
    for (measure, histogram) in &outcome.histograms {
        write_row(text, measure.name(), histogram)?;
        let floor = outcome.floor.as_ref().and_then(|floor| floor.histograms.get(measure));
        if let Some(floor) = floor {
            write_row(text, "  harness floor", floor)?;
        }
    }
    let per_second = |count: u64| count as f64 / seconds;
    writeln!(text, "\nintended {:>12}   {:>12.1}/s", counts.intended, per_second(counts.intended))?;
    writeln!(text, "acked    {:>12}   {:>12.1}/s", counts.acked, per_second(counts.acked))?;
    if counts.received > 0 {
        writeln!(text, "received {:>12}   {:>12.1}/s", counts.received, per_second(counts.received))?;
    }
    let infinite = counts.beyond_deadline + counts.dropped + counts.failed_total();
    if infinite > 0 {
        let share = 100.0 * counts.infinite_share();
        writeln!(
            text,
            "infinite {infinite:>12}   {share:>12.4} % of the intended: beyond the deadline, dropped or failed"
        )?;
    }
    let checks = [
        ("lost", counts.lost),
        ("duplicated", counts.duplicated),
        ("reordered", counts.reordered),
        ("corrupt", counts.corrupt),
        ("blocked", counts.blocked),
        ("unfinished", counts.unfinished),
        ("unread", counts.unread),
        ("foreign", counts.foreign),
        ("negative", counts.negative),
        ("resent", counts.resent),
        ("reconnects", counts.reconnects),
        ("rebalances", counts.rebalances),
    ];
    let found: Vec<String> = checks
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    match found.is_empty() {
        true => writeln!(text, "checks   nothing lost, duplicated, reordered or corrupt")?,
        false => writeln!(text, "checks   {}", found.join(", "))?,
    }
    for (what, names) in [("failed", &counts.failed), ("retried", &counts.retried)] {
        for (name, count) in names {
            writeln!(text, "{what:<9}{count:>12}   {name}")?;
        }
    }
    let requests = &outcome.requests;
    if requests.produce > 0 {
        writeln!(
            text,
            "requests {:>12}   {:.1} records each (p50 {}, p99 {}), {:.1} batches each",
            requests.produce,
            requests.records_per_request.mean(),
            requests.records_per_request.value_at_quantile(0.5),
            requests.records_per_request.value_at_quantile(0.99),
            requests.batches as f64 / requests.produce as f64,
        )?;
    }
    writeln!(
        text,
        "generator {:>10.2} s of CPU on {} workers: {:.2} cores, spinning included",
        outcome.generator_cpu_seconds,
        outcome.workers,
        outcome.generator_cpu_seconds / seconds,
    )?;
    write_broker(text, outcome)?;
    match &outcome.verdict {
        Verdict::Valid => {
            writeln!(text, "\nVALID")?;
            write_client_bound(text, outcome)
        }
        Verdict::Invalid { reasons } => {
            writeln!(text)?;
            reasons.iter().try_for_each(|reason| writeln!(text, "INVALID: {reason}"))
        }
    }?;
    if outcome.interrupted {
        writeln!(text, "interrupted: this is what there was until then")?;
    }
    Ok(())
}

/// Where beyond p99 the generator was late.
fn write_client_bound(text: &mut String, outcome: &Outcome) -> std::fmt::Result {
    let bound = |&(name, at): &(&'static str, f64)| Some((name, outcome.client_bound(at)?));
    let told = PERCENTILES.iter().filter(|(_, at)| *at < 100.0);
    let Some((name, bound)) = told.filter_map(bound).next() else { return Ok(()) };
    writeln!(
        text,
        "but not from {name} on, where the generator was {} late: what the machine took from it shows there",
        duration(bound.lag_ns)
    )
}

/// What a run of a workload will come to, as far as that can be known before.
pub fn forecast(workload: &Workload) -> String {
    let records = workload.records_intended();
    let bytes = workload.record_bytes.mean_bytes();
    let total_s = workload.warm_up.min_s + workload.duration_s;
    let on_disk = workload.rate * total_s * (bytes + RECORD_OVERHEAD_BYTES) / 1e9;
    let mut text = format!(
        "{records:.0} records of {bytes:.0} B in {:.0} s after {:.0} s of warm-up; about {on_disk:.2} GB on every replica \
         before compression\n",
        workload.duration_s, workload.warm_up.min_s,
    );
    for (name, percentile) in &PERCENTILES[..PERCENTILES.len() - 1] {
        let beyond = records * (1.0 - percentile / 100.0);
        let verdict = match beyond >= SAMPLES_BEYOND_MIN as f64 {
            true => "shown",
            false => "not shown: too few; run longer or faster",
        };
        text += &format!("{name:>8} {beyond:>12.0} samples beyond it, {verdict}\n");
    }
    text
}

fn write_row(text: &mut String, name: &str, histogram: &Histogram<u64>) -> std::fmt::Result {
    write!(text, "{name:<16}{:>COLUMN$}", histogram.len())?;
    for (_, percentile) in PERCENTILES {
        let beyond = (histogram.len() as f64 * (1.0 - percentile / 100.0)).round() as u64;
        // The largest sample is a fact; a percentile is an estimate.
        let shown = percentile >= 100.0 || percentile <= 50.0 || beyond >= SAMPLES_BEYOND_MIN;
        match shown {
            true => write!(text, "{:>COLUMN$}", duration(histogram.value_at_percentile(percentile)))?,
            false => write!(text, "{:>COLUMN$}", "-")?,
        }
    }
    writeln!(text)
}

/// What is known of the broker's side: its CPU time, how it was read to the end, and its own stages.
fn write_broker(text: &mut String, outcome: &Outcome) -> std::fmt::Result {
    let seconds = outcome.measured_seconds.max(1e-9);
    if let Some(cpu) = outcome.broker_cpu_seconds {
        let acked: u64 = outcome.intervals.iter().map(|interval| interval.flow.acked_records).sum();
        writeln!(
            text,
            "broker   {cpu:>12.2} s of CPU: {:.2} cores, {:.2} µs per acknowledged record, {:.1} µs per produce request",
            cpu / seconds,
            cpu * 1e6 / acked.max(1) as f64,
            cpu * 1e6 / outcome.requests.produce.max(1) as f64,
        )?;
    }
    if let Some(read) = &outcome.catch_up {
        let gigabytes = read.bytes as f64 / 1e9;
        write!(
            text,
            "catch-up {:>12} records, {gigabytes:.3} GB of values in {:.3} s: {:.2} GB/s",
            read.records,
            read.seconds,
            gigabytes / read.seconds.max(1e-9)
        )?;
        match read.broker_cpu_seconds.filter(|_| read.bytes > 0) {
            Some(cpu) => writeln!(text, ", {:.3} s of the broker's CPU per GB", cpu / gigabytes)?,
            None => writeln!(text)?,
        }
    }
    match &outcome.broker_stages {
        None => Ok(()),
        Some(StagesRead::NotRead(why)) => writeln!(text, "\nbroker's own stages: not read, because {why}"),
        Some(StagesRead::Read(stages)) => {
            writeln!(
                text,
                "\nbroker's own stages over {:.1} s, µs (monedula {})",
                stages.seconds, stages.version
            )?;
            let head = ["requests", "mean", "p50", "p99", "p99.9"].map(|name| format!("{name:>COLUMN$}"));
            writeln!(text, "{:<16}{}", "", head.concat())?;
            for api in stages.apis.iter().filter(|api| api.total.count > 0) {
                let rows = api.stages.iter().map(|(name, spread)| (format!("  {name}"), spread));
                for (name, spread) in [(api.api.clone(), &api.total)].into_iter().chain(rows) {
                    write_spread(text, &name, spread)?;
                }
            }
            Ok(())
        }
    }
}

fn write_spread(text: &mut String, name: &str, spread: &Spread) -> std::fmt::Result {
    let quantiles =
        [0.5, 0.99, 0.999].map(|quantile| format!("{:>COLUMN$}", spread.quantile_us(quantile))).concat();
    writeln!(text, "{name:<16}{:>COLUMN$}{:>COLUMN$.1}{quantiles}", spread.count, spread.mean_us())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_of_few_samples_is_not_shown() {
        let mut histogram = crate::histogram::new();
        histogram.record_n(1_000_000, 20_000).unwrap();
        let mut row = String::new();
        write_row(&mut row, "produce", &histogram).unwrap();
        let cells: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(
            cells,
            ["produce", "20000", "1.00", "ms", "1.00", "ms", "1.00", "ms", "-", "-", "-", "1.00", "ms"]
        );
    }
}
