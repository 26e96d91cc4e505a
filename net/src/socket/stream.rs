//! A connection as a stream of frames in and of parts out.
//!
//! The two halves belong to one executor and may be driven by two tasks: each borrows the socket for the time of
//! one poll only.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, ready};

use bytes::{Bytes, BytesMut};
use futures_lite::{AsyncBufRead, AsyncRead, AsyncWrite};
use glommio::io::PollableFd;
use glommio::net::{Preallocated, TcpStream};

use crate::connection::{OutgoingResponse, Ticket};
use crate::frame::{FrameDecoder, FrameError};
use crate::limits::READ_BUFFER_BYTES;
use crate::wire::{FRAME_PREFIX_BYTES, Part};

/// Memory parts that go into one write.
const WRITE_PARTS_MAX: usize = 256;

type Socket = Rc<RefCell<TcpStream<Preallocated>>>;

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

pub(super) fn split(stream: TcpStream, frame_bytes_max: usize) -> (FrameReader, FrameWriter) {
    let socket = Rc::new(RefCell::new(stream.buffered_with(Preallocated::new(READ_BUFFER_BYTES))));
    let reader = FrameReader {
        socket: Rc::clone(&socket),
        decoder: FrameDecoder::new(frame_bytes_max),
        next_length: None,
    };
    (reader, FrameWriter { socket, pollable: None })
}

/// The reading half.
#[derive(Debug)]
pub struct FrameReader {
    socket: Socket,
    decoder: FrameDecoder,
    /// The length of the frame that is being read, once its prefix has been taken off.
    next_length: Option<usize>,
}

impl FrameReader {
    /// Changes the limit on frames, once the peer has proven who it is.
    pub fn set_frame_bytes_max(&mut self, frame_bytes_max: usize) {
        self.decoder.set_limit(frame_bytes_max);
    }

    /// Waits for the length of the next frame, so that memory can be set aside before the frame is read.
    /// `None` where the peer has closed the connection between frames.
    pub async fn frame_length(&mut self) -> Result<Option<usize>, ReadError> {
        if self.next_length.is_some() {
            return Ok(self.next_length);
        }
        let mut prefix = [0; FRAME_PREFIX_BYTES];
        let mut filled = 0;
        while filled < FRAME_PREFIX_BYTES {
            match self.read(&mut prefix[filled..]).await? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                count => filled += count,
            }
        }
        self.next_length = self.decoder.frame_length(&prefix)?;
        Ok(self.next_length)
    }

    /// Reads the next frame into an allocation of its own size. `None` as with [`Self::frame_length`].
    ///
    /// Dropped before it is done, it leaves the reader inside the frame: nothing more can be read then.
    pub async fn frame(&mut self) -> Result<Option<Bytes>, ReadError> {
        let Some(length) = self.frame_length().await? else { return Ok(None) };
        self.next_length = None;
        match self.buffered_frame(length).await? {
            Some(frame) => Ok(Some(frame)),
            None => Ok(Some(self.large_frame(length).await?)),
        }
    }

    /// The frame, read into its place as far as it is not in the read buffer.
    async fn large_frame(&mut self, length: usize) -> io::Result<Bytes> {
        let mut frame = BytesMut::zeroed(length);
        let mut filled = 0;
        while filled < length {
            // Only the end of it may bring the beginning of the next frame along.
            match self.read(&mut frame[filled..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => filled += count,
            }
        }
        Ok(frame.freeze())
    }

    /// The frame, if all of it is in the read buffer.
    async fn buffered_frame(&mut self, length: usize) -> io::Result<Option<Bytes>> {
        if length == 0 {
            return Ok(Some(Bytes::new()));
        }
        if length > READ_BUFFER_BYTES {
            return Ok(None);
        }
        poll_fn(|cx| {
            let mut socket = self.socket.borrow_mut();
            let mut socket = Pin::new(&mut *socket);
            let buffered = ready!(socket.as_mut().poll_fill_buf(cx))?;
            let Some(frame) = buffered.get(..length) else { return Poll::Ready(Ok(None)) };
            let frame = Bytes::copy_from_slice(frame);
            socket.consume(length);
            Poll::Ready(Ok(Some(frame)))
        })
        .await
    }

    async fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| Pin::new(&mut *self.socket.borrow_mut()).poll_read(cx, into)).await
    }
}

/// Sends file ranges, for [`FrameWriter::write`]; how is for the host of the connection to know.
pub trait SendFileRange {
    /// Sends all `length` bytes of range `slot` of the response with this ticket.
    fn send_file_range(
        &mut self,
        writer: &mut FrameWriter,
        ticket: Ticket,
        slot: u32,
        length: u32,
    ) -> impl Future<Output = io::Result<()>>;
}

/// The writing half.
#[derive(Debug)]
pub struct FrameWriter {
    socket: Socket,
    /// A descriptor of the socket for those who write to it themselves.
    pollable: Option<PollableFd<Arc<OwnedFd>>>,
}

impl FrameWriter {
    /// Writes responses in order. Neighbouring parts in memory go out together, of several responses too.
    pub async fn write(
        &mut self,
        responses: &[OutgoingResponse],
        files: &mut impl SendFileRange,
    ) -> io::Result<()> {
        let mut gathered = Vec::with_capacity(WRITE_PARTS_MAX.min(2 * responses.len()));
        for OutgoingResponse { ticket, parts } in responses {
            for part in parts {
                match part {
                    Part::Bytes(bytes) => gathered.push(IoSlice::new(bytes)),
                    Part::File { slot, length } => {
                        self.write_slices(&mut gathered).await?;
                        files.send_file_range(self, *ticket, *slot, *length).await?;
                    }
                }
                if gathered.len() == WRITE_PARTS_MAX {
                    self.write_slices(&mut gathered).await?;
                }
            }
        }
        self.write_slices(&mut gathered).await
    }

    /// Writes bytes.
    pub async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_slices(&mut vec![IoSlice::new(bytes)]).await
    }

    async fn write_slices(&mut self, slices: &mut Vec<IoSlice<'_>>) -> io::Result<()> {
        let mut left = &mut slices[..];
        while !left.is_empty() {
            let written = poll_fn(|cx| {
                let mut socket = self.socket.borrow_mut();
                Pin::new(&mut *socket).poll_write_vectored(cx, left)
            })
            .await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            IoSlice::advance_slices(&mut left, written);
        }
        slices.clear();
        Ok(())
    }

    /// The socket, for a system call of one's own. It does not block: on `WouldBlock`, await [`Self::writable`].
    /// The descriptor is a duplicate, and stays open as long as anybody holds it.
    pub fn descriptor(&mut self) -> io::Result<Arc<OwnedFd>> {
        Ok(Arc::clone(self.pollable()?.get_ref()))
    }

    /// Waits until the socket takes bytes again.
    pub async fn writable(&mut self) -> io::Result<()> {
        Ok(self.pollable()?.writable().await?)
    }

    fn pollable(&mut self) -> io::Result<&PollableFd<Arc<OwnedFd>>> {
        if self.pollable.is_none() {
            let descriptor = Borrow(&*self.socket.borrow()).as_fd().try_clone_to_owned()?;
            self.pollable = Some(PollableFd::new(Arc::new(descriptor))?);
        }
        Ok(self.pollable.as_ref().expect("it was put there just now"))
    }

    /// Ends the connection in both directions; the reading half finds its end.
    pub async fn shutdown(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.socket.borrow_mut().poll_shutdown(cx, Shutdown::Both)).await?;
        Ok(())
    }
}

/// A socket that only shows its raw descriptor, as one that can be borrowed.
pub(super) struct Borrow<'a, T>(pub(super) &'a T);

impl<T: AsRawFd> AsFd for Borrow<'_, T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open as long as the socket, which is borrowed for as long as the result.
        #[allow(unsafe_code, reason = "glommio's sockets have no AsFd")]
        unsafe {
            BorrowedFd::borrow_raw(self.0.as_raw_fd())
        }
    }
}
