//! Every knob on a machine that a folder plays: as it should be, otherwise, with values that make no sense, and with
//! files that vanish.

#![allow(clippy::disallowed_methods, reason = "a fake machine is made of files")]
#![allow(clippy::disallowed_types, reason = "names are only compared")]

mod support;

use std::collections::BTreeSet;

use support::{CARD, DRIVE, Fake, SENSOR, TRIM_ENABLED};
use tune::change::How;
use tune::knob::State;
use tune::machine::Interrupts;

/// A knob, a file that it reads, a value that differs, and a part of what mends it.
const FILES: &[(&str, &str, &str, &str)] = &[
    ("host.kernel", "/proc/sys/kernel/osrelease", "5.4.0-42-generic", "later kernel"),
    ("host.kernel", "/proc/sys/kernel/osrelease", "6.1.0-18-amd64", "later kernel"),
    (
        "host.steal",
        "/proc/stat",
        "cpu1 10 2 30 5000 6 7 8 90 0 0\ncpu2 10 2 30 5000 6 7 8 0 0 0\ncpu3 10 2 30 5000 6 7 8 0 0 0",
        "dedicated",
    ),
    (
        "cpu.governor",
        "/sys/devices/system/cpu/cpu2/cpufreq/scaling_governor",
        "powersave",
        "echo performance > /sys/devices/system/cpu/cpu2/cpufreq/scaling_governor",
    ),
    (
        "cpu.energy_preference",
        "/sys/devices/system/cpu/cpu2/cpufreq/energy_performance_preference",
        "balance_power",
        "echo performance > /sys/devices/system/cpu/cpu2/",
    ),
    (
        "cpu.idle_states",
        "/sys/devices/system/cpu/cpu3/power/pm_qos_resume_latency_us",
        "0",
        "echo 2 > /sys/devices/system/cpu/cpu3/power/pm_qos_resume_latency_us",
    ),
    (
        "cpu.halt_polling",
        "/sys/module/haltpoll/parameters/guest_halt_poll_ns",
        "0",
        "echo 200000 > /sys/module/haltpoll/parameters/guest_halt_poll_ns",
    ),
    (
        "cpu.halt_polling",
        "/sys/module/haltpoll/parameters/guest_halt_poll_ns",
        "10000000",
        "echo 200000 > /sys/module/haltpoll/parameters/guest_halt_poll_ns",
    ),
    (
        "cpu.halt_polling",
        "/sys/module/haltpoll/parameters/guest_halt_poll_grow_start",
        "0",
        "echo 50000 > /sys/module/haltpoll/parameters/guest_halt_poll_grow_start",
    ),
    (
        "cpu.isolation",
        "/sys/devices/system/cpu/isolated",
        "2",
        "isolcpus=managed_irq,domain,1-3 nohz_full=1-3",
    ),
    ("cpu.isolation", "/sys/devices/system/cpu/nohz_full", "(null)", "rcu_nocbs=1-3"),
    ("cpu.smt_siblings", "/sys/devices/system/cpu/cpu1/topology/thread_siblings_list", "1,3", "--cores 1-3"),
    (
        "cpu.workqueues",
        "/sys/devices/virtual/workqueue/cpumask",
        "f",
        "echo 1 > /sys/devices/virtual/workqueue/cpumask",
    ),
    (
        "interrupts.network",
        "/proc/irq/61/smp_affinity_list",
        "0-3",
        "echo 0 > /proc/irq/61/smp_affinity_list",
    ),
    ("interrupts.others", "/proc/irq/9/smp_affinity_list", "2", "echo 0 > /proc/irq/9/smp_affinity_list"),
    (
        "interrupts.default_affinity",
        "/proc/irq/default_smp_affinity",
        "f",
        "echo 1 > /proc/irq/default_smp_affinity",
    ),
    ("disk.scheduler", "/sys/block/nvme1n1/queue/scheduler", "none [mq-deadline] kyber", "echo none > "),
    ("disk.nomerges", "/sys/block/nvme1n1/queue/nomerges", "0", "echo 2 > /sys/block/nvme1n1/queue/nomerges"),
    ("disk.completion_core", "/sys/block/nvme1n1/queue/rq_affinity", "1", "echo 2 > "),
    (
        "disk.logical_block_size",
        "/sys/block/nvme1n1/queue/logical_block_size",
        "512",
        "nvme format --lbaf=N /dev/nvme1n1",
    ),
    (
        "disk.temperature",
        "/sys/devices/pci0000:00/0000:00:05.0/nvme/nvme1/hwmon2/temp1_input",
        "81850",
        "nvme smart-log /dev/nvme1n1",
    ),
    (
        "network.rps",
        "/sys/class/net/eth0/queues/rx-1/rps_cpus",
        "f",
        "echo 0 > /sys/class/net/eth0/queues/rx-1/rps_cpus",
    ),
    (
        "network.rfs_table",
        "/proc/sys/net/core/rps_sock_flow_entries",
        "0",
        "sysctl -w net.core.rps_sock_flow_entries=32768",
    ),
    ("network.rfs_queues", "/sys/class/net/eth0/queues/rx-1/rps_flow_cnt", "0", "echo 8192 > "),
    (
        "network.xps",
        "/sys/class/net/eth0/queues/tx-2/xps_cpus",
        "f",
        "echo 8 > /sys/class/net/eth0/queues/tx-2/xps_cpus",
    ),
    ("network.busy_poll", "/proc/sys/net/core/busy_poll", "50", "sysctl -w net.core.busy_poll=0"),
    ("network.busy_poll", "/proc/sys/net/core/busy_read", "50", "sysctl -w net.core.busy_read=0"),
    ("network.somaxconn", "/proc/sys/net/core/somaxconn", "128", "sysctl -w net.core.somaxconn=4096"),
    (
        "network.syn_backlog",
        "/proc/sys/net/ipv4/tcp_max_syn_backlog",
        "512",
        "sysctl -w net.ipv4.tcp_max_syn_backlog=4096",
    ),
    (
        "network.device_backlog",
        "/proc/sys/net/core/netdev_max_backlog",
        "1000",
        "sysctl -w net.core.netdev_max_backlog=10000",
    ),
    (
        "network.slow_start_after_idle",
        "/proc/sys/net/ipv4/tcp_slow_start_after_idle",
        "1",
        "sysctl -w net.ipv4.tcp_slow_start_after_idle=0",
    ),
    ("memory.swappiness", "/proc/sys/vm/swappiness", "60", "sysctl -w vm.swappiness=1"),
    (
        "memory.transparent_hugepages",
        "/sys/kernel/mm/transparent_hugepage/enabled",
        "[always] madvise never",
        "echo madvise > ",
    ),
    (
        "memory.hugepage_defrag",
        "/sys/kernel/mm/transparent_hugepage/defrag",
        "[always] defer defer+madvise madvise never",
        "echo madvise > ",
    ),
    (
        "memory.hugepages",
        "/proc/meminfo",
        "MemTotal: 16384000 kB\nHugePages_Total: 512\nHugePages_Free: 500",
        "sysctl -w vm.nr_hugepages=12",
    ),
    (
        "memory.size",
        "/proc/meminfo",
        "MemTotal: 1024000 kB\nHugePages_Total: 0\nHugePages_Free: 0",
        "fewer shards",
    ),
    ("numa.network", "/sys/devices/pci0000:00/0000:00:03.0/numa_node", "1", "those of node 1: 4-7"),
    ("numa.disk", "/sys/devices/pci0000:00/0000:00:05.0/numa_node", "1", "those of node 1: 4-7"),
    ("numa.balancing", "/proc/sys/kernel/numa_balancing", "1", "sysctl -w kernel.numa_balancing=0"),
    ("numa.zone_reclaim", "/proc/sys/vm/zone_reclaim_mode", "1", "sysctl -w vm.zone_reclaim_mode=0"),
    (
        "limits.memlock",
        "/proc/self/limits",
        "Max open files 1 1048576 files\nMax locked memory 65536 65536 bytes",
        "LimitMEMLOCK=infinity",
    ),
    (
        "limits.nofile",
        "/proc/self/limits",
        "Max open files 1024 4096 files\nMax locked memory unlimited unlimited bytes",
        "LimitNOFILE=1048576",
    ),
    ("limits.io_uring", "/proc/sys/kernel/io_uring_disabled", "2", "sysctl -w kernel.io_uring_disabled=0"),
    ("limits.cpuset", "/proc/self/status", "Seccomp: 0\nCpus_allowed_list: 0-2", "--cpuset-cpus"),
    (
        "limits.cpu_quota",
        "/sys/fs/cgroup/system.slice/monedula.service/cpu.max",
        "150000 100000",
        "at most 1 shards with --cores",
    ),
    (
        "clock.source",
        "/sys/devices/system/clocksource/clocksource0/current_clocksource",
        "hpet",
        "echo tsc > ",
    ),
    (
        "filesystem.type",
        "/proc/self/mountinfo",
        "30 1 0:50 / / rw,noatime - btrfs /dev/nvme1n1p1 rw",
        "mkfs.xfs",
    ),
    (
        "filesystem.options",
        "/proc/self/mountinfo",
        "30 1 259:3 / /data rw,relatime - ext4 /dev/nvme1n1p1 rw,discard",
        "mount -o remount,nodiscard,noatime /data",
    ),
];

/// Knobs that are not read from files alone, or never differ: they have tests of their own below.
const OTHERWISE: &[&str] = &[
    "host.container",
    "interrupts.disk",
    "interrupts.irqbalance",
    "disk.write_cache",
    "disk.trim",
    "filesystem.direct_io",
    "filesystem.free_space",
    "network.queues",
    "network.ring_sizes",
    "network.coalescing",
    "limits.seccomp",
    "clock.discipline",
];

#[test]
fn a_machine_as_it_should_be_differs_in_nothing() {
    let fake = Fake::new();
    for knob in fake.knobs() {
        assert_eq!(knob.reading.state, State::Ok, "{}: {:?}", knob.definition.name, knob.reading);
    }
}

#[test]
fn every_knob_is_tested() {
    let tested: BTreeSet<&str> = FILES.iter().map(|case| case.0).chain(OTHERWISE.iter().copied()).collect();
    let all: BTreeSet<&str> = tune::knobs::all().map(|definition| definition.name).collect();
    assert_eq!(tested, all);
}

/// Sets a file, looks, and sets it back.
fn with<T>(fake: &Fake, file: &str, value: &str, look: impl FnOnce() -> T) -> T {
    let before = fake.get(file);
    fake.set(file, value);
    let seen = look();
    fake.set(file, &before);
    seen
}

#[test]
fn a_value_that_differs_is_named_with_what_mends_it() {
    let fake = Fake::new();
    for (name, file, value, mends) in FILES {
        let readings = with(&fake, file, value, || fake.knob(name));
        let reading = readings
            .iter()
            .find(|reading| reading.state == State::Differs)
            .unwrap_or_else(|| panic!("{name} with {value}: {readings:?}"));
        let commands = reading.how.commands().join("\n");
        assert!(commands.contains(mends), "{name}: {commands}");
        assert!(!reading.wanted.is_empty() && !reading.found.is_empty(), "{name}: {reading:?}");
    }
}

#[test]
fn a_value_that_makes_no_sense_is_unreadable_and_says_which_file() {
    let fake = Fake::new();
    for (name, file, ..) in FILES {
        let readings = with(&fake, file, "?!x y", || fake.knob(name));
        let unreadable = |reading: &tune::knob::Reading| {
            reading.state == State::Unreadable
                && ["/proc/", "/sys/"].iter().any(|dir| reading.found.contains(dir))
        };
        assert!(readings.iter().any(unreadable), "{name}: {readings:?}");
        for garbage in ["", "99999999999999999999999", "-1 -1", "[", "\u{1f426}", "0,,", "max max"] {
            // To some knobs some of it makes sense: what counts is that none falls over.
            let readings = with(&fake, file, garbage, || fake.knob(name));
            assert!(!readings.is_empty(), "{name} {garbage:?}");
        }
    }
}

#[test]
fn bytes_that_are_no_text_are_unreadable() {
    let fake = Fake::new();
    std::fs::write(fake.path("/proc/sys/vm/swappiness"), [0xff, 0xfe, 0x00]).expect("the file is written");
    let reading = fake.one("memory.swappiness");
    assert_eq!(reading.state, State::Unreadable);
    assert!(reading.found.contains("not text"), "{}", reading.found);
}

#[test]
fn a_file_that_vanishes_takes_no_other_knob_with_it() {
    let fake = Fake::new();
    for (name, file, ..) in FILES {
        let before = fake.get(file);
        fake.remove(file);
        for knob in fake.knobs() {
            assert_ne!(knob.reading.state, State::Differs, "{name} without {file}: {knob:?}");
        }
        fake.set(file, &before);
    }
}

#[test]
fn whole_parts_that_are_missing_are_absent() {
    let fake = Fake::new();
    for core in 0..4 {
        fake.remove(&format!("/sys/devices/system/cpu/cpu{core}/cpufreq"));
        fake.remove(&format!("/sys/devices/system/cpu/cpu{core}/cpuidle"));
    }
    fake.remove("/sys/class/net/eth0");
    for name in
        ["cpu.governor", "cpu.energy_preference", "cpu.idle_states", "network.rps", "interrupts.network"]
    {
        let reading = fake.one(name);
        assert_eq!(reading.state, State::Absent, "{name}: {reading:?}");
        assert!(!reading.found.is_empty(), "{name} says why");
    }
}

#[test]
fn a_core_that_went_away_is_no_reason_to_fail() {
    let fake = Fake::new();
    fake.remove("/sys/devices/system/cpu/cpu3/cpufreq");
    fake.set("/sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "powersave");
    let reading = fake.one("cpu.governor");
    assert_eq!(reading.state, State::Differs);
    assert_eq!(reading.found, "performance (cpu2), powersave (cpu1)");
}

#[test]
fn idle_states_may_be_limited_for_all_cores_by_whoever_holds_the_device() {
    let mut fake = Fake::new();
    fake.set("/sys/devices/system/cpu/cpu1/power/pm_qos_resume_latency_us", "0");
    assert_eq!(fake.one("cpu.idle_states").state, State::Differs);
    fake.calls.dma_latency_us = Some(0);
    assert_eq!(fake.one("cpu.idle_states").state, State::Ok);
    fake.calls.dma_latency_us = Some(2_000_000_000);
    assert_eq!(fake.one("cpu.idle_states").state, State::Differs);
    for core in 1..4 {
        fake.set(&format!("/sys/devices/system/cpu/cpu{core}/cpuidle/state2/disable"), "1");
    }
    assert_eq!(fake.one("cpu.idle_states").state, State::Ok);
}

#[test]
fn halt_polling_is_judged_only_where_its_governor_rules() {
    let fake = Fake::new();
    let governor = "/sys/devices/system/cpu/cpuidle/current_governor_ro";
    let longest = "/sys/module/haltpoll/parameters/guest_halt_poll_ns";
    let states = || fake.knob("cpu.halt_polling").iter().map(|reading| reading.state).collect::<Vec<_>>();
    let bounds = [("49999", false), ("50000", true), ("1000000", true), ("1000001", false)];
    for (text, good) in bounds {
        fake.set(longest, text);
        assert_eq!(states()[0] == State::Ok, good, "{text}");
    }
    fake.set(longest, "0");
    assert_eq!(states(), [State::Differs, State::Ok]);
    // Some older kernels have only the file that can be written.
    fake.remove(governor);
    fake.set("/sys/devices/system/cpu/cpuidle/current_governor", "haltpoll");
    assert_eq!(states(), [State::Differs, State::Ok]);
    for name in ["menu", "teo", "ladder"] {
        fake.set(governor, name);
        let reading = fake.one("cpu.halt_polling");
        assert_eq!(reading.state, State::Absent);
        assert!(reading.found.contains(name), "{}", reading.found);
    }
    fake.set(governor, "what is this");
    assert_eq!(fake.one("cpu.halt_polling").state, State::Unreadable);
    fake.remove("/sys/devices/system/cpu/cpuidle");
    assert_eq!(fake.one("cpu.halt_polling").state, State::Absent);
    // A governor without its parameters has nothing that could be set.
    fake.set(governor, "haltpoll");
    fake.remove("/sys/module/haltpoll");
    assert_eq!(states(), [State::Absent, State::Absent]);
}

#[test]
fn a_halt_that_is_left_at_once_only_in_the_words_of_its_driver_says_so() {
    let fake = Fake::new();
    for core in 0..4 {
        fake.set(&format!("/sys/devices/system/cpu/cpu{core}/cpuidle/state2/disable"), "1");
    }
    let reading = fake.one("cpu.idle_states");
    assert_eq!(reading.state, State::Ok);
    assert!(reading.found.contains("see cpu.halt_polling"), "{}", reading.found);
    fake.set("/sys/devices/system/cpu/cpuidle/current_governor_ro", "menu");
    let reading = fake.one("cpu.idle_states");
    assert_eq!(reading.found, "the deepest, C1, is left in 2 us");
}

#[test]
fn interrupts_of_a_machine_that_is_all_shards_are_dealt_out() {
    let mut fake = Fake::new();
    fake.cores = "0-3";
    let reading = fake.one("interrupts.network");
    assert_eq!(
        reading.how.commands(),
        [
            "echo 1 > /proc/irq/61/smp_affinity_list",
            "echo 2 > /proc/irq/62/smp_affinity_list",
            "echo 3 > /proc/irq/63/smp_affinity_list"
        ]
    );
    for name in ["interrupts.others", "interrupts.default_affinity", "cpu.isolation", "cpu.workqueues"] {
        assert_eq!(fake.one(name).state, State::Absent, "{name}");
    }
    fake.cores = "1-3";
    fake.interrupts = Interrupts::Onto;
    let reading = fake.one("interrupts.network");
    assert!(
        reading.how.commands().iter().any(|line| line.starts_with("echo 1 | tee /proc/irq/60/")),
        "{reading:?}"
    );
    // Away is not possible where no core is left: that is said, and nothing is changed.
    fake.cores = "0-3";
    fake.interrupts = Interrupts::Away;
    assert_eq!(fake.one("interrupts.network").state, State::Unreadable);
}

#[test]
fn a_drive_without_queues_for_each_core_is_judged_as_a_network_card() {
    let fake = Fake::new();
    assert!(fake.one("interrupts.disk").found.contains("the kernel pins"));
    fake.set("/sys/kernel/irq/50/actions", "ahci");
    fake.set("/sys/kernel/irq/51/actions", "ahci");
    fake.set("/proc/irq/50/smp_affinity_list", "1");
    let reading = fake.one("interrupts.disk");
    assert_eq!(reading.how.commands(), ["echo 0 > /proc/irq/50/smp_affinity_list"]);
}

#[test]
fn irqbalance_is_stopped() {
    let fake = Fake::new();
    fake.set("/proc/801/comm", "irqbalance");
    let reading = fake.one("interrupts.irqbalance");
    assert_eq!(reading.state, State::Differs);
    assert_eq!(reading.how.commands(), ["systemctl stop irqbalance.service"]);
}

#[test]
fn what_the_kernel_answers_is_judged() {
    let mut fake = Fake::new();
    fake.calls.synchronised = false;
    assert!(fake.one("clock.discipline").how.commands()[0].contains("chrony"));
    fake.calls.synchronised = true;
    fake.calls.error_max_us = 16_000_000;
    assert_eq!(fake.one("clock.discipline").state, State::Differs);

    fake.calls.free_bytes = 1 << 30;
    assert_eq!(fake.one("filesystem.free_space").state, State::Differs);

    fake.calls.direct_io = Some(libc::EINVAL);
    assert_eq!(fake.one("filesystem.direct_io").state, State::Differs);
    fake.calls.direct_io = Some(libc::EACCES);
    assert_eq!(fake.one("filesystem.direct_io").state, State::Unreadable);

    fake.calls.channels.combined = 1;
    assert_eq!(fake.one("network.queues").how.commands(), ["ethtool -L eth0 combined 3"]);
    fake.calls.channels.combined_max = 1;
    assert_eq!(fake.one("network.queues").state, State::Ok);

    fake.calls.ring.rx = 256;
    assert_eq!(fake.one("network.ring_sizes").how.commands(), ["ethtool -G eth0 rx 1024"]);
    fake.calls.ring.rx_max = 512;
    assert_eq!(fake.one("network.ring_sizes").how.commands(), ["ethtool -G eth0 rx 512"]);
    fake.calls.ring.rx = 512;
    assert_eq!(fake.one("network.ring_sizes").state, State::Ok);
    fake.calls.ring.rx_max = 0;
    assert_eq!(fake.one("network.ring_sizes").state, State::Absent);
    fake.calls.ring_error = Some(libc::EOPNOTSUPP);
    assert_eq!(fake.one("network.ring_sizes").state, State::Absent);
    fake.calls.ring_error = Some(libc::EPERM);
    assert_eq!(fake.one("network.ring_sizes").state, State::Unreadable);

    fake.calls.coalescing.adaptive_rx = true;
    assert_eq!(fake.one("network.coalescing").how.commands(), ["ethtool -C eth0 adaptive-rx off"]);
    fake.calls.coalescing.rx_usecs = 50;
    assert_eq!(fake.one("network.coalescing").how.commands(), ["ethtool -C eth0 adaptive-rx off rx-usecs 8"]);
}

#[test]
fn io_uring_that_is_refused_names_who_refuses() {
    let mut fake = Fake::new();
    fake.calls.io_uring = Some(libc::EPERM);
    assert!(fake.one("limits.seccomp").how.commands()[0].contains("io_uring_disabled=0"));
    fake.set("/proc/self/status", "Seccomp:\t2\nCpus_allowed_list:\t0-3");
    assert!(fake.one("limits.seccomp").how.commands()[0].contains("--security-opt seccomp=unconfined"));
    fake.calls.io_uring = Some(libc::ENOSYS);
    assert!(fake.one("limits.seccomp").how.commands()[0].contains("seccomp"));
    fake.set("/proc/self/status", "Seccomp:\t0\nCpus_allowed_list:\t0-3");
    assert!(fake.one("limits.seccomp").how.commands()[0].contains("kernel with io_uring"));
}

#[test]
fn a_quota_counts_wherever_it_is_set() {
    let fake = Fake::new();
    fake.set("/sys/fs/cgroup/system.slice/cpu.max", "200000 100000");
    let reading = fake.one("limits.cpu_quota");
    assert_eq!(reading.state, State::Differs);
    assert!(reading.found.starts_with("2.00 cores (/sys/fs/cgroup/system.slice)"), "{}", reading.found);
    // Of the first version, where the controller has a tree of its own.
    let fake = Fake::new();
    fake.set("/proc/self/cgroup", "5:cpu,cpuacct:/docker/abc\n1:name=systemd:/");
    fake.set("/sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "50000");
    fake.set("/sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us", "100000");
    fake.set("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1");
    fake.set("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000");
    assert!(fake.one("limits.cpu_quota").found.starts_with("0.50 cores"));
    fake.set("/sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us", "0");
    assert_eq!(fake.one("limits.cpu_quota").state, State::Unreadable);
}

#[test]
fn the_write_cache_is_told_and_never_changed() {
    let fake = Fake::new();
    let file = format!("{DRIVE}/queue/write_cache");
    for (text, state) in
        [("write back", State::Ok), ("write through", State::Ok), ("write sideways", State::Unreadable)]
    {
        fake.set(&file, text);
        let reading = fake.one("disk.write_cache");
        assert_eq!((reading.state, reading.how), (state, How::Nothing), "{text}");
    }
}

#[test]
fn trims_are_asked_of_a_timer_and_their_hour_is_told() {
    let fake = Fake::new();
    let reading = fake.one("disk.trim");
    assert_eq!((reading.place.as_str(), reading.state), ("nvme1n1", State::Ok));
    assert!(reading.found.contains("fstrim.timer, weekly: a tail event"), "{}", reading.found);
    fake.set(
        "/etc/systemd/system/fstrim.timer.d/override.conf",
        "[Timer]\nOnCalendar=\nOnCalendar=Sun 04:00",
    );
    assert!(fake.one("disk.trim").found.contains("fstrim.timer, Sun 04:00: "));
    // Of two additions with one name the administrator's counts; others add to it in the order of their names.
    fake.set("/usr/lib/systemd/system/fstrim.timer.d/override.conf", "[Timer]\nOnCalendar=daily");
    fake.set("/usr/lib/systemd/system/fstrim.timer.d/zz.conf", "[Timer]\nOnCalendar=monthly");
    assert!(fake.one("disk.trim").found.contains("fstrim.timer, Sun 04:00 and monthly: "));
    // So does a whole unit of his.
    fake.remove("/usr/lib/systemd/system/fstrim.timer.d");
    fake.remove("/etc/systemd/system/fstrim.timer.d");
    fake.set("/etc/systemd/system/fstrim.timer", "[Timer]\nOnCalendar=yearly");
    assert!(fake.one("disk.trim").found.contains("fstrim.timer, yearly: "));
    fake.set("/etc/systemd/system/fstrim.timer", "[Timer]\nOnBootSec=10");
    assert_eq!(fake.one("disk.trim").found, "fstrim.timer is enabled");

    fake.remove(TRIM_ENABLED);
    let reading = fake.one("disk.trim");
    assert_eq!((reading.state, reading.found.as_str()), (State::Differs, "fstrim.timer is not enabled"));
    assert_eq!(
        reading.how.commands().last().map(String::as_str),
        Some("systemctl enable --now fstrim.timer")
    );
    fake.remove("/etc/systemd/system/fstrim.timer");
    std::os::unix::fs::symlink("/dev/null", fake.path("/etc/systemd/system/fstrim.timer")).expect("a link");
    let reading = fake.one("disk.trim");
    assert_eq!((reading.state, reading.found.as_str()), (State::Differs, "fstrim.timer is masked"));
    assert_eq!(reading.how.commands()[0], "systemctl unmask fstrim.timer");
}

#[test]
fn trims_are_spoken_of_in_one_place() {
    let fake = Fake::new();
    fake.remove(TRIM_ENABLED);
    let mounts = fake.get("/proc/self/mountinfo");
    fake.set("/proc/self/mountinfo", &mounts.replace("rw,inode64", "rw,discard"));
    let reading = fake.one("disk.trim");
    assert_eq!(reading.state, State::Absent);
    assert!(reading.found.contains("see filesystem.options"), "{}", reading.found);
    let reading = fake.one("filesystem.options");
    assert_eq!(reading.how.commands(), ["mount -o remount,nodiscard /data   # and nodiscard in /etc/fstab"]);
    fake.set("/proc/self/mountinfo", &mounts);
    assert_eq!(fake.one("disk.trim").state, State::Differs);
    // Where it is not known what trims, nothing is asked for.
    fake.remove("/run/systemd/system");
    assert_eq!(fake.one("disk.trim").state, State::Absent);
    fake.set(&format!("{DRIVE}/queue/discard_max_bytes"), "0");
    assert!(fake.one("disk.trim").found.contains("takes no trims"));
    fake.set(&format!("{DRIVE}/queue/discard_max_bytes"), "much");
    assert_eq!(fake.one("disk.trim").state, State::Unreadable);
    fake.set(&format!("{DRIVE}/queue/discard_max_bytes"), "4096");
    fake.remove("/proc/self/ns/pid");
    std::os::unix::fs::symlink("pid:[4026532001]", fake.path("/proc/self/ns/pid")).expect("a link");
    let reading = fake.one("disk.trim");
    assert_eq!(reading.state, State::Unreadable);
    assert!(reading.found.contains("its host"), "{}", reading.found);
}

#[test]
fn the_temperature_is_held_against_the_limits_that_the_drive_names() {
    let fake = Fake::new();
    let check = |state: State, found: &str| {
        let reading = fake.one("disk.temperature");
        assert_eq!((reading.state, reading.found.as_str()), (state, found));
        assert!(!matches!(reading.how, How::Apply(_)), "it is only looked at");
    };
    let (input, max, crit) =
        (format!("{SENSOR}/temp1_input"), format!("{SENSOR}/temp1_max"), format!("{SENSOR}/temp1_crit"));
    check(State::Ok, "44 C, too warm from 81, off from 84");
    fake.set(&input, "-2000");
    check(State::Ok, "-2 C, too warm from 81, off from 84");
    fake.set(&input, "81850");
    check(State::Differs, "81 C, too warm from 81, off from 84");
    fake.remove(&max);
    check(State::Ok, "81 C, off from 84");
    fake.set(&input, "90000");
    check(State::Differs, "90 C, off from 84");
    fake.remove(&crit);
    check(State::Ok, "90 C; the drive does not say what is too warm");
    fake.set(&max, "81850");
    check(State::Differs, "90 C, too warm from 81");
    fake.set(&max, "warm");
    assert_eq!(fake.one("disk.temperature").state, State::Unreadable);
    fake.remove(SENSOR);
    check(State::Absent, "the drive tells no temperature");
    // Older kernels have it below the device on its bus, and so have drives that are not NVMe.
    fake.set("/sys/devices/pci0000:00/0000:00:05.0/hwmon/hwmon0/temp1_input", "30000");
    check(State::Ok, "30 C; the drive does not say what is too warm");
    fake.remove("/sys/devices/pci0000:00/0000:00:05.0/hwmon");
    fake.set("/sys/devices/pci0000:00/0000:00:05.0/nvme/nvme1/hwmon/hwmon7/temp1_input", "31000");
    check(State::Ok, "31 C; the drive does not say what is too warm");
    // Through several controllers the drive is that of a subsystem.
    fake.remove(&format!("{DRIVE}/device"));
    fake.link(&format!("{DRIVE}/device"), "/sys/devices/virtual/nvme-subsystem/nvme-subsys0");
    fake.link(
        "/sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme1",
        "/sys/devices/pci0000:00/0000:00:05.0/nvme/nvme1",
    );
    check(State::Ok, "31 C; the drive does not say what is too warm");
}

#[test]
fn a_container_is_told_by_its_namespace_and_not_by_files_of_its_image() {
    let fake = Fake::new();
    fake.set("/.dockerenv", "");
    assert_eq!(fake.one("host.container").found, "no container");
    fake.remove("/proc/self/ns/pid");
    std::os::unix::fs::symlink("pid:[4026532001]", fake.path("/proc/self/ns/pid")).expect("a link");
    assert!(fake.one("host.container").found.contains("4026532001"));
    fake.set("/proc/sys/vm/swappiness", "60");
    let machine = fake.machine();
    let text = tune::report::text(&machine, &tune::knobs::read(&machine));
    assert!(text.contains("# belongs to the host"), "{text}");
}

#[test]
fn disks_are_found_through_partitions_mappers_and_raid() {
    let fake = Fake::new();
    assert_eq!(fake.one("disk.nomerges").place, "nvme1n1");
    fake.set("/sys/devices/virtual/block/dm-0/dm/name", "data");
    fake.link("/sys/devices/virtual/block/dm-0/slaves/md0", "/sys/devices/virtual/block/md0");
    fake.link("/sys/devices/virtual/block/md0/slaves/nvme1n1p1", &format!("{DRIVE}/nvme1n1p1"));
    fake.link("/sys/class/block/md0", "/sys/devices/virtual/block/md0");
    fake.link("/sys/class/block/nvme1n1p1", &format!("{DRIVE}/nvme1n1p1"));
    fake.link("/sys/dev/block/253:0", "/sys/devices/virtual/block/dm-0");
    fake.set("/proc/self/mountinfo", "30 1 253:0 / /data rw,noatime - xfs /dev/mapper/data rw");
    assert_eq!(fake.one("disk.nomerges").place, "nvme1n1");
    fake.set("/proc/self/mountinfo", "30 1 0:44 / /data rw,noatime - tmpfs tmpfs rw");
    assert_eq!(fake.one("disk.nomerges").state, State::Absent);
    fake.set("/proc/self/mountinfo", "nothing of the kind");
    assert_eq!(fake.one("disk.nomerges").state, State::Unreadable);
}

#[test]
fn a_card_with_fewer_queues_than_shards_gets_rps() {
    let fake = Fake::new();
    for queue in 1..4 {
        fake.remove(&format!("{CARD}/queues/rx-{queue}"));
        fake.remove(&format!("{CARD}/queues/tx-{queue}"));
    }
    assert_eq!(fake.one("network.rps").how.commands(), ["echo e > /sys/class/net/eth0/queues/rx-0/rps_cpus"]);
    assert_eq!(fake.one("network.xps").state, State::Absent);
    assert!(fake.one("network.rfs_queues").how.commands()[0].starts_with("echo 32768"));
}

#[test]
fn the_reports_name_every_knob() {
    let fake = Fake::new();
    fake.set("/proc/sys/vm/swappiness", "sixty");
    fake.set("/proc/sys/net/core/somaxconn", "128");
    let machine = fake.machine();
    let knobs = tune::knobs::read(&machine);
    let text = tune::report::text(&machine, &knobs);
    let json: serde_json::Value = serde_json::from_str(&tune::report::json(&machine, &knobs)).expect("JSON");
    assert_eq!(json["knobs"].as_array().map(Vec::len), Some(knobs.len()));
    for definition in tune::knobs::all() {
        assert!(text.contains(definition.name), "{}", definition.name);
        assert!(!definition.why.is_empty() && !definition.risk.is_empty() && !definition.wanted.is_empty());
    }
    assert!(text.contains("`sixty` is not a number"), "{text}");
    assert_eq!((json["count"]["differs"].as_u64(), json["count"]["unreadable"].as_u64()), (Some(1), Some(1)));
    assert_eq!(tune::report::Count::of(&knobs).exit_code(), 1);
    fake.set("/proc/sys/net/core/somaxconn", "4096");
    assert_eq!(tune::report::Count::of(&fake.knobs()).exit_code(), 3);
    assert_eq!(tune::report::Count::of(&Fake::new().knobs()).exit_code(), 0);
}
