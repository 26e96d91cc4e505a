//! The blocking client against a broker of a few lines: a thread that serves one connection.

#![cfg(feature = "blocking")]
#![allow(clippy::disallowed_methods, reason = "the other end of the client is a thread")]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use bytes::BytesMut;
use net::client::blocking::{CallError, Client};
use net::connection::advertised_api_versions;
use net::limits::REQUEST_BYTES_MAX;
use net::messages::*;
use net::{Connection, ConnectionLimits, FrameDecoder, Part, Received, Request, Response};

/// Answers requests until the peer ends the connection or sends what is refused.
fn serve(mut socket: TcpStream) {
    let mut connection = Connection::new(ConnectionLimits::default());
    let mut frames = FrameDecoder::new(REQUEST_BYTES_MAX);
    let mut buffer = BytesMut::new();
    let mut chunk = [0; 1000];
    let mut writes = Vec::new();
    loop {
        let count = socket.read(&mut chunk).expect("the client is there");
        if count == 0 {
            return;
        }
        buffer.extend_from_slice(&chunk[..count]);
        while let Ok(Some(frame)) = frames.next(&mut buffer) {
            let Ok(received) = connection.receive(frame) else { return };
            let Received::Request { ticket, header, request } = received else { continue };
            let response: Response = match request {
                Request::Produce(produce) if produce.acks == 0 => {
                    connection.respond_nothing(ticket);
                    continue;
                }
                Request::Produce(produce) => {
                    ProduceResponse { throttle_time_ms: produce.timeout_ms, ..Default::default() }.into()
                }
                Request::ApiVersions(_) => {
                    ApiVersionsResponse { api_keys: advertised_api_versions(), ..Default::default() }.into()
                }
                _ => panic!("{header} is not asked for here"),
            };
            connection.respond(ticket, response).expect("it has a form");
        }
        connection.take_writes(&mut writes);
        for response in writes.drain(..) {
            for part in response.parts {
                let Part::Bytes(bytes) = part else { panic!("there are no files here") };
                socket.write_all(&bytes).expect("the client reads");
            }
        }
    }
}

fn broker() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on loopback");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || serve(listener.accept().expect("the client connects").0));
    address
}

fn produce(acks: i16, timeout_ms: i32) -> ProduceRequest {
    ProduceRequest { acks, timeout_ms, ..Default::default() }
}

#[test]
fn a_call_gets_its_response() {
    let mut client = Client::connect(broker()).expect("the broker listens");
    let versions = client.call(4, ApiVersionsRequest::default()).expect("it is answered");
    assert_eq!(versions.api_keys, advertised_api_versions());
    client.send(7, &produce(0, 1).into()).expect("it is sent");
    assert_eq!(client.in_flight(), 0, "acks=0 is not answered");
    assert_eq!(client.call(11, produce(-1, 2)).expect("it is answered").throttle_time_ms, 2);
}

#[test]
fn requests_are_pipelined_by_two_threads() {
    let (mut sender, mut receiver) =
        Client::connect(broker()).expect("the broker listens").split().expect("the socket is good");
    let sending = thread::spawn(move || {
        for number in 0..5000 {
            sender.send(9, &produce((number % 2) as i16, number).into()).expect("the broker reads");
        }
    });
    for number in (1..5000).step_by(2) {
        let response = receiver.receive().expect("it is in order").expect("it is due");
        let Response::Produce(response) = response else { panic!("{response:?}") };
        assert_eq!(response.throttle_time_ms, number);
    }
    sending.join().expect("all is sent");
    assert_eq!(receiver.receive().expect("it is a clean end"), None);
}

#[test]
fn a_closed_connection_is_an_error() {
    let mut client = Client::connect(broker()).expect("the broker listens");
    client.send_bytes(b"\0\0\0\x03abc").expect("it is written");
    let Err(CallError::Io(error)) = client.receive_frame() else { panic!("there is no answer to that") };
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}
