//! Reading, with a bound on everything.

use bytes::Bytes;

use super::{ARRAY_ELEMENTS_MAX, TAGGED_FIELDS_MAX, Version, Wire, WireError};

/// Reads values off the bytes of one message. Byte fields are slices of it, not copies.
#[derive(Debug)]
pub struct Reader {
    bytes: Bytes,
    position: usize,
    /// The end of what may be read: the end of the message, or of the tagged field that is being read.
    end: usize,
    elements_left: usize,
}

impl Reader {
    /// A reader at the start of `bytes`.
    pub fn new(bytes: Bytes) -> Self {
        let end = bytes.len();
        Self { bytes, position: 0, end, elements_left: ARRAY_ELEMENTS_MAX }
    }

    /// Bytes not yet read.
    pub fn remaining(&self) -> usize {
        self.end - self.position
    }

    /// Refuses bytes behind the end of the message.
    pub fn finish(self) -> Result<(), WireError> {
        match self.remaining() {
            0 => Ok(()),
            left => Err(WireError::TrailingBytes(left)),
        }
    }

    #[inline]
    fn claim(&mut self, needed: usize) -> Result<usize, WireError> {
        let left = self.remaining();
        if needed > left {
            return Err(WireError::Truncated { needed, left });
        }
        let start = self.position;
        self.position += needed;
        Ok(start)
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let start = self.claim(N)?;
        Ok(self.bytes[start..start + N].try_into().expect("the slice has the length of the array"))
    }

    pub(super) fn slice(&mut self, length: usize) -> Result<&[u8], WireError> {
        let start = self.claim(length)?;
        Ok(&self.bytes[start..start + length])
    }

    pub(super) fn shared(&mut self, length: usize) -> Result<Bytes, WireError> {
        let start = self.claim(length)?;
        Ok(self.bytes.slice(start..start + length))
    }

    /// Reads an unsigned variable-length integer of at most 32 bits.
    #[inline]
    pub fn unsigned_varint(&mut self) -> Result<u32, WireError> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            let low = u32::from(byte & 0x7f);
            if shift == 28 && low > 0x0f {
                return Err(WireError::InvalidVarint);
            }
            value |= low << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(WireError::InvalidVarint)
    }

    /// Reads the length of a string.
    pub(super) fn string_length(&mut self, version: Version) -> Result<Option<usize>, WireError> {
        if version.flexible {
            return self.compact_length();
        }
        length_or_null(i32::from(i16::from_be_bytes(self.array()?)))
    }

    /// Reads the length of a byte field.
    pub(super) fn bytes_length(&mut self, version: Version) -> Result<Option<usize>, WireError> {
        if version.flexible {
            return self.compact_length();
        }
        length_or_null(i32::from_be_bytes(self.array()?))
    }

    fn compact_length(&mut self) -> Result<Option<usize>, WireError> {
        Ok(self.unsigned_varint()?.checked_sub(1).map(|length| length as usize))
    }

    /// Reads the count of an array and refuses one that the rest of the frame cannot hold.
    pub(super) fn count<T: Wire>(&mut self, version: Version) -> Result<Option<usize>, WireError> {
        let Some(count) = self.bytes_length(version)? else { return Ok(None) };
        let left = self.remaining();
        if count > left / T::bytes_min(version).max(1) {
            return Err(WireError::CountBeyondFrame { count, left });
        }
        self.elements_left = self.elements_left.checked_sub(count).ok_or(WireError::TooManyElements)?;
        Ok(Some(count))
    }

    /// Reads the tagged fields at the end of a struct. `known` reads the tags it knows and says whether it did;
    /// the others are skipped.
    pub fn tagged_fields(
        &mut self,
        mut known: impl FnMut(&mut Self, u32) -> Result<bool, WireError>,
    ) -> Result<(), WireError> {
        let count = self.unsigned_varint()? as usize;
        if count > TAGGED_FIELDS_MAX {
            return Err(WireError::TooManyTaggedFields);
        }
        let outer_end = self.end;
        for _ in 0..count {
            let tag = self.unsigned_varint()?;
            let size = self.unsigned_varint()? as usize;
            let left = self.remaining();
            if size > left {
                return Err(WireError::Truncated { needed: size, left });
            }
            let end = self.position + size;
            self.end = end;
            if !known(self, tag)? {
                self.position = end;
            }
            if self.position != end {
                return Err(WireError::TaggedFieldSize { tag });
            }
            self.end = outer_end;
        }
        Ok(())
    }
}

fn length_or_null(length: i32) -> Result<Option<usize>, WireError> {
    match length {
        -1 => Ok(None),
        0.. => Ok(Some(length as usize)),
        _ => Err(WireError::NegativeLength(length)),
    }
}
