//! What one core owns: its partitions and their store, who waits for what, fetch sessions and group coordinators.
//!
//! This is the state and its small verbs; what to do with an input stands in `step`, what a request means in `api`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use net::ErrorCode;
use storage::{LeaderEpoch, LogConfig, Now, Offset, PartitionKey, Slot, Store};

use crate::config::BrokerConfig;
use crate::effects::Effects;
use crate::fetch_session::FetchSessions;
use crate::group_host::GroupHost;
use crate::ids::{Address, ShardId};
use crate::lag::{COMMITTED_MAX, ENDS_MAX, Ends, LagSheet};
use crate::ledger::{Passage, TopicTraffic};
use crate::letter::{Answer, Ask, Letter};
use crate::metadata::Image;
use crate::partition::{Partition, Traffic};
use crate::pending::{Finish, PendingTable};
use crate::placement;
use crate::producer_ids::ProducerIds;
use crate::volume::{Change, Space, Volume};
use crate::waits::{Asker, WaitId, Waits};

/// The state of one core.
pub struct Shard {
    pub(crate) id: ShardId,
    pub(crate) shards: u16,
    pub(crate) config: Arc<BrokerConfig>,
    pub(crate) image: Arc<Image>,
    pub(crate) store: Store,
    /// By slot.
    pub(crate) partitions: Vec<Option<Partition>>,
    pub(crate) waits: Waits,
    pub(crate) pending: PendingTable<Shard>,
    pub(crate) sessions: FetchSessions,
    pub(crate) groups: GroupHost,
    pub(crate) producer_ids: ProducerIds,
    pub(crate) volume: Volume,
    /// Shards of this broker that have completed their first checkpoint.
    pub(crate) first_checkpoints: u16,
    /// What is known of the newest block of the WAL, for the ledger.
    pub(crate) block: Passage,
    /// The moment of the step that goes on, for the ledger.
    pub(crate) step_us: u64,
    /// Partitions with traffic that was not taken yet.
    touched: Vec<Slot>,
}

impl Shard {
    /// A shard over an opened store. It serves what `image` names once that image was given to `step` as a letter.
    pub fn new(id: ShardId, shards: u16, config: Arc<BrokerConfig>, store: Store) -> Shard {
        assert!(id.0 < shards, "a shard is one of its broker's");
        Shard {
            id,
            shards,
            image: Arc::new(Image::empty()),
            store,
            partitions: Vec::new(),
            waits: Waits::default(),
            pending: PendingTable::new(),
            sessions: FetchSessions::new(id.0, config.max_incremental_fetch_session_cache_slots),
            groups: GroupHost::default(),
            producer_ids: ProducerIds::default(),
            volume: Volume::default(),
            first_checkpoints: 0,
            block: Passage::default(),
            step_us: 0,
            touched: Vec::new(),
            config,
        }
    }

    /// True while the shell should not hand in requests that add data.
    pub fn is_over_pressure(&self) -> bool {
        self.store.pressure().over || self.pending.is_full()
    }

    /// Questions and waits that are open: zero when the shard is idle.
    pub fn open_work(&self) -> usize {
        self.pending.len() + self.waits.len() + self.groups.waiting()
    }

    /// Bytes that are in no segment file yet.
    pub fn dirty_bytes(&self) -> u64 {
        self.store.pressure().dirty_bytes
    }

    /// The newest block of the WAL went to the kernel. Only the ledger has use for it.
    pub fn block_submitted(&mut self, now_us: u64) {
        self.block.submitted_us = now_us;
    }

    /// The disk was heard to have ended something that the next inputs will tell of. Only the ledger has use for it.
    pub fn disk_heard(&mut self, now_us: u64) {
        self.block.durable_us = now_us;
    }

    /// Counts traffic of a partition.
    pub(crate) fn count(&mut self, slot: Slot, count: impl FnOnce(&mut Traffic)) {
        let Some(partition) = self.partitions.get_mut(slot.index()).and_then(Option::as_mut) else { return };
        if partition.traffic == Traffic::default() {
            self.touched.push(slot);
        }
        count(&mut partition.traffic);
    }

    /// The traffic of all topics since the last call. Costs as much as there are partitions with traffic.
    pub fn take_traffic(&mut self) -> Vec<TopicTraffic> {
        let mut topics: BTreeMap<storage::TopicId, TopicTraffic> = BTreeMap::new();
        for slot in std::mem::take(&mut self.touched) {
            let Some(partition) = self.partition_at(slot) else { continue };
            let (id, traffic) = (partition.key.topic_id, std::mem::take(&mut partition.traffic));
            let sum = topics.entry(id).or_default();
            sum.batches_in += traffic.batches_in;
            sum.bytes_in += traffic.bytes_in;
            sum.reads += traffic.reads;
            sum.bytes_out += traffic.bytes_out;
        }
        let named = |(id, sum): (_, TopicTraffic)| {
            let topic = self.image.topic_by_id(id)?;
            Some(TopicTraffic { name: topic.name.to_string(), ..sum })
        };
        topics.into_iter().filter_map(named).collect()
    }

    /// What the groups of this shard's coordinators have committed, and where the logs of the `wanted` topics end that it
    /// leads. Costs as much as there are of both, at most [`COMMITTED_MAX`] and [`ENDS_MAX`].
    pub fn lag_sheet(&self, wanted: &Arc<BTreeSet<Arc<str>>>) -> LagSheet {
        let (mut committed, mut told, mut left_out) = (Vec::new(), 0, 0);
        for hosted in self.groups.hosted.values() {
            left_out += hosted.coordinator.committed_offsets(|topics| {
                told += topics.iter().map(|topic| topic.offsets.len()).sum::<usize>();
                committed.extend(topics);
                told < COMMITTED_MAX
            });
        }
        LagSheet { committed, left_out, wanted: Arc::clone(wanted), ends: self.ends(wanted) }
    }

    fn ends(&self, wanted: &BTreeSet<Arc<str>>) -> Vec<Ends> {
        let mut room = ENDS_MAX;
        let mut ends = Vec::new();
        for topic in wanted.iter().filter_map(|name| self.image.topic(name)) {
            let mine = (0..topic.partitions().count() as i32).filter_map(|partition| {
                let led = self.partition(&PartitionKey { topic_id: topic.id, partition })?;
                Some((partition, self.high_watermark(led.slot).0))
            });
            let high_watermarks: Vec<(i32, i64)> = mine.take(room).collect();
            room -= high_watermarks.len();
            if !high_watermarks.is_empty() {
                ends.push(Ends { topic: Arc::clone(&topic.name), high_watermarks });
            }
        }
        ends
    }

    /// The volume was measured. One shard says what that changes.
    pub(crate) fn measured(&mut self, space: Space) {
        const MIB: u64 = 1 << 20;
        let free = space.free_bytes / MIB;
        match self.volume.measured(space, self.config.log_dir_reserve_bytes) {
            Some(Change::Refuses { reserve_bytes }) if self.id.0 == 0 => tracing::error!(
                "the volume of the data directory has {free} MiB free, less than the {} MiB to be kept: records are \
                 refused, reads go on. Shorten retention, delete topics, enlarge the volume, or lower \
                 log.dir.reserve.bytes",
                reserve_bytes / MIB
            ),
            Some(Change::Takes) if self.id.0 == 0 => {
                tracing::warn!(
                    "the volume of the data directory has {free} MiB free: records are taken again"
                );
            }
            _ => {}
        }
    }

    /// Begins an orderly stop: flush, last checkpoint, clean mark.
    pub fn begin_stop(&mut self, now: Now) {
        self.store.begin_stop(now);
    }

    /// True once an orderly stop is complete.
    pub fn is_stopped(&self) -> bool {
        self.store.stopped()
    }

    /// This shard's address.
    pub fn address(&self) -> Address {
        Address::Shard(self.id)
    }

    /// The shard that owns a partition.
    pub(crate) fn owner(&self, key: &PartitionKey) -> Address {
        Address::Shard(placement::shard_of(key.topic_id, key.partition, self.shards))
    }

    /// All shards, this one included.
    pub(crate) fn everyone(&self) -> impl Iterator<Item = Address> + use<> {
        (0..self.shards).map(|shard| Address::Shard(ShardId(shard)))
    }

    /// The partition, if this shard leads it.
    pub(crate) fn partition(&self, key: &PartitionKey) -> Option<&Partition> {
        self.partitions.get(self.store.slot(key)?.index())?.as_ref()
    }

    pub(crate) fn partition_at(&mut self, slot: Slot) -> Option<&mut Partition> {
        self.partitions.get_mut(slot.index())?.as_mut()
    }

    /// The partition of that name, if there is one in the cluster.
    pub(crate) fn resolve(&self, topic: &str, partition: i32) -> Option<PartitionKey> {
        let topic = self.image.topic(topic)?;
        topic.partition(partition)?;
        Some(PartitionKey { topic_id: topic.id, partition })
    }

    /// True for topics that belong to the brokers and not to users.
    pub(crate) fn is_internal(&self, topic: &str) -> bool {
        self.image.topic(topic).is_some_and(|topic| topic.is_internal())
    }

    /// The partition, if this shard leads it in the epoch that the client believes in (KIP-320); -1 for any.
    pub(crate) fn led(&self, key: &PartitionKey, current_leader_epoch: i32) -> Result<&Partition, ErrorCode> {
        let partition = self.partition(key).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        match current_leader_epoch {
            -1 => Ok(partition),
            epoch if epoch < partition.leader_epoch => Err(ErrorCode::FencedLeaderEpoch),
            epoch if epoch > partition.leader_epoch => Err(ErrorCode::UnknownLeaderEpoch),
            _ => Ok(partition),
        }
    }

    /// `(epoch, end offset)` of the largest epoch up to `asked` in the log; `(-1, -1)` if it is unknown.
    pub(crate) fn epoch_end(&self, partition: &Partition, asked: LeaderEpoch, log_end: Offset) -> (i32, i64) {
        if asked.0 == partition.leader_epoch {
            return (asked.0, log_end.0);
        }
        match self.store.leader_epochs(partition.slot).end_offset_for(asked, log_end) {
            Some((epoch, end)) => (epoch.0, end.0),
            None => (-1, -1),
        }
    }

    /// Begins to lead a partition.
    pub(crate) fn lead(&mut self, key: PartitionKey, leader_epoch: i32, config: LogConfig) -> Slot {
        let slot = self.store.create_partition(key, config);
        if self.partitions.len() <= slot.index() {
            self.partitions.resize_with(slot.index() + 1, || None);
        }
        self.partitions[slot.index()] = Some(Partition::new(key, slot, leader_epoch));
        slot
    }

    /// Ends the life of a partition of this shard; returns the fetches that waited for it.
    pub(crate) fn drop_partition(&mut self, slot: Slot) -> Vec<WaitId> {
        self.store.delete_partition(slot);
        let dropped = self.partitions[slot.index()].take();
        dropped.map(|mut partition| partition.take_fetches()).unwrap_or_default()
    }

    /// End of what consumers may read and what `acks` 1 and all promise. With one replica this is the end of what is
    /// as durable as the topic's `flush.mode` asks.
    pub(crate) fn high_watermark(&self, slot: Slot) -> Offset {
        self.store.offsets(slot).acknowledged_end
    }

    /// Asks each of `asks`, and carries on with `finish` when all answers are in. The answers stand in the order of
    /// the questions.
    pub(crate) fn ask(&mut self, asks: Vec<(Address, Ask)>, effects: &mut Effects, finish: Finish<Shard>) {
        let addresses: Vec<Address> = asks.iter().map(|(address, _)| *address).collect();
        let ids = self.pending.open(&addresses, finish);
        for (id, (address, ask)) in ids.into_iter().zip(asks) {
            self.post(address, Letter::Ask { id, ask }, effects);
        }
    }

    /// Answers a question.
    pub(crate) fn answer(&self, asker: Asker, answer: Answer, effects: &mut Effects) {
        self.answer_passed(asker, answer, Passage::default(), effects);
    }

    /// Answers a question of which the ledger shall know when what happened to it.
    pub(crate) fn answer_passed(
        &self,
        asker: Asker,
        answer: Answer,
        passage: Passage,
        effects: &mut Effects,
    ) {
        self.post(asker.address, Letter::Answer { id: asker.id, answer, passage }, effects);
    }

    pub(crate) fn post(&self, address: Address, letter: Letter, effects: &mut Effects) {
        if address == self.address() {
            effects.local.push_back(letter);
        } else {
            effects.letters.push((address, letter));
        }
    }
}
