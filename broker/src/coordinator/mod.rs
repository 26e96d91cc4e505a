//! The coordinator of consumer groups: who is in a group, who reads what, and how far each group has come.
//!
//! One [`GroupCoordinator`] serves one partition of `__consumer_offsets`; a group belongs to the partition that
//! [`partition_for`] names. It is a pure state machine: events in, records to append and responses out. It knows no
//! log, no connection and no clock. Records have Kafka's schemas (`records`), so the topic reads like Kafka's own.
//!
//! **What is promised when.** State changes at once; a response that promises something durable (a committed offset, an
//! assignment, a deletion) is kept until its records are. Readers see committed offsets only as they become durable;
//! with `require_stable` they wait for all that is under way. A batch that the log refuses takes its changes back.

mod appends;
mod batch;
mod commits;
mod group;
mod groups;
mod join;
mod leaver;
mod membership;
mod offsets;
mod records;
mod responses;
mod sync;
mod timers;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use net::{ErrorCode, Request, Response};
use storage::{Now, Offset};

use crate::letter::Client;

use appends::{Appends, Work};
use group::{Group, GroupId, MemberId, Waiter};
use offsets::Offsets;
use timers::{TimerKey, Timers};

pub(crate) use responses::refusal;

pub use batch::{KeyValue, records_batch, replay_batch};

/// The topic that keeps groups and offsets.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// Batches of one coordinator that may be on their way to durability before new requests are put off.
pub const APPENDS_MAX: usize = 65_536;

/// Member ids of one group that may be given out and not yet be used (KIP-394).
pub const PENDING_MEMBERS_MAX: usize = 10_000;

/// Requests with `require_stable` of one coordinator that may wait for durability.
pub const STABLE_WAITS_MAX: usize = 65_536;

/// Names a request among those the caller has handed in and not seen answered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Token(pub u64);

/// Names a batch of records among those of one coordinator; later batches have greater ids.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BatchId(pub u64);

/// What a coordinator is told.
#[derive(Clone, Debug)]
pub enum CoordinatorEvent {
    /// A request for groups of this coordinator; answered once, now or later, by [`CoordinatorEffect::Respond`].
    Request {
        /// Comes back with the answer.
        token: Token,
        /// Who asks.
        client: Client,
        /// The version that shapes the answer.
        version: i16,
        /// The request.
        request: Request,
    },
    /// A record of the partition, in order, before `Loaded`.
    Replay {
        /// The key.
        key: Bytes,
        /// The value; none for a tombstone.
        value: Option<Bytes>,
    },
    /// The partition has been read to its end: begin to serve.
    Loaded,
    /// The log took a batch; it ends before `end`.
    Appended {
        /// The id from [`CoordinatorEffect::Append`].
        batch: BatchId,
        /// The offset behind the last record of the batch.
        end: Offset,
    },
    /// The log did not take a batch.
    Refused {
        /// The id from [`CoordinatorEffect::Append`].
        batch: BatchId,
        /// Why, in the log's words.
        error: ErrorCode,
    },
    /// Everything below `end` is durable.
    Committed {
        /// The offset behind the last durable record.
        end: Offset,
    },
    /// Topics were deleted: drop their offsets.
    TopicsDeleted(Vec<Arc<str>>),
    /// The partition is no longer led here: answer everyone and forget everything.
    Unload,
    /// [`GroupCoordinator::next_timeout`] has come.
    Timeout,
}

/// A record of `__consumer_offsets`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CoordinatorRecord {
    /// The key.
    pub key: Bytes,
    /// The value; none for a tombstone.
    pub value: Option<Bytes>,
}

/// What a coordinator wants done, in this order.
#[derive(Clone, PartialEq, Debug)]
pub enum CoordinatorEffect {
    /// Append one batch to the partition, and say so by `Appended` or `Refused`.
    Append {
        /// Comes back with the result.
        batch: BatchId,
        /// At least one record.
        records: Vec<CoordinatorRecord>,
    },
    /// Answer a request.
    Respond {
        /// The token of the request.
        token: Token,
        /// The answer.
        response: Response,
    },
}

/// The broker's settings for groups, under Kafka's names.
#[derive(Clone, PartialEq, Debug)]
pub struct GroupConfig {
    /// `group.min.session.timeout.ms`
    pub min_session_timeout_ms: i32,
    /// `group.max.session.timeout.ms`
    pub max_session_timeout_ms: i32,
    /// `group.initial.rebalance.delay.ms`
    pub initial_rebalance_delay_ms: i32,
    /// `group.max.size`
    pub max_size: usize,
    /// `offset.metadata.max.bytes`, which Kafka counts in units of UTF-16
    pub offset_metadata_bytes_max: usize,
    /// `offsets.retention.minutes`, in milliseconds
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`
    pub offsets_retention_check_interval_ms: i64,
    /// How long a member may stay in its first join before it is given up: it has no id to send heartbeats with.
    pub new_member_join_timeout_ms: i32,
}

impl Default for GroupConfig {
    fn default() -> GroupConfig {
        GroupConfig {
            min_session_timeout_ms: 6_000,
            max_session_timeout_ms: 1_800_000,
            initial_rebalance_delay_ms: 3_000,
            max_size: i32::MAX as usize,
            offset_metadata_bytes_max: 4_096,
            offsets_retention_ms: 7 * 24 * 3_600_000,
            offsets_retention_check_interval_ms: 600_000,
            new_member_join_timeout_ms: 300_000,
        }
    }
}

/// The partition of `__consumer_offsets` that keeps `group_id`: Kafka's `abs(hashCode) % partitions`.
pub fn partition_for(group_id: &str, partitions: i32) -> i32 {
    assert!(partitions > 0, "a topic has partitions");
    let hash =
        group_id.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(unit.into()));
    // Kafka's abs maps the one number without a counterpart to zero.
    hash.checked_abs().unwrap_or(0) % partitions
}

/// The coordinator of one partition of `__consumer_offsets`.
#[derive(Debug)]
pub struct GroupCoordinator {
    config: GroupConfig,
    loaded: bool,
    groups: BTreeMap<GroupId, Group>,
    offsets: Offsets,
    timers: Timers,
    appends: Appends,
    member_ids: MemberIds,
}

/// All that a group may touch besides itself while one event is handled.
struct Turn<'a> {
    now: Now,
    config: &'a GroupConfig,
    timers: &'a mut Timers,
    appends: &'a mut Appends,
    member_ids: &'a mut MemberIds,
    out: &'a mut Vec<CoordinatorEffect>,
}

impl GroupCoordinator {
    /// A coordinator whose partition has yet to be replayed. `seed` makes member ids: it has to differ from start to
    /// start, or an id of an earlier life may be given out again.
    pub fn new(config: GroupConfig, seed: u64) -> GroupCoordinator {
        GroupCoordinator {
            config,
            loaded: false,
            groups: BTreeMap::new(),
            offsets: Offsets::default(),
            timers: Timers::default(),
            appends: Appends::default(),
            member_ids: MemberIds { state: seed },
        }
    }

    /// Takes new settings; what is under way keeps its deadlines.
    pub fn configure(&mut self, config: GroupConfig) {
        self.config = config;
    }

    /// True once the partition has been replayed.
    pub fn is_loaded(&self) -> bool {
        self.loaded
    }

    /// When to send [`CoordinatorEvent::Timeout`], in microseconds of the monotonic clock.
    pub fn next_timeout(&self) -> Option<u64> {
        self.timers.next_us()
    }

    /// Handles one event. `out` receives what is to be done, in order.
    pub fn handle(&mut self, now: Now, event: CoordinatorEvent, out: &mut Vec<CoordinatorEffect>) {
        match event {
            CoordinatorEvent::Request { token, client, version, request } => {
                self.request(now, Waiter { token, version }, client, request, out);
            }
            CoordinatorEvent::Replay { key, value } => self.replay(key, value, now),
            CoordinatorEvent::Loaded => self.finish_load(now, out),
            CoordinatorEvent::Appended { batch, end } => self.appends.appended(batch, end),
            CoordinatorEvent::Refused { batch, error } => self.refused(now, batch, error, out),
            CoordinatorEvent::Committed { end } => self.committed(now, end, out),
            CoordinatorEvent::TopicsDeleted(topics) => self.drop_topics(&topics, out),
            CoordinatorEvent::Unload => self.unload(out),
            CoordinatorEvent::Timeout => self.timeout(now, out),
        }
    }

    fn request(
        &mut self,
        now: Now,
        waiter: Waiter,
        client: Client,
        request: Request,
        out: &mut Vec<CoordinatorEffect>,
    ) {
        let refusal = if !self.loaded {
            Some(ErrorCode::CoordinatorLoadInProgress)
        } else if self.appends.is_full() {
            Some(ErrorCode::CoordinatorNotAvailable)
        } else {
            None
        };
        if let Some(error) = refusal {
            let response = responses::refusal(&request, waiter.version, error);
            out.push(CoordinatorEffect::Respond { token: waiter.token, response });
            return;
        }
        match request {
            Request::JoinGroup(request) => self.join_group(now, waiter, client, request, out),
            Request::SyncGroup(request) => self.sync_group(now, waiter, request, out),
            Request::Heartbeat(request) => self.heartbeat(now, waiter, request, out),
            Request::LeaveGroup(request) => self.leave_group(now, waiter, request, out),
            Request::OffsetCommit(request) => self.commit_offsets(now, waiter, request, out),
            Request::OffsetFetch(request) => self.fetch_offsets(waiter, request, out),
            Request::OffsetDelete(request) => self.delete_offsets(now, waiter, request, out),
            Request::DescribeGroups(request) => self.describe_groups(waiter, request, out),
            Request::ListGroups(request) => self.list_groups(waiter, request, out),
            Request::DeleteGroups(request) => self.delete_groups(now, waiter, request, out),
            other => panic!("a request that is not for groups was sent to a coordinator: {other:?}"),
        }
    }

    // -------------------------------------------------------------------------------------------- durability

    fn committed(&mut self, now: Now, end: Offset, out: &mut Vec<CoordinatorEffect>) {
        while let Some((batch, work)) = self.appends.pop_committed(end) {
            for (group, key) in &work.offsets {
                self.offsets.commit(batch, group, key);
            }
            self.keep_promise(now, work, out);
        }
        self.release_stable_reads(out);
    }

    fn keep_promise(&mut self, now: Now, work: Work, out: &mut Vec<CoordinatorEffect>) {
        match work.promise {
            appends::Promise::Nothing => (),
            appends::Promise::Respond { waiter, response } => {
                out.push(CoordinatorEffect::Respond { token: waiter.token, response });
            }
            appends::Promise::Assignment { group, generation_id, assignments } => {
                self.with_group(now, &group, out, |group, turn| {
                    group.assignment_stored(turn, generation_id, assignments);
                });
            }
            appends::Promise::StaticMember { group, generation_id, member_id, former_leader } => {
                self.with_group(now, &group, out, |group, turn| {
                    group.static_member_stored(turn, generation_id, &member_id, former_leader);
                });
            }
        }
    }

    fn refused(&mut self, now: Now, batch: BatchId, error: ErrorCode, out: &mut Vec<CoordinatorEffect>) {
        let work = self.appends.take(batch);
        for (group, key) in &work.offsets {
            self.offsets.abandon(batch, group, key);
        }
        for group in work.removed_groups {
            self.groups.entry(group.id.clone()).or_insert(group);
        }
        self.keep_groups_of_offsets(now);
        let error = append_error(error);
        if let Some(last) = work.last_part
            && let appends::Promise::Respond { waiter, response } = self.appends.promise_mut(last)
        {
            responses::fail(response, waiter.version, error);
        }
        match work.promise {
            appends::Promise::Nothing => (),
            appends::Promise::Respond { waiter, mut response } => {
                responses::fail(&mut response, waiter.version, error);
                out.push(CoordinatorEffect::Respond { token: waiter.token, response });
            }
            appends::Promise::Assignment { group, generation_id, .. } => {
                self.with_group(now, &group, out, |group, turn| {
                    group.assignment_refused(turn, generation_id, error);
                });
            }
            appends::Promise::StaticMember { group, member_id, .. } => {
                self.with_group(now, &group, out, |group, turn| {
                    group.static_member_refused(turn, &member_id, error);
                });
            }
        }
        self.release_stable_reads(out);
    }

    // -------------------------------------------------------------------------------------------------- time

    fn timeout(&mut self, now: Now, out: &mut Vec<CoordinatorEffect>) {
        while let Some(timer) = self.timers.pop_due(now.monotonic_us) {
            match timer {
                TimerKey::Session(group, member) => {
                    self.with_group(now, &group, out, |group, turn| group.session_expired(turn, &member));
                }
                TimerKey::Join(group) => {
                    self.with_group(now, &group, out, |group, turn| group.join_expired(turn));
                }
                TimerKey::Sync(group) => {
                    self.with_group(now, &group, out, |group, turn| group.sync_expired(turn));
                }
                TimerKey::Retention => self.expire_offsets(now, out),
            }
        }
    }

    // --------------------------------------------------------------------------------------- begin and end

    fn finish_load(&mut self, now: Now, out: &mut Vec<CoordinatorEffect>) {
        assert!(!self.loaded, "a partition is loaded once");
        self.loaded = true;
        self.keep_groups_of_offsets(now);
        let interval_us = self.config.offsets_retention_check_interval_ms.max(1) as u64 * 1000;
        self.timers.set(TimerKey::Retention, now.monotonic_us + interval_us);
        for id in self.groups.keys().cloned().collect::<Vec<_>>() {
            self.with_group(now, &id, out, |group, turn| group.loaded(turn));
        }
    }

    fn unload(&mut self, out: &mut Vec<CoordinatorEffect>) {
        let error = ErrorCode::NotCoordinator;
        for group in self.groups.values_mut() {
            for id in group.member_ids() {
                for waiter in group.remove(&id) {
                    responses::refuse_waiter(waiter, &id, error, out);
                }
            }
        }
        for work in self.appends.drain() {
            if let appends::Promise::Respond { waiter, mut response } = work.promise {
                responses::fail(&mut response, waiter.version, error);
                out.push(CoordinatorEffect::Respond { token: waiter.token, response });
            }
        }
        for read in self.appends.drain_stable_reads() {
            let response =
                responses::refusal(&Request::OffsetFetch(read.request), read.waiter.version, error);
            out.push(CoordinatorEffect::Respond { token: read.waiter.token, response });
        }
        self.loaded = false;
        self.groups.clear();
        self.offsets = Offsets::default();
        self.timers = Timers::default();
    }

    /// Lets `work` change a group; nothing happens if the group is gone.
    fn with_group<T>(
        &mut self,
        now: Now,
        id: &str,
        out: &mut Vec<CoordinatorEffect>,
        work: impl FnOnce(&mut Group, &mut Turn<'_>) -> T,
    ) -> Option<T> {
        let group = self.groups.get_mut(id)?;
        let mut turn = Turn {
            now,
            config: &self.config,
            timers: &mut self.timers,
            appends: &mut self.appends,
            member_ids: &mut self.member_ids,
            out,
        };
        Some(work(group, &mut turn))
    }
}

impl Turn<'_> {
    fn respond(&mut self, waiter: Waiter, response: impl Into<Response>) {
        self.out.push(CoordinatorEffect::Respond { token: waiter.token, response: response.into() });
    }

    fn append(&mut self, records: Vec<CoordinatorRecord>, work: Work) -> BatchId {
        self.appends.append(records, work, self.out)
    }

    fn set_timer(&mut self, key: TimerKey, delay_ms: i32) {
        let deadline_us = self.now.monotonic_us + delay_ms.max(0) as u64 * 1000;
        self.timers.set(key, deadline_us);
    }

    fn set_session(&mut self, group: &GroupId, member: &MemberId, timeout_ms: i32) {
        self.set_timer(TimerKey::Session(group.clone(), member.clone()), timeout_ms);
    }

    fn end_session(&mut self, group: &GroupId, member: &MemberId) {
        self.timers.cancel(&TimerKey::Session(group.clone(), member.clone()));
    }
}

/// What the client is told when the log refuses a batch, as Kafka maps it.
fn append_error(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::UnknownTopicOrPartition | ErrorCode::NotEnoughReplicas | ErrorCode::RequestTimedOut => {
            ErrorCode::CoordinatorNotAvailable
        }
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError => ErrorCode::NotCoordinator,
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge => ErrorCode::UnknownServerError,
        other => other,
    }
}

/// Makes member ids: what the client calls itself and a random UUID, as Kafka does.
#[derive(Debug)]
struct MemberIds {
    state: u64,
}

impl MemberIds {
    fn next(&mut self, prefix: &str) -> MemberId {
        let (high, low) = (self.random(), self.random());
        // The bits that say "version 4, variant 1" (RFC 9562).
        let high = (high & !0xf000) | 0x4000;
        let low = (low & !(0b11 << 62)) | (0b10 << 62);
        let (a, b, c) = (high >> 32, (high >> 16) & 0xffff, high & 0xffff);
        let (d, e) = (low >> 48, low & 0xffff_ffff_ffff);
        format!("{prefix}-{a:08x}-{b:04x}-{c:04x}-{d:04x}-{e:012x}").into()
    }

    /// SplitMix64 (Steele, Lea, Flood 2014).
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
