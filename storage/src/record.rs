//! The records inside a batch, read one after the other without copying, and written.
//!
//! ```text
//! length varint · attributes i8 · timestamp_delta varlong · offset_delta varint
//! key_length varint (−1 null) · key · value_length varint (−1 null) · value
//! header_count varint · { key_length varint · key · value_length varint (−1 null) · value }*
//! ```

/// A record, borrowing from its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Timestamp relative to the batch's base timestamp, ms.
    pub timestamp_delta: i64,
    /// Offset relative to the batch's base offset.
    pub offset_delta: i32,
    /// The key; None is null.
    pub key: Option<&'a [u8]>,
    /// The value; None is null.
    pub value: Option<&'a [u8]>,
    /// Number of headers.
    pub header_count: i32,
}

/// The bytes of records, uncompressed, one record after the other.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    /// Reads the records of these bytes.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Records<'a> {
        Records { rest: bytes }
    }

    /// The bytes that have not been read.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn read(&mut self) -> Result<Record<'a>, &'static str> {
        let length = varint(&mut self.rest)?;
        let mut bytes = take(&mut self.rest, length)?;
        let record = read_record(&mut bytes)?;
        if bytes.is_empty() { Ok(record) } else { Err("a record is longer than its fields") }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let record = self.read();
        if record.is_err() {
            self.rest = &[];
        }
        Some(record)
    }
}

fn read_record<'a>(bytes: &mut &'a [u8]) -> Result<Record<'a>, &'static str> {
    take(bytes, 1)?;
    let timestamp_delta = varlong(bytes)?;
    let offset_delta = varint(bytes)?;
    let key = nullable(bytes)?;
    let value = nullable(bytes)?;
    let header_count = varint(bytes)?;
    // Each header takes two bytes at least, so a count that the record cannot hold is refused at once.
    if header_count < 0 || header_count as usize > bytes.len() / 2 {
        return Err("a record has an impossible number of headers");
    }
    for _ in 0..header_count {
        let length = varint(bytes)?;
        take(bytes, length)?;
        nullable(bytes)?;
    }
    Ok(Record { timestamp_delta, offset_delta, key, value, header_count })
}

fn nullable<'a>(bytes: &mut &'a [u8]) -> Result<Option<&'a [u8]>, &'static str> {
    match varint(bytes)? {
        -1 => Ok(None),
        length => take(bytes, length).map(Some),
    }
}

fn take<'a>(bytes: &mut &'a [u8], length: i32) -> Result<&'a [u8], &'static str> {
    let length = usize::try_from(length).map_err(|_| "a negative length in a record")?;
    let (taken, rest) = bytes.split_at_checked(length).ok_or("a record is cut off")?;
    *bytes = rest;
    Ok(taken)
}

fn varint(bytes: &mut &[u8]) -> Result<i32, &'static str> {
    let value = unsigned(bytes, 5)?;
    let value = u32::try_from(value).map_err(|_| "a varint is out of range")?;
    Ok((value >> 1) as i32 ^ -((value & 1) as i32))
}

fn varlong(bytes: &mut &[u8]) -> Result<i64, &'static str> {
    let value = unsigned(bytes, 10)?;
    Ok((value >> 1) as i64 ^ -((value & 1) as i64))
}

fn unsigned(bytes: &mut &[u8], bytes_max: usize) -> Result<u64, &'static str> {
    let mut value = 0u64;
    for (index, byte) in bytes.iter().enumerate().take(bytes_max) {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            *bytes = &bytes[index + 1..];
            return Ok(value);
        }
    }
    Err("a varint does not end")
}

/// Appends a record to `out`. A header is a key and a value, None for null.
pub(crate) fn write_record(
    out: &mut Vec<u8>,
    record: &Record<'_>,
    headers: &[(&str, Option<&[u8]>)],
    scratch: &mut Vec<u8>,
) {
    scratch.clear();
    scratch.push(0);
    put_varlong(scratch, record.timestamp_delta);
    put_varlong(scratch, i64::from(record.offset_delta));
    put_nullable(scratch, record.key);
    put_nullable(scratch, record.value);
    put_varlong(scratch, headers.len() as i64);
    for (key, value) in headers {
        put_nullable(scratch, Some(key.as_bytes()));
        put_nullable(scratch, *value);
    }
    put_varlong(out, scratch.len() as i64);
    out.extend_from_slice(scratch);
}

fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    put_varlong(out, bytes.map_or(-1, |bytes| bytes.len() as i64));
    out.extend_from_slice(bytes.unwrap_or_default());
}

/// Zigzag; a value in the range of i32 takes the same bytes as a varint of it.
fn put_varlong(out: &mut Vec<u8>, value: i64) {
    let mut value = ((value << 1) ^ (value >> 63)) as u64;
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
