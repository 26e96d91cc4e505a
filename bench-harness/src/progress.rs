//! What a run tells while it goes on: a line that is written anew every interval, and only on a terminal.

use std::io::{IsTerminal, Write};

use crate::engine::{Observer, Phase, View};
use crate::outcome::Measure;
use crate::table::duration;

/// The line.
#[derive(Debug)]
pub struct Progress {
    shown: bool,
    written: bool,
    of_seconds: f64,
}

impl Progress {
    /// A line on standard error, if that is a terminal. `of_seconds` is the length of the measurement.
    pub fn new(of_seconds: f64) -> Self {
        Self { shown: std::io::stderr().is_terminal(), written: false, of_seconds }
    }

    fn write(&mut self, line: &str) {
        if self.shown {
            // A terminal that is gone is no reason to end a run.
            let _ = write!(std::io::stderr(), "\r\x1b[2K{line}");
            let _ = std::io::stderr().flush();
            self.written = true;
        }
    }
}

impl Observer for Progress {
    fn interval(&mut self, view: &View<'_>) {
        let View { phase, end_s, length_s, sheet, behind_records } = *view;
        let name = match phase {
            Phase::Prepare => "prepare",
            Phase::WarmUp => "warm-up",
            Phase::Measure => "measure",
            Phase::Drain => "drain",
        };
        let of = match phase {
            Phase::Measure => format!("/{:.0}", self.of_seconds),
            _ => String::new(),
        };
        let per_second = |count: u64| count as f64 / length_s.max(1e-9);
        let latency = |measure: Measure| {
            let histogram = sheet.histogram(measure);
            let at = |quantile| duration(histogram.value_at_quantile(quantile));
            format!("{} {} {}", at(0.5), at(0.99), at(0.999))
        };
        let mut line = format!(
            "{name} {end_s:.0}{of} s  {:.0} acked/s  p50 p99 p99.9: {}",
            per_second(sheet.flow.acked_records),
            latency(Measure::Produce)
        );
        if sheet.flow.received_records > 0 {
            let received = per_second(sheet.flow.received_records);
            line += &format!("  {received:.0} received/s  {}", latency(Measure::EndToEnd));
        }
        if let Some(behind) = behind_records.iter().max().filter(|behind| **behind > sheet.flow.acked_records)
        {
            line += &format!("  {behind} behind");
        }
        let lag = sheet.histogram(Measure::GeneratorLag).value_at_quantile(0.999);
        line += &format!("  lag {}", duration(lag));
        if let Some((error, count)) = sheet.counts.retried.iter().max_by_key(|(_, count)| **count) {
            line += &format!("  {error} ×{count}");
        }
        self.write(&line);
    }

    fn phase(&mut self, phase: Phase) {
        if phase == Phase::Prepare {
            self.write("preparing topics");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.written {
            self.write("");
        }
    }
}
