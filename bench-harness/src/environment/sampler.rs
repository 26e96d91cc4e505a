//! What the kernel counts while runs go on, once a second: where CPU time went, pressure, and what disks did.

use serde::{Deserialize, Serialize};

/// One second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When, milliseconds since 1970.
    pub at_ms: u64,
}
