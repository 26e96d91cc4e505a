//! The forms in which histograms leave and come back: HdrHistogram's percentile distribution (`.hgrm`) and interval log
//! (`.hlog`), and comma-separated values. Text in and text out; opening files is the business of whoever calls.

pub mod csv;
pub mod directory;
pub mod hgrm;
pub mod interval_log;
