//! What the drives below the data directory need from time to time: to be told what is free, and air.

use crate::change::How;
use crate::knob::{Definition, Reading, Scope, number};
use crate::machine::Machine;
use crate::root::{Unread, Why};

use super::disk::each;

/// The unit that trims all file systems, as every distribution with systemd has it.
const TIMER: &str = "fstrim.timer";

/// Where systemd has its units, what an administrator writes first.
const UNITS: [&str; 4] =
    ["/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

pub(super) const KNOBS: &[Definition] = &[
    Definition {
        name: "disk.trim",
        scope: Scope::Machine,
        wanted: "fstrim.timer enabled, at an hour when little is written",
        why: "A flash drive that is never told what is free takes all of it for data and moves it about: its writes slow \
              down over weeks. But trimming a whole volume is a tail event itself: it is to happen at an hour that \
              somebody chose, and not as the week begins, which is when the timer runs if nothing is said.",
        risk: "The first trim after a long time is a long one. On an encrypted volume trims show which blocks are free.",
        read: trim,
    },
    Definition {
        name: "disk.temperature",
        scope: Scope::Machine,
        wanted: "below what the drive calls too warm",
        why: "A drive that is too warm slows itself down until it is not: minutes of slow writes with no error anywhere. \
              One that is hotter yet switches itself off.",
        risk: "None: it is only looked at.",
        read: temperature,
    },
];

fn trim(machine: &Machine) -> Vec<Reading> {
    each(machine, |disk| {
        let discard_bytes_max = format!("/sys/block/{disk}/queue/discard_max_bytes");
        match machine.root.number(&discard_bytes_max) {
            Err(error) => Reading::failed(disk, &error),
            Ok(0) => Reading::absent(disk, "the drive takes no trims"),
            Ok(_) if discards_at_once(machine) => Reading::absent(
                disk,
                "mounted with discard, which trims all the time: see filesystem.options",
            ),
            Ok(_) if machine.container.is_some() => {
                Reading::unreadable(disk, "a container does not see the timers of its host: check there")
            }
            Ok(_) if !machine.root.exists("/run/systemd/system") => Reading::absent(
                disk,
                "no systemd here: have fstrim run weekly, at an hour when little is written",
            ),
            Ok(_) => timer(machine, disk),
        }
    })
}

fn discards_at_once(machine: &Machine) -> bool {
    match &machine.volume {
        Some(Ok(volume)) => volume.options.iter().any(|option| option == "discard"),
        _ => false,
    }
}

/// What was asked of systemd, as its files have it: whether it does so now only it knows.
fn timer(machine: &Machine, disk: &str) -> Reading {
    let masked = UNITS.iter().any(|folder| {
        machine.root.link(&format!("{folder}/{TIMER}")).is_ok_and(|target| target == "/dev/null")
    });
    let enabled =
        UNITS.iter().any(|folder| machine.root.exists(&format!("{folder}/timers.target.wants/{TIMER}")));
    if masked || !enabled {
        let mut lines = vec![
            format!(
                "systemctl edit {TIMER}   # [Timer], OnCalendar=, OnCalendar=Sun 04:00, RandomizedDelaySec=0"
            ),
            format!("systemctl enable --now {TIMER}"),
        ];
        if masked {
            lines.insert(0, format!("systemctl unmask {TIMER}"));
        }
        let found = format!("{TIMER} is {}", if masked { "masked" } else { "not enabled" });
        return Reading::differs(disk, found, "enabled, at a quiet hour", How::ByHand(lines));
    }
    match times(machine) {
        Ok(times) if times.is_empty() => Reading::ok(disk, format!("{TIMER} is enabled")),
        // Only a person knows which hour is a quiet one.
        Ok(times) => Reading::ok(
            disk,
            format!("{TIMER}, {}: a tail event then, `systemctl edit {TIMER}` moves it", times.join(" and ")),
        ),
        Err(error) => Reading::failed(disk, &error),
    }
}

/// When the timer runs: its unit, and what others have added to it in the order of their names.
fn times(machine: &Machine) -> Result<Vec<String>, Unread> {
    let files = UNITS.map(|folder| format!("{folder}/{TIMER}"));
    let Some(unit) = files.iter().find(|file| machine.root.exists(file)) else {
        return Err(Unread { path: files[2].clone(), why: Why::Missing });
    };
    let mut texts = vec![machine.root.read(unit)?];
    let mut additions: Vec<(String, String)> = Vec::new();
    for folder in UNITS.map(|folder| format!("{folder}/{TIMER}.d")) {
        for name in machine.root.list(&folder).unwrap_or_default() {
            // Of two with one name the one that the administrator wrote counts.
            if name.ends_with(".conf") && additions.iter().all(|(known, _)| *known != name) {
                additions.push((name.clone(), format!("{folder}/{name}")));
            }
        }
    }
    additions.sort();
    for (_, path) in additions {
        texts.push(machine.root.read(&path)?);
    }
    Ok(calendar(&texts))
}

/// The values of OnCalendar; an empty one takes back those before it.
fn calendar(texts: &[String]) -> Vec<String> {
    let mut times = Vec::new();
    for value in
        texts.iter().flat_map(|text| text.lines()).filter_map(|line| line.trim().strip_prefix("OnCalendar"))
    {
        match value.trim_start().strip_prefix('=').map(str::trim) {
            None => {}
            Some("") => times.clear(),
            Some(time) => times.push(time.to_owned()),
        }
    }
    times
}

fn temperature(machine: &Machine) -> Vec<Reading> {
    each(machine, |disk| match sensor(machine, disk) {
        Err(error) => Reading::failed(disk, &error),
        Ok(None) => Reading::absent(disk, "the drive tells no temperature"),
        Ok(Some(sensor)) => {
            judge(machine, disk, &sensor).unwrap_or_else(|error| Reading::failed(disk, &error))
        }
    })
}

/// The folder of a drive's sensors: beside its name, or below the device on its bus, as kernels differ.
fn sensor(machine: &Machine, disk: &str) -> Result<Option<String>, Unread> {
    let mut devices = vec![machine.root.resolve(&format!("/sys/block/{disk}/device"))?];
    // Where an NVMe drive can be reached in several ways, the device is the sum of its controllers.
    if devices[0].rsplit('/').next().is_some_and(|name| name.starts_with("nvme-subsys")) {
        let names = machine.root.list(&devices[0])?;
        let is_controller =
            |name: &&String| name.strip_prefix("nvme").is_some_and(|n| n.parse::<u32>().is_ok());
        let controllers = names.iter().filter(is_controller);
        devices = controllers.map(|name| format!("{}/{name}", devices[0])).collect();
    }
    for device in devices {
        for folder in [device.clone(), format!("{device}/hwmon"), format!("{device}/device/hwmon")] {
            let names = machine.root.list(&folder).unwrap_or_default();
            let sensors =
                names.iter().filter(|name| name.strip_prefix("hwmon").is_some_and(|n| !n.is_empty()));
            for path in sensors.map(|name| format!("{folder}/{name}")) {
                if machine.root.exists(&format!("{path}/temp1_input")) {
                    return Ok(Some(path));
                }
            }
        }
    }
    Ok(None)
}

/// The sensors count in thousandths of a degree.
fn judge(machine: &Machine, disk: &str, sensor: &str) -> Result<Reading, Unread> {
    let celsius = |file: &str| {
        machine
            .root
            .parse(&format!("{sensor}/{file}"), |text| number(text).map(|thousandths| thousandths / 1000))
    };
    // Which of the limits a drive names is up to it.
    let limit = |file: &str| match celsius(file) {
        Err(error) if error.why == Why::Missing => Ok(None),
        limit => limit.map(Some),
    };
    let now = celsius("temp1_input")?;
    let (warm, hot) = (limit("temp1_max")?, limit("temp1_crit")?);
    let found = match (warm, hot) {
        (None, None) => {
            return Ok(Reading::ok(disk, format!("{now} C; the drive does not say what is too warm")));
        }
        (Some(warm), None) => format!("{now} C, too warm from {warm}"),
        (None, Some(hot)) => format!("{now} C, off from {hot}"),
        (Some(warm), Some(hot)) => format!("{now} C, too warm from {warm}, off from {hot}"),
    };
    match warm.or(hot).filter(|limit| now >= *limit) {
        None => Ok(Reading::ok(disk, found)),
        Some(limit) => {
            let how = How::ByHand(vec![
                "see to air at the drive, and to a heat sink".to_owned(),
                format!("nvme smart-log /dev/{disk}   # how many minutes it was too warm so far"),
            ]);
            Ok(Reading::differs(disk, found, format!("below {limit} C"), how))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_files_add_to_the_calendar_or_begin_it_anew() {
        let check = |texts: &[&str], expect: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(calendar(&texts), expect, "{texts:?}");
        };
        let unit =
            "[Unit]\nDescription=OnCalendar of the week\n[Timer]\nOnCalendar=weekly\nPersistent=true\n";
        check(&[unit], &["weekly"]);
        check(&[unit, "[Timer]\nOnCalendar = Sun 04:00"], &["weekly", "Sun 04:00"]);
        check(&[unit, "[Timer]\nOnCalendar=\n OnCalendar=Sun 04:00"], &["Sun 04:00"]);
        check(&[unit, "[Timer]\nOnCalendar=\nOnBootSec=1h"], &[]);
        check(&[unit, "# OnCalendar=daily\nOnCalendarish=daily"], &["weekly"]);
        check(&[""], &[]);
    }
}
