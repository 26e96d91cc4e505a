//! What must be known of a cluster before and between the load: its brokers, the versions that they speak, topics and
//! their leaders, offsets, producer ids. Asked by blocking calls, from threads that carry no load.

#![allow(
    clippy::disallowed_methods,
    reason = "this is a shell: it connects, waits and gives up after a while"
)]

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::thread;
use std::time::{Duration, Instant};

use net::client::blocking::{CallError, Client};
use net::messages::api_versions::ApiVersionsRequest;
use net::messages::create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use net::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use net::messages::init_producer_id::InitProducerIdRequest;
use net::messages::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use net::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use net::{ApiKey, ErrorCode};

use crate::batch::ProducerId;
use crate::outcome::Target;
use crate::workload::{Create, Topics};

/// What a client calls itself.
pub const CLIENT_ID: &str = "monedula-bench";
/// How long a connection may take to be there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a response may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// How long topics may take to be deleted, created and led.
const TOPICS_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two looks whether they are.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Topics of one request.
const TOPICS_PER_REQUEST: usize = 100;
/// ListOffsets: the end of a partition.
const LATEST: i64 = -1;
/// ListOffsets: its start.
const EARLIEST: i64 = -2;

/// Why a cluster cannot be used. The message is a sentence for people, and says what to do where there is something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterError(pub String);

impl fmt::Display for ClusterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ClusterError {}

type Result<T> = std::result::Result<T, ClusterError>;

fn error<T>(message: impl Into<String>) -> Result<T> {
    Err(ClusterError(message.into()))
}

/// The version to use of each API: the highest that the broker and we both speak.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Versions(BTreeMap<ApiKey, i16>);

impl Versions {
    /// The version of an API; an error that names it if the broker has none that we speak.
    pub fn of(&self, api_key: ApiKey) -> Result<i16> {
        self.0.get(&api_key).copied().ok_or_else(|| {
            let ours = api_key.served();
            ClusterError(format!(
                "the broker serves no version of {api_key} that this client speaks (it speaks {ours}); is it a Kafka \
                 broker, and not too old or too new?"
            ))
        })
    }

    /// All that we speak at their highest, for a broker that is ours.
    pub fn newest() -> Self {
        Self(ApiKey::ALL.iter().map(|api_key| (*api_key, api_key.served().max)).collect())
    }
}

/// A broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its id.
    pub id: i32,
    /// `host:port`, as it announced it.
    pub name: String,
    /// Where that is.
    pub address: SocketAddr,
}

/// A topic of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// The number of its partition 0 among all partitions of the run.
    pub first: usize,
    /// How many it has.
    pub partitions: usize,
}

/// Brokers, topics and leaders. Partitions are numbered through all topics; brokers keep their place for the whole run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    /// Brokers, in the order in which they became known.
    pub nodes: Vec<Node>,
    /// Topics.
    pub topics: Vec<Topic>,
    /// The place in `nodes` of the leader of each partition.
    pub leaders: Vec<Option<usize>>,
}

impl Layout {
    /// The topic of a partition, and its index in it.
    pub fn locate(&self, partition: usize) -> (usize, i32) {
        let topic = self.topics.partition_point(|topic| topic.first <= partition) - 1;
        (topic, (partition - self.topics[topic].first) as i32)
    }

    /// The place of a broker by its id.
    pub fn node(&self, id: i32) -> Option<usize> {
        self.nodes.iter().position(|node| node.id == id)
    }

    /// The number of a partition.
    pub fn partition(&self, topic: &str, index: i32) -> Option<usize> {
        let topic = self.topics.iter().find(|known| known.name == topic)?;
        let index = usize::try_from(index).ok().filter(|index| *index < topic.partitions)?;
        Some(topic.first + index)
    }

    /// Takes the brokers and leaders of a response over. Partitions that it does not tell keep their leader.
    fn update(&mut self, response: &MetadataResponse) -> Result<()> {
        for broker in &response.brokers {
            let name = format!("{}:{}", broker.host, broker.port);
            let known = self.node(broker.node_id);
            if known.is_some_and(|place| self.nodes[place].name == name) {
                continue;
            }
            let node = Node { id: broker.node_id, address: resolve(&name)?, name };
            match known {
                Some(place) => self.nodes[place] = node,
                None => self.nodes.push(node),
            }
        }
        for topic in &response.topics {
            let Some(name) = &topic.name else { continue };
            for told in &topic.partitions {
                // While there is no leader the last one is asked, and says so.
                if let Some(partition) = self.partition(name, told.partition_index)
                    && let Some(leader) = self.node(told.leader_id)
                {
                    self.leaders[partition] = Some(leader);
                }
            }
        }
        Ok(())
    }
}

/// What brokers told of offsets.
enum Told {
    All(Vec<i64>),
    /// Some partition's leader does not know yet that it is, and how it said so.
    NotYet(String),
}

/// A connection to a cluster, for questions.
#[derive(Debug)]
pub struct Cluster {
    bootstrap: String,
    client: Client,
    versions: Versions,
}

impl Cluster {
    /// Connects to the first broker of `host:port[,host:port…]` that can be reached, and asks what it speaks.
    pub fn connect(bootstrap: &str) -> Result<Self> {
        let mut failures = Vec::new();
        for name in bootstrap.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match connect(name).and_then(|client| greet(client, name)) {
                Ok((client, versions)) => {
                    return Ok(Self { bootstrap: bootstrap.to_owned(), client, versions });
                }
                Err(ClusterError(failure)) => failures.push(failure),
            }
        }
        match failures.is_empty() {
            true => error(format!("{bootstrap:?} is no list of host:port")),
            false => error(failures.join("; ")),
        }
    }

    /// The versions to use.
    pub fn versions(&self) -> &Versions {
        &self.versions
    }

    /// Opens the connection again, after an error.
    pub fn reconnect(&mut self) -> Result<()> {
        *self = Self::connect(&self.bootstrap)?;
        Ok(())
    }

    /// Asks for topics, all of them or these. Does not create any.
    fn metadata(&mut self, topics: &[String]) -> Result<MetadataResponse> {
        let version = self.versions.of(ApiKey::Metadata)?;
        let named = |name: &String| MetadataRequestTopic {
            name: Some(name.clone()),
            ..MetadataRequestTopic::default()
        };
        let request = MetadataRequest {
            topics: Some(topics.iter().map(named).collect()),
            // Before version 4 it cannot be said; nothing is asked for then that is not created by us.
            allow_auto_topic_creation: version < 4,
            ..MetadataRequest::default()
        };
        self.client.call(version, request).map_err(|failure| failed("asking for metadata", &failure))
    }

    /// Makes the topics be there as they are wanted, and waits until every partition has a leader.
    pub fn prepare_topics(&mut self, wanted: &Topics) -> Result<Layout> {
        let names: Vec<String> = (0..wanted.count).map(|index| wanted.topic_name(index)).collect();
        match wanted.create {
            Create::Never => {}
            Create::IfMissing => {
                let missing = self.missing(&names)?;
                self.create(wanted, missing)?;
            }
            Create::Recreate => {
                self.delete(&names)?;
                self.create(wanted, names.clone())?;
            }
        }
        let layout = self.wait_for_leaders(&names)?;
        let other = layout.topics.iter().find(|topic| topic.partitions != wanted.partitions as usize);
        match other {
            Some(topic) if wanted.create != Create::Never => error(format!(
                "the topic {} exists with {} partitions, not {}; choose another --topic, --create recreate to delete it, \
                 or --create never to use it as it is",
                topic.name, topic.partitions, wanted.partitions
            )),
            _ => Ok(layout),
        }
    }

    fn missing(&mut self, names: &[String]) -> Result<Vec<String>> {
        let mut missing = Vec::new();
        for chunk in names.chunks(TOPICS_PER_REQUEST) {
            for topic in self.metadata(chunk)?.topics {
                match topic.error_code {
                    ErrorCode::UnknownTopicOrPartition => missing.extend(topic.name),
                    ErrorCode::None | ErrorCode::LeaderNotAvailable => {}
                    code => return error(format!("the topic {}: {code}", topic.name.unwrap_or_default())),
                }
            }
        }
        Ok(missing)
    }

    fn create(&mut self, wanted: &Topics, names: Vec<String>) -> Result<()> {
        let version = self.versions.of(ApiKey::CreateTopics)?;
        // Without a default on the broker's side the factor must be said.
        let replication_factor = match wanted.replication_factor {
            -1 if version < 4 => 1,
            factor => factor,
        };
        let until = Instant::now() + TOPICS_TIMEOUT;
        let mut left = names;
        while !left.is_empty() {
            let chunk: Vec<String> = left.drain(..left.len().min(TOPICS_PER_REQUEST)).collect();
            let topic = |name: String| CreatableTopic {
                name,
                num_partitions: wanted.partitions,
                replication_factor,
                configs: wanted
                    .configs
                    .iter()
                    .map(|(name, value)| CreatableTopicConfig {
                        name: name.clone(),
                        value: Some(value.clone()),
                    })
                    .collect(),
                ..CreatableTopic::default()
            };
            let request = CreateTopicsRequest {
                topics: chunk.into_iter().map(topic).collect(),
                timeout_ms: CALL_TIMEOUT.as_millis() as i32 / 2,
                ..CreateTopicsRequest::default()
            };
            let response =
                self.client.call(version, request).map_err(|failure| failed("creating topics", &failure))?;
            for result in response.topics {
                match result.error_code {
                    ErrorCode::None => {}
                    // It is still being deleted, or somebody else was faster; looking for leaders will tell.
                    ErrorCode::TopicAlreadyExists if wanted.create == Create::IfMissing => {}
                    code if (code == ErrorCode::TopicAlreadyExists || code.is_retriable())
                        && Instant::now() < until =>
                    {
                        thread::sleep(LOOK_AGAIN);
                        left.push(result.name);
                    }
                    code => {
                        let message =
                            result.error_message.map(|text| format!(" ({text})")).unwrap_or_default();
                        return error(format!(
                            "the topic {} cannot be created: {code}{message}",
                            result.name
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    fn delete(&mut self, names: &[String]) -> Result<()> {
        let version = self.versions.of(ApiKey::DeleteTopics)?;
        for chunk in names.chunks(TOPICS_PER_REQUEST) {
            let state = |name: &String| DeleteTopicState { name: Some(name.clone()), ..Default::default() };
            let by_name = version < 6;
            let request = DeleteTopicsRequest {
                topics: if by_name { Vec::new() } else { chunk.iter().map(state).collect() },
                topic_names: if by_name { chunk.to_vec() } else { Vec::new() },
                timeout_ms: CALL_TIMEOUT.as_millis() as i32 / 2,
            };
            let response =
                self.client.call(version, request).map_err(|failure| failed("deleting topics", &failure))?;
            for result in response.responses {
                let gone = [ErrorCode::None, ErrorCode::UnknownTopicOrPartition].contains(&result.error_code);
                if !gone {
                    let name = result.name.unwrap_or_default();
                    return error(format!("the topic {name} cannot be deleted: {}", result.error_code));
                }
            }
        }
        Ok(())
    }

    fn wait_for_leaders(&mut self, names: &[String]) -> Result<Layout> {
        let until = Instant::now() + TOPICS_TIMEOUT;
        loop {
            let mut layout = Layout::default();
            let mut waits_for = None;
            for chunk in names.chunks(TOPICS_PER_REQUEST) {
                let response = self.metadata(chunk)?;
                for topic in &response.topics {
                    let name = topic.name.clone().unwrap_or_default();
                    match topic.error_code {
                        ErrorCode::None => {}
                        code if code.is_retriable() => waits_for = Some(format!("the topic {name}: {code}")),
                        code => return error(format!("the topic {name}: {code}")),
                    }
                    let first = layout.leaders.len();
                    layout.leaders.resize(first + topic.partitions.len(), None);
                    layout.topics.push(Topic { name, first, partitions: topic.partitions.len() });
                }
                layout.update(&response)?;
            }
            if let Some(partition) = layout.leaders.iter().position(Option::is_none) {
                let (topic, index) = layout.locate(partition);
                waits_for = Some(format!("{}-{index} has no leader", layout.topics[topic].name));
            }
            match waits_for {
                None => return Ok(layout),
                Some(reason) if Instant::now() > until => return error(reason),
                Some(_) => thread::sleep(LOOK_AGAIN),
            }
        }
    }

    /// Asks again who leads what.
    pub fn refresh(&mut self, layout: &mut Layout) -> Result<()> {
        let names: Vec<String> = layout.topics.iter().map(|topic| topic.name.clone()).collect();
        for chunk in names.chunks(TOPICS_PER_REQUEST) {
            let response = self.metadata(chunk)?;
            layout.update(&response)?;
        }
        Ok(())
    }

    /// Whom the load goes to.
    pub fn target(&mut self, layout: &Layout) -> Result<Target> {
        let response = self.metadata(&[])?;
        Ok(Target {
            bootstrap: self.bootstrap.clone(),
            brokers: layout.nodes.iter().map(|node| (node.id, node.name.clone())).collect(),
            cluster_id: response.cluster_id,
            name: None,
            version: None,
        })
    }

    /// The ends of all partitions.
    pub fn end_offsets(&self, layout: &Layout) -> Result<Vec<i64>> {
        self.offsets(layout, LATEST)
    }

    /// The starts of all partitions.
    pub fn start_offsets(&self, layout: &Layout) -> Result<Vec<i64>> {
        self.offsets(layout, EARLIEST)
    }

    /// A broker may be told that it leads a partition after others were; until then it refuses.
    fn offsets(&self, layout: &Layout, timestamp: i64) -> Result<Vec<i64>> {
        let until = Instant::now() + TOPICS_TIMEOUT;
        loop {
            match self.ask_offsets(layout, timestamp)? {
                Told::All(offsets) => return Ok(offsets),
                Told::NotYet(why) if Instant::now() > until => return error(why),
                Told::NotYet(_) => thread::sleep(LOOK_AGAIN),
            }
        }
    }

    fn ask_offsets(&self, layout: &Layout, timestamp: i64) -> Result<Told> {
        let version = self.versions.of(ApiKey::ListOffsets)?;
        let mut offsets = vec![-1; layout.leaders.len()];
        for (place, node) in layout.nodes.iter().enumerate() {
            let topic = |topic: &Topic| ListOffsetsTopic {
                name: topic.name.clone(),
                partitions: (0..topic.partitions)
                    .filter(|index| layout.leaders[topic.first + index] == Some(place))
                    .map(|index| ListOffsetsPartition {
                        partition_index: index as i32,
                        timestamp,
                        ..Default::default()
                    })
                    .collect(),
            };
            let topics: Vec<_> =
                layout.topics.iter().map(topic).filter(|topic| !topic.partitions.is_empty()).collect();
            if topics.is_empty() {
                continue;
            }
            let request = ListOffsetsRequest { replica_id: -1, topics, ..ListOffsetsRequest::default() };
            let response = connect(&node.name)?
                .call(version, request)
                .map_err(|failure| failed("asking for offsets", &failure))?;
            for topic in response.topics {
                for told in topic.partitions {
                    let partition = layout.partition(&topic.name, told.partition_index);
                    match (told.error_code, partition) {
                        (ErrorCode::None, Some(partition)) => offsets[partition] = told.offset,
                        (code, _) => {
                            let why =
                                format!("the offsets of {}-{}: {code}", topic.name, told.partition_index);
                            return match code {
                                ErrorCode::NotLeaderOrFollower | ErrorCode::UnknownTopicOrPartition => {
                                    Ok(Told::NotYet(why))
                                }
                                _ => error(why),
                            };
                        }
                    }
                }
            }
        }
        match offsets.iter().position(|offset| *offset < 0) {
            Some(partition) => error(format!("nobody told the offset of partition {partition}")),
            None => Ok(Told::All(offsets)),
        }
    }

    /// A producer id for an idempotent producer.
    pub fn producer_id(&mut self) -> Result<ProducerId> {
        let version = self.versions.of(ApiKey::InitProducerId)?;
        let until = Instant::now() + TOPICS_TIMEOUT;
        loop {
            let request = InitProducerIdRequest {
                transactional_id: None,
                transaction_timeout_ms: 60_000,
                ..Default::default()
            };
            let response = self
                .client
                .call(version, request)
                .map_err(|failure| failed("asking for a producer id", &failure))?;
            match response.error_code {
                ErrorCode::None => {
                    return Ok(ProducerId { id: response.producer_id, epoch: response.producer_epoch });
                }
                code if code.is_retriable() && Instant::now() < until => thread::sleep(LOOK_AGAIN),
                code => return error(format!("no producer id: {code}")),
            }
        }
    }
}

/// Where a `host:port` is. IPv4 first: a broker that listens on one family of `localhost` listens on that one.
pub fn resolve(name: &str) -> Result<SocketAddr> {
    let mut addresses: Vec<SocketAddr> = match name.to_socket_addrs() {
        Ok(addresses) => addresses.collect(),
        Err(failure) => return error(format!("{name} cannot be resolved: {failure}")),
    };
    addresses.sort_by_key(SocketAddr::is_ipv6);
    addresses.first().copied().ok_or_else(|| ClusterError(format!("{name} has no address")))
}

fn connect(name: &str) -> Result<Client> {
    let cannot = |failure: io::Error| {
        let remedy = match failure.kind() {
            io::ErrorKind::ConnectionRefused => "; nothing listens there. Is the broker started?",
            io::ErrorKind::TimedOut => "; nobody answers there. Is the address right?",
            _ => "",
        };
        ClusterError(format!("{name} cannot be reached: {failure}{remedy}"))
    };
    let stream = TcpStream::connect_timeout(&resolve(name)?, CONNECT_TIMEOUT).map_err(cannot)?;
    let mut client = Client::from_stream(stream).map_err(cannot)?;
    client.set_timeout(Some(CALL_TIMEOUT)).map_err(cannot)?;
    Ok(client)
}

/// Asks for versions: in the newest form, and again in version 0 where the broker does not know that one (KIP-511).
fn greet(client: Client, name: &str) -> Result<(Client, Versions)> {
    let mut client = client;
    let request = || ApiVersionsRequest {
        client_software_name: CLIENT_ID.to_owned(),
        client_software_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let said_no = |failure: &CallError| match failure {
        CallError::Io(inner)
            if matches!(inner.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) =>
        {
            ClusterError(format!(
                "{name} closed the connection instead of answering; is it a Kafka listener without TLS and SASL? This \
                 client speaks neither yet"
            ))
        }
        CallError::Io(inner)
            if matches!(inner.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
        {
            ClusterError(format!(
                "{name} accepts connections and does not answer within {} s; is it hung, or no Kafka broker?",
                CALL_TIMEOUT.as_secs()
            ))
        }
        other => ClusterError(format!("{name} does not answer as a Kafka broker does: {other}")),
    };
    let mut response = client.call(3, request()).map_err(|failure| said_no(&failure))?;
    if response.error_code == ErrorCode::UnsupportedVersion {
        response = client.call(0, request()).map_err(|failure| said_no(&failure))?;
    }
    if response.error_code != ErrorCode::None {
        return error(format!("{name} refuses to tell its versions: {}", response.error_code));
    }
    let mut versions = BTreeMap::new();
    for theirs in response.api_keys {
        let Some(api_key) = ApiKey::from_key(theirs.api_key) else { continue };
        let ours = api_key.served();
        let version = ours.max.min(theirs.max_version);
        if version >= ours.min.max(theirs.min_version) {
            versions.insert(api_key, version);
        }
    }
    Ok((client, Versions(versions)))
}

fn failed(what: &str, failure: &CallError) -> ClusterError {
    let remedy = match failure {
        CallError::Io(inner)
            if matches!(inner.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) =>
        {
            ": the broker closed the connection. Does the listener want SASL, which this client does not speak yet?"
        }
        _ => "",
    };
    ClusterError(format!("{what} failed: {failure}{remedy}"))
}
