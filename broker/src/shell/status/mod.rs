//! What a running broker tells of itself: once a second every shard hands a sheet of its ledger over, a plain thread
//! keeps them and answers on a Unix socket in the data directory, `monedula top` and `monedula slow` ask.

mod client;
mod desk;
mod document;
mod gather;
mod machine;
mod render;
mod server;
mod socket;
mod top;

pub use client::{ledger, slow};
pub use desk::{Desk, Sheet};
pub use server::{StatusParts, StatusSocket, serve};
pub use top::top;
