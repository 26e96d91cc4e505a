//! What a coordinator knows after a restart is what its log says: no more, no less.

use net::messages::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use net::messages::{ListGroupsRequest, OffsetCommitRequest, OffsetFetchRequest};

use super::*;

/// Everything that clients can ask about.
fn seen(world: &mut World) -> (Response, Response, Response) {
    let groups = world.ask(5, ListGroupsRequest::default());
    let members = world.ask(
        6,
        DescribeGroupsRequest { groups: vec!["group".into(), "simple".into()], ..Default::default() },
    );
    let request = OffsetFetchRequest { group_id: "simple".into(), topics: None, ..Default::default() };
    (groups, members, world.ask(7, request))
}

fn commit_simple(world: &mut World) {
    let partition =
        OffsetCommitRequestPartition { partition_index: 3, committed_offset: 9, ..Default::default() };
    let topic = OffsetCommitRequestTopic { name: "topic".into(), partitions: vec![partition] };
    let request =
        OffsetCommitRequest { group_id: "simple".into(), topics: vec![topic], ..Default::default() };
    world.ask(8, request);
}

#[test]
fn a_stable_group_goes_on_after_a_restart() {
    let mut world = World::new();
    let (ids, generation_id) = world.stable_group(3);
    commit_simple(&mut world);
    let before = seen(&mut world);
    world.restart(2);
    assert_eq!(seen(&mut world), before);
    for id in &ids {
        assert_eq!(world.heartbeat(id, generation_id), ErrorCode::None);
    }
    let token = world.sync(&ids[1], generation_id, &[]);
    assert_eq!(world.synced(token).unwrap().assignment, assignment(&ids[1], generation_id));
}

#[test]
fn members_that_do_not_come_back_after_a_restart_are_out_after_a_session() {
    let mut world = World::new();
    let (ids, generation_id) = world.stable_group(2);
    world.restart(2);
    world.pass_ms(9_000);
    assert_eq!(world.heartbeat(&ids[1], generation_id), ErrorCode::None);
    world.pass_ms(1_001);
    assert_eq!(world.heartbeat(&ids[1], generation_id), ErrorCode::RebalanceInProgress);
    let token = world.join(join_as(&ids[1]));
    assert_eq!(world.joined(token).unwrap().members.len(), 1);
}

#[test]
fn a_restart_in_the_middle_of_a_rebalance_falls_back_to_the_last_generation() {
    let mut world = World::new();
    let (ids, generation_id) = world.stable_group(2);
    let newcomer = world.enter();
    let back: Vec<Token> = ids.iter().map(|id| world.join(join_as(id))).collect();
    let newcomer = world.joined(newcomer).unwrap().member_id;
    for token in back {
        world.joined(token).unwrap();
    }
    // The assignment is in the log, but not durable when the process is killed.
    world.log = Log::Slow;
    let token = world.sync(&ids[0], generation_id + 1, &ids);
    assert_eq!(world.synced(token), None);
    world.restart(2);
    world.log = Log::Durable;
    assert_eq!(world.state(), "Stable");
    assert_eq!(world.heartbeat(&ids[0], generation_id + 1), ErrorCode::IllegalGeneration);
    assert_eq!(world.heartbeat(&newcomer, generation_id + 1), ErrorCode::UnknownMemberId);
    assert_eq!(world.heartbeat(&ids[0], generation_id), ErrorCode::None);
}

#[test]
fn a_static_member_keeps_its_newest_id_over_a_restart() {
    let mut world = World::new();
    let token = world.join(static_join("instance", ""));
    world.pass_ms(0);
    let old = world.joined(token).unwrap().member_id;
    world.sync(&old, 1, std::slice::from_ref(&old));
    world.log = Log::Slow;
    let token = world.join(static_join("instance", ""));
    assert_eq!(world.joined(token), None, "the new id is given when it is durable");
    world.commit();
    let new = world.joined(token).unwrap().member_id;
    world.restart(2);
    assert_eq!(world.heartbeat(&new, 1), ErrorCode::None);
    assert_eq!(world.heartbeat(&old, 1), ErrorCode::UnknownMemberId);
}

#[test]
fn an_assignment_that_the_log_does_not_take_sends_the_members_back() {
    let mut world = World::new();
    let (ids, generation_id) = world.stable_group(2);
    let back: Vec<Token> = ids.iter().map(|id| world.join(join_as(id))).collect();
    for token in back {
        world.joined(token).unwrap();
    }
    world.log = Log::Full;
    let follower = world.sync(&ids[1], generation_id + 1, &ids);
    let leader = world.sync(&ids[0], generation_id + 1, &ids);
    for token in [follower, leader] {
        assert_eq!(world.synced(token).unwrap().error_code, ErrorCode::NotCoordinator);
    }
    assert_eq!(world.state(), "PreparingRebalance");
}

#[test]
fn a_leaver_that_empties_the_group_is_told_when_that_is_durable() {
    let mut world = World::new();
    let (ids, _) = world.stable_group(1);
    world.log = Log::Slow;
    let member =
        net::messages::leave_group::MemberIdentity { member_id: ids[0].clone(), ..Default::default() };
    let request = LeaveGroupRequest { group_id: "group".into(), members: vec![member], ..Default::default() };
    let token = world.request(5, request);
    assert_eq!(world.answer(token), None);
    world.commit();
    assert!(world.answer(token).is_some());
    world.restart(2);
    assert_eq!(world.state(), "Empty");
}

#[test]
fn records_that_cannot_be_read_do_not_stop_the_others() {
    let mut world = World::new();
    commit_simple(&mut world);
    let before = seen(&mut world);
    let bad: &[(&[u8], &[u8])] = &[
        (b"", b""),
        (b"\x00", b""),
        (b"\x00\x01", b""),
        (b"\x00\x02\x00\x01g", b"\x00\x03\x00"),
        (b"\x00\x02\x00\x01g", b"\x00\x63"),
        (b"\x00\x03\x00\x01g", b"\x00\x00\x00\x00\x00\x01"),
        (b"\xff\xff", b""),
    ];
    for (key, value) in bad {
        let record =
            CoordinatorRecord { key: Bytes::from_static(key), value: Some(Bytes::from_static(value)) };
        world.records.insert(0, (0, record));
    }
    world.restart(2);
    assert_eq!(seen(&mut world), before);
}
