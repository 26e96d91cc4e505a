//! The disks below the data directory.

use crate::change::{How, Shape};
use crate::knob::{Definition, Reading, Scope, Setting, number, setting};
use crate::machine::Machine;

pub(super) const KNOBS: &[Definition] = &[
    Definition {
        name: "disk.scheduler",
        scope: Scope::Machine,
        wanted: "none",
        why: "A fast drive orders its requests itself; a scheduler above it adds a lock, a queue and delay to every \
              flush.",
        risk: "On a rotating disk that readers and writers share, mq-deadline is fairer.",
        read: scheduler,
    },
    Definition {
        name: "disk.nomerges",
        scope: Scope::Machine,
        wanted: "2",
        why: "The log writes large aligned blocks: looking for neighbours to merge them with costs CPU and finds \
              nothing.",
        risk: "Programs that write many small neighbouring blocks send more requests.",
        read: nomerges,
    },
    Definition {
        name: "disk.write_cache",
        scope: Scope::Machine,
        wanted: "known; a drive with power-loss protection",
        why: "`write back` means that every fdatasync ends in a flush to the drive: nearly free with power-loss \
              protection, milliseconds without. `monedula-tune floor` measures which it is.",
        risk: "Never write `write through` here to make flushes cheap: the kernel then sends none, and a power cut \
               loses acknowledged records on a drive that has a volatile cache.",
        read: write_cache,
    },
    Definition {
        name: "disk.logical_block_size",
        scope: Scope::Machine,
        wanted: "4096 on an NVMe drive that has the format",
        why: "Drives work in blocks of 4 KiB or more; formatted with 512 they translate, and some read before they \
              write.",
        risk: "Formatting anew destroys all data on the drive.",
        read: logical_block_size,
    },
    Definition {
        name: "disk.completion_core",
        scope: Scope::Machine,
        wanted: "2 (complete on the core that submitted)",
        why: "With 1 a completion may end on a sibling of the submitting core, which then wakes the shard across \
              cores.",
        risk: "One more interrupt between cores where a drive has fewer queues than the machine has cores.",
        read: completion_core,
    },
];

/// One reading for every disk below the data directory, or why there is none.
pub(super) fn each(machine: &Machine, read: impl Fn(&str) -> Reading) -> Vec<Reading> {
    match &machine.volume {
        None => vec![Reading::absent("", "no data directory was named: --data DIR")],
        Some(Err(why)) => vec![Reading::unreadable("", why)],
        Some(Ok(volume)) => match &volume.disks {
            Err(why) => vec![Reading::absent("", why)],
            Ok(disks) => disks.iter().map(|disk| read(disk)).collect(),
        },
    }
}

fn queue(disk: &str, file: &str) -> String {
    format!("/sys/block/{disk}/queue/{file}")
}

fn exact(machine: &Machine, disk: &str, file: &str, value: i64) -> Reading {
    setting(
        machine,
        disk,
        &value.to_string(),
        Setting {
            path: queue(disk, file),
            shape: Shape::Plain,
            value: value.to_string(),
            accepts: &|text| number(text).map(|n| n == value),
        },
    )
}

fn scheduler(machine: &Machine) -> Vec<Reading> {
    each(machine, |disk| {
        setting(
            machine,
            disk,
            "none",
            Setting {
                path: queue(disk, "scheduler"),
                shape: Shape::Choice,
                value: "none".to_owned(),
                accepts: &|name| Ok(name == "none"),
            },
        )
    })
}

fn nomerges(machine: &Machine) -> Vec<Reading> {
    each(machine, |disk| exact(machine, disk, "nomerges", 2))
}

fn completion_core(machine: &Machine) -> Vec<Reading> {
    each(machine, |disk| exact(machine, disk, "rq_affinity", 2))
}

fn write_cache(machine: &Machine) -> Vec<Reading> {
    let path = |disk: &str| queue(disk, "write_cache");
    each(machine, |disk| match machine.root.read(&path(disk)) {
        Err(error) => Reading::failed(disk, &error),
        Ok(text) if text == "write back" => {
            Reading::ok(disk, "write back: every fdatasync flushes the drive; `floor` measures the price")
        }
        Ok(text) if text == "write through" => {
            Reading::ok(disk, "write through: the kernel sends no flushes")
        }
        Ok(text) => Reading::unreadable(
            disk,
            format!("{}: `{text}` is neither `write back` nor `write through`", path(disk)),
        ),
    })
}

fn logical_block_size(machine: &Machine) -> Vec<Reading> {
    each(machine, |disk| match machine.root.number(&queue(disk, "logical_block_size")) {
        Err(error) => Reading::failed(disk, &error),
        Ok(4096) => Reading::ok(disk, "4096"),
        Ok(bytes) if disk.starts_with("nvme") => {
            let how = How::ByHand(vec![
                format!(
                    "nvme id-ns -H /dev/{disk}   # which format N has 4096 bytes of data and none of metadata"
                ),
                format!("nvme format --lbaf=N /dev/{disk}   # destroys all data on the drive"),
            ]);
            Reading::differs(disk, bytes.to_string(), "4096", how)
        }
        Ok(bytes) => Reading::ok(disk, format!("{bytes}: only NVMe drives can be formatted anew")),
    })
}
