//! How the floor is shown.

use std::fmt::Write;

use serde::Serialize;

use super::figures::{Kind, Method};
use super::{Figures, Floor, Line, Load, Verdict};

/// Below this the 99.9th percentile is the maximum.
const SAMPLES_MIN: u64 = 1000;

pub(super) fn text(floor: &Floor) -> String {
    let mut text = format!("cores {}", floor.options.cores);
    if let Some(peer) = &floor.options.peer {
        let _ = write!(text, ", peer {peer}");
    }
    match &floor.options.data {
        Some(data) => {
            let _ = write!(text, ", data {}", data.display());
        }
        None => text.push_str(", no disk: name the data directory with --data DIR"),
    }
    let _ = writeln!(
        text,
        "\n\n{:<36} {:<4} {:>8} {:>9} {:>9} {:>9} {:>9}",
        "microseconds", "load", "samples", "p50", "p99", "p99.9", "max"
    );
    // What belongs together stands together: idle above busy.
    let half = floor.lines.len() / 2;
    for (idle, busy) in floor.lines[..half].iter().zip(&floor.lines[half..]) {
        for line in [idle, busy] {
            row(&mut text, line);
        }
    }
    text.push('\n');
    for verdict in &floor.verdicts {
        let _ = writeln!(
            text,
            "{}: the best p99.9 you can expect here is {:.0} us, limited by {} (p50 {:.0} us)",
            match verdict.load {
                Load::Idle => "idle cores",
                Load::Busy => "busy cores",
            },
            verdict.p999_us,
            verdict.limited_by,
            verdict.p50_us
        );
    }
    for line in advice(floor) {
        let _ = writeln!(text, "{line}");
    }
    text
}

fn row(text: &mut String, line: &Line) {
    let name = format!("{} {}", line.kind.name(), line.place);
    let figures = &line.figures;
    let mark = if figures.count() < SAMPLES_MIN { "~" } else { " " };
    let us = |quantile| short(figures.quantile_us(quantile));
    let _ = write!(
        text,
        "{name:<36} {:<4} {:>8} {:>9} {:>9} {mark}{:>8} {:>9}",
        line.load,
        figures.count(),
        us(0.5),
        us(0.99),
        us(0.999),
        us(1.0)
    );
    if line.kind == Kind::Theft {
        let share = line.figures.sum_us() / (line.lasted.as_secs_f64() * 1e6) * 100.0;
        let _ = write!(text, "  {share:.2} % of the time");
    }
    text.push('\n');
}

/// Three digits are what the histograms have.
fn short(us: f64) -> String {
    if us < 100.0 { format!("{us:.1}") } else { format!("{us:.0}") }
}

/// What the figures say beside the verdict.
fn advice(floor: &Floor) -> Vec<String> {
    let mut lines = Vec::new();
    let find = |kind: Kind, load: Load| {
        floor.lines.iter().find(move |line| line.kind == kind && line.load == load).map(|line| &line.figures)
    };
    let p50 = |figures: &Figures| figures.quantile_us(0.5);
    if let (Some(bare), Some(flushed)) =
        (find(Kind::DiskUnflushed, Load::Idle), find(Kind::Disk(Method::Fdatasync), Load::Idle))
    {
        let price = (p50(flushed) - p50(bare)).max(0.0);
        lines.push(if price < p50(bare) / 2.0 {
            format!("a flush is as good as free: {} us on a write of {} us", short(price), short(p50(bare)))
        } else {
            format!("a flush costs {} us on a write of {} us", short(price), short(p50(bare)))
        });
    }
    // The default stands unless the other is better by a tenth wherever it is looked at: busy cores are where they part.
    let beats = |load: Load, quantile: f64| {
        let fdatasync = find(Kind::Disk(Method::UringFdatasync), load)?.quantile_us(quantile);
        Some(find(Kind::Disk(Method::UringDsync), load)?.quantile_us(quantile) < 0.9 * fdatasync)
    };
    let looks = [(Load::Idle, 0.5), (Load::Idle, 0.99), (Load::Busy, 0.5), (Load::Busy, 0.99)];
    let better: Option<Vec<bool>> = looks.into_iter().map(|(load, quantile)| beats(load, quantile)).collect();
    lines.extend(better.map(|better| match better.iter().all(|better| *better) {
        true => "O_DSYNC is better idle and busy: consider `monedula start --sync-method dsync`".to_owned(),
        false => "O_DSYNC is not better both idle and busy: keep `--sync-method fdatasync`".to_owned(),
    }));
    if floor.lines.iter().any(|line| line.figures.count() < SAMPLES_MIN && line.kind != Kind::Theft) {
        lines.push(format!("~ fewer than {SAMPLES_MIN} samples: measure longer with --seconds N"));
    }
    lines
}

#[derive(Serialize)]
struct JsonLine<'a> {
    name: &'a str,
    place: &'a str,
    load: String,
    lasted_s: f64,
    samples: u64,
    p50_us: f64,
    p90_us: f64,
    p99_us: f64,
    p999_us: f64,
    max_us: f64,
    /// `[microseconds, count]`, all values that occurred, to three digits.
    histogram: Vec<(f64, u64)>,
}

#[derive(Serialize)]
struct JsonPart<'a> {
    name: &'a str,
    p50_us: f64,
    p999_us: f64,
}

#[derive(Serialize)]
struct JsonVerdict<'a> {
    load: String,
    p50_us: f64,
    p999_us: f64,
    limited_by: &'a str,
    parts: Vec<JsonPart<'a>>,
}

#[derive(Serialize)]
struct JsonFloor<'a> {
    cores: String,
    data: Option<String>,
    peer: Option<&'a str>,
    measurements: Vec<JsonLine<'a>>,
    verdicts: Vec<JsonVerdict<'a>>,
}

pub(super) fn json(floor: &Floor) -> String {
    crate::report::to_json(&JsonFloor {
        cores: floor.options.cores.to_string(),
        data: floor.options.data.as_ref().map(|data| data.display().to_string()),
        peer: floor.options.peer.as_deref(),
        measurements: floor.lines.iter().map(json_line).collect(),
        verdicts: floor.verdicts.iter().map(json_verdict).collect(),
    })
}

fn json_line(line: &Line) -> JsonLine<'_> {
    let us = |quantile| line.figures.quantile_us(quantile);
    JsonLine {
        name: line.kind.name(),
        place: &line.place,
        load: line.load.to_string(),
        lasted_s: line.lasted.as_secs_f64(),
        samples: line.figures.count(),
        p50_us: us(0.5),
        p90_us: us(0.9),
        p99_us: us(0.99),
        p999_us: us(0.999),
        max_us: us(1.0),
        histogram: line.figures.buckets().collect(),
    }
}

fn json_verdict(verdict: &Verdict) -> JsonVerdict<'_> {
    JsonVerdict {
        load: verdict.load.to_string(),
        p50_us: verdict.p50_us,
        p999_us: verdict.p999_us,
        limited_by: &verdict.limited_by,
        parts: verdict
            .parts
            .iter()
            .map(|part| JsonPart { name: &part.name, p50_us: part.p50_us, p999_us: part.p999_us })
            .collect(),
    }
}
