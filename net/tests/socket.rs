//! Frames over real sockets that do not block, against plain blocking clients.

#![cfg(feature = "socket")]
#![allow(clippy::disallowed_methods, reason = "the peers are threads")]

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;

use bytes::Bytes;
use net::socket::{
    BoundListener, FrameHost, FrameReader, FrameWriter, Pass, ReadError, Written, bind_shared,
};
use net::{FrameError, OutgoingResponse, Part, Ticket};

const FRAME_BYTES_MAX: usize = 4 << 20;
const SCRATCH_BYTES: usize = 64 << 10;

/// Accepts one connection, runs `serve` on it beside the blocking `client`, returns what both return.
fn with_connection<S, C: Send + 'static>(
    serve: impl FnOnce(TcpStream) -> S,
    client: impl FnOnce(TcpStream) -> C + Send + 'static,
) -> (S, C) {
    let mut listeners = bind_shared(loopback(), 1).expect("a free port on loopback");
    let listener = listeners.remove(0);
    let address = listener.local_addr().expect("a bound socket has an address");
    let client = thread::spawn(move || client(TcpStream::connect(address).expect("the listener is there")));
    let socket = loop {
        if let Some((socket, peer)) = listener.accept().expect("the client connects") {
            assert!(peer.ip().is_loopback());
            break socket;
        }
        thread::yield_now();
    };
    let served = serve(socket);
    (served, client.join().expect("the client ends well"))
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn frame(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|place| (place * 31 + seed) as u8).collect()
}

fn prefixed(frame: &[u8]) -> Vec<u8> {
    [&(frame.len() as u32).to_be_bytes()[..], frame].concat()
}

/// Takes frames while it has places for them; counts what was admitted and not handed over.
struct Host {
    frames: Vec<Bytes>,
    places: usize,
    admits: bool,
    admitted: usize,
}

impl Host {
    fn new(places: usize) -> Host {
        Host { frames: Vec::new(), places, admits: true, admitted: 0 }
    }
}

impl FrameHost for Host {
    fn may_begin(&mut self) -> bool {
        self.frames.len() < self.places
    }

    fn admit(&mut self, length: usize) -> bool {
        self.admitted += if self.admits { length } else { 0 };
        self.admits
    }

    fn frame(&mut self, frame: Bytes) -> bool {
        self.admitted -= frame.len();
        self.frames.push(frame);
        true
    }
}

/// Passes until the connection ends, and what it ended with.
fn read_all(socket: &TcpStream, host: &mut Host) -> Result<(), ReadError> {
    let mut reader = FrameReader::new(FRAME_BYTES_MAX);
    let mut scratch = vec![0; SCRATCH_BYTES];
    loop {
        match reader.pass(socket, &mut scratch, host)? {
            Pass::Closed => return Ok(()),
            Pass::Drained | Pass::Paused => thread::yield_now(),
            Pass::Stopped => panic!("the host takes all"),
        }
    }
}

#[test]
fn frames_of_every_size_arrive_whole() {
    let buffer = SCRATCH_BYTES;
    let lengths =
        [0, 1, 3, 1000, buffer - 5, buffer - 4, buffer, buffer + 1, 0, 7, 3 << 20, 20_000, 2 * buffer, 1];
    let (received, ()) = with_connection(
        |socket| {
            let mut host = Host::new(usize::MAX);
            read_all(&socket, &mut host).expect("frames are well-formed");
            assert_eq!(host.admitted, 0, "all that was admitted has come");
            host.frames
        },
        move |mut socket| {
            let mut stream = Vec::new();
            for (seed, length) in lengths.into_iter().enumerate() {
                stream.extend(prefixed(&frame(length, seed)));
            }
            // Pieces of odd sizes, so that frames begin and end anywhere in them.
            for piece in stream.chunks(33_333) {
                socket.write_all(piece).expect("the server reads on");
            }
        },
    );
    assert_eq!(received.len(), lengths.len());
    for (seed, (received, length)) in received.iter().zip(lengths).enumerate() {
        assert!(received == &frame(length, seed), "frame {seed} of {length} bytes differs");
    }
}

#[test]
fn a_host_may_take_frames_one_at_a_time() {
    const FRAMES: usize = 500;
    let length = |seed| seed * 977 % 3000;
    let (received, ()) = with_connection(
        |socket| {
            let mut reader = FrameReader::new(FRAME_BYTES_MAX);
            let mut scratch = vec![0; SCRATCH_BYTES];
            let mut host = Host::new(0);
            loop {
                // Neither place nor room, place but no room, then both: nothing may be lost in between.
                host.places = host.frames.len();
                assert!(matches!(
                    reader.pass(&socket, &mut scratch, &mut host),
                    Ok(Pass::Stopped | Pass::Closed)
                ));
                (host.places, host.admits) = (host.frames.len() + 1, false);
                let closed = matches!(
                    reader.pass(&socket, &mut scratch, &mut host).expect("frames are well-formed"),
                    Pass::Closed
                );
                host.admits = true;
                reader.pass(&socket, &mut scratch, &mut host).expect("frames are well-formed");
                if closed {
                    return host.frames;
                }
            }
        },
        move |mut socket| {
            let stream: Vec<u8> = (0..FRAMES).flat_map(|seed| prefixed(&frame(length(seed), seed))).collect();
            socket.write_all(&stream).expect("the server reads on");
        },
    );
    assert_eq!(received.len(), FRAMES);
    for (seed, received) in received.iter().enumerate() {
        assert!(received == &frame(length(seed), seed), "frame {seed} differs");
    }
}

#[test]
fn a_frame_beyond_the_limit_is_refused_by_its_length() {
    let (error, ()) = with_connection(
        |socket| read_all(&socket, &mut Host::new(1)).expect_err("the frame is too large"),
        |mut socket| socket.write_all(&(FRAME_BYTES_MAX as u32 + 1).to_be_bytes()).expect("it is written"),
    );
    let ReadError::Frame(FrameError::TooLarge { length, limit }) = error else { panic!("{error:?}") };
    assert_eq!((length, limit), (FRAME_BYTES_MAX + 1, FRAME_BYTES_MAX));
}

#[test]
fn a_connection_that_ends_inside_a_frame_is_an_error() {
    for cut in [1, 4, 5, 103] {
        let (error, ()) = with_connection(
            |socket| read_all(&socket, &mut Host::new(1)).expect_err("the frame is cut off"),
            move |mut socket| {
                socket.write_all(&prefixed(&frame(100, 0))[..cut]).expect("it is written");
            },
        );
        let ReadError::Io(error) = error else { panic!("{error:?}") };
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "cut at {cut}");
    }
}

#[test]
fn memory_and_file_ranges_leave_in_order_however_slowly_the_peer_reads() {
    let memory = |length, seed| Part::Bytes(Bytes::from(frame(length, seed)));
    let file = frame(6 << 20, 9);
    let many: Vec<Part> = (0..1000).map(|seed| memory(seed % 5, seed)).collect();
    let mixed = vec![
        memory(10, 1),
        Part::File { slot: 0, length: 6 << 20 },
        memory(5 << 20, 2),
        Part::File { slot: 1, length: 11 },
    ];
    let expected: Vec<u8> = [
        (0..1000).flat_map(|seed| frame(seed % 5, seed)).collect(),
        frame(10, 1),
        file.clone(),
        frame(5 << 20, 2),
        file[..11].to_vec(),
    ]
    .concat();
    let ((), received) = with_connection(
        move |socket| {
            let mut writer = FrameWriter::default();
            writer.push(OutgoingResponse { ticket: Ticket(6), parts: many });
            writer.push(OutgoingResponse { ticket: Ticket(7), parts: mixed });
            let mut ranges = VecDeque::from([&file[..], &file[..11]]);
            loop {
                match writer.write(&socket).expect("the peer reads") {
                    Written::All => break,
                    Written::Blocked => thread::yield_now(),
                    Written::File { ticket, slot, length } => {
                        let left = &mut ranges[0];
                        assert_eq!(ticket, Ticket(7));
                        assert!(left.len() <= length as usize && slot <= 1);
                        match (&socket).write(left) {
                            Ok(count) => *left = &left[count..],
                            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::yield_now(),
                            Err(error) => panic!("the peer reads: {error}"),
                        }
                        if left.is_empty() {
                            ranges.pop_front();
                            writer.file_sent();
                        }
                    }
                }
            }
            assert!(writer.is_empty() && ranges.is_empty());
        },
        |mut socket| {
            let mut received = Vec::new();
            socket.read_to_end(&mut received).expect("the server ends the connection");
            received
        },
    );
    assert!(received == expected, "{} bytes instead of {}", received.len(), expected.len());
}

#[test]
fn shards_share_a_port_that_nobody_else_gets() {
    let mut listeners = bind_shared(loopback(), 3).expect("a free port on loopback");
    let address = listeners[0].local_addr().expect("a bound socket has an address");
    for listener in &listeners {
        assert_eq!(listener.local_addr().expect("a bound socket has an address"), address);
    }
    let refused = bind_shared(address, 3).expect_err("the port is taken");
    assert_eq!(refused.to_string(), format!("{address} is in use by another process"));

    // A listener that allows sharing, is another process's all the same.
    listeners.clear();
    let foreign = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    foreign.set_reuse_port(true).expect("the option is there");
    foreign.bind(&address.into()).expect("the port is free again");
    foreign.listen(1).expect("the port is free again");
    bind_shared(address, 1).expect_err("the port is taken");
    drop(foreign);

    // Connections spread over the sockets of one port.
    let listeners = bind_shared(address, 2).expect("the port is free again");
    let clients: Vec<_> = (0..64).map(|_| TcpStream::connect(address).expect("it listens")).collect();
    let count = |listener: &BoundListener| {
        std::iter::from_fn(|| listener.accept().expect("connections are sound")).count()
    };
    let (first, second) = (count(&listeners[0]), count(&listeners[1]));
    assert_eq!(first + second, clients.len());
    assert!(first > 0 && second > 0, "{first} and {second}");
}

#[test]
fn an_address_of_another_machine_is_named() {
    let address = SocketAddr::from(([203, 0, 113, 1], 9092));
    let error = bind_shared(address, 1).expect_err("it is not ours");
    assert_eq!(error.to_string(), "203.0.113.1:9092 is not an address of this machine");
}
