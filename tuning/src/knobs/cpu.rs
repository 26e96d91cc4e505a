//! Cores: how fast they run, how deep they sleep, and with whom they are shared.

use crate::change::{How, Shape};
use crate::cpu_set::CpuSet;
use crate::knob::{Definition, Reading, Scope, Setting, number, setting, settings, word};
use crate::machine::Machine;
use crate::root::{Unread, Why};

const CPU: &str = "/sys/devices/system/cpu";

/// States that take longer to leave than this are forbidden on the cores of shards, microseconds. It leaves C1.
const IDLE_EXIT_US_MAX: i64 = 2;

pub(super) const KNOBS: &[Definition] = &[
    Definition {
        name: "cpu.governor",
        scope: Scope::Machine,
        wanted: "performance",
        why: "A governor that follows the load raises the frequency only after work has waited: the first requests \
              after a pause run at the lowest clock.",
        risk: "More power and heat while the machine is idle.",
        read: governor,
    },
    Definition {
        name: "cpu.energy_preference",
        scope: Scope::Machine,
        wanted: "performance",
        why: "With intel_pstate and amd_pstate in active mode the hardware itself chooses the frequency; this tells \
              it to choose a high one.",
        risk: "More power and heat while the machine is idle.",
        read: energy_preference,
    },
    Definition {
        name: "cpu.idle_states",
        scope: Scope::Machine,
        wanted: "no state that takes longer than 2 us to leave",
        why: "A core in a deep idle state takes 50 to 200 us to come back, and a shard sleeps between requests. The \
              limit is set per core through pm_qos_resume_latency_us, so no reboot and no process that holds \
              /dev/cpu_dma_latency open is needed; a limit held there counts as well.",
        risk: "An idle shard core uses more power, and its neighbours get less turbo.",
        read: idle_states,
    },
    Definition {
        name: "cpu.isolation",
        scope: Scope::Machine,
        wanted: "the shards' cores in isolcpus and nohz_full",
        why: "The scheduler keeps other programs, and nohz_full keeps the timer tick, off isolated cores.",
        risk: "Needs a reboot. Isolated cores are idle unless a program is pinned to them: the broker pins its \
               shards, other programs must not be meant to run there.",
        read: isolation,
    },
    Definition {
        name: "cpu.smt_siblings",
        scope: Scope::Process,
        wanted: "at most one shard for each physical core",
        why: "Two hyper-threads share the execution units and the first caches: two shards on one physical core \
              slow each other down at the very moment both are busy.",
        risk: "Fewer shards: less throughput where the siblings were not saturated.",
        read: smt_siblings,
    },
    Definition {
        name: "cpu.workqueues",
        scope: Scope::Machine,
        wanted: "kernel workers on the cores without shards",
        why: "Unbound kernel workers (write-back, encryption, file systems) otherwise run on any core for \
              milliseconds.",
        risk: "The other cores carry the kernel's background work alone.",
        read: workqueues,
    },
];

fn per_core<'a>(
    machine: &Machine,
    file: &str,
    value: &str,
    accepts: &'a dyn Fn(&str) -> Result<bool, String>,
) -> Vec<(String, Setting<'a>)> {
    machine
        .shards
        .iter()
        .map(|core| {
            let path = format!("{CPU}/cpu{core}/{file}");
            (format!("cpu{core}"), Setting { path, shape: Shape::Plain, value: value.to_owned(), accepts })
        })
        .collect()
}

fn place(machine: &Machine) -> String {
    format!("cpu{}", machine.shards)
}

fn governor(machine: &Machine) -> Vec<Reading> {
    let accepts = |text: &str| word(text).map(|word| word == "performance");
    let files = per_core(machine, "cpufreq/scaling_governor", "performance", &accepts);
    let reading = settings(machine, &place(machine), "performance", files);
    vec![explain_missing(reading, "no frequency scaling here: the hypervisor or the firmware decides")]
}

fn energy_preference(machine: &Machine) -> Vec<Reading> {
    let accepts = |text: &str| Ok(word(text)? == "performance" || text == "0");
    let files = per_core(machine, "cpufreq/energy_performance_preference", "performance", &accepts);
    let reading = settings(machine, &place(machine), "performance", files);
    vec![explain_missing(reading, "the frequency driver takes no preference")]
}

fn explain_missing(reading: Reading, why: &str) -> Reading {
    match reading.state {
        crate::knob::State::Absent => Reading::absent(reading.place, why),
        _ => reading,
    }
}

fn idle_states(machine: &Machine) -> Vec<Reading> {
    let place = place(machine);
    let deepest = match deepest_state(machine) {
        Ok(Some(deepest)) => deepest,
        Ok(None) => {
            return vec![Reading::absent(
                place,
                "no idle states here: the hypervisor or the firmware decides",
            )];
        }
        Err(error) => return vec![Reading::failed(place, &error)],
    };
    let (name, latency_us) = deepest;
    if latency_us <= IDLE_EXIT_US_MAX {
        return vec![Reading::ok(place, format!("the deepest, {name}, is left in {latency_us} us"))];
    }
    // For all cores at once, by a process that holds the device open. Only root may read it.
    if let Some(held_us) = held_limit_us(machine).filter(|us| *us <= IDLE_EXIT_US_MAX) {
        return vec![Reading::ok(place, format!("limited to {held_us} us through /dev/cpu_dma_latency"))];
    }
    // 0 stands for no limit, "n/a" for a limit of nothing at all.
    let accepts = |text: &str| match text {
        "n/a" => Ok(true),
        text => number(text).map(|us| us > 0 && us <= IDLE_EXIT_US_MAX),
    };
    let limit = IDLE_EXIT_US_MAX.to_string();
    let files = per_core(machine, "power/pm_qos_resume_latency_us", &limit, &accepts);
    let wanted = format!("at most {limit} us (the deepest idle state, {name}, takes {latency_us})");
    let mut reading = settings(machine, &place, &wanted, files);
    if reading.state == crate::knob::State::Differs {
        reading.found = format!("limit {} (0: none)", reading.found);
    }
    vec![reading]
}

/// The state that takes longest to leave among those enabled on the shards' cores.
fn deepest_state(machine: &Machine) -> Result<Option<(String, i64)>, Unread> {
    let mut deepest: Option<(String, i64)> = None;
    for core in machine.shards.iter() {
        let folder = format!("{CPU}/cpu{core}/cpuidle");
        let states = match machine.root.list(&folder) {
            Err(error) if error.why == Why::Missing => continue,
            states => states?,
        };
        for state in states {
            if machine.root.number(&format!("{folder}/{state}/disable"))? != 0 {
                continue;
            }
            let latency_us = machine.root.number(&format!("{folder}/{state}/latency"))?;
            if deepest.as_ref().is_none_or(|(_, known)| latency_us > *known) {
                deepest = Some((machine.root.read(&format!("{folder}/{state}/name"))?, latency_us));
            }
        }
    }
    Ok(deepest)
}

fn held_limit_us(machine: &Machine) -> Option<i64> {
    machine.calls.dma_latency_us(&machine.root.path("/dev/cpu_dma_latency")).ok().map(i64::from)
}

fn isolation(machine: &Machine) -> Vec<Reading> {
    let place = place(machine);
    if machine.others().is_empty() {
        let why = "shards have every core: leave one or two out of --cores to isolate the rest";
        return vec![Reading::absent(place, why)];
    }
    let list = |path: &str| {
        machine.root.parse(path, |text| match text {
            "(null)" => Ok(CpuSet::default()),
            text => text.parse::<CpuSet>(),
        })
    };
    let isolated = match list(&format!("{CPU}/isolated")) {
        Ok(set) => set,
        Err(error) => return vec![Reading::failed(place, &error)],
    };
    // A kernel without the feature has no such file.
    let tickless = match list(&format!("{CPU}/nohz_full")) {
        Ok(set) => Some(set),
        Err(error) if error.why == Why::Missing => None,
        Err(error) => return vec![Reading::failed(place, &error)],
    };
    let shown = |set: &CpuSet| if set.is_empty() { "none".to_owned() } else { set.to_string() };
    let mut found = format!("isolcpus {}", shown(&isolated));
    let mut wanted = format!("isolcpus {}", machine.shards);
    let mut line = format!("isolcpus=managed_irq,domain,{0}", machine.shards);
    match &tickless {
        Some(set) => {
            found.push_str(&format!(", nohz_full {}", shown(set)));
            wanted.push_str(&format!(", nohz_full {}", machine.shards));
            line.push_str(&format!(" nohz_full={0} rcu_nocbs={0}", machine.shards));
        }
        None => found.push_str(", the kernel has no nohz_full"),
    }
    let enough = |set: &CpuSet| machine.shards.is_subset(set);
    if enough(&isolated) && tickless.as_ref().is_none_or(enough) {
        return vec![Reading::ok(place, found)];
    }
    let how = How::by_hand(format!(
        "add `{line}` to GRUB_CMDLINE_LINUX in /etc/default/grub, run update-grub, reboot"
    ));
    vec![Reading::differs(place, found, wanted, how)]
}

fn smt_siblings(machine: &Machine) -> Vec<Reading> {
    let place = place(machine);
    let mut firsts = CpuSet::default();
    let mut shared = Vec::new();
    for core in machine.shards.iter() {
        let path = format!("{CPU}/cpu{core}/topology/thread_siblings_list");
        let siblings = match machine.root.parse(&path, |text| text.parse::<CpuSet>()) {
            Ok(siblings) => siblings.both(&machine.shards),
            Err(error) => return vec![Reading::failed(place, &error)],
        };
        let first = siblings.iter().next().unwrap_or(core);
        if siblings.len() > 1 && first == core {
            shared.push(format!("{siblings}"));
        }
        firsts = firsts.iter().chain([first]).collect();
    }
    if shared.is_empty() {
        return vec![Reading::ok(place, "no two shards share a physical core")];
    }
    let how = How::by_hand(format!("give the broker --cores {firsts}"));
    let found = format!("shards on siblings: {}", shared.join(" and "));
    vec![Reading::differs(place, found, "one shard for each physical core", how)]
}

fn workqueues(machine: &Machine) -> Vec<Reading> {
    if !machine.interrupts_away() || machine.others().is_empty() {
        return vec![Reading::absent("", "shards have every core: kernel workers have nowhere else to go")];
    }
    let others = machine.others();
    let reading = setting(
        machine,
        "",
        &format!("{} (cores {others})", others.to_mask()),
        Setting {
            path: "/sys/devices/virtual/workqueue/cpumask".to_owned(),
            shape: Shape::CpuMask,
            value: others.to_mask(),
            accepts: &|mask| CpuSet::from_mask(mask).map(|set| set.both(&machine.shards).is_empty()),
        },
    );
    vec![reading]
}
