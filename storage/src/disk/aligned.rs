//! Memory that O_DIRECT accepts, and the way there for what lies in parts.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

use bytes::Bytes;

/// What O_DIRECT asks of addresses, positions and lengths; a multiple of every logical block size in use.
pub const ALIGNMENT: usize = 4096;

/// A buffer at an address that is a multiple of [`ALIGNMENT`].
pub struct AlignedBuffer {
    data: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the buffer owns its memory alone, as a `Box<[u8]>` would.
unsafe impl Send for AlignedBuffer {}

impl AlignedBuffer {
    /// A buffer of zeros. `bytes` is a multiple of [`ALIGNMENT`] and not zero.
    pub fn zeroed(bytes: usize) -> AlignedBuffer {
        assert!(bytes > 0 && bytes.is_multiple_of(ALIGNMENT), "a direct transfer is made of whole blocks");
        let layout = Layout::from_size_align(bytes, ALIGNMENT).expect("a buffer fits into memory");
        // SAFETY: the layout has a size that is not zero.
        let data = unsafe { alloc_zeroed(layout) };
        match NonNull::new(data) {
            Some(data) => AlignedBuffer { data, layout },
            None => handle_alloc_error(layout),
        }
    }

    /// The content.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: the memory is allocated, initialised and borrowed with `self`.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.layout.size()) }
    }

    /// The content, to be changed.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: the memory is allocated, initialised and borrowed alone with `self`.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), self.layout.size()) }
    }
}

impl Drop for AlignedBuffer {
    fn drop(&mut self) {
        // SAFETY: allocated with this very layout, and given back once.
        unsafe { dealloc(self.data.as_ptr(), self.layout) }
    }
}

/// The length of a write in parts.
pub(super) fn direct_length(position: u64, parts: &[Bytes]) -> usize {
    let length: usize = parts.iter().map(Bytes::len).sum();
    assert!(
        length > 0 && length.is_multiple_of(ALIGNMENT) && position.is_multiple_of(ALIGNMENT as u64),
        "a direct write is made of whole blocks"
    );
    length
}

/// Copies the parts of a write to where they lie back to back.
pub(super) fn gather(parts: &[Bytes], mut into: &mut [u8]) {
    for part in parts {
        let (here, rest) = into.split_at_mut(part.len());
        here.copy_from_slice(part);
        into = rest;
    }
}
