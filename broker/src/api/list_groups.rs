//! ListGroups, versions 0–5: all groups of this broker. From 4 on filtered by state (KIP-518), from 5 on by type
//! (KIP-848).

use net::messages::{ListGroupsRequest, ListGroupsResponse};
use net::{Request, Response};
use storage::Now;

use super::coordinators::{all_partitions, ask_each};
use crate::effects::{Context, Effects};
use crate::shard::Shard;

/// Asks every coordinator; if one of them cannot tell, nothing is told.
pub(super) fn handle(
    shard: &mut Shard,
    _now: Now,
    context: Context,
    request: ListGroupsRequest,
    effects: &mut Effects,
) {
    let partitions = all_partitions(shard);
    let requests = partitions.into_iter().map(|key| (Some(key), Request::ListGroups(request.clone())));
    ask_each(shard, context, requests.collect(), effects, |responses| {
        let mut all = ListGroupsResponse::default();
        for response in responses {
            let Response::ListGroups(response) = response else {
                unreachable!("a list of groups is not answered by {response:?}")
            };
            if response.error_code.is_error() {
                return ListGroupsResponse { error_code: response.error_code, ..Default::default() }.into();
            }
            all.groups.extend(response.groups);
        }
        all.into()
    });
}
