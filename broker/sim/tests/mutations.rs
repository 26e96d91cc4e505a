//! A checker that cannot fail is not evidence: each fault that the store can be built with is found, by a checker
//! that is meant to find it, and is not found where it is not. What was acknowledged and is lost shows as missing (S1),
//! as an offset with another record (P1), or first of all as damage that no disk has done (S3), whichever a seed meets first.

use sim::checker::Checker;
use sim::options::Options;
use sim::run_seed;
use storage::config::Mutation;

/// Seeds that a mutation may take to be found.
const SEEDS: u64 = 60;

fn is_caught(mutation: Mutation, by: &[Checker], world: impl Fn(u64) -> Options) {
    let mut others = Vec::new();
    for seed in 1..=SEEDS {
        let outcome = run_seed(seed, world(seed).with_mutation(mutation), false);
        if let Some(found) = outcome.violations.iter().find(|violation| by.contains(&violation.checker)) {
            let sound = run_seed(seed, world(seed), false);
            assert_eq!(sound.violations, [], "seed {seed} fails without {mutation:?}, too");
            println!("{mutation:?} is caught with seed {seed}: {found}");
            return;
        }
        others.extend(outcome.violations.into_iter().take(1).map(|violation| (seed, violation)));
    }
    panic!("{mutation:?} was not caught by {by:?} in {SEEDS} seeds; others: {others:?}");
}

#[test]
fn an_acknowledgement_before_durability_is_caught() {
    is_caught(Mutation::AckBeforeDurable, &[Checker::S1, Checker::P1], Options::draw_eventful);
}

#[test]
fn a_skipped_flush_is_caught() {
    is_caught(Mutation::SkipFlush, &[Checker::S1, Checker::S3], Options::draw_eventful);
}

#[test]
fn damage_taken_for_a_torn_tail_is_caught() {
    is_caught(Mutation::IgnoreDurableLsn, &[Checker::S3], |seed| Options::draw_eventful(seed).with_rot());
}

#[test]
fn writing_into_the_wal_of_an_earlier_process_is_caught() {
    is_caught(Mutation::WriteOldIncarnationWal, &[Checker::S7], Options::draw_eventful);
}

#[test]
fn a_checkpoint_without_tails_is_caught() {
    is_caught(Mutation::DropTailImage, &[Checker::S1, Checker::S3], Options::draw_eventful);
}

#[test]
fn serving_what_is_not_durable_is_caught() {
    is_caught(Mutation::ServeAboveDurable, &[Checker::P1], Options::draw_eventful);
}
