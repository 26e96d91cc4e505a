//! Bytes to values and back: the primitive types of the Kafka protocol, and every limit on hostile input.
//!
//! A [`Reader`] refuses a length or a count that the frame cannot hold before anything is reserved for it,
//! so the memory that decoding takes is bounded by the bytes that were sent. A [`Writer`] produces the
//! [`Part`]s of one message in one pass: its own bytes, shared slices, and places where a file range belongs.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

/// The most array elements that one message may carry, all its arrays taken together.
pub const ARRAY_ELEMENTS_MAX: usize = 1_000_000;
/// The most tagged fields that one struct may carry.
pub const TAGGED_FIELDS_MAX: usize = 10_000;
/// Byte fields shorter than this are copied into the message: a slot of a vectored write costs more.
pub const SHARED_BYTES_MIN: usize = 256;

/// What is wrong with bytes that should be a message, or with a message that should become bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WireError {
    /// The frame ends before the value does.
    Truncated {
        /// Bytes that the value takes, at least.
        needed: usize,
        /// Bytes that are left.
        left: usize,
    },
    /// An array claims more elements than the rest of the frame can hold.
    CountBeyondFrame {
        /// The claimed number of elements.
        count: usize,
        /// Bytes that are left.
        left: usize,
    },
    /// More array elements than [`ARRAY_ELEMENTS_MAX`].
    TooManyElements,
    /// More tagged fields than [`TAGGED_FIELDS_MAX`].
    TooManyTaggedFields,
    /// A tagged field whose content does not end where its size says.
    TaggedFieldSize {
        /// The tag.
        tag: u32,
    },
    /// A length below −1.
    NegativeLength(i32),
    /// A variable-length integer of more than five bytes or 32 bits.
    InvalidVarint,
    /// A string that is not UTF-8.
    InvalidUtf8,
    /// Null where this version allows none.
    UnexpectedNull {
        /// The field.
        field: &'static str,
    },
    /// A value other than the default for a field that this version does not have.
    FieldNotInVersion {
        /// The field.
        field: &'static str,
        /// The version.
        version: i16,
    },
    /// A version that the message does not have.
    UnsupportedVersion {
        /// The version.
        version: i16,
    },
    /// A value longer than its length field can say.
    TooLong {
        /// The length.
        length: usize,
    },
    /// Bytes behind the end of the message.
    TrailingBytes(usize),
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { needed, left } => write!(f, "needs {needed} bytes where {left} are left"),
            Self::CountBeyondFrame { count, left } => {
                write!(f, "an array of {count} elements does not fit into {left} bytes")
            }
            Self::TooManyElements => write!(f, "more than {ARRAY_ELEMENTS_MAX} array elements"),
            Self::TooManyTaggedFields => write!(f, "more than {TAGGED_FIELDS_MAX} tagged fields"),
            Self::TaggedFieldSize { tag } => write!(f, "tagged field {tag} is not as long as it says"),
            Self::NegativeLength(length) => write!(f, "length {length}"),
            Self::InvalidVarint => write!(f, "a variable-length integer is longer than 32 bits"),
            Self::InvalidUtf8 => write!(f, "a string is not UTF-8"),
            Self::UnexpectedNull { field } => write!(f, "{field} is null"),
            Self::FieldNotInVersion { field, version } => {
                write!(f, "{field} is set, which version {version} cannot express")
            }
            Self::UnsupportedVersion { version } => write!(f, "version {version} is not supported"),
            Self::TooLong { length } => write!(f, "a value of {length} bytes does not fit its length field"),
            Self::TrailingBytes(count) => write!(f, "{count} bytes behind the end of the message"),
        }
    }
}

impl std::error::Error for WireError {}

/// The version that a message is read or written at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// The number of the API version.
    pub number: i16,
    /// Whether lengths are compact and structs end with tagged fields (KIP-482).
    pub flexible: bool,
}

/// A type that has a form on the wire.
pub trait Wire: Sized {
    /// The fewest bytes that a value takes.
    fn bytes_min(version: Version) -> usize;
    /// Reads one value.
    fn read(reader: &mut Reader, version: Version) -> Result<Self, WireError>;
    /// Writes the value.
    fn write(&self, writer: &mut Writer, version: Version) -> Result<(), WireError>;
    /// Whether this is the null value.
    fn is_null(&self) -> bool {
        false
    }
}

/// A type that can be null on the wire; its `Option` is [`Wire`].
pub trait Nullable: Wire {
    /// Reads a value or null.
    fn read_nullable(reader: &mut Reader, version: Version) -> Result<Option<Self>, WireError>;
    /// Writes null.
    fn write_null(writer: &mut Writer, version: Version);
    /// Writes what goes before a value that is there. Only structs have something: their length cannot be null.
    fn write_present(_writer: &mut Writer) {}
    /// The fewest bytes that a value or null takes.
    fn bytes_min_nullable(version: Version) -> usize {
        Self::bytes_min(version)
    }
}

/// A whole message: a struct with versions of its own.
pub trait Message: Wire {
    /// The name, as Kafka spells it.
    const NAME: &'static str;
    /// The lowest version.
    const VERSION_MIN: i16;
    /// The highest version.
    const VERSION_MAX: i16;
    /// The first flexible version; `i16::MAX` for none.
    const FLEXIBLE_SINCE: i16;

    /// The version by its number, if the message has it.
    fn version(number: i16) -> Result<Version, WireError> {
        if !(Self::VERSION_MIN..=Self::VERSION_MAX).contains(&number) {
            return Err(WireError::UnsupportedVersion { version: number });
        }
        Ok(Version { number, flexible: number >= Self::FLEXIBLE_SINCE })
    }

    /// Reads the message at a version; bytes behind its end stay in the reader.
    fn decode(reader: &mut Reader, version: i16) -> Result<Self, WireError> {
        Self::read(reader, Self::version(version)?)
    }

    /// Writes the message at a version.
    fn encode(&self, writer: &mut Writer, version: i16) -> Result<(), WireError> {
        self.write(writer, Self::version(version)?)
    }
}

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

    fn claim(&mut self, needed: usize) -> Result<usize, WireError> {
        let left = self.remaining();
        if needed > left {
            return Err(WireError::Truncated { needed, left });
        }
        let start = self.position;
        self.position += needed;
        Ok(start)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let start = self.claim(N)?;
        Ok(self.bytes[start..start + N].try_into().expect("the slice has the length of the array"))
    }

    fn slice(&mut self, length: usize) -> Result<&[u8], WireError> {
        let start = self.claim(length)?;
        Ok(&self.bytes[start..start + length])
    }

    fn shared(&mut self, length: usize) -> Result<Bytes, WireError> {
        let start = self.claim(length)?;
        Ok(self.bytes.slice(start..start + length))
    }

    /// Reads an unsigned variable-length integer of at most 32 bits.
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
    fn string_length(&mut self, version: Version) -> Result<Option<usize>, WireError> {
        if version.flexible {
            return self.compact_length();
        }
        length_or_null(i32::from(i16::from_be_bytes(self.array()?)))
    }

    /// Reads the length of a byte field.
    fn bytes_length(&mut self, version: Version) -> Result<Option<usize>, WireError> {
        if version.flexible {
            return self.compact_length();
        }
        length_or_null(i32::from_be_bytes(self.array()?))
    }

    fn compact_length(&mut self) -> Result<Option<usize>, WireError> {
        Ok(self.unsigned_varint()?.checked_sub(1).map(|length| length as usize))
    }

    /// Reads the count of an array and refuses one that the rest of the frame cannot hold.
    fn count<T: Wire>(&mut self, version: Version) -> Result<Option<usize>, WireError> {
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
    buffer: BytesMut,
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
        let mut writer = Self { buffer: BytesMut::with_capacity(256), ..Self::default() };
        writer.buffer.put_bytes(0, FRAME_PREFIX_BYTES);
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
        let bytes = self.buffer.freeze();
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
            return self.buffer.freeze();
        }
        let mut whole = BytesMut::with_capacity(self.len());
        for part in self.into_parts() {
            match part {
                Part::Bytes(bytes) => whole.put_slice(&bytes),
                Part::File { .. } => panic!("a file range has no bytes in memory"),
            }
        }
        whole.freeze()
    }

    /// Writes bytes as they are.
    pub fn put_slice(&mut self, bytes: &[u8]) {
        self.buffer.put_slice(bytes);
    }

    /// Writes a shared part without copying it, unless it is so short that copying is cheaper.
    pub fn put_part(&mut self, part: Part) {
        match &part {
            Part::Bytes(bytes) if bytes.len() < SHARED_BYTES_MIN => self.buffer.put_slice(bytes),
            _ if part.is_empty() => {}
            _ => {
                self.shared_bytes += part.len();
                self.shared.push((self.buffer.len(), part));
            }
        }
    }

    /// Writes an unsigned variable-length integer.
    pub fn put_unsigned_varint(&mut self, value: u32) {
        let (encoded, length) = unsigned_varint(value);
        self.buffer.put_slice(&encoded[..length]);
    }

    fn put_string_length(&mut self, version: Version, length: Option<usize>) -> Result<(), WireError> {
        if version.flexible {
            return self.put_compact_length(length);
        }
        let value = match length {
            None => -1,
            Some(length) => i16::try_from(length).map_err(|_| WireError::TooLong { length })?,
        };
        self.buffer.put_i16(value);
        Ok(())
    }

    fn put_bytes_length(&mut self, version: Version, length: Option<usize>) -> Result<(), WireError> {
        if version.flexible {
            return self.put_compact_length(length);
        }
        let value = match length {
            None => -1,
            Some(length) => i32::try_from(length).map_err(|_| WireError::TooLong { length })?,
        };
        self.buffer.put_i32(value);
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
        self.buffer.put_bytes(0, length);
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

macro_rules! number {
    ($($type:ty),+) => {$(
        impl Wire for $type {
            fn bytes_min(_: Version) -> usize {
                size_of::<$type>()
            }
            fn read(reader: &mut Reader, _: Version) -> Result<Self, WireError> {
                Ok(<$type>::from_be_bytes(reader.array()?))
            }
            fn write(&self, writer: &mut Writer, _: Version) -> Result<(), WireError> {
                writer.put_slice(&self.to_be_bytes());
                Ok(())
            }
        }
    )+};
}

number!(i8, i16, u16, i32, u32, i64, f64);

impl Wire for bool {
    fn bytes_min(_: Version) -> usize {
        1
    }
    fn read(reader: &mut Reader, _: Version) -> Result<Self, WireError> {
        let [byte] = reader.array()?;
        Ok(byte != 0)
    }
    fn write(&self, writer: &mut Writer, _: Version) -> Result<(), WireError> {
        writer.put_slice(&[u8::from(*self)]);
        Ok(())
    }
}

/// A 128-bit id, of a topic for the most part. Shown as Kafka shows it: URL-safe base64 without padding.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// The id that stands for none.
    pub const ZERO: Self = Self([0; 16]);
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        // 22 digits of six bits: the 128 bits of the id and four zero bits behind them.
        let value = u128::from_be_bytes(self.0);
        for digit in 0..22i32 {
            let low = 128 - 6 * (digit + 1);
            let bits = if low >= 0 { value >> low } else { value << low.unsigned_abs() };
            write!(f, "{}", char::from(ALPHABET[(bits & 0x3f) as usize]))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uuid({self})")
    }
}

impl Wire for Uuid {
    fn bytes_min(_: Version) -> usize {
        16
    }
    fn read(reader: &mut Reader, _: Version) -> Result<Self, WireError> {
        Ok(Self(reader.array()?))
    }
    fn write(&self, writer: &mut Writer, _: Version) -> Result<(), WireError> {
        writer.put_slice(&self.0);
        Ok(())
    }
}

/// Reads a value that must not be null.
fn read_non_null<T: Nullable>(
    reader: &mut Reader,
    version: Version,
    field: &'static str,
) -> Result<T, WireError> {
    T::read_nullable(reader, version)?.ok_or(WireError::UnexpectedNull { field })
}

impl Wire for String {
    fn bytes_min(version: Version) -> usize {
        if version.flexible { 1 } else { 2 }
    }
    fn read(reader: &mut Reader, version: Version) -> Result<Self, WireError> {
        read_non_null(reader, version, "a string")
    }
    fn write(&self, writer: &mut Writer, version: Version) -> Result<(), WireError> {
        writer.put_string_length(version, Some(self.len()))?;
        writer.put_slice(self.as_bytes());
        Ok(())
    }
}

impl Nullable for String {
    fn read_nullable(reader: &mut Reader, version: Version) -> Result<Option<Self>, WireError> {
        let Some(length) = reader.string_length(version)? else { return Ok(None) };
        let text = std::str::from_utf8(reader.slice(length)?).map_err(|_| WireError::InvalidUtf8)?;
        Ok(Some(text.to_owned()))
    }
    fn write_null(writer: &mut Writer, version: Version) {
        writer.put_string_length(version, None).expect("null has no length");
    }
}

impl Wire for Bytes {
    fn bytes_min(version: Version) -> usize {
        if version.flexible { 1 } else { 4 }
    }
    fn read(reader: &mut Reader, version: Version) -> Result<Self, WireError> {
        read_non_null(reader, version, "a byte field")
    }
    fn write(&self, writer: &mut Writer, version: Version) -> Result<(), WireError> {
        writer.put_bytes_length(version, Some(self.len()))?;
        writer.put_part(Part::Bytes(self.clone()));
        Ok(())
    }
}

impl Nullable for Bytes {
    fn read_nullable(reader: &mut Reader, version: Version) -> Result<Option<Self>, WireError> {
        let Some(length) = reader.bytes_length(version)? else { return Ok(None) };
        Ok(Some(reader.shared(length)?))
    }
    fn write_null(writer: &mut Writer, version: Version) {
        writer.put_bytes_length(version, None).expect("null has no length");
    }
}

/// The record batches of one partition in a fetch response: bytes in memory, file ranges, or both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Records {
    /// The pieces, in order; each holds whole record batches.
    pub parts: Vec<RecordsPart>,
}

/// One piece of [`Records`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordsPart {
    /// Batches in memory.
    Memory(Bytes),
    /// A file range that holds the batches as they go on the wire.
    File {
        /// Index into the list of file ranges that goes with the response.
        slot: u32,
        /// Bytes of the range.
        length: u32,
    },
}

impl Records {
    /// Bytes of all pieces.
    pub fn len(&self) -> usize {
        self.parts
            .iter()
            .map(|part| match part {
                RecordsPart::Memory(bytes) => bytes.len(),
                RecordsPart::File { length, .. } => *length as usize,
            })
            .sum()
    }

    /// Whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<Bytes> for Records {
    fn from(bytes: Bytes) -> Self {
        match bytes.is_empty() {
            true => Self::default(),
            false => Self { parts: vec![RecordsPart::Memory(bytes)] },
        }
    }
}

impl Wire for Records {
    fn bytes_min(version: Version) -> usize {
        Bytes::bytes_min(version)
    }
    fn read(reader: &mut Reader, version: Version) -> Result<Self, WireError> {
        Bytes::read(reader, version).map(Self::from)
    }
    fn write(&self, writer: &mut Writer, version: Version) -> Result<(), WireError> {
        writer.put_bytes_length(version, Some(self.len()))?;
        for part in &self.parts {
            writer.put_part(match part {
                RecordsPart::Memory(bytes) => Part::Bytes(bytes.clone()),
                RecordsPart::File { slot, length } => Part::File { slot: *slot, length: *length },
            });
        }
        Ok(())
    }
}

impl Nullable for Records {
    fn read_nullable(reader: &mut Reader, version: Version) -> Result<Option<Self>, WireError> {
        Ok(Bytes::read_nullable(reader, version)?.map(Self::from))
    }
    fn write_null(writer: &mut Writer, version: Version) {
        Bytes::write_null(writer, version);
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn bytes_min(version: Version) -> usize {
        if version.flexible { 1 } else { 4 }
    }
    fn read(reader: &mut Reader, version: Version) -> Result<Self, WireError> {
        read_non_null(reader, version, "an array")
    }
    fn write(&self, writer: &mut Writer, version: Version) -> Result<(), WireError> {
        writer.put_bytes_length(version, Some(self.len()))?;
        self.iter().try_for_each(|element| element.write(writer, version))
    }
}

impl<T: Wire> Nullable for Vec<T> {
    fn read_nullable(reader: &mut Reader, version: Version) -> Result<Option<Self>, WireError> {
        let Some(count) = reader.count::<T>(version)? else { return Ok(None) };
        let mut elements = Vec::with_capacity(count);
        for _ in 0..count {
            elements.push(T::read(reader, version)?);
        }
        Ok(Some(elements))
    }
    fn write_null(writer: &mut Writer, version: Version) {
        writer.put_bytes_length(version, None).expect("null has no length");
    }
}

impl<T: Nullable> Wire for Option<T> {
    fn bytes_min(version: Version) -> usize {
        T::bytes_min_nullable(version)
    }
    fn read(reader: &mut Reader, version: Version) -> Result<Self, WireError> {
        T::read_nullable(reader, version)
    }
    fn write(&self, writer: &mut Writer, version: Version) -> Result<(), WireError> {
        match self {
            Some(value) => {
                T::write_present(writer);
                value.write(writer, version)
            }
            None => {
                T::write_null(writer, version);
                Ok(())
            }
        }
    }
    fn is_null(&self) -> bool {
        self.is_none()
    }
}
