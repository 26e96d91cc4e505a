//! Config files, levels, and what follows from them.

use super::*;
use crate::metadata::Record;
use crate::metadata::record::{ConfigV1, RESOURCE_BROKER};

fn parsed(text: &str) -> Parsed {
    BrokerConfig::parse(text).expect("a config")
}

fn refusal(text: &str) -> String {
    BrokerConfig::parse(text).expect_err("refused").to_string()
}

/// An image in which brokers have dynamic configs: `(node or all, name, value)`.
fn image(dynamic: &[(&str, &str, &str)]) -> Image {
    let mut image = Image::empty();
    for (node, name, value) in dynamic {
        image.apply(&Record::Config(ConfigV1 {
            resource_type: RESOURCE_BROKER,
            resource_name: (*node).to_owned(),
            topic_id: [0; 16],
            changes: vec![((*name).to_owned(), Some((*value).to_owned()))],
        }));
    }
    image
}

fn overrides(configs: &[(&str, &str)]) -> Configs {
    configs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn a_file_of_kafka_is_understood() {
    let text = "
        # The node
        node.id=3
        listeners=PLAINTEXT://0.0.0.0:9092
        advertised.listeners=PLAINTEXT://broker-3.example:9092
        core.listeners = CORE://0.0.0.0:9192
        log.dirs=/var/lib/monedula
        num.partitions=6
        log.retention.hours=1
        broker.rack=
        auto.create.topics.enable=FALSE
    ";
    let Parsed { config, warnings } = parsed(text);
    assert_eq!(warnings, [""; 0]);
    assert_eq!((config.node_id, config.num_partitions), (NodeId(3), 6));
    assert_eq!(config.listeners[0].to_string(), "PLAINTEXT://0.0.0.0:9092");
    assert_eq!(config.advertised_listeners[0].host, "broker-3.example");
    assert_eq!(config.core_listener.as_ref().map(|l| l.port), Some(9192));
    assert_eq!(config.log_dir, "/var/lib/monedula");
    assert_eq!((config.broker_rack.as_deref(), config.auto_create_topics_enable), (None, false));
    assert_eq!(config.log_config("a", &Configs::new()).retention_ms, 3_600_000);
    assert!(config.is_set("num.partitions") && !config.is_set("fetch.max.bytes"));
}

#[test]
fn nothing_said_is_kafkas_defaults() {
    let config = BrokerConfig::default();
    assert_eq!(config.node_id, NodeId(1));
    assert_eq!(config.offsets_topic_num_partitions, 50);
    assert_eq!(config.log_config("a", &Configs::new()), LogConfig::default());
    assert_eq!(config.group_config(), GroupConfig::default());
}

#[test]
fn a_bad_setting_names_line_key_and_what_is_expected() {
    assert_eq!(
        refusal("node.id=1\n\nnum.partitions=many"),
        "line 3: num.partitions: Invalid value many for configuration num.partitions: Not a number of type INT \
         (its default is 1)"
    );
    for (text, expected) in [
        ("listeners=9092", "line 1: listeners: '9092' has no name: give it as NAME://host:port"),
        ("listeners=", "no address is given"),
        ("advertised.listeners=PLAINTEXT://0.0.0.0:9092", "stands for all interfaces"),
        (
            "listeners=A://h:1\nadvertised.listeners=B://h:1",
            "line 2: advertised.listeners: 'B://h:1' has no counterpart in listeners",
        ),
        ("log.dirs=/a,/b", "line 1: log.dirs: more than one directory"),
        ("node.id=2147483647", "line 1: node.id: 2147483647 is too large: give a number up to 2147482"),
        ("group.min.session.timeout.ms=9999999", "more than group.max.session.timeout.ms"),
        ("core.listeners=A://h:1,B://h:2", "more than one address"),
        ("flush.mode=never", "String must be one of: durable, interval"),
        ("log.segment.bytes=1024", "Value must be at least 1048576"),
    ] {
        let refusal = refusal(text);
        assert!(refusal.contains(expected), "{text}: {refusal}");
    }
}

#[test]
fn settings_that_do_nothing_are_pointed_out() {
    let text =
        "num.partition=3\nsome.plugin.setting=x\nlog.cleaner.threads=2\nnum.partitions=1\nnum.partitions=2";
    let Parsed { config, warnings } = parsed(text);
    assert_eq!(config.num_partitions, 2);
    assert_eq!(
        warnings,
        [
            "line 1: num.partition is not known and is ignored: did you mean num.partitions?",
            "line 2: some.plugin.setting is not known and is ignored",
            "line 3: log.cleaner.threads has no effect on this broker",
            "line 5: num.partitions was already set on line 4: this one counts",
        ]
    );
}

#[test]
fn a_command_line_counts_more_than_the_file() {
    let config = parsed("num.partitions=3").config.with("num.partitions", "5").expect("a config");
    assert_eq!(config.num_partitions, 5);
    assert_eq!(config.with("num.partitions", "x").expect_err("refused").key, "num.partitions");
}

#[test]
fn a_topic_goes_by_its_overrides_then_dynamic_then_static_configs() {
    let fixed = parsed("log.retention.minutes=2\nlog.segment.bytes=2097152\nflush.mode=interval").config;
    let all = [("", "log.retention.ms", "5"), ("", "message.max.bytes", "1000")];
    let node = [all[0], all[1], ("1", "log.retention.ms", "-7")];
    let log = |config: &BrokerConfig, configs: &[(&str, &str)]| config.log_config("a", &overrides(configs));
    assert_eq!(log(&fixed, &[]).retention_ms, 120_000);
    assert_eq!(log(&fixed, &[]).segment_bytes, 2 << 20);
    assert_eq!(log(&fixed, &[]).flush_mode, FlushMode::Interval { ms: 100 });
    let with_all = fixed.with_dynamic(&image(&all));
    assert_eq!((log(&with_all, &[]).retention_ms, log(&with_all, &[]).max_message_bytes), (5, 1_000));
    let with_node = fixed.with_dynamic(&image(&node));
    assert_eq!(log(&with_node, &[]).retention_ms, -1, "negative is for ever");
    let own =
        [("retention.ms", "9"), ("cleanup.policy", "compact"), ("message.timestamp.type", "LogAppendTime")];
    let config = log(&with_node, &own);
    assert_eq!((config.retention_ms, config.timestamp_type), (9, TimestampType::LogAppendTime));
    assert_eq!((config.cleanup.delete, config.cleanup.compact), (false, true));
    assert_eq!(fixed.with_dynamic(&image(&[])), fixed);
}

fn described<'a>(configs: &'a [Described], name: &str) -> &'a Described {
    configs.iter().find(|config| config.name == name).unwrap_or_else(|| panic!("{name} is described"))
}

fn synonyms(config: &Described) -> Vec<(&str, Option<&str>, Source)> {
    config.synonyms.iter().map(|s| (s.name.as_str(), s.value.as_deref(), s.source)).collect()
}

#[test]
fn configs_of_a_topic_are_described_as_by_kafka() {
    // What Kafka 4.3.1 shows of the same.
    let config = BrokerConfig::default();
    let all = config.describe_topic(&Configs::new());
    assert_eq!(all.len(), 33 + 2, "all of Kafka 4.3's, and ours");
    let segment = described(&all, "segment.bytes");
    assert_eq!((segment.value.as_deref(), segment.source), (Some("1073741824"), Source::Default));
    assert_eq!(synonyms(segment), [("log.segment.bytes", Some("1073741824"), Source::Default)]);
    // Its synonym in milliseconds has no default, and those after it are not shown.
    let retention = described(&all, "retention.ms");
    assert_eq!((retention.value.as_deref(), synonyms(retention)), (Some("604800000"), Vec::new()));

    let dynamic = image(&[("1", "log.retention.ms", "-5"), ("", "log.retention.ms", "200000")]);
    let all = config.with_dynamic(&dynamic).describe_topic(&Configs::new());
    let retention = described(&all, "retention.ms");
    assert_eq!((retention.value.as_deref(), retention.source), (Some("-1"), Source::DynamicBroker));
    assert_eq!(
        synonyms(retention),
        [
            ("log.retention.ms", Some("-5"), Source::DynamicBroker),
            ("log.retention.ms", Some("200000"), Source::DynamicDefaultBroker),
            ("log.retention.hours", Some("168"), Source::Default),
        ]
    );

    let own = overrides(&[("segment.bytes", " 2097152 "), ("cleanup.policy", "compact, delete")]);
    let all = config.describe_topic(&own);
    let segment = described(&all, "segment.bytes");
    assert_eq!((segment.value.as_deref(), segment.source), (Some("2097152"), Source::DynamicTopic));
    assert_eq!(synonyms(segment)[0], ("segment.bytes", Some("2097152"), Source::DynamicTopic));
    assert_eq!(described(&all, "cleanup.policy").value.as_deref(), Some("compact,delete"));
}

#[test]
fn configs_of_a_broker_are_described_and_secrets_are_kept() {
    let text = "num.partitions=4\nssl.key.password=secret\nsome.plugin.setting=x";
    let config = parsed(text).config.with_dynamic(&image(&[("", "log.retention.ms", "5")]));
    let all = config.describe_broker();
    let partitions = described(&all, "num.partitions");
    assert_eq!((partitions.value.as_deref(), partitions.read_only), (Some("4"), true));
    assert_eq!(
        synonyms(partitions),
        [("num.partitions", Some("4"), Source::StaticBroker), ("num.partitions", Some("1"), Source::Default)]
    );
    let retention = described(&all, "log.retention.ms");
    assert_eq!((retention.source, retention.read_only), (Source::DynamicDefaultBroker, false));
    for name in ["ssl.key.password", "some.plugin.setting"] {
        let secret = described(&all, name);
        assert_eq!((secret.sensitive, secret.value.as_deref()), (true, None), "{name}");
        assert_eq!(synonyms(secret), [(name, None, Source::StaticBroker)]);
    }
    assert_eq!(described(&all, "log.roll.ms").value, None);
    let everyone = BrokerConfig::describe_all_brokers(&overrides(&[("log.retention.ms", "5")]));
    assert_eq!((everyone.len(), everyone[0].source), (1, Source::DynamicDefaultBroker));
}
