//! Whole brokers under virtual time: one thread, one seed, one world. See `README.md`.

#![forbid(unsafe_code)]

pub mod random;
pub mod queue;
pub mod trace;
pub mod checker;
pub mod codec;
pub mod records;
pub mod history;
pub mod disk;
pub mod client;
pub mod options;
pub mod process;
pub mod recovery_check;
pub mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use checker::{Checker, Violation};
use options::Options;
use world::Outcome;

/// Runs the world of a seed. A broker that panics fails [`Checker::Panic`].
pub fn run_seed(seed: u64, options: Options, show: bool) -> Outcome {
    let run = catch_unwind(AssertUnwindSafe(|| world::run(seed, options, show)));
    run.unwrap_or_else(|panic| {
        let message = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_else(|| "a panic without words".to_owned());
        Outcome { violations: vec![Violation::new(Checker::Panic, message)], ..Outcome::default() }
    })
}
