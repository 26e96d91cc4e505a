//! apply and undo on a machine that a folder plays: whole, interrupted, repeated, refused, in a container.

#![allow(clippy::disallowed_methods, reason = "tests look at files")]

mod support;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

use support::Fake;
use tune::apply::{Outcome, Plan, Programs, apply, undo};
use tune::rollback::{Keeper, load};

/// Files that are set otherwise than they should be, and what they say after `apply`.
const SETTINGS: &[(&str, &str, &str)] = &[
    ("/proc/irq/61/smp_affinity_list", "0-3", "0"),
    ("/sys/block/nvme1n1/queue/scheduler", "mq-deadline", "none"),
    ("/sys/block/nvme1n1/queue/nomerges", "0", "2"),
    ("/sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", "powersave", "performance"),
    ("/sys/module/haltpoll/parameters/guest_halt_poll_ns", "0", "200000"),
    ("/proc/sys/net/core/somaxconn", "128", "4096"),
    ("/proc/sys/vm/swappiness", "60", "1"),
];

/// Programs that are noted and do nothing; the one named fails, or stands for a power cut.
#[derive(Default)]
struct Noted {
    run: Vec<String>,
    fails: bool,
    breaks: bool,
}

impl Programs for Noted {
    fn run(&mut self, command: &[String]) -> Result<(), String> {
        assert!(!self.breaks, "a power cut");
        self.run.push(command.join(" "));
        if self.fails { Err("no".to_owned()) } else { Ok(()) }
    }
}

fn untuned() -> Fake {
    let mut fake = Fake::new();
    for (path, before, _) in SETTINGS {
        fake.set(path, before);
    }
    fake.calls.coalescing.rx_usecs = 50;
    fake
}

fn plan(fake: &Fake) -> Plan {
    Plan::new(&fake.machine(), &fake.knobs(), &[])
}

fn check(fake: &Fake, which: impl Fn(&(&'static str, &'static str, &'static str)) -> &'static str) {
    for setting in SETTINGS {
        assert_eq!(fake.get(setting.0), which(setting), "{}", setting.0);
    }
}

#[test]
fn what_was_applied_is_undone() {
    let fake = untuned();
    let keeper = Keeper::lock(&fake.rollback()).expect("the place is free");
    let mut programs = Noted::default();
    let outcomes = apply(&fake.root(), &mut programs, &keeper, &plan(&fake)).expect("it applies");
    assert_eq!(outcomes.len(), SETTINGS.len() + 1);
    assert!(outcomes.iter().all(|(_, outcome)| *outcome == Outcome::Done), "{outcomes:?}");
    check(&fake, |setting| setting.2);
    assert!(
        plan(&fake).steps.iter().all(|step| step.knob.contains("coalescing")),
        "nothing else is left to do"
    );

    let outcomes = undo(&fake.root(), &mut programs, &keeper).expect("it is undone");
    assert!(outcomes.iter().all(|(_, outcome)| *outcome == Outcome::Done), "{outcomes:?}");
    check(&fake, |setting| setting.1);
    assert_eq!(programs.run, ["ethtool -C eth0 rx-usecs 8", "ethtool -C eth0 rx-usecs 50"]);
    assert!(!fake.rollback().exists());
    let again = undo(&fake.root(), &mut programs, &keeper).expect_err("there is nothing");
    assert!(again.contains("no rollback file"), "{again}");
}

#[test]
fn an_apply_that_was_interrupted_is_undone() {
    let fake = untuned();
    let keeper = Keeper::lock(&fake.rollback()).expect("the place is free");
    let mut programs = Noted { breaks: true, ..Noted::default() };
    let broken = catch_unwind(AssertUnwindSafe(|| apply(&fake.root(), &mut programs, &keeper, &plan(&fake))));
    assert!(broken.is_err());
    let changed = SETTINGS.iter().filter(|setting| fake.get(setting.0) == setting.2).count();
    assert!(changed > 0 && changed < SETTINGS.len(), "{changed} changes were made before the cut");

    let outcomes = undo(&fake.root(), &mut Noted::default(), &keeper).expect("it is undone");
    check(&fake, |setting| setting.1);
    let already = outcomes.iter().filter(|(_, outcome)| *outcome == Outcome::Already).count();
    assert_eq!(already, SETTINGS.len() - changed);
}

#[test]
fn a_second_apply_keeps_what_was_before_the_first() {
    let fake = untuned();
    let keeper = Keeper::lock(&fake.rollback()).expect("the place is free");
    let only = |name: &str| Plan::new(&fake.machine(), &fake.knobs(), &[name.to_owned()]);
    apply(&fake.root(), &mut Noted::default(), &keeper, &only("memory.swappiness")).expect("it applies");
    // Somebody sets it back, and it is applied again together with the rest.
    fake.set("/proc/sys/vm/swappiness", "30");
    apply(&fake.root(), &mut Noted::default(), &keeper, &plan(&fake)).expect("it applies");
    check(&fake, |setting| setting.2);
    undo(&fake.root(), &mut Noted::default(), &keeper).expect("it is undone");
    check(&fake, |setting| setting.1);
}

#[test]
fn what_others_changed_meanwhile_or_what_is_gone_is_left_alone() {
    let fake = untuned();
    let keeper = Keeper::lock(&fake.rollback()).expect("the place is free");
    apply(&fake.root(), &mut Noted::default(), &keeper, &plan(&fake)).expect("it applies");
    fake.set("/proc/sys/vm/swappiness", "10");
    fake.remove("/sys/devices/system/cpu/cpu2/cpufreq");
    let outcomes = undo(&fake.root(), &mut Noted::default(), &keeper).expect("it is undone");
    let foreign: Vec<_> =
        outcomes.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Foreign(_))).collect();
    assert_eq!(foreign.len(), 2, "{outcomes:?}");
    assert_eq!(fake.get("/proc/sys/vm/swappiness"), "10");
}

#[test]
fn what_cannot_be_undone_stays_in_the_file() {
    let fake = untuned();
    let keeper = Keeper::lock(&fake.rollback()).expect("the place is free");
    apply(&fake.root(), &mut Noted::default(), &keeper, &plan(&fake)).expect("it applies");
    undo(&fake.root(), &mut Noted { fails: true, ..Noted::default() }, &keeper).expect("most is undone");
    check(&fake, |setting| setting.1);
    let rest = load(&fake.rollback()).expect("it is whole").expect("it is there");
    assert_eq!(rest.entries.len(), 1, "{rest:?}");
    undo(&fake.root(), &mut Noted::default(), &keeper).expect("the rest is undone");
    assert!(!fake.rollback().exists());
}

#[test]
fn a_change_that_fails_does_not_stop_the_others() {
    let fake = untuned();
    let plan = plan(&fake);
    // Between the look and the change a queue goes away.
    fake.remove("/sys/devices/system/cpu/cpu2/cpufreq");
    let keeper = Keeper::lock(&fake.rollback()).expect("the place is free");
    let outcomes = apply(&fake.root(), &mut Noted::default(), &keeper, &plan).expect("it applies");
    let failed: Vec<_> = outcomes
        .iter()
        .filter_map(|(change, outcome)| match outcome {
            Outcome::Failed(why) => Some((change.to_string(), why)),
            _ => None,
        })
        .collect();
    assert!(matches!(failed.as_slice(), [(_, why)] if why.contains("is not there")), "{failed:?}");
    assert_eq!(fake.get("/proc/sys/vm/swappiness"), "1");
}

#[test]
fn nothing_is_changed_without_a_rollback_file() {
    let fake = untuned();
    fs::create_dir_all(fake.rollback().with_file_name("rollback.json.new")).expect("a folder in the way");
    let keeper = Keeper::lock(&fake.rollback()).expect("the place is free");
    let error =
        apply(&fake.root(), &mut Noted::default(), &keeper, &plan(&fake)).expect_err("it cannot be written");
    assert!(error.contains("--rollback"), "{error}");
    check(&fake, |setting| setting.1);
}

#[test]
fn a_damaged_rollback_file_is_refused_before_anything_is_changed() {
    let fake = untuned();
    for content in ["", "{", "[]", r#"{"format":1,"boot_id":"x","entries":[{"kind":"write"}]}"#] {
        fake.set("/var/lib/tune/rollback.json", content);
        let keeper = Keeper::lock(&fake.rollback()).expect("the place is free");
        for error in [
            apply(&fake.root(), &mut Noted::default(), &keeper, &plan(&fake)).expect_err("it is damaged"),
            undo(&fake.root(), &mut Noted::default(), &keeper).expect_err("it is damaged"),
        ] {
            assert!(error.contains("not a rollback file") && error.contains("reboot"), "{error}");
        }
    }
    fake.set("/var/lib/tune/rollback.json", r#"{"format":9,"boot_id":"x","entries":[]}"#);
    let keeper = Keeper::lock(&fake.rollback()).expect("the place is free");
    let error = undo(&fake.root(), &mut Noted::default(), &keeper).expect_err("it is of the future");
    assert!(error.contains("format 9"), "{error}");
    check(&fake, |setting| setting.1);
}

#[test]
fn a_reboot_undoes_everything_by_itself() {
    let fake = untuned();
    let keeper = Keeper::lock(&fake.rollback()).expect("the place is free");
    apply(&fake.root(), &mut Noted::default(), &keeper, &plan(&fake)).expect("it applies");
    fake.set("/proc/sys/kernel/random/boot_id", "another");
    let said = undo(&fake.root(), &mut Noted::default(), &keeper).expect_err("there is nothing to undo");
    assert!(said.contains("started anew"), "{said}");
    assert!(!fake.rollback().exists());
    // And an apply at boot does not take the old file's values for those before it.
    for (path, before, _) in SETTINGS {
        fake.set(path, before);
    }
    apply(&fake.root(), &mut Noted::default(), &keeper, &plan(&fake)).expect("it applies");
    fake.set("/proc/sys/kernel/random/boot_id", "a third");
    fake.set("/proc/sys/vm/swappiness", "45");
    apply(&fake.root(), &mut Noted::default(), &keeper, &plan(&fake)).expect("it applies");
    undo(&fake.root(), &mut Noted::default(), &keeper).expect("it is undone");
    assert_eq!(fake.get("/proc/sys/vm/swappiness"), "45");
}

#[test]
fn two_at_a_time_are_refused() {
    let fake = untuned();
    let _first = Keeper::lock(&fake.rollback()).expect("the place is free");
    let error = Keeper::lock(&fake.rollback()).expect_err("it is taken");
    assert!(error.contains("wait"), "{error}");
}

#[test]
fn a_container_leaves_the_settings_of_the_machine_to_the_host() {
    let fake = untuned();
    fs::remove_file(fake.path("/proc/self/ns/pid")).expect("the link was there");
    std::os::unix::fs::symlink("pid:[4026532001]", fake.path("/proc/self/ns/pid")).expect("a link");
    let plan = plan(&fake);
    let steps: Vec<&str> = plan.steps.iter().map(|step| step.knob.as_str()).collect();
    assert_eq!(steps, ["network.somaxconn"], "the network namespace is the container's own");
    assert!(plan.left.iter().filter(|left| left.reason.contains("belongs to the host")).count() >= 4);
}

#[test]
fn the_script_does_the_same() {
    let fake = untuned();
    let script = plan(&fake).script();
    for line in
        ["sysctl -w vm.swappiness=1 || failed=1", "ethtool -C eth0 rx-usecs 8 || failed=1", "exit $failed"]
    {
        assert!(script.contains(line), "{script}");
    }
}
