//! What a start looks at before it does anything: what the machine refuses stops it, what the machine gives too
//! little of is worth a line. `monedula start --check` prints all of it and does nothing else.
//!
//! The refusals are in [`host`](super::host) and in the data directory; this adds what can be lived with, and the
//! remedy. `monedula-tune check` looks at everything else that makes a machine slow.

use std::fs;
use std::path::{Path, PathBuf};

use super::StartError;
use super::cgroup;
use super::host::{self, Host};

/// The oldest kernel that has all io_uring operations which are used.
const KERNEL_MIN: Kernel = Kernel(5, 13, 0);

/// Since when io_uring no longer fails with ENOMEM when the memory that it needs for a moment is in pieces: in the
/// series that people run, and in all after the last.
const WITHOUT_SPURIOUS_ENOMEM: [Kernel; 4] =
    [Kernel(6, 6, 86), Kernel(6, 12, 21), Kernel(6, 13, 9), Kernel(6, 14, 0)];

/// Below this a volume is as good as full: segments are 1 GiB each.
const FREE_BYTES_ADVISED: u64 = 10 << 30;

/// Below this clients and segments compete for descriptors.
const FILES_ADVISED: u64 = 16_384;

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// Whether nothing is to be done.
    pub fine: bool,
    /// What was found, and the remedy if there is something to be done.
    pub text: String,
}

fn fine(text: impl Into<String>) -> Finding {
    Finding { fine: true, text: text.into() }
}

fn poor(text: impl Into<String>) -> Finding {
    Finding { fine: false, text: text.into() }
}

/// Looks at the machine. The error is what a broker with that many shards cannot start with.
pub fn look(host: Host, shards: usize, data: &Path) -> Result<Vec<Finding>, StartError> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Ok(vec![
        kernel(release.trim())?,
        fine("io_uring is allowed"),
        locked_memory(host, shards),
        files(host),
        quota(cgroup::cpu_quota(), shards),
        free_space(data),
    ])
}

/// Prints what was found, and whether the data directory can be written to.
pub fn print(findings: &[Finding], data: &Path, allow_buffered_io: bool) -> Result<(), StartError> {
    let (folder, exists) = existing(data);
    let direct_io = storage::disk::probe_writing(&folder, allow_buffered_io)
        .map_err(|error| StartError(error.to_string()))?;
    let how = if direct_io { "takes direct I/O" } else { "takes no direct I/O, which was allowed" };
    let last = if exists {
        fine(format!("data directory {} {how}", data.display()))
    } else {
        fine(format!("data directory {} will be made; {} {how}", data.display(), folder.display()))
    };
    for finding in findings.iter().chain([&last]) {
        println!("{:<5} {}", if finding.fine { "ok" } else { "warn" }, finding.text);
    }
    Ok(())
}

/// The directory, or the nearest one above it that exists.
fn existing(data: &Path) -> (PathBuf, bool) {
    if data.is_dir() {
        return (data.to_owned(), true);
    }
    let above = data.ancestors().skip(1).find(|path| path.is_dir());
    (above.map_or_else(|| PathBuf::from("."), Path::to_owned), false)
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Kernel(u32, u32, u32);

impl Kernel {
    /// Of `6.1.0-18-amd64`.
    fn parse(release: &str) -> Option<Kernel> {
        let numbers = release.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
        let mut numbers = numbers.split('.').map(|number| number.parse().ok());
        Some(Kernel(numbers.next()??, numbers.next()??, numbers.next().flatten().unwrap_or(0)))
    }

    fn has_enomem_fix(self) -> bool {
        let [.., last] = WITHOUT_SPURIOUS_ENOMEM;
        let in_series = |fixed: &Kernel| (self.0, self.1) == (fixed.0, fixed.1) && self.2 >= fixed.2;
        self >= last || WITHOUT_SPURIOUS_ENOMEM.iter().any(in_series)
    }
}

fn kernel(release: &str) -> Result<Finding, StartError> {
    match Kernel::parse(release) {
        None => Ok(poor(format!("the kernel's release `{release}` cannot be told: 5.13 or later is needed"))),
        Some(kernel) if kernel < KERNEL_MIN => Err(StartError(format!(
            "Linux {release} has not all of io_uring that is needed: install Linux 5.13 or later"
        ))),
        Some(kernel) if !kernel.has_enomem_fix() => Ok(poor(format!(
            "io_uring of Linux {release} may fail with ENOMEM when memory is in pieces: install 6.14 or later, or \
             6.13.9, 6.12.21, 6.6.86 of their series"
        ))),
        Some(_) => Ok(fine(format!("Linux {release}"))),
    }
}

fn locked_memory(host: Host, shards: usize) -> Finding {
    let (given, full) = (host.io_memory >> 10, host::IO_MEMORY >> 10);
    if host.io_memory as u64 >= host::IO_MEMORY {
        return fine(format!("{given} KiB of I/O memory for each of {shards} shards"));
    }
    poor(format!(
        "RLIMIT_MEMLOCK leaves {given} KiB of I/O memory for each of {shards} shards, {full} KiB is full speed: raise it \
         with `ulimit -l unlimited` (LimitMEMLOCK=infinity in a systemd unit)"
    ))
}

fn files(host: Host) -> Finding {
    let files = host.files_max;
    if files >= FILES_ADVISED {
        return fine(format!("{files} files may be open"));
    }
    poor(format!(
        "{files} files may be open, connections included: raise the hard limit with `ulimit -n 1048576` \
         (LimitNOFILE=1048576 in a systemd unit)"
    ))
}

fn free_space(data: &Path) -> Finding {
    let (folder, _) = existing(data);
    let gib = |bytes: u64| format!("{}.{} GiB", bytes >> 30, ((bytes & ((1 << 30) - 1)) * 10) >> 30);
    match storage::disk::space(&folder) {
        Ok((free, total)) if free >= FREE_BYTES_ADVISED => {
            fine(format!("{} free of {} for data directory {}", gib(free), gib(total), data.display()))
        }
        Ok((free, _)) => poor(format!(
            "only {} free for data directory {}: lower retention.bytes, or grow the volume before it is full",
            gib(free),
            data.display()
        )),
        Err(error) => poor(format!("the free space of {} cannot be told: {error}", folder.display())),
    }
}

/// CPU time that the cgroup may use, hundredths of a core.
fn quota(hundredths: Option<u64>, shards: usize) -> Finding {
    match hundredths {
        None => fine("no quota on CPU time"),
        Some(h) if h >= shards as u64 * 100 => fine(format!("a quota of {}.{:02} cores", h / 100, h % 100)),
        Some(h) => poor(format!(
            "the cgroup may use {}.{:02} cores for {shards} shards, and stops them all when that is used up: run at most \
             {} with --cores, or lift the quota (CPUQuota= in a systemd unit, docker run without --cpus)",
            h / 100,
            h % 100,
            (h / 100).max(1)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_refused_advised_against_or_fine() {
        let refused = kernel("5.10.0-30-amd64").expect_err("it is too old");
        assert!(refused.0.contains("install Linux 5.13"), "{refused}");
        for (release, good) in [
            ("5.15.0", false),
            ("6.6.85", false),
            ("6.6.86-1", true),
            ("6.13.2", false),
            ("6.18.44-fc", true),
            ("7.0", true),
            ("linux", false),
            ("", false),
        ] {
            assert_eq!(kernel(release).expect("it starts").fine, good, "{release}");
        }
    }

    #[test]
    fn each_shortage_names_its_remedy() {
        let host = Host { io_memory: 512 << 10, files_max: 600 };
        for (finding, part) in [
            (locked_memory(host, 4), "ulimit -l"),
            (files(host), "ulimit -n"),
            (quota(Some(150), 2), "run at most 1 with --cores"),
        ] {
            assert!(!finding.fine && finding.text.contains(part), "{finding:?}");
        }
        let host = Host { io_memory: 1 << 20, files_max: 1 << 20 };
        assert!(
            locked_memory(host, 4).fine
                && files(host).fine
                && quota(None, 2).fine
                && quota(Some(200), 2).fine
        );
    }
}
