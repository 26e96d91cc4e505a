//! What a step wants done: the only way out of a shard.
//!
//! The queues are unordered among themselves: if B must follow A, B is emitted when A's completion arrives.

use std::collections::VecDeque;

use net::{Request, RequestHeader, Response, Ticket};
use storage::{FileSlice, Op};

use crate::ids::{Address, ConnectionId, ListenerKind};
use crate::ledger::{Arrival, Passage, Trace};
use crate::letter::{Client, Letter};

/// A request as the shell hands it in.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// The connection that it came by.
    pub connection: ConnectionId,
    /// Its place in the connection's response order.
    pub ticket: Ticket,
    /// The parsed header.
    pub header: RequestHeader,
    /// The listener of the connection.
    pub listener: ListenerKind,
    /// The peer's address, as Kafka writes it: `/127.0.0.1`.
    pub host: String,
    /// The decoded body.
    pub request: Request,
    /// When it came, for the ledger.
    pub arrival: Arrival,
}

/// Where an answer goes, and what its form depends on.
#[derive(Clone, Debug)]
pub struct Context {
    /// The connection.
    pub connection: ConnectionId,
    /// The place in its response order.
    pub ticket: Ticket,
    /// The listener of the connection.
    pub listener: ListenerKind,
    /// The request's API version.
    pub version: i16,
    /// Who asks.
    pub client: Client,
    /// When it came, for the ledger.
    pub arrival: Arrival,
}

/// A reply for the shell to write.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The connection.
    pub connection: ConnectionId,
    /// The place in its response order.
    pub ticket: Ticket,
    /// What to write.
    pub body: ReplyBody,
    /// What the request has passed, for the ledger.
    pub trace: Trace,
}

/// What to do with a connection's turn.
#[derive(Clone, Debug)]
pub enum ReplyBody {
    /// Write a response.
    Response {
        /// The response; its records may name slots of `files`.
        response: Response,
        /// The file ranges it names.
        files: Vec<FileSlice>,
    },
    /// Nothing is owed (`acks=0`).
    Nothing,
    /// Close the connection, with a line for the log.
    Close {
        /// Why.
        reason: String,
    },
}

/// The outputs of one turn.
#[derive(Default, Debug)]
pub struct Effects {
    /// For the disk.
    pub disk: Vec<Op>,
    /// For other shards and the controller.
    pub letters: Vec<(Address, Letter)>,
    /// For connections of this shard.
    pub replies: Vec<Reply>,
    /// For this very shard; `step` empties it before it returns.
    pub(crate) local: VecDeque<Letter>,
    /// What came with the answer that is being taken in: replies that follow from it carry it on.
    pub(crate) passage: Passage,
}

impl Effects {
    /// Answers a request.
    pub fn respond(&mut self, context: &Context, response: Response) {
        self.respond_with_files(context, response, Vec::new());
    }

    /// Answers a request with a response whose records are partly file ranges.
    pub fn respond_with_files(&mut self, context: &Context, response: Response, files: Vec<FileSlice>) {
        self.reply(context, ReplyBody::Response { response, files });
    }

    /// Gives up the turn of a request that is owed no answer.
    pub fn respond_nothing(&mut self, context: &Context) {
        self.reply(context, ReplyBody::Nothing);
    }

    /// Closes the connection of a request.
    pub fn close(&mut self, context: &Context, reason: impl Into<String>) {
        self.reply(context, ReplyBody::Close { reason: reason.into() });
    }

    fn reply(&mut self, context: &Context, body: ReplyBody) {
        let trace = Trace { arrival: context.arrival, passage: self.passage };
        self.replies.push(Reply { connection: context.connection, ticket: context.ticket, body, trace });
    }
}
