//! DescribeGroups, ListGroups and DeleteGroups: what administrators see of groups, and their end.

use net::ErrorCode;
use net::messages::delete_groups::DeletableGroupResult;
use net::messages::describe_groups::{DescribedGroup, DescribedGroupMember};
use net::messages::list_groups::ListedGroup;
use net::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
    ListGroupsRequest, ListGroupsResponse,
};
use storage::Now;

use super::appends::Promise;
use super::group::{Group, GroupState, Waiter};
use super::{CoordinatorEffect, GroupCoordinator};

/// From this version on a missing group is an error, before it is a dead group (KIP-1043).
const DESCRIBE_VERSION_NOT_FOUND: i16 = 6;

/// The type of all groups here, and Kafka's name for a group that is not there.
const CLASSIC: &str = "classic";
pub(super) const DEAD: &str = "Dead";

impl GroupCoordinator {
    pub(super) fn describe_groups(
        &mut self,
        waiter: Waiter,
        request: DescribeGroupsRequest,
        out: &mut Vec<CoordinatorEffect>,
    ) {
        let groups = request.groups.into_iter().map(|id| match self.groups.get(id.as_str()) {
            Some(group) => describe(group),
            None => not_found(id, waiter.version),
        });
        let response = DescribeGroupsResponse { groups: groups.collect(), ..Default::default() };
        out.push(CoordinatorEffect::Respond { token: waiter.token, response: response.into() });
    }

    pub(super) fn list_groups(
        &mut self,
        waiter: Waiter,
        request: ListGroupsRequest,
        out: &mut Vec<CoordinatorEffect>,
    ) {
        let matches = |filter: &[String], value: &str| {
            filter.is_empty() || filter.iter().any(|wanted| wanted.trim().eq_ignore_ascii_case(value))
        };
        let groups = self.groups.values().filter(|group| {
            matches(&request.states_filter, group.state().name()) && matches(&request.types_filter, CLASSIC)
        });
        let groups = groups.map(|group| ListedGroup {
            group_id: group.id.to_string(),
            protocol_type: group.protocol_type.clone().unwrap_or_default(),
            group_state: group.state().name().to_owned(),
            group_type: CLASSIC.to_owned(),
        });
        let response = ListGroupsResponse { groups: groups.collect(), ..Default::default() };
        out.push(CoordinatorEffect::Respond { token: waiter.token, response: response.into() });
    }

    pub(super) fn delete_groups(
        &mut self,
        _now: Now,
        waiter: Waiter,
        request: DeleteGroupsRequest,
        out: &mut Vec<CoordinatorEffect>,
    ) {
        let mut results: Vec<DeletableGroupResult> = Vec::with_capacity(request.groups_names.len());
        let (mut offsets, mut removed) = (Vec::new(), Vec::new());
        for id in request.groups_names {
            if results.iter().any(|result| result.group_id == id) {
                continue;
            }
            let error_code = match self.groups.get(id.as_str()) {
                None => ErrorCode::GroupIdNotFound,
                Some(group) if !group.is(GroupState::Empty) => ErrorCode::NonEmptyGroup,
                Some(_) => ErrorCode::None,
            };
            if !error_code.is_error() {
                let group = self.groups.remove(id.as_str()).expect("just seen");
                offsets.extend(self.offsets.latest(&id).map(|(key, _)| (group.id.clone(), key.clone())));
                removed.push(group);
            }
            results.push(DeletableGroupResult { group_id: id, error_code });
        }
        let response = DeleteGroupsResponse { results, ..Default::default() };
        let promise = Promise::Respond { waiter, response: response.into() };
        self.append_tombstones(offsets, removed, promise, out);
    }
}

fn describe(group: &Group) -> DescribedGroup {
    // Metadata belongs to a protocol, and only a stable group has settled on one.
    let protocol = group.protocol_name.as_deref().filter(|_| group.is(GroupState::Stable));
    let members = group.members().map(|member| DescribedGroupMember {
        member_id: member.id.to_string(),
        group_instance_id: member.group_instance_id.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        member_metadata: protocol.map(|protocol| member.metadata(protocol)).unwrap_or_default(),
        member_assignment: member.assignment.clone(),
    });
    DescribedGroup {
        group_id: group.id.to_string(),
        group_state: group.state().name().to_owned(),
        protocol_type: group.protocol_type.clone().unwrap_or_default(),
        protocol_data: protocol.unwrap_or_default().to_owned(),
        members: members.collect(),
        ..Default::default()
    }
}

fn not_found(group_id: String, version: i16) -> DescribedGroup {
    let is_error = version >= DESCRIBE_VERSION_NOT_FOUND;
    DescribedGroup {
        error_code: if is_error { ErrorCode::GroupIdNotFound } else { ErrorCode::None },
        error_message: is_error.then(|| format!("Group {group_id} not found.")),
        group_id,
        group_state: DEAD.to_owned(),
        ..Default::default()
    }
}
