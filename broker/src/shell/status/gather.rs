//! Keeps the sheets of all shards, and makes documents of them. Pure: the server brings sheets and time.

use std::collections::{BTreeMap, VecDeque};

use super::desk::Sheet;
use super::document::{self, GroupLag, Groups, Requests, SlowRequest, StageTimes, Times, Topic, Waiting};
use crate::lag::{self, Lag, LagSheet};
use crate::ledger::{Api, Gauges, Histogram, Second, Slow, Turn};

/// Seconds whose slowest requests are kept.
pub const SECONDS_KEPT: usize = 60;

/// Topics in one document.
const TOPICS_MAX: usize = 200;

/// Groups and topics in one document.
const GROUPS_MAX: usize = 1_000;

/// What is kept of one shard.
#[derive(Debug, Default)]
pub struct ShardBook {
    since_start: Option<Second>,
    last: Option<Sheet>,
    /// Share of its core in the last second.
    cpu: f64,
    cpu_us: u64,
    /// The slowest requests of the last seconds, with when the second ended; the newest last.
    worst: VecDeque<(u64, Vec<Slow>)>,
}

impl ShardBook {
    /// Takes a sheet in. They come in order.
    pub fn take(&mut self, mut sheet: Sheet) {
        let second = &mut sheet.second;
        if self.worst.len() == SECONDS_KEPT {
            self.worst.pop_front();
        }
        self.worst.push_back((second.ended_us, std::mem::take(&mut second.worst)));
        self.cpu = share(sheet.cpu_us.saturating_sub(self.cpu_us), second.length_us);
        self.cpu_us = sheet.cpu_us;
        match &mut self.since_start {
            Some(sum) => sum.add(second),
            None => self.since_start = Some((**second).clone()),
        }
        self.last = Some(sheet);
    }

    /// What it knows of the lag of groups; `None` if nobody had asked when its last second ended.
    pub fn lag(&self) -> Option<&LagSheet> {
        self.last.as_ref()?.lag.as_ref()
    }

    /// What a document says of its last second.
    pub fn second(&self) -> Option<document::Second> {
        let second = &self.last.as_ref()?.second;
        let per_s = |count: u64| per_second(count, second.length_us);
        let counters = &second.counters;
        Some(document::Second {
            ended_us: second.ended_us,
            length_us: second.length_us,
            cpu: self.cpu,
            busy: share(counters.turns_us, second.length_us),
            wal_busy: share(counters.wal_us, second.length_us),
            requests_per_s: per_s(counters.requests),
            bytes_in_per_s: per_s(counters.bytes_in),
            bytes_out_per_s: per_s(counters.bytes_out),
            letters_per_s: per_s(counters.letters),
            turns_per_s: per_s(counters.turns),
            longest_turn_us: counters.longest_turn_us,
            wal_blocks_per_s: per_s(counters.wal_blocks),
            wal_bytes_per_s: per_s(counters.wal_bytes),
            waiting: waiting(&second.gauges),
            requests: requests(second, false),
        })
    }

    /// What a document says of its whole life.
    pub fn since_start(&self) -> Vec<Requests> {
        self.since_start.as_ref().map(|sum| requests(sum, true)).unwrap_or_default()
    }

    /// The slowest requests of the seconds that ended after `from_us`.
    pub fn slow(&self, shard: u16, from_us: u64) -> impl Iterator<Item = SlowRequest> + '_ {
        let seconds = self.worst.iter().filter(move |(ended_us, _)| *ended_us > from_us);
        seconds.flat_map(|(_, worst)| worst).map(move |slow| slow_request(shard, slow))
    }
}

/// The topics of all shards, and how many had no room.
pub fn topics<'a>(books: impl Iterator<Item = &'a ShardBook>) -> (Vec<Topic>, usize) {
    let mut by_name: BTreeMap<&str, Topic> = BTreeMap::new();
    for sheet in books.filter_map(|book| book.last.as_ref()) {
        let per_s = |count: u64| per_second(count, sheet.second.length_us);
        for traffic in &sheet.topics {
            let topic = by_name.entry(&traffic.name).or_default();
            topic.batches_in_per_s += per_s(traffic.batches_in);
            topic.bytes_in_per_s += per_s(traffic.bytes_in);
            topic.reads_per_s += per_s(traffic.reads);
            topic.bytes_out_per_s += per_s(traffic.bytes_out);
        }
    }
    let named = by_name.into_iter().map(|(name, topic)| Topic { name: name.to_owned(), ..topic });
    let mut topics: Vec<Topic> = named.collect();
    let bytes = |topic: &Topic| topic.bytes_in_per_s + topic.bytes_out_per_s;
    topics.sort_by(|a, b| bytes(b).total_cmp(&bytes(a)));
    let left_out = topics.len().saturating_sub(TOPICS_MAX);
    topics.truncate(TOPICS_MAX);
    (topics, left_out)
}

/// The lag of groups; not settled until every shard has been asked for the ends of all topics that groups have committed
/// offsets for, which takes two seconds.
pub fn groups(books: &[ShardBook]) -> Groups {
    let sheets = || books.iter().filter_map(ShardBook::lag);
    let topics = lag::wanted(sheets());
    let settled = sheets().count() == books.len() && sheets().all(|sheet| topics.is_subset(&sheet.wanted));
    let mut lags = lag::lags(sheets());
    let left_out =
        lags.len().saturating_sub(GROUPS_MAX) + sheets().map(|sheet| sheet.left_out).sum::<usize>();
    lags.truncate(GROUPS_MAX);
    let lag = |lag: Lag| GroupLag {
        group: lag.group.to_string(),
        state: lag.state.to_owned(),
        members: lag.members,
        topic: lag.topic.to_string(),
        partitions: lag.partitions,
        lag: lag.records,
        worst_partition: lag.worst_partition,
        worst_lag: lag.worst_records,
    };
    Groups { settled, lags: lags.into_iter().map(lag).collect(), left_out }
}

fn requests(second: &Second, with_buckets: bool) -> Vec<Requests> {
    let of_api = |api: Api| {
        let stages = api.stages().iter().zip(&second.stages[api as usize]);
        let stages = stages.map(|(stage, histogram)| StageTimes {
            stage: stage.name().to_owned(),
            times: times(histogram, with_buckets),
        });
        Requests {
            api: api.name().to_owned(),
            total: times(&second.totals[api as usize], with_buckets),
            stages: stages.collect(),
        }
    };
    Api::ALL.map(of_api).into()
}

fn times(histogram: &Histogram, with_buckets: bool) -> Times {
    Times {
        count: histogram.count(),
        sum_us: histogram.sum_us(),
        mean_us: histogram.mean_us(),
        p50_us: histogram.quantile_us(0.5),
        p99_us: histogram.quantile_us(0.99),
        p999_us: histogram.quantile_us(0.999),
        max_us: histogram.max_us(),
        buckets: if with_buckets { histogram.buckets().collect() } else { Vec::new() },
    }
}

fn slow_request(shard: u16, slow: &Slow) -> SlowRequest {
    let moments = &slow.moments;
    SlowRequest {
        shard,
        api: moments.api().name().to_owned(),
        connection: slow.connection.0,
        bytes: slow.bytes,
        readable_us: moments.readable_us(),
        total_us: moments.total_us(),
        own_us: moments.own_us(),
        stages: moments.stages().map(|(stage, us)| (stage.name().to_owned(), us)).collect(),
        arrived: slow.arrived.as_ref().map(turn),
        longest: slow.longest.as_ref().map(turn),
        written: turn(&slow.written),
    }
}

fn turn(turn: &Turn) -> document::Turn {
    document::Turn {
        begun_us: turn.begun_us,
        length_us: turn.length_us,
        requests: turn.requests,
        letters: turn.letters,
        disk: turn.disk,
        waiting: waiting(&turn.gauges),
    }
}

fn waiting(gauges: &Gauges) -> Waiting {
    Waiting {
        connections: gauges.connections,
        requests_in_flight: gauges.requests_in_flight,
        letters: gauges.letters_waiting,
        open_work: gauges.open_work,
        dirty_bytes: gauges.dirty_bytes,
    }
}

fn per_second(count: u64, length_us: u64) -> f64 {
    if length_us == 0 { 0.0 } else { count as f64 * 1e6 / length_us as f64 }
}

fn share(part_us: u64, length_us: u64) -> f64 {
    if length_us == 0 { 0.0 } else { part_us as f64 / length_us as f64 }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ids::ConnectionId;
    use crate::ledger::{Arrival, Ledger, Passage, TopicTraffic, Trace};

    const SECOND_US: u64 = 1_000_000;

    fn sheet(ledger: &mut Ledger, second: u64, topics: Vec<TopicTraffic>) -> Sheet {
        let begun_us = second * SECOND_US;
        let arrival =
            Arrival { api: Some(Api::Produce), bytes: 9, readable_us: begun_us, parsed_us: begun_us + 1 };
        let passage = Passage { at_owner_us: begun_us + 2, ..Passage::default() };
        ledger.written(
            ConnectionId(second),
            &Trace { arrival, passage },
            begun_us + 10,
            begun_us + 20 + second,
        );
        ledger.end_turn(begun_us + 250_000);
        let ended_us = begun_us + SECOND_US;
        let second_of = ledger.take_second(ended_us, Gauges { connections: 3, ..Gauges::default() });
        Sheet { second: second_of, topics, lag: None, cpu_us: (second + 1) * 200_000 }
    }

    #[test]
    fn a_book_tells_of_the_last_second_of_all_and_of_the_slowest() {
        let (mut ledger, mut book) = (Ledger::new(0), ShardBook::default());
        assert!(book.second().is_none() && book.since_start().is_empty());
        for second in 0..SECONDS_KEPT as u64 + 5 {
            book.take(sheet(&mut ledger, second, Vec::new()));
        }
        let second = book.second().expect("there is one");
        assert_eq!((second.requests[0].total.count, second.waiting.connections), (1, 3));
        assert!((second.cpu - 0.2).abs() < 1e-9);
        let since_start = &book.since_start()[0];
        assert_eq!(since_start.total.count, SECONDS_KEPT as u64 + 5);
        let of_stages: u64 = since_start.stages.iter().map(|stage| stage.times.sum_us).sum();
        assert_eq!(of_stages, since_start.total.sum_us);
        assert_eq!(book.slow(0, 0).count(), SECONDS_KEPT, "bounded");
        let newest: Vec<_> =
            book.slow(0, 63 * SECOND_US).map(|slow| (slow.connection, slow.total_us)).collect();
        assert_eq!(newest, [(63, 83), (64, 84)]);
    }

    #[test]
    fn lag_is_settled_when_every_shard_was_asked_for_every_topic() {
        let book = |wanted: &[&str], committed: &[(&str, i64)]| {
            let mut sheet = sheet(&mut Ledger::new(0), 0, Vec::new());
            let committed = committed.iter().map(|(topic, offset)| lag::Committed {
                group: "g".into(),
                state: "Empty",
                members: 0,
                topic: (*topic).into(),
                offsets: vec![(0, *offset)],
            });
            let ends = wanted
                .iter()
                .map(|topic| lag::Ends { topic: (*topic).into(), high_watermarks: vec![(0, 10)] });
            sheet.lag = Some(LagSheet {
                committed: committed.collect(),
                left_out: 0,
                ends: ends.collect(),
                wanted: Arc::new(wanted.iter().map(|topic| Arc::from(*topic)).collect()),
            });
            let mut book = ShardBook::default();
            book.take(sheet);
            book
        };
        assert!(!groups(&[ShardBook::default()]).settled, "no shard has told");
        assert!(groups(&[book(&[], &[]), book(&[], &[])]).settled, "there are no groups");
        let early = groups(&[book(&[], &[("t", 3)]), book(&[], &[])]);
        assert_eq!((early.settled, early.lags.len()), (false, 0));
        let told = groups(&[book(&["t"], &[("t", 3)]), book(&["t"], &[])]);
        assert_eq!((told.settled, told.lags[0].lag, told.lags[0].group.as_str()), (true, 7, "g"));
    }

    #[test]
    fn topics_are_summed_over_shards_and_bounded() {
        let traffic = |name: String, bytes_in| TopicTraffic { name, bytes_in, ..TopicTraffic::default() };
        let books: Vec<ShardBook> = (0..2)
            .map(|_| {
                let topics = (0..TOPICS_MAX as u64 + 7).map(|n| traffic(format!("t{n}"), n)).collect();
                let mut book = ShardBook::default();
                book.take(sheet(&mut Ledger::new(0), 0, topics));
                book
            })
            .collect();
        let (topics, left_out) = topics(books.iter());
        assert_eq!((topics.len(), left_out), (TOPICS_MAX, 7));
        let last = TOPICS_MAX as u64 + 6;
        assert_eq!(
            (topics[0].name.as_str(), topics[0].bytes_in_per_s),
            (&*format!("t{last}"), 2.0 * last as f64)
        );
    }
}
