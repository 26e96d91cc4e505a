//! Finds the coordinators of groups and asks them, also where a request is for many groups.

use net::{ErrorCode, Request, Response};
use storage::PartitionKey;

use crate::coordinator::{OFFSETS_TOPIC, partition_for, refusal};
use crate::effects::{Context, Effects};
use crate::ids::Address;
use crate::letter::{Answer, Ask};
use crate::shard::Shard;

/// Hands a request to the coordinator of its group, and its answer to the client.
pub(super) fn ask_coordinator(
    shard: &mut Shard,
    context: Context,
    group_id: &str,
    request: impl Into<Request>,
    effects: &mut Effects,
) {
    ask_coordinator_then(shard, context, group_id, request, effects, |response| response);
}

/// The same, with something to do to the answer.
pub(super) fn ask_coordinator_then(
    shard: &mut Shard,
    context: Context,
    group_id: &str,
    request: impl Into<Request>,
    effects: &mut Effects,
    then: impl FnOnce(Response) -> Response + 'static,
) {
    let requests = vec![(group_partition(shard, group_id), request.into())];
    ask_each(shard, context, requests, effects, |mut responses| {
        then(responses.pop().expect("one question has one answer"))
    });
}

/// Asks a coordinator for each request, and answers the client with what `merge` makes of the answers, which stand in
/// the order of the requests. A request without a partition has no coordinator, and is refused as Kafka does.
pub(super) fn ask_each(
    shard: &mut Shard,
    context: Context,
    requests: Vec<(Option<PartitionKey>, Request)>,
    effects: &mut Effects,
    merge: impl FnOnce(Vec<Response>) -> Response + 'static,
) {
    let mut responses: Vec<Option<Response>> = Vec::with_capacity(requests.len());
    let mut asks: Vec<(Address, Ask)> = Vec::with_capacity(requests.len());
    for (key, request) in requests {
        let Some(key) = key else {
            responses.push(Some(refusal(&request, context.version, ErrorCode::NotCoordinator)));
            continue;
        };
        responses.push(None);
        let ask = Ask::Group {
            partition: key.partition,
            client: context.client.clone(),
            version: context.version,
            request,
        };
        asks.push((shard.owner(&key), ask));
    }
    if asks.is_empty() {
        return effects.respond(&context, merge(responses.into_iter().flatten().collect()));
    }
    let finish = move |_: &mut Shard, _, answers: Vec<Answer>, effects: &mut Effects| {
        let mut answers = answers.into_iter().map(response);
        let mut next = || answers.next().expect("every question is answered");
        let responses = responses.into_iter().map(|known| known.unwrap_or_else(&mut next)).collect();
        effects.respond(&context, merge(responses));
    };
    shard.ask(asks, effects, Box::new(finish));
}

/// Puts groups together that have the same coordinator: for each its partition and the groups, in the order in which
/// they were named, with their places.
pub(super) fn by_coordinator<T>(
    shard: &Shard,
    groups: Vec<T>,
    group_id: impl Fn(&T) -> &str,
) -> Vec<(Option<PartitionKey>, Vec<usize>, Vec<T>)> {
    let mut coordinators: Vec<(Option<PartitionKey>, Vec<usize>, Vec<T>)> = Vec::new();
    for (place, group) in groups.into_iter().enumerate() {
        let key = group_partition(shard, group_id(&group));
        match coordinators.iter_mut().find(|(other, ..)| *other == key) {
            Some((_, places, groups)) => {
                places.push(place);
                groups.push(group);
            }
            None => coordinators.push((key, vec![place], vec![group])),
        }
    }
    coordinators
}

/// Puts the results of several coordinators back into the order in which the groups were named.
pub(super) fn in_order<R>(places: Vec<Vec<usize>>, results: impl IntoIterator<Item = Vec<R>>) -> Vec<R> {
    let mut all: Vec<(usize, R)> = Vec::new();
    for (places, results) in places.into_iter().zip(results) {
        assert_eq!(places.len(), results.len(), "a coordinator answers for every group");
        all.extend(places.into_iter().zip(results));
    }
    all.sort_by_key(|(place, _)| *place);
    all.into_iter().map(|(_, result)| result).collect()
}

/// The partition that keeps a group, if there are such partitions yet.
pub(super) fn group_partition(shard: &Shard, group_id: &str) -> Option<PartitionKey> {
    let topic = shard.image.topic(OFFSETS_TOPIC)?;
    let partition = partition_for(group_id, topic.partition_count() as i32);
    Some(PartitionKey { topic_id: topic.id, partition })
}

/// All partitions that keep groups.
pub(super) fn all_partitions(shard: &Shard) -> Vec<PartitionKey> {
    let Some(topic) = shard.image.topic(OFFSETS_TOPIC) else { return Vec::new() };
    (0..topic.partition_count() as i32)
        .map(|partition| PartitionKey { topic_id: topic.id, partition })
        .collect()
}

fn response(answer: Answer) -> Response {
    match answer {
        Answer::Response(response) => response,
        other => unreachable!("a coordinator answers with a response, not {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_several_coordinators_come_back_in_the_order_of_the_request() {
        let places = vec![vec![0, 3], vec![2], vec![1, 4]];
        assert_eq!(in_order(places, [vec!["a", "d"], vec!["c"], vec!["b", "e"]]), ["a", "b", "c", "d", "e"]);
        assert_eq!(in_order(Vec::new(), Vec::<Vec<&str>>::new()), Vec::<&str>::new());
    }
}
