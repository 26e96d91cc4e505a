//! Asks the broker of a data directory.

use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::document::{LedgerState, SlowReport, Status};
use super::{render, socket};
use crate::shell::StartError;

/// How long a broker may take to answer: its status thread is an ordinary one on a machine that may be busy.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// How long shards may take to tell of the lag of groups: two of their seconds, and some more on a busy machine.
const SETTLE_MAX: Duration = Duration::from_secs(4);

/// Between two looks whether they have.
const SETTLE_POLL: Duration = Duration::from_millis(200);

/// Bytes of an answer.
const ANSWER_MAX: u64 = 64 << 20;

/// Prints the slowest requests of the last seconds.
pub fn slow(data: &Path, seconds: u32, json: bool) -> Result<(), StartError> {
    let answer = ask(data, &format!("slow {seconds}"))?;
    if json {
        return print(&answer);
    }
    let report: SlowReport = parse(&answer)?;
    print(&render::slow(&report))
}

/// Has the broker keep a ledger from now on, or none.
pub fn ledger(data: &Path, keep: bool) -> Result<(), StartError> {
    let state: LedgerState = parse(&ask(data, if keep { "ledger on" } else { "ledger off" })?)?;
    print(if state.ledger { "A ledger is kept.\n" } else { "No ledger is kept.\n" })
}

/// What the broker is at, with what it knows by now of the lag of groups.
pub fn status(data: &Path) -> Result<Status, StartError> {
    parse(&ask(data, "status groups")?)
}

/// The same, as it came, once the shards have told of lag: they begin when they are asked.
pub fn settled_status_text(data: &Path) -> Result<String, StartError> {
    let deadline = Instant::now() + SETTLE_MAX;
    loop {
        let text = ask(data, "status groups")?;
        let status: Status = parse(&text)?;
        // Without a ledger shards tell nothing.
        let settled = status.groups.is_none_or(|groups| groups.settled) || !status.ledger;
        if settled || Instant::now() >= deadline {
            return Ok(text);
        }
        std::thread::sleep(SETTLE_POLL);
    }
}

/// That text, understood.
pub fn settled_status(data: &Path) -> Result<Status, StartError> {
    parse(&settled_status_text(data)?)
}

/// Writes lines to standard output; whoever reads it may go.
pub fn print(text: &str) -> Result<(), StartError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(StartError(format!("standard output cannot be written: {error}")))
        }
        _ => Ok(()),
    }
}

fn ask(data: &Path, question: &str) -> Result<String, StartError> {
    let mut stream = socket::connect(data).map_err(|error| nobody(data, &error))?;
    let path = socket::path(data);
    let broken = |error: io::Error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => StartError(format!(
            "the broker at {} does not answer within {ANSWER_WITHIN:?}: it is stopped, or its machine is starved",
            path.display()
        )),
        _ => StartError(format!("{}: {error}: the broker may have ended just now", path.display())),
    };
    stream.set_read_timeout(Some(ANSWER_WITHIN)).map_err(broken)?;
    stream.write_all(format!("{question}\n").as_bytes()).map_err(broken)?;
    let mut answer = String::new();
    stream.take(ANSWER_MAX).read_to_string(&mut answer).map_err(broken)?;
    if answer.is_empty() {
        return Err(broken(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(answer)
}

fn nobody(data: &Path, error: &io::Error) -> StartError {
    let (data, path) = (data.display(), socket::path(data));
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => StartError(format!(
            "no broker runs on the data directory {data} of this machine: name that of a running one with --data DIR, or \
             start one with `monedula start --data {data}`"
        )),
        io::ErrorKind::PermissionDenied => StartError(format!(
            "{} is not for you: run this as the user that runs the broker, or as root",
            path.display()
        )),
        _ => StartError(format!(
            "{}: {error}: name the data directory of a broker with --data DIR",
            path.display()
        )),
    }
}

fn parse<T: DeserializeOwned>(answer: &str) -> Result<T, StartError> {
    serde_json::from_str(answer).map_err(|error| {
        StartError(format!(
            "the broker answers what this version does not understand ({error}): use the binary that runs it"
        ))
    })
}
