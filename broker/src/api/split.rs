//! Splits a request over the shards that own its partitions, and puts the results back in the request's order.

use storage::{Now, PartitionKey};

use crate::effects::Effects;
use crate::ids::Address;
use crate::letter::{Answer, Ask};
use crate::shard::Shard;

/// One partition of a request: a part for its owner, or its result if that is known at once.
pub(super) enum Part<P, R> {
    /// To be asked of the owner of the partition.
    Ask(PartitionKey, P),
    /// Known already.
    Known(R),
}

/// The topics of a request and the partitions that it names of each; its response has the same form.
pub(super) type Layout = Vec<(String, Vec<i32>)>;

/// Puts the results of all partitions, which stand in the order of the layout, back under their topics.
pub(super) fn by_topic<R, P, T>(
    layout: Layout,
    results: Vec<R>,
    partition: impl Fn(i32, R) -> P,
    topic: impl Fn(String, Vec<P>) -> T,
) -> Vec<T> {
    let mut results = results.into_iter();
    let under = |(name, indexes): (String, Vec<i32>)| {
        let partitions =
            indexes.into_iter().zip(&mut results).map(|(index, result)| partition(index, result));
        topic(name, partitions.collect())
    };
    layout.into_iter().map(under).collect()
}

/// Asks the owner of every part, and carries on with all results in the order of `parts`.
///
/// `question` makes the question for one shard; `results` takes its answer apart, which has one result per part.
pub(super) fn ask_owners<P, R: 'static>(
    shard: &mut Shard,
    now: Now,
    parts: Vec<Part<P, R>>,
    effects: &mut Effects,
    question: impl Fn(Vec<P>) -> Ask,
    results: fn(Answer) -> Vec<R>,
    finish: impl FnOnce(&mut Shard, Now, Vec<R>, &mut Effects) + 'static,
) {
    let mut known: Vec<Option<R>> = Vec::with_capacity(parts.len());
    let mut owners: Vec<(Address, Vec<usize>, Vec<P>)> = Vec::new();
    for (place, part) in parts.into_iter().enumerate() {
        match part {
            Part::Known(result) => known.push(Some(result)),
            Part::Ask(key, part) => {
                known.push(None);
                let owner = shard.owner(&key);
                match owners.iter_mut().find(|(address, ..)| *address == owner) {
                    Some((_, places, parts)) => {
                        places.push(place);
                        parts.push(part);
                    }
                    None => owners.push((owner, vec![place], vec![part])),
                }
            }
        }
    }
    if owners.is_empty() {
        return finish(shard, now, known.into_iter().flatten().collect(), effects);
    }
    let mut asks = Vec::with_capacity(owners.len());
    let mut places = Vec::with_capacity(owners.len());
    for (address, at, parts) in owners {
        asks.push((address, question(parts)));
        places.push(at);
    }
    let merge = move |shard: &mut Shard, now: Now, answers: Vec<Answer>, effects: &mut Effects| {
        for (answer, places) in answers.into_iter().zip(places) {
            let results = results(answer);
            assert_eq!(results.len(), places.len(), "an owner answers every part");
            for (place, result) in places.into_iter().zip(results) {
                known[place] = Some(result);
            }
        }
        let all = known.into_iter().map(|result| result.expect("each part is known or was asked")).collect();
        finish(shard, now, all, effects);
    };
    shard.ask(asks, effects, Box::new(merge));
}
