//! Clients that speak bytes, each over one connection at a time.

pub mod wire;
pub mod producer;
pub mod consumer;
pub mod admin;
pub mod member;
pub mod hostile;

use bytes::Bytes;

use crate::history::History;
use crate::random::Random;

/// What a client wants done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Open a connection; what was open is forgotten.
    Connect,
    /// Write bytes.
    Send(Bytes),
    /// Close the connection.
    Close,
    /// Be woken at a time, microseconds.
    Wake(u64),
}

/// What the world is doing to its clients.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// Anything may fail.
    Faults,
    /// Nothing fails any more: get on with it.
    Healed,
    /// Finish what is open and begin nothing new.
    Finish,
}

/// What a client sees of the world.
pub struct Ctx<'a> {
    /// Microseconds since the world began.
    pub now_us: u64,
    /// Milliseconds since 1970.
    pub wall_ms: i64,
    /// The phase.
    pub phase: Phase,
    /// Draws for this client.
    pub random: &'a mut Random,
    /// What all clients were told.
    pub history: &'a mut History,
    /// What the client wants done.
    pub actions: &'a mut Vec<Action>,
}

impl Ctx<'_> {
    /// Wakes this client after a while.
    pub fn wake_after(&mut self, delay_us: u64) {
        self.actions.push(Action::Wake(self.now_us + delay_us));
    }
}

/// One client of the world.
pub trait Client {
    /// Its name in the trace.
    fn name(&self) -> String;
    /// It is woken, as it wished.
    fn wake(&mut self, ctx: &mut Ctx<'_>);
    /// Its connection is open.
    fn connected(&mut self, ctx: &mut Ctx<'_>);
    /// Bytes have come.
    fn received(&mut self, ctx: &mut Ctx<'_>, bytes: &[u8]);
    /// Its connection is gone, or could not be opened.
    fn closed(&mut self, ctx: &mut Ctx<'_>);
    /// What it still has to do before it is content; None if nothing.
    fn unfinished(&self) -> Option<String>;
}
