//! Between a shard and the executor that works on its files: jobs one way, what became of them the other.
//!
//! The executor runs on glommio, on a thread of its own, and does everything with files that is not a block of the WAL:
//! it prepares, writes segments, opens, reads, removes, and sends what is not in memory. A shard never waits for it.

use std::cell::Cell;
use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::task::{Poll, Waker};

use storage::disk::{DataDirectory, Disk};
use storage::op::{DiskError, Done, FileName, Op};

use super::clock::Clock;
use super::sendfile::FilePart;
use super::watchdog::Pulse;
use crate::ids::ConnectionId;

/// What a shard wants done. Bounded by the store's limits on operations in flight, and by one job a connection.
enum Job {
    Op(Op),
    Open { connection: ConnectionId, names: Vec<FileName> },
    Send(FilePart),
    CloseIdleFiles,
}

/// What became of a job.
pub enum Answer {
    /// Of an operation.
    Done(Done),
    /// Descriptors for reading, in the order of the names.
    Opened(ConnectionId, Result<Vec<Arc<File>>, DiskError>),
    /// Bytes that were sent from a file.
    Sent(ConnectionId, io::Result<usize>),
}

/// The shard's end.
pub struct DiskLink {
    jobs: Sender<Job>,
    answers: Receiver<Answer>,
    /// Taken from the queue to see whether there is one.
    next: Option<Answer>,
    doorbell: Arc<Doorbell>,
    /// Something was sent since the executor was last woken.
    unannounced: bool,
    ops_in_flight: usize,
    /// With those that are no operations.
    jobs_in_flight: usize,
    pulse: Arc<Pulse>,
}

/// The executor's end.
pub struct DiskServer {
    jobs: Receiver<Job>,
    answers: Sender<Answer>,
    doorbell: Arc<Doorbell>,
    shard: Waker,
    pulse: Arc<Pulse>,
}

/// Wakes the executor, once until it has looked.
#[derive(Default)]
struct Doorbell {
    rung: AtomicBool,
    waker: OnceLock<Waker>,
}

/// The two ends; `shard` wakes the shard, `pulse` keeps the executor awake while it has something to do.
pub fn link(shard: Waker, pulse: Arc<Pulse>) -> (DiskLink, DiskServer) {
    let (jobs, jobs_taken) = channel();
    let (answers, answers_taken) = channel();
    let doorbell = Arc::new(Doorbell::default());
    let server =
        DiskServer { jobs: jobs_taken, answers, doorbell: doorbell.clone(), shard, pulse: pulse.clone() };
    let link = DiskLink {
        jobs,
        answers: answers_taken,
        next: None,
        doorbell,
        unannounced: false,
        ops_in_flight: 0,
        jobs_in_flight: 0,
        pulse,
    };
    (link, server)
}

impl DiskLink {
    /// Starts an operation.
    pub fn submit(&mut self, op: Op) {
        self.ops_in_flight += 1;
        self.send(Job::Op(op));
    }

    /// Asks for descriptors.
    pub fn open(&mut self, connection: ConnectionId, names: Vec<FileName>) {
        self.send(Job::Open { connection, names });
    }

    /// Asks a helper thread to send a part of a file, as much as the socket takes.
    pub fn send_file(&mut self, part: FilePart) {
        self.send(Job::Send(part));
    }

    /// Closes descriptors that nobody used since the last call.
    pub fn close_idle_files(&mut self) {
        self.send(Job::CloseIdleFiles);
    }

    /// Lets the executor know of what was sent. Once a turn.
    pub fn announce(&mut self) {
        if std::mem::take(&mut self.unannounced)
            && !self.doorbell.rung.swap(true, Ordering::SeqCst)
            && let Some(waker) = self.doorbell.waker.get()
        {
            waker.wake_by_ref();
        }
    }

    /// Whether [`DiskLink::take`] has something.
    pub fn has_answers(&mut self) -> bool {
        if self.next.is_none() {
            self.next = self.answers.try_recv().ok();
        }
        self.next.is_some()
    }

    /// The next answer, if there is one.
    pub fn take(&mut self) -> Option<Answer> {
        if !self.has_answers() {
            return None;
        }
        let answer = self.next.take()?;
        self.jobs_in_flight -= 1;
        self.pulse.rest(self.jobs_in_flight == 0);
        if matches!(answer, Answer::Done(_)) {
            self.ops_in_flight -= 1;
        }
        Some(answer)
    }

    /// Operations that are not answered yet.
    pub fn ops_in_flight(&self) -> usize {
        self.ops_in_flight
    }

    fn send(&mut self, job: Job) {
        if !matches!(job, Job::CloseIdleFiles) {
            self.jobs_in_flight += 1;
            self.pulse.rest(false);
        }
        // An executor ends only with the process.
        self.jobs.send(job).expect("the disk executor lives as long as its shard");
        self.unannounced = true;
    }
}

impl DiskServer {
    /// Serves the shard for as long as the process lives. To be run on an executor.
    pub async fn serve(self, directory: Arc<DataDirectory>, files_max: usize, clock: Clock) {
        glommio::spawn_local(self.pulse.beat(clock)).detach();
        let answers = Rc::new(Answers { sender: self.answers, shard: self.shard, gone: Cell::new(false) });
        let of_ops = answers.clone();
        let disk = Disk::new(&directory, files_max, move |done| of_ops.give(Answer::Done(done)));
        loop {
            poll_fn(|context| {
                // This task keeps one waker for its whole life.
                self.doorbell.waker.get_or_init(|| context.waker().clone());
                if self.doorbell.rung.load(Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            // Before the look, so that what comes after it rings again.
            self.doorbell.rung.store(false, Ordering::SeqCst);
            while let Ok(job) = self.jobs.try_recv() {
                start(job, &disk, &answers);
            }
        }
    }
}

struct Answers {
    sender: Sender<Answer>,
    shard: Waker,
    gone: Cell<bool>,
}

impl Answers {
    fn give(&self, answer: Answer) {
        if self.sender.send(answer).is_err() && !self.gone.replace(true) {
            tracing::debug!("the shard of this disk executor has ended");
        }
        self.shard.wake_by_ref();
    }
}

fn start(job: Job, disk: &Rc<Disk>, answers: &Rc<Answers>) {
    let (disk, answers) = (disk.clone(), answers.clone());
    match job {
        Job::Op(op) => disk.submit(op),
        Job::CloseIdleFiles => disk.close_idle_files(),
        Job::Open { connection, names } => {
            glommio::spawn_local(async move {
                let mut files = Vec::with_capacity(names.len());
                for name in &names {
                    match disk.open_for_read(name).await {
                        Ok(file) => files.push(file),
                        Err(error) => return answers.give(Answer::Opened(connection, Err(error))),
                    }
                }
                answers.give(Answer::Opened(connection, Ok(files)));
            })
            .detach();
        }
        Job::Send(part) => {
            glommio::spawn_local(async move {
                let connection = part.connection;
                let sent = glommio::executor().spawn_blocking(move || part.send()).await;
                answers.give(Answer::Sent(connection, sent));
            })
            .detach();
        }
    }
}
