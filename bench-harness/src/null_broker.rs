//! A broker that does nothing: it acknowledges what it is given and returns it to whoever fetches. What is measured against
//! it is the harness itself.
//!
//! On demand it misbehaves in ways that are known exactly (late, stalled, forgetful), so that tests can say whether
//! the harness sees what there is to see.

#![allow(clippy::disallowed_methods, reason = "this is a shell: it listens, and runs a thread of its own")]

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bytes::{Buf, Bytes, BytesMut};
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Token};
use net::connection::{ConnectionLimits, OutgoingResponse, Received, Ticket, advertised_api_versions};
use net::messages::api_versions::ApiVersionsResponse;
use net::messages::create_topics::{CreatableTopicResult, CreateTopicsResponse};
use net::messages::delete_topics::{DeletableTopicResult, DeleteTopicsResponse};
use net::messages::fetch::{FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData};
use net::messages::init_producer_id::InitProducerIdResponse;
use net::messages::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use net::messages::metadata::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use net::messages::produce::{
    PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
};
use net::{Connection, ErrorCode, Part, Records, RecordsPart, Request, Response};
use rand::RngExt;
use rand_pcg::Pcg64Mcg;

use crate::clock::{self, MILLISECOND_NS};
use crate::random;
use crate::waiter::Waiter;

/// Batches that a partition keeps; older ones are gone.
pub const BATCHES_KEPT_MAX: usize = 16_384;
/// How often the thread looks whether it is to stop.
const LOOK_EVERY_NS: u64 = 20 * MILLISECOND_NS;
const READ_BYTES: usize = 256 << 10;
const LISTENER: usize = usize::MAX - 1;
const NODE: i32 = 0;

/// How a null broker behaves.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// Partitions of every topic.
    pub partitions: i32,
    /// By how much acknowledgements are late: these delays, each with its weight. None is no delay.
    pub delays: Vec<(u32, u64)>,
    /// It does nothing at all for a while: from so long after its first produce on, for so long, in nanoseconds.
    pub stall: Option<(u64, u64)>,
    /// Every so many batches, something goes wrong.
    pub fault: Option<(u64, Fault)>,
    /// The core that it is pinned to.
    pub core: Option<usize>,
    /// Seed of the delays.
    pub seed: u64,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self { partitions: 1, delays: Vec::new(), stall: None, fault: None, core: None, seed: 1 }
    }
}

/// What goes wrong with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is acknowledged and not stored.
    Lose,
    /// It is stored twice.
    Duplicate,
    /// It is stored behind the next one.
    Reorder,
    /// A bit of its last value is stored wrong.
    Corrupt,
}

/// A null broker on a thread of its own. It ends when it is dropped.
#[derive(Debug)]
pub struct NullBroker {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl NullBroker {
    /// Starts one on a free port of the loopback interface.
    pub fn start(behaviour: Behaviour) -> io::Result<Self> {
        let loopback: SocketAddr = ([127, 0, 0, 1], 0).into();
        let listener = TcpListener::bind(loopback)?;
        let address = listener.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut server = Server::new(listener, address, behaviour, Arc::clone(&stop))?;
        let thread = thread::Builder::new().name("null-broker".to_owned()).spawn(move || server.run())?;
        Ok(Self { address, stop, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn bootstrap(&self) -> String {
        self.address.to_string()
    }
}

impl Drop for NullBroker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !thread::panicking()
        {
            panic!("the null broker panicked");
        }
    }
}

struct Peer {
    stream: TcpStream,
    incoming: BytesMut,
    connection: Connection,
    outgoing: VecDeque<Bytes>,
    readable: bool,
    ended: bool,
    gone: bool,
    delayed: VecDeque<(u64, Ticket, Response)>,
    fetch: Option<(u64, Ticket, FetchRequest)>,
}

#[derive(Default)]
struct Log {
    /// With their base offsets.
    batches: VecDeque<(i64, Bytes)>,
    next_offset: i64,
    /// One that is to be stored behind the next.
    held: Option<Bytes>,
}

struct Server {
    waiter: Waiter,
    listener: TcpListener,
    address: SocketAddr,
    behaviour: Behaviour,
    stop: Arc<AtomicBool>,
    peers: Vec<Peer>,
    logs: BTreeMap<(String, i32), Log>,
    random: Pcg64Mcg,
    scratch: Vec<u8>,
    first_produce_ns: Option<u64>,
    batches: u64,
    producer_ids: i64,
}

impl Server {
    fn new(
        mut listener: TcpListener,
        address: SocketAddr,
        behaviour: Behaviour,
        stop: Arc<AtomicBool>,
    ) -> io::Result<Self> {
        let waiter = Waiter::new()?;
        waiter.registry().register(&mut listener, Token(LISTENER), Interest::READABLE)?;
        Ok(Self {
            waiter,
            listener,
            address,
            random: random::stream(behaviour.seed, 99),
            behaviour,
            stop,
            peers: Vec::new(),
            logs: BTreeMap::new(),
            scratch: vec![0; READ_BYTES],
            first_produce_ns: None,
            batches: 0,
            producer_ids: 0,
        })
    }

    fn run(&mut self) {
        if let Some(core) = self.behaviour.core {
            core_affinity::set_for_current(core_affinity::CoreId { id: core });
        }
        while !self.stop.load(Ordering::Relaxed) {
            let now_ns = clock::monotonic_ns();
            let due_ns = self
                .peers
                .iter()
                .flat_map(|peer| {
                    let delayed = peer.delayed.front().map(|(due, ..)| *due);
                    let fetch = peer.fetch.as_ref().map(|(due, ..)| *due);
                    let more = (peer.readable && !peer.gone).then_some(now_ns);
                    [delayed, fetch, more]
                })
                .flatten()
                .fold(now_ns + LOOK_EVERY_NS, u64::min);
            self.waiter.wait(now_ns, due_ns).expect("epoll waits");
            self.stall();
            let happened: Vec<_> = self.waiter.happened().collect();
            for what in happened {
                match what.token {
                    LISTENER => self.accept(),
                    token => {
                        let peer = &mut self.peers[token];
                        peer.readable |= what.readable;
                        peer.ended |= what.ended;
                    }
                }
            }
            let before = self.batches;
            (0..self.peers.len()).for_each(|index| self.serve_or_end(index));
            if self.batches > before {
                // Fetches that were looked at before their records came.
                let waits = |index: &usize| self.peers[*index].fetch.is_some();
                let waiting: Vec<usize> = (0..self.peers.len()).filter(waits).collect();
                waiting.into_iter().for_each(|index| self.serve_or_end(index));
            }
        }
    }

    fn serve_or_end(&mut self, index: usize) {
        if !self.peers[index].gone && self.serve(index).is_err() {
            let peer = &mut self.peers[index];
            peer.gone = true;
            peer.fetch = None;
            peer.delayed.clear();
            // Its place is kept, as its token is its place; the socket is closed.
            let _ = peer.stream.shutdown(std::net::Shutdown::Both);
        }
    }

    fn stall(&mut self) {
        let (Some(first_ns), Some((after_ns, length_ns))) = (self.first_produce_ns, self.behaviour.stall)
        else {
            return;
        };
        if clock::monotonic_ns() >= first_ns + after_ns {
            self.behaviour.stall = None;
            thread::sleep(std::time::Duration::from_nanos(length_ns));
        }
    }

    fn accept(&mut self) {
        while let Ok((mut stream, _)) = self.listener.accept() {
            let token = Token(self.peers.len());
            let interest = Interest::READABLE | Interest::WRITABLE;
            let ready = stream
                .set_nodelay(true)
                .and_then(|()| self.waiter.registry().register(&mut stream, token, interest));
            if ready.is_err() {
                continue;
            }
            let limits =
                ConnectionLimits { requests_in_flight_max: usize::MAX, bytes_in_flight_max: usize::MAX };
            self.peers.push(Peer {
                stream,
                incoming: BytesMut::new(),
                connection: Connection::new(limits),
                outgoing: VecDeque::new(),
                readable: true,
                ended: false,
                gone: false,
                delayed: VecDeque::new(),
                fetch: None,
            });
        }
    }

    fn serve(&mut self, index: usize) -> io::Result<()> {
        if self.peers[index].readable {
            self.read(index)?;
        }
        let now_ns = clock::monotonic_ns();
        let peer = &mut self.peers[index];
        while let Some((_, ticket, response)) = peer.delayed.pop_front_if(|(due, ..)| *due <= now_ns) {
            respond(peer, ticket, response);
        }
        self.answer_fetch(index, now_ns);
        flush(&mut self.peers[index])
    }

    fn read(&mut self, index: usize) -> io::Result<()> {
        let peer = &mut self.peers[index];
        match peer.stream.read(&mut self.scratch) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(bytes) => {
                peer.incoming.extend_from_slice(&self.scratch[..bytes]);
                peer.readable = peer.ended || bytes == self.scratch.len();
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => peer.readable = false,
            Err(error) => return Err(error),
        }
        while let Some(frame) = next_frame(&mut self.peers[index].incoming) {
            match self.peers[index].connection.receive(frame) {
                Ok(Received::Answered) => {}
                Ok(Received::Request { ticket, request, .. }) => self.handle(index, ticket, request),
                Err(refusal) => return Err(io::Error::other(refusal.to_string())),
            }
        }
        Ok(())
    }

    fn handle(&mut self, index: usize, ticket: Ticket, request: Request) {
        let response = match request {
            Request::Produce(request) => return self.produce(index, ticket, request),
            Request::Fetch(request) => {
                let due_ns = clock::monotonic_ns() + request.max_wait_ms.max(0) as u64 * MILLISECOND_NS;
                self.peers[index].fetch = Some((due_ns, ticket, request));
                return;
            }
            Request::ApiVersions(_) => Response::ApiVersions(ApiVersionsResponse {
                api_keys: advertised_api_versions(),
                ..ApiVersionsResponse::default()
            }),
            Request::Metadata(request) => {
                let names = request.topics.unwrap_or_default().into_iter().filter_map(|topic| topic.name);
                self.metadata(names)
            }
            Request::CreateTopics(request) => Response::CreateTopics(CreateTopicsResponse {
                topics: request
                    .topics
                    .into_iter()
                    .map(|topic| CreatableTopicResult { name: topic.name, ..Default::default() })
                    .collect(),
                ..Default::default()
            }),
            Request::DeleteTopics(request) => {
                let names = request.topics.into_iter().map(|topic| topic.name);
                let names = names.chain(request.topic_names.into_iter().map(Some));
                Response::DeleteTopics(DeleteTopicsResponse {
                    responses: names
                        .map(|name| DeletableTopicResult { name, ..Default::default() })
                        .collect(),
                    ..Default::default()
                })
            }
            Request::InitProducerId(_) => {
                self.producer_ids += 1;
                Response::InitProducerId(InitProducerIdResponse {
                    producer_id: self.producer_ids,
                    ..Default::default()
                })
            }
            Request::ListOffsets(request) => {
                let logs = &self.logs;
                let answer = |name: &str, index: i32, timestamp: i64| {
                    let log = logs.get(&(name.to_owned(), index));
                    let end = log.map_or(0, |log| log.next_offset);
                    let start = log.and_then(|log| log.batches.front()).map_or(end, |(base, _)| *base);
                    ListOffsetsPartitionResponse {
                        partition_index: index,
                        offset: if timestamp == -2 { start } else { end },
                        ..Default::default()
                    }
                };
                Response::ListOffsets(ListOffsetsResponse {
                    topics: request
                        .topics
                        .into_iter()
                        .map(|topic| ListOffsetsTopicResponse {
                            partitions: topic
                                .partitions
                                .iter()
                                .map(|asked| answer(&topic.name, asked.partition_index, asked.timestamp))
                                .collect(),
                            name: topic.name,
                        })
                        .collect(),
                    ..Default::default()
                })
            }
            // Nobody asks a null broker for more; who does is disconnected.
            _ => {
                self.peers[index].ended = true;
                return;
            }
        };
        respond(&mut self.peers[index], ticket, response);
    }

    fn metadata(&self, names: impl Iterator<Item = String>) -> Response {
        let partition = |index| MetadataResponsePartition {
            partition_index: index,
            leader_id: NODE,
            replica_nodes: vec![NODE],
            isr_nodes: vec![NODE],
            ..Default::default()
        };
        Response::Metadata(MetadataResponse {
            brokers: vec![MetadataResponseBroker {
                node_id: NODE,
                host: self.address.ip().to_string(),
                port: i32::from(self.address.port()),
                rack: None,
            }],
            cluster_id: Some("null".to_owned()),
            topics: names
                .map(|name| MetadataResponseTopic {
                    name: Some(name),
                    partitions: (0..self.behaviour.partitions).map(partition).collect(),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        })
    }

    fn produce(&mut self, index: usize, ticket: Ticket, request: ProduceRequest) {
        let now_ns = clock::monotonic_ns();
        self.first_produce_ns.get_or_insert(now_ns);
        let mut responses = Vec::with_capacity(request.topic_data.len());
        for topic in request.topic_data {
            let mut partition_responses = Vec::with_capacity(topic.partition_data.len());
            for data in topic.partition_data {
                let base_offset = self.store(&topic.name, data.index, data.records.unwrap_or_default());
                partition_responses.push(PartitionProduceResponse {
                    index: data.index,
                    base_offset,
                    ..Default::default()
                });
            }
            responses.push(TopicProduceResponse { name: topic.name, partition_responses });
        }
        let delay_ns = self.draw_delay();
        let peer = &mut self.peers[index];
        if request.acks == 0 {
            peer.connection.respond_nothing(ticket);
            return;
        }
        let response = Response::Produce(ProduceResponse { responses, ..ProduceResponse::default() });
        match delay_ns {
            0 if peer.delayed.is_empty() => respond(peer, ticket, response),
            _ => {
                // Responses keep their order, so one cannot be due before the one in front of it.
                let in_front_ns = peer.delayed.back().map_or(0, |(due, ..)| *due);
                peer.delayed.push_back(((now_ns + delay_ns).max(in_front_ns), ticket, response));
            }
        }
    }

    fn draw_delay(&mut self) -> u64 {
        let total: u32 = self.behaviour.delays.iter().map(|(weight, _)| weight).sum();
        if total == 0 {
            return 0;
        }
        let mut drawn = self.random.random_range(0..total);
        for (weight, delay_ns) in &self.behaviour.delays {
            if drawn < *weight {
                return *delay_ns;
            }
            drawn -= weight;
        }
        unreachable!("the weights add up to their sum")
    }

    /// Stores a batch, or does with it what is to go wrong. Its base offset.
    fn store(&mut self, topic: &str, partition: i32, batch: Bytes) -> i64 {
        self.batches += 1;
        let fault = match self.behaviour.fault {
            Some((every, fault)) if self.batches.is_multiple_of(every) => Some(fault),
            _ => None,
        };
        let log = match self.logs.get_mut(&(topic.to_owned(), partition)) {
            Some(log) => log,
            None => self.logs.entry((topic.to_owned(), partition)).or_default(),
        };
        let base_offset = log.next_offset;
        match fault {
            None => log.append(batch),
            Some(Fault::Lose) => {}
            Some(Fault::Duplicate) => {
                log.append(batch.clone());
                log.append(batch);
            }
            Some(Fault::Reorder) => {
                log.held = Some(batch);
                return base_offset;
            }
            Some(Fault::Corrupt) => {
                let mut bytes = BytesMut::from(&batch[..]);
                let at = bytes.len().saturating_sub(2);
                bytes[at] ^= 1;
                log.append(bytes.freeze());
            }
        }
        if let Some(held) = log.held.take() {
            log.append(held);
        }
        base_offset
    }

    /// Answers the fetch of a connection if there is something to answer, or its time is over.
    fn answer_fetch(&mut self, index: usize, now_ns: u64) {
        let Some((due_ns, _, request)) = &self.peers[index].fetch else { return };
        let mut left = request.max_bytes.max(0) as usize;
        let mut found = false;
        let mut responses = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let mut partitions = Vec::new();
            for asked in &topic.partitions {
                let Some(log) = self.logs.get(&(topic.topic.clone(), asked.partition)) else { continue };
                let limit = left.min(asked.partition_max_bytes.max(0) as usize);
                let mut data = PartitionData {
                    partition_index: asked.partition,
                    high_watermark: log.next_offset,
                    last_stable_offset: log.next_offset,
                    log_start_offset: log.batches.front().map_or(log.next_offset, |(base, _)| *base),
                    ..Default::default()
                };
                if asked.fetch_offset < data.log_start_offset {
                    data.error_code = ErrorCode::OffsetOutOfRange;
                    found = true;
                } else {
                    let records = log.read(asked.fetch_offset, limit);
                    left = left.saturating_sub(records.len());
                    found |= !records.is_empty();
                    data.records = Some(records);
                }
                partitions.push(data);
            }
            responses.push(FetchableTopicResponse { topic: topic.topic.clone(), partitions });
        }
        if !found && now_ns < *due_ns {
            return;
        }
        let peer = &mut self.peers[index];
        let (_, ticket, _) = peer.fetch.take().expect("there is a fetch");
        respond(peer, ticket, Response::Fetch(FetchResponse { responses, ..FetchResponse::default() }));
    }
}

impl Log {
    fn append(&mut self, batch: Bytes) {
        let Some(last_delta) = batch.get(23..27) else { return };
        let last_delta = i32::from_be_bytes(last_delta.try_into().expect("four bytes"));
        self.batches.push_back((self.next_offset, batch));
        self.next_offset += i64::from(last_delta) + 1;
        if self.batches.len() > BATCHES_KEPT_MAX {
            self.batches.pop_front();
        }
    }

    /// Batches from an offset on: at least one if there is one, and then as many as fit.
    fn read(&self, offset: i64, bytes_max: usize) -> Records {
        let mut records = Records::default();
        let from = self.batches.partition_point(|(base, _)| *base <= offset).saturating_sub(1);
        let mut bytes = 0;
        for (base, batch) in self.batches.range(from..) {
            if offset >= self.next_offset || (bytes > 0 && bytes + batch.len() > bytes_max) {
                break;
            }
            bytes += batch.len();
            // The offset stands outside of what the CRC covers.
            records.parts.push(RecordsPart::Memory(Bytes::copy_from_slice(&base.to_be_bytes())));
            records.parts.push(RecordsPart::Memory(batch.slice(8..)));
        }
        records
    }
}

fn next_frame(incoming: &mut BytesMut) -> Option<Bytes> {
    let length = u32::from_be_bytes(*incoming.first_chunk::<4>()?) as usize;
    if incoming.len() < 4 + length {
        return None;
    }
    incoming.advance(4);
    Some(incoming.split_to(length).freeze())
}

fn respond(peer: &mut Peer, ticket: Ticket, response: Response) {
    peer.connection.respond(ticket, response).expect("its responses have a form at every version");
}

fn flush(peer: &mut Peer) -> io::Result<()> {
    let mut writes: Vec<OutgoingResponse> = Vec::new();
    peer.connection.take_writes(&mut writes);
    for part in writes.into_iter().flat_map(|write| write.parts) {
        let Part::Bytes(bytes) = part else { unreachable!("it keeps everything in memory") };
        peer.outgoing.push_back(bytes);
    }
    while !peer.outgoing.is_empty() {
        let slices: Vec<io::IoSlice<'_>> =
            peer.outgoing.iter().take(64).map(|bytes| io::IoSlice::new(bytes)).collect();
        let mut written = match peer.stream.write_vectored(&slices) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        while let Some(front) = peer.outgoing.front_mut() {
            if front.len() > written {
                front.advance(written);
                break;
            }
            written -= front.len();
            peer.outgoing.pop_front();
        }
    }
    Ok(())
}
