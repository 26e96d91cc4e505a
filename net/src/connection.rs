//! One client connection: requests come in as frames, responses leave in the order of their requests.
//!
//! ```text
//!   frame ─ receive ─→ Waiting ─ respond ─→ Ready ─ take_writes ─→ gone (its place and its bytes are free again)
//!                         └─ respond_nothing ─→ Silent ─ take_writes ─→ gone, nothing is written
//! ```
//!
//! A request keeps its place until its response is taken, so a peer that does not read its responses cannot make
//! more than [`ConnectionLimits`] of them: the shell takes writes only when it is done with those before.

use std::collections::VecDeque;
use std::fmt;

use bytes::Bytes;

use crate::api_key::ApiKey;
use crate::error_code::ErrorCode;
use crate::header::{RequestHeader, RequestStart, write_response_header};
use crate::limits::{BYTES_IN_FLIGHT_MAX, REQUESTS_IN_FLIGHT_MAX};
use crate::messages::ApiVersionsResponse;
use crate::messages::api_versions::ApiVersion;
use crate::request::Request;
use crate::response::Response;
use crate::wire::{Part, Reader, WireError, Writer};

/// How much one connection may have in flight.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// Requests whose response has not been taken.
    pub requests_in_flight_max: usize,
    /// Bytes of these requests.
    pub bytes_in_flight_max: usize,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self { requests_in_flight_max: REQUESTS_IN_FLIGHT_MAX, bytes_in_flight_max: BYTES_IN_FLIGHT_MAX }
    }
}

/// The place of a request in the order of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What a frame turned out to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Received {
    /// A request to be answered under its ticket.
    Request {
        /// Its place among the responses.
        ticket: Ticket,
        /// Its header.
        header: RequestHeader,
        /// Its body.
        request: Request,
    },
    /// A request that the connection has answered by itself; its response is ready to be taken.
    Answered,
}

/// Why a frame cannot be answered; the connection is to be closed, as Kafka closes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The bytes are not the request that they claim to be.
    Malformed {
        /// The API and version that they claim, as far as they could be read.
        start: Option<RequestStart>,
        /// What is wrong with them.
        error: WireError,
    },
    /// No such API here.
    UnknownApi(RequestStart),
    /// A version that is not served.
    UnsupportedVersion(RequestStart),
    /// More requests than [`Connection::may_read`] allowed.
    TooManyInFlight,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed { start: None, error } => write!(f, "a malformed request header: {error}"),
            Self::Malformed { start: Some(start), error } => {
                write!(f, "a malformed request (api {}, version {}): {error}", start.api_key, start.version)
            }
            Self::UnknownApi(start) => write!(f, "api {} is not served", start.api_key),
            Self::UnsupportedVersion(start) => {
                write!(f, "version {} of api {} is not served", start.version, start.api_key)
            }
            Self::TooManyInFlight => write!(f, "too many requests in flight"),
        }
    }
}

impl std::error::Error for Refusal {}

/// A response on its way out, length prefix included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutgoingResponse {
    /// Whose response it is: file ranges in `parts` are indexes into the list that came with it.
    pub ticket: Ticket,
    /// What to write, in order.
    pub parts: Vec<Part>,
}

#[derive(Debug)]
struct Place {
    frame_bytes: usize,
    state: PlaceState,
}

#[derive(Debug)]
enum PlaceState {
    Waiting { api_key: ApiKey, version: i16, correlation_id: i32 },
    Ready(Vec<Part>),
    Silent,
}

/// The protocol state of one connection.
#[derive(Debug)]
pub struct Connection {
    limits: ConnectionLimits,
    /// Requests in order; the first has the ticket `first`.
    places: VecDeque<Place>,
    first: u64,
    bytes_in_flight: usize,
}

impl Connection {
    /// A connection that has just been opened.
    pub fn new(limits: ConnectionLimits) -> Self {
        Self { limits, places: VecDeque::new(), first: 0, bytes_in_flight: 0 }
    }

    /// Whether another frame may be read from the socket.
    pub fn may_read(&self) -> bool {
        self.places.len() < self.limits.requests_in_flight_max
            && self.bytes_in_flight < self.limits.bytes_in_flight_max
    }

    /// Requests whose response has not been taken.
    pub fn requests_in_flight(&self) -> usize {
        self.places.len()
    }

    /// Bytes of the requests whose response has not been taken.
    pub fn bytes_in_flight(&self) -> usize {
        self.bytes_in_flight
    }

    /// Takes one frame, its length prefix cut off.
    pub fn receive(&mut self, frame: Bytes) -> Result<Received, Refusal> {
        if !self.may_read() {
            return Err(Refusal::TooManyInFlight);
        }
        let frame_bytes = frame.len();
        let mut reader = Reader::new(frame.clone());
        let start =
            RequestStart::read(&mut reader).map_err(|error| Refusal::Malformed { start: None, error })?;
        let api_key = ApiKey::from_key(start.api_key).ok_or(Refusal::UnknownApi(start))?;
        if !api_key.served().contains(start.version) {
            if api_key != ApiKey::ApiVersions {
                return Err(Refusal::UnsupportedVersion(start));
            }
            let ticket = self.take_place(frame_bytes, api_key, 0, start.correlation_id);
            self.respond(ticket, Response::ApiVersions(unsupported_api_versions()))
                .expect("a list of versions has a form on the wire");
            return Ok(Received::Answered);
        }
        let malformed = |error| Refusal::Malformed { start: Some(start), error };
        let header = RequestHeader::read_rest(&mut reader, start, api_key).map_err(malformed)?;
        let body = frame.slice(frame_bytes - reader.remaining()..);
        let request = Request::decode(api_key, start.version, body).map_err(malformed)?;
        let ticket = self.take_place(frame_bytes, api_key, start.version, start.correlation_id);
        Ok(Received::Request { ticket, header, request })
    }

    fn take_place(
        &mut self,
        frame_bytes: usize,
        api_key: ApiKey,
        version: i16,
        correlation_id: i32,
    ) -> Ticket {
        let ticket = Ticket(self.first + self.places.len() as u64);
        let state = PlaceState::Waiting { api_key, version, correlation_id };
        self.places.push_back(Place { frame_bytes, state });
        self.bytes_in_flight += frame_bytes;
        ticket
    }

    fn place_mut(&mut self, ticket: Ticket) -> &mut Place {
        let index = ticket.0.checked_sub(self.first).expect("a request is answered once");
        self.places.get_mut(index as usize).expect("only a received request is answered")
    }

    /// Gives the response to a request. It is encoded now, and leaves when those before it have left.
    /// A response that has no form at the version of its request is an error; then the request waits on.
    pub fn respond(&mut self, ticket: Ticket, response: Response) -> Result<(), WireError> {
        let place = self.place_mut(ticket);
        let PlaceState::Waiting { api_key, version, correlation_id } = place.state else {
            panic!("a request is answered once");
        };
        assert_eq!(response.api_key(), api_key, "a response belongs to the API of its request");
        let mut writer = Writer::framed();
        write_response_header(&mut writer, api_key, version, correlation_id);
        response.encode(version, &mut writer)?;
        place.state = PlaceState::Ready(writer.finish_frame()?);
        Ok(())
    }

    /// Ends a request that gets no response: a produce with acks=0.
    pub fn respond_nothing(&mut self, ticket: Ticket) {
        let place = self.place_mut(ticket);
        assert!(matches!(place.state, PlaceState::Waiting { .. }), "a request is answered once");
        place.state = PlaceState::Silent;
    }

    /// Moves the responses whose turn it is to `out`.
    pub fn take_writes(&mut self, out: &mut Vec<OutgoingResponse>) {
        while let Some(place) = self.places.pop_front_if(|p| !matches!(p.state, PlaceState::Waiting { .. })) {
            let ticket = Ticket(self.first);
            self.first += 1;
            self.bytes_in_flight -= place.frame_bytes;
            if let PlaceState::Ready(parts) = place.state {
                out.push(OutgoingResponse { ticket, parts });
            }
        }
    }
}

/// The API versions that are announced, for the answer to ApiVersions.
pub fn advertised_api_versions() -> Vec<ApiVersion> {
    ApiKey::ALL
        .iter()
        .map(|api_key| ApiVersion {
            api_key: api_key.key(),
            min_version: api_key.advertised().min,
            max_version: api_key.advertised().max,
        })
        .collect()
}

/// The answer to ApiVersions of a version that we do not know: version 0, so that every client can read it, and which
/// versions of ApiVersions there are (KIP-511).
fn unsupported_api_versions() -> ApiVersionsResponse {
    let mut api_keys = advertised_api_versions();
    api_keys.retain(|api| api.api_key == ApiKey::ApiVersions.key());
    ApiVersionsResponse { error_code: ErrorCode::UnsupportedVersion, api_keys, ..Default::default() }
}
