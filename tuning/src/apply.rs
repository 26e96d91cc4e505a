//! Changes settings, and takes the changes back.
//!
//! ```text
//! plan ── read what each setting says now ─→ rollback file on the disk ─→ one write after the other
//! undo ── newest first: as it was before → left alone; as apply wrote it → written back; else → left, with a word
//! ```

use std::process::Command;

use crate::change::{Change, How, quote_all};
use crate::knob::{Knob, Scope, State};
use crate::machine::Machine;
use crate::rollback::{Entry, Keeper, Rollback};
use crate::root::{Root, Unread, Why};

/// What `apply` would do.
#[derive(Debug, Default)]
pub struct Plan {
    /// The knobs that it changes, each with its changes.
    pub steps: Vec<Step>,
    /// Knobs that differ and that it leaves alone, each with the reason and with what a person can do.
    pub left: Vec<Left>,
}

/// The changes of one knob.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its name and place.
    pub knob: String,
    /// Why, for the script.
    pub why: &'static str,
    /// The changes, in order.
    pub changes: Vec<Change>,
}

/// A knob that is not changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Left {
    /// Its name and place.
    pub knob: String,
    /// Why not.
    pub reason: &'static str,
    /// What a person can do.
    pub commands: Vec<String>,
}

impl Plan {
    /// Of the knobs that differ; `only` names those to change, none means all.
    pub fn new(machine: &Machine, knobs: &[Knob], only: &[String]) -> Plan {
        let mut plan = Plan::default();
        let chosen = |knob: &&Knob| {
            knob.reading.state == State::Differs
                && (only.is_empty() || only.iter().any(|name| name == knob.definition.name))
        };
        for knob in knobs.iter().filter(chosen) {
            let place = &knob.reading.place;
            let name = format!("{}{}{place}", knob.definition.name, if place.is_empty() { "" } else { " " });
            let host_owns = machine.container.is_some() && knob.definition.scope == Scope::Machine;
            let left = |reason| Left { knob: name.clone(), reason, commands: knob.reading.how.commands() };
            match &knob.reading.how {
                How::Apply(_) if host_owns => {
                    plan.left.push(left("belongs to the host: run `monedula-tune apply` there"));
                }
                How::Apply(changes) => plan.steps.push(Step {
                    knob: name.clone(),
                    why: knob.definition.why,
                    changes: changes.clone(),
                }),
                How::ByHand(_) | How::Nothing => plan.left.push(left("by hand")),
            }
        }
        plan
    }

    /// A shell script that does what `apply` would do.
    pub fn script(&self) -> String {
        let mut text = String::from(
            "#!/bin/sh\n# Written by `monedula-tune apply --output-script`. It keeps no rollback file: a reboot undoes it.\n\
             failed=0\n",
        );
        for step in &self.steps {
            text.push_str(&format!("\n# {}\n", step.knob));
            for command in crate::change::commands(&step.changes) {
                text.push_str(&format!("{command} || failed=1\n"));
            }
        }
        for left in &self.left {
            text.push_str(&format!("\n# {}: {}\n", left.knob, left.reason));
            for command in &left.commands {
                text.push_str(&format!("#   {command}\n"));
            }
        }
        text.push_str("\nexit $failed\n");
        text
    }
}

/// Runs programs. A trait, so that a test can look on.
pub trait Programs {
    /// Runs a program to its end. The error says what went wrong.
    fn run(&mut self, command: &[String]) -> Result<(), String>;
}

/// Programs of this machine.
#[derive(Clone, Copy, Debug)]
pub struct RealPrograms;

impl Programs for RealPrograms {
    fn run(&mut self, command: &[String]) -> Result<(), String> {
        let (program, arguments) = command.split_first().ok_or("an empty command")?;
        match Command::new(program).args(arguments).output() {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(format!(
                "`{}`: {}: {}",
                quote_all(command),
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            )),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(format!(
                "{program} is not installed: install it (apt-get install {program}), or leave this knob"
            )),
            Err(error) => Err(format!("`{}`: {error}", quote_all(command))),
        }
    }
}

/// What became of a change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It was made.
    Done,
    /// It was not needed: the setting is as it should be.
    Already,
    /// The setting is not as this program left it: somebody else changed it, so it stays. What it says now.
    Foreign(String),
    /// It failed. Why.
    Failed(String),
}

/// Makes the changes of a plan. Before the first one the rollback file is on the disk.
///
/// A change that fails does not keep the others from being made. The error is about the rollback file: nothing was
/// changed then.
pub fn apply(
    root: &Root,
    programs: &mut impl Programs,
    keeper: &Keeper,
    plan: &Plan,
) -> Result<Vec<(Change, Outcome)>, String> {
    let mut failed = Vec::new();
    let mut entries = Vec::new();
    for change in plan.steps.iter().flat_map(|step| &step.changes) {
        match entry(root, change) {
            Ok(entry) => entries.push(entry),
            // What cannot be read could not be restored.
            Err(error) => failed.push((change.clone(), Outcome::Failed(error.to_string()))),
        }
    }
    let mut rollback = match keeper.load()? {
        // What an earlier boot changed is gone with it.
        Some(known) if known.is_of_this_boot(root)? => known,
        _ => Rollback::new(root)?,
    };
    rollback.add(entries.clone());
    if !entries.is_empty() {
        keeper.store(&rollback)?;
    }
    let mut outcomes: Vec<(Change, Outcome)> = entries
        .iter()
        .map(|entry| {
            let change = entry.change();
            let outcome = make(root, programs, &change);
            (change, outcome)
        })
        .collect();
    outcomes.append(&mut failed);
    Ok(outcomes)
}

/// What a setting says before it is changed.
fn entry(root: &Root, change: &Change) -> Result<Entry, Unread> {
    Ok(match change.clone() {
        Change::Write { path, shape, value } => {
            let before = root.parse(&path, |text| shape.value(text))?;
            Entry::Write { path, shape, before, after: value }
        }
        Change::Run { command, undo } => Entry::Run { command, undo },
    })
}

/// Makes one change, and looks whether it is there.
fn make(root: &Root, programs: &mut impl Programs, change: &Change) -> Outcome {
    match change {
        Change::Run { command, .. } => match programs.run(command) {
            Ok(()) => Outcome::Done,
            Err(why) => Outcome::Failed(why),
        },
        Change::Write { path, shape, value } => {
            let wanted = shape.value(value);
            let now = |root: &Root| root.parse(path, |text| shape.value(text)).ok();
            if now(root) == wanted.clone().ok() {
                return Outcome::Already;
            }
            if let Err(error) = root.write(path, value) {
                return Outcome::Failed(refused(&error));
            }
            match now(root) {
                Some(now) if Ok(&now) == wanted.as_ref() => Outcome::Done,
                Some(now) => {
                    Outcome::Failed(format!("{path} took `{value}` and says `{now}`: the kernel adjusts it"))
                }
                None => Outcome::Failed(format!("{path} cannot be read after the write: it went away")),
            }
        }
    }
}

fn refused(error: &Unread) -> String {
    // Interrupts that the kernel pins answer so even to root.
    let interrupt = error.path.starts_with("/proc/irq/");
    match &error.why {
        Why::Denied | Why::Other(_) if interrupt => {
            format!("{}: the kernel does not let this interrupt be moved ({error})", error.path)
        }
        _ => error.to_string(),
    }
}

/// Takes all changes of a rollback file back, the newest first. Those that fail stay in the file; without any it goes.
pub fn undo(
    root: &Root,
    programs: &mut impl Programs,
    keeper: &Keeper,
) -> Result<Vec<(Change, Outcome)>, String> {
    let mut rollback = keeper.load()?.ok_or_else(|| nothing(keeper))?;
    if !rollback.is_of_this_boot(root)? {
        keeper.remove()?;
        return Err(format!(
            "the machine has been started anew since {} was written, which undid all of it: the file is removed",
            keeper.path().display()
        ));
    }
    let mut outcomes = Vec::new();
    let mut rest = Vec::new();
    for entry in rollback.entries.iter().rev() {
        let outcome = take_back(root, programs, entry);
        if let Outcome::Failed(_) = &outcome {
            rest.push(entry.clone());
        }
        outcomes.push((entry.reverse(), outcome));
    }
    rest.reverse();
    if rest.is_empty() {
        keeper.remove()?;
    } else {
        rollback.entries = rest;
        keeper.store(&rollback)?;
    }
    Ok(outcomes)
}

fn nothing(keeper: &Keeper) -> String {
    format!(
        "there is no rollback file {}: nothing was applied, or name the file with --rollback",
        keeper.path().display()
    )
}

fn take_back(root: &Root, programs: &mut impl Programs, entry: &Entry) -> Outcome {
    if let Entry::Write { path, shape, before, after } = entry {
        match root.parse(path, |text| shape.value(text)) {
            // Where the setting has gone (a queue, a device) there is nothing to restore.
            Err(error) if error.why == Why::Missing => return Outcome::Foreign("gone".to_owned()),
            Err(error) => return Outcome::Failed(error.to_string()),
            Ok(now) if Ok(&now) == shape.value(before).as_ref() => return Outcome::Already,
            Ok(now) if Ok(&now) != shape.value(after).as_ref() => return Outcome::Foreign(now),
            Ok(_) => {}
        }
    }
    make(root, programs, &entry.reverse())
}
