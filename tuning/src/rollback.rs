//! The rollback file: what every setting was before `apply` changed it.
//!
//! It is complete and on the disk before the first change, so that `undo` works wherever `apply` was interrupted. A
//! second `apply` keeps what the first one found. Settings of /proc and /sys do not survive a reboot, and so neither
//! does the meaning of the file: it names the boot that it belongs to.

#![allow(clippy::disallowed_methods, reason = "this is the place that keeps the rollback file")]

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::change::{Change, Shape};
use crate::root::Root;

/// The form of the file that this program writes.
const FORMAT: u32 = 1;

/// A rollback file is a few hundred lines; what is much longer is something else.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// One setting: how it was, and what was written.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Entry {
    /// A file of /proc or /sys.
    Write {
        /// The file, as an absolute path.
        path: String,
        /// How its content reads.
        shape: Shape,
        /// What it said, in the form that can be written back.
        before: String,
        /// What `apply` writes.
        after: String,
    },
    /// A program that was run.
    Run {
        /// The program and its arguments.
        command: Vec<String>,
        /// What takes it back.
        undo: Vec<String>,
    },
}

/// What `undo` needs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rollback {
    format: u32,
    boot_id: String,
    /// In the order of the changes.
    pub entries: Vec<Entry>,
}

/// Where a rollback file is kept; locked against another `apply` or `undo` until it is dropped.
#[derive(Debug)]
pub struct Keeper {
    path: PathBuf,
    _lock: File,
}

impl Entry {
    /// Whether both are about the same setting.
    fn is_same_setting(&self, other: &Entry) -> bool {
        match (self, other) {
            (Entry::Write { path: one, .. }, Entry::Write { path: two, .. }) => one == two,
            (Entry::Run { command: one, .. }, Entry::Run { command: two, .. }) => one == two,
            _ => false,
        }
    }

    /// The change that this takes back.
    pub fn change(&self) -> Change {
        match self.clone() {
            Entry::Write { path, shape, after, .. } => Change::Write { path, shape, value: after },
            Entry::Run { command, undo } => Change::Run { command, undo },
        }
    }

    /// The change that takes it back.
    pub fn reverse(&self) -> Change {
        match self.clone() {
            Entry::Write { path, shape, before, .. } => Change::Write { path, shape, value: before },
            Entry::Run { command, undo } => Change::Run { command: undo, undo: command },
        }
    }
}

impl Rollback {
    /// Without entries, for this boot of the machine.
    pub fn new(root: &Root) -> Result<Rollback, String> {
        Ok(Rollback { format: FORMAT, boot_id: boot_id(root)?, entries: Vec::new() })
    }

    /// Adds entries. Of a setting that is there already the first value stays, which is the one before all changes.
    pub fn add(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            match self.entries.iter_mut().find(|known| known.is_same_setting(&entry)) {
                None => self.entries.push(entry),
                Some(Entry::Write { after, .. }) => {
                    if let Entry::Write { after: newer, .. } = entry {
                        *after = newer;
                    }
                }
                Some(Entry::Run { .. }) => {}
            }
        }
    }

    /// Whether it is of this boot: what an earlier one changed is gone.
    pub fn is_of_this_boot(&self, root: &Root) -> Result<bool, String> {
        Ok(self.boot_id == boot_id(root)?)
    }
}

fn boot_id(root: &Root) -> Result<String, String> {
    root.read("/proc/sys/kernel/random/boot_id").map_err(|error| error.to_string())
}

impl Keeper {
    /// Locks the place of a rollback file, and makes its folder if need be.
    pub fn lock(path: &Path) -> Result<Keeper, String> {
        let folder = folder_of(path);
        fs::create_dir_all(folder).map_err(|error| in_words(folder, &error))?;
        let lock_path = with_ending(path, ".lock");
        let lock = File::create(&lock_path).map_err(|error| in_words(&lock_path, &error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Keeper { path: path.to_owned(), _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => {
                Err(format!("another `monedula-tune` works with {}: wait until it is done", path.display()))
            }
            Err(fs::TryLockError::Error(error)) => Err(in_words(&lock_path, &error)),
        }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file; `None` if there is none.
    pub fn load(&self) -> Result<Option<Rollback>, String> {
        load(&self.path)
    }

    /// Writes the file so that after a crash either the old or the new one is there, whole.
    pub fn store(&self, rollback: &Rollback) -> Result<(), String> {
        let text = crate::report::to_json(rollback);
        let new = with_ending(&self.path, ".new");
        let written = (|| {
            let mut file = File::create(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &self.path)?;
            File::open(folder_of(&self.path))?.sync_all()
        })();
        written.map_err(|error| in_words(&self.path, &error))
    }

    /// Removes the file: there is nothing to take back any more.
    pub fn remove(&self) -> Result<(), String> {
        fs::remove_file(&self.path)
            .and_then(|()| File::open(folder_of(&self.path))?.sync_all())
            .map_err(|error| in_words(&self.path, &error))
    }
}

/// Reads a rollback file without a lock; `None` if there is none.
pub fn load(path: &Path) -> Result<Option<Rollback>, String> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(in_words(path, &error)),
        Ok(found) if found.len() > FILE_BYTES_MAX => {
            return Err(format!(
                "{} is too long for a rollback file: name another with --rollback",
                path.display()
            ));
        }
        Ok(_) => {}
    }
    let text = fs::read_to_string(path).map_err(|error| in_words(path, &error))?;
    let rollback: Rollback = serde_json::from_str(&text).map_err(|error| {
        format!(
            "{} is not a rollback file ({error}): settings of /proc and /sys come back with a reboot; move the file \
             away to go on",
            path.display()
        )
    })?;
    if rollback.format > FORMAT {
        return Err(format!(
            "{} is of format {}, this program knows formats up to {FORMAT}: use the version that wrote it",
            path.display(),
            rollback.format
        ));
    }
    Ok(Some(rollback))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

fn in_words(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            format!("{}: permission denied: run this as root, or name a file with --rollback", path.display())
        }
        _ => format!("{}: {error}: name a file that can be written with --rollback", path.display()),
    }
}
