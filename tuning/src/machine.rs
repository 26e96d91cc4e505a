//! What the knobs need to know of the machine: its cores and which of them carry shards, the volume of the data
//! directory, the network cards, and whether this is a container.

use std::path::{Path, PathBuf};

use crate::calls::Calls;
use crate::cpu_set::CpuSet;
use crate::root::{Root, Unread};

/// The inode of the first PID namespace of every kernel (PROC_PID_INIT_INO): who is in it is in no container.
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// What the command line says.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// The cores that carry shards; all that this process may use if left out.
    pub cores: Option<CpuSet>,
    /// The data directory.
    pub data: Option<PathBuf>,
    /// Where interrupts should go.
    pub interrupts: Interrupts,
}

/// Where the interrupts of devices should go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Interrupts {
    /// Away from the shards' cores if there are others, else onto them.
    #[default]
    Auto,
    /// To the cores without shards.
    Away,
    /// To the shards' cores, evenly.
    Onto,
}

/// A machine to look at.
pub struct Machine {
    /// Its files.
    pub root: Root,
    /// What its files do not tell.
    pub calls: Box<dyn Calls>,
    /// Cores that are online.
    pub online: CpuSet,
    /// Cores that carry shards.
    pub shards: CpuSet,
    /// The volume of the data directory: `None` where none was named, the reason where it was not found.
    pub volume: Option<Result<Volume, String>>,
    /// Network cards: interfaces with a device behind them.
    pub interfaces: Result<Vec<String>, Unread>,
    /// Why this is taken for a container, if it is one.
    pub container: Option<String>,
    interrupts: Interrupts,
}

/// Where the data directory lives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Volume {
    /// The directory.
    pub directory: PathBuf,
    /// Where its file system is mounted.
    pub mount_point: String,
    /// `ext4`, `xfs` and so on.
    pub file_system: String,
    /// Options of the mount and of the file system.
    pub options: Vec<String>,
    /// The whole disks below it, like `nvme0n1`; the reason where there is none.
    pub disks: Result<Vec<String>, String>,
}

impl Machine {
    /// Looks at a machine. Fails only where the cores that carry shards are not known.
    pub fn new(root: Root, calls: Box<dyn Calls>, subject: &Subject) -> Result<Machine, String> {
        let list = |path: &str| root.parse(path, |text| text.parse::<CpuSet>());
        let online = list("/sys/devices/system/cpu/online");
        let allowed = allowed(&root);
        let shards = match (&subject.cores, &allowed, &online) {
            (Some(cores), _, _) | (None, Ok(cores), _) | (None, _, Ok(cores)) => cores.clone(),
            (None, Err(error), Err(_)) => {
                return Err(format!("{error}: name the cores that carry shards with --cores LIST"));
            }
        };
        if shards.is_empty() {
            return Err("no core is left for shards: name them with --cores LIST".to_owned());
        }
        // Without a list of those online the shards' own are all that is known.
        let online = online.unwrap_or_else(|_| shards.clone());
        if let Some(core) = shards.iter().find(|core| !online.contains(*core)) {
            return Err(format!("core {core} of --cores is not online: choose among {online}"));
        }
        let volume = subject.data.as_deref().map(|directory| Volume::find(&root, calls.as_ref(), directory));
        let interfaces = root.list("/sys/class/net").map(|names| {
            let real = |name: &String| root.exists(&format!("/sys/class/net/{name}/device"));
            names.into_iter().filter(real).collect()
        });
        let container = container(&root);
        Ok(Machine {
            root,
            calls,
            online,
            shards,
            volume,
            interfaces,
            container,
            interrupts: subject.interrupts,
        })
    }

    /// Cores without shards.
    pub fn others(&self) -> CpuSet {
        self.online.without(&self.shards)
    }

    /// Whether interrupts are to stay away from the shards' cores.
    pub fn interrupts_away(&self) -> bool {
        match self.interrupts {
            Interrupts::Auto => !self.others().is_empty(),
            Interrupts::Away => true,
            Interrupts::Onto => false,
        }
    }

    /// The nodes of memory that the shards' cores belong to, where the machine tells.
    pub fn shard_nodes(&self) -> Result<Vec<usize>, Unread> {
        let mut nodes = Vec::new();
        for name in self.root.list("/sys/devices/system/node")? {
            let Some(node) = name.strip_prefix("node").and_then(|n| n.parse::<usize>().ok()) else {
                continue;
            };
            let path = format!("/sys/devices/system/node/{name}/cpulist");
            let cores = self.root.parse(&path, |text| text.parse::<CpuSet>())?;
            if !cores.both(&self.shards).is_empty() {
                nodes.push(node);
            }
        }
        Ok(nodes)
    }
}

/// The cores that this process may run on.
pub fn allowed(root: &Root) -> Result<CpuSet, Unread> {
    root.parse("/proc/self/status", |text| {
        text.lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
            .ok_or_else(|| "it has no Cpus_allowed_list".to_owned())?
            .parse()
    })
}

/// Why this is a container, if it is one. Files such as /.dockerenv alone do not make one: virtual machines are
/// built from images of containers, too.
fn container(root: &Root) -> Option<String> {
    match root.link("/proc/self/ns/pid") {
        Ok(namespace) if namespace == FIRST_PID_NAMESPACE => None,
        Ok(namespace) => Some(format!("its PID namespace is {namespace}, not the first of the kernel")),
        Err(_) => ["/.dockerenv", "/run/.containerenv", "/run/systemd/container"]
            .iter()
            .find(|mark| root.exists(mark))
            .map(|mark| format!("{mark} is there")),
    }
}

impl Volume {
    fn find(root: &Root, calls: &dyn Calls, directory: &Path) -> Result<Volume, String> {
        let directory = calls.canonical(directory).map_err(|error| {
            format!("--data {}: {error}: name the directory that the broker will use", directory.display())
        })?;
        let table = root.read("/proc/self/mountinfo").map_err(|error| error.to_string())?;
        let mount = table
            .lines()
            .filter_map(Mount::parse)
            .filter(|mount| directory.starts_with(&mount.point))
            // Of two mounts at one place the later hides the earlier.
            .max_by_key(|mount| mount.point.len())
            .ok_or_else(|| format!("/proc/self/mountinfo has no mount for {}", directory.display()))?;
        let disks = whole_disks(root, &mount);
        Ok(Volume {
            directory,
            mount_point: mount.point,
            file_system: mount.file_system,
            options: mount.options,
            disks,
        })
    }
}

/// A line of /proc/self/mountinfo.
struct Mount {
    device: String,
    point: String,
    file_system: String,
    source: String,
    options: Vec<String>,
}

impl Mount {
    fn parse(line: &str) -> Option<Mount> {
        let (own, of_file_system) = line.split_once(" - ")?;
        let own: Vec<&str> = own.split(' ').collect();
        let of_file_system: Vec<&str> = of_file_system.split(' ').collect();
        let (&[_, _, device, _, point, options, ..], &[file_system, source, more, ..]) =
            (own.as_slice(), of_file_system.as_slice())
        else {
            return None;
        };
        let mut options: Vec<String> = options.split(',').chain(more.split(',')).map(str::to_owned).collect();
        options.sort();
        options.dedup();
        Some(Mount {
            device: device.to_owned(),
            // Spaces in it are written so.
            point: point.replace("\\040", " "),
            file_system: file_system.to_owned(),
            source: source.to_owned(),
            options,
        })
    }
}

/// The disks that a mount ends up on, through partitions, device mapper and RAID.
fn whole_disks(root: &Root, mount: &Mount) -> Result<Vec<String>, String> {
    let by_number = format!("/sys/dev/block/{}", mount.device);
    let start = if root.exists(&by_number) {
        by_number
    } else if let Some(name) = mount.source.strip_prefix("/dev/") {
        // btrfs counts itself as a device that /sys does not know.
        format!("/sys/class/block/{name}")
    } else {
        return Err(format!("{} is on no block device ({})", mount.point, mount.file_system));
    };
    let mut disks = Vec::new();
    descend(root, &start, &mut disks, 0).map_err(|error| error.to_string())?;
    disks.sort();
    disks.dedup();
    Ok(disks)
}

/// How many layers of partitions, RAID and device mapper are followed.
const LAYERS_MAX: usize = 8;

fn descend(root: &Root, device: &str, disks: &mut Vec<String>, depth: usize) -> Result<(), Unread> {
    let device = root.resolve(device)?;
    if depth < LAYERS_MAX {
        let below = root.list(&format!("{device}/slaves")).unwrap_or_default();
        if !below.is_empty() {
            return below
                .iter()
                .try_for_each(|name| descend(root, &format!("/sys/class/block/{name}"), disks, depth + 1));
        }
    }
    let disk = if root.exists(&format!("{device}/partition")) {
        device.rsplit_once('/').map_or(device.as_str(), |(parent, _)| parent)
    } else {
        device.as_str()
    };
    disks.extend(disk.rsplit('/').next().map(str::to_owned));
    Ok(())
}
