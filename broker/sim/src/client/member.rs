//! Members of consumer groups: they join, heartbeat, commit rising offsets, read them back, leave, and begin anew.

use bytes::Bytes;
use net::messages::join_group::JoinGroupRequestProtocol;
use net::messages::leave_group::MemberIdentity;
use net::messages::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use net::messages::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use net::messages::sync_group::SyncGroupRequestAssignment;
use net::messages::{
    FindCoordinatorRequest, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    OffsetCommitRequest, OffsetFetchRequest, SyncGroupRequest,
};
use net::{ErrorCode, Response};

use super::wire::Wire;
use super::{Client, Ctx, Phase};
use crate::checker::{Checker, Violation};
use crate::history::Place;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Asks who coordinates the group, which makes the topic of offsets if need be.
    Seeking,
    Outside,
    Joined {
        is_leader: bool,
    },
    Stable,
}

/// A member of a group.
pub struct Member {
    name: String,
    group: String,
    /// The partition that nobody else in the group commits.
    place: Place,
    interval_us: u64,
    wire: Wire,
    state: State,
    member_id: String,
    generation: i32,
    /// Who has to be given an assignment by the leader.
    members: Vec<String>,
    next_offset: i64,
    committing: Option<i64>,
    /// What was acknowledged when the committed offset was asked for.
    floor: i64,
    commits_since_healed: u64,
    reads_since_healed: u64,
    not_before_us: u64,
}

impl Member {
    /// A member of a group that commits a partition.
    pub fn new(name: &str, group: &str, place: Place, interval_us: u64) -> Member {
        Member {
            name: name.to_owned(),
            group: group.to_owned(),
            place,
            interval_us,
            wire: Wire::new(name),
            state: State::Seeking,
            member_id: String::new(),
            generation: -1,
            members: Vec::new(),
            next_offset: 1,
            committing: None,
            floor: -1,
            commits_since_healed: 0,
            reads_since_healed: 0,
            not_before_us: 0,
        }
    }

    fn go_on(&mut self, ctx: &mut Ctx<'_>) {
        if self.wire.is_overdue(ctx.now_us) {
            self.wire.close(ctx);
            self.committing = None;
        }
        if ctx.now_us < self.not_before_us || !self.wire.is_ready(ctx) || self.wire.pending() > 0 {
            return;
        }
        match self.state {
            State::Seeking => self.seek(ctx),
            State::Outside => self.join(ctx),
            State::Joined { is_leader } => self.sync(ctx, is_leader),
            State::Stable => match ctx.random.below(20) {
                0 if ctx.phase == Phase::Faults => self.leave(ctx),
                1..=3 => self.read(ctx),
                4..=9 => self.heartbeat(ctx),
                _ => self.commit(ctx),
            },
        }
    }

    fn seek(&mut self, ctx: &mut Ctx<'_>) {
        let request =
            FindCoordinatorRequest { coordinator_keys: vec![self.group.clone()], ..Default::default() };
        self.wire.send(ctx, request, 4, true);
    }

    fn join(&mut self, ctx: &mut Ctx<'_>) {
        let protocols =
            vec![JoinGroupRequestProtocol { name: "range".to_owned(), metadata: Bytes::from_static(b"m") }];
        let request = JoinGroupRequest {
            group_id: self.group.clone(),
            session_timeout_ms: 6_000,
            rebalance_timeout_ms: 3_000,
            member_id: self.member_id.clone(),
            protocol_type: "consumer".to_owned(),
            protocols,
            ..Default::default()
        };
        self.wire.send(ctx, request, 5, true);
    }

    fn sync(&mut self, ctx: &mut Ctx<'_>, is_leader: bool) {
        let assignments = if is_leader { std::mem::take(&mut self.members) } else { Vec::new() };
        let assignments = assignments
            .into_iter()
            .map(|member_id| SyncGroupRequestAssignment { member_id, assignment: Bytes::from_static(b"a") });
        let request = SyncGroupRequest {
            group_id: self.group.clone(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            assignments: assignments.collect(),
            ..Default::default()
        };
        self.wire.send(ctx, request, 3, true);
    }

    fn heartbeat(&mut self, ctx: &mut Ctx<'_>) {
        let request = HeartbeatRequest {
            group_id: self.group.clone(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            ..Default::default()
        };
        self.wire.send(ctx, request, 3, true);
    }

    fn leave(&mut self, ctx: &mut Ctx<'_>) {
        let member = MemberIdentity { member_id: self.member_id.clone(), ..Default::default() };
        let request =
            LeaveGroupRequest { group_id: self.group.clone(), members: vec![member], ..Default::default() };
        self.wire.send(ctx, request, 4, true);
    }

    fn commit(&mut self, ctx: &mut Ctx<'_>) {
        let offset = self.next_offset;
        self.next_offset += 1;
        self.committing = Some(offset);
        ctx.history.commit_tried(&self.group, &self.place, offset);
        let partition = OffsetCommitRequestPartition {
            partition_index: self.place.1,
            committed_offset: offset,
            committed_metadata: Some(String::new()),
            ..Default::default()
        };
        let request = OffsetCommitRequest {
            group_id: self.group.clone(),
            generation_id_or_member_epoch: self.generation,
            member_id: self.member_id.clone(),
            topics: vec![OffsetCommitRequestTopic {
                name: self.place.0.clone(),
                partitions: vec![partition],
            }],
            ..Default::default()
        };
        self.wire.send(ctx, request, 7, true);
    }

    fn read(&mut self, ctx: &mut Ctx<'_>) {
        self.floor = ctx.history.committed_at_least(&self.group, &self.place);
        let topic =
            OffsetFetchRequestTopics { name: self.place.0.clone(), partition_indexes: vec![self.place.1] };
        let group = OffsetFetchRequestGroup {
            group_id: self.group.clone(),
            topics: Some(vec![topic]),
            ..Default::default()
        };
        self.wire.send(ctx, OffsetFetchRequest { groups: vec![group], ..Default::default() }, 8, true);
    }

    /// Follows what an error means for membership.
    fn refused(&mut self, ctx: &mut Ctx<'_>, error: ErrorCode) {
        match error {
            ErrorCode::None => {}
            ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId => {
                self.member_id.clear();
                self.state = State::Outside;
            }
            ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration => self.state = State::Outside,
            ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable => {
                self.state = State::Seeking;
                self.not_before_us = ctx.now_us + ctx.random.between(20_000, 200_000);
            }
            error if error.is_retriable() || error == ErrorCode::UnknownServerError => {
                self.not_before_us = ctx.now_us + ctx.random.between(20_000, 200_000);
            }
            error => {
                let message = format!("{} is refused: {error}", self.name);
                ctx.history.violations.push(Violation::new(Checker::Progress, message));
            }
        }
    }

    fn joined(&mut self, ctx: &mut Ctx<'_>, response: JoinGroupResponse) {
        if !response.member_id.is_empty() {
            self.member_id.clone_from(&response.member_id);
        }
        match response.error_code {
            ErrorCode::None => {
                self.generation = response.generation_id;
                let is_leader = response.leader == response.member_id;
                self.members = response.members.into_iter().map(|member| member.member_id).collect();
                self.state = State::Joined { is_leader };
            }
            ErrorCode::MemberIdRequired => {}
            error => self.refused(ctx, error),
        }
    }
}

impl Client for Member {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn wake(&mut self, ctx: &mut Ctx<'_>) {
        self.go_on(ctx);
        let pause = 1_000 + ctx.random.around(self.interval_us);
        ctx.wake_after(pause);
    }

    fn connected(&mut self, ctx: &mut Ctx<'_>) {
        self.wire.opened();
        self.go_on(ctx);
    }

    fn received(&mut self, ctx: &mut Ctx<'_>, bytes: &[u8]) {
        for (_, response) in self.wire.receive(ctx, bytes) {
            match response {
                Response::FindCoordinator(response) => match response.coordinators[0].error_code {
                    ErrorCode::None => self.state = State::Outside,
                    error => self.refused(ctx, error),
                },
                Response::JoinGroup(response) => self.joined(ctx, response),
                Response::SyncGroup(response) => match response.error_code {
                    ErrorCode::None => self.state = State::Stable,
                    error => {
                        self.state = State::Outside;
                        self.refused(ctx, error);
                    }
                },
                Response::Heartbeat(response) => self.refused(ctx, response.error_code),
                Response::LeaveGroup(response) => {
                    self.refused(ctx, response.error_code);
                    self.member_id.clear();
                    self.state = State::Outside;
                }
                Response::OffsetCommit(response) => {
                    let error = response.topics[0].partitions[0].error_code;
                    let offset = self.committing.take();
                    if let (ErrorCode::None, Some(offset)) = (error, offset) {
                        ctx.history.commit_done(&self.group, &self.place, offset);
                        self.commits_since_healed += u64::from(ctx.phase != Phase::Faults);
                    }
                    self.refused(ctx, error);
                }
                Response::OffsetFetch(response) => {
                    let group = &response.groups[0];
                    let partition = &group.topics.first().and_then(|topic| topic.partitions.first());
                    match (group.error_code, partition) {
                        (ErrorCode::None, Some(partition)) if partition.error_code == ErrorCode::None => {
                            ctx.history.committed(
                                &self.group,
                                &self.place,
                                partition.committed_offset,
                                self.floor,
                            );
                            self.reads_since_healed += u64::from(ctx.phase != Phase::Faults);
                        }
                        (ErrorCode::None, Some(partition)) => self.refused(ctx, partition.error_code),
                        (error, _) => self.refused(ctx, error),
                    }
                }
                other => {
                    let message = format!("a member was given {other:?}");
                    ctx.history.violations.push(Violation::new(Checker::C8, message));
                }
            }
        }
    }

    fn closed(&mut self, ctx: &mut Ctx<'_>) {
        self.wire.forget();
        self.committing = None;
        self.not_before_us = ctx.now_us + ctx.random.between(10_000, 300_000);
    }

    fn unfinished(&self) -> Option<String> {
        if self.commits_since_healed > 0 && self.reads_since_healed > 0 {
            return None;
        }
        Some(format!(
            "{} has not committed and read back; {:?} {:?}",
            self.name,
            self.state,
            self.wire.describe_pending()
        ))
    }
}
