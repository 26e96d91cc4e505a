//! Keeps executors from sleeping with work to do, and watches how long the turns of shards take.
//!
//! glommio can park with runnable tasks: an executor that was preempted before it ran anything reports "nothing ran"
//! and sleeps until something from outside wakes it. Nothing that lives inside the executor cures that. So one plain
//! thread wakes a parked task of every executor that has work each [`TICK`]: a wake of a sleeping executor is one
//! write to an eventfd, a wake of a running one is a push to a queue. The task notes that it ran. An executor whose task
//! has not run for [`ALARM_AFTER`] is reported, and a shard whose turn takes longer than a bound: `stall` looks at them.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Poll, Waker};
use std::time::Duration;

use net::ApiKey;

use super::clock::Clock;
use crate::step::Input;

/// How often every executor is woken: the longest time it can oversleep. 5 ms costs 1.7 % of a core per idle shard,
/// 10 ms costs 1.0 %.
pub const TICK: Duration = Duration::from_millis(5);

/// How long an executor may not have run before that is worth an alarm; and how long a turn that was reported may go on
/// before it is reported once more.
pub const ALARM_AFTER: Duration = Duration::from_secs(1);

/// How long a turn of a shard may take, by default, milliseconds.
pub const STALL_MS: u64 = 50;

/// When the thread itself was late by more than so many ticks it was the process that stood still (SIGSTOP, a paused
/// machine). Nobody could have run, so that time counts for nobody.
const LATE_TICKS: u32 = 40;

/// What the thread and the task of one executor share.
#[derive(Debug)]
pub struct Pulse {
    name: String,
    waker: OnceLock<Waker>,
    beaten_us: AtomicU64,
    /// Nobody waits for the executor, and whoever gives it work wakes it.
    rests: AtomicBool,
    thread: AtomicI32,
}

impl Pulse {
    /// The pulse of the executor named `name`, which has not begun to beat.
    pub fn new(name: impl Into<String>) -> Arc<Pulse> {
        Arc::new(Pulse {
            name: name.into(),
            waker: OnceLock::new(),
            beaten_us: AtomicU64::new(0),
            rests: AtomicBool::new(false),
            thread: AtomicI32::new(0),
        })
    }

    /// Says whether the executor has nothing to do, so that it may sleep in peace: an idle executor that is woken
    /// all the time costs 2 % of a core.
    pub fn rest(&self, rests: bool) {
        self.rests.store(rests, Ordering::Relaxed);
    }

    /// Beats whenever it is polled, and never ends. Run it as a task of the executor.
    pub async fn beat(self: Arc<Pulse>, clock: Clock) {
        self.thread.store(this_thread(), Ordering::Relaxed);
        poll_fn(|context| {
            self.beaten_us.store(clock.elapsed_us(), Ordering::Relaxed);
            // A task keeps one waker for its whole life, so the first serves for ever.
            self.waker.get_or_init(|| context.waker().clone());
            Poll::<()>::Pending
        })
        .await
    }
}

/// What a shard is doing in the turn that it is at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Doing {
    /// Reading from sockets and decoding, or writing what found no room before.
    Sockets,
    /// A request.
    Request(ApiKey),
    /// A letter from another shard or the controller.
    Letter,
    /// Something that the disk has done.
    Disk,
    /// Connections that come and go, deadlines, the end of the turn.
    Housekeeping,
    /// Writing a small block of the WAL itself, and waiting for the disk.
    WalBlock,
    /// Carrying out what the steps want: disk, letters, replies.
    Effects,
}

const KIND_BITS: u32 = 8;

impl Doing {
    /// What the step of an input is.
    pub fn of(input: &Input) -> Doing {
        match input {
            Input::Request(incoming) => Doing::Request(incoming.request.api_key()),
            Input::Letter { .. } => Doing::Letter,
            Input::Disk(_) => Doing::Disk,
            Input::Timeout | Input::Space(_) | Input::Connected { .. } | Input::Disconnected(_) => {
                Doing::Housekeeping
            }
        }
    }

    fn code(self) -> u32 {
        match self {
            Doing::Sockets => 0,
            Doing::Letter => 1,
            Doing::Disk => 2,
            Doing::Housekeeping => 3,
            Doing::Effects => 4,
            Doing::WalBlock => 5,
            Doing::Request(api_key) => 6 | u32::from(api_key.key() as u16) << KIND_BITS,
        }
    }

    fn of_code(code: u32) -> Doing {
        match code & ((1 << KIND_BITS) - 1) {
            0 => Doing::Sockets,
            1 => Doing::Letter,
            2 => Doing::Disk,
            3 => Doing::Housekeeping,
            4 => Doing::Effects,
            5 => Doing::WalBlock,
            _ => {
                let key = (code >> KIND_BITS) as i16;
                Doing::Request(ApiKey::from_key(key).expect("only what is served was ever stored"))
            }
        }
    }
}

impl std::fmt::Display for Doing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Doing::Sockets => f.write_str("reading from sockets"),
            Doing::Request(api_key) => write!(f, "a {api_key:?} request"),
            Doing::Letter => f.write_str("a letter"),
            Doing::Disk => f.write_str("an answer of the disk"),
            Doing::Housekeeping => f.write_str("housekeeping"),
            Doing::WalBlock => f.write_str("waiting for the disk to write and flush a WAL block"),
            Doing::Effects => f.write_str("carrying out: disk, letters, replies"),
        }
    }
}

/// The turn that a shard is at, and how often one took too long.
#[derive(Debug)]
pub struct TurnClock {
    name: String,
    /// Zero between turns.
    begun_us: AtomicU64,
    doing: AtomicU32,
    thread: AtomicI32,
    stalls: AtomicU64,
    longest_us: AtomicU64,
}

impl TurnClock {
    /// For the shard named `name`.
    pub fn new(name: impl Into<String>) -> Arc<TurnClock> {
        Arc::new(TurnClock {
            name: name.into(),
            begun_us: AtomicU64::new(0),
            doing: AtomicU32::new(0),
            thread: AtomicI32::new(0),
            stalls: AtomicU64::new(0),
            longest_us: AtomicU64::new(0),
        })
    }

    /// The calling thread is the one that runs the shard.
    pub fn enter(&self) {
        self.thread.store(this_thread(), Ordering::Relaxed);
    }

    /// A turn begins.
    pub fn begin(&self, now_us: u64) {
        self.doing(Doing::Sockets);
        self.begun_us.store(now_us.max(1), Ordering::Relaxed);
    }

    /// It comes to this.
    pub fn doing(&self, doing: Doing) {
        self.doing.store(doing.code(), Ordering::Relaxed);
    }

    /// It has ended: the shard waits for something to do.
    pub fn end(&self) {
        self.begun_us.store(0, Ordering::Relaxed);
    }

    /// Whether the turn that began then still goes on.
    pub fn is_at(&self, begun_us: u64) -> bool {
        self.begun_us.load(Ordering::Relaxed) == begun_us
    }

    /// How many turns took longer than the bound, and the longest that was seen, microseconds.
    pub fn stalls(&self) -> (u64, u64) {
        (self.stalls.load(Ordering::Relaxed), self.longest_us.load(Ordering::Relaxed))
    }
}

/// Somebody who does not go on.
#[derive(Debug)]
pub struct Alarm {
    /// The shard or executor.
    pub name: String,
    /// Its thread, in the kernel's numbers.
    pub thread: i32,
    /// For how long, microseconds.
    pub length_us: u64,
    /// A turn of a shard, and since when; `None` for an executor that does not run its task.
    pub turn: Option<(Arc<TurnClock>, u64, Doing)>,
}

/// Starts the thread. It lives as long as the process.
pub fn start(
    clock: Clock,
    stall_us: u64,
    pulses: Vec<Arc<Pulse>>,
    turns: Vec<Arc<TurnClock>>,
    report: impl Fn(Alarm) + Send + 'static,
) -> std::io::Result<()> {
    let mut watch = Watch::new(clock.elapsed_us(), stall_us, pulses, turns);
    let run = move || loop {
        std::thread::sleep(TICK);
        for pulse in &watch.pulses {
            if let Some(waker) = pulse.waker.get().filter(|_| !pulse.rests.load(Ordering::Relaxed)) {
                waker.wake_by_ref();
            }
        }
        watch.look(clock.elapsed_us(), &report);
    };
    std::thread::Builder::new().name("watchdog".into()).spawn(run).map(|_| ())
}

/// What the thread knows of those it watches.
struct Watch {
    stall_us: u64,
    pulses: Vec<Arc<Pulse>>,
    turns: Vec<Arc<TurnClock>>,
    looked_us: u64,
    /// The process stood still until then.
    stood_still_us: u64,
    /// Which pulses were reported and have not beaten since.
    silent: Vec<bool>,
    /// Of each shard the turn that was reported last, and how often.
    reported: Vec<(u64, u32)>,
}

impl Watch {
    fn new(now_us: u64, stall_us: u64, pulses: Vec<Arc<Pulse>>, turns: Vec<Arc<TurnClock>>) -> Watch {
        Watch {
            stall_us,
            looked_us: now_us,
            stood_still_us: 0,
            silent: vec![false; pulses.len()],
            reported: vec![(0, 0); turns.len()],
            pulses,
            turns,
        }
    }

    fn look(&mut self, now_us: u64, mut alarm: impl FnMut(Alarm)) {
        let late_us = u64::from(LATE_TICKS) * TICK.as_micros() as u64;
        if now_us - std::mem::replace(&mut self.looked_us, now_us) > late_us {
            self.stood_still_us = now_us;
        }
        let since = |us: u64| now_us.saturating_sub(us.max(self.stood_still_us));
        let alarm_us = ALARM_AFTER.as_micros() as u64;
        for (turn, reported) in self.turns.iter().zip(&mut self.reported) {
            let begun_us = turn.begun_us.load(Ordering::Relaxed);
            let doing = Doing::of_code(turn.doing.load(Ordering::Relaxed));
            if begun_us == 0 {
                continue;
            }
            if reported.0 != begun_us {
                *reported = (begun_us, 0);
            }
            let length_us = since(begun_us);
            let bound_us = if reported.1 == 0 { self.stall_us } else { self.stall_us.max(alarm_us) };
            if length_us <= self.stall_us {
                continue;
            }
            turn.longest_us.fetch_max(length_us, Ordering::Relaxed);
            if length_us > bound_us && reported.1 < 2 {
                turn.stalls.fetch_add(u64::from(reported.1 == 0), Ordering::Relaxed);
                reported.1 += 1;
                alarm(Alarm {
                    name: turn.name.clone(),
                    thread: turn.thread.load(Ordering::Relaxed),
                    length_us,
                    turn: Some((turn.clone(), begun_us, doing)),
                });
            }
        }
        for (pulse, reported) in self.pulses.iter().zip(&mut self.silent) {
            if pulse.waker.get().is_none() {
                continue;
            }
            if pulse.rests.load(Ordering::Relaxed) {
                // The silence begins when the rest ends.
                pulse.beaten_us.store(now_us, Ordering::Relaxed);
            }
            let length_us = since(pulse.beaten_us.load(Ordering::Relaxed));
            let silent = length_us > alarm_us;
            if silent && !*reported {
                alarm(Alarm {
                    name: pulse.name.clone(),
                    thread: pulse.thread.load(Ordering::Relaxed),
                    length_us,
                    turn: None,
                });
            } else if !silent && *reported {
                tracing::warn!(executor = pulse.name, "the executor runs again");
            }
            *reported = silent;
        }
    }
}

fn this_thread() -> i32 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::gettid() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000;

    fn alarms(watch: &mut Watch, now_us: u64) -> Vec<(String, u64, Option<Doing>)> {
        let mut found = Vec::new();
        let note = |alarm: Alarm| {
            found.push((alarm.name, alarm.length_us, alarm.turn.map(|(_, _, doing)| doing)));
        };
        watch.look(now_us, note);
        found
    }

    #[test]
    fn a_turn_that_takes_too_long_is_reported_with_what_it_does() {
        let turn = TurnClock::new("shard-0");
        let mut watch = Watch::new(0, 50 * MS, Vec::new(), vec![turn.clone()]);
        turn.begin(10 * MS);
        turn.doing(Doing::Request(ApiKey::Produce));
        assert!(alarms(&mut watch, 60 * MS).is_empty(), "50 ms are not too long");
        let expected = ("shard-0".to_owned(), 51 * MS, Some(Doing::Request(ApiKey::Produce)));
        assert_eq!(alarms(&mut watch, 61 * MS), [expected]);
        assert!(alarms(&mut watch, 66 * MS).is_empty(), "once a turn is enough");
        assert_eq!(turn.stalls(), (1, 56 * MS));
        for now in (70..1010).step_by(5) {
            assert!(alarms(&mut watch, now * MS).is_empty());
        }
        assert_eq!(alarms(&mut watch, 1011 * MS).len(), 1, "but a turn that does not end is told of again");
        assert!(alarms(&mut watch, 1016 * MS).is_empty());
        turn.end();
        assert!(alarms(&mut watch, 1100 * MS).is_empty());
        turn.begin(1101 * MS);
        assert_eq!(alarms(&mut watch, 1152 * MS).len(), 1);
        assert_eq!(turn.stalls().0, 2);
    }

    #[test]
    fn a_process_that_was_stopped_has_not_stalled() {
        let turn = TurnClock::new("shard-0");
        let mut watch = Watch::new(0, 50 * MS, Vec::new(), vec![turn.clone()]);
        turn.begin(MS);
        assert!(alarms(&mut watch, 5 * MS).is_empty());
        assert!(alarms(&mut watch, 5_000 * MS).is_empty(), "nobody could have run");
        assert!(alarms(&mut watch, 5_050 * MS).is_empty());
        assert_eq!(alarms(&mut watch, 5_051 * MS).len(), 1, "but it had time since");
    }

    #[test]
    fn an_executor_that_does_not_run_is_reported_once() {
        let pulse = Pulse::new("disk-0");
        let mut watch = Watch::new(0, 50 * MS, vec![pulse.clone()], Vec::new());
        assert!(alarms(&mut watch, 100 * MS).is_empty());
        pulse.waker.get_or_init(|| Waker::noop().clone());
        for now in (100..1000).step_by(5) {
            assert!(alarms(&mut watch, now * MS).is_empty());
        }
        assert_eq!(alarms(&mut watch, 1005 * MS), [("disk-0".to_owned(), 1005 * MS, None)]);
        assert!(alarms(&mut watch, 1010 * MS).is_empty());
        pulse.beaten_us.store(1015 * MS, Ordering::Relaxed);
        assert!(alarms(&mut watch, 1020 * MS).is_empty());
        for now in (1025..2015).step_by(5) {
            assert!(alarms(&mut watch, now * MS).is_empty());
        }
        assert_eq!(alarms(&mut watch, 2020 * MS).len(), 1);
        pulse.rest(true);
        for now in (2025..4000).step_by(5) {
            assert!(alarms(&mut watch, now * MS).is_empty(), "who has nothing to do may be silent");
        }
        pulse.rest(false);
        assert!(alarms(&mut watch, 4_000 * MS).is_empty(), "its silence begins only now");
    }

    #[test]
    fn what_a_shard_does_keeps_its_form_as_a_number() {
        let all = [
            Doing::Sockets,
            Doing::Letter,
            Doing::Disk,
            Doing::Housekeeping,
            Doing::Effects,
            Doing::WalBlock,
        ];
        for doing in all.into_iter().chain(ApiKey::ALL.iter().map(|key| Doing::Request(*key))) {
            assert_eq!(Doing::of_code(doing.code()), doing);
        }
    }
}
