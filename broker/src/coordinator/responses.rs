//! The shapes of answers: what an error looks like in each API and version, and the success of joins and syncs.

use bytes::Bytes;
use net::messages::delete_groups::DeletableGroupResult;
use net::messages::describe_groups::DescribedGroup;
use net::messages::join_group::JoinGroupResponseMember;
use net::messages::leave_group::MemberResponse;
use net::messages::offset_commit::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use net::messages::offset_fetch::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponseTopic,
};
use net::messages::{
    DeleteGroupsResponse, DescribeGroupsResponse, HeartbeatResponse, JoinGroupResponse, LeaveGroupResponse,
    ListGroupsResponse, OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteResponse, OffsetFetchRequest,
    OffsetFetchResponse, SyncGroupResponse,
};
use net::{ErrorCode, Request, Response};

use super::CoordinatorEffect;
use super::group::{Group, JoinOrSync, MemberId, Waiter};
use super::leaver::Leaver;

/// Before this version the protocol name of a JoinGroup response cannot be null.
const JOIN_VERSION_NULL_PROTOCOL: i16 = 7;
/// Before this version an OffsetFetch response has no error of its own, only those of partitions.
const FETCH_VERSION_TOP_ERROR: i16 = 2;
/// From this version on an OffsetFetch is for several groups.
pub(crate) const FETCH_VERSION_GROUPS: i16 = 8;
/// Before this version a LeaveGroup is for one member, whose error is that of the response.
const LEAVE_VERSION_MEMBERS: i16 = 3;

/// Refuses a whole request, before anything was done for it.
pub(crate) fn refusal(request: &Request, version: i16, error: ErrorCode) -> Response {
    match request {
        Request::JoinGroup(r) => join_error_response(version, &r.member_id, error).into(),
        Request::SyncGroup(_) => sync_error(error),
        // The member may be perfectly well: while its group is being read, it is left in peace.
        Request::Heartbeat(_) if error == ErrorCode::CoordinatorLoadInProgress => {
            HeartbeatResponse::default().into()
        }
        Request::Heartbeat(_) => HeartbeatResponse { error_code: error, ..Default::default() }.into(),
        Request::LeaveGroup(_) => leave_response(version, error, Vec::new()).into(),
        Request::OffsetCommit(r) => commit_error(r, error).into(),
        Request::OffsetFetch(r) => fetch_error(r, version, error).into(),
        Request::OffsetDelete(_) => OffsetDeleteResponse { error_code: error, ..Default::default() }.into(),
        Request::DescribeGroups(r) => {
            let group = |id: &String| DescribedGroup {
                group_id: id.clone(),
                error_code: error,
                ..Default::default()
            };
            DescribeGroupsResponse { groups: r.groups.iter().map(group).collect(), ..Default::default() }
                .into()
        }
        Request::ListGroups(_) => ListGroupsResponse { error_code: error, ..Default::default() }.into(),
        Request::DeleteGroups(r) => {
            let result = |id: &String| DeletableGroupResult { group_id: id.clone(), error_code: error };
            let results = r.groups_names.iter().map(result).collect();
            DeleteGroupsResponse { results, ..Default::default() }.into()
        }
        other => panic!("not a request for groups: {other:?}"),
    }
}

/// Turns a success that was held back into an error: the log refused what it stood for. Errors stay as they are.
pub(super) fn fail(response: &mut Response, version: i16, error: ErrorCode) {
    let set = |code: &mut ErrorCode| {
        if *code == ErrorCode::None {
            *code = error;
        }
    };
    match response {
        Response::OffsetCommit(r) => {
            r.topics.iter_mut().flat_map(|t| &mut t.partitions).for_each(|p| set(&mut p.error_code));
        }
        Response::OffsetDelete(r) => {
            r.topics.clear();
            set(&mut r.error_code);
        }
        Response::DeleteGroups(r) => r.results.iter_mut().for_each(|result| set(&mut result.error_code)),
        Response::LeaveGroup(r) => *r = leave_response(version, error, Vec::new()),
        other => panic!("nothing is promised by {other:?}"),
    }
}

/// Refuses a parked request.
pub(super) fn refuse_waiter(
    waiter: JoinOrSync,
    member_id: &str,
    error: ErrorCode,
    out: &mut Vec<CoordinatorEffect>,
) {
    let (waiter, response) = match waiter {
        JoinOrSync::Join(waiter) => (waiter, join_error(waiter, member_id, error)),
        JoinOrSync::Sync(waiter) => (waiter, sync_error(error)),
    };
    out.push(CoordinatorEffect::Respond { token: waiter.token, response });
}

pub(super) fn join_error(waiter: Waiter, member_id: &str, error: ErrorCode) -> Response {
    join_error_response(waiter.version, member_id, error).into()
}

fn join_error_response(version: i16, member_id: &str, error: ErrorCode) -> JoinGroupResponse {
    JoinGroupResponse {
        error_code: error,
        member_id: member_id.to_owned(),
        protocol_name: (version < JOIN_VERSION_NULL_PROTOCOL).then(String::new),
        ..Default::default()
    }
}

/// The success of a join; the leader gets to know the members.
pub(super) fn joined(group: &Group, id: &MemberId, version: i16, with_members: bool) -> JoinGroupResponse {
    let protocol = group.protocol_name.as_deref().unwrap_or_default();
    let members = group.members().filter(|_| with_members).map(|member| JoinGroupResponseMember {
        member_id: member.id.to_string(),
        group_instance_id: member.group_instance_id.clone(),
        metadata: member.metadata(protocol),
    });
    let null_protocol = version >= JOIN_VERSION_NULL_PROTOCOL;
    JoinGroupResponse {
        generation_id: group.generation_id,
        protocol_type: group.protocol_type.clone(),
        protocol_name: group.protocol_name.clone().or((!null_protocol).then(String::new)),
        leader: group.leader.as_deref().unwrap_or_default().to_owned(),
        member_id: id.to_string(),
        members: members.collect(),
        ..Default::default()
    }
}

pub(super) fn sync_error(error: ErrorCode) -> Response {
    SyncGroupResponse { error_code: error, ..Default::default() }.into()
}

pub(super) fn synced(group: &Group, assignment: Bytes) -> SyncGroupResponse {
    SyncGroupResponse {
        protocol_type: group.protocol_type.clone(),
        protocol_name: group.protocol_name.clone(),
        assignment,
        ..Default::default()
    }
}

pub(super) fn leave_response(
    version: i16,
    error: ErrorCode,
    results: Vec<(Leaver, ErrorCode)>,
) -> LeaveGroupResponse {
    if version < LEAVE_VERSION_MEMBERS {
        let of_member = results.iter().map(|(_, error)| *error).find(|error| error.is_error());
        let error_code = if error.is_error() { error } else { of_member.unwrap_or(ErrorCode::None) };
        return LeaveGroupResponse { error_code, ..Default::default() };
    }
    let member = |(leaver, error_code): (Leaver, ErrorCode)| MemberResponse {
        member_id: leaver.member_id,
        group_instance_id: leaver.group_instance_id,
        error_code,
    };
    LeaveGroupResponse {
        error_code: error,
        members: results.into_iter().map(member).collect(),
        ..Default::default()
    }
}

pub(super) fn commit_error(request: &OffsetCommitRequest, error: ErrorCode) -> OffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| {
        let partition =
            |index: i32| OffsetCommitResponsePartition { partition_index: index, error_code: error };
        OffsetCommitResponseTopic {
            name: topic.name.clone(),
            partitions: topic.partitions.iter().map(|p| partition(p.partition_index)).collect(),
        }
    });
    OffsetCommitResponse { topics: topics.collect(), ..Default::default() }
}

fn fetch_error(request: &OffsetFetchRequest, version: i16, error: ErrorCode) -> OffsetFetchResponse {
    if version >= FETCH_VERSION_GROUPS {
        let group = |id: &String| OffsetFetchResponseGroup {
            group_id: id.clone(),
            error_code: error,
            ..Default::default()
        };
        let groups = request.groups.iter().map(|g| group(&g.group_id)).collect();
        return OffsetFetchResponse { groups, ..Default::default() };
    }
    if version >= FETCH_VERSION_TOP_ERROR {
        return OffsetFetchResponse { error_code: error, ..Default::default() };
    }
    let topics = request.topics.iter().flatten().map(|topic| OffsetFetchResponseTopic {
        name: topic.name.clone(),
        partitions: topic.partition_indexes.iter().map(|index| no_offset(*index, error)).collect(),
    });
    OffsetFetchResponse { topics: topics.collect(), ..Default::default() }
}

/// A partition without an offset, or with an error in its place.
pub(super) fn no_offset(partition_index: i32, error: ErrorCode) -> OffsetFetchResponsePartition {
    OffsetFetchResponsePartition {
        partition_index,
        committed_offset: -1,
        committed_leader_epoch: -1,
        metadata: Some(String::new()),
        error_code: error,
    }
}
