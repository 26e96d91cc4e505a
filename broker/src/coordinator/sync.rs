//! SyncGroup: the leader's assignment is stored and handed to the members; who does not ask for it in time is out.

use std::collections::BTreeMap;

use bytes::Bytes;
use net::ErrorCode;
use net::messages::{SyncGroupRequest, SyncGroupResponse};
use storage::Now;

use super::appends::{Promise, Work};
use super::group::{Group, GroupState, MemberId, Waiter};
use super::responses::{self, sync_error};
use super::timers::TimerKey;
use super::{CoordinatorEffect, GroupCoordinator, Turn, records};

/// From this version on protocol type and name have to be there.
const VERSION_PROTOCOL_REQUIRED: i16 = 5;

impl GroupCoordinator {
    pub(super) fn sync_group(
        &mut self,
        now: Now,
        waiter: Waiter,
        request: SyncGroupRequest,
        out: &mut Vec<CoordinatorEffect>,
    ) {
        let has_protocol = request.protocol_type.is_some() && request.protocol_name.is_some();
        let error = if waiter.version >= VERSION_PROTOCOL_REQUIRED && !has_protocol {
            ErrorCode::InconsistentGroupProtocol
        } else if request.group_id.is_empty() {
            ErrorCode::InvalidGroupId
        } else {
            ErrorCode::UnknownMemberId
        };
        let group_id = request.group_id.clone();
        if error == ErrorCode::UnknownMemberId {
            let synced =
                self.with_group(now, &group_id, out, |group, turn| group.sync(turn, waiter, &request));
            if synced.is_some() {
                return;
            }
        }
        out.push(CoordinatorEffect::Respond { token: waiter.token, response: sync_error(error) });
    }
}

impl Group {
    fn sync(&mut self, turn: &mut Turn<'_>, waiter: Waiter, request: &SyncGroupRequest) {
        if let Err(error) = self.validate_sync(request) {
            turn.respond(waiter, sync_error(error));
            return;
        }
        let id: MemberId = request.member_id.as_str().into();
        match self.state() {
            GroupState::PreparingRebalance => {
                turn.respond(waiter, sync_error(ErrorCode::RebalanceInProgress));
            }
            GroupState::CompletingRebalance => {
                if let Some(earlier) = self.await_sync(&id, waiter) {
                    turn.respond(earlier, sync_error(ErrorCode::RebalanceInProgress));
                }
                self.has_synced(turn, &id);
                if self.is_leader(&id) {
                    self.store_assignments(turn, request);
                }
            }
            GroupState::Stable => {
                self.has_synced(turn, &id);
                let response = self.synced(&id);
                turn.respond(waiter, response);
            }
            GroupState::Empty => unreachable!("an empty group has no members"),
        }
    }

    fn validate_sync(&self, request: &SyncGroupRequest) -> Result<(), ErrorCode> {
        self.validate_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation_id {
            return Err(ErrorCode::IllegalGeneration);
        }
        let differs = |asked: &Option<String>, ours: &Option<String>| {
            asked.is_some() && ours.is_some() && asked != ours
        };
        if differs(&request.protocol_type, &self.protocol_type)
            || differs(&request.protocol_name, &self.protocol_name)
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        Ok(())
    }

    fn has_synced(&mut self, turn: &mut Turn<'_>, id: &MemberId) {
        self.pending_sync.remove(id);
        if self.pending_sync.is_empty() {
            turn.timers.cancel(&TimerKey::Sync(self.id.clone()));
        }
    }

    /// Appends the generation with its assignments. It holds once it is durable, if it is still this generation.
    fn store_assignments(&mut self, turn: &mut Turn<'_>, request: &SyncGroupRequest) {
        let mut given: BTreeMap<&str, &Bytes> = BTreeMap::new();
        for assignment in &request.assignments {
            given.insert(&assignment.member_id, &assignment.assignment);
        }
        let assignments: BTreeMap<MemberId, Bytes> = self
            .member_ids()
            .into_iter()
            .map(|id| {
                // Copied: a slice would keep the whole frame for the life of the generation.
                let assignment =
                    given.get(&*id).map(|bytes| Bytes::copy_from_slice(bytes)).unwrap_or_default();
                (id, assignment)
            })
            .collect();
        let record = records::group_metadata_with(self, &assignments);
        let promise =
            Promise::Assignment { group: self.id.clone(), generation_id: self.generation_id, assignments };
        turn.append(vec![record], Work::promise(promise));
    }

    /// The assignments are durable: the members get them and the group is stable.
    pub(super) fn assignment_stored(
        &mut self,
        turn: &mut Turn<'_>,
        generation_id: i32,
        assignments: BTreeMap<MemberId, Bytes>,
    ) {
        // Another member may have come or gone in the meantime: then the next generation is on its way.
        if !self.is(GroupState::CompletingRebalance) || self.generation_id != generation_id {
            return;
        }
        for (id, assignment) in assignments {
            if self.member(&id).is_some() {
                self.set_assignment(&id, assignment);
            }
        }
        for id in self.member_ids() {
            if let Some(waiter) = self.take_sync_waiter(&id) {
                let response = self.synced(&id);
                turn.respond(waiter, response);
                // The session may have ended unnoticed while the member waited.
                self.renew_session(turn, &id);
            }
        }
        self.transition_to(GroupState::Stable, turn.now.wall_ms);
    }

    /// The assignments could not be stored: the members are told why, and join again.
    pub(super) fn assignment_refused(&mut self, turn: &mut Turn<'_>, generation_id: i32, error: ErrorCode) {
        if self.is(GroupState::CompletingRebalance) && self.generation_id == generation_id {
            self.forget_assignments(turn, error);
            self.prepare_rebalance(turn);
        }
    }

    /// Takes the assignments back and tells those who wait for one.
    pub(super) fn forget_assignments(&mut self, turn: &mut Turn<'_>, error: ErrorCode) {
        assert!(self.is(GroupState::CompletingRebalance), "assignments are forgotten before they hold");
        for id in self.member_ids() {
            self.set_assignment(&id, Bytes::new());
            if let Some(waiter) = self.take_sync_waiter(&id) {
                turn.respond(waiter, sync_error(error));
                self.renew_session(turn, &id);
            }
        }
    }

    /// The time for SyncGroup requests is up: members that have not sent theirs are out.
    pub(super) fn sync_expired(&mut self, turn: &mut Turn<'_>) {
        let in_time = !matches!(self.state(), GroupState::CompletingRebalance | GroupState::Stable);
        if in_time || self.pending_sync.is_empty() {
            return;
        }
        for id in std::mem::take(&mut self.pending_sync) {
            self.drop_member(turn, &id, ErrorCode::UnknownMemberId);
        }
        self.prepare_rebalance(turn);
    }

    fn synced(&self, id: &MemberId) -> SyncGroupResponse {
        let assignment = self.member(id).expect("the member was validated").assignment.clone();
        responses::synced(self, assignment)
    }
}
