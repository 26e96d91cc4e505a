//! What stands before the body of a request and of a response.

use std::fmt;

use crate::api_key::ApiKey;
use crate::wire::{Nullable, Reader, Version, Wire, WireError, Writer};

/// The first eight bytes of every request, whatever its API: enough to answer or to refuse it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestStart {
    /// The number of the API, known or not.
    pub api_key: i16,
    /// The version asked for.
    pub version: i16,
    /// What the response will carry too.
    pub correlation_id: i32,
}

impl RequestStart {
    /// Reads the first eight bytes.
    pub fn read(reader: &mut Reader) -> Result<Self, WireError> {
        Ok(Self {
            api_key: Wire::read(reader, PLAIN)?,
            version: Wire::read(reader, PLAIN)?,
            correlation_id: Wire::read(reader, PLAIN)?,
        })
    }
}

/// The header of a request that is served: version 1, or 2 where the request is flexible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader {
    /// The API.
    pub api_key: ApiKey,
    /// Its version, one that is served.
    pub version: i16,
    /// What the response will carry too.
    pub correlation_id: i32,
    /// What the client calls itself.
    pub client_id: Option<String>,
}

const PLAIN: Version = Version { number: 0, flexible: false };

impl RequestHeader {
    /// Reads what follows the first eight bytes. `api_key` is the API of `start`.
    pub fn read_rest(reader: &mut Reader, start: RequestStart, api_key: ApiKey) -> Result<Self, WireError> {
        // The client id keeps its two-byte length in version 2.
        let client_id = String::read_nullable(reader, PLAIN)?;
        if api_key.is_flexible(start.version) {
            reader.tagged_fields(|_, _| Ok(false))?;
        }
        Ok(Self { api_key, version: start.version, correlation_id: start.correlation_id, client_id })
    }

    /// Writes the header.
    pub fn write(&self, writer: &mut Writer) -> Result<(), WireError> {
        self.api_key.key().write(writer, PLAIN)?;
        self.version.write(writer, PLAIN)?;
        self.correlation_id.write(writer, PLAIN)?;
        self.client_id.write(writer, PLAIN)?;
        if self.api_key.is_flexible(self.version) {
            writer.put_unsigned_varint(0);
        }
        Ok(())
    }
}

impl fmt::Display for RequestHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} v{} #{}", self.api_key, self.version, self.correlation_id)
    }
}

/// Whether a response header ends with tagged fields. That of ApiVersions never does: a client must be able
/// to read it before it knows which versions the broker speaks.
fn response_header_is_flexible(api_key: ApiKey, version: i16) -> bool {
    api_key != ApiKey::ApiVersions && api_key.is_flexible(version)
}

/// Writes the header of a response.
pub fn write_response_header(writer: &mut Writer, api_key: ApiKey, version: i16, correlation_id: i32) {
    writer.put_slice(&correlation_id.to_be_bytes());
    if response_header_is_flexible(api_key, version) {
        writer.put_unsigned_varint(0);
    }
}

/// Reads the correlation id, with which every response starts.
pub fn read_correlation_id(reader: &mut Reader) -> Result<i32, WireError> {
    Wire::read(reader, PLAIN)
}

/// Reads what follows the correlation id in the header of a response.
pub fn read_response_header_rest(
    reader: &mut Reader,
    api_key: ApiKey,
    version: i16,
) -> Result<(), WireError> {
    if response_header_is_flexible(api_key, version) {
        reader.tagged_fields(|_, _| Ok(false))?;
    }
    Ok(())
}
