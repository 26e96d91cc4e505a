//! DescribeCluster, versions 0–2: the brokers, and which of them takes controller requests.

use net::ErrorCode;
use net::messages::DescribeClusterRequest;
use net::messages::describe_cluster::{DescribeClusterBroker, DescribeClusterResponse};

use super::nodes;
use crate::effects::{Context, Effects};
use crate::shard::Shard;

/// The endpoints of brokers; Kafka's controllers have others, which a broker refuses to tell.
const ENDPOINT_TYPE_BROKERS: i8 = 1;
const ENDPOINT_TYPE_CONTROLLERS: i8 = 2;

/// Cluster operations that a client without an authorizer may do, as Kafka's bit field.
pub(super) const CLUSTER_OPERATIONS: i32 = 0x1fa0;

/// Answers from the image.
pub(super) fn handle(
    shard: &Shard,
    context: &Context,
    request: &DescribeClusterRequest,
    effects: &mut Effects,
) {
    effects.respond(context, response(shard, context, request).into());
}

fn response(shard: &Shard, context: &Context, request: &DescribeClusterRequest) -> DescribeClusterResponse {
    if request.endpoint_type != ENDPOINT_TYPE_BROKERS {
        let (error_code, message) = match request.endpoint_type {
            ENDPOINT_TYPE_CONTROLLERS => (
                ErrorCode::MismatchedEndpointType,
                "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER"
                    .to_owned(),
            ),
            other => (ErrorCode::UnsupportedEndpointType, format!("Unsupported endpoint type {other}")),
        };
        return DescribeClusterResponse { error_code, error_message: Some(message), ..Default::default() };
    }
    let brokers =
        nodes::nodes(&shard.image, context.listener).into_iter().map(|node| DescribeClusterBroker {
            broker_id: node.id,
            host: node.host,
            port: node.port,
            rack: node.rack,
            is_fenced: false,
        });
    let operations =
        if request.include_cluster_authorized_operations { CLUSTER_OPERATIONS } else { i32::MIN };
    DescribeClusterResponse {
        cluster_id: shard.image.cluster_id().to_owned(),
        controller_id: nodes::controller(&shard.image, context.listener),
        brokers: brokers.collect(),
        cluster_authorized_operations: operations,
        ..Default::default()
    }
}
