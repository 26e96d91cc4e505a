//! Puts a broker together, waits for signals, and ends the process.
//!
//! Everything that can refuse does so before the first executor starts. A panic anywhere ends the process at once: half
//! a broker is worse than none, and a restart recovers in moments.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use core_affinity::CoreId;
use glommio::{LocalExecutorBuilder, Placement, PoolPlacement};
use net::socket::BoundListener;
use storage::disk::{BlockWriter, DataDirectory, DirectoryOptions, DirectorySource, SyncMethod};
use storage::recovery::{Recovered, recover_volume};
use storage::{Store, StoreConfig};

use super::addresses::{self, Addresses};
use super::bell::Bell;
use super::clock::Clock;
use super::connections::{Connections, ConnectionsOptions};
use super::control::{self, Control};
use super::cores::CoreList;
use super::disk_link::{self, DiskLink};
use super::disk_speed::DiskSpeed;
use super::driver::Driver;
use super::host::{self, Host};
use super::lifecycle::Lifecycle;
use super::mailbox::{Mailbox, mesh};
use super::memory::{self, Memory};
use super::meta_disk::MetaDisk;
use super::notify;
use super::preflight;
use super::report::{Report, report};
use super::ring::Ring;
use super::signals::StopSignals;
use super::space::SpaceGauge;
use super::stall;
use super::status::{self, Desk, StatusParts, StatusSocket};
use super::watchdog::{self, Pulse, TurnClock};
use super::{Options, StartError};
use crate::config::BrokerConfig;
use crate::ids::{ListenerKind, ShardId};
use crate::letter::Letter;
use crate::placement::shard_of;
use crate::shard::Shard;

/// The exit code after a panic or a failure of an executor.
const EXIT_BROKEN: i32 = 70;

/// The exit code after a second signal.
const EXIT_AT_ONCE: i32 = 130;

/// The data directory where neither command line nor config file name one.
const DATA: &str = "data";

/// Helper threads of a disk executor: opens, reads, removals, sends of cold ranges.
const HELPER_THREADS: usize = 4;

/// Of the descriptors that the process may have, so many percent are for files; the rest are connections.
const FILES_PERCENT: u64 = 60;

/// How long an orderly stop may take before it counts as failed.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// How often the main thread looks for signals and reports.
const LOOK: Duration = Duration::from_millis(100);

/// How often the main thread measures the room on the volume, in looks.
const LOOKS_PER_MEASUREMENT: u32 = 10;

/// Runs a broker until a signal ends it.
pub fn run(options: Options) -> Result<(), StartError> {
    let clock = Clock::start();
    end_process_on_panic();
    let signals =
        StopSignals::block().map_err(|error| StartError(format!("signals cannot be taken: {error}")))?;
    memory::refuse_huge_pages()?;
    let config = read_config(&options)?;
    let cores = choose_cores(&options)?;
    let shards = cores.ids().len();
    let host = host::check(shards as u64 + 1)?;
    let data = data_path(&options, &config);
    let findings = preflight::look(host, shards, &data)?;
    if options.check {
        return preflight::print(&findings, &data, options.allow_buffered_io);
    }
    for shortage in findings.iter().filter(|finding| !finding.fine) {
        tracing::warn!("{}", shortage.text);
    }
    let directory = DataDirectory::open(
        &data,
        &DirectoryOptions {
            cluster_id: None,
            node_id: config.node_id.0,
            allow_buffered_io: options.allow_buffered_io,
        },
    )
    .map_err(|error| StartError(error.to_string()))?;
    let addresses = addresses::bind(&config, &options, shards)?;
    let started = Started::new(&options, config, cores, host, directory, addresses, clock)?;
    started.wait_until_ready(&signals)?;
    println!(
        "monedula {} ready on {}, {shards} shard{}, data {}, sync {}{}, in {} ms",
        env!("CARGO_PKG_VERSION"),
        started.text,
        if shards == 1 { "" } else { "s" },
        data.display(),
        options.sync_method,
        if started.directory.direct_io() { "" } else { " (buffered)" },
        clock.elapsed_us() / 1000
    );
    notify::ready(&format!("ready on {}, {shards} shards", started.text));
    started.wait_for_end(&signals)
}

struct Started {
    directory: Arc<DataDirectory>,
    lifecycle: Arc<Lifecycle>,
    reports: Receiver<Report>,
    shards: usize,
    text: String,
    space: Arc<SpaceGauge>,
    /// Answers `monedula top` and `slow`; its socket is removed when it goes.
    status: Option<StatusSocket>,
}

impl Started {
    /// Recovers what the directory has, and starts all executors.
    fn new(
        options: &Options,
        config: BrokerConfig,
        cores: CoreList,
        host: Host,
        directory: DataDirectory,
        addresses: Addresses,
        clock: Clock,
    ) -> Result<Started, StartError> {
        let shards = cores.ids().len();
        let meta_disk = MetaDisk::open(directory.root())
            .map_err(|error| StartError(format!("the metadata directory cannot be opened: {error}")))?;
        let config = Arc::new(config);
        let cluster_id = directory.identity().cluster_id.clone();
        let (controller, effects) =
            control::open(&meta_disk, config.clone(), cluster_id, addresses.endpoints, shards as u16)?;
        let recovered = recover(&directory, shards as u16)?;
        let directory = Arc::new(directory);
        let space = SpaceGauge::new(&directory);
        let lifecycle = Lifecycle::new(shards);
        let (reporter, reports) = channel();
        let mut mailboxes = mesh::<Letter>(shards);
        let control_mailbox = mailboxes.pop().expect("the controller's mailbox is the last");
        let mut pulses: Vec<Arc<Pulse>> =
            (0..shards).map(|shard| Pulse::new(format!("disk-{shard}"))).collect();
        pulses.push(Pulse::new("control"));
        let turns: Vec<Arc<TurnClock>> =
            (0..shards).map(|shard| TurnClock::new(format!("shard-{shard}"))).collect();
        let no_watchdog =
            |error| StartError(format!("the watchdog thread does not start ({error}): check `ulimit -u`"));
        let (stall_reports, stalls) = stall::start(clock).map_err(no_watchdog)?;
        watchdog::start(clock, options.stall_ms * 1000, pulses.clone(), turns.clone(), move |alarm| {
            stall_reports.send(alarm)
        })
        .map_err(no_watchdog)?;
        let desks: Vec<Arc<Desk>> =
            turns.iter().map(|turns| Desk::new(turns.clone(), options.ledger)).collect();
        let status = status::serve(StatusParts {
            data: directory.root().to_path_buf(),
            cores: cores.ids().to_vec(),
            desks: desks.clone(),
            stalls,
            clock,
        });

        let mut shared: Vec<_> = addresses.shared.into_iter().map(Vec::into_iter).collect();
        let mut core_direct = addresses.core_direct.into_iter();
        let memory = Memory::of_machine(shards);
        for (index, (recovered, mailbox)) in recovered.into_iter().zip(mailboxes).enumerate() {
            let mut listeners: Vec<(BoundListener, ListenerKind)> = shared
                .iter_mut()
                .map(|sockets| (sockets.next().expect("a socket per shard"), ListenerKind::Shared))
                .collect();
            listeners.extend(core_direct.next().map(|socket| (socket, ListenerKind::CoreDirect)));
            let parts = ShardParts {
                id: ShardId(index as u16),
                shards: shards as u16,
                config: config.clone(),
                directory: directory.clone(),
                recovered,
                mailbox,
                listeners,
                sync_method: options.sync_method,
                tail_cache_bytes: memory.tail_cache_bytes(options.tail_memory_percent),
                connections: ConnectionsOptions {
                    connections_max: connections_max(host, shards),
                    request_bytes_max: memory.request_bytes_max(),
                    frame_bytes_max: config.socket_request_max_bytes as usize,
                    idle_ms_max: config.connections_max_idle_ms,
                },
                clock,
                lifecycle: lifecycle.clone(),
                turns: turns[index].clone(),
                desk: desks[index].clone(),
                space: space.clone(),
            };
            let bell = Bell::new().map_err(|error| {
                StartError(format!("a shard gets no eventfd ({error}): raise `ulimit -n`"))
            })?;
            let (disk, server) = disk_link::link(bell.clone().into(), pulses[index].clone());
            let directory = directory.clone();
            let files_max = files_max(host, shards);
            start_executor(format!("disk-{index}"), HELPER_THREADS, host, reporter.clone(), move |_| {
                server.serve(directory, files_max, clock)
            })?;
            start_shard(parts, cores.ids()[index], bell, disk, reporter.clone())?;
        }
        let control = Control {
            controller,
            effects,
            meta_disk,
            mailbox: control_mailbox,
            clock,
            lifecycle: lifecycle.clone(),
            pulse: pulses[shards].clone(),
        };
        start_executor("control".into(), 2, host, reporter, move |reporter| control.run(reporter))?;
        Ok(Started { directory, lifecycle, reports, shards, text: addresses.text, space, status })
    }

    fn wait_until_ready(&self, signals: &StopSignals) -> Result<(), StartError> {
        loop {
            match self.reports.recv_timeout(LOOK) {
                Ok(Report::Ready) => return Ok(()),
                Ok(Report::Failed(why)) => return Err(StartError(why)),
                Ok(Report::Stopped(shard)) => {
                    unreachable!("shard {shard} has stopped before anyone asked it to")
                }
                Err(_) => {
                    if let Some(signal) = signals.wait(Duration::ZERO) {
                        return Err(StartError(format!("stopped by {signal} before it was ready")));
                    }
                }
            }
        }
    }

    fn wait_for_end(mut self, signals: &StopSignals) -> Result<(), StartError> {
        let mut looks = 0;
        let signal = loop {
            if let Some(signal) = signals.wait(LOOK) {
                break signal;
            }
            looks += 1;
            if looks % LOOKS_PER_MEASUREMENT == 0 {
                self.space.measure(&self.directory);
            }
            if let Ok(Report::Failed(why)) = self.reports.try_recv() {
                return Err(StartError(why));
            }
        };
        tracing::info!("{signal}: stopping; once more ends the process at once");
        notify::stopping();
        self.lifecycle.begin_stop();
        let begun = Instant::now();
        let mut running = self.shards;
        while running > 0 {
            match self.reports.recv_timeout(Duration::from_millis(2)) {
                Ok(Report::Stopped(shard)) => {
                    tracing::debug!(shard = shard.0, "stopped");
                    running -= 1;
                }
                Ok(Report::Failed(why)) => return Err(StartError(why)),
                Ok(Report::Ready) => unreachable!("a broker becomes ready once"),
                Err(_) => {}
            }
            if let Some(signal) = signals.wait(Duration::ZERO) {
                tracing::warn!("{signal} again: ending at once; the next start recovers from the WAL");
                std::process::exit(EXIT_AT_ONCE);
            }
            if begun.elapsed() > STOP_TIMEOUT {
                return Err(StartError(format!(
                    "{running} shards did not stop within {STOP_TIMEOUT:?}: the next start recovers from the WAL"
                )));
            }
        }
        self.directory.mark_clean().map_err(|error| {
            StartError(format!("the clean stop was not noted ({error}): the next start recovers"))
        })?;
        drop(self.status.take());
        tracing::info!("stopped in order");
        Ok(())
    }
}

/// What one shard is made of; goes to its thread.
struct ShardParts {
    id: ShardId,
    shards: u16,
    config: Arc<BrokerConfig>,
    directory: Arc<DataDirectory>,
    recovered: Recovered,
    mailbox: Mailbox<Letter>,
    listeners: Vec<(BoundListener, ListenerKind)>,
    sync_method: SyncMethod,
    tail_cache_bytes: u64,
    connections: ConnectionsOptions,
    clock: Clock,
    lifecycle: Arc<Lifecycle>,
    turns: Arc<TurnClock>,
    desk: Arc<Desk>,
    space: Arc<SpaceGauge>,
}

impl ShardParts {
    /// Runs the shard on this thread until an orderly stop is complete.
    fn run(self, bell: Arc<Bell>, disk: DiskLink) -> std::io::Result<()> {
        let store_config = StoreConfig {
            producer_id_expiration_ms: self.config.producer_id_expiration_ms,
            retention_check_interval_us: (self.config.log_retention_check_interval_ms.max(1) as u64)
                .saturating_mul(1000),
            tail_cache_bytes: self.tail_cache_bytes,
            ..StoreConfig::default()
        };
        let store = Store::open(self.recovered, store_config, self.clock.now());
        let driver = Driver {
            id: self.id,
            shard: Shard::new(self.id, self.shards, self.config, store),
            mailbox: self.mailbox,
            ring: Ring::new(bell.descriptor())?,
            bell,
            disk,
            blocks: BlockWriter::new(&self.directory, self.sync_method),
            connections: Connections::new(self.connections, self.clock),
            clock: self.clock,
            lifecycle: self.lifecycle,
            listeners: self.listeners,
            turns: self.turns,
            block_writes: BTreeMap::new(),
            disk_speed: DiskSpeed::default(),
            desk: self.desk,
            space: self.space,
            wal_queued: None,
        };
        driver.run()
    }
}

/// Starts a thread that runs a shard, pinned to a core. A shard that fails is reported, and one that has stopped.
fn start_shard(
    parts: ShardParts,
    core: usize,
    bell: Arc<Bell>,
    disk: DiskLink,
    reporter: Sender<Report>,
) -> Result<(), StartError> {
    let id = parts.id;
    let run = move || {
        if !core_affinity::set_for_current(CoreId { id: core }) {
            let why = format!("shard {id} cannot be pinned to core {core}: choose others with --cores");
            return report(&reporter, Report::Failed(why));
        }
        wake_on_time();
        parts.turns.enter();
        match parts.run(bell, disk) {
            Ok(()) => report(&reporter, Report::Stopped(id)),
            Err(error) => report(
                &reporter,
                Report::Failed(format!(
                    "the ring of shard {id} fails: {error}: check `ulimit -l`, `ulimit -n`, and that io_uring is allowed"
                )),
            ),
        }
    };
    start_thread(format!("shard-{}", id.0), run)
}

/// Lets the timers of this thread fire when they are due and not up to 50 µs later, as is the default.
fn wake_on_time() {
    // SAFETY: takes two numbers. What a kernel refuses here costs some microseconds.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_000 as libc::c_ulong) };
}

/// Starts a thread with an executor that runs `main`. An executor that does not start, or ends, is reported.
fn start_executor<F: Future<Output = ()> + 'static>(
    name: String,
    helpers: usize,
    host: Host,
    reporter: Sender<Report>,
    main: impl FnOnce(Sender<Report>) -> F + Send + 'static,
) -> Result<(), StartError> {
    start_thread(name.clone(), move || {
        let executor = LocalExecutorBuilder::new(Placement::Unbound)
            .name(&name)
            .io_memory(host.io_memory)
            .blocking_thread_pool_placement(PoolPlacement::Unbound(helpers))
            .make();
        match executor {
            Ok(executor) => {
                executor.run(main(reporter.clone()));
                report(&reporter, Report::Failed(format!("executor {name} has ended")));
            }
            Err(error) => report(
                &reporter,
                Report::Failed(format!(
                    "executor {name} does not start: {error}: check `ulimit -l`, `ulimit -n`, and that io_uring \
                     is allowed"
                )),
            ),
        }
    })
}

fn start_thread(name: String, main: impl FnOnce() + Send + 'static) -> Result<(), StartError> {
    std::thread::Builder::new()
        .name(name)
        .spawn(main)
        .map(|_| ())
        .map_err(|error| StartError(format!("a thread does not start ({error}): check `ulimit -u`")))
}

fn read_config(options: &Options) -> Result<BrokerConfig, StartError> {
    let config = match &options.config {
        None => BrokerConfig::default(),
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| {
                StartError(format!("--config {}: {error}: name a readable file", path.display()))
            })?;
            let parsed = BrokerConfig::parse(&text)
                .map_err(|error| StartError(format!("{}: {error}", path.display())))?;
            for warning in &parsed.warnings {
                tracing::warn!("{}: {warning}", path.display());
            }
            parsed.config
        }
    };
    addresses::with_command_line(&config, options)
}

fn data_path(options: &Options, config: &BrokerConfig) -> PathBuf {
    match &options.data {
        Some(data) => data.clone(),
        None if config.is_set("log.dirs") || config.is_set("log.dir") => PathBuf::from(&config.log_dir),
        None => PathBuf::from(DATA),
    }
}

fn choose_cores(options: &Options) -> Result<CoreList, StartError> {
    let allowed = CoreList::allowed().map_err(StartError)?;
    match &options.cores {
        None => Ok(allowed),
        Some(cores) => cores.check_within(&allowed).map(|()| cores.clone()).map_err(StartError),
    }
}

fn recover(directory: &DataDirectory, shards: u16) -> Result<Vec<Recovered>, StartError> {
    let mut source = DirectorySource::new(directory);
    let place = |key: storage::PartitionKey| shard_of(key.topic_id, key.partition, shards).0;
    let recovered = recover_volume(&mut source, shards, &place).map_err(|error| {
        StartError(format!("data directory {} cannot be recovered: {error}", directory.root().display()))
    })?;
    assert_eq!(recovered.len(), usize::from(shards), "recovery gives every shard its part");
    // What is told of the volume as a whole is the same in every part.
    let report = &recovered[0].report;
    if report.replayed_blocks > 0 || report.torn_tails > 0 {
        tracing::info!(
            blocks = report.replayed_blocks,
            bytes = report.replayed_bytes,
            torn_tails = report.torn_tails,
            clean_stop = directory.clean_stop(),
            "replayed the WAL"
        );
    }
    if report.tail_uncertain {
        tracing::warn!("the last block of a WAL is damaged: it may have been acknowledged");
    }
    if let Some(loss) = &report.unattributed_loss {
        tracing::error!("acknowledged records are lost: {loss}");
    }
    for (partition, offset) in recovered.iter().flat_map(|part| &part.report.damaged) {
        tracing::error!(%partition, "acknowledged records from offset {offset} on are lost: it is offline");
    }
    Ok(recovered)
}

fn files_max(host: Host, shards: usize) -> usize {
    (host.files_max * FILES_PERCENT / 100 / shards as u64).max(16) as usize
}

/// A connection may take two descriptors: one more when file ranges are sent on it.
fn connections_max(host: Host, shards: usize) -> usize {
    (host.files_max * (100 - FILES_PERCENT) / 100 / 2 / shards as u64).max(8) as usize
}

/// Ends the process at the first panic, whichever thread it is on: with a message, and without a hang.
fn end_process_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        print(info);
        eprintln!(
            "monedula: a broken invariant in thread {}: the process ends; the next start recovers from the WAL",
            std::thread::current().name().unwrap_or("without a name")
        );
        // SAFETY: takes an exit code and does not return. No destructors: they could wait for what is broken.
        unsafe { libc::_exit(EXIT_BROKEN) }
    }));
}
