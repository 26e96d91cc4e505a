//! DescribeConfigs, versions 1–4: all configs of topics, brokers and groups, with where each value comes from.

use net::ErrorCode;
use net::messages::DescribeConfigsRequest;
use net::messages::describe_configs::{
    DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse, DescribeConfigsResult,
    DescribeConfigsSynonym,
};

use super::nodes;
use crate::config::{BrokerConfig, Described};
use crate::effects::{Context, Effects};
use crate::metadata::record::{RESOURCE_BROKER, RESOURCE_TOPIC};
use crate::metadata::{ConfigTarget, check_topic_name};
use crate::shard::Shard;

/// Answers from the image and this broker's own config.
pub(super) fn handle(
    shard: &Shard,
    context: &Context,
    request: DescribeConfigsRequest,
    effects: &mut Effects,
) {
    let (synonyms, docs) = (request.include_synonyms, request.include_documentation);
    let results = request.resources.into_iter().map(|resource| {
        let described = describe(shard, context, &resource);
        result(resource, described, synonyms, docs)
    });
    let response = DescribeConfigsResponse { results: results.collect(), ..Default::default() };
    effects.respond(context, response.into());
}

type Refusal = (ErrorCode, String);

fn describe(
    shard: &Shard,
    context: &Context,
    resource: &DescribeConfigsResource,
) -> Result<Vec<Described>, Refusal> {
    match resource.resource_type {
        RESOURCE_TOPIC => describe_topic(shard, &resource.resource_name),
        RESOURCE_BROKER => describe_broker(shard, context, &resource.resource_name),
        other => Err((
            ErrorCode::InvalidRequest,
            format!(
                "Unsupported resource type: this broker has configs of topics and brokers, not of type {other}"
            ),
        )),
    }
}

fn describe_topic(shard: &Shard, name: &str) -> Result<Vec<Described>, Refusal> {
    check_topic_name(name).map_err(|why| (ErrorCode::InvalidTopicException, why))?;
    let topic = shard.image.topic(name).ok_or((ErrorCode::UnknownTopicOrPartition, String::new()))?;
    Ok(shard.config.describe_topic(&topic.configs))
}

fn describe_broker(shard: &Shard, context: &Context, name: &str) -> Result<Vec<Described>, Refusal> {
    if name.is_empty() {
        let configs = shard.image.broker_configs(ConfigTarget::AllBrokers);
        return Ok(BrokerConfig::describe_all_brokers(configs));
    }
    let own = shard.config.node_id;
    let Ok(named) = name.parse::<i32>() else {
        return Err((ErrorCode::InvalidRequest, format!("Broker id must be an integer, but it is: {name}")));
    };
    let is_own =
        named == own.0 || nodes::nodes(&shard.image, context.listener).iter().any(|node| named == node.id);
    if !is_own {
        let why = format!("Unexpected broker id, expected {own} or empty string, but received {name}");
        return Err((ErrorCode::InvalidRequest, why));
    }
    Ok(shard.config.describe_broker())
}

fn result(
    resource: DescribeConfigsResource,
    described: Result<Vec<Described>, Refusal>,
    synonyms: bool,
    docs: bool,
) -> DescribeConfigsResult {
    let (error_code, error_message) = match &described {
        Ok(_) => (ErrorCode::None, String::new()),
        Err((code, message)) => (*code, message.clone()),
    };
    // Kafka takes no names for all names.
    let wanted = resource.configuration_keys.filter(|keys| !keys.is_empty());
    let is_wanted = |name: &str| wanted.as_ref().is_none_or(|keys| keys.iter().any(|key| key == name));
    let configs = described
        .unwrap_or_default()
        .into_iter()
        .filter(|config| is_wanted(&config.name))
        .map(|config| config_result(config, synonyms, docs));
    DescribeConfigsResult {
        error_code,
        error_message: Some(error_message),
        resource_type: resource.resource_type,
        resource_name: resource.resource_name,
        configs: configs.collect(),
    }
}

fn config_result(config: Described, synonyms: bool, docs: bool) -> DescribeConfigsResourceResult {
    let shown = if synonyms { config.synonyms } else { Vec::new() };
    let synonyms = shown.into_iter().map(|synonym| DescribeConfigsSynonym {
        name: synonym.name,
        value: synonym.value,
        source: synonym.source as i8,
    });
    DescribeConfigsResourceResult {
        name: config.name,
        value: config.value,
        read_only: config.read_only,
        config_source: config.source as i8,
        is_sensitive: config.sensitive,
        synonyms: synonyms.collect(),
        config_type: config.kind as i8,
        documentation: config.doc.filter(|_| docs).map(str::to_owned),
    }
}
