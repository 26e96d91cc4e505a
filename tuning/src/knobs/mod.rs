//! All knobs, one file for each part of the machine.

mod cpu;
mod disk;
mod drive;
mod interrupts;
mod filesystem;
mod network;
mod memory;
mod numa;
mod limits;
mod clock;
mod host;

use crate::knob::{Definition, Knob};
use crate::machine::Machine;

/// The knobs, part by part, in the order in which they are shown.
pub const PARTS: &[&[Definition]] = &[
    host::KNOBS,
    cpu::KNOBS,
    interrupts::KNOBS,
    disk::KNOBS,
    drive::KNOBS,
    filesystem::KNOBS,
    network::KNOBS,
    memory::KNOBS,
    numa::KNOBS,
    limits::KNOBS,
    clock::KNOBS,
];

/// All knobs.
pub fn all() -> impl Iterator<Item = &'static Definition> {
    PARTS.iter().copied().flatten()
}

/// Reads all knobs of a machine.
pub fn read(machine: &Machine) -> Vec<Knob> {
    all()
        .flat_map(|definition| {
            (definition.read)(machine).into_iter().map(move |reading| Knob { definition, reading })
        })
        .collect()
}

/// Finds a knob by its name, or by the part after the dot where only one has it.
pub fn find(name: &str) -> Option<&'static Definition> {
    all().find(|definition| definition.name == name).or_else(|| {
        let mut ending =
            all().filter(|definition| definition.name.split_once('.').is_some_and(|(_, knob)| knob == name));
        match (ending.next(), ending.next()) {
            (Some(one), None) => Some(one),
            _ => None,
        }
    })
}
