//! Metadata, versions 0–12: brokers, topics, partitions and their leaders; creates named topics that are missing.

use std::collections::BTreeSet;

use net::messages::MetadataRequest;
use net::messages::metadata::{
    MetadataRequestTopic, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic,
};
use net::{ErrorCode, Uuid};
use storage::TopicId;

use super::describe_cluster::CLUSTER_OPERATIONS;
use super::nodes;

use crate::effects::{Context, Effects};
use crate::ids::Address;
use crate::letter::{Answer, Ask};
use crate::metadata::{Topic, check_topic_name, is_internal_topic};
use crate::shard::Shard;

/// First version in which a null list means all topics; before, an empty one does.
const VERSION_NULL_IS_ALL: i16 = 1;

/// First version in which topics are asked for by their ids.
const VERSION_TOPIC_IDS: i16 = 12;

/// Topic operations that a client without an authorizer may do, as Kafka's bit field.
pub(super) const TOPIC_OPERATIONS: i32 = 0xdf8;

/// Answers from the image, after the controller has created what may be created.
pub(super) fn handle(shard: &mut Shard, context: Context, request: MetadataRequest, effects: &mut Effects) {
    let missing = missing(shard, &request);
    if missing.is_empty() {
        let response = response(shard, &context, &request, &[]);
        return effects.respond(&context, response.into());
    }
    let finish = move |shard: &mut Shard, _, mut answers: Vec<Answer>, effects: &mut Effects| {
        let Some(Answer::Created(created)) = answers.pop() else {
            unreachable!("an AutoCreate is answered by what was created")
        };
        let response = response(shard, &context, &request, &created);
        effects.respond(&context, response.into());
    };
    shard.ask(vec![(Address::Control, Ask::AutoCreate(missing))], effects, Box::new(finish));
}

/// Names of topics to create first.
fn missing(shard: &Shard, request: &MetadataRequest) -> Vec<String> {
    if !request.allow_auto_topic_creation || !shard.config.auto_create_topics_enable {
        return Vec::new();
    }
    let topics = request.topics.as_deref().unwrap_or_default();
    if topics.iter().any(is_by_id) {
        return Vec::new();
    }
    let names = wanted(topics).into_iter().filter_map(|topic| topic.name.as_ref());
    names
        .filter(|name| shard.image.topic(name).is_none() && check_topic_name(name).is_ok())
        .cloned()
        .collect()
}

fn response(
    shard: &Shard,
    context: &Context,
    request: &MetadataRequest,
    created: &[(String, ErrorCode)],
) -> MetadataResponse {
    let brokers = nodes::nodes(&shard.image, context.listener).into_iter().map(|node| {
        MetadataResponseBroker { node_id: node.id, host: node.host, port: node.port, rack: node.rack }
    });
    let mut topics: Vec<MetadataResponseTopic> = match &request.topics {
        None => shard.image.topics().map(|topic| present(shard, context, topic)).collect(),
        Some(named) if named.is_empty() && context.version < VERSION_NULL_IS_ALL => {
            shard.image.topics().map(|topic| present(shard, context, topic)).collect()
        }
        Some(named) if context.version < VERSION_TOPIC_IDS && named.iter().any(is_by_id) => named
            .iter()
            .map(|wanted| {
                absent(Some(wanted.name.clone().unwrap_or_default()), Uuid::ZERO, ErrorCode::InvalidRequest)
            })
            .collect(),
        Some(named) => {
            wanted(named).into_iter().map(|wanted| named_topic(shard, context, wanted, created)).collect()
        }
    };
    if request.include_topic_authorized_operations {
        for topic in topics.iter_mut().filter(|topic| topic.name.is_some()) {
            topic.topic_authorized_operations = TOPIC_OPERATIONS;
        }
    }
    let cluster_authorized_operations =
        if request.include_cluster_authorized_operations { CLUSTER_OPERATIONS } else { i32::MIN };
    MetadataResponse {
        brokers: brokers.collect(),
        cluster_id: Some(shard.image.cluster_id().to_owned()),
        controller_id: nodes::controller(&shard.image, context.listener),
        topics,
        cluster_authorized_operations,
        ..MetadataResponse::default()
    }
}

fn is_by_id(wanted: &MetadataRequestTopic) -> bool {
    wanted.name.is_none() || wanted.topic_id != Uuid::ZERO
}

/// What is asked for, each once. As in Kafka names do not count where ids are given, nor does an id that is none.
fn wanted(named: &[MetadataRequestTopic]) -> Vec<&MetadataRequestTopic> {
    let by_id = named.iter().any(|wanted| wanted.topic_id != Uuid::ZERO);
    let mut seen = BTreeSet::new();
    named
        .iter()
        .filter(|wanted| if by_id { wanted.topic_id != Uuid::ZERO } else { wanted.name.is_some() })
        .filter(|wanted| seen.insert((wanted.name.as_deref().filter(|_| !by_id), wanted.topic_id)))
        .collect()
}

fn named_topic(
    shard: &Shard,
    context: &Context,
    wanted: &MetadataRequestTopic,
    created: &[(String, ErrorCode)],
) -> MetadataResponseTopic {
    let Some(name) = wanted.name.as_ref().filter(|_| wanted.topic_id == Uuid::ZERO) else {
        return match shard.image.topic_by_id(TopicId(wanted.topic_id.0)) {
            Some(topic) => present(shard, context, topic),
            None => absent(None, wanted.topic_id, ErrorCode::UnknownTopicId),
        };
    };
    if let Some(topic) = shard.image.topic(name) {
        return present(shard, context, topic);
    }
    let refused = created.iter().find(|(other, _)| other == name).map(|(_, error)| *error);
    let error = match refused {
        Some(error) if error != ErrorCode::None => error,
        _ if check_topic_name(name).is_err() => ErrorCode::InvalidTopicException,
        _ => ErrorCode::UnknownTopicOrPartition,
    };
    absent(Some(name.clone()), Uuid::ZERO, error)
}

fn absent(name: Option<String>, topic_id: Uuid, error_code: ErrorCode) -> MetadataResponseTopic {
    let is_internal = name.as_deref().is_some_and(is_internal_topic);
    MetadataResponseTopic { error_code, name, topic_id, is_internal, ..MetadataResponseTopic::default() }
}

fn present(shard: &Shard, context: &Context, topic: &Topic) -> MetadataResponseTopic {
    let partitions = (0..).zip(topic.partitions()).map(|(partition_index, partition)| {
        let placed = nodes::placed(&shard.image, context, topic.id, partition_index, partition);
        MetadataResponsePartition {
            error_code: ErrorCode::None,
            partition_index,
            leader_id: placed.leader,
            leader_epoch: partition.leader_epoch,
            replica_nodes: placed.replicas,
            isr_nodes: placed.isr,
            offline_replicas: Vec::new(),
        }
    });
    MetadataResponseTopic {
        error_code: ErrorCode::None,
        name: Some(topic.name.to_string()),
        topic_id: Uuid(topic.id.0),
        is_internal: topic.is_internal(),
        partitions: partitions.collect(),
        ..MetadataResponseTopic::default()
    }
}
