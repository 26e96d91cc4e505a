//! Latency by percentile on log(1 / (1 − q)), where every further nine takes the same room, with the band of a bootstrap;
//! and the ratio of two sides over the same axis. Where fewer than [`SAMPLES_BEYOND_MIN`] samples lie beyond a point, the
//! curve goes on as dots: it is what was measured, and no more than that.

use super::COLOURS;
use super::frame::{Frame, Scale};
use super::svg::{Anchor, Canvas, Point};
use super::units::{latency, latency_tick, percentile};
use crate::statistics::{Band, Reading, SAMPLES_BEYOND_MIN, Samples};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 22.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 46.0;

/// Points for each nine of the curve.
const POINTS_PER_NINE: u32 = 24;

/// One side of a plot.
#[derive(Clone, Debug)]
pub struct Curve<'a> {
    /// Its name in the legend.
    pub name: String,
    /// Which colour, counted from 0.
    pub colour: usize,
    /// Drawn thin and dashed: a reference and not a result.
    pub reference: bool,
    /// The samples.
    pub samples: Samples<'a>,
    /// One band for each of [`quantiles`] of the plot, if there is one.
    pub bands: Option<Vec<Band>>,
}

/// The quantiles at which curves are drawn and bands are wanted, up to the last sample of `count`.
pub fn quantiles(count: u64) -> Vec<f64> {
    let nines = (count.max(10) as f64).log10();
    let points = (nines * f64::from(POINTS_PER_NINE)).floor() as u32;
    (0..=points).map(|at| 1.0 - 10f64.powf(-f64::from(at) / f64::from(POINTS_PER_NINE))).collect()
}

/// The percentile curves of some sides.
pub fn percentiles(title: &str, curves: &[Curve<'_>]) -> String {
    let count = curves.iter().map(|curve| curve.samples.count()).max().unwrap_or(0);
    let quantiles = quantiles(count);
    let lines: Vec<Line> = curves.iter().map(|curve| Line::of(curve, &quantiles)).collect();
    let values = || lines.iter().flat_map(|line| line.solid.iter().chain(&line.few)).map(|(_, value)| *value);
    let (min, max) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    let (min, max) = if max == 0.0 { (1e3, 1e6) } else { (min, max) };
    let frame = frame(Scale::percentile(count), Scale::logarithmic(min, max, latency_tick));

    let mut canvas = Canvas::new(WIDTH, HEIGHT, title);
    frame.draw(&mut canvas, "percentile", "latency");
    for (curve, line) in curves.iter().zip(&lines) {
        canvas.begin(&format!("c{} series", curve.colour % COLOURS));
        if let Some(bands) = &curve.bands {
            let known = quantiles.iter().zip(bands).take(line.solid.len());
            let (upper, lower): (Vec<Point>, Vec<Point>) =
                known.map(|(q, band)| (frame.point(*q, band.high), frame.point(*q, band.low))).unzip();
            canvas.area(&upper, &lower, "band");
        }
        let class = if curve.reference { "line thin dashed" } else { "line" };
        canvas.polyline(&line.place(&frame, &line.solid), class);
        canvas.polyline(&line.place(&frame, &line.few), "line thin few");
        mark(&mut canvas, &frame, curve);
        canvas.end();
    }
    legend(&mut canvas, curves.iter().map(|curve| (curve.name.as_str(), curve.colour)));
    canvas.finish()
}

/// Dots at the percentiles of the tables that say their value.
fn mark(canvas: &mut Canvas, frame: &Frame, curve: &Curve<'_>) {
    for quantile in [0.5, 0.9, 0.99, 0.999, 0.9999] {
        if let Reading::Value { value_ns, beyond } = curve.samples.at(quantile)
            && beyond >= SAMPLES_BEYOND_MIN
        {
            let title = format!("{} {}: {}", curve.name, percentile(quantile), latency(value_ns as f64));
            canvas.dot(
                frame.point(quantile, value_ns as f64),
                if curve.reference { 2.0 } else { 3.5 },
                "dot",
                &title,
            );
        }
    }
}

/// The curve in two pieces: with enough samples beyond, and with too few.
struct Line {
    solid: Vec<(f64, f64)>,
    few: Vec<(f64, f64)>,
}

impl Line {
    fn of(curve: &Curve<'_>, quantiles: &[f64]) -> Self {
        let samples = curve.samples;
        let (count, recorded) = (samples.count() as f64, samples.histogram.len() as f64);
        let mut line = Self { solid: Vec::new(), few: Vec::new() };
        for quantile in quantiles {
            // Beyond the last recorded sample the curve has no end: those never came back.
            if samples.histogram.is_empty() || quantile * count > recorded {
                break;
            }
            let share = (quantile * count / recorded).min(1.0);
            let point = (*quantile, samples.histogram.value_at_quantile(share) as f64);
            if (1.0 - quantile) * count >= SAMPLES_BEYOND_MIN as f64 {
                line.solid.push(point);
            } else {
                if line.few.is_empty() {
                    line.few.extend(line.solid.last());
                }
                line.few.push(point);
            }
        }
        line
    }

    fn place(&self, frame: &Frame, points: &[(f64, f64)]) -> Vec<Point> {
        points.iter().map(|(quantile, value)| frame.point(*quantile, *value)).collect()
    }
}

/// One ratio of two sides over the percentiles.
#[derive(Clone, Debug)]
pub struct Ratio {
    /// What is divided by what.
    pub name: String,
    /// Which colour, counted from 0.
    pub colour: usize,
    /// Quantile, ratio, and the band of the ratio if there is one.
    pub points: Vec<(f64, f64, Option<Band>)>,
    /// How many samples the smaller side has; it ends the axis.
    pub count: u64,
}

/// Ratios over the percentiles; above 1 the divided side is the slower.
pub fn ratios(title: &str, ratios: &[Ratio]) -> String {
    let count = ratios.iter().map(|ratio| ratio.count).max().unwrap_or(0);
    let ends = ratios.iter().flat_map(|ratio| &ratio.points).flat_map(|(_, value, band)| match band {
        Some(band) => [*value, band.low, band.high],
        None => [*value; 3],
    });
    let (min, max) = ends.fold((0.8, 1.25), |(min, max): (f64, f64), value| (min.min(value), max.max(value)));
    let scale = Scale::logarithmic(min, max, |value| format!("{value} ×"));
    let frame = Frame { height: HEIGHT * 0.72 - TOP - BOTTOM, ..frame(Scale::percentile(count), scale) };

    let mut canvas = Canvas::new(WIDTH, HEIGHT * 0.72, title);
    frame.draw(&mut canvas, "percentile", "ratio");
    let (start, end) = (frame.point(0.0, 1.0), frame.point(1.0, 1.0));
    canvas.line(start, end, "unity");
    for ratio in ratios {
        canvas.begin(&format!("c{} series", ratio.colour % COLOURS));
        let banded = ratio.points.iter().filter_map(|(q, _, band)| band.map(|band| (q, band)));
        let (upper, lower): (Vec<Point>, Vec<Point>) =
            banded.map(|(q, band)| (frame.point(*q, band.high), frame.point(*q, band.low))).unzip();
        canvas.area(&upper, &lower, "band");
        let points: Vec<Point> = ratio.points.iter().map(|(q, value, _)| frame.point(*q, *value)).collect();
        canvas.polyline(&points, "line");
        canvas.end();
    }
    legend(&mut canvas, ratios.iter().map(|ratio| (ratio.name.as_str(), ratio.colour)));
    canvas.finish()
}

fn frame(x: Scale, y: Scale) -> Frame {
    Frame { left: LEFT, top: TOP, width: WIDTH - LEFT - RIGHT, height: HEIGHT - TOP - BOTTOM, x, y }
}

/// Names in their colours, in one line above the box.
pub fn legend<'a>(canvas: &mut Canvas, names: impl Iterator<Item = (&'a str, usize)>) {
    let mut x = LEFT;
    for (name, colour) in names {
        canvas.begin(&format!("c{} series", colour % COLOURS));
        canvas.line((x, 14.0), (x + 18.0, 14.0), "line");
        canvas.text((x + 24.0, 18.0), Anchor::Start, "name", name);
        canvas.end();
        x += 48.0 + 6.6 * name.chars().count() as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::empty_histogram;

    #[test]
    fn a_curve_is_dotted_where_samples_are_few() {
        let mut histogram = empty_histogram();
        for n in 1..=10_000u64 {
            histogram.record(n * 1000).unwrap();
        }
        let samples = Samples::all(&histogram);
        let curve = Curve { name: "a".into(), colour: 0, reference: false, samples, bands: None };
        let line = Line::of(&curve, &quantiles(10_000));
        assert!((0.98..0.9901).contains(&line.solid.last().unwrap().0));
        assert_eq!(line.few.first(), line.solid.last());
        assert!((0.9998..0.99991).contains(&line.few.last().unwrap().0));
        let svg = percentiles("latency", &[curve]);
        assert!(
            svg.contains("line thin few")
                && svg.contains("99.99 %")
                && svg.contains("<title>a p50: 5.00 ms</title>")
        );
    }

    #[test]
    fn a_curve_ends_where_answers_never_came() {
        let mut histogram = empty_histogram();
        histogram.record_n(1000, 900).unwrap();
        let samples = Samples { histogram: &histogram, unbounded: 100 };
        let curve = Curve { name: "a".into(), colour: 0, reference: false, samples, bands: None };
        let line = Line::of(&curve, &quantiles(1000));
        let last = line.solid.iter().chain(&line.few).map(|(quantile, _)| *quantile).fold(0.0, f64::max);
        assert!((0.8..=0.9 + 1e-9).contains(&last), "{last}");
    }

    #[test]
    fn nothing_at_all_is_still_a_plot() {
        assert!(percentiles("nothing", &[]).ends_with("</svg>"));
        assert!(ratios("nothing", &[]).ends_with("</svg>"));
    }
}
