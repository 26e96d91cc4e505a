//! One process of the broker: its shards, its controller, its ends of the connections. It does what the shell does,
//! one turn at a time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use broker::config::BrokerConfig;
use broker::controller::{ControlEffects, ControlInput, Controller, ControllerParts};
use broker::effects::{Effects, Incoming, Reply, ReplyBody};
use broker::ids::{Address, ConnectionId, ListenerKind, ShardId};
use broker::ledger::Arrival;
use broker::letter::Letter;
use broker::metadata::log::{MetaOp, recover};
use broker::metadata::{Endpoint, Image};
use broker::placement::shard_of;
use broker::shard::Shard;
use broker::step::Input;
use bytes::{Bytes, BytesMut};
use net::connection::{Connection, ConnectionLimits, Received};
use net::wire::Part;
use net::{FrameDecoder, Request, Ticket};
use storage::config::StoreConfig;
use storage::op::{FileSlice, Op};
use storage::recovery::{RecoveryReport, recover_volume_mutated};
use storage::store::Store;
use storage::types::{Now, PartitionKey};

use crate::disk::Disk;

/// Where a process is in its life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Stage {
    /// Not every shard has applied the metadata.
    Starting,
    /// Connections are served.
    Running,
    /// Nothing new is taken; what is in flight is answered, until a time in microseconds.
    Draining(u64),
    /// The stores flush and take their last checkpoint.
    Flushing,
    /// The clean stop is complete.
    Stopped,
}

/// What a turn wants done.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// For the disk, with the shard.
    pub disk: Vec<(u16, Op)>,
    /// For the metadata directory.
    pub meta: Vec<MetaOp>,
    /// Mail: from, to.
    pub letters: Vec<(Address, Address, Letter)>,
    /// Bytes for clients.
    pub writes: Vec<(ConnectionId, Bytes)>,
    /// Connections that the broker closes.
    pub closes: Vec<(ConnectionId, String)>,
    /// The process ends itself, in order, and says this.
    pub failed: Option<String>,
}

/// Why a process does not start.
#[derive(Debug)]
pub struct Refusal(pub String);

struct ShardHost {
    shard: Shard,
    inbox: VecDeque<Input>,
}

struct ServerConnection {
    shard: usize,
    listener: ListenerKind,
    decoder: FrameDecoder,
    buffer: BytesMut,
    protocol: Connection,
    files: BTreeMap<Ticket, Vec<FileSlice>>,
    produces: bool,
}

/// A process of the broker.
pub struct Process {
    shards: Vec<ShardHost>,
    control: Controller,
    mail: VecDeque<ControlInput>,
    connections: BTreeMap<ConnectionId, ServerConnection>,
    stage: Stage,
    frame_bytes_max: usize,
}

/// What a start found.
pub struct Found {
    /// What recovery reported, by shard.
    pub reports: Vec<RecoveryReport>,
    /// The metadata.
    pub image: Image,
}

impl Process {
    /// Recovers what the disk has and starts.
    pub fn start(
        disk: &mut Disk,
        shards: u16,
        config: &Arc<BrokerConfig>,
        store_config: &StoreConfig,
        seed: u128,
        now: Now,
        out: &mut Outgoing,
    ) -> Result<(Process, Found), Refusal> {
        disk.start_process();
        disk.sync_meta();
        let files = disk.meta_files();
        let files = files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone()));
        let recovered_meta = recover(files).map_err(|error| Refusal(error.to_string()))?;
        let place = |key: PartitionKey| shard_of(key.topic_id, key.partition, shards).0;
        let recovered = recover_volume_mutated(disk, shards, &place, store_config.mutation)
            .map_err(|error| Refusal(error.to_string()))?;
        let found = Found {
            reports: recovered.iter().map(|part| part.report.clone()).collect(),
            image: recovered_meta.image.clone(),
        };
        let shards: Vec<ShardHost> = (0..)
            .zip(recovered)
            .map(|(id, part)| {
                let store = Store::open(part, store_config.clone(), now);
                let shard = Shard::new(ShardId(id), shards, config.clone(), store);
                ShardHost { shard, inbox: VecDeque::new() }
            })
            .collect();
        let mut effects = ControlEffects::default();
        let parts = ControllerParts {
            config: config.clone(),
            cluster_id: "simulated".to_owned(),
            endpoints: endpoints(),
            shards: shards.len() as u16,
            recovered: recovered_meta,
            seed,
        };
        let control = Controller::open(parts, &mut effects).map_err(|error| Refusal(error.to_string()))?;
        let mut process = Process {
            shards,
            control,
            mail: VecDeque::new(),
            connections: BTreeMap::new(),
            stage: Stage::Starting,
            frame_bytes_max: config.socket_request_max_bytes as usize,
        };
        process.carry_out_control(effects, out);
        Ok((process, found))
    }

    /// How many shards there are.
    pub fn shards(&self) -> u16 {
        self.shards.len() as u16
    }

    /// Where the process is in its life.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// The newest durable metadata.
    pub fn image(&self) -> &Arc<Image> {
        self.control.image()
    }

    /// Work that is open, by shard.
    pub fn open_work(&self) -> Vec<usize> {
        self.shards.iter().map(|host| host.shard.open_work()).collect()
    }

    /// Whether the controller has nothing under way.
    pub fn control_is_idle(&self) -> bool {
        self.control.is_idle()
    }

    /// Connections that are open.
    pub fn connections(&self) -> impl Iterator<Item = ConnectionId> {
        self.connections.keys().copied()
    }

    /// Begins an orderly stop.
    pub fn begin_stop(&mut self, now: Now) {
        self.stage = Stage::Draining(now.monotonic_us + 1_000_000);
    }

    /// When an address wants a turn although nothing comes in.
    pub fn next_timeout(&self, address: Address) -> Option<u64> {
        match address {
            Address::Control => self.control.next_timeout(),
            Address::Shard(ShardId(shard)) => self.shards[usize::from(shard)].shard.next_timeout(),
        }
    }

    /// Whether something waits for the next turn of an address.
    pub fn has_inputs(&self, address: Address) -> bool {
        match address {
            Address::Control => !self.mail.is_empty(),
            Address::Shard(ShardId(shard)) => !self.shards[usize::from(shard)].inbox.is_empty(),
        }
    }

    /// Puts something into the inbox of a shard.
    pub fn push(&mut self, shard: u16, input: Input) {
        self.shards[usize::from(shard)].inbox.push_back(input);
    }

    /// Puts something into the inbox of the controller.
    pub fn push_control(&mut self, input: ControlInput) {
        self.mail.push_back(input);
    }

    /// One turn of the controller.
    pub fn turn_control(&mut self, now: Now, out: &mut Outgoing) -> usize {
        let mut effects = ControlEffects::default();
        let inputs = self.mail.len();
        for input in std::mem::take(&mut self.mail) {
            self.control.handle(now, input, &mut effects);
        }
        if self.control.next_timeout().is_some_and(|due| due <= now.monotonic_us) {
            self.control.handle(now, ControlInput::Timeout, &mut effects);
        }
        self.carry_out_control(effects, out);
        if self.stage == Stage::Starting && self.control.is_ready() {
            self.stage = Stage::Running;
        }
        inputs
    }

    fn carry_out_control(&mut self, effects: ControlEffects, out: &mut Outgoing) {
        out.meta.extend(effects.meta);
        out.letters.extend(effects.letters.into_iter().map(|(to, letter)| (Address::Control, to, letter)));
        if effects.failed.is_some() {
            out.failed = effects.failed;
        }
    }

    /// One turn of a shard.
    pub fn turn(&mut self, now: Now, shard: u16, disk: &Disk, out: &mut Outgoing) -> usize {
        let mut effects = Effects::default();
        let host = &mut self.shards[usize::from(shard)];
        let inputs = host.inbox.len();
        for input in std::mem::take(&mut host.inbox) {
            host.shard.step(now, input, &mut effects);
        }
        if host.shard.next_timeout().is_some_and(|due| due <= now.monotonic_us) {
            host.shard.step(now, Input::Timeout, &mut effects);
        }
        host.shard.end_turn(now, &mut effects);
        let from = host.shard.address();
        out.disk.extend(effects.disk.into_iter().map(|op| (shard, op)));
        out.letters.extend(effects.letters.into_iter().map(|(to, letter)| (from, to, letter)));
        for reply in effects.replies {
            self.reply(reply, disk, out);
        }
        let here: Vec<ConnectionId> = self
            .connections
            .iter()
            .filter(|(_, c)| c.shard == usize::from(shard))
            .map(|(id, _)| *id)
            .collect();
        here.into_iter().for_each(|connection| self.pump(connection, disk, out));
        inputs
    }

    /// Goes on with an orderly stop. True while it is under way.
    pub fn go_on_stopping(&mut self, now: Now) -> bool {
        match self.stage {
            Stage::Draining(until_us) => {
                let idle =
                    self.shards.iter().all(|host| host.shard.open_work() == 0 && host.inbox.is_empty())
                        && self.connections.values().all(|c| c.protocol.requests_in_flight() == 0);
                if idle || now.monotonic_us >= until_us {
                    self.shards.iter_mut().for_each(|host| host.shard.begin_stop(now));
                    self.stage = Stage::Flushing;
                }
                true
            }
            Stage::Flushing => {
                if self.shards.iter().all(|host| host.shard.is_stopped()) {
                    self.stage = Stage::Stopped;
                }
                true
            }
            Stage::Starting | Stage::Running | Stage::Stopped => false,
        }
    }

    /// Accepts a connection on a shard.
    pub fn accept(&mut self, connection: ConnectionId, shard: u16, listener: ListenerKind) {
        let server = ServerConnection {
            shard: usize::from(shard),
            listener,
            decoder: FrameDecoder::new(self.frame_bytes_max),
            buffer: BytesMut::new(),
            protocol: Connection::new(ConnectionLimits::default()),
            files: BTreeMap::new(),
            produces: false,
        };
        self.connections.insert(connection, server);
        self.push(shard, Input::Connected { connection, listener });
    }

    /// Bytes of a client have come. Returns the shard that has work now.
    pub fn receive(
        &mut self,
        connection: ConnectionId,
        bytes: &[u8],
        disk: &Disk,
        out: &mut Outgoing,
    ) -> Option<u16> {
        let server = self.connections.get_mut(&connection)?;
        let shard = server.shard as u16;
        server.buffer.extend_from_slice(bytes);
        self.pump(connection, disk, out);
        Some(shard)
    }

    /// A connection is gone.
    pub fn disconnect(&mut self, connection: ConnectionId) -> Option<u16> {
        let server = self.connections.remove(&connection)?;
        self.push(server.shard as u16, Input::Disconnected(connection));
        Some(server.shard as u16)
    }

    /// Takes requests off what was received, as far as bounds allow.
    fn pump(&mut self, connection: ConnectionId, disk: &Disk, out: &mut Outgoing) {
        loop {
            let Some(server) = self.connections.get_mut(&connection) else { return };
            let host = &mut self.shards[server.shard];
            let waits = server.produces && host.shard.is_over_pressure();
            if self.stage != Stage::Running || !server.protocol.may_read() || waits {
                return;
            }
            let received = match server.decoder.next(&mut server.buffer) {
                Ok(None) => return,
                Ok(Some(frame)) => server.protocol.receive(frame).map_err(|refusal| refusal.to_string()),
                Err(error) => Err(error.to_string()),
            };
            match received {
                Ok(Received::Request { ticket, header, request }) => {
                    server.produces |= matches!(request, Request::Produce(_));
                    host.inbox.push_back(Input::Request(Incoming {
                        connection,
                        ticket,
                        header,
                        listener: server.listener,
                        host: "/127.0.0.1".to_owned(),
                        request,
                        arrival: Arrival::default(),
                    }));
                }
                Ok(Received::Answered) => self.write(connection, disk, out),
                Err(reason) => self.close(connection, reason, out),
            }
        }
    }

    fn reply(&mut self, reply: Reply, disk: &Disk, out: &mut Outgoing) {
        let Some(server) = self.connections.get_mut(&reply.connection) else { return };
        match reply.body {
            ReplyBody::Response { response, files } => {
                if !files.is_empty() {
                    server.files.insert(reply.ticket, files);
                }
                if let Err(error) = server.protocol.respond(reply.ticket, response) {
                    return self.close(reply.connection, format!("a response has no form: {error}"), out);
                }
            }
            ReplyBody::Nothing => server.protocol.respond_nothing(reply.ticket),
            ReplyBody::Close { reason } => return self.close(reply.connection, reason, out),
        }
        self.write(reply.connection, disk, out);
    }

    fn write(&mut self, connection: ConnectionId, disk: &Disk, out: &mut Outgoing) {
        let Some(server) = self.connections.get_mut(&connection) else { return };
        let mut responses = Vec::new();
        server.protocol.take_writes(&mut responses);
        let mut bytes = BytesMut::new();
        for response in responses {
            let files = server.files.remove(&response.ticket).unwrap_or_default();
            for part in response.parts {
                match part {
                    Part::Bytes(part) => bytes.extend_from_slice(&part),
                    Part::File { slot, .. } => {
                        let slice = files[slot as usize];
                        match disk.read(&slice.file, slice.position, slice.length as usize) {
                            Ok(read) if read.len() == slice.length as usize => bytes.extend_from_slice(&read),
                            Ok(_) => return self.close(connection, "a file is too short".to_owned(), out),
                            Err(error) => return self.close(connection, error.to_string(), out),
                        }
                    }
                }
            }
        }
        if !bytes.is_empty() {
            out.writes.push((connection, bytes.freeze()));
        }
    }

    fn close(&mut self, connection: ConnectionId, reason: String, out: &mut Outgoing) {
        if self.disconnect(connection).is_some() {
            out.closes.push((connection, reason));
        }
    }
}

fn endpoints() -> Vec<Endpoint> {
    let endpoint = |name: &str, port, core_direct| Endpoint {
        name: name.to_owned(),
        host: "simulated".to_owned(),
        port,
        security_protocol: 0,
        core_direct,
    };
    vec![endpoint("PLAINTEXT", 9092, false), endpoint("CORE", 9192, true)]
}
