//! Results out of seeded distributions, for the tests of everything that shows or checks results.

use std::collections::BTreeMap;

use super::{Broker, Preset, Results, Run};
use crate::environment::Environment;
use crate::histogram::EncodedHistogram;
use crate::outcome::{
    Counts, Floor, Flow, Interval, Measure, Outcome, Requests, StagesRead, Target, Verdict,
};
use crate::stages::{ApiStages, BrokerStages, Spread};
use crate::statistics::{empty_histogram, merge};
use crate::workload::Workload;

/// A stream of numbers between 0 and 1, the same for the same seed.
pub struct Uniform(u64);

impl Uniform {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_F491_4F6C_DD1D) | 1)
    }

    /// The next number (xorshift64*).
    pub fn draw(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The shape of one run.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Median latency.
    pub median_ns: f64,
    /// Spread of the logarithm.
    pub sigma: f64,
    /// A stall of this length every ten intervals.
    pub stall_ns: u64,
    /// Intervals of a second.
    pub seconds: usize,
    /// Records per second.
    pub rate: u64,
    /// Seed.
    pub seed: u64,
}

/// A run of that shape: log-normal produce latencies with stalls, end-to-end a little longer.
pub fn outcome(shape: Shape) -> Outcome {
    let mut random = Uniform::new(shape.seed);
    let mut totals: BTreeMap<Measure, Vec<_>> = BTreeMap::new();
    let intervals: Vec<Interval> = (0..shape.seconds)
        .map(|second| {
            let mut produce = empty_histogram();
            let mut lag = empty_histogram();
            let mut end_to_end = empty_histogram();
            for n in 0..shape.rate {
                let normal = (0..12).map(|_| random.draw()).sum::<f64>() - 6.0;
                let mut latency = (shape.median_ns * (shape.sigma * normal).exp()) as u64 + 1;
                let due_ns = n * 1_000_000_000 / shape.rate;
                if second % 10 == 4 {
                    latency = latency.max(shape.stall_ns.saturating_sub(due_ns));
                }
                produce.record(latency).expect("it resizes");
                end_to_end.record(latency + 150_000).expect("it resizes");
                lag.record(5_000 + (random.draw() * 20_000.0) as u64).expect("it resizes");
            }
            let measures =
                [(Measure::Produce, produce), (Measure::EndToEnd, end_to_end), (Measure::GeneratorLag, lag)];
            let encoded =
                measures.iter().map(|(measure, h)| (*measure, EncodedHistogram::encode(h))).collect();
            for (measure, histogram) in measures {
                totals.entry(measure).or_default().push(histogram);
            }
            let flow = Flow {
                sent_records: shape.rate,
                sent_bytes: shape.rate * 1024,
                acked_records: shape.rate,
                acked_bytes: shape.rate * 1024,
                received_records: shape.rate,
                received_bytes: shape.rate * 1024,
            };
            Interval { start_s: second as f64, length_s: 1.0, histograms: encoded, flow }
        })
        .collect();
    let records = shape.rate * shape.seconds as u64;
    let mut requests = Requests { produce: records / 4, batches: records / 4, ..Requests::default() };
    requests.records_per_request.record_n(4, records / 4).expect("within bounds");
    requests.records_per_batch.record_n(4, records / 4).expect("within bounds");
    let mut floor = empty_histogram();
    floor.record_n((shape.median_ns / 20.0) as u64, 1000).expect("it resizes");
    Outcome {
        workload: Workload { rate: shape.rate as f64, seed: shape.seed, ..Workload::default() },
        target: Target { bootstrap: "127.0.0.1:9092".to_owned(), ..Target::default() },
        started_at_ms: 1_700_000_000_000,
        warm_up_seconds: 5.0,
        measured_seconds: shape.seconds as f64,
        interrupted: false,
        verdict: Verdict::Valid,
        histograms: totals.into_iter().map(|(measure, parts)| (measure, merge(&parts))).collect(),
        intervals,
        counts: Counts {
            intended: records,
            sent: records,
            acked: records,
            received: records,
            ..Counts::default()
        },
        requests,
        floor: Some(Floor { rate: 1000.0, seconds: 1.0, histograms: [(Measure::Produce, floor)].into() }),
        generator_cpu_seconds: 1.5,
        broker_cpu_seconds: None,
        broker_stages: None,
        catch_up: None,
        workers: 1,
        cores: vec![1],
    }
}

/// Stages of so many produces of 100 µs parse and 300 µs disk each.
pub fn stages(requests: u64) -> BrokerStages {
    let spread = |us: u64| Spread {
        count: requests,
        sum_us: us * requests,
        buckets: BTreeMap::from([(us, requests)]),
    };
    let stages = vec![("parse".to_owned(), spread(100)), ("disk".to_owned(), spread(300))];
    let produce = ApiStages { api: "produce".to_owned(), total: spread(400), stages };
    BrokerStages { version: "1.2.3".to_owned(), seconds: 12.0, apis: vec![produce] }
}

/// A comparison of two brokers: both presets, two loads, a sweep in the first, two rounds in turns.
pub fn comparison() -> Results {
    let mut runs = Vec::new();
    for preset in Preset::ALL {
        for (load, partitions) in [("1 partition", 1.0), ("16 partitions", 1.3)] {
            let rates: &[u64] = if load == "1 partition" { &[200, 400, 800] } else { &[400] };
            for (rate, round) in rates.iter().flat_map(|rate| (1..=2).map(move |round| (*rate, round))) {
                for (at, (broker, median_ns, stall_ns)) in
                    [("monedula", 400e3, 20_000_000), ("kafka", 900e3, 300_000_000)].into_iter().enumerate()
                {
                    let calm = if preset == Preset::Durable { 1.0 } else { 0.4 };
                    let shape = Shape {
                        median_ns: median_ns * partitions * calm * (1.0 + rate as f64 / 2000.0),
                        sigma: 0.25,
                        stall_ns,
                        seconds: 12,
                        rate,
                        seed: 1000 * u64::from(round) + rate + at as u64,
                    };
                    let mut outcome = outcome(shape);
                    if broker == "monedula" {
                        outcome.broker_stages = Some(StagesRead::Read(stages(rate)));
                    }
                    runs.push(Run {
                        preset: Some(preset),
                        load: load.to_owned(),
                        step: format!("{rate}/s"),
                        broker: broker.to_owned(),
                        round,
                        probe: false,
                        broker_cpu_seconds: Some(2.5),
                        outcome,
                    });
                }
            }
        }
    }
    let broker = |name: &str| Broker {
        name: name.to_owned(),
        version: Some("1.2.3".to_owned()),
        command: Some(format!("{name} start --data DIR")),
        configuration: Some("num.io.threads=2".to_owned()),
    };
    Results {
        title: "monedula beside kafka".to_owned(),
        version: "0.1.0".to_owned(),
        commit: Some("0123456789ab".to_owned()),
        command: "monedula-bench compare --kafka maven --monedula target/release/monedula".to_owned(),
        created_at_ms: 1_700_000_600_000,
        notes: vec!["The generator shares cores 0 and 1 with the broker.".to_owned()],
        brokers: vec![broker("monedula"), broker("kafka")],
        environment: Environment::default(),
        runs,
    }
}
