//! An image as bytes, and back: a sequence of framed records of their own types, closed by one that counts them.

use rkyv::{Archive, Deserialize, Serialize};

use super::image::{Broker, ConfigTarget, Configs, Endpoint, Head, Image, Topic, TopicIndex};
use super::record::{BrokerRegisterV1, EndpointV1, Frame, RecordError, TopicCreateV1, encode_payload};
use crate::ids::NodeId;

/// Types of the records of a snapshot. Numbers are for ever.
mod kind {
    pub(super) const HEAD: u16 = 0x101;
    pub(super) const BROKER: u16 = 0x102;
    pub(super) const BROKER_CONFIGS: u16 = 0x103;
    pub(super) const TOPIC: u16 = 0x104;
    pub(super) const END: u16 = 0x105;
}

#[derive(Archive, Serialize, Deserialize)]
struct HeadV1 {
    version: u64,
    cluster_id: String,
    next_topic_index: u32,
    next_producer_id: i64,
    features: Vec<(String, i16)>,
}

#[derive(Archive, Serialize, Deserialize)]
struct BrokerV1 {
    epoch: u64,
    registration: BrokerRegisterV1,
}

#[derive(Archive, Serialize, Deserialize)]
struct BrokerConfigsV1 {
    /// None for the default of all brokers.
    node_id: Option<i32>,
    configs: Vec<(String, String)>,
}

#[derive(Archive, Serialize, Deserialize)]
struct TopicV1 {
    index: u32,
    topic: TopicCreateV1,
}

#[derive(Archive, Serialize, Deserialize)]
struct EndV1 {
    records: u64,
    /// CRC-32C of all bytes before this record.
    crc: u32,
}

/// The image as bytes.
pub fn encode(image: &Image) -> Vec<u8> {
    let mut out = Vec::new();
    let mut records = 0;
    let head = image.head();
    let head = HeadV1 {
        version: head.version,
        cluster_id: head.cluster_id,
        next_topic_index: head.next_topic_index,
        next_producer_id: head.next_producer_id,
        features: head.features,
    };
    encode_payload(&mut out, kind::HEAD, 1, &head);
    for broker in image.brokers() {
        encode_payload(&mut out, kind::BROKER, 1, &broker_record(broker));
        records += 1;
    }
    for (target, configs) in image.all_broker_configs() {
        let node_id = match target {
            ConfigTarget::AllBrokers => None,
            ConfigTarget::Broker(node) => Some(node.0),
        };
        let configs = configs.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        encode_payload(&mut out, kind::BROKER_CONFIGS, 1, &BrokerConfigsV1 { node_id, configs });
        records += 1;
    }
    for topic in image.topics() {
        encode_payload(&mut out, kind::TOPIC, 1, &topic_record(topic));
        records += 1;
    }
    let crc = crc32c::crc32c(&out);
    encode_payload(&mut out, kind::END, 1, &EndV1 { records, crc });
    out
}

/// The image in `bytes`. Anything missing, added or changed is an error.
pub fn decode(bytes: &[u8]) -> Result<Image, RecordError> {
    let head = Frame::decode(bytes)?;
    expect_version(&head)?;
    if head.kind != kind::HEAD {
        return Err(invalid(&head, "a snapshot begins with its head"));
    }
    let HeadV1 { version, cluster_id, next_topic_index, next_producer_id, features } = head.payload()?;
    let mut image =
        Image::from_head(Head { version, cluster_id, next_topic_index, next_producer_id, features });
    let (mut at, mut records) = (head.total_bytes(), 0);
    loop {
        let frame = Frame::decode(&bytes[at..])?;
        expect_version(&frame)?;
        match frame.kind {
            kind::BROKER => image.insert_broker(broker(frame.payload()?)),
            kind::BROKER_CONFIGS => {
                let BrokerConfigsV1 { node_id, configs } = frame.payload()?;
                let target =
                    node_id.map_or(ConfigTarget::AllBrokers, |node| ConfigTarget::Broker(NodeId(node)));
                image.insert_broker_configs(target, configs.into_iter().collect::<Configs>());
            }
            kind::TOPIC => insert_topic(&mut image, &frame)?,
            kind::END => {
                let end: EndV1 = frame.payload()?;
                if end.records != records || end.crc != crc32c::crc32c(&bytes[..at]) {
                    return Err(invalid(
                        &frame,
                        "its count or checksum is not that of the records before it",
                    ));
                }
                if at + frame.total_bytes() != bytes.len() {
                    return Err(invalid(&frame, "bytes follow the end"));
                }
                return Ok(image);
            }
            _ => return Err(RecordError::Unknown { kind: frame.kind, version: frame.version }),
        }
        at += frame.total_bytes();
        records += 1;
    }
}

fn insert_topic(image: &mut Image, frame: &Frame<'_>) -> Result<(), RecordError> {
    let TopicV1 { index, topic } = frame.payload()?;
    let known = image.topic_by_index(TopicIndex(index)).is_some() || image.topic(&topic.name).is_some();
    match Topic::restored(TopicIndex(index), &topic) {
        Some(topic) if !known && index < u32::MAX => image.insert_topic(topic),
        _ => return Err(invalid(frame, "a topic that cannot be")),
    }
    Ok(())
}

fn expect_version(frame: &Frame<'_>) -> Result<(), RecordError> {
    match frame.version {
        1 => Ok(()),
        version => Err(RecordError::Unknown { kind: frame.kind, version }),
    }
}

fn invalid(frame: &Frame<'_>, message: &str) -> RecordError {
    RecordError::Invalid { kind: frame.kind, message: message.to_owned() }
}

fn broker_record(broker: &Broker) -> BrokerV1 {
    let endpoints = broker.endpoints.iter().map(|e| EndpointV1 {
        name: e.name.clone(),
        host: e.host.clone(),
        port: e.port,
        security_protocol: e.security_protocol,
        core_direct: e.core_direct,
    });
    BrokerV1 {
        epoch: broker.epoch,
        registration: BrokerRegisterV1 {
            node_id: broker.node.0,
            incarnation: broker.incarnation,
            endpoints: endpoints.collect(),
            rack: broker.rack.clone(),
            shards: broker.shards,
        },
    }
}

fn broker(record: BrokerV1) -> Broker {
    let BrokerV1 { epoch, registration } = record;
    let endpoints = registration.endpoints.into_iter().map(|e| Endpoint {
        name: e.name,
        host: e.host,
        port: e.port,
        security_protocol: e.security_protocol,
        core_direct: e.core_direct,
    });
    Broker {
        node: NodeId(registration.node_id),
        epoch,
        incarnation: registration.incarnation,
        endpoints: endpoints.collect(),
        rack: registration.rack,
        shards: registration.shards,
    }
}

fn topic_record(topic: &Topic) -> TopicV1 {
    TopicV1 {
        index: topic.index.0,
        topic: TopicCreateV1 {
            topic_id: topic.id.0,
            name: topic.name.to_string(),
            partitions: topic.partitions().map(|p| p.to_record()).collect(),
            configs: topic.configs.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        },
    }
}
