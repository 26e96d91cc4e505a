//! What a process may have: memory it locks, files it opens, io_uring, and time on the cores.
//!
//! Limits are those of this process. A broker that a unit starts has the unit's.

use crate::change::How;
use crate::cpu_set::CpuSet;
use crate::knob::{Definition, Reading, Scope, State, sysctl};
use crate::machine::{self, Machine};
use crate::root::{Unread, Why};

/// Memory that one executor of the broker registers, as the kernel charges it.
const LOCKED_BYTES_PER_SHARD: u64 = 3 << 20;

/// Files that a broker of some size has open: segments, and connections of clients.
const FILES_MIN: u64 = 65_536;

pub(super) const KNOBS: &[Definition] = &[
    Definition {
        name: "limits.memlock",
        scope: Scope::Process,
        wanted: "3 MiB for each shard and 3 more, or unlimited",
        why: "io_uring's buffers are locked memory. Below 1.5 MiB a shard the broker does not start.",
        risk: "None worth naming: the broker locks what it registers, no more.",
        read: memlock,
    },
    Definition {
        name: "limits.nofile",
        scope: Scope::Process,
        wanted: "at least 65536 (the hard limit; the broker raises the soft one itself)",
        why: "Every connection and every segment that is read is an open file; the broker divides what it has among \
              its shards and refuses connections beyond.",
        risk: "None worth naming.",
        read: nofile,
    },
    Definition {
        name: "limits.io_uring",
        scope: Scope::Machine,
        wanted: "0 (allowed)",
        why: "Without io_uring there is no broker.",
        risk: "Some distributions switch io_uring off because it has had more security holes than other system calls.",
        read: io_uring,
    },
    Definition {
        name: "limits.seccomp",
        scope: Scope::Process,
        wanted: "io_uring_setup is let through",
        why: "The default seccomp profiles of container engines refuse io_uring's system calls.",
        risk: "A profile of one's own that adds the three calls is narrower than seccomp=unconfined.",
        read: seccomp,
    },
    Definition {
        name: "limits.cpuset",
        scope: Scope::Process,
        wanted: "all cores of --cores",
        why: "The broker pins a shard to each core and does not start where it may not.",
        risk: "None.",
        read: cpuset,
    },
    Definition {
        name: "limits.cpu_quota",
        scope: Scope::Process,
        wanted: "none, or a core's worth for each shard",
        why: "A quota that is used up stops every shard until the period ends: stalls of up to 100 ms.",
        risk: "None for the broker; its neighbours compete by weight.",
        read: cpu_quota,
    },
];

/// The soft and the hard limit, `None` for unlimited.
fn limit(machine: &Machine, name: &str) -> Result<(Option<u64>, Option<u64>), Unread> {
    machine.root.parse("/proc/self/limits", |text| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .ok_or_else(|| format!("it has no line `{name}`"))?;
        let value = |word: Option<&str>| match word {
            Some("unlimited") => Ok(None),
            Some(word) => word.parse().map(Some).map_err(|_| format!("{name}: `{word}` is not a number")),
            None => Err(format!("{name}: a value is missing")),
        };
        let mut words = line.split_whitespace();
        Ok((value(words.next())?, value(words.next())?))
    })
}

fn memlock(machine: &Machine) -> Vec<Reading> {
    let needed = LOCKED_BYTES_PER_SHARD * (machine.shards.len() as u64 + 1);
    vec![match limit(machine, "Max locked memory") {
        Err(error) => Reading::failed("", &error),
        Ok((None, _)) => Reading::ok("", "unlimited"),
        Ok((Some(bytes), _)) if bytes >= needed => Reading::ok("", format!("{} KiB", bytes >> 10)),
        Ok((Some(bytes), _)) => {
            let how = How::ByHand(vec![
                "LimitMEMLOCK=infinity   # in the broker's systemd unit".to_owned(),
                "--ulimit memlock=-1:-1   # for docker run or podman run".to_owned(),
                "ulimit -l unlimited   # in a shell, where `* - memlock unlimited` stands in /etc/security/limits.d/"
                    .to_owned(),
            ]);
            Reading::differs("", format!("{} KiB", bytes >> 10), format!("{} KiB", needed >> 10), how)
        }
    }]
}

fn nofile(machine: &Machine) -> Vec<Reading> {
    vec![match limit(machine, "Max open files") {
        Err(error) => Reading::failed("", &error),
        Ok((_, None)) => Reading::ok("", "unlimited"),
        Ok((_, Some(files))) if files >= FILES_MIN => Reading::ok("", files.to_string()),
        Ok((_, Some(files))) => {
            let how = How::ByHand(vec![
                "LimitNOFILE=1048576   # in the broker's systemd unit".to_owned(),
                "--ulimit nofile=1048576:1048576   # for docker run or podman run".to_owned(),
                "ulimit -n 1048576   # in a shell, where `* - nofile 1048576` stands in /etc/security/limits.d/"
                    .to_owned(),
            ]);
            Reading::differs("", files.to_string(), FILES_MIN.to_string(), how)
        }
    }]
}

fn io_uring(machine: &Machine) -> Vec<Reading> {
    let mut reading = sysctl(machine, "/proc/sys/kernel/io_uring_disabled", 0, "0", |n| n == 0);
    match (reading.state, reading.found.as_str()) {
        // Kernels before 6.6 have no such switch.
        (State::Absent, _) => reading = Reading::ok("", "this kernel has no switch against it"),
        (State::Differs, "1") => {
            reading.found = "1 (only for root and the group of kernel.io_uring_group)".to_owned();
        }
        (State::Differs, "2") => reading.found = "2 (for nobody)".to_owned(),
        _ => {}
    }
    vec![reading]
}

fn seccomp(machine: &Machine) -> Vec<Reading> {
    let error = match machine.calls.io_uring() {
        Ok(()) => return vec![Reading::ok("", "io_uring_setup is let through")],
        Err(error) => error,
    };
    // Whether there is a filter helps to find who refuses; without the line it is left open.
    let filtered = machine.root.read("/proc/self/status").is_ok_and(|text| {
        text.lines().any(|line| line.strip_prefix("Seccomp:").is_some_and(|n| n.trim() == "2"))
    });
    let how = match error.raw_os_error() {
        Some(libc::ENOSYS) if !filtered => {
            How::by_hand("install a kernel with io_uring (5.13 or later), and reboot")
        }
        Some(libc::ENOMEM) => How::by_hand("ulimit -l unlimited   # LimitMEMLOCK=infinity in a unit"),
        _ if filtered => How::by_hand(
            "docker run --security-opt seccomp=unconfined   # podman too; or a profile that permits io_uring_setup, \
             io_uring_enter and io_uring_register",
        ),
        _ => How::by_hand("sysctl -w kernel.io_uring_disabled=0"),
    };
    let by = if filtered { "a seccomp filter is in force" } else { "no seccomp filter is in force" };
    vec![Reading::differs("", format!("io_uring_setup: {error}; {by}"), "let through", how)]
}

fn cpuset(machine: &Machine) -> Vec<Reading> {
    let allowed: CpuSet = match machine::allowed(&machine.root) {
        Ok(allowed) => allowed,
        Err(error) => return vec![Reading::failed("", &error)],
    };
    let found = format!("{allowed} allowed, shards on {}", machine.shards);
    vec![if machine.shards.is_subset(&allowed) {
        Reading::ok("", found)
    } else {
        let how = How::by_hand(
            "widen AllowedCPUs= or CPUAffinity= of the unit (docker: --cpuset-cpus), or change --cores",
        );
        Reading::differs("", found, format!("{} allowed", machine.shards), how)
    }]
}

/// A quota on CPU time: microseconds in each period.
struct Quota {
    folder: String,
    quota_us: u64,
    period_us: u64,
}

fn cpu_quota(machine: &Machine) -> Vec<Reading> {
    let shards = machine.shards.len() as u64;
    let tightest = match quotas(machine) {
        Ok(quotas) => quotas.into_iter().min_by_key(|quota| quota.quota_us * 1000 / quota.period_us),
        Err(error) => return vec![Reading::failed("", &error)],
    };
    let Some(Quota { folder, quota_us, period_us }) = tightest else {
        return vec![Reading::ok("", "none")];
    };
    let hundredths = quota_us * 100 / period_us;
    // How often it was felt is told where the kernel counts it.
    let throttled = machine.root.read(&format!("{folder}/cpu.stat")).ok().and_then(|text| {
        text.lines().find_map(|line| line.strip_prefix("nr_throttled ")?.trim().parse::<u64>().ok())
    });
    let throttled = throttled.map_or(String::new(), |times| format!(", throttled {times} times"));
    let found = format!("{}.{:02} cores ({folder}){throttled}", hundredths / 100, hundredths % 100);
    vec![if quota_us >= shards * period_us {
        Reading::ok("", found)
    } else {
        let how = How::by_hand(format!(
            "CPUQuota= (empty) in the unit; docker run without --cpus; or run at most {} shards with --cores",
            (quota_us / period_us).max(1)
        ));
        Reading::differs("", found, format!("none, or {shards} cores"), how)
    }]
}

/// Reads the quota of the group in a folder, if it has one.
type ReadQuota = fn(&Machine, String) -> Result<Option<Quota>, Unread>;

/// The quotas of this process's cgroup and of all above it.
fn quotas(machine: &Machine) -> Result<Vec<Quota>, Unread> {
    let groups = machine.root.read("/proc/self/cgroup")?;
    let mut quotas = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let (mounts, read): (&[&str], ReadQuota) = if controllers.is_empty() {
            (&["/sys/fs/cgroup", "/sys/fs/cgroup/unified"], quota_of_second_version)
        } else if controllers.split(',').any(|controller| controller == "cpu") {
            (&["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"], quota_of_first_version)
        } else {
            continue;
        };
        for folder in mounts.iter().flat_map(|mount| folders(mount, path)) {
            quotas.extend(read(machine, folder)?);
        }
    }
    Ok(quotas)
}

/// The folder of a group and those of all groups above it.
fn folders(mount: &str, path: &str) -> Vec<String> {
    let mut folder = format!("{mount}{}", path.trim_end_matches('/'));
    let mut folders = vec![folder.clone()];
    while folder.len() > mount.len() {
        let end = folder.rfind('/').unwrap_or(0).max(mount.len());
        folder.truncate(end);
        folders.push(folder.clone());
    }
    folders
}

/// `cpu.max` has `max 100000` or `50000 100000`. The group at the top has no such file.
fn quota_of_second_version(machine: &Machine, folder: String) -> Result<Option<Quota>, Unread> {
    let read = machine.root.parse(&format!("{folder}/cpu.max"), |text| {
        let wrong = || format!("`{text}` is not a quota and a period");
        let (quota, period) = text.split_once(' ').ok_or_else(wrong)?;
        let period_us: u64 = period.trim().parse().ok().filter(|us| *us > 0).ok_or_else(wrong)?;
        match quota {
            "max" => Ok(None),
            quota => Ok(Some((quota.parse().map_err(|_| wrong())?, period_us))),
        }
    });
    found(folder, read)
}

/// A quota of -1 is none.
fn quota_of_first_version(machine: &Machine, folder: String) -> Result<Option<Quota>, Unread> {
    let read = machine.root.number(&format!("{folder}/cpu.cfs_quota_us")).and_then(|quota| {
        let period = machine.root.parse(&format!("{folder}/cpu.cfs_period_us"), |text| {
            text.parse::<u64>().ok().filter(|us| *us > 0).ok_or_else(|| format!("`{text}` is not a period"))
        })?;
        Ok(u64::try_from(quota).ok().map(|quota_us| (quota_us, period)))
    });
    found(folder, read)
}

fn found(folder: String, read: Result<Option<(u64, u64)>, Unread>) -> Result<Option<Quota>, Unread> {
    match read {
        Ok(quota) => Ok(quota.map(|(quota_us, period_us)| Quota { folder, quota_us, period_us })),
        Err(error) if error.why == Why::Missing => Ok(None),
        Err(error) => Err(error),
    }
}
