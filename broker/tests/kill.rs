//! kill −9 in the middle of work, again and again: every acknowledged record is there, none twice, and no offset ever
//! names two records. `MONEDULA_KILL_SECONDS` makes it longer, `MONEDULA_SEED` replays the choices.

#![allow(clippy::disallowed_methods, reason = "tests of processes use clocks, files and threads")]

mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use net::ErrorCode;
use storage::batch::RecordBatchBuilder;
use storage::types::ProducerId;
use support::{Broker, Random, Session, TestDirectory, soak_time};

const PARTITIONS: i32 = 4;

/// An idempotent producer that outlives brokers: what is not answered is sent again with its old sequence.
struct Producer {
    partition: i32,
    id: ProducerId,
    epoch: i16,
    next_sequence: i32,
    /// The record that was sent last, if no answer to it was seen: its sequence and value.
    unanswered: Option<(i32, Vec<u8>)>,
    /// Offset and value of every record that was acknowledged.
    acknowledged: BTreeMap<i64, Vec<u8>>,
    retries: u64,
}

impl Producer {
    fn run(&mut self, address: SocketAddr, stop: &AtomicBool, padding: &[u8]) {
        let Ok(mut session) = Session::connect(address) else { return };
        while !stop.load(Ordering::Relaxed) {
            let (sequence, value) = match self.unanswered.take() {
                Some(unanswered) => {
                    self.retries += 1;
                    unanswered
                }
                None => {
                    let mut value = format!("{}/{}/", self.partition, self.next_sequence).into_bytes();
                    value.extend_from_slice(padding);
                    self.next_sequence += 1;
                    (self.next_sequence - 1, value)
                }
            };
            let batch = RecordBatchBuilder::new()
                .producer(self.id, self.epoch, sequence)
                .record(1, None, Some(&value))
                .build();
            match session.try_produce("t", self.partition, -1, batch) {
                Ok(Ok(offset)) => {
                    if let Some(other) = self.acknowledged.insert(offset, value.clone()) {
                        assert_eq!(other, value, "offset {offset} was given to two records");
                    }
                }
                Ok(Err(error)) => {
                    assert!(error.is_retriable(), "a producer that does nothing wrong is told {error:?}");
                    self.unanswered = Some((sequence, value));
                }
                Err(_killed) => {
                    self.unanswered = Some((sequence, value));
                    return;
                }
            }
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_is_there_twice() {
    let seed = std::env::var("MONEDULA_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    let mut random = Random::new(seed);
    let until = Instant::now() + soak_time("MONEDULA_KILL_SECONDS", 4_000);
    let test = TestDirectory::new("kill");

    let mut producers: Vec<Producer> = {
        let broker = Broker::start(test.path());
        let mut client = broker.client();
        // Small segments, so that rolls, seals and checkpoints are hit as well.
        assert_eq!(client.create_topic("t", PARTITIONS, &[("segment.bytes", "1048576")]), ErrorCode::None);
        (0..PARTITIONS)
            .map(|partition| {
                let (id, epoch) = client.init_producer_id();
                Producer {
                    partition,
                    id,
                    epoch,
                    next_sequence: 0,
                    unanswered: None,
                    acknowledged: BTreeMap::new(),
                    retries: 0,
                }
            })
            .collect()
    };

    let mut kills = 0;
    while Instant::now() < until {
        let broker = Broker::start(test.path());
        let stop = AtomicBool::new(false);
        let padding_bytes = [0, 500, 5_000, 300_000][random.below(4) as usize];
        let padding = random.bytes(padding_bytes);
        let time = Duration::from_millis(random.below(300));
        let address = broker.address;
        std::thread::scope(|scope| {
            for producer in &mut producers {
                let (stop, padding) = (&stop, &padding);
                scope.spawn(move || producer.run(address, stop, padding));
            }
            std::thread::sleep(time);
            broker.kill();
            stop.store(true, Ordering::Relaxed);
        });
        kills += 1;
        if random.below(4) == 0 {
            let broker = Broker::start(test.path());
            check(&broker, &producers, false);
            // Sometimes the check itself ends in order, sometimes not.
            if random.below(2) == 0 { broker.kill() } else { assert!(broker.stop().success()) }
        }
    }
    let broker = Broker::start(test.path());
    check(&broker, &producers, true);
    let acknowledged: usize = producers.iter().map(|producer| producer.acknowledged.len()).sum();
    let retries: u64 = producers.iter().map(|producer| producer.retries).sum();
    eprintln!("{kills} kills, {acknowledged} records acknowledged, {retries} retries");
    assert!(acknowledged > 0, "something was produced");
    assert!(broker.stop().success());
}

fn check(broker: &Broker, producers: &[Producer], all: bool) {
    let mut client = broker.client();
    for producer in producers {
        let found = client.read_all("t", producer.partition, 0);
        let by_offset: BTreeMap<i64, &[u8]> =
            found.iter().map(|(offset, value)| (*offset, &value[..])).collect();
        assert_eq!(by_offset.len(), found.len(), "an offset comes once");
        let last = found.last().map_or(-1, |(offset, _)| *offset);
        assert_eq!(last + 1, found.len() as i64, "offsets have no gap");
        for (offset, value) in &producer.acknowledged {
            assert_eq!(
                by_offset.get(offset).copied(),
                Some(&value[..]),
                "partition {} lost the record acknowledged at {offset}",
                producer.partition
            );
        }
        let mut names: Vec<&[u8]> = by_offset.values().map(|value| name_of(value)).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count, "a record of partition {} is there twice", producer.partition);
        // At most the one without an answer is there beyond what was acknowledged.
        let beyond = count - producer.acknowledged.len();
        assert!(beyond <= usize::from(producer.unanswered.is_some()), "{beyond} records that nobody sent");
    }
    if all {
        let mut client = broker.client();
        for producer in producers {
            let end = client.list_offset("t", producer.partition, -1);
            let batch = support::batch(&[b"last"]);
            assert_eq!(
                client.produce("t", producer.partition, -1, batch),
                Ok(end),
                "offsets go on where they ended"
            );
        }
    }
}

/// `partition/sequence`, without the padding.
fn name_of(value: &[u8]) -> &[u8] {
    let end =
        value.iter().enumerate().filter(|(_, byte)| **byte == b'/').nth(1).map_or(value.len(), |(at, _)| at);
    &value[..end]
}
