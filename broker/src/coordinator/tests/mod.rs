//! A coordinator with a log of its own making and a clock that only the test moves.

mod offsets;
mod random;
mod rebalances;
mod restarts;

use std::collections::BTreeMap;

use bytes::Bytes;
use net::messages::join_group::JoinGroupRequestProtocol;
use net::messages::sync_group::SyncGroupRequestAssignment;
use net::messages::{
    DescribeGroupsRequest, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    LeaveGroupResponse, SyncGroupRequest, SyncGroupResponse,
};
use net::{ErrorCode, Request, Response};
use storage::{Now, Offset};

use super::*;

/// What the log does with a batch.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Log {
    /// Takes it and makes it durable at once.
    Durable,
    /// Takes it; `World::commit` makes it durable.
    Slow,
    /// Takes none.
    Full,
    /// Does not take the next one.
    FullOnce,
}

pub(super) struct World {
    pub(super) coordinator: GroupCoordinator,
    pub(super) now: Now,
    pub(super) log: Log,
    /// Every record that the log took, with the offset behind its batch.
    pub(super) records: Vec<(i64, CoordinatorRecord)>,
    pub(super) durable_end: i64,
    answers: BTreeMap<Token, Response>,
    last_token: u64,
    config: GroupConfig,
}

impl World {
    /// An empty partition; no initial delay, so that stories are short.
    pub(super) fn new() -> World {
        World::with(GroupConfig { initial_rebalance_delay_ms: 0, ..GroupConfig::default() })
    }

    pub(super) fn with(config: GroupConfig) -> World {
        let mut world = World {
            coordinator: GroupCoordinator::new(config.clone(), 1),
            now: Now { monotonic_us: 1_000_000, wall_ms: 1_700_000_000_000 },
            log: Log::Durable,
            records: Vec::new(),
            durable_end: 0,
            answers: BTreeMap::new(),
            last_token: 0,
            config,
        };
        world.tell(CoordinatorEvent::Loaded);
        world
    }

    /// The process is killed and started again. What was not durable is lost; nobody is answered.
    pub(super) fn restart(&mut self, seed: u64) {
        let durable_end = self.durable_end;
        self.records.retain(|(end, _)| *end <= durable_end);
        self.coordinator = GroupCoordinator::new(self.config.clone(), seed);
        for (_, record) in self.records.clone() {
            self.tell(CoordinatorEvent::Replay { key: record.key, value: record.value });
        }
        self.tell(CoordinatorEvent::Loaded);
    }

    pub(super) fn tell(&mut self, event: CoordinatorEvent) {
        let mut out = Vec::new();
        self.coordinator.handle(self.now, event, &mut out);
        for effect in out {
            match effect {
                CoordinatorEffect::Respond { token, response } => {
                    let before = self.answers.insert(token, response);
                    assert!(before.is_none(), "a request is answered once");
                }
                CoordinatorEffect::Append { batch, records } => self.append(batch, records),
            }
        }
    }

    fn append(&mut self, batch: BatchId, records: Vec<CoordinatorRecord>) {
        if matches!(self.log, Log::Full | Log::FullOnce) {
            if self.log == Log::FullOnce {
                self.log = Log::Durable;
            }
            return self.tell(CoordinatorEvent::Refused { batch, error: ErrorCode::KafkaStorageError });
        }
        let end = self.records.len() as i64 + records.len() as i64;
        self.records.extend(records.into_iter().map(|record| (end, record)));
        self.tell(CoordinatorEvent::Appended { batch, end: Offset(end) });
        if self.log == Log::Durable {
            self.commit();
        }
    }

    /// Makes all that is in the log durable.
    pub(super) fn commit(&mut self) {
        self.durable_end = self.records.len() as i64;
        self.tell(CoordinatorEvent::Committed { end: Offset(self.durable_end) });
    }

    /// Lets time pass; timers fire when they are due.
    pub(super) fn pass_ms(&mut self, ms: u64) {
        let end_us = self.now.monotonic_us + ms * 1000;
        while let Some(at) = self.coordinator.next_timeout().filter(|at| *at <= end_us) {
            self.move_clock(at.max(self.now.monotonic_us));
            self.tell(CoordinatorEvent::Timeout);
        }
        self.move_clock(end_us);
    }

    fn move_clock(&mut self, to_us: u64) {
        let wall_ms = 1_700_000_000_000 + (to_us / 1000) as i64;
        self.now = Now { monotonic_us: to_us, wall_ms };
    }

    pub(super) fn request(&mut self, version: i16, request: impl Into<Request>) -> Token {
        self.last_token += 1;
        let token = Token(self.last_token);
        let client = Client { id: "client".into(), host: "/127.0.0.1".into() };
        self.tell(CoordinatorEvent::Request { token, client, version, request: request.into() });
        token
    }

    pub(super) fn answer(&mut self, token: Token) -> Option<Response> {
        self.answers.remove(&token)
    }

    pub(super) fn ask(&mut self, version: i16, request: impl Into<Request>) -> Response {
        let token = self.request(version, request);
        self.answer(token).expect("the request is answered at once")
    }

    // ------------------------------------------------------------------------------- what members do, in short

    pub(super) fn join(&mut self, join: JoinGroupRequest) -> Token {
        self.request(9, join)
    }

    pub(super) fn joined(&mut self, token: Token) -> Option<JoinGroupResponse> {
        self.answer(token).map(|response| match response {
            Response::JoinGroup(response) => response,
            other => panic!("{other:?}"),
        })
    }

    /// Joins with a member id that is asked for first, and waits for the generation.
    pub(super) fn enter(&mut self) -> Token {
        let token = self.join(join_as(""));
        let response = self.joined(token).expect("a member id is given at once");
        assert_eq!(response.error_code, ErrorCode::MemberIdRequired);
        self.join(join_as(&response.member_id))
    }

    /// A group of `count` members that is stable; returns the ids, the leader first, and the generation.
    pub(super) fn stable_group(&mut self, count: usize) -> (Vec<String>, i32) {
        assert_eq!(self.config.initial_rebalance_delay_ms, 0);
        let mut ids: Vec<String> = Vec::new();
        loop {
            let newcomer = self.enter();
            let tokens: Vec<Token> = ids.iter().map(|id| self.join(join_as(id))).collect();
            self.pass_ms(1);
            let newcomer = self.joined(newcomer).expect("all are there");
            let rejoined: Vec<_> = tokens.iter().map(|token| self.joined(*token).unwrap()).collect();
            assert!(rejoined.iter().all(|joined| joined.error_code == ErrorCode::None));
            ids.push(newcomer.member_id);
            let generation_id = newcomer.generation_id;
            let leader = newcomer.leader;
            ids.sort_by_key(|id| *id != leader);
            let syncs: Vec<Token> = ids.iter().rev().map(|id| self.sync(id, generation_id, &ids)).collect();
            for token in syncs {
                assert_eq!(self.synced(token).expect("the leader has synced").error_code, ErrorCode::None);
            }
            if ids.len() == count {
                return (ids, generation_id);
            }
        }
    }

    /// SyncGroup with an assignment for everyone, which says whose it is and of which generation.
    pub(super) fn sync(&mut self, id: &str, generation_id: i32, members: &[String]) -> Token {
        let assignments = members.iter().map(|member| SyncGroupRequestAssignment {
            member_id: member.clone(),
            assignment: assignment(member, generation_id),
        });
        self.request(5, sync_as(id, generation_id, assignments.collect()))
    }

    pub(super) fn synced(&mut self, token: Token) -> Option<SyncGroupResponse> {
        self.answer(token).map(|response| match response {
            Response::SyncGroup(response) => response,
            other => panic!("{other:?}"),
        })
    }

    pub(super) fn heartbeat(&mut self, id: &str, generation_id: i32) -> ErrorCode {
        let request = HeartbeatRequest {
            group_id: "group".into(),
            generation_id,
            member_id: id.into(),
            ..Default::default()
        };
        match self.ask(4, request) {
            Response::Heartbeat(response) => response.error_code,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn leave(&mut self, members: &[(&str, Option<&str>)]) -> LeaveGroupResponse {
        let members = members.iter().map(|(id, instance)| net::messages::leave_group::MemberIdentity {
            member_id: (*id).into(),
            group_instance_id: instance.map(Into::into),
            reason: None,
        });
        let request =
            LeaveGroupRequest { group_id: "group".into(), members: members.collect(), ..Default::default() };
        match self.ask(5, request) {
            Response::LeaveGroup(response) => response,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn describe(&mut self) -> net::messages::describe_groups::DescribedGroup {
        let request = DescribeGroupsRequest { groups: vec!["group".into()], ..Default::default() };
        match self.ask(6, request) {
            Response::DescribeGroups(mut response) => response.groups.pop().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn state(&mut self) -> String {
        self.describe().group_state
    }
}

pub(super) fn join_as(id: &str) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: "group".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        member_id: id.into(),
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".into(),
            metadata: subscription(&["topic"]),
        }],
        ..Default::default()
    }
}

pub(super) fn static_join(instance: &str, id: &str) -> JoinGroupRequest {
    JoinGroupRequest { group_instance_id: Some(instance.into()), ..join_as(id) }
}

pub(super) fn sync_as(
    id: &str,
    generation_id: i32,
    assignments: Vec<SyncGroupRequestAssignment>,
) -> SyncGroupRequest {
    SyncGroupRequest {
        group_id: "group".into(),
        generation_id,
        member_id: id.into(),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        assignments,
        ..Default::default()
    }
}

pub(super) fn assignment(member: &str, generation_id: i32) -> Bytes {
    format!("{member} in {generation_id}").into()
}

/// The metadata of a consumer that subscribes to these topics.
pub(super) fn subscription(topics: &[&str]) -> Bytes {
    let mut bytes = vec![0, 0];
    bytes.extend((topics.len() as i32).to_be_bytes());
    for topic in topics {
        bytes.extend((topic.len() as i16).to_be_bytes());
        bytes.extend(topic.as_bytes());
    }
    bytes.extend((-1i32).to_be_bytes());
    bytes.into()
}

#[test]
fn groups_are_spread_as_kafka_spreads_them() {
    // Values of Java's `Math.abs(String.hashCode()) % 50`, and the one hash that has no absolute value.
    assert_eq!(partition_for("", 50), 0);
    assert_eq!(partition_for("group", 50), 98629247 % 50);
    assert_eq!(
        partition_for("connect-cluster", 50),
        "connect-cluster"
            .bytes()
            .fold(0i32, |h, b| { h.wrapping_mul(31).wrapping_add(b.into()) })
            .unsigned_abs() as i32
            % 50
    );
    assert_eq!(partition_for("polygenelubricants", 50), 0);
    assert_eq!(partition_for("grüße 👋", 50), partition_for("grüße \u{1f44b}", 50));
}

#[test]
fn member_ids_are_those_of_the_client_with_a_random_uuid() {
    let mut ids = MemberIds { state: 7 };
    let (first, second) = (ids.next("consumer"), ids.next("consumer"));
    assert_ne!(first, second);
    let uuid = first.strip_prefix("consumer-").unwrap();
    let lengths: Vec<usize> = uuid.split('-').map(str::len).collect();
    assert_eq!(lengths, [8, 4, 4, 4, 12]);
    assert_eq!(&uuid[14..15], "4");
}

#[test]
fn while_the_partition_is_read_clients_are_told_to_wait() {
    let mut world = World::new();
    world.coordinator = GroupCoordinator::new(GroupConfig::default(), 1);
    let token = world.join(join_as(""));
    assert_eq!(world.joined(token).unwrap().error_code, ErrorCode::CoordinatorLoadInProgress);
    // The member may be well, nobody knows yet.
    assert_eq!(world.heartbeat("someone", 3), ErrorCode::None);
    assert_eq!(world.describe().error_code, ErrorCode::CoordinatorLoadInProgress);
}

#[test]
fn when_the_partition_moves_everyone_is_sent_away() {
    let mut world = World::new();
    let (ids, _) = world.stable_group(2);
    let newcomer = world.enter();
    let waiting = world.join(join_as(&ids[0]));
    world.tell(CoordinatorEvent::Unload);
    for token in [newcomer, waiting] {
        assert_eq!(world.joined(token).unwrap().error_code, ErrorCode::NotCoordinator);
    }
}
