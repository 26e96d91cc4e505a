//! Any response that is served.

use bytes::Bytes;

use crate::api_key::ApiKey;
use crate::messages::*;
use crate::request::Request;
use crate::wire::{Message, Reader, WireError, Writer};

macro_rules! responses {
    ($($name:ident($request:ident, $message:ident),)+) => {
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

            impl TryFrom<Response> for $message {
                type Error = Response;

                fn try_from(response: Response) -> Result<Self, Response> {
                    match response {
                        Response::$name(message) => Ok(message),
                        other => Err(other),
                    }
                }
            }

            impl ApiRequest for $request {
                type Response = $message;
            }

            const _: () = agrees_with_api_key::<$message>(ApiKey::$name);
        )+
    };
}

/// A request that names the type of its response.
pub trait ApiRequest: Into<Request> {
    /// The response to it.
    type Response: TryFrom<Response, Error = Response>;
}

/// The table of APIs and the messages must name the same versions.
const fn agrees_with_api_key<M: Message>(api_key: ApiKey) {
    assert!(M::VERSION_MIN == api_key.served().min && M::VERSION_MAX == api_key.served().max);
    assert!(M::FLEXIBLE_SINCE == api_key.flexible_since());
}

responses! {
    Produce(ProduceRequest, ProduceResponse),
    Fetch(FetchRequest, FetchResponse),
    ListOffsets(ListOffsetsRequest, ListOffsetsResponse),
    Metadata(MetadataRequest, MetadataResponse),
    OffsetCommit(OffsetCommitRequest, OffsetCommitResponse),
    OffsetFetch(OffsetFetchRequest, OffsetFetchResponse),
    FindCoordinator(FindCoordinatorRequest, FindCoordinatorResponse),
    JoinGroup(JoinGroupRequest, JoinGroupResponse),
    Heartbeat(HeartbeatRequest, HeartbeatResponse),
    LeaveGroup(LeaveGroupRequest, LeaveGroupResponse),
    SyncGroup(SyncGroupRequest, SyncGroupResponse),
    DescribeGroups(DescribeGroupsRequest, DescribeGroupsResponse),
    ListGroups(ListGroupsRequest, ListGroupsResponse),
    ApiVersions(ApiVersionsRequest, ApiVersionsResponse),
    CreateTopics(CreateTopicsRequest, CreateTopicsResponse),
    DeleteTopics(DeleteTopicsRequest, DeleteTopicsResponse),
    DeleteRecords(DeleteRecordsRequest, DeleteRecordsResponse),
    InitProducerId(InitProducerIdRequest, InitProducerIdResponse),
    OffsetForLeaderEpoch(OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse),
    DescribeConfigs(DescribeConfigsRequest, DescribeConfigsResponse),
    AlterConfigs(AlterConfigsRequest, AlterConfigsResponse),
    DescribeLogDirs(DescribeLogDirsRequest, DescribeLogDirsResponse),
    CreatePartitions(CreatePartitionsRequest, CreatePartitionsResponse),
    DeleteGroups(DeleteGroupsRequest, DeleteGroupsResponse),
    IncrementalAlterConfigs(IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse),
    OffsetDelete(OffsetDeleteRequest, OffsetDeleteResponse),
    DescribeCluster(DescribeClusterRequest, DescribeClusterResponse),
    DescribeProducers(DescribeProducersRequest, DescribeProducersResponse),
    DescribeTopicPartitions(DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse),
}
