//! Configs: Kafka's names, types, defaults and refusals.
//!
//! A broker's config has three levels, the strongest first: dynamic for this broker, dynamic for all brokers (both from the
//! metadata), static (its file and its command line). A topic's config overrides what those give as defaults of all topics.

mod value;
mod topics;
mod brokers;
mod properties;
mod listener;
mod describe;

use std::collections::BTreeMap;

use storage::{FlushMode, LogConfig, TimestampType};

use crate::coordinator::{GroupConfig, OFFSETS_TOPIC};
use crate::ids::NodeId;
use crate::metadata::{ConfigTarget, Configs, Image};

pub use brokers::{BROKER_CONFIGS, BrokerConfigDef, Scope, broker_config};
pub use describe::{Described, Source, Synonym};
pub use listener::Listener;
pub use properties::{ConfigError, Property, parse_properties};
pub use topics::{
    FLUSH_INTERVAL_MS, FLUSH_MODE, SEGMENT_BYTES_MIN, TOPIC_CONFIGS, TopicConfigDef, topic_config,
    validate_topic_configs,
};
pub use value::{Check, Kind, Value, list};

/// The config of one broker: what was given at each level, and what follows from it.
///
/// Public fields are what static and dynamic levels come to, under Kafka's names with `_` for `.`.
#[derive(Clone, Debug, PartialEq)]
pub struct BrokerConfig {
    given: Levels,
    /// `node.id`
    pub node_id: NodeId,
    /// `broker.rack`
    pub broker_rack: Option<String>,
    /// `listeners`; empty if nothing is said
    pub listeners: Vec<Listener>,
    /// `advertised.listeners`; empty if nothing is said
    pub advertised_listeners: Vec<Listener>,
    /// `core.listeners`
    pub core_listener: Option<Listener>,
    /// `core.advertised.listeners`
    pub core_advertised_listener: Option<Listener>,
    /// `log.dirs`, or `log.dir`
    pub log_dir: String,
    /// `log.dir.reserve.bytes`; negative leaves it to the broker
    pub log_dir_reserve_bytes: i64,
    /// `num.partitions`
    pub num_partitions: i32,
    /// `default.replication.factor`
    pub default_replication_factor: i16,
    /// `auto.create.topics.enable`
    pub auto_create_topics_enable: bool,
    /// `delete.topic.enable`
    pub delete_topic_enable: bool,
    /// `socket.request.max.bytes`
    pub socket_request_max_bytes: u32,
    /// `connections.max.idle.ms`; negative for never
    pub connections_max_idle_ms: i64,
    /// `max.incremental.fetch.session.cache.slots`
    pub max_incremental_fetch_session_cache_slots: usize,
    /// `fetch.max.bytes`
    pub fetch_max_bytes: i32,
    /// `max.request.partition.size.limit`
    pub max_request_partition_size_limit: i32,
    /// `offsets.topic.num.partitions`
    pub offsets_topic_num_partitions: i32,
    /// `offsets.topic.replication.factor`
    pub offsets_topic_replication_factor: i16,
    /// `offsets.topic.segment.bytes`
    pub offsets_topic_segment_bytes: i32,
    /// `offset.metadata.max.bytes`
    pub offset_metadata_max_bytes: i32,
    /// `offsets.retention.minutes`
    pub offsets_retention_minutes: i32,
    /// `offsets.retention.check.interval.ms`
    pub offsets_retention_check_interval_ms: i64,
    /// `group.min.session.timeout.ms`
    pub group_min_session_timeout_ms: i32,
    /// `group.max.session.timeout.ms`
    pub group_max_session_timeout_ms: i32,
    /// `group.initial.rebalance.delay.ms`
    pub group_initial_rebalance_delay_ms: i32,
    /// `group.max.size`
    pub group_max_size: i32,
    /// `log.retention.check.interval.ms`
    pub log_retention_check_interval_ms: i64,
    /// `producer.id.expiration.ms`
    pub producer_id_expiration_ms: i64,
}

/// What was given, by level.
#[derive(Clone, Debug, Default, PartialEq)]
struct Levels {
    node: Configs,
    all: Configs,
    fixed: Configs,
}

/// The result of reading a config file.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// The config.
    pub config: BrokerConfig,
    /// What an operator should know, a line each: settings that are not known, or have no effect.
    pub warnings: Vec<String>,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        BrokerConfig::from_levels(Levels::default()).expect("the defaults are a config")
    }
}

impl BrokerConfig {
    /// The config in the text of a file.
    pub fn parse(text: &str) -> Result<Parsed, ConfigError> {
        let mut fixed = Configs::new();
        let mut lines = BTreeMap::new();
        let mut warnings = Vec::new();
        for Property { line, key, value } in parse_properties(text)? {
            if let Some(earlier) = lines.insert(key.clone(), line) {
                warnings
                    .push(format!("line {line}: {key} was already set on line {earlier}: this one counts"));
            }
            match broker_config(&key) {
                Some(def) if def.scope == Scope::Idle => {
                    warnings.push(format!("line {line}: {key} has no effect on this broker"));
                }
                Some(_) => {}
                None => warnings.push(unknown(line, &key)),
            }
            fixed.insert(key, value);
        }
        let config = BrokerConfig::from_levels(Levels { fixed, ..Levels::default() });
        let config = config.map_err(|error| ConfigError { line: lines.get(&error.key).copied(), ..error })?;
        Ok(Parsed { config, warnings })
    }

    /// This config with a setting of the static level added or replaced, as by a command line.
    pub fn with(&self, key: &str, value: &str) -> Result<BrokerConfig, ConfigError> {
        let mut given = self.given.clone();
        given.fixed.insert(key.to_owned(), value.to_owned());
        BrokerConfig::from_levels(given)
    }

    /// This config with the dynamic levels that the metadata has.
    pub fn with_dynamic(&self, image: &Image) -> BrokerConfig {
        let node = image.broker_configs(ConfigTarget::Broker(self.node_id)).clone();
        let all = image.broker_configs(ConfigTarget::AllBrokers).clone();
        let given = Levels { node, all, fixed: self.given.fixed.clone() };
        // A dynamic value was checked before it came into the metadata. Should an older release have let one in that this one
        // does not take, the broker goes on with what it has.
        BrokerConfig::from_levels(given).unwrap_or_else(|_| self.clone())
    }

    /// Whether the static level says anything about a config.
    pub fn is_set(&self, key: &str) -> bool {
        self.given.fixed.contains_key(key)
    }

    /// What the group coordinators go by.
    pub fn group_config(&self) -> GroupConfig {
        GroupConfig {
            min_session_timeout_ms: self.group_min_session_timeout_ms,
            max_session_timeout_ms: self.group_max_session_timeout_ms,
            initial_rebalance_delay_ms: self.group_initial_rebalance_delay_ms,
            max_size: usize::try_from(self.group_max_size).unwrap_or(0),
            offset_metadata_bytes_max: usize::try_from(self.offset_metadata_max_bytes).unwrap_or(0),
            offsets_retention_ms: i64::from(self.offsets_retention_minutes) * 60_000,
            offsets_retention_check_interval_ms: self.offsets_retention_check_interval_ms,
            ..GroupConfig::default()
        }
    }

    /// The overrides that a topic of the brokers' own is created with.
    pub fn internal_topic_configs(&self, name: &str) -> Configs {
        match name {
            OFFSETS_TOPIC => [
                ("cleanup.policy", "compact".to_owned()),
                ("compression.type", "producer".to_owned()),
                // Kafka takes a smaller segment here than a topic may have; the log does not.
                (
                    "segment.bytes",
                    i64::from(self.offsets_topic_segment_bytes).max(SEGMENT_BYTES_MIN).to_string(),
                ),
            ]
            .map(|(name, value)| (name.to_owned(), value))
            .into(),
            _ => Configs::new(),
        }
    }

    /// The settings of the logs of a topic with these overrides.
    pub fn log_config(&self, topic: &str, overrides: &Configs) -> LogConfig {
        let number = |name: &str| match self.topic_value(name, overrides) {
            Value::Number(n) => n,
            other => unreachable!("{name} of {topic} is a number, not {other}"),
        };
        let cleanup = match self.topic_value("cleanup.policy", overrides) {
            Value::List(policies) => policies,
            other => unreachable!("cleanup.policy of {topic} is a list, not {other}"),
        };
        let text = |name: &str| self.topic_value(name, overrides).to_string();
        let mut config = LogConfig {
            retention_ms: number("retention.ms"),
            retention_bytes: number("retention.bytes").max(-1),
            segment_bytes: at_most_u32(number("segment.bytes")),
            segment_ms: number("segment.ms"),
            max_message_bytes: at_most_u32(number("max.message.bytes")),
            timestamp_type: match text("message.timestamp.type").as_str() {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            timestamp_before_max_ms: number("message.timestamp.before.max.ms"),
            timestamp_after_max_ms: number("message.timestamp.after.max.ms"),
            flush_mode: match text(FLUSH_MODE).as_str() {
                "interval" => FlushMode::Interval { ms: at_most_u32(number(FLUSH_INTERVAL_MS)) },
                _ => FlushMode::Durable,
            },
            ..LogConfig::default()
        };
        config.cleanup.delete = cleanup.iter().any(|policy| policy == "delete");
        config.cleanup.compact = cleanup.iter().any(|policy| policy == "compact");
        config
    }

    /// The value of a topic config: the topic's own, or the default that the broker gives.
    pub(crate) fn topic_value(&self, name: &str, overrides: &Configs) -> Value {
        let def = topic_config(name).unwrap_or_else(|| unreachable!("{name} is in the table"));
        let own = overrides.get(name).and_then(|text| value::parse(name, def.kind, def.check, text).ok());
        own.unwrap_or_else(|| self.topic_default(def))
    }

    /// What a topic without an override gets.
    fn topic_default(&self, def: &TopicConfigDef) -> Value {
        let hard = || def.kind.parse(def.default).unwrap_or_else(|_| unreachable!("the table is tested"));
        let given = def.broker.and_then(|broker| self.given.resolve(broker));
        match (def.name, given) {
            // Kafka takes any negative retention for none.
            ("retention.ms", Some(Value::Number(n))) => Value::Number(n.max(-1)),
            (_, Some(given)) => given,
            (_, None) => hard(),
        }
    }

    fn from_levels(given: Levels) -> Result<BrokerConfig, ConfigError> {
        for (key, text) in given.node.iter().chain(&given.all).chain(&given.fixed) {
            check(key, text)?;
        }
        let reader = Reader(&given);
        let config = BrokerConfig {
            node_id: NodeId(if given.is_given("node.id") || !given.is_given("broker.id") {
                reader.int("node.id")
            } else {
                reader.int("broker.id")
            }),
            broker_rack: reader.text("broker.rack").filter(|rack| !rack.is_empty()),
            listeners: reader.listeners("listeners")?,
            advertised_listeners: reader.listeners("advertised.listeners")?,
            core_listener: reader.listener("core.listeners")?,
            core_advertised_listener: reader.listener("core.advertised.listeners")?,
            log_dir: reader.data_dir()?,
            log_dir_reserve_bytes: reader.long("log.dir.reserve.bytes"),
            num_partitions: reader.int("num.partitions"),
            default_replication_factor: reader.int("default.replication.factor") as i16,
            auto_create_topics_enable: reader.boolean("auto.create.topics.enable"),
            delete_topic_enable: reader.boolean("delete.topic.enable"),
            socket_request_max_bytes: reader.int("socket.request.max.bytes") as u32,
            connections_max_idle_ms: reader.long("connections.max.idle.ms"),
            max_incremental_fetch_session_cache_slots: reader.int("max.incremental.fetch.session.cache.slots")
                as usize,
            fetch_max_bytes: reader.int("fetch.max.bytes"),
            max_request_partition_size_limit: reader.int("max.request.partition.size.limit"),
            offsets_topic_num_partitions: reader.int("offsets.topic.num.partitions"),
            offsets_topic_replication_factor: reader.int("offsets.topic.replication.factor") as i16,
            offsets_topic_segment_bytes: reader.int("offsets.topic.segment.bytes"),
            offset_metadata_max_bytes: reader.int("offset.metadata.max.bytes"),
            offsets_retention_minutes: reader.int("offsets.retention.minutes"),
            offsets_retention_check_interval_ms: reader.long("offsets.retention.check.interval.ms"),
            group_min_session_timeout_ms: reader.int("group.min.session.timeout.ms"),
            group_max_session_timeout_ms: reader.int("group.max.session.timeout.ms"),
            group_initial_rebalance_delay_ms: reader.int("group.initial.rebalance.delay.ms"),
            group_max_size: reader.int("group.max.size"),
            log_retention_check_interval_ms: reader.long("log.retention.check.interval.ms"),
            producer_id_expiration_ms: reader.long("producer.id.expiration.ms"),
            given,
        };
        config.consistent()?;
        Ok(config)
    }

    /// What no setting can be wrong about alone.
    fn consistent(&self) -> Result<(), ConfigError> {
        let wrong =
            |key: &str, message: String| Err(ConfigError { line: None, key: key.to_owned(), message });
        if self.node_id.0 > crate::placement::NODE_ID_MAX {
            let message = format!(
                "{} is too large: give a number up to {}, so that every shard has a node id of its own",
                self.node_id,
                crate::placement::NODE_ID_MAX
            );
            return wrong("node.id", message);
        }
        if self.group_min_session_timeout_ms > self.group_max_session_timeout_ms {
            let message = format!(
                "{} is more than group.max.session.timeout.ms, {}: lower it or raise that",
                self.group_min_session_timeout_ms, self.group_max_session_timeout_ms
            );
            return wrong("group.min.session.timeout.ms", message);
        }
        for advertised in &self.advertised_listeners {
            if !advertised.is_routable() {
                let message = format!(
                    "'{advertised}' stands for all interfaces: give an address that clients can reach"
                );
                return wrong("advertised.listeners", message);
            }
            if !self.listeners.is_empty() && !self.listeners.iter().any(|l| l.name == advertised.name) {
                let message = format!(
                    "'{advertised}' has no counterpart in listeners: give a listener of that name too"
                );
                return wrong("advertised.listeners", message);
            }
        }
        Ok(())
    }
}

/// Checks a dynamic value of a broker config by itself; the error is the sentence that Kafka answers.
pub fn check_broker_config(name: &str, text: &str) -> Result<(), String> {
    match broker_config(name) {
        Some(def) => value::parse(name, def.kind, def.check, text).map(|_| ()),
        None => Ok(()),
    }
}

/// Checks the text of one setting by itself.
fn check(key: &str, text: &str) -> Result<(), ConfigError> {
    let Some(def) = broker_config(key) else { return Ok(()) };
    match value::parse(key, def.kind, def.check, text) {
        Ok(_) => Ok(()),
        Err(why) => {
            let expected = match def.default {
                Some(default) if !default.is_empty() => format!(" (its default is {default})"),
                _ => String::new(),
            };
            Err(ConfigError { line: None, key: key.to_owned(), message: format!("{why}{expected}") })
        }
    }
}

fn unknown(line: usize, key: &str) -> String {
    let near = BROKER_CONFIGS.iter().map(|def| (distance(def.name, key), def.name)).min();
    match near {
        Some((d, name)) if d <= 2 => {
            format!("line {line}: {key} is not known and is ignored: did you mean {name}?")
        }
        _ => format!("line {line}: {key} is not known and is ignored"),
    }
}

/// How many letters are to be changed, added or left out to make one word of the other.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

fn at_most_u32(n: i64) -> u32 {
    u32::try_from(n.max(0)).unwrap_or(u32::MAX)
}

impl Levels {
    /// The strongest text of a config, without its default.
    fn text(&self, name: &str) -> Option<&str> {
        [&self.node, &self.all, &self.fixed].into_iter().find_map(|level| level.get(name)).map(String::as_str)
    }

    fn is_given(&self, name: &str) -> bool {
        self.text(name).is_some()
    }

    /// The value of a broker config, through its synonyms and their units; none if nothing is said and there is no default.
    fn resolve(&self, name: &str) -> Option<Value> {
        for synonym in brokers::synonyms(name) {
            let def = broker_config(synonym).expect("a synonym is in the table");
            let Some(text) = self.text(synonym).or(def.default) else { continue };
            let value = def.kind.parse(text).ok()?;
            return Some(match (value, unit_ms(synonym)) {
                (Value::Number(n), Some(unit)) if *synonym != name => Value::Number(n.saturating_mul(unit)),
                (value, _) => value,
            });
        }
        None
    }
}

fn unit_ms(name: &str) -> Option<i64> {
    match name {
        _ if name.ends_with(".hours") => Some(3_600_000),
        _ if name.ends_with(".minutes") => Some(60_000),
        _ => None,
    }
}

/// Reads values that were checked.
struct Reader<'a>(&'a Levels);

impl Reader<'_> {
    fn value(&self, name: &str) -> Option<Value> {
        let def = broker_config(name).unwrap_or_else(|| unreachable!("{name} is in the table"));
        let text = self.0.text(name).or(def.default)?;
        Some(def.kind.parse(text).unwrap_or_else(|_| unreachable!("{name} was checked")))
    }

    fn long(&self, name: &str) -> i64 {
        match self.value(name) {
            Some(Value::Number(n)) => n,
            _ => unreachable!("{name} is a number with a default"),
        }
    }

    fn int(&self, name: &str) -> i32 {
        i32::try_from(self.long(name)).unwrap_or_else(|_| unreachable!("{name} is an INT"))
    }

    fn boolean(&self, name: &str) -> bool {
        self.value(name) == Some(Value::Boolean(true))
    }

    fn text(&self, name: &str) -> Option<String> {
        self.value(name).map(|value| value.to_string())
    }

    fn elements(&self, name: &str) -> Vec<String> {
        match self.value(name) {
            Some(Value::List(elements)) => elements,
            _ => Vec::new(),
        }
    }

    fn listeners(&self, name: &str) -> Result<Vec<Listener>, ConfigError> {
        // Kafka's default names all interfaces; here the command line has a default of its own.
        if !self.0.is_given(name) {
            return Ok(Vec::new());
        }
        let elements = self.elements(name);
        let wrong = |message| ConfigError { line: None, key: name.to_owned(), message };
        if elements.is_empty() {
            return Err(wrong("no address is given: give one such as PLAINTEXT://127.0.0.1:9092".to_owned()));
        }
        Listener::parse_list(&elements).map_err(wrong)
    }

    fn listener(&self, name: &str) -> Result<Option<Listener>, ConfigError> {
        let mut listeners = self.listeners(name)?;
        if listeners.len() > 1 {
            let message = "more than one address is given: give that of the first shard only".to_owned();
            return Err(ConfigError { line: None, key: name.to_owned(), message });
        }
        Ok(listeners.pop())
    }

    fn data_dir(&self) -> Result<String, ConfigError> {
        let name = if self.0.is_given("log.dirs") { "log.dirs" } else { "log.dir" };
        match self.elements(name).as_slice() {
            [one] => Ok(one.clone()),
            [] => Err(ConfigError {
                line: None,
                key: name.to_owned(),
                message: "no directory is given: give one".to_owned(),
            }),
            [_, ..] => Err(ConfigError {
                line: None,
                key: name.to_owned(),
                message: "more than one directory is given: one is supported, give that one".to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests;
