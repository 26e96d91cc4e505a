//! The controller over a directory in memory, with shards that apply images when told to.

use std::collections::BTreeMap;

use bytes::Bytes;
use net::messages::alter_configs::{self, AlterConfigsRequest, AlterConfigsResponse};
use net::messages::create_partitions::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
};
use net::messages::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
    CreateTopicsResponse,
};
use net::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse};
use net::messages::incremental_alter_configs::{
    self, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use net::{ErrorCode, Uuid};

use super::*;
use crate::ids::NodeId;
use crate::metadata::ConfigTarget;
use crate::metadata::log::{MetaOpKind, recover};

const SHARDS: u16 = 2;

/// A controller with all that it needs around it.
struct World {
    controller: Controller,
    config: Arc<BrokerConfig>,
    files: BTreeMap<String, Vec<u8>>,
    /// Operations that the disk has not done.
    ops: VecDeque<MetaOp>,
    /// Images that shards have not applied.
    images: VecDeque<(Address, Arc<Image>)>,
    answers: BTreeMap<u64, Answer>,
    failed: Option<String>,
    now: Now,
    next_ask: u64,
}

impl World {
    fn new() -> World {
        World::with(BrokerConfig::default())
    }

    fn with(config: BrokerConfig) -> World {
        let mut world = World::start(BTreeMap::new(), Arc::new(config), 1);
        world.settle();
        world
    }

    fn start(files: BTreeMap<String, Vec<u8>>, config: Arc<BrokerConfig>, seed: u128) -> World {
        let found = files.iter().map(|(name, bytes)| (name.as_str(), Bytes::copy_from_slice(bytes)));
        let parts = ControllerParts {
            config: config.clone(),
            cluster_id: "the-cluster".to_owned(),
            endpoints: vec![Endpoint {
                name: "PLAINTEXT".to_owned(),
                host: "h".to_owned(),
                port: 9092,
                security_protocol: 0,
                core_direct: false,
            }],
            shards: SHARDS,
            recovered: recover(found).expect("the log is sound"),
            seed,
        };
        let mut effects = ControlEffects::default();
        let controller = Controller::open(parts, &mut effects).expect("the cluster is ours");
        let mut world = World {
            controller,
            config,
            files,
            ops: VecDeque::new(),
            images: VecDeque::new(),
            answers: BTreeMap::new(),
            failed: None,
            now: Now { monotonic_us: 1, wall_ms: 0 },
            next_ask: 0,
        };
        world.take(effects);
        world
    }

    fn restart(self, seed: u128) -> World {
        let mut world = World::start(self.files, self.config, seed);
        world.settle();
        world
    }

    fn take(&mut self, effects: ControlEffects) {
        self.ops.extend(effects.meta);
        self.failed = self.failed.take().or(effects.failed);
        for (to, letter) in effects.letters {
            match letter {
                Letter::Image(image) => self.images.push_back((to, image)),
                Letter::Answer { id, answer, .. } => {
                    let before = self.answers.insert(id.0, answer);
                    assert!(before.is_none(), "a question is answered once");
                }
                other => panic!("the controller does not send {other:?}"),
            }
        }
    }

    fn step(&mut self, input: ControlInput) {
        let mut effects = ControlEffects::default();
        self.controller.handle(self.now, input, &mut effects);
        self.take(effects);
    }

    fn ask(&mut self, ask: Ask) -> u64 {
        self.next_ask += 1;
        let id = self.next_ask;
        let from = Address::Shard(ShardId(0));
        self.step(ControlInput::Letter { from, letter: Letter::Ask { id: AskId(id), ask } });
        id
    }

    fn send(&mut self, version: i16, request: impl Into<Request>) -> u64 {
        let listener = ListenerKind::Shared;
        self.ask(Ask::Control { listener, version, request: request.into() })
    }

    fn disk_does_one(&mut self) -> bool {
        let Some(op) = self.ops.pop_front() else { return false };
        match op.kind {
            MetaOpKind::Create { file, head, size } => {
                let mut content = vec![0; size as usize];
                content[..head.len()].copy_from_slice(&head);
                self.files.insert(file.name(), content);
            }
            MetaOpKind::Append { file, position, bytes } => {
                let content = self.files.get_mut(&file.name()).expect("created");
                content[position as usize..position as usize + bytes.len()].copy_from_slice(&bytes);
            }
            MetaOpKind::Replace { file, bytes } => {
                self.files.insert(file.name(), bytes.to_vec());
            }
            MetaOpKind::Remove { file } => {
                self.files.remove(&file.name());
            }
        }
        self.step(ControlInput::Done(MetaDone { id: op.id, result: Ok(()) }));
        true
    }

    fn shard_applies_one(&mut self) -> bool {
        let Some((to, image)) = self.images.pop_front() else { return false };
        let Address::Shard(shard) = to else { panic!("images are for shards") };
        let letter = Letter::ImageApplied { shard, version: image.version() };
        self.step(ControlInput::Letter { from: to, letter });
        true
    }

    fn settle(&mut self) {
        while self.disk_does_one() || self.shard_applies_one() {}
        assert!(self.controller.is_idle(), "nothing is left to do");
    }

    fn answer(&mut self, id: u64) -> Answer {
        self.answers.remove(&id).expect("it was answered")
    }

    fn response<T: TryFrom<Response, Error = Response>>(&mut self, id: u64) -> T {
        match self.answer(id) {
            Answer::Response(response) => T::try_from(response).unwrap_or_else(|r| panic!("not {r:?}")),
            other => panic!("a response, not {other:?}"),
        }
    }

    /// Asks and lets everyone do their part.
    fn call<T: TryFrom<Response, Error = Response>>(
        &mut self,
        version: i16,
        request: impl Into<Request>,
    ) -> T {
        let id = self.send(version, request);
        self.settle();
        self.response(id)
    }

    fn create(&mut self, topics: Vec<CreatableTopic>) -> Vec<(String, ErrorCode, Option<String>)> {
        let request = CreateTopicsRequest { topics, ..Default::default() };
        let response: CreateTopicsResponse = self.call(7, request);
        response.topics.into_iter().map(|t| (t.name, t.error_code, t.error_message)).collect()
    }

    /// Creates a topic and says what came of it.
    fn create_one(&mut self, topic: CreatableTopic) -> (ErrorCode, String) {
        let (_, code, message) = self.create(vec![topic]).pop().expect("a result");
        (code, message.unwrap_or_default())
    }

    fn topic_names(&self) -> Vec<String> {
        self.controller.image().topics().map(|topic| topic.name.to_string()).collect()
    }
}

fn topic(name: &str, num_partitions: i32, replication_factor: i16) -> CreatableTopic {
    CreatableTopic { name: name.to_owned(), num_partitions, replication_factor, ..Default::default() }
}

fn with_config(name: &str, value: Option<&str>) -> CreatableTopic {
    let configs = vec![CreatableTopicConfig { name: name.to_owned(), value: value.map(str::to_owned) }];
    CreatableTopic { configs, ..topic("with-config", 1, 1) }
}

fn assigned(partitions: &[(i32, &[i32])]) -> CreatableTopic {
    let assignments = partitions
        .iter()
        .map(|(partition_index, nodes)| CreatableReplicaAssignment {
            partition_index: *partition_index,
            broker_ids: nodes.to_vec(),
        })
        .collect();
    CreatableTopic { assignments, ..topic("assigned", -1, -1) }
}

fn names(topics: &[&str]) -> DeleteTopicsRequest {
    DeleteTopicsRequest {
        topic_names: topics.iter().map(|name| (*name).to_owned()).collect(),
        timeout_ms: 1_000,
        ..Default::default()
    }
}

fn grow(name: &str, count: i32) -> CreatePartitionsRequest {
    let topics = vec![CreatePartitionsTopic { name: name.to_owned(), count, assignments: None }];
    CreatePartitionsRequest { topics, timeout_ms: 1_000, ..Default::default() }
}

/// `(resource type, resource name, [(config, operation, value)])`
type Change<'a> = (i8, &'a str, &'a [(&'a str, i8, Option<&'a str>)]);

fn incremental(changes: &[Change<'_>]) -> IncrementalAlterConfigsRequest {
    let resources = changes
        .iter()
        .map(|(resource_type, name, configs)| incremental_alter_configs::AlterConfigsResource {
            resource_type: *resource_type,
            resource_name: (*name).to_owned(),
            configs: configs
                .iter()
                .map(|(name, operation, value)| incremental_alter_configs::AlterableConfig {
                    name: (*name).to_owned(),
                    config_operation: *operation,
                    value: value.map(str::to_owned),
                })
                .collect(),
        })
        .collect();
    IncrementalAlterConfigsRequest { resources, validate_only: false }
}

impl World {
    fn alter(&mut self, changes: &[Change<'_>]) -> Vec<(ErrorCode, String)> {
        let response: IncrementalAlterConfigsResponse = self.call(1, incremental(changes));
        response.responses.into_iter().map(|r| (r.error_code, r.error_message.unwrap_or_default())).collect()
    }

    fn alter_one(&mut self, change: Change<'_>) -> (ErrorCode, String) {
        self.alter(&[change]).pop().expect("a result")
    }

    fn topic_config(&self, topic: &str, name: &str) -> Option<String> {
        self.controller.image().topic(topic).expect("it is there").configs.get(name).cloned()
    }
}

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;
const TOPIC: i8 = 2;
const BROKER: i8 = 4;

fn ok() -> (ErrorCode, String) {
    (ErrorCode::None, String::new())
}

#[test]
fn a_topic_is_answered_when_every_shard_has_it_and_not_before() {
    let mut world = World::new();
    let id = world.send(7, CreateTopicsRequest { topics: vec![topic("a", 3, 1)], ..Default::default() });
    assert!(world.images.is_empty(), "nothing is shown before it is durable");
    assert!(world.disk_does_one());
    assert_eq!(world.images.len(), usize::from(SHARDS));
    assert!(world.shard_applies_one());
    assert!(!world.answers.contains_key(&id), "one shard does not have it yet");
    assert!(world.shard_applies_one());
    let response: CreateTopicsResponse = world.response(id);
    let created = &response.topics[0];
    assert_eq!(
        (created.error_code, created.num_partitions, created.replication_factor),
        (ErrorCode::None, 3, 1)
    );
    assert_eq!(Uuid(world.controller.image().topic("a").expect("there").id.0), created.topic_id);
    assert_ne!(created.topic_id, Uuid::ZERO);
    let configs = created.configs.as_ref().expect("they are told");
    assert!(
        configs.is_sorted_by(|a, b| a.name <= b.name) && configs.iter().any(|c| c.name == "cleanup.policy")
    );
}

#[test]
fn decisions_see_those_that_are_not_durable_yet() {
    let mut world = World::new();
    let ask = |world: &mut World| {
        world.send(7, CreateTopicsRequest { topics: vec![topic("a", 1, 1)], ..Default::default() })
    };
    let ids: Vec<u64> = (0..3).map(|_| ask(&mut world)).collect();
    assert!(world.answers.is_empty(), "a refusal waits for what it rests on");
    world.settle();
    let codes: Vec<ErrorCode> =
        ids.into_iter().map(|id| world.response::<CreateTopicsResponse>(id).topics[0].error_code).collect();
    assert_eq!(codes, [ErrorCode::None, ErrorCode::TopicAlreadyExists, ErrorCode::TopicAlreadyExists]);
}

#[test]
fn many_decisions_share_writes_and_images() {
    let mut world = World::new();
    let ids: Vec<u64> = (0..100)
        .map(|n| {
            let topics = vec![topic(&format!("t{n}"), 1, 1)];
            world.send(7, CreateTopicsRequest { topics, ..Default::default() })
        })
        .collect();
    let (mut writes, mut images) = (0, 0);
    loop {
        if world.disk_does_one() {
            writes += 1;
        } else if world.shard_applies_one() {
            images += 1;
        } else {
            break;
        }
    }
    assert!(ids.iter().all(|id| world.answers.contains_key(id)));
    assert!(writes <= 4 && images <= 4, "{writes} writes, {images} images");
}

#[test]
fn topics_are_there_after_a_restart_and_ids_are_not_given_twice() {
    let mut world = World::new();
    world.create(vec![topic("a", 2, 1), topic("b", 1, 1)]);
    let asked = world.ask(Ask::ProducerIds);
    world.settle();
    let Answer::ProducerIds { first, count } = world.answer(asked) else { panic!("ids") };
    assert_eq!((first, count), (0, 1_000));
    let before = world.controller.image().clone();
    let mut world = world.restart(2);
    assert_eq!(world.topic_names(), ["a", "b"]);
    assert_eq!(world.controller.image().topic("a"), before.topic("a"));
    let asked = world.ask(Ask::ProducerIds);
    world.settle();
    let Answer::ProducerIds { first, .. } = world.answer(asked) else { panic!("ids") };
    assert_eq!(first, 1_000);
    let registered = world.controller.image().broker(NodeId(1)).expect("it registered again");
    assert_ne!(registered.incarnation, before.broker(NodeId(1)).expect("registered").incarnation);
}

#[test]
fn metadata_of_another_cluster_is_refused() {
    let world = World::new();
    let files = world.files.iter().map(|(name, bytes)| (name.as_str(), Bytes::copy_from_slice(bytes)));
    let parts = ControllerParts {
        config: world.config.clone(),
        cluster_id: "another".to_owned(),
        endpoints: Vec::new(),
        shards: SHARDS,
        recovered: recover(files).expect("sound"),
        seed: 1,
    };
    let error = Controller::open(parts, &mut ControlEffects::default()).expect_err("refused").to_string();
    assert!(error.contains("cluster another") && error.contains("cluster the-cluster"), "{error}");
}

#[test]
fn a_log_that_cannot_be_written_ends_the_process() {
    let mut world = World::new();
    let id = world.send(7, CreateTopicsRequest { topics: vec![topic("a", 1, 1)], ..Default::default() });
    let op = world.ops.pop_front().expect("a write");
    world.step(ControlInput::Done(MetaDone { id: op.id, result: Err("I/O error".to_owned()) }));
    assert!(world.failed.as_deref().is_some_and(|why| why.contains("I/O error")), "{:?}", world.failed);
    world.ask(Ask::ProducerIds);
    assert!(world.ops.is_empty() && !world.answers.contains_key(&id));
}

#[test]
#[rustfmt::skip] // A line for each answer reads best.
fn who_asks_for_a_topic_that_cannot_be_hears_why() {
    // Each line is what Kafka 4.3.1 answers.
    let mut world = World::new();
    world.create(vec![topic("col.lision", 1, 1)]);
    let cases = [
        (topic("a b", 1, 1), ErrorCode::InvalidTopicException, "Topic name is invalid: 'a b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"),
        (topic("col.lision", 1, 1), ErrorCode::TopicAlreadyExists, "Topic 'col.lision' already exists."),
        (topic("col_lision", 1, 1), ErrorCode::InvalidTopicException, "Topic 'col_lision' collides with existing topic: col.lision"),
        (topic("__cluster_metadata", 1, 1), ErrorCode::InvalidRequest, "Creation of internal topic __cluster_metadata is prohibited."),
        (topic("x", 0, 1), ErrorCode::InvalidPartitions, "Number of partitions was set to an invalid non-positive value."),
        (topic("x", -2, 1), ErrorCode::InvalidPartitions, "Number of partitions was set to an invalid non-positive value."),
        (topic("x", 0, 3), ErrorCode::InvalidPartitions, "Number of partitions was set to an invalid non-positive value."),
        (topic("x", 1, 0), ErrorCode::InvalidReplicationFactor, "Replication factor must be larger than 0, or -1 to use the default value."),
        (topic("x", 1, -2), ErrorCode::InvalidReplicationFactor, "Replication factor must be larger than 0, or -1 to use the default value."),
        (topic("x", 1, 2), ErrorCode::InvalidReplicationFactor, "Unable to replicate the partition 2 time(s): The target replication factor of 2 cannot be reached because only 1 broker(s) are registered or some brokers have all their log directories cordoned."),
        (topic("x", 10_001, 1), ErrorCode::PolicyViolation, "Excessively large number of partitions per request."),
        (with_config("retention.ms", None), ErrorCode::InvalidConfig, "Null value not supported for topic configs: retention.ms"),
        (with_config("foo", Some("1")), ErrorCode::InvalidConfig, "Unknown topic config name: foo"),
        (with_config("segment.bytes", Some("1024")), ErrorCode::InvalidConfig, "Invalid value 1024 for configuration segment.bytes: Value must be at least 1048576"),
        (assigned(&[(0, &[1]), (2, &[1])]), ErrorCode::InvalidReplicaAssignment, "partitions should be a consecutive 0-based integer sequence"),
        (assigned(&[(-1, &[1])]), ErrorCode::InvalidReplicaAssignment, "partitions should be a consecutive 0-based integer sequence"),
        (assigned(&[(0, &[1]), (0, &[1])]), ErrorCode::InvalidReplicaAssignment, "Found multiple manual partition assignments for partition 0"),
        (assigned(&[(0, &[7])]), ErrorCode::InvalidReplicaAssignment, "The manual partition assignment includes broker 7, but no such broker is registered."),
        (assigned(&[(0, &[1, 1])]), ErrorCode::InvalidReplicaAssignment, "The manual partition assignment includes the broker 1 more than once."),
        (assigned(&[(0, &[])]), ErrorCode::InvalidReplicaAssignment, "The manual partition assignment includes an empty replica list."),
        (CreatableTopic { replication_factor: 1, ..assigned(&[(0, &[1])]) }, ErrorCode::InvalidRequest, "A manual partition assignment was specified, but replication factor was not set to -1."),
        (CreatableTopic { num_partitions: 1, ..assigned(&[(0, &[1])]) }, ErrorCode::InvalidRequest, "A manual partition assignment was specified, but numPartitions was not set to -1."),
    ];
    for (topic, code, message) in cases {
        let shown = format!("{topic:?}");
        assert_eq!(world.create_one(topic), (code, message.to_owned()), "{shown}");
    }
    assert_eq!(world.topic_names(), ["col.lision"]);
    assert_eq!(world.create_one(assigned(&[(1, &[1]), (0, &[1])])), ok());
    assert_eq!(world.controller.image().topic("assigned").expect("there").partition_count(), 2);
}

#[test]
fn good_topics_are_created_beside_bad_ones_and_names_given_twice_are_not() {
    let mut world = World::new();
    let results = world.create(vec![
        topic("twice", 1, 1),
        topic("good", -1, -1),
        topic("bad", 0, 1),
        topic("twice", 2, 1),
    ]);
    let codes: Vec<(&str, ErrorCode)> =
        results.iter().map(|(name, code, _)| (name.as_str(), *code)).collect();
    let expected = [
        ("good", ErrorCode::None),
        ("bad", ErrorCode::InvalidPartitions),
        ("twice", ErrorCode::InvalidRequest),
    ];
    assert_eq!(codes, expected);
    assert_eq!(results[2].2.as_deref(), Some("Duplicate topic name."));
    assert_eq!(world.topic_names(), ["good"]);
}

#[test]
fn validate_only_says_what_would_be_and_changes_nothing() {
    let mut world = World::new();
    let version = world.controller.image().version();
    let request =
        CreateTopicsRequest { topics: vec![topic("a", 2, 1)], validate_only: true, ..Default::default() };
    let response: CreateTopicsResponse = world.call(7, request);
    assert_eq!((response.topics[0].error_code, response.topics[0].num_partitions), (ErrorCode::None, 2));
    world.create(vec![topic("b", 1, 1)]);
    let response: CreatePartitionsResponse =
        world.call(3, CreatePartitionsRequest { validate_only: true, ..grow("b", 5) });
    assert_eq!(response.results[0].error_code, ErrorCode::None);
    let request = IncrementalAlterConfigsRequest {
        validate_only: true,
        ..incremental(&[(TOPIC, "b", &[("retention.ms", SET, Some("5"))])])
    };
    let response: IncrementalAlterConfigsResponse = world.call(1, request);
    assert_eq!(response.responses[0].error_code, ErrorCode::None);
    assert_eq!(world.controller.image().version(), version + 1);
    assert_eq!(world.topic_config("b", "retention.ms"), None);
}

#[test]
fn a_request_that_gives_no_time_is_not_begun_and_one_that_is_late_happens_all_the_same() {
    let mut world = World::new();
    let request = CreateTopicsRequest { topics: vec![topic("a", 1, 1)], timeout_ms: 0, ..Default::default() };
    let response: CreateTopicsResponse = world.call(7, request);
    assert_eq!(response.topics[0].error_code, ErrorCode::RequestTimedOut);
    assert!(world.topic_names().is_empty());

    let request =
        CreateTopicsRequest { topics: vec![topic("a", 1, 1)], timeout_ms: 50, ..Default::default() };
    let id = world.send(7, request);
    assert_eq!(world.controller.next_timeout(), Some(50_001));
    world.now.monotonic_us = 50_001;
    world.step(ControlInput::Timeout);
    let response: CreateTopicsResponse = world.response(id);
    assert_eq!(response.topics[0].error_code, ErrorCode::RequestTimedOut);
    assert_eq!(world.controller.next_timeout(), None);
    world.settle();
    assert_eq!(world.topic_names(), ["a"]);
}

#[test]
fn topics_are_deleted_by_name_and_by_id() {
    let mut world = World::new();
    world.create(vec![topic("a", 1, 1), topic("b", 1, 1), topic("c", 1, 1)]);
    let id_of = |world: &World, name: &str| Uuid(world.controller.image().topic(name).expect("there").id.0);
    let (b, c) = (id_of(&world, "b"), id_of(&world, "c"));
    let response: DeleteTopicsResponse = world.call(5, names(&["a", "nope", "b", "b"]));
    let results: Vec<_> = response
        .responses
        .into_iter()
        .map(|r| (r.name.unwrap_or_default(), r.error_code, r.error_message.unwrap_or_default()))
        .collect();
    let expected = [
        ("a", ErrorCode::None, ""),
        ("nope", ErrorCode::UnknownTopicOrPartition, "This server does not host this topic-partition."),
        ("b", ErrorCode::InvalidRequest, "Duplicate topic name."),
    ];
    assert_eq!(results, expected.map(|(name, code, why)| (name.to_owned(), code, why.to_owned())));

    let by =
        |name: Option<&str>, topic_id: Uuid| DeleteTopicState { name: name.map(str::to_owned), topic_id };
    let request = DeleteTopicsRequest {
        topics: vec![
            by(None, b),
            by(None, Uuid([9; 16])),
            by(None, Uuid::ZERO),
            by(Some("c"), c),
            by(Some("b"), Uuid::ZERO),
        ],
        timeout_ms: 1_000,
        ..Default::default()
    };
    let response: DeleteTopicsResponse = world.call(6, request);
    let mut codes: Vec<_> =
        response.responses.iter().map(|r| (r.error_code, r.error_message.clone())).collect();
    codes.sort();
    let why = |text: &str| Some(text.to_owned());
    let both = why("The provided topic name maps to an ID that was already supplied.");
    let expected = [
        (ErrorCode::InvalidRequest, why("Neither topic name nor id were specified.")),
        (ErrorCode::InvalidRequest, both.clone()),
        (ErrorCode::InvalidRequest, both),
        (ErrorCode::InvalidRequest, why("You may not specify both topic name and topic id.")),
        (ErrorCode::UnknownTopicId, why("This server does not host this topic ID.")),
    ];
    assert_eq!(codes, expected);
    assert_eq!(world.topic_names(), ["b", "c"]);
    let request = DeleteTopicsRequest { topics: vec![by(None, b)], timeout_ms: 1_000, ..Default::default() };
    let response: DeleteTopicsResponse = world.call(6, request);
    assert_eq!((response.responses[0].name.as_deref(), response.responses[0].topic_id), (Some("b"), b));
    assert_eq!(world.topic_names(), ["c"]);
    // The name is free again, also for one that collided with it.
    assert_eq!(world.create_one(topic("b", 1, 1)), ok());
}

#[test]
fn deletion_can_be_switched_off() {
    let config = BrokerConfig::default().with("delete.topic.enable", "false").expect("a config");
    let mut world = World::with(config);
    world.create(vec![topic("a", 1, 1)]);
    for (version, code) in [(5, ErrorCode::TopicDeletionDisabled), (1, ErrorCode::InvalidRequest)] {
        let response: DeleteTopicsResponse = world.call(version, names(&["a"]));
        assert_eq!(response.responses[0].error_code, code);
    }
    assert_eq!(world.topic_names(), ["a"]);
}

#[test]
fn partitions_are_added_and_never_taken_away() {
    let mut world = World::new();
    world.create(vec![topic("a", 2, 1)]);
    let mut verdict = |request: CreatePartitionsRequest| {
        let response: CreatePartitionsResponse = world.call(3, request);
        (response.results[0].error_code, response.results[0].error_message.clone())
    };
    let by_hand = |count: i32, nodes: &[&[i32]]| {
        let mut request = grow("a", count);
        request.topics[0].assignments =
            Some(nodes.iter().map(|n| CreatePartitionsAssignment { broker_ids: n.to_vec() }).collect());
        request
    };
    let why = |text: &str| Some(text.to_owned());
    // Each line is what Kafka 4.3.1 answers.
    let cases = [
        (grow("a", 2), ErrorCode::InvalidPartitions, why("Topic already has 2 partition(s).")),
        (
            grow("a", 1),
            ErrorCode::InvalidPartitions,
            why("The topic a currently has 2 partition(s); 1 would not be an increase."),
        ),
        (
            grow("a", -1),
            ErrorCode::InvalidPartitions,
            why("The topic a currently has 2 partition(s); -1 would not be an increase."),
        ),
        (grow("nope", 3), ErrorCode::UnknownTopicOrPartition, None),
        (
            by_hand(4, &[&[1]]),
            ErrorCode::InvalidReplicaAssignment,
            why("Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified."),
        ),
        (
            by_hand(3, &[&[7]]),
            ErrorCode::InvalidReplicaAssignment,
            why("The manual partition assignment includes broker 7, but no such broker is registered."),
        ),
        (
            by_hand(3, &[&[]]),
            ErrorCode::InvalidReplicaAssignment,
            why("The manual partition assignment includes an empty replica list."),
        ),
        (by_hand(4, &[&[1], &[1]]), ErrorCode::None, None),
        (grow("a", 9), ErrorCode::None, None),
    ];
    for (request, code, message) in cases {
        let shown = format!("{request:?}");
        assert_eq!(verdict(request), (code, message), "{shown}");
    }
    assert_eq!(world.controller.image().topic("a").expect("there").partition_count(), 9);
    let topics = vec![grow("a", 10).topics.remove(0), grow("a", 11).topics.remove(0)];
    let request = CreatePartitionsRequest { topics, timeout_ms: 1_000, ..Default::default() };
    let response: CreatePartitionsResponse = world.call(3, request);
    assert_eq!(response.results.len(), 1);
    assert_eq!(response.results[0].error_message.as_deref(), Some("Duplicate topic name."));
}

#[test]
fn configs_of_a_topic_change() {
    let mut world = World::new();
    world.create(vec![topic("a", 1, 1)]);
    let policy = |world: &World| world.topic_config("a", "cleanup.policy");
    assert_eq!(world.alter_one((TOPIC, "a", &[("cleanup.policy", APPEND, Some("compact"))])), ok());
    assert_eq!(policy(&world).as_deref(), Some("delete,compact"), "it is added to the default");
    assert_eq!(world.alter_one((TOPIC, "a", &[("cleanup.policy", SUBTRACT, Some("delete"))])), ok());
    assert_eq!(policy(&world).as_deref(), Some("compact"));
    assert_eq!(world.alter_one((TOPIC, "a", &[("cleanup.policy", DELETE, None)])), ok());
    assert_eq!(policy(&world), None);
    assert_eq!(world.alter_one((TOPIC, "a", &[("nope", DELETE, None)])), ok(), "as Kafka has it");

    assert_eq!(world.alter_one((TOPIC, "a", &[("retention.ms", SET, Some("5"))])), ok());
    let request = AlterConfigsRequest {
        resources: vec![alter_configs::AlterConfigsResource {
            resource_type: TOPIC,
            resource_name: "a".to_owned(),
            configs: vec![alter_configs::AlterableConfig {
                name: "segment.ms".to_owned(),
                value: Some("7".to_owned()),
            }],
        }],
        validate_only: false,
    };
    let response: AlterConfigsResponse = world.call(2, request);
    assert_eq!(
        (response.responses[0].error_code, &response.responses[0].error_message),
        (ErrorCode::None, &None)
    );
    assert_eq!(world.topic_config("a", "segment.ms").as_deref(), Some("7"));
    assert_eq!(world.topic_config("a", "retention.ms"), None, "what is not named goes back to its default");
}

#[test]
#[rustfmt::skip] // A line for each answer reads best.
fn who_asks_for_a_config_that_cannot_be_hears_why() {
    // Each line is what Kafka 4.3.1 answers.
    let mut world = World::new();
    world.create(vec![topic("a", 1, 1)]);
    let cases: [(Change<'_>, ErrorCode, &str); 20] = [
        ((TOPIC, "a", &[("retention.ms", SET, Some("abc"))]), ErrorCode::InvalidConfig, "Invalid value abc for configuration retention.ms: Not a number of type LONG"),
        ((TOPIC, "a", &[("nope", SET, Some("1"))]), ErrorCode::InvalidConfig, "Unknown topic config name: nope"),
        ((TOPIC, "a", &[("retention.ms", SET, None)]), ErrorCode::InvalidRequest, "Null value not supported for : retention.ms"),
        ((TOPIC, "a", &[("retention.ms", APPEND, Some("5"))]), ErrorCode::InvalidConfig, "Can't APPEND to key retention.ms because its type is not LIST."),
        ((TOPIC, "a", &[("retention.ms", SUBTRACT, Some("5"))]), ErrorCode::InvalidConfig, "Can't SUBTRACT to key retention.ms because its type is not LIST."),
        ((TOPIC, "a", &[("retention.ms", SET, Some("1")), ("retention.ms", DELETE, None)]), ErrorCode::InvalidRequest, "Error due to duplicate config keys"),
        ((TOPIC, "nope", &[("retention.ms", SET, Some("1"))]), ErrorCode::UnknownTopicOrPartition, "The topic 'nope' does not exist."),
        ((TOPIC, "nope", &[("retention.ms", SET, Some("x"))]), ErrorCode::InvalidConfig, "Invalid value x for configuration retention.ms: Not a number of type LONG"),
        ((TOPIC, "", &[]), ErrorCode::InvalidRequest, "Default topic resources are not allowed."),
        ((TOPIC, "a b", &[]), ErrorCode::InvalidTopicException, "Topic name is invalid: 'a b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"),
        ((0, "g", &[("a", SET, Some("1"))]), ErrorCode::InvalidRequest, "Unknown resource type 0"),
        ((BROKER, "1", &[("num.partitions", SET, Some("5"))]), ErrorCode::InvalidRequest, "Cannot update these configs dynamically: [num.partitions]"),
        ((BROKER, "", &[("num.partitions", SET, Some("5"))]), ErrorCode::InvalidRequest, "Cannot update these configs dynamically: [num.partitions]"),
        ((BROKER, "1", &[("log.retention.hours", SET, Some("1"))]), ErrorCode::InvalidRequest, "Cannot update these configs dynamically: [log.retention.hours]"),
        ((BROKER, "1", &[("message.max.bytes", SET, Some("abc"))]), ErrorCode::InvalidRequest, "Invalid value abc for configuration message.max.bytes: Not a number of type INT"),
        ((BROKER, "", &[("log.cleanup.policy", SET, Some("foo"))]), ErrorCode::InvalidRequest, "Invalid value foo for configuration log.cleanup.policy: String must be one of: compact, delete"),
        ((BROKER, "1", &[("log.segment.bytes", SET, Some("5"))]), ErrorCode::InvalidRequest, "Invalid value 5 for configuration log.segment.bytes: Value must be at least 1048576"),
        ((BROKER, "9", &[("log.retention.ms", SET, Some("5"))]), ErrorCode::InvalidRequest, "Unexpected broker id, expected 1, but received 9"),
        ((BROKER, "x", &[("log.retention.ms", SET, Some("5"))]), ErrorCode::InvalidRequest, "Node id must be an integer, but it is: x"),
        ((BROKER, "1", &[("log.retention.ms", SET, None)]), ErrorCode::InvalidRequest, "Null value not supported for : log.retention.ms"),
    ];
    for (change, code, message) in cases {
        assert_eq!(world.alter_one(change), (code, message.to_owned()), "{change:?}");
    }
    let twice = world.alter(&[(TOPIC, "a", &[]), (TOPIC, "a", &[]), (BROKER, "", &[])]);
    let why = (ErrorCode::InvalidRequest, "Each resource must appear at most once.".to_owned());
    assert_eq!(twice, [why.clone(), why, ok()]);
}

#[test]
fn dynamic_broker_configs_change_the_defaults_of_topics() {
    let mut world = World::new();
    world.create(vec![topic("a", 1, 1)]);
    let overrides = world.controller.image().topic("a").expect("there").configs.clone();
    let retention = |world: &World| {
        let config = world.config.with_dynamic(world.controller.image());
        config.log_config("a", &overrides).retention_ms
    };
    assert_eq!(retention(&world), 7 * 24 * 3_600_000);
    assert_eq!(world.alter_one((BROKER, "", &[("log.retention.ms", SET, Some("100"))])), ok());
    assert_eq!(retention(&world), 100);
    assert_eq!(world.alter_one((BROKER, "1", &[("log.retention.ms", SET, Some("200"))])), ok());
    assert_eq!(retention(&world), 200, "what is said of one broker counts more");
    let mut world = world.restart(3);
    assert_eq!(retention(&world), 200);
    assert_eq!(world.alter_one((BROKER, "1", &[("log.retention.ms", DELETE, None)])), ok());
    assert_eq!(retention(&world), 100);
    assert_eq!(world.controller.image().broker_configs(ConfigTarget::Broker(NodeId(1))).len(), 0);
}

#[test]
fn topics_that_are_named_come_to_be() {
    let config = BrokerConfig::default().with("num.partitions", "4").expect("a config");
    let mut world = World::with(config);
    let asked: Vec<String> = ["a", "a b", "a", "__consumer_offsets"].map(str::to_owned).to_vec();
    let id = world.ask(Ask::AutoCreate(asked));
    world.settle();
    let Answer::Created(created) = world.answer(id) else { panic!("what was created") };
    let codes: Vec<ErrorCode> = created.iter().map(|(_, code)| *code).collect();
    let none = ErrorCode::None;
    assert_eq!(codes, [none, ErrorCode::InvalidTopicException, none, none]);
    let image = world.controller.image();
    assert_eq!(image.topic("a").expect("there").partition_count(), 4);
    let offsets = image.topic("__consumer_offsets").expect("there");
    assert!(offsets.is_internal());
    assert_eq!(offsets.partition_count(), 50);
    assert_eq!(offsets.configs["cleanup.policy"], "compact");
    assert_eq!(offsets.configs["segment.bytes"], "104857600");
}

#[test]
fn a_request_by_a_core_direct_listener_speaks_of_shards() {
    let mut world = World::new();
    let mut by_core = |topic: CreatableTopic| {
        let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
        let listener = ListenerKind::CoreDirect;
        let id = world.ask(Ask::Control { listener, version: 7, request: request.into() });
        world.settle();
        world.response::<CreateTopicsResponse>(id).topics[0].error_code
    };
    assert_eq!(by_core(assigned(&[(0, &[1])])), ErrorCode::InvalidReplicaAssignment);
    assert_eq!(by_core(assigned(&[(0, &[1_002])])), ErrorCode::InvalidReplicaAssignment);
    assert_eq!(by_core(assigned(&[(0, &[1_000, 1_001])])), ErrorCode::InvalidReplicaAssignment);
    assert_eq!(by_core(assigned(&[(0, &[1_001]), (1, &[1_000])])), ErrorCode::None);
}

#[test]
fn the_same_seed_gives_the_same_files() {
    let run = || {
        let mut world = World::new();
        world.create((0..50).map(|n| topic(&format!("t{n}"), 3, 1)).collect());
        world.call::<DeleteTopicsResponse>(5, names(&["t7"]));
        world.files
    };
    assert!(run() == run());
}
