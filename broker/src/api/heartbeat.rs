//! Heartbeat, versions 0–4: keeps a member alive, and tells it of rebalances.

use net::messages::HeartbeatRequest;
use storage::Now;

use super::coordinators::ask_coordinator;
use crate::effects::{Context, Effects};
use crate::shard::Shard;

/// Hands the request to the coordinator of the group.
pub(super) fn handle(
    shard: &mut Shard,
    _now: Now,
    context: Context,
    request: HeartbeatRequest,
    effects: &mut Effects,
) {
    let group_id = request.group_id.clone();
    ask_coordinator(shard, context, &group_id, request, effects);
}
