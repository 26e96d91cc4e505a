//! Nodes as clients of a listener see them: one per broker, or on core-direct listeners one per shard.

use crate::effects::Context;
use crate::ids::{ListenerKind, ShardId};
use crate::metadata::{Broker, Endpoint, Image, Partition};
use crate::placement::{core_node_id, core_port, shard_of};
use storage::TopicId;

/// A node of the cluster.
pub(super) struct Node {
    pub(super) id: i32,
    pub(super) host: String,
    pub(super) port: i32,
    pub(super) rack: Option<String>,
}

/// All nodes.
pub(super) fn nodes(image: &Image, listener: ListenerKind) -> Vec<Node> {
    let mut nodes = Vec::new();
    for broker in image.brokers() {
        match listener {
            ListenerKind::Shared => nodes.extend(shared(broker)),
            ListenerKind::CoreDirect => {
                nodes.extend((0..broker.shards).filter_map(|shard| core(broker, ShardId(shard))));
            }
        }
    }
    nodes
}

/// The node that clients send controller requests to: any can take them.
pub(super) fn controller(image: &Image, listener: ListenerKind) -> i32 {
    nodes(image, listener).first().map_or(-1, |node| node.id)
}

/// The node to which a client goes for what a shard of a broker owns.
pub(super) fn node_of(broker: &Broker, shard: ShardId, listener: ListenerKind) -> Option<Node> {
    match listener {
        ListenerKind::Shared => shared(broker),
        ListenerKind::CoreDirect => core(broker, shard),
    }
}

/// Ids of a partition's nodes: of its leader, replicas, and in-sync replicas.
pub(super) struct Placed {
    pub(super) leader: i32,
    pub(super) replicas: Vec<i32>,
    pub(super) isr: Vec<i32>,
}

/// Where a partition lies.
pub(super) fn placed(
    image: &Image,
    context: &Context,
    topic_id: TopicId,
    number: i32,
    partition: &Partition,
) -> Placed {
    let id = |node| match (context.listener, image.broker(node)) {
        (ListenerKind::CoreDirect, Some(broker)) => {
            core_node_id(node, shard_of(topic_id, number, broker.shards)).0
        }
        _ => node.0,
    };
    Placed {
        leader: id(partition.leader()),
        replicas: partition.replicas.iter().map(|node| id(*node)).collect(),
        isr: partition.isr().map(id).collect(),
    }
}

fn shared(broker: &Broker) -> Option<Node> {
    let endpoint = endpoint(broker, false)?;
    Some(Node {
        id: broker.node.0,
        host: endpoint.host.clone(),
        port: i32::from(endpoint.port),
        rack: broker.rack.clone(),
    })
}

fn core(broker: &Broker, shard: ShardId) -> Option<Node> {
    let endpoint = endpoint(broker, true)?;
    Some(Node {
        id: core_node_id(broker.node, shard).0,
        host: endpoint.host.clone(),
        port: core_port(endpoint.port, shard),
        rack: broker.rack.clone(),
    })
}

fn endpoint(broker: &Broker, core_direct: bool) -> Option<&Endpoint> {
    broker.endpoints.iter().find(|endpoint| endpoint.core_direct == core_direct)
}
