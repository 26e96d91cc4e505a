//! DeleteGroups, versions 0–2: deletes groups without members, and their offsets.

use net::messages::delete_groups::DeletableGroupResult;
use net::messages::{DeleteGroupsRequest, DeleteGroupsResponse};
use net::{Request, Response};
use storage::Now;

use super::coordinators::{ask_each, by_coordinator, in_order};
use crate::effects::{Context, Effects};
use crate::shard::Shard;

/// Asks the coordinators of all groups; each group is deleted once, however often it is named.
pub(super) fn handle(
    shard: &mut Shard,
    _now: Now,
    context: Context,
    request: DeleteGroupsRequest,
    effects: &mut Effects,
) {
    let mut names: Vec<String> = Vec::with_capacity(request.groups_names.len());
    let mut seen = std::collections::BTreeSet::new();
    names.extend(request.groups_names.into_iter().filter(|name| seen.insert(name.clone())));
    let (mut places, mut requests) = (Vec::new(), Vec::new());
    for (key, at, groups_names) in by_coordinator(shard, names, String::as_str) {
        places.push(at);
        requests.push((key, Request::DeleteGroups(DeleteGroupsRequest { groups_names })));
    }
    ask_each(shard, context, requests, effects, move |responses| {
        let results = in_order(places, responses.into_iter().map(results));
        DeleteGroupsResponse { results, ..Default::default() }.into()
    });
}

fn results(response: Response) -> Vec<DeletableGroupResult> {
    match response {
        Response::DeleteGroups(response) => response.results,
        other => unreachable!("a deletion of groups is not answered by {other:?}"),
    }
}
