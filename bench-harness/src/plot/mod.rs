//! Plots as SVG text: a percentile curve, a ratio of two, latency over time, latency against throughput. Each is a function
//! from figures to text. Colours and fonts are classes of [`STYLE`], so that one sheet serves light, dark and paper, and a
//! plot that stands alone carries it along.

pub mod curve;
pub mod frame;
pub mod over_time;
pub mod svg;
pub mod throughput;
pub mod units;

/// The style sheet of the plots.
pub const STYLE: &str = include_str!("plot.css");

/// `svg`, made by one of the plots here, as a file of its own.
pub fn standalone(svg: &str) -> String {
    let (opening, rest) = svg.split_at(svg.find('>').map_or(0, |at| at + 1));
    let opening = opening.replacen("<svg", "<svg xmlns=\"http://www.w3.org/2000/svg\"", 1);
    format!("{opening}<style>{STYLE}</style><rect class=\"ground\" width=\"100%\" height=\"100%\"/>{rest}\n")
}

/// How many series have a colour of their own; further ones begin again.
pub const COLOURS: usize = 6;
