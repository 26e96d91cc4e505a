//! What each request means. One file per API: `handle` on the shard of the connection; below it what the owner of a
//! partition or a group does.

mod split;
mod nodes;
mod control;
mod api_versions;
mod describe_cluster;
mod metadata;
mod describe_topic_partitions;
mod describe_configs;
mod describe_log_dirs;
mod coordinators;
mod find_coordinator;
mod join_group;
mod sync_group;
mod heartbeat;
mod leave_group;
mod offset_commit;
mod offset_fetch;
mod offset_delete;
mod describe_groups;
mod list_groups;
mod delete_groups;
mod init_producer_id;
pub(crate) mod produce;
pub(crate) mod fetch;
pub(crate) mod list_offsets;
pub(crate) mod offset_for_leader_epoch;
pub(crate) mod delete_records;
pub(crate) mod describe_producers;
pub(crate) mod group;

use net::{ErrorCode, Request};
use storage::{Located, Now};

use crate::effects::{Context, Effects};
use crate::shard::Shard;
use crate::waits::StoreAsk;

/// Hands a request to its API.
pub(crate) fn handle(shard: &mut Shard, now: Now, context: Context, request: Request, effects: &mut Effects) {
    match request {
        Request::Produce(request) => produce::handle(shard, now, context, request, effects),
        Request::Fetch(request) => fetch::handle(shard, now, context, request, effects),
        Request::ListOffsets(request) => list_offsets::handle(shard, now, context, request, effects),
        Request::OffsetForLeaderEpoch(request) => {
            offset_for_leader_epoch::handle(shard, now, context, request, effects);
        }
        Request::DeleteRecords(request) => delete_records::handle(shard, now, context, request, effects),
        Request::DescribeProducers(request) => {
            describe_producers::handle(shard, now, context, request, effects);
        }
        Request::ApiVersions(request) => api_versions::handle(&context, &request, effects),
        Request::Metadata(request) => metadata::handle(shard, context, request, effects),
        Request::DescribeTopicPartitions(request) => {
            describe_topic_partitions::handle(shard, &context, request, effects);
        }
        Request::DescribeCluster(request) => describe_cluster::handle(shard, &context, &request, effects),
        Request::DescribeConfigs(request) => describe_configs::handle(shard, &context, request, effects),
        Request::DescribeLogDirs(request) => describe_log_dirs::handle(shard, context, request, effects),
        Request::CreateTopics(_)
        | Request::DeleteTopics(_)
        | Request::CreatePartitions(_)
        | Request::AlterConfigs(_)
        | Request::IncrementalAlterConfigs(_) => control::forward(shard, context, request, effects),
        Request::FindCoordinator(request) => find_coordinator::handle(shard, now, context, request, effects),
        Request::JoinGroup(request) => join_group::handle(shard, now, context, request, effects),
        Request::SyncGroup(request) => sync_group::handle(shard, now, context, request, effects),
        Request::Heartbeat(request) => heartbeat::handle(shard, now, context, request, effects),
        Request::LeaveGroup(request) => leave_group::handle(shard, now, context, request, effects),
        Request::OffsetCommit(request) => offset_commit::handle(shard, now, context, request, effects),
        Request::OffsetFetch(request) => offset_fetch::handle(shard, now, context, request, effects),
        Request::OffsetDelete(request) => offset_delete::handle(shard, now, context, request, effects),
        Request::DescribeGroups(request) => describe_groups::handle(shard, now, context, request, effects),
        Request::ListGroups(request) => list_groups::handle(shard, now, context, request, effects),
        Request::DeleteGroups(request) => delete_groups::handle(shard, now, context, request, effects),
        Request::InitProducerId(request) => init_producer_id::handle(shard, now, context, request, effects),
    }
}

/// Takes in what the store found on the disk.
pub(crate) fn located(shard: &mut Shard, now: Now, token: u64, located: Located, effects: &mut Effects) {
    let ask = shard.waits.store_ask(token);
    if let StoreAsk::Load(slot) = ask {
        return group::located(shard, now, slot, located, effects);
    }
    let found = match located {
        Located::Failed(error) => {
            tracing::error!(shard = shard.id.0, "a search in a segment failed: {error}");
            Err(ErrorCode::KafkaStorageError)
        }
        found => Ok(found),
    };
    match ask {
        StoreAsk::Fetch(id, place) => fetch::located(shard, id, place, found, effects),
        StoreAsk::Lookup(id, place) => list_offsets::located(shard, id, place, found, effects),
        StoreAsk::Load(_) => unreachable!("handled above"),
    }
}
