//! JoinGroup: new and returning members, static members (KIP-345), and the join phase of a rebalance.

use bytes::Bytes;
use net::ErrorCode;
use net::messages::{JoinGroupRequest, JoinGroupResponse};
use storage::Now;

use crate::letter::Client;

use super::appends::{Promise, Work};
use super::group::{Group, GroupState, Member, MemberId, Protocol, Waiter};
use super::responses::{join_error, joined};
use super::timers::TimerKey;
use super::{CoordinatorEffect, GroupCoordinator, PENDING_MEMBERS_MAX, Turn, records, responses};

/// From this version on a dynamic member has to come back with the id it was given (KIP-394).
const VERSION_MEMBER_ID_REQUIRED: i16 = 4;
/// From this version on a static leader can be told to keep the assignment (KIP-814).
const VERSION_SKIP_ASSIGNMENT: i16 = 9;

/// A JoinGroup request with what the coordinator derives from it.
struct Join {
    waiter: Waiter,
    client: Client,
    member_id: String,
    group_instance_id: Option<String>,
    session_timeout_ms: i32,
    rebalance_timeout_ms: i32,
    protocol_type: String,
    protocols: Vec<Protocol>,
}

impl GroupCoordinator {
    pub(super) fn join_group(
        &mut self,
        now: Now,
        waiter: Waiter,
        client: Client,
        request: JoinGroupRequest,
        out: &mut Vec<CoordinatorEffect>,
    ) {
        if let Err(error) = self.validate_join(&request) {
            let response = join_error(waiter, &request.member_id, error);
            out.push(CoordinatorEffect::Respond { token: waiter.token, response });
            return;
        }
        let is_new_group = !self.groups.contains_key(request.group_id.as_str());
        let group_id: super::GroupId = request.group_id.as_str().into();
        if is_new_group {
            self.groups.insert(group_id.clone(), Group::new(group_id.clone(), now.wall_ms));
        }
        let join = Join::new(waiter, client, request);
        let next_batch = self.appends.next_id();
        self.with_group(now, &group_id, out, |group, turn| group.join(turn, join));
        if !is_new_group {
            return;
        }
        let group = &self.groups[&group_id];
        if group.member_count() == 0 && group.pending_join.is_empty() {
            // The join was refused: it leaves no group behind.
            self.groups.remove(&group_id);
        } else if self.appends.next_id() == next_batch {
            // So that the group is there after a restart, too.
            let record = records::group_metadata(group);
            self.appends.append(vec![record], Work::promise(Promise::Nothing), out);
        }
    }

    fn validate_join(&self, request: &JoinGroupRequest) -> Result<(), ErrorCode> {
        let sessions = self.config.min_session_timeout_ms..=self.config.max_session_timeout_ms;
        if request.group_id.is_empty() {
            Err(ErrorCode::InvalidGroupId)
        } else if !sessions.contains(&request.session_timeout_ms) {
            Err(ErrorCode::InvalidSessionTimeout)
        } else if !request.member_id.is_empty() && !self.groups.contains_key(request.group_id.as_str()) {
            Err(ErrorCode::UnknownMemberId)
        } else {
            Ok(())
        }
    }
}

impl Join {
    fn new(waiter: Waiter, client: Client, request: JoinGroupRequest) -> Join {
        let mut protocols: Vec<Protocol> = Vec::with_capacity(request.protocols.len());
        for protocol in request.protocols {
            if !protocols.iter().any(|(name, _)| *name == protocol.name) {
                // Copied: a slice would keep the whole frame for the life of the member.
                protocols.push((protocol.name, Bytes::copy_from_slice(&protocol.metadata)));
            }
        }
        // Version 0 has no rebalance timeout of its own.
        let rebalance_timeout_ms =
            if waiter.version == 0 { request.session_timeout_ms } else { request.rebalance_timeout_ms };
        Join {
            waiter,
            client,
            member_id: request.member_id,
            group_instance_id: request.group_instance_id,
            session_timeout_ms: request.session_timeout_ms,
            rebalance_timeout_ms,
            protocol_type: request.protocol_type,
            protocols,
        }
    }
}

impl Group {
    fn join(&mut self, turn: &mut Turn<'_>, join: Join) {
        if !self.accepts(turn, &join.member_id) {
            self.drop_member(turn, &join.member_id, ErrorCode::GroupMaxSizeReached);
            turn.respond(join.waiter, join_error(join.waiter, "", ErrorCode::GroupMaxSizeReached));
            self.maybe_complete_join(turn);
        } else if !self.supports(&join.protocol_type, &join.protocols) {
            turn.respond(
                join.waiter,
                join_error(join.waiter, &join.member_id, ErrorCode::InconsistentGroupProtocol),
            );
        } else if join.member_id.is_empty() {
            self.join_new(turn, join);
        } else {
            self.join_known(turn, join);
        }
    }

    /// Whether the group has room. While it rebalances the places are for those who come back first.
    fn accepts(&self, turn: &Turn<'_>, member_id: &str) -> bool {
        let max = turn.config.max_size;
        match self.state() {
            _ if member_id.is_empty() && self.pending_join.len() >= PENDING_MEMBERS_MAX => false,
            GroupState::Empty => true,
            GroupState::PreparingRebalance => {
                self.member(member_id).is_some_and(Member::is_awaiting_join)
                    || self.awaiting_join_count() < max
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                self.member(member_id).is_some() || self.member_count() < max
            }
        }
    }

    fn join_new(&mut self, turn: &mut Turn<'_>, join: Join) {
        let prefix = join.group_instance_id.as_deref().unwrap_or(&join.client.id);
        let id = turn.member_ids.next(prefix);
        if let Some(instance) = &join.group_instance_id {
            match self.static_member(instance).cloned() {
                Some(old) => self.rejoin_static(turn, join, old, id),
                None => self.add_member(turn, join, id),
            }
        } else if join.waiter.version >= VERSION_MEMBER_ID_REQUIRED {
            self.pending_join.insert(id.clone());
            turn.set_session(&self.id, &id, join.session_timeout_ms);
            turn.respond(join.waiter, join_error(join.waiter, &id, ErrorCode::MemberIdRequired));
        } else {
            self.add_member(turn, join, id);
        }
    }

    fn join_known(&mut self, turn: &mut Turn<'_>, join: Join) {
        let id: MemberId = join.member_id.as_str().into();
        if self.pending_join.contains(&id) {
            // The id was given to a dynamic member: with an instance id it is not its own.
            if join.group_instance_id.is_some() {
                turn.respond(join.waiter, join_error(join.waiter, &id, ErrorCode::UnknownMemberId));
            } else {
                self.add_member(turn, join, id);
            }
            return;
        }
        if let Err(error) = self.validate_member(&id, join.group_instance_id.as_deref()) {
            turn.respond(join.waiter, join_error(join.waiter, &id, error));
            return;
        }
        let unchanged = self.member(&id).expect("just validated").protocols == join.protocols;
        match self.state() {
            GroupState::PreparingRebalance => self.update_member(turn, join, &id),
            // Its response was lost on the way, as it seems.
            GroupState::CompletingRebalance if unchanged => {
                let response = self.joined(&id, join.waiter, self.is_leader(&id), false);
                turn.respond(join.waiter, response);
            }
            GroupState::CompletingRebalance => self.update_member(turn, join, &id),
            // The leader may see changes that its metadata does not show, of topics for example.
            GroupState::Stable if self.is_leader(&id) || !unchanged => self.update_member(turn, join, &id),
            GroupState::Stable => {
                let response = self.joined(&id, join.waiter, false, false);
                turn.respond(join.waiter, response);
            }
            GroupState::Empty => unreachable!("an empty group has no members"),
        }
    }

    fn add_member(&mut self, turn: &mut Turn<'_>, join: Join, id: MemberId) {
        let mut member = Member::new(
            id.clone(),
            join.group_instance_id,
            join.client.id,
            join.client.host,
            join.rebalance_timeout_ms,
            join.session_timeout_ms,
            join.protocols,
            Bytes::new(),
        );
        member.is_new = true;
        self.new_member_added |= self.is_initial_rebalance();
        self.add(member, &join.protocol_type, Some(join.waiter));
        // A new member does not know its id and cannot send heartbeats, and while its JoinGroup is parked a lost
        // connection goes unseen. Clients that retry would leave a member behind each time: so it is given up after
        // a while, and asked to come again.
        turn.set_session(&self.id, &id, turn.config.new_member_join_timeout_ms);
        self.rebalance_or_complete_join(turn);
    }

    fn update_member(&mut self, turn: &mut Turn<'_>, join: Join, id: &MemberId) {
        self.take_over(turn, join, id);
        self.rebalance_or_complete_join(turn);
    }

    fn take_over(&mut self, turn: &mut Turn<'_>, join: Join, id: &MemberId) {
        let superseded =
            self.update(id, join.protocols, join.rebalance_timeout_ms, join.session_timeout_ms, join.waiter);
        if let Some(waiter) = superseded {
            turn.respond(waiter, join_error(waiter, id, ErrorCode::RebalanceInProgress));
        }
    }

    // ---------------------------------------------------------------------------------------- static members

    /// A static member is back under a new id: it keeps its place, and in a stable group its assignment, too.
    fn rejoin_static(&mut self, turn: &mut Turn<'_>, join: Join, old: MemberId, id: MemberId) {
        let former_leader = self.leader.clone();
        for waiter in self.replace_static(&old, id.clone()) {
            responses::refuse_waiter(waiter, &old, ErrorCode::FencedInstanceId, turn.out);
        }
        turn.end_session(&self.id, &old);
        turn.set_session(&self.id, &id, join.session_timeout_ms);
        self.take_over(turn, join, &id);
        match self.state() {
            GroupState::Stable if self.protocol_name.as_deref() == Some(&self.select_protocol()) => {
                let promise = Promise::StaticMember {
                    group: self.id.clone(),
                    generation_id: self.generation_id,
                    member_id: id,
                    former_leader,
                };
                turn.append(vec![records::group_metadata(self)], Work::promise(promise));
            }
            GroupState::Stable => self.rebalance_or_complete_join(turn),
            // The leader may have been told of the old id already: its assignment would miss the new one.
            GroupState::CompletingRebalance => self.prepare_rebalance(turn),
            GroupState::PreparingRebalance => self.maybe_complete_join(turn),
            GroupState::Empty => unreachable!("an empty group has no members"),
        }
    }

    /// The new id of a static member is durable: it goes on with what its predecessor had.
    pub(super) fn static_member_stored(
        &mut self,
        turn: &mut Turn<'_>,
        generation_id: i32,
        id: &MemberId,
        former_leader: Option<MemberId>,
    ) {
        // If a rebalance has begun since, the member waits for its end like the others.
        if !self.is(GroupState::Stable) || self.generation_id != generation_id {
            return;
        }
        let Some(waiter) = self.take_join_waiter(id) else { return };
        let response = if waiter.version >= VERSION_SKIP_ASSIGNMENT {
            let is_leader = self.is_leader(id);
            self.joined(id, waiter, is_leader, is_leader)
        } else {
            // An older client that is told it leads would compute an assignment: it is told of its former self.
            let response = self.joined(id, waiter, false, false);
            JoinGroupResponse { leader: former_leader.as_deref().unwrap_or_default().to_owned(), ..response }
        };
        turn.respond(waiter, response);
    }

    /// The new id of a static member could not be stored. It stays in memory: the client will come again without an
    /// id and replace it once more.
    pub(super) fn static_member_refused(&mut self, turn: &mut Turn<'_>, id: &MemberId, error: ErrorCode) {
        if let Some(waiter) = self.is(GroupState::Stable).then(|| self.take_join_waiter(id)).flatten() {
            turn.respond(waiter, join_error(waiter, "", error));
        }
    }

    // ------------------------------------------------------------------------------------------ the join phase

    pub(super) fn rebalance_or_complete_join(&mut self, turn: &mut Turn<'_>) {
        if self.is(GroupState::PreparingRebalance) {
            self.maybe_complete_join(turn);
        } else {
            self.prepare_rebalance(turn);
        }
    }

    /// Asks all members to join again. A group that was empty waits for more members to come.
    pub(super) fn prepare_rebalance(&mut self, turn: &mut Turn<'_>) {
        if self.is(GroupState::CompletingRebalance) {
            self.forget_assignments(turn, ErrorCode::RebalanceInProgress);
        }
        self.pending_sync.clear();
        turn.timers.cancel(&TimerKey::Sync(self.id.clone()));
        let was_empty = self.is(GroupState::Empty);
        self.transition_to(GroupState::PreparingRebalance, turn.now.wall_ms);
        if was_empty {
            let delay_ms = turn.config.initial_rebalance_delay_ms;
            let remaining_ms = self.rebalance_timeout_ms().saturating_sub(delay_ms).max(0);
            self.initial_delay_ms = Some((delay_ms, remaining_ms));
            turn.set_timer(TimerKey::Join(self.id.clone()), delay_ms);
        } else if self.has_all_joined() {
            self.complete_join(turn);
        } else {
            turn.set_timer(TimerKey::Join(self.id.clone()), self.rebalance_timeout_ms());
        }
    }

    /// Ends the join phase if all are there. The initial delay is waited for in any case.
    pub(super) fn maybe_complete_join(&mut self, turn: &mut Turn<'_>) {
        if self.is(GroupState::PreparingRebalance) && !self.is_initial_rebalance() && self.has_all_joined() {
            self.complete_join(turn);
        }
    }

    /// The time of the join phase is up, or a step of the initial delay.
    pub(super) fn join_expired(&mut self, turn: &mut Turn<'_>) {
        if !self.is(GroupState::PreparingRebalance) {
            return;
        }
        match self.initial_delay_ms {
            Some((delay_ms, remaining_ms)) if self.new_member_added && remaining_ms > 0 => {
                self.new_member_added = false;
                let next_ms = turn.config.initial_rebalance_delay_ms.min(remaining_ms);
                self.initial_delay_ms = Some((next_ms, (remaining_ms - delay_ms).max(0)));
                turn.set_timer(TimerKey::Join(self.id.clone()), next_ms);
            }
            _ => self.complete_join(turn),
        }
    }

    /// Ends the join phase with those who came: dynamic members who did not are out.
    pub(super) fn complete_join(&mut self, turn: &mut Turn<'_>) {
        turn.timers.cancel(&TimerKey::Join(self.id.clone()));
        for id in self.dynamic_members_not_rejoined() {
            self.drop_member(turn, &id, ErrorCode::UnknownMemberId);
        }
        if !self.elect_joined_leader() && self.member_count() > 0 {
            // Only static members are left and none of them came. They stay until their sessions end.
            self.initial_delay_ms = None;
            turn.set_timer(TimerKey::Join(self.id.clone()), self.rebalance_timeout_ms().max(1));
            return;
        }
        self.begin_generation(turn.now.wall_ms);
        if self.is(GroupState::Empty) {
            turn.append(vec![records::group_metadata(self)], Work::promise(Promise::Nothing));
            return;
        }
        for id in self.member_ids() {
            if let Some(waiter) = self.take_join_waiter(&id) {
                let response = self.joined(&id, waiter, self.is_leader(&id), false);
                turn.respond(waiter, response);
            }
            self.renew_session(turn, &id);
            self.set_is_new(&id, false);
            self.pending_sync.insert(id);
        }
        turn.set_timer(TimerKey::Sync(self.id.clone()), self.rebalance_timeout_ms());
    }

    fn joined(&self, id: &MemberId, waiter: Waiter, with_members: bool, skip: bool) -> JoinGroupResponse {
        let mut response = joined(self, id, waiter.version, with_members);
        response.skip_assignment = skip;
        response
    }
}
