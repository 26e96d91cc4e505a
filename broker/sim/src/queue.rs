//! What is going to happen, in virtual time. What falls on the same microsecond happens in the order it was scheduled.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// The future.
#[derive(Debug)]
pub struct Queue<E> {
    now_us: u64,
    scheduled: u64,
    order: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, E>,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Queue { now_us: 0, scheduled: 0, order: BinaryHeap::new(), events: BTreeMap::new() }
    }
}

impl<E> Queue<E> {
    /// Microseconds since the world began.
    pub fn now_us(&self) -> u64 {
        self.now_us
    }

    /// Lets something happen at a time; now at the earliest.
    pub fn at(&mut self, time_us: u64, event: E) {
        self.scheduled += 1;
        self.order.push(Reverse((time_us.max(self.now_us), self.scheduled)));
        self.events.insert(self.scheduled, event);
    }

    /// Lets something happen after a while.
    pub fn after(&mut self, delay_us: u64, event: E) {
        self.at(self.now_us + delay_us, event);
    }

    /// Goes to the next event that is due by `until_us`; time then stands there.
    pub fn next(&mut self, until_us: u64) -> Option<E> {
        match self.order.peek() {
            Some(Reverse((time_us, _))) if *time_us <= until_us => {
                let Reverse((time_us, number)) = self.order.pop().expect("just seen");
                self.now_us = time_us;
                Some(self.events.remove(&number).expect("every number in the order has its event"))
            }
            _ => {
                self.now_us = self.now_us.max(until_us);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_runs_forward_and_ties_keep_their_order() {
        let mut queue = Queue::default();
        queue.at(5, 'b');
        queue.at(1, 'a');
        queue.at(5, 'c');
        assert_eq!(std::iter::from_fn(|| queue.next(5)).collect::<String>(), "abc");
        queue.after(2, 'd');
        assert_eq!(queue.next(6), None);
        assert_eq!(queue.next(7), Some('d'));
    }
}
