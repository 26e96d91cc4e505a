//! The frame of a plot: two scales with their ticks, and the box that they span.

use super::svg::{Anchor, Canvas, Point};

/// How values become positions along an axis, with the ticks of that axis.
#[derive(Clone, Debug)]
pub struct Scale {
    kind: Kind,
    /// Position of each tick in transformed units, and its label (empty for a line without label).
    ticks: Vec<(f64, String)>,
    from: f64,
    to: f64,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Linear,
    Logarithmic,
    /// log10(1 / (1 − q)): each further nine takes the same room.
    Percentile,
}

impl Scale {
    /// From zero to `max`, with ticks at round numbers.
    pub fn linear(max: f64, label: impl Fn(f64) -> String) -> Self {
        let max = if max > 0.0 { max } else { 1.0 };
        let step = round_step(max / 6.0);
        let ticks = (0..).map(|n| f64::from(n) * step).take_while(|at| *at <= max * 1.0001);
        Self { kind: Kind::Linear, ticks: ticks.map(|at| (at, label(at))).collect(), from: 0.0, to: max }
    }

    /// Logarithmic between two positive values, widened to the next of 1, 2 or 5.
    pub fn logarithmic(min: f64, max: f64, label: impl Fn(f64) -> String) -> Self {
        let min = min.max(1e-3);
        let max = max.max(min * 1.01);
        let (from, to) = (round_down(min), round_up(max));
        let decades = (to / from).log10();
        let mut ticks = Vec::new();
        let mut decade = 10f64.powf(from.log10().floor());
        while decade <= to * 1.0001 {
            for digit in [1.0, 2.0, 5.0] {
                let at = decade * digit;
                if at >= from * 0.9999 && at <= to * 1.0001 {
                    let named = digit == 1.0 || decades <= 3.2;
                    ticks.push((at.log10(), if named { label(rounded(at)) } else { String::new() }));
                }
            }
            decade *= 10.0;
        }
        Self { kind: Kind::Logarithmic, ticks, from: from.log10(), to: to.log10() }
    }

    /// Quantiles from 0 to the last that `count` samples can tell.
    pub fn percentile(count: u64) -> Self {
        let nines = (count.max(10) as f64).log10();
        let mut ticks = vec![(0.0, "0 %".to_owned()), (2f64.log10(), "50 %".to_owned())];
        for nine in 1..=nines.floor() as i32 {
            let quantile = 1.0 - 10f64.powi(-nine);
            ticks.push((f64::from(nine), format!("{} %", super::units::percent(quantile))));
        }
        Self { kind: Kind::Percentile, ticks, from: 0.0, to: nines }
    }

    /// From 0 at the beginning of the axis to 1 at its end, not clipped.
    pub fn place(&self, value: f64) -> f64 {
        let transformed = match self.kind {
            Kind::Linear => value,
            Kind::Logarithmic => value.max(1e-9).log10(),
            Kind::Percentile => (1.0 / (1.0 - value).max(1e-12)).log10(),
        };
        (transformed - self.from) / (self.to - self.from)
    }

    fn ticks(&self) -> impl Iterator<Item = (f64, &str)> {
        self.ticks.iter().map(|(at, label)| ((at - self.from) / (self.to - self.from), label.as_str()))
    }
}

/// 1, 2 or 5 times a power of ten, at least `value`.
fn round_step(value: f64) -> f64 {
    round_up(value)
}

fn round_up(value: f64) -> f64 {
    let decade = 10f64.powf(value.log10().floor());
    let digit = [1.0, 2.0, 5.0].into_iter().find(|digit| decade * digit >= value * 0.9999);
    rounded(decade * digit.unwrap_or(10.0))
}

fn round_down(value: f64) -> f64 {
    let decade = 10f64.powf((value * 1.0001).log10().floor());
    let digit = [5.0, 2.0, 1.0].into_iter().find(|digit| decade * digit <= value * 1.0001);
    rounded(decade * digit.unwrap_or(1.0))
}

/// Without the dust of powers of ten in binary.
fn rounded(value: f64) -> f64 {
    if value >= 1.0 { value.round() } else { (value * 1e9).round() / 1e9 }
}

/// The box of a plot within its image.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Left edge.
    pub left: f64,
    /// Upper edge.
    pub top: f64,
    /// Width of the box.
    pub width: f64,
    /// Height of the box.
    pub height: f64,
    /// The horizontal axis.
    pub x: Scale,
    /// The vertical axis.
    pub y: Scale,
}

impl Frame {
    /// The point of a pair of values, held within the box.
    pub fn point(&self, x: f64, y: f64) -> Point {
        let (x, y) = (self.x.place(x).clamp(0.0, 1.0), self.y.place(y).clamp(0.0, 1.0));
        (self.left + x * self.width, self.top + (1.0 - y) * self.height)
    }

    /// Grid, ticks and titles.
    pub fn draw(&self, canvas: &mut Canvas, x_title: &str, y_title: &str) {
        let (right, bottom) = (self.left + self.width, self.top + self.height);
        for (at, label) in self.y.ticks() {
            let y = bottom - at * self.height;
            canvas.line((self.left, y), (right, y), "grid");
            canvas.text((self.left - 8.0, y + 4.0), Anchor::End, "tick", label);
        }
        for (at, label) in self.x.ticks() {
            let x = self.left + at * self.width;
            canvas.line((x, self.top), (x, bottom), "grid");
            canvas.text((x, bottom + 17.0), Anchor::Middle, "tick", label);
        }
        canvas.line((self.left, bottom), (right, bottom), "base");
        canvas.text((self.left + self.width / 2.0, bottom + 35.0), Anchor::Middle, "axis-title", x_title);
        canvas.text_upwards((14.0, self.top + self.height / 2.0), "axis-title", y_title);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::units::latency_tick;

    fn labels(scale: &Scale) -> Vec<&str> {
        scale.ticks().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(labels(&Scale::linear(58.0, |v| v.to_string())), ["0", "10", "20", "30", "40", "50"]);
        assert_eq!(
            labels(&Scale::logarithmic(240_000.0, 4_100_000.0, latency_tick)),
            ["200 µs", "500 µs", "1 ms", "2 ms", "5 ms"]
        );
        assert_eq!(labels(&Scale::percentile(2000)), ["0 %", "50 %", "90 %", "99 %", "99.9 %"]);
    }

    #[test]
    fn nines_are_equally_wide() {
        let scale = Scale::percentile(100_000);
        let places = [0.9, 0.99, 0.999, 0.9999].map(|q| scale.place(q));
        for pair in places.windows(2) {
            assert!((pair[1] - pair[0] - 0.2).abs() < 1e-6, "{places:?}");
        }
    }
}
