//! What executors tell the main thread.

use std::sync::mpsc::Sender;

use crate::ids::ShardId;

/// What executors tell the main thread.
#[derive(Debug)]
pub enum Report {
    /// Every shard has applied the metadata.
    Ready,
    /// An orderly stop of a shard is complete.
    Stopped(ShardId),
    /// The process cannot go on.
    Failed(String),
}

/// Tells it.
pub fn report(reporter: &Sender<Report>, report: Report) {
    // The main thread is gone only when the process ends.
    if let Err(unheard) = reporter.send(report) {
        tracing::debug!("nobody hears {:?}", unheard.0);
    }
}
