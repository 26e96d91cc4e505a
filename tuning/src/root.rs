//! The files of a machine. They are named by absolute paths and read below a root, so that a folder can play `/`.

#![allow(clippy::disallowed_methods, reason = "the one place that reads and writes the machine's settings")]

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// No file of /proc or /sys that is read here is longer; what is, is cut off there.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Where the machine's files stand.
#[derive(Clone, Debug)]
pub struct Root(PathBuf);

/// Why a setting could not be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unread {
    /// The file, as an absolute path.
    pub path: String,
    /// What was wrong.
    pub why: Why,
}

/// What can be wrong with a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Why {
    /// It is not there, or was there a moment ago.
    Missing,
    /// This user may not read or write it.
    Denied,
    /// It is on a file system that is mounted read-only.
    ReadOnly,
    /// Its content is not what it should be.
    Malformed(String),
    /// Anything else that the system says.
    Other(String),
}

impl Root {
    /// The machine that this program runs on.
    pub fn real() -> Root {
        Root(PathBuf::from("/"))
    }

    /// A folder that plays the machine.
    pub fn at(folder: impl Into<PathBuf>) -> Root {
        Root(folder.into())
    }

    /// Where the file of an absolute path stands.
    pub fn path(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    /// The content of a file, without white space at its ends.
    pub fn read(&self, path: &str) -> Result<String, Unread> {
        let mut bytes = Vec::new();
        File::open(self.path(path))
            .and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes))
            .map_err(|error| unread(path, &error))?;
        match String::from_utf8(bytes) {
            Ok(text) => Ok(text.trim().to_owned()),
            Err(_) => Err(Unread { path: path.to_owned(), why: Why::Malformed("it is not text".to_owned()) }),
        }
    }

    /// The content of a file that holds one whole number.
    pub fn number(&self, path: &str) -> Result<i64, Unread> {
        self.parse(path, |text| text.parse().map_err(|_| format!("`{}` is not a number", shorten(text))))
    }

    /// The content of a file, parsed.
    pub fn parse<T>(&self, path: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<T, Unread> {
        let text = self.read(path)?;
        parse(&text).map_err(|why| Unread { path: path.to_owned(), why: Why::Malformed(why) })
    }

    /// The names in a folder, those with numbers by number.
    pub fn list(&self, path: &str) -> Result<Vec<String>, Unread> {
        let entries = fs::read_dir(self.path(path)).map_err(|error| unread(path, &error))?;
        let mut names: Vec<String> =
            entries.filter_map(Result::ok).filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort_by_key(|name| {
            let digits = name.find(|c: char| c.is_ascii_digit()).unwrap_or(name.len());
            (name[..digits].to_owned(), name[digits..].parse::<u64>().unwrap_or(u64::MAX), name.clone())
        });
        Ok(names)
    }

    /// Whether something of that name is there.
    pub fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// Where links lead from here, as an absolute path of the machine.
    pub fn resolve(&self, path: &str) -> Result<String, Unread> {
        let wrong = |error: io::Error| unread(path, &error);
        let root = fs::canonicalize(&self.0).map_err(wrong)?;
        let found = fs::canonicalize(self.path(path)).map_err(wrong)?;
        let inside = found.strip_prefix(&root).unwrap_or(&found);
        Ok(format!("/{}", inside.display().to_string().trim_start_matches('/')))
    }

    /// What a link says, without following it.
    pub fn link(&self, path: &str) -> Result<String, Unread> {
        let target = fs::read_link(self.path(path)).map_err(|error| unread(path, &error))?;
        Ok(target.display().to_string())
    }

    /// Writes a setting. The file must be there; the kernel may refuse the value.
    pub fn write(&self, path: &str, value: &str) -> Result<(), Unread> {
        let mut options = OpenOptions::new();
        options.write(true);
        // A file that plays a setting keeps the end of a longer value; one of the kernel's has no length.
        if self.0 != Path::new("/") {
            options.truncate(true);
        }
        let mut file = options.open(self.path(path)).map_err(|error| unread(path, &error))?;
        file.write_all(value.as_bytes()).map_err(|error| unread(path, &error))
    }
}

fn unread(path: &str, error: &io::Error) -> Unread {
    let why = match error.kind() {
        io::ErrorKind::NotFound => Why::Missing,
        io::ErrorKind::PermissionDenied => Why::Denied,
        io::ErrorKind::ReadOnlyFilesystem => Why::ReadOnly,
        // The files of a device that is being removed answer so.
        _ if error.raw_os_error() == Some(libc::ENODEV) => Why::Missing,
        _ => Why::Other(error.to_string()),
    };
    Unread { path: path.to_owned(), why }
}

/// So much of a text as an error message can carry.
fn shorten(text: &str) -> String {
    const CHARS_MAX: usize = 40;
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.path;
        match &self.why {
            Why::Missing => write!(f, "{path} is not there"),
            Why::Denied => write!(f, "{path}: permission denied: run this as root"),
            Why::ReadOnly => write!(
                f,
                "{path} is read-only here, as in a container: set it on the host, or when the container is started \
                 (--sysctl)"
            ),
            Why::Malformed(why) => write!(f, "{path}: {why}"),
            Why::Other(why) => write!(f, "{path}: {why}"),
        }
    }
}

impl std::error::Error for Unread {}
