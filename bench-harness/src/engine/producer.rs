//! A virtual producer: records become batches, batches become requests, as in the clients that it imitates. Knows nothing
//! of sockets and clocks.
//!
//! The way of a batch:
//!
//! ```text
//!   open ─ full, or its linger is over ─→ ready ─ a request has room ─→ in flight ─ acknowledged ─→ done
//!                                           ↑                              ├─ failed for good ─→ done
//!                                           └───── pause after an error ───┘
//! ```
//!
//! With `many_partitions` a request to a broker takes the first batch of each of its partitions as soon as one of them is
//! ready, as the Java client does; without, it takes one ready batch, as librdkafka does.

use std::collections::VecDeque;

use bytes::Bytes;
use rand::RngExt;
use rand_pcg::Pcg64Mcg;

use crate::batch::{BatchWriter, ProducerId};
use crate::clock::MILLISECOND_NS;
use crate::cluster::Layout;
use crate::correctness::Written;
use crate::keys::{KEY_BYTES, partition_of};
use crate::payload::Pool;
use crate::record::{self, Head};
use crate::workload::{Batching, Codec, Partitioner, RECORD_BYTES_MIN};

/// How long librdkafka keeps a partition for records without keys.
const STICKY_NS: u64 = 10 * MILLISECOND_NS;
/// Batches that are kept for their memory, of each worker.
const SPARE_BATCHES_MAX: usize = 4096;
/// A spare batch whose buffer has grown above this gives it back.
const SPARE_BUFFER_BYTES_MAX: usize = 2 << 20;

/// Records on their way to one partition.
#[derive(Debug)]
pub struct Batch {
    /// The partition, among all of the run.
    pub partition: usize,
    /// The place of the partition in its producer.
    pub slot: usize,
    /// The sequence of its first record.
    pub first_sequence: u64,
    /// When each record was due.
    pub intended_ns: Vec<u64>,
    /// By how much each was late when it was put into the batch.
    pub lag_ns: Vec<u32>,
    /// Bytes of the values.
    pub value_bytes: u64,
    /// Bytes that it takes of the buffer.
    pub buffer_bytes: usize,
    writer: Option<BatchWriter>,
    sealed: Bytes,
    /// When its linger is over.
    linger_until_ns: u64,
    /// When it was full.
    full_at_ns: Option<u64>,
    last_append_ns: u64,
    /// How often it was sent.
    pub attempts: u32,
}

impl Batch {
    /// Records in it.
    pub fn records(&self) -> u64 {
        self.intended_ns.len() as u64
    }

    /// The sequences of its records.
    pub fn sequences(&self) -> std::ops::Range<u64> {
        self.first_sequence..self.first_sequence + self.records()
    }

    fn is_ready(&self, now_ns: u64) -> bool {
        self.full_at_ns.is_some() || self.writer.is_none() || now_ns >= self.linger_until_ns
    }

    /// From when on it could be sent, as far as it knows.
    pub fn sendable_at_ns(&self) -> u64 {
        self.full_at_ns.unwrap_or(self.linger_until_ns).max(self.last_append_ns)
    }

    /// The batch as it is sent.
    fn seal(&mut self, codec: Codec, producer: Option<ProducerId>, spare: &mut Vec<u8>) -> Bytes {
        if let Some(writer) = self.writer.take() {
            // Kafka's sequences are of 31 bits and begin again at 0.
            let base = (self.first_sequence & 0x7fff_ffff) as i32;
            let (sealed, left) = writer.finish(codec, producer.map(|id| (id, base)), std::mem::take(spare));
            self.sealed = sealed;
            *spare = left;
        }
        self.sealed.clone()
    }
}

/// Batches that are done, kept for their memory: so nothing is allocated for a record.
#[derive(Debug, Default)]
pub struct Spares(Vec<Box<Batch>>);

impl Spares {
    /// Takes a batch back.
    pub fn give(&mut self, mut batch: Box<Batch>) {
        if self.0.len() < SPARE_BATCHES_MAX {
            batch.intended_ns.clear();
            batch.lag_ns.clear();
            self.0.push(batch);
        }
    }

    fn take(&mut self, batch_bytes: usize) -> Box<Batch> {
        let mut batch = self.0.pop().unwrap_or_else(|| {
            Box::new(Batch {
                partition: 0,
                slot: 0,
                first_sequence: 0,
                intended_ns: Vec::new(),
                lag_ns: Vec::new(),
                value_bytes: 0,
                buffer_bytes: 0,
                writer: None,
                sealed: Bytes::new(),
                linger_until_ns: 0,
                full_at_ns: None,
                last_append_ns: 0,
                attempts: 0,
            })
        });
        let mut sealed = std::mem::take(&mut batch.sealed);
        // Nobody else holds these bytes by now, so their memory comes back. All but one byte go first, which would be
        // moved; the last one may not go, because `Bytes` gives its memory back with it.
        sealed.truncate(1);
        let mut buffer = Vec::from(sealed);
        if buffer.capacity() > SPARE_BUFFER_BYTES_MAX.max(2 * batch_bytes) {
            buffer = Vec::new();
        }
        batch.writer = Some(BatchWriter::new(buffer));
        batch.value_bytes = 0;
        batch.buffer_bytes = 0;
        batch.full_at_ns = None;
        batch.attempts = 0;
        batch
    }
}

/// A partition that the producer writes to.
#[derive(Debug)]
struct Slot {
    partition: usize,
    /// In order; only the last one may be open.
    batches: VecDeque<Box<Batch>>,
    /// The broker in whose line it stands.
    in_line: Option<usize>,
    /// Counted in `Queue::ready`.
    ready: bool,
    /// Pausing after an error.
    muted: bool,
    written: Written,
}

/// Slots of one broker that have something to send: with `many_partitions` all of them, otherwise those that are ready.
#[derive(Debug, Default)]
struct Queue {
    line: VecDeque<usize>,
    /// How many of the line are ready.
    ready: usize,
}

/// A topic that the producer writes to.
#[derive(Debug)]
struct TopicSlots {
    first_slot: usize,
    partitions: usize,
    sticky: usize,
    sticky_until: u64,
    sticky_bytes: usize,
}

/// One virtual producer.
#[derive(Debug)]
pub struct Producer {
    /// Its number in the run.
    pub number: u32,
    run: u32,
    producer_id: Option<ProducerId>,
    topics: Vec<TopicSlots>,
    next_topic: usize,
    slots: Vec<Slot>,
    queues: Vec<Queue>,
    many_partitions: bool,
    random: Pcg64Mcg,
}

/// What a request is made by.
#[derive(Debug, Clone, Copy)]
pub struct RequestRules<'a> {
    /// How large it may be.
    pub batching: &'a Batching,
    /// How its batches are compressed.
    pub codec: Codec,
    /// Who leads what.
    pub layout: &'a Layout,
}

/// A record to append.
#[derive(Debug)]
pub struct NewRecord<'a> {
    /// When it was due.
    pub intended_ns: u64,
    /// How late that is now.
    pub lag_ns: u64,
    /// Its key.
    pub key: Option<&'a [u8; KEY_BYTES]>,
    /// Bytes of its value.
    pub value_bytes: usize,
    /// The wall clock.
    pub timestamp_ms: i64,
}

/// What an append changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Bytes that it takes of the buffer.
    pub bytes: usize,
    /// The slot, if a batch was begun in it whose linger ends at this time.
    pub lingers: Option<(usize, u64)>,
    /// The broker that can be sent to now.
    pub ready_node: Option<usize>,
}

impl Producer {
    /// A producer that writes to these topics of the layout.
    pub fn new(
        number: u32,
        run: u32,
        producer_id: Option<ProducerId>,
        topics: &[usize],
        layout: &Layout,
        batching: &Batching,
        random: Pcg64Mcg,
    ) -> Self {
        let mut slots = Vec::new();
        let mut by_topic = Vec::new();
        for topic in topics {
            let topic = &layout.topics[*topic];
            by_topic.push(TopicSlots {
                first_slot: slots.len(),
                partitions: topic.partitions,
                // Round robin begins elsewhere for every producer; sticky ones draw at once.
                sticky: number as usize % topic.partitions,
                sticky_until: 0,
                sticky_bytes: usize::MAX,
            });
            slots.extend((0..topic.partitions).map(|index| Slot {
                partition: topic.first + index,
                batches: VecDeque::new(),
                in_line: None,
                ready: false,
                muted: false,
                written: Written::default(),
            }));
        }
        Self {
            number,
            run,
            producer_id,
            topics: by_topic,
            next_topic: 0,
            slots,
            queues: Vec::new(),
            many_partitions: batching.many_partitions,
            random,
        }
    }

    /// Puts a record into a batch.
    pub fn append(
        &mut self,
        record: &NewRecord<'_>,
        now_ns: u64,
        batching: &Batching,
        payload: &mut Pool,
        layout: &Layout,
        spares: &mut Spares,
    ) -> Appended {
        let slot_index = self.choose_slot(record, now_ns, batching);
        let slot = &mut self.slots[slot_index];
        let room = BatchWriter::record_bytes_max(record.key.map(|key| &key[..]), record.value_bytes);
        let mut lingers = None;
        let fits = slot.batches.back().is_some_and(|batch| {
            let open = batch.writer.as_ref();
            batch.full_at_ns.is_none() && open.is_some_and(|open| open.bytes() + room <= batching.batch_bytes)
        });
        if !fits {
            if let Some(last) = slot.batches.back_mut()
                && last.full_at_ns.is_none()
            {
                last.full_at_ns = Some(now_ns);
            }
            let mut batch = spares.take(batching.batch_bytes);
            batch.partition = slot.partition;
            batch.slot = slot_index;
            batch.first_sequence = slot.written.records;
            batch.linger_until_ns = now_ns + (batching.linger_ms * MILLISECOND_NS as f64) as u64;
            lingers = Some((slot_index, batch.linger_until_ns));
            slot.batches.push_back(batch);
        }
        let batch = slot.batches.back_mut().expect("there is an open batch");
        let writer = batch.writer.as_mut().expect("the last batch is open");
        let before = writer.bytes();
        let head = Head {
            run: self.run,
            producer: self.number,
            sequence: slot.written.records,
            intended_ns: record.intended_ns,
        };
        let payload = payload.cut(record.value_bytes - RECORD_BYTES_MIN);
        let key = record.key.map(|key| &key[..]);
        writer.append(record.timestamp_ms, key, record.value_bytes, |buffer| {
            record::append(buffer, head, payload);
        });
        let bytes = writer.bytes() - before;
        let full =
            writer.records() as usize >= batching.batch_records || writer.bytes() >= batching.batch_bytes;
        slot.written.records += 1;
        batch.intended_ns.push(record.intended_ns);
        batch.lag_ns.push(u32::try_from(record.lag_ns).unwrap_or(u32::MAX));
        batch.value_bytes += record.value_bytes as u64;
        batch.buffer_bytes += bytes;
        batch.last_append_ns = now_ns;
        if full {
            batch.full_at_ns = Some(now_ns);
        }
        let ready_node = self.line_up(slot_index, now_ns, layout);
        Appended { bytes, lingers, ready_node }
    }

    fn choose_slot(&mut self, record: &NewRecord<'_>, now_ns: u64, batching: &Batching) -> usize {
        let topic = self.next_topic;
        self.next_topic = (topic + 1) % self.topics.len();
        let topic = &mut self.topics[topic];
        if let Some(key) = record.key {
            return topic.first_slot + partition_of(key, topic.partitions);
        }
        match batching.partitioner {
            Partitioner::RoundRobin => topic.sticky = (topic.sticky + 1) % topic.partitions,
            Partitioner::StickyBytes => {
                if topic.sticky_bytes >= batching.batch_bytes {
                    topic.sticky = self.random.random_range(0..topic.partitions);
                    topic.sticky_bytes = 0;
                }
                topic.sticky_bytes += record.value_bytes;
            }
            Partitioner::StickyTime => {
                if now_ns >= topic.sticky_until {
                    topic.sticky = self.random.random_range(0..topic.partitions);
                    topic.sticky_until = now_ns + STICKY_NS;
                }
            }
        }
        topic.first_slot + topic.sticky
    }

    /// Puts a slot in line where it belongs. The broker, if it can be sent to because of that.
    fn line_up(&mut self, slot_index: usize, now_ns: u64, layout: &Layout) -> Option<usize> {
        let slot = &mut self.slots[slot_index];
        let first = slot.batches.front()?;
        let ready = first.is_ready(now_ns);
        if slot.muted || slot.ready || !(ready || self.many_partitions) {
            return None;
        }
        let node = slot.in_line.unwrap_or_else(|| {
            let node = layout.leaders[slot.partition];
            node.expect(
                "every partition had a leader when the run began, and keeps it until there is another",
            )
        });
        if self.queues.len() <= node {
            self.queues.resize_with(node + 1, Queue::default);
        }
        let queue = &mut self.queues[node];
        if slot.in_line.is_none() {
            slot.in_line = Some(node);
            queue.line.push_back(slot_index);
        }
        slot.ready = ready;
        queue.ready += usize::from(ready);
        ready.then_some(node)
    }

    /// A batch that was begun in this slot has lingered long enough. The broker that can be sent to now.
    pub fn lingered(&mut self, slot: usize, now_ns: u64, layout: &Layout) -> Option<usize> {
        self.line_up(slot, now_ns, layout)
    }

    /// The pause of a slot after an error is over. The broker that can be sent to now.
    pub fn unmute(&mut self, slot: usize, now_ns: u64, layout: &Layout) -> Option<usize> {
        self.slots[slot].muted = false;
        self.line_up(slot, now_ns, layout)
    }

    /// Whether there is a request to be sent to this broker.
    pub fn is_ready(&self, node: usize) -> bool {
        self.queues.get(node).is_some_and(|queue| queue.ready > 0)
    }

    /// Takes the batches of the next request to a broker, each with its bytes. None if there is nothing to send.
    pub fn take_request(
        &mut self,
        node: usize,
        now_ns: u64,
        request: &RequestRules<'_>,
        spare: &mut Vec<u8>,
        batches: &mut Vec<(Box<Batch>, Bytes)>,
    ) {
        if !self.is_ready(node) {
            return;
        }
        let mut bytes_left = request.batching.request_bytes;
        for _ in 0..self.queues[node].line.len() {
            let queue = &mut self.queues[node];
            let Some(&index) = queue.line.front() else { break };
            let slot = &mut self.slots[index];
            let stays = !slot.muted && request.layout.leaders[slot.partition] == Some(node);
            if stays
                && !batches.is_empty()
                && slot.batches.front().is_some_and(|first| first.buffer_bytes > bytes_left)
            {
                // It is the first of the next request.
                break;
            }
            queue.line.pop_front();
            slot.in_line = None;
            queue.ready -= usize::from(std::mem::take(&mut slot.ready));
            if stays && let Some(mut batch) = slot.batches.pop_front() {
                bytes_left = bytes_left.saturating_sub(batch.buffer_bytes);
                let sealed = batch.seal(request.codec, self.producer_id, spare);
                batch.attempts += 1;
                batches.push((batch, sealed));
            }
            self.line_up(index, now_ns, request.layout);
            if !self.many_partitions && !batches.is_empty() {
                break;
            }
        }
    }

    /// Puts a batch back that is to be sent again, and mutes its slot until [`Self::unmute`].
    pub fn put_back(&mut self, batch: Box<Batch>) {
        let slot = &mut self.slots[batch.slot];
        slot.muted = true;
        let at = slot.batches.partition_point(|other| other.first_sequence < batch.first_sequence);
        slot.batches.insert(at, batch);
    }

    /// Takes note that a batch was never acknowledged.
    pub fn excuse(&mut self, batch: &Batch) {
        self.slots[batch.slot].written.excuse(batch.sequences());
    }

    /// Takes every batch that is waiting, at the end of a run.
    pub fn take_waiting(&mut self) -> impl Iterator<Item = Box<Batch>> + '_ {
        self.slots.iter_mut().flat_map(|slot| slot.batches.drain(..))
    }

    /// What it wrote, by partition.
    pub fn written(self) -> impl Iterator<Item = (usize, Written)> {
        self.slots
            .into_iter()
            .filter(|slot| slot.written.records > 0)
            .map(|slot| (slot.partition, slot.written))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Topic;
    use crate::random;
    use crate::workload::Payload;

    struct Bench {
        producer: Producer,
        batching: Batching,
        layout: Layout,
        payload: Pool,
        spares: Spares,
        now_ns: u64,
    }

    impl Bench {
        /// A producer to three partitions, all led by one broker.
        fn new(batching: Batching) -> Self {
            let topic = Topic { name: "t".into(), first: 0, partitions: 3 };
            let layout = Layout { topics: vec![topic], leaders: vec![Some(0); 3], ..Layout::default() };
            let producer = Producer::new(2, 7, None, &[0], &layout, &batching, random::stream(1, 1));
            let payload = Pool::new(&Payload::default(), 1000, 1);
            Self { producer, batching, layout, payload, spares: Spares::default(), now_ns: 0 }
        }

        fn append(&mut self, value_bytes: usize) -> Appended {
            let record =
                NewRecord { intended_ns: self.now_ns, lag_ns: 0, key: None, value_bytes, timestamp_ms: 0 };
            self.producer.append(
                &record,
                self.now_ns,
                &self.batching,
                &mut self.payload,
                &self.layout,
                &mut self.spares,
            )
        }

        /// The batches of the next request: partition, first sequence, records.
        fn request(&mut self) -> Vec<Box<Batch>> {
            let rules = RequestRules { batching: &self.batching, codec: Codec::None, layout: &self.layout };
            let mut taken = Vec::new();
            self.producer.take_request(0, self.now_ns, &rules, &mut Vec::new(), &mut taken);
            taken.into_iter().map(|(batch, _)| batch).collect()
        }
    }

    fn shape(batches: &[Box<Batch>]) -> Vec<(usize, u64, u64)> {
        batches.iter().map(|batch| (batch.partition, batch.first_sequence, batch.records())).collect()
    }

    fn round_robin(batching: Batching) -> Batching {
        Batching { partitioner: Partitioner::RoundRobin, ..batching }
    }

    #[test]
    fn a_batch_waits_for_its_linger() {
        let mut bench = Bench::new(round_robin(Batching::java()));
        let appended = bench.append(100);
        let (slot, until_ns) = appended.lingers.expect("it begins a batch");
        assert_eq!((until_ns, appended.ready_node), (5_000_000, None));
        assert!(bench.request().is_empty());
        bench.now_ns = until_ns;
        assert_eq!(bench.producer.lingered(slot, until_ns, &bench.layout), Some(0));
        assert_eq!(shape(&bench.request()), [(0, 0, 1)]);
        assert!(bench.producer.take_waiting().next().is_none());
    }

    #[test]
    fn a_full_batch_takes_those_of_the_other_partitions_along() {
        // As the Java client drains: whatever there is for the broker.
        let mut bench = Bench::new(round_robin(Batching { batch_records: 2, ..Batching::java() }));
        for _ in 0..3 {
            assert_eq!(bench.append(100).ready_node, None);
        }
        assert_eq!(bench.append(100).ready_node, Some(0));
        assert_eq!(shape(&bench.request()), [(0, 0, 2), (1, 0, 1), (2, 0, 1)]);
    }

    #[test]
    fn librdkafka_sends_one_ready_batch_at_a_time() {
        let mut bench = Bench::new(round_robin(Batching { batch_records: 1, ..Batching::librdkafka() }));
        bench.append(100);
        bench.append(100);
        assert_eq!(shape(&bench.request()), [(0, 0, 1)]);
        assert_eq!(shape(&bench.request()), [(1, 0, 1)]);
        assert!(bench.request().is_empty());
    }

    #[test]
    fn a_request_is_no_larger_than_it_may_be() {
        let batching = Batching { batch_records: 1, request_bytes: 1200, ..Batching::java() };
        let mut bench = Bench::new(round_robin(batching));
        for _ in 0..3 {
            bench.append(500);
        }
        assert_eq!(bench.request().len(), 2);
        assert_eq!(bench.request().len(), 1);
    }

    #[test]
    fn what_is_sent_again_keeps_its_place() {
        let mut bench = Bench::new(Batching { batch_records: 1, ..Batching::librdkafka() });
        for _ in 0..3 {
            bench.append(100);
        }
        let first = bench.request().remove(0);
        let second = bench.request().remove(0);
        let slot = first.slot;
        bench.producer.put_back(second);
        bench.producer.put_back(first);
        assert!(bench.request().is_empty(), "it pauses");
        bench.producer.unmute(slot, bench.now_ns, &bench.layout);
        let again: Vec<u64> = (0..3).map(|_| bench.request()[0].first_sequence).collect();
        assert_eq!(again, [0, 1, 2]);
    }

    #[test]
    fn a_partition_follows_its_leader() {
        let mut bench = Bench::new(Batching { batch_records: 1, ..Batching::java() });
        bench.append(100);
        bench.layout.leaders = vec![Some(1); 3];
        assert!(bench.request().is_empty());
        assert!(bench.producer.is_ready(1) && !bench.producer.is_ready(0));
    }

    #[test]
    fn a_sticky_partition_is_kept_for_the_bytes_of_a_batch() {
        let mut bench = Bench::new(Batching { batch_bytes: 10_000, ..Batching::java() });
        let chosen = |bench: &mut Bench| {
            let before: Vec<u64> = bench.producer.slots.iter().map(|slot| slot.written.records).collect();
            bench.append(1000);
            let grew = |(slot, before): (&Slot, &u64)| slot.written.records > *before;
            bench.producer.slots.iter().zip(&before).position(grew).unwrap()
        };
        let chosen: Vec<usize> = (0..100).map(|_| chosen(&mut bench)).collect();
        assert!(
            chosen.chunks(10).all(|some| some.iter().all(|partition| *partition == some[0])),
            "{chosen:?}"
        );
        assert!((0..3).all(|partition| chosen.contains(&partition)), "{chosen:?}");
    }
}
