//! A virtual consumer: which partitions it reads from where, in fetch sessions (KIP-227), and what has been fetched and
//! not yet been looked at. Knows nothing of sockets and clocks.

use std::collections::VecDeque;

use bytes::Bytes;
use net::ErrorCode;
use net::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic, ForgottenTopic};
use net::wire::RecordsPart;

use crate::batch::BatchReader;
use crate::cluster::Layout;
use crate::workload::Consumers;

/// A consumer asks for more only while it has less than this to look at.
const UNREAD_BYTES_MAX: usize = 2 << 20;
/// The epoch of a fetch that is in no session.
const NO_SESSION: i32 = -1;

/// Records of one partition that were fetched.
#[derive(Debug)]
pub struct Chunk {
    /// The partition, among all of the run.
    pub partition: usize,
    /// Its records.
    pub reader: BatchReader,
    bytes: usize,
    /// Where the consumer will be when it has looked at all.
    next_offset: i64,
    /// From which assignment it is.
    assignment: u64,
}

/// A partition that is read.
#[derive(Debug, Clone)]
struct Reading {
    partition: usize,
    fetch_offset: i64,
    consumed_offset: i64,
    /// The broker in whose session it is, and whether that knows `fetch_offset`.
    node: Option<usize>,
    changed: bool,
}

/// The fetch session with one broker.
#[derive(Debug, Clone, Default)]
struct Session {
    id: i32,
    epoch: i32,
    in_flight: bool,
    /// The next fetch is full, whatever the response to the one in flight says.
    restart: bool,
    forgotten: Vec<usize>,
}

/// One virtual consumer.
#[derive(Debug)]
pub struct Consumer {
    /// Which of the independent readers it belongs to.
    pub subscription: usize,
    readings: Vec<Reading>,
    /// By partition, the place in `readings`; ascending.
    places: Vec<(usize, usize)>,
    sessions: Vec<Session>,
    chunks: VecDeque<Chunk>,
    unread_bytes: usize,
    assignment: u64,
}

/// What a fetch response asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Whether there were records.
    pub records: bool,
    /// The leaders should be asked for again.
    pub stale_leaders: bool,
    /// What went wrong, for the count of retries.
    pub errors: Vec<ErrorCode>,
    /// Records that were removed before they were read: partition, and how many offsets were skipped.
    pub skipped: Vec<(usize, i64)>,
}

impl Consumer {
    /// A consumer that reads nothing yet.
    pub fn new(subscription: usize) -> Self {
        Self {
            subscription,
            readings: Vec::new(),
            places: Vec::new(),
            sessions: Vec::new(),
            chunks: VecDeque::new(),
            unread_bytes: 0,
            assignment: 0,
        }
    }

    /// Reads these partitions from these offsets, and no others. What it has fetched is forgotten, except of partitions
    /// that it keeps.
    pub fn assign(&mut self, partitions: impl Iterator<Item = (usize, i64)>, layout: &Layout) {
        self.assignment += 1;
        self.readings.clear();
        for session in &mut self.sessions {
            session.epoch = 0;
            session.restart = session.in_flight;
        }
        self.chunks.clear();
        self.unread_bytes = 0;
        for (partition, offset) in partitions {
            self.readings.push(Reading {
                partition,
                fetch_offset: offset,
                consumed_offset: offset,
                node: None,
                changed: true,
            });
        }
        self.places =
            self.readings.iter().enumerate().map(|(place, reading)| (reading.partition, place)).collect();
        self.places.sort_unstable();
        self.follow_leaders(layout);
    }

    /// Moves partitions to the sessions of the brokers that lead them.
    pub fn follow_leaders(&mut self, layout: &Layout) {
        self.sessions.resize_with(layout.nodes.len().max(self.sessions.len()), Session::default);
        for reading in &mut self.readings {
            let leader = layout.leaders[reading.partition];
            if reading.node != leader {
                if let Some(node) = reading.node {
                    self.sessions[node].forgotten.push(reading.partition);
                }
                reading.node = leader;
                reading.changed = true;
            }
        }
    }

    /// Brokers that it reads from.
    pub fn nodes(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.sessions.len())
            .filter(|node| self.readings.iter().any(|reading| reading.node == Some(*node)))
    }

    /// Where it is in each partition: the offset behind the last record that was looked at.
    pub fn positions(&self) -> impl Iterator<Item = (usize, i64)> + '_ {
        self.readings.iter().map(|reading| (reading.partition, reading.consumed_offset))
    }

    /// Whether a fetch should be sent to a broker now.
    pub fn wants_fetch(&self, node: usize) -> bool {
        let idle = self.sessions.get(node).is_some_and(|session| !session.in_flight);
        idle && self.unread_bytes < UNREAD_BYTES_MAX
    }

    /// The next fetch request to a broker.
    pub fn fetch(&mut self, node: usize, version: i16, layout: &Layout, rules: &Consumers) -> FetchRequest {
        let session = &mut self.sessions[node];
        let full = session.epoch == 0 || version < 7;
        let mut topics: Vec<FetchTopic> = Vec::new();
        let mut last_topic = usize::MAX;
        for reading in &mut self.readings {
            if reading.node != Some(node) || !(full || reading.changed) {
                continue;
            }
            reading.changed = false;
            let (topic, index) = layout.locate(reading.partition);
            if topic != last_topic {
                topics.push(FetchTopic { topic: layout.topics[topic].name.clone(), partitions: Vec::new() });
                last_topic = topic;
            }
            topics.last_mut().expect("its topic is there").partitions.push(FetchPartition {
                partition: index,
                fetch_offset: reading.fetch_offset,
                partition_max_bytes: rules.partition_max_bytes,
                ..FetchPartition::default()
            });
        }
        let mut forgotten: Vec<ForgottenTopic> = Vec::new();
        for partition in session.forgotten.drain(..) {
            let (topic, index) = layout.locate(partition);
            let place = self.places.binary_search_by_key(&partition, |(key, _)| *key);
            let is_back = place.is_ok_and(|at| self.readings[self.places[at].1].node == Some(node));
            if !full && !is_back {
                let topic = layout.topics[topic].name.clone();
                forgotten.push(ForgottenTopic { topic, partitions: vec![index] });
            }
        }
        session.in_flight = true;
        FetchRequest {
            max_wait_ms: rules.fetch_max_wait_ms,
            min_bytes: rules.fetch_min_bytes,
            max_bytes: rules.fetch_max_bytes,
            session_id: session.id,
            session_epoch: if version < 7 { NO_SESSION } else { session.epoch },
            topics,
            forgotten_topics_data: forgotten,
            ..FetchRequest::default()
        }
    }

    /// The fetch to a broker got no response: the session is begun anew.
    pub fn fetch_failed(&mut self, node: usize) {
        self.sessions[node] = Session::default();
    }

    /// Takes the response to the fetch from a broker.
    pub fn fetched(&mut self, node: usize, response: FetchResponse, layout: &Layout) -> Fetched {
        let mut fetched = Fetched::default();
        let session = &mut self.sessions[node];
        session.in_flight = false;
        if response.error_code != ErrorCode::None {
            // The session is gone or was never there: the next one is full.
            *session = Session::default();
            fetched.errors.push(response.error_code);
            return fetched;
        }
        session.id = response.session_id;
        session.epoch = match response.session_id {
            0 => 0,
            _ if std::mem::take(&mut session.restart) => 0,
            _ => session.epoch.checked_add(1).unwrap_or(1),
        };
        for topic in response.responses {
            for data in topic.partitions {
                let place = layout
                    .partition(&topic.topic, data.partition_index)
                    .and_then(|partition| self.places.binary_search_by_key(&partition, |(key, _)| *key).ok())
                    .map(|found| self.places[found].1);
                // It was taken away meanwhile.
                let Some(place) = place else { continue };
                let reading = &mut self.readings[place];
                match data.error_code {
                    ErrorCode::None => {}
                    ErrorCode::OffsetOutOfRange => {
                        fetched.errors.push(data.error_code);
                        if data.log_start_offset > reading.fetch_offset {
                            let skipped = data.log_start_offset - reading.fetch_offset;
                            fetched.skipped.push((reading.partition, skipped));
                            reading.fetch_offset = data.log_start_offset;
                        }
                        reading.changed = true;
                        continue;
                    }
                    code => {
                        fetched.errors.push(code);
                        fetched.stale_leaders = true;
                        reading.changed = true;
                        continue;
                    }
                }
                for part in data.records.map(|records| records.parts).unwrap_or_default() {
                    let RecordsPart::Memory(bytes) = part else { continue };
                    let Some(next_offset) = offset_behind(&bytes) else { continue };
                    fetched.records = true;
                    reading.fetch_offset = next_offset;
                    reading.changed = true;
                    self.unread_bytes += bytes.len();
                    self.chunks.push_back(Chunk {
                        partition: reading.partition,
                        bytes: bytes.len(),
                        reader: BatchReader::new(bytes),
                        next_offset,
                        assignment: self.assignment,
                    });
                }
            }
        }
        fetched
    }

    /// The oldest records that were not looked at.
    pub fn chunk(&mut self) -> Option<&mut Chunk> {
        self.chunks.front_mut()
    }

    /// The oldest records have been looked at.
    pub fn finish_chunk(&mut self) {
        let Some(chunk) = self.chunks.pop_front() else { return };
        self.unread_bytes -= chunk.bytes;
        if chunk.assignment == self.assignment
            && let Ok(found) = self.places.binary_search_by_key(&chunk.partition, |(partition, _)| *partition)
        {
            self.readings[self.places[found].1].consumed_offset = chunk.next_offset;
        }
    }
}

/// The offset behind the last whole batch, from the headers alone.
fn offset_behind(batches: &Bytes) -> Option<i64> {
    let (mut at, mut behind) = (0, None);
    while let Some(header) = batches.get(at..at + 27) {
        let base = i64::from_be_bytes(header[..8].try_into().expect("eight bytes"));
        let length = i32::from_be_bytes(header[8..12].try_into().expect("four bytes"));
        let last_delta = i32::from_be_bytes(header[23..27].try_into().expect("four bytes"));
        let end = at + 12 + usize::try_from(length).ok()?;
        if end > batches.len() {
            break;
        }
        behind = Some(base + i64::from(last_delta) + 1);
        at = end;
    }
    behind
}

#[cfg(test)]
mod tests {
    use net::messages::fetch::{FetchableTopicResponse, PartitionData};

    use super::*;
    use crate::batch::BatchWriter;
    use crate::cluster::{Node, Topic};
    use crate::workload::Codec;

    fn layout() -> Layout {
        let node = Node { id: 5, name: "h:1".into(), address: ([127, 0, 0, 1], 1).into() };
        let topic = Topic { name: "t".into(), first: 0, partitions: 3 };
        Layout { nodes: vec![node], topics: vec![topic], leaders: vec![Some(0); 3] }
    }

    fn response(partition: i32, code: ErrorCode, values: u32) -> FetchResponse {
        let mut writer = BatchWriter::new(Vec::new());
        (0..values).for_each(|_| writer.append(0, None, 3, |buffer| buffer.extend_from_slice(b"abc")));
        let records = match values {
            0 => Bytes::new(),
            _ => writer.finish(Codec::None, None, Vec::new()).0,
        };
        let data = PartitionData {
            partition_index: partition,
            error_code: code,
            log_start_offset: 100,
            records: Some(records.into()),
            ..PartitionData::default()
        };
        let topic = FetchableTopicResponse { topic: "t".into(), partitions: vec![data] };
        FetchResponse { session_id: 77, responses: vec![topic], ..FetchResponse::default() }
    }

    fn asked(consumer: &mut Consumer) -> (i32, i32, Vec<(i32, i64)>) {
        let request = consumer.fetch(0, 12, &layout(), &Consumers::default());
        let partitions = request.topics.iter().flat_map(|topic| &topic.partitions);
        let partitions = partitions.map(|asked| (asked.partition, asked.fetch_offset)).collect();
        (request.session_id, request.session_epoch, partitions)
    }

    #[test]
    fn a_session_is_told_only_what_changed() {
        let mut consumer = Consumer::new(0);
        consumer.assign([(0, 0), (2, 9)].into_iter(), &layout());
        assert!(consumer.wants_fetch(0));
        assert_eq!(asked(&mut consumer), (0, 0, vec![(0, 0), (2, 9)]));
        assert!(!consumer.wants_fetch(0), "one at a time");
        assert!(consumer.fetched(0, response(0, ErrorCode::None, 4), &layout()).records);
        assert_eq!(asked(&mut consumer), (77, 1, vec![(0, 4)]));
        consumer.fetched(0, FetchResponse { session_id: 77, ..FetchResponse::default() }, &layout());
        assert_eq!(asked(&mut consumer), (77, 2, vec![]));
        let gone =
            FetchResponse { error_code: ErrorCode::FetchSessionIdNotFound, ..FetchResponse::default() };
        assert_eq!(consumer.fetched(0, gone, &layout()).errors, [ErrorCode::FetchSessionIdNotFound]);
        assert_eq!(asked(&mut consumer), (0, 0, vec![(0, 4), (2, 9)]));
    }

    #[test]
    fn a_position_moves_when_records_have_been_looked_at() {
        let mut consumer = Consumer::new(0);
        consumer.assign([(1, 0)].into_iter(), &layout());
        asked(&mut consumer);
        consumer.fetched(0, response(1, ErrorCode::None, 4), &layout());
        assert_eq!(consumer.positions().collect::<Vec<_>>(), [(1, 0)]);
        let chunk = consumer.chunk().expect("there are records");
        assert_eq!(chunk.partition, 1);
        while chunk.reader.next_value().unwrap().is_some() {}
        consumer.finish_chunk();
        assert_eq!(consumer.positions().collect::<Vec<_>>(), [(1, 4)]);
        assert!(consumer.chunk().is_none());
    }

    #[test]
    fn records_that_were_removed_are_skipped_and_told() {
        let mut consumer = Consumer::new(0);
        consumer.assign([(1, 40)].into_iter(), &layout());
        asked(&mut consumer);
        let fetched = consumer.fetched(0, response(1, ErrorCode::OffsetOutOfRange, 0), &layout());
        assert_eq!(fetched.skipped, [(1, 60)]);
        assert_eq!(asked(&mut consumer).2, [(1, 100)]);
    }

    #[test]
    fn another_assignment_forgets_what_was_fetched() {
        let mut consumer = Consumer::new(0);
        consumer.assign([(0, 0)].into_iter(), &layout());
        asked(&mut consumer);
        consumer.fetched(0, response(0, ErrorCode::None, 4), &layout());
        asked(&mut consumer);
        consumer.assign([(0, 2), (1, 0)].into_iter(), &layout());
        assert!(consumer.chunk().is_none());
        // The fetch that was in flight is of the old assignment; the next one is whole.
        consumer.fetched(0, FetchResponse { session_id: 77, ..FetchResponse::default() }, &layout());
        assert_eq!(asked(&mut consumer), (77, 0, vec![(0, 2), (1, 0)]));
    }
}
