//! Compression of batches, as Kafka's clients do it.

use std::io::{Read, Write};

use crate::workload::Codec;

/// What Java's snappy streams begin with: a magic, a version and the oldest version that can read it.
const SNAPPY_JAVA: [u8; 16] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];
/// Java cuts its input into blocks of this length.
const SNAPPY_BLOCK_BYTES: usize = 32 << 10;
/// The most that a batch may become when it is decompressed: more is refused.
pub const DECOMPRESSED_BYTES_MAX: usize = 256 << 20;

impl Codec {
    /// The number in a batch's attributes.
    pub fn attribute(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// The codec that a batch's attributes name.
    pub fn from_attributes(attributes: i16) -> Option<Self> {
        match attributes & 7 {
            0 => Some(Self::None),
            1 => Some(Self::Gzip),
            2 => Some(Self::Snappy),
            3 => Some(Self::Lz4),
            4 => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// Appends `input`, compressed. Writing to memory cannot fail.
pub fn compress(codec: Codec, input: &[u8], output: &mut Vec<u8>) {
    const MEMORY: &str = "writing to memory does not fail";
    match codec {
        Codec::None => output.extend_from_slice(input),
        Codec::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(output, flate2::Compression::new(6));
            encoder.write_all(input).expect(MEMORY);
            encoder.finish().expect(MEMORY);
        }
        Codec::Snappy => {
            output.extend_from_slice(&SNAPPY_JAVA);
            for block in input.chunks(SNAPPY_BLOCK_BYTES) {
                let block =
                    snap::raw::Encoder::new().compress_vec(block).expect("a block is far below 4 GiB");
                output.extend_from_slice(&(block.len() as u32).to_be_bytes());
                output.extend_from_slice(&block);
            }
        }
        Codec::Lz4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(output);
            encoder.write_all(input).expect(MEMORY);
            encoder.finish().expect(MEMORY);
        }
        Codec::Zstd => {
            zstd::stream::copy_encode(input, output, 3).expect(MEMORY);
        }
    }
}

/// Decompresses into `output`, which is emptied first. An error says what is wrong with the input.
pub fn decompress(codec: Codec, input: &[u8], output: &mut Vec<u8>) -> Result<(), String> {
    output.clear();
    match codec {
        Codec::None => output.extend_from_slice(input),
        Codec::Gzip => read_all(flate2::read::MultiGzDecoder::new(input), output)?,
        Codec::Snappy => decompress_snappy(input, output)?,
        Codec::Lz4 => read_all(lz4_flex::frame::FrameDecoder::new(input), output)?,
        Codec::Zstd => {
            read_all(zstd::stream::read::Decoder::new(input).map_err(|error| error.to_string())?, output)?;
        }
    }
    Ok(())
}

fn read_all(from: impl Read, output: &mut Vec<u8>) -> Result<(), String> {
    from.take(DECOMPRESSED_BYTES_MAX as u64 + 1).read_to_end(output).map_err(|error| error.to_string())?;
    match output.len() > DECOMPRESSED_BYTES_MAX {
        true => Err(format!("a batch of more than {DECOMPRESSED_BYTES_MAX} bytes")),
        false => Ok(()),
    }
}

/// Java's framing, or else one plain block as librdkafka writes it.
fn decompress_snappy(input: &[u8], output: &mut Vec<u8>) -> Result<(), String> {
    if !input.starts_with(&SNAPPY_JAVA[..8]) {
        return snappy_block(input, output);
    }
    let mut rest = input.get(SNAPPY_JAVA.len()..).ok_or("a snappy stream that is cut off")?;
    while !rest.is_empty() {
        let (length, blocks) = rest.split_first_chunk::<4>().ok_or("a snappy stream that is cut off")?;
        let length = u32::from_be_bytes(*length) as usize;
        let (block, after) = blocks.split_at_checked(length).ok_or("a snappy stream that is cut off")?;
        snappy_block(block, output)?;
        rest = after;
    }
    Ok(())
}

fn snappy_block(block: &[u8], output: &mut Vec<u8>) -> Result<(), String> {
    let length = snap::raw::decompress_len(block).map_err(|error| error.to_string())?;
    let start = output.len();
    if start + length > DECOMPRESSED_BYTES_MAX {
        return Err(format!("a batch of more than {DECOMPRESSED_BYTES_MAX} bytes"));
    }
    output.resize(start + length, 0);
    snap::raw::Decoder::new().decompress(block, &mut output[start..]).map_err(|error| error.to_string())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    #[test]
    fn every_codec_gives_back_what_it_took() {
        let input: Vec<u8> = (0..200_000u32).map(|index| (index / 100) as u8).collect();
        for codec in ALL {
            let (mut compressed, mut output) = (vec![1, 2, 3], vec![4]);
            compress(codec, &input, &mut compressed);
            assert!(codec == Codec::None || compressed.len() < input.len() / 4, "{codec:?}");
            decompress(codec, &compressed[3..], &mut output).unwrap();
            assert!(output == input, "{codec:?}");
            assert_eq!(Codec::from_attributes(codec.attribute()), Some(codec));
        }
    }

    #[test]
    fn damage_is_an_error() {
        for codec in &ALL[1..] {
            let mut compressed = Vec::new();
            compress(*codec, &[7; 1000], &mut compressed);
            compressed.truncate(compressed.len() / 2);
            assert!(decompress(*codec, &compressed, &mut Vec::new()).is_err(), "{codec:?}");
        }
    }

    #[test]
    fn plain_snappy_is_read_too() {
        let block = snap::raw::Encoder::new().compress_vec(&[9; 500]).unwrap();
        let mut output = Vec::new();
        decompress(Codec::Snappy, &block, &mut output).unwrap();
        assert_eq!(output, [9; 500]);
    }
}
