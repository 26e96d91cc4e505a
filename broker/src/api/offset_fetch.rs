//! OffsetFetch, versions 1–9: reads the positions of a group. From 2 on of all its partitions, from 7 on it may wait for
//! those under way (`require_stable`), from 8 on of several groups.

use net::messages::offset_fetch::OffsetFetchResponseGroup;
use net::messages::{OffsetFetchRequest, OffsetFetchResponse};
use net::{Request, Response};
use storage::Now;

use super::coordinators::{ask_coordinator, ask_each, by_coordinator, in_order};
use crate::effects::{Context, Effects};
use crate::shard::Shard;

const VERSION_GROUPS: i16 = 8;

/// Asks the coordinators of all groups.
pub(super) fn handle(
    shard: &mut Shard,
    _now: Now,
    context: Context,
    request: OffsetFetchRequest,
    effects: &mut Effects,
) {
    if context.version < VERSION_GROUPS {
        let group_id = request.group_id.clone();
        return ask_coordinator(shard, context, &group_id, request, effects);
    }
    let require_stable = request.require_stable;
    let (mut places, mut requests) = (Vec::new(), Vec::new());
    for (key, at, groups) in by_coordinator(shard, request.groups, |group| &group.group_id) {
        places.push(at);
        let request = OffsetFetchRequest { groups, require_stable, ..Default::default() };
        requests.push((key, Request::OffsetFetch(request)));
    }
    ask_each(shard, context, requests, effects, move |responses| {
        let groups = in_order(places, responses.into_iter().map(groups));
        OffsetFetchResponse { groups, ..Default::default() }.into()
    });
}

fn groups(response: Response) -> Vec<OffsetFetchResponseGroup> {
    match response {
        Response::OffsetFetch(response) => response.groups,
        other => unreachable!("a fetch of offsets is not answered by {other:?}"),
    }
}
