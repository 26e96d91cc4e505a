//! What the kernel counts while runs go on: where CPU time went, pressure, and what the disk did. Counters are read once a
//! second; a sample is the difference of two readings.
#![allow(clippy::disallowed_methods, reason = "this is where the kernel's files are read")]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// One second, as shares of it from 0 to 1, counts and bytes. What cannot be read is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// When it ended, milliseconds since 1970.
    pub at_ms: u64,
    /// By [`Column`], in order.
    values: [Option<f64>; COLUMNS.len()],
}

/// What a sample has.
const COLUMNS: [&str; 14] = [
    "user",
    "system",
    "iowait",
    "interrupts",
    "steal",
    "idle",
    "pressure_cpu",
    "pressure_io",
    "pressure_memory",
    "disk_writes",
    "disk_written_bytes",
    "disk_flushes",
    "disk_flush_ms",
    "disk_busy",
];

impl Sample {
    /// The value of a column by its name.
    pub fn get(&self, column: &str) -> Option<f64> {
        self.values[COLUMNS.iter().position(|name| *name == column)?]
    }

    /// The share of CPU time that was not idle and not waiting for I/O.
    pub fn busy(&self) -> Option<f64> {
        Some(1.0 - self.get("idle")? - self.get("iowait")?)
    }
}

/// One reading of the counters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    at_ms: u64,
    /// user + nice, system, iowait, irq + softirq, steal, idle; clock ticks.
    cpu: Option<[u64; 6]>,
    /// cpu, io, memory; microseconds in which some task waited.
    pressure_us: [Option<u64>; 3],
    /// writes, sectors, flushes, milliseconds of flushes, milliseconds busy.
    disk: Option<[u64; 5]>,
}

impl Counters {
    /// Reads them below `root`; the disk is a block device by its name.
    pub fn read(root: &Path, device: Option<&str>, at_ms: u64) -> Self {
        let file = |path: &str| fs::read_to_string(root.join(path)).ok();
        let pressure = |what: &str| pressure(&file(&format!("proc/pressure/{what}"))?);
        Self {
            at_ms,
            cpu: file("proc/stat").and_then(|text| cpu(&text)),
            pressure_us: ["cpu", "io", "memory"].map(pressure),
            disk: device.and_then(|device| disk(&file("proc/diskstats")?, device)),
        }
    }

    /// What happened since an earlier reading.
    pub fn since(&self, earlier: &Self) -> Sample {
        let elapsed_ms = self.at_ms.saturating_sub(earlier.at_ms).max(1) as f64;
        let mut values = [None; COLUMNS.len()];
        if let (Some(now), Some(then)) = (self.cpu, earlier.cpu) {
            let ticks: Vec<f64> =
                now.iter().zip(then).map(|(now, then)| now.saturating_sub(then) as f64).collect();
            let all = ticks.iter().sum::<f64>().max(1.0);
            for (value, ticks) in values.iter_mut().zip(ticks) {
                *value = Some(ticks / all);
            }
        }
        for (at, (now, then)) in self.pressure_us.iter().zip(earlier.pressure_us).enumerate() {
            values[6 + at] =
                now.zip(then).map(|(now, then)| now.saturating_sub(then) as f64 / 1000.0 / elapsed_ms);
        }
        if let (Some(now), Some(then)) = (self.disk, earlier.disk) {
            let [writes, sectors, flushes, flush_ms, busy_ms] =
                std::array::from_fn(|at| now[at].saturating_sub(then[at]) as f64);
            let disk = [writes, sectors * SECTOR_BYTES, flushes, flush_ms, busy_ms / elapsed_ms];
            for (value, disk) in values[9..].iter_mut().zip(disk) {
                *value = Some(disk);
            }
        }
        Sample { at_ms: self.at_ms, values }
    }
}

/// /proc/diskstats counts in these, whatever the disk's own are.
const SECTOR_BYTES: f64 = 512.0;

fn cpu(stat: &str) -> Option<[u64; 6]> {
    let numbers: Vec<u64> = stat
        .lines()
        .next()?
        .strip_prefix("cpu ")?
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    let [user, nice, system, idle, iowait, irq, softirq, steal, ..] = numbers[..] else { return None };
    Some([user + nice, system, iowait, irq + softirq, steal, idle])
}

fn pressure(text: &str) -> Option<u64> {
    text.lines().find(|line| line.starts_with("some"))?.rsplit_once("total=")?.1.trim().parse().ok()
}

fn disk(stats: &str, device: &str) -> Option<[u64; 5]> {
    let line = stats.lines().find(|line| line.split_whitespace().nth(2) == Some(device))?;
    let number = |at: usize| line.split_whitespace().nth(at).and_then(|word| word.parse().ok());
    // Kernels before 5.5 count no flushes.
    Some([number(7)?, number(9)?, number(18).unwrap_or(0), number(19).unwrap_or(0), number(12)?])
}

/// CPU seconds that a process has used so far, all its threads.
pub fn cpu_seconds_of(root: &Path, process: u32, ticks_per_second: u64) -> Option<f64> {
    let path: PathBuf = root.join(format!("proc/{process}/stat"));
    let text = fs::read_to_string(path).ok()?;
    // The name in parentheses may hold spaces; user and system time are fields 14 and 15 of the line.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / ticks_per_second as f64)
}

/// Whether a process is there and has not ended; one that nobody has waited for yet has.
pub fn is_running(root: &Path, process: u32) -> bool {
    let text = fs::read_to_string(root.join(format!("proc/{process}/stat"))).unwrap_or_default();
    let state = text.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// Samples as a table.
pub struct SampleTable;

impl SampleTable {
    /// Comma-separated, one line for each sample; what is absent is empty.
    pub fn write(samples: &[Sample]) -> String {
        let mut out = format!("at_ms,{}\n", COLUMNS.join(","));
        for sample in samples {
            write!(out, "{}", sample.at_ms).expect("writing to a string succeeds");
            for value in sample.values {
                let cell = value.map_or(String::new(), |value| format!("{:.4}", value));
                write!(out, ",{}", cell.trim_end_matches('0').trim_end_matches('.'))
                    .expect("writing to a string succeeds");
            }
            out.push('\n');
        }
        out
    }

    /// The samples of a table that [`SampleTable::write`] made.
    pub fn read(text: &str) -> Result<Vec<Sample>, String> {
        let mut lines = text.lines();
        if lines.next() != Some(&format!("at_ms,{}", COLUMNS.join(","))) {
            return Err("the first line does not name the columns of samples".to_owned());
        }
        let sample = |(at, line): (usize, &str)| {
            parse(line).ok_or_else(|| format!("line {}: no sample: {line}", at + 2))
        };
        lines.enumerate().map(sample).collect()
    }
}

fn parse(line: &str) -> Option<Sample> {
    let mut cells = line.split(',');
    let at_ms = cells.next()?.parse().ok()?;
    let mut values = [None; COLUMNS.len()];
    for value in &mut values {
        *value = match cells.next()? {
            "" => None,
            cell => Some(cell.parse().ok()?),
        };
    }
    cells.next().is_none().then_some(Sample { at_ms, values })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(at_ms: u64, user: u64, idle: u64, writes: u64) -> Counters {
        Counters {
            at_ms,
            cpu: cpu(&format!("cpu  {user} 0 10 {idle} 0 0 0 5 0 0\n")),
            pressure_us: [
                pressure(&format!("some avg10=0.00 total={}\nfull total=9\n", at_ms * 500)),
                None,
                None,
            ],
            disk: disk(
                &format!(" 254 0 vda 1 0 8 1 {writes} 0 {} 9 0 {at_ms} 9 0 0 0 0 3 40\n", writes * 8),
                "vda",
            ),
        }
    }

    #[test]
    fn a_sample_is_the_difference_of_two_readings() {
        let sample = counters(2000, 180, 110, 30).since(&counters(1000, 100, 90, 10));
        assert_eq!(
            (sample.get("user"), sample.get("idle"), sample.get("steal")),
            (Some(0.8), Some(0.2), Some(0.0))
        );
        assert_eq!(sample.busy(), Some(0.8));
        assert_eq!(sample.get("pressure_cpu"), Some(0.5));
        assert_eq!(sample.get("pressure_io"), None);
        assert_eq!(
            (sample.get("disk_writes"), sample.get("disk_written_bytes")),
            (Some(20.0), Some(81_920.0))
        );
        assert_eq!(sample.get("disk_busy"), Some(1.0));
        let table = SampleTable::write(&[sample]);
        assert_eq!(SampleTable::read(&table).unwrap(), [sample]);
        assert!(SampleTable::read(&table.replace("2000", "x")).unwrap_err().contains("line 2"));
    }

    #[test]
    fn nothing_to_read_is_no_error() {
        let nowhere = Path::new("/nowhere");
        let counters = Counters::read(nowhere, Some("vda"), 5);
        assert_eq!(counters.since(&counters), Sample { at_ms: 5, values: [None; COLUMNS.len()] });
        assert_eq!(cpu_seconds_of(nowhere, 1, 100), None);
        assert!(!is_running(nowhere, 1) && is_running(Path::new("/"), std::process::id()));
    }
}
