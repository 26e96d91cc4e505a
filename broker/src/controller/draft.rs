//! What a request would make of the metadata: an image to check against, and the records on the way there.

use net::ErrorCode;

use super::random::Random;
use crate::config::BrokerConfig;
use crate::ids::{ListenerKind, NodeId};
use crate::metadata::image::REPLICAS_MAX;
use crate::metadata::record::PartitionV1;
use crate::metadata::{Applied, Image, Record};
use crate::placement;

/// Partitions that one request may create, as in Kafka.
pub(super) const PARTITIONS_PER_REQUEST_MAX: usize = 10_000;

/// A refusal: Kafka's code and Kafka's sentence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Refusal {
    pub(super) code: ErrorCode,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into() }
    }

    pub(super) fn invalid_request(message: impl Into<String>) -> Refusal {
        Refusal::new(ErrorCode::InvalidRequest, message)
    }

    pub(super) fn no_such_topic() -> Refusal {
        Refusal::new(ErrorCode::UnknownTopicOrPartition, "This server does not host this topic-partition.")
    }

    pub(super) fn too_many_partitions() -> Refusal {
        Refusal::new(ErrorCode::PolicyViolation, "Excessively large number of partitions per request.")
    }
}

/// The metadata as a request would have it.
pub(super) struct Draft<'a> {
    /// All that was there, and the records of this draft.
    pub(super) image: Image,
    pub(super) records: Vec<Record>,
    pub(super) config: &'a BrokerConfig,
    pub(super) random: &'a mut Random,
    pub(super) listener: ListenerKind,
    /// Partitions that the records create.
    pub(super) partitions: usize,
}

impl Draft<'_> {
    /// Adds a record whose preconditions were checked.
    pub(super) fn push(&mut self, record: Record) {
        let applied = self.image.apply(&record);
        assert!(applied == Applied::Done, "what was checked applies: {applied}");
        self.records.push(record);
    }

    /// Counts partitions against the bound of a request.
    pub(super) fn count_partitions(&mut self, more: usize) -> Result<(), Refusal> {
        self.partitions = self.partitions.saturating_add(more);
        if self.partitions > PARTITIONS_PER_REQUEST_MAX {
            return Err(Refusal::too_many_partitions());
        }
        Ok(())
    }

    /// The broker behind a node id as the client's listener shows it.
    pub(super) fn node(&self, shown: i32) -> Option<NodeId> {
        let brokers = self.image.brokers();
        brokers.map(|broker| (broker.node, broker.shards)).find_map(|(node, shards)| match self.listener {
            ListenerKind::Shared => (node.0 == shown).then_some(node),
            ListenerKind::CoreDirect => {
                let mut ids =
                    (0..shards).map(|shard| placement::core_node_id(node, crate::ids::ShardId(shard)).0);
                ids.any(|id| id == shown).then_some(node)
            }
        })
    }

    /// Partitions with `factor` replicas each, striped over the brokers.
    pub(super) fn place(
        &mut self,
        first: usize,
        count: usize,
        factor: i16,
    ) -> Result<Vec<PartitionV1>, Refusal> {
        let nodes: Vec<i32> = self.image.brokers().map(|broker| broker.node.0).collect();
        let replicas = usize::try_from(factor).unwrap_or(0);
        if replicas > nodes.len() || replicas > REPLICAS_MAX {
            return Err(Refusal::new(
                ErrorCode::InvalidReplicationFactor,
                format!(
                    "Unable to replicate the partition {factor} time(s): The target replication factor of {factor} \
                     cannot be reached because only {} broker(s) are registered or some brokers have all their log \
                     directories cordoned.",
                    nodes.len().min(REPLICAS_MAX)
                ),
            ));
        }
        let start = if nodes.len() > 1 { self.random.u64() as usize % nodes.len() } else { 0 };
        let placed = |partition: usize| (0..replicas).map(move |replica| start + partition + replica);
        Ok((first..first + count)
            .map(|partition| new_partition(placed(partition).map(|at| nodes[at % nodes.len()]).collect()))
            .collect())
    }

    /// A partition as a client wants it placed.
    pub(super) fn placed_by_hand(&self, nodes: &[i32]) -> Result<PartitionV1, Refusal> {
        let refuse = |message: String| Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
        if nodes.is_empty() {
            return refuse("The manual partition assignment includes an empty replica list.".to_owned());
        }
        let mut sorted = nodes.to_vec();
        sorted.sort_unstable();
        let mut replicas: Vec<i32> = Vec::new();
        for shown in sorted {
            let Some(node) = self.node(shown) else {
                return refuse(format!(
                    "The manual partition assignment includes broker {shown}, but no such broker is registered."
                ));
            };
            // The shards of one broker, as a core-direct listener shows them, are one broker for its replicas.
            if replicas.contains(&node.0) {
                return refuse(format!(
                    "The manual partition assignment includes the broker {node} more than once."
                ));
            }
            replicas.push(node.0);
        }
        replicas = nodes.iter().filter_map(|shown| self.node(*shown)).map(|node| node.0).collect();
        if replicas.len() > REPLICAS_MAX {
            return refuse(format!("A partition has at most {REPLICAS_MAX} replicas."));
        }
        Ok(new_partition(replicas))
    }
}

/// A partition that begins with all its replicas in sync.
fn new_partition(replicas: Vec<i32>) -> PartitionV1 {
    assert!((1..=REPLICAS_MAX).contains(&replicas.len()), "replicas fit a mask of 16 bits");
    let isr = ((1u32 << replicas.len()) - 1) as u16;
    PartitionV1 { replicas, leader_slot: 0, isr, elr: 0, leader_epoch: 0, partition_epoch: 0 }
}
