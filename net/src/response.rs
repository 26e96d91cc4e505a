//! Any response that is served.

use bytes::Bytes;

use crate::api_key::ApiKey;
use crate::messages::*;
use crate::wire::{Message, Reader, WireError, Writer};

macro_rules! responses {
    ($($name:ident($message:ident),)+) => {
        /// A response, not yet encoded.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Response {
            $(#[doc = concat!("A response of ", stringify!($name), ".")] $name($message),)+
        }

        impl Response {
            /// The API that the response is from.
            pub fn api_key(&self) -> ApiKey {
                match self {
                    $(Self::$name(_) => ApiKey::$name,)+
                }
            }

            /// Reads the body of a response, which must end where the bytes end.
            pub fn decode(api_key: ApiKey, version: i16, body: Bytes) -> Result<Self, WireError> {
                let mut reader = Reader::new(body);
                let response = match api_key {
                    $(ApiKey::$name => Self::$name(Message::decode(&mut reader, version)?),)+
                };
                reader.finish()?;
                Ok(response)
            }

            /// Writes the body of the response.
            pub fn encode(&self, version: i16, writer: &mut Writer) -> Result<(), WireError> {
                match self {
                    $(Self::$name(message) => message.encode(writer, version),)+
                }
            }
        }

        $(
            impl From<$message> for Response {
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

responses! {
    Produce(ProduceResponse),
    Fetch(FetchResponse),
    ListOffsets(ListOffsetsResponse),
    Metadata(MetadataResponse),
    OffsetCommit(OffsetCommitResponse),
    OffsetFetch(OffsetFetchResponse),
    FindCoordinator(FindCoordinatorResponse),
    JoinGroup(JoinGroupResponse),
    Heartbeat(HeartbeatResponse),
    LeaveGroup(LeaveGroupResponse),
    SyncGroup(SyncGroupResponse),
    DescribeGroups(DescribeGroupsResponse),
    ListGroups(ListGroupsResponse),
    ApiVersions(ApiVersionsResponse),
    CreateTopics(CreateTopicsResponse),
    DeleteTopics(DeleteTopicsResponse),
    DeleteRecords(DeleteRecordsResponse),
    InitProducerId(InitProducerIdResponse),
    OffsetForLeaderEpoch(OffsetForLeaderEpochResponse),
    DescribeConfigs(DescribeConfigsResponse),
    AlterConfigs(AlterConfigsResponse),
    DescribeLogDirs(DescribeLogDirsResponse),
    CreatePartitions(CreatePartitionsResponse),
    DeleteGroups(DeleteGroupsResponse),
    IncrementalAlterConfigs(IncrementalAlterConfigsResponse),
    OffsetDelete(OffsetDeleteResponse),
    DescribeCluster(DescribeClusterResponse),
    DescribeProducers(DescribeProducersResponse),
    DescribeTopicPartitions(DescribeTopicPartitionsResponse),
}
