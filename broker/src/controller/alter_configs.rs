//! AlterConfigs, versions 0–2, which replaces all configs of a resource, and IncrementalAlterConfigs, versions 0–1, which
//! changes some.

use std::collections::{BTreeMap, BTreeSet};

use net::ErrorCode;
use net::messages::{alter_configs, incremental_alter_configs};

use super::draft::{Draft, Refusal};
use crate::config::{self, Kind, Scope, broker_config, topic_config, validate_topic_configs};
use crate::metadata::record::{ConfigV1, RESOURCE_BROKER, RESOURCE_TOPIC};
use crate::metadata::{ConfigTarget, Configs, Record, check_topic_name};

/// What becomes of one config.
enum Operation {
    Set(String),
    Delete,
    Append(String),
    Subtract(String),
}

/// One resource of either request, in one form.
struct Alteration<'a> {
    resource_type: i8,
    resource_name: &'a str,
    /// Names and what becomes of them; none for an operation that does not exist.
    changes: Vec<(&'a str, Result<Operation, Refusal>)>,
    /// Configs that are not named go back to their defaults.
    replaces: bool,
}

/// One response for each resource of either request: the two have the same fields and are different types.
macro_rules! responses {
    ($api:ident, $refusals:expr, $resources:expr) => {
        $refusals
            .into_iter()
            .zip($resources)
            .map(|(refusal, resource)| $api::AlterConfigsResourceResponse {
                error_code: refusal.as_ref().map_or(ErrorCode::None, |refusal| refusal.code),
                error_message: refusal.map(|refusal| refusal.message),
                resource_type: resource.resource_type,
                resource_name: resource.resource_name.clone(),
            })
            .collect()
    };
}

/// Replaces the configs of each resource.
pub(super) fn replace(
    draft: &mut Draft<'_>,
    request: &alter_configs::AlterConfigsRequest,
) -> alter_configs::AlterConfigsResponse {
    let resources: Vec<Alteration<'_>> = request
        .resources
        .iter()
        .map(|resource| Alteration {
            resource_type: resource.resource_type,
            resource_name: &resource.resource_name,
            changes: resource
                .configs
                .iter()
                .map(|c| (c.name.as_str(), set(c.value.as_deref(), Operation::Set)))
                .collect(),
            replaces: true,
        })
        .collect();
    let responses = responses!(alter_configs, alter(draft, &resources), &request.resources);
    alter_configs::AlterConfigsResponse { responses, ..Default::default() }
}

/// Changes some configs of each resource.
pub(super) fn change(
    draft: &mut Draft<'_>,
    request: &incremental_alter_configs::IncrementalAlterConfigsRequest,
) -> incremental_alter_configs::IncrementalAlterConfigsResponse {
    let operation = |config: &incremental_alter_configs::AlterableConfig| match config.config_operation {
        0 => set(config.value.as_deref(), Operation::Set),
        1 => Ok(Operation::Delete),
        2 => set(config.value.as_deref(), Operation::Append),
        3 => set(config.value.as_deref(), Operation::Subtract),
        other => Err(Refusal::invalid_request(format!("Unknown operations type {other}"))),
    };
    let resources: Vec<Alteration<'_>> = request
        .resources
        .iter()
        .map(|resource| Alteration {
            resource_type: resource.resource_type,
            resource_name: &resource.resource_name,
            changes: resource.configs.iter().map(|c| (c.name.as_str(), operation(c))).collect(),
            replaces: false,
        })
        .collect();
    let refusals = alter(draft, &resources);
    let responses = responses!(incremental_alter_configs, refusals, &request.resources);
    incremental_alter_configs::IncrementalAlterConfigsResponse { responses, ..Default::default() }
}

/// An operation with a value. A missing one is reported with all others of its resource.
fn set(value: Option<&str>, operation: fn(String) -> Operation) -> Result<Operation, Refusal> {
    match value {
        Some(value) => Ok(operation(value.to_owned())),
        None => Err(Refusal::invalid_request("")),
    }
}

fn alter(draft: &mut Draft<'_>, resources: &[Alteration<'_>]) -> Vec<Option<Refusal>> {
    let mut times = BTreeMap::<(i8, &str), usize>::new();
    for resource in resources {
        *times.entry((resource.resource_type, resource.resource_name)).or_default() += 1;
    }
    resources
        .iter()
        .map(|resource| match times[&(resource.resource_type, resource.resource_name)] {
            1 => alter_one(draft, resource).err(),
            _ => Some(Refusal::invalid_request("Each resource must appear at most once.")),
        })
        .collect()
}

fn alter_one(draft: &mut Draft<'_>, resource: &Alteration<'_>) -> Result<(), Refusal> {
    let mut seen = BTreeSet::new();
    if !resource.changes.iter().all(|(name, _)| seen.insert(*name)) {
        return Err(Refusal::invalid_request("Error due to duplicate config keys"));
    }
    let is_missing = |change: &Result<Operation, Refusal>| matches!(change, Err(r) if r.message.is_empty());
    let missing: Vec<&str> =
        resource.changes.iter().filter(|(_, change)| is_missing(change)).map(|(name, _)| *name).collect();
    if !missing.is_empty() {
        return Err(Refusal::invalid_request(format!(
            "Null value not supported for : {}",
            missing.join(", ")
        )));
    }
    match resource.resource_type {
        RESOURCE_TOPIC => alter_topic(draft, resource),
        RESOURCE_BROKER => alter_broker(draft, resource),
        other => Err(Refusal::invalid_request(format!("Unknown resource type {other}"))),
    }
}

fn alter_topic(draft: &mut Draft<'_>, resource: &Alteration<'_>) -> Result<(), Refusal> {
    let name = resource.resource_name;
    let topic = draft.image.topic(name).cloned();
    let none = Configs::new();
    let current = topic.as_ref().map_or(&none, |topic| &topic.configs);
    let changes = outcome(resource, current, |name| {
        let def = topic_config(name).filter(|def| def.kind == Kind::List);
        def.map(|def| def.default.to_owned())
    })?;
    if name.is_empty() {
        return Err(Refusal::invalid_request("Default topic resources are not allowed."));
    }
    check_topic_name(name).map_err(|why| Refusal::new(ErrorCode::InvalidTopicException, why))?;
    let after = with_changes(current, &changes);
    validate_topic_configs(after.iter().map(|(name, value)| (name.as_str(), value.as_str())))
        .map_err(|why| Refusal::new(ErrorCode::InvalidConfig, why))?;
    let Some(topic) = topic else {
        let message = format!("The topic '{name}' does not exist.");
        return Err(Refusal::new(ErrorCode::UnknownTopicOrPartition, message));
    };
    push(draft, resource, name.to_owned(), topic.id.0, changes);
    Ok(())
}

fn alter_broker(draft: &mut Draft<'_>, resource: &Alteration<'_>) -> Result<(), Refusal> {
    let target = broker_target(draft, resource.resource_name)?;
    let current = draft.image.broker_configs(target).clone();
    let changes = outcome(resource, &current, |name| {
        let def = broker_config(name).filter(|def| def.kind == Kind::List);
        def.map(|def| def.default.unwrap_or_default().to_owned())
    })?;
    let after = with_changes(&current, &changes);
    let fixed: Vec<&str> = after
        .keys()
        .map(String::as_str)
        .filter(|name| broker_config(name).is_some_and(|def| def.scope != Scope::ClusterWide))
        .collect();
    if !fixed.is_empty() {
        let message = format!("Cannot update these configs dynamically: [{}]", fixed.join(", "));
        return Err(Refusal::invalid_request(message));
    }
    for (name, value) in &after {
        config::check_broker_config(name, value).map_err(Refusal::invalid_request)?;
    }
    let shown = match target {
        ConfigTarget::AllBrokers => String::new(),
        ConfigTarget::Broker(node) => node.to_string(),
    };
    push(draft, resource, shown, [0; 16], changes);
    Ok(())
}

fn broker_target(draft: &Draft<'_>, name: &str) -> Result<ConfigTarget, Refusal> {
    if name.is_empty() {
        return Ok(ConfigTarget::AllBrokers);
    }
    let Ok(shown) = name.parse() else {
        return Err(Refusal::invalid_request(format!("Node id must be an integer, but it is: {name}")));
    };
    match draft.node(shown) {
        Some(node) => Ok(ConfigTarget::Broker(node)),
        None => Err(Refusal::invalid_request(format!(
            "Unexpected broker id, expected {}, but received {name}",
            draft.config.node_id
        ))),
    }
}

/// New values, none for what goes back to its default. `list` gives the default of configs that are lists.
fn outcome(
    resource: &Alteration<'_>,
    current: &Configs,
    list: impl Fn(&str) -> Option<String>,
) -> Result<Vec<(String, Option<String>)>, Refusal> {
    let mut changes: Vec<(String, Option<String>)> = Vec::new();
    let elements = |name: &str, verb: &str| -> Result<Vec<String>, Refusal> {
        let Some(default) = list(name) else {
            let message = format!("Can't {verb} to key {name} because its type is not LIST.");
            return Err(Refusal::new(ErrorCode::InvalidConfig, message));
        };
        Ok(config::list(current.get(name).unwrap_or(&default)))
    };
    for (name, operation) in &resource.changes {
        let value = match operation {
            Err(refusal) => return Err(refusal.clone()),
            Ok(Operation::Set(value)) => Some(value.clone()),
            Ok(Operation::Delete) => None,
            Ok(Operation::Append(more)) => {
                let mut all = elements(name, "APPEND")?;
                for element in config::list(more) {
                    if !all.contains(&element) {
                        all.push(element);
                    }
                }
                Some(all.join(","))
            }
            Ok(Operation::Subtract(fewer)) => {
                let mut all = elements(name, "SUBTRACT")?;
                let fewer = config::list(fewer);
                all.retain(|element| !fewer.contains(element));
                Some(all.join(","))
            }
        };
        changes.push(((*name).to_owned(), value));
    }
    if resource.replaces {
        let named: BTreeSet<&str> = resource.changes.iter().map(|(name, _)| *name).collect();
        let others = current.keys().filter(|name| !named.contains(name.as_str()));
        changes.extend(others.map(|name| (name.clone(), None)));
    }
    changes.retain(|(name, value)| current.get(name) != value.as_ref());
    Ok(changes)
}

fn with_changes(current: &Configs, changes: &[(String, Option<String>)]) -> Configs {
    let mut after = current.clone();
    for (name, value) in changes {
        match value {
            Some(value) => after.insert(name.clone(), value.clone()),
            None => after.remove(name),
        };
    }
    after
}

fn push(
    draft: &mut Draft<'_>,
    resource: &Alteration<'_>,
    resource_name: String,
    topic_id: [u8; 16],
    changes: Vec<(String, Option<String>)>,
) {
    if changes.is_empty() {
        return;
    }
    let resource_type = resource.resource_type;
    draft.push(Record::Config(ConfigV1 { resource_type, resource_name, topic_id, changes }));
}
