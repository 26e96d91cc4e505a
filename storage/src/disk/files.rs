//! The files of one shard: open descriptors, the least recently used closed first, and the helper threads that may wait for
//! the disk.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use glommio::io::DmaFile;
use glommio::sync::Semaphore;

use super::directory::{DataDirectory, make_directory, sync_directory};
use super::disk_error;
use crate::op::{DiskError, FileName};

/// Operations on helper threads at a time, per shard; the rest wait in the executor, in order.
const HELPER_JOBS_MAX: u64 = 8;

/// What operations work with.
pub(super) struct Files {
    pub(super) root: PathBuf,
    pub(super) direct_io: bool,
    helpers: Semaphore,
    /// Descriptors by name.
    open: RefCell<BTreeMap<FileName, OpenFile>>,
    files_max: usize,
    uses: Cell<u64>,
    uses_at_last_sweep: Cell<u64>,
}

struct OpenFile {
    /// For the page cache, and for everything that is not a direct write.
    buffered: Arc<File>,
    /// For direct writes; opened at the first.
    direct: Option<Rc<DmaFile>>,
    last_use: u64,
}

impl Files {
    pub(super) fn new(directory: &DataDirectory, files_max: usize) -> Files {
        assert!(files_max >= 8, "a shard works on several files at once");
        Files {
            root: directory.root().to_path_buf(),
            direct_io: directory.direct_io(),
            helpers: Semaphore::new(HELPER_JOBS_MAX),
            open: RefCell::new(BTreeMap::new()),
            // An entry may hold two descriptors.
            files_max: files_max / 2,
            uses: Cell::new(0),
            uses_at_last_sweep: Cell::new(0),
        }
    }

    /// Forgets a file that was removed or renamed.
    pub(super) fn forget(&self, matches: impl Fn(&FileName) -> bool) {
        self.open.borrow_mut().retain(|name, _| !matches(name));
    }

    /// Closes what was not used since the last call.
    pub(super) fn close_idle(&self) {
        let since = self.uses_at_last_sweep.replace(self.uses.get());
        self.open.borrow_mut().retain(|_, file| file.last_use > since);
    }

    fn get(&self, name: &FileName) -> Option<(Arc<File>, Option<Rc<DmaFile>>)> {
        let mut open = self.open.borrow_mut();
        let file = open.get_mut(name)?;
        self.uses.set(self.uses.get() + 1);
        file.last_use = self.uses.get();
        Some((file.buffered.clone(), file.direct.clone()))
    }

    fn put(&self, name: FileName, buffered: Arc<File>, direct: Option<Rc<DmaFile>>) {
        let mut open = self.open.borrow_mut();
        self.uses.set(self.uses.get() + 1);
        open.insert(name, OpenFile { buffered, direct, last_use: self.uses.get() });
        // Who uses a descriptor holds it, so closing here only gives up the cache's share of it.
        while open.len() > self.files_max {
            let oldest = open.iter().min_by_key(|(_, file)| file.last_use).map(|(name, _)| *name);
            open.remove(&oldest.expect("a full cache has an oldest entry"));
        }
    }

    pub(super) fn path(&self, file: &FileName) -> PathBuf {
        self.root.join(file.path())
    }

    /// Runs something that may block on a helper thread, when one of this shard's share is free.
    pub(super) async fn help<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        // The semaphore is never closed: it goes with what this borrows.
        let _turn = self.helpers.acquire_permit(1).await.expect("the semaphore lives as long as its files");
        glommio::executor().spawn_blocking(job).await
    }

    /// A descriptor for reads through the page cache, and for `sendfile`.
    pub(super) async fn open_for_read(&self, name: &FileName) -> Result<Arc<File>, DiskError> {
        match self.get(name) {
            Some((file, _)) => Ok(file),
            None => self.open(*name, false).await,
        }
    }

    /// A descriptor for any use; makes the file and its folder if `create`, durably.
    pub(super) async fn open(&self, name: FileName, create: bool) -> Result<Arc<File>, DiskError> {
        if let Some((file, _)) = self.get(&name) {
            return Ok(file);
        }
        let path = self.path(&name);
        let root = self.root.clone();
        let file = self
            .help(move || open_buffered(&root, &path, create))
            .await
            .map_err(|error| disk_error(&name, error))?;
        let file = Arc::new(file);
        self.put(name, file.clone(), None);
        Ok(file)
    }

    /// A descriptor for direct writes.
    pub(super) async fn open_direct(&self, name: FileName, create: bool) -> Result<Rc<DmaFile>, DiskError> {
        if let Some((_, Some(file))) = self.get(&name) {
            return Ok(file);
        }
        let buffered = self.open(name, create).await?;
        let mut options = glommio::io::OpenOptions::new();
        options.read(true).write(true);
        // By way of the open descriptor: the name may be gone meanwhile, and glommio panics if it is.
        let path = format!("/proc/self/fd/{}", buffered.as_raw_fd());
        let direct = options.dma_open(path).await.map_err(|error| disk_error(&name, error.into()))?;
        let direct = Rc::new(direct);
        self.put(name, buffered, Some(direct.clone()));
        Ok(direct)
    }
}

fn open_buffered(root: &Path, path: &Path, create: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    match options.read(true).write(true).open(path) {
        Err(error) if create && error.kind() == io::ErrorKind::NotFound => {
            let folder = path.parent().expect("a file of a volume has a folder");
            make_directory(root, folder)?;
            let file = options.create(true).truncate(false).open(path)?;
            sync_directory(folder)?;
            Ok(file)
        }
        result => result,
    }
}
