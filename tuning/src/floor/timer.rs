//! How late a timer wakes a thread: what every timeout and every flush on a timer has on top.

use std::io;
use std::time::{Duration, Instant};

use super::figures::Kind;
use super::{Figures, Line, Load, on_each};

/// From one wake-up to the next.
const PERIOD: Duration = Duration::from_micros(500);

/// On all cores at once.
pub(super) fn measure(cores: &[usize], load: Load, each: Duration) -> Result<Vec<Line>, String> {
    on_each(cores, |core| {
        // The default lets the kernel be 50 us late on purpose.
        // SAFETY: the option takes one number, and concerns this thread alone.
        if unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1, 0, 0, 0) } != 0 {
            return Err(format!("PR_SET_TIMERSLACK: {}", io::Error::last_os_error()));
        }
        let mut figures = Figures::default();
        let start = Instant::now();
        loop {
            let due = Instant::now() + PERIOD;
            std::thread::sleep(PERIOD);
            figures.record(due.elapsed());
            if start.elapsed() >= each {
                break;
            }
        }
        Ok(Line { kind: Kind::Timer, place: format!("cpu{core}"), load, lasted: start.elapsed(), figures })
    })
}
