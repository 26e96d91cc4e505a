//! DescribeGroups, versions 0–6: the state and the members of groups. From 3 on with what the client may do to them,
//! from 6 on a missing group is an error (KIP-1043).

use net::messages::describe_groups::DescribedGroup;
use net::messages::{DescribeGroupsRequest, DescribeGroupsResponse};
use net::{Request, Response};
use storage::Now;

use super::coordinators::{ask_each, by_coordinator, in_order};
use crate::effects::{Context, Effects};
use crate::shard::Shard;

/// What may be done to a group, as bits of Kafka's ACL operations: READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS,
/// ALTER_CONFIGS. Without an authorizer everyone may do everything.
const GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;

/// Asks the coordinators of all groups.
pub(super) fn handle(
    shard: &mut Shard,
    _now: Now,
    context: Context,
    request: DescribeGroupsRequest,
    effects: &mut Effects,
) {
    let with_operations = request.include_authorized_operations;
    let (mut places, mut requests) = (Vec::new(), Vec::new());
    for (key, at, groups) in by_coordinator(shard, request.groups, String::as_str) {
        places.push(at);
        let request = DescribeGroupsRequest { groups, ..Default::default() };
        requests.push((key, Request::DescribeGroups(request)));
    }
    ask_each(shard, context, requests, effects, move |responses| {
        let mut groups = in_order(places, responses.into_iter().map(groups));
        if with_operations {
            let described = groups.iter_mut().filter(|group| !group.error_code.is_error());
            described.for_each(|group| group.authorized_operations = GROUP_OPERATIONS);
        }
        DescribeGroupsResponse { groups, ..Default::default() }.into()
    });
}

fn groups(response: Response) -> Vec<DescribedGroup> {
    match response {
        Response::DescribeGroups(response) => response.groups,
        other => unreachable!("a description of groups is not answered by {other:?}"),
    }
}
