//! Questions that wait for their answers: what to do when the last one is in.

use std::collections::BTreeMap;

use storage::Now;

use crate::effects::Effects;
use crate::ids::AskId;
use crate::letter::Answer;
use crate::limits::PENDING_MAX;

/// What to do with the answers, which stand in the order of the questions.
pub(crate) type Finish<S> = Box<dyn FnOnce(&mut S, Now, Vec<Answer>, &mut Effects)>;

/// The open questions of a shard `S`.
pub(crate) struct PendingTable<S> {
    gathers: BTreeMap<u64, Gather<S>>,
    /// The gather and the place in it of each open question.
    asks: BTreeMap<AskId, (u64, usize)>,
    next: u64,
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

    /// Opens `count` questions, at least one, and returns their ids, which are consecutive.
    pub(crate) fn open(&mut self, count: usize, finish: Finish<S>) -> Vec<AskId> {
        assert!(count > 0, "a gather waits for something");
        let gather = self.next;
        let ids: Vec<AskId> = (0..count as u64).map(|place| AskId(gather + place)).collect();
        self.next += count as u64;
        for (place, id) in ids.iter().enumerate() {
            self.asks.insert(*id, (gather, place));
        }
        self.gathers.insert(gather, Gather { answers: vec![None; count], missing: count, finish });
        ids
    }

    /// Takes an answer in; when it was the last of its gather, returns what to do with all of them.
    pub(crate) fn answered(&mut self, id: AskId, answer: Answer) -> Option<(Finish<S>, Vec<Answer>)> {
        let (key, place) = self.asks.remove(&id)?;
        let gather = self.gathers.get_mut(&key).expect("an open question has its gather");
        assert!(gather.answers[place].is_none(), "a question is answered once");
        gather.answers[place] = Some(answer);
        gather.missing -= 1;
        if gather.missing > 0 {
            return None;
        }
        let gather = self.gathers.remove(&key).expect("just found");
        Some((gather.finish, gather.answers.into_iter().map(|a| a.expect("none is missing")).collect()))
    }

    /// The answers that are in so far beside `id`, and the questions that are still open there.
    pub(crate) fn siblings(&self, id: AskId) -> Option<(impl Iterator<Item = &Answer>, Vec<AskId>)> {
        let (key, _) = self.asks.get(&id)?;
        let gather = &self.gathers[key];
        let open = (0..gather.answers.len())
            .filter(|place| gather.answers[*place].is_none())
            .map(|place| AskId(key + place as u64))
            .filter(|open| *open != id)
            .collect();
        Some((gather.answers.iter().flatten(), open))
    }
}
