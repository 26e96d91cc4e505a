//! The best p99.9 that a durable produce request can have here, and what stands in its way.
//!
//! Such a request goes over the network and back, and waits for a write and its flush; meanwhile its core may be taken.
//! At the 99.9th percentile one of the parts is bad, and the others are as usual: the worst of these sums is what no
//! broker can go below.

use super::figures::{Kind, Method};
use super::{Figures, Line, Load};

/// One part of a request.
#[derive(Clone, PartialEq, Debug)]
pub struct Part {
    /// What it is, with its place.
    pub name: String,
    /// As usual, microseconds.
    pub p50_us: f64,
    /// One time in a thousand, microseconds.
    pub p999_us: f64,
}

/// What to expect under a load.
#[derive(Clone, PartialEq, Debug)]
pub struct Verdict {
    /// The load.
    pub load: Load,
    /// The parts of a request.
    pub parts: Vec<Part>,
    /// The best 99.9th percentile of a request, microseconds.
    pub p999_us: f64,
    /// The best median, microseconds.
    pub p50_us: f64,
    /// The part that is furthest from its usual at the 99.9th percentile.
    pub limited_by: String,
}

impl Verdict {
    /// From the lines that were measured under a load.
    pub fn of(load: Load, lines: &[Line]) -> Verdict {
        let mut parts = Vec::new();
        let of_kind = |kind: Kind| lines.iter().filter(move |line| line.kind == kind);
        parts.extend(of_kind(Kind::Loopback).map(|line| part(line, "the loopback round trip")));
        parts.extend(of_kind(Kind::Peer).map(|line| part(line, "the round trip to the peer")));
        // Through io_uring, as the broker writes; the smallest size is the floor; the better method is there to take.
        let methods = [Method::UringFdatasync, Method::UringDsync];
        let disk = methods
            .iter()
            .filter_map(|method| of_kind(Kind::Disk(*method)).next())
            .map(|line| part(line, &format!("{} of {}", line.kind.name(), line.place)));
        parts.extend(disk.min_by(|one, two| one.p999_us.total_cmp(&two.p999_us)));
        let usual_us: f64 = parts.iter().map(|part| part.p50_us).sum();
        // Theft happens now and then: a request feels the gaps that fall into its time.
        let theft = of_kind(Kind::Theft).map(|line| Part {
            name: format!("theft of {}", line.place),
            p50_us: felt_us(&line.figures, line.lasted.as_secs_f64() * 1e6, usual_us, 0.5),
            p999_us: felt_us(&line.figures, line.lasted.as_secs_f64() * 1e6, usual_us, 0.999),
        });
        parts.extend(theft.max_by(|one, two| one.p999_us.total_cmp(&two.p999_us)));
        let p50_us: f64 = parts.iter().map(|part| part.p50_us).sum();
        let worst = parts.iter().max_by(|one, two| excess(one).total_cmp(&excess(two)));
        Verdict {
            load,
            p999_us: p50_us + worst.map_or(0.0, excess),
            p50_us,
            limited_by: worst.map_or(String::new(), |part| part.name.clone()),
            parts,
        }
    }
}

fn excess(part: &Part) -> f64 {
    (part.p999_us - part.p50_us).max(0.0)
}

fn part(line: &Line, name: &str) -> Part {
    Part {
        name: name.to_owned(),
        p50_us: line.figures.quantile_us(0.5),
        p999_us: line.figures.quantile_us(0.999),
    }
}

/// The gap that a request which takes `request_us` feels at a quantile, microseconds; 0 if it meets none. One begins
/// within its time with the probability `gaps * request / lasted`.
fn felt_us(gaps: &Figures, lasted_us: f64, request_us: f64, quantile: f64) -> f64 {
    let met = (gaps.count() as f64 * request_us / lasted_us.max(1.0)).min(1.0);
    let rest = 1.0 - quantile;
    if met <= rest { 0.0 } else { gaps.quantile_us(1.0 - rest / met) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn line(kind: Kind, usual_us: u64, rare_us: u64, count: u64) -> Line {
        let mut figures = Figures::default();
        (0..count).for_each(|_| figures.record(Duration::from_micros(usual_us)));
        (0..count / 100).for_each(|_| figures.record(Duration::from_micros(rare_us)));
        Line { kind, place: "here".into(), load: Load::Idle, lasted: Duration::from_secs(1), figures }
    }

    fn near(value: f64, expect: f64) -> bool {
        (value - expect).abs() <= expect * 0.01
    }

    #[test]
    fn the_worst_part_is_bad_while_the_others_are_as_usual() {
        let lines = [
            line(Kind::Loopback, 20, 100, 10_000),
            line(Kind::Disk(Method::UringFdatasync), 150, 900, 10_000),
            line(Kind::Disk(Method::UringDsync), 140, 5_000, 10_000),
            line(Kind::Disk(Method::Fdatasync), 1, 1, 10_000),
        ];
        let verdict = Verdict::of(Load::Idle, &lines);
        assert!(near(verdict.p50_us, 170.0) && near(verdict.p999_us, 920.0), "{verdict:?}");
        assert!(verdict.limited_by.starts_with("write+fdatasync"), "{verdict:?}");
    }

    #[test]
    fn a_peer_stands_in_for_the_loopback_interface() {
        let lines =
            [line(Kind::Peer, 80, 2_000, 10_000), line(Kind::Disk(Method::UringDsync), 150, 900, 10_000)];
        let verdict = Verdict::of(Load::Idle, &lines);
        assert!(near(verdict.p50_us, 230.0) && near(verdict.p999_us, 2_150.0), "{verdict:?}");
        assert_eq!(verdict.limited_by, "the round trip to the peer");
    }

    #[test]
    fn theft_counts_as_often_as_a_request_meets_it() {
        let request = line(Kind::Loopback, 100, 100, 1000);
        // A hundred gaps in a second: one request of 100 us in a hundred meets one.
        let mut theft = line(Kind::Theft, 3_000, 3_000, 99);
        theft.figures.record(Duration::from_micros(3_000));
        let verdict = Verdict::of(Load::Idle, &[request.clone(), theft.clone()]);
        assert!(near(verdict.p999_us, 3_100.0), "{verdict:?}");
        assert_eq!(verdict.limited_by, "theft of here");
        // Five gaps: fewer than one request in a thousand.
        let rare = line(Kind::Theft, 3_000, 3_000, 5);
        assert!(near(Verdict::of(Load::Idle, &[request, rare]).p999_us, 100.0));
    }

    #[test]
    fn without_lines_there_is_nothing_to_expect() {
        let verdict = Verdict::of(Load::Busy, &[]);
        assert_eq!((verdict.p999_us, verdict.limited_by.as_str()), (0.0, ""));
    }
}
