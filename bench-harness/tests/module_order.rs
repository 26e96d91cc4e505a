//! `lib.rs` lists the modules of the crate from the ground up: a module uses only those above it. So `lib.rs` is the
//! map of the crate, and there are no circles. This file is the same in every crate.

use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn modules_use_only_those_above_them() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let order = modules(&read(&source.join("lib.rs")));
    assert!(!order.is_empty(), "lib.rs lists no modules");
    let mut offences = Vec::new();
    for (place, module) in order.iter().enumerate() {
        for file in files(&source, module) {
            for (line, used) in uses(&read(&file)) {
                let allowed =
                    order.iter().position(|other| *other == used).is_some_and(|other| other <= place);
                if !allowed {
                    let file = file.strip_prefix(&source).expect("it was found there").display();
                    offences.push(format!("src/{file}:{line}: {module} uses {used}, which is not above it"));
                }
            }
        }
    }
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names in the `mod` lines, in order.
fn modules(lib: &str) -> Vec<String> {
    lib.lines()
        .filter_map(|line| {
            let line = line.strip_prefix("pub ").or(line.strip_prefix("pub(crate) ")).unwrap_or(line);
            Some(line.strip_prefix("mod ")?.strip_suffix(';')?.to_owned())
        })
        .collect()
}

/// The files of a module: `name.rs` and all below `name/`.
fn files(source: &Path, module: &str) -> Vec<PathBuf> {
    let mut files = vec![source.join(module).with_extension("rs")];
    let mut folders = vec![source.join(module)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(folder) else { continue };
        for entry in entries {
            let path = entry.expect("the folder can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.retain(|file| file.exists());
    files.sort();
    assert!(!files.is_empty(), "{module} has no file");
    files
}

/// What follows `crate::` in code, with the number of the line.
fn uses(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (line, text) in code.lines().enumerate() {
        let code = text.split("//").next().unwrap_or_default();
        for (start, path) in code.match_indices("crate::") {
            let after = &code[start + path.len()..];
            let names = match after.strip_prefix('{') {
                Some(group) => top_level_names(group),
                None => vec![leading_name(after)],
            };
            found.extend(names.into_iter().map(|name| (line + 1, name)));
        }
    }
    found
}

fn leading_name(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The first names of the paths in `a::{b, c}, d::e}`.
fn top_level_names(group: &str) -> Vec<String> {
    let mut names = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (place, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.push(leading_name(&group[start..place]));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(leading_name(&group[start..place]));
                start = place + 1;
            }
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

#[test]
fn uses_are_found_wherever_they_stand() {
    let code = "use crate::a::B;\n// crate::not\nuse crate::{b, c::{D, E}, f::G};\nlet x = $crate::g::h(crate::i::J);";
    let names: Vec<_> = uses(code).into_iter().map(|(line, name)| format!("{line}{name}")).collect();
    assert_eq!(names, ["1a", "3b", "3c", "3f", "4g", "4i"]);
    assert_eq!(modules("pub mod a;\nmod b;\npub(crate) mod c;\n#[cfg(x)]\npub mod d;"), ["a", "b", "c", "d"]);
}
