//! A connection and a client talk to each other through byte buffers: order, budget, refusals.

use bytes::{Bytes, BytesMut};
use net::client::{EncodedRequest, Expected, RequestEncoder, ResponseError};
use net::generate::{Generate, Generator};
use net::messages::fetch::{FetchableTopicResponse, PartitionData};
use net::messages::*;
use net::{
    ApiKey, Connection, ConnectionLimits, ErrorCode, FrameDecoder, OutgoingResponse, Part, Received, Records,
    RecordsPart, Refusal, Request, Response, Ticket, WireError,
};

fn whole(parts: &[Part]) -> BytesMut {
    let mut bytes = BytesMut::new();
    for part in parts {
        let Part::Bytes(part) = part else { panic!("{part:?} has no bytes") };
        bytes.extend_from_slice(part);
    }
    bytes
}

/// The one frame in `parts`, its length prefix checked and cut off.
fn frame_of(parts: &[Part]) -> Bytes {
    let mut bytes = whole(parts);
    let frame = FrameDecoder::new(1 << 30).next(&mut bytes).expect("it is a frame").expect("it is whole");
    assert!(bytes.is_empty(), "{} bytes behind the frame", bytes.len());
    frame
}

fn request_frame(
    encoder: &mut RequestEncoder,
    version: i16,
    request: impl Into<Request>,
) -> (Bytes, Expected) {
    let EncodedRequest { parts, expected } =
        encoder.encode(version, &request.into()).expect("the request has a form");
    (frame_of(&parts), expected.expect("the request wants a response"))
}

fn ticket_of(received: Result<Received, Refusal>) -> Ticket {
    match received {
        Ok(Received::Request { ticket, .. }) => ticket,
        other => panic!("{other:?}"),
    }
}

fn take(connection: &mut Connection) -> Vec<OutgoingResponse> {
    let mut out = Vec::new();
    connection.take_writes(&mut out);
    out
}

#[test]
fn responses_leave_in_the_order_of_requests() {
    for seed in 0..200 {
        let mut generator = Generator::new(seed);
        let mut connection = Connection::new(ConnectionLimits::default());
        let mut encoder = RequestEncoder::new(None);
        let mut due = std::collections::VecDeque::new();
        let mut unanswered = Vec::new();
        for _ in 0..100 {
            match generator.below(3) {
                0 => {
                    let (frame, expected) = request_frame(&mut encoder, 4, HeartbeatRequest::default());
                    unanswered.push((ticket_of(connection.receive(frame)), expected));
                    due.push_back(expected);
                }
                1 if !unanswered.is_empty() => {
                    let (ticket, expected) = unanswered.swap_remove(generator.below(unanswered.len()));
                    let throttle_time_ms = expected.correlation_id;
                    let response = HeartbeatResponse { throttle_time_ms, ..Default::default() };
                    connection.respond(ticket, response.into()).expect("it has a form");
                }
                _ => {}
            }
            for OutgoingResponse { parts, .. } in take(&mut connection) {
                let expected: Expected = due.pop_front().expect("every response was due");
                let response =
                    expected.decode(frame_of(&parts)).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
                let Response::Heartbeat(response) = response else { panic!("{response:?}") };
                assert_eq!(response.throttle_time_ms, expected.correlation_id, "seed {seed}");
            }
        }
        let waiting = |expected: &Expected| unanswered.iter().any(|(_, other)| other == expected);
        assert!(due.front().is_none_or(waiting), "seed {seed}: an answered request was held back");
        assert_eq!(connection.requests_in_flight(), due.len());
    }
}

#[test]
fn a_produce_without_acks_has_no_response_and_keeps_its_place() {
    let mut connection = Connection::new(ConnectionLimits::default());
    let mut encoder = RequestEncoder::new(Some("c".into()));
    let silent = encoder.encode(9, &ProduceRequest::default().into()).expect("it has a form");
    assert_eq!(silent.expected, None);
    let first = ticket_of(connection.receive(frame_of(&silent.parts)));
    let (frame, expected) = request_frame(&mut encoder, 9, ProduceRequest { acks: -1, ..Default::default() });
    let second = ticket_of(connection.receive(frame));

    connection.respond(second, ProduceResponse::default().into()).expect("it has a form");
    assert_eq!(take(&mut connection), [], "the first produce has not been decided yet");
    connection.respond_nothing(first);
    let [response] = &take(&mut connection)[..] else { panic!("one response is due") };
    assert_eq!(response.ticket, second);
    expected.decode(frame_of(&response.parts)).expect("it is the response to the second");
    assert_eq!((connection.requests_in_flight(), connection.bytes_in_flight()), (0, 0));
}

#[test]
fn requests_and_bytes_in_flight_are_bounded() {
    let limits = ConnectionLimits { requests_in_flight_max: 3, bytes_in_flight_max: 1000 };
    let mut connection = Connection::new(limits);
    let mut encoder = RequestEncoder::new(None);
    let mut tickets = Vec::new();
    while connection.may_read() {
        let (frame, _) = request_frame(&mut encoder, 0, HeartbeatRequest::default());
        tickets.push(ticket_of(connection.receive(frame)));
    }
    assert_eq!(tickets.len(), 3);
    let (frame, _) = request_frame(&mut encoder, 0, HeartbeatRequest::default());
    assert_eq!(connection.receive(frame), Err(Refusal::TooManyInFlight));

    // An answered request counts until its response is taken: a peer that does not read must not be read from.
    connection.respond(tickets[0], HeartbeatResponse::default().into()).expect("it has a form");
    assert!(!connection.may_read());
    assert_eq!(take(&mut connection).len(), 1);
    assert!(connection.may_read());

    let group_id = "g".repeat(2000);
    let (frame, _) = request_frame(&mut encoder, 0, HeartbeatRequest { group_id, ..Default::default() });
    ticket_of(connection.receive(frame));
    assert!(!connection.may_read(), "{} bytes are in flight", connection.bytes_in_flight());
}

#[test]
fn an_unknown_version_of_api_versions_is_answered_in_version_0() {
    let mut connection = Connection::new(ConnectionLimits::default());
    let frame = Bytes::from_static(b"\0\x12\0\x63\0\0\0\x2awhatever version 99 has here");
    assert_eq!(connection.receive(frame), Ok(Received::Answered));
    let [response] = &take(&mut connection)[..] else { panic!("one response is due") };
    let expected = Expected { api_key: ApiKey::ApiVersions, version: 4, correlation_id: 42 };
    let Ok(Response::ApiVersions(response)) = expected.decode(frame_of(&response.parts)) else {
        panic!("{response:?}")
    };
    assert_eq!(response.error_code, ErrorCode::UnsupportedVersion);
    let [own] = &response.api_keys[..] else { panic!("it tells of itself alone: {response:?}") };
    assert_eq!((own.api_key, own.min_version, own.max_version), (18, 0, 4));
}

#[test]
fn what_is_not_served_is_refused() {
    let refusal = |bytes: &'static [u8]| {
        let mut connection = Connection::new(ConnectionLimits::default());
        connection.receive(Bytes::from_static(bytes)).expect_err("it is refused").to_string()
    };
    assert_eq!(refusal(b"\0\x04\0\0\0\0\0\0\0\0"), "api 4 is not served");
    assert_eq!(refusal(b"\0\0\0\x02\0\0\0\0\0\0"), "version 2 of api 0 is not served");
    assert_eq!(refusal(b"\0\x01\xff\xff\0\0\0\0\0\0"), "version -1 of api 1 is not served");
    assert_eq!(refusal(b"\0\0\0"), "a malformed request header: needs 2 bytes where 1 are left");
    assert_eq!(
        refusal(b"\0\x03\0\x04\0\0\0\0\xff\xff\x7f\xff\xff\xff"),
        "a malformed request (api 3, version 4): an array of 2147483647 elements does not fit into 0 bytes"
    );
}

#[test]
fn a_response_must_be_the_one_that_is_due() {
    let expected = Expected { api_key: ApiKey::Heartbeat, version: 0, correlation_id: 7 };
    assert_eq!(
        expected.decode(Bytes::from_static(b"\0\0\0\x08\0\0")),
        Err(ResponseError::Correlation { expected: 7, received: 8 })
    );
    assert_eq!(
        expected.decode(Bytes::from_static(b"\0\0\0\x07\0\0\0")),
        Err(ResponseError::Wire(WireError::TrailingBytes(1)))
    );
}

#[test]
fn what_a_version_cannot_express_is_dropped_or_refused() {
    let respond = |version, response: OffsetFetchResponse| {
        let mut connection = Connection::new(ConnectionLimits::default());
        let request = match version {
            ..8 => OffsetFetchRequest { topics: Some(Vec::new()), ..Default::default() },
            8.. => OffsetFetchRequest::default(),
        };
        let (frame, _) = request_frame(&mut RequestEncoder::new(None), version, request);
        let ticket = ticket_of(connection.receive(frame));
        connection.respond(ticket, response.into())
    };
    let throttled = OffsetFetchResponse { throttle_time_ms: 5, ..Default::default() };
    assert_eq!(respond(1, throttled), Ok(()), "the throttle time is ignorable");

    let groups = vec![offset_fetch::OffsetFetchResponseGroup::default()];
    let of_groups = OffsetFetchResponse { groups, ..Default::default() };
    let not_in_version = WireError::FieldNotInVersion { field: "groups", version: 7 };
    assert_eq!(respond(7, of_groups.clone()), Err(not_in_version), "a whole answer must not get lost");
    assert_eq!(respond(8, of_groups), Ok(()));
    assert_eq!(respond(7, OffsetFetchResponse::default()), Ok(()), "the default is always fine");
}

/// Record bytes of a fetch response are neither copied nor looked at; file ranges stand where they belong.
#[test]
fn records_leave_as_parts() {
    let batches = Bytes::from(vec![7; 5000]);
    let records = Records {
        parts: vec![RecordsPart::Memory(batches.clone()), RecordsPart::File { slot: 3, length: 1 << 20 }],
    };
    let partition = PartitionData { records: Some(records), ..Default::default() };
    let topic = FetchableTopicResponse { topic: "t".into(), partitions: vec![partition; 2] };
    let response = FetchResponse { responses: vec![topic], ..Default::default() };
    for version in 4..=12 {
        let mut connection = Connection::new(ConnectionLimits::default());
        let mut encoder = RequestEncoder::new(None);
        let (frame, expected) = request_frame(&mut encoder, version, FetchRequest::default());
        let ticket = ticket_of(connection.receive(frame));
        connection.respond(ticket, response.clone().into()).expect("it has a form");
        let parts = take(&mut connection).remove(0).parts;
        let shared = |part: &Part| matches!(part, Part::Bytes(b) if b.as_ptr() == batches.as_ptr());
        assert_eq!(parts.iter().filter(|part| shared(part)).count(), 2, "version {version}");
        assert_eq!(parts.iter().filter(|part| **part == Part::File { slot: 3, length: 1 << 20 }).count(), 2);

        // With the ranges filled in, it is the response that was meant.
        let filled: Vec<Part> = parts
            .into_iter()
            .map(|part| match part {
                Part::File { length, .. } => Part::Bytes(vec![9; length as usize].into()),
                bytes => bytes,
            })
            .collect();
        let Ok(Response::Fetch(read)) = expected.decode(frame_of(&filled)) else {
            panic!("version {version}")
        };
        let read = read.responses[0].partitions[1].records.as_ref().expect("there are records");
        assert_eq!(read.len(), 5000 + (1 << 20));
        let RecordsPart::Memory(read) = &read.parts[0] else { panic!("version {version}") };
        assert!(read[..5000] == batches && read[5000..].iter().all(|&byte| byte == 9));
    }
}

/// The records of a produce request are slices of its frame.
#[test]
fn records_of_a_produce_request_share_its_frame() {
    let records = Some(Bytes::from(vec![1; 1000]));
    let partition_data = vec![produce::PartitionProduceData { index: 0, records }];
    let topic_data = vec![produce::TopicProduceData { name: "t".into(), partition_data }];
    let request = ProduceRequest { acks: -1, topic_data, ..Default::default() };
    for version in 3..=11 {
        let (frame, _) = request_frame(&mut RequestEncoder::new(None), version, request.clone());
        let mut connection = Connection::new(ConnectionLimits::default());
        let Ok(Received::Request { request: Request::Produce(read), .. }) = connection.receive(frame.clone())
        else {
            panic!("version {version}")
        };
        let records = read.topic_data[0].partition_data[0].records.as_ref().expect("there are records");
        assert!(frame.as_ptr_range().contains(&records.as_ptr()), "version {version}");
    }
}

#[test]
fn every_generated_request_is_received_as_it_was_sent() {
    macro_rules! check {
        ($($request:ident),+) => {$(
            let api_key = Request::from($request::default()).api_key();
            for version in api_key.served().min..=api_key.served().max {
                let wire_version = <$request as net::wire::Message>::version(version).expect("it is served");
                let sent = $request::generate(&mut Generator::new(version as u64), wire_version);
                let sent = Request::from(sent);
                let parts = RequestEncoder::new(Some("größe".into())).encode(version, &sent).expect("it has a form").parts;
                let received = Connection::new(ConnectionLimits::default()).receive(frame_of(&parts));
                let Ok(Received::Request { header, request, .. }) = received else { panic!("{received:?}") };
                assert_eq!(request, sent);
                assert_eq!((header.api_key, header.version), (api_key, version));
                assert_eq!(header.client_id.as_deref(), Some("größe"));
            }
        )+};
    }
    check!(
        ProduceRequest,
        FetchRequest,
        MetadataRequest,
        ApiVersionsRequest,
        OffsetDeleteRequest,
        JoinGroupRequest
    );
}
