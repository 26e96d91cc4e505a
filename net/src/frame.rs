//! Frames: four bytes of length, then that many bytes.

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};

use crate::wire::FRAME_PREFIX_BYTES;

/// Why a stream of bytes is not a stream of frames. There is no way to go on behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// A negative length.
    Negative(i32),
    /// A length above the limit.
    TooLarge {
        /// The length.
        length: usize,
        /// The limit.
        limit: usize,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Negative(length) => write!(f, "a frame of {length} bytes"),
            Self::TooLarge { length, limit } => {
                write!(f, "a frame of {length} bytes where {limit} are allowed")
            }
        }
    }
}

impl std::error::Error for FrameError {}

/// Cuts frames off a buffer. A frame shares its memory with the buffer.
#[derive(Debug, Clone, Copy)]
pub struct FrameDecoder {
    limit: usize,
}

impl FrameDecoder {
    /// A decoder that refuses frames of more than `limit` bytes, the length not counted.
    pub fn new(limit: usize) -> Self {
        Self { limit }
    }

    /// Changes the limit, once the peer has proven who it is.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// The length of the frame at the start of `buffer`, as soon as it is there to be read.
    pub fn frame_length(&self, buffer: &[u8]) -> Result<Option<usize>, FrameError> {
        let Some(prefix) = buffer.first_chunk::<FRAME_PREFIX_BYTES>() else { return Ok(None) };
        let length = i32::from_be_bytes(*prefix);
        let length = usize::try_from(length).map_err(|_| FrameError::Negative(length))?;
        if length > self.limit {
            return Err(FrameError::TooLarge { length, limit: self.limit });
        }
        Ok(Some(length))
    }

    /// Cuts off the frame at the start of `buffer`, if all of it is there.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        let Some(length) = self.frame_length(buffer)? else { return Ok(None) };
        if buffer.len() < FRAME_PREFIX_BYTES + length {
            return Ok(None);
        }
        buffer.advance(FRAME_PREFIX_BYTES);
        Ok(Some(buffer.split_to(length).freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_whole_however_the_bytes_arrive() {
        let stream = b"\0\0\0\x03abc\0\0\0\0\0\0\0\x01z";
        for split in 0..=stream.len() {
            let mut decoder = FrameDecoder::new(3);
            let mut buffer = BytesMut::new();
            let mut frames = Vec::new();
            for piece in [&stream[..split], &stream[split..]] {
                buffer.extend_from_slice(piece);
                while let Some(frame) = decoder.next(&mut buffer).expect("the frames are within the limit") {
                    frames.push(frame);
                }
            }
            assert_eq!(frames, ["abc", "", "z"], "split at {split}");
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn a_frame_beyond_the_limit_is_refused_by_its_length_alone() {
        let mut decoder = FrameDecoder::new(3);
        let refused = |decoder: &mut FrameDecoder, length: i32| {
            decoder.next(&mut BytesMut::from(&length.to_be_bytes()[..])).expect_err("the length is refused")
        };
        assert_eq!(refused(&mut decoder, 4), FrameError::TooLarge { length: 4, limit: 3 });
        assert_eq!(refused(&mut decoder, -1), FrameError::Negative(-1));
        decoder.set_limit(4);
        assert_eq!(decoder.next(&mut BytesMut::from(&[0, 0, 0, 4][..])), Ok(None));
    }
}
