//! The connections of one shard: accepts them, reads requests as far as the bounds allow, writes replies.
//!
//! A connection reads while its gate is open: not more in flight than the connection may have, not more bytes than the
//! shard has room for, and no more from producers while the store is behind. It takes the replies whose turn it is, all
//! at once, and takes no more until they are written: who does not read his replies soon cannot send requests.
//! Housekeeping closes who is silent for too long, and who needs too long for one frame.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use net::connection::{Connection, ConnectionLimits, OutgoingResponse, Received, Ticket};
use net::socket::{BoundListener, FrameHost, FrameReader, FrameWriter, Pass, ReadError, Written};
use net::wire::{FRAME_PREFIX_BYTES, Part};
use net::{ApiKey, Request};
use storage::op::FileSlice;

use super::clock::Clock;
use super::disk_link::{Answer, DiskLink};
use super::file_sender::{FileSender, Range, Sent};
use super::ring::Ring;
use crate::effects::{Incoming, Reply, ReplyBody};
use crate::ids::{ConnectionId, ListenerKind};
use crate::ledger::{Api, Arrival, Ledger, Trace};
use crate::step::Input;

/// A frame that has begun must be complete after this long, plus what it takes at [`FRAME_BYTES_PER_S`].
const FRAME_US_MAX: u64 = 30_000_000;

/// The least that a peer must send in the middle of a frame.
const FRAME_BYTES_PER_S: u64 = 64 << 10;

/// What one read takes at most, bytes; larger frames are read into their place.
const READ_BYTES: usize = 256 << 10;

/// Bounds of one shard's connections.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionsOptions {
    /// Connections at a time.
    pub connections_max: usize,
    /// Bytes of requests that are being read or not answered yet; one request more than that is let in.
    pub request_bytes_max: usize,
    /// Kafka's `socket.request.max.bytes`.
    pub frame_bytes_max: usize,
    /// Kafka's `connections.max.idle.ms`; negative for never.
    pub idle_ms_max: i64,
}

/// The connections of one shard.
pub struct Connections {
    options: ConnectionsOptions,
    clock: Clock,
    listeners: Vec<(BoundListener, ListenerKind)>,
    open: BTreeMap<ConnectionId, Peer>,
    next: u64,
    shared: Shared,
    /// Who has something to read and may, or to send and may: each once.
    ready: VecDeque<ConnectionId>,
    /// Who has something to read and waits for the shard: for room, or for the store.
    gated: Vec<ConnectionId>,
    /// Who was replied to in this turn.
    replied: Vec<ConnectionId>,
    scratch: Box<[u8]>,
    files: FileSender,
    refused: u64,
    /// Where it is written down what became of each request; `None` if nobody wants to know.
    pub ledger: Option<Ledger>,
    /// When the turn began.
    turn_us: u64,
}

/// What all connections of a shard share, and their gates look at.
#[derive(Default)]
struct Shared {
    request_bytes: usize,
    request_bytes_max: usize,
    /// Requests that keep a place in the order of their connection.
    requests: usize,
    /// The store is behind: producers have to wait.
    producers_wait: bool,
    /// The broker stops: no new connections, no new requests.
    closing: bool,
    /// Bytes have become free since those who wait for them were last let in.
    freed: bool,
}

/// One client.
struct Peer {
    id: ConnectionId,
    listener: ListenerKind,
    address: SocketAddr,
    /// As Kafka writes it.
    host: String,
    socket: Arc<TcpStream>,
    reader: FrameReader,
    writer: FrameWriter,
    protocol: Connection,
    /// File ranges of responses that are not written yet.
    files: BTreeMap<Ticket, Vec<FileSlice>>,
    sending: Sending,
    /// The socket may have bytes that were not read.
    readable: bool,
    /// It is in `ready`.
    queued: bool,
    /// The ring was asked to tell when the socket takes bytes.
    awaits_writable: bool,
    /// It has sent records, so it waits when the store is behind.
    produces: bool,
    /// When it last sent or was sent something.
    active_us: u64,
    /// When the frame that is being read must be complete.
    frame_due_us: Option<u64>,
    /// Since when there is something to read, as far as one can know, microseconds.
    readable_us: u64,
    /// What the ledger wants to know of once it is written.
    owed: Vec<Owed>,
}

/// A response that is not written yet.
struct Owed {
    ticket: Ticket,
    trace: Trace,
    /// When it was queued.
    queued_us: Option<u64>,
    /// It is with the writer.
    taken: bool,
}

/// What the writing half is at.
enum Sending {
    /// Bytes in memory, or nothing.
    Memory,
    /// Waits for descriptors, of all ranges of the responses in the writer: a response cannot be taken back halfway when
    /// a file turns out to be gone.
    Opening(VecDeque<FileSlice>),
    /// Writes; the ranges that are still to come, in order.
    Ranges(VecDeque<Range>),
    /// A helper sends the first of the ranges.
    Helped(VecDeque<Range>),
}

/// Why a connection is closed.
enum Farewell {
    /// As connections end every day.
    Silent,
    /// With a line for the log.
    Because(String),
}

impl Connections {
    /// No connections yet.
    pub fn new(options: ConnectionsOptions, clock: Clock) -> Connections {
        Connections {
            options,
            clock,
            listeners: Vec::new(),
            open: BTreeMap::new(),
            next: 1,
            shared: Shared { request_bytes_max: options.request_bytes_max, ..Shared::default() },
            ready: VecDeque::new(),
            gated: Vec::new(),
            replied: Vec::new(),
            scratch: vec![0; READ_BYTES].into_boxed_slice(),
            files: FileSender::default(),
            refused: 0,
            ledger: None,
            turn_us: 0,
        }
    }

    /// Accepts connections until the broker stops.
    pub fn listen(&mut self, listener: BoundListener, kind: ListenerKind, ring: &mut Ring) {
        let number = ring.watch_listener(listener.as_raw_fd());
        assert_eq!(number as usize, self.listeners.len(), "listeners are numbered from zero");
        self.listeners.push((listener, kind));
    }

    /// A listener has connections.
    pub fn accept(&mut self, number: u32, ring: &mut Ring, inputs: &mut VecDeque<Input>) {
        loop {
            let (listener, kind) = &self.listeners[number as usize];
            match listener.accept() {
                Ok(None) => return,
                Ok(Some((socket, address))) => self.accepted(socket, address, *kind, ring, inputs),
                // Out of descriptors, or a peer that left before it was accepted. Those who wait behind it are seen with
                // the next who comes, or by housekeeping.
                Err(error) => return tracing::warn!("a connection was not accepted: {error}"),
            }
        }
    }

    fn accepted(
        &mut self,
        socket: TcpStream,
        address: SocketAddr,
        listener: ListenerKind,
        ring: &mut Ring,
        inputs: &mut VecDeque<Input>,
    ) {
        if self.shared.closing {
            return;
        }
        if self.open.len() >= self.options.connections_max {
            self.refused += 1;
            return;
        }
        let id = ConnectionId(self.next);
        self.next += 1;
        ring.watch(socket.as_raw_fd(), id);
        let peer = Peer {
            id,
            listener,
            address,
            host: format!("/{}", address.ip()),
            socket: Arc::new(socket),
            reader: FrameReader::new(self.options.frame_bytes_max),
            writer: FrameWriter::default(),
            protocol: Connection::new(ConnectionLimits::default()),
            files: BTreeMap::new(),
            sending: Sending::Memory,
            readable: false,
            queued: false,
            awaits_writable: false,
            produces: false,
            active_us: self.clock.elapsed_us(),
            frame_due_us: None,
            readable_us: 0,
            owed: Vec::new(),
        };
        self.open.insert(id, peer);
        inputs.push_back(Input::Connected { connection: id, listener });
    }

    /// A turn begins.
    pub fn begin_turn(&mut self, now_us: u64) {
        self.turn_us = now_us;
    }

    /// Keeps a ledger from now on, or none; returns whether one has begun.
    pub fn keep_ledger(&mut self, keep: bool) -> bool {
        if keep == self.ledger.is_some() {
            return false;
        }
        self.ledger = keep.then(|| Ledger::new(self.clock.elapsed_us()));
        self.open.values_mut().for_each(|peer| peer.owed.clear());
        keep
    }

    /// When it began.
    pub fn turn_us(&self) -> u64 {
        self.turn_us
    }

    /// Open connections.
    pub fn count(&self) -> usize {
        self.open.len()
    }

    /// A socket has become readable.
    pub fn readable(&mut self, id: ConnectionId) {
        if let Some(peer) = self.open.get_mut(&id) {
            if !std::mem::replace(&mut peer.readable, true) {
                peer.readable_us = self.turn_us;
            }
            queue(&mut self.ready, peer);
        }
    }

    /// A socket is not watched any more.
    pub fn unwatched(&mut self, id: ConnectionId, ring: &mut Ring) {
        if let Some(peer) = self.open.get(&id) {
            ring.watch(peer.socket.as_raw_fd(), id);
        }
    }

    /// A socket takes bytes again.
    pub fn writable(&mut self, id: ConnectionId) {
        if let Some(peer) = self.open.get_mut(&id) {
            peer.awaits_writable = false;
            queue(&mut self.ready, peer);
        }
    }

    /// Whether a turn would find something to do.
    pub fn has_work(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Reads what has come, and goes on with what is being sent; each connection its share.
    pub fn turn(&mut self, ring: &mut Ring, disk: &mut DiskLink, inputs: &mut VecDeque<Input>) {
        if std::mem::take(&mut self.shared.freed) {
            self.let_in();
        }
        for _ in 0..self.ready.len() {
            let id = self.ready.pop_front().expect("the queue is as long as it was");
            let Some(peer) = self.open.get_mut(&id) else { continue };
            peer.queued = false;
            if let Err(farewell) = self.serve(id, ring, disk, inputs) {
                self.close(id, farewell, ring, inputs);
            }
        }
    }

    fn serve(
        &mut self,
        id: ConnectionId,
        ring: &mut Ring,
        disk: &mut DiskLink,
        inputs: &mut VecDeque<Input>,
    ) -> Result<(), Farewell> {
        let peer = self.open.get_mut(&id).expect("it was there");
        if !peer.writer.is_empty() {
            self.write(id, ring, disk)?;
        }
        self.read(id, inputs)
    }

    fn read(&mut self, id: ConnectionId, inputs: &mut VecDeque<Input>) -> Result<(), Farewell> {
        let peer = self.open.get_mut(&id).expect("it was there");
        if !peer.readable {
            return Ok(());
        }
        let now_us = self.clock.elapsed_us();
        let Peer {
            reader,
            socket,
            protocol,
            listener,
            host,
            produces,
            active_us,
            frame_due_us,
            readable_us,
            ..
        } = peer;
        let mut host = Host {
            shared: &mut self.shared,
            inputs,
            now_us,
            connection: id,
            listener: *listener,
            host,
            protocol,
            produces,
            active_us,
            frame_due_us,
            readable_us: *readable_us,
            ledger: self.ledger.as_mut(),
            answered: false,
            refusal: None,
        };
        let pass = reader.pass(socket, &mut self.scratch, &mut host);
        let (answered, refusal) = (host.answered, host.refusal.take());
        // What is left came before this pass or after it, nobody knows when: it counts from here.
        *readable_us = now_us;
        if let Some(refusal) = refusal {
            return Err(Farewell::Because(refusal));
        }
        if answered {
            self.replied.push(id);
        }
        match pass.map_err(farewell_of)? {
            Pass::Drained => peer.readable = false,
            Pass::Paused => queue(&mut self.ready, peer),
            // Its own gate opens when its replies are written, that of the shard when others' are.
            Pass::Stopped => self.gated.push(id),
            Pass::Closed => return Err(Farewell::Silent),
        }
        Ok(())
    }

    /// Takes a reply of the shard. It is written by [`Connections::write_replies`].
    pub fn reply(&mut self, reply: Reply, ring: &mut Ring, inputs: &mut VecDeque<Input>) {
        // Whoever asked may be gone by now.
        let Some(peer) = self.open.get_mut(&reply.connection) else { return };
        match reply.body {
            ReplyBody::Response { response, files } => {
                if self.ledger.is_some() && reply.trace.arrival.api.is_some() {
                    let (ticket, trace) = (reply.ticket, reply.trace);
                    peer.owed.push(Owed { ticket, trace, queued_us: None, taken: false });
                }
                let api: ApiKey = response.api_key();
                if !files.is_empty() {
                    peer.files.insert(reply.ticket, files);
                }
                if let Err(error) = peer.protocol.respond(reply.ticket, response) {
                    tracing::error!(peer = %peer.address, ?api, "a response has no form at its version: {error}");
                    return self.close(reply.connection, Farewell::Silent, ring, inputs);
                }
            }
            ReplyBody::Nothing => {
                peer.protocol.respond_nothing(reply.ticket);
                if let Some(ledger) = &mut self.ledger {
                    let now_us = self.clock.elapsed_us();
                    ledger.written(reply.connection, &reply.trace, now_us, now_us);
                }
            }
            ReplyBody::Close { reason } => {
                return self.close(reply.connection, Farewell::Because(reason), ring, inputs);
            }
        }
        self.replied.push(reply.connection);
    }

    /// Writes what was replied, all of a connection at once. Once per turn.
    pub fn write_replies(&mut self, ring: &mut Ring, disk: &mut DiskLink, inputs: &mut VecDeque<Input>) {
        let mut replied = std::mem::take(&mut self.replied);
        if self.ledger.is_some() && !replied.is_empty() {
            self.note_queued(&replied);
        }
        for id in replied.drain(..) {
            // In order, so what is still being written goes first; then this comes up again.
            if self.open.get(&id).is_some_and(|peer| peer.writer.is_empty())
                && let Err(farewell) = self.write(id, ring, disk)
            {
                self.close(id, farewell, ring, inputs);
            }
        }
        self.replied = replied;
    }

    /// All responses of a turn are queued at one moment: when the last of them is encoded.
    fn note_queued(&mut self, replied: &[ConnectionId]) {
        let now_us = self.clock.elapsed_us();
        for id in replied {
            let Some(peer) = self.open.get_mut(id) else { continue };
            for owed in &mut peer.owed {
                owed.queued_us.get_or_insert(now_us);
            }
        }
    }

    fn write(&mut self, id: ConnectionId, ring: &mut Ring, disk: &mut DiskLink) -> Result<(), Farewell> {
        let peer = self.open.get_mut(&id).expect("it was there");
        loop {
            if peer.writer.is_empty()
                && !peer.take_writes(&mut self.shared, &mut self.files, &mut self.ledger, disk)
            {
                break;
            }
            if matches!(peer.sending, Sending::Opening(_) | Sending::Helped(_)) {
                break;
            }
            match peer.writer.write(&peer.socket).map_err(|error| farewell_of(error.into()))? {
                Written::All => {
                    peer.active_us = self.clock.elapsed_us();
                    if let Some(ledger) = &mut self.ledger {
                        peer.settle(ledger);
                    }
                }
                Written::Blocked => {
                    await_writable(peer, ring);
                    break;
                }
                Written::File { length, .. } => {
                    let Sending::Ranges(ranges) = &mut peer.sending else {
                        unreachable!("a response names ranges that came with it")
                    };
                    let range = ranges.front_mut().expect("each range is named once");
                    assert!(range.length <= length as usize, "a range is as long as its response says");
                    let sent = self.files.send(id, &peer.socket, range, disk);
                    if !peer.range_went_on(sent, ring, &mut self.ready)? {
                        break;
                    }
                }
            }
        }
        // Its own gate may have opened.
        if peer.readable {
            queue(&mut self.ready, peer);
        }
        Ok(())
    }

    /// The disk executor has opened files, or a helper has sent something.
    pub fn answered(
        &mut self,
        answer: Answer,
        ring: &mut Ring,
        disk: &mut DiskLink,
        inputs: &mut VecDeque<Input>,
    ) {
        let (id, result) = match answer {
            Answer::Opened(id, opened) => {
                let Some(peer) = self.open.get_mut(&id) else { return };
                let Sending::Opening(slices) = std::mem::replace(&mut peer.sending, Sending::Memory) else {
                    unreachable!("a connection that waits for files does nothing else")
                };
                (
                    id,
                    opened.map_err(|error| Farewell::Because(error.to_string())).map(|files| {
                        for (slice, file) in slices.iter().zip(&files) {
                            self.files.keep(slice.file, file.clone());
                        }
                        let range = |(slice, file): (FileSlice, _)| Range {
                            file,
                            position: slice.position,
                            length: slice.length as usize,
                        };
                        peer.sending = Sending::Ranges(slices.into_iter().zip(files).map(range).collect());
                    }),
                )
            }
            Answer::Sent(id, sent) => {
                let Some(peer) = self.open.get_mut(&id) else {
                    // Nobody is there to hear of an error, and the place is free again.
                    if let Err(error) = self.files.helped(None, sent, disk) {
                        tracing::debug!("a connection was gone before its range was sent: {error}");
                    }
                    return;
                };
                let Sending::Helped(mut ranges) = std::mem::replace(&mut peer.sending, Sending::Memory)
                else {
                    unreachable!("a connection whose range is sent does nothing else")
                };
                let result = self.files.helped(ranges.front_mut(), sent, disk);
                peer.sending = Sending::Ranges(ranges);
                (id, peer.range_went_on(result, ring, &mut self.ready).map(|_| ()))
            }
            Answer::Done(_) => unreachable!("what becomes of operations is the shard's"),
        };
        let result = result.and_then(|()| {
            let awaits = self.open.get(&id).is_some_and(|peer| peer.awaits_writable);
            if awaits { Ok(()) } else { self.write(id, ring, disk) }
        });
        if let Err(farewell) = result {
            self.close(id, farewell, ring, inputs);
        }
    }

    /// Lets in what the store has room for. The driver says each turn whether it is behind.
    pub fn set_producers_wait(&mut self, wait: bool) {
        if std::mem::replace(&mut self.shared.producers_wait, wait) && !wait {
            self.shared.freed = true;
        }
        if self.shared.freed && !self.gated.is_empty() {
            self.shared.freed = false;
            self.let_in();
        }
    }

    fn let_in(&mut self) {
        for id in std::mem::take(&mut self.gated) {
            if let Some(peer) = self.open.get_mut(&id) {
                queue(&mut self.ready, peer);
            }
        }
    }

    /// Closes who is silent or slow, once a second or so.
    pub fn sweep(&mut self, ring: &mut Ring, inputs: &mut VecDeque<Input>) {
        let now_us = self.clock.elapsed_us();
        let idle_us_max =
            u64::try_from(self.options.idle_ms_max).map_or(u64::MAX, |ms| ms.saturating_mul(1000));
        let mut leaving = Vec::new();
        for peer in self.open.values() {
            let idle_us = now_us.saturating_sub(peer.active_us);
            let waits_for_us = peer.protocol.requests_in_flight() > 0 && peer.writer.is_empty();
            if peer.frame_due_us.is_some_and(|due_us| now_us > due_us) {
                leaving.push((peer.id, Farewell::Because("it sends a frame too slowly".into())));
            } else if idle_us > idle_us_max && !(waits_for_us && peer.frame_due_us.is_none()) {
                tracing::debug!(peer = %peer.address, "closing a connection: it was idle");
                leaving.push((peer.id, Farewell::Silent));
            }
        }
        for (id, farewell) in leaving {
            self.close(id, farewell, ring, inputs);
        }
        for number in 0..self.listeners.len() {
            self.accept(number as u32, ring, inputs);
        }
        match std::mem::take(&mut self.refused) {
            0 => {}
            refused => tracing::warn!(
                refused,
                "connections were refused: this shard has {} already, as many as it may: raise `ulimit -n`",
                self.options.connections_max
            ),
        }
    }

    /// Closes descriptors of files, some of which may have been removed.
    pub fn close_files(&mut self) {
        self.files.close_files();
    }

    /// Takes no more connections and requests.
    pub fn begin_stop(&mut self) {
        self.shared.closing = true;
    }

    /// Requests that are not answered yet.
    pub fn requests_in_flight(&self) -> usize {
        self.shared.requests
    }

    fn close(&mut self, id: ConnectionId, farewell: Farewell, ring: &mut Ring, inputs: &mut VecDeque<Input>) {
        let Some(peer) = self.open.remove(&id) else { return };
        if let Farewell::Because(reason) = farewell {
            tracing::info!(peer = %peer.address, "closing a connection: {reason}");
        }
        self.shared.requests -= peer.protocol.requests_in_flight();
        self.shared.release(peer.protocol.bytes_in_flight() + peer.reader.admitted().unwrap_or(0));
        ring.forget(id, peer.awaits_writable);
        // A helper may hold the socket a moment longer; the peer shall not wait for that.
        if let Err(error) = peer.socket.shutdown(std::net::Shutdown::Both) {
            tracing::debug!(peer = %peer.address, "a connection was gone before it was closed: {error}");
        }
        inputs.push_back(Input::Disconnected(id));
    }
}

impl Peer {
    /// Moves the replies whose turn it is to the writer; false if there are none.
    fn take_writes(
        &mut self,
        shared: &mut Shared,
        files: &mut FileSender,
        ledger: &mut Option<Ledger>,
        disk: &mut DiskLink,
    ) -> bool {
        let before = self.protocol.bytes_in_flight();
        let requests_before = self.protocol.requests_in_flight();
        let mut responses: Vec<OutgoingResponse> = Vec::new();
        self.protocol.take_writes(&mut responses);
        shared.requests -= requests_before - self.protocol.requests_in_flight();
        shared.release(before - self.protocol.bytes_in_flight());
        if let (Some(ledger), Some(last)) = (ledger, responses.last()) {
            ledger.response(responses.iter().map(bytes_of).sum());
            for owed in self.owed.iter_mut().filter(|owed| owed.ticket <= last.ticket) {
                owed.taken = true;
            }
        }
        self.sending = Sending::Memory;
        let mut slices = VecDeque::new();
        for response in responses {
            slices.extend(self.files.remove(&response.ticket).into_iter().flatten());
            self.writer.push(response);
        }
        if !slices.is_empty() {
            self.sending = self.open_files(slices, files, disk);
        }
        !self.writer.is_empty()
    }

    /// Everything that was taken is written.
    fn settle(&mut self, ledger: &mut Ledger) {
        let written_us = self.active_us;
        self.owed.retain(|owed| {
            if owed.taken {
                ledger.written(self.id, &owed.trace, owed.queued_us.unwrap_or(written_us), written_us);
            }
            !owed.taken
        });
    }

    fn open_files(
        &self,
        slices: VecDeque<FileSlice>,
        files: &mut FileSender,
        disk: &mut DiskLink,
    ) -> Sending {
        let range = |slice: &FileSlice| {
            let file = files.file(&slice.file)?;
            Some(Range { file, position: slice.position, length: slice.length as usize })
        };
        match slices.iter().map(range).collect() {
            Some(ranges) => Sending::Ranges(ranges),
            None => {
                disk.open(self.id, slices.iter().map(|slice| slice.file).collect());
                Sending::Opening(slices)
            }
        }
    }

    /// Notes how far the first range was sent. True if the writer can go on at once.
    fn range_went_on(
        &mut self,
        sent: io::Result<Sent>,
        ring: &mut Ring,
        ready: &mut VecDeque<ConnectionId>,
    ) -> Result<bool, Farewell> {
        let sent = sent.map_err(|error| farewell_of(error.into()))?;
        let Sending::Ranges(ranges) = &mut self.sending else { unreachable!("a range was being sent") };
        match sent {
            Sent::All => {
                ranges.pop_front();
                self.writer.file_sent();
                return Ok(true);
            }
            Sent::Paused => queue(ready, self),
            Sent::Blocked => await_writable(self, ring),
            Sent::Helped => self.sending = Sending::Helped(std::mem::take(ranges)),
        }
        Ok(false)
    }
}

impl Shared {
    fn release(&mut self, bytes: usize) {
        let left = self.request_bytes.checked_sub(bytes);
        self.request_bytes = left.expect("no bytes are given back that were not taken");
        // Also where nothing was given back: a place in the order of a connection is a gate as well.
        self.freed = true;
    }
}

/// Takes the frames of one connection in one pass.
struct Host<'a> {
    shared: &'a mut Shared,
    inputs: &'a mut VecDeque<Input>,
    now_us: u64,
    connection: ConnectionId,
    listener: ListenerKind,
    host: &'a str,
    protocol: &'a mut Connection,
    produces: &'a mut bool,
    active_us: &'a mut u64,
    frame_due_us: &'a mut Option<u64>,
    readable_us: u64,
    ledger: Option<&'a mut Ledger>,
    /// The connection has answered something by itself.
    answered: bool,
    refusal: Option<String>,
}

impl FrameHost for Host<'_> {
    fn may_begin(&mut self) -> bool {
        !self.shared.closing && self.protocol.may_read() && !(*self.produces && self.shared.producers_wait)
    }

    fn admit(&mut self, length: usize) -> bool {
        let taken = self.shared.request_bytes;
        if taken > 0 && taken + length > self.shared.request_bytes_max {
            return false;
        }
        self.shared.request_bytes += length;
        *self.frame_due_us = Some(self.now_us + FRAME_US_MAX + length as u64 * 1_000_000 / FRAME_BYTES_PER_S);
        true
    }

    fn frame(&mut self, frame: bytes::Bytes) -> bool {
        *self.frame_due_us = None;
        *self.active_us = self.now_us;
        // From here on the connection itself counts the bytes.
        let before = self.protocol.bytes_in_flight();
        self.shared.request_bytes -= frame.len();
        let (frame_bytes, requests_before) = (frame.len(), self.protocol.requests_in_flight());
        let received = self.protocol.receive(frame);
        self.shared.request_bytes += self.protocol.bytes_in_flight() - before;
        self.shared.requests += self.protocol.requests_in_flight() - requests_before;
        match received {
            Ok(Received::Request { ticket, header, request }) => {
                *self.produces |= matches!(request, Request::Produce(_));
                let arrival = self.arrival(&request, frame_bytes);
                self.inputs.push_back(Input::Request(Incoming {
                    connection: self.connection,
                    ticket,
                    header,
                    listener: self.listener,
                    host: self.host.to_owned(),
                    request,
                    arrival,
                }));
                true
            }
            Ok(Received::Answered) => {
                self.answered = true;
                true
            }
            Err(refusal) => {
                self.refusal = Some(refusal.to_string());
                false
            }
        }
    }
}

impl Host<'_> {
    /// When it was decoded is noted for all requests of a turn together.
    fn arrival(&mut self, request: &Request, frame_bytes: usize) -> Arrival {
        let Some(ledger) = &mut self.ledger else { return Arrival::default() };
        let bytes = FRAME_PREFIX_BYTES + frame_bytes;
        ledger.request(bytes);
        let api = match request {
            Request::Produce(_) => Api::Produce,
            Request::Fetch(_) => Api::Fetch,
            _ => return Arrival::default(),
        };
        Arrival { api: Some(api), bytes: bytes as u32, readable_us: self.readable_us, parsed_us: 0 }
    }
}

/// Size of a response, its file ranges included.
fn bytes_of(response: &OutgoingResponse) -> usize {
    let bytes = |part: &Part| match part {
        Part::Bytes(bytes) => bytes.len(),
        Part::File { length, .. } => *length as usize,
    };
    response.parts.iter().map(bytes).sum()
}

fn queue(ready: &mut VecDeque<ConnectionId>, peer: &mut Peer) {
    if !std::mem::replace(&mut peer.queued, true) {
        ready.push_back(peer.id);
    }
}

fn await_writable(peer: &mut Peer, ring: &mut Ring) {
    if !std::mem::replace(&mut peer.awaits_writable, true) {
        ring.await_writable(peer.socket.as_raw_fd(), peer.id);
    }
}

/// Connections end by a reset or in the middle of something every day.
fn farewell_of(error: ReadError) -> Farewell {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    match error {
        ReadError::Io(error)
            if matches!(error.kind(), ConnectionReset | BrokenPipe | ConnectionAborted | UnexpectedEof) =>
        {
            Farewell::Silent
        }
        error => Farewell::Because(error.to_string()),
    }
}
