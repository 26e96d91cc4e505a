//! The floor of the machine that runs the test: every measurement measures, and nothing is left behind.

#![allow(clippy::disallowed_methods, reason = "tests make directories")]

use std::time::Duration;

use tune::floor::{Load, Options, measure};
use tune::machine::allowed;
use tune::root::Root;

#[test]
fn everything_is_measured_idle_and_busy() {
    // Next to the test, which is on a disk: the folder for temporary files may have no O_DIRECT.
    let data =
        std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("floor-{}", std::process::id()));
    std::fs::create_dir_all(&data).expect("a test can make a directory");
    let cores = allowed(&Root::real()).expect("the machine tells").iter().take(2).collect();
    let options = Options { cores, data: Some(data.clone()), peer: None, duration: Duration::from_millis(1) };
    let mut steps = Vec::new();
    let floor = measure(options, |step| steps.push(step.to_owned())).expect("it measures");
    assert_eq!(steps.len(), 10, "{steps:?}");
    for line in &floor.lines {
        let quantiles = [0.5, 0.99, 0.999, 1.0].map(|q| line.figures.quantile_us(q));
        assert!(quantiles.is_sorted(), "{line:?}");
        // A core may be left alone for a tenth of a second; everything else happens.
        if line.kind.name() != "theft" {
            assert!(line.figures.count() > 0 && quantiles[0] > 0.0, "{line:?}");
        }
    }
    assert_eq!(
        floor.verdicts.iter().map(|verdict| verdict.load).collect::<Vec<_>>(),
        [Load::Idle, Load::Busy]
    );
    for verdict in &floor.verdicts {
        assert!(verdict.p999_us >= verdict.p50_us && verdict.p50_us > 0.0 && !verdict.limited_by.is_empty());
    }
    let text = floor.text();
    assert!(text.contains("idle cores: the best p99.9 you can expect here is "), "{text}");
    let json: serde_json::Value = serde_json::from_str(&floor.json()).expect("it is JSON");
    let measured = json["measurements"].as_array().expect("a list");
    assert_eq!(measured.len(), floor.lines.len());
    for one in measured {
        let counts =
            one["histogram"].as_array().expect("a list").iter().map(|bucket| bucket[1].as_u64().unwrap_or(0));
        assert_eq!(Some(counts.sum::<u64>()), one["samples"].as_u64(), "the histogram has every sample");
    }
    assert_eq!(std::fs::read_dir(&data).expect("it is there").count(), 0, "nothing is left behind");
    std::fs::remove_dir(&data).expect("it is empty");
}

#[test]
fn a_directory_that_cannot_be_written_to_is_refused_in_words() {
    let options = Options {
        cores: [0].into_iter().collect(),
        data: Some("/proc/no/such".into()),
        peer: None,
        duration: Duration::from_millis(1),
    };
    let error = measure(options, |_| {}).expect_err("it is not there");
    assert!(error.contains("--data /proc/no/such") && error.contains("O_DIRECT"), "{error}");
    let options = Options {
        cores: [8000].into_iter().collect(),
        data: None,
        peer: None,
        duration: Duration::from_millis(1),
    };
    let error = measure(options, |_| {}).expect_err("no machine has it");
    assert!(error.contains("core 8000"), "{error}");
}
