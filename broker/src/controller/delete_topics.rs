//! DeleteTopics: versions 1–6, by name and by id.

use std::collections::{BTreeMap, BTreeSet};

use net::messages::delete_topics::{DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse};
use net::{ErrorCode, Uuid};
use storage::TopicId;

use super::draft::{Draft, Refusal};
use crate::metadata::Record;
use crate::metadata::record::TopicDeleteV1;

/// First version that knows TOPIC_DELETION_DISABLED.
const VERSION_DELETION_DISABLED: i16 = 3;

/// What a request names.
struct Named {
    name: Option<String>,
    id: Uuid,
}

/// Deletes what can be deleted, a result for each name and id.
pub(super) fn delete(
    draft: &mut Draft<'_>,
    version: i16,
    request: &DeleteTopicsRequest,
) -> DeleteTopicsResponse {
    let named = named(request);
    let responses = if draft.config.delete_topic_enable {
        delete_named(draft, named)
    } else {
        let code = match version {
            VERSION_DELETION_DISABLED.. => ErrorCode::TopicDeletionDisabled,
            _ => ErrorCode::InvalidRequest,
        };
        named.into_iter().map(|n| result(n, code, "Topic deletion is disabled.")).collect()
    };
    DeleteTopicsResponse { responses, ..DeleteTopicsResponse::default() }
}

/// The answer when time was up before the change was everywhere.
pub(super) fn timed_out(request: &DeleteTopicsRequest) -> DeleteTopicsResponse {
    let late =
        |named| DeletableTopicResult { error_message: None, ..result(named, ErrorCode::RequestTimedOut, "") };
    DeleteTopicsResponse { responses: named(request).into_iter().map(late).collect(), ..Default::default() }
}

fn named(request: &DeleteTopicsRequest) -> Vec<Named> {
    let by_name = request.topic_names.iter().map(|name| Named { name: Some(name.clone()), id: Uuid::ZERO });
    let either = request.topics.iter().map(|topic| Named { name: topic.name.clone(), id: topic.topic_id });
    by_name.chain(either).collect()
}

fn delete_named(draft: &mut Draft<'_>, named: Vec<Named>) -> Vec<DeletableTopicResult> {
    let mut responses = Vec::new();
    let (mut names, mut ids) = (BTreeMap::<String, usize>::new(), BTreeMap::<[u8; 16], usize>::new());
    let mut sound = Vec::new();
    for named in named {
        match (&named.name, named.id == Uuid::ZERO) {
            (Some(name), true) => *names.entry(name.clone()).or_default() += 1,
            (None, false) => *ids.entry(named.id.0).or_default() += 1,
            (Some(_), false) => {
                let why = "You may not specify both topic name and topic id.";
                responses.push(result(named, ErrorCode::InvalidRequest, why));
                continue;
            }
            (None, true) => {
                let why = "Neither topic name nor id were specified.";
                responses.push(result(named, ErrorCode::InvalidRequest, why));
                continue;
            }
        }
        sound.push(named);
    }
    // A topic that is named and given by its id: that is one request too many for it, and neither counts.
    let given = |named: &Named| named.name.is_none().then_some(TopicId(named.id.0));
    let given: BTreeSet<TopicId> = sound.iter().filter_map(given).collect();
    let resolve = |named: &Named| Some(draft.image.topic(named.name.as_ref()?)?.id);
    let both: BTreeSet<TopicId> = sound.iter().filter_map(resolve).filter(|id| given.contains(id)).collect();
    let mut answered = BTreeSet::new();
    for named in sound {
        if !answered.insert((named.name.clone(), named.id.0)) {
            continue;
        }
        let twice = match &named.name {
            Some(name) => names[name] > 1,
            None => ids[&named.id.0] > 1,
        };
        responses.push(match twice {
            true if named.name.is_some() => result(named, ErrorCode::InvalidRequest, "Duplicate topic name."),
            true => result(named, ErrorCode::InvalidRequest, "Duplicate topic id."),
            false => delete_one(draft, &both, named),
        });
    }
    responses
}

fn delete_one(draft: &mut Draft<'_>, both: &BTreeSet<TopicId>, named: Named) -> DeletableTopicResult {
    let topic = match &named.name {
        Some(name) => draft.image.topic(name),
        None => draft.image.topic_by_id(TopicId(named.id.0)),
    };
    let Some(topic) = topic.cloned() else {
        let refusal = match &named.name {
            Some(_) => Refusal::no_such_topic(),
            None => Refusal::new(ErrorCode::UnknownTopicId, "This server does not host this topic ID."),
        };
        return result(named, refusal.code, &refusal.message);
    };
    if both.contains(&topic.id) {
        let why = "The provided topic name maps to an ID that was already supplied.";
        return result(named, ErrorCode::InvalidRequest, why);
    }
    draft.push(Record::TopicDelete(TopicDeleteV1 { topic_id: topic.id.0 }));
    DeletableTopicResult {
        name: Some(topic.name.to_string()),
        topic_id: Uuid(topic.id.0),
        ..DeletableTopicResult::default()
    }
}

fn result(named: Named, code: ErrorCode, message: &str) -> DeletableTopicResult {
    DeletableTopicResult {
        name: named.name,
        topic_id: named.id,
        error_code: code,
        error_message: Some(message.to_owned()),
    }
}
