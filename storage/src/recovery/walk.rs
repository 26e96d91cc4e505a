//! Finding the blocks of a WAL, one after the other, also behind damage.

use super::LifeId;
use crate::op::{BLOCK_BYTES, DiskError, FileName, RecoverySource};
use crate::segment::zeros;
#[cfg(feature = "mutations")]
use crate::types::Lsn;
use crate::wal::{BLOCK_HEADER_BYTES, BlockHeader, ParsedBlock, parse_block, salt};
use bytes::Bytes;

/// Bytes read at once; a longer block is read as a whole.
const WINDOW_BYTES: usize = 2 << 20;
/// A file is not searched behind this much of nothing but zeros: it was prepared, and not written so far.
const ZEROS_MAX: u64 = 4 << 20;

/// A walk over the files of one life.
#[derive(Debug)]
pub(super) struct BlockWalk {
    id: LifeId,
    /// (sequence, size), ascending.
    files: Vec<(u64, u64)>,
    file: usize,
    position: u64,
    window: Bytes,
    window_position: u64,
    rubbish: bool,
    /// Zeros just before the current position.
    zeros: u64,
    /// Where each block that was found ends: (lsn, sequence, size of the file, position).
    #[cfg(feature = "mutations")]
    places: Vec<(Lsn, u64, u64, u64)>,
}

impl BlockWalk {
    pub(super) fn new(id: LifeId, files: Vec<(u64, u64)>) -> BlockWalk {
        BlockWalk {
            id,
            files,
            file: 0,
            position: 0,
            window: Bytes::new(),
            window_position: 0,
            rubbish: false,
            zeros: 0,
            #[cfg(feature = "mutations")]
            places: Vec::new(),
        }
    }

    /// Whether there was something after the last block that looks like a piece of one.
    pub(super) fn met_rubbish(&self) -> bool {
        self.rubbish
    }

    #[cfg(feature = "mutations")]
    pub(super) fn place_after(&self, lsn: Lsn) -> Option<(u64, u64, u64)> {
        let place = self.places.iter().find(|place| place.0 == lsn)?;
        Some((place.1, place.2, place.3))
    }

    /// The block at the current position, if there is one.
    pub(super) fn next_in_place(
        &mut self,
        source: &mut dyn RecoverySource,
    ) -> Result<Option<ParsedBlock>, DiskError> {
        let Some((sequence, size)) = self.files.get(self.file).copied() else { return Ok(None) };
        let salt = salt(self.id.1, self.id.0, sequence);
        let head = self.bytes(source, BLOCK_HEADER_BYTES)?;
        let Some(header) = BlockHeader::read(&head, salt) else { return Ok(None) };
        if self.position + u64::from(header.length) > size {
            return Ok(None);
        }
        let block = self.bytes(source, header.length as usize)?;
        Ok(parse_block(&block, salt))
    }

    /// The next block whose directory is intact, however much damage lies before it.
    pub(super) fn next(&mut self, source: &mut dyn RecoverySource) -> Result<Option<ParsedBlock>, DiskError> {
        while let Some((sequence, size)) = self.files.get(self.file).copied() {
            if self.position >= size {
                self.file += 1;
                (self.position, self.window, self.zeros) = (0, Bytes::new(), 0);
                continue;
            }
            if let Some(block) = self.next_in_place(source)? {
                self.position += u64::from(block.header.length);
                (self.rubbish, self.zeros) = (false, 0);
                #[cfg(feature = "mutations")]
                self.places.push((block.header.lsn, sequence, size, self.position));
                return Ok(Some(block));
            }
            self.look_at_damage(source, sequence)?;
            self.position = if self.zeros < ZEROS_MAX { self.position + BLOCK_BYTES } else { size };
        }
        Ok(None)
    }

    /// A header of this very file that is not whole is a piece of a block; zeros and an older life's blocks are
    /// not.
    fn look_at_damage(&mut self, source: &mut dyn RecoverySource, sequence: u64) -> Result<(), DiskError> {
        let block = self.bytes(source, BLOCK_BYTES as usize)?;
        let salt = salt(self.id.1, self.id.0, sequence).to_le_bytes();
        self.rubbish |= block.get(8..16) == Some(&salt[..]);
        let blank = zeros(block.len()).is_some_and(|zeros| block == zeros);
        self.zeros = if blank { self.zeros + BLOCK_BYTES } else { 0 };
        Ok(())
    }

    /// Up to `length` bytes from the current position.
    fn bytes(&mut self, source: &mut dyn RecoverySource, length: usize) -> Result<Bytes, DiskError> {
        let (sequence, size) = self.files[self.file];
        let left = usize::try_from(size - self.position).expect("64-bit sizes");
        let length = length.min(left);
        let end = self.window_position + self.window.len() as u64;
        if self.position < self.window_position || self.position + length as u64 > end {
            let file = FileName::Wal { shard: self.id.1, incarnation: self.id.0, sequence };
            self.window = source.read(&file, self.position, length.max(WINDOW_BYTES.min(left)))?;
            self.window_position = self.position;
        }
        let start = (self.position - self.window_position) as usize;
        Ok(self.window.slice(start..(start + length).min(self.window.len())))
    }
}
