//! A Kafka driver file: the properties of clients and topics.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::yaml;

/// Properties of Java's form, `key=value` a line.
pub type Properties = BTreeMap<String, String>;

/// A Kafka driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Driver {
    /// For people.
    pub name: String,
    /// Replicas of each partition.
    pub replication_factor: i16,
    /// Configs of topics.
    pub topic: Properties,
    /// Properties of producers, with those of all clients.
    pub producer: Properties,
    /// Properties of consumers, with those of all clients.
    pub consumer: Properties,
}

/// The fields of OMB's `Config.java` and `DriverConfiguration.java`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    name: String,
    driver_class: String,
    replication_factor: i16,
    #[serde(default)]
    topic_config: String,
    #[serde(default)]
    common_config: String,
    #[serde(default)]
    producer_config: String,
    #[serde(default)]
    consumer_config: String,
}

/// The end of the driver class that is understood.
const DRIVER_CLASS: &str = "KafkaBenchmarkDriver";

impl Driver {
    /// Reads a file's text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: File = yaml::read(text)?;
        if !file.driver_class.ends_with(DRIVER_CLASS) {
            return Err(format!(
                "driverClass is {}: only drivers for Kafka ({DRIVER_CLASS}) can be run",
                file.driver_class
            ));
        }
        let common = properties("commonConfig", &file.common_config)?;
        let with_common = |own: Properties| common.clone().into_iter().chain(own).collect();
        Ok(Self {
            name: file.name,
            replication_factor: file.replication_factor,
            topic: properties("topicConfig", &file.topic_config)?,
            producer: with_common(properties("producerConfig", &file.producer_config)?),
            consumer: with_common(properties("consumerConfig", &file.consumer_config)?),
        })
    }

    /// `bootstrap.servers`, if the file has it.
    pub fn bootstrap(&self) -> Option<&str> {
        self.producer.get("bootstrap.servers").map(String::as_str)
    }
}

fn properties(field: &str, text: &str) -> Result<Properties, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', '!']));
    lines
        .map(|line| {
            let (key, value) =
                line.split_once(['=', ':']).ok_or_else(|| format!("{field}: `{line}` is not key=value"))?;
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        })
        .collect()
}
