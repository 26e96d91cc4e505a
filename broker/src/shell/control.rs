//! The control executor: runs the controller, and the files of its log.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::Read;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::task::Poll;

use super::StartError;
use super::alarm::Alarm;
use super::clock::Clock;
use super::inbox::Inbox;
use super::lifecycle::Lifecycle;
use super::mailbox::Mailbox;
use super::meta_disk::MetaDisk;
use super::start::Report;
use super::watchdog::Pulse;
use crate::config::BrokerConfig;
use crate::ids::Address;
use crate::letter::Letter;
use crate::metadata::Endpoint;
use crate::metadata::log::{self, MetaOp, RecoveredMeta};

/// What the controller is made of; goes to its thread.
pub(super) struct Control {
    pub config: Arc<BrokerConfig>,
    pub cluster_id: String,
    pub endpoints: Vec<Endpoint>,
    pub shards: u16,
    pub meta: RecoveredMeta,
    pub meta_disk: MetaDisk,
    pub mailbox: Mailbox<Letter>,
    pub clock: Clock,
    pub lifecycle: Arc<Lifecycle>,
    pub pulse: Arc<Pulse>,
}

/// Reads the metadata directory.
pub(super) fn recover(disk: &MetaDisk) -> Result<RecoveredMeta, StartError> {
    let files = disk
        .read_all()
        .map_err(|error| StartError(format!("the metadata log cannot be read: {error}: check the disk")))?;
    let files = files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone()));
    let meta = log::recover(files).map_err(|error| StartError(error.to_string()))?;
    for warning in &meta.warnings {
        tracing::warn!("{warning}");
    }
    Ok(meta)
}

impl Control {
    /// Runs the controller for as long as the process lives.
    pub async fn run(mut self, reporter: Sender<Report>) {
        glommio::spawn_local(self.pulse.clone().beat(self.clock)).detach();
        todo!()
    }
}
