//! Random messages from a seed, for tests and fuzzing: every field of the version takes ordinary and extreme values.

use bytes::Bytes;

use crate::wire::{Records, Uuid, Version};

/// A stream of random choices. The same seed makes the same choices.
#[derive(Debug, Clone)]
pub struct Generator {
    state: u64,
}

impl Generator {
    /// A generator with this seed.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 random bits (splitmix64).
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next_u64() % bound as u64) as usize
    }

    /// Random bytes, at most `length_max` of them and mostly few.
    pub fn bytes(&mut self, length_max: usize) -> Vec<u8> {
        let bound = if self.below(8) == 0 { length_max } else { length_max.min(16) };
        let length = self.below(bound + 1);
        (0..length).map(|_| self.next_u64() as u8).collect()
    }
}

/// A type that a [`Generator`] can make values of.
pub trait Generate: Sized {
    /// A random value that the version can carry.
    fn generate(generator: &mut Generator, version: Version) -> Self;
}

macro_rules! generate_number {
    ($($type:ty),+) => {$(
        impl Generate for $type {
            fn generate(generator: &mut Generator, _: Version) -> Self {
                match generator.below(8) {
                    0 => <$type>::MIN,
                    1 => <$type>::MAX,
                    2 => Default::default(),
                    _ => generator.next_u64() as $type,
                }
            }
        }
    )+};
}

generate_number!(i8, i16, i32, i64);

impl Generate for bool {
    fn generate(generator: &mut Generator, _: Version) -> Self {
        generator.below(2) == 1
    }
}

impl Generate for Uuid {
    fn generate(generator: &mut Generator, _: Version) -> Self {
        Self(std::array::from_fn(|_| generator.next_u64() as u8))
    }
}

impl Generate for String {
    fn generate(generator: &mut Generator, _: Version) -> Self {
        let text = ["", "a", "topic-7", "größe", "\u{0}", "\u{1f426}"][generator.below(6)];
        // Around 127 and 128 bytes a compact length takes its second byte.
        text.repeat(if generator.below(16) == 0 { 1 + generator.below(140) } else { 1 })
    }
}

impl Generate for Bytes {
    fn generate(generator: &mut Generator, _: Version) -> Self {
        generator.bytes(1000).into()
    }
}

impl Generate for Records {
    fn generate(generator: &mut Generator, version: Version) -> Self {
        Bytes::generate(generator, version).into()
    }
}

impl<T: Generate> Generate for Vec<T> {
    fn generate(generator: &mut Generator, version: Version) -> Self {
        let count = if generator.below(32) == 0 { generator.below(130) } else { generator.below(4) };
        // Long arrays of arrays of arrays would take all the memory there is.
        let count = if size_of::<T>() > 16 { count.min(4) } else { count };
        (0..count).map(|_| T::generate(generator, version)).collect()
    }
}

impl<T: Generate> Generate for Option<T> {
    fn generate(generator: &mut Generator, version: Version) -> Self {
        (generator.below(4) > 0).then(|| T::generate(generator, version))
    }
}
