//! Whether the next block waits a moment for company.
//!
//! When a block becomes durable its producers are answered, and producers that keep a number of requests in flight send
//! their next at once: a moment too late for a block that begins now, so they would wait for the whole of it, and every
//! block would hold half of what it could. So a block that could begin waits until as many appends are there as were in
//! flight when the last one ended, at most a fraction of the time that a block takes. Where that was in vain, because
//! appends come by themselves and not in answer to others, it is not tried again for a while.
//!
//! PostgreSQL's `commit_delay` and `commit_siblings` are of this kind, with fixed numbers.

/// The longest time that a block waits, microseconds.
const WAIT_US_MAX: u64 = 200;

/// At most this part of the time that the last block took.
const WAIT_DIVISOR: u64 = 2;

/// With so many bytes a block is worth its flush, bytes.
const ENOUGH_BYTES: u64 = 64 << 10;

/// After waiting in vain so many times in a row, twice as many blocks begin at once, up to a bound.
const SKIPS_MAX: u32 = 256;

/// What is known of the appends that somebody waits for.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    /// Since the last block began.
    pending: u32,
    /// In the block that is in flight, or was last.
    in_block: u32,
    begun_us: u64,
    /// How many are worth waiting for, and until when.
    expected: u32,
    until_us: u64,
    /// Blocks that begin at once, and how many they were the last time.
    skips: u32,
    skipped: u32,
}

impl Gathering {
    pub(super) fn appended(&mut self) {
        self.pending += 1;
    }

    /// Whether a block with so many bytes may begin.
    pub(super) fn may_begin(&self, now_us: u64, pending_bytes: u64) -> bool {
        now_us >= self.waits_until(pending_bytes)
    }

    /// When a block with so many bytes may begin, whoever comes; 0 if it need not wait.
    pub(super) fn waits_until(&self, pending_bytes: u64) -> u64 {
        let enough = self.pending >= self.expected || pending_bytes >= ENOUGH_BYTES;
        if enough { 0 } else { self.until_us }
    }

    pub(super) fn begun(&mut self, now_us: u64) {
        if self.expected > 0 {
            // Most of them are enough: one that stays away does not tell of the others.
            let in_vain = self.pending * 4 < self.expected * 3;
            self.skipped = if in_vain { (self.skipped * 2 + 1).min(SKIPS_MAX) } else { 0 };
            self.skips = self.skipped;
        }
        self.expected = 0;
        self.begun_us = now_us;
        self.in_block = std::mem::take(&mut self.pending);
    }

    pub(super) fn ended(&mut self, now_us: u64) {
        let siblings = self.in_block + self.pending;
        if self.skips > 0 {
            self.skips -= 1;
        } else if siblings > 1 && self.in_block > 0 {
            self.expected = siblings;
            self.until_us = now_us + ((now_us - self.begun_us) / WAIT_DIVISOR).min(WAIT_US_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK_US: u64 = 300;

    /// Producers with one request in flight each: a block of all but one of them is in flight, the one came too late.
    #[test]
    fn producers_that_answer_answers_share_a_block() {
        let mut gathering = Gathering::default();
        (0..4).for_each(|_| gathering.appended());
        assert!(gathering.may_begin(0, 4096), "the first block waits for nobody");
        gathering.begun(0);
        gathering.appended();
        gathering.ended(BLOCK_US);
        assert!(!gathering.may_begin(BLOCK_US, 1024), "four more are about to come");
        assert_eq!(gathering.waits_until(1024), BLOCK_US + 150);
        (0..4).for_each(|_| gathering.appended());
        assert!(gathering.may_begin(BLOCK_US + 40, 5120));
        assert_eq!(gathering.waits_until(5120), 0);
    }

    #[test]
    fn one_producer_never_waits() {
        let mut gathering = Gathering::default();
        for round in 0..10 {
            gathering.appended();
            assert!(gathering.may_begin(round * 1000, 1024));
            gathering.begun(round * 1000);
            gathering.ended(round * 1000 + BLOCK_US);
        }
    }

    #[test]
    fn waiting_in_vain_becomes_rare() {
        let mut gathering = Gathering::default();
        let (mut now_us, mut waits) = (0, 0);
        for _ in 0..1000 {
            // Two that came by themselves, and one while their block was written.
            gathering.appended();
            gathering.appended();
            waits += u32::from(!gathering.may_begin(now_us, 1024));
            now_us += WAIT_US_MAX;
            gathering.begun(now_us);
            gathering.appended();
            now_us += 2 * WAIT_US_MAX;
            gathering.ended(now_us);
            gathering.pending = 0;
            gathering.in_block = 8;
        }
        assert!(waits < 15, "{waits} of 1000 blocks waited in vain");
    }

    #[test]
    fn much_data_does_not_wait() {
        let mut gathering = Gathering::default();
        (0..8).for_each(|_| gathering.appended());
        gathering.begun(0);
        gathering.appended();
        gathering.ended(BLOCK_US);
        assert!(!gathering.may_begin(BLOCK_US, ENOUGH_BYTES - 1));
        assert!(gathering.may_begin(BLOCK_US, ENOUGH_BYTES));
    }
}
