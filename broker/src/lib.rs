//! The broker: a shard is a state machine, everything else is a shell.
//!
//! The modules stand from the ground up; each uses only those above it in this list. `shard::Shard` is what a core
//! owns, `step` is the only way into it, and `shell` (feature `shell`) is the only place that knows glommio, clocks,
//! files and threads.

#![warn(missing_docs)]
#![cfg_attr(not(feature = "shell"), forbid(unsafe_code))]

pub mod ids;
pub mod limits;
pub mod volume;
pub mod ledger;
pub mod lag;
pub mod metadata;
pub mod placement;
pub mod letter;
pub mod effects;
pub mod coordinator;
pub mod config;
pub mod controller;
pub(crate) mod pending;
pub(crate) mod partition;
pub(crate) mod fetch_session;
pub(crate) mod waits;
pub(crate) mod group_host;
pub mod producer_ids;
pub mod shard;
pub(crate) mod api;
pub mod step;
#[cfg(feature = "shell")]
pub mod shell;
