//! The administrator: makes the topics of the world, deletes records of them, makes topics that nobody uses and
//! deletes them again, and asks whether everything is still there.

use std::collections::{BTreeMap, BTreeSet};

use net::messages::create_topics::{CreatableTopic, CreatableTopicConfig};
use net::messages::delete_records::{DeleteRecordsPartition, DeleteRecordsTopic};
use net::messages::delete_topics::DeleteTopicState;
use net::messages::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use net::messages::metadata::MetadataRequestTopic;
use net::messages::{
    CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest, ListOffsetsRequest, MetadataRequest,
};
use net::{ErrorCode, Response};

use super::wire::Wire;
use super::{Client, Ctx, Phase};
use crate::checker::{Checker, Violation};
use crate::history::{Place, Policy};

/// All that is acknowledged, where the first offset to keep is asked for.
pub const HIGH_WATERMARK: i64 = -1;

/// A topic of the world.
#[derive(Clone, Debug)]
pub struct TopicPlan {
    /// Its name.
    pub name: String,
    /// Its partitions.
    pub partitions: i32,
    /// What the broker may remove of it.
    pub policy: Policy,
    /// Its settings.
    pub configs: Vec<(String, String)>,
}

impl TopicPlan {
    /// Acknowledges from memory, and flushes that often.
    pub fn flush_every(&mut self, interval_ms: u64) {
        self.flush_always();
        self.policy.flush_interval_ms = Some(interval_ms);
        self.configs.push(("flush.mode".to_owned(), "interval".to_owned()));
        self.configs.push(("flush.interval.ms".to_owned(), interval_ms.to_string()));
    }

    /// Acknowledges what is durable.
    pub fn flush_always(&mut self) {
        self.policy.flush_interval_ms = None;
        self.configs.retain(|(name, _)| !name.starts_with("flush."));
    }
}

/// What was asked, until it is answered.
#[derive(Clone, Debug)]
enum Open {
    Create { name: String, partitions: i32 },
    Delete { name: String },
    Latest { place: Place },
    DeleteRecords { place: Place },
    Check,
}

/// The administrator.
pub struct Admin {
    wire: Wire,
    plans: Vec<TopicPlan>,
    created: usize,
    interval_us: u64,
    deletes_records: bool,
    next_scratch: u32,
    /// Topics that nobody uses, and their partitions.
    scratch: BTreeMap<String, i32>,
    /// Topics whose deletion was acknowledged.
    gone: BTreeSet<String>,
    open: Option<Open>,
    next: Option<(Place, i64)>,
    checked_at_finish: bool,
    has_plans_left: bool,
}

impl Admin {
    /// An administrator that makes these topics first.
    pub fn new(plans: Vec<TopicPlan>, interval_us: u64, deletes_records: bool) -> Admin {
        Admin {
            wire: Wire::new("admin"),
            has_plans_left: !plans.is_empty(),
            plans,
            created: 0,
            interval_us,
            deletes_records,
            next_scratch: 0,
            scratch: BTreeMap::new(),
            gone: BTreeSet::new(),
            open: None,
            next: None,
            checked_at_finish: false,
        }
    }

    /// Whether all topics of the world are made.
    pub fn is_ready(&self) -> bool {
        !self.has_plans_left
    }

    fn go_on(&mut self, ctx: &mut Ctx<'_>) {
        if self.wire.is_overdue(ctx.now_us) {
            self.wire.close(ctx);
            self.open = None;
        }
        if !self.wire.is_ready(ctx) || self.open.is_some() {
            return;
        }
        if let Some(plan) = self.plans.get(self.created).cloned() {
            self.create(ctx, plan.name, plan.partitions, &plan.configs);
        } else if let Some((place, before)) = self.next.take() {
            self.delete_records(ctx, place, before);
        } else if ctx.phase == Phase::Finish {
            if !self.checked_at_finish {
                self.check(ctx);
            }
        } else {
            match ctx.random.below(6) {
                0 => {
                    self.next_scratch += 1;
                    let partitions = ctx.random.between(1, 5) as i32;
                    self.create(ctx, format!("scratch-{}", self.next_scratch), partitions, &[]);
                }
                1 if !self.scratch.is_empty() => {
                    let index = ctx.random.below(self.scratch.len() as u64) as usize;
                    let name = self.scratch.keys().nth(index).expect("within its length").clone();
                    self.delete(ctx, name);
                }
                2 | 3 => self.ask_latest(ctx),
                _ => self.check(ctx),
            }
        }
    }

    fn create(&mut self, ctx: &mut Ctx<'_>, name: String, partitions: i32, configs: &[(String, String)]) {
        let configs = configs
            .iter()
            .map(|(name, value)| CreatableTopicConfig { name: name.clone(), value: Some(value.clone()) })
            .collect();
        let topic = CreatableTopic {
            name: name.clone(),
            num_partitions: partitions,
            replication_factor: 1,
            configs,
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 30_000, validate_only: false };
        let version = ctx.random.between(4, 7) as i16;
        self.wire.send(ctx, request, version, true);
        self.open = Some(Open::Create { name, partitions });
    }

    fn delete(&mut self, ctx: &mut Ctx<'_>, name: String) {
        let version = *ctx.random.pick(&[1, 4, 6]);
        let mut request = DeleteTopicsRequest { timeout_ms: 30_000, ..Default::default() };
        if version == 6 {
            request.topics = vec![DeleteTopicState { name: Some(name.clone()), ..Default::default() }];
        } else {
            request.topic_names = vec![name.clone()];
        }
        self.wire.send(ctx, request, version, true);
        // From here on it may be gone.
        self.scratch.remove(&name);
        self.open = Some(Open::Delete { name });
    }

    fn some_place(&self, ctx: &mut Ctx<'_>) -> Place {
        let plan = ctx.random.pick(&self.plans).clone();
        (plan.name, ctx.random.below(plan.partitions as u64) as i32)
    }

    fn ask_latest(&mut self, ctx: &mut Ctx<'_>) {
        let place = self.some_place(ctx);
        let partition =
            ListOffsetsPartition { partition_index: place.1, timestamp: -1, ..Default::default() };
        let topic = ListOffsetsTopic { name: place.0.clone(), partitions: vec![partition] };
        let version = ctx.random.between(1, 7) as i16;
        let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
        self.wire.send(ctx, request, version, true);
        self.open = Some(Open::Latest { place });
    }

    fn delete_records(&mut self, ctx: &mut Ctx<'_>, place: Place, before: i64) {
        ctx.history.delete_asked(&place, before);
        let partition = DeleteRecordsPartition { partition_index: place.1, offset: before };
        let topic = DeleteRecordsTopic { name: place.0.clone(), partitions: vec![partition] };
        let version = ctx.random.between(0, 2) as i16;
        self.wire.send(ctx, DeleteRecordsRequest { topics: vec![topic], timeout_ms: 30_000 }, version, true);
        self.open = Some(Open::DeleteRecords { place });
    }

    fn check(&mut self, ctx: &mut Ctx<'_>) {
        let version = *ctx.random.pick(&[1, 4, 8, 9, 12]);
        let names = self.plans.iter().map(|plan| &plan.name).chain(self.scratch.keys()).chain(&self.gone);
        let topics =
            names.map(|name| MetadataRequestTopic { name: Some(name.clone()), ..Default::default() });
        let request = MetadataRequest {
            topics: Some(topics.collect()),
            allow_auto_topic_creation: version < 4,
            ..Default::default()
        };
        if version < 4 {
            // This version always creates what is missing: ask for everything instead.
            let everything = MetadataRequest { topics: None, ..request };
            self.wire.send(ctx, everything, version, true);
        } else {
            self.wire.send(ctx, request, version, true);
        }
        self.open = Some(Open::Check);
    }

    fn answered(&mut self, ctx: &mut Ctx<'_>, asked_us: u64, response: Response) {
        let Some(open) = self.open.take() else { return };
        match (open, response) {
            (Open::Create { name, partitions }, Response::CreateTopics(response)) => {
                let result = &response.topics[0];
                match result.error_code {
                    ErrorCode::None | ErrorCode::TopicAlreadyExists => self.is_created(ctx, name, partitions),
                    error if error.is_retriable() || error == ErrorCode::UnknownServerError => {}
                    error => {
                        let message = format!("topic {name} is refused: {error} {:?}", result.error_message);
                        ctx.history.violations.push(Violation::new(Checker::Progress, message));
                    }
                }
            }
            (Open::Delete { name }, Response::DeleteTopics(response)) => {
                if response.responses[0].error_code == ErrorCode::None {
                    self.gone.insert(name);
                }
            }
            (Open::Latest { place }, Response::ListOffsets(response)) => {
                let partition = &response.topics[0].partitions[0];
                if partition.error_code == ErrorCode::None {
                    ctx.history.end_offset(asked_us, &place, partition.offset);
                    if self.deletes_records && ctx.random.percent(20) && partition.offset > 0 {
                        let before = match ctx.random.below(4) {
                            0 => HIGH_WATERMARK,
                            1 => partition.offset,
                            _ => ctx.random.between(0, partition.offset as u64) as i64,
                        };
                        self.next = Some((place, before));
                    }
                }
            }
            (Open::DeleteRecords { place }, Response::DeleteRecords(response)) => {
                let partition = &response.topics[0].partitions[0];
                match partition.error_code {
                    ErrorCode::None => ctx.history.delete_done(&place, partition.low_watermark),
                    ErrorCode::KafkaStorageError => ctx.history.delete_failed(&place),
                    _ => {}
                }
            }
            (Open::Check, Response::Metadata(response)) => {
                let there: BTreeMap<&str, usize> = response
                    .topics
                    .iter()
                    .filter(|topic| topic.error_code == ErrorCode::None)
                    .filter_map(|topic| Some((topic.name.as_deref()?, topic.partitions.len())))
                    .collect();
                for (name, partitions) in self
                    .plans
                    .iter()
                    .map(|p| (&p.name, p.partitions))
                    .chain(self.scratch.iter().map(|(name, partitions)| (name, *partitions)))
                {
                    if there.get(name.as_str()) != Some(&(partitions as usize)) {
                        let found = there.get(name.as_str());
                        let message = format!(
                            "topic {name} was created with {partitions} partitions, now it has {found:?}"
                        );
                        ctx.history.topic_is_wrong(message);
                    }
                }
                if let Some(name) = self.gone.iter().find(|name| there.contains_key(name.as_str())) {
                    ctx.history.topic_is_wrong(format!("topic {name} was deleted and is there"));
                }
                self.checked_at_finish |= ctx.phase == Phase::Finish;
            }
            (open, other) => {
                let message = format!("the administrator asked {open:?} and was given {other:?}");
                ctx.history.violations.push(Violation::new(Checker::C8, message));
            }
        }
    }

    fn is_created(&mut self, ctx: &mut Ctx<'_>, name: String, partitions: i32) {
        match self.plans.get(self.created).filter(|plan| plan.name == name) {
            Some(plan) => {
                ctx.history.topic(&plan.name, plan.partitions, plan.policy);
                self.created += 1;
                self.has_plans_left = self.created < self.plans.len();
            }
            None => {
                self.scratch.insert(name, partitions);
            }
        }
    }
}

impl Client for Admin {
    fn name(&self) -> String {
        "admin".to_owned()
    }

    fn wake(&mut self, ctx: &mut Ctx<'_>) {
        self.go_on(ctx);
        let pause = if self.has_plans_left { 2_000 } else { 1_000 + ctx.random.around(self.interval_us) };
        ctx.wake_after(pause);
    }

    fn connected(&mut self, ctx: &mut Ctx<'_>) {
        self.wire.opened();
        self.go_on(ctx);
    }

    fn received(&mut self, ctx: &mut Ctx<'_>, bytes: &[u8]) {
        for (sent, response) in self.wire.receive(ctx, bytes) {
            self.answered(ctx, sent.at_us, response);
        }
    }

    fn closed(&mut self, _ctx: &mut Ctx<'_>) {
        self.wire.forget();
        self.open = None;
    }

    fn unfinished(&self) -> Option<String> {
        if self.checked_at_finish && self.open.is_none() {
            return None;
        }
        Some(format!("the administrator waits for {:?}; {:?}", self.open, self.wire.describe_pending()))
    }
}
