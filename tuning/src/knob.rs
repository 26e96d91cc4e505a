//! One setting of the machine: what it is, what it should be, why, and what mends it.

use std::collections::BTreeMap;
use std::fmt;

use crate::change::{Change, How, Shape};
use crate::machine::Machine;
use crate::root::{Unread, Why};

/// What is known of a knob before any machine is looked at.
#[derive(Debug)]
pub struct Definition {
    /// `part.knob`, as `explain` takes it.
    pub name: &'static str,
    /// Whose setting it is.
    pub scope: Scope,
    /// What it should be, in words.
    pub wanted: &'static str,
    /// What it costs or saves.
    pub why: &'static str,
    /// What can go wrong when it is changed.
    pub risk: &'static str,
    /// Reads it, once for each place that has it.
    pub read: fn(&Machine) -> Vec<Reading>,
}

/// Whose setting a knob is, which decides who can turn it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// One for the whole machine: in a container it belongs to the host.
    Machine,
    /// One for each network namespace: a container has its own, given when it is started.
    NetworkNamespace,
    /// Given to the process by who starts it: a unit, a shell, a container engine.
    Process,
}

/// How a knob stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum State {
    /// As it should be.
    Ok,
    /// Not as it should be.
    Differs,
    /// It could not be found out.
    Unreadable,
    /// This machine has no such thing.
    Absent,
}

/// A knob as it was found in one place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reading {
    /// The device, the cores: empty where there is but one place.
    pub place: String,
    /// How it stands.
    pub state: State,
    /// What was found, or why nothing was.
    pub found: String,
    /// What it should be here; empty where nothing is to be said.
    pub wanted: String,
    /// What mends it.
    pub how: How,
}

/// A knob in one place of this machine.
#[derive(Clone, Debug)]
pub struct Knob {
    /// What is known of it everywhere.
    pub definition: &'static Definition,
    /// What was found here.
    pub reading: Reading,
}

impl Definition {
    /// The part of the machine: what stands before the dot of the name.
    pub fn part(&self) -> &'static str {
        self.name.split('.').next().unwrap_or(self.name)
    }
}

impl Reading {
    /// As it should be.
    pub fn ok(place: impl Into<String>, found: impl Into<String>) -> Reading {
        Reading {
            place: place.into(),
            state: State::Ok,
            found: found.into(),
            wanted: String::new(),
            how: How::Nothing,
        }
    }

    /// Not as it should be.
    pub fn differs(
        place: impl Into<String>,
        found: impl Into<String>,
        wanted: impl Into<String>,
        how: How,
    ) -> Reading {
        Reading {
            place: place.into(),
            state: State::Differs,
            found: found.into(),
            wanted: wanted.into(),
            how,
        }
    }

    /// It could not be found out, because of `why`.
    pub fn unreadable(place: impl Into<String>, why: impl fmt::Display) -> Reading {
        Reading {
            place: place.into(),
            state: State::Unreadable,
            found: why.to_string(),
            wanted: String::new(),
            how: How::Nothing,
        }
    }

    /// This machine has no such thing, because of `why`.
    pub fn absent(place: impl Into<String>, why: impl fmt::Display) -> Reading {
        Reading { state: State::Absent, ..Reading::unreadable(place, why) }
    }

    /// Absent if the file is missing, else unreadable.
    pub fn failed(place: impl Into<String>, error: &Unread) -> Reading {
        match error.why {
            Why::Missing => Reading::absent(place, error),
            _ => Reading::unreadable(place, error),
        }
    }
}

/// A file of /proc or /sys with one value.
pub struct Setting<'a> {
    /// The file, as an absolute path.
    pub path: String,
    /// How it reads.
    pub shape: Shape,
    /// What `apply` writes.
    pub value: String,
    /// Whether a value will do, or why it cannot be judged.
    pub accepts: &'a dyn Fn(&str) -> Result<bool, String>,
}

/// Reads one file with one value.
pub fn setting(machine: &Machine, place: &str, wanted: &str, setting: Setting<'_>) -> Reading {
    settings(machine, place, wanted, vec![(String::new(), setting)])
}

/// Reads files that stand for the same thing in several places (cores, queues) as one knob; each has a label.
pub fn settings(machine: &Machine, place: &str, wanted: &str, files: Vec<(String, Setting<'_>)>) -> Reading {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut changes = Vec::new();
    let mut failures = Vec::new();
    for (label, file) in files {
        let value = machine.root.parse(&file.path, |text| {
            let value = file.shape.value(text)?;
            let accepted = (file.accepts)(&value)?;
            Ok((value, accepted))
        });
        match value {
            Ok((value, accepted)) => {
                if !accepted {
                    let Setting { path, shape, value, .. } = file;
                    changes.push(Change::Write { path, shape, value });
                }
                found.entry(value).or_default().push(label);
            }
            Err(error) => failures.push(error),
        }
    }
    // A file that went away with its core or queue counts only where nothing else is left.
    let grave = failures.iter().find(|error| error.why != Why::Missing);
    if let Some(error) = grave.or(failures.first().filter(|_| found.is_empty())) {
        return Reading::failed(place, error);
    }
    let many = found.len() > 1;
    let found: Vec<String> = found
        .into_iter()
        .map(|(value, labels)| if many { format!("{value} ({})", labels.join(" ")) } else { value })
        .collect();
    let found = found.join(", ");
    if changes.is_empty() {
        Reading::ok(place, found)
    } else {
        Reading::differs(place, found, wanted, How::Apply(changes))
    }
}

/// A sysctl with a number for which `accepts` holds; `apply` writes `value`.
pub fn sysctl(
    machine: &Machine,
    path: &str,
    value: i64,
    wanted: &str,
    accepts: impl Fn(i64) -> bool,
) -> Reading {
    setting(
        machine,
        "",
        wanted,
        Setting {
            path: path.to_owned(),
            shape: Shape::Plain,
            value: value.to_string(),
            accepts: &|text| number(text).map(&accepts),
        },
    )
}

/// A whole number.
pub fn number(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| format!("`{text}` is not a number"))
}

/// The name of a choice: one word.
pub fn word(text: &str) -> Result<&str, String> {
    let name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !text.is_empty() && text.chars().all(name) {
        Ok(text)
    } else {
        Err(format!("`{text}` is not the name of a choice"))
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            State::Ok => "ok",
            State::Differs => "differs",
            State::Unreadable => "unreadable",
            State::Absent => "absent",
        })
    }
}
