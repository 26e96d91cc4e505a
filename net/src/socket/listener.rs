//! Listening sockets: one for each shard on a port that no other process has.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

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

/// A socket that listens and does not block.
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

    /// Takes a connection that waits; `None` where none does. Its socket does not block and does not hold back small
    /// writes.
    pub fn accept(&self) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        let (socket, peer) = match self.0.accept() {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        };
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        Ok(Some((socket, peer)))
    }
}

impl AsRawFd for BoundListener {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
