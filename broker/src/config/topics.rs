//! The configs of a topic: Kafka 4.3's, all of them, and two of our own.

use super::value::{self, Check, Kind, Value};

/// A config of a topic.
#[derive(Debug)]
pub struct TopicConfigDef {
    /// Name.
    pub name: &'static str,
    /// Type.
    pub kind: Kind,
    /// What is allowed.
    pub check: Check,
    /// Value when neither topic nor broker say anything.
    pub default: &'static str,
    /// The broker config that gives the default of all topics.
    pub broker: Option<&'static str>,
    /// What it does.
    pub doc: &'static str,
}

const fn def(
    name: &'static str,
    kind: Kind,
    check: Check,
    default: &'static str,
    broker: Option<&'static str>,
    doc: &'static str,
) -> TopicConfigDef {
    TopicConfigDef { name, kind, check, default, broker, doc }
}

const MAX: &str = "9223372036854775807";

/// Whether a topic's records are durable before they are acknowledged.
pub const FLUSH_MODE: &str = "flush.mode";
/// How long acknowledged records of `flush.mode=interval` may be in memory only.
pub const FLUSH_INTERVAL_MS: &str = "flush.interval.ms";
/// Smallest segment that is accepted, bytes.
pub const SEGMENT_BYTES_MIN: i64 = 1 << 20;

pub(super) const CLEANUP: Check = Check::ListOf(&["compact", "delete"]);
pub(super) const COMPRESSION: Check =
    Check::OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]);
pub(super) const TIMESTAMP_TYPE: Check = Check::OneOf(&["CreateTime", "LogAppendTime"]);
pub(super) const GZIP_LEVEL: Check = Check::BetweenOr(1, 9, -1);
pub(super) const LZ4_LEVEL: Check = Check::Between(1, 17);
pub(super) const ZSTD_LEVEL: Check = Check::Between(-131_072, 22);
pub(super) const FLUSH_MODES: Check = Check::OneOf(&["durable", "interval"]);
pub(super) const FLUSH_INTERVAL: Check = Check::Between(1, 1_000);

/// In the order in which Kafka checks them: of several bad values it names the first.
#[rustfmt::skip]
pub const TOPIC_CONFIGS: &[TopicConfigDef] = &[
    def("segment.bytes", Kind::Int, Check::AtLeast(SEGMENT_BYTES_MIN), "1073741824", Some("log.segment.bytes"),
        "Size at which a segment file is closed and the next begun, bytes. Whole segments are what retention removes."),
    def("segment.ms", Kind::Long, Check::AtLeast(1), "604800000", Some("log.roll.ms"),
        "Age of its first record at which a segment is closed even if it is not full, milliseconds."),
    def("segment.jitter.ms", Kind::Long, Check::AtLeast(0), "0", Some("log.roll.jitter.ms"),
        "Random part by which Kafka shortens segment.ms, milliseconds. The value is kept and has no effect."),
    def("segment.index.bytes", Kind::Int, Check::AtLeast(4), "10485760", Some("log.index.size.max.bytes"),
        "Size of an index file in Kafka. Indexes here are sized by their segments; the value is kept and has no effect."),
    def("flush.messages", Kind::Long, Check::AtLeast(1), MAX, Some("log.flush.interval.messages"),
        "Records after which Kafka forces data to the disk. See flush.mode: by default every record is durable before it is acknowledged."),
    def("flush.ms", Kind::Long, Check::AtLeast(0), MAX, Some("log.flush.interval.ms"),
        "Time after which Kafka forces data to the disk, milliseconds. See flush.mode and flush.interval.ms."),
    def("retention.bytes", Kind::Long, Check::Any, "-1", Some("log.retention.bytes"),
        "Size that a partition may have before its oldest segments are removed, bytes; negative for no limit. Of use with cleanup.policy delete."),
    def("retention.ms", Kind::Long, Check::AtLeast(-1), "604800000", Some("log.retention.ms"),
        "Age at which segments are removed, milliseconds; -1 for no limit. Of use with cleanup.policy delete."),
    def("remote.storage.enable", Kind::Boolean, Check::Any, "false", None,
        "Whether old segments go to tiered storage, which this broker does not have: only false is accepted."),
    def("local.retention.ms", Kind::Long, Check::AtLeast(-2), "-2", Some("log.local.retention.ms"),
        "Age at which segments that are in tiered storage are removed locally, milliseconds; -2 for that of retention.ms."),
    def("local.retention.bytes", Kind::Long, Check::AtLeast(-2), "-2", Some("log.local.retention.bytes"),
        "Local size above which segments that are in tiered storage are removed, bytes; -2 for that of retention.bytes."),
    def("remote.log.copy.disable", Kind::Boolean, Check::Any, "false", None,
        "Whether tiered data is read-only."),
    def("remote.log.delete.on.disable", Kind::Boolean, Check::Any, "false", None,
        "Whether tiered data is deleted when tiered storage is switched off."),
    def("max.message.bytes", Kind::Int, Check::AtLeast(0), "1048588", Some("message.max.bytes"),
        "Largest record batch, after compression, that a producer may send, bytes."),
    def("index.interval.bytes", Kind::Int, Check::AtLeast(0), "4096", Some("log.index.interval.bytes"),
        "Bytes between two index entries in Kafka. The index here has an interval of its own; the value is kept and has no effect."),
    def("delete.retention.ms", Kind::Long, Check::AtLeast(0), "86400000", Some("log.cleaner.delete.retention.ms"),
        "How long a compacted topic keeps the marker of a deleted key, milliseconds."),
    def("min.compaction.lag.ms", Kind::Long, Check::AtLeast(0), "0", Some("log.cleaner.min.compaction.lag.ms"),
        "Age below which a record is not compacted away, milliseconds."),
    def("max.compaction.lag.ms", Kind::Long, Check::AtLeast(1), MAX, Some("log.cleaner.max.compaction.lag.ms"),
        "Age at which a record becomes eligible for compaction whatever the dirty ratio is, milliseconds."),
    def("file.delete.delay.ms", Kind::Long, Check::AtLeast(0), "60000", Some("log.segment.delete.delay.ms"),
        "Time between the end of a segment and the removal of its file in Kafka, milliseconds. The value is kept and has no effect."),
    def("min.cleanable.dirty.ratio", Kind::Double, Check::Fraction(0.0, 1.0), "0.5", Some("log.cleaner.min.cleanable.ratio"),
        "Part of a log that must be uncompacted before compaction begins."),
    def("cleanup.policy", Kind::List, CLEANUP, "delete", Some("log.cleanup.policy"),
        "What happens to old records: delete removes them by age and size, compact keeps the latest of each key; both may be given."),
    def("unclean.leader.election.enable", Kind::Boolean, Check::Any, "false", Some("unclean.leader.election.enable"),
        "Whether a replica that lacks acknowledged records may become leader when no other is left."),
    def("min.insync.replicas", Kind::Int, Check::AtLeast(1), "1", Some("min.insync.replicas"),
        "In-sync replicas without which a produce request with acks=all is refused; more than there are replicas counts as all."),
    def("compression.type", Kind::String, COMPRESSION, "producer", Some("compression.type"),
        "Codec of the topic in Kafka. Batches here stay as the producer made them; the value is kept and has no effect."),
    def("compression.gzip.level", Kind::Int, GZIP_LEVEL, "-1", Some("compression.gzip.level"),
        "Level of the gzip codec if compression.type is gzip. The value is kept and has no effect."),
    def("compression.lz4.level", Kind::Int, LZ4_LEVEL, "9", Some("compression.lz4.level"),
        "Level of the lz4 codec if compression.type is lz4. The value is kept and has no effect."),
    def("compression.zstd.level", Kind::Int, ZSTD_LEVEL, "3", Some("compression.zstd.level"),
        "Level of the zstd codec if compression.type is zstd. The value is kept and has no effect."),
    def("preallocate", Kind::Boolean, Check::Any, "false", Some("log.preallocate"),
        "Whether Kafka allocates a segment file in full when it begins it. The value is kept and has no effect."),
    def("message.timestamp.type", Kind::String, TIMESTAMP_TYPE, "CreateTime", Some("log.message.timestamp.type"),
        "Whose clock stamps a record: the producer's (CreateTime) or the broker's (LogAppendTime)."),
    def("message.timestamp.before.max.ms", Kind::Long, Check::AtLeast(0), MAX, Some("log.message.timestamp.before.max.ms"),
        "How far a record's timestamp may be behind the broker's clock, milliseconds. Of use with CreateTime."),
    def("message.timestamp.after.max.ms", Kind::Long, Check::AtLeast(0), "3600000", Some("log.message.timestamp.after.max.ms"),
        "How far a record's timestamp may be ahead of the broker's clock, milliseconds. Of use with CreateTime."),
    def("leader.replication.throttled.replicas", Kind::List, Check::ThrottledReplicas, "", None,
        "Replicas whose replication is slowed down where they lead: *, or partition:broker pairs."),
    def("follower.replication.throttled.replicas", Kind::List, Check::ThrottledReplicas, "", None,
        "Replicas whose replication is slowed down where they follow: *, or partition:broker pairs."),
    def(FLUSH_MODE, Kind::String, FLUSH_MODES, "durable", Some(FLUSH_MODE),
        "When records are acknowledged: durable, after they are on stable storage; interval, from memory, and on storage within flush.interval.ms. Not a config of Kafka."),
    def(FLUSH_INTERVAL_MS, Kind::Int, FLUSH_INTERVAL, "100", Some(FLUSH_INTERVAL_MS),
        "How long acknowledged records may be in memory only when flush.mode is interval, milliseconds. Not a config of Kafka."),
];

/// The config of that name.
pub fn topic_config(name: &str) -> Option<&'static TopicConfigDef> {
    TOPIC_CONFIGS.iter().find(|def| def.name == name)
}

/// Checks all overrides of a topic together; the error is the sentence that Kafka answers with INVALID_CONFIG.
pub fn validate_topic_configs<'a, I>(overrides: I) -> Result<(), String>
where
    I: Iterator<Item = (&'a str, &'a str)> + Clone,
{
    if let Some((unknown, _)) = overrides.clone().find(|(name, _)| topic_config(name).is_none()) {
        return Err(format!("Unknown topic config name: {unknown}"));
    }
    let mut values: Vec<(&str, Value)> = Vec::new();
    for def in TOPIC_CONFIGS {
        let given = overrides.clone().filter(|(name, _)| *name == def.name).last();
        let text = given.map_or(def.default, |(_, text)| text);
        values.push((def.name, value::parse(def.name, def.kind, def.check, text)?));
    }
    let number = |name: &str| match values.iter().find(|(n, _)| *n == name) {
        Some((_, Value::Number(n))) => *n,
        _ => unreachable!("{name} is a number in the table"),
    };
    let (min_lag, max_lag) = (number("min.compaction.lag.ms"), number("max.compaction.lag.ms"));
    if min_lag > max_lag {
        return Err(format!(
            "conflict topic config setting min.compaction.lag.ms ({min_lag}) > max.compaction.lag.ms ({max_lag})"
        ));
    }
    if values.iter().any(|(name, v)| *name == "remote.storage.enable" && *v == Value::Boolean(true)) {
        return Err(
            "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with \
                    remote log storage."
                .to_owned(),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(overrides: &[(&str, &str)]) -> Result<(), String> {
        validate_topic_configs(overrides.iter().copied())
    }

    #[test]
    fn every_default_passes_its_own_check() {
        assert_eq!(verdict(&[]), Ok(()));
    }

    #[test]
    fn names_are_checked_before_values_and_values_in_kafkas_order() {
        let refusal = |overrides: &[(&str, &str)]| verdict(overrides).expect_err("refused");
        assert_eq!(refusal(&[("segment.bytes", "y"), ("foo", "x")]), "Unknown topic config name: foo");
        assert_eq!(
            refusal(&[("retention.ms", "x"), ("segment.bytes", "y")]),
            "Invalid value y for configuration segment.bytes: Not a number of type INT"
        );
        assert_eq!(
            refusal(&[("message.timestamp.difference.max.ms", "5")]),
            "Unknown topic config name: message.timestamp.difference.max.ms"
        );
        assert_eq!(
            refusal(&[("min.compaction.lag.ms", "100"), ("max.compaction.lag.ms", "50")]),
            "conflict topic config setting min.compaction.lag.ms (100) > max.compaction.lag.ms (50)"
        );
        assert_eq!(
            refusal(&[("segment.bytes", "1024")]),
            "Invalid value 1024 for configuration segment.bytes: Value must be at least 1048576"
        );
        assert!(refusal(&[("remote.storage.enable", "true")]).starts_with("Tiered Storage"));
    }

    #[test]
    fn what_kafka_accepts_is_accepted() {
        for (name, value) in [
            ("retention.ms", " 5 "),
            ("retention.bytes", "-3"),
            ("cleanup.policy", ""),
            ("cleanup.policy", "compact, delete"),
            ("cleanup.policy", "delete,delete"),
            ("preallocate", "TRUE"),
            ("min.insync.replicas", "5"),
            ("leader.replication.throttled.replicas", "0:1,1:2"),
            ("local.retention.bytes", "5"),
            ("flush.mode", "interval"),
        ] {
            assert_eq!(verdict(&[(name, value)]), Ok(()), "{name}={value}");
        }
    }
}
