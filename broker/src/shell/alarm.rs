//! A timer for a deadline that moves.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;

use glommio::timer::Timer;

use super::clock::Clock;

/// Wakes a task at the deadline or before; arming anew is left out where the timer in place is early enough.
///
/// Serves one task for its whole life: a timer in place keeps the waker that it was armed with.
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
        let now_us = clock.elapsed_us();
        if due_us <= now_us {
            self.armed = None;
            return true;
        }
        if self.armed.as_ref().is_none_or(|(armed_us, _)| *armed_us > due_us || *armed_us <= now_us) {
            // Polled here and never again: glommio registers a timer once more at every poll, and each registration
            // stays until its time, is looked at whenever the executor looks for work, and wakes the task.
            let mut timer = Timer::new(clock.until(due_us));
            if Pin::new(&mut timer).poll(context).is_ready() {
                self.armed = None;
                return true;
            }
            self.armed = Some((due_us, timer));
        }
        false
    }
}
