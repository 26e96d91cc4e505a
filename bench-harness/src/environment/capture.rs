//! What is set up on the machine.
#![allow(clippy::disallowed_methods, reason = "this is where the kernel's files are read")]

use std::fs;
use std::path::{Path, PathBuf};

use super::{Fact, UNREADABLE};

/// The most interrupts that are listed.
const INTERRUPTS_MAX: usize = 128;

/// Boot parameters that bear on latency; others may tell what is nobody's business.
const PARAMETERS: [&str; 22] = [
    "amd_pstate",
    "clocksource",
    "cpuidle.",
    "default_hugepagesz",
    "hugepages",
    "idle",
    "intel_idle.",
    "intel_pstate",
    "irqaffinity",
    "isolcpus",
    "mitigations",
    "nohz",
    "nosmt",
    "nosoftlockup",
    "nowatchdog",
    "preempt",
    "processor.max_cstate",
    "psi",
    "rcu_nocb",
    "skew_tick",
    "transparent_hugepage",
    "tsc",
];

/// The facts about the machine below `root`; the disk is the one that holds `data`.
pub fn capture(root: &Path, data: &Path) -> Vec<Fact> {
    let mut machine = Machine { root: root.to_owned(), facts: Vec::new() };
    machine.kernel();
    machine.cpu();
    machine.memory();
    machine.disk(data);
    machine.limits();
    machine.interrupts();
    machine.facts
}

/// The block device that holds a path, such as `nvme0n1p1`, by the mounts below `root`.
pub fn block_device(root: &Path, data: &Path) -> Option<String> {
    let mount = mount_of(root, data)?;
    mount.device.strip_prefix("/dev/").map(|device| device.replace('/', "!"))
}

struct Machine {
    root: PathBuf,
    facts: Vec<Fact>,
}

impl Machine {
    fn add(&mut self, section: &str, name: &str, value: impl Into<String>) {
        let value = value.into();
        let value = if value.is_empty() { "none".to_owned() } else { value };
        self.facts.push(Fact { section: section.to_owned(), name: name.to_owned(), value });
    }

    fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.root.join(path)).ok().map(|text| text.trim().to_owned())
    }

    /// The contents of one file, or that it cannot be read.
    fn add_file(&mut self, section: &str, name: &str, path: &str) {
        let value = self.read(path).unwrap_or_else(|| UNREADABLE.to_owned());
        self.add(section, name, value);
    }

    /// The contents of the first of some files that can be read.
    fn add_first(&mut self, section: &str, name: &str, paths: &[&str]) {
        let value = paths.iter().find_map(|path| self.read(path)).unwrap_or_else(|| UNREADABLE.to_owned());
        self.add(section, name, value);
    }

    fn names(&self, directory: &str) -> Vec<String> {
        let entries = fs::read_dir(self.root.join(directory)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort_by_key(|name| (name.len(), name.clone()));
        names
    }

    fn kernel(&mut self) {
        self.add_file("kernel", "release", "proc/sys/kernel/osrelease");
        self.add_file("kernel", "build", "proc/sys/kernel/version");
        let line = self.read("proc/cmdline").map(|line| {
            let bears = |word: &&str| PARAMETERS.iter().any(|parameter| word.starts_with(parameter));
            line.split_whitespace().filter(bears).collect::<Vec<_>>().join(" ")
        });
        self.add(
            "kernel",
            "command line, what bears on latency",
            line.unwrap_or_else(|| UNREADABLE.to_owned()),
        );
        self.add_file(
            "kernel",
            "clocksource",
            "sys/devices/system/clocksource/clocksource0/current_clocksource",
        );
        let container = [".dockerenv", "run/.containerenv"].map(|path| self.root.join(path).exists());
        let container = container.contains(&true);
        self.add("kernel", "container", if container { "yes" } else { "no sign of one" });
    }

    fn cpu(&mut self) {
        let info = self.read("proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let value =
                info.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name));
            value
                .and_then(|line| line.split_once(':'))
                .map_or(UNREADABLE.to_owned(), |(_, value)| value.trim().to_owned())
        };
        let (model, microcode, flags) = (field("model name"), field("microcode"), field("flags"));
        self.add("cpu", "model", model);
        self.add("cpu", "microcode", microcode);
        let virtual_machine = flags.split(' ').any(|flag| flag == "hypervisor");
        self.add("cpu", "virtual machine", if virtual_machine { "yes" } else { "no sign of one" });
        self.add_file("cpu", "online", "sys/devices/system/cpu/online");
        self.add_file("cpu", "isolated", "sys/devices/system/cpu/isolated");
        self.add_file("cpu", "nohz_full", "sys/devices/system/cpu/nohz_full");
        self.add_file("cpu", "SMT", "sys/devices/system/cpu/smt/control");
        let cpus: Vec<String> = self
            .names("sys/devices/system/cpu")
            .into_iter()
            .filter(|name| is_numbered(name, "cpu"))
            .collect();
        for (name, file) in
            [("governor", "cpufreq/scaling_governor"), ("frequency driver", "cpufreq/scaling_driver")]
        {
            let mut values: Vec<String> = cpus
                .iter()
                .filter_map(|cpu| self.read(&format!("sys/devices/system/cpu/{cpu}/{file}")))
                .collect();
            values.dedup();
            let value = if values.is_empty() { UNREADABLE.to_owned() } else { values.join(", ") };
            self.add("cpu", name, value);
        }
        match self.read("sys/devices/system/cpu/intel_pstate/no_turbo") {
            Some(off) => self.add("cpu", "turbo", if off == "0" { "on" } else { "off" }),
            None => self.add_file("cpu", "turbo (boost)", "sys/devices/system/cpu/cpufreq/boost"),
        }
        self.add_file("cpu", "idle driver", "sys/devices/system/cpu/cpuidle/current_driver");
        let states: Vec<String> = self
            .names("sys/devices/system/cpu/cpu0/cpuidle")
            .iter()
            .filter_map(|state| {
                let place = format!("sys/devices/system/cpu/cpu0/cpuidle/{state}");
                let disabled = self.read(&format!("{place}/disable")).is_some_and(|value| value != "0");
                Some(format!(
                    "{}{}",
                    self.read(&format!("{place}/name"))?,
                    if disabled { " (off)" } else { "" }
                ))
            })
            .collect();
        let states = if states.is_empty() { UNREADABLE.to_owned() } else { states.join(", ") };
        self.add("cpu", "idle states", states);
        let nodes =
            self.names("sys/devices/system/node").into_iter().filter(|name| is_numbered(name, "node"));
        let nodes: Vec<String> = nodes
            .filter_map(|node| {
                Some(format!("{node}: {}", self.read(&format!("sys/devices/system/node/{node}/cpulist"))?))
            })
            .collect();
        let nodes = if nodes.is_empty() { UNREADABLE.to_owned() } else { nodes.join("; ") };
        self.add("cpu", "NUMA", nodes);
    }

    fn memory(&mut self) {
        let info = self.read("proc/meminfo").unwrap_or_default();
        for name in ["MemTotal", "SwapTotal", "HugePages_Total"] {
            let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            self.add("memory", name, value.map_or(UNREADABLE, str::trim));
        }
        self.add_file("memory", "transparent huge pages", "sys/kernel/mm/transparent_hugepage/enabled");
        self.add_file("memory", "NUMA balancing", "proc/sys/kernel/numa_balancing");
        self.add_file("memory", "dirty ratio", "proc/sys/vm/dirty_ratio");
        self.add_file("memory", "dirty background ratio", "proc/sys/vm/dirty_background_ratio");
    }

    fn disk(&mut self, data: &Path) {
        let Some(mount) = mount_of(&self.root, data) else {
            return self.add("disk", "file system", UNREADABLE);
        };
        self.add("disk", "file system", mount.kind);
        // Options with paths are about places, not about speed.
        let options: Vec<&str> = mount.options.split(',').filter(|option| !option.contains('/')).collect();
        self.add("disk", "mount options", options.join(","));
        if let Ok(space) = rustix::fs::statvfs(data) {
            let used = 100.0 * (1.0 - space.f_bavail as f64 / space.f_blocks.max(1) as f64);
            let gigabytes = space.f_blocks as f64 * space.f_frsize as f64 / 1e9;
            self.add("disk", "fill level", format!("{used:.0} % of {gigabytes:.0} GB"));
        } else {
            self.add("disk", "fill level", UNREADABLE);
        }
        let Some(device) = mount.device.strip_prefix("/dev/") else { return };
        let whole = self.whole_device(device);
        self.add_first(
            "disk",
            "model",
            &[&format!("sys/block/{whole}/device/model"), &format!("sys/block/{whole}/device/type")],
        );
        let firmware =
            [format!("sys/block/{whole}/device/firmware_rev"), format!("sys/block/{whole}/device/rev")];
        self.add_first("disk", "firmware", &firmware.each_ref().map(String::as_str));
        for (name, file) in [
            ("scheduler", "scheduler"),
            ("write cache", "write_cache"),
            ("rotational", "rotational"),
            ("queue depth", "nr_requests"),
            ("logical block bytes", "logical_block_size"),
            ("FUA", "fua"),
        ] {
            self.add_file("disk", name, &format!("sys/block/{whole}/queue/{file}"));
        }
    }

    /// `nvme0n1` for `nvme0n1p2`: the disk whose directory has the partition.
    fn whole_device(&self, device: &str) -> String {
        let holds = |disk: &&String| self.root.join(format!("sys/block/{disk}/{device}")).exists();
        let disks = self.names("sys/block");
        disks.iter().find(holds).cloned().unwrap_or_else(|| device.to_owned())
    }

    fn limits(&mut self) {
        let limits = self.read("proc/self/limits").unwrap_or_default();
        for (name, line) in [("locked memory", "Max locked memory"), ("open files", "Max open files")] {
            let value = limits.lines().find_map(|limit| limit.strip_prefix(line));
            let soft = value.and_then(|value| value.split_whitespace().next());
            self.add("limits", name, soft.unwrap_or(UNREADABLE));
        }
        let group = self.read("proc/self/cgroup").unwrap_or_default();
        let group = group.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default().to_owned();
        for file in ["cpu.max", "cpuset.cpus.effective", "memory.max", "io.max"] {
            let name = format!("cgroup {file}");
            self.add_first(
                "limits",
                &name,
                &[&format!("sys/fs/cgroup/{group}/{file}"), &format!("sys/fs/cgroup/{file}")],
            );
        }
    }

    /// Which cores serve which interrupts, for those that ever occurred.
    fn interrupts(&mut self) {
        let table = self.read("proc/interrupts").unwrap_or_default();
        let mut listed = 0;
        for line in table.lines() {
            let Some((number, rest)) = line.split_once(':') else { continue };
            let Ok(number) = number.trim().parse::<u32>() else { continue };
            let counts = rest.split_whitespace().map_while(|word| word.parse::<u64>().ok());
            if counts.sum::<u64>() == 0 || listed == INTERRUPTS_MAX {
                continue;
            }
            let name = rest.split_whitespace().last().unwrap_or_default().to_owned();
            let paths = ["effective_affinity_list", "smp_affinity_list"]
                .map(|file| format!("proc/irq/{number}/{file}"));
            let cores =
                paths.iter().find_map(|path| self.read(path)).unwrap_or_else(|| UNREADABLE.to_owned());
            self.add("interrupts", &format!("{number} {name}"), format!("core {cores}"));
            listed += 1;
        }
    }
}

fn is_numbered(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix)
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
}

struct Mount {
    device: String,
    kind: String,
    options: String,
}

/// The mount with the longest path that holds `data`; of equals the last, which covers the others.
fn mount_of(root: &Path, data: &Path) -> Option<Mount> {
    let data = fs::canonicalize(data).unwrap_or_else(|_| data.to_owned());
    let table = fs::read_to_string(root.join("proc/self/mounts")).ok()?;
    let lines = table.lines().filter_map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let [device, place, kind, options, ..] = words[..] else { return None };
        data.starts_with(place).then_some((place.len(), device, kind, options))
    });
    let (_, device, kind, options) = lines.max_by_key(|(length, ..)| *length)?;
    Some(Mount { device: device.to_owned(), kind: kind.to_owned(), options: options.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::super::Environment;
    use super::*;

    /// A machine of files that is removed with its handle.
    struct Fake(PathBuf);

    impl Fake {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let root =
                std::env::temp_dir().join(format!("monedula-bench-machine-{name}-{}", std::process::id()));
            for (path, text) in files {
                let path = root.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            fs::create_dir_all(&root).unwrap();
            Self(root)
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn environment(fake: &Fake) -> Environment {
        Environment { facts: capture(&fake.0, Path::new("/")), samples: Vec::new() }
    }

    #[test]
    fn a_machine_is_read_below_its_root() {
        let fake = Fake::new(
            "full",
            &[
                ("proc/sys/kernel/osrelease", "6.1.0\n"),
                ("proc/cmdline", "root=/dev/secret isolcpus=2-3 hostname=mine mitigations=off"),
                (
                    "proc/cpuinfo",
                    "model name\t: Tested CPU\nmicrocode\t: 0x1\nflags\t\t: fpu hypervisor sse\n",
                ),
                ("proc/meminfo", "MemTotal:       1000 kB\nSwapTotal: 0 kB\n"),
                ("proc/self/mounts", "/dev/nvme0n1p2 / xfs rw,noatime,logdev=/dev/x 0 0\n"),
                ("proc/self/limits", "Max locked memory         65536   65536   bytes\n"),
                (
                    "proc/interrupts",
                    "      CPU0 CPU1\n 33:   5   7  PCI-MSI  nvme0q1\n 34: 0 0 none idle0\nNMI: 1 1 x\n",
                ),
                ("proc/irq/33/effective_affinity_list", "1\n"),
                ("sys/block/nvme0n1/nvme0n1p2/partition", "2"),
                ("sys/block/nvme0n1/device/model", "Fast Disk\n"),
                ("sys/block/nvme0n1/queue/write_cache", "write back\n"),
                ("sys/devices/system/cpu/isolated", "2-3\n"),
                ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n"),
                ("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "performance\n"),
                ("sys/devices/system/cpu/cpu0/cpuidle/state0/name", "POLL\n"),
                ("sys/devices/system/cpu/cpu0/cpuidle/state1/name", "C1\n"),
                ("sys/devices/system/cpu/cpu0/cpuidle/state1/disable", "1\n"),
                ("sys/devices/system/node/node0/cpulist", "0-3\n"),
                (".dockerenv", ""),
            ],
        );
        let environment = environment(&fake);
        let facts = [
            ("kernel", "release", "6.1.0"),
            ("kernel", "command line, what bears on latency", "isolcpus=2-3 mitigations=off"),
            ("kernel", "container", "yes"),
            ("cpu", "model", "Tested CPU"),
            ("cpu", "virtual machine", "yes"),
            ("cpu", "governor", "performance"),
            ("cpu", "idle states", "POLL, C1 (off)"),
            ("cpu", "NUMA", "node0: 0-3"),
            ("cpu", "isolated", "2-3"),
            ("memory", "MemTotal", "1000 kB"),
            ("disk", "file system", "xfs"),
            ("disk", "mount options", "rw,noatime"),
            ("disk", "model", "Fast Disk"),
            ("disk", "write cache", "write back"),
            ("disk", "scheduler", UNREADABLE),
            ("limits", "locked memory", "65536"),
            ("interrupts", "33 nvme0q1", "core 1"),
        ];
        for (section, name, value) in facts {
            assert_eq!(environment.get(section, name), Some(value), "{section} {name}");
        }
        assert!(environment.get("interrupts", "34 idle0").is_none());
        assert!(
            environment
                .facts
                .iter()
                .all(|fact| !fact.value.contains("secret") && !fact.value.contains("mine"))
        );
        assert_eq!(block_device(&fake.0, Path::new("/")).as_deref(), Some("nvme0n1p2"));
    }

    #[test]
    fn what_is_not_there_is_said_and_is_no_error() {
        let environment = environment(&Fake::new("empty", &[]));
        assert_eq!(environment.get("cpu", "model"), Some(UNREADABLE));
        assert_eq!(environment.get("disk", "file system"), Some(UNREADABLE));
        assert!(environment.facts.len() > 15);
    }
}
