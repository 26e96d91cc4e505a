//! Connection churn: clients that come, ask what a client asks first, and go, so many times a second.

#![allow(
    clippy::disallowed_methods,
    reason = "this is a shell: its threads connect, wait and read the clock"
)]

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use hdrhistogram::Histogram;
use net::ErrorCode;
use net::client::blocking::Client;
use net::messages::api_versions::ApiVersionsRequest;
use net::messages::metadata::MetadataRequest;

use crate::clock;
use crate::cluster::{CLIENT_ID, ClusterError, resolve};
use crate::histogram;
use crate::random;
use crate::schedule::Schedule;
use crate::workload::Arrival;

/// Clients that may come and go at the same time. When all are busy the next one is late, and its latency says so.
pub const CLIENTS_AT_ONCE: usize = 64;
/// How long a client waits for anything.
const TIMEOUT: Duration = Duration::from_secs(10);
/// ApiVersions and Metadata in versions that every broker of the last years speaks.
const API_VERSIONS_VERSION: i16 = 3;
const METADATA_VERSION: i16 = 4;

/// What churn measured.
#[derive(Debug)]
pub struct Churn {
    /// From the intended time of a connection to the answer to its last question, in nanoseconds.
    pub response: Histogram<u64>,
    /// From the beginning of a connection until it was there.
    pub connect: Histogram<u64>,
    /// Connections that failed, by reason.
    pub failed: BTreeMap<String, u64>,
    /// Seconds from the first to the last intended time.
    pub seconds: f64,
}

/// Connects `rate` times a second for so many seconds, by a Poisson schedule of this seed.
pub fn churn(
    bootstrap: &str,
    rate: f64,
    seconds: f64,
    seed: u64,
    interrupt: &AtomicBool,
) -> Result<Churn, ClusterError> {
    let name = bootstrap.split(',').next().unwrap_or_default();
    let address = resolve(name)?;
    let count = (rate * seconds).ceil() as usize;
    let mut schedule = Schedule::new(&Arrival::Poisson, rate, 0.0, random::stream(seed, 0));
    let times: Vec<u64> = (0..count).map(|_| schedule.next_ns()).collect();
    let start_ns = clock::monotonic_ns() + 100 * clock::MILLISECOND_NS;
    let next = AtomicU64::new(0);
    let results: Vec<Churn> = thread::scope(|scope| {
        let threads: Vec<_> = (0..CLIENTS_AT_ONCE)
            .map(|_| scope.spawn(|| clients(address, &times, start_ns, &next, interrupt)))
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a client does not panic")).collect()
    });
    let mut sum = Churn::empty();
    for result in results {
        sum.response.add(&result.response).expect("the bounds are the same");
        sum.connect.add(&result.connect).expect("the bounds are the same");
        for (reason, failures) in result.failed {
            *sum.failed.entry(reason).or_default() += failures;
        }
    }
    sum.seconds = times.last().map_or(0.0, |last| *last as f64 / 1e9);
    Ok(sum)
}

impl Churn {
    fn empty() -> Self {
        Self { response: histogram::new(), connect: histogram::new(), failed: BTreeMap::new(), seconds: 0.0 }
    }
}

/// One client after another, each at the next intended time.
fn clients(
    address: SocketAddr,
    times: &[u64],
    start_ns: u64,
    next: &AtomicU64,
    interrupt: &AtomicBool,
) -> Churn {
    let mut churn = Churn::empty();
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed) as usize;
        let Some(time_ns) = times.get(index).filter(|_| !interrupt.load(Ordering::Relaxed)) else {
            return churn;
        };
        let intended_ns = start_ns + time_ns;
        thread::sleep(Duration::from_nanos(intended_ns.saturating_sub(clock::monotonic_ns())));
        let began_ns = clock::monotonic_ns();
        match client(address) {
            Ok(connected_ns) => {
                churn.connect.saturating_record(connected_ns - began_ns);
                churn.response.saturating_record(clock::monotonic_ns().saturating_sub(intended_ns));
            }
            Err(reason) => *churn.failed.entry(reason).or_default() += 1,
        }
    }
}

/// Comes, asks, and goes. When the connection was there.
fn client(address: SocketAddr) -> Result<u64, String> {
    let io = |error: std::io::Error| error.to_string();
    let stream = TcpStream::connect_timeout(&address, TIMEOUT).map_err(io)?;
    let connected_ns = clock::monotonic_ns();
    let mut client = Client::from_stream(stream).map_err(io)?;
    client.set_timeout(Some(TIMEOUT)).map_err(io)?;
    let hello = ApiVersionsRequest {
        client_software_name: CLIENT_ID.to_owned(),
        client_software_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let versions = client.call(API_VERSIONS_VERSION, hello).map_err(|error| error.to_string())?;
    if versions.error_code != ErrorCode::None {
        return Err(versions.error_code.to_string());
    }
    let nothing = MetadataRequest { topics: Some(Vec::new()), ..MetadataRequest::default() };
    client.call(METADATA_VERSION, nothing).map_err(|error| error.to_string())?;
    Ok(connected_ns)
}
