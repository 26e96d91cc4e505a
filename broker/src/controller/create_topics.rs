//! CreateTopics: versions 2–7; and topics that come to be because someone named them.

use std::collections::BTreeSet;

use net::messages::create_topics::{
    CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};
use net::{ErrorCode, Uuid};

use super::collisions::Collisions;
use super::draft::{Draft, PARTITIONS_PER_REQUEST_MAX, Refusal};
use crate::config::validate_topic_configs;
use crate::metadata::names::CLUSTER_METADATA_TOPIC;
use crate::metadata::record::{PartitionV1, TopicCreateV1};
use crate::metadata::{Configs, Record, check_topic_name, is_internal_topic};

/// Creates what can be created, a result for each name.
pub(super) fn create(
    draft: &mut Draft<'_>,
    collisions: &Collisions,
    request: &CreateTopicsRequest,
) -> CreateTopicsResponse {
    let mut seen = BTreeSet::new();
    let twice: BTreeSet<&str> =
        request.topics.iter().map(|t| t.name.as_str()).filter(|name| !seen.insert(*name)).collect();
    let asked: usize = request.topics.iter().map(|topic| partitions_asked(draft, topic)).sum();
    let mut topics = Vec::new();
    for topic in request.topics.iter().filter(|topic| !twice.contains(topic.name.as_str())) {
        let result = match asked {
            _ if topic.name == CLUSTER_METADATA_TOPIC => Err(Refusal::invalid_request(format!(
                "Creation of internal topic {CLUSTER_METADATA_TOPIC} is prohibited."
            ))),
            too_many if too_many > PARTITIONS_PER_REQUEST_MAX => Err(Refusal::too_many_partitions()),
            _ => create_one(draft, collisions, topic),
        };
        topics
            .push(result.unwrap_or_else(|refusal| refused(&topic.name, refusal.code, Some(refusal.message))));
    }
    for name in twice {
        topics.push(refused(name, ErrorCode::InvalidRequest, Some("Duplicate topic name.".to_owned())));
    }
    CreateTopicsResponse { topics, ..CreateTopicsResponse::default() }
}

/// The answer when time was up before the change was everywhere.
pub(super) fn timed_out(request: &CreateTopicsRequest) -> CreateTopicsResponse {
    let names: BTreeSet<&str> = request.topics.iter().map(|t| t.name.as_str()).collect();
    let late = |name: &str| refused(name, ErrorCode::RequestTimedOut, None);
    CreateTopicsResponse { topics: names.into_iter().map(late).collect(), ..CreateTopicsResponse::default() }
}

/// Creates a topic that a client or a coordinator has named, with the defaults for it.
pub(super) fn create_named(
    draft: &mut Draft<'_>,
    collisions: &Collisions,
    name: &str,
) -> Result<(), Refusal> {
    if draft.image.topic(name).is_some() {
        return Ok(());
    }
    check_name(collisions, name)?;
    let (partitions, factor) = if is_internal_topic(name) {
        let brokers = i16::try_from(draft.image.brokers().count()).unwrap_or(i16::MAX);
        (
            draft.config.offsets_topic_num_partitions,
            draft.config.offsets_topic_replication_factor.min(brokers),
        )
    } else {
        (draft.config.num_partitions, draft.config.default_replication_factor)
    };
    let partitions = usize::try_from(partitions).unwrap_or(0);
    draft.count_partitions(partitions)?;
    let partitions = draft.place(0, partitions, factor)?;
    let configs = draft.config.internal_topic_configs(name);
    push(draft, name, partitions, configs);
    Ok(())
}

fn create_one(
    draft: &mut Draft<'_>,
    collisions: &Collisions,
    topic: &CreatableTopic,
) -> Result<CreatableTopicResult, Refusal> {
    if draft.image.topic(&topic.name).is_some() {
        let message = format!("Topic '{}' already exists.", topic.name);
        return Err(Refusal::new(ErrorCode::TopicAlreadyExists, message));
    }
    check_name(collisions, &topic.name)?;
    let configs = configs(topic)?;
    let partitions =
        if topic.assignments.is_empty() { by_numbers(draft, topic) } else { by_hand(draft, topic) }?;
    let (count, factor) = (partitions.len(), partitions[0].replicas.len());
    let mut shown = draft.config.describe_topic(&configs);
    shown.sort_by(|a, b| a.name.cmp(&b.name));
    let shown = shown.into_iter().map(|config| CreatableTopicConfigs {
        name: config.name,
        value: config.value,
        read_only: config.read_only,
        config_source: config.source as i8,
        is_sensitive: config.sensitive,
    });
    let topic_id = push(draft, &topic.name, partitions, configs);
    Ok(CreatableTopicResult {
        name: topic.name.clone(),
        topic_id,
        num_partitions: i32::try_from(count).expect("a request is bounded"),
        replication_factor: i16::try_from(factor).expect("replicas are bounded"),
        configs: Some(shown.collect()),
        ..CreatableTopicResult::default()
    })
}

fn push(draft: &mut Draft<'_>, name: &str, partitions: Vec<PartitionV1>, configs: Configs) -> Uuid {
    let mut topic_id = draft.random.topic_id();
    while draft.image.topic_by_id(topic_id).is_some() {
        topic_id = draft.random.topic_id();
    }
    draft.push(Record::TopicCreate(TopicCreateV1 {
        topic_id: topic_id.0,
        name: name.to_owned(),
        partitions,
        configs: configs.into_iter().collect(),
    }));
    Uuid(topic_id.0)
}

fn check_name(collisions: &Collisions, name: &str) -> Result<(), Refusal> {
    let invalid = |message| Refusal::new(ErrorCode::InvalidTopicException, message);
    check_topic_name(name).map_err(invalid)?;
    match collisions.find(name) {
        Some(other) => Err(invalid(format!("Topic '{name}' collides with existing topic: {other}"))),
        None => Ok(()),
    }
}

fn configs(topic: &CreatableTopic) -> Result<Configs, Refusal> {
    let invalid = |message| Refusal::new(ErrorCode::InvalidConfig, message);
    let without_value: Vec<&str> =
        topic.configs.iter().filter(|c| c.value.is_none()).map(|c| c.name.as_str()).collect();
    if !without_value.is_empty() {
        let message = format!("Null value not supported for topic configs: {}", without_value.join(","));
        return Err(invalid(message));
    }
    let given = topic.configs.iter().filter_map(|c| Some((c.name.as_str(), c.value.as_deref()?)));
    validate_topic_configs(given.clone()).map_err(invalid)?;
    Ok(given.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

fn partitions_asked(draft: &Draft<'_>, topic: &CreatableTopic) -> usize {
    match topic.assignments.len() {
        0 if topic.num_partitions == -1 => usize::try_from(draft.config.num_partitions).unwrap_or(0),
        0 => usize::try_from(topic.num_partitions).unwrap_or(0),
        assigned => assigned,
    }
}

fn by_numbers(draft: &mut Draft<'_>, topic: &CreatableTopic) -> Result<Vec<PartitionV1>, Refusal> {
    if topic.replication_factor < -1 || topic.replication_factor == 0 {
        return Err(Refusal::new(
            ErrorCode::InvalidReplicationFactor,
            "Replication factor must be larger than 0, or -1 to use the default value.",
        ));
    }
    if topic.num_partitions < -1 || topic.num_partitions == 0 {
        return Err(Refusal::new(
            ErrorCode::InvalidPartitions,
            "Number of partitions was set to an invalid non-positive value.",
        ));
    }
    let factor = match topic.replication_factor {
        -1 => draft.config.default_replication_factor,
        factor => factor,
    };
    let count = partitions_asked(draft, topic);
    draft.place(0, count, factor)
}

fn by_hand(draft: &Draft<'_>, topic: &CreatableTopic) -> Result<Vec<PartitionV1>, Refusal> {
    if topic.replication_factor != -1 {
        return Err(Refusal::invalid_request(
            "A manual partition assignment was specified, but replication factor was not set to -1.",
        ));
    }
    if topic.num_partitions != -1 {
        return Err(Refusal::invalid_request(
            "A manual partition assignment was specified, but numPartitions was not set to -1.",
        ));
    }
    let refuse = |message: String| Refusal::new(ErrorCode::InvalidReplicaAssignment, message);
    let mut placed: Vec<Option<PartitionV1>> = vec![None; topic.assignments.len()];
    let mut seen = BTreeSet::new();
    let mut factor = None;
    for assignment in &topic.assignments {
        let number = assignment.partition_index;
        if !seen.insert(number) {
            return Err(refuse(format!(
                "Found multiple manual partition assignments for partition {number}"
            )));
        }
        let partition = draft.placed_by_hand(&assignment.broker_ids)?;
        let replicas = partition.replicas.len();
        let expected = *factor.get_or_insert(replicas);
        if replicas != expected {
            return Err(refuse(uneven(replicas, expected)));
        }
        if let Some(place) = usize::try_from(number).ok().and_then(|number| placed.get_mut(number)) {
            *place = Some(partition);
        }
    }
    let all: Option<Vec<PartitionV1>> = placed.into_iter().collect();
    all.ok_or_else(|| refuse("partitions should be a consecutive 0-based integer sequence".to_owned()))
}

/// What Kafka says when a partition has another number of replicas than the rest.
pub(super) fn uneven(replicas: usize, expected: usize) -> String {
    format!(
        "The manual partition assignment includes a partition with {replicas} replica(s), but this is not consistent \
         with previous partitions, which have {expected} replica(s)."
    )
}

fn refused(name: &str, code: ErrorCode, message: Option<String>) -> CreatableTopicResult {
    CreatableTopicResult {
        name: name.to_owned(),
        error_code: code,
        error_message: message,
        configs: Some(Vec::new()),
        ..CreatableTopicResult::default()
    }
}
