//! How long a core takes from sleep to work: a thread waits in read(2), another core writes to it.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use super::figures::Kind;
use super::{Figures, Line, Load, pin};

/// How long the core is let sleep: long enough that the kernel chooses its deepest state.
const SLEEP: Duration = Duration::from_millis(1);

/// One core after the other, each woken from the next one.
pub(super) fn measure(cores: &[usize], load: Load, each: Duration) -> Result<Vec<Line>, String> {
    let share = (each / cores.len() as u32).max(super::LEAST);
    let wakers = cores.iter().cycle().skip(1);
    cores.iter().zip(wakers).map(|(core, waker)| measure_core(*core, *waker, load, share)).collect()
}

fn measure_core(core: usize, waker: usize, load: Load, share: Duration) -> Result<Line, String> {
    let wrong = |error: io::Error| format!("a pipe between cores: {error}");
    let (mut reader, mut writer) = io::pipe().map_err(wrong)?;
    let start = Instant::now();
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(move || {
            pin(core)?;
            let mut figures = Figures::default();
            let mut sent = [0; 8];
            // The end of the pipe is the end of the measurement.
            while reader.read_exact(&mut sent).is_ok() {
                let woken = start.elapsed();
                figures.record(woken.saturating_sub(Duration::from_nanos(u64::from_ne_bytes(sent))));
            }
            Ok::<Figures, String>(figures)
        });
        let waker = scope.spawn(move || {
            pin(waker)?;
            loop {
                std::thread::sleep(SLEEP);
                let now = start.elapsed().as_nanos() as u64;
                writer.write_all(&now.to_ne_bytes()).map_err(wrong)?;
                if start.elapsed() >= share {
                    break Ok::<(), String>(());
                }
            }
        });
        waker.join().expect("measurements do not panic")?;
        let figures = sleeper.join().expect("measurements do not panic")?;
        Ok(Line { kind: Kind::Wake, place: format!("cpu{core}"), load, lasted: start.elapsed(), figures })
    })
}
