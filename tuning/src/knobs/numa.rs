//! NUMA: how far shards are from their devices and their memory.

use crate::change::How;
use crate::knob::{Definition, Reading, Scope, sysctl};
use crate::machine::Machine;
use crate::root::Why;

pub(super) const KNOBS: &[Definition] = &[
    Definition {
        name: "numa.network",
        scope: Scope::Machine,
        wanted: "shards on the node of the network card",
        why: "A card on the other socket writes every packet across the link between sockets: 100 ns more for each \
              cache line, and a link that others fill.",
        risk: "None, where the node has cores enough.",
        read: network,
    },
    Definition {
        name: "numa.disk",
        scope: Scope::Machine,
        wanted: "shards on the node of the drive",
        why: "As for the network.",
        risk: "None, where the node has cores enough.",
        read: disk,
    },
    Definition {
        name: "numa.balancing",
        scope: Scope::Machine,
        wanted: "0",
        why: "To find out who uses which page the kernel takes pages away and waits for the faults. Shards are pinned \
              and allocate on their own node: there is nothing to find out.",
        risk: "Programs that are not pinned may stay far from their memory.",
        read: balancing,
    },
    Definition {
        name: "numa.zone_reclaim",
        scope: Scope::Machine,
        wanted: "0",
        why: "With it the kernel throws pages of this node's cache away before it takes memory from another node.",
        risk: "None worth naming.",
        read: zone_reclaim,
    },
];

fn near(machine: &Machine, place: &str, device: &str) -> Reading {
    let node = match machine.root.number(&format!("{device}/numa_node")) {
        Ok(node) => node,
        Err(error) if error.why == Why::Missing => {
            return Reading::absent(place, "the device names no node");
        }
        Err(error) => return Reading::failed(place, &error),
    };
    if node < 0 {
        return Reading::absent(place, "the device belongs to no node");
    }
    match machine.shard_nodes() {
        Err(error) => Reading::failed(place, &error),
        Ok(nodes) if nodes.is_empty() => Reading::absent(place, "the machine names no nodes"),
        Ok(nodes) if nodes.iter().all(|n| *n as i64 == node) => {
            Reading::ok(place, format!("node {node}, as all shards"))
        }
        Ok(nodes) => {
            let list = nodes.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
            // The list is for reading by a person: without it they find it themselves.
            let cores = machine
                .root
                .read(&format!("/sys/devices/system/node/node{node}/cpulist"))
                .unwrap_or_default();
            let how = How::by_hand(format!("give the broker --cores from those of node {node}: {cores}"));
            Reading::differs(
                place,
                format!("node {node}, shards on {list}"),
                format!("shards on {node}"),
                how,
            )
        }
    }
}

fn network(machine: &Machine) -> Vec<Reading> {
    match &machine.interfaces {
        Err(error) => vec![Reading::failed("", error)],
        Ok(names) if names.is_empty() => vec![Reading::absent("", "no network card")],
        Ok(names) => {
            names.iter().map(|name| near(machine, name, &format!("/sys/class/net/{name}/device"))).collect()
        }
    }
}

fn disk(machine: &Machine) -> Vec<Reading> {
    super::disk::each(machine, |disk| {
        // An NVMe drive hangs below its controller, which is the one with an address on the bus.
        let own = format!("/sys/block/{disk}/device");
        let of_controller = format!("{own}/device");
        let device =
            if machine.root.exists(&format!("{of_controller}/numa_node")) { of_controller } else { own };
        near(machine, disk, &device)
    })
}

fn balancing(machine: &Machine) -> Vec<Reading> {
    vec![sysctl(machine, "/proc/sys/kernel/numa_balancing", 0, "0", |n| n == 0)]
}

fn zone_reclaim(machine: &Machine) -> Vec<Reading> {
    vec![sysctl(machine, "/proc/sys/vm/zone_reclaim_mode", 0, "0", |n| n == 0)]
}
