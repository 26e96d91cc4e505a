//! Requests that change the metadata: CreateTopics, DeleteTopics, CreatePartitions, AlterConfigs,
//! IncrementalAlterConfigs. The controller decides; its answer comes when every shard has the change.

use net::Request;

use crate::effects::{Context, Effects};
use crate::ids::Address;
use crate::letter::{Answer, Ask};
use crate::shard::Shard;

/// Hands a request to the controller and its answer to the client.
pub(super) fn forward(shard: &mut Shard, context: Context, request: Request, effects: &mut Effects) {
    let ask = Ask::Control { listener: context.listener, version: context.version, request };
    let finish = move |_: &mut Shard, _, mut answers: Vec<Answer>, effects: &mut Effects| match answers.pop()
    {
        Some(Answer::Response(response)) => effects.respond(&context, response),
        other => unreachable!("the controller answers a request with a response, not {other:?}"),
    };
    shard.ask(vec![(Address::Control, ask)], effects, Box::new(finish));
}
