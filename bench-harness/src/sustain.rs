//! Finding the highest rate that keeps to an objective: up in steps of a factor until one fails, then between the last that
//! held and the first that failed. A decision core: it is told how a rate went and says which to try next.

use crate::figures::samples;
use crate::outcome::{CLIENT_BOUND, Measure, Outcome};
use crate::statistics::Reading;

/// From one rate to the next while none has failed.
const UP: f64 = 1.7;

/// The search ends when the first failed rate is no more than this times the last held one.
const CLOSE_ENOUGH: f64 = 1.12;

/// The most rates that are tried.
const TRIES_MAX: u32 = 14;

/// The rate is not searched below this, records per second.
const RATE_MIN: f64 = 10.0;

/// The share of intended records that must have been acknowledged in time.
const ACKED_SHARE_MIN: f64 = 0.999;

/// What a rate must keep to in order to be sustained.
#[derive(Clone, Copy, Debug)]
pub struct Objective {
    /// p99 of the response, nanoseconds.
    pub p99_ns: u64,
}

/// The second try of a rate that is in doubt is a little lower, so that both have names of their own.
const SECOND_LOOK: f64 = 0.99;

/// How a rate went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// It was sustained.
    Yes,
    /// It was not.
    No,
    /// It was not, and the generator was late too: whether the broker could have is not known.
    ClientBound,
}

impl Objective {
    /// Judges a run.
    pub fn judge(&self, outcome: &Outcome) -> Held {
        let p99 = samples(outcome, Measure::Produce).map(|samples| samples.at(0.99));
        let fast = matches!(p99, Some(Reading::Value { value_ns, .. }) if value_ns <= self.p99_ns);
        let all = outcome.counts.acked as f64 >= ACKED_SHARE_MIN * outcome.counts.intended as f64;
        // A late generator makes the response longer and never shorter. What is fast enough in spite of it was sustained,
        // though its latencies are no result.
        let is_lag = |reason: &String| reason.starts_with(CLIENT_BOUND);
        let reasons = outcome.verdict.reasons();
        match (fast && all, reasons.iter().any(is_lag), reasons.iter().all(is_lag)) {
            (true, _, true) => Held::Yes,
            (false, true, _) => Held::ClientBound,
            _ => Held::No,
        }
    }
}

/// A search under way.
#[derive(Clone, Debug)]
pub struct Search {
    held: Option<f64>,
    failed: Option<f64>,
    start: f64,
    tries: u32,
    client_bound: bool,
    /// To be tried again, as it failed with the generator late: a machine may take its time from both for once.
    doubted: Option<f64>,
}

impl Search {
    /// Begins at a rate.
    pub fn from(start: f64) -> Self {
        Self {
            held: None,
            failed: None,
            start: start.max(RATE_MIN),
            tries: 0,
            client_bound: false,
            doubted: None,
        }
    }

    /// The rate to try next; `None` when the search is over.
    pub fn next(&self) -> Option<f64> {
        if self.tries == TRIES_MAX {
            return None;
        }
        if self.doubted.is_some() {
            return self.doubted;
        }
        match (self.held, self.failed) {
            (None, None) => Some(self.start),
            (Some(held), None) => Some(held * UP),
            (None, Some(failed)) => (failed / UP >= RATE_MIN).then_some(failed / UP),
            (Some(held), Some(failed)) => (failed / held > CLOSE_ENOUGH).then(|| (held * failed).sqrt()),
        }
    }

    /// How a rate went.
    pub fn report(&mut self, rate: f64, held: Held) {
        self.tries += 1;
        let is_second_look = self.doubted.take().is_some();
        match held {
            Held::ClientBound if !is_second_look => self.doubted = Some(rate * SECOND_LOOK),
            Held::Yes => self.held = Some(self.held.map_or(rate, |held| held.max(rate))),
            Held::No | Held::ClientBound if self.failed.is_none_or(|failed| rate < failed) => {
                self.failed = Some(rate);
                self.client_bound = held == Held::ClientBound;
            }
            Held::No | Held::ClientBound => {}
        }
    }
}

/// What a search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The highest rate that held, if any did.
    pub rate: Option<f64>,
    /// Whether the generator set the limit.
    pub client_bound: bool,
}

/// Searches with loads that `attempt` makes; `watch` is told of each: rate, outcome and how it went. An interrupted load ends the search with an error.
pub fn sustain(
    objective: &Objective,
    from: f64,
    attempt: &mut dyn FnMut(f64) -> Result<Outcome, String>,
    watch: &mut dyn FnMut(f64, Outcome, Held),
) -> Result<Found, String> {
    let mut search = Search::from(from);
    while let Some(rate) = search.next().map(f64::round) {
        let outcome = attempt(rate)?;
        if outcome.interrupted {
            return Err("interrupted".to_owned());
        }
        let held = objective.judge(&outcome);
        search.report(rate, held);
        watch(rate, outcome, held);
    }
    Ok(Found { rate: search.held, client_bound: search.client_bound })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Verdict;
    use crate::results::synthetic::{Shape, outcome};

    fn search(start: f64, limit: f64) -> (Option<f64>, u32) {
        let mut search = Search::from(start);
        while let Some(rate) = search.next() {
            search.report(rate, if rate <= limit { Held::Yes } else { Held::No });
        }
        (search.held, search.tries)
    }

    #[test]
    fn the_limit_is_found_from_below_and_from_above() {
        for (start, limit) in [(1_000.0, 43_000.0), (50_000.0, 900.0), (1_000.0, 1_000.0)] {
            let (found, tries) = search(start, limit);
            let found = found.unwrap();
            assert!(found <= limit && found * CLOSE_ENOUGH >= limit, "{start} {limit}: {found}");
            assert!(tries <= TRIES_MAX, "{tries}");
        }
        assert_eq!(search(1_000.0, 1.0).0, None);
    }

    #[test]
    fn a_rate_that_failed_with_the_generator_late_is_tried_again() {
        let mut search = Search::from(1_000.0);
        let mut stalls = 1;
        while let Some(rate) = search.next() {
            let stalled = rate > 5_000.0 && stalls > 0;
            stalls -= u32::from(stalled);
            search.report(rate, if stalled { Held::ClientBound } else { Held::Yes });
        }
        assert!(search.held.is_some_and(|held| held > 100_000.0) && !search.client_bound);
        let mut search = Search::from(1_000.0);
        while let Some(rate) = search.next() {
            search.report(rate, if rate > 5_000.0 { Held::ClientBound } else { Held::Yes });
        }
        assert!(search.held.is_some_and(|held| held <= 5_000.0) && search.client_bound);
    }

    #[test]
    fn what_was_late_or_lost_does_not_count_as_sustained() {
        let shape = Shape { median_ns: 1e6, sigma: 0.1, stall_ns: 0, seconds: 3, rate: 1000, seed: 1 };
        let objective = Objective { p99_ns: 10_000_000 };
        let mut run = outcome(shape);
        assert_eq!(objective.judge(&run), Held::Yes);
        assert_eq!(Objective { p99_ns: 500_000 }.judge(&run), Held::No);
        run.verdict = Verdict::of(vec!["client bound: lag".to_owned()]);
        assert_eq!(objective.judge(&run), Held::Yes);
        assert_eq!(Objective { p99_ns: 500_000 }.judge(&run), Held::ClientBound);
        run.verdict = Verdict::of(vec!["records lost: 1".to_owned()]);
        assert_eq!(objective.judge(&run), Held::No);
        run.verdict = Verdict::Valid;
        run.counts.acked -= 10;
        run.counts.beyond_deadline = 10;
        assert_eq!(objective.judge(&run), Held::No);
    }
}
