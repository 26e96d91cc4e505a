//! Checkpoints and indexes, written as a whole; and removal.

use std::fs::{self, File};
use std::io::{self, Write};

use bytes::Bytes;

use super::directory::{make_directory, sync_directory};
use super::disk_error;
use super::files::Files;
use crate::op::{DiskError, FileName, partition_directory};
use crate::types::PartitionKey;

pub(super) async fn write(disk: &Files, name: FileName, parts: Vec<Bytes>) -> Result<(), DiskError> {
    let root = disk.root.clone();
    let path = disk.path(&name);
    disk.forget(|file| *file == name);
    disk.help(move || {
        let folder = path.parent().expect("a file of a volume has a folder");
        make_directory(&root, folder)?;
        let new = path.with_added_extension("new");
        let mut file = File::create(&new)?;
        parts.iter().try_for_each(|part| file.write_all(part))?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        sync_directory(folder)
    })
    .await
    .map_err(|error| disk_error(&name, error))
}

pub(super) async fn read(disk: &Files, name: FileName) -> Result<Bytes, DiskError> {
    let path = disk.path(&name);
    disk.help(move || fs::read(path)).await.map(Bytes::from).map_err(|error| disk_error(&name, error))
}

pub(super) async fn remove(disk: &Files, names: Vec<FileName>) -> Result<(), DiskError> {
    disk.forget(|file| names.contains(file));
    let paths: Vec<_> = names.iter().map(|name| (*name, disk.path(name))).collect();
    disk.help(move || {
        paths.into_iter().try_for_each(|(name, path)| {
            none_is_fine(fs::remove_file(path)).map_err(|error| disk_error(&name, error))
        })
    })
    .await
}

pub(super) async fn remove_partition(disk: &Files, partition: PartitionKey) -> Result<(), DiskError> {
    disk.forget(|file| match file {
        FileName::Segment { partition: of, .. } | FileName::Index { partition: of, .. } => *of == partition,
        FileName::Wal { .. } | FileName::Checkpoint { .. } => false,
    });
    let path = disk.root.join(partition_directory(&partition));
    disk.help(move || none_is_fine(fs::remove_dir_all(path)))
        .await
        .map_err(|error| disk_error(&partition, error))
}

fn none_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
