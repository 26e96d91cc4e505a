//! Questions that wait for their answers: what to do when the last one is in.

use std::collections::BTreeMap;

use storage::Now;

use crate::effects::Effects;
use crate::ids::{Address, AskId};
use crate::letter::Answer;
use crate::limits::PENDING_MAX;

/// What to do with the answers, which stand in the order of the questions.
pub(crate) type Finish<S> = Box<dyn FnOnce(&mut S, Now, Vec<Answer>, &mut Effects)>;

/// The open questions of a shard `S`.
pub(crate) struct PendingTable<S> {
    gathers: BTreeMap<u64, Gather<S>>,
    asks: BTreeMap<AskId, Asked>,
    next: u64,
}

/// An open question: whom it went to, and its gather.
struct Asked {
    address: Address,
    gather: u64,
}

struct Gather<S> {
    answers: Vec<Option<Answer>>,
    missing: usize,
    finish: Finish<S>,
}

impl<S> PendingTable<S> {
    pub(crate) fn new() -> PendingTable<S> {
        PendingTable { gathers: BTreeMap::new(), asks: BTreeMap::new(), next: 1 }
    }

    /// Number of open questions.
    pub(crate) fn len(&self) -> usize {
        self.asks.len()
    }

    /// True if no more questions should be taken on.
    pub(crate) fn is_full(&self) -> bool {
        self.asks.len() >= PENDING_MAX
    }

    /// Opens a question to each of `addresses`, at least one, and returns their ids in the same order.
    pub(crate) fn open(&mut self, addresses: &[Address], finish: Finish<S>) -> Vec<AskId> {
        assert!(!addresses.is_empty(), "a gather waits for something");
        let gather = self.next;
        self.next += addresses.len() as u64;
        let ids: Vec<AskId> = (gather..self.next).map(AskId).collect();
        for (id, address) in ids.iter().zip(addresses) {
            self.asks.insert(*id, Asked { address: *address, gather });
        }
        let answers = vec![None; addresses.len()];
        self.gathers.insert(gather, Gather { missing: answers.len(), answers, finish });
        ids
    }

    /// Takes an answer in; when it was the last of its gather, returns what to do with all of them.
    pub(crate) fn answered(&mut self, id: AskId, answer: Answer) -> Option<(Finish<S>, Vec<Answer>)> {
        let asked = self.asks.remove(&id)?;
        let gather = self.gathers.get_mut(&asked.gather).expect("an open question has its gather");
        let place = (id.0 - asked.gather) as usize;
        assert!(gather.answers[place].is_none(), "a question is answered once");
        gather.answers[place] = Some(answer);
        gather.missing -= 1;
        if gather.missing > 0 {
            return None;
        }
        let gather = self.gathers.remove(&asked.gather).expect("just found");
        Some((gather.finish, gather.answers.into_iter().map(|a| a.expect("none is missing")).collect()))
    }

    /// The questions that are still open beside `id`, and whom they went to.
    pub(crate) fn siblings(&self, id: AskId) -> Vec<(Address, AskId)> {
        let Some(asked) = self.asks.get(&id) else { return Vec::new() };
        let count = self.gathers[&asked.gather].answers.len() as u64;
        (asked.gather..asked.gather + count)
            .map(AskId)
            .filter(|other| *other != id)
            .filter_map(|other| self.asks.get(&other).map(|asked| (asked.address, other)))
            .collect()
    }
}
