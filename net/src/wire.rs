//! Bytes to values and back: the primitive types of the Kafka protocol, and every limit on hostile input.
//!
//! A [`Reader`] refuses a length or a count that the frame cannot hold before anything is reserved for it,
//! so the memory that decoding takes is bounded by the bytes that were sent. A [`Writer`] produces the
//! [`Part`]s of one message in one pass: its own bytes, shared slices, and places where a file range belongs.

use std::fmt;

mod reader;
mod types;
mod writer;

pub use reader::Reader;
pub use types::{Records, RecordsPart, Uuid};
pub use writer::{FRAME_PREFIX_BYTES, Part, Writer};

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
