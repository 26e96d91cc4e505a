//! One line for everything that happens: shown if asked, and hashed always, so that two runs can be compared.

use std::fmt;

/// The story of a run.
#[derive(Debug)]
pub struct Trace {
    show: bool,
    hash: u64,
    lines: u64,
}

impl Trace {
    /// A story without lines yet; `show` prints each on standard output.
    pub fn new(show: bool) -> Trace {
        Trace { show, hash: 0xcbf2_9ce4_8422_2325, lines: 0 }
    }

    /// Adds a line.
    pub fn line(&mut self, now_us: u64, text: fmt::Arguments<'_>) {
        let line = format!("{:>4}.{:06} {text}", now_us / 1_000_000, now_us % 1_000_000);
        self.lines += 1;
        for chunk in line.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.hash =
                (self.hash ^ u64::from_le_bytes(word)).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
        }
        if self.show {
            println!("{line}");
        }
    }

    /// The fingerprint of all lines so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many lines there are.
    pub fn lines(&self) -> u64 {
        self.lines
    }
}
