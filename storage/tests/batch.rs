//! What a partition takes from a client, and what it says to the rest.
#![allow(missing_docs)]

use bytes::Bytes;
use storage::batch::{
    AppendError, AppendOrigin, BatchRules, RecordBatch, RecordBatchBuilder, UncheckedBatch, find_timestamp,
};
use storage::compression::Compression;
use storage::config::TimestampType;
use storage::header::{BatchHeader, CRC_START};
use storage::record::Records;
use storage::types::{LeaderEpoch, Offset, ProducerId};

const NOW: i64 = 1_700_000_000_000;

const RULES: BatchRules = BatchRules {
    origin: AppendOrigin::Client,
    max_message_bytes: 10_000,
    timestamp_type: TimestampType::CreateTime,
    timestamp_before_max_ms: i64::MAX,
    timestamp_after_max_ms: 3_600_000,
    keys_required: false,
    now_ms: NOW,
};

fn two_records() -> RecordBatchBuilder {
    RecordBatchBuilder::new().record(NOW, Some(b"k"), Some(b"v")).record(NOW + 5, None, None)
}

/// Changes bytes of a good batch and makes the checksum fit again.
fn changed(at: usize, bytes: &[u8]) -> Bytes {
    refitted(two_records().build().to_vec(), at, bytes)
}

fn refitted(mut batch: Vec<u8>, at: usize, bytes: &[u8]) -> Bytes {
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    let crc = crc32c::crc32c(&batch[CRC_START..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    Bytes::from(batch)
}

fn validate(batch: Bytes) -> Result<RecordBatch, AppendError> {
    UncheckedBatch::new(batch).validate(&RULES)
}

fn stored(batch: &RecordBatch) -> Bytes {
    let mut out = bytes::BytesMut::new();
    batch.write_stamped(&mut out, Offset(1000), LeaderEpoch(4));
    out.freeze()
}

#[test]
fn a_good_batch_is_stamped_and_otherwise_untouched() {
    let sent = two_records().build();
    let batch = validate(sent.clone()).expect("it is good");
    let kept = stored(&batch);
    let header = BatchHeader::read(&kept).expect("a header");
    assert_eq!((header.base_offset, header.last_offset()), (Offset(1000), Offset(1001)));
    assert_eq!(header.leader_epoch, LeaderEpoch(4));
    assert_eq!(kept[16..], sent[16..], "what the checksum covers is as the producer sent it");
}

#[test]
fn what_is_not_one_whole_v2_batch_is_refused() {
    use AppendError as E;
    let good = two_records().build();
    let cut = good.slice(..good.len() - 1);
    let two = Bytes::from([good.clone(), good.clone()].concat());
    let mut wrong_crc = good.to_vec();
    wrong_crc[70] ^= 1;
    assert!(matches!(validate(Bytes::new()), Err(E::InvalidRecord { .. })));
    assert!(matches!(validate(good.slice(..10)), Err(E::InvalidRecord { .. })));
    assert!(matches!(validate(good.slice(..40)), Err(E::InvalidRecord { .. })));
    assert!(matches!(validate(cut), Err(E::InvalidRecord { .. })));
    assert!(matches!(validate(two), Err(E::InvalidRecord { .. })));
    assert!(matches!(validate(wrong_crc.into()), Err(E::CorruptMessage(_))));
    assert!(matches!(validate(changed(16, &[1])), Err(E::InvalidRecord { .. })));
    assert!(matches!(validate(changed(16, &[3])), Err(E::CorruptMessage(_))));
    assert!(matches!(validate(changed(8, &(-1i32).to_be_bytes())), Err(E::CorruptMessage(_))));
    assert!(matches!(validate(changed(8, &i32::MAX.to_be_bytes())), Err(E::InvalidRecord { .. })));
    let rules = BatchRules { max_message_bytes: 70, ..RULES };
    let large = UncheckedBatch::new(good.clone()).validate(&rules);
    assert_eq!(large.err(), Some(E::MessageTooLarge { bytes: good.len(), max: 70 }));
}

#[test]
fn what_follows_a_batch_and_is_none_is_left_out() {
    let good = two_records().build();
    for more in [&good[..5], &good[..40], &good[..good.len() - 1]] {
        let batch = validate([&good[..], more].concat().into()).expect("one whole batch");
        assert_eq!(stored(&batch).len(), good.len());
    }
    let mut unknown = good.to_vec();
    unknown[16] = 9;
    let refused = validate([&good[..], &unknown].concat().into()).err();
    assert!(matches!(refused, Some(AppendError::CorruptMessage(_))), "{refused:?}");
}

#[test]
fn counts_and_offsets_must_agree() {
    let refused = |batch: Bytes| {
        let refused = validate(batch).err();
        assert!(matches!(refused, Some(AppendError::InvalidRecord { .. })), "{refused:?}");
    };
    refused(changed(57, &0i32.to_be_bytes()));
    refused(changed(57, &(-1i32).to_be_bytes()));
    refused(changed(57, &1i32.to_be_bytes()));
    refused(changed(23, &5i32.to_be_bytes()));
    refused(changed(23, &(-1i32).to_be_bytes()));
    refused(changed(0, &7i64.to_be_bytes()));
    // Both say three records, and there are two.
    let three = changed(57, &3i32.to_be_bytes()).to_vec();
    refused(refitted(three, 23, &2i32.to_be_bytes()));
    // Both say one.
    let one = changed(57, &1i32.to_be_bytes()).to_vec();
    refused(refitted(one, 23, &0i32.to_be_bytes()));
    // The second record has the offset delta of the first: length, attributes, timestamp delta, offset delta.
    let good = two_records().build();
    let first = 61 + 1 + good[61] as usize / 2;
    refused(changed(first + 3, &[0]));
}

#[test]
fn clients_write_no_control_or_transactional_batches() {
    for attributes in [0x10, 0x20, 0x30] {
        let batch = two_records().attributes(attributes).build();
        assert!(matches!(validate(batch.clone()), Err(AppendError::InvalidRecord { .. })));
        let rules = BatchRules { origin: AppendOrigin::Coordinator, ..RULES };
        assert!(UncheckedBatch::new(batch).validate(&rules).is_ok());
    }
    let without_sequence = two_records().producer(ProducerId(4), 0, -1).build();
    assert!(matches!(validate(without_sequence), Err(AppendError::InvalidRecord { .. })));
    for id in 5..8 {
        let unknown = two_records().attributes(id).build();
        assert_eq!(validate(unknown).err(), Some(AppendError::UnsupportedCompression(id as u8)));
    }
}

#[test]
fn timestamps_too_far_away_are_refused_record_by_record() {
    let batch = RecordBatchBuilder::new()
        .record(NOW, None, None)
        .record(NOW + 3_600_001, None, None)
        .record(-1, None, None)
        .build();
    let Err(AppendError::InvalidTimestamp { errors, .. }) = validate(batch) else { panic!("it is refused") };
    assert_eq!(errors.iter().map(|error| error.0).collect::<Vec<_>>(), [1]);
    let old = RecordBatchBuilder::new().record(NOW - 11, None, None).build();
    let rules = BatchRules { timestamp_before_max_ms: 10, ..RULES };
    assert!(matches!(
        UncheckedBatch::new(old.clone()).validate(&rules),
        Err(AppendError::InvalidTimestamp { .. })
    ));
    assert!(validate(old).is_ok());
}

#[test]
fn log_append_time_is_stamped_and_the_checksum_fits() {
    let rules = BatchRules { timestamp_type: TimestampType::LogAppendTime, ..RULES };
    for codec in [Compression::None, Compression::Gzip] {
        let batch = RecordBatchBuilder::new().compression(codec).record(5, None, Some(b"v")).build();
        let batch = UncheckedBatch::new(batch).validate(&rules).expect("any timestamp is good");
        let kept = stored(&batch);
        let header = BatchHeader::read(&kept).expect("a header");
        assert!(header.is_log_append_time());
        assert_eq!((header.max_timestamp, batch.header().max_timestamp), (NOW, NOW));
        assert_eq!(crc32c::crc32c(&kept[CRC_START..]), header.crc);
        assert_eq!(find_timestamp(&kept, Offset(0), NOW), Ok(Some((Offset(1000), NOW))));
        assert_eq!(find_timestamp(&kept, Offset(0), NOW + 1), Ok(None));
    }
}

#[test]
fn a_max_timestamp_that_lies_is_put_right() {
    let batch = validate(changed(35, &(NOW + 99).to_be_bytes())).expect("it is put right");
    let kept = stored(&batch);
    let header = BatchHeader::read(&kept).expect("a header");
    assert_eq!(header.max_timestamp, NOW + 5);
    assert_eq!(crc32c::crc32c(&kept[CRC_START..]), header.crc);
}

#[test]
fn compacted_topics_need_keys_also_in_compressed_batches() {
    let rules = BatchRules { keys_required: true, ..RULES };
    for codec in
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd]
    {
        let keyed = RecordBatchBuilder::new().compression(codec).record(NOW, Some(b""), None).build();
        assert!(UncheckedBatch::new(keyed).validate(&rules).is_ok(), "{codec:?}");
        let batch = two_records().compression(codec).build();
        let Err(AppendError::InvalidRecord { errors, .. }) = UncheckedBatch::new(batch).validate(&rules)
        else {
            panic!("{codec:?}: a record has no key")
        };
        assert_eq!(errors.iter().map(|error| error.0).collect::<Vec<_>>(), [1]);
    }
}

#[test]
fn timestamps_are_found_in_every_codec() {
    for codec in
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd]
    {
        let mut builder = RecordBatchBuilder::new().compression(codec);
        for n in 0..100 {
            builder = builder.record(NOW + n * 10, Some(b"key"), Some(&[n as u8; 30]));
        }
        let kept = stored(&validate(builder.build()).expect("good"));
        let find = |from: i64, timestamp| find_timestamp(&kept, Offset(from), timestamp).expect("readable");
        assert_eq!(find(0, NOW + 41), Some((Offset(1005), NOW + 50)), "{codec:?}");
        assert_eq!(find(1050, NOW), Some((Offset(1050), NOW + 500)), "{codec:?}");
        assert_eq!(find(0, NOW + 991), None, "{codec:?}");
    }
}

#[test]
fn records_come_back_as_they_were_written() {
    let batch = RecordBatchBuilder::new()
        .record_with_headers(NOW, Some(b""), None, &[("a", Some(b"1")), ("b", None)])
        .record(NOW - 3, None, Some(&[7; 300]))
        .build();
    let records: Vec<_> = Records::new(&batch[61..]).collect::<Result<_, _>>().expect("whole records");
    assert_eq!((records[0].key, records[0].value, records[0].header_count), (Some(&b""[..]), None, 2));
    assert_eq!((records[1].timestamp_delta, records[1].offset_delta), (-3, 1));
    assert_eq!(records[1].value.map(<[u8]>::len), Some(300));
}
