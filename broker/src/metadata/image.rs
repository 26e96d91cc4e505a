//! What the cluster is after a number of records: one immutable value, shared by all shards of a process.
//!
//! An image is changed by making the next one. Topics and their partitions lie in shared chunks, so the next image costs
//! what changed and not what there is. `apply` is deterministic: the same records give the same image on every node; a record
//! whose preconditions do not hold changes nothing and says why.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use storage::TopicId;

use super::chunk_map::{ChunkMap, Difference};
use super::names::is_internal_topic;
use super::record::{
    self, BrokerRegisterV1, ConfigV1, PartitionV1, PartitionsCreateV1, ProducerIdBlockV1, Record,
    TopicCreateV1,
};
use crate::ids::NodeId;

/// Partitions that lie in one shared chunk.
const PARTITIONS_PER_CHUNK: usize = 256;

/// Replicas that a partition may have: ISR and ELR are masks of 16 bits.
pub const REPLICAS_MAX: usize = 16;

/// A dense number of a topic, unique in the life of the cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TopicIndex(pub u32);

/// Everything that the cluster has agreed on, as of one record.
#[derive(Clone, Debug)]
pub struct Image {
    version: u64,
    cluster_id: Arc<str>,
    features: Arc<BTreeMap<String, i16>>,
    brokers: Arc<BTreeMap<NodeId, Broker>>,
    broker_configs: Arc<BTreeMap<ConfigTarget, Configs>>,
    topics: ChunkMap<TopicIndex, Arc<Topic>>,
    by_name: ChunkMap<Arc<str>, TopicIndex>,
    by_id: ChunkMap<TopicId, TopicIndex>,
    next_topic_index: u32,
    next_producer_id: i64,
    partitions: usize,
}

/// Config names and their values as given.
pub type Configs = BTreeMap<String, String>;

/// Whose dynamic configs, beside those of topics.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ConfigTarget {
    /// The default of all brokers.
    AllBrokers,
    /// One broker.
    Broker(NodeId),
}

/// A registered broker.
#[derive(Clone, Debug, PartialEq)]
pub struct Broker {
    /// `node.id`.
    pub node: NodeId,
    /// Index of its registration.
    pub epoch: u64,
    /// Random for every process start.
    pub incarnation: u128,
    /// Where clients reach it.
    pub endpoints: Vec<Endpoint>,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// How many shards it runs.
    pub shards: u16,
}

/// One address of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
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

/// A topic.
#[derive(Clone, Debug)]
pub struct Topic {
    /// Dense number.
    pub index: TopicIndex,
    /// Random, never zero.
    pub id: TopicId,
    /// Name.
    pub name: Arc<str>,
    /// Overrides of the defaults, as given.
    pub configs: Arc<Configs>,
    partitions: Vec<Arc<Vec<Partition>>>,
}

/// A partition's replicas and who leads them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// The preferred leader first. Shared by the partitions that have the same.
    pub replicas: Arc<[NodeId]>,
    /// Index into `replicas` of the leader.
    pub leader_slot: u16,
    /// In-sync replicas as a mask over `replicas`.
    pub isr: u16,
    /// Eligible leader replicas as a mask over `replicas`.
    pub elr: u16,
    /// Bumped by every change of leader.
    pub leader_epoch: i32,
    /// Bumped by every change.
    pub partition_epoch: i32,
}

/// What `Image::apply` made of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Applied {
    /// It took effect.
    Done,
    /// The log is already that of a cluster.
    ClusterExists,
    /// There is a topic of that name or id.
    TopicExists,
    /// There is no topic of that id.
    NoSuchTopic,
    /// The topic has another number of partitions than the record expects.
    OtherPartitionCount,
    /// The next producer id is another than the record expects.
    OtherProducerId,
    /// The record says something that no version of the program should have written.
    Nonsense,
}

/// How a topic differs between two images.
#[derive(Debug)]
pub enum TopicChange {
    /// It is new.
    Created(Arc<Topic>),
    /// Its partitions or configs are not what they were.
    Changed {
        /// As it was.
        old: Arc<Topic>,
        /// As it is.
        new: Arc<Topic>,
    },
    /// It is gone.
    Deleted(Arc<Topic>),
}

impl Default for Image {
    fn default() -> Self {
        Image::empty()
    }
}

impl Image {
    /// Before the first record.
    pub fn empty() -> Image {
        Image {
            version: 0,
            cluster_id: Arc::from(""),
            features: Arc::default(),
            brokers: Arc::default(),
            broker_configs: Arc::default(),
            topics: ChunkMap::default(),
            by_name: ChunkMap::default(),
            by_id: ChunkMap::default(),
            next_topic_index: 0,
            next_producer_id: 0,
            partitions: 0,
        }
    }

    /// Index of the last applied record.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The cluster's id, empty before the cluster is founded.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// Finalized features and their levels.
    pub fn features(&self) -> &BTreeMap<String, i16> {
        &self.features
    }

    /// All brokers.
    pub fn brokers(&self) -> impl Iterator<Item = &Broker> {
        self.brokers.values()
    }

    /// One broker.
    pub fn broker(&self, node: NodeId) -> Option<&Broker> {
        self.brokers.get(&node)
    }

    /// The dynamic configs of brokers, as given.
    pub fn broker_configs(&self, target: ConfigTarget) -> &Configs {
        static NONE: Configs = Configs::new();
        self.broker_configs.get(&target).unwrap_or(&NONE)
    }

    /// How many topics there are.
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// How many partitions all topics have together.
    pub fn partition_count(&self) -> usize {
        self.partitions
    }

    /// The next producer id that nobody has.
    pub fn next_producer_id(&self) -> i64 {
        self.next_producer_id
    }

    /// A topic by its name.
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topic_by_index(*self.by_name.get(name)?)
    }

    /// A topic by its id.
    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.topic_by_index(*self.by_id.get(&id)?)
    }

    /// A topic by its number.
    pub fn topic_by_index(&self, index: TopicIndex) -> Option<&Arc<Topic>> {
        self.topics.get(&index)
    }

    /// All topics in the order of their names.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.by_name.iter().map(|(_, index)| self.indexed(*index))
    }

    /// The topics from `name` on, in the order of their names.
    pub fn topics_from(&self, name: &str) -> impl Iterator<Item = &Arc<Topic>> {
        self.by_name.iter_from(name).map(|(_, index)| self.indexed(*index))
    }

    /// What is different in `newer`, looking only at what the two do not share.
    pub fn topic_changes(older: &Image, newer: &Image) -> Vec<TopicChange> {
        ChunkMap::differences(&older.topics, &newer.topics)
            .into_iter()
            .map(|difference| match difference {
                Difference::Added(topic) => TopicChange::Created(topic.clone()),
                Difference::Removed(topic) => TopicChange::Deleted(topic.clone()),
                Difference::Changed(old, new) => TopicChange::Changed { old: old.clone(), new: new.clone() },
            })
            .collect()
    }

    /// Whether the dynamic configs of brokers are the very same in both images.
    pub fn same_broker_configs(&self, other: &Image) -> bool {
        Arc::ptr_eq(&self.broker_configs, &other.broker_configs)
            || self.broker_configs == other.broker_configs
    }

    /// Applies the record with the index after `version`.
    pub fn apply(&mut self, record: &Record) -> Applied {
        self.version += 1;
        match record {
            Record::NoOp => Applied::Done,
            Record::Cluster(r) => self.found(&r.cluster_id),
            Record::FeatureLevel(r) => self.finalize(&r.name, r.level),
            Record::BrokerRegister(r) => self.register(r),
            Record::TopicCreate(r) => self.create_topic(r),
            Record::TopicDelete(r) => self.delete_topic(TopicId(r.topic_id)),
            Record::PartitionsCreate(r) => self.create_partitions(r),
            Record::Config(r) => self.configure(r),
            Record::ProducerIdBlock(r) => self.take_producer_ids(r),
        }
    }

    fn indexed(&self, index: TopicIndex) -> &Arc<Topic> {
        self.topics.get(&index).expect("a topic that has a name has an index")
    }

    fn found(&mut self, cluster_id: &str) -> Applied {
        if !self.cluster_id.is_empty() {
            return Applied::ClusterExists;
        }
        self.cluster_id = Arc::from(cluster_id);
        Applied::Done
    }

    fn finalize(&mut self, name: &str, level: i16) -> Applied {
        let features = Arc::make_mut(&mut self.features);
        if level == 0 {
            features.remove(name);
        } else {
            features.insert(name.to_owned(), level);
        }
        Applied::Done
    }

    fn register(&mut self, r: &BrokerRegisterV1) -> Applied {
        if r.node_id < 0 || r.shards == 0 {
            return Applied::Nonsense;
        }
        let node = NodeId(r.node_id);
        let endpoints = r.endpoints.iter().map(|e| Endpoint {
            name: e.name.clone(),
            host: e.host.clone(),
            port: e.port,
            security_protocol: e.security_protocol,
            core_direct: e.core_direct,
        });
        let broker = Broker {
            node,
            epoch: self.version,
            incarnation: r.incarnation,
            endpoints: endpoints.collect(),
            rack: r.rack.clone(),
            shards: r.shards,
        };
        Arc::make_mut(&mut self.brokers).insert(node, broker);
        Applied::Done
    }

    fn create_topic(&mut self, r: &TopicCreateV1) -> Applied {
        let id = TopicId(r.topic_id);
        if self.by_name.get(r.name.as_str()).is_some() || self.by_id.get(&id).is_some() {
            return Applied::TopicExists;
        }
        if r.partitions.is_empty() || !r.partitions.iter().all(makes_sense) || r.topic_id == [0; 16] {
            return Applied::Nonsense;
        }
        let topic = Topic {
            index: TopicIndex(self.next_topic_index),
            id,
            name: Arc::from(r.name.as_str()),
            configs: Arc::new(r.configs.iter().cloned().collect()),
            partitions: Vec::new(),
        };
        self.insert_topic(topic.with_partitions(&r.partitions));
        Applied::Done
    }

    /// Takes in a topic under its own index: the next one, or, from a snapshot, the one that it had.
    pub(super) fn insert_topic(&mut self, topic: Topic) {
        self.next_topic_index = self.next_topic_index.max(topic.index.0 + 1);
        self.partitions += topic.partition_count();
        self.by_name.insert(topic.name.clone(), topic.index);
        self.by_id.insert(topic.id, topic.index);
        let replaced = self.topics.insert(topic.index, Arc::new(topic));
        assert!(replaced.is_none(), "a topic index is given once");
    }

    fn delete_topic(&mut self, id: TopicId) -> Applied {
        let Some(index) = self.by_id.remove(&id) else { return Applied::NoSuchTopic };
        let topic = self.topics.remove(&index).expect("a topic that has an id has an index");
        self.by_name.remove(&*topic.name);
        self.partitions -= topic.partition_count();
        Applied::Done
    }

    fn create_partitions(&mut self, r: &PartitionsCreateV1) -> Applied {
        let Some(topic) = self.topic_by_id(TopicId(r.topic_id)).cloned() else { return Applied::NoSuchTopic };
        if topic.partition_count() != r.first as usize {
            return Applied::OtherPartitionCount;
        }
        if !r.partitions.iter().all(makes_sense) {
            return Applied::Nonsense;
        }
        self.partitions += r.partitions.len();
        let grown = Topic::clone(&topic).with_partitions(&r.partitions);
        self.topics.insert(topic.index, Arc::new(grown));
        Applied::Done
    }

    fn configure(&mut self, r: &ConfigV1) -> Applied {
        let target = match (r.resource_type, r.resource_name.parse()) {
            (record::RESOURCE_TOPIC, _) => return self.configure_topic(r),
            (record::RESOURCE_BROKER, _) if r.resource_name.is_empty() => ConfigTarget::AllBrokers,
            (record::RESOURCE_BROKER, Ok(node)) => ConfigTarget::Broker(NodeId(node)),
            _ => return Applied::Nonsense,
        };
        let targets = Arc::make_mut(&mut self.broker_configs);
        let configs = targets.entry(target).or_default();
        change(configs, &r.changes);
        if configs.is_empty() {
            targets.remove(&target);
        }
        Applied::Done
    }

    fn configure_topic(&mut self, r: &ConfigV1) -> Applied {
        let Some(topic) = self.topic_by_id(TopicId(r.topic_id)).cloned() else { return Applied::NoSuchTopic };
        let mut topic = Topic::clone(&topic);
        change(Arc::make_mut(&mut topic.configs), &r.changes);
        self.topics.insert(topic.index, Arc::new(topic));
        Applied::Done
    }

    fn take_producer_ids(&mut self, r: &ProducerIdBlockV1) -> Applied {
        let end = r.first.checked_add(i64::from(r.count));
        match end {
            Some(end) if r.count > 0 && r.first == self.next_producer_id => {
                self.next_producer_id = end;
                Applied::Done
            }
            Some(_) if r.first != self.next_producer_id => Applied::OtherProducerId,
            _ => Applied::Nonsense,
        }
    }

    /// The parts that are not lists, for a snapshot.
    pub(super) fn head(&self) -> Head {
        Head {
            version: self.version,
            cluster_id: self.cluster_id.to_string(),
            next_topic_index: self.next_topic_index,
            next_producer_id: self.next_producer_id,
            features: self.features.iter().map(|(name, level)| (name.clone(), *level)).collect(),
        }
    }

    /// An image with nothing but a head; the rest of the snapshot follows by `insert_*`.
    pub(super) fn from_head(head: Head) -> Image {
        Image {
            version: head.version,
            cluster_id: Arc::from(head.cluster_id),
            features: Arc::new(head.features.into_iter().collect()),
            next_topic_index: head.next_topic_index,
            next_producer_id: head.next_producer_id,
            ..Image::empty()
        }
    }

    pub(super) fn insert_broker(&mut self, broker: Broker) {
        Arc::make_mut(&mut self.brokers).insert(broker.node, broker);
    }

    pub(super) fn insert_broker_configs(&mut self, target: ConfigTarget, configs: Configs) {
        Arc::make_mut(&mut self.broker_configs).insert(target, configs);
    }

    pub(super) fn all_broker_configs(&self) -> &BTreeMap<ConfigTarget, Configs> {
        &self.broker_configs
    }
}

/// The parts of an image that are not lists.
pub(super) struct Head {
    pub(super) version: u64,
    pub(super) cluster_id: String,
    pub(super) next_topic_index: u32,
    pub(super) next_producer_id: i64,
    pub(super) features: Vec<(String, i16)>,
}

impl Topic {
    /// How many partitions it has.
    pub fn partition_count(&self) -> usize {
        match self.partitions.split_last() {
            Some((last, full)) => full.len() * PARTITIONS_PER_CHUNK + last.len(),
            None => 0,
        }
    }

    /// A partition by its number, which may be anything that a client says.
    pub fn partition(&self, number: i32) -> Option<&Partition> {
        let number = usize::try_from(number).ok()?;
        self.partitions.get(number / PARTITIONS_PER_CHUNK)?.get(number % PARTITIONS_PER_CHUNK)
    }

    /// All partitions, 0 first.
    pub fn partitions(&self) -> impl Iterator<Item = &Partition> {
        self.partitions.iter().flat_map(|chunk| chunk.iter())
    }

    /// Whether it belongs to the brokers and not to users.
    pub fn is_internal(&self) -> bool {
        is_internal_topic(&self.name)
    }

    pub(super) fn restored(index: TopicIndex, r: &TopicCreateV1) -> Option<Topic> {
        if r.partitions.is_empty() || !r.partitions.iter().all(makes_sense) {
            return None;
        }
        let topic = Topic {
            index,
            id: TopicId(r.topic_id),
            name: Arc::from(r.name.as_str()),
            configs: Arc::new(r.configs.iter().cloned().collect()),
            partitions: Vec::new(),
        };
        Some(topic.with_partitions(&r.partitions))
    }

    fn with_partitions(mut self, new: &[PartitionV1]) -> Topic {
        let mut replicas: Option<Arc<[NodeId]>> = None;
        for partition in new {
            let same =
                replicas.take().filter(|r| r.iter().map(|n| n.0).eq(partition.replicas.iter().copied()));
            let shared = same.unwrap_or_else(|| partition.replicas.iter().map(|n| NodeId(*n)).collect());
            replicas = Some(shared.clone());
            self.push(Partition {
                replicas: shared,
                leader_slot: partition.leader_slot,
                isr: partition.isr,
                elr: partition.elr,
                leader_epoch: partition.leader_epoch,
                partition_epoch: partition.partition_epoch,
            });
        }
        self
    }

    fn push(&mut self, partition: Partition) {
        match self.partitions.last_mut() {
            Some(chunk) if chunk.len() < PARTITIONS_PER_CHUNK => Arc::make_mut(chunk).push(partition),
            _ => self.partitions.push(Arc::new(vec![partition])),
        }
    }
}

/// Two topics are the same when they share what they consist of, or say the same.
impl PartialEq for Topic {
    fn eq(&self, other: &Topic) -> bool {
        self.id == other.id
            && self.index == other.index
            && (Arc::ptr_eq(&self.configs, &other.configs) || self.configs == other.configs)
            && self.partitions.len() == other.partitions.len()
            && self.partitions.iter().zip(&other.partitions).all(|(a, b)| Arc::ptr_eq(a, b) || a == b)
    }
}

impl Partition {
    /// The leader.
    pub fn leader(&self) -> NodeId {
        self.replicas[usize::from(self.leader_slot)]
    }

    /// In-sync replicas.
    pub fn isr(&self) -> impl Iterator<Item = NodeId> {
        self.masked(self.isr)
    }

    /// Eligible leader replicas outside the ISR.
    pub fn elr(&self) -> impl Iterator<Item = NodeId> {
        self.masked(self.elr)
    }

    fn masked(&self, mask: u16) -> impl Iterator<Item = NodeId> {
        self.replicas
            .iter()
            .enumerate()
            .filter(move |(slot, _)| mask & (1 << slot) != 0)
            .map(|(_, node)| *node)
    }

    pub(super) fn to_record(&self) -> PartitionV1 {
        PartitionV1 {
            replicas: self.replicas.iter().map(|node| node.0).collect(),
            leader_slot: self.leader_slot,
            isr: self.isr,
            elr: self.elr,
            leader_epoch: self.leader_epoch,
            partition_epoch: self.partition_epoch,
        }
    }
}

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

fn makes_sense(partition: &PartitionV1) -> bool {
    let count = partition.replicas.len();
    let beyond = |mask: u16| u32::from(mask) >> count != 0;
    (1..=REPLICAS_MAX).contains(&count)
        && usize::from(partition.leader_slot) < count
        && !beyond(partition.isr)
        && !beyond(partition.elr)
}

fn change(configs: &mut Configs, changes: &[(String, Option<String>)]) {
    for (name, value) in changes {
        match value {
            Some(value) => configs.insert(name.clone(), value.clone()),
            None => configs.remove(name),
        };
    }
}

#[cfg(test)]
mod tests;
