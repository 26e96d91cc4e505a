//! Offsets: who may commit them, when readers see them, and when they go.

use net::messages::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use net::messages::offset_delete::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use net::messages::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopic};
use net::messages::{
    DeleteGroupsRequest, ListGroupsRequest, OffsetCommitRequest, OffsetDeleteRequest, OffsetDeleteResponse,
    OffsetFetchRequest,
};

use super::*;

const RETENTION_MS: u64 = 7 * 24 * 3_600_000;

/// A commit of partition 0 of "topic" by nobody in particular.
fn commit(offset: i64) -> OffsetCommitRequest {
    commit_of("topic", offset)
}

fn commit_of(topic: &str, offset: i64) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition {
        partition_index: 0,
        committed_offset: offset,
        committed_leader_epoch: 4,
        committed_metadata: Some("a note: \u{fffd} \u{0}".into()),
    };
    let topic = OffsetCommitRequestTopic { name: topic.into(), partitions: vec![partition] };
    OffsetCommitRequest { group_id: "group".into(), topics: vec![topic], ..Default::default() }
}

fn commit_as(id: &str, generation_id: i32, offset: i64) -> OffsetCommitRequest {
    OffsetCommitRequest {
        member_id: id.into(),
        generation_id_or_member_epoch: generation_id,
        ..commit(offset)
    }
}

fn error_of(response: Response) -> ErrorCode {
    match response {
        Response::OffsetCommit(response) => response.topics[0].partitions[0].error_code,
        Response::DeleteGroups(response) => response.results[0].error_code,
        other => panic!("{other:?}"),
    }
}

fn fetch(topics: &[&str]) -> OffsetFetchRequest {
    let topic = |name: &&str| OffsetFetchRequestTopic { name: (*name).into(), partition_indexes: vec![0] };
    let topics = topics.iter().map(topic).collect();
    OffsetFetchRequest { group_id: "group".into(), topics: Some(topics), ..Default::default() }
}

fn offset_of(response: Response) -> i64 {
    match response {
        Response::OffsetFetch(response) => response.topics[0].partitions[0].committed_offset,
        other => panic!("{other:?}"),
    }
}

impl World {
    fn offset(&mut self, topic: &str) -> i64 {
        offset_of(self.ask(7, fetch(&[topic])))
    }

    fn commit_to(&mut self, topic: &str, offset: i64) {
        assert_eq!(error_of(self.ask(8, commit_of(topic, offset))), ErrorCode::None);
    }

    fn delete_offsets(&mut self, topics: &[&str]) -> OffsetDeleteResponse {
        let topics = topics.iter().map(|name| OffsetDeleteRequestTopic {
            name: (*name).into(),
            partitions: vec![OffsetDeleteRequestPartition { partition_index: 0 }],
        });
        let request = OffsetDeleteRequest { group_id: "group".into(), topics: topics.collect() };
        match self.ask(0, request) {
            Response::OffsetDelete(response) => response,
            other => panic!("{other:?}"),
        }
    }

    fn delete_group(&mut self) -> ErrorCode {
        error_of(self.ask(2, DeleteGroupsRequest { groups_names: vec!["group".into()] }))
    }
}

#[test]
fn a_commit_without_membership_makes_a_group_that_only_keeps_offsets() {
    let mut world = World::new();
    assert_eq!(world.offset("topic"), -1);
    assert_eq!(error_of(world.ask(8, commit(42))), ErrorCode::None);
    let Response::OffsetFetch(response) = world.ask(5, fetch(&["topic", "other"])) else { unreachable!() };
    let (known, unknown) = (&response.topics[0].partitions[0], &response.topics[1].partitions[0]);
    assert_eq!((known.committed_offset, known.committed_leader_epoch), (42, 4));
    assert_eq!(known.metadata.as_deref(), Some("a note: \u{fffd} \u{0}"), "byte for byte");
    assert_eq!((unknown.committed_offset, unknown.metadata.as_deref()), (-1, Some("")));
    let Response::ListGroups(response) = world.ask(5, ListGroupsRequest::default()) else { unreachable!() };
    let listed = &response.groups[0];
    assert_eq!((&*listed.group_state, &*listed.protocol_type, &*listed.group_type), ("Empty", "", "classic"));
}

#[test]
fn all_offsets_of_several_groups_are_fetched_at_once() {
    let mut world = World::new();
    world.commit_to("a", 1);
    world.commit_to("b", 2);
    let group = |id: &str| OffsetFetchRequestGroup { group_id: id.into(), ..Default::default() };
    let request = OffsetFetchRequest { groups: vec![group("group"), group("nobody")], ..Default::default() };
    let Response::OffsetFetch(response) = world.ask(8, request) else { unreachable!() };
    let topics: Vec<_> = response.groups[0].topics.iter().map(|topic| &*topic.name).collect();
    assert_eq!(topics, ["a", "b"]);
    assert_eq!((&*response.groups[1].group_id, response.groups[1].topics.len()), ("nobody", 0));
    let all = OffsetFetchRequest { group_id: "group".into(), topics: None, ..Default::default() };
    let Response::OffsetFetch(response) = world.ask(2, all) else { unreachable!() };
    assert_eq!(response.topics.len(), 2);
}

#[test]
fn only_members_of_the_generation_may_commit() {
    let mut world = World::new();
    assert_eq!(error_of(world.ask(8, commit_as("m", 1, 1))), ErrorCode::IllegalGeneration);
    assert_eq!(error_of(world.ask(9, commit_as("m", 1, 1))), ErrorCode::GroupIdNotFound);
    let (ids, generation_id) = world.stable_group(2);
    for (request, error) in [
        (commit_as(&ids[0], generation_id, 5), ErrorCode::None),
        (commit_as(&ids[0], generation_id - 1, 6), ErrorCode::IllegalGeneration),
        (commit_as("a stranger", generation_id, 6), ErrorCode::UnknownMemberId),
        (commit(6), ErrorCode::UnknownMemberId),
        (commit_as(&ids[0], -1, 6), ErrorCode::IllegalGeneration),
    ] {
        assert_eq!(error_of(world.ask(8, request)), error);
    }
    assert_eq!(world.offset("topic"), 5);
    let newcomer = world.enter();
    assert_eq!(
        error_of(world.ask(8, commit_as(&ids[0], generation_id, 7))),
        ErrorCode::None,
        "before it rejoins"
    );
    for id in &ids {
        world.join(join_as(id));
    }
    assert!(world.joined(newcomer).is_some());
    let early = commit_as(&ids[0], generation_id + 1, 8);
    assert_eq!(error_of(world.ask(8, early)), ErrorCode::RebalanceInProgress, "it has no assignment yet");
}

#[test]
fn a_commit_is_a_sign_of_life() {
    let mut world = World::new();
    let (ids, generation_id) = world.stable_group(1);
    for offset in 0..10 {
        world.pass_ms(8_000);
        assert_eq!(error_of(world.ask(8, commit_as(&ids[0], generation_id, offset))), ErrorCode::None);
    }
}

#[test]
fn too_much_metadata_is_refused_for_its_partition_alone() {
    let mut world = World::new();
    let mut request = commit(1);
    let mut second = request.topics[0].partitions[0].clone();
    second.partition_index = 1;
    second.committed_metadata = Some("x".repeat(4_097));
    request.topics[0].partitions.push(second);
    let Response::OffsetCommit(response) = world.ask(8, request) else { unreachable!() };
    let errors: Vec<_> = response.topics[0].partitions.iter().map(|p| p.error_code).collect();
    assert_eq!(errors, [ErrorCode::None, ErrorCode::OffsetMetadataTooLarge]);
    assert_eq!(world.offset("topic"), 1);
}

#[test]
fn a_commit_is_answered_and_seen_when_it_is_durable() {
    let mut world = World::new();
    world.commit_to("topic", 1);
    world.log = Log::Slow;
    let token = world.request(8, commit(2));
    assert_eq!(world.answer(token), None);
    assert_eq!(world.offset("topic"), 1);
    let stable = world.request(7, OffsetFetchRequest { require_stable: true, ..fetch(&["topic"]) });
    assert_eq!(world.answer(stable), None, "it waits for what is under way");
    world.commit();
    assert_eq!(error_of(world.answer(token).unwrap()), ErrorCode::None);
    assert_eq!(offset_of(world.answer(stable).unwrap()), 2);
    let stable = world.request(7, OffsetFetchRequest { require_stable: true, ..fetch(&["topic"]) });
    assert_eq!(offset_of(world.answer(stable).unwrap()), 2, "nothing is under way");
}

#[test]
fn a_commit_that_the_log_does_not_take_never_was() {
    let mut world = World::new();
    world.commit_to("topic", 1);
    world.log = Log::Full;
    assert_eq!(error_of(world.ask(8, commit(2))), ErrorCode::NotCoordinator);
    assert_eq!(world.offset("topic"), 1);
    assert_eq!(world.delete_group(), ErrorCode::NotCoordinator);
    assert_eq!(world.offset("topic"), 1);
    assert_eq!(world.state(), "Empty", "a group that could not be deleted is still there");
    world.log = Log::Durable;
    world.commit_to("topic", 3);
    assert_eq!(world.offset("topic"), 3);
}

#[test]
fn a_partition_that_is_named_twice_keeps_the_last_offset() {
    let mut world = World::new();
    let mut request = commit(1);
    request.topics.extend(commit(2).topics);
    assert_eq!(error_of(world.ask(8, request)), ErrorCode::None);
    assert_eq!(world.offset("topic"), 2);
}

#[test]
fn a_group_is_deleted_with_its_offsets_once_nobody_is_in_it() {
    let mut world = World::new();
    assert_eq!(world.delete_group(), ErrorCode::GroupIdNotFound);
    let (ids, generation_id) = world.stable_group(1);
    assert_eq!(error_of(world.ask(8, commit_as(&ids[0], generation_id, 5))), ErrorCode::None);
    assert_eq!(world.delete_group(), ErrorCode::NonEmptyGroup);
    world.leave(&[(&ids[0], None)]);
    assert_eq!(world.delete_group(), ErrorCode::None);
    assert_eq!(world.offset("topic"), -1);
    assert_eq!(world.describe().error_code, ErrorCode::GroupIdNotFound);
}

#[test]
fn offsets_are_deleted_where_nobody_reads() {
    let mut world = World::new();
    assert_eq!(world.delete_offsets(&["topic"]).error_code, ErrorCode::GroupIdNotFound);
    world.commit_to("topic", 1);
    world.commit_to("other", 2);
    world.stable_group(1);
    let response = world.delete_offsets(&["topic", "other", "never seen"]);
    let errors: Vec<_> = response.topics.iter().map(|topic| topic.partitions[0].error_code).collect();
    assert_eq!(errors, [ErrorCode::GroupSubscribedToTopic, ErrorCode::None, ErrorCode::None]);
    assert_eq!((world.offset("topic"), world.offset("other")), (1, -1));
}

#[test]
fn offsets_of_a_deleted_topic_go_with_it() {
    let mut world = World::new();
    world.commit_to("topic", 1);
    world.commit_to("other", 2);
    let topics: Vec<_> = world.coordinator.topics().into_iter().collect();
    assert_eq!(topics, ["other".into(), "topic".into()]);
    world.tell(CoordinatorEvent::TopicsDeleted(vec!["topic".into()]));
    assert_eq!((world.offset("topic"), world.offset("other")), (-1, 2));
    world.restart(2);
    assert_eq!((world.offset("topic"), world.offset("other")), (-1, 2));
}

#[test]
fn offsets_of_a_group_that_only_keeps_them_expire_one_by_one() {
    let mut world = World::new();
    world.commit_to("topic", 1);
    world.pass_ms(RETENTION_MS / 2);
    world.commit_to("other", 2);
    world.pass_ms(RETENTION_MS / 2 + 600_000);
    assert_eq!((world.offset("topic"), world.offset("other")), (-1, 2));
    world.pass_ms(RETENTION_MS / 2);
    assert_eq!(world.describe().error_code, ErrorCode::GroupIdNotFound);
    world.restart(2);
    assert_eq!(world.describe().error_code, ErrorCode::GroupIdNotFound);
}

#[test]
fn offsets_of_a_consumer_group_expire_when_it_has_been_empty_for_long() {
    let mut world = World::new();
    let (ids, generation_id) = world.stable_group(1);
    assert_eq!(error_of(world.ask(8, commit_as(&ids[0], generation_id, 5))), ErrorCode::None);
    for _ in 0..RETENTION_MS / 5_000_000 + 100 {
        // Faster than the session in the eyes of the coordinator, which sees no time pass in between.
        world.pass_ms(9_000);
        assert_eq!(world.heartbeat(&ids[0], generation_id), ErrorCode::None);
    }
    assert_eq!(world.offset("topic"), 5);
    world.leave(&[(&ids[0], None)]);
    world.pass_ms(RETENTION_MS - 700_000);
    assert_eq!(world.offset("topic"), 5);
    world.pass_ms(1_400_000);
    assert_eq!(world.offset("topic"), -1);
    assert_eq!(world.describe().error_code, ErrorCode::GroupIdNotFound);
}

#[test]
fn old_clients_bring_a_retention_of_their_own() {
    let mut world = World::new();
    let request = OffsetCommitRequest { retention_time_ms: 3_600_000, ..commit(1) };
    assert_eq!(error_of(world.ask(4, request)), ErrorCode::None);
    world.restart(2);
    world.pass_ms(3_000_000);
    assert_eq!(world.offset("topic"), 1);
    world.pass_ms(1_300_000);
    assert_eq!(world.offset("topic"), -1);
}

fn commit_of_partitions(count: i32) -> OffsetCommitRequest {
    let mut request = commit(7);
    let partition = request.topics[0].partitions[0].clone();
    request.topics[0].partitions = (0..count)
        .map(|partition_index| OffsetCommitRequestPartition { partition_index, ..partition.clone() })
        .collect();
    request
}

#[test]
fn a_group_that_is_deleted_in_part_is_not_deleted() {
    for count in [999, 1_000, 1_001, 2_500] {
        let mut world = World::new();
        assert_eq!(error_of(world.ask(8, commit_of_partitions(count))), ErrorCode::None);
        world.log = Log::FullOnce;
        assert_eq!(world.delete_group(), ErrorCode::NotCoordinator);
        world.restart(2);
        assert_eq!(world.offset("topic"), 7);
        assert_eq!(world.delete_group(), ErrorCode::None);
        assert_eq!(world.offset("topic"), -1);
    }
}

#[test]
fn thousands_of_offsets_are_deleted_in_batches_that_a_log_takes() {
    let mut world = World::new();
    assert_eq!(error_of(world.ask(8, commit_of_partitions(2_500))), ErrorCode::None);
    let before = world.records.len();
    assert_eq!(world.delete_group(), ErrorCode::None);
    let ends: std::collections::BTreeSet<i64> = world.records[before..].iter().map(|(end, _)| *end).collect();
    assert_eq!((world.records.len() - before, ends.len()), (2_501, 3));
    world.restart(2);
    assert_eq!(world.offset("topic"), -1);
}
