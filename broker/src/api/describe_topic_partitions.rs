//! DescribeTopicPartitions, version 0: topics page by page (KIP-966).

use net::messages::DescribeTopicPartitionsRequest;
use net::messages::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsResponse, DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponseTopic,
};
use net::{ErrorCode, Uuid};

use super::metadata::TOPIC_OPERATIONS;
use super::nodes;
use crate::effects::{Context, Effects};
use crate::metadata::{Topic, check_topic_name, is_internal_topic};
use crate::shard::Shard;

/// Answers from the image.
pub(super) fn handle(
    shard: &Shard,
    context: &Context,
    request: DescribeTopicPartitionsRequest,
    effects: &mut Effects,
) {
    let response = match &request.cursor {
        Some(cursor) if cursor.partition_index < 0 => DescribeTopicPartitionsResponse {
            topics: request.topics.into_iter().map(|topic| refused(topic.name)).collect(),
            ..Default::default()
        },
        _ => page(shard, context, request),
    };
    effects.respond(context, response.into());
}

fn page(
    shard: &Shard,
    context: &Context,
    request: DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let (from_topic, from_partition) = match request.cursor {
        Some(cursor) => (cursor.topic_name, cursor.partition_index),
        None => (String::new(), 0),
    };
    let mut names: Vec<String> = if request.topics.is_empty() {
        shard.image.topics_from(&from_topic).map(|topic| topic.name.to_string()).collect()
    } else {
        request.topics.into_iter().map(|topic| topic.name).filter(|name| *name >= from_topic).collect()
    };
    names.sort();
    names.dedup();
    let most = usize::try_from(shard.config.max_request_partition_size_limit).unwrap_or(1).max(1);
    let mut left = usize::try_from(request.response_partition_limit).unwrap_or(0).clamp(1, most);
    let mut response = DescribeTopicPartitionsResponse::default();
    for name in names {
        let first = if name == from_topic { from_partition } else { 0 };
        if left == 0 {
            response.next_cursor = Some(Cursor { topic_name: name, partition_index: 0 });
            break;
        }
        let Some(topic) = shard.image.topic(&name) else {
            response.topics.push(absent(name));
            continue;
        };
        let described = present(shard, context, topic, first, left);
        left -= described.partitions.len();
        let next = first + described.partitions.len() as i32;
        response.topics.push(described);
        if (next as usize) < topic.partition_count() {
            response.next_cursor = Some(Cursor { topic_name: name, partition_index: next });
            break;
        }
    }
    response
}

fn absent(name: String) -> DescribeTopicPartitionsResponseTopic {
    let error_code = match check_topic_name(&name) {
        Ok(()) => ErrorCode::UnknownTopicOrPartition,
        Err(_) => ErrorCode::InvalidTopicException,
    };
    DescribeTopicPartitionsResponseTopic {
        error_code,
        is_internal: is_internal_topic(&name),
        name: Some(name),
        topic_authorized_operations: TOPIC_OPERATIONS,
        ..Default::default()
    }
}

/// The answer for each topic of a request whose cursor points nowhere.
fn refused(name: String) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode::InvalidRequest,
        name: Some(name),
        ..Default::default()
    }
}

fn present(
    shard: &Shard,
    context: &Context,
    topic: &Topic,
    first: i32,
    count: usize,
) -> DescribeTopicPartitionsResponseTopic {
    let numbered = (0..).zip(topic.partitions()).skip(usize::try_from(first).unwrap_or(0)).take(count);
    let partitions = numbered.map(|(partition_index, partition)| {
        let placed = nodes::placed(&shard.image, context, topic.id, partition_index, partition);
        DescribeTopicPartitionsResponsePartition {
            error_code: ErrorCode::None,
            partition_index,
            leader_id: placed.leader,
            leader_epoch: partition.leader_epoch,
            replica_nodes: placed.replicas,
            isr_nodes: placed.isr,
            eligible_leader_replicas: Some(partition.elr().map(|node| node.0).collect()),
            last_known_elr: Some(Vec::new()),
            offline_replicas: Vec::new(),
        }
    });
    DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode::None,
        name: Some(topic.name.to_string()),
        topic_id: Uuid(topic.id.0),
        is_internal: topic.is_internal(),
        partitions: partitions.collect(),
        topic_authorized_operations: TOPIC_OPERATIONS,
    }
}
