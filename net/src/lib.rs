//! The Kafka protocol: frames, messages, connections.
//!
//! The modules stand from the ground up; each uses only those above it. All but `socket` and `client::blocking`
//! are pure: bytes in, values out.

#![deny(unsafe_code)]

pub mod wire;
#[cfg(feature = "generate")]
pub mod generate;
pub mod limits;
pub mod error_code;
pub mod api_key;
pub mod header;
mod message;
pub mod messages;
pub mod request;
pub mod response;
pub mod frame;
pub mod connection;
pub mod client;
#[cfg(feature = "socket")]
pub mod socket;

pub use api_key::{ApiKey, VersionRange};
pub use connection::{Connection, ConnectionLimits, OutgoingResponse, Received, Refusal, Ticket};
pub use error_code::ErrorCode;
pub use frame::{FrameDecoder, FrameError};
pub use header::RequestHeader;
pub use request::Request;
pub use response::Response;
pub use wire::{Part, Records, RecordsPart, Uuid, WireError};
