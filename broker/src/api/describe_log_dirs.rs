//! DescribeLogDirs, versions 1–4: the size of each log, asked of every shard, and the room on the volume (KIP-827).

use std::collections::BTreeMap;

use net::messages::DescribeLogDirsRequest;
use net::messages::describe_log_dirs::{
    DescribableLogDirTopic, DescribeLogDirsPartition, DescribeLogDirsResponse, DescribeLogDirsResult,
    DescribeLogDirsTopic,
};
use storage::PartitionKey;

use crate::effects::{Context, Effects};
use crate::letter::{Answer, Ask};
use crate::shard::Shard;
use crate::volume::Space;

/// Asks all shards; the one log directory answers for them together.
pub(super) fn handle(
    shard: &mut Shard,
    context: Context,
    request: DescribeLogDirsRequest,
    effects: &mut Effects,
) {
    let asks = shard.everyone().map(|address| (address, Ask::LogDirs)).collect();
    let finish = move |shard: &mut Shard, _, answers: Vec<Answer>, effects: &mut Effects| {
        let sizes = answers.into_iter().flat_map(sizes);
        let of_volume = |bytes: fn(Space) -> u64| {
            shard.volume.space().map_or(-1, |space| i64::try_from(bytes(space)).unwrap_or(i64::MAX))
        };
        let result = DescribeLogDirsResult {
            log_dir: shard.config.log_dir.clone(),
            total_bytes: of_volume(|space| space.total_bytes),
            usable_bytes: of_volume(|space| space.free_bytes),
            topics: topics(shard, sizes, request.topics.as_deref()),
            ..Default::default()
        };
        let response = DescribeLogDirsResponse { results: vec![result], ..Default::default() };
        effects.respond(&context, response.into());
    };
    shard.ask(asks, effects, Box::new(finish));
}

fn sizes(answer: Answer) -> Vec<(PartitionKey, u64)> {
    match answer {
        Answer::LogDirs(sizes) => sizes,
        other => unreachable!("a question for sizes is answered by them, not {other:?}"),
    }
}

fn topics(
    shard: &Shard,
    sizes: impl Iterator<Item = (PartitionKey, u64)>,
    wanted: Option<&[DescribableLogDirTopic]>,
) -> Vec<DescribeLogDirsTopic> {
    let mut topics: BTreeMap<String, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    for (key, bytes) in sizes {
        let Some(topic) = shard.image.topic_by_id(key.topic_id) else { continue };
        if !is_wanted(wanted, &topic.name, key.partition) {
            continue;
        }
        topics.entry(topic.name.to_string()).or_default().push(DescribeLogDirsPartition {
            partition_index: key.partition,
            partition_size: i64::try_from(bytes).unwrap_or(i64::MAX),
            offset_lag: 0,
            is_future_key: false,
        });
    }
    topics
        .into_iter()
        .map(|(name, mut partitions)| {
            partitions.sort_by_key(|partition| partition.partition_index);
            DescribeLogDirsTopic { name, partitions }
        })
        .collect()
}

fn is_wanted(wanted: Option<&[DescribableLogDirTopic]>, topic: &str, partition: i32) -> bool {
    wanted.is_none_or(|topics| {
        topics.iter().any(|wanted| wanted.topic == topic && wanted.partitions.contains(&partition))
    })
}
