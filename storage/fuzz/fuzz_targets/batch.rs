//! `cargo +nightly fuzz run batch` in `storage/`.
#![no_main]

#[path = "../bodies.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|input: &[u8]| bodies::batch(input));
