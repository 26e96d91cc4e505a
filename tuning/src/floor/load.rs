//! The load under which is measured: none, or a spinning thread on every core.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use super::pin;

/// What the cores do meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Load {
    /// What the machine does anyway.
    Idle,
    /// A thread on each core that never sleeps: as a neighbour, or a client on the same machine.
    Busy,
}

impl Load {
    /// Does some work under the load.
    pub(super) fn during<T>(self, cores: &[usize], work: impl FnOnce() -> T) -> Result<T, String> {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let spinners: Vec<_> = match self {
                Load::Idle => Vec::new(),
                Load::Busy => cores
                    .iter()
                    .map(|core| {
                        let (core, stop) = (*core, &stop);
                        scope.spawn(move || {
                            pin(core)?;
                            while !stop.load(Ordering::Relaxed) {
                                std::hint::spin_loop();
                            }
                            Ok::<(), String>(())
                        })
                    })
                    .collect(),
            };
            let result = work();
            stop.store(true, Ordering::Relaxed);
            for spinner in spinners {
                spinner.join().expect("a spinner does not panic")?;
            }
            Ok(result)
        })
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Load::Idle => "idle",
            Load::Busy => "busy",
        })
    }
}
