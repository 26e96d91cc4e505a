//! A folder that plays a machine: four cores of which 1-3 carry shards, an NVMe drive, a network card with four queues,
//! two nodes of memory, all of it as it should be.

#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(clippy::disallowed_methods, reason = "tests make files")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use tune::calls::{Calls, Channels, ClockState, Coalescing, Ring};
use tune::knob::{Knob, Reading};
use tune::machine::{Interrupts, Machine, Subject};
use tune::root::Root;

/// The folder; removed when dropped.
pub struct Fake {
    folder: PathBuf,
    /// What the kernel answers.
    pub calls: FakeCalls,
    /// The cores that carry shards.
    pub cores: &'static str,
    /// Where interrupts go.
    pub interrupts: Interrupts,
}

/// A kernel whose answers are chosen.
#[derive(Clone)]
pub struct FakeCalls {
    pub io_uring: Option<i32>,
    pub synchronised: bool,
    pub error_max_us: i64,
    pub free_bytes: u64,
    pub direct_io: Option<i32>,
    pub channels: Channels,
    pub ring: Ring,
    pub ring_error: Option<i32>,
    pub coalescing: Coalescing,
    pub dma_latency_us: Option<i32>,
}

fn answer<T>(errno: Option<i32>, value: T) -> io::Result<T> {
    errno.map_or(Ok(value), |errno| Err(io::Error::from_raw_os_error(errno)))
}

impl Calls for FakeCalls {
    fn io_uring(&self) -> io::Result<()> {
        answer(self.io_uring, ())
    }
    fn clock(&self) -> io::Result<ClockState> {
        Ok(ClockState { synchronised: self.synchronised, error_max_us: self.error_max_us })
    }
    fn space(&self, _: &Path) -> io::Result<(u64, u64)> {
        Ok((self.free_bytes, 1 << 40))
    }
    fn direct_io(&self, _: &Path) -> io::Result<()> {
        answer(self.direct_io, ())
    }
    fn channels(&self, _: &str) -> io::Result<Channels> {
        Ok(self.channels)
    }
    fn ring(&self, _: &str) -> io::Result<Ring> {
        answer(self.ring_error, self.ring)
    }
    fn coalescing(&self, _: &str) -> io::Result<Coalescing> {
        Ok(self.coalescing)
    }
    fn dma_latency_us(&self, _: &Path) -> io::Result<i32> {
        self.dma_latency_us.ok_or_else(|| io::Error::from(io::ErrorKind::PermissionDenied))
    }
    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(path.to_owned())
    }
}

/// Files of the machine and what they say.
const FILES: &[(&str, &str)] = &[
    ("/proc/sys/kernel/osrelease", "6.18.4-1-amd64"),
    ("/proc/sys/kernel/random/boot_id", "11111111-2222-3333-4444-555555555555"),
    ("/proc/self/status", "Name:\ttune\nSeccomp:\t0\nCpus_allowed_list:\t0-3"),
    (
        "/proc/self/limits",
        "Limit                     Soft Limit           Hard Limit           Units\n\
         Max open files            1024                 1048576              files\n\
         Max locked memory         unlimited            unlimited            bytes",
    ),
    ("/proc/self/cgroup", "0::/system.slice/monedula.service"),
    ("/sys/fs/cgroup/system.slice/monedula.service/cpu.max", "max 100000"),
    ("/sys/fs/cgroup/system.slice/monedula.service/cpu.stat", "usage_usec 1\nnr_throttled 7"),
    (
        "/proc/self/mountinfo",
        "22 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw\n\
         30 22 259:3 / /data rw,noatime shared:2 - xfs /dev/nvme1n1p1 rw,inode64\n",
    ),
    (
        "/proc/stat",
        "cpu  9 0 0 0 0 0 0 0 0 0\ncpu0 1 0 0 0 0 0 0 0 0 0\ncpu1 10 2 30 5000 6 7 8 0 0 0\n\
         cpu2 10 2 30 5000 6 7 8 0 0 0\ncpu3 10 2 30 5000 6 7 8 0 0 0",
    ),
    ("/proc/meminfo", "MemTotal:       16384000 kB\nHugePages_Total:       0\nHugePages_Free:        0"),
    ("/proc/1/comm", "systemd"),
    ("/proc/710/comm", "chronyd"),
    ("/proc/irq/default_smp_affinity", "1"),
    ("/proc/sys/vm/swappiness", "1"),
    ("/proc/sys/vm/zone_reclaim_mode", "0"),
    ("/proc/sys/kernel/numa_balancing", "0"),
    ("/proc/sys/kernel/io_uring_disabled", "0"),
    ("/proc/sys/net/core/somaxconn", "4096"),
    ("/proc/sys/net/core/netdev_max_backlog", "10000"),
    ("/proc/sys/net/core/rps_sock_flow_entries", "32768"),
    ("/proc/sys/net/core/busy_poll", "0"),
    ("/proc/sys/net/core/busy_read", "0"),
    ("/proc/sys/net/ipv4/tcp_max_syn_backlog", "8192"),
    ("/proc/sys/net/ipv4/tcp_slow_start_after_idle", "0"),
    ("/sys/devices/system/cpu/online", "0-3"),
    ("/sys/devices/system/cpu/isolated", "1-3"),
    ("/sys/devices/system/cpu/nohz_full", "1-3"),
    ("/sys/devices/system/cpu/cpuidle/current_governor_ro", "haltpoll"),
    ("/sys/module/haltpoll/parameters/guest_halt_poll_ns", "200000"),
    ("/sys/module/haltpoll/parameters/guest_halt_poll_grow_start", "50000"),
    ("/sys/devices/virtual/workqueue/cpumask", "1"),
    ("/sys/devices/system/clocksource/clocksource0/available_clocksource", "tsc hpet acpi_pm"),
    ("/sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc"),
    ("/sys/devices/system/node/node0/cpulist", "0-3"),
    ("/sys/devices/system/node/node1/cpulist", "4-7"),
    ("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never"),
    ("/sys/kernel/mm/transparent_hugepage/defrag", "always defer defer+madvise [madvise] never"),
];

/// The folder of the drive in /sys.
pub const DRIVE: &str = "/sys/devices/pci0000:00/0000:00:05.0/nvme/nvme1/nvme1n1";
/// The folder of its sensors.
pub const SENSOR: &str = "/sys/devices/pci0000:00/0000:00:05.0/nvme/nvme1/hwmon2";
/// The link that stands for a timer that is enabled.
pub const TRIM_ENABLED: &str = "/etc/systemd/system/timers.target.wants/fstrim.timer";
/// The folder of the network card in /sys.
pub const CARD: &str = "/sys/devices/pci0000:00/0000:00:03.0/net/eth0";

impl Fake {
    /// A machine as it should be.
    pub fn new() -> Fake {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("monedula-tune-{}-{number}", std::process::id()));
        let fake = Fake {
            folder,
            calls: FakeCalls {
                io_uring: None,
                synchronised: true,
                error_max_us: 500,
                free_bytes: 100 << 30,
                direct_io: None,
                channels: Channels { combined: 4, combined_max: 8 },
                ring: Ring { rx: 1024, rx_max: 4096 },
                ring_error: None,
                coalescing: Coalescing { adaptive_rx: false, rx_usecs: 0 },
                dma_latency_us: None,
            },
            cores: "1-3",
            interrupts: Interrupts::Auto,
        };
        for (path, text) in FILES {
            fake.set(path, text);
        }
        fake.cores();
        fake.drive();
        fake.card();
        fs::create_dir_all(fake.path("/proc/self/ns")).expect("a folder");
        std::os::unix::fs::symlink("pid:[4026531836]", fake.path("/proc/self/ns/pid")).expect("a link");
        fake
    }

    fn cores(&self) {
        for core in 0..4 {
            let cpu = format!("/sys/devices/system/cpu/cpu{core}");
            self.set(&format!("{cpu}/cpufreq/scaling_governor"), "performance");
            self.set(&format!("{cpu}/cpufreq/energy_performance_preference"), "performance");
            self.set(&format!("{cpu}/power/pm_qos_resume_latency_us"), "2");
            self.set(&format!("{cpu}/topology/thread_siblings_list"), &core.to_string());
            for (state, (name, latency)) in [("POLL", 0), ("C1", 2), ("C6", 133)].into_iter().enumerate() {
                self.set(&format!("{cpu}/cpuidle/state{state}/name"), name);
                self.set(&format!("{cpu}/cpuidle/state{state}/latency"), &latency.to_string());
                self.set(&format!("{cpu}/cpuidle/state{state}/disable"), "0");
            }
        }
    }

    fn drive(&self) {
        for (file, text) in [
            ("scheduler", "[none] mq-deadline kyber"),
            ("nomerges", "2"),
            ("rq_affinity", "2"),
            ("write_cache", "write through"),
            ("logical_block_size", "4096"),
            ("discard_max_bytes", "2199023255040"),
        ] {
            self.set(&format!("{DRIVE}/queue/{file}"), text);
        }
        self.set(&format!("{DRIVE}/nvme1n1p1/partition"), "1");
        for (file, text) in [("temp1_input", "44850"), ("temp1_max", "81850"), ("temp1_crit", "84850")] {
            self.set(&format!("{SENSOR}/{file}"), text);
        }
        self.set("/run/systemd/system/.is", "");
        self.set("/usr/lib/systemd/system/fstrim.timer", "[Timer]\nOnCalendar=weekly\nPersistent=true");
        self.link(TRIM_ENABLED, "/usr/lib/systemd/system/fstrim.timer");
        self.set("/sys/devices/pci0000:00/0000:00:05.0/numa_node", "0");
        self.link("/sys/block/nvme1n1", DRIVE);
        self.link("/sys/dev/block/259:3", &format!("{DRIVE}/nvme1n1p1"));
        self.link(&format!("{DRIVE}/device"), "/sys/devices/pci0000:00/0000:00:05.0/nvme/nvme1");
        self.link(
            "/sys/devices/pci0000:00/0000:00:05.0/nvme/nvme1/device",
            "/sys/devices/pci0000:00/0000:00:05.0",
        );
        for (irq, action) in [(50, "nvme1q0"), (51, "nvme1q1")] {
            self.interrupt("/sys/devices/pci0000:00/0000:00:05.0", irq, action, "0");
        }
    }

    fn card(&self) {
        self.link(&format!("{CARD}/device"), "/sys/devices/pci0000:00/0000:00:03.0");
        self.link("/sys/class/net/eth0", CARD);
        self.set("/sys/class/net/lo/mtu", "65536");
        self.set("/sys/devices/pci0000:00/0000:00:03.0/numa_node", "0");
        for queue in 0..4 {
            self.set(&format!("{CARD}/queues/rx-{queue}/rps_cpus"), "0");
            self.set(&format!("{CARD}/queues/rx-{queue}/rps_flow_cnt"), "8192");
            self.set(&format!("{CARD}/queues/tx-{queue}/xps_cpus"), ["2", "4", "8", "0"][queue]);
            self.interrupt(
                "/sys/devices/pci0000:00/0000:00:03.0",
                60 + queue as u32,
                &format!("eth0-TxRx-{queue}"),
                "0",
            );
        }
        self.interrupt("/sys/devices/pci0000:00/0000:00:1f.0", 9, "xhci_hcd", "0");
    }

    fn interrupt(&self, device: &str, irq: u32, action: &str, cores: &str) {
        self.set(&format!("{device}/msi_irqs/{irq}"), "msix");
        self.set(&format!("/sys/kernel/irq/{irq}/actions"), action);
        self.set(&format!("/proc/irq/{irq}/smp_affinity_list"), cores);
    }

    /// Where a file of the machine stands.
    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.join(path.trim_start_matches('/'))
    }

    /// Gives a file a content.
    pub fn set(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("the folder is made");
        fs::write(path, format!("{text}\n")).expect("the file is written");
    }

    /// What a file says.
    pub fn get(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).expect("the file is there").trim().to_owned()
    }

    /// Lets a file or a folder vanish.
    pub fn remove(&self, path: &str) {
        let path = self.path(path);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.expect("it was there");
    }

    /// Makes a link to another place of the machine.
    pub fn link(&self, path: &str, target: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("the folder is made");
        std::os::unix::fs::symlink(self.path(target), path).expect("the link is made");
    }

    /// The folder itself.
    pub fn root(&self) -> Root {
        Root::at(&self.folder)
    }

    /// Where a rollback file goes.
    pub fn rollback(&self) -> PathBuf {
        self.path("/var/lib/tune/rollback.json")
    }

    /// The machine as the program sees it.
    pub fn machine(&self) -> Machine {
        let subject = Subject {
            cores: Some(self.cores.parse().expect("a list of cores")),
            data: Some("/data/monedula".into()),
            interrupts: self.interrupts,
        };
        Machine::new(self.root(), Box::new(self.calls.clone()), &subject).expect("a machine")
    }

    /// All knobs.
    pub fn knobs(&self) -> Vec<Knob> {
        tune::knobs::read(&self.machine())
    }

    /// One knob.
    pub fn knob(&self, name: &str) -> Vec<Reading> {
        let definition = tune::knobs::find(name).unwrap_or_else(|| panic!("no knob is named {name}"));
        (definition.read)(&self.machine())
    }

    /// One knob that has one place.
    pub fn one(&self, name: &str) -> Reading {
        let mut readings = self.knob(name);
        assert_eq!(readings.len(), 1, "{name}: {readings:?}");
        readings.remove(0)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        // A folder that stays behind in /tmp harms nobody.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
