//! Frames over real sockets on a glommio executor, against plain blocking clients.

#![cfg(feature = "socket")]
#![allow(clippy::disallowed_methods, reason = "the peers of the executor are threads")]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;

use bytes::Bytes;
use glommio::{LocalExecutorBuilder, Placement};
use net::limits::READ_BUFFER_BYTES;
use net::socket::{FrameReader, FrameWriter, ReadError, SendFileRange, bind_shared};
use net::{FrameError, OutgoingResponse, Part, Ticket};

const FRAME_BYTES_MAX: usize = 4 << 20;

/// Accepts one connection on an executor, runs `serve` on it beside the blocking `client`, returns what both return.
fn with_connection<S: Send + 'static, C: Send + 'static, F: Future<Output = S> + 'static>(
    serve: impl FnOnce(FrameReader, FrameWriter) -> F + Send + 'static,
    client: impl FnOnce(TcpStream) -> C + Send + 'static,
) -> (S, C) {
    let mut listeners = bind_shared(loopback(), 1).expect("a free port on loopback");
    let listener = listeners.remove(0);
    let address = listener.local_addr().expect("a bound socket has an address");
    let client = thread::spawn(move || client(TcpStream::connect(address).expect("the listener is there")));
    let server = LocalExecutorBuilder::new(Placement::Unbound)
        .io_memory(1 << 20)
        .spawn(move || async move {
            let (reader, writer, peer) =
                listener.into_listener().accept(FRAME_BYTES_MAX).await.expect("the client connects");
            assert!(peer.ip().is_loopback());
            serve(reader, writer).await
        })
        .expect("an executor starts");
    (server.join().expect("the executor ends well"), client.join().expect("the client ends well"))
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

struct NoFiles;

impl SendFileRange for NoFiles {
    async fn send_file_range(&mut self, _: &mut FrameWriter, _: Ticket, _: u32, _: u32) -> io::Result<()> {
        panic!("there are no file ranges here")
    }
}

#[test]
fn frames_of_every_size_arrive_whole() {
    let buffer = READ_BUFFER_BYTES;
    let lengths =
        [0, 1, 3, 1000, buffer - 5, buffer - 4, buffer, buffer + 1, 0, 7, 3 << 20, 20_000, 2 * buffer, 1];
    let (received, ()) = with_connection(
        move |mut reader, _writer| async move {
            let mut received = Vec::new();
            while let Some(length) = reader.frame_length().await.expect("frames are well-formed") {
                let frame = reader.frame().await.expect("frames are whole").expect("its length was there");
                assert_eq!(frame.len(), length);
                received.push(frame);
            }
            received
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
fn a_frame_beyond_the_limit_is_refused_by_its_length() {
    let (error, ()) = with_connection(
        |mut reader, _writer| async move { reader.frame().await.expect_err("the frame is too large") },
        |mut socket| socket.write_all(&(FRAME_BYTES_MAX as u32 + 1).to_be_bytes()).expect("it is written"),
    );
    let ReadError::Frame(FrameError::TooLarge { length, limit }) = error else { panic!("{error:?}") };
    assert_eq!((length, limit), (FRAME_BYTES_MAX + 1, FRAME_BYTES_MAX));
}

#[test]
fn a_connection_that_ends_inside_a_frame_is_an_error() {
    for cut in [1, 4, 5, 103] {
        let (error, ()) = with_connection(
            |mut reader, _writer| async move { reader.frame().await.expect_err("the frame is cut off") },
            move |mut socket| {
                socket.write_all(&prefixed(&frame(100, 0))[..cut]).expect("it is written");
            },
        );
        let ReadError::Io(error) = error else { panic!("{error:?}") };
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "cut at {cut}");
    }
}

/// Sends what stands in for file ranges through the descriptor, as sendfile(2) would.
struct FilesFromMemory(Vec<Bytes>);

impl SendFileRange for FilesFromMemory {
    async fn send_file_range(
        &mut self,
        writer: &mut FrameWriter,
        ticket: Ticket,
        slot: u32,
        length: u32,
    ) -> io::Result<()> {
        assert_eq!(ticket, Ticket(7));
        let mut socket = std::fs::File::from(writer.descriptor()?.try_clone()?);
        let mut left = &self.0[slot as usize][..length as usize];
        while !left.is_empty() {
            match socket.write(left) {
                Ok(count) => left = &left[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => writer.writable().await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[test]
fn memory_and_file_ranges_leave_in_order_however_slowly_the_peer_reads() {
    let memory = |length, seed| Part::Bytes(Bytes::from(frame(length, seed)));
    let file = Bytes::from(frame(6 << 20, 9));
    let many: Vec<Part> = (0..1000).map(|seed| memory(3, seed)).collect();
    let mixed = vec![
        memory(10, 1),
        Part::File { slot: 0, length: 6 << 20 },
        memory(5 << 20, 2),
        Part::File { slot: 0, length: 11 },
    ];
    let expected: Vec<u8> = [
        (0..1000).flat_map(|seed| frame(3, seed)).collect(),
        frame(10, 1),
        file.to_vec(),
        frame(5 << 20, 2),
        file[..11].to_vec(),
    ]
    .concat();
    let ((), received) = with_connection(
        move |_reader, mut writer| async move {
            let responses = [
                OutgoingResponse { ticket: Ticket(6), parts: many },
                OutgoingResponse { ticket: Ticket(7), parts: mixed },
            ];
            writer.write(&responses, &mut FilesFromMemory(vec![file])).await.expect("the peer reads");
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
fn a_reader_that_waits_is_woken_by_shutdown() {
    with_connection(
        |mut reader, mut writer| async move {
            let reading = glommio::spawn_local(async move { reader.frame().await });
            glommio::executor().yield_now().await;
            writer.write(&[], &mut NoFiles).await.expect("nothing is written");
            writer.shutdown().await.expect("the socket is open");
            assert!(reading.await.expect("it is a clean end").is_none());
        },
        |mut socket| assert_eq!(socket.read(&mut [0; 8]).expect("it is a clean end"), 0),
    );
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

    // A listener that allows sharing, as glommio's own does, is another process's all the same.
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
    let mut listeners = listeners.into_iter().map(|listener| listener.into_std());
    let (first, second) = (listeners.next().expect("two"), listeners.next().expect("two"));
    let count = |listener: &std::net::TcpListener| std::iter::from_fn(|| listener.accept().ok()).count();
    let (first, second) = (count(&first), count(&second));
    assert_eq!(first + second, clients.len());
    assert!(first > 0 && second > 0, "{first} and {second}");
}

#[test]
fn an_address_of_another_machine_is_named() {
    let address = SocketAddr::from(([203, 0, 113, 1], 9092));
    let error = bind_shared(address, 1).expect_err("it is not ours");
    assert_eq!(error.to_string(), "203.0.113.1:9092 is not an address of this machine");
}
