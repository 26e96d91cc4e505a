//! Time that is taken from a thread that never sleeps: interrupts, other threads, the hypervisor. It reads the clock
//! as fast as it can, and a gap between two readings is time it did not get.

use std::time::{Duration, Instant};

use super::figures::Kind;
use super::{Figures, Line, Load, on_each};

/// Shorter gaps are the loop itself, and misses of caches.
const GAP_MIN: Duration = Duration::from_micros(2);

/// On all cores at once.
pub(super) fn measure(cores: &[usize], load: Load, each: Duration) -> Result<Vec<Line>, String> {
    on_each(cores, |core| {
        let mut figures = Figures::default();
        let start = Instant::now();
        let mut last = start;
        while last - start < each {
            let now = Instant::now();
            if now - last >= GAP_MIN {
                figures.record(now - last);
            }
            last = now;
        }
        Ok(Line { kind: Kind::Theft, place: format!("cpu{core}"), load, lasted: last - start, figures })
    })
}
