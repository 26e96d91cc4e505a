//! Fixed seeds, and the promise that a seed is a world.

use sim::options::Options;
use sim::run_seed;

#[test]
fn fixed_seeds_pass() {
    for seed in 1..=8 {
        let mut options = Options::draw(seed);
        options.fault_us = options.fault_us.min(1_500_000);
        let outcome = run_seed(seed, options, false);
        assert_eq!(outcome.violations, [], "replay: monedula-sim --seed {seed} --trace");
    }
}

#[test]
fn worlds_with_many_crashes_pass() {
    for seed in 101..=106 {
        let outcome = run_seed(seed, Options::draw_eventful(seed), false);
        assert_eq!(outcome.violations, [], "seed {seed}, Options::draw_eventful");
        assert!(outcome.acknowledged > 0, "seed {seed} has a world in which nothing happens");
    }
}

#[test]
fn the_same_seed_twice_gives_the_same_trace() {
    let run = || run_seed(7, Options::draw_eventful(7), false);
    let (first, second) = (run(), run());
    assert!(first.lines > 1_000, "something happened");
    assert_eq!((first.trace, first.lines), (second.trace, second.lines));
    assert_ne!(first.trace, run_seed(8, Options::draw_eventful(8), false).trace);
}
