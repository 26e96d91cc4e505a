//! The four codecs of record batches. Producers compress and consumers decompress; the broker looks inside
//! only to search a timestamp, or where a topic's policy needs the keys. Output is bounded by the caller.

use std::io::{Read, Write};

/// A codec, with Kafka's id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Records as they are.
    #[default]
    None,
    /// RFC 1952.
    Gzip,
    /// Raw snappy, or the framing of Java's snappy ("xerial").
    Snappy,
    /// The LZ4 frame format.
    Lz4,
    /// RFC 8878.
    Zstd,
}

const XERIAL_MAGIC: &[u8; 8] = b"\x82SNAPPY\0";
const XERIAL_HEADER_BYTES: usize = 16;

impl Compression {
    /// The codec with this id in the attributes of a batch.
    #[must_use]
    pub fn from_id(id: u8) -> Option<Compression> {
        match id {
            0 => Some(Compression::None),
            1 => Some(Compression::Gzip),
            2 => Some(Compression::Snappy),
            3 => Some(Compression::Lz4),
            4 => Some(Compression::Zstd),
            _ => None,
        }
    }

    /// The id in the attributes of a batch.
    #[must_use]
    pub fn id(self) -> u8 {
        self as u8
    }

    /// Decompresses; fails rather than return more than `bytes_max`.
    pub fn decompress(self, input: &[u8], bytes_max: usize) -> Result<Vec<u8>, String> {
        match self {
            Compression::None if input.len() > bytes_max => Err(too_large(bytes_max)),
            Compression::None => Ok(input.to_vec()),
            Compression::Gzip => read_bounded(flate2::read::MultiGzDecoder::new(input), bytes_max),
            Compression::Snappy => snappy(input, bytes_max),
            Compression::Lz4 => read_bounded(lz4_flex::frame::FrameDecoder::new(input), bytes_max),
            Compression::Zstd => {
                let decoder = ruzstd::decoding::StreamingDecoder::new(input).map_err(|e| e.to_string())?;
                read_bounded(decoder, bytes_max)
            }
        }
    }

    /// Compresses, as a producer would. Coordinators store small batches uncompressed; tests need all.
    #[must_use]
    pub fn compress(self, input: &[u8]) -> Vec<u8> {
        const TO_MEMORY: &str = "writing to memory does not fail";
        match self {
            Compression::None => input.to_vec(),
            Compression::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(input).expect(TO_MEMORY);
                encoder.finish().expect(TO_MEMORY)
            }
            Compression::Snappy => {
                snap::raw::Encoder::new().compress_vec(input).expect("a batch is below 4 GiB")
            }
            Compression::Lz4 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
                encoder.write_all(input).expect(TO_MEMORY);
                encoder.finish().expect(TO_MEMORY)
            }
            Compression::Zstd => {
                ruzstd::encoding::compress_to_vec(input, ruzstd::encoding::CompressionLevel::Fastest)
            }
        }
    }
}

fn too_large(bytes_max: usize) -> String {
    format!("decompresses to more than {bytes_max} bytes")
}

fn read_bounded(reader: impl Read, bytes_max: usize) -> Result<Vec<u8>, String> {
    let mut output = Vec::new();
    reader.take(bytes_max as u64 + 1).read_to_end(&mut output).map_err(|error| error.to_string())?;
    if output.len() > bytes_max { Err(too_large(bytes_max)) } else { Ok(output) }
}

fn snappy(input: &[u8], bytes_max: usize) -> Result<Vec<u8>, String> {
    let mut output = Vec::new();
    if !input.starts_with(XERIAL_MAGIC) {
        snappy_chunk(input, bytes_max, &mut output)?;
        return Ok(output);
    }
    let mut rest = input.get(XERIAL_HEADER_BYTES..).ok_or("the snappy header is cut off")?;
    while let Some((length, tail)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let (chunk, tail) = tail.split_at_checked(length).ok_or("a snappy chunk is cut off")?;
        snappy_chunk(chunk, bytes_max, &mut output)?;
        rest = tail;
    }
    if rest.is_empty() { Ok(output) } else { Err("bytes after the last snappy chunk".into()) }
}

fn snappy_chunk(chunk: &[u8], bytes_max: usize, output: &mut Vec<u8>) -> Result<(), String> {
    let length = snap::raw::decompress_len(chunk).map_err(|error| error.to_string())?;
    // Snappy cannot shrink below a twenty-first, so a larger claim is a lie, and nothing is reserved for it.
    if output.len() + length > bytes_max || length / 64 > chunk.len() {
        return Err(too_large(bytes_max));
    }
    let start = output.len();
    output.resize(start + length, 0);
    snap::raw::Decoder::new()
        .decompress(chunk, &mut output[start..])
        .map(|_| ())
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    #[test]
    fn every_codec_gives_back_what_it_took() {
        let input: Vec<u8> = (0..100_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        for codec in ALL {
            let packed = codec.compress(&input);
            assert_eq!(codec.decompress(&packed, input.len()).as_deref(), Ok(&input[..]), "{codec:?}");
            assert!(codec.decompress(&packed, input.len() - 1).is_err(), "{codec:?} is bounded");
            assert_eq!(Compression::from_id(codec.id()), Some(codec));
        }
    }

    #[test]
    fn javas_snappy_framing_is_read() {
        let mut framed = XERIAL_MAGIC.to_vec();
        framed.extend([0, 0, 0, 1, 0, 0, 0, 1]);
        for part in [&b"hello "[..], b"world"] {
            let packed = Compression::Snappy.compress(part);
            framed.extend((packed.len() as u32).to_be_bytes());
            framed.extend(packed);
        }
        assert_eq!(Compression::Snappy.decompress(&framed, 100).as_deref(), Ok(&b"hello world"[..]));
        assert!(Compression::Snappy.decompress(&framed[..framed.len() - 1], 100).is_err());
    }

    #[test]
    fn rubbish_is_an_error_in_every_codec() {
        for codec in &ALL[1..] {
            assert!(codec.decompress(b"\xff\xfe\xfd rubbish", 1000).is_err(), "{codec:?}");
        }
    }
}
