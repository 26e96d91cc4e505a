//! DescribeProducers, version 0: the producers that partitions remember (KIP-664).

use net::messages::describe_producers::{
    DescribeProducersRequest, DescribeProducersResponse, PartitionResponse, ProducerState, TopicResponse,
};
use net::{ErrorCode, Response};
use storage::{Now, PartitionKey};

use super::split::{Layout, Part, ask_owners, by_topic};
use crate::effects::{Context, Effects};
use crate::letter::{ActiveProducer, Answer, Ask};
use crate::shard::Shard;

pub(crate) type Described = Result<Vec<ActiveProducer>, ErrorCode>;

/// Splits a request by owner.
pub(super) fn handle(
    shard: &mut Shard,
    now: Now,
    context: Context,
    request: DescribeProducersRequest,
    effects: &mut Effects,
) {
    let mut layout = Vec::with_capacity(request.topics.len());
    let mut parts = Vec::new();
    for topic in request.topics {
        for index in &topic.partition_indexes {
            parts.push(match shard.resolve(&topic.name, *index) {
                None => Part::Known(Err(ErrorCode::UnknownTopicOrPartition)),
                Some(key) => Part::Ask(key, key),
            });
        }
        layout.push((topic.name, topic.partition_indexes));
    }
    ask_owners(
        shard,
        now,
        parts,
        effects,
        Ask::DescribeProducers,
        producers,
        move |_, _, results, effects| {
            effects.respond(&context, Response::DescribeProducers(response(layout, results)));
        },
    );
}

fn producers(answer: Answer) -> Vec<Described> {
    match answer {
        Answer::Producers(producers) => producers,
        other => unreachable!("a question for producers is answered by them, not {other:?}"),
    }
}

fn response(layout: Layout, results: Vec<Described>) -> DescribeProducersResponse {
    let topic = |name, partitions| TopicResponse { name, partitions };
    DescribeProducersResponse {
        topics: by_topic(layout, results, partition_response, topic),
        ..Default::default()
    }
}

fn partition_response(partition_index: i32, described: Described) -> PartitionResponse {
    let error_message = match &described {
        Err(ErrorCode::UnknownTopicOrPartition) => Some("There is no such partition.".to_owned()),
        _ => None,
    };
    let error_code = described.as_ref().err().copied().unwrap_or(ErrorCode::None);
    let active_producers = described.unwrap_or_default().into_iter().map(|producer| ProducerState {
        producer_id: producer.producer_id,
        producer_epoch: producer.producer_epoch,
        last_sequence: producer.last_sequence,
        last_timestamp: producer.last_timestamp,
        // No transaction has ended here.
        coordinator_epoch: -1,
        current_txn_start_offset: producer.current_txn_start_offset,
    });
    PartitionResponse {
        partition_index,
        error_code,
        error_message,
        active_producers: active_producers.collect(),
    }
}

/// Lists the producers on the owner.
pub(crate) fn describe(shard: &Shard, keys: &[PartitionKey]) -> Vec<Described> {
    keys.iter()
        .map(|key| {
            let slot = shard.led(key, -1)?.slot;
            let producers = shard.store.producer_states(slot).map(|producer| ActiveProducer {
                producer_id: producer.producer_id.0,
                producer_epoch: i32::from(producer.epoch),
                last_sequence: producer.last_sequence,
                last_timestamp: producer.last_timestamp_ms,
                current_txn_start_offset: -1,
            });
            Ok(producers.collect())
        })
        .collect()
}
