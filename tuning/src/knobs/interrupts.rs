//! Interrupts: which cores serve the devices.
//!
//! Where some cores carry no shards, devices interrupt those. Where shards have every core there is no such place, and
//! the interrupts of a device are dealt out so that no core has them all.

use crate::change::{Change, How, Shape};
use crate::cpu_set::CpuSet;
use crate::knob::{Definition, Reading, Scope, Setting, setting, settings};
use crate::machine::Machine;
use crate::root::{Unread, Why};

/// How far up from a device its interrupts are looked for: a disk hangs below its controller, that below its bus.
const PARENTS_MAX: usize = 6;

pub(super) const KNOBS: &[Definition] = &[
    Definition {
        name: "interrupts.network",
        scope: Scope::Machine,
        wanted: "away from the shards' cores, or evenly on them where there are no others",
        why: "An interrupt takes 2 to 20 us from the shard that it hits. One core that serves all of a busy card has \
              the worst tail of all.",
        risk: "Cores without shards must carry the whole traffic; cards with fewer cores than queues lose some \
               throughput.",
        read: network,
    },
    Definition {
        name: "interrupts.disk",
        scope: Scope::Machine,
        wanted: "away from the shards' cores, or evenly on them; a queue for each core where the driver gives it",
        why: "As for the network. NVMe and virtio disks with a queue for each core are left alone: the kernel pins \
              each queue's interrupt to the core that submitted, which is what a shard wants.",
        risk: "As for the network.",
        read: disk,
    },
    Definition {
        name: "interrupts.others",
        scope: Scope::Machine,
        wanted: "away from the shards' cores, where there are others",
        why: "Controllers of USB, graphics and sound interrupt rarely, but for long.",
        risk: "None worth naming.",
        read: others,
    },
    Definition {
        name: "interrupts.default_affinity",
        scope: Scope::Machine,
        wanted: "without the shards' cores, where there are others",
        why: "Devices that appear later get their interrupts where this says.",
        risk: "None worth naming.",
        read: default_affinity,
    },
    Definition {
        name: "interrupts.irqbalance",
        scope: Scope::Machine,
        wanted: "not running",
        why: "irqbalance moves interrupts every ten seconds, and undoes what was set here.",
        risk: "Interrupts of devices that appear later stay where the kernel puts them. `systemctl disable irqbalance` \
               makes it last, or IRQBALANCE_BANNED_CPULIST in /etc/default/irqbalance keeps it off the shards' cores.",
        read: irqbalance,
    },
];

/// The interrupts of a device, by number.
fn of_device(machine: &Machine, device: &str) -> Result<Vec<u32>, Unread> {
    let mut folder = machine.root.resolve(device)?;
    for _ in 0..PARENTS_MAX {
        match machine.root.list(&format!("{folder}/msi_irqs")) {
            Ok(names) => return Ok(names.iter().filter_map(|name| name.parse().ok()).collect()),
            Err(error) if error.why != Why::Missing => return Err(error),
            Err(_) => {}
        }
        match folder.rsplit_once('/') {
            Some((parent, _)) if parent.starts_with("/sys/devices/") => folder = parent.to_owned(),
            _ => break,
        }
    }
    Ok(Vec::new())
}

/// The name that the driver gave to an interrupt; empty if nobody took it.
fn action(machine: &Machine, irq: u32) -> String {
    // Without a name it is treated as any other: the kernel has the last word when it is moved.
    machine.root.read(&format!("/sys/kernel/irq/{irq}/actions")).unwrap_or_default()
}

/// Whether the kernel pins an interrupt itself, one for each core, and refuses to move it: the queues of NVMe drives
/// and of virtio disks.
fn pinned_by_kernel(action: &str) -> bool {
    let queue_of = |prefix: &str, separator: &str| {
        action.strip_prefix(prefix).and_then(|rest| rest.split_once(separator)).is_some_and(
            |(device, queue)| is_number(device) && is_number(queue) && (prefix != "nvme" || queue != "0"),
        )
    };
    queue_of("nvme", "q") || queue_of("virtio", "-req.")
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// Judges interrupts of one place: all away from the shards, or each on a shard's core in turn.
fn judge(machine: &Machine, place: &str, irqs: &[u32]) -> Reading {
    let away = machine.interrupts_away();
    let others = machine.others();
    if away && others.is_empty() {
        let why = "shards have every core: no core is left for interrupts; leave one out of --cores";
        return Reading::unreadable(place, why);
    }
    let cores: Vec<usize> = machine.shards.iter().collect();
    let shards = machine.shards.clone();
    let away_from_shards = move |text: &str| text.parse::<CpuSet>().map(|set| set.both(&shards).is_empty());
    let targets: Vec<String> = (0..irqs.len()).map(|index| cores[index % cores.len()].to_string()).collect();
    let on_target: Vec<_> = targets
        .iter()
        .map(|target| move |text: &str| text.parse::<CpuSet>().map(|set| set.to_string() == *target))
        .collect();
    let files = irqs
        .iter()
        .zip(&targets)
        .zip(&on_target)
        .map(|((irq, target), on_target)| {
            let accepts: &dyn Fn(&str) -> Result<bool, String> =
                if away { &away_from_shards } else { on_target };
            let value = if away { others.to_string() } else { target.clone() };
            let path = format!("/proc/irq/{irq}/smp_affinity_list");
            (irq.to_string(), Setting { path, shape: Shape::CpuList, value, accepts })
        })
        .collect();
    let wanted =
        if away { format!("cores {others}") } else { format!("dealt out over cores {}", machine.shards) };
    settings(machine, place, &wanted, files)
}

fn judge_device(machine: &Machine, place: &str, device: &str) -> Reading {
    match of_device(machine, device) {
        Err(error) => Reading::failed(place, &error),
        Ok(irqs) if irqs.is_empty() => {
            Reading::absent(place, "the device has no interrupts of its own that can be told apart")
        }
        Ok(irqs) => {
            let total = irqs.len();
            let mut used: Vec<u32> = Vec::new();
            let mut pinned = 0;
            for irq in irqs {
                match action(machine, irq) {
                    name if pinned_by_kernel(&name) => pinned += 1,
                    name if name.is_empty() && machine.root.exists("/sys/kernel/irq") => {}
                    _ => used.push(irq),
                }
            }
            if pinned > 0 {
                return Reading::ok(
                    place,
                    format!("{pinned} of {total} are queues that the kernel pins to cores"),
                );
            }
            if used.is_empty() {
                return Reading::absent(place, "no driver has taken an interrupt of the device");
            }
            judge(machine, place, &used)
        }
    }
}

fn network(machine: &Machine) -> Vec<Reading> {
    match &machine.interfaces {
        Err(error) => vec![Reading::failed("", error)],
        Ok(names) if names.is_empty() => vec![Reading::absent("", "no network card")],
        Ok(names) => names
            .iter()
            .map(|name| judge_device(machine, name, &format!("/sys/class/net/{name}/device")))
            .collect(),
    }
}

fn disk(machine: &Machine) -> Vec<Reading> {
    super::disk::each(machine, |disk| judge_device(machine, disk, &format!("/sys/block/{disk}/device")))
}

fn others(machine: &Machine) -> Vec<Reading> {
    if !machine.interrupts_away() {
        return vec![Reading::absent("", "shards have every core: other interrupts may go anywhere")];
    }
    let mut devices: Vec<String> =
        machine.interfaces.iter().flatten().map(|name| format!("/sys/class/net/{name}/device")).collect();
    if let Some(Ok(volume)) = &machine.volume {
        devices.extend(volume.disks.iter().flatten().map(|disk| format!("/sys/block/{disk}/device")));
    }
    // A device that is gone has no interrupts that others must leave out.
    let known: Vec<u32> =
        devices.iter().flat_map(|device| of_device(machine, device).unwrap_or_default()).collect();
    let names = match machine.root.list("/proc/irq") {
        Ok(names) => names,
        Err(error) => return vec![Reading::failed("", &error)],
    };
    let rest: Vec<u32> = names
        .iter()
        .filter_map(|name| name.parse().ok())
        .filter(|irq| !known.contains(irq))
        .filter(|irq| {
            let action = action(machine, *irq);
            !action.is_empty() && !pinned_by_kernel(&action) && !only_for_its_core(&action)
        })
        .collect();
    if rest.is_empty() {
        return vec![Reading::absent("", "there are none")];
    }
    vec![judge(machine, "", &rest)]
}

/// Interrupts that belong to a core or to the board and cannot be moved.
fn only_for_its_core(action: &str) -> bool {
    ["timer", "cascade", "rtc0", "arch_timer", "arm-pmu", "IPI"].iter().any(|name| action.contains(name))
}

fn default_affinity(machine: &Machine) -> Vec<Reading> {
    let others = machine.others();
    if !machine.interrupts_away() || others.is_empty() {
        return vec![Reading::absent("", "shards have every core")];
    }
    let wanted = format!("{} (cores {others})", others.to_mask());
    vec![setting(
        machine,
        "",
        &wanted,
        Setting {
            path: "/proc/irq/default_smp_affinity".to_owned(),
            shape: Shape::CpuMask,
            value: others.to_mask(),
            accepts: &|mask| CpuSet::from_mask(mask).map(|set| set.both(&machine.shards).is_empty()),
        },
    )]
}

fn irqbalance(machine: &Machine) -> Vec<Reading> {
    let names = match machine.root.list("/proc") {
        Ok(names) => names,
        Err(error) => return vec![Reading::failed("", &error)],
    };
    let running = names
        .iter()
        .filter(|name| is_number(name))
        // A process that ends meanwhile is not the one that is looked for.
        .find(|pid| machine.root.read(&format!("/proc/{pid}/comm")).is_ok_and(|comm| comm == "irqbalance"));
    match running {
        None => vec![Reading::ok("", "not running")],
        Some(pid) => {
            let systemctl =
                |verb: &str| ["systemctl", verb, "irqbalance.service"].map(str::to_owned).to_vec();
            let change = Change::Run { command: systemctl("stop"), undo: systemctl("start") };
            vec![Reading::differs(
                "",
                format!("running (pid {pid})"),
                "not running",
                How::Apply(vec![change]),
            )]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_that_the_kernel_pins_are_told_by_their_names() {
        for name in ["nvme0q1", "nvme12q64", "virtio1-req.0"] {
            assert!(pinned_by_kernel(name), "{name}");
        }
        for name in ["nvme0q0", "nvme", "virtio2-input.0", "eth0-TxRx-1", "virtio1-config", ""] {
            assert!(!pinned_by_kernel(name), "{name}");
        }
    }
}
