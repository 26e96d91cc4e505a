//! Frames of those who mean harm, or whose memory is rotten: no panic, and no more memory than the frame is worth.
//!
//! Random tests print the seed that replays them: `MONEDULA_SEED=n cargo test -p monedula-net --test hostile`.

#[path = "../fuzz/bodies.rs"]
mod bodies;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use bytes::{BufMut, Bytes, BytesMut};
use net::generate::{Generate, Generator};
use net::messages::*;
use net::wire::{Message, WireError, Writer};
use net::{ApiKey, Request, Response};

/// Bytes of memory that a byte of a message may turn into, at worst: an empty string is one byte in a message and
/// 24 in a vector of strings, with as much again while a tagged field replaces one that came before.
const MEMORY_PER_BYTE_MAX: usize = 64;
/// Memory for what is fixed: the message itself, the places of the connection.
const MEMORY_FIXED_MAX: usize = 16 * 1024;

struct CountingAllocator;

thread_local! {
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: all work is the system allocator's; the counters are plain cells of the thread, which do not allocate.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.set(LIVE.get().saturating_sub(layout.size()));
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn count(size: usize) {
    LIVE.set(LIVE.get() + size);
    PEAK.set(PEAK.get().max(LIVE.get()));
}

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// The most memory that this thread held at once while `run` ran, beyond what it held before.
fn peak_memory(run: impl FnOnce()) -> usize {
    LIVE.set(0);
    PEAK.set(0);
    run();
    PEAK.get()
}

fn decode_request(api_key: ApiKey, version: i16, body: Bytes) -> Result<Request, WireError> {
    let length = body.len();
    let mut result = None;
    let memory = peak_memory(|| result = Some(Request::decode(api_key, version, body)));
    let memory_max = MEMORY_PER_BYTE_MAX * length + MEMORY_FIXED_MAX;
    assert!(memory <= memory_max, "{api_key} v{version}: {length} bytes took {memory} bytes of memory");
    result.expect("it has run")
}

fn decode_response(api_key: ApiKey, version: i16, body: Bytes) -> Result<Response, WireError> {
    let length = body.len();
    let mut result = None;
    let memory = peak_memory(|| result = Some(Response::decode(api_key, version, body)));
    let memory_max = MEMORY_PER_BYTE_MAX * length + MEMORY_FIXED_MAX;
    assert!(memory <= memory_max, "{api_key} v{version}: {length} bytes took {memory} bytes of memory");
    result.expect("it has run")
}

/// The body of a generated message of every API and version.
fn for_each_message(seed: u64, mut check: impl FnMut(ApiKey, i16, bool, Bytes)) {
    fn body<M: Message + Generate>(seed: u64, version: i16) -> Bytes {
        let wire_version = M::version(version).expect("it is served");
        let message = M::generate(&mut Generator::new(seed << 16 | version as u64), wire_version);
        let mut writer = Writer::new();
        message.encode(&mut writer, version).expect("it has a form");
        writer.into_bytes()
    }
    macro_rules! each {
        ($($api:ident $request:ident $response:ident,)+) => {$(
            let served = ApiKey::$api.served();
            for version in served.min..=served.max {
                check(ApiKey::$api, version, true, body::<$request>(seed, version));
                check(ApiKey::$api, version, false, body::<$response>(seed, version));
            }
        )+};
    }
    each! {
        Produce ProduceRequest ProduceResponse,
        Fetch FetchRequest FetchResponse,
        ListOffsets ListOffsetsRequest ListOffsetsResponse,
        Metadata MetadataRequest MetadataResponse,
        OffsetCommit OffsetCommitRequest OffsetCommitResponse,
        OffsetFetch OffsetFetchRequest OffsetFetchResponse,
        FindCoordinator FindCoordinatorRequest FindCoordinatorResponse,
        JoinGroup JoinGroupRequest JoinGroupResponse,
        Heartbeat HeartbeatRequest HeartbeatResponse,
        LeaveGroup LeaveGroupRequest LeaveGroupResponse,
        SyncGroup SyncGroupRequest SyncGroupResponse,
        DescribeGroups DescribeGroupsRequest DescribeGroupsResponse,
        ListGroups ListGroupsRequest ListGroupsResponse,
        ApiVersions ApiVersionsRequest ApiVersionsResponse,
        CreateTopics CreateTopicsRequest CreateTopicsResponse,
        DeleteTopics DeleteTopicsRequest DeleteTopicsResponse,
        DeleteRecords DeleteRecordsRequest DeleteRecordsResponse,
        InitProducerId InitProducerIdRequest InitProducerIdResponse,
        OffsetForLeaderEpoch OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse,
        DescribeConfigs DescribeConfigsRequest DescribeConfigsResponse,
        AlterConfigs AlterConfigsRequest AlterConfigsResponse,
        DescribeLogDirs DescribeLogDirsRequest DescribeLogDirsResponse,
        CreatePartitions CreatePartitionsRequest CreatePartitionsResponse,
        DeleteGroups DeleteGroupsRequest DeleteGroupsResponse,
        IncrementalAlterConfigs IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse,
        OffsetDelete OffsetDeleteRequest OffsetDeleteResponse,
        DescribeCluster DescribeClusterRequest DescribeClusterResponse,
        DescribeProducers DescribeProducersRequest DescribeProducersResponse,
        DescribeTopicPartitions DescribeTopicPartitionsRequest DescribeTopicPartitionsResponse,
    }
}

/// Runs `check` with seeds, and names the one that fails.
fn with_seeds(count: u64, check: impl Fn(u64)) {
    let seeds = match std::env::var("MONEDULA_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("MONEDULA_SEED is a number");
            seed..seed + 1
        }
        Err(_) => 0..count,
    };
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(seed))) {
            eprintln!("replay with MONEDULA_SEED={seed}");
            resume_unwind(panic);
        }
    }
}

#[test]
fn a_message_cut_off_anywhere_is_refused() {
    with_seeds(2, |seed| {
        for_each_message(seed, |api_key, version, is_request, body| {
            let ends = (0..body.len()).filter(|end| body.len() < 300 || end % 7 == 0);
            for end in ends {
                let cut = body.slice(..end);
                let refused = match is_request {
                    true => decode_request(api_key, version, cut).is_err(),
                    false => decode_response(api_key, version, cut).is_err(),
                };
                assert!(refused, "{api_key} v{version} cut to {end} of {} bytes", body.len());
            }
        });
    });
}

#[test]
fn mutated_messages_are_read_or_refused() {
    with_seeds(10, |seed| {
        let mut generator = Generator::new(seed);
        for_each_message(seed, |api_key, version, is_request, body| {
            for _ in 0..5 {
                let body = mutate(&mut generator, &body);
                let mut frame = BytesMut::new();
                if is_request {
                    let _read_or_refused = decode_request(api_key, version, body.clone());
                    frame.put_i16(api_key.key());
                    frame.put_i16(version);
                    frame.put_slice(b"\0\0\0\0\xff\xff\0");
                    frame.put_slice(&body);
                    bodies::request(&frame);
                } else {
                    let _read_or_refused = decode_response(api_key, version, body.clone());
                    let index = ApiKey::ALL.binary_search(&api_key).expect("it is served");
                    frame.put_u8(index as u8);
                    frame.put_u8((version - api_key.served().min) as u8);
                    frame.put_slice(&body);
                    bodies::response(&frame);
                }
            }
        });
    });
}

/// Flips, replaces, cuts out and doubles: what counts and lengths are made of above all.
fn mutate(generator: &mut Generator, body: &Bytes) -> Bytes {
    let mut bytes = body.to_vec();
    for _ in 0..1 + generator.below(4) {
        if bytes.is_empty() {
            break;
        }
        let place = generator.below(bytes.len());
        match generator.below(5) {
            0 => bytes[place] ^= 1 << generator.below(8),
            1 => bytes[place] = [0, 1, 0x7f, 0x80, 0xff][generator.below(5)],
            2 => drop(bytes.drain(place..bytes.len().min(place + 1 + generator.below(8)))),
            3 => bytes.insert(place, generator.next_u64() as u8),
            _ => {
                let end = bytes.len().min(place + 4);
                bytes[place..end].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff][..end - place]);
            }
        }
    }
    bytes.into()
}

#[test]
fn random_bytes_are_read_or_refused() {
    with_seeds(3_000, |seed| {
        let mut generator = Generator::new(seed);
        let mut bytes = generator.bytes(400);
        bodies::response(&bytes);
        bodies::records(&bytes);
        bodies::frames(&bytes);
        if bytes.len() >= 4 {
            // With a header that is served, or the rest would never be looked at.
            let api_key = ApiKey::ALL[generator.below(ApiKey::ALL.len())];
            let served = api_key.served();
            let version = served.min + generator.below((served.max - served.min + 1) as usize) as i16;
            bytes[..2].copy_from_slice(&api_key.key().to_be_bytes());
            bytes[2..4].copy_from_slice(&version.to_be_bytes());
        }
        bodies::request(&bytes);
        // Streams of small frames, cut anywhere.
        let mut stream = vec![generator.next_u64() as u8];
        for _ in 0..generator.below(10) {
            let frame = generator.bytes(100);
            stream.extend((frame.len() as u32).to_be_bytes());
            stream.extend(frame);
        }
        bodies::frames(&stream);
    });
}

/// Every count and every length of every message, one after the other, claims as much as it can. What is behind it
/// does not matter: nothing may be reserved for it.
#[test]
fn huge_counts_reserve_nothing() {
    for_each_message(1, |api_key, version, is_request, body| {
        for place in (0..body.len().min(400)).step_by(if body.len() < 100 { 1 } else { 3 }) {
            for huge in
                [&b"\x7f\xff\xff\xff"[..], b"\x00\x0f\x42\x40", b"\xff\xff\xff\xff\x0f", b"\xfe\xff\x03"]
            {
                let body = Bytes::from([&body[..place], huge, &body[place..]].concat());
                let _read_or_refused = match is_request {
                    true => decode_request(api_key, version, body).map(|_| ()),
                    false => decode_response(api_key, version, body).map(|_| ()),
                };
            }
        }
    });
}

#[test]
fn a_large_frame_of_empty_elements_is_bounded() {
    // 100 MiB of empty topic names, two bytes each: all there, and refused for their number.
    let count = 50 << 20;
    let mut body = BytesMut::new();
    put_unsigned_varint(&mut body, count + 1);
    body.put_bytes(1, 2 * count as usize);
    let length = body.len();
    let mut result = None;
    let body = body.freeze();
    let memory = peak_memory(|| result = Some(Request::decode(ApiKey::DescribeTopicPartitions, 0, body)));
    assert_eq!(result.expect("it has run"), Err(WireError::TooManyElements));
    assert!(memory < 1000, "{length} bytes took {memory} bytes of memory");
}

#[test]
fn the_largest_array_there_may_be_is_worth_its_memory() {
    // Nothing grows more than empty strings do: one byte each in the frame, 24 in memory.
    let count = 1_000_000;
    let mut body = BytesMut::new();
    body.put_u8(0);
    put_unsigned_varint(&mut body, count + 1);
    body.put_bytes(1, count as usize);
    body.put_u8(0);
    let request = decode_request(ApiKey::FindCoordinator, 4, body.freeze()).expect("it is allowed");
    let Request::FindCoordinator(request) = request else { panic!("it is what was asked for") };
    assert_eq!(request.coordinator_keys.len(), count as usize);
}

/// The bytes that are left are divided by what an element takes, so that nothing is reserved for the twelve-fold.
#[test]
fn a_count_is_held_against_what_its_elements_take() {
    let body = |partitions: i32, left: usize| {
        let mut body = BytesMut::new();
        body.put_slice(b"\0\0\0\0\0\0\0\x01\0\0");
        body.put_i32(partitions);
        body.put_bytes(0, left);
        Request::decode(ApiKey::ListOffsets, 1, body.freeze()).map(|_| ())
    };
    assert_eq!(body(3, 36), Ok(()));
    assert_eq!(body(3, 35), Err(WireError::CountBeyondFrame { count: 3, left: 35 }));
}

#[test]
fn elements_are_counted_over_the_whole_message() {
    // Eleven topics of 100,000 partitions each: every array is allowed, all together are not.
    let mut body = BytesMut::new();
    body.put_i32(-1);
    body.put_i32(11);
    for _ in 0..11 {
        body.put_i16(0);
        body.put_i32(100_000);
        body.put_bytes(0, 100_000 * 12);
    }
    assert_eq!(Request::decode(ApiKey::ListOffsets, 1, body.freeze()), Err(WireError::TooManyElements));
}

#[test]
fn tagged_fields_are_bounded() {
    let body = |count: u32| {
        let mut body = BytesMut::new();
        body.put_slice(&[1, 1]);
        put_unsigned_varint(&mut body, count);
        for tag in 0..count {
            put_unsigned_varint(&mut body, 100 + tag);
            body.put_u8(0);
        }
        body.freeze()
    };
    let decode = |count| decode_request(ApiKey::ApiVersions, 3, body(count)).map(|_| ());
    assert_eq!(decode(10_000), Ok(()));
    assert_eq!(decode(10_001), Err(WireError::TooManyTaggedFields));

    // A tagged field that we know must be as long as it says.
    let wrong_size = Bytes::from_static(b"\0\0\x01\0\0\0\0\x01\x00\x02\x01\0");
    let error = decode_response(ApiKey::ApiVersions, 3, wrong_size).expect_err("one byte is too many");
    assert_eq!(error, WireError::TaggedFieldSize { tag: 0 });
}

#[test]
fn primitive_values_out_of_range_are_refused() {
    let check = |body: &'static [u8], version, expected: WireError| {
        let error = decode_request(ApiKey::FindCoordinator, version, Bytes::from_static(body));
        assert_eq!(error, Err(expected));
    };
    check(b"\xff\xfe", 0, WireError::NegativeLength(-2));
    check(b"\xff\xff", 0, WireError::UnexpectedNull { field: "a string" });
    check(b"\0\x02\xc3\x28", 0, WireError::InvalidUtf8);
    check(b"\0\x05abcd", 0, WireError::Truncated { needed: 5, left: 4 });
    check(b"\xff\xff\xff\xff\x1f", 3, WireError::InvalidVarint);
    check(b"\xff\xff\xff\xff\xff\x01", 3, WireError::InvalidVarint);
}

fn put_unsigned_varint(bytes: &mut BytesMut, mut value: u32) {
    while value >= 0x80 {
        bytes.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.put_u8(value as u8);
}
