//! JoinGroup, versions 0–9: enters a group and waits for its next generation. From 4 on a new member comes twice
//! (KIP-394), from 5 on members may be static (KIP-345), from 9 on a static leader may keep the assignment (KIP-814).

use net::messages::JoinGroupRequest;
use storage::Now;

use super::coordinators::ask_coordinator;
use crate::effects::{Context, Effects};
use crate::shard::Shard;

/// Hands the request to the coordinator of the group.
pub(super) fn handle(
    shard: &mut Shard,
    _now: Now,
    context: Context,
    request: JoinGroupRequest,
    effects: &mut Effects,
) {
    let group_id = request.group_id.clone();
    ask_coordinator(shard, context, &group_id, request, effects);
}
