//! Any request that is served.

use bytes::Bytes;

use crate::api_key::ApiKey;
use crate::messages::*;
use crate::wire::{Message, Reader, WireError, Writer};

macro_rules! requests {
    ($($name:ident($message:ident),)+) => {
        /// A request, decoded.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Request {
            $(#[doc = concat!("A request to ", stringify!($name), ".")] $name($message),)+
        }

        impl Request {
            /// The API that the request is for.
            pub fn api_key(&self) -> ApiKey {
                match self {
                    $(Self::$name(_) => ApiKey::$name,)+
                }
            }

            /// Reads the body of a request. Bytes behind its end are ignored, as Kafka does.
            pub fn decode(api_key: ApiKey, version: i16, body: Bytes) -> Result<Self, WireError> {
                let mut reader = Reader::new(body);
                match api_key {
                    $(ApiKey::$name => Ok(Self::$name(Message::decode(&mut reader, version)?)),)+
                }
            }

            /// Writes the body of the request.
            pub fn encode(&self, version: i16, writer: &mut Writer) -> Result<(), WireError> {
                match self {
                    $(Self::$name(message) => message.encode(writer, version),)+
                }
            }
        }

        $(
            impl From<$message> for Request {
                fn from(message: $message) -> Self {
                    Self::$name(message)
                }
            }

            const _: () = agrees_with_api_key::<$message>(ApiKey::$name);
        )+
    };
}

/// The table of APIs and the messages must name the same versions.
const fn agrees_with_api_key<M: Message>(api_key: ApiKey) {
    assert!(M::VERSION_MIN == api_key.served().min && M::VERSION_MAX == api_key.served().max);
    assert!(M::FLEXIBLE_SINCE == api_key.flexible_since());
}

requests! {
    Produce(ProduceRequest),
    Fetch(FetchRequest),
    ListOffsets(ListOffsetsRequest),
    Metadata(MetadataRequest),
    OffsetCommit(OffsetCommitRequest),
    OffsetFetch(OffsetFetchRequest),
    FindCoordinator(FindCoordinatorRequest),
    JoinGroup(JoinGroupRequest),
    Heartbeat(HeartbeatRequest),
    LeaveGroup(LeaveGroupRequest),
    SyncGroup(SyncGroupRequest),
    DescribeGroups(DescribeGroupsRequest),
    ListGroups(ListGroupsRequest),
    ApiVersions(ApiVersionsRequest),
    CreateTopics(CreateTopicsRequest),
    DeleteTopics(DeleteTopicsRequest),
    DeleteRecords(DeleteRecordsRequest),
    InitProducerId(InitProducerIdRequest),
    OffsetForLeaderEpoch(OffsetForLeaderEpochRequest),
    DescribeConfigs(DescribeConfigsRequest),
    AlterConfigs(AlterConfigsRequest),
    DescribeLogDirs(DescribeLogDirsRequest),
    CreatePartitions(CreatePartitionsRequest),
    DeleteGroups(DeleteGroupsRequest),
    IncrementalAlterConfigs(IncrementalAlterConfigsRequest),
    OffsetDelete(OffsetDeleteRequest),
    DescribeCluster(DescribeClusterRequest),
    DescribeProducers(DescribeProducersRequest),
    DescribeTopicPartitions(DescribeTopicPartitionsRequest),
}
