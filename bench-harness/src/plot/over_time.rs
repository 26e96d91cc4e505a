//! Latency over time: a heat map of all samples, one column a second and one row a step of the logarithm, with lines for the
//! percentiles of each second. Stalls that come around show as columns, which no percentile of the whole run can tell.

use hdrhistogram::Histogram;

use super::COLOURS;
use super::frame::{Frame, Scale};
use super::svg::{Anchor, Canvas, Point};
use super::units::{latency_tick, percentile};
use crate::statistics::merge;

const WIDTH: f64 = 580.0;
const HEIGHT: f64 = 250.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 62.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 46.0;

/// Columns of the heat map; longer runs put several seconds into one.
const COLUMNS_MAX: usize = 240;

/// Rows of the heat map.
const ROWS: usize = 44;

/// The lines over the heat map, and how they are drawn.
const LINES: [(f64, &str); 3] = [(0.5, "line"), (0.99, "line"), (1.0, "line thin dashed")];

/// The intervals of one run in order of time.
#[derive(Clone, Debug)]
pub struct Track<'a> {
    /// Its name.
    pub name: String,
    /// Which colour, counted from 0.
    pub colour: usize,
    /// One histogram each second.
    pub intervals: Vec<&'a Histogram<u64>>,
    /// Length of an interval, seconds.
    pub interval_seconds: f64,
}

/// The range of latencies that plots of these tracks should share, nanoseconds.
pub fn range(tracks: &[Track<'_>]) -> (f64, f64) {
    let recorded =
        || tracks.iter().flat_map(|track| &track.intervals).filter(|interval| !interval.is_empty());
    let min = recorded().map(|interval| interval.value_at_quantile(0.01)).min().unwrap_or(1_000);
    let max = recorded().map(|interval| interval.max()).max().unwrap_or(1_000_000);
    (min.max(1) as f64, max.max(2) as f64)
}

/// The heat map and lines of one track within a range of latencies.
pub fn heat_map(track: &Track<'_>, (min, max): (f64, f64)) -> String {
    let per_column = track.intervals.len().div_ceil(COLUMNS_MAX).max(1);
    let columns: Vec<Histogram<u64>> =
        track.intervals.chunks(per_column).map(|seconds| merge(seconds.iter().copied())).collect();
    let seconds = track.intervals.len() as f64 * track.interval_seconds;
    let column_seconds = per_column as f64 * track.interval_seconds;
    let frame = Frame {
        left: LEFT,
        top: TOP,
        width: WIDTH - LEFT - RIGHT,
        height: HEIGHT - TOP - BOTTOM,
        x: Scale::linear(seconds, |second| format!("{second}")),
        y: Scale::logarithmic(min, max, latency_tick),
    };
    let mut canvas = Canvas::new(WIDTH, HEIGHT, &format!("latency over time, {}", track.name));
    frame.draw(&mut canvas, "seconds since the start of measuring", "latency");
    canvas.begin(&format!("c{} series", track.colour % COLOURS));
    cells(&mut canvas, &frame, &columns, column_seconds);
    let middles = |at: usize| (at as f64 + 0.5) * column_seconds;
    let mut labels: Vec<(f64, String)> = Vec::new();
    for (quantile, class) in LINES {
        let points: Vec<Point> = columns
            .iter()
            .enumerate()
            .filter(|(_, column)| !column.is_empty())
            .map(|(at, column)| frame.point(middles(at), column.value_at_quantile(quantile) as f64))
            .collect();
        canvas.polyline(&points, class);
        if let Some((_, y)) = points.last() {
            labels.push((*y, percentile(quantile)));
        }
    }
    canvas.end();
    for (y, label) in spread(labels) {
        canvas.text((WIDTH - RIGHT + 6.0, y + 4.0), Anchor::Start, "tick", &label);
    }
    canvas.begin(&format!("c{}", track.colour % COLOURS));
    canvas.text((LEFT, 16.0), Anchor::Start, "name", &track.name);
    canvas.end();
    canvas.finish()
}

/// Every sample at its second and latency; the opacity goes with the logarithm of the number, so that one late sample among
/// a thousand can still be seen.
fn cells(canvas: &mut Canvas, frame: &Frame, columns: &[Histogram<u64>], column_seconds: f64) {
    let counts: Vec<[u64; ROWS]> = columns.iter().map(|column| rows(frame, column)).collect();
    let most = counts.iter().flatten().copied().max().unwrap_or(0).max(1) as f64;
    let height = frame.height / ROWS as f64;
    for (at, rows) in counts.iter().enumerate() {
        let (left, _) = frame.point(at as f64 * column_seconds, 1.0);
        let (right, _) = frame.point((at + 1) as f64 * column_seconds, 1.0);
        for (row, count) in rows.iter().enumerate().filter(|(_, count)| **count > 0) {
            let opacity = 0.10 + 0.55 * (1.0 + *count as f64).ln() / (1.0 + most).ln();
            let top = frame.top + frame.height - (row + 1) as f64 * height;
            canvas.cell((left, top), right - left, height, opacity, "cell");
        }
    }
}

fn rows(frame: &Frame, column: &Histogram<u64>) -> [u64; ROWS] {
    let mut rows = [0; ROWS];
    for step in column.iter_recorded() {
        let place = frame.y.place(step.value_iterated_to() as f64).clamp(0.0, 1.0);
        rows[((place * ROWS as f64) as usize).min(ROWS - 1)] += step.count_since_last_iteration();
    }
    rows
}

/// Labels from bottom to top with room for each.
fn spread(mut labels: Vec<(f64, String)>) -> Vec<(f64, String)> {
    labels.sort_by(|a, b| b.0.total_cmp(&a.0));
    for at in 1..labels.len() {
        labels[at].0 = labels[at].0.min(labels[at - 1].0 - 12.0);
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::empty_histogram;

    #[test]
    fn a_stall_is_a_mark_of_its_own() {
        let mut calm = empty_histogram();
        calm.record_n(1_000_000, 1000).unwrap();
        let mut stalled = calm.clone();
        stalled.record(500_000_000).unwrap();
        let intervals = vec![&calm, &calm, &stalled, &calm];
        let track = Track { name: "a".into(), colour: 0, intervals, interval_seconds: 1.0 };
        let range = range(std::slice::from_ref(&track));
        let svg = heat_map(&track, range);
        assert_eq!(svg.matches("class=\"cell\"").count(), 5);
        assert!(svg.contains("500 ms") && svg.contains(">p99<"));
    }

    #[test]
    fn long_runs_share_columns() {
        let mut one = empty_histogram();
        one.record(1_000).unwrap();
        let track = Track { name: "a".into(), colour: 1, intervals: vec![&one; 3600], interval_seconds: 1.0 };
        let svg = heat_map(&track, (1e3, 1e6));
        assert_eq!(svg.matches("class=\"cell\"").count(), 240);
    }
}
