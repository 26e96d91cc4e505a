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

#[cfg(test)]
mod tests {
    use net::ErrorCode;

    use super::*;
    use crate::ids::ShardId;

    fn watermark(offset: i64) -> Answer {
        Answer::LowWatermarks(vec![(ErrorCode::None, offset)])
    }

    #[test]
    fn the_last_answer_finishes_with_all_in_the_order_of_the_questions() {
        let mut pending: PendingTable<Vec<i64>> = PendingTable::new();
        let shards = [Address::Shard(ShardId(0)), Address::Shard(ShardId(1)), Address::Control];
        let ids = pending.open(
            &shards,
            Box::new(|seen, _, answers, _| {
                for answer in answers {
                    let Answer::LowWatermarks(parts) = answer else { panic!("not what was answered") };
                    seen.push(parts[0].1);
                }
            }),
        );
        assert!(pending.answered(ids[2], watermark(30)).is_none());
        assert_eq!(pending.siblings(ids[0]), [(shards[1], ids[1])], "only who has not answered");
        assert!(pending.answered(ids[0], watermark(10)).is_none());
        let (finish, answers) = pending.answered(ids[1], watermark(20)).expect("it was the last");
        let mut seen = Vec::new();
        finish(&mut seen, Now { monotonic_us: 0, wall_ms: 0 }, answers, &mut Effects::default());
        assert_eq!(seen, [10, 20, 30]);
        assert_eq!(pending.len(), 0);
        assert!(pending.answered(ids[0], watermark(10)).is_none(), "an answer too many is nobody's");
    }
}
