//! A round trip to a peer: both sides over loopback, what each says of the other when it is not as it should be, and
//! the bounds of the side that serves.

#![allow(clippy::disallowed_methods, reason = "tests start threads and programs")]

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tune::echo::{Bounds, End, Ended, FULL, GREETING, MESSAGE_BYTES, serve};
use tune::floor::{Options, measure};
use tune::machine::allowed;
use tune::root::Root;

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    let address = listener.local_addr().expect("it has an address");
    (listener, address)
}

fn options(peer: &str) -> Options {
    let cores = allowed(&Root::real()).expect("the machine tells").iter().take(1).collect();
    Options { cores, data: None, peer: Some(peer.to_owned()), duration: Duration::from_millis(1) }
}

/// Serves while `work` is done, then stops. All connections that ended, in that order.
fn served(bounds: Bounds, work: impl FnOnce(SocketAddr)) -> Vec<Ended> {
    /// Stops the server whether or not the work panics.
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let (listener, address) = listen();
    let stop = AtomicBool::new(false);
    let ended = Mutex::new(Vec::new());
    thread::scope(|scope| {
        let server =
            scope.spawn(|| serve(&listener, bounds, &stop, |one| ended.lock().expect("whole").push(one)));
        let guard = Stop(&stop);
        work(address);
        drop(guard);
        server.join().expect("it does not panic").expect("it serves");
    });
    ended.into_inner().expect("whole")
}

/// A client by hand: what the server says first.
fn greeted(address: SocketAddr) -> (TcpStream, [u8; 16]) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    let mut greeting = [0; 16];
    stream.read_exact(&mut greeting).expect("it greets");
    (stream, greeting)
}

/// Whether nothing more comes.
fn is_over(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 1]) {
        Ok(bytes) => bytes == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn the_round_trip_to_a_peer_stands_in_for_loopback() {
    let mut counts = Vec::new();
    let ended = served(Bounds::default(), |address| {
        let floor = measure(options(&address.to_string()), |_| {}).expect("it measures");
        for line in &floor.lines {
            assert_ne!(line.kind.name(), "loopback round trip");
            if line.kind.name() == "peer round trip" {
                assert!(line.place.ends_with(&format!("-{address}")), "{line:?}");
                assert!(line.figures.quantile_us(0.5) > 0.0, "{line:?}");
                counts.push(line.figures.count());
            }
        }
        for verdict in &floor.verdicts {
            assert!(
                verdict.parts.iter().any(|part| part.name == "the round trip to the peer"),
                "{verdict:?}"
            );
        }
        assert!(floor.text().contains(&format!(", peer {address}")), "{}", floor.text());
        let json: serde_json::Value = serde_json::from_str(&floor.json()).expect("it is JSON");
        assert_eq!(json["peer"], address.to_string());
    });
    // The first connection looks whether all is well; then there is one for each load.
    assert_eq!(counts.len(), 2);
    counts.push(1);
    counts.sort();
    let mut messages: Vec<u64> = ended.iter().map(|one| one.messages).collect();
    messages.sort();
    assert_eq!(messages, counts);
    assert!(ended.iter().all(|one| matches!(one.why, End::Left)), "{ended:?}");
}

/// What `floor` says of a peer that does so to each connection, the first of which has number 0.
fn complaint(behaviour: impl Fn(usize, TcpStream) + Sync) -> String {
    let (listener, address) = listen();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for (number, stream) in listener.incoming().enumerate() {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                behaviour(number, stream.expect("somebody has come"));
            }
        });
        let result = measure(options(&address.to_string()), |_| {});
        done.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(address).expect("it still listens"));
        let error = result.expect_err("it is no peer");
        assert!(error.starts_with(&format!("--peer {address}: ")), "{error}");
        error
    })
}

/// Greets, and sends so many messages back, each after a change.
fn send_back(mut stream: TcpStream, messages: usize, change: impl Fn(&mut [u8])) {
    stream.write_all(GREETING).expect("it is there");
    let mut bytes = [0; MESSAGE_BYTES];
    stream.read_exact(&mut bytes[..GREETING.len()]).expect("it greets, too");
    for _ in 0..messages {
        stream.read_exact(&mut bytes).expect("a message");
        change(&mut bytes);
        stream.write_all(&bytes).expect("it waits for it");
    }
}

#[test]
fn a_peer_that_is_none_is_named_with_the_remedy() {
    let say = |words: &'static [u8]| {
        complaint(move |_, mut stream| stream.write_all(words).expect("the first bytes have room"))
    };
    assert!(
        say(b"SSH-2.0-OpenSSH_9.9\r\n").contains("something else listens there (it says `SSH-2.0-OpenSSH_`)")
    );
    assert!(say(b"220 hi\r\n").contains(r"(it says `220 hi\r\n`)"));
    assert!(say(b"").contains("does not greet"));
    assert!(say(b"monedula echo 7\n").contains("the same release"));
    assert!(say(FULL).contains("as many as it may"));

    let (listener, address) = listen();
    drop(listener);
    let error = measure(options(&address.to_string()), |_| {}).expect_err("nobody is there");
    assert!(error.contains("nobody listens") && error.contains("monedula-tune echo"), "{error}");
    let error = measure(options("no port"), |_| {}).expect_err("it is no address");
    assert!(error.contains("name a host and a port"), "{error}");
}

#[test]
fn a_peer_that_goes_away_or_changes_messages_is_noticed() {
    let error = complaint(|number, stream| match number {
        0 => send_back(stream, 1, |_| {}),
        _ => send_back(stream, 5, |_| {}),
    });
    assert!(error.contains("cut off after 5 round trips: "), "{error}");
    let error = complaint(|_, stream| send_back(stream, 1, |bytes| bytes[100] ^= 1));
    assert!(error.contains("came back changed"), "{error}");
}

#[test]
fn who_does_not_greet_hears_nothing_of_what_he_said() {
    let ended = served(Bounds::default(), |address| {
        let (mut stream, greeting) = greeted(address);
        assert_eq!(&greeting, GREETING);
        stream.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").expect("it is there");
        assert!(is_over(&mut stream));
        // One that looks and leaves is no stranger.
        drop(greeted(address));
    });
    assert_eq!(ended.len(), 2);
    assert!(ended.iter().any(|one| matches!(one.why, End::Stranger) && one.messages == 0), "{ended:?}");
}

#[test]
fn there_is_room_for_so_many_and_room_again_when_one_has_left() {
    let bounds = Bounds { connections: 2, ..Bounds::default() };
    let ended = served(bounds, |address| {
        let (first, _) = greeted(address);
        let (mut second, _) = greeted(address);
        let (mut third, greeting) = greeted(address);
        assert_eq!(&greeting, FULL);
        assert!(is_over(&mut third));
        drop(first);
        // Until the server has seen it leave.
        while &greeted(address).1 == FULL {
            thread::yield_now();
        }
        second.write_all(GREETING).expect("it is there");
        second.write_all(&[5; MESSAGE_BYTES]).expect("it is there");
        let mut back = [0; MESSAGE_BYTES];
        second.read_exact(&mut back).expect("it comes back");
        assert_eq!(back, [5; MESSAGE_BYTES]);
    });
    assert!(ended.iter().any(|one| matches!(one.why, End::Full)), "{ended:?}");
    assert!(ended.iter().any(|one| one.messages == 1), "{ended:?}");
}

#[test]
fn a_connection_has_its_share_and_no_more() {
    let bounds = Bounds { connection_bytes: 3 * MESSAGE_BYTES as u64 + 5, ..Bounds::default() };
    let ended = served(bounds, |address| {
        let (mut stream, _) = greeted(address);
        stream.write_all(GREETING).expect("it is there");
        let mut back = [0; MESSAGE_BYTES];
        for number in 0..3 {
            stream.write_all(&[number; MESSAGE_BYTES]).expect("it is there");
            stream.read_exact(&mut back).expect("it comes back");
            assert_eq!(back, [number; MESSAGE_BYTES]);
        }
        assert!(is_over(&mut stream));
    });
    assert!(matches!(ended.as_slice(), [Ended { messages: 3, why: End::Spent, .. }]), "{ended:?}");
}

#[test]
fn the_silent_and_the_slow_are_cut_off() {
    let bounds = Bounds { idle: Duration::from_millis(20), ..Bounds::default() };
    let ended = served(bounds, |address| {
        let (mut silent, _) = greeted(address);
        assert!(is_over(&mut silent));
        let (mut slow, _) = greeted(address);
        slow.write_all(GREETING).expect("it is there");
        // A byte now and then, each in time, but no whole message.
        while slow.write_all(&[1]).is_ok() {
            thread::sleep(Duration::from_millis(1));
        }
    });
    assert_eq!(ended.len(), 2);
    assert!(ended.iter().all(|one| matches!(one.why, End::Idle) && one.messages == 0), "{ended:?}");
}

#[test]
fn stopping_cuts_off_who_is_there() {
    let mut stream = None;
    let ended = served(Bounds::default(), |address| stream = Some(greeted(address).0));
    assert!(is_over(&mut stream.expect("it was served")));
    assert_eq!(ended.len(), 1);
}

/// The program; ended when dropped.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // It has ended by itself where all is well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_program_serves_the_program_until_it_is_interrupted() {
    let tune = || Command::new(env!("CARGO_BIN_EXE_monedula-tune"));
    let mut echo = Program(
        tune().args(["echo", "127.0.0.1:0"]).stdout(Stdio::piped()).spawn().expect("the program starts"),
    );
    let mut lines = BufReader::new(echo.0.stdout.take().expect("it is piped")).lines();
    let mut next = || lines.next().expect("it says more").expect("it is text");
    let first = next();
    let address =
        first.strip_prefix("listening at ").and_then(|rest| rest.split(": ").next()).expect("an address");
    let floor = tune()
        .args(["floor", "--seconds", "1", "--peer", address, "--format", "json"])
        .stderr(Stdio::null())
        .output()
        .expect("the program runs");
    assert!(floor.status.success(), "{floor:?}");
    let json: serde_json::Value = serde_json::from_slice(&floor.stdout).expect("it is JSON");
    let measured = json["measurements"].as_array().expect("a list");
    let trips: Vec<u64> = measured
        .iter()
        .filter(|one| one["name"] == "peer round trip")
        .map(|one| one["samples"].as_u64().expect("a number"))
        .collect();
    let said = [next(), next(), next()];
    for messages in [1, trips[0], trips[1]] {
        let expect = format!(" {messages} round trips, left");
        assert!(said.iter().any(|line| line.ends_with(&expect)), "{said:?} has not {expect}");
    }
    // SAFETY: signals the process that was started above, which has not been waited for.
    assert_eq!(unsafe { libc::kill(echo.0.id() as i32, libc::SIGINT) }, 0);
    assert_eq!(next(), "stopped");
    assert!(echo.0.wait().expect("it ends").success());

    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    let address = taken.local_addr().expect("it has an address").to_string();
    let refused = tune().args(["echo", &address]).output().expect("the program runs");
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains(&address) && said.contains("free port"), "{said}");
}
