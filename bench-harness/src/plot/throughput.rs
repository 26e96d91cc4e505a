//! Latency against throughput: one point for each step of a sweep. A step that is not valid is crossed out, and the line does
//! not go through it.

use super::COLOURS;
use super::curve::legend;
use super::frame::{Frame, Scale};
use super::svg::{Anchor, Canvas, Point};
use super::units::{latency, latency_tick, percentile, rate, rate_tick};

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 62.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 46.0;

/// How each percentile is drawn.
const LINES: [(f64, &str); 3] = [(0.5, "line thin"), (0.99, "line"), (0.999, "line thin dashed")];

/// One step of a sweep.
#[derive(Clone, Debug)]
pub struct Step {
    /// What was acknowledged, records per second.
    pub per_second: f64,
    /// Latency at p50, p99 and p99.9, nanoseconds; what is not known is left out.
    pub latency_ns: [Option<f64>; 3],
    /// Whether the step counts.
    pub valid: bool,
}

/// The steps of one side in order of rate.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// Its name.
    pub name: String,
    /// Which colour, counted from 0.
    pub colour: usize,
    /// The steps.
    pub steps: Vec<Step>,
}

/// The sweeps of some sides.
pub fn plot(title: &str, sweeps: &[Sweep]) -> String {
    let steps = || sweeps.iter().flat_map(|sweep| &sweep.steps);
    let values = || steps().flat_map(|step| step.latency_ns).flatten();
    let (min, max) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    let (min, max) = if max == 0.0 { (1e3, 1e6) } else { (min, max) };
    let rates = || steps().map(|step| step.per_second.max(1.0));
    let (slowest, fastest) = (rates().fold(f64::INFINITY, f64::min).min(1e9), rates().fold(1.0, f64::max));
    let x = match fastest / slowest {
        wide if wide > 8.0 => Scale::logarithmic(slowest, fastest, rate_tick),
        _ => Scale::linear(fastest, rate_tick),
    };
    let (width, height) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
    let frame =
        Frame { left: LEFT, top: TOP, width, height, x, y: Scale::logarithmic(min, max, latency_tick) };

    let mut canvas = Canvas::new(WIDTH, HEIGHT, title);
    frame.draw(&mut canvas, "records acknowledged", "latency");
    for sweep in sweeps {
        canvas.begin(&format!("c{} series", sweep.colour % COLOURS));
        for (at, (quantile, class)) in LINES.into_iter().enumerate() {
            draw(&mut canvas, &frame, sweep, at, quantile, class);
        }
        canvas.end();
    }
    legend(&mut canvas, sweeps.iter().map(|sweep| (sweep.name.as_str(), sweep.colour)));
    canvas.finish()
}

fn draw(canvas: &mut Canvas, frame: &Frame, sweep: &Sweep, at: usize, quantile: f64, class: &str) {
    let place = |step: &Step| step.latency_ns[at].map(|value| frame.point(step.per_second, value));
    let line: Vec<Point> = sweep.steps.iter().filter(|step| step.valid).filter_map(place).collect();
    canvas.polyline(&line, class);
    if let Some((x, y)) = line.last() {
        canvas.text((x + 7.0, y + 4.0), Anchor::Start, "tick", &percentile(quantile));
    }
    for step in &sweep.steps {
        let (Some(point), Some(value)) = (place(step), step.latency_ns[at]) else { continue };
        let title = format!(
            "{}: {} at {}/s, {}",
            sweep.name,
            percentile(quantile),
            rate(step.per_second),
            latency(value)
        );
        canvas.dot(point, 2.5, "dot", &title);
        if !step.valid {
            canvas.cross(point, 5.0, "invalid");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_step_is_crossed_out() {
        let step = |per_second, p99: f64, valid| Step {
            per_second,
            latency_ns: [Some(p99 / 3.0), Some(p99), None],
            valid,
        };
        let steps = vec![step(1e4, 1e6, true), step(2e4, 2e6, true), step(4e4, 9e7, false)];
        let svg = plot("sweep", &[Sweep { name: "a".into(), colour: 0, steps }]);
        assert_eq!(svg.matches("class=\"invalid\"").count(), 4);
        assert!(svg.contains("a: p99 at 40,000/s, 90.0 ms"));
        assert!(plot("nothing", &[]).ends_with("</svg>"));
    }
}
