//! The other end of a round trip between machines: `monedula-tune echo` sends back what `floor --peer` sends.
//!
//! ```text
//! the server:  GREETING, or FULL and the end
//! the client:            GREETING, then message after message of 128 bytes
//! the server:                      each message, as it came
//! ```
//!
//! The server speaks first: a client that has met something else sees so at once, and who comes by mistake and does
//! not greet hears nothing of what he said. It keeps nothing, and everything that it gives is bounded.

#![allow(clippy::disallowed_methods, reason = "a server has threads and a clock")]

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// About a produce request of one small record.
pub const MESSAGE_BYTES: usize = 128;

/// Both sides begin with these bytes; the digit is the version of what follows.
pub const GREETING: &[u8; GREETING_BYTES] = b"monedula echo 1\n";

/// What the server says in place of its greeting where it has no room.
pub const FULL: &[u8; GREETING_BYTES] = b"monedula full 1\n";

/// How long a greeting is.
pub const GREETING_BYTES: usize = 16;

/// How often the server looks whether it is to stop, and whether somebody has come.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What a server gives at most.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections at a time.
    pub connections: usize,
    /// What is sent back over one connection.
    pub connection_bytes: u64,
    /// How long a connection may be silent, or take for one message.
    pub idle: Duration,
}

impl Default for Bounds {
    /// Room for some machines that measure at once, and for the longest `floor --seconds` over a fast network.
    fn default() -> Bounds {
        Bounds { connections: 8, connection_bytes: 16 << 30, idle: Duration::from_secs(10) }
    }
}

/// A connection that has ended.
#[derive(Debug)]
pub struct Ended {
    /// Who it was.
    pub peer: SocketAddr,
    /// How many messages went back.
    pub messages: u64,
    /// Why it ended.
    pub why: End,
}

/// Why a connection ended.
#[derive(Debug)]
pub enum End {
    /// The other side was done.
    Left,
    /// It did not greet.
    Stranger,
    /// There were too many already.
    Full,
    /// It was silent, or slow, for too long.
    Idle,
    /// It has had what one connection may have.
    Spent,
    /// This server was stopped in the middle of a message.
    Stopped,
    /// The network failed.
    Failed(io::Error),
}

/// Serves until `stop` is set, and calls `ended` for each connection that ends. Those still open are cut off then.
pub fn serve(
    listener: &TcpListener,
    bounds: Bounds,
    stop: &AtomicBool,
    ended: impl Fn(Ended) + Sync,
) -> io::Result<()> {
    // So that it can look at `stop` while nobody comes.
    listener.set_nonblocking(true)?;
    let open = Open::default();
    let ended = &ended;
    thread::scope(|scope| {
        let mut number = 0;
        let result = loop {
            if stop.load(Ordering::Relaxed) {
                break Ok(());
            }
            let (stream, peer) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if is_passing(&error) => {
                    thread::sleep(LOOK_EVERY);
                    continue;
                }
                Err(error) => break Err(error),
            };
            let say = move |messages, why| ended(Ended { peer, messages, why });
            number += 1;
            match open.enter(number, &stream, bounds.connections) {
                Ok(true) => {}
                Ok(false) => {
                    say(0, turn_away(stream));
                    continue;
                }
                Err(error) => {
                    say(0, End::Failed(error));
                    continue;
                }
            }
            let open = &open;
            let attend = move || {
                let (messages, mut why) = attend(stream, bounds);
                open.leave(number);
                if stop.load(Ordering::Relaxed) && matches!(why, End::Failed(_)) {
                    why = End::Stopped;
                }
                say(messages, why);
            };
            if let Err(error) = thread::Builder::new().spawn_scoped(scope, attend) {
                open.leave(number);
                say(0, End::Failed(error));
            }
        };
        open.cut_off();
        result
    })
}

/// Nobody has come, or who came has gone again.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
    )
}

/// The connections that are open, by their numbers.
#[derive(Default)]
struct Open(Mutex<BTreeMap<u64, TcpStream>>);

impl Open {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, TcpStream>> {
        // One insertion or removal is made under it: there is no half of it to be afraid of.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there was room.
    fn enter(&self, number: u64, stream: &TcpStream, connections_max: usize) -> io::Result<bool> {
        let mut streams = self.lock();
        if streams.len() >= connections_max {
            return Ok(false);
        }
        streams.insert(number, stream.try_clone()?);
        Ok(true)
    }

    fn leave(&self, number: u64) {
        self.lock().remove(&number);
    }

    /// Whoever waits for a message or for room to send is woken.
    fn cut_off(&self) {
        for stream in self.lock().values() {
            // One that has been closed by the other side meanwhile is as it should be.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn turn_away(mut stream: TcpStream) -> End {
    // The first bytes of a connection always have room.
    match stream.write_all(FULL) {
        Ok(()) => End::Full,
        Err(error) => End::Failed(error),
    }
}

/// One connection from its greeting to its end: how many messages went back, and why it ended.
fn attend(mut stream: TcpStream, bounds: Bounds) -> (u64, End) {
    let mut messages = 0;
    let why = match send_back(&mut stream, bounds, &mut messages) {
        Ok(why) => why,
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            End::Idle
        }
        Err(error) => End::Failed(error),
    };
    (messages, why)
}

fn send_back(stream: &mut TcpStream, bounds: Bounds, messages: &mut u64) -> io::Result<End> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(bounds.idle))?;
    stream.set_write_timeout(Some(bounds.idle))?;
    stream.write_all(GREETING)?;
    let mut greeting = [0; GREETING_BYTES];
    if !fill(stream, &mut greeting, bounds.idle)? {
        return Ok(End::Left);
    }
    if greeting != *GREETING {
        return Ok(End::Stranger);
    }
    let mut message = [0; MESSAGE_BYTES];
    while (*messages + 1) * MESSAGE_BYTES as u64 <= bounds.connection_bytes {
        if !fill(stream, &mut message, bounds.idle)? {
            return Ok(End::Left);
        }
        stream.write_all(&message)?;
        *messages += 1;
    }
    Ok(End::Spent)
}

/// Fills a buffer; false if the other side ended before. What comes in pieces may not take longer than `idle`.
fn fill(stream: &mut TcpStream, buffer: &mut [u8], idle: Duration) -> io::Result<bool> {
    let mut filled = 0;
    let mut begun = None;
    loop {
        match stream.read(&mut buffer[filled..]) {
            Ok(0) => return Ok(false),
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if filled == buffer.len() {
            return Ok(true);
        }
        // The clock is read only here: a message that comes whole does not pay for it.
        if begun.get_or_insert_with(Instant::now).elapsed() >= idle {
            return Err(io::Error::from(io::ErrorKind::TimedOut));
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Left => f.write_str("left"),
            End::Stranger => f.write_str("is no `monedula-tune floor --peer`: turned away"),
            End::Full => f.write_str("turned away: too many are here"),
            End::Idle => f.write_str("was silent for too long: cut off"),
            End::Spent => f.write_str("had all that one connection may have: cut off"),
            End::Stopped => f.write_str("cut off: stopped here"),
            End::Failed(error) => write!(f, "failed: {error}"),
        }
    }
}
