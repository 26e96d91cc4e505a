//! The log of Monedula: bytes on disk, offsets, recovery. The modules stand from the ground up: each uses
//! only those above it. All but `disk` are pure: no I/O, no clock, no thread.

#![deny(unsafe_code)]

pub mod types;
pub mod config;
pub mod header;
pub mod op;
pub mod locate;
pub mod batch;
pub mod producer_state;
pub mod leader_epochs;
pub mod recovery;
pub mod store;
