//! What the control groups around this process let it have: a container's limits, and a unit's.

use std::path::Path;

/// CPU time that may be used, hundredths of a core: the tightest quota of all groups around; none where there is none or
/// nothing tells.
pub fn cpu_quota() -> Option<u64> {
    tightest(&read_from_machine, "cpu", quota_of)
}

/// Memory that may be used, bytes: the tightest limit of all groups around.
pub fn memory_bytes() -> Option<u64> {
    tightest(&read_from_machine, "memory", memory_of)
}

/// How a file is read; None where it cannot be.
type Read<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Where a group stands, and in which of the two forms.
struct Group {
    folder: String,
    of_first_version: bool,
}

fn read_from_machine(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

fn tightest(
    read: Read<'_>,
    controller: &str,
    limit_of: impl Fn(Read<'_>, &Group) -> Option<u64>,
) -> Option<u64> {
    let of_line = |line: &str| -> Option<u64> {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let of_first_version = controllers.split(',').any(|name| name == controller);
        if !controllers.is_empty() && !of_first_version {
            return None;
        }
        let mount = if of_first_version {
            format!("/sys/fs/cgroup/{controller}")
        } else {
            "/sys/fs/cgroup".to_owned()
        };
        let folder = |group: &Path| format!("{mount}{}", group.display().to_string().trim_end_matches('/'));
        let groups =
            Path::new(path).ancestors().map(|group| Group { folder: folder(group), of_first_version });
        groups.filter_map(|group| limit_of(read, &group)).min()
    };
    read("/proc/self/cgroup")?.lines().filter_map(of_line).min()
}

fn quota_of(read: Read<'_>, group: &Group) -> Option<u64> {
    let folder = &group.folder;
    let (quota, period) = if group.of_first_version {
        (read(&format!("{folder}/cpu.cfs_quota_us"))?, read(&format!("{folder}/cpu.cfs_period_us"))?)
    } else {
        let both = read(&format!("{folder}/cpu.max"))?;
        let (quota, period) = both.split_once(' ')?;
        (quota.to_owned(), period.to_owned())
    };
    // `max` and -1 stand for none.
    let (quota, period) = (quota.trim().parse::<u64>().ok()?, period.trim().parse::<u64>().ok()?);
    quota.saturating_mul(100).checked_div(period)
}

fn memory_of(read: Read<'_>, group: &Group) -> Option<u64> {
    let file = if group.of_first_version { "memory.limit_in_bytes" } else { "memory.max" };
    // `max` stands for none; the first version says so with a number beyond all memory.
    read(&format!("{}/{file}", group.folder))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Limit = fn(Read<'_>, &Group) -> Option<u64>;

    fn check(controller: &str, limit_of: Limit, files: &[(&str, &str)], expect: Option<u64>) {
        let read =
            |path: &str| files.iter().find(|(name, _)| *name == path).map(|(_, text)| (*text).to_owned());
        assert_eq!(tightest(&read, controller, limit_of), expect, "{files:?}");
    }

    #[test]
    fn a_quota_is_found_in_both_versions() {
        let check = |files: &[(&str, &str)], expect| check("cpu", quota_of, files, expect);
        let two = ("/proc/self/cgroup", "0::/a/b\n");
        check(&[], None);
        check(&[two], None);
        check(&[two, ("/sys/fs/cgroup/a/b/cpu.max", "max 100000\n")], None);
        check(&[two, ("/sys/fs/cgroup/a/b/cpu.max", "150000 100000\n")], Some(150));
        check(
            &[
                two,
                ("/sys/fs/cgroup/a/b/cpu.max", "400000 100000\n"),
                ("/sys/fs/cgroup/a/cpu.max", "50000 100000"),
            ],
            Some(50),
        );
        check(&[("/proc/self/cgroup", "0::/\n"), ("/sys/fs/cgroup/cpu.max", "200000 100000")], Some(200));
        check(&[two, ("/sys/fs/cgroup/a/b/cpu.max", "1 0")], None);
        check(&[two, ("/sys/fs/cgroup/a/b/cpu.max", "what")], None);
        let one = ("/proc/self/cgroup", "4:cpu,cpuacct:/d\n1:name=systemd:/x\n");
        let period = ("/sys/fs/cgroup/cpu/d/cpu.cfs_period_us", "100000");
        check(&[one, ("/sys/fs/cgroup/cpu/d/cpu.cfs_quota_us", "-1"), period], None);
        check(&[one, ("/sys/fs/cgroup/cpu/d/cpu.cfs_quota_us", "250000"), period], Some(250));
    }

    #[test]
    fn a_memory_limit_is_found_in_both_versions() {
        let check = |files: &[(&str, &str)], expect| check("memory", memory_of, files, expect);
        let two = ("/proc/self/cgroup", "0::/a/b\n");
        check(&[two, ("/sys/fs/cgroup/a/b/memory.max", "max\n")], None);
        check(
            &[two, ("/sys/fs/cgroup/a/b/memory.max", "max"), ("/sys/fs/cgroup/a/memory.max", "2147483648\n")],
            Some(2 << 30),
        );
        let one = ("/proc/self/cgroup", "4:memory:/d\n");
        check(&[one, ("/sys/fs/cgroup/memory/d/memory.limit_in_bytes", "1048576")], Some(1 << 20));
    }
}
