//! The status thread: takes the sheets of all shards, and answers one question per connection, one connection at a time.
//!
//! A question is a line of at most [`QUESTION_MAX`] bytes, `status`, `status groups`, `slow SECONDS`, `ledger on` or `ledger off`; the
//! answer is one line of JSON, then the connection is closed. Who is slow to ask or to listen is left alone after a moment.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::desk::Desk;
use super::document::{FORM, LedgerState, Refusal, Shard, SlowReport, Stall, Status};
use super::gather::{SECONDS_KEPT, ShardBook, groups, topics};
use super::machine::DiskWatch;
use super::socket;
use crate::lag;
use crate::shell::clock::Clock;
use crate::shell::stall::{StallNote, Stalls};

/// How often the desks are looked at.
const LOOK: Duration = Duration::from_millis(250);

/// How often the disk is looked at, microseconds.
const DISK_US: u64 = 1_000_000;

/// How long shards go on telling of the lag of groups after somebody has asked, microseconds.
const LAG_US: u64 = 5_000_000;

/// Bytes of a question.
const QUESTION_MAX: usize = 64;

/// How long somebody may take to ask.
const ASK_MAX: Duration = Duration::from_millis(500);

/// How long somebody may take to listen.
const LISTEN_MAX: Duration = Duration::from_secs(2);

/// Requests in one answer to `slow`.
const SLOW_MAX: usize = 1_000;

/// What the thread works with.
pub struct StatusParts {
    /// The data directory, which is locked.
    pub data: PathBuf,
    /// Cores of the shards, in their order.
    pub cores: Vec<usize>,
    /// Desks of the shards, in their order.
    pub desks: Vec<Arc<Desk>>,
    /// The newest stalls.
    pub stalls: Stalls,
    /// The clocks.
    pub clock: Clock,
}

/// The socket's file, removed when this is dropped.
#[derive(Debug)]
pub struct StatusSocket(PathBuf);

impl Drop for StatusSocket {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::debug!("{} was not removed: {error}", self.0.display());
        }
    }
}

/// Starts the thread, which lives as long as the process. A broker serves its clients without it as well, so what goes
/// wrong here is only told.
pub fn serve(parts: StatusParts) -> Option<StatusSocket> {
    let path = socket::path(&parts.data);
    let listener = match socket::listen(&parts.data) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(
                "{} cannot be made ({error}): `monedula top` and `monedula slow` will find nobody; use a data directory \
                 on a file system that has sockets",
                path.display()
            );
            return None;
        }
    };
    let socket = StatusSocket(path);
    let server = Server {
        books: parts.desks.iter().map(|_| ShardBook::default()).collect(),
        disk: DiskWatch::new(&parts.data, parts.clock.elapsed_us()),
        disk_us: parts.clock.elapsed_us(),
        lag_until_us: 0,
        parts,
    };
    let run = move || server.run(&listener);
    match std::thread::Builder::new().name("status".into()).spawn(run) {
        Ok(_) => Some(socket),
        Err(error) => {
            tracing::warn!("the status thread does not start ({error}): check `ulimit -u`");
            None
        }
    }
}

struct Server {
    parts: StatusParts,
    books: Vec<ShardBook>,
    disk: Option<DiskWatch>,
    disk_us: u64,
    /// Until when shards tell of the lag of groups.
    lag_until_us: u64,
}

impl Server {
    fn run(mut self, listener: &UnixListener) {
        loop {
            wait(listener);
            self.gather();
            match listener.accept() {
                Ok((stream, _)) => {
                    if let Err(error) = self.converse(stream) {
                        tracing::debug!("a question to the status socket was not answered: {error}");
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    // Out of descriptors, say: not to be tried again at once.
                    tracing::debug!("nobody can be accepted at the status socket: {error}");
                    std::thread::sleep(LOOK);
                }
            }
        }
    }

    fn gather(&mut self) {
        for (desk, book) in self.parts.desks.iter().zip(&mut self.books) {
            desk.take().into_iter().for_each(|sheet| book.take(sheet));
        }
        let now_us = self.parts.clock.elapsed_us();
        if now_us < self.lag_until_us {
            self.want_lag();
        }
        if let Some(disk) = &mut self.disk
            && now_us.saturating_sub(self.disk_us) >= DISK_US
        {
            self.disk_us = now_us;
            disk.look(now_us);
        }
    }

    fn converse(&mut self, mut stream: UnixStream) -> io::Result<()> {
        let question = read_line(&mut stream)?;
        let mut answer = match question.split_ascii_whitespace().collect::<Vec<_>>()[..] {
            ["status"] => json(&self.status(false)),
            ["status", "groups"] => {
                self.lag_until_us = self.parts.clock.elapsed_us() + LAG_US;
                self.want_lag();
                json(&self.status(true))
            }
            ["slow", seconds] => match seconds.parse() {
                Ok(seconds) if (1..=SECONDS_KEPT as u32).contains(&seconds) => json(&self.slow(seconds)),
                _ => refuse(&format!("`slow` looks back 1 to {SECONDS_KEPT} seconds")),
            },
            ["ledger", "on"] => json(&self.keep_ledger(true)),
            ["ledger", "off"] => json(&self.keep_ledger(false)),
            _ => refuse("ask `status`, `status groups`, `slow SECONDS`, `ledger on` or `ledger off`"),
        };
        answer.push(b'\n');
        write_all(&mut stream, &answer)
    }

    fn keep_ledger(&self, keep: bool) -> LedgerState {
        self.parts.desks.iter().for_each(|desk| desk.keep_ledger(keep));
        LedgerState { ledger: self.keeps_ledger() }
    }

    fn keeps_ledger(&self) -> bool {
        self.parts.desks.iter().all(|desk| desk.keeps_ledger())
    }

    /// Tells the shards that somebody wants to know of lag, and of which topics the ends are needed.
    fn want_lag(&self) {
        let topics = Arc::new(lag::wanted(self.books.iter().filter_map(ShardBook::lag)));
        self.parts.desks.iter().for_each(|desk| desk.want_lag(self.lag_until_us, &topics));
    }

    fn status(&self, with_groups: bool) -> Status {
        let ledger = self.keeps_ledger();
        let shards = self.books.iter().zip(&self.parts.desks).zip(&self.parts.cores).enumerate();
        let shard = |(number, ((book, desk), core)): (usize, ((&ShardBook, &Arc<Desk>), &usize))| {
            let (stalls, longest_stall_us) = desk.turns.stalls();
            Shard {
                shard: number as u16,
                core: *core,
                stalls,
                longest_stall_us,
                second: book.second().filter(|_| ledger),
                since_start: book.since_start(),
            }
        };
        let (topics, topics_left_out) = topics(self.books.iter());
        Status {
            form: FORM,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_us: self.parts.clock.elapsed_us(),
            data: self.parts.data.display().to_string(),
            ledger,
            disk: self.disk.as_ref().and_then(|disk| disk.disk.clone()),
            shards: shards.map(shard).collect(),
            topics,
            topics_left_out,
            groups: with_groups.then(|| groups(&self.books)),
            stalls: self.parts.stalls.notes().into_iter().map(stall).collect(),
        }
    }

    fn slow(&self, seconds: u32) -> SlowReport {
        let at_us = self.parts.clock.elapsed_us();
        let from_us = at_us.saturating_sub(u64::from(seconds) * 1_000_000);
        let of_shards = self.books.iter().enumerate();
        let mut requests: Vec<_> =
            of_shards.flat_map(|(shard, book)| book.slow(shard as u16, from_us)).collect();
        requests.sort_by_key(|request| std::cmp::Reverse(request.own_us));
        requests.truncate(SLOW_MAX);
        SlowReport { ledger: self.keeps_ledger(), at_us, seconds, requests }
    }
}

fn stall(note: StallNote) -> Stall {
    let StallNote { at_us, name, length_us, doing, kernel, backtrace } = note;
    Stall { at_us, name, length_us, doing, kernel, backtrace }
}

fn json(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(document).expect("documents have string keys and finite numbers")
}

fn refuse(error: &str) -> Vec<u8> {
    json(&Refusal { error: error.to_owned() })
}

/// Until somebody connects, or the desks are to be looked at.
fn wait(listener: &UnixListener) {
    let mut poll = libc::pollfd { fd: listener.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, alive for the time of the call. Whatever comes out, the caller looks.
    unsafe { libc::poll(&mut poll, 1, LOOK.as_millis() as libc::c_int) };
}

/// The first line, without its end; all that came if the peer sends no more.
fn read_line(stream: &mut UnixStream) -> io::Result<String> {
    let deadline = Instant::now() + ASK_MAX;
    let mut bytes = [0; QUESTION_MAX];
    let mut filled = 0;
    let end = loop {
        if let Some(end) = bytes[..filled].iter().position(|byte| *byte == b'\n') {
            break end;
        }
        if filled == bytes.len() {
            // Longer than any question: what it begins with is none either.
            break 0;
        }
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut bytes[filled..]) {
            Ok(0) => break filled,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    };
    Ok(String::from_utf8_lossy(&bytes[..end]).into_owned())
}

fn write_all(stream: &mut UnixStream, mut bytes: &[u8]) -> io::Result<()> {
    let deadline = Instant::now() + LISTEN_MAX;
    while !bytes.is_empty() {
        stream.set_write_timeout(Some(left(deadline)?))?;
        match stream.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}
