//! Writing SVG: a handful of elements, escaped, with coordinates to a tenth of a unit.

use std::fmt::Write;

/// An SVG image in the making.
#[derive(Debug)]
pub struct Canvas {
    out: String,
}

/// Where a text stands relative to its point.
#[derive(Clone, Copy, Debug)]
pub enum Anchor {
    /// The text begins at the point.
    Start,
    /// The text is centred on the point.
    Middle,
    /// The text ends at the point.
    End,
}

/// A point in units of the image.
pub type Point = (f64, f64);

impl Canvas {
    /// An empty image; `title` is what a screen reader says.
    pub fn new(width: f64, height: f64, title: &str) -> Self {
        let title = escape(title);
        let mut canvas = Self { out: String::new() };
        canvas.push(format_args!(
            "<svg class=\"plot\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"{title}\">"
        ));
        canvas
    }

    /// A straight line.
    pub fn line(&mut self, (x1, y1): Point, (x2, y2): Point, class: &str) {
        self.push(format_args!("<path class=\"{class}\" d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\"/>"));
    }

    /// A line through all points.
    pub fn polyline(&mut self, points: &[Point], class: &str) {
        if points.len() >= 2 {
            let path = path(points.iter());
            self.push(format_args!("<path class=\"{class}\" d=\"{path}\"/>"));
        }
    }

    /// The area between two lines that share their x.
    pub fn area(&mut self, upper: &[Point], lower: &[Point], class: &str) {
        if upper.len() >= 2 {
            let path = path(upper.iter().chain(lower.iter().rev()));
            self.push(format_args!("<path class=\"{class}\" d=\"{path}Z\"/>"));
        }
    }

    /// A filled box with an opacity from 0 to 1.
    pub fn cell(&mut self, (x, y): Point, width: f64, height: f64, opacity: f64, class: &str) {
        self.push(format_args!(
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill-opacity=\"{opacity:.2}\"/>"
        ));
    }

    /// A dot that says `title` when pointed at.
    pub fn dot(&mut self, (x, y): Point, radius: f64, class: &str, title: &str) {
        let title = escape(title);
        self.push(format_args!(
            "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\"><title>{title}</title></circle>"
        ));
    }

    /// A cross over a point.
    pub fn cross(&mut self, (x, y): Point, radius: f64, class: &str) {
        self.line((x - radius, y - radius), (x + radius, y + radius), class);
        self.line((x - radius, y + radius), (x + radius, y - radius), class);
    }

    /// A text.
    pub fn text(&mut self, (x, y): Point, anchor: Anchor, class: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escape(text);
        self.push(format_args!(
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
        ));
    }

    /// A text that reads upwards, centred on the point.
    pub fn text_upwards(&mut self, (x, y): Point, class: &str, text: &str) {
        let text = escape(text);
        self.push(format_args!(
            "<text class=\"{class}\" transform=\"translate({x:.1} {y:.1}) rotate(-90)\" text-anchor=\"middle\">{text}</text>"
        ));
    }

    /// Begins a group of a class, such as the colour of a series.
    pub fn begin(&mut self, class: &str) {
        self.push(format_args!("<g class=\"{class}\">"));
    }

    /// Ends the group begun last.
    pub fn end(&mut self) {
        self.out.push_str("</g>");
    }

    /// The finished image.
    pub fn finish(mut self) -> String {
        self.out.push_str("</svg>");
        self.out
    }

    fn push(&mut self, element: std::fmt::Arguments<'_>) {
        self.out.write_fmt(element).expect("writing to a string succeeds");
    }
}

fn path<'a>(points: impl Iterator<Item = &'a Point>) -> String {
    let mut out = String::new();
    for (at, (x, y)) in points.enumerate() {
        let command = if at == 0 { 'M' } else { 'L' };
        write!(out, "{command}{x:.1} {y:.1}").expect("writing to a string succeeds");
    }
    out
}

/// `text` for the inside of an element or of a quoted attribute.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_escaped_and_closed() {
        let mut canvas = Canvas::new(100.0, 50.0, "a < b & \"c\"");
        canvas.begin("c0");
        canvas.polyline(&[(0.0, 0.0), (1.04, 2.06)], "line");
        canvas.end();
        canvas.text((5.0, 6.0), Anchor::End, "tick", "<script>");
        let expected = "<svg class=\"plot\" viewBox=\"0 0 100 50\" role=\"img\" aria-label=\"a &lt; b &amp; &quot;c&quot;\">\
            <g class=\"c0\"><path class=\"line\" d=\"M0.0 0.0L1.0 2.1\"/></g>\
            <text class=\"tick\" x=\"5.0\" y=\"6.0\" text-anchor=\"end\">&lt;script&gt;</text></svg>";
        assert_eq!(canvas.finish(), expected);
    }
}
