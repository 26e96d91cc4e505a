//! The worst requests of one second.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::stamps::Moments;
use super::turn::Turn;
use crate::ids::ConnectionId;

/// Requests that are kept of one second.
pub const WORST_MAX: usize = 64;

/// A request that was among the slowest of its second.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Slow {
    /// Its moments.
    pub moments: Moments,
    /// Its connection.
    pub connection: ConnectionId,
    /// Its size, bytes.
    pub bytes: u32,
    /// The turn of its connection's shard in which it came; `None` if that turn is no longer known.
    pub arrived: Option<Turn>,
    /// The longest turn of that shard while it was under way: what most probably held it up, if the disk did not.
    pub longest: Option<Turn>,
    /// The turn in which it was written, as far as it had come.
    pub written: Turn,
}

/// The slowest requests of a second, by [`Moments::own_us`].
#[derive(Default, Debug)]
pub(super) struct Worst {
    slowest: Vec<Slow>,
    /// How slow each of them was and its place, the least first.
    order: BinaryHeap<Reverse<(u64, usize)>>,
}

impl Worst {
    /// Whether a request that took that long would be kept.
    pub(super) fn wants(&self, own_us: u64) -> bool {
        self.slowest.len() < WORST_MAX
            || self.order.peek().is_some_and(|Reverse((least_us, _))| own_us > *least_us)
    }

    /// Keeps a request that is wanted.
    pub(super) fn keep(&mut self, slow: Slow) {
        let own_us = slow.moments.own_us();
        if self.slowest.len() < WORST_MAX {
            self.order.push(Reverse((own_us, self.slowest.len())));
            self.slowest.push(slow);
        } else if let Some(mut least) = self.order.peek_mut() {
            let Reverse((_, place)) = *least;
            self.slowest[place] = slow;
            *least = Reverse((own_us, place));
        }
    }

    /// Takes them out, the slowest first.
    pub(super) fn take(&mut self) -> Vec<Slow> {
        self.order.clear();
        let mut slowest = std::mem::replace(&mut self.slowest, Vec::with_capacity(WORST_MAX));
        slowest.sort_by_key(|slow| std::cmp::Reverse(slow.moments.own_us()));
        slowest
    }
}
