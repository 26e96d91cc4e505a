//! Directories for tests, removed when the test ends.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

pub(crate) struct TestDirectory(PathBuf);

impl TestDirectory {
    pub(crate) fn new(name: &str) -> TestDirectory {
        TestDirectory::new_in(&std::env::temp_dir(), name)
    }

    pub(crate) fn new_in(parent: &Path, name: &str) -> TestDirectory {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let unique = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("monedula-{name}-{}-{unique}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a test can make a directory");
        TestDirectory(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TestDirectory {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{} was not removed: {error}", self.0.display());
        }
    }
}
