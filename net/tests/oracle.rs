//! Every message at every served version, both ways against the `kafka-protocol` crate.
//!
//! A value that we encode must be read by the oracle and encoded again to the same bytes, and those bytes must
//! be read by us as the value that we started with.

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable};
use net::ApiKey;
use net::generate::{Generate, Generator};
use net::messages as ours;
use net::messages::records;
use net::wire::{Message, Reader, Writer};

/// Values per message and version. With 58 messages of up to 13 versions the test takes seconds.
const VALUES: u64 = 60;

fn encode_ours<O: Message>(message: &O, version: i16) -> Bytes {
    let mut writer = Writer::new();
    message.encode(&mut writer, version).expect("a generated message has a form on the wire");
    writer.into_bytes()
}

fn decode_ours<O: Message>(bytes: Bytes, version: i16) -> O {
    let mut reader = Reader::new(bytes);
    let message = O::decode(&mut reader, version).expect("we read what the oracle wrote");
    reader.finish().expect("we read all that the oracle wrote");
    message
}

fn encode_theirs<T: Encodable>(message: &T, version: i16) -> Bytes {
    let mut bytes = BytesMut::new();
    message.encode(&mut bytes, version).expect("the oracle writes what it read");
    bytes.freeze()
}

fn check<O, T>()
where
    O: Message + Generate + Default + PartialEq + Debug,
    T: Decodable + Encodable + Debug + Default,
{
    for version in O::VERSION_MIN..=O::VERSION_MAX {
        let wire_version = O::version(version).expect("the version is in the range");
        for seed in 0..VALUES {
            let context = format!("{} v{version}, seed {seed}", O::NAME);
            let message = O::generate(&mut Generator::new(seed << 16 | version as u64), wire_version);
            let bytes = encode_ours(&message, version);
            let mut left = bytes.clone();
            let read = T::decode(&mut left, version).unwrap_or_else(|error| panic!("{context}: {error}"));
            assert!(left.is_empty(), "{context}: {} bytes left by the oracle", left.len());
            let written = encode_theirs(&read, version);
            assert_eq!(bytes, written, "{context}: {message:?}\n{read:?}");
            assert_eq!(decode_ours::<O>(written, version), message, "{context}");
        }
        // What the oracle takes for the defaults need not be what we take for them, but it must be readable.
        let mut bytes = BytesMut::new();
        if T::default().encode(&mut bytes, version).is_ok() {
            let message = decode_ours::<O>(bytes.clone().freeze(), version);
            assert_eq!(encode_ours(&message, version), bytes, "{} v{version}, defaults", O::NAME);
        }
    }
}

macro_rules! oracle_tests {
    ($($test:ident: $api:ident, $request:ident, $response:ident;)+) => {
        $(
            #[test]
            fn $test() {
                check::<ours::$request, theirs::$request>();
                check::<ours::$response, theirs::$response>();
            }
        )+

        #[test]
        fn every_api_has_its_oracle() {
            assert_eq!(ApiKey::ALL, [$(ApiKey::$api),+]);
        }
    };
}

oracle_tests! {
    produce: Produce, ProduceRequest, ProduceResponse;
    fetch: Fetch, FetchRequest, FetchResponse;
    list_offsets: ListOffsets, ListOffsetsRequest, ListOffsetsResponse;
    metadata: Metadata, MetadataRequest, MetadataResponse;
    offset_commit: OffsetCommit, OffsetCommitRequest, OffsetCommitResponse;
    offset_fetch: OffsetFetch, OffsetFetchRequest, OffsetFetchResponse;
    find_coordinator: FindCoordinator, FindCoordinatorRequest, FindCoordinatorResponse;
    join_group: JoinGroup, JoinGroupRequest, JoinGroupResponse;
    heartbeat: Heartbeat, HeartbeatRequest, HeartbeatResponse;
    leave_group: LeaveGroup, LeaveGroupRequest, LeaveGroupResponse;
    sync_group: SyncGroup, SyncGroupRequest, SyncGroupResponse;
    describe_groups: DescribeGroups, DescribeGroupsRequest, DescribeGroupsResponse;
    list_groups: ListGroups, ListGroupsRequest, ListGroupsResponse;
    api_versions: ApiVersions, ApiVersionsRequest, ApiVersionsResponse;
    create_topics: CreateTopics, CreateTopicsRequest, CreateTopicsResponse;
    delete_topics: DeleteTopics, DeleteTopicsRequest, DeleteTopicsResponse;
    delete_records: DeleteRecords, DeleteRecordsRequest, DeleteRecordsResponse;
    init_producer_id: InitProducerId, InitProducerIdRequest, InitProducerIdResponse;
    offset_for_leader_epoch: OffsetForLeaderEpoch, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse;
    describe_configs: DescribeConfigs, DescribeConfigsRequest, DescribeConfigsResponse;
    alter_configs: AlterConfigs, AlterConfigsRequest, AlterConfigsResponse;
    describe_log_dirs: DescribeLogDirs, DescribeLogDirsRequest, DescribeLogDirsResponse;
    create_partitions: CreatePartitions, CreatePartitionsRequest, CreatePartitionsResponse;
    delete_groups: DeleteGroups, DeleteGroupsRequest, DeleteGroupsResponse;
    incremental_alter_configs: IncrementalAlterConfigs, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse;
    offset_delete: OffsetDelete, OffsetDeleteRequest, OffsetDeleteResponse;
    describe_cluster: DescribeCluster, DescribeClusterRequest, DescribeClusterResponse;
    describe_producers: DescribeProducers, DescribeProducersRequest, DescribeProducersResponse;
    describe_topic_partitions: DescribeTopicPartitions, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse;
}

#[test]
fn consumer_protocol() {
    check::<records::ConsumerProtocolSubscription, theirs::ConsumerProtocolSubscription>();
    check::<records::ConsumerProtocolAssignment, theirs::ConsumerProtocolAssignment>();
}

/// The oracle has no records of `__consumer_offsets`; they must at least come back as they went.
#[test]
fn offsets_records_come_back() {
    fn check_record<O: Message + Generate + PartialEq + Debug>() {
        for version in O::VERSION_MIN..=O::VERSION_MAX {
            for seed in 0..VALUES {
                let mut generator = Generator::new(seed);
                let record = O::generate(&mut generator, O::version(version).expect("it is in the range"));
                let bytes = records::encode_record(&record, version).expect("it has a form");
                assert_eq!(records::record_version(&bytes), Ok(version));
                assert_eq!(records::decode_record(bytes), Ok(record), "{} v{version}, seed {seed}", O::NAME);
            }
        }
    }
    check_record::<records::OffsetCommitKey>();
    check_record::<records::OffsetCommitValue>();
    check_record::<records::GroupMetadataKey>();
    check_record::<records::GroupMetadataValue>();
}

/// Tagged fields that nobody knows yet are skipped, wherever they stand.
#[test]
fn unknown_tagged_fields_are_skipped() {
    let unknown = |bytes: &'static [u8]| std::collections::BTreeMap::from([(77, Bytes::from_static(bytes))]);
    let request = theirs::FetchRequest::default()
        .with_cluster_id(Some(kafka_protocol::protocol::StrBytes::from_static_str("c")))
        .with_unknown_tagged_fields(unknown(b"at the end of the message"))
        .with_topics(vec![
            theirs::fetch_request::FetchTopic::default()
                .with_unknown_tagged_fields(unknown(&[0xff; 300]))
                .with_partitions(vec![theirs::fetch_request::FetchPartition::default().with_partition(3)]),
        ]);
    let read: ours::FetchRequest = decode_ours(encode_theirs(&request, 12), 12);
    assert_eq!(read.cluster_id.as_deref(), Some("c"));
    assert_eq!(read.topics[0].partitions[0].partition, 3);
}
