//! FindCoordinator, versions 0–6: the broker that coordinates a group; from 4 on of several (KIP-699).
//!
//! The first question of all creates `__consumer_offsets`, and is answered when it is there. Coordinators of transactions
//! and of share groups do not exist here: for these a key is answered with INVALID_REQUEST, as Kafka answers for a kind of
//! coordinator that it does not run, so that clients report it at once instead of trying again.

use net::messages::find_coordinator::Coordinator;
use net::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use net::{ErrorCode, Response};
use storage::Now;

use super::coordinators::group_partition;
use super::nodes;
use crate::coordinator::OFFSETS_TOPIC;
use crate::effects::{Context, Effects};
use crate::ids::{Address, ListenerKind};
use crate::letter::Ask;
use crate::placement;
use crate::shard::Shard;

const VERSION_KEYS: i16 = 4;
const KEY_TYPE_GROUP: i8 = 0;

/// Answers from the image, once it has the offsets topic.
pub(super) fn handle(
    shard: &mut Shard,
    _now: Now,
    context: Context,
    request: FindCoordinatorRequest,
    effects: &mut Effects,
) {
    let is_missing = shard.image.topic(OFFSETS_TOPIC).is_none();
    if request.key_type != KEY_TYPE_GROUP || !is_missing {
        let response = response(shard, &context, request);
        return effects.respond(&context, response);
    }
    // The controller answers when every shard has the new topic. If it could not create it, there is no coordinator
    // in the image either, and the client will ask again.
    let ask = Ask::AutoCreate(vec![OFFSETS_TOPIC.to_owned()]);
    let finish = move |shard: &mut Shard, _, _, effects: &mut Effects| {
        let response = response(shard, &context, request);
        effects.respond(&context, response);
    };
    shard.ask(vec![(Address::Control, ask)], effects, Box::new(finish));
}

fn response(shard: &Shard, context: &Context, request: FindCoordinatorRequest) -> Response {
    let find = |key| find(shard, context.listener, request.key_type, key);
    if context.version >= VERSION_KEYS {
        let coordinators = request.coordinator_keys.into_iter().map(find).collect();
        return FindCoordinatorResponse { coordinators, ..Default::default() }.into();
    }
    let found = find(request.key);
    FindCoordinatorResponse {
        error_code: found.error_code,
        // Where nothing is wrong Kafka says so here, and says nothing in the newer form.
        error_message: found.error_message.filter(|message| !message.is_empty()).or(Some("NONE".to_owned())),
        node_id: found.node_id,
        host: found.host,
        port: found.port,
        ..Default::default()
    }
    .into()
}

fn find(shard: &Shard, listener: ListenerKind, key_type: i8, key: String) -> Coordinator {
    if key_type != KEY_TYPE_GROUP {
        return not_found(key, ErrorCode::InvalidRequest, "this broker coordinates groups only");
    }
    let Some((node_id, host, port)) = coordinator(shard, listener, &key) else {
        return not_found(key, ErrorCode::CoordinatorNotAvailable, "the coordinator is not available");
    };
    Coordinator { key, node_id, host, port, error_code: ErrorCode::None, error_message: Some(String::new()) }
}

fn not_found(key: String, error_code: ErrorCode, message: &str) -> Coordinator {
    let error_message = Some(message.to_owned());
    Coordinator { key, node_id: -1, host: String::new(), port: -1, error_code, error_message }
}

/// Node id, host and port of a group's coordinator, as clients of this listener are told.
fn coordinator(shard: &Shard, listener: ListenerKind, group_id: &str) -> Option<(i32, String, i32)> {
    let key = group_partition(shard, group_id)?;
    let partition = shard.image.topic_by_id(key.topic_id)?.partition(key.partition)?;
    let broker = shard.image.broker(partition.leader())?;
    let owner = placement::shard_of(key.topic_id, key.partition, broker.shards);
    let node = nodes::node_of(broker, owner, listener)?;
    Some((node.id, node.host, node.port))
}
