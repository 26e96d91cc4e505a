//! What clients were told, and whether it stays true.

use std::collections::BTreeMap;

use crate::checker::{Checker, Violation};
use crate::records::{ReadBatch, Value};

/// How long after its interval something may be flushed: the disk may be busy.
const FLUSH_SLACK_US: u64 = 500_000;

/// A partition, by its topic's name: a name is given once.
pub type Place = (String, i32);

/// What is known of one partition.
#[derive(Clone, Debug, Default)]
struct Log {
    /// What stands at an offset, as a consumer or an acknowledgement said.
    known: BTreeMap<i64, Known>,
    /// Where a value was seen.
    places: BTreeMap<Value, i64>,
    /// The largest offset that someone asked to delete records below.
    delete_asked: i64,
    /// The largest log start that DeleteRecords was answered with.
    delete_done: i64,
    policy: Policy,
}

/// What the broker may remove of a topic by itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy {
    /// `retention.ms`, if it is set.
    pub retention_ms: Option<i64>,
    /// `retention.bytes`, if it is set.
    pub retention_bytes: Option<i64>,
    /// `flush.interval.ms`, if `flush.mode` is `interval`: what was acknowledged this shortly before a crash may be lost.
    pub flush_interval_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    value: Value,
    /// When it was learnt, microseconds.
    at_us: u64,
    acknowledged: bool,
    timestamp_ms: i64,
}

/// What clients were told.
#[derive(Clone, Debug, Default)]
pub struct History {
    logs: BTreeMap<Place, Log>,
    /// Streams whose producer is idempotent.
    idempotent: BTreeMap<u32, bool>,
    /// When processes ended without a clean stop, microseconds.
    crashes_us: Vec<u64>,
    /// First offsets that the broker itself reported as lost.
    excused: BTreeMap<Place, i64>,
    /// First offsets where bits rotted in a segment.
    rotten: BTreeMap<Place, i64>,
    /// How often clients met rot in a segment, and knew it by its checksum.
    pub rot_met: u64,
    /// From when on losses are excused wherever they are.
    all_excused: bool,
    /// Acknowledged later than this before a crash, the last block may be lost together with its trace (rot only).
    pub uncertain_us: u64,
    /// Whether flushes may fail, and with them what needs the disk.
    pub flushes_fail: bool,
    /// Committed offsets: acknowledged, and the largest tried.
    commits: BTreeMap<(String, Place), (i64, i64)>,
    /// What did not hold.
    pub violations: Vec<Violation>,
    /// How often records were deleted.
    pub deletions: u64,
    /// Records that were acknowledged.
    pub acknowledged: u64,
    /// Records that consumers have read.
    pub read: u64,
}

impl History {
    fn fail(&mut self, checker: Checker, message: String) {
        if self.violations.len() < 20 {
            self.violations.push(Violation::new(checker, message));
        }
    }

    /// A topic is there.
    pub fn topic(&mut self, topic: &str, partitions: i32, policy: Policy) {
        for partition in 0..partitions {
            self.logs.entry((topic.to_owned(), partition)).or_default().policy = policy;
        }
    }

    /// Whether the creation of a partition was acknowledged.
    pub fn is_there(&self, place: &Place) -> bool {
        self.logs.contains_key(place)
    }

    /// The partitions that have to be there in the end.
    pub fn places(&self) -> Vec<Place> {
        self.logs.keys().cloned().collect()
    }

    /// A producer begins a stream of values.
    pub fn stream(&mut self, stream: u32, idempotent: bool) {
        self.idempotent.insert(stream, idempotent);
    }

    /// A process ended without a clean stop.
    pub fn crashed(&mut self, now_us: u64) {
        self.crashes_us.push(now_us);
        // What nobody knew for long is forgotten where it may be lost.
        for log in self.logs.values_mut() {
            let Some(interval_ms) = log.policy.flush_interval_ms else { continue };
            let Log { known, places, .. } = log;
            known.retain(|_, known| {
                let is_owed = known.at_us + interval_ms * 1_000 + FLUSH_SLACK_US <= now_us;
                if !is_owed {
                    places.remove(&known.value);
                }
                is_owed
            });
        }
    }

    /// Bits rotted in a segment, in a batch that begins at `from`.
    pub fn rotted(&mut self, place: &Place, from: i64) {
        let rotten = self.rotten.entry(place.clone()).or_insert(from);
        *rotten = from.min(*rotten);
    }

    /// The broker has reported that a partition lost its records from an offset on.
    pub fn reported_lost(&mut self, place: &Place, from: i64) {
        let excused = self.excused.entry(place.clone()).or_insert(from);
        *excused = from.min(*excused);
    }

    /// The broker has reported a loss that it cannot attribute, or that it cannot start at all.
    pub fn reported_unattributed_loss(&mut self) {
        self.all_excused = true;
    }

    fn is_excused(&self, place: &Place, offset: i64, known: &Known) -> bool {
        let uncertain = self.uncertain_us > 0
            && self.crashes_us.iter().any(|at| *at >= known.at_us && known.at_us + self.uncertain_us >= *at);
        self.all_excused || uncertain || self.excused.get(place).is_some_and(|from| *from <= offset)
    }

    /// The name for the loss of something learnt at that time. Where bits rot it is a loss that nobody reported.
    fn loss(&self, at_us: u64) -> Checker {
        if self.uncertain_us > 0 {
            return Checker::S3;
        }
        if self.crashes_us.iter().any(|crash| *crash >= at_us) { Checker::S1 } else { Checker::C1 }
    }

    /// The name for an acknowledged record that gave way to another.
    fn replaced(&self, at_us: u64) -> Checker {
        match self.loss(at_us) {
            Checker::C1 => Checker::P1,
            crashed => crashed,
        }
    }

    /// A batch was acknowledged.
    pub fn acknowledged(
        &mut self,
        now_us: u64,
        place: &Place,
        base_offset: i64,
        timestamp_ms: i64,
        values: &[Value],
    ) {
        for (offset, value) in (base_offset..).zip(values) {
            self.acknowledged += 1;
            self.learn(now_us, place, offset, *value, timestamp_ms, true);
        }
    }

    /// A consumer read a batch.
    pub fn read(&mut self, now_us: u64, place: &Place, batch: &ReadBatch) {
        for (offset, value) in &batch.records {
            self.read += 1;
            self.learn(now_us, place, *offset, *value, batch.max_timestamp_ms, false);
        }
    }

    fn learn(
        &mut self,
        at_us: u64,
        place: &Place,
        offset: i64,
        value: Value,
        timestamp_ms: i64,
        acknowledged: bool,
    ) {
        let log = self.logs.entry(place.clone()).or_default();
        let new = Known { value, at_us, acknowledged, timestamp_ms };
        let before = log.known.get(&offset).copied();
        match before {
            Some(known) if known.value != value => {
                if !self.is_excused(place, offset, &known) {
                    let message =
                        format!("{place:?} had {:?} at offset {offset}, now it has {value:?}", known.value);
                    let checker = if known.acknowledged { self.replaced(known.at_us) } else { Checker::P1 };
                    self.fail(checker, message);
                }
                let log = self.logs.get_mut(place).expect("just entered");
                log.places.remove(&known.value);
                log.known.insert(offset, new);
            }
            Some(known) => {
                let merged = Known { acknowledged: known.acknowledged || acknowledged, ..known };
                log.known.insert(offset, merged);
            }
            None => {
                log.known.insert(offset, new);
            }
        }
        self.place(place, offset, value);
    }

    /// C2 and C3.
    fn place(&mut self, place: &Place, offset: i64, value: Value) {
        let idempotent = self.idempotent.get(&value.stream).copied();
        let log = self.logs.get_mut(place).expect("entered by learn");
        let other = log.places.get(&value).copied().filter(|other| *other != offset);
        let before = log.places.range(..value).next_back().filter(|(v, _)| v.stream == value.stream);
        let disordered = before.filter(|(_, at)| **at > offset).map(|(v, at)| (*v, *at));
        log.places.entry(value).or_insert(offset);
        if idempotent.is_none() {
            self.fail(Checker::S3, format!("{place:?} has {value:?} at offset {offset}, which nobody sent"));
        }
        if let Some(other) = other {
            let excused = self.all_excused || self.excused.contains_key(place);
            if idempotent == Some(true) && !excused {
                let message = format!("{place:?} has {value:?} at the offsets {other} and {offset}");
                self.fail(Checker::C2, message);
            }
        } else if let Some((earlier, at)) = disordered {
            let message = format!("{place:?} has {value:?} at {offset}, before {earlier:?} at {at}");
            self.fail(Checker::C3, message);
        }
    }

    /// A topic is not as its creation or deletion was acknowledged.
    pub fn topic_is_wrong(&mut self, message: String) {
        self.fail(self.loss(0), message);
    }

    /// An idempotent producer is refused the sequence that is next. True if that is in order, as what was acknowledged
    /// may be lost: then it has to begin again.
    pub fn out_of_sequence(&mut self, place: &Place, message: String) -> bool {
        let interval = self.logs.get(place).is_some_and(|log| log.policy.flush_interval_ms.is_some());
        if interval && !self.crashes_us.is_empty() {
            return true;
        }
        if !self.all_excused && !self.excused.contains_key(place) && self.uncertain_us == 0 {
            // After a crash it is what was acknowledged before that is gone, and its sequence with it.
            self.fail(if self.crashes_us.is_empty() { Checker::C2 } else { Checker::S1 }, message);
        }
        false
    }

    /// Records were read at or above the high watermark that came with them.
    pub fn above_high_watermark(&mut self, place: &Place, offset: i64, high_watermark: i64) {
        self.fail(
            Checker::P1,
            format!("{place:?}: offset {offset} was served, the high watermark is {high_watermark}"),
        );
    }

    /// What was read at or behind an offset is no batch.
    pub fn unreadable(&mut self, place: &Place, at: i64, what: &str) {
        if self.rotten.get(place).is_some_and(|from| *from <= at) {
            self.rot_met += 1;
            return;
        }
        self.fail(Checker::S3, format!("{place:?} was served corrupt: {what}"));
    }

    /// Someone asks to delete records below an offset; below any if that is the high watermark, which nobody knows here.
    pub fn delete_asked(&mut self, place: &Place, before: i64) {
        let log = self.logs.entry(place.clone()).or_default();
        log.delete_asked = log.delete_asked.max(if before < 0 { i64::MAX } else { before });
    }

    /// The broker cannot delete records, for a reason that is its disk's.
    pub fn delete_failed(&mut self, place: &Place) {
        if !self.flushes_fail && !self.all_excused && !self.excused.contains_key(place) {
            self.fail(Checker::S6, format!("{place:?} cannot be deleted from, although the disk is sound"));
        }
    }

    /// The records are deleted, the broker said.
    pub fn delete_done(&mut self, place: &Place, low_watermark: i64) {
        let log = self.logs.entry(place.clone()).or_default();
        log.delete_done = log.delete_done.max(low_watermark);
        self.deletions += 1;
    }

    /// The end offset that was asked at `asked_us`, and answered now.
    pub fn end_offset(&mut self, asked_us: u64, place: &Place, end: i64) {
        let Some(log) = self.logs.get(place) else { return };
        let Some((offset, known)) = log.known.range(end..).find(|(_, known)| known.at_us <= asked_us) else {
            return;
        };
        let (offset, known) = (*offset, *known);
        if !self.is_excused(place, offset, &known) {
            let message = format!("{place:?} ends at {end}, and {:?} was at {offset}", known.value);
            self.fail(self.loss(known.at_us), message);
        }
    }

    /// A consumer at `position` was given something further on, with the log start below `position`.
    pub fn skipped(&mut self, place: &Place, position: i64, next: i64) {
        let log = self.logs.entry(place.clone()).or_default();
        let lost = log.known.range(position..next).next().map(|(offset, known)| (*offset, *known));
        if self.all_excused || self.excused.get(place).is_some_and(|from| *from < next) {
            return;
        }
        let checker = lost.map_or(Checker::S3, |(_, known)| self.loss(known.at_us));
        self.fail(
            checker,
            format!("{place:?}: asked for {position}, got {next}, first known in between {lost:?}"),
        );
    }

    /// A member commits.
    pub fn commit_tried(&mut self, group: &str, place: &Place, offset: i64) {
        let commit = self.commits.entry((group.to_owned(), place.clone())).or_insert((-1, -1));
        commit.1 = commit.1.max(offset);
    }

    /// The commit was acknowledged.
    pub fn commit_done(&mut self, group: &str, place: &Place, offset: i64) {
        let commit = self.commits.entry((group.to_owned(), place.clone())).or_insert((-1, -1));
        commit.0 = commit.0.max(offset);
    }

    /// What a group has acknowledged for a partition.
    pub fn committed_at_least(&self, group: &str, place: &Place) -> i64 {
        self.commits.get(&(group.to_owned(), place.clone())).map_or(-1, |commit| commit.0)
    }

    /// A committed offset was read that was at least `floor` when it was asked for.
    pub fn committed(&mut self, group: &str, place: &Place, offset: i64, floor: i64) {
        let tried = self.commits.get(&(group.to_owned(), place.clone())).map_or(-1, |commit| commit.1);
        if !self.all_excused && !(floor..=tried.max(floor)).contains(&offset) {
            let message =
                format!("group {group} committed {floor} of {place:?}, it reads {offset} (tried {tried})");
            self.fail(Checker::C7, message);
        }
    }

    /// The whole of a partition at the end, from its log start on.
    pub fn drained(&mut self, now_wall_ms: i64, place: &Place, log_start: i64, batches: &[ReadBatch]) {
        let log = self.logs.entry(place.clone()).or_default().clone();
        let mut there: BTreeMap<i64, Value> = BTreeMap::new();
        for batch in batches {
            there.extend(batch.records.iter().copied());
        }
        for (offset, known) in log.known.range(log_start..) {
            let found = there.get(offset);
            // What stands behind rot is not read; another value in its place is no rot.
            let hidden = found.is_none() && self.rotten.get(place).is_some_and(|from| from <= offset);
            if found != Some(&known.value) && !hidden && !self.is_excused(place, *offset, known) {
                let how = if known.acknowledged { "acknowledged" } else { "seen" };
                let message = format!(
                    "{place:?}: {:?} at {offset} was {how}, in the end there is {found:?}",
                    known.value
                );
                self.fail(if found.is_some() { Checker::P1 } else { self.loss(known.at_us) }, message);
                break;
            }
        }
        // The log start of a partition that is offline cannot be asked for.
        if log_start < log.delete_done && !self.excused.contains_key(place) {
            let message =
                format!("{place:?} starts at {log_start}, records below {} were deleted", log.delete_done);
            self.fail(Checker::S6, message);
        }
        if log_start > log.delete_asked {
            self.retained(now_wall_ms, place, &log, log_start, batches);
        }
    }

    /// The log starts further on than DeleteRecords asked: policy must allow it.
    fn retained(
        &mut self,
        now_wall_ms: i64,
        place: &Place,
        log: &Log,
        log_start: i64,
        batches: &[ReadBatch],
    ) {
        if self.all_excused || self.excused.contains_key(place) {
            return;
        }
        let removed = log.known.range(log.delete_asked..log_start);
        let too_young = log
            .policy
            .retention_ms
            .is_none_or(|ms| removed.clone().any(|(_, known)| known.timestamp_ms + ms > now_wall_ms));
        let bytes: usize = batches.iter().map(|batch| batch.bytes).sum();
        let too_few = log.policy.retention_bytes.is_none_or(|kept| (bytes as i64) < kept);
        if too_young && too_few {
            let message = format!(
                "{place:?} starts at {log_start} with {bytes} bytes, {} was asked, the policy is {:?}",
                log.delete_asked, log.policy
            );
            self.fail(Checker::S6, message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(number: u32) -> Value {
        Value { stream: 1, number }
    }

    fn history() -> (History, Place) {
        let mut history = History::default();
        history.stream(1, true);
        let place = ("t".to_owned(), 0);
        history.topic("t", 1, Policy::default());
        history.acknowledged(10, &place, 0, 0, &[value(0), value(1)]);
        (history, place)
    }

    fn batch(records: &[(i64, Value)]) -> ReadBatch {
        ReadBatch {
            base_offset: records[0].0,
            last_offset: records[records.len() - 1].0,
            bytes: 100,
            max_timestamp_ms: 0,
            records: records.to_vec(),
        }
    }

    fn names(history: &History) -> Vec<Checker> {
        history.violations.iter().map(|violation| violation.checker).collect()
    }

    #[test]
    fn a_true_story_passes() {
        let (mut history, place) = history();
        history.drained(0, &place, 0, &[batch(&[(0, value(0)), (1, value(1))])]);
        assert_eq!(names(&history), []);
    }

    #[test]
    fn a_loss_is_named_by_whether_there_was_a_crash() {
        let (mut history, place) = history();
        history.drained(0, &place, 0, &[batch(&[(0, value(0))])]);
        assert_eq!(names(&history), [Checker::C1]);
        history.crashed(20);
        history.end_offset(30, &place, 1);
        assert_eq!(names(&history), [Checker::C1, Checker::S1]);
    }

    #[test]
    fn another_value_a_duplicate_and_disorder_are_found() {
        let (mut history, place) = history();
        history.read(11, &place, &batch(&[(1, value(2))]));
        assert_eq!(names(&history), [Checker::P1]);
        history.read(12, &place, &batch(&[(5, value(0))]));
        assert_eq!(names(&history)[1], Checker::C2);
        history.read(13, &place, &batch(&[(0, value(9))]));
        assert!(names(&history).contains(&Checker::C3));
    }

    #[test]
    fn a_flush_interval_excuses_what_is_younger_and_nothing_else() {
        let (mut history, place) = history();
        history.topic("t", 1, Policy { flush_interval_ms: Some(100), ..Policy::default() });
        history.acknowledged(1_000_000, &place, 2, 0, &[value(2)]);
        history.crashed(1_200_000);
        assert!(history.out_of_sequence(&place, String::new()), "its sequence may be lost, too");
        history.drained(0, &place, 0, &[batch(&[(0, value(0)), (1, value(1))])]);
        assert_eq!(names(&history), []);
        history.drained(0, &place, 0, &[batch(&[(0, value(0))])]);
        assert_eq!(names(&history), [Checker::S1], "it was flushed long ago");
    }

    #[test]
    fn rot_hides_what_stands_behind_it_and_excuses_no_other_value() {
        let (mut history, place) = history();
        history.unreadable(&place, 1, "a checksum");
        assert_eq!(names(&history), [Checker::S3], "nothing has rotted yet");
        history.rotted(&place, 1);
        history.unreadable(&place, 1, "a checksum");
        history.drained(0, &place, 0, &[batch(&[(0, value(0))])]);
        assert_eq!((history.violations.len(), history.rot_met), (1, 1));
        history.drained(0, &place, 0, &[batch(&[(0, value(0)), (1, value(7))])]);
        assert_eq!(names(&history)[1], Checker::P1);
    }

    #[test]
    fn a_sound_disk_deletes_what_it_is_asked_to() {
        let (mut history, place) = history();
        history.flushes_fail = true;
        history.delete_failed(&place);
        assert_eq!(names(&history), []);
        history.flushes_fail = false;
        history.delete_failed(&place);
        assert_eq!(names(&history), [Checker::S6]);
    }

    #[test]
    fn a_log_start_needs_a_reason() {
        let (mut history, place) = history();
        history.drained(0, &place, 1, &[batch(&[(1, value(1))])]);
        assert_eq!(names(&history), [Checker::S6]);
    }
}
