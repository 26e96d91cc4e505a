//! One connection of the load: requests out, responses in, without blocking and with any number in flight.
//!
//! ```text
//!   Closed ─ connect ─→ Connecting ─ writable ─→ Open ─ error, end ─→ Closed (until the pause after a failure is over)
//! ```
//!
//! What was in flight when a connection ended is given back to its owner, in order.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;

use bytes::{Buf, Bytes, BytesMut};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use net::client::{Expected, RequestEncoder};
use net::{Part, Request, Response};

use crate::clock::MILLISECOND_NS;
use crate::cluster::CLIENT_ID;

/// The largest response that is accepted.
pub const RESPONSE_BYTES_MAX: usize = 256 << 20;
/// Bytes that one read takes at most. All links of a worker share a buffer of this length.
pub const READ_BYTES: usize = 64 << 10;
/// Bytes that one write offers to the kernel, about: a larger one would keep the generator from its schedule.
const WRITE_BYTES: usize = 64 << 10;
/// Parts of one vectored write.
const WRITE_PARTS_MAX: usize = 64;
/// The pause before a connection is tried again; it doubles with every failure.
const PAUSE_NS_MIN: u64 = 20 * MILLISECOND_NS;
/// The longest pause.
const PAUSE_NS_MAX: u64 = 1000 * MILLISECOND_NS;

/// A connection whose requests carry a `T` until their response comes.
#[derive(Debug)]
pub struct Link<T> {
    token: Token,
    address: SocketAddr,
    state: State,
    encoder: RequestEncoder,
    outgoing: VecDeque<Bytes>,
    /// The socket takes no more for now.
    full: bool,
    /// Bytes that were put into `outgoing` and that were taken out of it, ever.
    bytes_queued: u64,
    bytes_written: u64,
    incoming: BytesMut,
    readable: bool,
    /// The broker will send no more: read until the end shows.
    ended: bool,
    in_flight: VecDeque<(Expected, T)>,
    /// Requests without a response, by the value of `bytes_written` at which they are done.
    silent: VecDeque<(u64, T)>,
    failures: u32,
}

#[derive(Debug)]
enum State {
    Closed { until_ns: u64 },
    Connecting(TcpStream),
    Open(TcpStream),
}

/// What comes of a link.
#[derive(Debug)]
pub enum Arrived<T> {
    /// The response to a request.
    Response(Response, T),
    /// A request without a response is written.
    Written(T),
}

/// Why a connection ended.
#[derive(Debug)]
pub enum LinkError {
    /// The socket says so.
    Io(io::Error),
    /// What came is no response.
    Protocol(String),
}

impl LinkError {
    /// A name to count it by.
    pub fn name(&self) -> String {
        match self {
            Self::Io(error) => match error.kind() {
                io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
                io::ErrorKind::UnexpectedEof => "connection closed by the broker".to_owned(),
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "connection reset".to_owned(),
                _ => error.to_string(),
            },
            Self::Protocol(what) => what.clone(),
        }
    }
}

impl From<io::Error> for LinkError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl<T> Link<T> {
    /// A link that is not connected yet. Its events carry the token.
    pub fn new(token: Token, address: SocketAddr) -> Self {
        Self {
            token,
            address,
            state: State::Closed { until_ns: 0 },
            encoder: RequestEncoder::new(Some(CLIENT_ID.to_owned())),
            outgoing: VecDeque::new(),
            full: false,
            bytes_queued: 0,
            bytes_written: 0,
            incoming: BytesMut::new(),
            readable: false,
            ended: false,
            in_flight: VecDeque::new(),
            silent: VecDeque::new(),
            failures: 0,
        }
    }

    /// Whether requests can be sent.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// When it may be connected: `None` if it is, or is about to be.
    pub fn closed_until(&self) -> Option<u64> {
        match self.state {
            State::Closed { until_ns } => Some(until_ns),
            _ => None,
        }
    }

    /// Requests that are not done.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len() + self.silent.len()
    }

    /// Whether there is something to read.
    pub fn is_readable(&self) -> bool {
        self.readable
    }

    /// Where it connects to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Moves to another address; takes effect with the next connection.
    pub fn set_address(&mut self, address: SocketAddr) {
        self.address = address;
    }

    /// Begins to connect.
    pub fn connect(&mut self, registry: &Registry, now_ns: u64) -> Result<(), LinkError> {
        let connected = TcpStream::connect(self.address).and_then(|mut stream| {
            registry.register(&mut stream, self.token, Interest::READABLE | Interest::WRITABLE)?;
            Ok(stream)
        });
        match connected {
            Ok(stream) => {
                self.state = State::Connecting(stream);
                Ok(())
            }
            Err(error) => {
                self.pause(now_ns);
                Err(error.into())
            }
        }
    }

    /// Takes note of an event. `Ok(true)` if the link is open now and was not before.
    pub fn event(&mut self, readable: bool, writable: bool, ended: bool) -> Result<bool, LinkError> {
        self.ended |= ended;
        self.readable |= readable || ended;
        match &self.state {
            State::Closed { .. } => Ok(false),
            State::Connecting(stream) => {
                if let Some(error) = stream.take_error()? {
                    return Err(error.into());
                }
                if !writable
                    || matches!(stream.peer_addr(), Err(error) if error.kind() == io::ErrorKind::NotConnected)
                {
                    return Ok(false);
                }
                stream.set_nodelay(true)?;
                let State::Connecting(stream) =
                    std::mem::replace(&mut self.state, State::Closed { until_ns: 0 })
                else {
                    unreachable!("it was connecting above");
                };
                self.state = State::Open(stream);
                self.failures = 0;
                Ok(true)
            }
            State::Open(_) => {
                self.full &= !writable;
                Ok(false)
            }
        }
    }

    /// Ends the connection and pauses. What was in flight comes back in its order.
    pub fn close(&mut self, now_ns: u64) -> Vec<T> {
        self.pause(now_ns);
        self.encoder = RequestEncoder::new(Some(CLIENT_ID.to_owned()));
        self.outgoing.clear();
        self.full = false;
        self.bytes_written = self.bytes_queued;
        self.incoming.clear();
        self.readable = false;
        self.ended = false;
        let silent = self.silent.drain(..).map(|(_, tag)| tag);
        self.in_flight.drain(..).map(|(_, tag)| tag).chain(silent).collect()
    }

    fn pause(&mut self, now_ns: u64) {
        let pause_ns = (PAUSE_NS_MIN << self.failures.min(10)).min(PAUSE_NS_MAX);
        self.failures += 1;
        self.state = State::Closed { until_ns: now_ns + pause_ns };
    }

    /// Whether [`Self::write`] has something to do.
    pub fn wants_write(&self) -> bool {
        !self.outgoing.is_empty() && !self.full && self.is_open()
    }

    /// Sends a request, or the first piece of it; [`Self::write`] sends the rest. Returns its bytes.
    pub fn send(&mut self, version: i16, request: &Request, tag: T) -> Result<u64, LinkError> {
        assert!(self.is_open(), "requests are sent on open links");
        let encoded = self
            .encoder
            .encode(version, request)
            .map_err(|error| LinkError::Protocol(format!("a request that cannot be sent: {error}")))?;
        let mut bytes = 0;
        for part in encoded.parts {
            let Part::Bytes(part) = part else { panic!("a request carries no file range") };
            bytes += part.len() as u64;
            self.outgoing.push_back(part);
        }
        self.bytes_queued += bytes;
        match encoded.expected {
            Some(expected) => self.in_flight.push_back((expected, tag)),
            None => self.silent.push_back((self.bytes_queued, tag)),
        }
        self.write()?;
        Ok(bytes)
    }

    /// Writes one piece of what is to be sent.
    pub fn write(&mut self) -> Result<(), LinkError> {
        let State::Open(stream) = &mut self.state else { return Ok(()) };
        if self.full {
            return Ok(());
        }
        let mut slices = [IoSlice::new(&[]); WRITE_PARTS_MAX];
        let (mut count, mut room) = (0, WRITE_BYTES);
        for (slice, part) in slices.iter_mut().zip(&self.outgoing) {
            if room == 0 {
                break;
            }
            let piece = &part[..part.len().min(room)];
            *slice = IoSlice::new(piece);
            (count, room) = (count + 1, room - piece.len());
        }
        let offered = WRITE_BYTES - room;
        let mut written = match stream.write_vectored(&slices[..count]) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        self.full = written < offered;
        self.bytes_written += written as u64;
        while let Some(part) = self.outgoing.front_mut() {
            if part.len() > written {
                part.advance(written);
                break;
            }
            written -= part.len();
            self.outgoing.pop_front();
        }
        Ok(())
    }

    /// Reads once, through `scratch`. Returns the bytes that came. Call [`Self::take_arrival`] until it has nothing more.
    pub fn read(&mut self, scratch: &mut [u8]) -> Result<usize, LinkError> {
        let State::Open(stream) = &mut self.state else {
            self.readable = false;
            return Ok(0);
        };
        match stream.read(scratch) {
            Ok(0) => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(bytes) => {
                self.incoming.extend_from_slice(&scratch[..bytes]);
                // Less than was asked for: the socket is empty, and what comes next makes an event.
                self.readable = self.ended || bytes == scratch.len();
                Ok(bytes)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(0)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// The next thing that has arrived.
    pub fn take_arrival(&mut self) -> Result<Option<Arrived<T>>, LinkError> {
        if let Some((_, tag)) = self.silent.pop_front_if(|(done_at, _)| *done_at <= self.bytes_written) {
            return Ok(Some(Arrived::Written(tag)));
        }
        let Some(prefix) = self.incoming.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*prefix) as usize;
        if length > RESPONSE_BYTES_MAX {
            return Err(LinkError::Protocol(format!("a response of {length} bytes")));
        }
        if self.incoming.len() < 4 + length {
            // Once, and not again with every read.
            if self.incoming.capacity() < 4 + length {
                self.incoming.reserve(4 + length - self.incoming.len());
            }
            return Ok(None);
        }
        let mut frame = self.incoming.split_to(4 + length).freeze();
        frame.advance(4);
        let (expected, tag) = self
            .in_flight
            .pop_front()
            .ok_or_else(|| LinkError::Protocol("a response that nobody asked for".to_owned()))?;
        match expected.decode(frame) {
            Ok(response) => Ok(Some(Arrived::Response(response, tag))),
            Err(error) => {
                // The owner gets the tag back with the others.
                self.in_flight.push_front((expected, tag));
                Err(LinkError::Protocol(error.to_string()))
            }
        }
    }
}
