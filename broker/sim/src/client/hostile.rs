//! Clients that mean no good, or are broken: noise, frames cut short or too long, requests with flipped bits,
//! connections that say nothing. They may be answered or cut off; nobody else may notice.

use bytes::{Bytes, BytesMut};
use net::messages::produce::{PartitionProduceData, TopicProduceData};
use net::messages::{ApiVersionsRequest, FetchRequest, JoinGroupRequest, MetadataRequest, ProduceRequest};
use net::{ApiKey, Request};

use super::producer::STREAMS_PER_PRODUCER;
use super::wire::Wire;
use super::{Action, Client, Ctx, Phase};
use crate::codec::CODECS;
use crate::history::Place;
use crate::records::{NewBatch, Value};

/// A hostile client.
pub struct Hostile {
    number: u32,
    stream: u32,
    wire: Wire,
    open: bool,
    interval_us: u64,
    places: Vec<Place>,
}

impl Hostile {
    /// The hostile client of a number that no producer has.
    pub fn new(number: u32, interval_us: u64, places: Vec<Place>) -> Hostile {
        let wire = Wire::new("hostile");
        Hostile { number, stream: number * STREAMS_PER_PRODUCER, wire, open: false, interval_us, places }
    }

    /// Something that could have been meant well.
    fn request(&mut self, ctx: &mut Ctx<'_>) -> Bytes {
        match ctx.random.below(5) {
            0 => self.produce(ctx),
            1 => self.wire.encode(&FetchRequest::default().into(), 4 + ctx.random.below(9) as i16).1,
            2 => self.wire.encode(&JoinGroupRequest::default().into(), ctx.random.below(5) as i16).1,
            3 => self.wire.encode(&ApiVersionsRequest::default().into(), ctx.random.below(3) as i16).1,
            _ => {
                self.wire
                    .encode(&Request::Metadata(MetadataRequest { topics: None, ..Default::default() }), 1)
                    .1
            }
        }
    }

    fn produce(&mut self, ctx: &mut Ctx<'_>) -> Bytes {
        self.stream += 1;
        ctx.history.stream(self.stream, false);
        let (topic, partition) = ctx.random.pick(&self.places).clone();
        let batch = NewBatch {
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            timestamp_ms: ctx.wall_ms,
            values: vec![Value { stream: self.stream, number: 0 }],
            value_bytes: 64,
            codec: *ctx.random.pick(&CODECS),
        };
        let mut records = batch.encode().to_vec();
        if ctx.random.percent(80) {
            flip(ctx, &mut records, 12);
        }
        let data = PartitionProduceData { index: partition, records: Some(records.into()) };
        let acks = *ctx.random.pick(&[0, 1, -1]);
        let topic_data = vec![TopicProduceData { name: topic, partition_data: vec![data] }];
        let request = ProduceRequest { acks, timeout_ms: 1_000, topic_data, ..Default::default() };
        self.wire.encode(&request.into(), 3 + ctx.random.below(9) as i16).1
    }

    fn attack(&mut self, ctx: &mut Ctx<'_>) {
        let good = self.request(ctx);
        let bytes = match ctx.random.below(7) {
            0 => noise(ctx, 200),
            1 => good.slice(..ctx.random.below(good.len() as u64) as usize),
            2 => {
                let length = *ctx.random.pick(&[i32::MAX, -1, 100 << 20, (100 << 20) + 1]);
                [&length.to_be_bytes()[..], &noise(ctx, 50)[..]].concat().into()
            }
            3 => {
                let mut frame = good.to_vec();
                // The names of topics stay: who deletes or fills those of others by chance proves nothing.
                let end = frame.len().min(14);
                let place = 4 + ctx.random.below(end as u64 - 4) as usize;
                frame[place] ^= 1 << ctx.random.below(8);
                frame.into()
            }
            4 => {
                let body = noise(ctx, 100);
                let api = ctx.random.pick(ApiKey::ALL).key();
                let version = ctx.random.below(14) as i16;
                let mut frame = BytesMut::new();
                frame.extend_from_slice(&(body.len() as i32 + 8).to_be_bytes());
                frame.extend_from_slice(&api.to_be_bytes());
                frame.extend_from_slice(&version.to_be_bytes());
                frame.extend_from_slice(&[0, 0, 0, 1]);
                frame.extend_from_slice(&body);
                frame.freeze()
            }
            _ => good,
        };
        ctx.actions.push(Action::Send(bytes));
        if ctx.random.percent(30) {
            self.open = false;
            ctx.actions.push(Action::Close);
        }
    }
}

fn noise(ctx: &mut Ctx<'_>, length_max: u64) -> Bytes {
    let length = ctx.random.below(length_max);
    (0..length).map(|_| ctx.random.next_u64() as u8).collect::<Vec<u8>>().into()
}

fn flip(ctx: &mut Ctx<'_>, bytes: &mut [u8], from: u64) {
    let place = ctx.random.between(from, bytes.len() as u64 - 1) as usize;
    bytes[place] ^= 1 << ctx.random.below(8);
}

impl Client for Hostile {
    fn name(&self) -> String {
        format!("hostile-{}", self.number)
    }

    fn wake(&mut self, ctx: &mut Ctx<'_>) {
        if ctx.phase == Phase::Finish {
            if self.open {
                ctx.actions.push(Action::Close);
                self.open = false;
            }
            return;
        }
        if self.open {
            self.attack(ctx);
        } else {
            ctx.actions.push(Action::Connect);
        }
        let pause = 1_000 + ctx.random.around(self.interval_us);
        ctx.wake_after(pause);
    }

    fn connected(&mut self, _ctx: &mut Ctx<'_>) {
        self.open = true;
    }

    fn received(&mut self, _ctx: &mut Ctx<'_>, _bytes: &[u8]) {}

    fn closed(&mut self, _ctx: &mut Ctx<'_>) {
        self.open = false;
    }

    fn unfinished(&self) -> Option<String> {
        None
    }
}
