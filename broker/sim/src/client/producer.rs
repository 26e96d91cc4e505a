//! Producers: idempotent or not, with any `acks`, pipelined, over several partitions.

use std::collections::{BTreeMap, VecDeque};

use net::messages::produce::{PartitionProduceData, PartitionProduceResponse, TopicProduceData};
use net::messages::{InitProducerIdRequest, ProduceRequest};
use net::{ErrorCode, Response};

use super::wire::Wire;
use super::{Client, Ctx, Phase};
use crate::checker::{Checker, Violation};
use crate::codec::Codec;
use crate::history::Place;
use crate::records::{NewBatch, Value};

/// Streams of one producer: one, or one for each of its connections.
pub const STREAMS_PER_PRODUCER: u32 = 100_000;

/// How a producer behaves.
#[derive(Clone, Debug)]
pub struct ProducerOptions {
    /// Whether it has an id and sequences.
    pub idempotent: bool,
    /// 0, 1 or −1.
    pub acks: i16,
    /// Requests without a response.
    pub in_flight_max: usize,
    /// Mean time between requests, microseconds.
    pub interval_us: u64,
    /// Most records of a batch.
    pub records_max: u64,
    /// Longest value, bytes.
    pub value_bytes_max: u64,
    /// `timeout_ms` of its requests.
    pub timeout_ms: i32,
    /// How it packs its batches.
    pub codec: Codec,
    /// API version.
    pub version: i16,
    /// Where it writes.
    pub places: Vec<Place>,
}

/// A batch that is not acknowledged.
#[derive(Clone, Debug)]
struct Batch {
    base_sequence: i32,
    values: Vec<Value>,
    value_bytes: usize,
    timestamp_ms: i64,
    in_flight: bool,
}

#[derive(Debug, Default)]
struct Lane {
    next_number: u32,
    next_sequence: i32,
    open: VecDeque<Batch>,
}

/// A producer.
pub struct Producer {
    name: String,
    options: ProducerOptions,
    wire: Wire,
    stream: u32,
    identity: Option<(i64, i16)>,
    asking_identity: bool,
    lanes: Vec<Lane>,
    /// Lane and first sequence of each batch of a request.
    requests: BTreeMap<i32, Vec<(usize, i32)>>,
    acknowledged_since_healed: bool,
    /// Begin again with another id: the sequence that is next is not known any more.
    begins_again: bool,
    not_before_us: u64,
}

impl Producer {
    /// The producer of a number.
    pub fn new(number: u32, options: ProducerOptions) -> Producer {
        let name = format!("producer-{number}");
        let lanes = options.places.iter().map(|_| Lane::default()).collect();
        Producer {
            wire: Wire::new(&name),
            name,
            stream: number * STREAMS_PER_PRODUCER,
            identity: None,
            asking_identity: false,
            lanes,
            requests: BTreeMap::new(),
            acknowledged_since_healed: false,
            begins_again: false,
            not_before_us: 0,
            options,
        }
    }

    fn begin_stream(&mut self, ctx: &mut Ctx<'_>) {
        if std::mem::take(&mut self.begins_again) {
            self.identity = None;
            self.lanes.iter_mut().for_each(|lane| lane.next_sequence = 0);
            self.begin_values();
        } else if !self.options.idempotent {
            self.begin_values();
        }
        ctx.history.stream(self.stream, self.options.idempotent);
        self.requests.clear();
        self.asking_identity = false;
        self.lanes.iter_mut().flat_map(|lane| &mut lane.open).for_each(|batch| batch.in_flight = false);
    }

    /// What is open is given up, and is in the log or not.
    fn begin_values(&mut self) {
        self.stream += 1;
        self.lanes.iter_mut().for_each(|lane| lane.open.clear());
    }

    fn go_on(&mut self, ctx: &mut Ctx<'_>) {
        if self.wire.is_overdue(ctx.now_us) {
            self.give_up(ctx);
        }
        if ctx.now_us < self.not_before_us || !self.wire.is_ready(ctx) {
            return;
        }
        if self.options.idempotent && self.identity.is_none() {
            if !self.asking_identity {
                self.asking_identity = true;
                self.wire.send(
                    ctx,
                    InitProducerIdRequest { transaction_timeout_ms: 60_000, ..Default::default() },
                    4,
                    true,
                );
            }
            return;
        }
        if self.wire.pending() < self.options.in_flight_max {
            self.produce(ctx);
        }
    }

    fn give_up(&mut self, ctx: &mut Ctx<'_>) {
        self.wire.close(ctx);
        self.begin_stream(ctx);
        self.not_before_us = ctx.now_us + ctx.random.between(50_000, 500_000);
    }

    /// One request: what has to be sent again, or something new.
    fn produce(&mut self, ctx: &mut Ctx<'_>) {
        let count = ctx.random.between(1, self.lanes.len().min(3) as u64);
        let first = ctx.random.below(self.lanes.len() as u64) as usize;
        let lanes = self.lanes.len();
        let chosen = (0..count as usize).map(|step| (first + step) % lanes);
        let mut parts = Vec::new();
        let mut request = ProduceRequest {
            acks: self.options.acks,
            timeout_ms: self.options.timeout_ms,
            ..Default::default()
        };
        for index in chosen {
            let Some(batch) = self.next_batch(ctx, index) else { continue };
            parts.push((index, batch.base_sequence));
            let (topic, partition) = &self.options.places[index];
            let (producer_id, producer_epoch) = self.identity.unwrap_or((-1, -1));
            let records = NewBatch {
                producer_id,
                producer_epoch,
                base_sequence: if self.options.idempotent { batch.base_sequence } else { -1 },
                timestamp_ms: batch.timestamp_ms,
                values: batch.values,
                value_bytes: batch.value_bytes,
                codec: self.options.codec,
            };
            let data = PartitionProduceData { index: *partition, records: Some(records.encode()) };
            match request.topic_data.iter_mut().find(|data| data.name == *topic) {
                Some(topic) => topic.partition_data.push(data),
                None => {
                    request
                        .topic_data
                        .push(TopicProduceData { name: topic.clone(), partition_data: vec![data] });
                }
            }
        }
        if parts.is_empty() {
            return;
        }
        let is_answered = self.options.acks != 0;
        let correlation_id = self.wire.send(ctx, request, self.options.version, is_answered);
        if is_answered {
            self.requests.insert(correlation_id, parts);
        } else {
            self.lanes.iter_mut().for_each(|lane| lane.open.clear());
        }
    }

    fn next_batch(&mut self, ctx: &mut Ctx<'_>, index: usize) -> Option<Batch> {
        // Like a client that has learnt of the topic from the metadata.
        if !ctx.history.is_there(&self.options.places[index]) {
            return None;
        }
        let stream = self.stream;
        let lane = &mut self.lanes[index];
        if let Some(batch) = lane.open.iter_mut().find(|batch| !batch.in_flight) {
            batch.in_flight = true;
            return Some(batch.clone());
        }
        let has_shown = self.acknowledged_since_healed || self.options.acks == 0;
        let is_done = ctx.phase == Phase::Finish && has_shown;
        if is_done || lane.open.len() >= 5 {
            return None;
        }
        let count = ctx.random.between(1, self.options.records_max) as u32;
        let values = (0..count).map(|step| Value { stream, number: lane.next_number + step }).collect();
        let batch = Batch {
            base_sequence: lane.next_sequence,
            values,
            value_bytes: ctx.random.between(8, self.options.value_bytes_max.max(8)) as usize,
            timestamp_ms: ctx.wall_ms,
            in_flight: true,
        };
        lane.next_number += count;
        lane.next_sequence += count as i32;
        lane.open.push_back(batch.clone());
        Some(batch)
    }

    /// One partition of a response. False if everything has to be sent again.
    fn answered(
        &mut self,
        ctx: &mut Ctx<'_>,
        lane: usize,
        base_sequence: i32,
        answer: &PartitionProduceResponse,
    ) -> bool {
        let place = self.options.places[lane].clone();
        let lane = &mut self.lanes[lane];
        let Some(at) = lane.open.iter().position(|batch| batch.base_sequence == base_sequence) else {
            return true;
        };
        match answer.error_code {
            ErrorCode::None => {
                let batch = lane.open.remove(at).expect("just found");
                ctx.history.acknowledged(
                    ctx.now_us,
                    &place,
                    answer.base_offset,
                    batch.timestamp_ms,
                    &batch.values,
                );
                self.acknowledged_since_healed |= ctx.phase != Phase::Faults;
                true
            }
            ErrorCode::OutOfOrderSequenceNumber | ErrorCode::UnknownProducerId if at == 0 => {
                let message = format!(
                    "{} is refused sequence {base_sequence} of {place:?} ({}), all before it was acknowledged",
                    self.name, answer.error_code
                );
                self.begins_again |= ctx.history.out_of_sequence(&place, message);
                false
            }
            ErrorCode::DuplicateSequenceNumber => {
                lane.open.remove(at);
                true
            }
            ErrorCode::InvalidRecord
            | ErrorCode::CorruptMessage
            | ErrorCode::InvalidProducerEpoch
            | ErrorCode::InvalidTimestamp
            | ErrorCode::UnknownServerError => {
                let message = format!(
                    "{} has {place:?} refused: {} {:?}",
                    self.name, answer.error_code, answer.error_message
                );
                ctx.history.violations.push(Violation::new(Checker::Progress, message));
                false
            }
            _ => {
                if !self.options.idempotent {
                    lane.open.remove(at);
                    return true;
                }
                false
            }
        }
    }
}

impl Client for Producer {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn wake(&mut self, ctx: &mut Ctx<'_>) {
        self.go_on(ctx);
        let pause = 200 + ctx.random.around(self.options.interval_us);
        ctx.wake_after(pause);
    }

    fn connected(&mut self, ctx: &mut Ctx<'_>) {
        self.wire.opened();
        self.begin_stream(ctx);
        self.go_on(ctx);
    }

    fn received(&mut self, ctx: &mut Ctx<'_>, bytes: &[u8]) {
        for (sent, response) in self.wire.receive(ctx, bytes) {
            match response {
                Response::InitProducerId(response) if response.error_code == ErrorCode::None => {
                    self.identity = Some((response.producer_id, response.producer_epoch));
                }
                Response::InitProducerId(_) => self.asking_identity = false,
                Response::Produce(response) => {
                    let Some(parts) = self.requests.remove(&sent.correlation_id) else { continue };
                    let mut all_well = true;
                    for (lane, base_sequence) in parts {
                        let (topic, partition) = &self.options.places[lane];
                        let topics = response.responses.iter().filter(|t| t.name == *topic);
                        let answer = topics
                            .flat_map(|t| &t.partition_responses)
                            .find(|p| p.index == *partition)
                            .cloned();
                        match answer {
                            Some(answer) => all_well &= self.answered(ctx, lane, base_sequence, &answer),
                            None => {
                                let message = format!("{topic}-{partition} is missing in a produce response");
                                ctx.history.violations.push(Violation::new(Checker::C8, message));
                            }
                        }
                    }
                    if !all_well {
                        self.give_up(ctx);
                        return;
                    }
                }
                other => {
                    let message = format!("a producer was given {other:?}");
                    ctx.history.violations.push(Violation::new(Checker::C8, message));
                }
            }
        }
    }

    fn closed(&mut self, ctx: &mut Ctx<'_>) {
        self.wire.forget();
        self.begin_stream(ctx);
        self.not_before_us = ctx.now_us + ctx.random.between(10_000, 300_000);
    }

    fn unfinished(&self) -> Option<String> {
        if self.options.acks == 0 {
            return None;
        }
        let open: usize = self.lanes.iter().map(|lane| lane.open.len()).sum();
        if open > 0 {
            return Some(format!(
                "{} has {open} batches open; {:?}",
                self.name,
                self.wire.describe_pending()
            ));
        }
        (!self.acknowledged_since_healed).then(|| format!("{} had nothing acknowledged", self.name))
    }
}
