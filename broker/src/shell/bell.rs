//! Wakes a shard that sleeps in its ring.
//!
//! A shard looks at all its queues before it sleeps, so whoever fills one only has to ring if the shard is asleep, and
//! only the first has to: one write to an eventfd, whose read is always pending in the ring.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

/// The bell of one shard; a [`Waker`](std::task::Waker) for those who know no shards.
#[derive(Debug)]
pub struct Bell {
    asleep: AtomicBool,
    eventfd: File,
}

impl Bell {
    /// The bell of a shard that is awake.
    pub fn new() -> io::Result<Arc<Bell>> {
        // SAFETY: takes two numbers.
        let descriptor = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given us this descriptor, and nobody else knows of it.
        let eventfd = unsafe { File::from_raw_fd(descriptor) };
        Ok(Arc::new(Bell { asleep: AtomicBool::new(false), eventfd }))
    }

    /// To be said before the last look at the queues: what is put there after that look rings.
    pub fn lie_down(&self) {
        self.asleep.store(true, Ordering::SeqCst);
    }

    /// The shard looks at its queues again, nobody needs to ring.
    pub fn get_up(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    /// What becomes readable when the bell rings.
    pub fn descriptor(&self) -> RawFd {
        self.eventfd.as_raw_fd()
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.asleep.swap(false, Ordering::SeqCst) {
            // Fails only at the end of 64 bits.
            (&self.eventfd).write_all(&1u64.to_ne_bytes()).expect("an eventfd takes a ring");
        }
    }
}
