//! Cores: how fast they run, how deep they sleep, and with whom they are shared.

use crate::change::{How, Shape};
use crate::cpu_set::CpuSet;
use crate::knob::{Definition, Reading, Scope, Setting, number, setting, settings, word};
use crate::machine::Machine;
use crate::root::{Unread, Why};

const CPU: &str = "/sys/devices/system/cpu";

/// States that take longer to leave than this are forbidden on the cores of shards, microseconds. It leaves C1.
const IDLE_EXIT_US_MAX: i64 = 2;

/// Where the governor `haltpoll` keeps what can be set.
const HALT_POLLING: &str = "/sys/module/haltpoll/parameters";

/// How long an idle virtual core polls before it halts, at least, nanoseconds: a wake-up between cores or a flush of a
/// good drive falls within it. It is also the kernel's first step of the time, which would be cut off below.
const HALT_POLL_NS_MIN: i64 = 50_000;

/// And at most: the timer tick of a kernel with 1000 of them in a second falls within anything longer, and a core that
/// always sees something happen in time never halts.
const HALT_POLL_NS_MAX: i64 = 1_000_000;

/// What `apply` sets: the kernel's own default, which covers the flush of a disk over a network, too.
const HALT_POLL_NS: i64 = 200_000;

/// The first step from no polling at all, as the kernel has it by default, nanoseconds.
const HALT_POLL_GROW_START_NS: i64 = 50_000;

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
        name: "cpu.halt_polling",
        scope: Scope::Machine,
        wanted: "guest_halt_poll_ns from 50000 to 1000000, guest_halt_poll_grow_start above 0",
        why: "An idle core of a virtual machine that halts goes back to the hypervisor, and each wake-up (the interrupt \
              of a disk, of a card, of another core) waits until the hypervisor has it run again. The governor haltpoll \
              has the core look out for work itself before it halts, while waits have been short lately, for at most \
              guest_halt_poll_ns: where this was measured a durable write of 4 KiB took 125 to 148 us so, and 235 us at \
              0. Then a core halts at once, although its driver may have told the host not to look out in its place.",
        risk: "The host sees a core that is busy for up to 200 us after each piece of work: it may be billed, it may use \
               up credits of burstable machines, and neighbours and the SMT sibling get less. A provider that boots with \
               haltpoll.guest_halt_poll_ns=0 may mean it so.",
        read: halt_polling,
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
        let mut found = format!("the deepest, {name}, is left in {latency_us} us");
        if governor_of_idleness(machine).is_ok_and(|name| name == "haltpoll") {
            // What the driver says of a halt leaves the hypervisor out.
            found.push_str(" and what the hypervisor takes: see cpu.halt_polling");
        }
        return vec![Reading::ok(place, found)];
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

/// Who decides how an idle core sleeps.
fn governor_of_idleness(machine: &Machine) -> Result<String, Unread> {
    let read = |file: &str| {
        machine.root.parse(&format!("{CPU}/cpuidle/{file}"), |text| word(text).map(str::to_owned))
    };
    match read("current_governor_ro") {
        // Kernels before 5.8 that let it be changed have only the other file.
        Err(error) if error.why == Why::Missing => read("current_governor"),
        answer => answer,
    }
}

fn halt_polling(machine: &Machine) -> Vec<Reading> {
    match governor_of_idleness(machine) {
        Ok(name) if name == "haltpoll" => {}
        Ok(name) => {
            return vec![Reading::absent("", format!("idle cores are governed by {name}, not by haltpoll"))];
        }
        Err(error) if error.why == Why::Missing => {
            return vec![Reading::absent("", "no governor of idle states here")];
        }
        Err(error) => return vec![Reading::failed("", &error)],
    }
    let parameter = |name: &str, wanted: &str, value: i64, accepts: &dyn Fn(i64) -> bool| {
        let accepts = |text: &str| number(text).map(accepts);
        let path = format!("{HALT_POLLING}/{name}");
        let file = Setting { path, shape: Shape::Plain, value: value.to_string(), accepts: &accepts };
        setting(machine, name, wanted, file)
    };
    let within = HALT_POLL_NS_MIN..=HALT_POLL_NS_MAX;
    vec![
        parameter(
            "guest_halt_poll_ns",
            &format!("from {HALT_POLL_NS_MIN} to {HALT_POLL_NS_MAX}"),
            HALT_POLL_NS,
            &|ns| within.contains(&ns),
        ),
        // From none at all the time is multiplied, which leaves it at none without a first step.
        parameter("guest_halt_poll_grow_start", "above 0", HALT_POLL_GROW_START_NS, &|ns| ns > 0),
    ]
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
