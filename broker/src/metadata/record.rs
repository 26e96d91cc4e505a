//! The records of the metadata log: each says what happened, never how it was decided.
//!
//! A record is framed `{type u16, version u16, length u32, crc32c u32}`, little-endian, the checksum over the first
//! eight bytes and the payload; the payload is an rkyv archive, validated before it is looked at. rkyv has no schema
//! evolution: **a released struct is frozen** (a test holds its bytes). A change is a `FooV2`, and `decode` turns old ones into it.

use rkyv::api::high::{HighSerializer, HighValidator};
use rkyv::bytecheck::CheckBytes;
use rkyv::de::Pool;
use rkyv::rancor::{Error, Strategy};
use rkyv::ser::allocator::ArenaHandle;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};

/// Bytes before the payload of every record.
pub const HEADER_BYTES: usize = 12;

/// Largest payload that is read back: a topic of a million partitions stays below it.
pub const PAYLOAD_BYTES_MAX: usize = 64 << 20;

/// `ConfigV1::resource_type` of a topic.
pub const RESOURCE_TOPIC: i8 = 2;

/// `ConfigV1::resource_type` of a broker, or of all.
pub const RESOURCE_BROKER: i8 = 4;

/// Something that happened to the cluster.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// Nothing; takes up an index.
    NoOp,
    /// The cluster was founded. The first record of every log.
    Cluster(ClusterV1),
    /// A feature was finalized at a level.
    FeatureLevel(FeatureLevelV1),
    /// A broker process has registered.
    BrokerRegister(BrokerRegisterV1),
    /// A topic was created.
    TopicCreate(TopicCreateV1),
    /// A topic was deleted.
    TopicDelete(TopicDeleteV1),
    /// A topic got more partitions.
    PartitionsCreate(PartitionsCreateV1),
    /// Configs of one resource were set or taken back.
    Config(ConfigV1),
    /// A block of producer ids was given away.
    ProducerIdBlock(ProducerIdBlockV1),
}

/// The cluster's name for itself.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct ClusterV1 {
    /// Kafka's form: a random UUID in 22 characters of URL-safe base64.
    pub cluster_id: String,
}

/// A feature and its finalized level.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct FeatureLevelV1 {
    /// Kafka's name of it, such as `group.version`.
    pub name: String,
    /// The level; 0 takes the feature away.
    pub level: i16,
}

/// A broker process as it registers. Its broker epoch is the index of this record.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct BrokerRegisterV1 {
    /// `node.id`.
    pub node_id: i32,
    /// Random for every process start.
    pub incarnation: u128,
    /// Where clients reach it.
    pub endpoints: Vec<EndpointV1>,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// How many shards it runs.
    pub shards: u16,
}

/// One address of a broker.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct EndpointV1 {
    /// Listener name.
    pub name: String,
    /// Host as clients are told.
    pub host: String,
    /// Port as clients are told; for core-direct listeners that of shard 0.
    pub port: u16,
    /// Kafka's security protocol number (0 is PLAINTEXT).
    pub security_protocol: i16,
    /// Every shard has a port of its own, and a node id of its own.
    pub core_direct: bool,
}

/// The state of a new partition.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct PartitionV1 {
    /// Node ids, the preferred leader first.
    pub replicas: Vec<i32>,
    /// Index into `replicas` of the leader.
    pub leader_slot: u16,
    /// In-sync replicas as a mask over `replicas`.
    pub isr: u16,
    /// Eligible leader replicas as a mask over `replicas` (KIP-966).
    pub elr: u16,
    /// Bumped by every change of leader.
    pub leader_epoch: i32,
    /// Bumped by every change.
    pub partition_epoch: i32,
}

/// A new topic.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct TopicCreateV1 {
    /// Random, never zero.
    pub topic_id: [u8; 16],
    /// A name that Kafka accepts.
    pub name: String,
    /// Partition 0 first.
    pub partitions: Vec<PartitionV1>,
    /// Overrides of the defaults, as given.
    pub configs: Vec<(String, String)>,
}

/// The end of a topic.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct TopicDeleteV1 {
    /// Which one.
    pub topic_id: [u8; 16],
}

/// More partitions for a topic.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct PartitionsCreateV1 {
    /// Which topic.
    pub topic_id: [u8; 16],
    /// How many it had: a precondition.
    pub first: u32,
    /// The new ones, `first` first.
    pub partitions: Vec<PartitionV1>,
}

/// Changed configs of one resource.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct ConfigV1 {
    /// Kafka's resource type: 2 topic, 4 broker.
    pub resource_type: i8,
    /// Topic name, node id in decimal, or empty for the default of all brokers.
    pub resource_name: String,
    /// For topics the id, a precondition: a topic of that name created later is another one. Else zero.
    pub topic_id: [u8; 16],
    /// New values; none takes the config back to its default.
    pub changes: Vec<(String, Option<String>)>,
}

/// Producer ids that are in use from now on.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct ProducerIdBlockV1 {
    /// Who asked.
    pub node_id: i32,
    /// The first id: a precondition.
    pub first: i64,
    /// How many, consecutive.
    pub count: i32,
}

/// Why bytes are not a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// There are fewer bytes than a record needs.
    Short,
    /// The checksum is not that of the bytes.
    Checksum,
    /// A type or version that this version of the program does not know.
    Unknown {
        /// Record type.
        kind: u16,
        /// Its version.
        version: u16,
    },
    /// The checksum is right and the content is not: written by a broken program.
    Invalid {
        /// Record type.
        kind: u16,
        /// What is wrong.
        message: String,
    },
}

impl std::fmt::Display for RecordError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RecordError::Short => write!(f, "cut short"),
            RecordError::Checksum => write!(f, "wrong checksum"),
            RecordError::Unknown { kind, version } => {
                write!(f, "record type {kind} version {version} is not known: written by a newer release")
            }
            RecordError::Invalid { kind, message } => write!(f, "record type {kind} is malformed: {message}"),
        }
    }
}

impl std::error::Error for RecordError {}

/// Record types. Numbers are for ever; 0x100 and up are parts of snapshots.
pub(crate) mod kind {
    pub(crate) const NO_OP: u16 = 1;
    pub(crate) const CLUSTER: u16 = 2;
    pub(crate) const FEATURE_LEVEL: u16 = 3;
    pub(crate) const BROKER_REGISTER: u16 = 4;
    pub(crate) const TOPIC_CREATE: u16 = 5;
    pub(crate) const TOPIC_DELETE: u16 = 6;
    pub(crate) const PARTITIONS_CREATE: u16 = 7;
    pub(crate) const CONFIG: u16 = 8;
    pub(crate) const PRODUCER_ID_BLOCK: u16 = 9;
}

impl Record {
    /// Appends the framed record to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Record::NoOp => encode_frame(out, kind::NO_OP, 1, &[]),
            Record::Cluster(r) => encode_payload(out, kind::CLUSTER, 1, r),
            Record::FeatureLevel(r) => encode_payload(out, kind::FEATURE_LEVEL, 1, r),
            Record::BrokerRegister(r) => encode_payload(out, kind::BROKER_REGISTER, 1, r),
            Record::TopicCreate(r) => encode_payload(out, kind::TOPIC_CREATE, 1, r),
            Record::TopicDelete(r) => encode_payload(out, kind::TOPIC_DELETE, 1, r),
            Record::PartitionsCreate(r) => encode_payload(out, kind::PARTITIONS_CREATE, 1, r),
            Record::Config(r) => encode_payload(out, kind::CONFIG, 1, r),
            Record::ProducerIdBlock(r) => encode_payload(out, kind::PRODUCER_ID_BLOCK, 1, r),
        }
    }

    /// The record at the start of `bytes`, and how many bytes it takes.
    pub fn decode(bytes: &[u8]) -> Result<(Record, usize), RecordError> {
        let frame = Frame::decode(bytes)?;
        let record = match (frame.kind, frame.version) {
            (kind::NO_OP, 1) => Record::NoOp,
            (kind::CLUSTER, 1) => Record::Cluster(frame.payload()?),
            (kind::FEATURE_LEVEL, 1) => Record::FeatureLevel(frame.payload()?),
            (kind::BROKER_REGISTER, 1) => Record::BrokerRegister(frame.payload()?),
            (kind::TOPIC_CREATE, 1) => Record::TopicCreate(frame.payload()?),
            (kind::TOPIC_DELETE, 1) => Record::TopicDelete(frame.payload()?),
            (kind::PARTITIONS_CREATE, 1) => Record::PartitionsCreate(frame.payload()?),
            (kind::CONFIG, 1) => Record::Config(frame.payload()?),
            (kind::PRODUCER_ID_BLOCK, 1) => Record::ProducerIdBlock(frame.payload()?),
            (kind, version) => return Err(RecordError::Unknown { kind, version }),
        };
        Ok((record, frame.total_bytes()))
    }
}

/// A framed payload whose checksum is right.
pub(crate) struct Frame<'a> {
    pub(crate) kind: u16,
    pub(crate) version: u16,
    bytes: &'a [u8],
}

impl<'a> Frame<'a> {
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Frame<'a>, RecordError> {
        let header = bytes.first_chunk::<HEADER_BYTES>().ok_or(RecordError::Short)?;
        let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
        if length > PAYLOAD_BYTES_MAX {
            return Err(RecordError::Checksum);
        }
        let payload = bytes.get(HEADER_BYTES..HEADER_BYTES + length).ok_or(RecordError::Short)?;
        let crc = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
        if crc != frame_crc(&header[..8], payload) {
            return Err(RecordError::Checksum);
        }
        Ok(Frame {
            kind: u16::from_le_bytes([header[0], header[1]]),
            version: u16::from_le_bytes([header[2], header[3]]),
            bytes: payload,
        })
    }

    pub(crate) fn total_bytes(&self) -> usize {
        HEADER_BYTES + self.bytes.len()
    }

    /// The payload as a value, validated. It is copied first: an archive must lie aligned.
    pub(crate) fn payload<T>(&self) -> Result<T, RecordError>
    where
        T: Archive,
        T::Archived: for<'b> CheckBytes<HighValidator<'b, Error>> + Deserialize<T, Strategy<Pool, Error>>,
    {
        let mut aligned = AlignedVec::<16>::with_capacity(self.bytes.len());
        aligned.extend_from_slice(self.bytes);
        rkyv::from_bytes::<T, Error>(&aligned)
            .map_err(|error| RecordError::Invalid { kind: self.kind, message: error.to_string() })
    }
}

pub(crate) fn encode_payload<T>(out: &mut Vec<u8>, kind: u16, version: u16, value: &T)
where
    T: for<'a> Serialize<HighSerializer<AlignedVec, ArenaHandle<'a>, Error>>,
{
    let payload = rkyv::to_bytes::<Error>(value).expect("a record of plain values can always be archived");
    encode_frame(out, kind, version, &payload);
}

pub(crate) fn encode_frame(out: &mut Vec<u8>, kind: u16, version: u16, payload: &[u8]) {
    assert!(payload.len() <= PAYLOAD_BYTES_MAX, "what is written can be read back");
    let start = out.len();
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&version.to_le_bytes());
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    let crc = frame_crc(&out[start..], payload);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(payload);
}

fn frame_crc(head: &[u8], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(head), payload)
}
