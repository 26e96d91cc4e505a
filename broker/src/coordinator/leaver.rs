//! Who a LeaveGroup is about.

use net::messages::leave_group::MemberIdentity;

/// Who leaves: by member id, or by instance id alone if an administrator removes a static member.
pub(super) struct Leaver {
    pub(super) member_id: String,
    pub(super) group_instance_id: Option<String>,
}

impl Leaver {
    /// Before version 3 a request is for one member.
    pub(super) fn all(version: i16, members: Vec<MemberIdentity>, member_id: String) -> Vec<Leaver> {
        if version < 3 {
            return vec![Leaver { member_id, group_instance_id: None }];
        }
        let leaver = |member: MemberIdentity| Leaver {
            member_id: member.member_id,
            group_instance_id: member.group_instance_id,
        };
        members.into_iter().map(leaver).collect()
    }
}
