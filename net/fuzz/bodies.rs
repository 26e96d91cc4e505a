//! What the fuzz targets run. `tests/hostile.rs` runs the same with seeded bytes.

use bytes::{Bytes, BytesMut};
use net::frame::FrameDecoder;
use net::messages::records::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, GroupMetadataKey, GroupMetadataValue,
    OffsetCommitKey, OffsetCommitValue, decode_record, encode_record, record_version,
};
use net::wire::{Message, Writer};
use net::{ApiKey, Connection, ConnectionLimits, Received, Request, Response};

/// Any bytes as a request frame: refused, or read as something that reads the same after writing it.
pub fn request(frame: &[u8]) {
    let mut connection = Connection::new(ConnectionLimits::default());
    let Ok(Received::Request { ticket, header, request }) = connection.receive(Bytes::copy_from_slice(frame))
    else {
        return;
    };
    let mut writer = Writer::new();
    request.encode(header.version, &mut writer).expect("what was read can be written");
    let again = Request::decode(header.api_key, header.version, writer.into_bytes());
    assert_eq!(again.as_ref(), Ok(&request), "{header}");
    connection.respond_nothing(ticket);
    assert_eq!(connection.bytes_in_flight(), frame.len(), "its place is free once it is taken");
    connection.take_writes(&mut Vec::new());
    assert_eq!(connection.bytes_in_flight(), 0);
}

/// Any bytes as the body of a response; the first two choose the API and the version.
pub fn response(bytes: &[u8]) {
    let [api, version, body @ ..] = bytes else { return };
    let api_key = ApiKey::ALL[usize::from(*api) % ApiKey::ALL.len()];
    let served = api_key.served();
    let version = served.min + i16::from(*version) % (served.max - served.min + 1);
    let Ok(response) = Response::decode(api_key, version, Bytes::copy_from_slice(body)) else { return };
    let mut writer = Writer::new();
    response.encode(version, &mut writer).expect("what was read can be written");
    assert_eq!(Response::decode(api_key, version, writer.into_bytes()), Ok(response), "{api_key} v{version}");
}

/// Any bytes as a stream of frames: however it is cut, the same frames and the same end come out.
pub fn frames(bytes: &[u8]) {
    let [piece, stream @ ..] = bytes else { return };
    let read = |piece: usize| {
        let mut decoder = FrameDecoder::new(1000);
        let mut buffer = BytesMut::new();
        let mut frames = Vec::new();
        for piece in stream.chunks(piece) {
            buffer.extend_from_slice(piece);
            loop {
                match decoder.next(&mut buffer) {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break,
                    Err(error) => return (frames, Some(error)),
                }
            }
        }
        (frames, None)
    };
    assert_eq!(read(usize::from(*piece) + 1), read(stream.len().max(1)));
}

/// Any bytes as what Kafka stores with a version before it.
pub fn records(bytes: &[u8]) {
    fn check<M: Message + PartialEq + std::fmt::Debug>(bytes: &Bytes) {
        let Ok(record) = decode_record::<M>(bytes.clone()) else { return };
        let version = record_version(bytes).expect("it was read before");
        let written = encode_record(&record, version).expect("what was read can be written");
        assert_eq!(decode_record(written), Ok(record), "{} v{version}", M::NAME);
    }
    let bytes = Bytes::copy_from_slice(bytes);
    check::<OffsetCommitKey>(&bytes);
    check::<OffsetCommitValue>(&bytes);
    check::<GroupMetadataKey>(&bytes);
    check::<GroupMetadataValue>(&bytes);
    check::<ConsumerProtocolSubscription>(&bytes);
    check::<ConsumerProtocolAssignment>(&bytes);
    let _any_version = ConsumerProtocolSubscription::decode_any(bytes.clone());
    let _any_version = ConsumerProtocolAssignment::decode_any(bytes);
}
