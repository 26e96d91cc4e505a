//! A message over loopback TCP and back: the network's share of a request with no network in it.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::figures::Kind;
use super::{Figures, Line, Load, pin};
use crate::echo::MESSAGE_BYTES;

/// From the first core to the second, or to itself where there is but one.
pub(super) fn measure(cores: &[usize], load: Load, each: Duration) -> Result<Line, String> {
    let (client, server) = (cores[0], cores[1 % cores.len()]);
    let wrong = |error: io::Error| format!("TCP on 127.0.0.1: {error}: bring the loopback interface up");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(wrong)?;
    let mut stream = TcpStream::connect(listener.local_addr().map_err(wrong)?).map_err(wrong)?;
    stream.set_nodelay(true).map_err(wrong)?;
    std::thread::scope(|scope| {
        let echo = scope.spawn(move || {
            pin(server)?;
            let (mut stream, _) = listener.accept().map_err(wrong)?;
            stream.set_nodelay(true).map_err(wrong)?;
            let mut message = [0; MESSAGE_BYTES];
            // The client ends the connection when it is done.
            while stream.read_exact(&mut message).is_ok() {
                stream.write_all(&message).map_err(wrong)?;
            }
            Ok::<(), String>(())
        });
        let asking = scope.spawn(move || {
            pin(client)?;
            let mut figures = Figures::default();
            let lasted = ask(&mut stream, each, &mut figures).map_err(wrong)?;
            let place = format!("cpu{client}-cpu{server}");
            Ok(Line { kind: Kind::Loopback, place, load, lasted, figures })
        });
        let line = asking.join().expect("measurements do not panic");
        echo.join().expect("measurements do not panic")?;
        line
    })
}

/// Sends a message and waits until it is back, again and again. How long that took; `figures` has what was measured
/// even where it ends with an error. A message that comes back changed is one.
pub(super) fn ask(stream: &mut TcpStream, each: Duration, figures: &mut Figures) -> io::Result<Duration> {
    let mut sent = [7; MESSAGE_BYTES];
    let mut answer = [0; MESSAGE_BYTES];
    let start = Instant::now();
    loop {
        sent[..8].copy_from_slice(&figures.count().to_be_bytes());
        let before = Instant::now();
        stream.write_all(&sent)?;
        stream.read_exact(&mut answer)?;
        let took = before.elapsed();
        if answer != sent {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message came back changed"));
        }
        figures.record(took);
        if start.elapsed() >= each {
            return Ok(start.elapsed());
        }
    }
}
