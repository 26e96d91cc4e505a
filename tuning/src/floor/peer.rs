//! A message to another machine and back: what the network between a client and the broker takes, or that between two
//! brokers. There `monedula-tune echo` sends it back.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::figures::Kind;
use super::loopback::ask;
use super::{Figures, Line, Load, pin};
use crate::echo::{FULL, GREETING, GREETING_BYTES};

/// How long the peer may take to accept a connection, and to greet.
const GREETING_MAX: Duration = Duration::from_secs(3);

/// How long a message may be on its way: some retransmissions are as long as that.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// A peer that was found to send back what it gets.
pub(super) struct Peer {
    name: String,
    address: SocketAddr,
}

impl Peer {
    /// Finds the peer and has it send one message back, so that what is wrong is known before anything is measured.
    pub(super) fn find(name: &str) -> Result<Peer, String> {
        let wrong = |why: String| format!("--peer {name}: {why}");
        let addresses = name
            .to_socket_addrs()
            .map_err(|error| wrong(format!("{error}: name a host and a port, like 10.0.0.2:9777")))?;
        let mut last = "the name has no address".to_owned();
        for address in addresses {
            let peer = Peer { name: name.to_owned(), address };
            match peer.measure_once() {
                Ok(()) => return Ok(peer),
                Err(why) => last = why,
            }
        }
        Err(wrong(last))
    }

    fn measure_once(&self) -> Result<(), String> {
        let mut figures = Figures::default();
        let mut stream = self.connect()?;
        ask(&mut stream, Duration::ZERO, &mut figures).map_err(|error| cut_off(&error, &figures))?;
        Ok(())
    }

    /// From one core, over a connection of its own.
    pub(super) fn measure(&self, core: usize, load: Load, each: Duration) -> Result<Line, String> {
        let wrong = |why: String| format!("--peer {}: {why}", self.name);
        std::thread::scope(|scope| {
            let asking = scope.spawn(move || {
                pin(core)?;
                let mut figures = Figures::default();
                let mut stream = self.connect().map_err(wrong)?;
                let lasted =
                    ask(&mut stream, each, &mut figures).map_err(|error| wrong(cut_off(&error, &figures)))?;
                let place = format!("cpu{core}-{}", self.name);
                Ok(Line { kind: Kind::Peer, place, load, lasted, figures })
            });
            asking.join().expect("measurements do not panic")
        })
    }

    fn connect(&self) -> Result<TcpStream, String> {
        let mut stream = TcpStream::connect_timeout(&self.address, GREETING_MAX)
            .map_err(|error| self.unreached(&error))?;
        greet(&mut stream)?;
        Ok(stream)
    }

    fn unreached(&self, error: &io::Error) -> String {
        let Peer { name, address } = self;
        match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                format!("nobody listens at {address}: start `monedula-tune echo {name}` there")
            }
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => format!(
                "{address} does not answer within {} s: look whether the machine is up, and at firewalls between",
                GREETING_MAX.as_secs()
            ),
            _ => format!("{address} cannot be reached: {error}"),
        }
    }
}

/// Exchanges greetings, after which the peer sends back what it gets.
fn greet(stream: &mut TcpStream) -> Result<(), String> {
    let failed = |error: io::Error| format!("the connection failed: {error}");
    stream.set_nodelay(true).map_err(failed)?;
    stream.set_read_timeout(Some(GREETING_MAX)).map_err(failed)?;
    stream.set_write_timeout(Some(ANSWER_MAX)).map_err(failed)?;
    let mut said = [0; GREETING_BYTES];
    let mut length = 0;
    // The end of a greeting may be that of the connection: what was said until then tells who it is.
    while length < said.len() {
        match stream.read(&mut said[length..]) {
            Ok(0) => break,
            Ok(bytes) => length += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                break;
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
            Err(error) => return Err(failed(error)),
        }
    }
    judge(&said[..length])?;
    stream.write_all(GREETING).map_err(failed)?;
    stream.set_read_timeout(Some(ANSWER_MAX)).map_err(failed)
}

/// Whether what the other side said first is the greeting of `monedula-tune echo`.
fn judge(said: &[u8]) -> Result<(), String> {
    let same_but_version = |line: &[u8; GREETING_BYTES]| said.starts_with(&line[..GREETING_BYTES - 2]);
    match said {
        said if said == GREETING => Ok(()),
        said if said == FULL => {
            Err("it serves as many as it may: wait until one of them is done, or end it and start it anew"
                .to_owned())
        }
        [] => Err("something listens there that does not greet as `monedula-tune echo` does: name its port"
            .to_owned()),
        _ if same_but_version(GREETING) || same_but_version(FULL) => {
            Err("it is of another version: run the same release of monedula-tune on both machines".to_owned())
        }
        said => Err(format!(
            "something else listens there (it says `{}`): name the port of `monedula-tune echo`",
            said.escape_ascii()
        )),
    }
}

fn cut_off(error: &io::Error, figures: &Figures) -> String {
    let why = match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            format!("no answer for {} s", ANSWER_MAX.as_secs())
        }
        io::ErrorKind::UnexpectedEof => "the peer ended the connection".to_owned(),
        _ => error.to_string(),
    };
    format!(
        "cut off after {} round trips: {why}: look at `monedula-tune echo` there, and measure again",
        figures.count()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_peer_says_first_is_judged() {
        let check = |said: &[u8], expect: &str| match judge(said) {
            Ok(()) => assert_eq!("", expect, "{said:?}"),
            Err(why) => assert!(!expect.is_empty() && why.contains(expect), "{said:?}: {why}"),
        };
        check(b"monedula echo 1\n", "");
        check(b"monedula full 1\n", "as many as it may");
        check(b"monedula echo 2\n", "another version");
        check(b"monedula full 2\n", "another version");
        check(b"", "does not greet");
        check(b"monedula", "says `monedula`");
        check(b"SSH-2.0-OpenSSH_", "says `SSH-2.0-OpenSSH_`");
        check(b"\x00\xff\r\n", r"says `\x00\xff\r\n`");
    }
}
