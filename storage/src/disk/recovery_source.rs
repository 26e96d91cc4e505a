//! What recovery reads at start-up, with plain synchronous calls: nothing is being served yet.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use bytes::Bytes;

use super::directory::DataDirectory;
use super::disk_error;
use super::reader::read_up_to;
use crate::op::{
    DiskError, FileName, PARTITION_DIRECTORY, RecoverySource, WAL_DIRECTORY, parse_partition_directory,
    wal_directory,
};
use crate::types::PartitionKey;

/// An open data directory as recovery sees it.
pub struct DirectorySource {
    pub(super) root: PathBuf,
    /// Recovery reads one file at a time, piece by piece.
    pub(super) open: Option<(FileName, File)>,
}

impl DirectorySource {
    /// Reads from that directory.
    pub fn new(directory: &DataDirectory) -> DirectorySource {
        DirectorySource { root: directory.root().to_path_buf(), open: None }
    }

    /// Names and metadata in a folder, sorted by name; none if there is no folder.
    fn list(&self, folder: &str) -> Result<Vec<(String, fs::Metadata)>, DiskError> {
        let entries = match fs::read_dir(self.root.join(folder)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|error| disk_error(&folder, error))?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| disk_error(&folder, error))?;
            // A name that is not UTF-8 is not one of ours.
            let Ok(name) = entry.file_name().into_string() else { continue };
            found.push((name, entry.metadata().map_err(|error| disk_error(&folder, error))?));
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }

    fn file(&mut self, name: &FileName) -> Result<&File, DiskError> {
        if self.open.as_ref().is_none_or(|(open, _)| open != name) {
            let file = File::open(self.root.join(name.path())).map_err(|error| disk_error(name, error))?;
            self.open = Some((*name, file));
        }
        Ok(&self.open.as_ref().expect("opened just now").1)
    }
}

impl RecoverySource for DirectorySource {
    fn wal_shards(&mut self) -> Result<Vec<u16>, DiskError> {
        let mut shards: Vec<u16> = self
            .list(WAL_DIRECTORY)?
            .iter()
            .filter(|(_, metadata)| metadata.is_dir())
            .filter_map(|(name, _)| name.parse().ok())
            .collect();
        shards.sort_unstable();
        Ok(shards)
    }

    fn wal_files(&mut self, shard: u16) -> Result<Vec<(FileName, u64)>, DiskError> {
        let files = self.list(&wal_directory(shard))?;
        Ok(files
            .iter()
            .filter_map(|(name, metadata)| Some((FileName::parse_wal(shard, name)?, metadata.len())))
            .collect())
    }

    fn partitions(&mut self) -> Result<Vec<PartitionKey>, DiskError> {
        let mut partitions = Vec::new();
        for (spread, metadata) in self.list(PARTITION_DIRECTORY)? {
            if !metadata.is_dir() {
                continue;
            }
            let folder = format!("{PARTITION_DIRECTORY}/{spread}");
            partitions
                .extend(self.list(&folder)?.iter().filter_map(|(name, _)| parse_partition_directory(name)));
        }
        partitions.sort_unstable();
        Ok(partitions)
    }

    fn read(&mut self, file: &FileName, position: u64, length: usize) -> Result<Bytes, DiskError> {
        let opened = self.file(file)?;
        read_up_to(opened, position, length).map_err(|error| disk_error(file, error))
    }

    fn sync(&mut self, file: &FileName) -> Result<(), DiskError> {
        let opened = self.file(file)?;
        opened.sync_all().map_err(|error| disk_error(file, error))
    }
}
