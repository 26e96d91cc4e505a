//! The clock: what it costs to read, and whether it is right.

use crate::change::{How, Shape};
use crate::knob::{Definition, Reading, Scope, Setting, State, setting, word};
use crate::machine::Machine;

const FOLDER: &str = "/sys/devices/system/clocksource/clocksource0";

/// Sources that a program reads without entering the kernel.
const FAST: &[&str] = &["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter"];

/// An error that end-to-end latencies between machines can still live with, microseconds.
const ERROR_US_MAX: i64 = 100_000;

pub(super) const KNOBS: &[Definition] = &[
    Definition {
        name: "clock.source",
        scope: Scope::Machine,
        wanted: "tsc, or another that is read without entering the kernel",
        why: "A shard reads the clock several times in a request: 20 ns with the TSC, 1 us and a trip into the kernel \
              with HPET or the ACPI timer.",
        risk: "A TSC that the kernel has found unstable goes wrong: then it is not among those available.",
        read: source,
    },
    Definition {
        name: "clock.discipline",
        scope: Scope::Machine,
        wanted: "synchronised",
        why: "Record timestamps, retention by time and end-to-end latencies compare clocks of different machines.",
        risk: "None.",
        read: discipline,
    },
];

fn source(machine: &Machine) -> Vec<Reading> {
    let available = match machine.root.read(&format!("{FOLDER}/available_clocksource")) {
        Ok(available) => available,
        Err(error) => return vec![Reading::failed("", &error)],
    };
    let best = FAST.iter().find(|name| available.split_whitespace().any(|word| word == **name));
    let mut reading = setting(
        machine,
        "",
        best.unwrap_or(&"tsc"),
        Setting {
            path: format!("{FOLDER}/current_clocksource"),
            shape: Shape::Plain,
            value: best.unwrap_or(&"tsc").to_string(),
            accepts: &|name| word(name).map(|name| FAST.contains(&name)),
        },
    );
    if reading.state == State::Differs && best.is_none() {
        reading.how = How::by_hand(format!(
            "only {available} are available: look into `dmesg | grep -i tsc` for why the kernel gave the TSC up, and \
             boot with tsc=reliable only if the machine's maker vouches for it"
        ));
    }
    vec![reading]
}

fn discipline(machine: &Machine) -> Vec<Reading> {
    let install = || How::by_hand("apt-get install chrony   # or systemctl enable --now systemd-timesyncd");
    vec![match machine.calls.clock() {
        Err(error) => Reading::unreadable("", format!("adjtimex: {error}")),
        Ok(clock) if !clock.synchronised => {
            Reading::differs("", "nothing disciplines the clock", "synchronised", install())
        }
        Ok(clock) if clock.error_max_us > ERROR_US_MAX => {
            let found = format!("synchronised, off by up to {} ms", clock.error_max_us / 1000);
            let how =
                How::by_hand("chronyc sources -v   # choose nearer time servers in /etc/chrony/chrony.conf");
            Reading::differs("", found, format!("at most {} ms", ERROR_US_MAX / 1000), how)
        }
        Ok(clock) => Reading::ok("", format!("synchronised, off by at most {} us", clock.error_max_us)),
    }]
}
