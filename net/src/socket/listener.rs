//! Listening sockets: one for each shard on a port that no other process has.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{FromRawFd, IntoRawFd};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::stream::{FrameReader, FrameWriter, split};

/// Connections that may wait to be accepted, on each shard.
const BACKLOG: i32 = 1024;

/// Why an address cannot be listened on.
#[derive(Debug)]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, source } = self;
        match source.kind() {
            io::ErrorKind::AddrInUse => write!(f, "{address} is in use by another process"),
            io::ErrorKind::AddrNotAvailable => write!(f, "{address} is not an address of this machine"),
            io::ErrorKind::PermissionDenied => {
                write!(f, "{address} may not be listened on by this user: ports below 1024 need a privilege")
            }
            _ => write!(f, "cannot listen on {address}: {source}"),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// A socket that listens already and waits for its executor. It can move between threads.
#[derive(Debug)]
pub struct BoundListener(TcpListener);

/// Binds `count` sockets to one address; the system spreads connections over them.
///
/// The first socket takes the port alone: it listens before it allows others, so a port that any other process
/// listens on is refused, even if that process allows sharing and even if both start at once. Port 0 takes
/// a free port, the same one for all.
pub fn bind_shared(address: SocketAddr, count: usize) -> Result<Vec<BoundListener>, BindError> {
    assert!(count > 0, "an address is listened on by at least one shard");
    let bind = || {
        let first = listen(address, false)?;
        SockRef::from(&first).set_reuse_port(true)?;
        let shared_address = first.local_addr()?;
        let mut listeners = vec![BoundListener(first)];
        for _ in 1..count {
            listeners.push(BoundListener(listen(shared_address, true)?));
        }
        Ok(listeners)
    };
    bind().map_err(|source| BindError { address, source })
}

fn listen(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of a broker that has just ended linger in TIME_WAIT and must not keep its successor out.
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

impl BoundListener {
    /// The address, with the port that was given out if port 0 was asked for.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// The plain socket, which does not block.
    pub fn into_std(self) -> TcpListener {
        self.0
    }

    /// Hands the socket to the executor of this thread.
    pub fn into_listener(self) -> Listener {
        // SAFETY: the descriptor is open, a listening socket, and owned by nobody else from here on.
        #[allow(unsafe_code, reason = "glommio takes a socket that is bound already only this way")]
        let listener = unsafe { glommio::net::TcpListener::from_raw_fd(self.0.into_raw_fd()) };
        Listener(listener)
    }
}

/// A listening socket on an executor.
#[derive(Debug)]
pub struct Listener(glommio::net::TcpListener);

impl Listener {
    /// Waits for a connection. Frames of more than `frame_bytes_max` bytes will be refused on it.
    pub async fn accept(&self, frame_bytes_max: usize) -> io::Result<(FrameReader, FrameWriter, SocketAddr)> {
        let stream = self.0.accept().await?;
        let peer = stream.peer_addr()?;
        stream.set_nodelay(true)?;
        // For those who write to the descriptor themselves: sendfile(2) has no flag for it.
        SockRef::from(&super::stream::Borrow(&stream)).set_nonblocking(true)?;
        let (reader, writer) = split(stream, frame_bytes_max);
        Ok((reader, writer, peer))
    }

    /// The address that is listened on.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.0.local_addr()?)
    }
}
