//! The network: queues of the cards, who serves them, and how long a line may grow.

use std::io;

use crate::change::{Change, How, Shape};
use crate::cpu_set::CpuSet;
use crate::knob::{Definition, Reading, Scope, Setting, number, setting, settings, sysctl};
use crate::machine::Machine;

/// Connections that wait to be accepted, and packets that wait for a core.
const BACKLOG_MIN: i64 = 4096;

/// Packets that may wait for one core: a burst of 10 Gbit/s for a millisecond or so.
const DEVICE_BACKLOG_MIN: i64 = 10_000;

/// Flows that the kernel remembers the core of.
const FLOWS: i64 = 32_768;

/// Slots of a receive queue: at 10 Gbit/s full packets fill them in more than a millisecond.
const RING_MIN: u32 = 1024;

/// Longest that a card may hold an interrupt back, microseconds.
const COALESCE_US_MAX: u32 = 8;

pub(super) const KNOBS: &[Definition] = &[
    Definition {
        name: "network.queues",
        scope: Scope::Machine,
        wanted: "a queue for each shard, as far as the card has them",
        why: "Each queue has an interrupt of its own: with fewer queues than shards some core serves the packets of \
              others.",
        risk: "The link is down for a moment while the card starts its queues anew.",
        read: queues,
    },
    Definition {
        name: "network.ring_sizes",
        scope: Scope::Machine,
        wanted: "1024 slots in each receive queue, or as many as the card has",
        why: "A packet that finds no slot is dropped, and a dropped packet costs a retransmission: 200 ms at the tail. \
              Many drivers begin with 256 slots, which a burst fills in less time than a core may be held up.",
        risk: "The link is down for a moment. Each slot takes about 2 KiB per queue; rings much larger than this fall \
               out of the cache that cards write to, so more is not set, and the send ring is left alone: what waits \
               there is only late.",
        read: ring_sizes,
    },
    Definition {
        name: "network.rps",
        scope: Scope::NetworkNamespace,
        wanted: "the shards' cores where the card has fewer queues than shards, else off",
        why: "RPS hands packets to other cores in software: it makes up for missing queues, and costs an interrupt \
              between cores where none is missing.",
        risk: "More CPU per packet where it is on.",
        read: rps,
    },
    Definition {
        name: "network.rfs_table",
        scope: Scope::NetworkNamespace,
        wanted: "at least 32768",
        why: "RFS sends packets to the core whose shard reads the connection, so that data is in its cache.",
        risk: "256 KiB of memory.",
        read: rfs_table,
    },
    Definition {
        name: "network.rfs_queues",
        scope: Scope::NetworkNamespace,
        wanted: "the flows of network.rfs_table divided by the queues",
        why: "Without a share for the queue the table of RFS is not used.",
        risk: "Some memory.",
        read: rfs_queues,
    },
    Definition {
        name: "network.xps",
        scope: Scope::NetworkNamespace,
        wanted: "each shard's core sends on a queue of its own",
        why: "Cores that share a send queue wait for its lock.",
        risk: "None worth naming.",
        read: xps,
    },
    Definition {
        name: "network.coalescing",
        scope: Scope::Machine,
        wanted: "adaptive-rx off, rx-usecs at most 8",
        why: "The card waits that long for more packets before it interrupts: every request pays it. Adaptive \
              coalescing turns it up at just the load where the tail matters.",
        risk: "More interrupts, and so more CPU, at high packet rates.",
        read: coalescing,
    },
    Definition {
        name: "network.busy_poll",
        scope: Scope::NetworkNamespace,
        wanted: "0",
        why: "net.core.busy_poll makes poll(2) spin on the card. The broker's sockets are driven by io_uring, which \
              does not look at it: only other programs would spin, on the shards' cores.",
        risk: "Programs that were tuned to it get their usual latency back.",
        read: busy_poll,
    },
    Definition {
        name: "network.somaxconn",
        scope: Scope::NetworkNamespace,
        wanted: "at least 4096",
        why: "When a thousand clients come back at once the line of those to be accepted overflows, and each of the \
              rest waits a second before it tries again.",
        risk: "None worth naming.",
        read: somaxconn,
    },
    Definition {
        name: "network.syn_backlog",
        scope: Scope::NetworkNamespace,
        wanted: "at least 4096",
        why: "As for somaxconn, one step earlier: connections that have not been confirmed yet.",
        risk: "None worth naming.",
        read: syn_backlog,
    },
    Definition {
        name: "network.device_backlog",
        scope: Scope::Machine,
        wanted: "at least 10000",
        why: "Packets beyond it are dropped, and a dropped packet costs a retransmission: 200 ms at the tail.",
        risk: "None worth naming.",
        read: device_backlog,
    },
    Definition {
        name: "network.slow_start_after_idle",
        scope: Scope::NetworkNamespace,
        wanted: "0",
        why: "Otherwise a connection that was silent for a moment starts anew with ten packets in flight: the next \
              large fetch takes several round trips.",
        risk: "A burst into a path whose capacity fell meanwhile.",
        read: slow_start,
    },
];

fn per_interface(machine: &Machine, read: impl Fn(&str) -> Reading) -> Vec<Reading> {
    match &machine.interfaces {
        Err(error) => vec![Reading::failed("", error)],
        Ok(names) if names.is_empty() => vec![Reading::absent("", "no network card")],
        Ok(names) => names.iter().map(|name| read(name)).collect(),
    }
}

/// The queues of a card that receive (`rx`) or send (`tx`).
fn queues_of(machine: &Machine, interface: &str, kind: &str) -> Result<Vec<String>, crate::root::Unread> {
    let folder = format!("/sys/class/net/{interface}/queues");
    let names = machine.root.list(&folder)?;
    let queues = names.iter().filter(|name| name.starts_with(kind));
    Ok(queues.map(|name| format!("{folder}/{name}")).collect())
}

/// A driver without the feature answers so.
fn unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENODEV | libc::EINVAL))
}

fn ethtool(arguments: &[&str]) -> Vec<String> {
    ["ethtool"].iter().chain(arguments).map(|word| (*word).to_owned()).collect()
}

fn queues(machine: &Machine) -> Vec<Reading> {
    let shards = machine.shards.len() as u32;
    per_interface(machine, |name| match machine.calls.channels(name) {
        Err(error) if unsupported(&error) => match queues_of(machine, name, "rx-") {
            Ok(queues) => Reading::absent(name, format!("its {} queues cannot be changed", queues.len())),
            Err(error) => Reading::failed(name, &error),
        },
        Err(error) => Reading::unreadable(name, format!("the driver does not tell its queues: {error}")),
        Ok(channels) => {
            let wanted = shards.min(channels.combined_max);
            let found = format!("{} of at most {}", channels.combined, channels.combined_max);
            if channels.combined >= wanted {
                return Reading::ok(name, found);
            }
            let set = |count: u32| ethtool(&["-L", name, "combined", &count.to_string()]);
            let change = Change::Run { command: set(wanted), undo: set(channels.combined) };
            Reading::differs(name, found, wanted.to_string(), How::Apply(vec![change]))
        }
    })
}

fn ring_sizes(machine: &Machine) -> Vec<Reading> {
    per_interface(machine, |name| match machine.calls.ring(name) {
        Err(error) if unsupported(&error) => Reading::absent(name, "the driver has no rings to tell of"),
        Err(error) => Reading::unreadable(name, format!("the driver does not tell its rings: {error}")),
        Ok(ring) if ring.rx_max == 0 => Reading::absent(name, "the driver has no receive ring"),
        Ok(ring) => {
            let wanted = RING_MIN.min(ring.rx_max);
            let found = format!("{} of at most {}", ring.rx, ring.rx_max);
            if ring.rx >= wanted {
                return Reading::ok(name, found);
            }
            let set = |slots: u32| ethtool(&["-G", name, "rx", &slots.to_string()]);
            let change = Change::Run { command: set(wanted), undo: set(ring.rx) };
            Reading::differs(name, found, wanted.to_string(), How::Apply(vec![change]))
        }
    })
}

fn rps(machine: &Machine) -> Vec<Reading> {
    per_interface(machine, |name| {
        let queues = match queues_of(machine, name, "rx-") {
            Ok(queues) => queues,
            Err(error) => return Reading::failed(name, &error),
        };
        let target =
            if queues.len() < machine.shards.len() { machine.shards.clone() } else { CpuSet::default() };
        let mask = target.to_mask();
        let accepts = |text: &str| CpuSet::from_mask(text).map(|set| set == target);
        let files = labelled(&queues, "rps_cpus", Shape::CpuMask, &mask, &accepts);
        let wanted = match target.is_empty() {
            true => "0 (off)".to_owned(),
            false => format!(
                "{mask} (cores {target}): {} queues for {} shards",
                queues.len(),
                machine.shards.len()
            ),
        };
        settings(machine, name, &wanted, files)
    })
}

fn labelled<'a>(
    queues: &[String],
    file: &str,
    shape: Shape,
    value: &str,
    accepts: &'a dyn Fn(&str) -> Result<bool, String>,
) -> Vec<(String, Setting<'a>)> {
    queues
        .iter()
        .map(|queue| {
            let label = queue.rsplit('/').next().unwrap_or(queue).to_owned();
            (label, Setting { path: format!("{queue}/{file}"), shape, value: value.to_owned(), accepts })
        })
        .collect()
}

fn rfs_table(machine: &Machine) -> Vec<Reading> {
    let path = "/proc/sys/net/core/rps_sock_flow_entries";
    vec![sysctl(machine, path, FLOWS, "at least 32768", |n| n >= FLOWS)]
}

fn rfs_queues(machine: &Machine) -> Vec<Reading> {
    per_interface(machine, |name| {
        let queues = match queues_of(machine, name, "rx-") {
            Ok(queues) => queues,
            Err(error) => return Reading::failed(name, &error),
        };
        // The kernel rounds up to a power of two, and so does this.
        let share = (FLOWS as u64 / queues.len().max(1) as u64).max(1).next_power_of_two() as i64;
        let accepts = |text: &str| number(text).map(|n| n >= share);
        let files = labelled(&queues, "rps_flow_cnt", Shape::Plain, &share.to_string(), &accepts);
        settings(machine, name, &format!("at least {share}"), files)
    })
}

fn xps(machine: &Machine) -> Vec<Reading> {
    per_interface(machine, |name| {
        let queues = match queues_of(machine, name, "tx-") {
            Ok(queues) => queues,
            Err(error) => return Reading::failed(name, &error),
        };
        if queues.len() < 2 {
            return Reading::absent(name, "a single send queue");
        }
        // Cores are dealt out over the queues; where there are more queues than cores the last ones stay free.
        let cores: Vec<usize> = machine.shards.iter().collect();
        let share =
            |index: usize| -> CpuSet { cores.iter().copied().skip(index).step_by(queues.len()).collect() };
        let shares: Vec<CpuSet> = (0..queues.len()).map(share).collect();
        let accept: Vec<_> = shares
            .iter()
            // Other cores may send on it, too: no shard waits for another as long as each has its own.
            .map(|share| {
                let shards = machine.shards.clone();
                move |text: &str| CpuSet::from_mask(text).map(|set| set.both(&shards) == *share)
            })
            .collect();
        let files = queues
            .iter()
            .zip(&shares)
            .zip(&accept)
            .map(|((queue, share), accepts)| {
                let label = queue.rsplit('/').next().unwrap_or(queue).to_owned();
                let path = format!("{queue}/xps_cpus");
                (label, Setting { path, shape: Shape::CpuMask, value: share.to_mask(), accepts })
            })
            .collect();
        settings(machine, name, &format!("cores {} dealt out over the queues", machine.shards), files)
    })
}

fn coalescing(machine: &Machine) -> Vec<Reading> {
    per_interface(machine, |name| match machine.calls.coalescing(name) {
        Err(error) if unsupported(&error) => Reading::absent(name, "the driver does not coalesce"),
        Err(error) => Reading::unreadable(name, format!("the driver does not tell: {error}")),
        Ok(now) => {
            let on_off = |on: bool| if on { "on" } else { "off" };
            let found = format!("adaptive-rx {}, rx-usecs {}", on_off(now.adaptive_rx), now.rx_usecs);
            if !now.adaptive_rx && now.rx_usecs <= COALESCE_US_MAX {
                return Reading::ok(name, found);
            }
            // What is as wanted is left out: many drivers know only one of the two.
            let (mut set, mut unset) = (vec!["-C", name], vec!["-C", name]);
            let (wanted_us, found_us) = (COALESCE_US_MAX.to_string(), now.rx_usecs.to_string());
            if now.adaptive_rx {
                set.extend(["adaptive-rx", "off"]);
                unset.extend(["adaptive-rx", "on"]);
            }
            if now.rx_usecs > COALESCE_US_MAX {
                set.extend(["rx-usecs", &wanted_us]);
                unset.extend(["rx-usecs", &found_us]);
            }
            let change = Change::Run { command: ethtool(&set), undo: ethtool(&unset) };
            Reading::differs(
                name,
                found,
                format!("adaptive-rx off, rx-usecs at most {COALESCE_US_MAX}"),
                How::Apply(vec![change]),
            )
        }
    })
}

fn busy_poll(machine: &Machine) -> Vec<Reading> {
    ["busy_poll", "busy_read"]
        .iter()
        .map(|name| {
            setting(
                machine,
                name,
                "0",
                Setting {
                    path: format!("/proc/sys/net/core/{name}"),
                    shape: Shape::Plain,
                    value: "0".to_owned(),
                    accepts: &|text| number(text).map(|n| n == 0),
                },
            )
        })
        .collect()
}

fn somaxconn(machine: &Machine) -> Vec<Reading> {
    let path = "/proc/sys/net/core/somaxconn";
    vec![sysctl(machine, path, BACKLOG_MIN, "at least 4096", |n| n >= BACKLOG_MIN)]
}

fn syn_backlog(machine: &Machine) -> Vec<Reading> {
    let path = "/proc/sys/net/ipv4/tcp_max_syn_backlog";
    vec![sysctl(machine, path, BACKLOG_MIN, "at least 4096", |n| n >= BACKLOG_MIN)]
}

fn device_backlog(machine: &Machine) -> Vec<Reading> {
    let path = "/proc/sys/net/core/netdev_max_backlog";
    vec![sysctl(machine, path, DEVICE_BACKLOG_MIN, "at least 10000", |n| n >= DEVICE_BACKLOG_MIN)]
}

fn slow_start(machine: &Machine) -> Vec<Reading> {
    vec![sysctl(machine, "/proc/sys/net/ipv4/tcp_slow_start_after_idle", 0, "0", |n| n == 0)]
}
