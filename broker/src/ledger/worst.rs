//! The worst requests of one second.

use super::book::Turn;
use super::stamps::Moments;
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
    /// The least of them and its place, once there are [`WORST_MAX`].
    least: Option<(u64, usize)>,
}

impl Worst {
    /// Whether a request that took that long would be kept.
    pub(super) fn wants(&self, own_us: u64) -> bool {
        self.least.is_none_or(|(least_us, _)| own_us > least_us)
    }

    /// Keeps a request that is wanted.
    pub(super) fn keep(&mut self, slow: Slow) {
        match self.least {
            Some((_, place)) => self.slowest[place] = slow,
            None => self.slowest.push(slow),
        }
        if self.slowest.len() == WORST_MAX {
            let by_time = self.slowest.iter().map(|slow| slow.moments.own_us()).zip(0..);
            self.least = by_time.min();
        }
    }

    /// Takes them out, the slowest first.
    pub(super) fn take(&mut self) -> Vec<Slow> {
        self.least = None;
        let mut slowest = std::mem::replace(&mut self.slowest, Vec::with_capacity(WORST_MAX));
        slowest.sort_by_key(|slow| std::cmp::Reverse(slow.moments.own_us()));
        slowest
    }
}
