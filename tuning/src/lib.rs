//! What the machine under a broker should be set to, what it is set to, and what it can do at best.
//!
//! Everything here stands alone: it knows neither the broker nor its storage. Settings are read below a
//! [`Root`](root::Root), so that a folder can play the machine; what no file tells comes from
//! [`Calls`](calls::Calls). Modules stand from the ground up, and one uses only those above it.

#![warn(missing_docs)]

pub mod cpu_set;
pub mod root;
pub mod calls;
pub mod machine;
pub mod change;
pub mod knob;
pub mod knobs;
pub mod report;
pub mod rollback;
pub mod apply;
pub mod echo;
pub mod floor;
