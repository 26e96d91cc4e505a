//! Which shard of a broker owns a partition, and how shards are named on core-direct listeners.

use storage::TopicId;

use crate::ids::{NodeId, ShardId};

/// Shards that a broker may have, so that the node ids of its shards do not meet those of the next broker.
pub const SHARDS_MAX: u16 = NODE_ID_STRIDE as u16;

/// Largest node id whose shards still have node ids of their own.
pub const NODE_ID_MAX: i32 = i32::MAX / NODE_ID_STRIDE - 1;

const NODE_ID_STRIDE: i32 = 1_000;

/// The shard that owns a partition. The partitions of a topic go round the shards from a start that its id chooses: they
/// are spread as evenly as can be within a topic, and over many small topics.
pub fn shard_of(topic: TopicId, partition: i32, shards: u16) -> ShardId {
    assert!(shards > 0, "a broker has a shard");
    let id = u128::from_be_bytes(topic.0);
    // The top bit is left out so that adding a partition never wraps around, which would break the round.
    let start = mix(id as u64 ^ mix((id >> 64) as u64)) >> 1;
    ShardId((start.wrapping_add(partition as u64) % u64::from(shards)) as u16)
}

/// The node id that a shard goes by on core-direct listeners.
pub fn core_node_id(node: NodeId, shard: ShardId) -> NodeId {
    NodeId(node.0 * NODE_ID_STRIDE + i32::from(shard.0))
}

/// The port of a shard's core-direct listener, given that of the first shard.
pub fn core_port(first_port: u16, shard: ShardId) -> i32 {
    i32::from(first_port) + i32::from(shard.0)
}

/// Spreads the bits of a topic id. Part of the on-disk contract: a shard finds its partitions by it after a restart.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> TopicId {
        TopicId([n; 16])
    }

    #[test]
    fn the_partitions_of_a_topic_go_round_the_shards() {
        for n in 0..50 {
            let first = shard_of(id(n), 0, 4).0;
            for partition in 0..64 {
                assert_eq!(shard_of(id(n), partition, 4).0, (first + partition as u16) % 4);
            }
        }
    }

    #[test]
    fn topics_of_one_partition_are_spread_too() {
        let mut counts = [0; 4];
        for n in 0..=255 {
            counts[usize::from(shard_of(id(n), 0, 4).0)] += 1;
        }
        assert!(counts.iter().all(|c| (32..=96).contains(c)), "{counts:?}");
    }

    #[test]
    fn the_function_is_frozen() {
        // Data of released versions lies where these say.
        let known = TopicId(*b"monedula-topic-1");
        assert_eq!((0..6).map(|p| shard_of(known, p, 5).0).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 0]);
    }

    #[test]
    fn shards_have_node_ids_and_ports_of_their_own() {
        assert_eq!(core_node_id(NodeId(7), ShardId(3)), NodeId(7_003));
        assert_eq!(core_port(9_100, ShardId(3)), 9_103);
        assert!(core_node_id(NodeId(NODE_ID_MAX), ShardId(SHARDS_MAX - 1)).0 > 0);
    }
}
