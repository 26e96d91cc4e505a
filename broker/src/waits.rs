//! The purgatory: appends that wait for durability, fetches that wait for data, on the shard that owns the partitions.

use std::collections::{BTreeMap, BTreeSet};

use storage::Slot;

use crate::ids::{Address, AskId};
use crate::letter::{AppendedPart, FetchAsk, FetchedPart, FoundOffset};
use crate::limits::APPEND_SWEEP_US;

/// Whom to answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Asker {
    pub(crate) address: Address,
    pub(crate) id: AskId,
}

/// One waiting question.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct WaitId(pub(crate) u64);

/// An append whose batches are not all durable yet.
#[derive(Debug)]
pub(crate) struct AppendWait {
    pub(crate) asker: Asker,
    pub(crate) parts: Vec<AppendedPart>,
    /// Parts that are not durable yet.
    pub(crate) missing: usize,
    pub(crate) deadline_us: u64,
    /// When it was taken up, for the ledger.
    pub(crate) at_owner_us: u64,
}

/// A fetch that waits for `min_bytes`, or for positions in cold segments.
#[derive(Debug)]
pub(crate) struct FetchWait {
    pub(crate) asker: Asker,
    pub(crate) ask: FetchAsk,
    pub(crate) deadline_us: u64,
    /// When it was taken up, for the ledger.
    pub(crate) at_owner_us: u64,
    /// Set once reading has begun and only cold positions are missing.
    pub(crate) locating: Option<Locating>,
}

/// A fetch on its way to an answer.
#[derive(Debug)]
pub(crate) struct Locating {
    pub(crate) parts: Vec<FetchedPart>,
    pub(crate) missing: usize,
}

/// An offset lookup that waits for cold segments.
#[derive(Debug)]
pub(crate) struct LookupWait {
    pub(crate) asker: Asker,
    pub(crate) parts: Vec<FoundOffset>,
    pub(crate) missing: usize,
}

/// A move of log starts that waits for durability.
#[derive(Debug)]
pub(crate) struct DeleteWait {
    pub(crate) asker: Asker,
    pub(crate) parts: Vec<(net::ErrorCode, i64)>,
    pub(crate) missing: usize,
}

/// What a question to the store was for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum StoreAsk {
    /// The position of a part of a fetch.
    Fetch(WaitId, usize),
    /// The offset of a part of a lookup.
    Lookup(WaitId, usize),
    /// The next piece of a coordinator's partition, or its position.
    Load(Slot),
}

/// All that waits on one shard.
#[derive(Default, Debug)]
pub(crate) struct Waits {
    pub(crate) appends: BTreeMap<WaitId, AppendWait>,
    pub(crate) fetches: BTreeMap<WaitId, FetchWait>,
    pub(crate) lookups: BTreeMap<WaitId, LookupWait>,
    pub(crate) deletes: BTreeMap<WaitId, DeleteWait>,
    store_asks: BTreeMap<u64, StoreAsk>,
    fetch_askers: BTreeMap<Asker, WaitId>,
    fetch_deadlines: BTreeSet<(u64, WaitId)>,
    next: u64,
    next_sweep_us: u64,
}

impl Waits {
    /// A fresh name.
    pub(crate) fn id(&mut self) -> WaitId {
        self.next += 1;
        WaitId(self.next)
    }

    /// Remembers what the store is asked for; the token comes back with its answer.
    pub(crate) fn token(&mut self, ask: StoreAsk) -> u64 {
        let token = self.id().0;
        self.store_asks.insert(token, ask);
        token
    }

    /// What the store was asked for.
    pub(crate) fn store_ask(&mut self, token: u64) -> StoreAsk {
        self.store_asks.remove(&token).expect("the store answers what it was asked, once")
    }

    /// Puts a fetch to wait under `id`.
    pub(crate) fn insert_fetch(&mut self, id: WaitId, wait: FetchWait) {
        self.fetch_askers.insert(wait.asker, id);
        if wait.locating.is_none() {
            self.fetch_deadlines.insert((wait.deadline_us, id));
        }
        self.fetches.insert(id, wait);
    }

    /// Takes a waiting fetch out.
    pub(crate) fn remove_fetch(&mut self, id: WaitId) -> Option<FetchWait> {
        let wait = self.fetches.remove(&id)?;
        self.fetch_askers.remove(&wait.asker);
        self.fetch_deadlines.remove(&(wait.deadline_us, id));
        Some(wait)
    }

    /// The waiting fetch of an asker.
    pub(crate) fn fetch_of(&self, asker: Asker) -> Option<WaitId> {
        self.fetch_askers.get(&asker).copied()
    }

    /// A fetch whose time is over.
    pub(crate) fn expired_fetch(&self, now_us: u64) -> Option<WaitId> {
        let (deadline, id) = self.fetch_deadlines.first()?;
        (*deadline <= now_us).then_some(*id)
    }

    /// Appends whose time is over; looks only every [`APPEND_SWEEP_US`].
    pub(crate) fn expired_appends(&mut self, now_us: u64) -> Vec<WaitId> {
        if now_us < self.next_sweep_us {
            return Vec::new();
        }
        self.next_sweep_us = now_us + APPEND_SWEEP_US;
        self.appends.iter().filter(|(_, wait)| wait.deadline_us <= now_us).map(|(id, _)| *id).collect()
    }

    /// When to look again.
    pub(crate) fn next_timeout(&self) -> Option<u64> {
        let fetch = self.fetch_deadlines.first().map(|(deadline, _)| *deadline);
        let append = (!self.appends.is_empty()).then_some(self.next_sweep_us);
        fetch.into_iter().chain(append).min()
    }

    /// Number of waiting questions of all kinds.
    pub(crate) fn len(&self) -> usize {
        self.appends.len() + self.fetches.len() + self.lookups.len() + self.deletes.len()
    }
}
