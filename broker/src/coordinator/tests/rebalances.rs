//! Members come, go and die: the generation that follows, and what each of them is told.

use super::*;

#[test]
fn a_first_member_gets_an_id_a_generation_and_its_assignment() {
    let mut world = World::new();
    let token = world.join(join_as(""));
    let response = world.joined(token).unwrap();
    assert_eq!(response.error_code, ErrorCode::MemberIdRequired);
    assert!(response.member_id.starts_with("client-"));
    let id = response.member_id;
    let token = world.join(join_as(&id));
    world.pass_ms(0);
    let response = world.joined(token).unwrap();
    assert_eq!((response.error_code, response.generation_id), (ErrorCode::None, 1));
    assert_eq!((&response.leader, response.members.len()), (&id, 1));
    assert_eq!(response.protocol_name.as_deref(), Some("range"));
    assert_eq!(world.state(), "CompletingRebalance");
    let token = world.sync(&id, 1, std::slice::from_ref(&id));
    assert_eq!(world.synced(token).unwrap().assignment, assignment(&id, 1));
    assert_eq!(world.state(), "Stable");
    assert_eq!(world.heartbeat(&id, 1), ErrorCode::None);
    assert_eq!(world.leave(&[(&id, None)]).members[0].error_code, ErrorCode::None);
    assert_eq!(world.state(), "Empty");
    assert_eq!(world.heartbeat(&id, 1), ErrorCode::UnknownMemberId);
}

#[test]
fn old_clients_join_without_coming_twice() {
    let mut world = World::new();
    let token = world.request(0, JoinGroupRequest { rebalance_timeout_ms: -1, ..join_as("") });
    world.pass_ms(0);
    let response = world.joined(token).unwrap();
    assert_eq!((response.error_code, response.generation_id), (ErrorCode::None, 1));
}

#[test]
fn a_newcomer_makes_the_others_rejoin() {
    let mut world = World::new();
    let (ids, generation_id) = world.stable_group(1);
    let newcomer = world.enter();
    assert_eq!(world.heartbeat(&ids[0], generation_id), ErrorCode::RebalanceInProgress);
    let back = world.join(join_as(&ids[0]));
    let (newcomer, back) = (world.joined(newcomer).unwrap(), world.joined(back).unwrap());
    assert_eq!((newcomer.generation_id, back.generation_id), (generation_id + 1, generation_id + 1));
    assert_eq!((newcomer.members.len(), back.members.len()), (0, 2), "the leader is told who is there");
}

/// Cooperative assignors rebalance twice: members give partitions back, then join again at once.
#[test]
fn a_cooperative_group_rebalances_twice_in_a_row() {
    let mut world = World::new();
    let (mut ids, generation_id) = world.stable_group(2);
    let newcomer = world.enter();
    let back: Vec<Token> = ids.iter().map(|id| world.join(join_as(id))).collect();
    ids.push(world.joined(newcomer).unwrap().member_id);
    for token in back {
        assert_eq!(world.joined(token).unwrap().generation_id, generation_id + 1);
    }
    let syncs: Vec<Token> = ids.iter().rev().map(|id| world.sync(id, generation_id + 1, &ids)).collect();
    for token in syncs {
        assert_eq!(world.synced(token).unwrap().error_code, ErrorCode::None);
    }
    // A follower that gave something back joins again with other metadata (it owns less now).
    let mut changed = join_as(&ids[1]);
    changed.protocols[0].metadata = subscription(&["topic", "less"]);
    let second = world.join(changed);
    assert_eq!(world.joined(second), None);
    assert_eq!(world.heartbeat(&ids[0], generation_id + 1), ErrorCode::RebalanceInProgress);
    let others = [world.join(join_as(&ids[0])), world.join(join_as(&ids[2]))];
    for token in [second, others[0], others[1]] {
        assert_eq!(world.joined(token).unwrap().generation_id, generation_id + 2);
    }
    let syncs: Vec<Token> = ids.iter().map(|id| world.sync(id, generation_id + 2, &ids)).collect();
    for (token, id) in syncs.into_iter().zip(&ids) {
        assert_eq!(world.synced(token).unwrap().assignment, assignment(id, generation_id + 2));
    }
    assert_eq!(world.state(), "Stable");
}

#[test]
fn a_follower_without_news_does_not_disturb_a_stable_group() {
    let mut world = World::new();
    let (ids, generation_id) = world.stable_group(2);
    let token = world.join(join_as(&ids[1]));
    assert_eq!(world.joined(token).unwrap().generation_id, generation_id);
    assert_eq!(world.state(), "Stable");
    // The leader may have seen something that its metadata does not show.
    let token = world.join(join_as(&ids[0]));
    assert_eq!(world.joined(token), None);
    assert_eq!(world.state(), "PreparingRebalance");
}

#[test]
fn a_member_that_is_killed_in_a_rebalance_is_not_waited_for_longer_than_its_session() {
    let mut world = World::new();
    let (ids, generation_id) = world.stable_group(3);
    let newcomer = world.enter();
    let back: Vec<Token> = ids[..2].iter().map(|id| world.join(join_as(id))).collect();
    world.pass_ms(9_000);
    assert_eq!(world.joined(newcomer), None, "the third may still come");
    world.pass_ms(1_001);
    assert_eq!(world.joined(newcomer).unwrap().generation_id, generation_id + 1);
    for token in back {
        assert_eq!(world.joined(token).unwrap().generation_id, generation_id + 1);
    }
    assert_eq!(world.describe().members.len(), 3);
}

#[test]
fn a_member_that_lives_but_does_not_rejoin_is_waited_for_until_the_rebalance_timeout() {
    let mut world = World::new();
    let (ids, generation_id) = world.stable_group(2);
    let newcomer = world.enter();
    let back = world.join(join_as(&ids[0]));
    for _ in 0..11 {
        world.pass_ms(5_000);
        assert_eq!(world.heartbeat(&ids[1], generation_id), ErrorCode::RebalanceInProgress);
        assert_eq!(world.joined(newcomer), None);
    }
    world.pass_ms(5_000);
    assert_eq!(world.joined(newcomer).unwrap().generation_id, generation_id + 1);
    assert_eq!(world.joined(back).unwrap().generation_id, generation_id + 1);
    assert_eq!(world.heartbeat(&ids[1], generation_id), ErrorCode::UnknownMemberId);
}

#[test]
fn the_leader_dies_and_another_takes_over() {
    let mut world = World::new();
    let (ids, generation_id) = world.stable_group(2);
    for _ in 0..3 {
        world.pass_ms(3_000);
        assert_eq!(world.heartbeat(&ids[1], generation_id), ErrorCode::None);
    }
    world.pass_ms(1_001);
    assert_eq!(world.heartbeat(&ids[1], generation_id), ErrorCode::RebalanceInProgress);
    let token = world.join(join_as(&ids[1]));
    let response = world.joined(token).unwrap();
    assert_eq!((&response.leader, response.members.len()), (&ids[1], 1));
}

#[test]
fn a_member_that_joins_but_never_syncs_is_out() {
    let mut world = World::new();
    let (ids, generation_id) = world.stable_group(1);
    let newcomer = world.enter();
    let back = world.join(join_as(&ids[0]));
    let newcomer = world.joined(newcomer).unwrap().member_id;
    world.joined(back).unwrap();
    let members = [ids[0].clone(), newcomer.clone()];
    let token = world.sync(&ids[0], generation_id + 1, &members);
    assert_eq!(world.synced(token).unwrap().error_code, ErrorCode::None);
    for _ in 0..12 {
        world.pass_ms(5_000);
        world.heartbeat(&ids[0], generation_id + 1);
        world.heartbeat(&newcomer, generation_id + 1);
    }
    assert_eq!(world.heartbeat(&newcomer, generation_id + 1), ErrorCode::UnknownMemberId);
    assert_eq!(world.heartbeat(&ids[0], generation_id + 1), ErrorCode::RebalanceInProgress);
}

#[test]
fn a_newcomer_during_the_sync_phase_sends_everyone_back() {
    let mut world = World::new();
    let (ids, generation_id) = world.stable_group(2);
    let token = world.join(join_as(&ids[0]));
    let other = world.join(join_as(&ids[1]));
    assert!(world.joined(token).is_some() && world.joined(other).is_some());
    let follower = world.sync(&ids[1], generation_id + 1, &ids);
    assert_eq!(world.synced(follower), None, "the leader has not synced yet");
    let newcomer = world.enter();
    assert_eq!(world.synced(follower).unwrap().error_code, ErrorCode::RebalanceInProgress);
    let late = world.sync(&ids[0], generation_id + 1, &ids);
    assert_eq!(world.synced(late).unwrap().error_code, ErrorCode::RebalanceInProgress);
    assert_eq!(world.joined(newcomer), None);
}

#[test]
fn the_initial_delay_lets_members_arrive_together() {
    let mut world = World::with(GroupConfig { initial_rebalance_delay_ms: 3_000, ..GroupConfig::default() });
    let first = world.enter();
    world.pass_ms(2_000);
    let second = world.enter();
    world.pass_ms(2_000);
    assert_eq!(world.joined(first), None, "someone came, so the wait goes on");
    world.pass_ms(2_000);
    assert_eq!(world.joined(first).unwrap().generation_id, 1);
    assert_eq!(world.joined(second).unwrap().generation_id, 1);
}

#[test]
fn protocols_that_do_not_fit_are_refused_and_leave_nothing_behind() {
    let mut world = World::new();
    let token = world.join(JoinGroupRequest { protocols: Vec::new(), ..join_as("") });
    assert_eq!(world.joined(token).unwrap().error_code, ErrorCode::InconsistentGroupProtocol);
    assert_eq!(world.describe().error_code, ErrorCode::GroupIdNotFound);
    let (ids, generation_id) = world.stable_group(1);
    let token = world.join(JoinGroupRequest { protocol_type: "connect".into(), ..join_as("") });
    assert_eq!(world.joined(token).unwrap().error_code, ErrorCode::InconsistentGroupProtocol);
    let mut other = join_as("");
    other.protocols[0].name = "sticky".into();
    let token = world.join(other);
    assert_eq!(world.joined(token).unwrap().error_code, ErrorCode::InconsistentGroupProtocol);
    assert_eq!(world.heartbeat(&ids[0], generation_id), ErrorCode::None);
}

#[test]
fn impossible_joins_are_refused() {
    let mut world = World::new();
    for (join, error) in [
        (JoinGroupRequest { group_id: String::new(), ..join_as("") }, ErrorCode::InvalidGroupId),
        (JoinGroupRequest { session_timeout_ms: 5_999, ..join_as("") }, ErrorCode::InvalidSessionTimeout),
        (JoinGroupRequest { session_timeout_ms: 1_800_001, ..join_as("") }, ErrorCode::InvalidSessionTimeout),
        (join_as("a stranger"), ErrorCode::UnknownMemberId),
        (static_join("instance", "a stranger"), ErrorCode::UnknownMemberId),
    ] {
        let token = world.join(join);
        assert_eq!(world.joined(token).unwrap().error_code, error);
    }
    let (ids, generation_id) = world.stable_group(1);
    let token = world.join(join_as("a stranger"));
    assert_eq!(world.joined(token).unwrap().error_code, ErrorCode::UnknownMemberId);
    for (sync, error) in [
        (sync_as("a stranger", generation_id, Vec::new()), ErrorCode::UnknownMemberId),
        (sync_as(&ids[0], generation_id - 1, Vec::new()), ErrorCode::IllegalGeneration),
        (
            SyncGroupRequest { group_id: "other".into(), ..sync_as(&ids[0], 1, Vec::new()) },
            ErrorCode::UnknownMemberId,
        ),
        (
            SyncGroupRequest { protocol_name: None, ..sync_as(&ids[0], generation_id, Vec::new()) },
            ErrorCode::InconsistentGroupProtocol,
        ),
        (
            SyncGroupRequest {
                protocol_name: Some("x".into()),
                ..sync_as(&ids[0], generation_id, Vec::new())
            },
            ErrorCode::InconsistentGroupProtocol,
        ),
    ] {
        let token = world.request(5, sync);
        assert_eq!(world.synced(token).unwrap().error_code, error);
    }
    assert_eq!(world.heartbeat(&ids[0], generation_id + 1), ErrorCode::IllegalGeneration);
    assert_eq!(world.heartbeat("a stranger", generation_id), ErrorCode::UnknownMemberId);
}

#[test]
fn a_full_group_takes_nobody_more() {
    let config = GroupConfig { initial_rebalance_delay_ms: 0, max_size: 2, ..GroupConfig::default() };
    let mut world = World::with(config);
    world.stable_group(2);
    let token = world.join(join_as(""));
    let response = world.joined(token).unwrap();
    assert_eq!((response.error_code, response.member_id), (ErrorCode::GroupMaxSizeReached, String::new()));
}

#[test]
fn an_id_that_is_never_used_is_forgotten() {
    let mut world = World::new();
    let token = world.join(join_as(""));
    let id = world.joined(token).unwrap().member_id;
    world.pass_ms(10_001);
    let token = world.join(join_as(&id));
    assert_eq!(world.joined(token).unwrap().error_code, ErrorCode::UnknownMemberId);
}

#[test]
fn several_members_leave_with_one_request_and_one_rebalance() {
    let mut world = World::new();
    let (ids, generation_id) = world.stable_group(3);
    let response = world.leave(&[(&ids[1], None), ("a stranger", None), (&ids[2], None)]);
    let errors: Vec<_> = response.members.iter().map(|member| member.error_code).collect();
    assert_eq!(errors, [ErrorCode::None, ErrorCode::UnknownMemberId, ErrorCode::None]);
    let token = world.join(join_as(&ids[0]));
    assert_eq!(world.joined(token).unwrap().generation_id, generation_id + 1);
}

#[test]
fn before_version_three_the_one_leaver_gets_its_error_on_top() {
    let mut world = World::new();
    let (ids, _) = world.stable_group(1);
    for (id, error) in [("a stranger", ErrorCode::UnknownMemberId), (ids[0].as_str(), ErrorCode::None)] {
        let request =
            LeaveGroupRequest { group_id: "group".into(), member_id: id.into(), ..Default::default() };
        let Response::LeaveGroup(response) = world.ask(1, request) else {
            panic!("a leave is answered as one")
        };
        assert_eq!((response.error_code, response.members.len()), (error, 0));
    }
}

#[test]
fn a_request_that_comes_again_while_it_waits_leaves_no_request_unanswered() {
    let mut world = World::new();
    let (ids, _) = world.stable_group(2);
    let first = world.join(join_as(&ids[0]));
    let second = world.join(join_as(&ids[0]));
    assert_eq!(world.joined(first).unwrap().error_code, ErrorCode::RebalanceInProgress);
    let other = world.join(join_as(&ids[1]));
    let generation_id = world.joined(second).unwrap().generation_id;
    world.joined(other).unwrap();
    let first = world.sync(&ids[1], generation_id, &ids);
    let second = world.sync(&ids[1], generation_id, &ids);
    assert_eq!(world.synced(first).unwrap().error_code, ErrorCode::RebalanceInProgress);
    world.sync(&ids[0], generation_id, &ids);
    assert_eq!(world.synced(second).unwrap().error_code, ErrorCode::None);
}

// --------------------------------------------------------------------------------------------------- static members

/// A stable group of one dynamic leader and the static member "instance"; returns the ids and the generation.
fn group_with_static_member(world: &mut World) -> (Vec<String>, i32) {
    let (ids, generation_id) = world.stable_group(1);
    let newcomer = world.join(static_join("instance", ""));
    let back = world.join(join_as(&ids[0]));
    let newcomer = world.joined(newcomer).expect("a static member need not come twice");
    assert!(newcomer.member_id.starts_with("instance-"));
    world.joined(back).unwrap();
    let ids = vec![ids[0].clone(), newcomer.member_id];
    for id in ids.iter().rev() {
        world.sync(id, generation_id + 1, &ids);
    }
    assert_eq!(world.state(), "Stable");
    (ids, generation_id + 1)
}

#[test]
fn a_static_member_comes_back_without_a_rebalance() {
    let mut world = World::new();
    let (ids, generation_id) = group_with_static_member(&mut world);
    let back = world.join(static_join("instance", ""));
    let back = world.joined(back).unwrap();
    assert_eq!((back.error_code, back.generation_id), (ErrorCode::None, generation_id));
    assert_ne!(back.member_id, ids[1]);
    let token = world.request(
        5,
        SyncGroupRequest {
            group_instance_id: Some("instance".into()),
            ..sync_as(&back.member_id, generation_id, Vec::new())
        },
    );
    assert_eq!(
        world.synced(token).unwrap().assignment,
        assignment(&ids[1], generation_id),
        "what it had before"
    );
    assert_eq!(world.heartbeat(&ids[0], generation_id), ErrorCode::None, "nobody else noticed");
    // Whoever still uses the old id is told that it was replaced.
    let zombie = HeartbeatRequest {
        group_id: "group".into(),
        generation_id,
        member_id: ids[1].clone(),
        group_instance_id: Some("instance".into()),
    };
    let Response::Heartbeat(response) = world.ask(4, zombie) else {
        panic!("a heartbeat is answered as one")
    };
    assert_eq!(response.error_code, ErrorCode::FencedInstanceId);
}

#[test]
fn a_static_leader_that_comes_back_may_skip_the_assignment() {
    let mut world = World::new();
    let token = world.join(static_join("instance", ""));
    world.pass_ms(0);
    let id = world.joined(token).unwrap().member_id;
    world.sync(&id, 1, std::slice::from_ref(&id));
    let back = world.join(static_join("instance", ""));
    let back = world.joined(back).unwrap();
    assert!(back.skip_assignment && back.leader == back.member_id && back.members.len() == 1);
    // A client of an older version would compute one: it must not think that it leads.
    let back = world.request(8, static_join("instance", ""));
    let back = world.joined(back).unwrap();
    assert!(!back.skip_assignment && back.leader != back.member_id && back.members.is_empty());
}

#[test]
fn a_static_member_that_comes_back_with_another_protocol_causes_a_rebalance() {
    let mut world = World::new();
    let mut join = static_join("instance", "");
    join.protocols
        .push(JoinGroupRequestProtocol { name: "sticky".into(), metadata: subscription(&["topic"]) });
    let token = world.join(join.clone());
    world.pass_ms(0);
    let id = world.joined(token).unwrap().member_id;
    world.sync(&id, 1, std::slice::from_ref(&id));
    join.protocols.remove(0);
    let token = world.join(join);
    let response = world.joined(token).unwrap();
    assert_eq!((response.generation_id, response.protocol_name.as_deref()), (2, Some("sticky")));
}

#[test]
fn a_static_member_that_waits_is_fenced_by_its_successor() {
    let mut world = World::new();
    let (ids, generation_id) = group_with_static_member(&mut world);
    let mut join = static_join("instance", &ids[1]);
    join.protocols[0].metadata = subscription(&["other"]);
    let old = world.join(join);
    assert_eq!(world.joined(old), None);
    let new = world.join(static_join("instance", ""));
    assert_eq!(world.joined(old).unwrap().error_code, ErrorCode::FencedInstanceId);
    let leader = world.join(join_as(&ids[0]));
    assert_eq!(world.joined(new).unwrap().generation_id, generation_id + 1);
    assert_eq!(world.joined(leader).unwrap().members.len(), 2);
}

#[test]
fn an_administrator_removes_a_static_member_by_its_instance() {
    let mut world = World::new();
    let (ids, generation_id) = group_with_static_member(&mut world);
    let response = world.leave(&[("", Some("instance")), ("", Some("another"))]);
    let errors: Vec<_> = response.members.iter().map(|member| member.error_code).collect();
    assert_eq!(errors, [ErrorCode::None, ErrorCode::UnknownMemberId]);
    assert_eq!(world.heartbeat(&ids[1], generation_id), ErrorCode::UnknownMemberId);
    assert_eq!(world.heartbeat(&ids[0], generation_id), ErrorCode::RebalanceInProgress);
}

#[test]
fn static_members_that_do_not_rejoin_stay_until_their_sessions_end() {
    let mut world = World::new();
    let token = world.join(static_join("a", ""));
    world.pass_ms(0);
    let leader = world.joined(token).unwrap().member_id;
    world.sync(&leader, 1, std::slice::from_ref(&leader));
    // A static newcomer starts a rebalance and goes again: nobody joins, but the first member keeps its place.
    let newcomer = world.join(JoinGroupRequest { session_timeout_ms: 6_000, ..static_join("b", "") });
    world.leave(&[("", Some("b"))]);
    assert_eq!(world.joined(newcomer).unwrap().error_code, ErrorCode::UnknownMemberId);
    for _ in 0..15 {
        world.pass_ms(5_000);
        assert_eq!(world.heartbeat(&leader, 1), ErrorCode::RebalanceInProgress);
    }
    world.pass_ms(10_001);
    assert_eq!(world.state(), "Empty");
}
