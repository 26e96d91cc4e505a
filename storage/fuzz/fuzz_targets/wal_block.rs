//! `cargo +nightly fuzz run wal_block` in `storage/`.
#![no_main]

#[path = "../bodies.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|input: &[u8]| bodies::wal_block(input));
