//! One connection as an ordinary client uses it: requests out, responses back in the same order.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};
use net::header::{read_correlation_id, read_response_header_rest};
use net::wire::{Reader, Writer};
use net::{ApiKey, Request, RequestHeader, Response};

use super::{Action, Ctx};
use crate::checker::{Checker, Violation};

/// How long a client waits for a response before it gives up the connection.
pub const REQUEST_TIMEOUT_US: u64 = 20_000_000;

/// How a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum State {
    #[default]
    Closed,
    Opening,
    Open,
}

/// A request that was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sent {
    /// Its correlation id.
    pub correlation_id: i32,
    /// Its API.
    pub api_key: ApiKey,
    /// Its version.
    pub version: i16,
    /// When.
    pub at_us: u64,
}

/// A connection.
#[derive(Debug, Default)]
pub struct Wire {
    state: State,
    buffer: BytesMut,
    pending: VecDeque<Sent>,
    next_correlation_id: i32,
    client_id: String,
}

impl Wire {
    /// A connection that is not open yet.
    pub fn new(client_id: &str) -> Wire {
        Wire { client_id: client_id.to_owned(), ..Wire::default() }
    }

    /// Whether requests can be sent; opens the connection if it is closed.
    pub fn is_ready(&mut self, ctx: &mut Ctx<'_>) -> bool {
        if self.state == State::Closed {
            self.state = State::Opening;
            ctx.actions.push(Action::Connect);
        }
        self.state == State::Open
    }

    /// The connection is open.
    pub fn opened(&mut self) {
        self.state = State::Open;
    }

    /// The connection is gone; all that was pending will never be answered.
    pub fn forget(&mut self) {
        self.state = State::Closed;
        self.buffer.clear();
        self.pending.clear();
    }

    /// Closes the connection.
    pub fn close(&mut self, ctx: &mut Ctx<'_>) {
        self.forget();
        ctx.actions.push(Action::Close);
    }

    /// Requests without a response.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Whether the oldest request waits for too long.
    pub fn is_overdue(&self, now_us: u64) -> bool {
        self.pending.front().is_some_and(|sent| now_us > sent.at_us + REQUEST_TIMEOUT_US)
    }

    /// What waits, for a message.
    pub fn describe_pending(&self) -> Option<String> {
        let oldest = self.pending.front()?;
        Some(format!("{} v{} sent at {} us is not answered", oldest.api_key, oldest.version, oldest.at_us))
    }

    /// The bytes of a request, length and all.
    pub fn encode(&mut self, request: &Request, version: i16) -> (i32, Bytes) {
        self.next_correlation_id += 1;
        let header = RequestHeader {
            api_key: request.api_key(),
            version,
            correlation_id: self.next_correlation_id,
            client_id: Some(self.client_id.clone()),
        };
        let mut writer = Writer::new();
        header.write(&mut writer).expect("a header can be written");
        request.encode(version, &mut writer).expect("clients ask what their version can say");
        let body = writer.into_bytes();
        let mut frame = BytesMut::with_capacity(body.len() + 4);
        frame.extend_from_slice(&(body.len() as i32).to_be_bytes());
        frame.extend_from_slice(&body);
        (self.next_correlation_id, frame.freeze())
    }

    /// Sends a request; returns its correlation id.
    pub fn send(
        &mut self,
        ctx: &mut Ctx<'_>,
        request: impl Into<Request>,
        version: i16,
        is_answered: bool,
    ) -> i32 {
        let request = request.into();
        let (correlation_id, frame) = self.encode(&request, version);
        if is_answered {
            let (api_key, at_us) = (request.api_key(), ctx.now_us);
            self.pending.push_back(Sent { correlation_id, api_key, version, at_us });
        }
        ctx.actions.push(Action::Send(frame));
        correlation_id
    }

    /// Takes bytes in; returns the responses that are complete.
    pub fn receive(&mut self, ctx: &mut Ctx<'_>, bytes: &[u8]) -> Vec<(Sent, Response)> {
        self.buffer.extend_from_slice(bytes);
        let mut responses = Vec::new();
        while let Some(prefix) = self.buffer.first_chunk::<4>() {
            let length = i32::from_be_bytes(*prefix) as usize;
            if self.buffer.len() < 4 + length {
                break;
            }
            self.buffer.advance(4);
            let frame = self.buffer.split_to(length).freeze();
            match self.decode(frame) {
                Ok(response) => responses.push(response),
                Err(message) => {
                    ctx.history.violations.push(Violation::new(Checker::C8, message));
                    break;
                }
            }
        }
        responses
    }

    fn decode(&mut self, frame: Bytes) -> Result<(Sent, Response), String> {
        let sent = self.pending.pop_front().ok_or("a response that was not asked for")?;
        let mut reader = Reader::new(frame.clone());
        let unreadable =
            |error| format!("the response to {} v{} is not readable: {error}", sent.api_key, sent.version);
        let correlation_id = read_correlation_id(&mut reader).map_err(unreadable)?;
        if correlation_id != sent.correlation_id {
            return Err(format!(
                "the response to {} #{} came where #{} was due",
                sent.api_key, correlation_id, sent.correlation_id
            ));
        }
        read_response_header_rest(&mut reader, sent.api_key, sent.version).map_err(unreadable)?;
        let body = frame.slice(frame.len() - reader.remaining()..);
        let response = Response::decode(sent.api_key, sent.version, body).map_err(unreadable)?;
        Ok((sent, response))
    }
}
