//! The walk along batch headers, over bytes that are not what was written.

use bytes::Bytes;
use storage::batch::RecordBatchBuilder;
use storage::header;
use storage::locate::{LocateStep, LocateWalk};
use storage::op::{DiskError, FileName, LocateOp, LocateTarget, LocatedRange};
use storage::types::{LeaderEpoch, Offset, PartitionKey};

/// Three batches of two records each, as they lie in a segment.
fn segment() -> Vec<Vec<u8>> {
    let batch = |base| {
        let built: Bytes = RecordBatchBuilder::new().record(1, None, None).record(1, None, None).build();
        let mut batch = built.to_vec();
        header::stamp(&mut batch, Offset(base), LeaderEpoch(0));
        batch
    };
    vec![batch(10), batch(12), batch(14)]
}

fn find(segment: &[Vec<u8>], from: i64) -> Result<LocatedRange, DiskError> {
    let bytes = segment.concat();
    let target = LocateTarget::Range {
        from: Offset(from),
        limit: Offset(16),
        max_bytes: 1 << 20,
        min_one: true,
        stop: bytes.len() as u64,
    };
    let file = FileName::Segment { partition: PartitionKey::default(), base: Offset(10) };
    let mut walk = LocateWalk::new(&LocateOp { file, start: 0, end: bytes.len() as u64, target });
    loop {
        match walk.step() {
            LocateStep::Read { position, length } => {
                walk.feed(&bytes[position as usize..position as usize + length]);
            }
            LocateStep::Done(result) => return result,
        }
    }
}

#[test]
fn a_header_that_does_not_join_the_last_is_corrupt_and_not_passed_over() {
    let sound = segment();
    let found = find(&sound, 13).expect("it is sound");
    assert_eq!((found.position, found.length), (sound[0].len() as u64, (sound[1].len() * 2) as u32));
    // It claims to end before the offset that is looked for: what is served next would leave a gap.
    let mut shorter = segment();
    shorter[1][26] = 0;
    assert!(find(&shorter, 13).is_err());
    for changed in 0..2 {
        let mut moved = segment();
        moved[changed][7] ^= 1;
        assert!(find(&moved, 13).is_err(), "the base of batch {changed} is another");
    }
    let mut moved = segment();
    moved[2][7] ^= 1;
    let found = find(&moved, 13).expect("what stands before the rot can be read");
    assert_eq!(found.length, sound[1].len() as u32);
    assert!(find(&moved, 14).is_err());
}
