//! A worker: one thread, pinned to a core if it was asked for, that carries a share of the producers and consumers. It
//! never blocks but in `poll`, and there no longer than until the next thing is due.

#![allow(clippy::disallowed_methods, reason = "this is the shell of the load: it reads the clock every turn")]

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::mpsc::{Receiver, Sender};

use bytes::Bytes;
use mio::Token;
use net::messages::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceData,
};
use net::{ApiKey, ErrorCode, Request, Response};
use rand::RngExt;
use rand_pcg::Pcg64Mcg;

use super::consumer::Consumer;
use super::group::{Effect, Member};
use super::link::{Arrived, Link, LinkError, READ_BYTES};
use super::producer::{Batch, NewRecord, Producer, RequestRules, Spares};
use super::shared::{NEVER_NS, Shared, lock};
use crate::clock::{self, MILLISECOND_NS};
use crate::cluster::{Layout, Versions, resolve};
use crate::correctness::{Seen, Written};
use crate::keys::Keys;
use crate::outcome::Measure;
use crate::payload::Pool;
use crate::record::{self, NotOurs};
use crate::recorder::Sheet;
use crate::schedule::Schedule;
use crate::sizes::Sizes;
use crate::waiter::{Happened, SPIN_NS, Waiter};
use crate::workload::{Acks, Arrival, QueuePolicy, Workload};

/// Records that one turn generates at most, so that responses are not kept waiting by a generator that catches up.
const RECORDS_PER_TURN: usize = 256;
/// Records that one turn looks at, so that the generator is not kept waiting by consumers that catch up.
const RECORDS_READ_PER_TURN: usize = 256;
/// Reads of one turn: for the same reason.
const READS_PER_TURN: usize = 8;
/// The sockets are looked at this often while the worker has other things to do.
const POLL_EVERY_NS: u64 = 4_000;
/// No sleep is longer: what is shared is looked at this often.
const SLEEP_NS_MAX: u64 = 5 * MILLISECOND_NS;
/// The pause of a partition after an error that may pass: `retry.backoff.ms`.
const RETRY_NS: u64 = 100 * MILLISECOND_NS;
/// What the broker may take over a produce, at most, before it answers by itself.
const PRODUCE_TIMEOUT_MS: i32 = 30_000;

/// What a worker is to do.
pub struct Plan {
    /// Its number.
    pub index: usize,
    /// The core that it is pinned to.
    pub core: Option<usize>,
    /// Whether it spins instead of sleeping.
    pub busy: bool,
    /// The load.
    pub workload: Arc<Workload>,
    /// The versions to speak.
    pub versions: Versions,
    /// The run, as records name it.
    pub run: u32,
    /// Its producers.
    pub producers: Vec<Producer>,
    /// Their schedule, if there are any.
    pub schedule: Option<Schedule>,
    /// When the schedule begins.
    pub start_ns: u64,
    /// What values are cut from.
    pub payload: Pool,
    /// Keys.
    pub keys: Keys,
    /// What is drawn.
    pub random: Pcg64Mcg,
    /// Its consumers.
    pub consumers: Vec<ConsumerPlan>,
    /// What the run shares.
    pub shared: Arc<Shared>,
    /// Where its sheets go.
    pub reports: Sender<Report>,
    /// Where empty sheets come from.
    pub blank: Receiver<Box<Sheet>>,
}

/// A consumer of a worker.
pub struct ConsumerPlan {
    /// Which of the independent readers it belongs to.
    pub subscription: usize,
    /// What it reads, and from where; in a group that is found out by its member.
    pub partitions: Vec<(usize, i64)>,
    /// Its membership, if it is in a group.
    pub member: Option<Member>,
    /// Whether its end-to-end latency is measured.
    pub measured: bool,
}

/// What a worker reports.
#[derive(Debug)]
pub enum Report {
    /// What it measured from one time to another.
    Sheet {
        /// From.
        start_ns: u64,
        /// To.
        end_ns: u64,
        /// Whether it is of the warm-up.
        warm_up: bool,
        /// The sheet.
        sheet: Box<Sheet>,
        /// CPU time of the worker, in nanoseconds.
        cpu_ns: u64,
        /// The worker.
        worker: usize,
    },
    /// It has ended: what its producers wrote, by producer and partition.
    Done(Vec<(u32, usize, Written)>),
    /// It cannot go on.
    Failed(String),
}

/// Whose a link is.
#[derive(Debug, Clone, Copy)]
enum Owner {
    Producer { index: usize, node: usize },
    Consumer { index: usize, node: usize },
    /// The connection of a consumer to the coordinator of its group.
    Member { index: usize },
}

/// What a request carries until its response comes.
#[derive(Debug)]
enum Tag {
    Produce { batches: Vec<Box<Batch>>, written_ns: u64 },
    Fetch { sent_ns: u64 },
    Group { sent_ns: u64, commit: bool },
}

struct Wire {
    link: Link<Tag>,
    owner: Owner,
    /// From when on a request could be sent: since it was opened, or since one of too many in flight was answered.
    free_since_ns: u64,
}

/// Runs a worker until it is told to stop.
pub fn run(plan: Plan) {
    if let Some(core) = plan.core {
        core_affinity::set_for_current(core_affinity::CoreId { id: core });
    }
    let reports = plan.reports.clone();
    let result = Worker::new(plan).and_then(|mut worker| {
        worker.run()?;
        Ok(worker.end())
    });
    let last = match result {
        Ok(written) => Report::Done(written),
        Err(error) => Report::Failed(format!("a worker cannot wait for its sockets: {error}")),
    };
    // Nobody listens only if the run has been given up.
    let _ = reports.send(last);
}

struct Worker {
    index: usize,
    busy: bool,
    workload: Arc<Workload>,
    versions: Versions,
    run: u32,
    shared: Arc<Shared>,
    layout: Arc<Layout>,
    layout_generation: u64,

    waiter: Waiter,
    wires: Vec<Wire>,
    scratch: Vec<u8>,
    /// Links that are closed and wait to be opened.
    closed: Vec<usize>,
    /// Links that have more to read.
    readable: Vec<usize>,
    polled_ns: u64,
    happened: Vec<Happened>,

    producers: Vec<Producer>,
    producer_wires: Vec<Vec<Option<usize>>>,
    schedule: Option<Schedule>,
    start_ns: u64,
    next_intended_ns: u64,
    next_producer: usize,
    payload: Pool,
    keys: Keys,
    sizes: Sizes,
    random: Pcg64Mcg,
    wall_offset_ms: i64,
    spares: Spares,
    spare_buffer: Vec<u8>,
    taken: Vec<(Box<Batch>, Bytes)>,
    /// Producers and brokers that may have something to send.
    dirty: VecDeque<(usize, usize)>,
    /// When a batch has lingered long enough: (time, producer, slot). The linger is the same for all, so it is sorted.
    lingering: VecDeque<(u64, usize, usize)>,
    /// When a pause after an error is over. Sorted for the same reason.
    retries: VecDeque<(u64, usize, usize)>,
    buffered_bytes: usize,
    batches_out: u64,
    /// Records due before this were kept waiting by a full buffer and not by the generator.
    blocked_until_ns: u64,
    is_blocked: bool,
    quiet: bool,

    consumers: Vec<Consumer>,
    consumer_wires: Vec<Vec<Option<usize>>>,
    /// By consumer: whether its end-to-end latency is measured.
    consumer_measured: Vec<bool>,
    /// By consumer: its membership and the connection to its coordinator.
    members: Vec<Option<(Member, usize)>>,
    /// By consumer: whether its member has been counted as ready.
    member_counted: Vec<bool>,
    /// When the next of them has something to ask.
    members_due_ns: u64,
    next_consumer: usize,
    /// Whether there may be records to look at.
    unread: bool,
    /// Fetches that wait: after an error, or because their consumer is not to begin yet.
    delayed_fetches: Vec<(u64, usize, usize)>,

    sheet: Box<Sheet>,
    sheet_start_ns: u64,
    sheet_end_ns: u64,
    cpu_ns: u64,
    measured_from_ns: u64,
    measuring: bool,
    generate_until_ns: u64,
    reports: Sender<Report>,
    blank: Receiver<Box<Sheet>>,
}

impl Worker {
    fn new(plan: Plan) -> io::Result<Self> {
        let waiter = Waiter::new()?;
        let layout = plan.shared.layout();
        let mut schedule = plan.schedule;
        let next_intended_ns =
            schedule.as_mut().map_or(NEVER_NS, |schedule| plan.start_ns + schedule.next_ns());
        let interval_ns = clock::seconds_to_ns(plan.workload.interval_s);
        let (mut consumers, mut consumer_measured, mut members) = (Vec::new(), Vec::new(), Vec::new());
        for consumer_plan in plan.consumers {
            let mut consumer = Consumer::new(consumer_plan.subscription);
            consumer.assign(consumer_plan.partitions.into_iter(), &layout);
            consumers.push(consumer);
            consumer_measured.push(consumer_plan.measured);
            members.push(consumer_plan.member.map(|member| (member, usize::MAX)));
        }
        Ok(Self {
            index: plan.index,
            busy: plan.busy,
            sizes: Sizes::new(&plan.workload.record_bytes),
            workload: plan.workload,
            versions: plan.versions,
            run: plan.run,
            layout,
            layout_generation: 0,
            waiter,
            wires: Vec::new(),
            scratch: vec![0; READ_BYTES],
            closed: Vec::new(),
            readable: Vec::new(),
            polled_ns: 0,
            happened: Vec::new(),
            producer_wires: vec![Vec::new(); plan.producers.len()],
            quiet: plan.producers.is_empty(),
            producers: plan.producers,
            schedule,
            start_ns: plan.start_ns,
            next_intended_ns,
            next_producer: 0,
            payload: plan.payload,
            keys: plan.keys,
            random: plan.random,
            wall_offset_ms: clock::wall_ms() as i64 - (clock::monotonic_ns() / MILLISECOND_NS) as i64,
            spares: Spares::default(),
            spare_buffer: Vec::new(),
            taken: Vec::new(),
            dirty: VecDeque::new(),
            lingering: VecDeque::new(),
            retries: VecDeque::new(),
            buffered_bytes: 0,
            batches_out: 0,
            blocked_until_ns: 0,
            is_blocked: false,
            consumer_wires: vec![Vec::new(); consumers.len()],
            member_counted: vec![false; consumers.len()],
            consumers,
            consumer_measured,
            members,
            members_due_ns: 0,
            next_consumer: 0,
            unread: false,
            delayed_fetches: Vec::new(),
            sheet: Box::default(),
            sheet_start_ns: plan.start_ns,
            sheet_end_ns: plan.start_ns + interval_ns,
            cpu_ns: 0,
            measured_from_ns: 0,
            measuring: false,
            generate_until_ns: NEVER_NS,
            reports: plan.reports,
            blank: plan.blank,
            shared: plan.shared,
        })
    }

    fn run(&mut self) -> io::Result<()> {
        if self.quiet {
            self.shared.quiet_workers.fetch_add(1, Relaxed);
        }
        self.connect_consumers();
        self.connect_members();
        loop {
            let now_ns = clock::monotonic_ns();
            if self.follow_orders(now_ns) {
                return Ok(());
            }
            self.generate();
            self.expire(now_ns);
            self.send_requests();
            self.look_at_records();
            self.wait()?;
            self.read();
        }
    }

    /// Reads what is shared. Whether the worker is to stop.
    fn follow_orders(&mut self, now_ns: u64) -> bool {
        self.generate_until_ns = self.shared.generate_until_ns.load(Relaxed);
        if !self.measuring {
            let from_ns = self.shared.measure_from_ns.load(Relaxed);
            if now_ns >= from_ns {
                self.turn_sheet(from_ns);
                self.measuring = true;
                self.measured_from_ns = from_ns;
            }
        }
        while now_ns >= self.sheet_end_ns {
            self.turn_sheet(self.sheet_end_ns);
        }
        if self.shared.layout_generation.load(Acquire) != self.layout_generation {
            self.layout_generation = self.shared.layout_generation.load(Acquire);
            self.follow_layout();
        }
        self.shared.stop.load(Relaxed)
    }

    /// Hands over the sheet that ends at this time, and begins the next.
    fn turn_sheet(&mut self, end_ns: u64) {
        let blank = self.blank.try_recv().unwrap_or_default();
        let cpu_ns = clock::thread_cpu_ns();
        let sheet = std::mem::replace(&mut self.sheet, blank);
        let report = Report::Sheet {
            start_ns: self.sheet_start_ns,
            end_ns,
            warm_up: !self.measuring,
            sheet,
            cpu_ns: cpu_ns - std::mem::replace(&mut self.cpu_ns, cpu_ns),
            worker: self.index,
        };
        // Nobody listens only if the run has been given up; then `stop` is set as well.
        let _ = self.reports.send(report);
        self.sheet_start_ns = end_ns;
        self.sheet_end_ns = end_ns + clock::seconds_to_ns(self.workload.interval_s);
    }

    fn follow_layout(&mut self) {
        self.layout = self.shared.layout();
        for wire in &mut self.wires {
            if let Owner::Producer { node, .. } | Owner::Consumer { node, .. } = wire.owner {
                wire.link.set_address(self.layout.nodes[node].address);
            }
        }
        for consumer in &mut self.consumers {
            consumer.follow_leaders(&self.layout);
        }
        self.connect_consumers();
    }

    // ---- producing ------------------------------------------------------------------------------------------------

    /// Puts the records that are due into batches.
    fn generate(&mut self) {
        for _ in 0..RECORDS_PER_TURN {
            let now_ns = clock::monotonic_ns();
            let intended_ns = self.next_intended_ns;
            if intended_ns > now_ns {
                return;
            }
            if intended_ns >= self.generate_until_ns {
                self.next_intended_ns = NEVER_NS;
                if self.batches_out == 0 {
                    self.become_quiet();
                }
                return;
            }
            let is_full = self.buffered_bytes >= self.workload.batching.buffer_bytes;
            if is_full && self.workload.queue == QueuePolicy::Block {
                self.is_blocked = true;
                return;
            }
            if std::mem::take(&mut self.is_blocked) {
                self.blocked_until_ns = now_ns;
            }
            let schedule = self.schedule.as_mut().expect("a record is due by a schedule");
            self.next_intended_ns = self.start_ns + schedule.next_ns();
            let measured = intended_ns >= self.measured_from_ns;
            self.sheet.counts.intended += u64::from(measured);
            if is_full {
                self.sheet.counts.dropped += u64::from(measured);
                continue;
            }
            self.append(intended_ns, now_ns, measured);
        }
    }

    fn append(&mut self, intended_ns: u64, now_ns: u64, measured: bool) {
        let index = match self.workload.arrival {
            // A part of a Poisson process is one only if it is drawn.
            Arrival::Poisson | Arrival::Bursty { .. } if self.producers.len() > 1 => {
                self.random.random_range(0..self.producers.len())
            }
            _ => {
                self.next_producer = (self.next_producer + 1) % self.producers.len();
                self.next_producer
            }
        };
        let value_bytes = self.sizes.next_bytes(&mut self.random);
        let key = self.keys.next_key(&mut self.random);
        if intended_ns < self.blocked_until_ns {
            self.sheet.counts.blocked += u64::from(measured);
        }
        let record = NewRecord {
            intended_ns,
            lag_ns: now_ns.saturating_sub(intended_ns.max(self.blocked_until_ns)),
            key: key.as_ref(),
            value_bytes,
            timestamp_ms: (now_ns / MILLISECOND_NS) as i64 + self.wall_offset_ms,
        };
        let appended = self.producers[index].append(
            &record,
            now_ns,
            &self.workload.batching,
            &mut self.payload,
            &self.layout,
            &mut self.spares,
        );
        self.buffered_bytes += appended.bytes;
        if let Some((slot, until_ns)) = appended.lingers {
            self.batches_out += 1;
            if until_ns > now_ns {
                self.lingering.push_back((until_ns, index, slot));
            }
        }
        if let Some(node) = appended.ready_node {
            self.dirty.push_back((index, node));
        }
        self.sheet.counts.sent += u64::from(measured);
        self.sheet.flow.sent_records += 1;
        self.sheet.flow.sent_bytes += value_bytes as u64;
    }

    /// Ends lingers and pauses whose time has come, and opens links again.
    fn expire(&mut self, now_ns: u64) {
        while let Some((_, producer, slot)) = self.lingering.pop_front_if(|(until, ..)| *until <= now_ns) {
            if let Some(node) = self.producers[producer].lingered(slot, now_ns, &self.layout) {
                self.dirty.push_back((producer, node));
            }
        }
        while let Some((_, producer, slot)) = self.retries.pop_front_if(|(until, ..)| *until <= now_ns) {
            if let Some(node) = self.producers[producer].unmute(slot, now_ns, &self.layout) {
                self.dirty.push_back((producer, node));
            }
        }
        if self.members_due_ns <= now_ns {
            self.ask_members(now_ns);
        }
        if self.delayed_fetches.iter().any(|(at_ns, ..)| *at_ns <= now_ns) {
            for (at_ns, consumer, node) in std::mem::take(&mut self.delayed_fetches) {
                match at_ns <= now_ns {
                    true => self.send_fetch(consumer, node),
                    false => self.delayed_fetches.push((at_ns, consumer, node)),
                }
            }
        }
        if !self.closed.is_empty() {
            let closed = std::mem::take(&mut self.closed);
            for index in closed {
                match self.wires[index].link.closed_until() {
                    Some(until_ns) if until_ns <= now_ns => self.connect(index, now_ns),
                    Some(_) => self.closed.push(index),
                    None => {}
                }
            }
        }
    }

    /// Sends what is ready and has room in flight.
    fn send_requests(&mut self) {
        for _ in 0..self.dirty.len() {
            let Some((producer, node)) = self.dirty.pop_front() else { return };
            self.send_produce(producer, node);
        }
    }

    fn send_produce(&mut self, producer: usize, node: usize) {
        if !self.producers[producer].is_ready(node) {
            return;
        }
        let wire_index = self.producer_wire(producer, node);
        loop {
            let now_ns = clock::monotonic_ns();
            let wire = &mut self.wires[wire_index];
            if !wire.link.is_open() || wire.link.in_flight() >= self.workload.batching.max_in_flight {
                // It becomes dirty again when the link opens or a response comes.
                wire.free_since_ns = NEVER_NS;
                return;
            }
            if wire.free_since_ns == NEVER_NS {
                wire.free_since_ns = now_ns;
            }
            let rules = RequestRules {
                batching: &self.workload.batching,
                codec: self.workload.codec,
                layout: &self.layout,
            };
            let taken = &mut self.taken;
            self.producers[producer].take_request(node, now_ns, &rules, &mut self.spare_buffer, taken);
            if taken.is_empty() {
                return;
            }
            let sheet = &mut self.sheet;
            let free_since_ns = wire.free_since_ns;
            let mut topics: Vec<TopicProduceData> = Vec::new();
            let mut last_topic = usize::MAX;
            let mut records = 0;
            let mut batches = Vec::with_capacity(taken.len());
            let written_ns = clock::monotonic_ns();
            for (batch, sealed) in taken.drain(..) {
                if batch.attempts == 1 {
                    let waited_ns = written_ns.saturating_sub(batch.sendable_at_ns().max(free_since_ns));
                    for (intended_ns, lag_ns) in batch.intended_ns.iter().zip(&batch.lag_ns) {
                        if *intended_ns >= self.measured_from_ns {
                            sheet.record(Measure::GeneratorLag, u64::from(*lag_ns) + waited_ns);
                        }
                    }
                }
                records += batch.records();
                sheet.requests.records_per_batch.saturating_record(batch.records());
                let (topic, index) = self.layout.locate(batch.partition);
                if topic != last_topic {
                    let name = self.layout.topics[topic].name.clone();
                    topics.push(TopicProduceData { name, partition_data: Vec::new() });
                    last_topic = topic;
                }
                topics
                    .last_mut()
                    .expect("its topic is there")
                    .partition_data
                    .push(PartitionProduceData { index, records: Some(sealed) });
                batches.push(batch);
            }
            sheet.requests.produce += 1;
            sheet.requests.batches += batches.len() as u64;
            sheet.requests.records_per_request.saturating_record(records);
            let request = Request::Produce(ProduceRequest {
                transactional_id: None,
                acks: self.workload.acks.number(),
                timeout_ms: PRODUCE_TIMEOUT_MS,
                topic_data: topics,
            });
            let version = self.versions.of(ApiKey::Produce).expect("it was asked for before the run");
            match wire.link.send(version, &request, Tag::Produce { batches, written_ns }) {
                Ok(bytes) => sheet.requests.bytes_out += bytes,
                Err(error) => return self.lose(wire_index, &error),
            }
            if self.workload.acks == Acks::None {
                self.take_arrivals(wire_index);
            }
        }
    }

    fn producer_wire(&mut self, producer: usize, node: usize) -> usize {
        let wires = &mut self.producer_wires[producer];
        if wires.len() <= node {
            wires.resize(node + 1, None);
        }
        match wires[node] {
            Some(index) => index,
            None => {
                let index = self.wires.len();
                wires[node] = Some(index);
                self.open_wire(Owner::Producer { index: producer, node }, self.layout.nodes[node].address);
                index
            }
        }
    }

    fn open_wire(&mut self, owner: Owner, address: SocketAddr) {
        let index = self.wires.len();
        let link = Link::new(Token(index), address);
        self.wires.push(Wire { link, owner, free_since_ns: NEVER_NS });
        self.connect(index, clock::monotonic_ns());
    }

    fn connect(&mut self, index: usize, now_ns: u64) {
        if let Err(error) = self.wires[index].link.connect(self.waiter.registry(), now_ns) {
            self.lose(index, &error);
        }
    }

    /// A connection ended: what was in flight is sent again, or fails.
    fn lose(&mut self, index: usize, error: &LinkError) {
        let now_ns = clock::monotonic_ns();
        let wire = &mut self.wires[index];
        self.sheet.counts.reconnects += u64::from(wire.link.is_open());
        wire.free_since_ns = NEVER_NS;
        let name = error.name();
        let tags = wire.link.close(now_ns);
        let owner = wire.owner;
        *self.sheet.counts.retried.entry(name.clone()).or_default() += 1;
        self.shared.refresh_wanted.store(true, Relaxed);
        self.closed.push(index);
        for tag in tags {
            match (tag, owner) {
                (Tag::Produce { batches, .. }, Owner::Producer { index, .. }) => {
                    for batch in batches {
                        match self.workload.acks {
                            // Nobody will ever know.
                            Acks::None => self.fail(index, batch, &name),
                            _ => self.retry(index, batch, now_ns, &name),
                        }
                    }
                }
                (Tag::Fetch { .. }, Owner::Consumer { index, node }) => {
                    self.consumers[index].fetch_failed(node);
                }
                // Its member is told below.
                (Tag::Group { .. }, Owner::Member { .. }) => {}
                (tag, owner) => unreachable!("{tag:?} of {owner:?}"),
            }
        }
        match owner {
            Owner::Producer { .. } => {}
            Owner::Consumer { index, node } => self.consumers[index].fetch_failed(node),
            Owner::Member { index } => {
                let (member, _) = self.members[index].as_mut().expect("it is a member");
                member.disconnected(now_ns);
                self.members_due_ns = 0;
            }
        }
    }

    /// Sends a batch again after a pause, unless its time is over.
    fn retry(&mut self, producer: usize, batch: Box<Batch>, now_ns: u64, name: &str) {
        let deadline_ns = batch.intended_ns[0] + self.workload.deadline_ms * MILLISECOND_NS;
        // An idempotent producer cannot leave a hole in its sequence: it goes on trying, and the records are late.
        if now_ns > deadline_ns && !self.workload.idempotence {
            self.give_up(producer, batch);
            return;
        }
        *self.sheet.counts.retried.entry(name.to_owned()).or_default() += 1;
        self.retries.push_back((now_ns + RETRY_NS, producer, batch.slot));
        self.producers[producer].put_back(batch);
    }

    /// A batch failed for good.
    fn fail(&mut self, producer: usize, batch: Box<Batch>, name: &str) {
        let measured = self.measured_records(&batch);
        if measured > 0 {
            *self.sheet.counts.failed.entry(name.to_owned()).or_default() += measured;
        }
        self.shared.failed.fetch_add(batch.records(), Relaxed);
        self.producers[producer].excuse(&batch);
        self.finish(batch);
    }

    /// A batch was not acknowledged in time.
    fn give_up(&mut self, producer: usize, batch: Box<Batch>) {
        self.sheet.counts.beyond_deadline += self.measured_records(&batch);
        self.shared.failed.fetch_add(batch.records(), Relaxed);
        self.producers[producer].excuse(&batch);
        self.finish(batch);
    }

    fn finish(&mut self, batch: Box<Batch>) {
        self.buffered_bytes -= batch.buffer_bytes;
        self.batches_out -= 1;
        self.spares.give(batch);
        if self.batches_out == 0 && self.next_intended_ns == NEVER_NS {
            self.become_quiet();
        }
    }

    fn become_quiet(&mut self) {
        if !std::mem::replace(&mut self.quiet, true) {
            self.shared.quiet_workers.fetch_add(1, Relaxed);
        }
    }

    fn measured_records(&self, batch: &Batch) -> u64 {
        batch.intended_ns.iter().filter(|intended| **intended >= self.measured_from_ns).count() as u64
    }

    /// A batch was acknowledged.
    fn acknowledge(&mut self, batch: Box<Batch>, written_ns: u64, now_ns: u64) {
        let sheet = &mut self.sheet;
        let deadline_ns = self.workload.deadline_ms * MILLISECOND_NS;
        let mut measured = 0;
        for intended_ns in &batch.intended_ns {
            if *intended_ns < self.measured_from_ns {
                continue;
            }
            let response_ns = now_ns.saturating_sub(*intended_ns);
            if response_ns > deadline_ns {
                sheet.counts.beyond_deadline += 1;
                continue;
            }
            measured += 1;
            sheet.record(Measure::Produce, response_ns);
        }
        sheet.record_n(Measure::Service, now_ns.saturating_sub(written_ns), measured);
        sheet.counts.acked += measured;
        sheet.flow.acked_records += batch.records();
        sheet.flow.acked_bytes += batch.value_bytes;
        self.shared.acked.fetch_add(batch.records(), Relaxed);
        self.finish(batch);
    }

    fn produced(
        &mut self,
        producer: usize,
        tag: (Vec<Box<Batch>>, u64),
        response: ProduceResponse,
        now_ns: u64,
    ) {
        let (batches, written_ns) = tag;
        let mut answers: VecDeque<(usize, PartitionProduceResponse)> = VecDeque::new();
        for topic in response.responses {
            for answer in topic.partition_responses {
                match self.layout.partition(&topic.name, answer.index) {
                    Some(partition) => answers.push_back((partition, answer)),
                    None => self.count_retry("an answer for a partition that was not asked"),
                }
            }
        }
        for batch in batches {
            // Brokers answer in the order of the request; any other is found all the same.
            let at = answers.iter().position(|(partition, _)| *partition == batch.partition);
            let Some((_, answer)) = at.and_then(|at| answers.remove(at)) else {
                self.fail(producer, batch, "no answer for the partition");
                continue;
            };
            match answer.error_code {
                ErrorCode::None | ErrorCode::DuplicateSequenceNumber => {
                    self.acknowledge(batch, written_ns, now_ns);
                }
                // Behind a batch that is sent again, all are out of order until it is there.
                ErrorCode::OutOfOrderSequenceNumber if self.workload.idempotence => {
                    self.retry(producer, batch, now_ns, answer.error_code.name());
                }
                code if code.is_retriable() => {
                    self.shared.refresh_wanted.store(true, Relaxed);
                    self.retry(producer, batch, now_ns, code.name());
                }
                code => self.fail(producer, batch, code.name()),
            }
        }
    }

    fn count_retry(&mut self, name: &str) {
        *self.sheet.counts.retried.entry(name.to_owned()).or_default() += 1;
    }

    // ---- consuming ------------------------------------------------------------------------------------------------

    fn connect_consumers(&mut self) {
        for index in 0..self.consumers.len() {
            let nodes: Vec<usize> = self.consumers[index].nodes().collect();
            for node in nodes {
                let wires = &mut self.consumer_wires[index];
                if wires.len() <= node {
                    wires.resize(node + 1, None);
                }
                if wires[node].is_none() {
                    wires[node] = Some(self.wires.len());
                    self.open_wire(Owner::Consumer { index, node }, self.layout.nodes[node].address);
                }
            }
        }
    }

    fn send_fetch(&mut self, consumer: usize, node: usize) {
        let Some(wire_index) = self.consumer_wires[consumer].get(node).copied().flatten() else { return };
        let subscription = self.consumers[consumer].subscription;
        let now_ns = clock::monotonic_ns();
        let wire = &mut self.wires[wire_index];
        if !wire.link.is_open() || !self.consumers[consumer].wants_fetch(node) {
            return;
        }
        if now_ns < self.shared.consume_from_ns[subscription].load(Relaxed) {
            self.delayed_fetches.push((now_ns + SLEEP_NS_MAX, consumer, node));
            return;
        }
        let version = self.versions.of(ApiKey::Fetch).expect("it was asked for before the run");
        let request = self.consumers[consumer].fetch(node, version, &self.layout, &self.workload.consumers);
        self.sheet.requests.fetch += 1;
        match wire.link.send(version, &Request::Fetch(request), Tag::Fetch { sent_ns: now_ns }) {
            Ok(bytes) => self.sheet.requests.bytes_out += bytes,
            Err(error) => self.lose(wire_index, &error),
        }
    }

    /// Looks at some of the records that were fetched.
    fn look_at_records(&mut self) {
        if !self.unread {
            return;
        }
        let mut left = RECORDS_READ_PER_TURN;
        for _ in 0..self.consumers.len() {
            let index = self.next_consumer;
            while left > 0 && self.consumers[index].chunk().is_some() {
                left = self.look_at_chunk(index, left);
            }
            if left == 0 {
                return;
            }
            self.next_consumer = (index + 1) % self.consumers.len();
        }
        self.unread = false;
    }

    /// Looks at up to `left` records of the oldest chunk of a consumer. Returns how many may still be looked at.
    fn look_at_chunk(&mut self, index: usize, mut left: usize) -> usize {
        let consumer = &mut self.consumers[index];
        let subscription = consumer.subscription;
        let measured = self.consumer_measured[index];
        let Some(chunk) = consumer.chunk() else { return left };
        let mut check = lock(&self.shared.checks[subscription][chunk.partition]);
        let (sheet, measured_from_ns) = (&mut self.sheet, self.measured_from_ns);
        let mut first_seen = 0;
        let done = loop {
            if left == 0 {
                break false;
            }
            let value = match chunk.reader.next_value() {
                Ok(Some((_, value))) => value,
                Ok(None) => break true,
                Err(_) => {
                    sheet.counts.corrupt += 1;
                    break true;
                }
            };
            left -= 1;
            let head = match record::check(value, self.run) {
                Ok(head) => head,
                Err(NotOurs::Corrupt) => {
                    sheet.counts.corrupt += 1;
                    continue;
                }
                Err(NotOurs::Foreign) => {
                    sheet.counts.foreign += 1;
                    continue;
                }
            };
            let now_ns = clock::monotonic_ns();
            match check.observe(head.producer, head.sequence) {
                Seen::InOrder => first_seen += 1,
                Seen::Late => {
                    first_seen += 1;
                    sheet.counts.reordered += 1;
                }
                Seen::Duplicate => {
                    sheet.counts.duplicated += 1;
                    continue;
                }
            }
            sheet.flow.received_records += 1;
            sheet.flow.received_bytes += value.len() as u64;
            if head.intended_ns >= measured_from_ns {
                sheet.counts.received += 1;
                if measured {
                    sheet.counts.negative += u64::from(now_ns < head.intended_ns);
                    sheet.record(Measure::EndToEnd, now_ns.saturating_sub(head.intended_ns));
                }
            }
        };
        drop(check);
        self.shared.received[subscription].fetch_add(first_seen, Relaxed);
        if done {
            consumer.finish_chunk();
            let nodes = self.consumer_wires[index].len();
            (0..nodes).for_each(|node| self.send_fetch(index, node));
        }
        left
    }

    // ---- groups ---------------------------------------------------------------------------------------------------

    fn connect_members(&mut self) {
        for index in 0..self.members.len() {
            if let Some((_, wire)) = &mut self.members[index] {
                *wire = self.wires.len();
                self.open_wire(Owner::Member { index }, self.layout.nodes[0].address);
            }
        }
    }

    /// Lets every member ask what it has to ask.
    fn ask_members(&mut self, now_ns: u64) {
        self.members_due_ns = NEVER_NS;
        for index in 0..self.members.len() {
            let Some((member, wire_index)) = &mut self.members[index] else { continue };
            let wire_index = *wire_index;
            if !self.wires[wire_index].link.is_open() {
                // Opening makes them due.
                continue;
            }
            let positions = self.consumers[index].positions();
            let versions = &self.versions;
            let version_of = |api_key: ApiKey| versions.of(api_key).expect("it was asked for before the run");
            if let Some(request) = member.next_request(now_ns, positions, &self.layout, version_of) {
                let version = version_of(request.api_key());
                let tag = Tag::Group { sent_ns: now_ns, commit: request.api_key() == ApiKey::OffsetCommit };
                if let Err(error) = self.wires[wire_index].link.send(version, &request, tag) {
                    self.lose(wire_index, &error);
                    continue;
                }
            }
            let (member, _) = self.members[index].as_ref().expect("it is a member");
            self.members_due_ns = self.members_due_ns.min(member.due_ns());
        }
    }

    fn member_answered(&mut self, index: usize, response: Response, now_ns: u64) {
        let (member, wire_index) = self.members[index].as_mut().expect("it is a member");
        let (wire_index, was_in) = (*wire_index, member.generations);
        let effect = member.answered(response, now_ns, &self.layout);
        if member.generations > was_in {
            self.sheet.counts.rebalances += u64::from(was_in > 0);
        }
        self.members_due_ns = 0;
        match effect {
            Effect::None => {}
            Effect::Error(code) => self.count_retry(code.name()),
            Effect::Coordinator(name) => match resolve(&name) {
                Ok(address) if address == self.wires[wire_index].link.address() => {}
                Ok(address) => {
                    let link = &mut self.wires[wire_index].link;
                    link.set_address(address);
                    link.close(now_ns);
                    self.closed.push(wire_index);
                }
                Err(error) => self.count_retry(&error.0),
            },
            Effect::Revoked => self.consumers[index].assign(std::iter::empty(), &self.layout),
            Effect::Assigned(partitions) => {
                self.consumers[index].assign(partitions.into_iter(), &self.layout);
                if !std::mem::replace(&mut self.member_counted[index], true) {
                    self.shared.members_ready.fetch_add(1, Relaxed);
                }
                self.connect_consumers();
                (0..self.layout.nodes.len()).for_each(|node| self.send_fetch(index, node));
            }
        }
    }

    // ---- sockets --------------------------------------------------------------------------------------------------

    /// Waits until something is due or a socket has something.
    fn wait(&mut self) -> io::Result<()> {
        let now_ns = clock::monotonic_ns();
        let busy = !self.dirty.is_empty() || !self.readable.is_empty() || self.unread;
        let until_ns = if busy || self.busy { now_ns } else { self.next_due_ns(now_ns) };
        if until_ns <= now_ns + SPIN_NS && now_ns < self.polled_ns + POLL_EVERY_NS {
            std::hint::spin_loop();
            return Ok(());
        }
        self.waiter.wait(now_ns, until_ns)?;
        self.polled_ns = clock::monotonic_ns();
        let mut happened = std::mem::take(&mut self.happened);
        happened.extend(self.waiter.happened());
        for what in happened.drain(..) {
            self.take_event(what);
        }
        self.happened = happened;
        Ok(())
    }

    fn take_event(&mut self, what: Happened) {
        let index = what.token;
        let link = &mut self.wires[index].link;
        match link.event(what.readable, what.writable, what.ended) {
            Ok(opened) => {
                if link.is_readable() {
                    self.readable.push(index);
                }
                if opened {
                    self.opened(index);
                } else if what.writable && self.workload.acks == Acks::None {
                    self.take_arrivals(index);
                }
            }
            Err(error) => self.lose(index, &error),
        }
    }

    fn opened(&mut self, index: usize) {
        self.wires[index].free_since_ns = self.polled_ns;
        match self.wires[index].owner {
            Owner::Producer { index, node } => self.dirty.push_back((index, node)),
            Owner::Consumer { index, node } => self.send_fetch(index, node),
            Owner::Member { .. } => self.members_due_ns = 0,
        }
    }

    fn next_due_ns(&self, now_ns: u64) -> u64 {
        let blocked = self.is_blocked && self.workload.queue == QueuePolicy::Block;
        let intended_ns = if blocked { NEVER_NS } else { self.next_intended_ns };
        let lingering_ns = self.lingering.front().map_or(NEVER_NS, |(until, ..)| *until);
        let retry_ns = self.retries.front().map_or(NEVER_NS, |(until, ..)| *until);
        (now_ns + SLEEP_NS_MAX).min(intended_ns).min(lingering_ns).min(retry_ns).min(self.sheet_end_ns).min(self.members_due_ns)
    }

    /// Reads from the sockets that have something.
    fn read(&mut self) {
        let mut reads = 0;
        let mut index = 0;
        while index < self.readable.len() && reads < READS_PER_TURN {
            let wire_index = self.readable[index];
            index += 1;
            if !self.wires[wire_index].link.is_readable() {
                continue;
            }
            reads += 1;
            match self.wires[wire_index].link.read(&mut self.scratch) {
                Ok(bytes) => {
                    self.sheet.requests.bytes_in += bytes as u64;
                    self.take_arrivals(wire_index);
                    if self.wires[wire_index].link.is_readable() {
                        self.readable.push(wire_index);
                    }
                }
                Err(error) => self.lose(wire_index, &error),
            }
        }
        self.readable.drain(..index);
    }

    /// Takes what has arrived on a link.
    fn take_arrivals(&mut self, index: usize) {
        let now_ns = clock::monotonic_ns();
        loop {
            let arrived = match self.wires[index].link.next() {
                Ok(Some(arrived)) => arrived,
                Ok(None) => return,
                Err(error) => return self.lose(index, &error),
            };
            match (self.wires[index].owner, arrived) {
                (
                    Owner::Producer { index: producer, node },
                    Arrived::Response(Response::Produce(response), Tag::Produce { batches, written_ns }),
                ) => {
                    self.produced(producer, (batches, written_ns), response, now_ns);
                    if self.producers[producer].is_ready(node) {
                        self.dirty.push_back((producer, node));
                    }
                }
                (
                    Owner::Producer { index: producer, node },
                    Arrived::Written(Tag::Produce { batches, written_ns }),
                ) => {
                    for batch in batches {
                        self.acknowledge(batch, written_ns, now_ns);
                    }
                    if self.producers[producer].is_ready(node) {
                        self.dirty.push_back((producer, node));
                    }
                }
                (
                    Owner::Consumer { index: consumer, node },
                    Arrived::Response(Response::Fetch(response), Tag::Fetch { sent_ns }),
                ) => {
                    let fetched = self.consumers[consumer].fetched(node, response, &self.layout);
                    if fetched.records {
                        self.unread = true;
                        if sent_ns >= self.measured_from_ns {
                            self.sheet.record(Measure::Fetch, now_ns - sent_ns);
                        }
                    }
                    for code in &fetched.errors {
                        self.count_retry(code.name());
                    }
                    if fetched.stale_leaders {
                        self.shared.refresh_wanted.store(true, Relaxed);
                    }
                    match fetched.errors.is_empty() {
                        true => self.send_fetch(consumer, node),
                        false => self.delayed_fetches.push((now_ns + RETRY_NS, consumer, node)),
                    }
                }
                (Owner::Member { index }, Arrived::Response(response, Tag::Group { sent_ns, commit })) => {
                    if commit && sent_ns >= self.measured_from_ns {
                        self.sheet.record(Measure::Commit, now_ns - sent_ns);
                    }
                    self.member_answered(index, response, now_ns);
                }
                (owner, arrived) => unreachable!("{arrived:?} for {owner:?}"),
            }
        }
    }

    // ---- the end --------------------------------------------------------------------------------------------------

    /// Says goodbye, so that the next run does not wait for members that are gone.
    fn leave_groups(&mut self, now_ns: u64) {
        for (member, wire_index) in self.members.iter().flatten() {
            let link = &mut self.wires[*wire_index].link;
            let Ok(version) = self.versions.of(ApiKey::LeaveGroup) else { continue };
            if let Some(request) = member.leave(version)
                && link.is_open()
            {
                // Without it the session times out, which is no loss to this run.
                let _ = link.send(version, &request, Tag::Group { sent_ns: now_ns, commit: false });
            }
        }
    }

    /// Counts what is left without an answer, and hands over the last sheet. What the producers wrote.
    fn end(mut self) -> Vec<(u32, usize, Written)> {
        let now_ns = clock::monotonic_ns();
        self.leave_groups(now_ns);
        let mut left: Vec<(usize, Box<Batch>)> = Vec::new();
        for wire in &mut self.wires {
            let owner = wire.owner;
            for tag in wire.link.close(now_ns) {
                if let (Tag::Produce { batches, .. }, Owner::Producer { index, .. }) = (tag, owner) {
                    left.extend(batches.into_iter().map(|batch| (index, batch)));
                }
            }
        }
        for (index, producer) in self.producers.iter_mut().enumerate() {
            left.extend(producer.take_waiting().map(|batch| (index, batch)));
        }
        let deadline_ns = self.workload.deadline_ms * MILLISECOND_NS;
        for (producer, batch) in left {
            for intended_ns in &batch.intended_ns {
                if *intended_ns < self.measured_from_ns {
                    continue;
                }
                match now_ns.saturating_sub(*intended_ns) >= deadline_ns {
                    true => self.sheet.counts.beyond_deadline += 1,
                    false => self.sheet.counts.unfinished += 1,
                }
            }
            self.producers[producer].excuse(&batch);
        }
        self.turn_sheet(now_ns.max(self.sheet_start_ns));
        let written = self.producers.into_iter().flat_map(|producer| {
            let number = producer.number;
            producer.written().map(move |(partition, written)| (number, partition, written))
        });
        written.collect()
    }
}
