//! What one shard writes down, second by second.

use std::collections::VecDeque;

use super::histogram::Histogram;
use super::stamps::{Api, Trace};
use super::turn::{Gauges, Turn};
use super::worst::{Slow, Worst};
use crate::ids::ConnectionId;

/// Turns that are remembered as neighbours of slow requests.
const TURNS_KEPT: usize = 512;

/// What happened in a second.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counters {
    /// Requests of all kinds.
    pub requests: u64,
    /// Their bytes, length prefix included.
    pub bytes_in: u64,
    /// Bytes of responses, length prefix and file ranges included.
    pub bytes_out: u64,
    /// Letters from other shards and the controller.
    pub letters: u64,
    /// Turns.
    pub turns: u64,
    /// How long they took together, microseconds.
    pub turns_us: u64,
    /// How long the longest took, microseconds.
    pub longest_turn_us: u64,
    /// Blocks of the WAL that were written.
    pub wal_blocks: u64,
    /// Their bytes.
    pub wal_bytes: u64,
    /// How long a block was with the disk, microseconds: with one at a time, the disk's utilisation by this shard.
    pub wal_us: u64,
}

/// What was appended to and read from a topic in a second, on one shard.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct TopicTraffic {
    /// Its name.
    pub name: String,
    /// Batches appended.
    pub batches_in: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Reads that brought something.
    pub reads: u64,
    /// Their bytes.
    pub bytes_out: u64,
}

/// A second of a shard, complete.
#[derive(Clone, Debug)]
pub struct Second {
    /// When it ended, microseconds.
    pub ended_us: u64,
    /// How long it was: a shard that is busy ends it late, microseconds.
    pub length_us: u64,
    /// Per stage of each API, in the order of [`Api::stages`].
    pub stages: [Vec<Histogram>; 2],
    /// From readable to written, per API.
    pub totals: [Histogram; 2],
    /// What happened.
    pub counters: Counters,
    /// How much is waiting at its end.
    pub gauges: Gauges,
    /// The slowest requests, the slowest first.
    pub worst: Vec<Slow>,
}

impl Second {
    fn new(begun_us: u64) -> Second {
        let histograms = |api: Api| vec![Histogram::default(); api.stages().len()];
        Second {
            ended_us: begun_us,
            length_us: 0,
            stages: Api::ALL.map(histograms),
            totals: Default::default(),
            counters: Counters::default(),
            gauges: Gauges::default(),
            worst: Vec::new(),
        }
    }

    /// Takes in what came after, all but the slowest requests.
    pub fn add(&mut self, later: &Second) {
        for (stages, more) in self.stages.iter_mut().zip(&later.stages) {
            for (histogram, more) in stages.iter_mut().zip(more) {
                histogram.add(more);
            }
        }
        for (total, more) in self.totals.iter_mut().zip(&later.totals) {
            total.add(more);
        }
        self.ended_us = later.ended_us;
        self.length_us += later.length_us;
        self.gauges = later.gauges;
        let Counters {
            requests,
            bytes_in,
            bytes_out,
            letters,
            turns,
            turns_us,
            longest_turn_us,
            wal_blocks,
            wal_bytes,
            wal_us,
        } = later.counters;
        let counters = &mut self.counters;
        counters.requests += requests;
        counters.bytes_in += bytes_in;
        counters.bytes_out += bytes_out;
        counters.letters += letters;
        counters.turns += turns;
        counters.turns_us += turns_us;
        counters.longest_turn_us = counters.longest_turn_us.max(longest_turn_us);
        counters.wal_blocks += wal_blocks;
        counters.wal_bytes += wal_bytes;
        counters.wal_us += wal_us;
    }
}

/// The ledger of one shard.
#[derive(Debug)]
pub struct Ledger {
    second: Box<Second>,
    begun_us: u64,
    worst: Worst,
    turn: Turn,
    /// Those before, the newest last.
    turns: VecDeque<Turn>,
    /// When the block of the WAL that is in flight was submitted.
    block_us: Option<u64>,
}

impl Ledger {
    /// An empty ledger.
    #[must_use]
    pub fn new(now_us: u64) -> Ledger {
        Ledger {
            second: Box::new(Second::new(now_us)),
            begun_us: now_us,
            worst: Worst::default(),
            turn: Turn::default(),
            turns: VecDeque::with_capacity(TURNS_KEPT),
            block_us: None,
        }
    }

    /// A turn begins.
    pub fn begin_turn(&mut self, now_us: u64, gauges: Gauges) {
        self.turn = Turn { begun_us: now_us, gauges, ..Turn::default() };
    }

    /// A request came in, of whatever kind.
    pub fn request(&mut self, bytes: usize) {
        self.turn.requests += 1;
        self.second.counters.bytes_in += bytes as u64;
    }

    /// A letter came in.
    pub fn letter(&mut self) {
        self.turn.letters += 1;
    }

    /// An operation of the disk ended.
    pub fn disk(&mut self) {
        self.turn.disk += 1;
    }

    /// A block of the WAL went to the disk.
    pub fn block_submitted(&mut self, now_us: u64, bytes: u64) {
        self.block_us = Some(now_us);
        self.second.counters.wal_blocks += 1;
        self.second.counters.wal_bytes += bytes;
    }

    /// It has ended.
    pub fn block_ended(&mut self, now_us: u64) {
        if let Some(submitted_us) = self.block_us.take() {
            self.second.counters.wal_us += now_us.saturating_sub(submitted_us);
        }
    }

    /// Bytes of responses go out.
    pub fn response(&mut self, bytes: usize) {
        self.second.counters.bytes_out += bytes as u64;
    }

    /// A response has been written.
    pub fn written(&mut self, connection: ConnectionId, trace: &Trace, queued_us: u64, written_us: u64) {
        let Some(moments) = trace.finish(queued_us, written_us) else { return };
        let api = moments.api() as usize;
        for (histogram, (_, us)) in self.second.stages[api].iter_mut().zip(moments.stages()) {
            histogram.record(us);
        }
        self.second.totals[api].record(moments.total_us());
        let own_us = moments.own_us();
        if self.worst.wants(own_us) {
            let (arrived, longest) = self.neighbours(trace.arrival.parsed_us, moments.readable_us());
            let written = Turn { length_us: written_us.saturating_sub(self.turn.begun_us), ..self.turn };
            self.worst.keep(Slow {
                moments,
                connection,
                bytes: trace.arrival.bytes,
                arrived: arrived.or_else(|| (trace.arrival.parsed_us >= written.begun_us).then_some(written)),
                longest: longest.into_iter().chain([written]).max_by_key(|turn| turn.length_us),
                written,
            });
        }
    }

    /// The turn in which something was parsed, and the longest that ended after it was readable.
    fn neighbours(&self, parsed_us: u64, readable_us: u64) -> (Option<Turn>, Option<Turn>) {
        let ended_us = |turn: &Turn| turn.begun_us + turn.length_us;
        let meanwhile = || self.turns.iter().rev().take_while(|turn| ended_us(turn) >= readable_us);
        let arrived = meanwhile().find(|turn| (turn.begun_us..=ended_us(turn)).contains(&parsed_us));
        (arrived.copied(), meanwhile().max_by_key(|turn| turn.length_us).copied())
    }

    /// A turn has ended.
    pub fn end_turn(&mut self, now_us: u64) {
        self.turn.length_us = now_us.saturating_sub(self.turn.begun_us);
        let counters = &mut self.second.counters;
        counters.turns += 1;
        counters.turns_us += self.turn.length_us;
        counters.longest_turn_us = counters.longest_turn_us.max(self.turn.length_us);
        counters.requests += u64::from(self.turn.requests);
        counters.letters += u64::from(self.turn.letters);
        if self.turns.len() == TURNS_KEPT {
            self.turns.pop_front();
        }
        self.turns.push_back(self.turn);
    }

    /// Ends the second, and begins the next.
    pub fn take_second(&mut self, now_us: u64, gauges: Gauges) -> Box<Second> {
        let mut second = std::mem::replace(&mut self.second, Box::new(Second::new(now_us)));
        second.ended_us = now_us;
        second.length_us = now_us.saturating_sub(std::mem::replace(&mut self.begun_us, now_us));
        second.gauges = gauges;
        second.worst = self.worst.take();
        second
    }
}

#[cfg(test)]
mod tests {
    use super::super::stamps::{Arrival, Passage};
    use super::super::worst::WORST_MAX;
    use super::*;

    /// A generator of numbers that its seed replays.
    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % bound
        }
    }

    /// A trace with moments at random distances, some of them missing, and when it was queued and written.
    fn trace(random: &mut Random, begun_us: u64) -> (Trace, u64, u64) {
        let mut at_us = begun_us;
        let mut next = |random: &mut Random| {
            at_us += random.below(2_000);
            if random.below(10) == 0 { 0 } else { at_us }
        };
        let api = if random.below(2) == 0 { Api::Produce } else { Api::Fetch };
        let arrival = Arrival {
            api: Some(api),
            bytes: 1,
            readable_us: begun_us,
            parsed_us: begun_us + random.below(50),
        };
        let passage = Passage {
            at_owner_us: next(random),
            in_block_us: next(random),
            submitted_us: next(random),
            durable_us: next(random),
            found_us: next(random),
        };
        let queued_us = at_us + 10;
        (Trace { arrival, passage }, queued_us, queued_us + random.below(100))
    }

    #[test]
    fn the_means_of_the_stages_sum_to_the_mean_of_the_total() {
        let seed = 5;
        let mut random = Random(seed);
        let mut ledger = Ledger::new(0);
        let mut expected = [(0, 0); 2];
        for n in 0..10_000 {
            let (trace, queued_us, written_us) = trace(&mut random, n * 100);
            ledger.written(ConnectionId(1), &trace, queued_us, written_us);
            let (count, sum_us) = &mut expected[trace.arrival.api.expect("it has one") as usize];
            *count += 1;
            *sum_us += written_us - trace.arrival.readable_us;
        }
        let second = ledger.take_second(1_000_000, Gauges::default());
        for api in Api::ALL {
            let (stages, total) = (&second.stages[api as usize], &second.totals[api as usize]);
            assert_eq!((total.count(), total.sum_us()), expected[api as usize], "seed {seed}");
            assert!(total.count() > 1_000);
            assert_eq!(stages.len(), api.stages().len());
            assert!(stages.iter().all(|stage| stage.count() == total.count()), "each has every stage");
            assert_eq!(stages.iter().map(Histogram::sum_us).sum::<u64>(), total.sum_us());
            let of_stages: f64 = stages.iter().map(Histogram::mean_us).sum();
            assert!((of_stages - total.mean_us()).abs() < 1e-6, "{of_stages} and {}", total.mean_us());
        }
    }

    fn produce(readable_us: u64) -> Trace {
        let arrival = Arrival { api: Some(Api::Produce), bytes: 7, readable_us, parsed_us: readable_us + 1 };
        Trace { arrival, passage: Passage::default() }
    }

    #[test]
    fn the_worst_of_a_second_are_kept_and_no_others() {
        let mut random = Random(9);
        let mut ledger = Ledger::new(0);
        let mut all: Vec<u64> = (0..5_000).map(|_| random.below(1_000_000)).collect();
        for took_us in &all {
            ledger.written(ConnectionId(*took_us), &produce(1_000), 1_001, 1_000 + took_us.max(&1));
        }
        all.sort_unstable_by(|a, b| b.cmp(a));
        let kept: Vec<u64> = ledger
            .take_second(2_000_000, Gauges::default())
            .worst
            .iter()
            .map(|slow| slow.connection.0)
            .collect();
        assert_eq!(kept, all[..WORST_MAX]);
        assert!(ledger.take_second(3_000_000, Gauges::default()).worst.is_empty(), "each second begins anew");
    }

    #[test]
    fn a_slow_request_names_its_neighbours() {
        let mut ledger = Ledger::new(0);
        let gauges = Gauges { requests_in_flight: 3, dirty_bytes: 77, ..Gauges::default() };
        for (begun_us, length_us, requests) in [(0, 5, 9), (100, 50, 1), (200, 9_000, 40), (10_000, 20, 2)] {
            ledger.begin_turn(begun_us, gauges);
            (0..requests).for_each(|_| ledger.request(10));
            ledger.end_turn(begun_us + length_us);
        }
        ledger.begin_turn(11_000, Gauges::default());
        ledger.letter();
        ledger.disk();
        ledger.written(ConnectionId(4), &produce(100), 11_005, 11_010);
        let second = ledger.take_second(12_000, gauges);
        let slow = second.worst[0];
        assert_eq!(
            slow.arrived.map(|turn| (turn.begun_us, turn.requests, turn.gauges)),
            Some((100, 1, gauges))
        );
        assert_eq!(
            slow.longest.map(|turn| (turn.begun_us, turn.length_us, turn.requests)),
            Some((200, 9_000, 40))
        );
        let written = Turn { begun_us: 11_000, length_us: 10, letters: 1, disk: 1, ..Turn::default() };
        assert_eq!(slow.written, written);
        assert_eq!((second.counters.requests, second.counters.bytes_in), (52, 520));
        assert_eq!((second.counters.turns, second.counters.longest_turn_us), (4, 9_000));
        assert_eq!(second.gauges, gauges);
    }

    #[test]
    fn seconds_add_up() {
        let mut ledger = Ledger::new(0);
        let mut sum = Second::new(0);
        for n in 0..3 {
            ledger.block_submitted(n * 1_000_000, 4_096);
            ledger.block_ended(n * 1_000_000 + 300);
            ledger.written(ConnectionId(1), &produce(n * 1_000_000), n * 1_000_000 + 10, n * 1_000_000 + 20);
            sum.add(&ledger.take_second((n + 1) * 1_000_000, Gauges::default()));
        }
        assert_eq!((sum.ended_us, sum.length_us), (3_000_000, 3_000_000));
        assert_eq!((sum.counters.wal_blocks, sum.counters.wal_bytes, sum.counters.wal_us), (3, 12_288, 900));
        assert_eq!((sum.totals[0].count(), sum.totals[0].sum_us()), (3, 60));
    }
}
