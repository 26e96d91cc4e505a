//! One world: a broker, its disk, its clients, and what befalls them, all from one seed.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use broker::config::BrokerConfig;
use broker::controller::ControlInput;
use broker::ids::{Address, ConnectionId, ListenerKind, ShardId};
use broker::letter::Letter;
use broker::metadata::Image;
use broker::step::Input;
use bytes::Bytes;
use storage::types::{Now, PartitionKey};

use crate::checker::{Checker, Violation};
use crate::client::admin::Admin;
use crate::client::consumer::Consumer;
use crate::client::hostile::Hostile;
use crate::client::member::Member;
use crate::client::producer::Producer;
use crate::client::{Action, Client, Ctx, Phase};
use crate::disk::{Answer, Disk, DiskFaults, Ticket};
use crate::history::History;
use crate::options::Options;
use crate::process::{Outgoing, Process, Refusal, Stage};
use crate::queue::Queue;
use crate::random::Random;
use crate::recovery_check;
use crate::trace::Trace;

/// Milliseconds since 1970 when a world begins.
const EPOCH_MS: i64 = 1_700_000_000_000;

/// How long everybody has to get on after the last fault, microseconds.
const HEAL_US: u64 = 1_500_000;

/// How long everybody has to finish, microseconds.
const FINISH_US: u64 = 90_000_000;

/// Events of a world after which it counts as one that goes round in circles.
const EVENTS_MAX: u64 = 5_000_000;

/// Adds a line to the trace of a world.
macro_rules! say {
    ($world:expr, $($text:tt)*) => {
        $world.trace.line($world.queue.now_us(), format_args!($($text)*))
    };
}

/// What was acknowledged this shortly before a crash may be lost without a trace where bits rot: nothing vouches for
/// the last block yet.
const UNCERTAIN_US: u64 = 100_000;

/// How a run ended.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What did not hold.
    pub violations: Vec<Violation>,
    /// The fingerprint of the trace.
    pub trace: u64,
    /// Lines of the trace.
    pub lines: u64,
    /// Records that were acknowledged.
    pub acknowledged: u64,
    /// Records that were read.
    pub read: u64,
    /// Processes that were started.
    pub lives: u64,
    /// Batches with rot in a segment that clients knew by their checksums.
    pub rot_met: u64,
    /// How often records were deleted.
    pub deletions: u64,
    /// The broker did not start again, and said why. Only where bits rot.
    pub unavailable: Option<String>,
}

enum Event {
    Turn { life: u64, address: Address },
    Timer { life: u64, address: Address },
    Stopping { life: u64 },
    Disk(Ticket),
    Late(Ticket),
    Mail { life: u64, from: Address, to: Address, letter: Letter },
    ToServer { connection: u64, what: ToServer },
    ToClient { connection: u64, what: ToClient },
    Wake { client: usize },
    End,
    Reset,
    Start,
    Watch { life: u64 },
    FullEnds,
}

#[derive(Debug)]
enum ToServer {
    Open,
    Bytes(Bytes),
    Close,
}

enum ToClient {
    Opened,
    Bytes(Bytes),
    Closed,
}

#[derive(Clone, Copy, Debug)]
enum End {
    PowerLoss,
    Kill,
    Stop,
}

struct Pipe {
    client: usize,
    life: u64,
    shard: u16,
    /// When the last bytes arrive, each way: nothing overtakes.
    to_server_us: u64,
    to_client_us: u64,
}

enum Role {
    Producer(Box<Producer>),
    Consumer(Box<Consumer>),
    Admin(Box<Admin>),
    Member(Box<Member>),
    Hostile(Box<Hostile>),
}

impl Role {
    fn client(&mut self) -> &mut dyn Client {
        match self {
            Role::Producer(client) => &mut **client,
            Role::Consumer(client) => &mut **client,
            Role::Admin(client) => &mut **client,
            Role::Member(client) => &mut **client,
            Role::Hostile(client) => &mut **client,
        }
    }
}

struct ClientHost {
    role: Role,
    random: Random,
    connection: Option<u64>,
}

/// A world.
pub struct World {
    seed: u64,
    options: Options,
    config: Arc<BrokerConfig>,
    queue: Queue<Event>,
    trace: Trace,
    disk: Disk,
    history: History,
    process: Option<Process>,
    life: u64,
    shards: u16,
    /// The partitions that the last process knew.
    partitions: Vec<PartitionKey>,
    phase: Phase,
    clients: Vec<ClientHost>,
    pipes: BTreeMap<u64, Pipe>,
    next_connection: u64,
    mail_us: BTreeMap<(Address, Address), u64>,
    /// When a turn or a look at the clock is due, by address.
    turns: BTreeMap<Address, u64>,
    timers: BTreeMap<Address, u64>,
    faults: Random,
    delays: Random,
    events: u64,
    failed_flushes_at_start: u64,
    needs_restart: bool,
    unavailable: Option<String>,
}

/// Runs the world of a seed.
pub fn run(seed: u64, options: Options, show: bool) -> Outcome {
    let config = BrokerConfig::parse(&options.broker_config()).expect("the settings are sound").config;
    let mut disk = Disk::new(seed);
    disk.faults.latency_us = options.disk.latency_us;
    let mut history = History::default();
    history.flushes_fail = options.disk.flush_failure_permille > 0;
    if options.rot {
        history.uncertain_us = UNCERTAIN_US;
    }
    let world = World {
        seed,
        config: Arc::new(config),
        queue: Queue::default(),
        trace: Trace::new(show),
        disk,
        history,
        process: None,
        life: 0,
        shards: options.shards,
        partitions: Vec::new(),
        phase: Phase::Faults,
        clients: Vec::new(),
        pipes: BTreeMap::new(),
        next_connection: 1,
        mail_us: BTreeMap::new(),
        turns: BTreeMap::new(),
        timers: BTreeMap::new(),
        faults: Random::new(seed, "faults"),
        delays: Random::new(seed, "delays"),
        events: 0,
        failed_flushes_at_start: 0,
        needs_restart: false,
        unavailable: None,
        options,
    };
    world.run()
}

impl World {
    fn run(mut self) -> Outcome {
        self.add_clients();
        self.start();
        self.live_until(200_000);
        self.disk.faults = self.options.disk;
        self.schedule_end();
        self.schedule_reset();
        self.live_until(200_000 + self.options.fault_us);
        self.heal();
        let healed_us = self.queue.now_us() + HEAL_US;
        self.live_until(healed_us);
        self.phase = Phase::Finish;
        say!(self, "phase: finish");
        self.finish(FINISH_US);
        if self.options.final_crash && self.is_alive() {
            let end = if self.faults.percent(50) { End::PowerLoss } else { End::Kill };
            self.disk.faults = self.options.disk;
            self.end(end);
            self.disk.faults = DiskFaults { latency_us: 100, ..DiskFaults::default() };
            self.finish(FINISH_US);
        }
        self.drain();
        self.rest();
        self.outcome()
    }

    fn is_alive(&self) -> bool {
        self.unavailable.is_none() && self.history.violations.is_empty() && self.disk.violations.is_empty()
    }

    fn fail(&mut self, checker: Checker, message: String) {
        self.history.violations.push(Violation::new(checker, message));
    }

    fn now(&self) -> Now {
        let now_us = self.queue.now_us();
        Now { monotonic_us: now_us, wall_ms: EPOCH_MS + (now_us / 1000) as i64 }
    }

    // The clients.

    fn add_clients(&mut self) {
        let options = self.options.clone();
        let places: Vec<_> = options
            .topics
            .iter()
            .flat_map(|topic| (0..topic.partitions).map(|partition| (topic.name.clone(), partition)))
            .collect();
        let admin = Admin::new(options.topics, options.admin_interval_us, options.deletes_records);
        self.add_client(Role::Admin(Box::new(admin)), 0);
        for (number, producer) in (1..).zip(options.producers) {
            self.add_client(Role::Producer(Box::new(Producer::new(number, producer))), 20_000);
        }
        for (number, consumer) in (1..).zip(options.consumers) {
            let consumer = Consumer::new(&format!("consumer-{number}"), consumer);
            self.add_client(Role::Consumer(Box::new(consumer)), 20_000);
        }
        for (number, (group, place)) in (1..).zip(options.members) {
            let member = Member::new(&format!("member-{number}"), &group, place, 20_000);
            self.add_client(Role::Member(Box::new(member)), 20_000);
        }
        for number in 0..options.hostile {
            let hostile = Hostile::new(1_000 + number, 30_000, places.clone());
            self.add_client(Role::Hostile(Box::new(hostile)), 20_000);
        }
    }

    fn add_client(&mut self, role: Role, after_us: u64) {
        let client = self.clients.len();
        let random = Random::new(self.seed, &format!("client {client}"));
        self.clients.push(ClientHost { role, random, connection: None });
        self.queue.after(after_us, Event::Wake { client });
    }

    /// Lets a client act.
    fn with_client(&mut self, client: usize, act: impl FnOnce(&mut dyn Client, &mut Ctx<'_>)) {
        let Now { monotonic_us, wall_ms } = self.now();
        let host = &mut self.clients[client];
        let mut actions = Vec::new();
        let mut ctx = Ctx {
            now_us: monotonic_us,
            wall_ms,
            phase: self.phase,
            random: &mut host.random,
            history: &mut self.history,
            actions: &mut actions,
        };
        act(host.role.client(), &mut ctx);
        for action in actions {
            self.act(client, action);
        }
    }

    fn act(&mut self, client: usize, action: Action) {
        match action {
            Action::Wake(at_us) => self.queue.at(at_us, Event::Wake { client }),
            Action::Connect => {
                self.hang_up(client);
                let connection = self.next_connection;
                self.next_connection += 1;
                let shard = self.delays.below(u64::from(self.shards)) as u16;
                let now_us = self.queue.now_us();
                let pipe =
                    Pipe { client, life: self.life, shard, to_server_us: now_us, to_client_us: now_us };
                self.pipes.insert(connection, pipe);
                self.clients[client].connection = Some(connection);
                self.send_to_server(connection, ToServer::Open);
            }
            Action::Send(bytes) => {
                if let Some(connection) = self.clients[client].connection {
                    self.send_to_server(connection, ToServer::Bytes(bytes));
                }
            }
            Action::Close => self.hang_up(client),
        }
    }

    fn hang_up(&mut self, client: usize) {
        if let Some(connection) = self.clients[client].connection.take() {
            self.send_to_server(connection, ToServer::Close);
        }
    }

    fn send_to_server(&mut self, connection: u64, what: ToServer) {
        let Some(pipe) = self.pipes.get_mut(&connection) else { return };
        let arrival = self.queue.now_us() + 10 + self.delays.around(self.options.network_us);
        pipe.to_server_us = arrival.max(pipe.to_server_us + 1);
        self.queue.at(pipe.to_server_us, Event::ToServer { connection, what });
    }

    fn send_to_client(&mut self, connection: u64, what: ToClient) {
        let Some(pipe) = self.pipes.get_mut(&connection) else { return };
        let arrival = self.queue.now_us() + 10 + self.delays.around(self.options.network_us);
        pipe.to_client_us = arrival.max(pipe.to_client_us + 1);
        self.queue.at(pipe.to_client_us, Event::ToClient { connection, what });
    }

    // Time.

    fn live_until(&mut self, until_us: u64) {
        while self.is_alive() {
            let Some(event) = self.queue.next(until_us) else { return };
            self.happen(event);
            self.events += 1;
            if self.events > EVENTS_MAX {
                self.fail(Checker::Progress, "the world goes round in circles".to_owned());
            }
        }
    }

    /// Lives until every client is content.
    fn finish(&mut self, within_us: u64) {
        // Where bits rot partitions may be offline for good: nobody waits for them for long.
        let within_us = if self.options.rot { within_us.min(5_000_000) } else { within_us };
        let until_us = self.queue.now_us() + within_us;
        loop {
            self.live_until(self.queue.now_us() + 50_000);
            if !self.is_alive() {
                return;
            }
            let unfinished = self.clients.iter_mut().find_map(|host| host.role.client().unfinished());
            match unfinished {
                None if self.serves() => return,
                _ if self.queue.now_us() < until_us => {}
                // Where acknowledged records were lost, their partitions are offline for good.
                _ if self.options.rot => return,
                why => {
                    let stage = self.process.as_ref().map(Process::stage);
                    return self.fail(Checker::Progress, format!("{why:?}, the broker is {stage:?}"));
                }
            }
        }
    }

    fn serves(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.stage() == Stage::Running)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Turn { life, address } if life == self.life => {
                self.turns.remove(&address);
                self.turn(address);
            }
            Event::Timer { life, address } if life == self.life => {
                if self.timers.get(&address).is_some_and(|due| *due <= self.queue.now_us()) {
                    self.timers.remove(&address);
                }
                self.request_turn(address);
            }
            Event::Stopping { life } if life == self.life => self.go_on_stopping(),
            Event::Mail { life, from, to, letter } if life == self.life => self.deliver(from, to, letter),
            Event::Watch { life } if life == self.life => self.watch(),
            Event::Turn { .. } | Event::Timer { .. } | Event::Stopping { .. } | Event::Mail { .. } => {}
            Event::Watch { .. } => {}
            Event::Disk(ticket) => self.disk_done(ticket),
            Event::Late(ticket) => {
                if let Some(what) = self.disk.finish_late(ticket) {
                    say!(self, "{what}");
                }
            }
            Event::ToServer { connection, what } => self.at_server(connection, what),
            Event::ToClient { connection, what } => self.at_client(connection, what),
            Event::Wake { client } => self.with_client(client, |client, ctx| client.wake(ctx)),
            Event::End => {
                if self.phase == Phase::Faults {
                    self.fault();
                    self.schedule_end();
                }
            }
            Event::Reset => {
                if self.phase == Phase::Faults {
                    self.reset();
                    self.schedule_reset();
                }
            }
            Event::Start => self.start(),
            Event::FullEnds => {
                self.disk.capacity = None;
                say!(self, "there is space again");
            }
        }
    }

    // The process.

    fn start(&mut self) {
        if self.process.is_some() || !self.is_alive() {
            return;
        }
        self.life += 1;
        self.turns.clear();
        self.timers.clear();
        self.mail_us.clear();
        self.needs_restart = false;
        self.failed_flushes_at_start = self.disk.failed_flushes;
        let now = self.now();
        let seed = u128::from(self.seed) << 64 | u128::from(self.life);
        // A fault that is built in is to be found by what clients see of it.
        let is_sound = !self.options.rot && self.options.store.mutation.is_none();
        if is_sound
            && let Err(violation) =
                recovery_check::check(&self.disk, &self.partitions, self.shards, &self.options.store, now)
        {
            self.history.violations.push(violation);
            return;
        }
        let mut out = Outgoing::default();
        let started = Process::start(
            &mut self.disk,
            self.shards,
            &self.config,
            &self.options.store,
            seed,
            now,
            &mut out,
        );
        match started {
            Ok((process, found)) => {
                say!(self, "life {} starts with {} shards", self.life, self.shards);
                self.process = Some(process);
                for report in &found.reports {
                    self.take_report(report, &found.image);
                }
                self.carry_out(out);
                for address in self.addresses() {
                    self.request_turn(address);
                }
                self.queue.after(3_000_000, Event::Watch { life: self.life });
            }
            Err(Refusal(why)) => {
                say!(self, "life {} does not start: {why}", self.life);
                if self.options.rot {
                    self.unavailable = Some(why);
                } else {
                    self.fail(Checker::S1, format!("the broker does not start: {why}"));
                }
            }
        }
    }

    fn take_report(&mut self, report: &storage::recovery::RecoveryReport, image: &Image) {
        say!(
            self,
            "recovery: {} blocks, {} torn, uncertain {}, damaged {:?}, {:?}",
            report.replayed_blocks,
            report.torn_tails,
            report.tail_uncertain,
            report.damaged,
            report.unattributed_loss
        );
        if !self.options.rot && (!report.damaged.is_empty() || report.unattributed_loss.is_some()) {
            let message = format!("recovery reports damage where none was done: {report:?}");
            self.fail(Checker::S1, message);
        }
        for (key, from) in &report.damaged {
            if let Some(topic) = image.topic_by_id(key.topic_id) {
                self.history.reported_lost(&(topic.name.to_string(), key.partition), from.0);
            }
        }
        if report.unattributed_loss.is_some() {
            self.history.reported_unattributed_loss();
        }
    }

    fn addresses(&self) -> Vec<Address> {
        let shards = self.process.as_ref().map_or(0, Process::shards);
        (0..shards).map(|shard| Address::Shard(ShardId(shard))).chain([Address::Control]).collect()
    }

    fn request_turn(&mut self, address: Address) {
        let mut due = self.queue.now_us() + 1 + self.delays.below(30);
        if self.delays.permille(self.options.stall_permille) && self.phase == Phase::Faults {
            due += self.delays.below(100_000);
        }
        if let Entry::Vacant(vacant) = self.turns.entry(address) {
            vacant.insert(due);
            self.queue.at(due, Event::Turn { life: self.life, address });
        }
    }

    fn turn(&mut self, address: Address) {
        let now = self.now();
        let Some(process) = &mut self.process else { return };
        let mut out = Outgoing::default();
        let inputs = match address {
            Address::Control => process.turn_control(now, &mut out),
            Address::Shard(ShardId(shard)) => process.turn(now, shard, &self.disk, &mut out),
        };
        let (ops, letters, writes) = (out.disk.len() + out.meta.len(), out.letters.len(), out.writes.len());
        say!(self, "{address:?}: {inputs} in, {ops} ops, {letters} letters, {writes} writes");
        self.carry_out(out);
        let Some(process) = &self.process else { return };
        if process.has_inputs(address) {
            self.request_turn(address);
        }
        let due = self.process.as_ref().and_then(|process| process.next_timeout(address));
        if let Some(due) = due {
            let due = due.max(self.queue.now_us() + 50);
            if self.timers.get(&address).is_none_or(|timer| due < *timer) {
                self.timers.insert(address, due);
                self.queue.at(due, Event::Timer { life: self.life, address });
            }
        }
    }

    fn carry_out(&mut self, out: Outgoing) {
        for (shard, op) in out.disk {
            let (ticket, latency) = self.disk.start(shard, op);
            self.queue.after(latency, Event::Disk(ticket));
        }
        for op in out.meta {
            let (ticket, latency) = self.disk.start_meta(op);
            self.queue.after(latency, Event::Disk(ticket));
        }
        for (from, to, letter) in out.letters {
            let arrival = self.queue.now_us() + 1 + self.delays.around(self.options.mail_us);
            let last = self.mail_us.entry((from, to)).or_insert(0);
            *last = arrival.max(*last + 1);
            self.queue.at(*last, Event::Mail { life: self.life, from, to, letter });
        }
        for (ConnectionId(connection), bytes) in out.writes {
            self.send_to_client(connection, ToClient::Bytes(bytes));
        }
        for (ConnectionId(connection), reason) in out.closes {
            say!(self, "connection {connection} is closed: {reason}");
            self.send_to_client(connection, ToClient::Closed);
        }
        if let Some(why) = out.failed {
            say!(self, "the process ends: {why}");
            if self.disk.failed_flushes == self.failed_flushes_at_start && self.disk.capacity.is_none() {
                self.fail(Checker::Panic, format!("the process ends although the disk is sound: {why}"));
            }
            self.end(End::Kill);
        }
    }

    fn deliver(&mut self, from: Address, to: Address, letter: Letter) {
        let Some(process) = &mut self.process else { return };
        match to {
            Address::Control => process.push_control(ControlInput::Letter { from, letter }),
            Address::Shard(ShardId(shard)) => process.push(shard, Input::Letter { from, letter }),
        }
        self.request_turn(to);
    }

    fn disk_done(&mut self, ticket: Ticket) {
        let Some(answer) = self.disk.finish(ticket) else { return };
        let Some(process) = &mut self.process else { return };
        match answer {
            Answer::Shard(shard, done) => {
                if let Err(error) = &done.result {
                    say!(self, "shard {shard}: {error}");
                }
                process.push(shard, Input::Disk(done));
                self.request_turn(Address::Shard(ShardId(shard)));
            }
            Answer::Control(done) => {
                process.push_control(ControlInput::Done(done));
                self.request_turn(Address::Control);
            }
        }
    }

    fn at_server(&mut self, connection: u64, what: ToServer) {
        let Some(pipe) = self.pipes.get(&connection) else { return };
        let (life, shard) = (pipe.life, pipe.shard);
        let is_served = life == self.life && self.process.as_ref().is_some_and(|p| shard < p.shards());
        let Some(process) = self.process.as_mut().filter(|_| is_served) else {
            return self.send_to_client(connection, ToClient::Closed);
        };
        let mut out = Outgoing::default();
        let id = ConnectionId(connection);
        let shard = match what {
            ToServer::Open if process.stage() == Stage::Running => {
                let direct = self.delays.percent(30);
                let listener = if direct { ListenerKind::CoreDirect } else { ListenerKind::Shared };
                process.accept(id, shard, listener);
                self.send_to_client(connection, ToClient::Opened);
                Some(shard)
            }
            ToServer::Open => {
                self.send_to_client(connection, ToClient::Closed);
                None
            }
            ToServer::Bytes(bytes) => process.receive(id, &bytes, &self.disk, &mut out),
            ToServer::Close => {
                let shard = process.disconnect(id);
                self.pipes.remove(&connection);
                shard
            }
        };
        self.carry_out(out);
        if let Some(shard) = shard {
            self.request_turn(Address::Shard(ShardId(shard)));
        }
    }

    fn at_client(&mut self, connection: u64, what: ToClient) {
        let Some(pipe) = self.pipes.get(&connection) else { return };
        let client = pipe.client;
        if self.clients[client].connection != Some(connection) {
            return;
        }
        match what {
            ToClient::Opened => self.with_client(client, |client, ctx| client.connected(ctx)),
            ToClient::Bytes(bytes) => self.with_client(client, |client, ctx| client.received(ctx, &bytes)),
            ToClient::Closed => {
                self.pipes.remove(&connection);
                self.clients[client].connection = None;
                self.with_client(client, |client, ctx| client.closed(ctx));
            }
        }
    }

    // The faults.

    fn schedule_end(&mut self) {
        if self.options.crash_interval_us > 0 {
            let after = self.faults.around(self.options.crash_interval_us);
            self.queue.after(after, Event::End);
        }
    }

    fn schedule_reset(&mut self) {
        if self.options.reset_interval_us > 0 {
            let after = self.faults.around(self.options.reset_interval_us);
            self.queue.after(after, Event::Reset);
        }
    }

    fn fault(&mut self) {
        if self.disk.capacity.is_none() && self.faults.percent(self.options.full_percent) {
            self.disk.capacity = Some(self.disk.used() + self.faults.below(300_000));
            say!(self, "space runs out");
            let after = self.faults.between(100_000, 1_000_000);
            return self.queue.after(after, Event::FullEnds);
        }
        let [power, kill, stop] = self.options.end_weights;
        let drawn = self.faults.below(power + kill + stop);
        let end = if drawn < power {
            End::PowerLoss
        } else if drawn < power + kill {
            End::Kill
        } else {
            End::Stop
        };
        self.end(end);
    }

    /// The process ends, one way or another; the next starts soon.
    fn end(&mut self, end: End) {
        let now = self.now();
        let Some(process) = &mut self.process else { return };
        if matches!(end, End::Stop) {
            if process.stage() == Stage::Running {
                process.begin_stop(now);
                self.queue.after(1_000, Event::Stopping { life: self.life });
                say!(self, "stop");
            }
            return;
        }
        say!(self, "{end:?} with {} operations in flight", self.disk.in_flight());
        self.history.crashed(now.monotonic_us);
        match end {
            End::PowerLoss => self.disk.lose_power(),
            _ => {
                for (ticket, delay) in self.disk.kill() {
                    self.queue.after(delay, Event::Late(ticket));
                }
            }
        }
        self.process_is_gone();
        if self.faults.percent(self.options.storm_percent) && self.phase == Phase::Faults {
            let after = self.faults.between(500, 60_000);
            self.queue.after(after, Event::End);
        }
    }

    fn process_is_gone(&mut self) {
        let image = self.process.take().map(|process| process.image().clone());
        if let Some(image) = &image {
            self.partitions = partitions_of(image);
        }
        self.life += 1;
        let open: Vec<u64> = self.pipes.keys().copied().collect();
        let from_memory = self.options.topics.iter().any(|topic| topic.policy.flush_interval_ms.is_some());
        for connection in open {
            if from_memory {
                // An answer that arrives after the crash would be of what the crash may have taken.
                self.lose_connection(connection);
            } else {
                self.send_to_client(connection, ToClient::Closed);
            }
        }
        if self.options.rot && self.phase == Phase::Faults {
            for _ in 0..self.faults.below(self.options.rot_max + 1) {
                self.rot(image.as_deref());
            }
        }
        if self.phase == Phase::Faults && self.faults.percent(self.options.reshard_percent) {
            self.shards = self.faults.between(1, 4) as u16;
        }
        let after = self.faults.between(500, 100_000);
        self.queue.after(after, Event::Start);
    }

    fn rot(&mut self, image: Option<&Image>) {
        let in_segment = self.options.rot_segments && self.faults.percent(50);
        let rot = if in_segment { self.disk.rot_segment() } else { self.disk.rot() };
        let Some(rot) = rot else { return };
        say!(self, "{}", rot.what);
        let Some((key, from)) = rot.batch else { return };
        if let Some(topic) = image.and_then(|image| image.topic_by_id(key.topic_id)) {
            self.history.rotted(&(topic.name.to_string(), key.partition), from);
        }
    }

    fn go_on_stopping(&mut self) {
        let now = self.now();
        let Some(process) = &mut self.process else { return };
        if process.go_on_stopping(now) {
            for address in self.addresses() {
                self.request_turn(address);
            }
            return self.queue.after(1_000, Event::Stopping { life: self.life });
        }
        if process.stage() == Stage::Stopped {
            say!(self, "stopped in order");
            for (ticket, delay) in self.disk.kill() {
                self.queue.after(delay, Event::Late(ticket));
            }
            self.process_is_gone();
        }
    }

    /// An operator that starts a broker again whose disk has failed, or that does not stop.
    fn watch(&mut self) {
        let stuck = self.process.as_ref().is_some_and(|process| process.stage() > Stage::Running);
        if self.disk.failed_flushes > self.failed_flushes_at_start || stuck {
            if stuck
                && self.disk.failed_flushes == self.failed_flushes_at_start
                && self.phase == Phase::Finish
            {
                self.fail(Checker::Progress, "the broker does not stop".to_owned());
            }
            say!(self, "the operator steps in");
            self.end(End::Kill);
        } else {
            self.queue.after(1_000_000, Event::Watch { life: self.life });
        }
    }

    fn reset(&mut self) {
        let open: Vec<u64> = self.pipes.keys().copied().collect();
        if open.is_empty() {
            return;
        }
        let connection = *self.faults.pick(&open);
        say!(self, "connection {connection} is reset");
        self.lose_connection(connection);
    }

    /// A connection is gone, with all that is on its way.
    fn lose_connection(&mut self, connection: u64) {
        if let Some(pipe) = self.pipes.remove(&connection) {
            if let Some(shard) = self.process.as_mut().and_then(|p| p.disconnect(ConnectionId(connection))) {
                self.request_turn(Address::Shard(ShardId(shard)));
            }
            if self.clients[pipe.client].connection == Some(connection) {
                self.clients[pipe.client].connection = None;
                self.with_client(pipe.client, |client, ctx| client.closed(ctx));
            }
        }
    }

    fn heal(&mut self) {
        self.phase = Phase::Healed;
        self.disk.faults = DiskFaults { latency_us: 100, ..DiskFaults::default() };
        self.disk.capacity = None;
        say!(self, "phase: healed");
        if self.disk.failed_flushes > self.failed_flushes_at_start {
            self.end(End::Kill);
        }
    }

    // The end.

    /// Reads everything there is and compares.
    fn drain(&mut self) {
        if !self.is_alive() {
            return;
        }
        let places = self.history.places();
        let places: Vec<_> = places.into_iter().filter(|place| place.0.starts_with("topic-")).collect();
        if places.is_empty() {
            return self.fail(Checker::Progress, "no topic was created".to_owned());
        }
        self.add_client(Role::Consumer(Box::new(Consumer::drain(places))), 0);
        self.finish(FINISH_US);
        if !self.is_alive() {
            return;
        }
        let wall_ms = self.now().wall_ms;
        let Some(ClientHost { role: Role::Consumer(drain), .. }) = self.clients.last() else {
            unreachable!("the drain was added last")
        };
        for (place, log_start, batches, damaged) in drain.drained() {
            if damaged {
                self.history.reported_lost(place, 0);
            }
            self.history.drained(wall_ms, place, log_start, batches);
        }
    }

    /// Everybody goes; then nothing may be open.
    fn rest(&mut self) {
        if !self.is_alive() || self.options.rot {
            return;
        }
        for client in 0..self.clients.len() {
            self.hang_up(client);
        }
        self.clients.iter_mut().for_each(|host| host.connection = None);
        let until_us = self.queue.now_us() + 10_000_000;
        // Clients are not woken any more: what they would do is not of this world.
        while self.is_alive() {
            match self.queue.next(until_us) {
                None => break,
                Some(Event::Wake { .. }) => {}
                Some(event) => self.happen(event),
            }
        }
        let Some(process) = &self.process else { return };
        let open = process.open_work();
        if open.iter().any(|work| *work > 0) || !process.control_is_idle() {
            let message =
                format!("open work by shard {open:?}, controller idle {}", process.control_is_idle());
            self.fail(Checker::C9, message);
        }
    }

    fn outcome(self) -> Outcome {
        let mut violations = self.history.violations;
        violations.extend(self.disk.violations);
        Outcome {
            violations,
            trace: self.trace.hash(),
            lines: self.trace.lines(),
            acknowledged: self.history.acknowledged,
            read: self.history.read,
            lives: self.life,
            rot_met: self.history.rot_met,
            deletions: self.history.deletions,
            unavailable: self.unavailable,
        }
    }
}

/// The partitions of a metadata image.
fn partitions_of(image: &Image) -> Vec<PartitionKey> {
    let topics = image.topics();
    topics
        .flat_map(|topic| {
            (0..topic.partition_count() as i32)
                .map(|partition| PartitionKey { topic_id: topic.id, partition })
        })
        .collect()
}
