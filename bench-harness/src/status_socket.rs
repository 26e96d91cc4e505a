//! Asks a Monedula on this machine, over the socket in its data directory, what it has counted.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::stages::Reading;

/// The socket's name in a data directory.
const NAME: &str = "monedula.sock";

/// How long a broker may take to answer. Its status thread is an ordinary one on cores that are loaded.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// The longest path that the address of a socket has room for.
const PATH_BYTES_MAX: usize = 100;

/// The socket of the broker of a data directory.
pub fn of_data(data: &Path) -> PathBuf {
    data.join(NAME)
}

/// The socket of a broker, from its own path or that of the data directory.
pub fn locate(path: &Path) -> PathBuf {
    if path.is_dir() { of_data(path) } else { path.to_owned() }
}

/// What the broker has counted so far. An error is a sentence for people.
pub fn read(path: &Path) -> Result<Reading, String> {
    let shown = path.display();
    let answer = ask(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => format!(
            "no Monedula listens at {shown}: name DATA/monedula.sock of one that runs on this machine, or leave --broker-status out"
        ),
        io::ErrorKind::PermissionDenied => {
            format!("{shown} is not for you: run this as the user that runs the broker, or as root")
        }
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            format!("the Monedula at {shown} does not answer within {} s", ANSWER_WITHIN.as_secs())
        }
        _ => format!("{shown}: {error}"),
    })?;
    Reading::parse(&answer).map_err(|what| format!("the Monedula at {shown} cannot be used: {what}"))
}

fn ask(path: &Path) -> io::Result<String> {
    let mut stream = connect(path)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.set_write_timeout(Some(ANSWER_WITHIN))?;
    stream.write_all(b"status\n")?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    Ok(answer)
}

/// A path that is too long for an address is taken through a descriptor of its directory.
#[allow(clippy::disallowed_methods, reason = "this is the shell around the broker's socket")]
fn connect(path: &Path) -> io::Result<UnixStream> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return UnixStream::connect(path);
    };
    if path.as_os_str().len() <= PATH_BYTES_MAX {
        return UnixStream::connect(path);
    }
    let directory = File::open(directory)?;
    UnixStream::connect(Path::new(&format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_there_is_named() {
        let error = read(Path::new("/nowhere/monedula.sock")).unwrap_err();
        assert!(error.contains("no Monedula listens") && error.contains("--broker-status"), "{error}");
        let long = format!("/tmp/{}/monedula.sock", "x".repeat(200));
        assert!(read(Path::new(&long)).unwrap_err().contains("no Monedula listens"));
    }
}
