//! The loop of a shard. A turn takes all that has come in, lets the shard step through it, and carries out what the
//! shard wants done: that is all of group commit and batching.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use net::socket::BoundListener;
use storage::Now;
use storage::disk::{BlockWrite, BlockWriter};
use storage::op::{Done, Op, OpId, OpKind, Outcome};

use super::bell::Bell;
use super::clock::Clock;
use super::connections::Connections;
use super::disk_link::{Answer, DiskLink};
use super::disk_speed::DiskSpeed;
use super::lifecycle::{Lifecycle, Phase};
use super::mailbox::{BACKLOG_MAX, Mailbox};
use super::ring::{Event, Ring};
use super::space::SpaceGauge;
use super::status::{Desk, Sheet};
use super::watchdog::{Doing, TurnClock};
use crate::effects::Effects;
use crate::ids::{ListenerKind, ShardId};
use crate::ledger::Gauges;
use crate::letter::Letter;
use crate::shard::Shard;
use crate::step::Input;

/// How often connections and descriptors are looked through, microseconds.
const SWEEP_US: u64 = 1_000_000;

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
    /// Everything that the shard waits for.
    pub ring: Ring,
    /// Rung by those who put something into a queue of this shard.
    pub bell: Arc<Bell>,
    /// Where operations go, but for blocks that the ring writes.
    pub disk: DiskLink,
    /// Makes those ready.
    pub blocks: BlockWriter,
    /// Where requests come from and replies go.
    pub connections: Connections,
    /// The clocks.
    pub clock: Clock,
    /// The agreement on start and stop.
    pub lifecycle: Arc<Lifecycle>,
    /// Where connections come from once the broker runs.
    pub listeners: Vec<(BoundListener, ListenerKind)>,
    /// Tells the watchdog when a turn begins and ends.
    pub turns: Arc<TurnClock>,
    /// Blocks that are being written.
    pub block_writes: BTreeMap<OpId, BlockWriteInFlight>,
    /// How long small ones of the WAL take.
    pub disk_speed: DiskSpeed,
    /// Where the seconds of the ledger go.
    pub desk: Arc<Desk>,
    /// The room on the volume.
    pub space: Arc<SpaceGauge>,
    /// Bytes of a block of the WAL that goes to the kernel at the end of the turn.
    pub wal_queued: Option<u64>,
}

/// A block that is being written.
pub struct BlockWriteInFlight {
    write: BlockWrite,
    begun_us: u64,
    /// How the write has ended, its flush not yet.
    written: Option<io::Result<usize>>,
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
    /// Runs the shard until an orderly stop is complete. Fails when the ring does.
    pub fn run(mut self) -> io::Result<()> {
        let waker = Waker::from(self.bell.clone());
        self.lifecycle.register(usize::from(self.id.0), &waker);
        let mut effects = Effects::default();
        let mut events = Vec::new();
        let mut inputs: VecDeque<Input> = self.space.read().map(Input::Space).into_iter().collect();
        let mut stage = Stage::Starting;
        let mut sweep = Sweep { due_us: self.clock.elapsed_us() + SWEEP_US, count: 0 };
        while stage != Stage::Complete {
            self.wait(stage, &sweep, !inputs.is_empty(), &waker, &mut events)?;
            let now = self.clock.now();
            self.begin_turn(now.monotonic_us);
            for event in events.drain(..) {
                self.take_event(event, &mut inputs);
            }
            self.take_answers(&mut inputs);
            self.connections.turn(&mut self.ring, &mut self.disk, &mut inputs);
            self.mailbox.take(|from, letter| inputs.push_back(Input::Letter { from, letter }));
            if sweep.due_us <= now.monotonic_us {
                self.sweep(&mut sweep, now.monotonic_us, &mut inputs);
            }
            let now = self.read_anew(now);
            self.step(now, &mut inputs, &mut effects);
            self.turns.doing(Doing::Housekeeping);
            if self.shard.next_timeout().is_some_and(|due_us| due_us <= now.monotonic_us) {
                self.shard.step(now, Input::Timeout, &mut effects);
            }
            let next = self.live_further(stage);
            if next != stage {
                tracing::debug!(shard = self.id.0, "{next:?}");
                stage = next;
            }
            self.shard.end_turn(self.read_anew(now), &mut effects);
            self.turns.doing(Doing::Effects);
            self.carry_out(&mut effects, &mut inputs);
            if !inputs.is_empty() {
                // A block that is durable already, or connections that were closed.
                self.step(self.clock.now(), &mut inputs, &mut effects);
                self.carry_out(&mut effects, &mut inputs);
            }
            self.end_turn();
        }
        Ok(())
    }

    fn step(&mut self, now: Now, inputs: &mut VecDeque<Input>, effects: &mut Effects) {
        for mut input in inputs.drain(..) {
            self.turns.doing(Doing::of(&input));
            if let Some(ledger) = &mut self.connections.ledger {
                match &mut input {
                    Input::Request(incoming) => incoming.arrival.parsed_us = now.monotonic_us,
                    Input::Letter { .. } => ledger.letter(),
                    Input::Disk(_) => ledger.disk(),
                    _ => {}
                }
            }
            self.shard.step(now, input, effects);
        }
    }

    /// Submits what this turn has queued in the ring, and waits until there is something to do.
    fn wait(
        &mut self,
        stage: Stage,
        sweep: &Sweep,
        inputs_wait: bool,
        waker: &Waker,
        events: &mut Vec<Event>,
    ) -> io::Result<()> {
        let mut due_us = self.shard.next_timeout().map_or(sweep.due_us, |due_us| due_us.min(sweep.due_us));
        if matches!(stage, Stage::Draining { .. }) {
            due_us = due_us.min(self.clock.elapsed_us() + DRAIN_LOOK_US);
        }
        let mut awake = inputs_wait || self.connections.has_work() || self.disk.has_answers();
        if !awake {
            self.bell.lie_down();
            // Whoever fills a queue after this look rings.
            awake = self.mailbox.has_mail(waker) || self.disk.has_answers() || self.may_go_on(stage);
        }
        let timeout = if awake { Duration::ZERO } else { self.clock.until(due_us) };
        let result = self.ring.wait(timeout, events);
        self.bell.get_up();
        result
    }

    fn take_event(&mut self, event: Event, inputs: &mut VecDeque<Input>) {
        match event {
            // The queues are looked at in every turn.
            Event::Bell => {}
            Event::Listener(number) => self.connections.accept(number, &mut self.ring, inputs),
            Event::Readable(connection) => self.connections.readable(connection),
            Event::Unwatched(connection) => self.connections.unwatched(connection, &mut self.ring),
            Event::Writable(connection) => self.connections.writable(connection),
            Event::Written(id, result) => self.block_written(id, result, inputs),
            Event::Flushed(id, result) => self.block_flushed(id, result, inputs),
        }
    }

    fn begin_turn(&mut self, now_us: u64) {
        self.turns.begin(now_us);
        self.connections.begin_turn(now_us);
        if self.connections.keep_ledger(self.desk.keeps_ledger()) {
            // What was counted before is of no second that the new ledger has.
            self.shard.take_traffic();
        }
        if self.connections.ledger.is_none() {
            return;
        }
        self.shard.disk_heard(now_us);
        let gauges = self.gauges();
        if let Some(ledger) = &mut self.connections.ledger {
            ledger.begin_turn(now_us, gauges);
        }
    }

    /// The clock in the middle of a turn: reading and decoding are no part of what comes after. With a ledger or without,
    /// so that a shard decides the same with both.
    fn read_anew(&self, now: Now) -> Now {
        Now { monotonic_us: self.clock.elapsed_us(), ..now }
    }

    fn end_turn(&mut self) {
        self.turns.end();
        let queued = self.wal_queued.take();
        let Some(ledger) = &mut self.connections.ledger else { return };
        let now_us = self.clock.elapsed_us();
        ledger.end_turn(now_us);
        // What is queued goes to the kernel with the wait that follows at once.
        if let Some(bytes) = queued {
            self.note_block_submitted(now_us, bytes);
        }
    }

    fn note_block_submitted(&mut self, now_us: u64, bytes: u64) {
        self.shard.block_submitted(now_us);
        if let Some(ledger) = &mut self.connections.ledger {
            ledger.block_submitted(now_us, bytes);
        }
    }

    fn note_block_ended(&mut self, now_us: u64) {
        self.shard.disk_heard(now_us);
        if let Some(ledger) = &mut self.connections.ledger {
            ledger.block_ended(now_us);
        }
    }

    fn gauges(&self) -> Gauges {
        Gauges {
            connections: self.connections.count() as u32,
            requests_in_flight: self.connections.requests_in_flight() as u32,
            letters_waiting: self.mailbox.backlog() as u32,
            open_work: self.shard.open_work() as u32,
            dirty_bytes: self.shard.dirty_bytes(),
        }
    }

    /// Hands over what the ledger has of the last second; the next time if whoever reads it is at it just now.
    fn publish(&mut self, now_us: u64) {
        let gauges = self.gauges();
        let Some(ledger) = &mut self.connections.ledger else { return };
        let shard = &mut self.shard;
        let lag_wanted = self.desk.lag_wanted(now_us);
        self.desk.give(|| Sheet {
            second: ledger.take_second(now_us, gauges),
            topics: shard.take_traffic(),
            lag: lag_wanted.map(|topics| shard.lag_sheet(&topics)),
            cpu_us: super::clock::thread_cpu_us(),
        });
    }

    fn take_answers(&mut self, inputs: &mut VecDeque<Input>) {
        while let Some(answer) = self.disk.take() {
            match answer {
                Answer::Done(done) => inputs.push_back(Input::Disk(done)),
                answer => self.connections.answered(answer, &mut self.ring, &mut self.disk, inputs),
            }
        }
    }

    fn carry_out(&mut self, effects: &mut Effects, inputs: &mut VecDeque<Input>) {
        for Op { id, kind } in effects.disk.drain(..) {
            self.perform(id, kind, inputs);
        }
        self.disk.announce();
        for (to, letter) in effects.letters.drain(..) {
            self.mailbox.send(to, letter);
        }
        self.mailbox.announce();
        for reply in effects.replies.drain(..) {
            self.connections.reply(reply, &mut self.ring, inputs);
        }
        self.connections.write_replies(&mut self.ring, &mut self.disk, inputs);
        let behind = self.shard.is_over_pressure() || self.mailbox.backlog() > BACKLOG_MAX;
        self.connections.set_producers_wait(behind);
        self.disk.announce();
    }

    /// Starts an operation: blocks of open files by the ring, all else by the disk executor.
    fn perform(&mut self, id: OpId, kind: OpKind, inputs: &mut VecDeque<Input>) {
        let prepared = match &kind {
            OpKind::WriteWal { file, position, parts, flush } => {
                self.blocks.prepare_wal(*file, *position, parts, *flush).map(Some)
            }
            OpKind::WriteSegment { file, position, parts, flush } => {
                self.blocks.prepare_segment(*file, *position, parts, *flush)
            }
            other => {
                self.blocks.forget_files_of(other);
                Ok(None)
            }
        };
        match prepared {
            Ok(None) => self.disk.submit(Op { id, kind }),
            Ok(Some(write)) if write.is_wal() => self.write_wal(id, write, inputs),
            Ok(Some(write)) => self.queue_block(id, write),
            Err(error) => {
                tracing::error!("a file cannot be opened to be written: {error}");
                inputs.push_back(Input::Disk(Done { id, result: Err(error) }));
            }
        }
    }

    fn write_wal(&mut self, id: OpId, write: BlockWrite, inputs: &mut VecDeque<Input>) {
        let bytes = write.bytes().len();
        if !self.disk_speed.is_worth_waiting_for(bytes) {
            self.wal_queued = Some(bytes as u64);
            return self.queue_block(id, write);
        }
        self.turns.doing(Doing::WalBlock);
        let begun_us = self.clock.elapsed_us();
        self.note_block_submitted(begun_us, bytes as u64);
        let (written, flushed) = write.perform();
        let ended_us = self.clock.elapsed_us();
        self.disk_speed.took(ended_us - begun_us);
        self.note_block_ended(ended_us);
        self.turns.doing(Doing::Effects);
        self.block_done(id, write, written, flushed, inputs);
    }

    fn queue_block(&mut self, id: OpId, write: BlockWrite) {
        let write = BlockWriteInFlight { write, begun_us: self.clock.elapsed_us(), written: None };
        let write = self.block_writes.entry(id).insert_entry(write).into_mut();
        // SAFETY: the map keeps it until both of its events have come, and the driver ends when none is in flight.
        unsafe { self.ring.write_block(id, &write.write) };
    }

    fn block_written(&mut self, id: OpId, result: i32, inputs: &mut VecDeque<Input>) {
        let write = self.block_writes.get_mut(&id).expect("a block that ends has begun");
        write.written = Some(to_result(result));
        if !write.write.flush() {
            self.block_flushed(id, 0, inputs);
        }
    }

    /// The end of a block; if its write has failed, the flush is only told to have been cancelled.
    fn block_flushed(&mut self, id: OpId, result: i32, inputs: &mut VecDeque<Input>) {
        let write = self.block_writes.remove(&id).expect("a block ends once");
        let BlockWriteInFlight { write, begun_us, written } = write;
        if write.is_wal() {
            if DiskSpeed::is_small(write.bytes().len()) {
                self.disk_speed.took(self.clock.elapsed_us() - begun_us);
            }
            self.note_block_ended(self.connections.turn_us());
        }
        let written = written.expect("a flush follows its write");
        self.block_done(id, write, written, to_result(result).map(|_| ()), inputs);
    }

    fn block_done(
        &mut self,
        id: OpId,
        write: BlockWrite,
        written: io::Result<usize>,
        flushed: io::Result<()>,
        inputs: &mut VecDeque<Input>,
    ) {
        let result = self.blocks.finish(write, written, flushed).map(|()| Outcome::Unit);
        inputs.push_back(Input::Disk(Done { id, result }));
    }

    fn sweep(&mut self, sweep: &mut Sweep, now_us: u64, inputs: &mut VecDeque<Input>) {
        sweep.due_us = now_us + SWEEP_US;
        sweep.count += 1;
        self.connections.sweep(&mut self.ring, inputs);
        inputs.extend(self.space.read().map(Input::Space));
        self.publish(now_us);
        if sweep.count.is_multiple_of(SWEEPS_UNTIL_CLOSE) {
            self.connections.close_files();
            self.disk.close_idle_files();
            self.blocks.close_idle();
        }
    }

    fn may_go_on(&self, stage: Stage) -> bool {
        match stage {
            Stage::Starting => self.lifecycle.phase() >= Phase::Running,
            Stage::Running => self.lifecycle.phase() >= Phase::Draining,
            Stage::Drained => self.lifecycle.phase() >= Phase::Flushing,
            // The end of a turn may be what completes it.
            Stage::Flushing => {
                self.shard.is_stopped() && self.disk.ops_in_flight() == 0 && self.block_writes.is_empty()
            }
            Stage::Draining { .. } | Stage::Complete => false,
        }
    }

    fn live_further(&mut self, stage: Stage) -> Stage {
        let now = self.clock.now();
        match stage {
            Stage::Starting if self.may_go_on(stage) => {
                for (listener, kind) in self.listeners.drain(..) {
                    self.connections.listen(listener, kind, &mut self.ring);
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

/// When the next look through connections and descriptors is due.
struct Sweep {
    due_us: u64,
    count: u64,
}

/// What the kernel says of an entry: a number, or an error below zero.
fn to_result(result: i32) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}
