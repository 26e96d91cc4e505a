//! Tells systemd where the broker is in its life: sd_notify(3) for `Type=notify` units.
//!
//! The whole protocol is a datagram with `NAME=value` lines to the socket that the environment names; no library is
//! needed for that, and none of the rest of one (watchdog, descriptors) is used.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Names the socket; not set where nobody listens.
const SOCKET: &str = "NOTIFY_SOCKET";

/// The broker accepts connections.
pub fn ready(status: &str) {
    tell(&format!("READY=1\nSTATUS={status}"));
}

/// The stop in order has begun.
pub fn stopping() {
    tell("STOPPING=1\nSTATUS=stopping");
}

/// A message that does not arrive is worth a line: systemd will then think that the start failed.
fn tell(message: &str) {
    let Some(socket) = env::var_os(SOCKET) else { return };
    if let Err(error) = send(&socket, message) {
        tracing::warn!("{SOCKET} {}: {error}: systemd does not hear of this", socket.display());
    }
}

fn send(socket: &OsStr, message: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        // How the environment writes a name that is in no file system.
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address).map(|_| ())
}
