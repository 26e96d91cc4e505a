//! What waits for the next turn of a driver, put there by other tasks of the same executor.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::task::Waker;

/// A queue with one reader. Its bound is that of what fills it: requests in flight per connection, connections per
/// shard, operations on the disk.
pub struct Inbox<T> {
    queue: RefCell<VecDeque<T>>,
    waker: Cell<Option<Waker>>,
}

impl<T> Inbox<T> {
    /// An empty inbox.
    pub fn new() -> Inbox<T> {
        Inbox { queue: RefCell::new(VecDeque::new()), waker: Cell::new(None) }
    }

    /// Queues an item and wakes the driver.
    pub fn push(&self, item: T) {
        self.queue.borrow_mut().push_back(item);
        self.wake();
    }

    /// Wakes the driver for a turn.
    pub fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Swaps the items into `into`, which is empty.
    pub fn take(&self, into: &mut VecDeque<T>) {
        assert!(into.is_empty(), "a driver handles all items of a turn before it takes more");
        std::mem::swap(&mut *self.queue.borrow_mut(), into);
    }

    /// True if something is there; otherwise remembers whom to wake.
    pub fn is_ready(&self, waker: &Waker) -> bool {
        if !self.queue.borrow().is_empty() {
            return true;
        }
        let waker = match self.waker.take() {
            Some(old) if old.will_wake(waker) => old,
            _ => waker.clone(),
        };
        self.waker.set(Some(waker));
        false
    }
}
