//! The engine: carries out a workload against a cluster and says what it measured.
//!
//! One thread leads; workers carry the load. The leader prepares topics, begins the warm-up, decides when the measurement
//! begins and ends, waits for what is still due, and adds up.

#![allow(clippy::vec_box, reason = "batches wander between lists: a pointer is what should move")]
#![allow(
    clippy::disallowed_methods,
    reason = "this is the shell of the load: it starts threads and reads the clock"
)]

pub mod consumer;
pub mod group;
pub mod link;
pub mod producer;
pub mod shared;
pub mod witness;
pub mod worker;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use net::ApiKey;

use crate::clock::{self, MILLISECOND_NS, SECOND_NS};
use crate::cluster::{Cluster, ClusterError, Layout};
use crate::correctness::Written;
use crate::histogram::EncodedHistogram;
use crate::keys::Keys;
use crate::outcome::{
    CatchUp, Floor, INTERVALS_MAX, Interval, Measure, Outcome, Target, Verdict, merge_neighbours,
};
use crate::payload::Pool;
use crate::random;
use crate::recorder::Sheet;
use crate::schedule::Schedule;
use crate::sizes::Sizes;
use crate::workload::{Arrival, ConsumerMode, InvalidWorkload, Workload};

use group::Member;
use producer::Producer;
use shared::Shared;
use witness::Witness;
use worker::{ConsumerPlan, Plan, Report};

/// How long threads get to start before the first record is due.
const START_NS: u64 = 300 * MILLISECOND_NS;
/// How often the leader looks up.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The same while everything is read at the end: what is timed there may take a fraction of a second.
const LOOK_AT_READING_EVERY: Duration = Duration::from_millis(1);
/// An order to workers is given so long before it is to be carried out.
const ORDER_AHEAD_NS: u64 = 100 * MILLISECOND_NS;
/// An interrupted run waits so long for what is due.
const INTERRUPTED_WAIT_NS: u64 = 2 * SECOND_NS;
/// Consumers that get nothing for so long have all that they will get.
const READ_PATIENCE_NS: u64 = 10 * SECOND_NS;
/// A run in which all records fail for so long is given up.
const HOPELESS_NS: u64 = 3 * SECOND_NS;
/// Between two looks at the leaders of partitions.
const REFRESH_EVERY: Duration = Duration::from_millis(50);
/// What a group needs of a broker.
const GROUP_APIS: [ApiKey; 7] = [
    ApiKey::FindCoordinator,
    ApiKey::JoinGroup,
    ApiKey::SyncGroup,
    ApiKey::Heartbeat,
    ApiKey::OffsetFetch,
    ApiKey::OffsetCommit,
    ApiKey::LeaveGroup,
];
/// How long groups may take to form.
const GROUPS_NS: u64 = 90 * SECOND_NS;
/// The measurement begins when consumers are behind by no more than the records of so many seconds.
const CAUGHT_UP_S: f64 = 0.5;
/// Intervals in a row that must agree for the warm-up to be stable.
const STABLE_INTERVALS: usize = 3;
/// The most workers of a run.
pub const WORKERS_MAX: usize = 256;

/// How a run is carried out; nothing of this changes the load.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Worker threads.
    pub workers: usize,
    /// The cores that they are pinned to, in turn; empty to leave that to the kernel.
    pub cores: Vec<usize>,
    /// Whether workers spin instead of sleeping until something is due.
    pub busy: bool,
    /// What the harness was calibrated to.
    pub floor: Option<Floor>,
    /// A subscription that begins to read late, and after how many seconds of measurement.
    pub late_subscription: Option<(usize, f64)>,
    /// Consumers begin when everything has been written and acknowledged, and what they take is measured by itself.
    pub read_afterwards: bool,
    /// Consumers that get nothing for so long have all that they will get; 10 s without it.
    pub read_patience_ns: Option<u64>,
    /// The status socket of a Monedula on this machine, which is asked for its own stages.
    pub broker_status: Option<PathBuf>,
    /// The broker's process on this machine, for its CPU time; known by itself where there is a status socket.
    pub broker_process: Option<u32>,
    /// The run ends early when that process does. Otherwise it goes on, as the broker may come back.
    pub ends_with_broker: bool,
}

/// Why a run could not be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunError {
    /// It makes no sense.
    Workload(InvalidWorkload),
    /// The cluster cannot be used.
    Cluster(ClusterError),
    /// A thread could not do its work.
    Worker(String),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload(error) => error.fmt(f),
            Self::Cluster(error) => error.fmt(f),
            Self::Worker(error) => f.write_str(error),
        }
    }
}

impl std::error::Error for RunError {}

impl From<InvalidWorkload> for RunError {
    fn from(error: InvalidWorkload) -> Self {
        Self::Workload(error)
    }
}

impl From<ClusterError> for RunError {
    fn from(error: ClusterError) -> Self {
        Self::Cluster(error)
    }
}

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Topics, producer ids, connections.
    Prepare,
    /// Load that is not measured.
    WarmUp,
    /// Load that is.
    Measure,
    /// No new load; what is due may still come.
    Drain,
}

/// What an observer sees of an interval.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// Where the run is.
    pub phase: Phase,
    /// When the interval ended, in seconds since the warm-up or the measurement began.
    pub end_s: f64,
    /// How long it was.
    pub length_s: f64,
    /// What all workers measured in it.
    pub sheet: &'a Sheet,
    /// By subscription: acknowledged records that it has not got yet. Counted when the view is made.
    pub behind_records: &'a [u64],
}

/// Somebody who watches a run.
pub trait Observer {
    /// An interval is over.
    fn interval(&mut self, view: &View<'_>);
    /// The run is in another phase.
    fn phase(&mut self, phase: Phase);
}

/// Nobody watches.
#[derive(Debug, Default)]
pub struct Unwatched;

impl Observer for Unwatched {
    fn interval(&mut self, _: &View<'_>) {}
    fn phase(&mut self, _: Phase) {}
}

/// Carries out a workload. Once `interrupt` is set it ends early, and says what it has.
pub fn run(
    workload: &Workload,
    bootstrap: &str,
    options: &Options,
    interrupt: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<Outcome, RunError> {
    workload.check()?;
    observer.phase(Phase::Prepare);
    let mut cluster = Cluster::connect(bootstrap)?;
    let needed: &[ApiKey] = match workload.consumers.mode {
        ConsumerMode::Group => &GROUP_APIS,
        _ => &[],
    };
    for api_key in
        [ApiKey::Metadata, ApiKey::Produce, ApiKey::Fetch, ApiKey::ListOffsets].iter().chain(needed)
    {
        cluster.versions().of(*api_key)?;
    }
    let layout = cluster.prepare_topics(&workload.topics)?;
    let target = cluster.target(&layout)?;
    let mut run = Run::start(workload, options, &mut cluster, layout)?;
    let refresher = run.keep_layout_fresh(cluster);
    let result = run.lead(interrupt, observer);
    run.shared.stop.store(true, Relaxed);
    let written = run.end();
    let refreshed = refresher.join();
    result?;
    let written = written?;
    refreshed.map_err(|_| RunError::Worker("the thread that asks for leaders panicked".to_owned()))?;
    Ok(run.outcome(target, &written))
}

/// A run that is going on.
struct Run {
    workload: Arc<Workload>,
    options: Options,
    shared: Arc<Shared>,
    workers: Vec<thread::JoinHandle<()>>,
    reports: Receiver<Report>,
    blanks: Vec<Sender<Box<Sheet>>>,
    gathered: Gathered,
    start_ns: u64,
    started_at_ms: u64,
    measure_from_ns: u64,
    measure_until_ns: u64,
    interrupted: bool,
    /// Consumers were given up on before they had everything.
    hopeless: Option<String>,
    witness: Witness,
    catch_up: Option<CatchUp>,
}

/// What the workers reported.
#[derive(Default)]
struct Gathered {
    /// By start, the sum of the sheets of the workers that have reported it, and how many they are.
    open: BTreeMap<u64, (u64, usize, Box<Sheet>)>,
    spare: Vec<Box<Sheet>>,
    totals: Sheet,
    intervals: Vec<Interval>,
    cpu_ns: u64,
    /// The p99 of the last intervals of the warm-up.
    warm_up_p99: VecDeque<u64>,
    done: Vec<(u32, usize, Written)>,
    workers_done: usize,
}

impl Run {
    fn start(
        workload: &Workload,
        options: &Options,
        cluster: &mut Cluster,
        layout: Layout,
    ) -> Result<Self, RunError> {
        let workers = options.workers.clamp(1, WORKERS_MAX);
        let workload = Arc::new(workload.clone());
        let offsets = cluster.end_offsets(&layout)?;
        let run = random::scatter(clock::monotonic_ns() ^ clock::wall_ms()) as u32;
        let subscriptions = match workload.consumers.mode {
            ConsumerMode::None => 0,
            _ => workload.consumers.subscriptions,
        };
        let mut producers: Vec<Vec<Producer>> = (0..workers).map(|_| Vec::new()).collect();
        for number in 0..workload.producers {
            let producer_id = match workload.idempotence {
                true => Some(cluster.producer_id()?),
                false => None,
            };
            let topics = topics_of(number, workload.producers, layout.topics.len());
            let random = random::stream(workload.seed, (1 << 32) + number as u64);
            producers[number % workers].push(Producer::new(
                number as u32,
                run,
                producer_id,
                &topics,
                &layout,
                &workload.batching,
                random,
            ));
        }
        let consumers = assign(&workload, &layout, &offsets, workers, options);
        let pool =
            Pool::new(&workload.payload, Sizes::new(&workload.record_bytes).longest_bytes(), workload.seed);
        let shared = Arc::new(Shared::new(layout, subscriptions));
        if let Some((subscription, _)) = options.late_subscription {
            shared.consume_from_ns[subscription].store(shared::NEVER_NS, Relaxed);
        }
        let (report_to, reports) = mpsc::channel();
        let start_ns = clock::monotonic_ns() + START_NS;
        if options.read_afterwards {
            shared.consume_from_ns.iter().for_each(|from_ns| from_ns.store(shared::NEVER_NS, Relaxed));
        }
        let mut handles = Vec::new();
        let mut blanks = Vec::new();
        for (index, (producers, consumers)) in producers.into_iter().zip(consumers).enumerate() {
            let share = producers.len() as f64 / workload.producers.max(1) as f64;
            let phase = index as f64 / workers as f64;
            let schedule = (!producers.is_empty()).then(|| {
                let random = random::stream(workload.seed, 2 * index as u64);
                Schedule::new(&workload.arrival, workload.rate * share, phase, random)
            });
            let (blank_to, blank) = mpsc::channel();
            blanks.push(blank_to);
            let plan = Plan {
                index,
                core: (!options.cores.is_empty()).then(|| options.cores[index % options.cores.len()]),
                busy: options.busy,
                workload: Arc::clone(&workload),
                versions: cluster.versions().clone(),
                run,
                producers,
                schedule,
                records_out_max: match workload.arrival {
                    Arrival::Closed { records } => Some(((records as f64 * share) as u64).max(1)),
                    _ => None,
                },
                start_ns,
                payload: pool.starting_at(phase),
                keys: Keys::new(&workload.keys, random::scatter(index as u64)),
                random: random::stream(workload.seed, 2 * index as u64 + 1),
                consumers,
                shared: Arc::clone(&shared),
                reports: report_to.clone(),
                blank,
            };
            let handle = thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || worker::run(plan))
                .map_err(|error| RunError::Worker(format!("no thread for a worker: {error}")))?;
            handles.push(handle);
        }
        Ok(Self {
            workload,
            options: options.clone(),
            shared,
            workers: handles,
            reports,
            blanks,
            gathered: Gathered::default(),
            start_ns,
            started_at_ms: 0,
            measure_from_ns: 0,
            measure_until_ns: 0,
            interrupted: false,
            hopeless: None,
            witness: Witness::new(options.broker_status.clone(), options.broker_process),
            catch_up: None,
        })
    }

    /// Starts the thread that asks for leaders when a worker met a stale one.
    fn keep_layout_fresh(&self, mut cluster: Cluster) -> thread::JoinHandle<()> {
        let shared = Arc::clone(&self.shared);
        thread::spawn(move || {
            while !shared.stop.load(Relaxed) {
                thread::sleep(REFRESH_EVERY);
                if !shared.refresh_wanted.swap(false, Relaxed) {
                    continue;
                }
                let mut layout = (*shared.layout()).clone();
                match cluster.refresh(&mut layout) {
                    Ok(()) if layout != *shared.layout() => shared.set_layout(layout),
                    Ok(()) => {}
                    // The broker may be away for a while; workers count and report what they meet.
                    Err(_) => {
                        shared.refresh_wanted.store(true, Relaxed);
                        let _ = cluster.reconnect();
                    }
                }
            }
        })
    }

    /// Leads the run through its phases.
    fn lead(&mut self, interrupt: &AtomicBool, observer: &mut dyn Observer) -> Result<(), RunError> {
        observer.phase(Phase::WarmUp);
        let warm_up = self.workload.warm_up.clone();
        let (min_ns, max_ns) = (clock::seconds_to_ns(warm_up.min_s), clock::seconds_to_ns(warm_up.max_s));
        loop {
            let elapsed_ns = clock::monotonic_ns().saturating_sub(self.start_ns);
            let stable = !warm_up.until_stable || self.gathered.is_stable(warm_up.stable_within);
            let over = elapsed_ns + ORDER_AHEAD_NS >= min_ns && (stable || elapsed_ns >= max_ns);
            let in_groups = self.groups_read(elapsed_ns)?;
            if (over && in_groups) || interrupt.load(Relaxed) || self.is_hopeless() {
                break;
            }
            self.gather(Phase::WarmUp, observer)?;
        }
        let now_ns = clock::monotonic_ns();
        self.measure_from_ns = (now_ns + ORDER_AHEAD_NS).max(self.start_ns + min_ns.min(max_ns));
        if interrupt.load(Relaxed) {
            self.measure_from_ns = now_ns;
        }
        self.measure_until_ns = self.measure_from_ns + clock::seconds_to_ns(self.workload.duration_s);
        self.shared.generate_until_ns.store(self.measure_until_ns, Relaxed);
        self.shared.measure_from_ns.store(self.measure_from_ns, Relaxed);
        self.started_at_ms = clock::wall_ms() + self.measure_from_ns.saturating_sub(now_ns) / MILLISECOND_NS;
        if let Some((subscription, after_s)) = self.options.late_subscription {
            let from_ns = self.measure_from_ns + clock::seconds_to_ns(after_s);
            self.shared.consume_from_ns[subscription].store(from_ns, Relaxed);
        }
        observer.phase(Phase::Measure);
        while clock::monotonic_ns() < self.measure_until_ns {
            if interrupt.load(Relaxed) || self.is_hopeless() {
                self.interrupted = true;
                self.measure_until_ns = clock::monotonic_ns();
                self.shared.generate_until_ns.store(self.measure_until_ns, Relaxed);
            }
            if clock::monotonic_ns() >= self.measure_from_ns {
                self.witness.begin();
            }
            self.gather(Phase::Measure, observer)?;
        }
        self.witness.end();
        observer.phase(Phase::Drain);
        self.wait_for_acknowledgements(interrupt, observer)?;
        match self.options.read_afterwards {
            true => self.read_everything(interrupt, observer),
            false => self.wait_for_consumers(interrupt, observer, LOOK_EVERY),
        }
    }

    /// Lets consumers begin, now that everything has been written, and measures how long they take.
    fn read_everything(
        &mut self,
        interrupt: &AtomicBool,
        observer: &mut dyn Observer,
    ) -> Result<(), RunError> {
        let cpu_before = self.witness.cpu_so_far();
        let begun_ns = clock::monotonic_ns();
        for from_ns in &self.shared.consume_from_ns {
            from_ns.store(begun_ns, Relaxed);
        }
        self.wait_for_consumers(interrupt, observer, LOOK_AT_READING_EVERY)?;
        let seconds = (clock::monotonic_ns() - begun_ns) as f64 / 1e9;
        let cpu = self.witness.cpu_so_far();
        // Records and bytes are known when the workers have handed in their last sheets.
        self.catch_up = Some(CatchUp {
            records: 0,
            bytes: 0,
            seconds,
            broker_cpu_seconds: cpu.zip(cpu_before).map(|(now, then)| now - then),
        });
        Ok(())
    }

    /// Whether all members of all groups read, and have caught up with the warm-up.
    fn groups_read(&self, elapsed_ns: u64) -> Result<bool, RunError> {
        let consumers = &self.workload.consumers;
        if consumers.mode != ConsumerMode::Group {
            return Ok(true);
        }
        let members = (consumers.subscriptions * consumers.per_subscription) as u64;
        let ready = self.shared.members_ready.load(Relaxed);
        if ready < members && elapsed_ns > GROUPS_NS {
            return Err(RunError::Worker(format!(
                "{ready} of {members} consumers got into their groups within {} s; is the coordinator available, and is \
                 {} a group of somebody else?",
                GROUPS_NS / SECOND_NS,
                consumers.group
            )));
        }
        let behind_max = (self.workload.rate * CAUGHT_UP_S) as u64;
        let acked = self.shared.acked.load(Relaxed);
        let late = self.options.late_subscription.map(|(subscription, _)| subscription);
        let mut received = self.shared.received.iter().enumerate();
        Ok(ready == members
            && received
                .all(|(index, received)| Some(index) == late || received.load(Relaxed) + behind_max >= acked))
    }

    /// Whether every record has failed for so long that no other will do better.
    fn is_hopeless(&mut self) -> bool {
        if self.options.ends_with_broker && self.witness.is_gone() {
            self.hopeless.get_or_insert_with(|| "the broker's process ended during the run".to_owned());
            return true;
        }
        let failed = self.shared.failed.load(Relaxed);
        let hopeless = failed > 0
            && self.shared.acked.load(Relaxed) == 0
            && clock::monotonic_ns() > self.start_ns + HOPELESS_NS;
        if hopeless && self.hopeless.is_none() {
            self.hopeless = Some(format!("the run was given up: all of the first {failed} records failed"));
        }
        hopeless
    }

    fn wait_for_acknowledgements(
        &mut self,
        interrupt: &AtomicBool,
        observer: &mut dyn Observer,
    ) -> Result<(), RunError> {
        let deadline_ns = self.workload.deadline_ms * MILLISECOND_NS;
        let mut until_ns = self.measure_until_ns + deadline_ns + SECOND_NS;
        while (self.shared.quiet_workers.load(Relaxed) as usize) < self.workers.len() {
            let now_ns = clock::monotonic_ns();
            if interrupt.load(Relaxed) || self.is_hopeless() {
                self.interrupted = true;
            }
            if self.interrupted {
                until_ns = until_ns.min(now_ns + INTERRUPTED_WAIT_NS);
            }
            if now_ns >= until_ns {
                break;
            }
            self.gather(Phase::Drain, observer)?;
        }
        Ok(())
    }

    fn wait_for_consumers(
        &mut self,
        interrupt: &AtomicBool,
        observer: &mut dyn Observer,
        look_every: Duration,
    ) -> Result<(), RunError> {
        let mut last = 0;
        let mut since_ns = clock::monotonic_ns();
        loop {
            let received: Vec<u64> =
                self.shared.received.iter().map(|received| received.load(Relaxed)).collect();
            let acked = self.shared.acked.load(Relaxed);
            if received.iter().all(|received| *received >= acked) {
                return Ok(());
            }
            let (sum, now_ns) = (received.iter().sum::<u64>(), clock::monotonic_ns());
            if sum != last {
                (last, since_ns) = (sum, now_ns);
            }
            self.interrupted |= interrupt.load(Relaxed);
            let patience_ns = match self.interrupted {
                true => INTERRUPTED_WAIT_NS,
                false => self.options.read_patience_ns.unwrap_or(READ_PATIENCE_NS),
            };
            if now_ns > since_ns + patience_ns {
                return Ok(());
            }
            self.gather_within(look_every, Phase::Drain, observer)?;
        }
    }

    /// Takes the reports that come within a moment.
    fn gather(&mut self, phase: Phase, observer: &mut dyn Observer) -> Result<(), RunError> {
        self.gather_within(LOOK_EVERY, phase, observer)
    }

    fn gather_within(
        &mut self,
        mut wait: Duration,
        phase: Phase,
        observer: &mut dyn Observer,
    ) -> Result<(), RunError> {
        loop {
            match self.reports.recv_timeout(wait) {
                Ok(report) => self.take_report(report, phase, observer)?,
                Err(RecvTimeoutError::Timeout) => return Ok(()),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(RunError::Worker("a worker panicked; its message is above".to_owned()));
                }
            }
            wait = Duration::ZERO;
        }
    }

    fn take_report(
        &mut self,
        report: Report,
        phase: Phase,
        observer: &mut dyn Observer,
    ) -> Result<(), RunError> {
        match report {
            Report::Sheet { start_ns, end_ns, warm_up, mut sheet, cpu_ns, worker } => {
                let workers = self.workers.len();
                let since_ns = if warm_up { self.start_ns } else { self.measure_from_ns };
                if let Some(whole) = self.gathered.add(start_ns, end_ns, &sheet, workers) {
                    let start_s = start_ns.saturating_sub(since_ns) as f64 / 1e9;
                    let length_s = end_ns.saturating_sub(start_ns) as f64 / 1e9;
                    let acked = self.shared.acked.load(Relaxed);
                    let behind = |received: &AtomicU64| acked.saturating_sub(received.load(Relaxed));
                    let behind_records: Vec<u64> = self.shared.received.iter().map(behind).collect();
                    observer.interval(&View {
                        phase,
                        end_s: start_s + length_s,
                        length_s,
                        sheet: &whole,
                        behind_records: &behind_records,
                    });
                    match warm_up {
                        true => self.gathered.warmed_up(&whole),
                        false => self.gathered.measured(start_s, length_s, &whole),
                    }
                    self.gathered.spare.push(whole);
                }
                if !warm_up && start_ns < self.measure_until_ns {
                    self.gathered.cpu_ns += cpu_ns;
                }
                sheet.clear();
                // A worker that has ended takes no more.
                let _ = self.blanks[worker].send(sheet);
                Ok(())
            }
            Report::Done(written) => {
                self.gathered.done.extend(written);
                self.gathered.workers_done += 1;
                Ok(())
            }
            Report::Failed(error) => Err(RunError::Worker(error)),
        }
    }

    /// Waits for the workers, which have been told to stop. What their producers wrote.
    fn end(&mut self) -> Result<Vec<(u32, usize, Written)>, RunError> {
        while self.gathered.workers_done < self.workers.len() {
            let report = self
                .reports
                .recv()
                .map_err(|_| RunError::Worker("a worker panicked; its message is above".to_owned()))?;
            self.take_report(report, Phase::Drain, &mut Unwatched)?;
        }
        for worker in self.workers.drain(..) {
            worker.join().map_err(|_| RunError::Worker("a worker panicked".to_owned()))?;
        }
        self.gathered.flush(self.measure_from_ns);
        Ok(std::mem::take(&mut self.gathered.done))
    }

    fn outcome(mut self, target: Target, written: &[(u32, usize, Written)]) -> Outcome {
        let workers = self.blanks.len();
        if let Some(catch_up) = &mut self.catch_up {
            catch_up.records = self.gathered.totals.flow.received_records;
            catch_up.bytes = self.gathered.totals.flow.received_bytes;
        }
        let mut counts = self.gathered.totals.counts.clone();
        let missing = self.missing(written);
        match self.interrupted {
            true => counts.unread = missing,
            false => counts.lost = missing,
        }
        let mut histograms = BTreeMap::new();
        for measure in Measure::ALL {
            let histogram = self.gathered.totals.histogram(measure);
            if !histogram.is_empty() {
                histograms.insert(measure, histogram.clone());
            }
        }
        let mut outcome = Outcome {
            target,
            started_at_ms: self.started_at_ms,
            warm_up_seconds: self.measure_from_ns.saturating_sub(self.start_ns) as f64 / 1e9,
            measured_seconds: self.measure_until_ns.saturating_sub(self.measure_from_ns) as f64 / 1e9,
            interrupted: self.interrupted,
            verdict: Verdict::Valid,
            histograms,
            intervals: self.gathered.intervals,
            counts,
            requests: self.gathered.totals.requests.clone(),
            floor: self.options.floor.clone(),
            generator_cpu_seconds: self.gathered.cpu_ns as f64 / 1e9,
            broker_cpu_seconds: self.witness.cpu_seconds,
            broker_stages: self.witness.stages,
            catch_up: self.catch_up,
            workers,
            cores: self.options.cores.clone(),
            workload: Arc::unwrap_or_clone(self.workload),
        };
        let mut reasons = outcome.reasons_against();
        reasons.extend(self.hopeless);
        outcome.verdict = Verdict::of(reasons);
        outcome
    }

    /// Acknowledged records that subscriptions did not get.
    fn missing(&self, written: &[(u32, usize, Written)]) -> u64 {
        let mut by_partition: BTreeMap<usize, Vec<(u32, &Written)>> = BTreeMap::new();
        for (producer, partition, written) in written {
            by_partition.entry(*partition).or_default().push((*producer, written));
        }
        let missing_of = |checks: &Vec<std::sync::Mutex<crate::correctness::PartitionCheck>>| -> u64 {
            by_partition
                .iter()
                .map(|(partition, written)| {
                    shared::lock(&checks[*partition])
                        .lost(written.iter().map(|(id, written)| (*id, *written)))
                })
                .sum()
        };
        self.shared.checks.iter().map(missing_of).sum()
    }
}

impl Gathered {
    /// Adds a worker's sheet; the sum, when all workers have handed in theirs.
    fn add(&mut self, start_ns: u64, end_ns: u64, sheet: &Sheet, workers: usize) -> Option<Box<Sheet>> {
        let spare = &mut self.spare;
        let (latest_ns, count, sum) = self.open.entry(start_ns).or_insert_with(|| {
            let mut blank = spare.pop().unwrap_or_default();
            blank.clear();
            (end_ns, 0, blank)
        });
        sum.add(sheet);
        *count += 1;
        *latest_ns = end_ns.max(*latest_ns);
        if *count < workers {
            return None;
        }
        self.open.remove(&start_ns).map(|(.., sum)| sum)
    }

    /// Takes what not all workers have handed in: at the end their last sheets may begin at different times.
    fn flush(&mut self, measure_from_ns: u64) {
        for (start_ns, (end_ns, _, sheet)) in std::mem::take(&mut self.open) {
            let start_s = start_ns.saturating_sub(measure_from_ns) as f64 / 1e9;
            self.measured(start_s, end_ns.saturating_sub(start_ns) as f64 / 1e9, &sheet);
        }
    }

    fn warmed_up(&mut self, sheet: &Sheet) {
        let produce = sheet.histogram(Measure::Produce);
        if produce.is_empty() {
            return;
        }
        self.warm_up_p99.push_back(produce.value_at_quantile(0.99));
        if self.warm_up_p99.len() > STABLE_INTERVALS {
            self.warm_up_p99.pop_front();
        }
    }

    fn is_stable(&self, within: f64) -> bool {
        let mean = self.warm_up_p99.iter().sum::<u64>() as f64 / STABLE_INTERVALS as f64;
        self.warm_up_p99.len() == STABLE_INTERVALS
            && self.warm_up_p99.iter().all(|p99| (*p99 as f64 - mean).abs() <= within * mean)
    }

    fn measured(&mut self, start_s: f64, length_s: f64, sheet: &Sheet) {
        self.totals.add(sheet);
        let mut histograms = BTreeMap::new();
        for measure in Measure::ALL {
            let histogram = sheet.histogram(measure);
            if !histogram.is_empty() {
                histograms.insert(measure, EncodedHistogram::encode(histogram));
            }
        }
        self.intervals.push(Interval { start_s, length_s, histograms, flow: sheet.flow });
        if self.intervals.len() > INTERVALS_MAX {
            merge_neighbours(&mut self.intervals);
        }
    }
}

/// The topics of a producer.
fn topics_of(number: usize, producers: usize, topics: usize) -> Vec<usize> {
    match producers >= topics {
        true => vec![number % topics],
        false => (number..topics).step_by(producers).collect(),
    }
}

/// Deals the partitions out to the consumers of each subscription, and the consumers to the workers. In groups the
/// coordinator deals the partitions out.
fn assign(
    workload: &Workload,
    layout: &Layout,
    offsets: &[i64],
    workers: usize,
    options: &Options,
) -> Vec<Vec<ConsumerPlan>> {
    let mut plans: Vec<Vec<ConsumerPlan>> = (0..workers).map(|_| Vec::new()).collect();
    let rules = &workload.consumers;
    if rules.mode == ConsumerMode::None {
        return plans;
    }
    let each = rules.per_subscription;
    for subscription in 0..rules.subscriptions {
        for index in 0..each {
            let (partitions, member) = match rules.mode {
                ConsumerMode::Group => {
                    let group = format!("{}-{subscription}", rules.group);
                    (Vec::new(), Some(Member::new(group, rules, offsets.to_vec())))
                }
                _ => {
                    let partitions = (index..layout.leaders.len()).step_by(each);
                    (partitions.map(|partition| (partition, offsets[partition])).collect(), None)
                }
            };
            // What waited for a late reader is its own story, beside a live one.
            let late = options.late_subscription.is_some_and(|(late, _)| late == subscription);
            let plan = ConsumerPlan {
                subscription,
                partitions,
                member,
                measured: (!late || rules.subscriptions == 1) && !options.read_afterwards,
            };
            plans[(subscription * each + index) % workers].push(plan);
        }
    }
    plans
}
