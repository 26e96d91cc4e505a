//! A member of a classic consumer group, as its coordinator sees it. Knows nothing of sockets and clocks: it says what to
//! ask next, and is told the answers, one at a time.
//!
//! ```text
//!   Find ─→ Join ─→ Sync ─→ Offsets ─→ Stable ─ rebalance ─→ Commit ─→ Join
//!    ↑       ↑ the member id is refused: join as a new member   │
//!    └───────┴── the coordinator has moved, or is gone ─────────┘
//! ```

use std::collections::BTreeMap;

use net::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use net::messages::heartbeat::HeartbeatRequest;
use net::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use net::messages::leave_group::{LeaveGroupRequest, MemberIdentity};
use net::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use net::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
    OffsetFetchResponse,
};
use net::messages::records::consumer_protocol::AssignedTopicPartition;
use net::messages::records::{ConsumerProtocolAssignment, ConsumerProtocolSubscription, encode_record};
use net::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse};
use net::{ErrorCode, Request, Response};

use crate::clock::MILLISECOND_NS;
use crate::cluster::Layout;
use crate::workload::Consumers;

/// The one assignor that we offer: partitions are dealt out in turn.
const PROTOCOL: &str = "roundrobin";
const PROTOCOL_TYPE: &str = "consumer";
/// Our version of what members say to each other.
const PROTOCOL_VERSION: i16 = 1;
/// Heartbeats of a session: Kafka's clients send one every third of it at most, and every 3 s by default.
const HEARTBEAT_NS_MAX: u64 = 3000 * MILLISECOND_NS;
/// The pause after an error that may pass.
const RETRY_NS: u64 = 100 * MILLISECOND_NS;
/// How long members get to join again.
const REBALANCE_TIMEOUT_MS: i32 = 60_000;
const KEY_TYPE_GROUP: i8 = 0;

/// What a member asks for or waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Find,
    Join,
    Sync,
    Offsets,
    Stable,
    /// Commits once more before it joins again.
    Commit,
}

/// What an answer leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Nothing for now.
    None,
    /// The coordinator is at this `host:port`.
    Coordinator(String),
    /// These partitions are to be read, from these offsets on.
    Assigned(Vec<(usize, i64)>),
    /// Nothing is to be read until the next assignment.
    Revoked,
    /// An error; what it leads to has been arranged.
    Error(ErrorCode),
}

/// A member of a group.
#[derive(Debug)]
pub struct Member {
    group: String,
    member_id: String,
    generation: i32,
    protocol: String,
    state: State,
    in_flight: bool,
    not_before_ns: u64,
    /// Who is in the group, if this member leads it.
    members: Vec<String>,
    assigned: Vec<usize>,
    /// Where to begin where nothing is committed, by partition.
    start_offsets: Vec<i64>,
    heartbeat_ns: u64,
    heartbeat_at_ns: u64,
    commit_ns: u64,
    commit_at_ns: u64,
    session_timeout_ms: i32,
    /// Generations that it was in.
    pub generations: u64,
}

impl Member {
    /// A member that has not joined yet.
    pub fn new(group: String, rules: &Consumers, start_offsets: Vec<i64>) -> Self {
        let session_ns = rules.session_timeout_ms.max(1) as u64 * MILLISECOND_NS;
        Self {
            group,
            member_id: String::new(),
            generation: -1,
            protocol: String::new(),
            state: State::Find,
            in_flight: false,
            not_before_ns: 0,
            members: Vec::new(),
            assigned: Vec::new(),
            start_offsets,
            heartbeat_ns: HEARTBEAT_NS_MAX.min(session_ns / 3),
            heartbeat_at_ns: 0,
            commit_ns: rules.commit_interval_ms * MILLISECOND_NS,
            commit_at_ns: 0,
            session_timeout_ms: rules.session_timeout_ms,
            generations: 0,
        }
    }

    /// Whether it reads.
    pub fn is_stable(&self) -> bool {
        self.state == State::Stable
    }

    /// The next thing to ask, if there is one now.
    pub fn next_request(
        &mut self,
        now_ns: u64,
        positions: impl Iterator<Item = (usize, i64)>,
        layout: &Layout,
        version_of: impl Fn(net::ApiKey) -> i16,
    ) -> Option<Request> {
        if self.in_flight || now_ns < self.not_before_ns {
            return None;
        }
        let request = match self.state {
            State::Find => {
                let many = version_of(net::ApiKey::FindCoordinator) >= 4;
                Request::FindCoordinator(FindCoordinatorRequest {
                    key: if many { String::new() } else { self.group.clone() },
                    key_type: KEY_TYPE_GROUP,
                    coordinator_keys: if many { vec![self.group.clone()] } else { Vec::new() },
                })
            }
            State::Join => self.join(layout),
            State::Sync => self.sync(layout),
            State::Offsets => self.offsets(layout, version_of(net::ApiKey::OffsetFetch)),
            State::Commit => match self.commit(positions, layout) {
                Some(request) => request,
                None => {
                    self.state = State::Join;
                    self.join(layout)
                }
            },
            State::Stable if now_ns >= self.heartbeat_at_ns => {
                self.heartbeat_at_ns = now_ns + self.heartbeat_ns;
                Request::Heartbeat(HeartbeatRequest {
                    group_id: self.group.clone(),
                    generation_id: self.generation,
                    member_id: self.member_id.clone(),
                    group_instance_id: None,
                })
            }
            State::Stable if self.commit_ns > 0 && now_ns >= self.commit_at_ns => {
                self.commit_at_ns = now_ns + self.commit_ns;
                self.commit(positions, layout)?
            }
            State::Stable => return None,
        };
        self.in_flight = true;
        Some(request)
    }

    /// When there is something to ask next, if nothing else happens.
    pub fn due_ns(&self) -> u64 {
        match self.state {
            _ if self.in_flight => u64::MAX,
            State::Stable if self.commit_ns > 0 => self.heartbeat_at_ns.min(self.commit_at_ns),
            State::Stable => self.heartbeat_at_ns,
            _ => self.not_before_ns,
        }
    }

    /// The last thing to say.
    pub fn leave(&self, version: i16) -> Option<Request> {
        if self.member_id.is_empty() {
            return None;
        }
        let one_by_one = version < 3;
        let member = MemberIdentity { member_id: self.member_id.clone(), ..MemberIdentity::default() };
        Some(Request::LeaveGroup(LeaveGroupRequest {
            group_id: self.group.clone(),
            member_id: if one_by_one { self.member_id.clone() } else { String::new() },
            members: if one_by_one { Vec::new() } else { vec![member] },
        }))
    }

    fn join(&self, layout: &Layout) -> Request {
        let subscription = ConsumerProtocolSubscription {
            topics: layout.topics.iter().map(|topic| topic.name.clone()).collect(),
            ..ConsumerProtocolSubscription::default()
        };
        let metadata = encode_record(&subscription, PROTOCOL_VERSION).expect("a subscription has a form");
        Request::JoinGroup(JoinGroupRequest {
            group_id: self.group.clone(),
            session_timeout_ms: self.session_timeout_ms,
            rebalance_timeout_ms: REBALANCE_TIMEOUT_MS,
            member_id: self.member_id.clone(),
            group_instance_id: None,
            protocol_type: PROTOCOL_TYPE.to_owned(),
            protocols: vec![JoinGroupRequestProtocol { name: PROTOCOL.to_owned(), metadata }],
            reason: None,
        })
    }

    /// The assignments, if this member leads the group; its own wish to know them, if not.
    fn sync(&self, layout: &Layout) -> Request {
        let assignments = deal(&self.members, layout).into_iter().map(|(member_id, partitions)| {
            let assignment =
                ConsumerProtocolAssignment { assigned_partitions: partitions, ..Default::default() };
            SyncGroupRequestAssignment {
                member_id,
                assignment: encode_record(&assignment, PROTOCOL_VERSION).expect("an assignment has a form"),
            }
        });
        Request::SyncGroup(SyncGroupRequest {
            group_id: self.group.clone(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            group_instance_id: None,
            protocol_type: Some(PROTOCOL_TYPE.to_owned()),
            protocol_name: Some(self.protocol.clone()),
            assignments: assignments.collect(),
        })
    }

    fn offsets(&self, layout: &Layout, version: i16) -> Request {
        let by_topic = by_topic(self.assigned.iter().map(|partition| (*partition, ())), layout);
        let topics = by_topic
            .into_iter()
            .map(|(topic, partitions)| (layout.topics[topic].name.clone(), indexes(partitions)));
        Request::OffsetFetch(match version >= 8 {
            true => OffsetFetchRequest {
                groups: vec![OffsetFetchRequestGroup {
                    group_id: self.group.clone(),
                    topics: Some(
                        topics
                            .map(|(name, partition_indexes)| OffsetFetchRequestTopics {
                                name,
                                partition_indexes,
                            })
                            .collect(),
                    ),
                    ..OffsetFetchRequestGroup::default()
                }],
                ..OffsetFetchRequest::default()
            },
            false => OffsetFetchRequest {
                group_id: self.group.clone(),
                topics: Some(
                    topics
                        .map(|(name, partition_indexes)| OffsetFetchRequestTopic { name, partition_indexes })
                        .collect(),
                ),
                ..OffsetFetchRequest::default()
            },
        })
    }

    fn commit(&self, positions: impl Iterator<Item = (usize, i64)>, layout: &Layout) -> Option<Request> {
        let by_topic = by_topic(positions, layout);
        if by_topic.is_empty() || self.commit_ns == 0 {
            return None;
        }
        let topics = by_topic.into_iter().map(|(topic, positions)| OffsetCommitRequestTopic {
            name: layout.topics[topic].name.clone(),
            partitions: positions
                .into_iter()
                .map(|(partition_index, committed_offset)| OffsetCommitRequestPartition {
                    partition_index,
                    committed_offset,
                    committed_metadata: Some(String::new()),
                    ..Default::default()
                })
                .collect(),
        });
        Some(Request::OffsetCommit(OffsetCommitRequest {
            group_id: self.group.clone(),
            generation_id_or_member_epoch: self.generation,
            member_id: self.member_id.clone(),
            topics: topics.collect(),
            ..OffsetCommitRequest::default()
        }))
    }

    /// The connection ended: whoever coordinates now is to be found anew.
    pub fn disconnected(&mut self, now_ns: u64) {
        self.in_flight = false;
        self.not_before_ns = now_ns + RETRY_NS;
        // The coordinator may still be the same, and know the member; a stable one goes on reading meanwhile.
        if self.state != State::Stable {
            self.state = State::Find;
        }
    }

    /// Takes the answer to what was asked.
    pub fn answered(&mut self, response: Response, now_ns: u64, layout: &Layout) -> Effect {
        self.in_flight = false;
        match response {
            Response::FindCoordinator(response) => self.found(&response, now_ns),
            Response::JoinGroup(response) => self.joined(response, now_ns),
            Response::SyncGroup(response) => self.synced(response, now_ns, layout),
            Response::OffsetFetch(response) => self.took_offsets(response, now_ns, layout),
            Response::Heartbeat(response) => self.failed(response.error_code, now_ns),
            Response::OffsetCommit(response) => self.committed(&response, now_ns),
            other => unreachable!("{:?} was not asked", other.api_key()),
        }
    }

    fn found(&mut self, response: &FindCoordinatorResponse, now_ns: u64) -> Effect {
        let (code, host, port) = match response.coordinators.first() {
            Some(found) => (found.error_code, &found.host, found.port),
            None => (response.error_code, &response.host, response.port),
        };
        if code != ErrorCode::None {
            return self.failed(code, now_ns);
        }
        self.state = State::Join;
        Effect::Coordinator(format!("{host}:{port}"))
    }

    fn joined(&mut self, response: JoinGroupResponse, now_ns: u64) -> Effect {
        match response.error_code {
            ErrorCode::None => {}
            ErrorCode::MemberIdRequired => {
                self.member_id = response.member_id;
                return Effect::None;
            }
            code => return self.failed(code, now_ns),
        }
        self.generation = response.generation_id;
        self.generations += 1;
        self.protocol = response.protocol_name.unwrap_or_default();
        self.members = match response.leader == response.member_id {
            true => response.members.into_iter().map(|member| member.member_id).collect(),
            false => Vec::new(),
        };
        self.member_id = response.member_id;
        self.state = State::Sync;
        Effect::None
    }

    fn synced(&mut self, response: SyncGroupResponse, now_ns: u64, layout: &Layout) -> Effect {
        if response.error_code != ErrorCode::None {
            return self.failed(response.error_code, now_ns);
        }
        self.assigned.clear();
        if !response.assignment.is_empty() {
            let Ok(assignment) = ConsumerProtocolAssignment::decode_any(response.assignment) else {
                return self.failed(ErrorCode::InconsistentGroupProtocol, now_ns);
            };
            for topic in assignment.assigned_partitions {
                let known = |index: &i32| layout.partition(&topic.topic, *index);
                self.assigned.extend(topic.partitions.iter().filter_map(known));
            }
        }
        self.heartbeat_at_ns = now_ns + self.heartbeat_ns;
        self.commit_at_ns = now_ns + self.commit_ns;
        if self.assigned.is_empty() {
            self.state = State::Stable;
            return Effect::Assigned(Vec::new());
        }
        self.state = State::Offsets;
        Effect::None
    }

    fn took_offsets(&mut self, response: OffsetFetchResponse, now_ns: u64, layout: &Layout) -> Effect {
        let mut code = response.error_code;
        let mut committed = BTreeMap::new();
        for topic in response.topics {
            for told in topic.partitions {
                if told.error_code != ErrorCode::None {
                    code = told.error_code;
                }
                if let Some(partition) = layout.partition(&topic.name, told.partition_index) {
                    committed.insert(partition, told.committed_offset);
                }
            }
        }
        for group in response.groups {
            if group.error_code != ErrorCode::None {
                code = group.error_code;
            }
            for topic in group.topics {
                for told in topic.partitions {
                    if told.error_code != ErrorCode::None {
                        code = told.error_code;
                    }
                    if let Some(partition) = layout.partition(&topic.name, told.partition_index) {
                        committed.insert(partition, told.committed_offset);
                    }
                }
            }
        }
        if code != ErrorCode::None {
            return self.failed(code, now_ns);
        }
        self.state = State::Stable;
        // What was committed before this run began is of no interest to it.
        let from = |partition: &usize| {
            let start = self.start_offsets[*partition];
            (*partition, committed.get(partition).copied().unwrap_or(-1).max(start))
        };
        Effect::Assigned(self.assigned.iter().map(from).collect())
    }

    fn committed(&mut self, response: &OffsetCommitResponse, now_ns: u64) -> Effect {
        let mut codes =
            response.topics.iter().flat_map(|topic| &topic.partitions).map(|told| told.error_code);
        let code = codes.find(|code| *code != ErrorCode::None).unwrap_or(ErrorCode::None);
        if self.state == State::Commit {
            // Whatever came of it: the group waits for this member.
            self.state = State::Join;
            return match code {
                ErrorCode::None | ErrorCode::RebalanceInProgress => Effect::None,
                code => self.failed(code, now_ns),
            };
        }
        self.failed(code, now_ns)
    }

    /// What an error code leads to; `None` leads to nothing.
    fn failed(&mut self, code: ErrorCode, now_ns: u64) -> Effect {
        match code {
            ErrorCode::None => return Effect::None,
            ErrorCode::RebalanceInProgress if self.state == State::Stable => {
                self.state = State::Commit;
                return Effect::Revoked;
            }
            ErrorCode::RebalanceInProgress => self.state = State::Join,
            ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration | ErrorCode::FencedInstanceId => {
                let was_stable = self.state == State::Stable;
                self.member_id.clear();
                self.generation = -1;
                self.state = State::Join;
                if was_stable {
                    return Effect::Revoked;
                }
            }
            ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable => self.state = State::Find,
            _ => {}
        }
        self.not_before_ns = now_ns + RETRY_NS;
        Effect::Error(code)
    }
}

/// Deals all partitions out in turn.
fn deal(members: &[String], layout: &Layout) -> BTreeMap<String, Vec<AssignedTopicPartition>> {
    let mut members: Vec<&String> = members.iter().collect();
    members.sort_unstable();
    let mut dealt: BTreeMap<String, Vec<AssignedTopicPartition>> = BTreeMap::new();
    if members.is_empty() {
        return dealt;
    }
    for topic in &layout.topics {
        for index in 0..topic.partitions {
            let member = members[(topic.first + index) % members.len()];
            let topics = dealt.entry(member.clone()).or_default();
            if topics.last().is_none_or(|last| last.topic != topic.name) {
                topics.push(AssignedTopicPartition { topic: topic.name.clone(), partitions: Vec::new() });
            }
            topics.last_mut().expect("its topic is there").partitions.push(index as i32);
        }
    }
    dealt
}

fn by_topic<T>(
    partitions: impl Iterator<Item = (usize, T)>,
    layout: &Layout,
) -> BTreeMap<usize, Vec<(i32, T)>> {
    let mut topics: BTreeMap<usize, Vec<(i32, T)>> = BTreeMap::new();
    for (partition, value) in partitions {
        let (topic, index) = layout.locate(partition);
        topics.entry(topic).or_default().push((index, value));
    }
    topics
}

fn indexes(partitions: Vec<(i32, ())>) -> Vec<i32> {
    partitions.into_iter().map(|(index, ())| index).collect()
}

#[cfg(test)]
mod tests {
    use net::messages::find_coordinator::Coordinator;
    use net::messages::heartbeat::HeartbeatResponse;
    use net::messages::join_group::JoinGroupResponseMember;

    use super::*;
    use crate::cluster::Topic;

    fn layout() -> Layout {
        let topic = Topic { name: "t".into(), first: 0, partitions: 3 };
        Layout { topics: vec![topic], leaders: vec![Some(0); 3], ..Layout::default() }
    }

    fn asks(member: &mut Member, now_ns: u64) -> Option<Request> {
        let positions = [(0, 7), (2, 9)].into_iter();
        member.next_request(now_ns, positions, &layout(), |api_key| api_key.served().max)
    }

    fn answer(member: &mut Member, response: impl Into<Response>, now_ns: u64) -> Effect {
        member.answered(response.into(), now_ns, &layout())
    }

    /// A member that has found its coordinator.
    fn found() -> Member {
        let mut member = Member::new("g".into(), &Consumers::default(), vec![5, 5, 5]);
        assert!(matches!(asks(&mut member, 1), Some(Request::FindCoordinator(_))));
        assert!(asks(&mut member, 1).is_none(), "one thing at a time");
        let coordinator = Coordinator { host: "h".into(), port: 1, ..Coordinator::default() };
        let response =
            FindCoordinatorResponse { coordinators: vec![coordinator], ..FindCoordinatorResponse::default() };
        assert_eq!(answer(&mut member, response, 1), Effect::Coordinator("h:1".into()));
        member
    }

    /// A member that leads a group of two and reads.
    fn stable() -> Member {
        let mut member = found();
        assert!(matches!(asks(&mut member, 1), Some(Request::JoinGroup(_))));
        let refused = JoinGroupResponse {
            error_code: ErrorCode::MemberIdRequired,
            member_id: "a".into(),
            ..JoinGroupResponse::default()
        };
        assert_eq!(answer(&mut member, refused, 1), Effect::None);
        let Some(Request::JoinGroup(join)) = asks(&mut member, 1) else { panic!("it joins with its id") };
        assert_eq!(join.member_id, "a");
        let of = |id: &str| JoinGroupResponseMember { member_id: id.into(), ..Default::default() };
        let joined = JoinGroupResponse {
            generation_id: 4,
            leader: "a".into(),
            member_id: "a".into(),
            protocol_name: Some(PROTOCOL.into()),
            members: vec![of("b"), of("a")],
            ..JoinGroupResponse::default()
        };
        assert_eq!(answer(&mut member, joined, 1), Effect::None);
        let Some(Request::SyncGroup(sync)) = asks(&mut member, 1) else { panic!("it hands out assignments") };
        let own = sync.assignments.into_iter().find(|assignment| assignment.member_id == "a").unwrap();
        let synced = SyncGroupResponse { assignment: own.assignment, ..SyncGroupResponse::default() };
        assert_eq!(answer(&mut member, synced, 1), Effect::None);
        let Some(Request::OffsetFetch(fetch)) = asks(&mut member, 1) else {
            panic!("it asks where to begin")
        };
        assert_eq!(fetch.groups[0].topics.as_ref().unwrap()[0].partition_indexes, [0, 2]);
        let nothing = OffsetFetchResponse::default();
        assert_eq!(answer(&mut member, nothing, 1), Effect::Assigned(vec![(0, 5), (2, 5)]));
        member
    }

    #[test]
    fn a_member_gets_to_read() {
        let mut member = stable();
        assert!(asks(&mut member, 2).is_none());
        let late = member.due_ns();
        assert!(matches!(asks(&mut member, late), Some(Request::Heartbeat(_))));
    }

    #[test]
    fn a_rebalance_commits_revokes_and_joins() {
        let mut member = stable();
        let late = member.due_ns();
        asks(&mut member, late);
        let rebalance =
            HeartbeatResponse { error_code: ErrorCode::RebalanceInProgress, ..HeartbeatResponse::default() };
        assert_eq!(answer(&mut member, rebalance, late), Effect::Revoked);
        let Some(Request::OffsetCommit(commit)) = asks(&mut member, late) else { panic!("it commits") };
        assert_eq!(commit.topics[0].partitions[1].committed_offset, 9);
        assert_eq!(answer(&mut member, OffsetCommitResponse::default(), late), Effect::None);
        let Some(Request::JoinGroup(join)) = asks(&mut member, late) else { panic!("it joins again") };
        assert_eq!(join.member_id, "a");
    }

    #[test]
    fn a_member_that_was_forgotten_joins_as_a_new_one() {
        let mut member = stable();
        let late = member.due_ns();
        asks(&mut member, late);
        let unknown =
            HeartbeatResponse { error_code: ErrorCode::UnknownMemberId, ..HeartbeatResponse::default() };
        assert_eq!(answer(&mut member, unknown, late), Effect::Revoked);
        let Some(Request::JoinGroup(join)) = asks(&mut member, late + RETRY_NS) else { panic!("it joins") };
        assert_eq!(join.member_id, "");
    }

    #[test]
    fn a_coordinator_that_moved_is_found_again() {
        let mut member = found();
        asks(&mut member, 1);
        let moved =
            JoinGroupResponse { error_code: ErrorCode::NotCoordinator, ..JoinGroupResponse::default() };
        assert_eq!(answer(&mut member, moved, 1), Effect::Error(ErrorCode::NotCoordinator));
        assert!(asks(&mut member, 2).is_none(), "not at once");
        assert!(matches!(asks(&mut member, 1 + RETRY_NS), Some(Request::FindCoordinator(_))));
    }
}
