//! What `check` and `explain` show, for people and for programs.

use std::fmt::Write;

use serde::Serialize;

use crate::change::How;
use crate::knob::{Definition, Knob, Scope, State};
use crate::machine::Machine;

/// How many knobs stand in which way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Count {
    /// As they should be.
    pub ok: usize,
    /// Not so.
    pub differs: usize,
    /// Could not be found out.
    pub unreadable: usize,
    /// Things that this machine does not have.
    pub absent: usize,
}

impl Count {
    /// Counts.
    pub fn of(knobs: &[Knob]) -> Count {
        let count = |state| knobs.iter().filter(|knob| knob.reading.state == state).count();
        Count {
            ok: count(State::Ok),
            differs: count(State::Differs),
            unreadable: count(State::Unreadable),
            absent: count(State::Absent),
        }
    }

    /// 0 if all is as it should be, 1 if something differs, 3 if nothing does but something is not known.
    pub fn exit_code(&self) -> u8 {
        match self {
            Count { differs: 1.., .. } => 1,
            Count { unreadable: 1.., .. } => 3,
            _ => 0,
        }
    }
}

/// Whom a knob belongs to, if not to this machine: it is in a container.
fn owner(machine: &Machine, scope: Scope) -> Option<&'static str> {
    machine.container.as_ref()?;
    match scope {
        Scope::Machine => Some("belongs to the host"),
        Scope::NetworkNamespace => Some("set it when the container is started, as with docker run --sysctl"),
        Scope::Process => None,
    }
}

/// The table of `check`.
pub fn text(machine: &Machine, knobs: &[Knob]) -> String {
    let mut text = format!("shards on cores {}", machine.shards);
    let others = machine.others();
    if !others.is_empty() {
        let _ = write!(text, ", others {others}");
    }
    match &machine.volume {
        None => text.push_str("; no data directory: its disk is left out without --data DIR"),
        Some(Err(_)) => text.push_str("; the data directory was not found"),
        Some(Ok(volume)) => {
            let disks = volume.disks.as_ref().map_or("no disk".to_owned(), |disks| disks.join(", "));
            let _ = write!(text, "; {} on {} ({disks})", volume.directory.display(), volume.file_system);
        }
    }
    text.push('\n');
    let mut part = "";
    for knob in knobs {
        if knob.definition.part() != part {
            part = knob.definition.part();
            text.push('\n');
        }
        line(&mut text, machine, knob);
    }
    let Count { ok, differs, unreadable, absent } = Count::of(knobs);
    let _ = writeln!(text, "\n{ok} ok, {differs} differ, {unreadable} unreadable, {absent} absent");
    if differs > 0 {
        text.push_str(
            "`monedula-tune explain KNOB` says why, `monedula-tune apply --dry-run` what would be changed\n",
        );
    }
    text
}

fn line(text: &mut String, machine: &Machine, knob: &Knob) {
    let reading = &knob.reading;
    let place = if reading.place.is_empty() { String::new() } else { format!(" {}", reading.place) };
    let name = format!("{}{place}", knob.definition.name);
    let _ = write!(text, "{:<10} {name:<34} {}", reading.state, reading.found);
    if reading.state == State::Differs {
        let _ = write!(text, ", wanted {}", reading.wanted);
    }
    text.push('\n');
    if reading.state == State::Differs {
        if let Some(owner) = owner(machine, knob.definition.scope) {
            let _ = writeln!(text, "{:10} # {owner}", "");
        }
        for command in reading.how.commands() {
            let _ = writeln!(text, "{:10} {command}", "");
        }
    }
}

#[derive(Serialize)]
struct JsonKnob<'a> {
    name: &'a str,
    place: &'a str,
    state: String,
    found: &'a str,
    wanted: &'a str,
    why: &'a str,
    how: Vec<String>,
    /// Whether `apply` changes it.
    applied: bool,
    risk: &'a str,
    scope: &'static str,
}

#[derive(Serialize)]
struct JsonReport<'a> {
    cores: String,
    container: Option<&'a str>,
    count: Count,
    knobs: Vec<JsonKnob<'a>>,
}

/// The same for programs.
pub fn json(machine: &Machine, knobs: &[Knob]) -> String {
    let report = JsonReport {
        cores: machine.shards.to_string(),
        container: machine.container.as_deref(),
        count: Count::of(knobs),
        knobs: knobs.iter().map(json_knob).collect(),
    };
    to_json(&report)
}

fn json_knob(knob: &Knob) -> JsonKnob<'_> {
    let reading = &knob.reading;
    JsonKnob {
        name: knob.definition.name,
        place: &reading.place,
        state: reading.state.to_string(),
        found: &reading.found,
        wanted: if reading.wanted.is_empty() { knob.definition.wanted } else { &reading.wanted },
        why: knob.definition.why,
        how: reading.how.commands(),
        applied: matches!(reading.how, How::Apply(_)),
        risk: knob.definition.risk,
        scope: scope(knob.definition.scope),
    }
}

pub(crate) fn to_json(value: &impl Serialize) -> String {
    // Strings and numbers under names that are strings: nothing that JSON cannot say.
    serde_json::to_string_pretty(value).expect("the report can be said in JSON")
}

fn scope(scope: Scope) -> &'static str {
    match scope {
        Scope::Machine => "machine",
        Scope::NetworkNamespace => "network namespace",
        Scope::Process => "process",
    }
}

/// What `explain` says of a knob.
pub fn explain(machine: &Machine, definition: &Definition, knobs: &[Knob]) -> String {
    let mut text = format!("{}\n\n", definition.name);
    for (head, body) in [
        ("wanted", definition.wanted),
        ("why", definition.why),
        ("risk", definition.risk),
        ("scope", scope(definition.scope)),
    ] {
        let _ = writeln!(text, "{head:<8}{}", wrap(body, 8));
    }
    text.push_str("\nhere\n");
    for knob in knobs {
        line(&mut text, machine, knob);
    }
    text
}

/// Breaks a text into lines that go on `indent` columns from the left.
fn wrap(text: &str, indent: usize) -> String {
    const COLUMNS: usize = 100;
    let mut out = String::new();
    let mut column = indent;
    for word in text.split_whitespace() {
        if column + word.len() > COLUMNS && column > indent {
            let _ = write!(out, "\n{:indent$}", "");
            column = indent;
        } else if column > indent {
            out.push(' ');
        }
        out.push_str(word);
        column += word.len() + 1;
    }
    out
}
