//! Consumers: long polls, with fetch sessions or without, from the first offset to the last. The one that drains
//! every partition at the end is one of them.

use std::collections::BTreeMap;

use net::messages::fetch::{FetchPartition, FetchTopic, PartitionData};
use net::messages::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use net::messages::{FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse};
use net::{ErrorCode, RecordsPart, Response};

use super::wire::Wire;
use super::{Client, Ctx, Phase};
use crate::checker::{Checker, Violation};
use crate::history::Place;
use crate::records::{ReadBatch, read_batches};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

/// How a consumer behaves.
#[derive(Clone, Debug)]
pub struct ConsumerOptions {
    /// Whether it uses incremental fetch sessions.
    pub sessions: bool,
    /// `max_wait_ms`.
    pub max_wait_ms: i32,
    /// `min_bytes`.
    pub min_bytes: i32,
    /// `max_bytes` of a response.
    pub max_bytes: i32,
    /// `partition_max_bytes`.
    pub partition_max_bytes: i32,
    /// API version.
    pub version: i16,
    /// Pause between polls, microseconds.
    pub pause_us: u64,
    /// Chance to seek to a known offset before a poll, in thousandths.
    pub seek_permille: u64,
    /// Whether it keeps all it reads for the comparison at the end.
    pub drains: bool,
    /// What it reads.
    pub places: Vec<Place>,
}

#[derive(Clone, Debug, Default)]
struct Reader {
    /// None: ask where the log begins.
    position: Option<i64>,
    /// The log start when the position was set.
    log_start: i64,
    /// The position that the session knows.
    told: Option<i64>,
    end: i64,
    batches: Vec<ReadBatch>,
    damaged: bool,
    /// A checksum did not fit at the position.
    unreadable: bool,
}

/// A consumer.
pub struct Consumer {
    name: String,
    options: ConsumerOptions,
    wire: Wire,
    readers: BTreeMap<Place, Reader>,
    session: Option<(i32, i32)>,
    not_before_us: u64,
    /// Ends of the logs are asked when nothing new is written: up to there it has to come.
    goals: Option<BTreeMap<Place, i64>>,
    asked_ends: bool,
}

impl Consumer {
    /// The consumer of that name.
    pub fn new(name: &str, options: ConsumerOptions) -> Consumer {
        let readers = options.places.iter().map(|place| (place.clone(), Reader::default())).collect();
        Consumer {
            name: name.to_owned(),
            wire: Wire::new(name),
            readers,
            session: None,
            not_before_us: 0,
            goals: None,
            asked_ends: false,
            options,
        }
    }

    /// Reads everything once more, for the comparison at the end.
    pub fn drain(places: Vec<Place>) -> Consumer {
        let options = ConsumerOptions {
            sessions: false,
            max_wait_ms: 100,
            min_bytes: 1,
            max_bytes: 4 << 20,
            partition_max_bytes: 1 << 20,
            version: 12,
            pause_us: 1_000,
            seek_permille: 0,
            drains: true,
            places,
        };
        Consumer::new("drain", options)
    }

    /// What was drained of each partition: its log start and its batches; whether the broker refuses the rest.
    pub fn drained(&self) -> impl Iterator<Item = (&Place, i64, &[ReadBatch], bool)> {
        self.readers
            .iter()
            .map(|(place, reader)| (place, reader.log_start, &reader.batches[..], reader.damaged))
    }

    fn go_on(&mut self, ctx: &mut Ctx<'_>) {
        if self.wire.is_overdue(ctx.now_us) {
            self.wire.close(ctx);
            self.reset();
        }
        if ctx.now_us < self.not_before_us || !self.wire.is_ready(ctx) || self.wire.pending() > 0 {
            return;
        }
        if ctx.phase == Phase::Finish && self.goals.is_none() {
            self.asked_ends = true;
            self.list_offsets(ctx, LATEST);
        } else if self.readers.values().any(|reader| reader.position.is_none()) {
            self.asked_ends = false;
            self.list_offsets(ctx, EARLIEST);
        } else {
            self.seek(ctx);
            self.fetch(ctx);
        }
    }

    fn reset(&mut self) {
        self.session = None;
        self.readers.values_mut().for_each(|reader| reader.told = None);
    }

    fn seek(&mut self, ctx: &mut Ctx<'_>) {
        if ctx.phase == Phase::Faults && ctx.random.permille(self.options.seek_permille) {
            let index = ctx.random.below(self.readers.len() as u64) as usize;
            let reader = self.readers.values_mut().nth(index).expect("within its length");
            let position = reader.position.unwrap_or(0).max(reader.log_start);
            reader.position =
                Some(ctx.random.between(reader.log_start.max(0) as u64, position as u64) as i64);
        }
    }

    fn list_offsets(&mut self, ctx: &mut Ctx<'_>, timestamp: i64) {
        let mut request = ListOffsetsRequest { replica_id: -1, ..Default::default() };
        for (place, reader) in &self.readers {
            if timestamp == EARLIEST && reader.position.is_some() {
                continue;
            }
            let partition =
                ListOffsetsPartition { partition_index: place.1, timestamp, ..Default::default() };
            match request.topics.iter_mut().find(|topic| topic.name == place.0) {
                Some(topic) => topic.partitions.push(partition),
                None => {
                    request
                        .topics
                        .push(ListOffsetsTopic { name: place.0.clone(), partitions: vec![partition] });
                }
            }
        }
        self.wire.send(ctx, request, 5, true);
    }

    fn listed(&mut self, ctx: &mut Ctx<'_>, asked_us: u64, response: ListOffsetsResponse) {
        let mut goals = BTreeMap::new();
        let mut all = true;
        for topic in response.topics {
            for partition in topic.partitions {
                let place = (topic.name.clone(), partition.partition_index);
                if partition.error_code != ErrorCode::None {
                    if self.options.drains && is_damage(partition.error_code) {
                        self.damaged(&place);
                        continue;
                    }
                    all = false;
                    continue;
                }
                if self.asked_ends {
                    ctx.history.end_offset(asked_us, &place, partition.offset);
                    goals.insert(place, partition.offset);
                } else if let Some(reader) = self.readers.get_mut(&place) {
                    reader.position = Some(partition.offset);
                    reader.log_start = partition.offset;
                }
            }
        }
        if !all {
            self.not_before_us = ctx.now_us + 100_000;
        } else if self.asked_ends {
            self.goals = Some(goals);
        }
    }

    fn damaged(&mut self, place: &Place) {
        if let Some(reader) = self.readers.get_mut(place) {
            reader.damaged = true;
            reader.position.get_or_insert(0);
        }
    }

    fn fetch(&mut self, ctx: &mut Ctx<'_>) {
        let (session_id, session_epoch) = match (self.options.sessions, self.session) {
            (false, _) => (0, -1),
            (true, None) => (0, 0),
            (true, Some(session)) => session,
        };
        // Whoever reads a batch at a time does not come to an end.
        let hurries = ctx.phase != Phase::Faults;
        let mut request = FetchRequest {
            max_wait_ms: if hurries { 100 } else { self.options.max_wait_ms },
            min_bytes: if hurries { 1 } else { self.options.min_bytes },
            max_bytes: if hurries { 4 << 20 } else { self.options.max_bytes },
            session_id,
            session_epoch,
            ..Default::default()
        };
        for (place, reader) in &mut self.readers {
            let position = reader.position.expect("a fetch begins when all positions are known");
            if reader.damaged || reader.unreadable || (session_id != 0 && reader.told == Some(position)) {
                continue;
            }
            reader.told = Some(position);
            let partition = FetchPartition {
                partition: place.1,
                fetch_offset: position,
                partition_max_bytes: if hurries { 1 << 20 } else { self.options.partition_max_bytes },
                ..Default::default()
            };
            match request.topics.iter_mut().find(|topic| topic.topic == place.0) {
                Some(topic) => topic.partitions.push(partition),
                None => {
                    request.topics.push(FetchTopic { topic: place.0.clone(), partitions: vec![partition] })
                }
            }
        }
        self.wire.send(ctx, request, self.options.version, true);
    }

    fn fetched(&mut self, ctx: &mut Ctx<'_>, response: FetchResponse) {
        if response.error_code != ErrorCode::None {
            self.reset();
            return;
        }
        if self.options.sessions {
            self.session = match self.session {
                Some((id, epoch)) if id == response.session_id => Some((id, epoch + 1)),
                _ if response.session_id != 0 => Some((response.session_id, 1)),
                _ => None,
            };
        }
        for topic in response.responses {
            for partition in topic.partitions {
                let place = (topic.topic.clone(), partition.partition_index);
                self.fetched_partition(ctx, &place, partition);
            }
        }
    }

    fn fetched_partition(&mut self, ctx: &mut Ctx<'_>, place: &Place, data: PartitionData) {
        let Some(reader) = self.readers.get_mut(place) else {
            let message = format!("{} was given {place:?}, which it did not ask for", self.name);
            ctx.history.violations.push(Violation::new(Checker::C8, message));
            return;
        };
        match data.error_code {
            ErrorCode::None => {}
            ErrorCode::OffsetOutOfRange => {
                let position = reader.position.unwrap_or(0);
                if data.high_watermark >= 0 && data.high_watermark < position {
                    ctx.history.end_offset(ctx.now_us, place, data.high_watermark);
                }
                *reader = Reader::default();
                return;
            }
            error => {
                if self.options.drains && is_damage(error) {
                    self.damaged(place);
                }
                // The position is asked for again, in a session as well.
                self.not_before_us = ctx.now_us + 100_000;
                return;
            }
        }
        if reader.told.is_none() || reader.told != reader.position {
            // It was sent elsewhere since it asked, so this is no answer to where it is now.
            return;
        }
        reader.end = data.high_watermark;
        let bytes: Vec<u8> = data.records.map(|records| flatten(records.parts)).unwrap_or_default();
        let (batches, wrong) = read_batches(&bytes);
        let keep = self.options.drains;
        reader.take(ctx, place, data.high_watermark, data.log_start_offset, batches, keep);
        if let Some(what) = wrong {
            // Like a client whose user does not seek over it.
            let at = reader.position.unwrap_or(0);
            reader.unreadable = true;
            ctx.history.unreadable(place, at, &what);
        }
    }
}

impl Reader {
    fn take(
        &mut self,
        ctx: &mut Ctx<'_>,
        place: &Place,
        high_watermark: i64,
        log_start: i64,
        batches: Vec<ReadBatch>,
        keep: bool,
    ) {
        let mut position = self.position.unwrap_or(0);
        for batch in batches {
            ctx.history.read(ctx.now_us, place, &batch);
            if batch.last_offset >= high_watermark {
                ctx.history.above_high_watermark(place, batch.last_offset, high_watermark);
            }
            if batch.last_offset < position {
                continue;
            }
            if batch.base_offset > position {
                if log_start <= position {
                    ctx.history.skipped(place, position, batch.base_offset);
                } else if self.batches.is_empty() {
                    self.log_start = batch.base_offset;
                }
            }
            position = batch.last_offset + 1;
            if keep {
                self.batches.push(batch);
            }
        }
        self.position = Some(position);
    }
}

fn flatten(parts: Vec<RecordsPart>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        match part {
            RecordsPart::Memory(part) => bytes.extend_from_slice(&part),
            RecordsPart::File { .. } => unreachable!("a client decodes bytes"),
        }
    }
    bytes
}

/// Errors by which a broker says that it cannot give what it should have.
fn is_damage(error: ErrorCode) -> bool {
    matches!(error, ErrorCode::KafkaStorageError | ErrorCode::CorruptMessage | ErrorCode::UnknownServerError)
}

impl Client for Consumer {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn wake(&mut self, ctx: &mut Ctx<'_>) {
        self.go_on(ctx);
        let pause = 500 + ctx.random.around(self.options.pause_us);
        ctx.wake_after(pause);
    }

    fn connected(&mut self, ctx: &mut Ctx<'_>) {
        self.wire.opened();
        self.reset();
        self.go_on(ctx);
    }

    fn received(&mut self, ctx: &mut Ctx<'_>, bytes: &[u8]) {
        for (sent, response) in self.wire.receive(ctx, bytes) {
            match response {
                Response::ListOffsets(response) => self.listed(ctx, sent.at_us, response),
                Response::Fetch(response) => self.fetched(ctx, response),
                other => {
                    let message = format!("a consumer was given {other:?}");
                    ctx.history.violations.push(Violation::new(Checker::C8, message));
                }
            }
        }
    }

    fn closed(&mut self, ctx: &mut Ctx<'_>) {
        self.wire.forget();
        self.reset();
        // After a crash the logs may end earlier, where that is allowed.
        self.goals = None;
        self.not_before_us = ctx.now_us + ctx.random.between(10_000, 300_000);
    }

    fn unfinished(&self) -> Option<String> {
        let Some(goals) = &self.goals else {
            return Some(format!(
                "{} does not know the ends of its logs; {:?}",
                self.name,
                self.wire.describe_pending()
            ));
        };
        let behind = goals.iter().find(|(place, end)| {
            let reader = &self.readers[*place];
            !reader.damaged && !reader.unreadable && reader.position.is_none_or(|position| position < **end)
        });
        behind.map(|(place, end)| {
            let pending = self.wire.describe_pending();
            format!(
                "{} is at {:?} of {place:?}, which ends at {end}; {pending:?}",
                self.name, self.readers[place].position
            )
        })
    }
}
