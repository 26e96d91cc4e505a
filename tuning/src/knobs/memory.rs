//! Memory: swapping and large pages.

use crate::change::{How, Shape};
use crate::knob::{Definition, Reading, Scope, Setting, setting, sysctl};
use crate::machine::Machine;

const LARGE_PAGES: &str = "/sys/kernel/mm/transparent_hugepage";

/// Memory that a shard should have, its share of the page cache included.
const BYTES_PER_SHARD: i64 = 1 << 30;

pub(super) const KNOBS: &[Definition] = &[
    Definition {
        name: "memory.swappiness",
        scope: Scope::Machine,
        wanted: "at most 1",
        why: "A broker fills the page cache. With the default the kernel makes room by swapping out the broker's \
              own memory, and a request that needs it waits for the disk.",
        risk: "Under real shortage of memory the kernel swaps late.",
        read: swappiness,
    },
    Definition {
        name: "memory.transparent_hugepages",
        scope: Scope::Machine,
        wanted: "madvise",
        why: "`always` lets the kernel stop a thread at a page fault to put a large page together; `never` denies \
              large pages to those that ask for them.",
        risk: "Programs that relied on `always` without asking get small pages.",
        read: transparent_hugepages,
    },
    Definition {
        name: "memory.hugepage_defrag",
        scope: Scope::Machine,
        wanted: "madvise, defer+madvise, defer or never",
        why: "`always` compacts memory while the thread that faulted waits: stalls of milliseconds.",
        risk: "Large pages become available a little later.",
        read: hugepage_defrag,
    },
    Definition {
        name: "memory.hugepages",
        scope: Scope::Machine,
        wanted: "none reserved that nobody uses",
        why: "The broker takes no pages from the reserved pool: what is reserved and unused is missing in the page \
              cache.",
        risk: "Another program may be meant to have them.",
        read: hugepages,
    },
    Definition {
        name: "memory.size",
        scope: Scope::Machine,
        wanted: "at least 1 GiB for each shard",
        why: "Requests in flight, the tail of the log and the page cache of consumers that keep up must fit.",
        risk: "None.",
        read: size,
    },
];

fn swappiness(machine: &Machine) -> Vec<Reading> {
    vec![sysctl(machine, "/proc/sys/vm/swappiness", 1, "at most 1", |n| n <= 1)]
}

fn choice(machine: &Machine, file: &str, known: &'static [&'static str], good: &[&str]) -> Reading {
    setting(
        machine,
        "",
        &good.join(" or "),
        Setting {
            path: format!("{LARGE_PAGES}/{file}"),
            shape: Shape::Choice,
            value: "madvise".to_owned(),
            accepts: &|text| match text {
                text if known.contains(&text) => Ok(good.contains(&text)),
                text => Err(format!("`{text}` is none of {}", known.join(", "))),
            },
        },
    )
}

fn transparent_hugepages(machine: &Machine) -> Vec<Reading> {
    vec![choice(machine, "enabled", &["always", "madvise", "never"], &["madvise"])]
}

fn hugepage_defrag(machine: &Machine) -> Vec<Reading> {
    let known = &["always", "defer", "defer+madvise", "madvise", "never"];
    vec![choice(machine, "defrag", known, &["madvise", "defer+madvise", "defer", "never"])]
}

/// A line of /proc/meminfo, in its own unit.
fn meminfo(machine: &Machine, name: &str) -> Result<i64, crate::root::Unread> {
    machine.root.parse("/proc/meminfo", |text| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .ok_or_else(|| format!("it has no {name}"))?;
        let digits = line.trim().trim_end_matches("kB").trim();
        digits.parse().map_err(|_| format!("{name}: `{digits}` is not a number"))
    })
}

fn hugepages(machine: &Machine) -> Vec<Reading> {
    let reserved = match meminfo(machine, "HugePages_Total") {
        Ok(reserved) => reserved,
        Err(error) => return vec![Reading::failed("", &error)],
    };
    let free = match meminfo(machine, "HugePages_Free") {
        Ok(free) => free,
        Err(error) => return vec![Reading::failed("", &error)],
    };
    if free == 0 {
        return vec![Reading::ok("", format!("{reserved} reserved, none unused"))];
    }
    let how = How::by_hand(format!("sysctl -w vm.nr_hugepages={}", reserved - free));
    vec![Reading::differs("", format!("{reserved} reserved, {free} unused"), "none unused", how)]
}

fn size(machine: &Machine) -> Vec<Reading> {
    let shards = machine.shards.len();
    match meminfo(machine, "MemTotal") {
        Err(error) => vec![Reading::failed("", &error)],
        Ok(kib) => {
            let found = format!("{} MiB for {shards} shards", kib >> 10);
            if kib << 10 >= BYTES_PER_SHARD * shards as i64 {
                vec![Reading::ok("", found)]
            } else {
                let how = How::by_hand("run fewer shards with --cores, or add memory");
                vec![Reading::differs(
                    "",
                    found,
                    format!("{} MiB", (BYTES_PER_SHARD >> 20) * shards as i64),
                    how,
                )]
            }
        }
    }
}
