//! Batches on their way to the log, what is promised when they are durable, and reads that wait for them.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use net::Response;
use net::messages::OffsetFetchRequest;
use storage::Offset;

use super::group::{Group, GroupId, MemberId, Waiter};
use super::offsets::TopicPartition;
use super::{APPENDS_MAX, BatchId, CoordinatorEffect, CoordinatorRecord, STABLE_WAITS_MAX};

/// What hangs on a batch.
#[derive(Clone, Debug)]
pub(super) struct Work {
    /// Offsets that the batch writes or deletes.
    pub(super) offsets: Vec<(GroupId, TopicPartition)>,
    /// Groups that the batch deletes; they come back if the log refuses it.
    pub(super) removed_groups: Vec<Group>,
    pub(super) promise: Promise,
    /// Work too large for one batch: the last batch has the promise, and breaks it if this one is refused.
    pub(super) last_part: Option<BatchId>,
}

impl Work {
    pub(super) fn promise(promise: Promise) -> Work {
        Work { offsets: Vec::new(), removed_groups: Vec::new(), promise, last_part: None }
    }
}

/// What becomes true when a batch is durable.
#[derive(Clone, Debug)]
pub(super) enum Promise {
    /// Nobody waits.
    Nothing,
    /// The client may be told.
    Respond { waiter: Waiter, response: Response },
    /// The leader's assignment holds.
    Assignment { group: GroupId, generation_id: i32, assignments: BTreeMap<MemberId, Bytes> },
    /// A static member has its new id without a rebalance; `former_leader` is who led before that.
    StaticMember { group: GroupId, generation_id: i32, member_id: MemberId, former_leader: Option<MemberId> },
}

/// A read that waits until all that was in the log when it came is durable.
#[derive(Clone, Debug)]
pub(super) struct StableRead {
    pub(super) waiter: Waiter,
    pub(super) request: OffsetFetchRequest,
}

#[derive(Debug)]
struct Batch {
    id: BatchId,
    /// The offset behind it, once the log took it.
    end: Option<Offset>,
    work: Work,
}

/// The batches of one coordinator that are not durable yet, oldest first.
#[derive(Default, Debug)]
pub(super) struct Appends {
    batches: VecDeque<Batch>,
    /// The last batch that each read waits for; in order.
    stable_reads: VecDeque<(BatchId, StableRead)>,
    next: u64,
}

impl Appends {
    /// True if new requests should be put off.
    pub(super) fn is_full(&self) -> bool {
        self.batches.len() >= APPENDS_MAX || self.stable_reads.len() >= STABLE_WAITS_MAX
    }

    pub(super) fn append(
        &mut self,
        records: Vec<CoordinatorRecord>,
        work: Work,
        out: &mut Vec<CoordinatorEffect>,
    ) -> BatchId {
        assert!(!records.is_empty(), "a batch has records");
        self.next += 1;
        let id = BatchId(self.next);
        self.batches.push_back(Batch { id, end: None, work });
        out.push(CoordinatorEffect::Append { batch: id, records });
        id
    }

    /// Hangs a promise on the newest batch, which had none.
    pub(super) fn promise_last(&mut self, promise: Promise) {
        let work = &mut self.batches.back_mut().expect("there is a newest batch").work;
        assert!(matches!(work.promise, Promise::Nothing), "a batch has one promise");
        work.promise = promise;
    }

    /// The id that the next batch will have.
    pub(super) fn next_id(&self) -> BatchId {
        BatchId(self.next + 1)
    }

    pub(super) fn appended(&mut self, id: BatchId, end: Offset) {
        let place = self.place(id);
        let before = place.checked_sub(1).and_then(|place| self.batches[place].end);
        assert!(before.is_none_or(|before| before < end), "the log keeps the order of batches");
        self.batches[place].end = Some(end);
    }

    /// The promise of a batch that is under way.
    pub(super) fn promise_mut(&mut self, id: BatchId) -> &mut Promise {
        let place = self.place(id);
        &mut self.batches[place].work.promise
    }

    /// Takes a batch that the log refused.
    pub(super) fn take(&mut self, id: BatchId) -> Work {
        let place = self.place(id);
        let batch = self.batches.remove(place).expect("just found");
        assert!(batch.end.is_none(), "a batch that was taken by the log is not refused");
        batch.work
    }

    /// Takes the oldest batch if it is durable.
    pub(super) fn pop_committed(&mut self, end: Offset) -> Option<(BatchId, Work)> {
        let first = self.batches.front()?;
        if first.end.is_none_or(|first| first > end) {
            return None;
        }
        self.batches.pop_front().map(|batch| (batch.id, batch.work))
    }

    /// Lets a read wait for all that is under way; gives it back if nothing is.
    pub(super) fn wait_stable(&mut self, read: StableRead) -> Option<StableRead> {
        let Some(last) = self.batches.back() else { return Some(read) };
        self.stable_reads.push_back((last.id, read));
        None
    }

    /// Takes the oldest read that has nothing left to wait for.
    pub(super) fn pop_stable_read(&mut self) -> Option<StableRead> {
        let (awaited, _) = self.stable_reads.front()?;
        if self.batches.front().is_some_and(|first| first.id <= *awaited) {
            return None;
        }
        self.stable_reads.pop_front().map(|(_, read)| read)
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = Work> {
        self.batches.drain(..).map(|batch| batch.work)
    }

    pub(super) fn drain_stable_reads(&mut self) -> impl Iterator<Item = StableRead> {
        self.stable_reads.drain(..).map(|(_, read)| read)
    }

    fn place(&self, id: BatchId) -> usize {
        self.batches.binary_search_by_key(&id, |batch| batch.id).expect("the batch is under way")
    }
}
