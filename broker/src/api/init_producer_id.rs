//! InitProducerId, versions 0–5: a producer id for an idempotent producer.
//!
//! There are no transactions yet: a request with a transactional id is refused as invalid, which producers report at
//! once instead of trying again.

use net::messages::{InitProducerIdRequest, InitProducerIdResponse};
use net::{ErrorCode, Response};
use storage::Now;

use crate::effects::{Context, Effects};
use crate::ids::Address;
use crate::letter::{Answer, Ask};
use crate::shard::Shard;

const NONE: (i64, i16) = (-1, -1);

/// Gives out an id, now or when the controller has granted the next block.
pub(super) fn handle(
    shard: &mut Shard,
    _now: Now,
    context: Context,
    request: InitProducerIdRequest,
    effects: &mut Effects,
) {
    let current = (request.producer_id, request.producer_epoch);
    let half_given = current != NONE && (current.0 == NONE.0 || current.1 == NONE.1);
    if request.transactional_id.is_some() || half_given {
        return effects.respond(&context, refused(ErrorCode::InvalidRequest));
    }
    match shard.producer_ids.take() {
        Some(id) => effects.respond(&context, granted(id)),
        None => {
            if let Err(context) = shard.producer_ids.wait(context) {
                effects.respond(&context, refused(ErrorCode::CoordinatorLoadInProgress));
            }
        }
    }
    if shard.producer_ids.should_ask() {
        shard.ask(vec![(Address::Control, Ask::ProducerIds)], effects, Box::new(receive));
    }
}

/// Takes in a block, and answers those who waited.
fn receive(shard: &mut Shard, _now: Now, mut answers: Vec<Answer>, effects: &mut Effects) {
    match answers.pop() {
        Some(Answer::ProducerIds { first, count }) if count > 0 => {
            for (context, id) in shard.producer_ids.granted(first, count) {
                effects.respond(&context, granted(id));
            }
        }
        Some(Answer::ProducerIds { .. }) => {
            for context in shard.producer_ids.denied() {
                effects.respond(&context, refused(ErrorCode::CoordinatorLoadInProgress));
            }
        }
        other => unreachable!("a question for producer ids is answered by them, not {other:?}"),
    }
}

fn granted(producer_id: i64) -> Response {
    InitProducerIdResponse { producer_id, producer_epoch: 0, ..Default::default() }.into()
}

fn refused(error_code: ErrorCode) -> Response {
    InitProducerIdResponse { error_code, producer_id: -1, producer_epoch: -1, ..Default::default() }.into()
}
