//! The latency ledger of a shard: where each microsecond of a produce or a fetch went. It reads no clock; all moments are
//! microseconds of `Now::monotonic_us`, the same clock on every shard of the process.
//!
//! ```text
//! produce   readable ─parse→ parsed ─route→ at its owner ─block→ in a WAL block ─submit→ submitted ─disk→ durable
//!                                                                      ─answer→ response queued ─write→ written
//! fetch     readable ─parse→ parsed ─route→ at its owner ─wait→ enough found ─answer→ response queued ─write→ written
//! ```
//!
//! What a request has passed travels with it: [`Arrival`] from its connection, [`Passage`] back from the owner of its
//! partitions. Of several owners the last to answer counts. A moment that a request did not have (nothing to flush, or
//! refused) falls on the one before, so its stages are zero, and the stages of a request always sum to its total.

mod book;
mod histogram;
mod stamps;
mod turn;
mod worst;

pub use book::{Counters, Ledger, Second, TopicTraffic};
pub use histogram::Histogram;
pub use stamps::{Api, Arrival, MOMENTS_MAX, Moments, Passage, STAGES_MAX, Stage, Trace};
pub use turn::{Gauges, Turn};
pub use worst::{Slow, WORST_MAX};
