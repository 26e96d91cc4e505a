//! The file system of the data directory.

use crate::change::How;
use crate::knob::{Definition, Reading, Scope};
use crate::machine::{Machine, Volume};

/// Space below which the data directory is as good as full.
const FREE_BYTES_MIN: u64 = 10 << 30;

pub(super) const KNOBS: &[Definition] = &[
    Definition {
        name: "filesystem.type",
        scope: Scope::Machine,
        wanted: "xfs or ext4",
        why: "Those two write preallocated blocks with O_DIRECT and io_uring without blocking. Others copy on write, \
              or go through the page cache or a network.",
        risk: "Another file system means a new volume and a copy of the data.",
        read: kind,
    },
    Definition {
        name: "filesystem.options",
        scope: Scope::Machine,
        wanted: "noatime; none of discard, sync, data=journal, nobarrier",
        why: "discard sends trims in the middle of the work, a known tail event (disk.trim has the better way); sync \
              and data=journal write everything twice; atime makes reads write. nobarrier loses acknowledged \
              records at a power cut.",
        risk: "None for noatime. Without discard a drive needs trims now and then: see disk.trim afterwards.",
        read: options,
    },
    Definition {
        name: "filesystem.direct_io",
        scope: Scope::Machine,
        wanted: "O_DIRECT works",
        why: "The log goes past the page cache; a broker on a file system without O_DIRECT refuses to start unless it \
              is told --allow-buffered-io.",
        risk: "None.",
        read: direct_io,
    },
    Definition {
        name: "filesystem.free_space",
        scope: Scope::Machine,
        wanted: "at least 10 GiB",
        why: "A full volume takes its partitions offline. Flash drives also slow down when they are nearly full.",
        risk: "None.",
        read: free_space,
    },
];

fn with_volume(machine: &Machine, read: impl Fn(&Volume) -> Reading) -> Vec<Reading> {
    vec![match &machine.volume {
        None => Reading::absent("", "no data directory was named: --data DIR"),
        Some(Err(why)) => Reading::unreadable("", why),
        Some(Ok(volume)) => read(volume),
    }]
}

fn kind(machine: &Machine) -> Vec<Reading> {
    with_volume(machine, |volume| match volume.file_system.as_str() {
        kind @ ("xfs" | "ext4") => Reading::ok(&volume.mount_point, kind),
        kind => {
            let how = How::by_hand("mkfs.xfs a volume of its own, mount it, and name it with --data DIR");
            Reading::differs(&volume.mount_point, kind, "xfs or ext4", how)
        }
    })
}

fn options(machine: &Machine) -> Vec<Reading> {
    with_volume(machine, |volume| {
        let has = |name: &str| volume.options.iter().any(|option| option == name);
        let mut wrong = Vec::new();
        let mut mend = Vec::new();
        for (bad, instead) in [("discard", "nodiscard"), ("sync", "async"), ("nobarrier", "barrier")] {
            if has(bad) {
                wrong.push(bad);
                mend.push(instead);
            }
        }
        let barrier_off = has("barrier=0");
        if barrier_off {
            wrong.push("barrier=0");
            mend.push("barrier=1");
        }
        if !has("noatime") {
            wrong.push(if has("relatime") { "relatime" } else { "atime" });
            mend.push("noatime");
        }
        let place = &volume.mount_point;
        let mut lines = Vec::new();
        if !mend.is_empty() {
            let mend = mend.join(",");
            lines.push(format!("mount -o remount,{mend} {place}   # and {mend} in /etc/fstab"));
        }
        if has("data=journal") {
            wrong.push("data=journal");
            // ext4 does not change its journal mode on the fly.
            lines.push(format!("take data=journal from the line of {place} in /etc/fstab, and reboot"));
        }
        if wrong.is_empty() {
            return Reading::ok(place, volume.options.join(","));
        }
        Reading::differs(place, wrong.join(","), "noatime without those", How::ByHand(lines))
    })
}

fn direct_io(machine: &Machine) -> Vec<Reading> {
    with_volume(machine, |volume| match machine.calls.direct_io(&volume.directory) {
        Ok(()) => Reading::ok(&volume.mount_point, "works"),
        // Both the flag that is refused and a file system without unnamed files answer so.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            let how = How::by_hand("name a directory on xfs or ext4 with --data DIR");
            Reading::differs(&volume.mount_point, format!("refused ({error})"), "O_DIRECT works", how)
        }
        Err(error) => Reading::unreadable(
            &volume.mount_point,
            format!(
                "{} cannot be written to ({error}): run this as the user of the broker",
                volume.directory.display()
            ),
        ),
    })
}

fn free_space(machine: &Machine) -> Vec<Reading> {
    with_volume(machine, |volume| match machine.calls.space(&volume.directory) {
        Err(error) => Reading::unreadable(&volume.mount_point, error),
        Ok((free, total)) => {
            let found = format!("{} GiB of {}", free >> 30, total >> 30);
            if free >= FREE_BYTES_MIN {
                Reading::ok(&volume.mount_point, found)
            } else {
                let how = How::by_hand("lower retention.bytes or retention.ms, or grow the volume");
                let wanted = format!("{} GiB", FREE_BYTES_MIN >> 30);
                Reading::differs(&volume.mount_point, found, wanted, how)
            }
        }
    })
}
