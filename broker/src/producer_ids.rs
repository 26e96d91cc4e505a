//! Producer ids for idempotent producers: blocks that the controller hands to this shard, given out one by one.
//!
//! An id is never given out twice in the life of the cluster: a block is durable in the metadata log before the shard has
//! it, and what is left of it when the process ends is lost.

use std::collections::VecDeque;
use std::ops::Range;

use crate::effects::Context;

/// Ask for the next block when so few ids are left, so that nobody has to wait for it.
pub const PRODUCER_IDS_LOW: i64 = 100;

/// Producers of one shard that may wait for the next block.
pub const PRODUCER_ID_WAITS_MAX: usize = 10_000;

/// The ids of a shard, and those who wait for one: `W` is whom to answer.
#[derive(Debug)]
pub struct ProducerIds<W = Context> {
    current: Range<i64>,
    following: Range<i64>,
    is_asking: bool,
    waiting: VecDeque<W>,
}

impl<W> Default for ProducerIds<W> {
    fn default() -> ProducerIds<W> {
        ProducerIds { current: 0..0, following: 0..0, is_asking: false, waiting: VecDeque::new() }
    }
}

impl<W> ProducerIds<W> {
    /// An id that nobody has, if there is one.
    pub fn take(&mut self) -> Option<i64> {
        if self.current.is_empty() {
            self.current = std::mem::take(&mut self.following);
        }
        self.current.next()
    }

    /// True if a block should be asked for now; then count on `granted` or `denied`.
    pub fn should_ask(&mut self) -> bool {
        let left = (self.current.end - self.current.start) + (self.following.end - self.following.start);
        let should = !self.is_asking && left <= PRODUCER_IDS_LOW;
        self.is_asking |= should;
        should
    }

    /// Lets someone wait for the next block; gives them back if too many do.
    pub fn wait(&mut self, waiter: W) -> Result<(), W> {
        if self.waiting.len() >= PRODUCER_ID_WAITS_MAX {
            return Err(waiter);
        }
        self.waiting.push_back(waiter);
        Ok(())
    }

    /// Takes in a block, and returns those who waited with the ids they get. Those for whom it was too small wait on.
    pub fn granted(&mut self, first: i64, count: i64) -> Vec<(W, i64)> {
        assert!(first >= 0 && count > 0, "a block has ids");
        assert!(self.is_asking, "a block comes when it is asked for");
        self.is_asking = false;
        let block = first..first + count;
        if self.current.is_empty() {
            self.current = std::mem::take(&mut self.following);
        }
        assert!(self.following.is_empty(), "a block is asked for when the last one is nearly used up");
        if self.current.is_empty() {
            self.current = block;
        } else {
            self.following = block;
        }
        let mut served = Vec::new();
        while !self.waiting.is_empty() {
            let Some(id) = self.take() else { break };
            served.push((self.waiting.pop_front().expect("just seen"), id));
        }
        served
    }

    /// No block could be had: returns those who waited, to be told to come again.
    pub fn denied(&mut self) -> Vec<W> {
        assert!(self.is_asking, "an answer comes when it is asked for");
        self.is_asking = false;
        self.waiting.drain(..).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_a_block_is_asked_for_before_the_last_is_used_up() {
        let mut ids = ProducerIds::<()>::default();
        let (mut next_block, mut asks) = (1_000, 0);
        let mut given = std::collections::BTreeSet::new();
        for _ in 0..5_000 {
            if ids.should_ask() {
                asks += 1;
                ids.granted(next_block, 1_000);
                next_block += 1_000;
            }
            assert!(given.insert(ids.take().expect("there is always one")));
        }
        assert_eq!(asks, 6);
    }

    #[test]
    fn producers_that_come_first_wait_for_the_first_block() {
        let mut ids = ProducerIds::default();
        assert_eq!(ids.take(), None);
        assert!(ids.should_ask());
        assert!(!ids.should_ask(), "one question at a time");
        for waiter in 0..3 {
            ids.wait(waiter).unwrap();
        }
        assert_eq!(ids.granted(5, 2), [(0, 5), (1, 6)]);
        assert!(ids.should_ask());
        assert_eq!(ids.granted(7, 2), [(2, 7)]);
        assert_eq!(ids.take(), Some(8));
    }

    #[test]
    fn producers_are_sent_away_if_there_is_no_block() {
        let mut ids = ProducerIds::default();
        assert!(ids.should_ask());
        ids.wait("a").unwrap();
        assert_eq!(ids.denied(), ["a"]);
        assert!(ids.should_ask(), "it may be asked for again");
    }
}
