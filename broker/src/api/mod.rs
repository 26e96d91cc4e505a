//! What each request means. One file per API: `handle` on the shard of the connection; below it what the owner of a
//! partition or a group does.

mod split;
mod api_versions;
mod metadata;
pub(crate) mod produce;
pub(crate) mod fetch;
pub(crate) mod list_offsets;
pub(crate) mod offset_for_leader_epoch;
pub(crate) mod delete_records;
pub(crate) mod describe_producers;
pub(crate) mod group;

use net::{ErrorCode, Request};
use storage::{Bytes, DiskError, Located, Now};

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
