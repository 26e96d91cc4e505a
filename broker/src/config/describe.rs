//! Configs as DescribeConfigs shows them: value, where it comes from, and all that it could have come from.

use super::brokers::{self, BROKER_CONFIGS, Scope};
use super::topics::{TOPIC_CONFIGS, TopicConfigDef};
use super::value::Kind;
use super::{BrokerConfig, broker_config};
use crate::metadata::Configs;

/// Where a value comes from, with its number in DescribeConfigs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i8)]
pub enum Source {
    /// Override of the topic.
    DynamicTopic = 1,
    /// Dynamic config of this broker.
    DynamicBroker = 2,
    /// Dynamic config of all brokers.
    DynamicDefaultBroker = 3,
    /// The file or command line of the broker.
    StaticBroker = 4,
    /// Nobody said anything.
    Default = 5,
    /// Override of a consumer group.
    Group = 8,
}

/// A value that counts if none before it does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Synonym {
    /// Name under which it is given.
    pub name: String,
    /// Value; none if it is secret.
    pub value: Option<String>,
    /// Where it comes from.
    pub source: Source,
}

/// One config.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Described {
    /// Name.
    pub name: String,
    /// Value; none if there is none or it is secret.
    pub value: Option<String>,
    /// Where it comes from.
    pub source: Source,
    /// Whether it can not be changed while the broker runs.
    pub read_only: bool,
    /// Whether it is secret.
    pub sensitive: bool,
    /// Type.
    pub kind: Kind,
    /// Documentation.
    pub doc: Option<&'static str>,
    /// The values that it could have, the one that counts first.
    pub synonyms: Vec<Synonym>,
}

impl BrokerConfig {
    /// All configs of a topic with these overrides.
    pub fn describe_topic(&self, overrides: &Configs) -> Vec<Described> {
        TOPIC_CONFIGS.iter().map(|def| self.describe_topic_config(def, overrides)).collect()
    }

    fn describe_topic_config(&self, def: &TopicConfigDef, overrides: &Configs) -> Described {
        let value = self.topic_value(def.name, overrides).to_string();
        let mut synonyms = def.broker.map(|name| self.synonyms(name, false)).unwrap_or_default();
        if overrides.contains_key(def.name) {
            let own = Synonym {
                name: def.name.to_owned(),
                value: Some(value.clone()),
                source: Source::DynamicTopic,
            };
            synonyms.insert(0, own);
        }
        Described {
            name: def.name.to_owned(),
            value: Some(value),
            source: synonyms.first().map_or(Source::Default, |first| first.source),
            read_only: false,
            sensitive: false,
            kind: def.kind,
            doc: Some(def.doc),
            synonyms,
        }
    }

    /// All configs of this broker, and what was given under names that are not known.
    pub fn describe_broker(&self) -> Vec<Described> {
        let levels = [&self.given.node, &self.given.all, &self.given.fixed];
        let mut unknown: Vec<&String> = levels
            .into_iter()
            .flat_map(|level| level.keys())
            .filter(|name| broker_config(name).is_none())
            .collect();
        unknown.sort();
        unknown.dedup();
        let known = BROKER_CONFIGS.iter().map(|def| def.name);
        known
            .chain(unknown.into_iter().map(String::as_str))
            .map(|name| self.describe_broker_config(name))
            .collect()
    }

    fn describe_broker_config(&self, name: &str) -> Described {
        let def = broker_config(name);
        let kind = def.map_or(Kind::Unknown, |def| def.kind);
        // What nobody knows might be a secret of something that this broker does not have.
        let sensitive = matches!(kind, Kind::Password | Kind::Unknown);
        let synonyms = self.synonyms(name, sensitive);
        let own = self.given.text(name).or(def.and_then(|def| def.default));
        let shown =
            own.map(|text| kind.parse(text).map_or_else(|_| text.to_owned(), |value| value.to_string()));
        Described {
            name: name.to_owned(),
            value: shown.filter(|_| !sensitive),
            source: synonyms.first().map_or(Source::Default, |first| first.source),
            read_only: def.is_none_or(|def| def.scope != Scope::ClusterWide),
            sensitive,
            kind,
            doc: def.map(|def| def.doc),
            synonyms,
        }
    }

    /// The default of all brokers, for the resource without a name: only what was given.
    pub fn describe_all_brokers(configs: &Configs) -> Vec<Described> {
        let describe = |(name, text): (&String, &String)| {
            let def = broker_config(name);
            let kind = def.map_or(Kind::Unknown, |def| def.kind);
            let sensitive = matches!(kind, Kind::Password | Kind::Unknown);
            let value = Some(text.clone()).filter(|_| !sensitive);
            let source = Source::DynamicDefaultBroker;
            Described {
                name: name.clone(),
                value: value.clone(),
                source,
                read_only: def.is_none_or(|def| def.scope != Scope::ClusterWide),
                sensitive,
                kind,
                doc: def.map(|def| def.doc),
                synonyms: vec![Synonym { name: name.clone(), value, source }],
            }
        };
        configs.iter().map(describe).collect()
    }

    /// All values that a broker config could have, from the level and the name that count most. As Kafka does, the list begins
    /// with the first that has the config's own name.
    fn synonyms(&self, name: &str, sensitive: bool) -> Vec<Synonym> {
        let own = [name];
        let names = match brokers::synonyms(name) {
            [] => &own[..],
            names => names,
        };
        let levels = [
            (&self.given.node, Source::DynamicBroker),
            (&self.given.all, Source::DynamicDefaultBroker),
            (&self.given.fixed, Source::StaticBroker),
        ];
        let show = |text: &str| Some(text.to_owned()).filter(|_| !sensitive);
        let mut found = Vec::new();
        for (level, source) in levels {
            for name in names {
                if let Some(text) = level.get(*name) {
                    found.push(Synonym { name: (*name).to_owned(), value: show(text), source });
                }
            }
        }
        for name in names {
            if let Some(default) = broker_config(name).and_then(|def| def.default) {
                found.push(Synonym {
                    name: (*name).to_owned(),
                    value: show(default),
                    source: Source::Default,
                });
            }
        }
        found.into_iter().skip_while(|synonym| synonym.name != name).collect()
    }
}
