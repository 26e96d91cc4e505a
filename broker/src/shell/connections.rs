//! The connections of one shard: accepts them, reads requests as far as the bounds allow, writes replies.
//!
//! A connection is two tasks. The reading one waits at a gate before each frame: not more in flight than the
//! connection may have, not more bytes than the shard has room for, and no more from producers while the store is
//! behind. The writing one takes the replies whose turn it is, all at once, and takes no more until they are written:
//! who does not read his replies soon cannot send requests. Housekeeping closes who is silent for too long, and who
//! needs too long for one frame.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use net::connection::{Connection, ConnectionLimits, OutgoingResponse, Received, Ticket};
use net::socket::{BoundListener, FrameReader, FrameWriter};
use net::{ApiKey, Request};
use storage::disk::Disk;
use storage::op::FileSlice;

use super::clock::Clock;
use super::file_sender::{FetchMethod, FileSender};
use super::inbox::Inbox;
use super::signal::Signal;
use crate::effects::{Incoming, Reply, ReplyBody};
use crate::ids::{ConnectionId, ListenerKind};
use crate::step::Input;

/// A frame that has begun must be complete after this long, plus what it takes at [`FRAME_BYTES_PER_S`].
const FRAME_US_MAX: u64 = 30_000_000;

/// The least that a peer must send in the middle of a frame.
const FRAME_BYTES_PER_S: u64 = 64 << 10;

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
    /// How file ranges leave.
    pub fetch_method: FetchMethod,
}

/// The connections of one shard.
pub struct Connections {
    options: ConnectionsOptions,
    clock: Clock,
    disk: Rc<Disk>,
    inbox: Rc<Inbox<Input>>,
    open: RefCell<BTreeMap<ConnectionId, Rc<Peer>>>,
    next: Cell<u64>,
    request_bytes: Cell<usize>,
    /// The store is behind: producers have to wait.
    producers_wait: Cell<bool>,
    /// The broker stops: no new connections, no new requests.
    closing: Cell<bool>,
    /// Rings when a gate may have opened.
    gates: Signal,
    refused: Cell<u64>,
    senders: Rc<FileSender>,
}

/// One client.
pub(super) struct Peer {
    id: ConnectionId,
    listener: ListenerKind,
    address: SocketAddr,
    /// As Kafka writes it.
    host: String,
    protocol: RefCell<Connection>,
    /// File ranges of responses that are not written yet.
    files: RefCell<BTreeMap<Ticket, Vec<FileSlice>>>,
    replied: Signal,
    closed: Cell<bool>,
    /// It has sent records, so it waits when the store is behind.
    produces: Cell<bool>,
    /// When it last sent or was sent something.
    active_us: Cell<u64>,
    /// When the frame that is being read must be complete.
    frame_due_us: Cell<Option<u64>>,
}

impl Connections {
    /// No connections yet.
    pub fn new(
        options: ConnectionsOptions,
        clock: Clock,
        disk: Rc<Disk>,
        inbox: Rc<Inbox<Input>>,
    ) -> Rc<Connections> {
        Rc::new(Connections {
            options,
            clock,
            disk,
            inbox,
            open: RefCell::default(),
            next: Cell::new(1),
            request_bytes: Cell::new(0),
            producers_wait: Cell::new(false),
            closing: Cell::new(false),
            gates: Signal::default(),
            refused: Cell::new(0),
            senders: FileSender::new(options.fetch_method),
        })
    }

    /// Accepts connections until the broker stops.
    pub fn listen(self: &Rc<Self>, listener: BoundListener, kind: ListenerKind) {
        let connections = self.clone();
        glommio::spawn_local(async move {
            let listener = listener.into_listener();
            while !connections.closing.get() {
                match listener.accept(connections.options.frame_bytes_max).await {
                    Ok((reader, writer, address)) => connections.accepted(reader, writer, address, kind),
                    Err(error) => {
                        // Out of descriptors, or a peer that left before it was accepted.
                        tracing::warn!("a connection was not accepted: {error}");
                        glommio::timer::sleep(std::time::Duration::from_millis(10)).await;
                    }
                }
            }
        })
        .detach();
    }

    fn accepted(
        self: &Rc<Self>,
        reader: FrameReader,
        writer: FrameWriter,
        address: SocketAddr,
        listener: ListenerKind,
    ) {
        if self.closing.get() {
            return;
        }
        if self.open.borrow().len() >= self.options.connections_max {
            self.refused.set(self.refused.get() + 1);
            return;
        }
        let id = ConnectionId(self.next.get());
        self.next.set(id.0 + 1);
        let peer = Rc::new(Peer {
            id,
            listener,
            address,
            host: format!("/{}", address.ip()),
            protocol: RefCell::new(Connection::new(ConnectionLimits::default())),
            files: RefCell::default(),
            replied: Signal::default(),
            closed: Cell::new(false),
            produces: Cell::new(false),
            active_us: Cell::new(self.clock.elapsed_us()),
            frame_due_us: Cell::new(None),
        });
        self.open.borrow_mut().insert(id, peer.clone());
        self.inbox.push(Input::Connected { connection: id, listener });
        glommio::spawn_local(self.clone().read(peer.clone(), reader)).detach();
        glommio::spawn_local(self.clone().write(peer, writer)).detach();
    }

    async fn read(self: Rc<Self>, peer: Rc<Peer>, mut reader: FrameReader) {
        if let Err(reason) = self.read_requests(&peer, &mut reader).await {
            tracing::info!(peer = %peer.address, "closing a connection: {reason}");
        }
        self.close(&peer);
    }

    /// Reads until the peer closes the connection, or gives a reason to.
    async fn read_requests(&self, peer: &Rc<Peer>, reader: &mut FrameReader) -> Result<(), String> {
        loop {
            self.gates.wait_until(|| self.may_begin_frame(peer)).await;
            if peer.closed.get() {
                return Ok(());
            }
            let length = match reader.frame_length().await {
                Ok(Some(length)) => length,
                Ok(None) => return Ok(()),
                // A reset is how many clients leave.
                Err(net::socket::ReadError::Io(error)) if is_farewell(&error) => return Ok(()),
                Err(error) => return Err(error.to_string()),
            };
            self.gates.wait_until(|| peer.closed.get() || self.has_room_for(length)).await;
            self.count(length as isize);
            let now_us = self.clock.elapsed_us();
            peer.frame_due_us
                .set(Some(now_us + FRAME_US_MAX + length as u64 * 1_000_000 / FRAME_BYTES_PER_S));
            let frame = reader.frame().await;
            peer.frame_due_us.set(None);
            peer.active_us.set(self.clock.elapsed_us());
            // From here on the connection itself counts the bytes.
            self.count(-(length as isize));
            match frame {
                Ok(Some(frame)) if !peer.closed.get() => self.receive(peer, frame)?,
                Ok(_) => return Ok(()),
                Err(net::socket::ReadError::Io(error)) if is_farewell(&error) => return Ok(()),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    fn receive(&self, peer: &Rc<Peer>, frame: bytes::Bytes) -> Result<(), String> {
        let received = self.counting(peer, |protocol| protocol.receive(frame));
        match received.map_err(|refusal| refusal.to_string())? {
            Received::Request { ticket, header, request } => {
                if matches!(request, Request::Produce(_)) {
                    peer.produces.set(true);
                }
                let (connection, listener, host) = (peer.id, peer.listener, peer.host.clone());
                self.inbox.push(Input::Request(Incoming {
                    connection,
                    ticket,
                    header,
                    listener,
                    host,
                    request,
                }));
            }
            Received::Answered => peer.replied.notify(),
        }
        Ok(())
    }

    /// Takes a reply of the shard.
    pub fn reply(&self, reply: Reply) {
        // Whoever asked may be gone by now.
        let Some(peer) = self.open.borrow().get(&reply.connection).cloned() else { return };
        if peer.closed.get() {
            return;
        }
        match reply.body {
            ReplyBody::Response { response, files } => {
                let api: ApiKey = response.api_key();
                if !files.is_empty() {
                    peer.files.borrow_mut().insert(reply.ticket, files);
                }
                let encoded = peer.protocol.borrow_mut().respond(reply.ticket, response);
                if let Err(error) = encoded {
                    tracing::error!(peer = %peer.address, ?api, "a response has no form at its version: {error}");
                    self.close(&peer);
                }
            }
            ReplyBody::Nothing => peer.protocol.borrow_mut().respond_nothing(reply.ticket),
            ReplyBody::Close { reason } => {
                tracing::info!(peer = %peer.address, "closing a connection: {reason}");
                self.close(&peer);
            }
        }
        peer.replied.notify();
    }

    async fn write(self: Rc<Self>, peer: Rc<Peer>, mut writer: FrameWriter) {
        let mut responses = Vec::new();
        loop {
            peer.replied
                .wait_until(|| {
                    if !peer.closed.get() {
                        self.counting(&peer, |protocol| protocol.take_writes(&mut responses));
                    }
                    !responses.is_empty() || peer.closed.get()
                })
                .await;
            self.gates.notify();
            if peer.closed.get() {
                break;
            }
            if let Err(error) = self.write_responses(&peer, &mut writer, &responses).await {
                if !is_farewell(&error) {
                    tracing::info!(peer = %peer.address, "closing a connection: {error}");
                }
                break;
            }
            responses.clear();
            peer.active_us.set(self.clock.elapsed_us());
        }
        self.close(&peer);
        // The reading half finds its end. A socket that cannot be shut down is closed already.
        if let Err(error) = writer.shutdown().await {
            tracing::debug!(peer = %peer.address, "a connection was gone before it was closed: {error}");
        }
    }

    async fn write_responses(
        &self,
        peer: &Peer,
        writer: &mut FrameWriter,
        responses: &[OutgoingResponse],
    ) -> io::Result<()> {
        let mut ranges = BTreeMap::new();
        for response in responses {
            let slices = peer.files.borrow_mut().remove(&response.ticket);
            // All before the first byte: a response cannot be taken back halfway when a file turns out to be gone.
            for (slot, slice) in slices.into_iter().flatten().enumerate() {
                let file: Arc<File> = self.disk.open_for_read(&slice.file).await.map_err(io::Error::other)?;
                ranges.insert((response.ticket, slot as u32), (file, slice.position));
            }
        }
        writer.write(responses, &mut self.senders.for_ranges(ranges)).await
    }

    /// Lets in what the store has room for. The driver says each turn whether it is behind.
    pub fn set_producers_wait(&self, wait: bool) {
        if self.producers_wait.replace(wait) && !wait {
            self.gates.notify();
        }
    }

    /// Closes who is silent or slow, once a second or so.
    pub fn sweep(&self) {
        let now_us = self.clock.elapsed_us();
        let idle_us_max =
            u64::try_from(self.options.idle_ms_max).map_or(u64::MAX, |ms| ms.saturating_mul(1000));
        let peers: Vec<Rc<Peer>> = self.open.borrow().values().cloned().collect();
        for peer in peers {
            let idle_us = now_us.saturating_sub(peer.active_us.get());
            let waits_for_us = peer.protocol.borrow().requests_in_flight() > 0;
            if peer.frame_due_us.get().is_some_and(|due_us| now_us > due_us) {
                tracing::info!(peer = %peer.address, "closing a connection: it sends a frame too slowly");
                self.close(&peer);
            } else if idle_us > idle_us_max && !(waits_for_us && peer.frame_due_us.get().is_none()) {
                tracing::debug!(peer = %peer.address, "closing a connection: it was idle");
                self.close(&peer);
            }
        }
        match self.refused.take() {
            0 => {}
            refused => tracing::warn!(
                refused,
                "connections were refused: this shard has {} already, as many as it may: raise `ulimit -n`",
                self.options.connections_max
            ),
        }
    }

    /// Takes no more connections and requests.
    pub fn begin_stop(&self) {
        self.closing.set(true);
        self.gates.notify();
    }

    /// Requests that are not answered yet.
    pub fn requests_in_flight(&self) -> usize {
        self.open.borrow().values().map(|peer| peer.protocol.borrow().requests_in_flight()).sum()
    }

    fn close(&self, peer: &Peer) {
        if peer.closed.replace(true) {
            return;
        }
        self.open.borrow_mut().remove(&peer.id);
        self.count(-(peer.protocol.borrow().bytes_in_flight() as isize));
        peer.files.borrow_mut().clear();
        self.inbox.push(Input::Disconnected(peer.id));
        peer.replied.notify();
        self.gates.notify();
    }

    fn may_begin_frame(&self, peer: &Peer) -> bool {
        peer.closed.get()
            || (!self.closing.get()
                && peer.protocol.borrow().may_read()
                && !(peer.produces.get() && self.producers_wait.get()))
    }

    fn has_room_for(&self, length: usize) -> bool {
        self.request_bytes.get() == 0 || self.request_bytes.get() + length <= self.options.request_bytes_max
    }

    /// Does something to the protocol of an open connection, and counts what it has in flight.
    fn counting<T>(&self, peer: &Peer, change: impl FnOnce(&mut Connection) -> T) -> T {
        let mut protocol = peer.protocol.borrow_mut();
        let before = protocol.bytes_in_flight() as isize;
        let result = change(&mut protocol);
        self.count(protocol.bytes_in_flight() as isize - before);
        result
    }

    fn count(&self, bytes: isize) {
        let bytes = self.request_bytes.get().checked_add_signed(bytes);
        self.request_bytes.set(bytes.expect("no bytes are given back that were not taken"));
    }
}

/// How connections end every day.
fn is_farewell(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), ConnectionReset | BrokenPipe | ConnectionAborted | UnexpectedEof)
}
