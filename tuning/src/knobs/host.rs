//! The machine as a whole: its kernel, and who else is on it.

use crate::change::How;
use crate::knob::{Definition, Reading, Scope};
use crate::machine::Machine;

/// The oldest kernel that the broker runs on.
const KERNEL_MIN: Version = Version(5, 13, 0);

/// Since when io_uring no longer fails with ENOMEM when the memory that it needs for a moment is in pieces: in the
/// series that people run, and in all after the last.
const WITHOUT_SPURIOUS_ENOMEM: &[Version] =
    &[Version(6, 6, 86), Version(6, 12, 21), Version(6, 13, 9), Version(6, 14, 0)];

/// More than this of its time stolen and a virtual core's tail belongs to its neighbours.
const STEAL_PER_MILLE_MAX: u64 = 1;

pub(super) const KNOBS: &[Definition] = &[
    Definition {
        name: "host.kernel",
        scope: Scope::Machine,
        wanted: "6.14 or later, or 6.13.9, 6.12.21, 6.6.86 and later of their series; 5.13 at least",
        why: "Earlier io_uring fails now and then with ENOMEM when memory is in pieces, which costs a shard its turn \
              and may end the broker. Below 5.13 operations are missing.",
        risk: "A new kernel needs a reboot.",
        read: kernel,
    },
    Definition {
        name: "host.container",
        scope: Scope::Machine,
        wanted: "known",
        why: "In a container most settings belong to the host: they are told here, but only the host can change them.",
        risk: "None.",
        read: container,
    },
    Definition {
        name: "host.steal",
        scope: Scope::Machine,
        wanted: "at most 0.1 % of the time since boot",
        why: "Stolen time is when the hypervisor ran someone else on this core: a request that waits then waits for \
              milliseconds, and nothing in this machine can help.",
        risk: "None.",
        read: steal,
    },
];

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Version(u32, u32, u32);

impl Version {
    /// Of `6.1.0-18-amd64`.
    fn parse(text: &str) -> Result<Version, String> {
        let wrong = || format!("`{text}` is not the release of a kernel");
        let numbers = text.split(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap_or_default();
        let mut numbers = numbers.split('.').map(str::parse::<u32>);
        let mut next = || numbers.next().and_then(Result::ok);
        let (major, minor) = (next().ok_or_else(wrong)?, next().ok_or_else(wrong)?);
        Ok(Version(major, minor, next().unwrap_or(0)))
    }

    fn has_enomem_fix(self) -> bool {
        let last = WITHOUT_SPURIOUS_ENOMEM[WITHOUT_SPURIOUS_ENOMEM.len() - 1];
        self >= last
            || WITHOUT_SPURIOUS_ENOMEM
                .iter()
                .any(|fixed| (self.0, self.1) == (fixed.0, fixed.1) && self.2 >= fixed.2)
    }
}

fn kernel(machine: &Machine) -> Vec<Reading> {
    let release = "/proc/sys/kernel/osrelease";
    let parsed = machine.root.parse(release, |text| Ok((text.to_owned(), Version::parse(text)?)));
    vec![match parsed {
        Err(error) => Reading::failed("", &error),
        Ok((text, version)) if version < KERNEL_MIN => {
            Reading::differs("", text, "5.13 at least", How::by_hand("install a later kernel, and reboot"))
        }
        Ok((text, version)) if !version.has_enomem_fix() => {
            let how = How::by_hand("install a later kernel, and reboot");
            Reading::differs("", text, "6.14, or 6.13.9, 6.12.21, 6.6.86", how)
        }
        Ok((text, _)) => Reading::ok("", text),
    }]
}

fn container(machine: &Machine) -> Vec<Reading> {
    vec![match &machine.container {
        None => Reading::ok("", "no container"),
        Some(why) => Reading::ok(
            "",
            format!("a container ({why}): settings of the machine belong to the host, run `apply` there"),
        ),
    }]
}

fn steal(machine: &Machine) -> Vec<Reading> {
    let place = format!("cpu{}", machine.shards);
    let table = match machine.root.read("/proc/stat") {
        Ok(table) => table,
        Err(error) => return vec![Reading::failed(place, &error)],
    };
    let (mut stolen, mut total) = (0u64, 0u64);
    for core in machine.shards.iter() {
        let name = format!("cpu{core} ");
        let Some(line) = table.lines().find_map(|line| line.strip_prefix(&name)) else {
            return vec![Reading::unreadable(place, format!("/proc/stat has no line for cpu{core}"))];
        };
        // user nice system idle iowait irq softirq steal, then guests, whose time user has already.
        let times: Result<Vec<u64>, _> = line.split_whitespace().take(8).map(str::parse::<u64>).collect();
        match times.as_deref() {
            Ok(times @ &[.., steal]) if times.len() == 8 => {
                stolen += steal;
                total += times.iter().sum::<u64>();
            }
            _ => {
                return vec![Reading::unreadable(
                    place,
                    format!("/proc/stat: `{line}` is not eight numbers"),
                )];
            }
        }
    }
    let per_mille = stolen * 1000 / total.max(1);
    let found = format!("{}.{} % since boot", per_mille / 10, per_mille % 10);
    vec![if per_mille <= STEAL_PER_MILLE_MAX {
        Reading::ok(place, found)
    } else {
        let how =
            How::by_hand("rent cores that are not shared (dedicated instances), or move to another host");
        Reading::differs(place, found, "at most 0.1 %", how)
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_with_the_fix_are_told_by_their_series() {
        for (release, fixed) in [
            ("6.18.44-fc", true),
            ("6.14.0-rc1", true),
            ("6.13.8", false),
            ("6.12.21-amd64", true),
            ("6.6.86", true),
            ("6.6.85", false),
            ("6.7.12", false),
            ("6.1.0-18-amd64", false),
            ("7.0", true),
        ] {
            assert_eq!(Version::parse(release).map(Version::has_enomem_fix), Ok(fixed), "{release}");
        }
        assert!(Version::parse("linux").is_err());
        assert!(Version::parse("6").is_err());
        assert!(Version::parse("99999999999.1").is_err());
    }
}
