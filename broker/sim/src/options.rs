//! What a world is like. Every number is drawn per seed and many are zero, so that rare combinations come up.

use storage::config::{Mutation, StoreConfig};

use crate::client::admin::TopicPlan;
use crate::client::consumer::ConsumerOptions;
use crate::client::producer::ProducerOptions;
use crate::codec::CODECS;
use crate::disk::DiskFaults;
use crate::history::{Place, Policy};
use crate::random::Random;

/// The longest that one world is given for its faults, microseconds.
const FAULT_US_MAX: u64 = 6_000_000;

/// What a world is like.
#[derive(Clone, Debug)]
pub struct Options {
    /// Shards of the first process.
    pub shards: u16,
    /// How long faults go on, microseconds.
    pub fault_us: u64,
    /// Mean time between crashes and stops, microseconds; zero for none.
    pub crash_interval_us: u64,
    /// What kinds of ends there are: power loss, kill, clean stop, by weight.
    pub end_weights: [u64; 3],
    /// Chance of another number of shards after an end, percent.
    pub reshard_percent: u64,
    /// Chance of another end right after a start, percent.
    pub storm_percent: u64,
    /// Mean time between connection resets, microseconds; zero for none.
    pub reset_interval_us: u64,
    /// Chance that a time without space begins at any fault, percent.
    pub full_percent: u64,
    /// Whether bits rot while the broker is down. Then losses that it reports are allowed.
    pub rot: bool,
    /// Whether bits of segments rot as well. Then their readers are to find them.
    pub rot_segments: bool,
    /// Bits that rot at one end of the process, at most.
    pub rot_max: u64,
    /// Whether the last thing before the comparison is a crash.
    pub final_crash: bool,
    /// How the disk misbehaves while there are faults.
    pub disk: DiskFaults,
    /// Mean delay of letters, microseconds.
    pub mail_us: u64,
    /// Mean delay of bytes on a connection, microseconds.
    pub network_us: u64,
    /// Chance that a shard stalls for a while before a turn, in thousandths.
    pub stall_permille: u64,
    /// The store.
    pub store: StoreConfig,
    /// The topics.
    pub topics: Vec<TopicPlan>,
    /// The producers.
    pub producers: Vec<ProducerOptions>,
    /// The consumers.
    pub consumers: Vec<ConsumerOptions>,
    /// Members of groups: the name of the group, and what is theirs to commit.
    pub members: Vec<(String, Place)>,
    /// Hostile clients.
    pub hostile: u32,
    /// Mean pause of the administrator, microseconds.
    pub admin_interval_us: u64,
    /// Whether the administrator deletes records.
    pub deletes_records: bool,
}

impl Options {
    /// The options of a seed.
    pub fn draw(seed: u64) -> Options {
        let random = &mut Random::new(seed, "options");
        let topics = draw_topics(random);
        let places: Vec<Place> = topics
            .iter()
            .flat_map(|t| (0..t.partitions).map(|partition| (t.name.clone(), partition)))
            .collect();
        let rot = random.percent(15);
        let options = Options {
            shards: random.between(1, 4) as u16,
            fault_us: random.between(1_000_000, FAULT_US_MAX),
            crash_interval_us: *random.pick(&[0, 300_000, 1_000_000, 1_000_000, 3_000_000]),
            end_weights: *random.pick(&[[1, 1, 1], [1, 0, 0], [0, 1, 0], [2, 2, 1], [1, 1, 0]]),
            reshard_percent: *random.pick(&[0, 0, 30]),
            storm_percent: *random.pick(&[0, 30, 60]),
            reset_interval_us: *random.pick(&[0, 0, 100_000, 1_000_000]),
            full_percent: *random.pick(&[0, 0, 0, 30]),
            rot,
            rot_segments: false,
            rot_max: 2,
            final_crash: random.percent(70),
            disk: DiskFaults {
                latency_us: *random.pick(&[50, 200, 1_000, 4_000]),
                spike_permille: *random.pick(&[0, 0, 5, 20]),
                flush_failure_permille: if rot { 0 } else { *random.pick(&[0, 0, 0, 1, 3]) },
                lost_percent: *random.pick(&[10, 50, 90, 100]),
                mixture_percent: *random.pick(&[0, 0, 20]),
                late_percent: *random.pick(&[0, 50, 100]),
            },
            mail_us: *random.pick(&[5, 50, 1_000]),
            network_us: *random.pick(&[50, 200, 2_000]),
            stall_permille: *random.pick(&[0, 0, 2, 10]),
            store: draw_store(random),
            producers: (0..random.between(1, 4)).map(|_| draw_producer(random, &places)).collect(),
            consumers: (0..random.between(1, 3)).map(|_| draw_consumer(random, &places)).collect(),
            members: places
                .iter()
                .take(random.below(4) as usize)
                .map(|place| (format!("group-{}", random.below(2)), place.clone()))
                .collect(),
            hostile: random.below(3) as u32,
            admin_interval_us: *random.pick(&[20_000, 100_000, 500_000]),
            deletes_records: random.percent(30),
            topics,
        };
        let random = &mut Random::new(seed, "modes");
        if !rot {
            return if random.percent(30) { options.with_flush_intervals(random) } else { options };
        }
        let options = options.with_rot();
        if random.percent(60) { options.with_rot_in_segments() } else { options }
    }

    /// The same world, in which some topics are acknowledged from memory. How late their flush may be is only known where
    /// the disk takes everything in about its time.
    fn with_flush_intervals(mut self, random: &mut Random) -> Options {
        self.full_percent = 0;
        self.stall_permille = 0;
        self.disk.spike_permille = 0;
        self.disk.flush_failure_permille = 0;
        for topic in &mut self.topics {
            if random.percent(70) {
                topic.flush_every(*random.pick(&[20, 100, 400]));
            }
        }
        self
    }

    /// The same world, where bits of segments rot while the broker is down.
    pub fn with_rot_in_segments(mut self) -> Options {
        self = self.with_rot();
        self.rot_segments = true;
        self
    }

    /// A short world in which the power fails often, for tests.
    pub fn draw_eventful(seed: u64) -> Options {
        let mut options = Options::draw(seed);
        options.fault_us = 1_000_000;
        options.crash_interval_us = 200_000;
        options.end_weights = [3, 1, 0];
        options.final_crash = true;
        options.full_percent = 0;
        options.rot = false;
        options.rot_segments = false;
        options.topics.iter_mut().for_each(TopicPlan::flush_always);
        options.disk.lost_percent = 90;
        options.disk.flush_failure_permille = 0;
        for producer in &mut options.producers {
            producer.interval_us = producer.interval_us.min(5_000);
            producer.acks = if producer.acks == 0 { 1 } else { producer.acks };
        }
        options
    }

    /// The same world, where bits rot while the broker is down.
    pub fn with_rot(mut self) -> Options {
        self.rot = true;
        self.rot_max = 8;
        self.disk.spike_permille = 0;
        self.disk.latency_us = self.disk.latency_us.min(200);
        self.network_us = 50;
        self.stall_permille = 0;
        self
    }

    /// The same world with a fault in the broker.
    pub fn with_mutation(mut self, mutation: Mutation) -> Options {
        self.store.mutation = Some(mutation);
        self
    }

    /// The settings of the broker, as its file says them.
    pub fn broker_config(&self) -> String {
        "node.id=1\noffsets.topic.num.partitions=3\ngroup.initial.rebalance.delay.ms=0\n\
         offsets.topic.segment.bytes=1048576\n"
            .to_owned()
    }
}

fn draw_topics(random: &mut Random) -> Vec<TopicPlan> {
    (0..random.between(1, 3))
        .map(|number| {
            let mut policy = Policy::default();
            let mut configs = Vec::new();
            if random.percent(60) {
                configs.push(("segment.ms".to_owned(), random.pick(&[200, 1_000, 5_000]).to_string()));
            }
            match random.below(6) {
                0 => policy.retention_ms = Some(*random.pick(&[500, 2_000])),
                1 => policy.retention_bytes = Some(*random.pick(&[10_000, 100_000])),
                _ => {}
            }
            configs.extend(policy.retention_ms.map(|ms| ("retention.ms".to_owned(), ms.to_string())));
            configs.extend(
                policy.retention_bytes.map(|bytes| ("retention.bytes".to_owned(), bytes.to_string())),
            );
            TopicPlan {
                name: format!("topic-{number}"),
                partitions: random.between(1, 6) as i32,
                policy,
                configs,
            }
        })
        .collect()
}

fn draw_store(random: &mut Random) -> StoreConfig {
    let kib = |n: u64| n << 10;
    StoreConfig {
        wal_first_file_bytes: kib(*random.pick(&[256, 512])),
        wal_file_bytes: kib(*random.pick(&[512, 1024])),
        wal_block_bytes: kib(*random.pick(&[16, 64, 128])) as u32,
        wal_bytes_max: kib(*random.pick(&[4, 16])) << 10,
        checkpoint_wal_bytes: kib(*random.pick(&[128, 512, 2048])),
        checkpoint_interval_us: *random.pick(&[100_000, 500_000, 3_000_000]),
        segment_chunk_bytes: kib(*random.pick(&[4, 16, 64])) as u32,
        bypass_bytes_min: *random.pick(&[8 << 10, 32 << 10, u32::MAX]),
        segment_writes_max: *random.pick(&[1, 4, 16]),
        dirty_bytes_max: kib(*random.pick(&[128, 1024, 16 << 10])),
        tail_cache_bytes: kib(*random.pick(&[0, 16, 1024])),
        retention_check_interval_us: *random.pick(&[200_000, 1_000_000]),
        ..StoreConfig::default()
    }
}

fn some_places(random: &mut Random, places: &[Place]) -> Vec<Place> {
    let count = random.between(1, places.len().min(6) as u64) as usize;
    let first = random.below(places.len() as u64) as usize;
    (0..count).map(|step| places[(first + step) % places.len()].clone()).collect()
}

fn draw_producer(random: &mut Random, places: &[Place]) -> ProducerOptions {
    let idempotent = random.percent(60);
    let codec = *random.pick(&CODECS);
    ProducerOptions {
        codec,
        idempotent,
        acks: if idempotent { -1 } else { *random.pick(&[0, 1, -1, -1]) },
        in_flight_max: random.between(1, 5) as usize,
        interval_us: *random.pick(&[2_000, 10_000, 50_000]),
        records_max: *random.pick(&[1, 3, 20]),
        value_bytes_max: *random.pick(&[20, 200, 3_000]),
        timeout_ms: *random.pick(&[30_000, 30_000, 50]),
        version: random.between(codec.produce_version_min(), 11) as i16,
        places: some_places(random, places),
    }
}

fn draw_consumer(random: &mut Random, places: &[Place]) -> ConsumerOptions {
    let sessions = random.percent(60);
    ConsumerOptions {
        sessions,
        max_wait_ms: *random.pick(&[0, 50, 500]),
        min_bytes: *random.pick(&[0, 1, 1, 10_000]),
        max_bytes: *random.pick(&[1, 20_000, 4 << 20]),
        partition_max_bytes: *random.pick(&[1, 4_000, 1 << 20]),
        version: if sessions { random.between(7, 12) } else { random.between(4, 12) } as i16,
        pause_us: *random.pick(&[1_000, 10_000, 50_000]),
        seek_permille: *random.pick(&[0, 50]),
        drains: false,
        places: some_places(random, places),
    }
}
