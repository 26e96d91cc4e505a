//! Images, what records make of them, and their way through bytes.

use super::*;
use crate::metadata::record::{self, ClusterV1, EndpointV1, FeatureLevelV1, RecordError, TopicDeleteV1};
use crate::metadata::snapshot;

fn partition(node: i32) -> PartitionV1 {
    PartitionV1 { replicas: vec![node], leader_slot: 0, isr: 1, elr: 0, leader_epoch: 0, partition_epoch: 0 }
}

fn id(n: u32) -> [u8; 16] {
    let mut id = [7; 16];
    id[..4].copy_from_slice(&n.to_be_bytes());
    id
}

fn create(n: u32, name: &str, partitions: usize) -> Record {
    Record::TopicCreate(TopicCreateV1 {
        topic_id: id(n),
        name: name.to_owned(),
        partitions: vec![partition(1); partitions],
        configs: vec![("retention.ms".to_owned(), "5".to_owned())],
    })
}

fn more(n: u32, first: u32, count: usize) -> Record {
    Record::PartitionsCreate(PartitionsCreateV1 {
        topic_id: id(n),
        first,
        partitions: vec![partition(1); count],
    })
}

fn config(resource_type: i8, name: &str, topic: Option<u32>, value: Option<&str>) -> Record {
    Record::Config(ConfigV1 {
        resource_type,
        resource_name: name.to_owned(),
        topic_id: topic.map_or([0; 16], id),
        changes: vec![("segment.ms".to_owned(), value.map(str::to_owned))],
    })
}

fn register(node_id: i32) -> Record {
    Record::BrokerRegister(BrokerRegisterV1 {
        node_id,
        incarnation: 0x1234_5678_9abc_def0_1122_3344_5566_7788,
        endpoints: vec![EndpointV1 {
            name: "PLAINTEXT".to_owned(),
            host: "h".to_owned(),
            port: 9092,
            security_protocol: 0,
            core_direct: false,
        }],
        rack: Some("r".to_owned()),
        shards: 2,
    })
}

fn applied(image: &mut Image, records: &[Record]) -> Vec<Applied> {
    records.iter().map(|record| image.apply(record)).collect()
}

#[test]
fn a_topic_lives() {
    let mut image = Image::empty();
    let story = [
        Record::Cluster(ClusterV1 { cluster_id: "c".to_owned() }),
        register(1),
        create(1, "a", 3),
        more(1, 3, 300),
        config(record::RESOURCE_TOPIC, "a", Some(1), Some("9")),
    ];
    assert_eq!(applied(&mut image, &story), [Applied::Done; 5]);
    let topic = image.topic("a").expect("it is there").clone();
    assert_eq!((topic.partition_count(), image.partition_count(), image.version()), (303, 303, 5));
    assert_eq!(topic.partition(302).expect("the last").leader(), NodeId(1));
    assert_eq!((topic.partition(303), topic.partition(-1)), (None, None));
    assert_eq!(topic.configs["segment.ms"], "9");
    assert_eq!(topic.configs["retention.ms"], "5");
    assert_eq!(image.topic_by_id(TopicId(id(1))), Some(&topic));
    assert_eq!(image.broker(NodeId(1)).expect("registered").epoch, 2);

    let end = [Record::TopicDelete(TopicDeleteV1 { topic_id: id(1) }), create(2, "a", 1)];
    assert_eq!(applied(&mut image, &end), [Applied::Done; 2]);
    let again = image.topic("a").expect("it is there again");
    assert_ne!((again.id, again.index), (topic.id, topic.index));
    assert_eq!((image.topic_count(), image.partition_count()), (1, 1));
}

#[test]
fn records_whose_preconditions_do_not_hold_change_nothing_but_the_version() {
    let mut image = Image::empty();
    applied(
        &mut image,
        &[
            Record::Cluster(ClusterV1 { cluster_id: "c".to_owned() }),
            create(1, "a", 3),
            create(2, "gone", 1),
            Record::TopicDelete(TopicDeleteV1 { topic_id: id(2) }),
        ],
    );
    let before = snapshot::encode(&image);
    let mut bad_leader = partition(1);
    bad_leader.leader_slot = 1;
    let cases = [
        (Record::Cluster(ClusterV1 { cluster_id: "d".to_owned() }), Applied::ClusterExists),
        (create(9, "a", 1), Applied::TopicExists),
        (create(1, "b", 1), Applied::TopicExists),
        (create(9, "b", 0), Applied::Nonsense),
        (more(2, 1, 1), Applied::NoSuchTopic),
        (more(1, 2, 1), Applied::OtherPartitionCount),
        (config(record::RESOURCE_TOPIC, "gone", Some(2), Some("9")), Applied::NoSuchTopic),
        (config(record::RESOURCE_BROKER, "x", None, Some("9")), Applied::Nonsense),
        (config(77, "x", None, Some("9")), Applied::Nonsense),
        (Record::TopicDelete(TopicDeleteV1 { topic_id: id(2) }), Applied::NoSuchTopic),
        (
            Record::PartitionsCreate(PartitionsCreateV1 {
                topic_id: id(1),
                first: 3,
                partitions: vec![bad_leader],
            }),
            Applied::Nonsense,
        ),
        (
            Record::ProducerIdBlock(ProducerIdBlockV1 { node_id: 1, first: 5, count: 1 }),
            Applied::OtherProducerId,
        ),
        (Record::ProducerIdBlock(ProducerIdBlockV1 { node_id: 1, first: 0, count: 0 }), Applied::Nonsense),
    ];
    for (record, expected) in cases {
        let mut tried = image.clone();
        assert_eq!(tried.apply(&record), expected, "{record:?}");
        assert_eq!(tried.version(), image.version() + 1);
        let mut head = tried.head();
        head.version = image.version();
        let mut same = image.clone();
        same.version = head.version;
        tried.version = head.version;
        assert_eq!(snapshot::encode(&tried), before, "{record:?}");
    }
}

#[test]
fn an_image_survives_its_bytes() {
    let mut image = Image::empty();
    let mut story = vec![
        Record::Cluster(ClusterV1 { cluster_id: "cluster".to_owned() }),
        register(1),
        Record::FeatureLevel(FeatureLevelV1 { name: "group.version".to_owned(), level: 1 }),
        config(record::RESOURCE_BROKER, "", None, Some("1")),
        config(record::RESOURCE_BROKER, "1", None, Some("2")),
        Record::ProducerIdBlock(ProducerIdBlockV1 { node_id: 1, first: 0, count: 1_000 }),
        Record::NoOp,
    ];
    story.extend((0..300).map(|n| create(n, &format!("topic-{n}"), 1 + n as usize % 5)));
    story.push(Record::TopicDelete(TopicDeleteV1 { topic_id: id(299) }));
    assert!(applied(&mut image, &story).iter().all(|a| *a == Applied::Done));

    let bytes = snapshot::encode(&image);
    let mut restored = snapshot::decode(&bytes).expect("sound");
    assert_eq!(snapshot::encode(&restored), bytes);
    assert_eq!(restored.version(), image.version());
    // The index of a deleted topic is not given again.
    for image in [&mut image, &mut restored] {
        image.apply(&create(500, "next", 1));
        assert_eq!(image.topic("next").expect("created").index, TopicIndex(300));
    }
    for at in (0..bytes.len()).step_by(97) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        assert!(snapshot::decode(&damaged).is_err(), "a flipped bit at {at} is noticed");
        assert!(snapshot::decode(&bytes[..at]).is_err(), "an end at {at} is noticed");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(snapshot::decode(&longer).is_err());
}

#[test]
fn differences_between_images_are_those_of_their_topics() {
    let mut older = Image::empty();
    for n in 0..1_000 {
        older.apply(&create(n, &format!("t{n}"), 1));
    }
    let mut newer = older.clone();
    newer.apply(&Record::TopicDelete(TopicDeleteV1 { topic_id: id(5) }));
    newer.apply(&more(500, 1, 1));
    newer.apply(&create(5_000, "new", 1));
    newer.apply(&config(record::RESOURCE_TOPIC, "t700", Some(700), Some("9")));
    let changes = Image::topic_changes(&older, &newer);
    let shown: Vec<String> = changes
        .iter()
        .map(|change| match change {
            TopicChange::Created(topic) => format!("+{}", topic.name),
            TopicChange::Deleted(topic) => format!("-{}", topic.name),
            TopicChange::Changed { old, new } => {
                format!("{} {}->{}", new.name, old.partition_count(), new.partition_count())
            }
        })
        .collect();
    assert_eq!(shown, ["-t5", "t500 1->2", "t700 1->1", "+new"]);
    assert!(Image::topic_changes(&newer, &newer.clone()).is_empty());
}

#[test]
fn a_change_among_ten_thousand_topics_copies_a_few_chunks() {
    let mut image = Image::empty();
    for n in 0..10_000 {
        image.apply(&create(n, &format!("t{n}"), 1));
    }
    let older = image.clone();
    image.apply(&more(5_000, 1, 1));
    let shared = older.topics().zip(image.topics()).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
    assert_eq!(shared, 9_999, "all topics but one are the very same");
}

#[test]
fn every_record_survives_its_bytes_and_no_damage_does() {
    let records = [
        Record::NoOp,
        Record::Cluster(ClusterV1 { cluster_id: "c".to_owned() }),
        Record::FeatureLevel(FeatureLevelV1 { name: "f".to_owned(), level: -1 }),
        register(3),
        create(1, "a", 3),
        Record::TopicDelete(TopicDeleteV1 { topic_id: id(1) }),
        more(1, 3, 2),
        config(record::RESOURCE_TOPIC, "a", Some(1), None),
        Record::ProducerIdBlock(ProducerIdBlockV1 { node_id: 1, first: 1 << 40, count: 1_000 }),
    ];
    for record in records {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        let length = bytes.len();
        bytes.extend_from_slice(b"the next record");
        assert_eq!(Record::decode(&bytes), Ok((record.clone(), length)));
        for at in 0..length {
            let mut damaged = bytes[..length].to_vec();
            damaged[at] ^= 1;
            assert!(Record::decode(&damaged).is_err(), "{record:?}: a flipped bit at {at} is noticed");
            assert!(Record::decode(&bytes[..at]).is_err(), "{record:?}: an end at {at} is noticed");
        }
    }
}

#[test]
fn a_record_of_a_newer_release_is_named() {
    let mut bytes = Vec::new();
    record::encode_frame(&mut bytes, 99, 1, b"");
    assert_eq!(Record::decode(&bytes), Err(RecordError::Unknown { kind: 99, version: 1 }));
}

#[test]
fn archives_that_were_not_made_by_us_are_refused() {
    // The checksum is right, the payload is noise: nothing but an error comes of it.
    let mut state = 1u64;
    for length in 0..200 {
        let noise: Vec<u8> = (0..length)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        for kind in 2..10 {
            let mut bytes = Vec::new();
            record::encode_frame(&mut bytes, kind, 1, &noise);
            let _ = Record::decode(&bytes);
        }
    }
}

/// The bytes of released records. A test that fails here says that old logs can not be read any more: add a new version instead.
#[test]
fn the_bytes_of_records_are_frozen() {
    let crc_of = |record: &Record| {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        (bytes.len(), crc32c::crc32c(&bytes))
    };
    let records = [
        Record::NoOp,
        Record::Cluster(ClusterV1 { cluster_id: "MkU3OEVBNTcwNTJENDM2Qk".to_owned() }),
        Record::FeatureLevel(FeatureLevelV1 { name: "group.version".to_owned(), level: 1 }),
        register(3),
        create(1, "topic", 3),
        Record::TopicDelete(TopicDeleteV1 { topic_id: id(1) }),
        more(1, 3, 2),
        config(record::RESOURCE_TOPIC, "topic", Some(1), Some("9")),
        Record::ProducerIdBlock(ProducerIdBlockV1 { node_id: 1, first: 1_000, count: 1_000 }),
    ];
    let found: Vec<(usize, u32)> = records.iter().map(crc_of).collect();
    assert_eq!(
        found,
        [
            (12, 1_214_729_159),
            (44, 4_142_371_623),
            (40, 2_107_265_739),
            (124, 1_470_386_541),
            (164, 2_195_295_385),
            (28, 3_891_950_645),
            (96, 2_853_492_885),
            (80, 155_905_019),
            (36, 806_392_136),
        ]
    );
    let mut image = Image::empty();
    for record in &records[..6] {
        assert_eq!(image.apply(record), Applied::Done);
    }
    image.apply(&create(2, "topic", 2));
    image.apply(&config(record::RESOURCE_BROKER, "", None, Some("1")));
    let bytes = snapshot::encode(&image);
    assert_eq!((bytes.len(), crc32c::crc32c(&bytes)), (464, 1_696_648_595));
}
