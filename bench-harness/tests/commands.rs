//! The commands around the engine, as a user meets them: errors that say what to do, and brokers that do not outlive us.

#![allow(clippy::disallowed_methods, reason = "a file that is no bundle is made here")]

use std::process::{Command, Output};

use bench::null_broker::{Behaviour, NullBroker};

fn bench(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_monedula-bench"));
    command.args(arguments);
    command
}

/// What a command that must fail says.
fn refused(command: &mut Command) -> String {
    let Output { status, stderr, .. } = command.output().unwrap();
    assert!(!status.success(), "it succeeded");
    String::from_utf8(stderr).unwrap()
}

#[test]
fn a_program_is_become_only_under_its_parent() {
    let us = std::process::id().to_string();
    let output = bench(&["become", &us, "0", "--", "/bin/echo", "became"]).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "became\n");
    assert!(refused(&mut bench(&["become", "1", "0", "--", "/bin/echo"])).contains("the parent is gone"));
    assert!(
        refused(&mut bench(&["become", &us, "0", "--", "/no/such/program"])).contains("/no/such/program")
    );
}

#[test]
fn what_compare_lacks_is_named() {
    assert!(refused(&mut bench(&["compare"])).contains("give --kafka, --monedula or both"));
    assert!(refused(&mut bench(&["compare", "--kafka", "/"])).contains("unpacked binary release"));
    assert!(refused(&mut bench(&["compare", "--monedula", "/bin/true"])).contains("not a Monedula broker"));
    assert!(
        refused(&mut bench(&["compare", "--monedula", "/no/monedula"])).contains("cargo build --release")
    );
    let no_java = refused(bench(&["compare", "--kafka", "some.jar"]).env("PATH", "").env_remove("JAVA_HOME"));
    assert!(no_java.contains("apt-get install openjdk-17-jre-headless"), "{no_java}");
    let rates = refused(&mut bench(&["compare", "--rates", "fast"]));
    assert!(rates.contains("records per second, `max`"), "{rates}");
}

#[test]
fn what_is_no_bundle_is_refused() {
    let nonsense = std::env::temp_dir().join(format!("monedula-bench-nonsense-{}", std::process::id()));
    std::fs::write(&nonsense, "nonsense").unwrap();
    let said = refused(&mut bench(&["verify", nonsense.to_str().unwrap()]));
    std::fs::remove_file(&nonsense).unwrap();
    assert!(said.contains("not a bundle"), "{said}");
}

#[test]
fn a_status_socket_without_a_broker_is_told_and_the_load_goes_on() {
    let broker = NullBroker::start(Behaviour::default()).unwrap();
    let output = bench(&["run", "--bootstrap", &broker.bootstrap(), "--seconds", "0.5", "--warm-up", "0.1"])
        .args(["--rate", "100", "--no-calibration", "--broker-status", "/nowhere/monedula.sock"])
        .output()
        .unwrap();
    let (said, table) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    assert!(said.contains("no Monedula listens at /nowhere/monedula.sock"), "{said}");
    assert!(said.contains("goes on without"), "{said}");
    assert!(table.contains("acked "), "{table}");
}
