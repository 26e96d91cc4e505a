//! The forms in which histograms leave and come back: HdrHistogram's percentile distribution (`.hgrm`) and interval log
//! (`.hlog`), and comma-separated values. Text in and text out; opening files is the business of whoever calls.

use std::collections::BTreeMap;

pub mod csv;
pub mod directory;
pub mod hgrm;
pub mod interval_log;

/// Files by their path within a directory or bundle.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The text of one file.
pub fn text<'a>(files: &'a Files, name: &str) -> Result<&'a str, String> {
    let bytes = files.get(name).ok_or_else(|| format!("{name} is missing"))?;
    std::str::from_utf8(bytes).map_err(|_| format!("{name} is not text"))
}
