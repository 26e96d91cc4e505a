//! A broker as a child process: started pinned, with its output in a file, watched, and stopped when its handle goes out of
//! scope. Nothing is ever stopped that was not started here.
//!
//! The child is this program once more, which pins itself, asks the kernel for a SIGKILL should its parent die, and then
//! becomes the broker: so no broker outlives us, however we end, and nothing is unsafe.
#![allow(clippy::disallowed_methods, reason = "this is the shell around child processes")]

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::cores::Cores;

/// The name of the hidden command that becomes a broker.
pub const BECOME: &str = "become";

/// How long a broker may take to stop in order.
const STOP_WAIT: Duration = Duration::from_secs(30);

/// Between two looks whether it has.
const STOP_POLL: Duration = Duration::from_millis(50);

/// How much of its output is shown when a broker fails.
const TAIL_LINES: usize = 15;

/// A child process.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    output: PathBuf,
}

impl Process {
    /// Starts a program on some cores. Its output is appended to `output`.
    pub fn start(name: &str, program: &[String], cores: &Cores, output: &Path) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("cannot start {name}: {error}");
        let log = File::options().create(true).append(true).open(output).map_err(failed)?;
        let ourselves = std::env::current_exe().map_err(failed)?;
        let child = Command::new(ourselves)
            .args([BECOME, &std::process::id().to_string(), &cores.to_string(), "--"])
            .args(program)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log)
            // Ctrl-C is for us, and we stop the broker in order.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        Ok(Self { name: name.to_owned(), child, output: output.to_owned() })
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Fails with the end of its output if it has ended.
    pub fn check(&mut self) -> Result<(), String> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(format!("{} ended ({status}); it said:\n{}", self.name, self.tail())),
            Err(error) => Err(format!("cannot watch {}: {error}", self.name)),
        }
    }

    /// The last lines of its output.
    pub fn tail(&self) -> String {
        let text = fs::read(&self.output)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// SIGTERM, and after half a minute SIGKILL.
    pub fn stop(&mut self) -> Option<ExitStatus> {
        let pid = Pid::from_child(&self.child);
        if let Ok(Some(status)) = self.child.try_wait() {
            return Some(status);
        }
        // It may end by itself between the look and the signal; until it is waited for, its id is not given away again.
        let _ = kill_process(pid, Signal::TERM);
        let deadline = Instant::now() + STOP_WAIT;
        while Instant::now() < deadline {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) => std::thread::sleep(STOP_POLL),
                Err(_) => break,
            }
        }
        eprintln!("{} did not stop within {} s and is killed", self.name, STOP_WAIT.as_secs());
        let _ = self.child.kill();
        self.child.wait().ok()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Becomes a program: the other half of `Process::start`. Returns only if that fails.
pub fn become_program(parent: u32, cores: &str, program: &[String]) -> String {
    let Some((name, arguments)) = program.split_first() else { return "no program to become".to_owned() };
    let cores: Cores = match cores.parse() {
        Ok(cores) => cores,
        Err(error) => return error,
    };
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return format!("cannot ask for a signal at the parent's death: {error}");
    }
    // The parent may have died before the kernel was asked.
    if getppid().map(|pid| pid.as_raw_nonzero().get()) != i32::try_from(parent).ok() {
        return "the parent is gone".to_owned();
    }
    let mut set = CpuSet::new();
    for core in cores.0 {
        set.set(core);
    }
    if let Err(error) = sched_setaffinity(None, &set) {
        return format!("cannot pin to the cores: {error}");
    }
    format!("{name}: {}", Command::new(name).args(arguments).exec())
}

/// A directory that is removed when it goes out of scope, unless it is to be kept.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    keep: bool,
}

impl Scratch {
    /// Creates a new directory below `parent`.
    pub fn create(parent: &Path, keep: bool) -> Result<Self, String> {
        let path = parent.join(format!("monedula-compare-{}", std::process::id()));
        fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let path = fs::canonicalize(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self { path, keep })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// An empty directory below it, whatever was there before.
    pub fn empty(&self, name: &str) -> Result<PathBuf, String> {
        let path = self.path.join(name);
        self.remove(name)?;
        fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    }

    /// Removes a directory below it and waits until the disk has heard of it.
    pub fn remove(&self, name: &str) -> Result<(), String> {
        let path = self.path.join(name);
        match fs::remove_dir_all(&path) {
            Ok(()) => rustix::fs::sync(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{}: {error}", path.display())),
        }
        Ok(())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.keep
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            eprintln!("{} is left behind: {error}", self.path.display());
        }
    }
}
