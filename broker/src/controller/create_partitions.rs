//! CreatePartitions: versions 0–3.

use std::collections::BTreeSet;

use net::ErrorCode;
use net::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic, CreatePartitionsTopicResult,
};

use super::create_topics::uneven;
use super::draft::{Draft, Refusal};
use crate::metadata::Record;
use crate::metadata::record::PartitionsCreateV1;

/// Adds partitions where they can be added, a result for each name.
pub(super) fn create(draft: &mut Draft<'_>, request: &CreatePartitionsRequest) -> CreatePartitionsResponse {
    let mut seen = BTreeSet::new();
    let twice: BTreeSet<&str> =
        request.topics.iter().map(|t| t.name.as_str()).filter(|name| !seen.insert(*name)).collect();
    let mut results: Vec<CreatePartitionsTopicResult> = twice
        .iter()
        .map(|name| result(name, Err(Refusal::invalid_request("Duplicate topic name."))))
        .collect();
    for topic in request.topics.iter().filter(|topic| !twice.contains(topic.name.as_str())) {
        let outcome = create_for(draft, topic);
        results.push(result(&topic.name, outcome));
    }
    CreatePartitionsResponse { results, ..CreatePartitionsResponse::default() }
}

/// The answer when time was up before the change was everywhere.
pub(super) fn timed_out(request: &CreatePartitionsRequest) -> CreatePartitionsResponse {
    let late = || Err(Refusal::new(ErrorCode::RequestTimedOut, ""));
    let results = request.topics.iter().map(|topic| result(&topic.name, late())).collect();
    CreatePartitionsResponse { results, ..CreatePartitionsResponse::default() }
}

fn create_for(draft: &mut Draft<'_>, asked: &CreatePartitionsTopic) -> Result<(), Refusal> {
    let topic = draft.image.topic(&asked.name).cloned().ok_or_else(Refusal::no_such_topic)?;
    let have = topic.partition_count();
    let count = usize::try_from(asked.count).unwrap_or(0);
    if count == have {
        let message = format!("Topic already has {have} partition(s).");
        return Err(Refusal::new(ErrorCode::InvalidPartitions, message));
    }
    if count < have {
        let message = format!(
            "The topic {} currently has {have} partition(s); {} would not be an increase.",
            asked.name, asked.count
        );
        return Err(Refusal::new(ErrorCode::InvalidPartitions, message));
    }
    let more = count - have;
    let assigned = asked.assignments.as_ref();
    if let Some(assignments) = assigned.filter(|assignments| assignments.len() != more) {
        let message = format!(
            "Attempted to add {more} additional partition(s), but only {} assignment(s) were specified.",
            assignments.len()
        );
        return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
    }
    draft.count_partitions(more)?;
    let factor = topic.partition(0).expect("a topic has partitions").replicas.len();
    let partitions = match assigned {
        None => draft.place(have, more, i16::try_from(factor).expect("replicas are bounded"))?,
        Some(assignments) => {
            let mut placed = Vec::with_capacity(more);
            for assignment in assignments {
                let partition = draft.placed_by_hand(&assignment.broker_ids)?;
                if partition.replicas.len() != factor {
                    let message = uneven(partition.replicas.len(), factor);
                    return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
                }
                placed.push(partition);
            }
            placed
        }
    };
    draft.push(Record::PartitionsCreate(PartitionsCreateV1 {
        topic_id: topic.id.0,
        first: u32::try_from(have).expect("partitions are counted in an i32"),
        partitions,
    }));
    Ok(())
}

fn result(name: &str, outcome: Result<(), Refusal>) -> CreatePartitionsTopicResult {
    let (error_code, error_message) = match outcome {
        Ok(()) => (ErrorCode::None, None),
        // Kafka has nothing to add to these.
        Err(Refusal { code, .. })
            if matches!(code, ErrorCode::RequestTimedOut | ErrorCode::UnknownTopicOrPartition) =>
        {
            (code, None)
        }
        Err(refusal) => (refusal.code, Some(refusal.message)),
    };
    CreatePartitionsTopicResult { name: name.to_owned(), error_code, error_message }
}
