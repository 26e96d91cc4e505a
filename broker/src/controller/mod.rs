//! The controller: decides what becomes of the metadata. A pure state machine, driven by the control executor and, with one
//! voter, by nobody else; later the quorum gives it committed records where the log now gives durable ones.
//!
//! ```text
//! ask ──► decide against `next` ──► record ──► log ──► durable ──► image to every shard ──► applied by all ──► answer
//! ```
//!
//! `next` is the image after every record that was appended, durable or not: what is decided next sees what was decided before.
//! An answer waits until everything that was decided up to then is durable and every shard acts on it, a refusal too: it may rest
//! on a change that nobody has seen yet. One image is on its way to the shards at a time; what becomes durable meanwhile goes with
//! the next.

mod alter_configs;
mod collisions;
mod create_partitions;
mod create_topics;
mod delete_topics;
mod draft;
mod random;

use std::collections::VecDeque;
use std::sync::Arc;

use net::{Request, Response};
use storage::Now;

use self::collisions::Collisions;
use self::draft::Draft;
use self::random::Random;
use crate::config::BrokerConfig;
use crate::ids::{Address, AskId, ListenerKind, ShardId};
use crate::ledger::Passage;
use crate::letter::{Answer, Ask, Letter};
use crate::metadata::log::{MetaDone, MetaLog, MetaOp, Progress, RecoveredMeta};
use crate::metadata::record::{BrokerRegisterV1, ClusterV1, EndpointV1, ProducerIdBlockV1};
use crate::metadata::{Applied, Endpoint, Image, Record};

/// Producer ids that are given away at once, as in Kafka.
pub const PRODUCER_ID_BLOCK: i32 = 1_000;

/// What can happen to the controller.
#[derive(Debug)]
pub enum ControlInput {
    /// Mail from a shard.
    Letter {
        /// From whom.
        from: Address,
        /// What.
        letter: Letter,
    },
    /// An operation on the log is done.
    Done(MetaDone),
    /// `next_timeout` has come.
    Timeout,
}

/// What a step of the controller wants done.
#[derive(Debug, Default)]
pub struct ControlEffects {
    /// For the metadata directory.
    pub meta: Vec<MetaOp>,
    /// For the shards.
    pub letters: Vec<(Address, Letter)>,
    /// The log cannot be written any more, for this reason: the process has to end.
    pub failed: Option<String>,
}

/// What the controller begins with.
#[derive(Debug)]
pub struct ControllerParts {
    /// The config of this broker.
    pub config: Arc<BrokerConfig>,
    /// The id that the data directory has; a cluster that is founded gets it.
    pub cluster_id: String,
    /// Where clients reach this broker.
    pub endpoints: Vec<Endpoint>,
    /// How many shards it runs.
    pub shards: u16,
    /// What the metadata directory said.
    pub recovered: RecoveredMeta,
    /// Random; never the same twice.
    pub seed: u128,
}

/// The controller.
#[derive(Debug)]
pub struct Controller {
    config: Arc<BrokerConfig>,
    random: Random,
    log: MetaLog,
    collisions: Collisions,
    /// After every record that was appended.
    next: Image,
    /// Images that are to be durable, oldest first: that of the write in flight, and the newest.
    undurable: VecDeque<Arc<Image>>,
    /// The newest image that is durable.
    durable: Arc<Image>,
    /// Version of the image that the shards were sent last; 0 before the first.
    sent: u64,
    /// Version of the first image with the registration of this start.
    registered: u64,
    /// What each shard has applied.
    applied: Vec<u64>,
    /// Answers in the order of the versions that they wait for.
    waiting: VecDeque<Waiting>,
    /// No answer is late before this.
    late_us: Option<u64>,
    failed: bool,
}

/// An answer that waits until a version is everywhere.
#[derive(Debug)]
struct Waiting {
    to: Address,
    id: AskId,
    version: u64,
    /// None once it was answered with `late`.
    answer: Option<Answer>,
    /// When to give up, and what to say then.
    late: Option<(u64, Answer)>,
}

/// Why a controller cannot begin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OtherCluster {
    /// The cluster of the data directory.
    pub directory: String,
    /// The cluster of the metadata.
    pub metadata: String,
}

impl std::fmt::Display for OtherCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "the data directory belongs to cluster {} and its metadata to cluster {}: put back the meta directory that \
             belongs to it",
            self.directory, self.metadata
        )
    }
}

impl std::error::Error for OtherCluster {}

impl Controller {
    /// The controller behind what was recovered. It registers this broker; once that is durable, the shards get their image.
    pub fn open(parts: ControllerParts, effects: &mut ControlEffects) -> Result<Controller, OtherCluster> {
        let ControllerParts { config, cluster_id, endpoints, shards, recovered, seed } = parts;
        let mut random = Random::new(seed);
        let log = MetaLog::open(&recovered, random.u64(), &mut effects.meta);
        let next = recovered.image;
        if !next.cluster_id().is_empty() && next.cluster_id() != cluster_id {
            let metadata = next.cluster_id().to_owned();
            return Err(OtherCluster { directory: cluster_id, metadata });
        }
        let mut controller = Controller {
            config: Arc::new(config.with_dynamic(&next)),
            collisions: Collisions::of(&next),
            durable: Arc::new(next.clone()),
            undurable: VecDeque::new(),
            sent: 0,
            registered: 0,
            applied: vec![0; usize::from(shards)],
            waiting: VecDeque::new(),
            late_us: None,
            failed: false,
            random,
            log,
            next,
        };
        let mut records = Vec::new();
        if controller.next.cluster_id().is_empty() {
            records.push(Record::Cluster(ClusterV1 { cluster_id }));
        }
        records.push(registration(&config, endpoints, shards, controller.random.u128()));
        controller.append(records);
        controller.registered = controller.next.version();
        controller.end_step(effects);
        Ok(controller)
    }

    /// Whether every shard acts on metadata that has this start's addresses: clients may come.
    pub fn is_ready(&self) -> bool {
        self.applied.iter().all(|version| *version >= self.registered)
    }

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.log.is_idle() && self.waiting.is_empty() && self.undurable.is_empty()
    }

    /// The newest durable image.
    pub fn image(&self) -> &Arc<Image> {
        &self.durable
    }

    /// When `ControlInput::Timeout` is due, microseconds of `Now::monotonic_us`.
    pub fn next_timeout(&self) -> Option<u64> {
        self.late_us.filter(|_| !self.waiting.is_empty())
    }

    /// Takes one input; what follows from it is appended to `effects`.
    pub fn handle(&mut self, now: Now, input: ControlInput, effects: &mut ControlEffects) {
        if self.failed {
            return;
        }
        match input {
            ControlInput::Letter { from, letter } => self.letter(now, from, letter, effects),
            ControlInput::Done(done) => self.done(done, effects),
            ControlInput::Timeout => {}
        }
        self.expire(now, effects);
        self.end_step(effects);
    }

    fn letter(&mut self, now: Now, from: Address, letter: Letter, effects: &mut ControlEffects) {
        match letter {
            Letter::Ask { id, ask } => {
                let (answer, late) = self.decide(now, ask);
                let version = self.log.appended();
                if let Some((at_us, _)) = &late {
                    self.late_us = Some(self.late_us.map_or(*at_us, |earlier| earlier.min(*at_us)));
                }
                self.waiting.push_back(Waiting { to: from, id, version, answer: Some(answer), late });
                self.release(effects);
            }
            Letter::ImageApplied { shard: ShardId(shard), version } => {
                let applied = self.applied.get_mut(usize::from(shard)).expect("a shard of this broker");
                *applied = version;
                self.release(effects);
            }
            other => unreachable!("the controller gets asks and applied images, not {other:?}"),
        }
    }

    fn done(&mut self, done: MetaDone, effects: &mut ControlEffects) {
        match self.log.complete(done, &mut effects.meta) {
            Ok(Progress::Nothing) => {}
            Ok(Progress::Durable(version)) => {
                while self.undurable.front().is_some_and(|image| image.version() <= version) {
                    self.durable = self.undurable.pop_front().expect("just seen");
                }
                assert!(self.durable.version() == version, "an image was kept for every write");
            }
            Err(message) => {
                self.failed = true;
                effects.failed =
                    Some(format!("the metadata log cannot be written: {message}: check the disk"));
            }
        }
    }

    /// Decides a question: the answer for when the decision is everywhere, and the one for when that takes too long.
    fn decide(&mut self, now: Now, ask: Ask) -> (Answer, Option<(u64, Answer)>) {
        match ask {
            Ask::Control { listener, version, request } => {
                self.decide_request(now, listener, version, request)
            }
            Ask::AutoCreate(names) => (self.auto_create(names), None),
            Ask::ProducerIds => (self.producer_ids(), None),
            other => unreachable!("a question for a shard: {other:?}"),
        }
    }

    fn decide_request(
        &mut self,
        now: Now,
        listener: ListenerKind,
        version: i16,
        request: Request,
    ) -> (Answer, Option<(u64, Answer)>) {
        if let Some(late) = out_of_time(&request) {
            return (Answer::Response(late), None);
        }
        let at_us = |timeout_ms: i32| now.monotonic_us.saturating_add(timeout_ms.max(0) as u64 * 1_000);
        let config = self.config.clone();
        let mut draft = Draft {
            image: self.next.clone(),
            records: Vec::new(),
            config: &config,
            random: &mut self.random,
            listener,
            partitions: 0,
        };
        let (response, late, validate_only): (Response, Option<(u64, Response)>, bool) = match &request {
            Request::CreateTopics(r) => (
                create_topics::create(&mut draft, &self.collisions, r).into(),
                Some((at_us(r.timeout_ms), create_topics::timed_out(r).into())),
                r.validate_only,
            ),
            Request::DeleteTopics(r) => (
                delete_topics::delete(&mut draft, version, r).into(),
                Some((at_us(r.timeout_ms), delete_topics::timed_out(r).into())),
                false,
            ),
            Request::CreatePartitions(r) => (
                create_partitions::create(&mut draft, r).into(),
                Some((at_us(r.timeout_ms), create_partitions::timed_out(r).into())),
                r.validate_only,
            ),
            Request::AlterConfigs(r) => (alter_configs::replace(&mut draft, r).into(), None, r.validate_only),
            Request::IncrementalAlterConfigs(r) => {
                (alter_configs::change(&mut draft, r).into(), None, r.validate_only)
            }
            other => unreachable!("a request for a shard: {other:?}"),
        };
        let records = draft.records;
        if !validate_only {
            self.append(records);
        }
        (Answer::Response(response), late.map(|(at_us, response)| (at_us, Answer::Response(response))))
    }

    fn auto_create(&mut self, names: Vec<String>) -> Answer {
        let mut created = Vec::with_capacity(names.len());
        for name in names {
            let config = self.config.clone();
            let mut draft = Draft {
                image: self.next.clone(),
                records: Vec::new(),
                config: &config,
                random: &mut self.random,
                listener: ListenerKind::Shared,
                partitions: 0,
            };
            let result = create_topics::create_named(&mut draft, &self.collisions, &name);
            let records = draft.records;
            self.append(records);
            created.push((name, result.map_or_else(|refusal| refusal.code, |()| net::ErrorCode::None)));
        }
        Answer::Created(created)
    }

    fn producer_ids(&mut self) -> Answer {
        let first = self.next.next_producer_id();
        let count = i64::from(PRODUCER_ID_BLOCK);
        if first.checked_add(count).is_none() {
            return Answer::ProducerIds { first: -1, count: 0 };
        }
        let node_id = self.config.node_id.0;
        self.append(vec![Record::ProducerIdBlock(ProducerIdBlockV1 {
            node_id,
            first,
            count: PRODUCER_ID_BLOCK,
        })]);
        Answer::ProducerIds { first, count }
    }

    /// Takes decided records into the log and into `next`.
    fn append(&mut self, records: Vec<Record>) {
        for record in records {
            self.log.append(&record);
            self.collisions.note(&record, &self.next);
            let applied = self.next.apply(&record);
            assert!(applied == Applied::Done, "what was decided applies: {applied}");
            if matches!(record, Record::Config(_)) {
                self.config = Arc::new(self.config.with_dynamic(&self.next));
            }
        }
        assert!(self.next.version() == self.log.appended(), "the log and the image count alike");
    }

    /// Sends off what a step has brought about.
    fn end_step(&mut self, effects: &mut ControlEffects) {
        if self.failed {
            return;
        }
        self.keep_undurable();
        self.log.flush(&mut effects.meta);
        let everywhere = self.everywhere();
        if self.durable.version() > self.sent && everywhere >= self.sent {
            self.sent = self.durable.version();
            for shard in 0..self.applied.len() {
                let address = Address::Shard(ShardId(shard as u16));
                effects.letters.push((address, Letter::Image(self.durable.clone())));
            }
        }
        if self.log.wants_snapshot() && self.is_ready() {
            self.log.snapshot(&self.durable, &mut effects.meta);
        }
    }

    /// Keeps the images that writes end with: of the one in flight, and the newest for the one after it.
    fn keep_undurable(&mut self) {
        let newest = self.undurable.back().map_or(self.durable.version(), |image| image.version());
        if self.next.version() == newest {
            return;
        }
        let covered = self.log.in_flight_version();
        self.undurable.retain(|image| Some(image.version()) == covered);
        self.undurable.push_back(Arc::new(self.next.clone()));
    }

    /// Every shard acts on the metadata up to this version.
    fn everywhere(&self) -> u64 {
        self.applied.iter().copied().min().unwrap_or(0)
    }

    /// Sends answers whose versions are everywhere.
    fn release(&mut self, effects: &mut ControlEffects) {
        let everywhere = self.everywhere();
        while self.waiting.front().is_some_and(|waiting| waiting.version <= everywhere) {
            let waiting = self.waiting.pop_front().expect("just seen");
            if let Some(answer) = waiting.answer {
                effects.letters.push((
                    waiting.to,
                    Letter::Answer { id: waiting.id, answer, passage: Passage::default() },
                ));
            }
        }
    }

    /// Answers those who do not wait any longer. What they asked for happens all the same.
    fn expire(&mut self, now: Now, effects: &mut ControlEffects) {
        if self.late_us.is_none_or(|at_us| at_us > now.monotonic_us) {
            return;
        }
        for waiting in &mut self.waiting {
            if waiting.late.as_ref().is_some_and(|(at_us, _)| *at_us <= now.monotonic_us) {
                let (_, answer) = waiting.late.take().expect("just seen");
                waiting.answer = None;
                effects.letters.push((
                    waiting.to,
                    Letter::Answer { id: waiting.id, answer, passage: Passage::default() },
                ));
            }
        }
        self.late_us = self.waiting.iter().filter_map(|waiting| Some(waiting.late.as_ref()?.0)).min();
    }
}

/// The answer to a request that gives no time at all: as in Kafka nothing is done.
fn out_of_time(request: &Request) -> Option<Response> {
    match request {
        Request::CreateTopics(r) if r.timeout_ms <= 0 => Some(create_topics::timed_out(r).into()),
        Request::DeleteTopics(r) if r.timeout_ms <= 0 => Some(delete_topics::timed_out(r).into()),
        Request::CreatePartitions(r) if r.timeout_ms <= 0 => Some(create_partitions::timed_out(r).into()),
        _ => None,
    }
}

fn registration(config: &BrokerConfig, endpoints: Vec<Endpoint>, shards: u16, incarnation: u128) -> Record {
    let endpoints = endpoints.into_iter().map(|e| EndpointV1 {
        name: e.name,
        host: e.host,
        port: e.port,
        security_protocol: e.security_protocol,
        core_direct: e.core_direct,
    });
    Record::BrokerRegister(BrokerRegisterV1 {
        node_id: config.node_id.0,
        incarnation,
        endpoints: endpoints.collect(),
        rack: config.broker_rack.clone(),
        shards,
    })
}

#[cfg(test)]
mod tests;
