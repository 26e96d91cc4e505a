//! The files of the metadata log, written with plain calls on helper threads: they are few and small.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::metadata::log::{MetaDone, MetaOp, MetaOpKind};

/// The metadata directory of this node.
#[derive(Clone, Debug)]
pub struct MetaDisk {
    directory: PathBuf,
}

impl MetaDisk {
    /// Makes the directory if it is not there.
    pub fn open(data: &Path) -> io::Result<MetaDisk> {
        let directory = data.join("meta");
        fs::create_dir_all(&directory)?;
        File::open(data)?.sync_all()?;
        Ok(MetaDisk { directory })
    }

    /// All files with their content, for recovery. They are synced first: what a process that died wrote may still
    /// lie in the page cache, and what we act on must not vanish later.
    pub fn read_all(&self) -> io::Result<Vec<(String, Bytes)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            // A name that is not UTF-8 is not one of ours.
            let Ok(name) = entry.file_name().into_string() else { continue };
            if entry.metadata()?.is_file() {
                File::open(entry.path())?.sync_all()?;
                files.push((name, Bytes::from(fs::read(entry.path())?)));
            }
        }
        Ok(files)
    }

    /// Carries out an operation. May block.
    pub fn perform(&self, op: MetaOp) -> MetaDone {
        let result = self.try_perform(op.kind).map_err(|error| error.to_string());
        MetaDone { id: op.id, result }
    }

    fn try_perform(&self, kind: MetaOpKind) -> io::Result<()> {
        match kind {
            MetaOpKind::Create { file, head, size } => {
                let file = OpenOptions::new().write(true).create_new(true).open(self.path(&file.name()))?;
                let mut content = vec![0; size as usize];
                content[..head.len()].copy_from_slice(&head);
                file.write_all_at(&content, 0)?;
                file.sync_all()?;
                self.sync()
            }
            MetaOpKind::Append { file, position, bytes } => {
                let file = OpenOptions::new().write(true).open(self.path(&file.name()))?;
                file.write_all_at(&bytes, position)?;
                file.sync_data()
            }
            MetaOpKind::Replace { file, bytes } => {
                let new = self.path(&format!("{}.new", file.name()));
                let mut content = File::create(&new)?;
                content.write_all(&bytes)?;
                content.sync_all()?;
                fs::rename(new, self.path(&file.name()))?;
                self.sync()
            }
            MetaOpKind::Remove { file } => match fs::remove_file(self.path(&file.name())) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                result => result,
            },
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }
}
