//! The codecs of record batches as clients have them: producers of a world compress, its consumers decompress.

use std::io::{Read, Write};

/// How a producer compresses, with Kafka's id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Codec {
    /// Not at all.
    None = 0,
    /// RFC 1952.
    Gzip = 1,
    /// Raw snappy.
    Snappy = 2,
    /// The LZ4 frame format.
    Lz4 = 3,
    /// RFC 8878.
    Zstd = 4,
}

/// All of them.
pub const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

const TO_MEMORY: &str = "writing to memory does not fail";

impl Codec {
    /// The first version of Produce that may carry it (KIP-110).
    pub fn produce_version_min(self) -> u64 {
        if self == Codec::Zstd { 7 } else { 3 }
    }

    /// Packs the records of a batch.
    pub fn compress(self, records: &[u8]) -> Vec<u8> {
        match self {
            Codec::None => records.to_vec(),
            Codec::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(records).expect(TO_MEMORY);
                encoder.finish().expect(TO_MEMORY)
            }
            Codec::Snappy => snap::raw::Encoder::new().compress_vec(records).expect("a batch is below 4 GiB"),
            Codec::Lz4 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
                encoder.write_all(records).expect(TO_MEMORY);
                encoder.finish().expect(TO_MEMORY)
            }
            Codec::Zstd => {
                ruzstd::encoding::compress_to_vec(records, ruzstd::encoding::CompressionLevel::Fastest)
            }
        }
    }

    /// Unpacks the records of a batch by the id in its attributes.
    pub fn decompress(id: i16, packed: &[u8]) -> Result<Vec<u8>, String> {
        let mut records = Vec::new();
        let read = match CODECS.get(id as usize) {
            Some(Codec::None) => return Ok(packed.to_vec()),
            Some(Codec::Gzip) => flate2::read::GzDecoder::new(packed).read_to_end(&mut records),
            Some(Codec::Snappy) => {
                return snap::raw::Decoder::new().decompress_vec(packed).map_err(|error| error.to_string());
            }
            Some(Codec::Lz4) => lz4_flex::frame::FrameDecoder::new(packed).read_to_end(&mut records),
            Some(Codec::Zstd) => ruzstd::decoding::StreamingDecoder::new(packed)
                .map_err(|error| error.to_string())?
                .read_to_end(&mut records),
            None => return Err(format!("codec {id}")),
        };
        read.map(|_| records).map_err(|error| error.to_string())
    }
}
