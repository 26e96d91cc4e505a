//! A client on blocking sockets, for tests, benches and load.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, BufReader, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::{Expected, RequestEncoder, ResponseError};
use crate::frame::{FrameDecoder, FrameError};
use crate::limits::READ_BUFFER_BYTES;
use crate::request::Request;
use crate::response::{ApiRequest, Response};
use crate::wire::{FRAME_PREFIX_BYTES, Part, WireError};

/// The largest response that is accepted.
const RESPONSE_BYTES_MAX: usize = 1 << 30;

/// Why a call failed.
#[derive(Debug)]
pub enum CallError {
    /// The socket failed. A broker that closes the connection shows as `UnexpectedEof`.
    Io(io::Error),
    /// The bytes that came are no frame.
    Frame(FrameError),
    /// The request has no form at its version.
    Request(WireError),
    /// The response is not the one that was due.
    Response(ResponseError),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Frame(error) => error.fmt(f),
            Self::Request(error) => write!(f, "a request that cannot be sent: {error}"),
            Self::Response(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for CallError {}

impl From<io::Error> for CallError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// One connection, on which requests may be pipelined.
#[derive(Debug)]
pub struct Client {
    socket: BufReader<TcpStream>,
    encoder: RequestEncoder,
    expected: VecDeque<Expected>,
}

impl Client {
    /// Connects.
    pub fn connect(address: impl ToSocketAddrs) -> io::Result<Self> {
        Self::from_stream(TcpStream::connect(address)?)
    }

    /// A client on a socket that is connected already.
    pub fn from_stream(socket: TcpStream) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        Ok(Self {
            socket: BufReader::with_capacity(READ_BUFFER_BYTES, socket),
            encoder: RequestEncoder::new(Some(String::from("monedula"))),
            expected: VecDeque::new(),
        })
    }

    /// Bounds how long [`Self::receive`] and [`Self::call`] wait; `None` for ever.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket.get_ref().set_read_timeout(timeout)
    }

    /// Sends a request and waits for its response. Nothing else may be in flight.
    pub fn call<R: ApiRequest>(&mut self, version: i16, request: R) -> Result<R::Response, CallError> {
        assert!(self.expected.is_empty(), "a call waits for its own response only");
        self.send(version, &request.into())?;
        let response = self.receive()?;
        Ok(R::Response::try_from(response)
            .unwrap_or_else(|_| panic!("a response is of the API of its request")))
    }

    /// Sends a request without waiting. No response will come to a produce with acks=0.
    pub fn send(&mut self, version: i16, request: &Request) -> Result<(), CallError> {
        let encoded = self.encoder.encode(version, request).map_err(CallError::Request)?;
        write_parts(self.socket.get_mut(), &encoded.parts)?;
        self.expected.extend(encoded.expected);
        Ok(())
    }

    /// Waits for the response to the oldest request that has none yet.
    pub fn receive(&mut self) -> Result<Response, CallError> {
        let expected = self.expected.pop_front().expect("a response is due only to a request");
        expected.decode(read_frame(&mut self.socket)?).map_err(CallError::Response)
    }

    /// Responses that are due.
    pub fn in_flight(&self) -> usize {
        self.expected.len()
    }

    /// Writes bytes that need not be a request.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.get_mut().write_all(bytes)
    }

    /// Reads one frame, whatever it is.
    pub fn receive_frame(&mut self) -> Result<Bytes, CallError> {
        read_frame(&mut self.socket)
    }

    /// The socket.
    pub fn stream(&self) -> &TcpStream {
        self.socket.get_ref()
    }

    /// Parts the client in two, for a thread that sends and a thread that receives. Nothing may be in flight.
    pub fn split(self) -> io::Result<(Sender, Receiver)> {
        assert!(self.expected.is_empty(), "a client is parted between calls");
        let (announce, expected) = mpsc::channel();
        let socket = self.socket.get_ref().try_clone()?;
        Ok((Sender { socket, encoder: self.encoder, announce }, Receiver { socket: self.socket, expected }))
    }
}

/// The sending half of a [`Client`]. Dropped, it ends the sending direction of the connection.
#[derive(Debug)]
pub struct Sender {
    socket: TcpStream,
    encoder: RequestEncoder,
    announce: mpsc::Sender<Expected>,
}

impl Sender {
    /// Sends a request.
    pub fn send(&mut self, version: i16, request: &Request) -> Result<(), CallError> {
        let encoded = self.encoder.encode(version, request).map_err(CallError::Request)?;
        if let Some(expected) = encoded.expected {
            // Before it is written, or its response might be here first. A receiver that has gone reads none.
            self.announce.send(expected).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        }
        Ok(write_parts(&mut self.socket, &encoded.parts)?)
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        // It fails only where the connection has ended already.
        let _ = self.socket.shutdown(Shutdown::Write);
    }
}

/// The receiving half of a [`Client`].
#[derive(Debug)]
pub struct Receiver {
    socket: BufReader<TcpStream>,
    expected: mpsc::Receiver<Expected>,
}

impl Receiver {
    /// Waits for the next response; `None` once the sender is gone and every response has come.
    pub fn receive(&mut self) -> Result<Option<Response>, CallError> {
        let Ok(expected) = self.expected.recv() else { return Ok(None) };
        let frame = read_frame(&mut self.socket)?;
        expected.decode(frame).map(Some).map_err(CallError::Response)
    }
}

fn read_frame(socket: &mut impl Read) -> Result<Bytes, CallError> {
    let mut prefix = [0; FRAME_PREFIX_BYTES];
    socket.read_exact(&mut prefix)?;
    let decoder = FrameDecoder::new(RESPONSE_BYTES_MAX);
    let length = decoder.frame_length(&prefix).map_err(CallError::Frame)?.expect("the prefix is whole");
    let mut frame = BytesMut::zeroed(length);
    socket.read_exact(&mut frame)?;
    Ok(frame.freeze())
}

fn write_parts(socket: &mut TcpStream, parts: &[Part]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = parts
        .iter()
        .map(|part| match part {
            Part::Bytes(bytes) => IoSlice::new(bytes),
            Part::File { .. } => panic!("a request carries no file range"),
        })
        .collect();
    let mut left = &mut slices[..];
    while !left.is_empty() {
        match socket.write_vectored(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut left, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
