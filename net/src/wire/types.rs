//! The primitive types.

use std::fmt;

use bytes::Bytes;

use super::{Nullable, Part, Reader, Version, Wire, WireError, Writer};

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

number!(i8, i16, i32, i64);

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_shown_as_kafka_shows_it() {
        assert_eq!(Uuid::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(Uuid(std::array::from_fn(|place| place as u8)).to_string(), "AAECAwQFBgcICQoLDA0ODw");
        assert_eq!(Uuid([0xff; 16]).to_string(), "_____________________w");
    }

    /// The fewest bytes of a value are what a reader may count on, and no fewer than it needs.
    #[test]
    fn the_fewest_bytes_of_a_value_are_those_of_an_empty_one() {
        fn check<T: Wire + Default>() {
            for flexible in [false, true] {
                let version = Version { number: 0, flexible };
                let mut writer = Writer::new();
                T::default().write(&mut writer, version).expect("an empty value has a form");
                assert_eq!(writer.len(), T::bytes_min(version));
            }
        }
        check::<i8>();
        check::<i64>();
        check::<bool>();
        check::<Uuid>();
        check::<String>();
        check::<Option<String>>();
        check::<Bytes>();
        check::<Option<Bytes>>();
        check::<Records>();
        check::<Vec<i32>>();
        check::<Option<Vec<String>>>();
    }
}
