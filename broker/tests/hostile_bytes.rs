//! Bytes that no client would send: the connection ends, the broker goes on and loses nothing.

#![allow(clippy::disallowed_methods, reason = "tests of processes use clocks, files and threads")]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use net::ErrorCode;
use support::{Broker, PATIENCE, Random, Session, TestDirectory, batch};

struct Victim {
    _test: TestDirectory,
    broker: Broker,
}

fn victim(name: &str) -> Victim {
    let test = TestDirectory::new(name);
    let broker = Broker::start(test.path());
    let mut client = broker.client();
    assert_eq!(client.create_topic("t", 1, &[]), ErrorCode::None);
    assert_eq!(client.produce("t", 0, -1, batch(&[b"precious"])), Ok(0));
    Victim { _test: test, broker }
}

impl Victim {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.broker.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream
    }

    fn assert_unharmed(mut self) {
        assert!(self.broker.is_running());
        let mut client = self.broker.client();
        assert_eq!(client.read_all("t", 0, 0), vec![(0, b"precious".to_vec())]);
        assert!(self.broker.stop().success());
    }
}

/// Reads until the broker closes the connection.
fn ends(mut stream: TcpStream) {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "the connection was to end"),
    }
}

/// A request header: api, version, correlation id, client id, and what follows.
fn frame(api: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&(14 + body.len() as i32).to_be_bytes());
    bytes.extend_from_slice(&api.to_be_bytes());
    bytes.extend_from_slice(&version.to_be_bytes());
    bytes.extend_from_slice(&7i32.to_be_bytes());
    bytes.extend_from_slice(&4i16.to_be_bytes());
    bytes.extend_from_slice(b"evil");
    bytes.extend_from_slice(body);
    bytes
}

#[test]
fn frames_that_are_none() {
    let victim = victim("frames");
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a negative length", (-1i32).to_be_bytes().to_vec()),
        ("the most negative length", i32::MIN.to_be_bytes().to_vec()),
        ("a length beyond the limit", i32::MAX.to_be_bytes().to_vec()),
        ("an empty frame", 0i32.to_be_bytes().to_vec()),
        ("a frame too short for a header", [3i32.to_be_bytes().as_slice(), b"abc"].concat()),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: kafka\r\n\r\n".to_vec()),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()),
        ("an unknown api", frame(32_000, 0, b"")),
        ("a negative api", frame(-1, 0, b"")),
        ("an unknown version", frame(0, 99, b"")),
        ("a negative version", frame(3, -1, b"")),
        ("a body that is missing", frame(0, 9, b"")),
        ("a count that the frame cannot hold", frame(3, 1, &i32::MAX.to_be_bytes())),
    ];
    for (what, bytes) in cases {
        eprintln!("{what}");
        let mut stream = victim.connect();
        // A broker that has refused the beginning may have closed already.
        if let Err(error) = stream.write_all(&bytes) {
            eprintln!("{what}: {error}");
        }
        ends(stream);
    }
    victim.assert_unharmed();
}

#[test]
fn an_unknown_version_of_api_versions_is_answered() {
    let victim = victim("versions");
    let mut stream = victim.connect();
    stream.write_all(&frame(18, 99, b"\x00")).expect("it is sent");
    let mut answer = [0; 10];
    stream.read_exact(&mut answer).expect("it is answered at version 0");
    assert_eq!(answer[4..8], 7i32.to_be_bytes());
    assert_eq!(answer[8..10], (ErrorCode::UnsupportedVersion as i16).to_be_bytes());
    victim.assert_unharmed();
}

#[test]
fn random_and_mutated_bytes() {
    let victim = victim("random");
    let seed = std::env::var("MONEDULA_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(7);
    let mut random = Random::new(seed);
    let good = {
        let mut bytes = frame(3, 1, &(-1i32).to_be_bytes());
        bytes.extend(frame(18, 0, b""));
        bytes
    };
    for _ in 0..300 {
        let mut stream = victim.connect();
        let bytes = match random.below(3) {
            0 => {
                let length = random.below(2000) as usize;
                random.bytes(length)
            }
            1 => {
                let mut bytes = good.clone();
                for _ in 0..=random.below(4) {
                    let at = random.below(bytes.len() as u64) as usize;
                    bytes[at] = random.next() as u8;
                }
                bytes
            }
            _ => good[..random.below(good.len() as u64) as usize].to_vec(),
        };
        if let Err(error) = stream.write_all(&bytes) {
            eprintln!("closed early: {error}");
        }
        // Half of them wait for what comes, the others leave at once.
        if random.below(2) == 0 {
            stream.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout can be set");
            let mut rest = [0; 4096];
            while matches!(stream.read(&mut rest), Ok(count) if count > 0) {}
        }
    }
    victim.assert_unharmed();
}

#[test]
fn slow_frames_cost_little_and_hold_up_nobody() {
    let victim = victim("slow");
    // Each claims the largest frame there is and sends a few bytes of it.
    let mut slow: Vec<TcpStream> = (0..64).map(|_| victim.connect()).collect();
    for stream in &mut slow {
        stream.write_all(&(100i32 << 20).to_be_bytes()).expect("it is sent");
        stream.write_all(b"a few").expect("it is sent");
    }
    let mut trickle = victim.connect();
    for byte in frame(18, 0, b"") {
        trickle.write_all(&[byte]).expect("it is sent");
        let mut client = victim.broker.client();
        assert_eq!(client.read_all("t", 0, 0).len(), 1, "others are served meanwhile");
    }
    let mut answer = [0; 8];
    trickle.read_exact(&mut answer).expect("byte by byte is slow, but a request");
    assert_eq!(answer[4..], 7i32.to_be_bytes());
    let kib = resident_kib(victim.broker.pid());
    assert!(kib < 400 << 10, "{kib} KiB are resident: memory was given to bytes that never came");
    drop(slow);
    victim.assert_unharmed();
}

#[test]
fn a_peer_that_never_reads_is_not_served_without_end() {
    let victim = victim("deaf");
    {
        let mut client = victim.broker.client();
        assert_eq!(client.create_topic("big", 1, &[]), ErrorCode::None);
        for _ in 0..8 {
            client.produce("big", 0, -1, batch(&[&[1; 900_000]])).expect("it is appended");
        }
    }
    // 10,000 metadata requests and nobody reads the answers: the broker stops reading instead of piling them up.
    let mut deaf = victim.connect();
    deaf.set_write_timeout(Some(Duration::from_millis(200))).expect("a timeout can be set");
    let request = frame(3, 1, &(-1i32).to_be_bytes());
    for _ in 0..10_000 {
        if deaf.write_all(&request).is_err() {
            break;
        }
    }
    let kib = resident_kib(victim.broker.pid());
    assert!(kib < 400 << 10, "{kib} KiB are resident");
    let mut client = Session::connect(victim.broker.address).expect("it listens");
    assert_eq!(client.read_all("big", 0, 0).len(), 8);
    drop(deaf);
    victim.assert_unharmed();
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the broker runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("the kernel says so");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number of KiB")
}
