//! The control executor: runs the controller, and the files of its log.

use std::collections::VecDeque;
use std::fs::File;
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
use super::report::{Report, report};
use super::watchdog::Pulse;
use crate::config::BrokerConfig;
use crate::controller::{ControlEffects, ControlInput, Controller, ControllerParts};
use crate::letter::Letter;
use crate::metadata::Endpoint;
use crate::metadata::log::recover;

/// The controller and what it works with; goes to its thread.
pub(super) struct Control {
    pub controller: Controller,
    /// What opening the controller wants done.
    pub effects: ControlEffects,
    pub meta_disk: MetaDisk,
    pub mailbox: Mailbox<Letter>,
    pub clock: Clock,
    pub lifecycle: Arc<Lifecycle>,
    pub pulse: Arc<Pulse>,
}

/// Reads the metadata directory, and makes the controller that goes on from there.
pub(super) fn open(
    disk: &MetaDisk,
    config: Arc<BrokerConfig>,
    cluster_id: String,
    endpoints: Vec<Endpoint>,
    shards: u16,
) -> Result<(Controller, ControlEffects), StartError> {
    let unreadable = |error| StartError(format!("the metadata log cannot be read: {error}: check the disk"));
    let files = disk.read_all().map_err(unreadable)?;
    let files = files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone()));
    let recovered = recover(files).map_err(|error| StartError(error.to_string()))?;
    for warning in &recovered.warnings {
        tracing::warn!("{warning}");
    }
    let mut seed = [0; 16];
    File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut seed)).map_err(unreadable)?;
    let seed = u128::from_le_bytes(seed);
    let mut effects = ControlEffects::default();
    let parts = ControllerParts { config, cluster_id, endpoints, shards, recovered, seed };
    let controller = Controller::open(parts, &mut effects).map_err(|error| StartError(error.to_string()))?;
    Ok((controller, effects))
}

impl Control {
    /// Runs the controller for as long as the process lives.
    pub async fn run(mut self, reporter: Sender<Report>) {
        glommio::spawn_local(self.pulse.clone().beat(self.clock)).detach();
        let inbox = Rc::new(Inbox::new());
        let mut inputs = VecDeque::new();
        let mut alarm = Alarm::default();
        let mut ready = false;
        loop {
            self.carry_out(&inbox, &reporter);
            self.wait(&inbox, &mut alarm).await;
            let now = self.clock.now();
            inbox.take(&mut inputs);
            self.mailbox.take(|from, letter| inputs.push_back(ControlInput::Letter { from, letter }));
            for input in inputs.drain(..) {
                self.controller.handle(now, input, &mut self.effects);
            }
            if self.controller.next_timeout().is_some_and(|due_us| due_us <= now.monotonic_us) {
                self.controller.handle(now, ControlInput::Timeout, &mut self.effects);
            }
            if !ready && self.controller.is_ready() {
                ready = true;
                self.lifecycle.ready();
                report(&reporter, Report::Ready);
            }
        }
    }

    fn carry_out(&mut self, inbox: &Rc<Inbox<ControlInput>>, reporter: &Sender<Report>) {
        for op in self.effects.meta.drain(..) {
            let (disk, inbox) = (self.meta_disk.clone(), inbox.clone());
            glommio::spawn_local(async move {
                let done = glommio::executor().spawn_blocking(move || disk.perform(op)).await;
                inbox.push(ControlInput::Done(done));
            })
            .detach();
        }
        for (to, letter) in self.effects.letters.drain(..) {
            self.mailbox.send(to, letter);
        }
        self.mailbox.announce();
        if let Some(why) = self.effects.failed.take() {
            report(reporter, Report::Failed(format!("the metadata log cannot be written any more: {why}")));
        }
    }

    async fn wait(&self, inbox: &Inbox<ControlInput>, alarm: &mut Alarm) {
        poll_fn(|context| {
            // Each of them remembers the task, so each is asked.
            let mut ready = self.mailbox.has_mail(context.waker());
            ready |= inbox.is_ready(context.waker());
            ready |= alarm.is_over(self.controller.next_timeout(), &self.clock, context);
            if ready { Poll::Ready(()) } else { Poll::Pending }
        })
        .await
    }
}
