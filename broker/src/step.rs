//! The way into a shard: one input at a time, effects out.

use std::sync::Arc;

use net::ErrorCode;
use storage::op::OpKind;
use storage::{Done, Event, Now, PartitionKey, Slot};

use crate::api;
use crate::coordinator::OFFSETS_TOPIC;
use crate::effects::{Context, Effects, Incoming};
use crate::ids::{Address, ConnectionId, ListenerKind};
use crate::ledger::Passage;
use crate::letter::{Answer, Ask, Client, Letter};
use crate::metadata::{Image, Topic, TopicChange};
use crate::shard::Shard;
use crate::volume::Space;
use crate::waits::Asker;

/// What can happen to a shard.
#[derive(Debug)]
pub enum Input {
    /// A client connected.
    Connected {
        /// The connection.
        connection: ConnectionId,
        /// By which listener.
        listener: ListenerKind,
    },
    /// A client asks.
    Request(Incoming),
    /// A connection is gone.
    Disconnected(ConnectionId),
    /// Mail.
    Letter {
        /// From whom.
        from: Address,
        /// What.
        letter: Letter,
    },
    /// The disk has done an operation.
    Disk(Done),
    /// The volume of the data directory was measured.
    Space(Space),
    /// `next_timeout` has come.
    Timeout,
}

impl Shard {
    /// Takes one input; what follows from it is appended to `effects`.
    pub fn step(&mut self, now: Now, input: Input, effects: &mut Effects) {
        self.step_us = now.monotonic_us;
        match input {
            Input::Request(incoming) => self.request(now, incoming, effects),
            Input::Letter { from, letter } => self.letter(now, from, letter, effects),
            Input::Disk(done) => self.disk_done(now, done, effects),
            Input::Space(space) => self.measured(space),
            Input::Timeout => self.timeout(now, effects),
            Input::Connected { .. } | Input::Disconnected(_) => {}
        }
        let myself = self.address();
        while let Some(letter) = effects.local.pop_front() {
            self.letter(now, myself, letter, effects);
        }
    }

    /// Ends a turn: what was appended since the last one becomes one write, if the disk is free.
    pub fn end_turn(&mut self, now: Now, effects: &mut Effects) {
        self.store.end_turn(now, &mut effects.disk);
        if effects.disk.iter().any(|op| matches!(op.kind, OpKind::WriteWal { .. })) {
            self.block.in_block_us = now.monotonic_us;
        }
    }

    /// When `Input::Timeout` is due, microseconds of `Now::monotonic_us`.
    pub fn next_timeout(&self) -> Option<u64> {
        let store = self.store.next_timeout();
        let waits = self.waits.next_timeout();
        let groups = self.groups.next_timeout();
        store.into_iter().chain(waits).chain(groups).min()
    }

    fn request(&mut self, now: Now, incoming: Incoming, effects: &mut Effects) {
        let context = Context {
            connection: incoming.connection,
            ticket: incoming.ticket,
            listener: incoming.listener,
            version: incoming.header.version,
            client: Client { id: incoming.header.client_id.unwrap_or_default(), host: incoming.host },
            arrival: incoming.arrival,
        };
        if self.pending.is_full() {
            effects.close(&context, "too many requests are waiting on this shard");
            return;
        }
        api::handle(self, now, context, incoming.request, effects);
    }

    fn letter(&mut self, now: Now, from: Address, letter: Letter, effects: &mut Effects) {
        match letter {
            Letter::Ask { id, ask } => self.asked(now, Asker { address: from, id }, ask, effects),
            Letter::Answer { id, answer, passage } => {
                if is_enough(&answer) {
                    for (address, id) in self.pending.siblings(id) {
                        self.post(address, Letter::Hurry { id }, effects);
                    }
                }
                if let Some((finish, answers)) = self.pending.answered(id, answer) {
                    // Of several owners the last to answer is the slowest.
                    effects.passage = passage;
                    finish(self, now, answers, effects);
                    effects.passage = Passage::default();
                }
            }
            Letter::Hurry { id } => api::fetch::hurry(self, Asker { address: from, id }, effects),
            Letter::FirstCheckpoint => {
                self.first_checkpoints += 1;
                if self.first_checkpoints == self.shards {
                    self.store.release_previous();
                }
            }
            Letter::Image(image) => self.apply(now, image, effects),
            Letter::ImageApplied { .. } => unreachable!("only the controller is told what was applied"),
        }
    }

    fn asked(&mut self, now: Now, asker: Asker, ask: Ask, effects: &mut Effects) {
        match ask {
            Ask::Append(ask) => api::produce::append(self, now, asker, ask, effects),
            Ask::Fetch(ask) => api::fetch::read(self, now, asker, ask, effects),
            Ask::ListOffsets(parts) => api::list_offsets::look_up(self, asker, parts, effects),
            Ask::OffsetForLeaderEpoch(parts) => {
                let ends = api::offset_for_leader_epoch::look_up(self, &parts);
                self.answer(asker, Answer::EpochEnds(ends), effects);
            }
            Ask::DeleteRecords(parts) => api::delete_records::delete(self, asker, parts, effects),
            Ask::DescribeProducers(keys) => {
                let producers = api::describe_producers::describe(self, &keys);
                self.answer(asker, Answer::Producers(producers), effects);
            }
            Ask::LogDirs => {
                let sizes = self.partitions.iter().flatten();
                let sizes = sizes.map(|p| (p.key, self.store.size_bytes(p.slot))).collect();
                self.answer(asker, Answer::LogDirs(sizes), effects);
            }
            Ask::Group { partition, client, version, request } => {
                api::group::serve(self, now, asker, partition, client, version, request, effects);
            }
            Ask::Control { .. } | Ask::AutoCreate(_) | Ask::ProducerIds => {
                unreachable!("the controller is not a shard")
            }
        }
    }

    fn disk_done(&mut self, now: Now, done: Done, effects: &mut Effects) {
        let mut events = Vec::new();
        self.store.complete(now, done, &mut events);
        for event in events {
            self.store_event(now, event, effects);
        }
    }

    fn store_event(&mut self, now: Now, event: Event, effects: &mut Effects) {
        match event {
            Event::Durable { slot, .. } => self.high_watermark_moved(now, slot, effects),
            Event::LogStart { slot, offset } => api::delete_records::moved(self, slot, offset, effects),
            Event::Located { token, located } => api::located(self, now, token, located, effects),
            Event::Bytes { token, result } => api::group::read(self, now, token, result, effects),
            Event::FirstCheckpoint => {
                for shard in self.everyone() {
                    self.post(shard, Letter::FirstCheckpoint, effects);
                }
            }
            Event::Failed { message } => {
                tracing::error!(shard = self.id.0, "the volume has failed: {message}");
                for slot in (0..self.partitions.len() as u32).map(Slot) {
                    api::produce::fail_waiting(self, slot, ErrorCode::KafkaStorageError, effects);
                    api::delete_records::fail_waiting(self, slot, ErrorCode::KafkaStorageError, effects);
                    api::group::unhost(self, now, slot, effects);
                }
            }
        }
    }

    /// Releases what waited for the high watermark of a partition.
    pub(crate) fn high_watermark_moved(&mut self, now: Now, slot: Slot, effects: &mut Effects) {
        if self.partition_at(slot).is_none() {
            return; // It was deleted while the disk worked.
        }
        api::produce::release(self, slot, effects);
        api::fetch::wake(self, slot, effects);
        api::group::committed(self, now, slot, effects);
    }

    fn timeout(&mut self, now: Now, effects: &mut Effects) {
        api::fetch::expire(self, now, effects);
        api::produce::expire(self, now, effects);
        api::group::timeout(self, now, effects);
    }

    /// Makes the partitions of this shard those that the image gives it.
    fn apply(&mut self, now: Now, image: Arc<Image>, effects: &mut Effects) {
        let old = std::mem::replace(&mut self.image, image.clone());
        if !image.same_broker_configs(&old) {
            self.config = Arc::new(self.config.with_dynamic(&image));
            api::group::configure(self);
        }
        for change in Image::topic_changes(&old, &image) {
            match change {
                TopicChange::Created(topic) | TopicChange::Changed { new: topic, .. } => {
                    self.lead_topic(now, &topic, effects);
                }
                TopicChange::Deleted(topic) => {
                    self.drop_topic(now, &topic, effects);
                    api::group::topic_deleted(self, now, &topic.name, effects);
                }
            }
        }
        if old.version() == 0 {
            self.store.loaded();
        }
        let applied = Letter::ImageApplied { shard: self.id, version: image.version() };
        self.post(Address::Control, applied, effects);
    }

    fn lead_topic(&mut self, now: Now, topic: &Topic, effects: &mut Effects) {
        let log_config = self.config.log_config(&topic.name, &topic.configs);
        for (partition, record) in (0..).zip(topic.partitions()) {
            let key = PartitionKey { topic_id: topic.id, partition };
            if self.owner(&key) != self.address() {
                continue;
            }
            match self.partition(&key).map(|partition| partition.slot) {
                Some(slot) => {
                    self.store.configure(slot, log_config.clone());
                    self.partition_at(slot).expect("just seen").leader_epoch = record.leader_epoch;
                }
                None => {
                    let slot = self.lead(key, record.leader_epoch, log_config.clone());
                    if *topic.name == *OFFSETS_TOPIC {
                        api::group::host(self, now, slot, effects);
                    }
                }
            }
        }
    }

    fn drop_topic(&mut self, now: Now, topic: &Topic, effects: &mut Effects) {
        for partition in 0..topic.partition_count() as i32 {
            let key = PartitionKey { topic_id: topic.id, partition };
            let Some(slot) = self.partition(&key).map(|partition| partition.slot) else { continue };
            let error = ErrorCode::UnknownTopicOrPartition;
            api::produce::fail_waiting(self, slot, error, effects);
            api::delete_records::fail_waiting(self, slot, error, effects);
            api::group::unhost(self, now, slot, effects);
            let fetches = self.drop_partition(slot);
            api::fetch::wake_each(self, fetches, effects);
        }
    }
}

/// True if the askers of a fetch need not wait for its other shards.
fn is_enough(answer: &Answer) -> bool {
    match answer {
        Answer::Fetched(parts) => {
            parts.iter().any(|part| part.error != ErrorCode::None || !part.records.is_empty())
        }
        _ => false,
    }
}
