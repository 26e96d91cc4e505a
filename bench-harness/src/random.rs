//! Random numbers by seed. Everything random in a run comes from its seed, so that the same seed is the same load.

use rand_pcg::Pcg64Mcg;

/// The generator of one purpose: the same seed and purpose give the same numbers, another purpose gives others.
pub fn stream(seed: u64, purpose: u64) -> Pcg64Mcg {
    Pcg64Mcg::new((u128::from(scatter(seed)) << 64) | u128::from(scatter(purpose.wrapping_add(1))))
}

/// SplitMix64's finaliser: near inputs, far outputs.
pub fn scatter(value: u64) -> u64 {
    let mut bits = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
