//! The simulator drives what production drives: nothing of it may know glommio, clocks, files or threads.

use std::process::Command;

#[test]
fn no_runtime_under_the_simulator() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let args = ["tree", "-p", "monedula-sim", "-e", "normal", "--offline", "--prefix", "none"];
    let tree = match Command::new(cargo).args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output() {
        Ok(tree) if tree.status.success() => String::from_utf8_lossy(&tree.stdout).into_owned(),
        Ok(tree) => panic!("cargo tree failed: {}", String::from_utf8_lossy(&tree.stderr)),
        Err(error) => {
            println!("skipped: there is no cargo here ({error})");
            return;
        }
    };
    assert!(tree.contains("monedula-storage"), "the tree is that of the simulator: {tree}");
    let impure: Vec<&str> = tree
        .lines()
        .filter(|line| ["glommio", "io-uring", "tokio"].iter().any(|name| line.contains(name)))
        .collect();
    assert!(impure.is_empty(), "the simulator stands on {impure:?}");
}
