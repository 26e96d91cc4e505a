//! A message over loopback TCP and back: the network's share of a request with no network in it.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::figures::Kind;
use super::{Figures, Line, Load, pin};

/// About a produce request of one small record.
const MESSAGE_BYTES: usize = 128;

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
            let mut message = [7; MESSAGE_BYTES];
            let start = Instant::now();
            loop {
                let before = Instant::now();
                stream.write_all(&message).and_then(|()| stream.read_exact(&mut message)).map_err(wrong)?;
                figures.record(before.elapsed());
                if start.elapsed() >= each {
                    break;
                }
            }
            let place = format!("cpu{client}-cpu{server}");
            Ok(Line { kind: Kind::Loopback, place, load, lasted: start.elapsed(), figures })
        });
        let line = asking.join().expect("measurements do not panic");
        echo.join().expect("measurements do not panic")?;
        line
    })
}
