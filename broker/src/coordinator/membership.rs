//! Heartbeat, LeaveGroup and the end of sessions: how members show that they live, and how they go.

use net::ErrorCode;
use net::messages::{HeartbeatRequest, HeartbeatResponse, LeaveGroupRequest};
use storage::Now;

use super::appends::Promise;
use super::group::{Group, GroupState, Member, MemberId, Waiter};
use super::leaver::Leaver;
use super::responses::{self, leave_response};
use super::{CoordinatorEffect, GroupCoordinator, Turn};

impl GroupCoordinator {
    pub(super) fn heartbeat(
        &mut self,
        now: Now,
        waiter: Waiter,
        request: HeartbeatRequest,
        out: &mut Vec<CoordinatorEffect>,
    ) {
        let result = if request.group_id.is_empty() {
            Err(ErrorCode::InvalidGroupId)
        } else {
            self.with_group(now, &request.group_id, out, |group, turn| group.heartbeat(turn, &request))
                .unwrap_or(Err(ErrorCode::UnknownMemberId))
        };
        let response =
            HeartbeatResponse { error_code: result.err().unwrap_or(ErrorCode::None), ..Default::default() };
        out.push(CoordinatorEffect::Respond { token: waiter.token, response: response.into() });
    }

    pub(super) fn leave_group(
        &mut self,
        now: Now,
        waiter: Waiter,
        request: LeaveGroupRequest,
        out: &mut Vec<CoordinatorEffect>,
    ) {
        let leavers = Leaver::all(waiter.version, request.members, request.member_id);
        if request.group_id.is_empty() {
            let response = leave_response(waiter.version, ErrorCode::InvalidGroupId, Vec::new());
            out.push(CoordinatorEffect::Respond { token: waiter.token, response: response.into() });
            return;
        }
        let next_batch = self.appends.next_id();
        let results = self.with_group(now, &request.group_id, out, |group, turn| group.leave(turn, &leavers));
        let results = results.unwrap_or_else(|| vec![ErrorCode::UnknownMemberId; leavers.len()]);
        let results = leavers.into_iter().zip(results).collect();
        let response = leave_response(waiter.version, ErrorCode::None, results);
        if self.appends.next_id() == next_batch {
            out.push(CoordinatorEffect::Respond { token: waiter.token, response: response.into() });
        } else {
            // The group is empty now: its last member is told once that is durable.
            self.appends.promise_last(Promise::Respond { waiter, response: response.into() });
        }
    }
}

impl Group {
    fn heartbeat(&mut self, turn: &mut Turn<'_>, request: &HeartbeatRequest) -> Result<(), ErrorCode> {
        self.validate_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation_id {
            return Err(ErrorCode::IllegalGeneration);
        }
        let id: MemberId = request.member_id.as_str().into();
        self.renew_session(turn, &id);
        if self.is(GroupState::PreparingRebalance) { Err(ErrorCode::RebalanceInProgress) } else { Ok(()) }
    }

    /// Lets members go, each with a result of its own, then rebalances once for all of them.
    fn leave(&mut self, turn: &mut Turn<'_>, leavers: &[Leaver]) -> Vec<ErrorCode> {
        let results: Vec<_> = leavers.iter().map(|leaver| self.leave_one(turn, leaver)).collect();
        if results.contains(&ErrorCode::None) && !self.is(GroupState::Empty) {
            self.rebalance_or_complete_join(turn);
        }
        results
    }

    fn leave_one(&mut self, turn: &mut Turn<'_>, leaver: &Leaver) -> ErrorCode {
        let instance = leaver.group_instance_id.as_deref();
        let id: MemberId = if leaver.member_id.is_empty() {
            match instance.and_then(|instance| self.static_member(instance)) {
                Some(id) => id.clone(),
                None => return ErrorCode::UnknownMemberId,
            }
        } else {
            leaver.member_id.as_str().into()
        };
        if !self.pending_join.contains(&id)
            && let Err(error) = self.validate_member(&id, instance)
        {
            return error;
        }
        self.drop_member(turn, &id, ErrorCode::UnknownMemberId);
        ErrorCode::None
    }

    /// Nothing was heard of a member for its session timeout.
    pub(super) fn session_expired(&mut self, turn: &mut Turn<'_>, id: &MemberId) {
        let is_dead = match self.member(id) {
            Some(member) => !member.has_satisfied_heartbeat(),
            None => self.pending_join.contains(id),
        };
        if !is_dead {
            return;
        }
        let was_member = self.member(id).is_some();
        self.drop_member(turn, id, ErrorCode::UnknownMemberId);
        match self.state() {
            GroupState::Stable | GroupState::CompletingRebalance if was_member => {
                self.prepare_rebalance(turn)
            }
            // The last one the others waited for, perhaps: no more delay, not even the initial one.
            GroupState::PreparingRebalance if self.has_all_joined() => self.complete_join(turn),
            _ => (),
        }
    }

    /// The members of a group that was read from the log have a whole session to show up.
    pub(super) fn loaded(&mut self, turn: &mut Turn<'_>) {
        for id in self.member_ids() {
            self.renew_session(turn, &id);
        }
        if self.member_count() > turn.config.max_size {
            // The limit was lowered: the members get the chance to commit before some have to go.
            self.prepare_rebalance(turn);
        }
    }

    /// Starts the session of a member anew.
    pub(super) fn renew_session(&self, turn: &mut Turn<'_>, id: &MemberId) {
        let timeout_ms = self.member(id).map(|member: &Member| member.session_timeout_ms);
        turn.set_session(&self.id, id, timeout_ms.expect("only members have sessions"));
    }

    /// Takes a member out; what it still waits for is answered with `error`.
    pub(super) fn drop_member(&mut self, turn: &mut Turn<'_>, id: &str, error: ErrorCode) {
        turn.end_session(&self.id, &id.into());
        for waiter in self.remove(id) {
            responses::refuse_waiter(waiter, "", error, turn.out);
        }
    }

    /// A commit by a member is a sign of life.
    pub(super) fn committed_offsets(&self, turn: &mut Turn<'_>, member_id: &str) {
        let open = matches!(self.state(), GroupState::Stable | GroupState::PreparingRebalance);
        if open && let Some(member) = self.member(member_id) {
            self.renew_session(turn, &member.id.clone());
        }
    }
}
