//! The block device of the data directory, as `/sys/dev/block` counts for it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::document::Disk;

/// What the kernel has counted, since it knows the device.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Counts {
    sectors_read: u64,
    writes: u64,
    sectors_written: u64,
    busy_ms: u64,
}

/// Sectors of the counters, whatever the device has, bytes.
const SECTOR_BYTES: f64 = 512.0;

/// The device, and what it had done when it was last looked at.
#[derive(Debug)]
pub struct DiskWatch {
    name: String,
    stat: PathBuf,
    last: Counts,
    looked_us: u64,
    /// What it did between the last two looks.
    pub disk: Option<Disk>,
}

impl DiskWatch {
    /// The device below a directory; `None` if the kernel keeps no figures of it (tmpfs, overlay).
    pub fn new(data: &Path, now_us: u64) -> Option<DiskWatch> {
        let device = std::fs::metadata(data).ok()?.dev();
        let folder = format!("/sys/dev/block/{}:{}", libc::major(device), libc::minor(device));
        let name = std::fs::canonicalize(&folder).ok()?.file_name()?.to_string_lossy().into_owned();
        let stat = Path::new(&folder).join("stat");
        let last = parse(&std::fs::read_to_string(&stat).ok()?)?;
        Some(DiskWatch { name, stat, last, looked_us: now_us, disk: None })
    }

    /// Looks again.
    pub fn look(&mut self, now_us: u64) {
        let counts = std::fs::read_to_string(&self.stat).ok().and_then(|text| parse(&text));
        let length_us = now_us.saturating_sub(self.looked_us);
        self.disk = counts.filter(|_| length_us > 0).map(|now| {
            let last = std::mem::replace(&mut self.last, now);
            difference(&self.name, last, now, length_us)
        });
        self.looked_us = now_us;
    }
}

/// `Documentation/block/stat.rst`.
fn parse(text: &str) -> Option<Counts> {
    let fields: Vec<u64> = text.split_whitespace().map_while(|field| field.parse().ok()).collect();
    Some(Counts {
        sectors_read: *fields.get(2)?,
        writes: *fields.get(4)?,
        sectors_written: *fields.get(6)?,
        busy_ms: *fields.get(9)?,
    })
}

fn difference(name: &str, last: Counts, now: Counts, length_us: u64) -> Disk {
    let seconds = length_us as f64 / 1e6;
    // Counters of 32 bits begin anew.
    let per_s = |now: u64, last: u64| now.saturating_sub(last) as f64 / seconds;
    Disk {
        name: name.to_owned(),
        utilisation: (per_s(now.busy_ms, last.busy_ms) / 1e3).min(1.0),
        writes_per_s: per_s(now.writes, last.writes),
        bytes_written_per_s: per_s(now.sectors_written, last.sectors_written) * SECTOR_BYTES,
        bytes_read_per_s: per_s(now.sectors_read, last.sectors_read) * SECTOR_BYTES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_differences_of_counters() {
        let before = parse("  10 0 80 5 100 2 800 40 0 1000 45 0 0 0 0 7 1").expect("a line of a kernel");
        let after = parse("  10 0 180 5 300 2 4800 90 1 1500 95 0 0 0 0 9 1").expect("a line of a kernel");
        let disk = difference("vda", before, after, 2_000_000);
        let expected = Disk {
            name: "vda".into(),
            utilisation: 0.25,
            writes_per_s: 100.0,
            bytes_written_per_s: 1_024_000.0,
            bytes_read_per_s: 25_600.0,
        };
        assert_eq!(disk, expected);
        for nonsense in ["", "1 2 3", "a b c d e f g h i j k", "1 2 3 4 5 6 7 8 9 -1"] {
            assert_eq!(parse(nonsense), None);
        }
    }
}
