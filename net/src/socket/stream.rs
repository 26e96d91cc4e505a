//! A connection as a stream of frames in and of parts out, over a socket that does not block.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;

use bytes::Bytes;

use crate::connection::{OutgoingResponse, Ticket};
use crate::frame::{FrameDecoder, FrameError};
use crate::wire::{FRAME_PREFIX_BYTES, Part};

/// Memory parts that go into one write.
const WRITE_PARTS_MAX: usize = 128;

/// What one pass reads at most before others get their turn, bytes; a frame that is longer is still one pass.
const PASS_BYTES_MAX: usize = 1 << 20;

/// A frame of this size or more is read into its place, bytes: what is read before its length is known is copied.
const LARGE_FRAME_BYTES: usize = 16 << 10;

/// What is read before the length is known where the frame before was a large one, bytes.
const PEEK_BYTES: usize = 1 << 10;

/// Why no frame could be read.
#[derive(Debug)]
pub enum ReadError {
    /// The socket failed, or was closed in the middle of a frame.
    Io(io::Error),
    /// The bytes are no frame.
    Frame(FrameError),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Frame(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReadError {}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<FrameError> for ReadError {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}

/// Who takes the frames of a connection, and says how many it can take.
pub trait FrameHost {
    /// Whether another frame may be begun.
    fn may_begin(&mut self) -> bool;
    /// Sets memory aside for a frame of that length, or says that there is none now.
    fn admit(&mut self, length: usize) -> bool;
    /// Takes a frame that was admitted. False ends the pass: no more of this connection is wanted.
    fn frame(&mut self, frame: Bytes) -> bool;
}

/// How a pass over a socket ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// The socket has no more; it will be readable again.
    Drained,
    /// The host takes no more for now. Bytes may be waiting here or in the socket: call again when it does.
    Stopped,
    /// Enough for one pass; there may be more at once.
    Paused,
    /// The peer has closed the connection between frames.
    Closed,
}

/// The reading half.
#[derive(Debug)]
pub struct FrameReader {
    decoder: FrameDecoder,
    state: State,
    /// Bytes that were read and that the host did not take.
    held: Vec<u8>,
    /// The last frame was large: so is the next, as a rule.
    expects_large: bool,
}

#[derive(Debug)]
enum State {
    Prefix { bytes: [u8; FRAME_PREFIX_BYTES], filled: usize },
    Admitting { length: usize },
    Body { frame: Vec<u8>, length: usize },
}

const BETWEEN_FRAMES: State = State::Prefix { bytes: [0; FRAME_PREFIX_BYTES], filled: 0 };

/// How far the bytes at hand were taken in.
enum TakenIn {
    All,
    UpTo(usize),
}

impl FrameReader {
    /// A reader that refuses frames of more than `frame_bytes_max` bytes.
    pub fn new(frame_bytes_max: usize) -> FrameReader {
        FrameReader {
            decoder: FrameDecoder::new(frame_bytes_max),
            state: BETWEEN_FRAMES,
            held: Vec::new(),
            expects_large: false,
        }
    }

    /// Changes the limit on frames, once the peer has proven who it is.
    pub fn set_frame_bytes_max(&mut self, frame_bytes_max: usize) {
        self.decoder.set_limit(frame_bytes_max);
    }

    /// The length of the frame that was admitted and is not complete.
    pub fn admitted(&self) -> Option<usize> {
        match self.state {
            State::Body { length, .. } => Some(length),
            State::Prefix { .. } | State::Admitting { .. } => None,
        }
    }

    /// Reads what the socket has and gives its frames to the host, each in an allocation of its own. `scratch` is for
    /// the time of the call only, and may serve many connections; it is not empty.
    pub fn pass(
        &mut self,
        socket: &TcpStream,
        scratch: &mut [u8],
        host: &mut impl FrameHost,
    ) -> Result<Pass, ReadError> {
        let held = std::mem::take(&mut self.held);
        if let TakenIn::UpTo(taken) = self.take_in(&held, host)? {
            self.held = held[taken..].to_vec();
            return Ok(Pass::Stopped);
        }
        let mut passed = 0;
        while passed < PASS_BYTES_MAX {
            if let State::Body { frame, length } = &mut self.state {
                let before = frame.len();
                let missing = *length - before;
                match Read::take(socket, missing as u64).read_to_end(frame) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Pass::Drained),
                    Err(error) => return Err(error.into()),
                    Ok(count) if count < missing && frame.len() < *length => {
                        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                    }
                    Ok(count) => passed += count,
                }
                let frame = Bytes::from(std::mem::take(frame));
                self.state = BETWEEN_FRAMES;
                if !host.frame(frame) {
                    return Ok(Pass::Stopped);
                }
            } else {
                if matches!(self.state, State::Prefix { filled: 0, .. }) && !host.may_begin() {
                    return Ok(Pass::Stopped);
                }
                let most = if self.expects_large { scratch.len().min(PEEK_BYTES) } else { scratch.len() };
                let count = match (&mut &*socket).read(&mut scratch[..most]) {
                    Ok(0) if matches!(self.state, State::Prefix { filled: 0, .. }) => {
                        return Ok(Pass::Closed);
                    }
                    Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                    Ok(count) => count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Pass::Drained),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(error.into()),
                };
                passed += count;
                if let TakenIn::UpTo(taken) = self.take_in(&scratch[..count], host)? {
                    self.held = scratch[taken..count].to_vec();
                    return Ok(Pass::Stopped);
                }
                if count < most {
                    // All that there was: what comes now makes the socket ready again.
                    return Ok(Pass::Drained);
                }
            }
        }
        Ok(Pass::Paused)
    }

    fn take_in(&mut self, bytes: &[u8], host: &mut impl FrameHost) -> Result<TakenIn, FrameError> {
        let mut taken = 0;
        loop {
            match &mut self.state {
                State::Prefix { bytes: prefix, filled } => {
                    if *filled == 0 && (taken == bytes.len() || !host.may_begin()) {
                        return Ok(if taken == bytes.len() { TakenIn::All } else { TakenIn::UpTo(taken) });
                    }
                    let count = (FRAME_PREFIX_BYTES - *filled).min(bytes.len() - taken);
                    prefix[*filled..*filled + count].copy_from_slice(&bytes[taken..taken + count]);
                    *filled += count;
                    taken += count;
                    if *filled < FRAME_PREFIX_BYTES {
                        return Ok(TakenIn::All);
                    }
                    let length = self.decoder.frame_length(prefix)?.expect("the prefix is complete");
                    self.state = State::Admitting { length };
                }
                State::Admitting { length } => {
                    let length = *length;
                    self.expects_large = length >= LARGE_FRAME_BYTES;
                    if !host.admit(length) {
                        return Ok(TakenIn::UpTo(taken));
                    }
                    let here = &bytes[taken..];
                    if here.len() < length {
                        let mut frame = Vec::with_capacity(length);
                        frame.extend_from_slice(here);
                        self.state = State::Body { frame, length };
                        return Ok(TakenIn::All);
                    }
                    taken += length;
                    self.state = BETWEEN_FRAMES;
                    if !host.frame(Bytes::copy_from_slice(&here[..length])) {
                        return Ok(TakenIn::UpTo(taken));
                    }
                }
                State::Body { frame, length } => {
                    assert!(
                        bytes.is_empty() && frame.len() < *length,
                        "the rest of a body is read into its place"
                    );
                    return Ok(TakenIn::All);
                }
            }
        }
    }
}

/// The writing half: responses in the order in which they were pushed.
#[derive(Debug, Default)]
pub struct FrameWriter {
    parts: VecDeque<(Ticket, Part)>,
    /// Bytes of the first part that are written, where it is memory.
    written: usize,
}

/// How far a write came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// Everything.
    All,
    /// The socket takes no more; it will be writable again.
    Blocked,
    /// As far as a file range, which is for the caller to send: [`FrameWriter::file_sent`] goes on behind it.
    File {
        /// Whose response it belongs to.
        ticket: Ticket,
        /// Which of its ranges.
        slot: u32,
        /// Its bytes.
        length: u32,
    },
}

impl FrameWriter {
    /// Puts a response behind those before. The caller bounds how many.
    pub fn push(&mut self, response: OutgoingResponse) {
        let OutgoingResponse { ticket, parts } = response;
        // An empty part would look like a socket that takes nothing.
        let parts = parts.into_iter().filter(|part| !matches!(part, Part::Bytes(bytes) if bytes.is_empty()));
        self.parts.extend(parts.map(|part| (ticket, part)));
    }

    /// Whether everything is written.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Writes as far as the socket takes it. Neighbouring parts in memory go out together, of several responses too.
    pub fn write(&mut self, socket: &TcpStream) -> io::Result<Written> {
        loop {
            match self.parts.front() {
                None => return Ok(Written::All),
                Some(&(ticket, Part::File { slot, length })) => {
                    return Ok(Written::File { ticket, slot, length });
                }
                Some((_, Part::Bytes(_))) => {}
            }
            let mut slices = [IoSlice::new(&[]); WRITE_PARTS_MAX];
            let mut count = 0;
            for (_, part) in self.parts.iter().take(WRITE_PARTS_MAX) {
                let Part::Bytes(bytes) = part else { break };
                slices[count] = IoSlice::new(if count == 0 { &bytes[self.written..] } else { bytes });
                count += 1;
            }
            match (&mut &*socket).write_vectored(&slices[..count]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.advance(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Written::Blocked),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The file range at the front has been sent.
    pub fn file_sent(&mut self) {
        let sent = self.parts.pop_front();
        assert!(matches!(sent, Some((_, Part::File { .. }))), "a file range is at the front");
    }

    fn advance(&mut self, mut count: usize) {
        while count > 0 {
            let Some((_, Part::Bytes(bytes))) = self.parts.front() else {
                unreachable!("no more is written than there was memory")
            };
            let left = bytes.len() - self.written;
            if count < left {
                self.written += count;
                return;
            }
            count -= left;
            self.written = 0;
            self.parts.pop_front();
        }
    }
}
