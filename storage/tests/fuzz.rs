//! The bodies of the fuzz targets on seeded input: random bytes, and good ones with some bytes changed or cut off.
#![allow(missing_docs)]

#[path = "../fuzz/bodies.rs"]
mod bodies;

use storage::batch::RecordBatchBuilder;
use storage::checkpoint::{CheckpointV1, PartitionV1};
use storage::compression::Compression;
use storage::memory_disk::Random;
use storage::types::{Lsn, PartitionKey, ProducerId};
use storage::wal::{BlockBuilder, BlockPlace, Entry, EntryKind};

fn mutated(random: &mut Random, good: &[u8]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for _ in 0..random.below(4) {
        let at = random.below(bytes.len() as u64) as usize;
        bytes[at] = random.draw() as u8;
    }
    if random.chance(20) {
        bytes.truncate(random.below(bytes.len() as u64 + 1) as usize);
    }
    bytes
}

fn noise(random: &mut Random) -> Vec<u8> {
    let length = random.below(300);
    (0..length).map(|_| random.draw() as u8).collect()
}

#[test]
fn no_batch_makes_the_validation_panic() {
    let mut random = Random::new(1);
    let codecs =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    for round in 0..400 {
        let codec = codecs[round % codecs.len()];
        let good = RecordBatchBuilder::new()
            .compression(codec)
            .producer(ProducerId(7), 0, 3)
            .record(1_700_000_000_000, Some(b"key"), Some(&[1; 40]))
            .record_with_headers(1_700_000_000_001, None, None, &[("h", None), ("i", Some(b"j"))])
            .build();
        bodies::batch(&good);
        bodies::batch(&mutated(&mut random, &good));
        bodies::batch(&noise(&mut random));
    }
}

#[test]
fn no_file_makes_a_start_panic() {
    let mut random = Random::new(2);
    let mut builder = BlockBuilder::default();
    builder.add(Entry::new(EntryKind::Data, PartitionKey::default()), [vec![5; 100].into()]);
    builder.add(Entry::new(EntryKind::LogStart, PartitionKey::default()), []);
    let place =
        BlockPlace { shard: 1, incarnation: 2, salt: 3, lsn: Lsn(4), durable_lsn: Lsn(3), prev_crc: 5 };
    let block = builder.finish(place).0.concat();
    let checkpoint =
        CheckpointV1 { partitions: vec![PartitionV1::default(); 3], ..CheckpointV1::default() }.encode();
    for _ in 0..3000 {
        bodies::wal_block(&mutated(&mut random, &block));
        bodies::wal_block(&mutated(&mut random, &checkpoint));
        bodies::wal_block(&noise(&mut random));
    }
}
