//! SyncGroup, versions 0–5: brings the leader's assignment to the members. From 5 on it names the protocol.

use net::messages::SyncGroupRequest;
use storage::Now;

use super::coordinators::ask_coordinator;
use crate::effects::{Context, Effects};
use crate::shard::Shard;

/// Hands the request to the coordinator of the group.
pub(super) fn handle(
    shard: &mut Shard,
    _now: Now,
    context: Context,
    request: SyncGroupRequest,
    effects: &mut Effects,
) {
    let group_id = request.group_id.clone();
    ask_coordinator(shard, context, &group_id, request, effects);
}
