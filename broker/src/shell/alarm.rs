//! A timer for a deadline that moves.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use glommio::timer::Timer;

use super::clock::Clock;

/// Wakes a task at the deadline or before; arming anew is left out where the timer in place is early enough.
#[derive(Default)]
pub struct Alarm {
    armed: Option<(u64, Timer)>,
}

impl Alarm {
    /// Whether the deadline is over, microseconds of the monotonic clock. If not, the task will be woken.
    pub fn is_over(&mut self, due_us: Option<u64>, clock: &Clock, context: &mut Context<'_>) -> bool {
        let Some(due_us) = due_us else {
            self.armed = None;
            return false;
        };
        loop {
            if due_us <= clock.elapsed_us() {
                self.armed = None;
                return true;
            }
            if self.armed.as_ref().is_none_or(|(armed_us, _)| *armed_us > due_us) {
                self.armed = Some((due_us, Timer::new(clock.until(due_us))));
            }
            let (_, timer) = self.armed.as_mut().expect("armed just now");
            match Pin::new(timer).poll(context) {
                Poll::Pending => return false,
                // An earlier deadline that was given up meanwhile, or this very one.
                Poll::Ready(_) => self.armed = None,
            }
        }
    }
}
