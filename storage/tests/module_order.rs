//! `lib.rs` lists the modules from the ground up, and a module uses only those above it.
#![allow(missing_docs, clippy::disallowed_methods)]

use std::path::{Path, PathBuf};

fn sources(path: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(path).expect("the folder can be read") {
        let path = entry.expect("the entry can be read").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn a_module_uses_only_those_above_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let lib = std::fs::read_to_string(src.join("lib.rs")).expect("there is a lib.rs");
    let modules: Vec<&str> = lib
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ").or(line.strip_prefix("mod "))?.strip_suffix(';'))
        .collect();
    assert!(modules.len() > 10, "the map was not understood");
    let mut wrong = Vec::new();
    let mut files = Vec::new();
    sources(&src, &mut files);
    for file in files {
        let inner = file.strip_prefix(&src).expect("it lies in src");
        let first = inner.components().next().expect("a file has a name").as_os_str().to_string_lossy();
        let module = first.strip_suffix(".rs").unwrap_or(&first).to_owned();
        let Some(place) = modules.iter().position(|other| *other == module) else { continue };
        let text = std::fs::read_to_string(&file).expect("the source can be read");
        let code = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
        for (number, line) in code {
            for (at, _) in line.match_indices("crate::") {
                let name: String = line[at + 7..]
                    .chars()
                    .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
                    .collect();
                let used = modules.iter().position(|other| *other == name);
                if used.is_some_and(|used| used > place) {
                    wrong.push(format!("{}:{}: {module} uses {name}", inner.display(), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "a module uses one below it:\n{}", wrong.join("\n"));
}
