//! Keeps executors from sleeping with work to do, and watches how long the turns of shards take.
//!
//! glommio can park with runnable tasks: an executor that was preempted before it ran anything reports "nothing ran"
//! and sleeps until something from outside wakes it. Nothing that lives inside the executor cures that. So one plain
//! thread wakes a parked task of every executor that has work each [`TICK`]: a wake of a sleeping executor is one
//! write to an eventfd, a wake of a running one is a push to a queue. The task notes that it ran; an executor whose task
//! has not run for [`ALARM_AFTER`] is reported.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Poll, Waker};
use std::time::Duration;

use super::clock::Clock;

/// How often every executor is woken: the longest time it can oversleep. 5 ms costs 1.7 % of a core per idle shard,
/// 10 ms costs 1.0 %.
pub const TICK: Duration = Duration::from_millis(5);

/// How long an executor may not have run before that is worth an alarm.
pub const ALARM_AFTER: Duration = Duration::from_secs(1);

/// Ticks that the thread itself must have been late by to know that the whole process stood still.
const STALLED_TICKS: u32 = 40;

/// What the thread and the task of one executor share.
#[derive(Debug)]
pub struct Pulse {
    name: String,
    waker: OnceLock<Waker>,
    beaten_us: AtomicU64,
    /// Nobody waits for the executor, and whoever gives it work wakes it.
    rests: AtomicBool,
}

impl Pulse {
    /// The pulse of the executor named `name`, which has not begun to beat.
    pub fn new(name: impl Into<String>) -> Arc<Pulse> {
        Arc::new(Pulse {
            name: name.into(),
            waker: OnceLock::new(),
            beaten_us: AtomicU64::new(0),
            rests: AtomicBool::new(false),
        })
    }

    /// Says whether the executor has nothing to do, so that it may sleep in peace: an idle executor that is woken
    /// all the time costs 2 % of a core.
    pub fn rest(&self, rests: bool) {
        self.rests.store(rests, Ordering::Relaxed);
    }

    /// Beats whenever it is polled, and never ends. Run it as a task of the executor.
    pub async fn beat(self: Arc<Pulse>, clock: Clock) {
        poll_fn(|context| {
            self.beaten_us.store(clock.elapsed_us(), Ordering::Relaxed);
            // A task keeps one waker for its whole life, so the first serves for ever.
            self.waker.get_or_init(|| context.waker().clone());
            Poll::<()>::Pending
        })
        .await
    }
}

/// When the turn began that a shard is at.
#[derive(Debug)]
pub struct TurnClock {
    name: String,
    /// Zero between turns.
    begun_us: AtomicU64,
}

impl TurnClock {
    /// For the shard named `name`.
    pub fn new(name: impl Into<String>) -> Arc<TurnClock> {
        Arc::new(TurnClock { name: name.into(), begun_us: AtomicU64::new(0) })
    }

    /// A turn begins.
    pub fn begin(&self, now_us: u64) {
        self.begun_us.store(now_us.max(1), Ordering::Relaxed);
    }

    /// It has ended: the shard waits for something to do.
    pub fn end(&self) {
        self.begun_us.store(0, Ordering::Relaxed);
    }
}

/// Starts the thread. It lives as long as the process.
pub fn start(clock: Clock, pulses: Vec<Arc<Pulse>>, turns: Vec<Arc<TurnClock>>) -> std::io::Result<()> {
    let watch = move || watch(clock, &pulses, &turns);
    std::thread::Builder::new().name("watchdog".into()).spawn(watch).map(|_| ())
}

fn watch(clock: Clock, pulses: &[Arc<Pulse>], turns: &[Arc<TurnClock>]) {
    let mut alarmed = vec![false; pulses.len()];
    let mut reported_us = vec![0; turns.len()];
    let mut woken_us = clock.elapsed_us();
    loop {
        std::thread::sleep(TICK);
        let now_us = clock.elapsed_us();
        let late = now_us - woken_us > u64::from(STALLED_TICKS) * TICK.as_micros() as u64;
        woken_us = now_us;
        for (turn, reported_us) in turns.iter().zip(&mut reported_us) {
            let begun_us = turn.begun_us.load(Ordering::Relaxed);
            let length_us = now_us.saturating_sub(begun_us);
            let long = begun_us > 0 && length_us > ALARM_AFTER.as_micros() as u64;
            if long && !late && *reported_us != begun_us {
                *reported_us = begun_us;
                tracing::error!(
                    shard = turn.name,
                    turn_ms = length_us / 1000,
                    "a turn of a shard does not end, or its core is taken"
                );
            }
        }
        for (pulse, alarmed) in pulses.iter().zip(&mut alarmed) {
            let Some(waker) = pulse.waker.get() else { continue };
            // When the thread itself was stopped (SIGSTOP, a paused machine) nobody could have run: not an alarm.
            if late || pulse.rests.load(Ordering::Relaxed) {
                // The silence begins when the rest ends.
                pulse.beaten_us.store(now_us, Ordering::Relaxed);
            }
            if !pulse.rests.load(Ordering::Relaxed) {
                waker.wake_by_ref();
            }
            let silent_us = now_us.saturating_sub(pulse.beaten_us.load(Ordering::Relaxed));
            let silent = silent_us > ALARM_AFTER.as_micros() as u64;
            if silent && !*alarmed {
                tracing::error!(
                    executor = pulse.name,
                    silent_ms = silent_us / 1000,
                    "an executor does not run: a task of it does not yield, or its core is taken"
                );
                *alarmed = true;
            } else if !silent && *alarmed {
                tracing::warn!(executor = pulse.name, "the executor runs again");
                *alarmed = false;
            }
        }
    }
}
