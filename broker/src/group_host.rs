//! The group coordinators of a shard: one for each partition of `__consumer_offsets` that it leads.

use std::collections::BTreeMap;

use storage::{Offset, Slot};

use crate::coordinator::{GroupCoordinator, Token};
use crate::waits::Asker;

/// A coordinator and its partition.
#[derive(Debug)]
pub(crate) struct Hosted {
    pub(crate) coordinator: GroupCoordinator,
    /// What of the partition has been replayed; none once all was.
    pub(crate) loading: Option<Offset>,
}

/// The coordinators of a shard, by the slot of their partition.
#[derive(Default, Debug)]
pub(crate) struct GroupHost {
    pub(crate) hosted: BTreeMap<Slot, Hosted>,
    askers: BTreeMap<Token, Asker>,
    last_token: u64,
}

impl GroupHost {
    /// When the earliest coordinator wants to be told the time.
    pub(crate) fn next_timeout(&self) -> Option<u64> {
        self.hosted.values().filter_map(|hosted| hosted.coordinator.next_timeout()).min()
    }

    /// Remembers who asked; the token comes back with the answer.
    pub(crate) fn token(&mut self, asker: Asker) -> Token {
        self.last_token += 1;
        let token = Token(self.last_token);
        self.askers.insert(token, asker);
        token
    }

    /// Who asked.
    pub(crate) fn asker(&mut self, token: Token) -> Asker {
        self.askers.remove(&token).expect("a coordinator answers every request once")
    }

    /// Requests that coordinators have not answered yet.
    pub(crate) fn waiting(&self) -> usize {
        self.askers.len()
    }
}
