//! Files to and from a directory.
#![allow(clippy::disallowed_methods, reason = "this is where files are read and written")]

use std::fs;
use std::path::Path;

use super::Files;

/// The most bytes that a result directory may have; a run of a day has some ten megabytes.
const DIRECTORY_BYTES_MAX: u64 = 4 << 30;

/// Writes all files, creating directories as needed.
pub fn save(directory: &Path, files: &Files) -> Result<(), String> {
    for (name, bytes) in files {
        let path = directory.join(name);
        let parent = path.parent().unwrap_or(directory);
        fs::create_dir_all(parent).map_err(|error| format!("{}: {error}", parent.display()))?;
        fs::write(&path, bytes).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// Reads all files below a directory.
pub fn load(directory: &Path) -> Result<Files, String> {
    let mut files = Files::new();
    let mut left = DIRECTORY_BYTES_MAX;
    let mut waiting = vec![directory.to_owned()];
    while let Some(place) = waiting.pop() {
        let failed = |error: std::io::Error| format!("{}: {error}", place.display());
        for entry in fs::read_dir(&place).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.is_dir() {
                waiting.push(path);
                continue;
            }
            let bytes = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            left = left.checked_sub(bytes.len() as u64).ok_or_else(|| {
                format!(
                    "{} has more than {DIRECTORY_BYTES_MAX} bytes: this is no result directory",
                    directory.display()
                )
            })?;
            let name = path.strip_prefix(directory).expect("it was found below the directory");
            files.insert(name.to_string_lossy().into_owned(), bytes);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_back_from_a_directory() {
        let directory = std::env::temp_dir().join(format!("monedula-bench-files-{}", std::process::id()));
        let files =
            Files::from([("a.txt".to_owned(), b"a".to_vec()), ("runs/b.txt".to_owned(), b"b".to_vec())]);
        save(&directory, &files).unwrap();
        assert_eq!(load(&directory).unwrap(), files);
        fs::remove_dir_all(&directory).unwrap();
        assert!(load(&directory).unwrap_err().contains("monedula-bench-files"));
    }
}
