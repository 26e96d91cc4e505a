//! Writing, in one pass and without copying what is shared.

use bytes::Bytes;

use super::{SHARED_BYTES_MIN, Version, WireError};

/// One piece of an encoded message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Bytes in memory.
    Bytes(Bytes),
    /// A file range that the sender fills in.
    File {
        /// Index into the list of file ranges that goes with the message.
        slot: u32,
        /// Bytes of the range.
        length: u32,
    },
}

impl Part {
    /// Bytes that this part takes on the wire.
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::File { length, .. } => *length as usize,
        }
    }

    /// Whether it takes none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Writes one message in one pass.
#[derive(Debug, Default)]
pub struct Writer {
    /// What is written here, without the shared parts.
    buffer: Vec<u8>,
    /// Shared parts, each with the place in `buffer` before which it belongs.
    shared: Vec<(usize, Part)>,
    shared_bytes: usize,
}

/// Bytes of the length that stands before every frame.
pub const FRAME_PREFIX_BYTES: usize = 4;

impl Writer {
    /// An empty writer.
    pub fn new() -> Self {
        Self::default()
    }

    /// A writer that has left room for the length of its frame.
    pub fn framed() -> Self {
        let mut writer = Self { buffer: Vec::with_capacity(256), ..Self::default() };
        writer.buffer.extend([0; FRAME_PREFIX_BYTES]);
        writer
    }

    /// Bytes written so far, shared parts included.
    pub fn len(&self) -> usize {
        self.buffer.len() + self.shared_bytes
    }

    /// Whether nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills in the length of the frame and returns its parts, in order.
    pub fn finish_frame(mut self) -> Result<Vec<Part>, WireError> {
        let length = self.len() - FRAME_PREFIX_BYTES;
        let prefix = i32::try_from(length).map_err(|_| WireError::TooLong { length })?;
        self.buffer[..FRAME_PREFIX_BYTES].copy_from_slice(&prefix.to_be_bytes());
        Ok(self.into_parts())
    }

    /// The parts of the message, in order.
    pub fn into_parts(self) -> Vec<Part> {
        let bytes = Bytes::from(self.buffer);
        let mut parts = Vec::with_capacity(2 * self.shared.len() + 1);
        let mut start = 0;
        for (place, part) in self.shared {
            if place > start {
                parts.push(Part::Bytes(bytes.slice(start..place)));
                start = place;
            }
            parts.push(part);
        }
        if start < bytes.len() {
            parts.push(Part::Bytes(bytes.slice(start..)));
        }
        parts
    }

    /// The message as one run of bytes. It must carry no file range.
    pub fn into_bytes(self) -> Bytes {
        if self.shared.is_empty() {
            return Bytes::from(self.buffer);
        }
        let mut whole = Vec::with_capacity(self.len());
        for part in self.into_parts() {
            match part {
                Part::Bytes(bytes) => whole.extend_from_slice(&bytes),
                Part::File { .. } => panic!("a file range has no bytes in memory"),
            }
        }
        Bytes::from(whole)
    }

    /// Writes bytes as they are.
    #[inline]
    pub fn put_slice(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Writes a shared part without copying it, unless it is so short that copying is cheaper.
    pub fn put_part(&mut self, part: Part) {
        match &part {
            Part::Bytes(bytes) if bytes.len() < SHARED_BYTES_MIN => self.buffer.extend_from_slice(bytes),
            _ if part.is_empty() => {}
            _ => {
                self.shared_bytes += part.len();
                self.shared.push((self.buffer.len(), part));
            }
        }
    }

    /// Writes an unsigned variable-length integer.
    #[inline]
    pub fn put_unsigned_varint(&mut self, value: u32) {
        let (encoded, length) = unsigned_varint(value);
        self.buffer.extend_from_slice(&encoded[..length]);
    }

    pub(super) fn put_string_length(
        &mut self,
        version: Version,
        length: Option<usize>,
    ) -> Result<(), WireError> {
        if version.flexible {
            return self.put_compact_length(length);
        }
        let value = match length {
            None => -1,
            Some(length) => i16::try_from(length).map_err(|_| WireError::TooLong { length })?,
        };
        self.buffer.extend_from_slice(&value.to_be_bytes());
        Ok(())
    }

    pub(super) fn put_bytes_length(
        &mut self,
        version: Version,
        length: Option<usize>,
    ) -> Result<(), WireError> {
        if version.flexible {
            return self.put_compact_length(length);
        }
        let value = match length {
            None => -1,
            Some(length) => i32::try_from(length).map_err(|_| WireError::TooLong { length })?,
        };
        self.buffer.extend_from_slice(&value.to_be_bytes());
        Ok(())
    }

    fn put_compact_length(&mut self, length: Option<usize>) -> Result<(), WireError> {
        let value = match length {
            None => 0,
            Some(length) => i32::try_from(length).map_err(|_| WireError::TooLong { length })? as u32 + 1,
        };
        self.put_unsigned_varint(value);
        Ok(())
    }

    /// Writes one tagged field. The size that goes before its content is put there when the content is known.
    pub fn put_tagged(
        &mut self,
        tag: u32,
        content: impl FnOnce(&mut Self) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        self.put_unsigned_varint(tag);
        let (start, shared_start) = (self.buffer.len(), self.shared.len());
        let length_start = self.len();
        content(self)?;
        let size = self.len() - length_start;
        let (encoded, length) = unsigned_varint(size as u32);
        let end = self.buffer.len();
        self.buffer.extend_from_slice(&encoded[..length]);
        self.buffer.copy_within(start..end, start + length);
        self.buffer[start..start + length].copy_from_slice(&encoded[..length]);
        for (place, _) in &mut self.shared[shared_start..] {
            *place += length;
        }
        Ok(())
    }
}

fn unsigned_varint(mut value: u32) -> ([u8; 5], usize) {
    let mut encoded = [0; 5];
    let mut length = 0;
    while value >= 0x80 {
        encoded[length] = value as u8 | 0x80;
        value >>= 7;
        length += 1;
    }
    encoded[length] = value as u8;
    (encoded, length + 1)
}
