//! SIGSTOP and SIGCONT under load: whatever moment an executor is stopped at, it does not sleep with work to do.
//! `MONEDULA_STALL_SECONDS` makes it longer.

#![allow(clippy::disallowed_methods, reason = "tests of processes use clocks, files and threads")]

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use net::ErrorCode;
use support::{Broker, Random, TestDirectory, batch, soak_time};

/// A request that takes this long while the process runs was forgotten, not slow.
const FORGOTTEN: Duration = Duration::from_secs(5);

#[test]
fn a_stopped_broker_goes_on_where_it_was() {
    let test = TestDirectory::new("stalls");
    let broker = Broker::start(test.path());
    let connections = 4;
    assert_eq!(broker.client().create_topic("t", connections, &[]), ErrorCode::None);
    let mut random = Random::new(11);
    let until = Instant::now() + soak_time("MONEDULA_STALL_SECONDS", 3_000);
    let stop = AtomicBool::new(false);
    let answered: Vec<AtomicU64> = (0..connections).map(|_| AtomicU64::new(0)).collect();
    let mut stops = 0;
    std::thread::scope(|scope| {
        // However this ends, the clients end with it.
        let _stop = StopOnDrop(&stop);
        for partition in 0..connections {
            let (stop, answered, broker) = (&stop, &answered[partition as usize], &broker);
            scope.spawn(move || {
                let mut client = broker.client();
                while !stop.load(Ordering::Relaxed) {
                    client.produce("t", partition, -1, batch(&[b"x"])).expect("it is appended");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while Instant::now() < until {
            broker.signal(libc::SIGSTOP);
            std::thread::sleep(Duration::from_micros(200 + random.below(5_000)));
            broker.signal(libc::SIGCONT);
            stops += 1;
            let before: Vec<u64> = answered.iter().map(|count| count.load(Ordering::Relaxed)).collect();
            let continued = Instant::now();
            while answered.iter().zip(&before).any(|(now, before)| now.load(Ordering::Relaxed) == *before) {
                assert!(continued.elapsed() < FORGOTTEN, "after {stops} stops a request was forgotten");
                std::thread::sleep(Duration::from_micros(200));
            }
        }
    });
    let total: u64 = answered.iter().map(|count| count.load(Ordering::Relaxed)).sum();
    eprintln!("{stops} stops, {total} requests");
    let mut client = broker.client();
    let kept: usize = (0..connections).map(|partition| client.read_all("t", partition, 0).len()).sum();
    assert_eq!(kept as u64, total);
    assert!(broker.stop().success());
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
