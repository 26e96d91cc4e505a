//! A worker: one thread, pinned to a core if it was asked for, that carries a share of the producers and consumers. It
//! never blocks but in `poll`, and there no longer than until the next thing is due.

#![allow(clippy::disallowed_methods, reason = "this is the shell of the load: it reads the clock every turn")]

mod consuming;
mod membership;
mod producing;
mod sockets;

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
const RECORDS_READ_PER_TURN: usize = 128;
/// Acknowledged records after which the generator gets its turn.
const RECORDS_ACKED_PER_TURN: usize = 512;
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

/// When the next record of a closed loop is due that has as many on their way as it may: when one is answered.
const WHEN_ANSWERED_NS: u64 = NEVER_NS - 1;

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
    /// Of a closed loop: records of this worker that may be on their way.
    pub records_out_max: Option<u64>,
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
    Producer {
        index: usize,
        node: usize,
    },
    Consumer {
        index: usize,
        node: usize,
    },
    /// The connection of a consumer to the coordinator of its group.
    Member {
        index: usize,
    },
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
    /// Links that have more to write.
    writing: Vec<usize>,
    /// Links that have more to read.
    readable: Vec<usize>,
    polled_ns: u64,
    happened: Vec<Happened>,

    producers: Vec<Producer>,
    producer_wires: Vec<Vec<Option<usize>>>,
    schedule: Option<Schedule>,
    records_out_max: Option<u64>,
    /// Records that were put into a batch and not answered yet.
    records_out: u64,
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
            writing: Vec::new(),
            readable: Vec::new(),
            polled_ns: 0,
            happened: Vec::new(),
            producer_wires: vec![Vec::new(); plan.producers.len()],
            quiet: plan.producers.is_empty(),
            producers: plan.producers,
            schedule,
            records_out_max: plan.records_out_max,
            records_out: 0,
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
            self.write();
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
