//! The other end of a connection: requests out, responses in. Pure, but for `blocking`.

#[cfg(feature = "blocking")]
pub mod blocking;

use std::fmt;

use bytes::Bytes;

use crate::api_key::ApiKey;
use crate::error_code::ErrorCode;
use crate::header::{RequestHeader, read_correlation_id, read_response_header_rest};
use crate::request::Request;
use crate::response::Response;
use crate::wire::{Part, Reader, WireError, Writer};

/// Encodes the requests of one connection and numbers them.
#[derive(Debug)]
pub struct RequestEncoder {
    client_id: Option<String>,
    next_correlation_id: i32,
}

/// A request as it goes on the wire.
#[derive(Debug)]
pub struct EncodedRequest {
    /// What to write, length prefix included.
    pub parts: Vec<Part>,
    /// The response to expect; none for a produce with acks=0.
    pub expected: Option<Expected>,
}

impl RequestEncoder {
    /// An encoder for a client that calls itself `client_id`.
    pub fn new(client_id: Option<String>) -> Self {
        Self { client_id, next_correlation_id: 0 }
    }

    /// Encodes one request.
    pub fn encode(&mut self, version: i16, request: &Request) -> Result<EncodedRequest, WireError> {
        let header = RequestHeader {
            api_key: request.api_key(),
            version,
            correlation_id: self.next_correlation_id,
            client_id: self.client_id.clone(),
        };
        let mut writer = Writer::framed();
        header.write(&mut writer)?;
        request.encode(version, &mut writer)?;
        let parts = writer.finish_frame()?;
        self.next_correlation_id = self.next_correlation_id.wrapping_add(1);
        let silent = matches!(request, Request::Produce(produce) if produce.acks == 0);
        let expected = (!silent).then_some(Expected {
            api_key: header.api_key,
            version,
            correlation_id: header.correlation_id,
        });
        Ok(EncodedRequest { parts, expected })
    }
}

/// A response that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// The API that was asked.
    pub api_key: ApiKey,
    /// The version it was asked in.
    pub version: i16,
    /// What the response must carry.
    pub correlation_id: i32,
}

/// Why a frame is not the response that was due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResponseError {
    /// It answers another request, or responses came out of order.
    Correlation {
        /// The correlation id that was due.
        expected: i32,
        /// The one that came.
        received: i32,
    },
    /// It cannot be read.
    Wire(WireError),
}

impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Correlation { expected, received } => {
                write!(f, "the response to request {expected} was due, that to {received} came")
            }
            Self::Wire(error) => write!(f, "a malformed response: {error}"),
        }
    }
}

impl std::error::Error for ResponseError {}

impl From<WireError> for ResponseError {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

impl Expected {
    /// Reads the response from its frame.
    pub fn decode(self, frame: Bytes) -> Result<Response, ResponseError> {
        let mut reader = Reader::new(frame.clone());
        let received = read_correlation_id(&mut reader)?;
        if received != self.correlation_id {
            return Err(ResponseError::Correlation { expected: self.correlation_id, received });
        }
        read_response_header_rest(&mut reader, self.api_key, self.version)?;
        let body = frame.slice(frame.len() - reader.remaining()..);
        Ok(Response::decode(self.api_key, self.body_version(&body), body)?)
    }

    /// A broker that does not know the version of an ApiVersions request answers in version 0 (KIP-511).
    fn body_version(self, body: &Bytes) -> i16 {
        let unsupported = ErrorCode::UnsupportedVersion.code().to_be_bytes();
        match self.api_key == ApiKey::ApiVersions && body.starts_with(&unsupported) {
            true => 0,
            false => self.version,
        }
    }
}
