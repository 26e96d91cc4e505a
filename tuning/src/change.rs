//! A change of one setting: something that can be done, undone, and written down as a command.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::cpu_set::CpuSet;

/// How the content of a setting's file is to be compared and written back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// What is written is what is read.
    Plain,
    /// All choices are read, the one in force in brackets: `none [mq-deadline] kyber`.
    Choice,
    /// A mask of cores: `0000,00000003`.
    CpuMask,
    /// A list of cores: `0-3,6`.
    CpuList,
}

impl Shape {
    /// The value that is in force, in the form that can be written back; of two that mean the same it makes one.
    pub fn value(self, content: &str) -> Result<String, String> {
        let content = content.trim();
        match self {
            Shape::Plain => Ok(content.split_whitespace().collect::<Vec<_>>().join(" ")),
            Shape::Choice => content
                .split_whitespace()
                .find_map(|word| word.strip_prefix('[')?.strip_suffix(']'))
                // A file with a single choice leaves the brackets out.
                .or(Some(content).filter(|text| !text.is_empty() && !text.contains(char::is_whitespace)))
                .map(str::to_owned)
                .ok_or_else(|| format!("`{content}` names no choice in brackets")),
            Shape::CpuMask => CpuSet::from_mask(content).map(|set| set.to_mask()),
            Shape::CpuList => content.parse::<CpuSet>().map(|set| set.to_string()),
        }
    }
}

/// A change that `apply` makes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Change {
    /// A value is written to a file of /proc or /sys.
    Write {
        /// The file, as an absolute path.
        path: String,
        /// How its content reads.
        shape: Shape,
        /// What is to be written.
        value: String,
    },
    /// A program is run, where the setting has no file.
    Run {
        /// The program and its arguments.
        command: Vec<String>,
        /// What takes it back.
        undo: Vec<String>,
    },
}

/// What mends a knob.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum How {
    /// Nothing is to be done.
    Nothing,
    /// `apply` does it.
    Apply(Vec<Change>),
    /// Only a person should: it needs a reboot, costs data, or is set elsewhere. One command or sentence a line.
    ByHand(Vec<String>),
}

impl How {
    /// One write.
    pub fn write(path: impl Into<String>, shape: Shape, value: impl Into<String>) -> How {
        How::Apply(vec![Change::Write { path: path.into(), shape, value: value.into() }])
    }

    /// One thing for a person to do.
    pub fn by_hand(line: impl Into<String>) -> How {
        How::ByHand(vec![line.into()])
    }

    /// The commands, one a line, that a person would type.
    pub fn commands(&self) -> Vec<String> {
        match self {
            How::Nothing => Vec::new(),
            How::ByHand(lines) => lines.clone(),
            How::Apply(changes) => commands(changes),
        }
    }
}

/// Changes as commands of a shell; files that get the same value share one.
pub fn commands(changes: &[Change]) -> Vec<String> {
    let mut lines: Vec<(String, Vec<&str>)> = Vec::new();
    for change in changes {
        match change {
            Change::Write { path, value, .. } => {
                match lines.iter_mut().find(|(known, paths)| known == value && !paths.is_empty()) {
                    Some((_, paths)) => paths.push(path),
                    None => lines.push((value.clone(), vec![path])),
                }
            }
            Change::Run { command, .. } => lines.push((quote_all(command), Vec::new())),
        }
    }
    lines
        .into_iter()
        .map(|(value, paths)| match (paths.as_slice(), sysctl_name(&paths)) {
            ([], _) => value,
            (_, Some(name)) => format!("sysctl -w {name}={}", quote(&value)),
            ([path], None) => format!("echo {} > {path}", quote(&value)),
            (paths, None) => format!("echo {} | tee {} > /dev/null", quote(&value), paths.join(" ")),
        })
        .collect()
}

fn sysctl_name(paths: &[&str]) -> Option<String> {
    match paths {
        [path] => path.strip_prefix("/proc/sys/").map(|name| name.replace('/', ".")),
        _ => None,
    }
}

/// A command with its words quoted for a shell where that is needed.
pub fn quote_all(command: &[String]) -> String {
    command.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&commands(std::slice::from_ref(self))[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_in_force_is_found() {
        let check =
            |shape: Shape, content: &str, expect: Result<&str, &str>| match (shape.value(content), expect) {
                (Ok(value), Ok(expect)) => assert_eq!(value, expect),
                (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
                (got, _) => panic!("{content}: {got:?}"),
            };
        check(Shape::Plain, "4096\t131072\t 6291456\n", Ok("4096 131072 6291456"));
        check(Shape::Choice, "none [mq-deadline] kyber bfq\n", Ok("mq-deadline"));
        check(Shape::Choice, "none\n", Ok("none"));
        check(Shape::Choice, "none mq-deadline", Err("no choice in brackets"));
        check(Shape::Choice, "", Err("no choice in brackets"));
        check(Shape::CpuMask, "00000000,00000003", Ok("3"));
        check(Shape::CpuMask, "what", Err("not a mask"));
        check(Shape::CpuList, "0,1,2", Ok("0-2"));
        check(Shape::CpuList, "all", Err("not a core number"));
    }

    #[test]
    fn changes_read_as_commands() {
        let write = |path: &str, value: &str| Change::Write {
            path: path.into(),
            shape: Shape::Plain,
            value: value.into(),
        };
        let changes = [
            write("/proc/sys/vm/swappiness", "1"),
            write("/sys/a", "1"),
            write("/sys/b", "n/a"),
            write("/sys/c", "n/a"),
            Change::Run { command: vec!["echo".into(), "it's".into()], undo: vec!["true".into()] },
        ];
        assert_eq!(
            commands(&changes[1..]),
            ["echo 1 > /sys/a", "echo n/a | tee /sys/b /sys/c > /dev/null", r"echo 'it'\''s'"]
        );
        assert_eq!(commands(&changes[..1]), ["sysctl -w vm.swappiness=1"]);
    }
}
