//! The Unix socket in the data directory.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

/// Its name in the data directory.
const NAME: &str = "monedula.sock";

/// The longest path that an address has room for, bytes.
const PATH_MAX: usize = 100;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 8;

/// Where the socket of a data directory is.
pub fn path(data: &Path) -> PathBuf {
    data.join(NAME)
}

/// Listens, in the place of one that an earlier process left behind: who calls this holds the lock of the directory.
pub fn listen(data: &Path) -> io::Result<UnixListener> {
    let path = path(data);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let address = Address::new(data)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // The file gets the mode that the socket has when it is bound, so there is no moment at which others may connect.
    // SAFETY: takes two numbers, the descriptor being open.
    if unsafe { libc::fchmod(socket.as_raw_fd(), 0o600) } != 0 {
        return Err(io::Error::last_os_error());
    }
    socket.bind(&address.socket)?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Connects to the broker of a data directory.
pub fn connect(data: &Path) -> io::Result<UnixStream> {
    let address = Address::new(data)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.connect(&address.socket)?;
    Ok(socket.into())
}

/// The address of the socket. A path that is too long for one is written through a descriptor of its directory.
struct Address {
    socket: SockAddr,
    /// Keeps that descriptor open.
    _directory: Option<File>,
}

impl Address {
    fn new(data: &Path) -> io::Result<Address> {
        let direct = path(data);
        if direct.as_os_str().len() <= PATH_MAX {
            return Ok(Address { socket: SockAddr::unix(direct)?, _directory: None });
        }
        let directory = File::open(data)?;
        let detour = format!("/proc/self/fd/{}/{NAME}", directory.as_raw_fd());
        Ok(Address { socket: SockAddr::unix(detour)?, _directory: Some(directory) })
    }
}
