//! Looks at a thread that does not go on: where it is, in the kernel's words and in ours, and tells of it.
//!
//! The kernel's side is what `/proc/self/task` says. Our side is a backtrace: the thread is sent a real-time signal, whose
//! handler notes the addresses of its frames and nothing else; names are found afterwards, on the thread that asks.
//!
//! What this cannot do: a thread that sleeps in the kernel uninterruptibly gets no signal until it wakes, so there is only
//! the kernel's side of it (its kernel stack for root alone); frames that the compiler has inlined are named by their line
//! tables; without glibc there is no backtrace.

use std::collections::VecDeque;
use std::ffi::c_void;
use std::fmt::Write;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::clock::Clock;
use super::watchdog::Alarm;

/// Frames of a backtrace.
const FRAMES_MAX: usize = 64;

/// Frames above the one that was interrupted: the two functions of the handler, and the kernel's way into it.
const FRAMES_OF_HANDLER: usize = 3;

/// How long a thread has to answer the signal.
const ANSWER_MAX: Duration = Duration::from_millis(50);

/// Alarms that wait to be looked at; what comes while they do is counted and not looked at.
const ALARMS_MAX: usize = 4;

/// Looking at a thread costs CPU that a starved machine does not have: not more often than this.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Stalls that are remembered.
const NOTES_MAX: usize = 16;

/// A stall that was looked at.
#[derive(Clone, Debug)]
pub struct StallNote {
    /// When, microseconds.
    pub at_us: u64,
    /// The shard or executor.
    pub name: String,
    /// For how long it had not gone on, microseconds.
    pub length_us: u64,
    /// What it was doing.
    pub doing: String,
    /// What the kernel says of its thread.
    pub kernel: String,
    /// Its frames, the innermost first; empty if there is no backtrace.
    pub backtrace: Vec<String>,
}

/// The newest stalls.
#[derive(Clone, Debug, Default)]
pub struct Stalls(Arc<Mutex<VecDeque<StallNote>>>);

impl Stalls {
    /// All that are remembered, the newest last.
    pub fn notes(&self) -> Vec<StallNote> {
        self.0.lock().expect("a panic ends the process").iter().cloned().collect()
    }

    fn push(&self, note: StallNote) {
        let mut notes = self.0.lock().expect("a panic ends the process");
        if notes.len() == NOTES_MAX {
            notes.pop_front();
        }
        notes.push_back(note);
    }
}

/// Where alarms go.
#[derive(Clone, Debug)]
pub struct StallReports(SyncSender<Alarm>);

impl StallReports {
    /// Hands an alarm over without waiting.
    pub fn send(&self, alarm: Alarm) {
        if let Err(unheard) = self.0.try_send(alarm) {
            tracing::debug!("too many stalls at once to look at each: {unheard}");
        }
    }
}

/// Makes threads able to answer, and starts the one that asks. It lives as long as the process.
pub fn start(clock: Clock) -> std::io::Result<(StallReports, Stalls)> {
    prepare()?;
    let (sender, alarms) = sync_channel(ALARMS_MAX);
    let stalls = Stalls::default();
    let notes = stalls.clone();
    let run = move || look_at_all(&alarms, &notes, clock);
    std::thread::Builder::new().name("stalls".into()).spawn(run)?;
    Ok((StallReports(sender), stalls))
}

fn look_at_all(alarms: &Receiver<Alarm>, notes: &Stalls, clock: Clock) {
    let mut looked: Option<Instant> = None;
    while let Ok(alarm) = alarms.recv() {
        if looked.is_some_and(|looked| looked.elapsed() < LOOK_EVERY) {
            tracing::debug!(name = alarm.name, ms = alarm.length_us / 1000, "another stall");
            continue;
        }
        let note = look_at(&alarm, clock.elapsed_us());
        looked = Some(Instant::now());
        let mut frames = String::new();
        for (number, frame) in note.backtrace.iter().enumerate() {
            write!(frames, "\n  {number:>2} {frame}").expect("a string takes all");
        }
        match alarm.turn {
            Some(_) => tracing::warn!(
                shard = note.name,
                turn_ms = note.length_us / 1000,
                "a turn of a shard takes too long, or its core is taken: {}; {}{frames}",
                note.doing,
                note.kernel
            ),
            None => tracing::error!(
                executor = note.name,
                silent_ms = note.length_us / 1000,
                "an executor does not run: a task of it does not yield, or its core is taken; {}{frames}",
                note.kernel
            ),
        }
        notes.push(note);
    }
}

fn look_at(alarm: &Alarm, at_us: u64) -> StallNote {
    let kernel = kernel_side(alarm.thread);
    let frames = backtrace_of(alarm.thread);
    let doing = match &alarm.turn {
        None => "unknown: a task that does not yield".to_owned(),
        Some((turn, begun_us, doing)) if turn.is_at(*begun_us) => doing.to_string(),
        Some((_, _, doing)) => format!("{doing}, but the turn ended before it was looked at"),
    };
    let backtrace = frames.map(|frames| frames.into_iter().map(name_of).collect()).unwrap_or_default();
    StallNote { at_us, name: alarm.name.clone(), length_us: alarm.length_us, doing, kernel, backtrace }
}

/// What the kernel says of a thread of this process, in one line.
fn kernel_side(thread: i32) -> String {
    let read = |file: &str| {
        let text = std::fs::read_to_string(format!("/proc/self/task/{thread}/{file}")).ok()?;
        Some(text.trim().replace('\n', " < "))
    };
    let state = read("stat").and_then(|stat| {
        // The name before it is in parentheses and may hold anything.
        let rest = stat.rsplit_once(')')?.1.trim_start();
        Some(match rest.chars().next()? {
            'R' => "runs or waits for its core".to_owned(),
            'S' => "sleeps".to_owned(),
            'D' => "sleeps uninterruptibly".to_owned(),
            other => format!("is in state {other}"),
        })
    });
    let Some(state) = state else { return "its thread is gone".to_owned() };
    let mut text = format!("its thread {state}");
    for (file, what) in [("wchan", "in"), ("syscall", "system call"), ("stack", "kernel stack")] {
        // Some of these are for root alone, and "0" or "running" is no place.
        if let Some(place) = read(file).filter(|place| !matches!(place.as_str(), "" | "0" | "running")) {
            write!(text, ", {what} {place}").expect("a string takes all");
        }
    }
    text
}

/// What a thread is asked and answers. One is asked at a time: [`ASKING`].
struct Capture {
    /// The thread that is to answer; zero when it has begun to, or none is asked.
    wanted: AtomicI32,
    /// How many frames it has noted; [`NO_ANSWER`] until it has.
    count: AtomicUsize,
    frames: [AtomicUsize; FRAMES_MAX],
}

const NO_ANSWER: usize = usize::MAX;

static CAPTURE: Capture = Capture {
    wanted: AtomicI32::new(0),
    count: AtomicUsize::new(0),
    frames: [const { AtomicUsize::new(0) }; FRAMES_MAX],
};

static ASKING: Mutex<()> = Mutex::new(());

/// Far from the numbers that libraries take, which begin at SIGRTMIN.
fn signal() -> libc::c_int {
    libc::SIGRTMIN() + 11
}

/// Installs the handler. Once per process is enough, more do no harm.
fn prepare() -> std::io::Result<()> {
    // The first call loads the unwinder, which must not happen in a handler.
    let mut frames = [std::ptr::null_mut(); 4];
    frames_of_caller(&mut frames);
    let handler: extern "C" fn(libc::c_int) = note_frames;
    // SAFETY: sigaction is plain data for which zero is a value: no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as *const () as libc::sighandler_t;
    // What is interrupted goes on by itself where the kernel can do that; the rings take EINTR for a look around.
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: `action` is valid, its handler does only what a handler may (see there), and nobody else uses this signal.
    match unsafe { libc::sigaction(signal(), &action, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Runs on the thread that was asked, in the middle of whatever it does: it takes no lock, allocates nothing, cannot
/// panic, and leaves `errno` as it was.
extern "C" fn note_frames(_: libc::c_int) {
    // SAFETY: `errno` of this thread, valid as long as it lives. gettid takes nothing.
    let (errno, thread) = unsafe { (*libc::__errno_location(), libc::gettid()) };
    if CAPTURE.wanted.compare_exchange(thread, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
        let mut frames = [std::ptr::null_mut(); FRAMES_MAX];
        let count = frames_of_caller(&mut frames);
        for (place, frame) in CAPTURE.frames.iter().zip(frames) {
            place.store(frame as usize, Ordering::Relaxed);
        }
        CAPTURE.count.store(count, Ordering::Release);
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

#[cfg(target_env = "gnu")]
#[inline(never)]
fn frames_of_caller(frames: &mut [*mut c_void]) -> usize {
    // SAFETY: at most as many addresses are written as there is room for. It walks the unwind tables of the binary, which
    // allocates nothing once the unwinder is loaded, and takes no lock that this thread could hold: finding the tables of
    // an address is lock-free since glibc 2.35, and before that takes the lock of the list of libraries, which may
    // be taken twice by one thread. Where there are no tables it stops.
    let count = unsafe { libc::backtrace(frames.as_mut_ptr(), frames.len() as libc::c_int) };
    usize::try_from(count).unwrap_or(0)
}

#[cfg(not(target_env = "gnu"))]
fn frames_of_caller(_: &mut [*mut c_void]) -> usize {
    0
}

/// The addresses at which a thread of this process is, the innermost first; `None` if it does not answer.
fn backtrace_of(thread: i32) -> Option<Vec<usize>> {
    let _one_at_a_time = ASKING.lock().expect("a panic ends the process");
    if thread == 0 || CAPTURE.count.load(Ordering::Acquire) == NO_ANSWER {
        // One that was asked before has begun to answer and was never seen to finish: it may still write.
        return None;
    }
    CAPTURE.count.store(NO_ANSWER, Ordering::Relaxed);
    CAPTURE.wanted.store(thread, Ordering::Release);
    // SAFETY: takes three numbers. A thread of this process that took the number of one that is gone only sees that it
    // was not meant to do anything but note its frames.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, signal()) } == 0;
    let asked = Instant::now();
    while sent && CAPTURE.count.load(Ordering::Acquire) == NO_ANSWER && asked.elapsed() < ANSWER_MAX {
        std::thread::sleep(Duration::from_millis(1));
    }
    if CAPTURE.wanted.swap(0, Ordering::AcqRel) == thread {
        // It will find that nobody wants to know any more.
        CAPTURE.count.store(0, Ordering::Relaxed);
        return None;
    }
    match CAPTURE.count.load(Ordering::Acquire) {
        NO_ANSWER => None,
        count => {
            let frames = CAPTURE.frames.iter().take(count).skip(FRAMES_OF_HANDLER);
            Some(frames.map(|frame| frame.load(Ordering::Relaxed)).collect())
        }
    }
}

/// The function at an address, with its line where that is known.
fn name_of(address: usize) -> String {
    let mut text = String::new();
    backtrace::resolve(address as *mut c_void, |symbol| {
        // What is inlined there comes first.
        let Some(name) = symbol.name() else { return };
        let inside = if text.is_empty() { "" } else { " < " };
        write!(text, "{inside}{name:#}").expect("a string takes all");
        if let (Some(file), Some(line)) =
            (symbol.filename().and_then(|file| file.file_name()), symbol.lineno())
        {
            write!(text, " ({}:{line})", file.display()).expect("a string takes all");
        }
    });
    if text.is_empty() { format!("{address:#x}") } else { text }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::sync::mpsc::channel;

    use super::super::watchdog::{Doing, TurnClock};
    use super::*;

    #[inline(never)]
    fn goes_round_and_round(stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn a_thread_that_spins_is_found_where_it_spins() {
        prepare().expect("a handler can be installed");
        let stop = Arc::new(AtomicBool::new(false));
        let turn = TurnClock::new("shard-7");
        let (tell, told) = channel();
        let spinner = std::thread::spawn({
            let (stop, turn) = (stop.clone(), turn.clone());
            move || {
                turn.enter();
                turn.begin(5);
                // SAFETY: takes nothing and cannot fail.
                tell.send(unsafe { libc::gettid() }).expect("somebody listens");
                goes_round_and_round(&stop);
            }
        });
        let thread = told.recv().expect("it tells");
        let alarm = Alarm {
            name: "shard-7".into(),
            thread,
            length_us: 60_000,
            turn: Some((turn.clone(), 5, Doing::Letter)),
        };
        // It may be on its way there still, or not get its core in time to answer.
        let spins = |note: &StallNote| {
            let named = note.backtrace.iter().any(|frame| frame.contains("goes_round_and_round"));
            named || cfg!(not(target_env = "gnu"))
        };
        let note = std::iter::repeat_with(|| look_at(&alarm, 1)).take(100).find(spins);
        turn.end();
        let late = look_at(&alarm, 2);
        stop.store(true, Ordering::Relaxed);
        spinner.join().expect("it ends");
        assert!(late.doing.contains("ended before"), "{}", late.doing);
        let note = note.expect("it is found");
        assert_eq!(note.doing, "a letter");
        assert!(note.kernel.starts_with("its thread runs"), "{}", note.kernel);
        assert_eq!(kernel_side(i32::MAX), "its thread is gone");
        assert_eq!(backtrace_of(i32::MAX), None, "who is gone does not answer");
    }
}
