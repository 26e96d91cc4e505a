//! LeaveGroup, versions 0–5: takes a member out of its group, from 3 on several (KIP-345).

use net::messages::LeaveGroupRequest;
use storage::Now;

use super::coordinators::ask_coordinator;
use crate::effects::{Context, Effects};
use crate::shard::Shard;

/// Hands the request to the coordinator of the group.
pub(super) fn handle(
    shard: &mut Shard,
    _now: Now,
    context: Context,
    request: LeaveGroupRequest,
    effects: &mut Effects,
) {
    let group_id = request.group_id.clone();
    ask_coordinator(shard, context, &group_id, request, effects);
}
