//! Where a shard lays what its ledger has of a second, and the status thread finds it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::lag::LagSheet;
use crate::ledger::{Second, TopicTraffic};
use crate::shell::watchdog::TurnClock;

/// Sheets that lie on a desk; more than the status thread ever lets come together while it answers somebody.
const SHEETS_MAX: usize = 16;

/// One second of one shard.
#[derive(Debug)]
pub struct Sheet {
    /// What the ledger has.
    pub second: Box<Second>,
    /// What was appended to and read from each topic.
    pub topics: Vec<TopicTraffic>,
    /// What it knows of the lag of groups, while somebody wants to know.
    pub lag: Option<LagSheet>,
    /// CPU time that the shard's thread has had in its life, microseconds.
    pub cpu_us: u64,
}

/// The desk of one shard.
#[derive(Debug)]
pub struct Desk {
    sheets: Mutex<VecDeque<Sheet>>,
    keeps_ledger: AtomicBool,
    /// Of which topics the ends are wanted for the lag of groups, and until when, microseconds.
    lag_wanted: Mutex<(u64, Arc<BTreeSet<Arc<str>>>)>,
    /// For how often it stalled.
    pub turns: Arc<TurnClock>,
}

impl Desk {
    /// An empty desk.
    pub fn new(turns: Arc<TurnClock>, keeps_ledger: bool) -> Arc<Desk> {
        Arc::new(Desk {
            sheets: Mutex::default(),
            keeps_ledger: AtomicBool::new(keeps_ledger),
            lag_wanted: Mutex::default(),
            turns,
        })
    }

    /// Whether the shard keeps a ledger. It looks in every turn.
    pub fn keeps_ledger(&self) -> bool {
        self.keeps_ledger.load(Ordering::Relaxed)
    }

    /// Has the shard keep one from its next turn on, or none.
    pub fn keep_ledger(&self, keep: bool) {
        self.keeps_ledger.store(keep, Ordering::Relaxed);
    }

    /// Lays a sheet down, without waiting: if somebody is at the desk, it is for the next time.
    pub fn give(&self, sheet: impl FnOnce() -> Sheet) {
        let Ok(mut sheets) = self.sheets.try_lock() else { return };
        if sheets.len() == SHEETS_MAX {
            sheets.pop_front();
        }
        sheets.push_back(sheet());
    }

    /// Asks for the lag of groups, until then.
    pub fn want_lag(&self, until_us: u64, topics: &Arc<BTreeSet<Arc<str>>>) {
        *self.lag_wanted.lock().expect("a panic ends the process") = (until_us, Arc::clone(topics));
    }

    /// The topics whose ends are wanted, if anybody wants to know of lag. Without waiting.
    pub fn lag_wanted(&self, now_us: u64) -> Option<Arc<BTreeSet<Arc<str>>>> {
        let wanted = self.lag_wanted.try_lock().ok()?;
        (now_us < wanted.0).then(|| Arc::clone(&wanted.1))
    }

    /// Takes all sheets.
    pub fn take(&self) -> VecDeque<Sheet> {
        std::mem::take(&mut *self.sheets.lock().expect("a panic ends the process"))
    }
}
