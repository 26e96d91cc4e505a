//! Which segments a log keeps. Decides only; the store makes it durable and removes the files.

use crate::log::Log;
use crate::types::Offset;

/// The log start that the retention settings ask for; None if nothing is to be removed. Segments go as a whole,
/// oldest first, and only what is durable goes. The active segment goes too once all of it is too old.
#[must_use]
pub fn new_log_start(log: &Log, now_ms: i64) -> Option<Offset> {
    if !log.config.cleanup.delete || log.damaged_from.is_some() {
        return None;
    }
    let start = expired(log, now_ms).max(oversized(log));
    (start > log.log_start).then_some(start)
}

fn expired(log: &Log, now_ms: i64) -> Offset {
    let mut start = log.log_start;
    if log.config.retention_ms < 0 {
        return start;
    }
    for segment in &log.segments {
        // A segment without timestamps never ages: nothing says how old it is.
        let old = segment.max_timestamp >= 0
            && now_ms.saturating_sub(segment.max_timestamp) > log.config.retention_ms;
        if !old || segment.next_offset > log.durable_end {
            break;
        }
        start = start.max(segment.next_offset);
    }
    start
}

fn oversized(log: &Log) -> Offset {
    let mut start = log.log_start;
    let Ok(limit) = u64::try_from(log.config.retention_bytes) else { return start };
    let mut size = log.size_bytes();
    for segment in &log.segments {
        let length = u64::from(segment.length);
        // As in Kafka, the rest must still be as large as the limit; and the active segment stays.
        if size < limit + length || !segment.closed || segment.next_offset > log.durable_end {
            break;
        }
        size -= length;
        start = start.max(segment.next_offset);
    }
    start
}
