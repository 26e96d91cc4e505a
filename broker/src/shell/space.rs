//! Measures the room on the volume of the data directory, for the shards to read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use storage::disk::DataDirectory;

use crate::volume::Space;

/// The last measurement. Its two numbers need not be of the same moment.
#[derive(Debug, Default)]
pub struct SpaceGauge {
    free_bytes: AtomicU64,
    total_bytes: AtomicU64,
}

impl SpaceGauge {
    /// Measures for the first time.
    pub fn new(directory: &DataDirectory) -> Arc<SpaceGauge> {
        let gauge = SpaceGauge::default();
        gauge.measure(directory);
        Arc::new(gauge)
    }

    /// Measures again. What cannot be measured stays as it was.
    pub fn measure(&self, directory: &DataDirectory) {
        match directory.space() {
            Ok((free_bytes, total_bytes)) => {
                self.free_bytes.store(free_bytes, Ordering::Relaxed);
                self.total_bytes.store(total_bytes, Ordering::Relaxed);
            }
            Err(error) => tracing::warn!("the room on the volume cannot be measured: {error}"),
        }
    }

    /// The last measurement; none if there was no successful one.
    pub fn read(&self) -> Option<Space> {
        let free_bytes = self.free_bytes.load(Ordering::Relaxed);
        let total_bytes = self.total_bytes.load(Ordering::Relaxed);
        (total_bytes > 0).then_some(Space { free_bytes, total_bytes })
    }
}
