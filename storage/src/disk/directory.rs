//! The data directory as a whole: whose it is, in which format, and that nobody else is in it.
//!
//! ```text
//! LOCK         flock for the life of the process
//! vol.meta     two copies of 4 KiB, see below; written once, by rename
//! node.clean   written by a stop in order, deleted at the next start
//! wal/ p/      logs (see `FileName`)
//! meta/        the metadata log
//! ```
//!
//! A copy of `vol.meta`, little endian: magic `MONEDULA`, format u32, dir_uuid 16 bytes, generation u64, node id i32,
//! length of the cluster id u16, cluster id, crc32c u32 of all that, zeros up to 4 KiB.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::aligned::AlignedBuffer;

/// The format that this program writes. It refuses a directory with a higher one.
pub const FORMAT: u32 = 1;

const MAGIC: &[u8; 8] = b"MONEDULA";
const COPY_BYTES: usize = 4096;
const CLUSTER_ID_BYTES_MAX: usize = 255;

/// What is asked of a data directory.
#[derive(Clone, Debug)]
pub struct DirectoryOptions {
    /// The cluster that the directory must belong to; `None` takes what it says, or a new one.
    pub cluster_id: Option<String>,
    /// The node that it must belong to; also written into a new directory.
    pub node_id: i32,
    /// Go on without O_DIRECT where the file system has none.
    pub allow_buffered_io: bool,
}

/// An open data directory. Locked until it is dropped.
#[derive(Debug)]
pub struct DataDirectory {
    root: PathBuf,
    identity: Identity,
    direct_io: bool,
    clean_stop: bool,
    _lock: File,
}

/// Who a data directory belongs to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Drawn at random when the directory was made.
    pub dir_uuid: [u8; 16],
    /// Counts how often the content was thrown away and made anew.
    pub generation: u64,
    /// Kafka's `node.id`.
    pub node_id: i32,
    /// Kafka's `cluster.id`: 22 characters of base64.
    pub cluster_id: String,
}

/// Why a data directory cannot be used. The text names the remedy.
#[derive(Debug)]
pub struct DirectoryError(pub(crate) String);

impl std::fmt::Display for DirectoryError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DirectoryError {}

impl DataDirectory {
    /// Opens or makes a data directory, locks it, and checks that it can be written to as the options ask.
    pub fn open(root: &Path, options: &DirectoryOptions) -> Result<DataDirectory, DirectoryError> {
        make_root(root)?;
        let root = fs::canonicalize(root).map_err(|error| in_words(root, &error))?;
        let lock = lock(&root)?;
        let identity = match fs::metadata(root.join("vol.meta")) {
            Ok(_) => read_identity(&root)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => make_identity(&root, options)?,
            Err(error) => return Err(in_words(&root, &error)),
        };
        check_identity(&root, &identity, options)?;
        let direct_io = probe_writing(&root, options.allow_buffered_io)?;
        let clean_stop = take_clean_mark(&root).map_err(|error| in_words(&root, &error))?;
        Ok(DataDirectory { root, identity, direct_io, clean_stop, _lock: lock })
    }

    /// The directory, as an absolute path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Who it belongs to.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// False if the file system has no O_DIRECT and the options allow that.
    pub fn direct_io(&self) -> bool {
        self.direct_io
    }

    /// True if the last stop was in order.
    pub fn clean_stop(&self) -> bool {
        self.clean_stop
    }

    /// Notes that everything was flushed and the process ends in order.
    pub fn mark_clean(&self) -> io::Result<()> {
        replace_file(&self.root.join("node.clean"), b"clean\n")
    }

    /// Bytes free on the file system, and its size.
    pub fn space(&self) -> io::Result<(u64, u64)> {
        space(&self.root)
    }
}

/// Bytes free for this process on the file system of `path`, and its size.
pub fn space(path: &Path) -> io::Result<(u64, u64)> {
    let path = c_path(path)?;
    // SAFETY: statvfs is plain data, for which all zeros is a value.
    let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: `path` ends in a zero byte and `stat` is valid for writes; both outlive the call.
    if unsafe { libc::statvfs(path.as_ptr(), &mut stat) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize))
}

/// Writes a small file so that after a crash either the old or the new content is there.
pub(crate) fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = path.parent().expect("a file of a data directory has a parent");
    let mut name = path.file_name().expect("a file has a name").to_os_string();
    name.push(".new");
    let new = directory.join(name);
    let mut file = File::create(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    sync_directory(directory)
}

/// Makes names that were created, renamed or removed in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes a folder below `root` with its parents, durably.
pub(super) fn make_directory(root: &Path, folder: &Path) -> io::Result<()> {
    if folder == root || folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().expect("a folder below the root has a parent");
    make_directory(root, parent)?;
    match fs::create_dir(folder) {
        // If another thread was faster its sync may still be under way, so this one syncs as well.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync_directory(parent),
    }
}

fn make_root(root: &Path) -> Result<(), DirectoryError> {
    match fs::metadata(root) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => {
            Err(DirectoryError(format!("{} is not a directory: name one with --data DIR", root.display())))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(root).map_err(|error| match error.kind() {
                io::ErrorKind::PermissionDenied => DirectoryError(format!(
                    "data directory {} does not exist and may not be created: make it for this user, or name \
                     another with --data DIR",
                    root.display()
                )),
                _ => DirectoryError(format!(
                    "data directory {} does not exist and cannot be created ({error}): name another with --data DIR",
                    root.display()
                )),
            })?;
            // The new name must survive a crash as much as what is in it.
            match root.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => {
                    sync_directory(parent).map_err(|error| in_words(root, &error))
                }
                _ => sync_directory(Path::new(".")).map_err(|error| in_words(root, &error)),
            }
        }
        Err(error) => Err(in_words(root, &error)),
    }
}

fn lock(root: &Path) -> Result<File, DirectoryError> {
    let path = root.join("LOCK");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|error| in_words(root, &error))?;
    match file.try_lock() {
        Ok(()) => {
            // Only for people who look: the lock itself is what counts.
            let pid = format!("{}\n", std::process::id());
            file.set_len(0)
                .and_then(|()| file.write_all_at(pid.as_bytes(), 0))
                .map_err(|error| in_words(root, &error))?;
            Ok(file)
        }
        Err(fs::TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // The lock is held whatever is written in it: a name that cannot be read is only left out.
            let holder = match file.read_to_string(&mut holder) {
                Ok(_) if !holder.trim().is_empty() => format!(" (pid {})", holder.trim()),
                _ => String::new(),
            };
            Err(DirectoryError(format!(
                "data directory {} is locked by another process{holder}: stop that broker, or name another \
                 directory with --data DIR",
                root.display()
            )))
        }
        Err(fs::TryLockError::Error(error)) => Err(in_words(root, &error)),
    }
}

fn read_identity(root: &Path) -> Result<Identity, DirectoryError> {
    let path = root.join("vol.meta");
    let content = fs::read(&path).map_err(|error| in_words(root, &error))?;
    let copies: Vec<Result<Identity, CopyFault>> = content.chunks(COPY_BYTES).take(2).map(decode).collect();
    if let Some(identity) = copies.iter().find_map(|copy| copy.as_ref().ok()) {
        return Ok(identity.clone());
    }
    if let Some(format) = copies.iter().find_map(|copy| match copy {
        Err(CopyFault::Newer(format)) => Some(format),
        _ => None,
    }) {
        return Err(DirectoryError(format!(
            "data directory {} is of format {format}, this program knows formats up to {FORMAT}: start the version \
             of monedula that wrote it, or a later one",
            root.display()
        )));
    }
    Err(DirectoryError(format!(
        "both copies of {} are damaged: it is not known whose data this is. Restore the file from a backup",
        path.display()
    )))
}

fn make_identity(root: &Path, options: &DirectoryOptions) -> Result<Identity, DirectoryError> {
    let strange = fs::read_dir(root)
        .map_err(|error| in_words(root, &error))?
        .filter_map(Result::ok)
        .map(|entry| entry.file_name())
        .find(|name| !["LOCK", "lost+found", "vol.meta.new"].iter().any(|known| name == known));
    if let Some(name) = strange {
        return Err(DirectoryError(format!(
            "{} is not a data directory of monedula (it has no vol.meta) and is not empty (it has {}): name another \
             with --data DIR",
            root.display(),
            name.to_string_lossy()
        )));
    }
    let dir_uuid = random_16().map_err(|error| in_words(root, &error))?;
    let cluster_id = match &options.cluster_id {
        Some(id) if id.is_empty() || id.len() > CLUSTER_ID_BYTES_MAX => {
            return Err(DirectoryError(format!(
                "cluster.id has 1 to {CLUSTER_ID_BYTES_MAX} bytes, not {}",
                id.len()
            )));
        }
        Some(id) => id.clone(),
        None => base64_22(&random_16().map_err(|error| in_words(root, &error))?),
    };
    let identity = Identity { dir_uuid, generation: 1, node_id: options.node_id, cluster_id };
    let copy = encode(&identity, FORMAT);
    let content = [copy.as_slice(), copy.as_slice()].concat();
    replace_file(&root.join("vol.meta"), &content).map_err(|error| in_words(root, &error))?;
    Ok(identity)
}

fn check_identity(
    root: &Path,
    identity: &Identity,
    options: &DirectoryOptions,
) -> Result<(), DirectoryError> {
    if let Some(wanted) = &options.cluster_id
        && *wanted != identity.cluster_id
    {
        return Err(DirectoryError(format!(
            "data directory {} belongs to cluster {}, not to {wanted}: correct cluster.id, or name another directory \
             with --data DIR",
            root.display(),
            identity.cluster_id
        )));
    }
    if options.node_id != identity.node_id {
        return Err(DirectoryError(format!(
            "data directory {} belongs to node {}, not to {}: correct node.id, or name another directory with \
             --data DIR",
            root.display(),
            identity.node_id,
            options.node_id
        )));
    }
    Ok(())
}

/// Writes and flushes one block the way the WAL will: the cheapest moment to learn that it will not work. Leaves
/// nothing behind. False if only buffered I/O works, and that is allowed.
pub fn probe_writing(root: &Path, allow_buffered_io: bool) -> Result<bool, DirectoryError> {
    let path = root.join("probe.tmp");
    let result = write_probe(&path, libc::O_DIRECT).map(|()| true).or_else(|error| {
        match error.raw_os_error() {
            // What open(2) and write(2) say where O_DIRECT is not supported.
            Some(libc::EINVAL | libc::EOPNOTSUPP) if allow_buffered_io => {
                write_probe(&path, 0).map(|()| false)
            }
            _ => Err(error),
        }
    });
    let removed = match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    match result {
        Ok(direct_io) => removed.map(|()| direct_io).map_err(|error| in_words(root, &error)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => {
            Err(DirectoryError(format!(
                "the file system of {} has no O_DIRECT (tmpfs has none, nor have some network file systems): name a \
                 directory on ext4 or XFS with --data DIR, or add --allow-buffered-io for trying out",
                root.display()
            )))
        }
        Err(error) => Err(in_words(root, &error)),
    }
}

fn write_probe(path: &Path, flags: i32) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).custom_flags(flags).open(path)?;
    file.write_all_at(AlignedBuffer::zeroed(COPY_BYTES).as_slice(), 0)?;
    file.sync_data()
}

fn take_clean_mark(root: &Path) -> io::Result<bool> {
    match fs::remove_file(root.join("node.clean")) {
        Ok(()) => sync_directory(root).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// What the operating system said about the directory, with what to do about it.
fn in_words(root: &Path, error: &io::Error) -> DirectoryError {
    let root = root.display();
    DirectoryError(match error.raw_os_error() {
        Some(libc::EROFS) => {
            format!(
                "data directory {root} is on a read-only file system: mount it read-write, or name another with --data DIR"
            )
        }
        Some(libc::EACCES | libc::EPERM) => {
            format!(
                "this user may not write to data directory {root} ({error}): chown it, or name another with --data DIR"
            )
        }
        Some(libc::ENOSPC | libc::EDQUOT) => {
            format!(
                "the file system of data directory {root} is full ({error}): make room, or name another with --data DIR"
            )
        }
        _ => format!("data directory {root} cannot be used ({error}): name another with --data DIR"),
    })
}

enum CopyFault {
    Damaged,
    Newer(u32),
}

fn encode(identity: &Identity, format: u32) -> Vec<u8> {
    let mut copy = Vec::with_capacity(COPY_BYTES);
    copy.extend_from_slice(MAGIC);
    copy.extend_from_slice(&format.to_le_bytes());
    copy.extend_from_slice(&identity.dir_uuid);
    copy.extend_from_slice(&identity.generation.to_le_bytes());
    copy.extend_from_slice(&identity.node_id.to_le_bytes());
    copy.extend_from_slice(&(identity.cluster_id.len() as u16).to_le_bytes());
    copy.extend_from_slice(identity.cluster_id.as_bytes());
    copy.extend_from_slice(&crc32c::crc32c(&copy).to_le_bytes());
    copy.resize(COPY_BYTES, 0);
    copy
}

fn decode(copy: &[u8]) -> Result<Identity, CopyFault> {
    const FIXED: usize = 8 + 4 + 16 + 8 + 4 + 2;
    if copy.len() < COPY_BYTES || &copy[..8] != MAGIC {
        return Err(CopyFault::Damaged);
    }
    let number = |at: usize| u32::from_le_bytes(copy[at..at + 4].try_into().expect("four bytes"));
    let format = number(8);
    // A later format may look different from here on, so its crc is not ours to check.
    if format > FORMAT {
        return Err(CopyFault::Newer(format));
    }
    let cluster_id_end = FIXED + usize::from(u16::from_le_bytes([copy[FIXED - 2], copy[FIXED - 1]]));
    if cluster_id_end + 4 > copy.len() || crc32c::crc32c(&copy[..cluster_id_end]) != number(cluster_id_end) {
        return Err(CopyFault::Damaged);
    }
    Ok(Identity {
        dir_uuid: copy[12..28].try_into().expect("sixteen bytes"),
        generation: u64::from_le_bytes(copy[28..36].try_into().expect("eight bytes")),
        node_id: number(36) as i32,
        cluster_id: std::str::from_utf8(&copy[FIXED..cluster_id_end])
            .map_err(|_| CopyFault::Damaged)?
            .to_string(),
    })
}

fn random_16() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// URL-safe base64 without padding: how Kafka writes ids.
fn base64_22(bytes: &[u8; 16]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let number = u128::from_be_bytes(*bytes);
    let mut digits: Vec<u8> = (0..21).map(|i| DIGITS[(number >> (122 - 6 * i) & 63) as usize]).collect();
    digits.push(DIGITS[((number & 3) << 4) as usize]);
    String::from_utf8(digits).expect("digits are ASCII")
}

fn c_path(path: &Path) -> io::Result<std::ffi::CString> {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

/// Asks the kernel to drop what it has cached of a file: for measurements of cold reads.
pub fn drop_cached(file: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as `file` is borrowed.
    match unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) } {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::test_directory::TestDirectory;

    fn options() -> DirectoryOptions {
        DirectoryOptions { cluster_id: None, node_id: 1, allow_buffered_io: true }
    }

    fn refusal(root: &Path, options: &DirectoryOptions) -> String {
        match DataDirectory::open(root, options) {
            Ok(_) => panic!("{} was opened", root.display()),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_new_directory_keeps_its_identity() {
        let test = TestDirectory::new("identity");
        let root = test.path().join("deep/data");
        let first = DataDirectory::open(&root, &options()).expect("a new directory opens").identity().clone();
        assert_eq!(first.cluster_id.len(), 22);
        let again = DataDirectory::open(&root, &options()).expect("it opens again");
        assert_eq!(*again.identity(), first);
        assert!(!again.clean_stop());
    }

    #[test]
    fn the_clean_mark_counts_once() {
        let test = TestDirectory::new("clean");
        DataDirectory::open(test.path(), &options()).expect("opens").mark_clean().expect("marks");
        assert!(DataDirectory::open(test.path(), &options()).expect("opens").clean_stop());
        assert!(!DataDirectory::open(test.path(), &options()).expect("opens").clean_stop());
    }

    #[test]
    fn a_second_process_is_kept_out() {
        let test = TestDirectory::new("locked");
        let _held = DataDirectory::open(test.path(), &options()).expect("opens");
        let error = refusal(test.path(), &options());
        assert!(error.contains("locked by another process (pid "), "{error}");
    }

    #[test]
    fn another_cluster_or_node_is_refused() {
        let test = TestDirectory::new("cluster");
        DataDirectory::open(test.path(), &options()).expect("opens");
        let other = DirectoryOptions { cluster_id: Some("elsewhere".into()), ..options() };
        assert!(refusal(test.path(), &other).contains("belongs to cluster"));
        assert!(
            refusal(test.path(), &DirectoryOptions { node_id: 2, ..options() }).contains("belongs to node 1")
        );
    }

    #[test]
    fn a_newer_format_is_refused_and_a_damaged_copy_is_not_missed() {
        let test = TestDirectory::new("format");
        let opened = DataDirectory::open(test.path(), &options()).expect("opens");
        let identity = opened.identity().clone();
        drop(opened);
        let path = test.path().join("vol.meta");
        let good = encode(&identity, FORMAT);
        let newer = encode(&identity, FORMAT + 1);
        fs::write(&path, [newer.clone(), newer].concat()).expect("writes");
        assert!(refusal(test.path(), &options()).contains("is of format 2"));
        let mut rotten = good.clone();
        rotten[40] ^= 1;
        fs::write(&path, [rotten.clone(), good].concat()).expect("writes");
        assert_eq!(*DataDirectory::open(test.path(), &options()).expect("opens").identity(), identity);
        fs::write(&path, [rotten.clone(), rotten].concat()).expect("writes");
        assert!(refusal(test.path(), &options()).contains("both copies"));
        fs::write(&path, b"").expect("writes");
        assert!(refusal(test.path(), &options()).contains("both copies"));
    }

    #[test]
    fn what_is_no_data_directory_is_left_alone() {
        let test = TestDirectory::new("strange");
        fs::write(test.path().join("thesis.txt"), b"years of work").expect("writes");
        assert!(refusal(test.path(), &options()).contains("is not empty"));
        assert!(refusal(&test.path().join("thesis.txt"), &options()).contains("is not a directory"));
        assert!(refusal(&test.path().join("thesis.txt/data"), &options()).contains("--data DIR"));
    }

    #[test]
    fn no_direct_io_names_the_remedy() {
        let shm = Path::new("/dev/shm");
        if !shm.is_dir() {
            eprintln!("no tmpfs here: nothing to see");
            return;
        }
        let test = TestDirectory::new_in(shm, "direct");
        // From Linux 6.6 on tmpfs takes O_DIRECT, and then there is nothing to refuse.
        let strict = DirectoryOptions { allow_buffered_io: false, ..options() };
        match DataDirectory::open(test.path(), &strict) {
            Ok(directory) => assert!(directory.direct_io()),
            Err(error) => assert!(error.to_string().contains("--allow-buffered-io"), "{error}"),
        }
        drop(DataDirectory::open(test.path(), &options()).expect("buffered I/O is always there"));
    }
}
