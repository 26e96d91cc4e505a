//! The loop of a shard. A turn takes all that has come in, lets the shard step through it, and carries out what the
//! shard wants done: that is all of group commit and batching.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use net::socket::BoundListener;
use storage::disk::Disk;

use super::alarm::Alarm;
use super::clock::Clock;
use super::connections::Connections;
use super::inbox::Inbox;
use super::lifecycle::{Lifecycle, Phase};
use super::mailbox::{BACKLOG_MAX, Mailbox};
use crate::effects::Effects;
use crate::ids::{ListenerKind, ShardId};
use crate::letter::Letter;
use crate::shard::Shard;
use crate::step::Input;

/// How often connections and descriptors are looked through.
const SWEEP: Duration = Duration::from_secs(1);

/// Descriptors that were not used for so many sweeps are closed.
const SWEEPS_UNTIL_CLOSE: u64 = 10;

/// How long a stop waits for requests in flight, microseconds: long polls are cut short.
const DRAIN_US_MAX: u64 = 1_000_000;

/// How often a shard that drains looks whether it is done, microseconds.
const DRAIN_LOOK_US: u64 = 2_000;

/// What a driver works with.
pub struct Driver {
    /// Which shard.
    pub id: ShardId,
    /// The shard.
    pub shard: Shard,
    /// Letters from and to the others.
    pub mailbox: Mailbox<Letter>,
    /// What connections and disk push.
    pub inbox: Rc<Inbox<Input>>,
    /// Where operations go.
    pub disk: Rc<Disk>,
    /// Where replies go.
    pub connections: Rc<Connections>,
    /// The clocks.
    pub clock: Clock,
    /// The agreement on start and stop.
    pub lifecycle: Arc<Lifecycle>,
    /// Where connections come from once the broker runs.
    pub listeners: Vec<(BoundListener, ListenerKind)>,
}

/// Where this shard is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Starting,
    Running,
    Draining { until_us: u64 },
    Drained,
    Flushing,
    Complete,
}

impl Driver {
    /// Runs the shard until an orderly stop is complete.
    pub async fn run(mut self) {
        glommio::spawn_local(sweep(self.connections.clone(), self.disk.clone())).detach();
        let mut effects = Effects::default();
        let mut inputs = VecDeque::new();
        let mut alarm = Alarm::default();
        let mut stage = Stage::Starting;
        while stage != Stage::Complete {
            self.wait(&mut alarm, stage).await;
            let now = self.clock.now();
            self.inbox.take(&mut inputs);
            self.mailbox.take(|from, letter| inputs.push_back(Input::Letter { from, letter }));
            for input in inputs.drain(..) {
                self.shard.step(now, input, &mut effects);
            }
            if self.shard.next_timeout().is_some_and(|due_us| due_us <= now.monotonic_us) {
                self.shard.step(now, Input::Timeout, &mut effects);
            }
            let next = self.live_further(stage);
            if next != stage {
                tracing::debug!(shard = self.id.0, "{next:?}");
                stage = next;
            }
            self.shard.end_turn(now, &mut effects);
            self.carry_out(&mut effects);
            // Connections get their turn however much mail there is.
            glommio::executor().yield_now().await;
        }
    }

    async fn wait(&self, alarm: &mut Alarm, stage: Stage) {
        let mut due_us = self.shard.next_timeout();
        if matches!(stage, Stage::Draining { .. }) {
            let look_us = self.clock.elapsed_us() + DRAIN_LOOK_US;
            due_us = Some(due_us.map_or(look_us, |due_us| due_us.min(look_us)));
        }
        poll_fn(|context| {
            self.lifecycle.register(usize::from(self.id.0), context.waker());
            // Each of them remembers the task, so each is asked.
            let mut ready = self.mailbox.has_mail(context.waker());
            ready |= self.inbox.is_ready(context.waker());
            ready |= alarm.is_over(due_us, &self.clock, context);
            ready |= self.may_go_on(stage);
            if ready { Poll::Ready(()) } else { Poll::Pending }
        })
        .await
    }

    fn carry_out(&mut self, effects: &mut Effects) {
        for op in effects.disk.drain(..) {
            self.disk.submit(op);
        }
        for (to, letter) in effects.letters.drain(..) {
            self.mailbox.send(to, letter);
        }
        self.mailbox.announce();
        for reply in effects.replies.drain(..) {
            self.connections.reply(reply);
        }
        let behind = self.shard.is_over_pressure() || self.mailbox.backlog() > BACKLOG_MAX;
        self.connections.set_producers_wait(behind);
    }

    fn may_go_on(&self, stage: Stage) -> bool {
        match stage {
            Stage::Starting => self.lifecycle.phase() >= Phase::Running,
            Stage::Running => self.lifecycle.phase() >= Phase::Draining,
            Stage::Drained => self.lifecycle.phase() >= Phase::Flushing,
            // The end of a turn may be what completes it.
            Stage::Flushing => self.shard.is_stopped() && self.disk.in_flight() == 0,
            Stage::Draining { .. } | Stage::Complete => false,
        }
    }

    fn live_further(&mut self, stage: Stage) -> Stage {
        let now = self.clock.now();
        match stage {
            Stage::Starting if self.may_go_on(stage) => {
                for (listener, kind) in self.listeners.drain(..) {
                    self.connections.listen(listener, kind);
                }
                Stage::Running
            }
            Stage::Running if self.may_go_on(stage) => {
                self.connections.begin_stop();
                Stage::Draining { until_us: now.monotonic_us + DRAIN_US_MAX }
            }
            Stage::Draining { until_us } => {
                let idle = self.shard.open_work() == 0 && self.connections.requests_in_flight() == 0;
                if !idle && now.monotonic_us < until_us {
                    return stage;
                }
                self.lifecycle.drained();
                Stage::Drained
            }
            Stage::Drained if self.may_go_on(stage) => {
                self.shard.begin_stop(now);
                Stage::Flushing
            }
            Stage::Flushing if self.may_go_on(stage) => Stage::Complete,
            Stage::Starting | Stage::Running | Stage::Drained | Stage::Flushing | Stage::Complete => stage,
        }
    }
}

async fn sweep(connections: Rc<Connections>, disk: Rc<Disk>) {
    let mut sweeps = 0u64;
    loop {
        glommio::timer::sleep(SWEEP).await;
        sweeps += 1;
        connections.sweep();
        if sweeps.is_multiple_of(SWEEPS_UNTIL_CLOSE) {
            disk.close_idle_files();
        }
    }
}
