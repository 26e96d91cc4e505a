//! Whole brokers under virtual time: one thread, one seed, one world. See `README.md`.

#![forbid(unsafe_code)]

pub mod random;
pub mod queue;
pub mod trace;
pub mod checker;
pub mod records;
pub mod history;
pub mod disk;
pub mod client;
