//! The report: one HTML file that needs no network, Markdown tables for a README, and the plots as files. All are text made
//! of results; the same results give the same bytes.

mod derived;
mod html;
mod markdown;
mod method;
mod sections;

pub use derived::{FIGURES_FILE, HTML_FILE, MARKDOWN_FILE, derive, write};
