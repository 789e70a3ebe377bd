//! The folder of backups of one node: what is in it, how something gets in whole, and what goes.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::BackupError;
use super::names::{BackupName, is_unfinished, unfinished};
use crate::ids::NodeName;

/// A backup as it lies in its folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Where it is.
    pub path: PathBuf,
    /// When it was made, in milliseconds since the Unix epoch, by its name.
    pub made_ms: u64,
    /// Whether it is a full one; otherwise it rests on the full one before it.
    pub is_full: bool,
    /// How long the file is.
    pub bytes: u64,
    pub(super) name: BackupName,
}

/// All finished backups of a node, the oldest first.
///
/// # Errors
/// When the folder cannot be read.
pub fn list(folder: &Path, node: &NodeName) -> Result<Vec<Listed>, BackupError> {
    let mut found = Vec::new();
    for file in fs::read_dir(folder).map_err(BackupError::reading(folder))? {
        let file = file.map_err(BackupError::reading(folder))?;
        let Some(name) = file.file_name().to_str().and_then(|name| BackupName::parse(node, name)) else { continue };
        let path = file.path();
        let bytes = file.metadata().map_err(BackupError::reading(&path))?.len();
        found.push(Listed { path, made_ms: name.made_ms(), is_full: name.differential_ms.is_none(), bytes, name });
    }
    found.sort_by_key(|listed| listed.name);
    Ok(found)
}

/// The newest backup of a node that can be restored: one whose full one is there.
///
/// # Errors
/// When the folder cannot be read, or there is none.
pub fn newest(folder: &Path, node: &NodeName) -> Result<Listed, BackupError> {
    let mut listed = list(folder, node)?;
    let fulls: Vec<u64> = listed.iter().filter(|found| found.is_full).map(|found| found.name.full_ms).collect();
    listed.retain(|found| fulls.contains(&found.name.full_ms));
    let none = || BackupError::None { folder: folder.to_owned(), name: node.to_string() };
    listed.into_iter().max_by_key(|found| found.made_ms).ok_or_else(none)
}

/// The folder, while a backup is made in it: nobody else makes one of this node there.
pub(super) struct BackupFolder {
    path: PathBuf,
    node: NodeName,
    _lock: File,
}

/// A file that is being written beside its place. Dropped before it is put there, it goes.
pub(super) struct Unfinished {
    file: File,
    beside: PathBuf,
    path: PathBuf,
}

impl Unfinished {
    /// Where it will be.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// It goes to another place.
    pub(super) fn is_for(&mut self, path: PathBuf) {
        self.path = path;
    }

    pub(super) const fn file(&self) -> &File {
        &self.file
    }

    pub(super) const fn file_mut(&mut self) -> &mut File {
        &mut self.file
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Room for others on a full disk. What cannot be removed now goes before the next backup; what is in its place has
        // this name no more.
        drop(fs::remove_file(&self.beside));
    }
}

impl BackupFolder {
    /// Locks the folder, and clears away what was never finished. A folder that is not there is not made: it may be a
    /// disk that is not mounted.
    pub(super) fn acquire(path: &Path, node: &NodeName) -> Result<Self, BackupError> {
        let lock_file = path.join(format!(".{node}.lock"));
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let lock = options.open(&lock_file).map_err(BackupError::writing(&lock_file))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(BackupError::Busy { folder: path.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(BackupError::writing(&lock_file)(error)),
        }
        let folder = Self { path: path.to_owned(), node: node.clone(), _lock: lock };
        folder.clear_unfinished()?;
        Ok(folder)
    }

    fn clear_unfinished(&self) -> Result<(), BackupError> {
        for file in fs::read_dir(&self.path).map_err(BackupError::reading(&self.path))? {
            let file = file.map_err(BackupError::reading(&self.path))?;
            if file.file_name().to_str().is_some_and(|name| is_unfinished(&self.node, name)) {
                remove(&file.path())?;
            }
        }
        Ok(())
    }

    pub(super) fn list(&self) -> Result<Vec<Listed>, BackupError> {
        list(&self.path, &self.node)
    }

    pub(super) fn file_of(&self, name: BackupName) -> PathBuf {
        self.path.join(name.file(&self.node))
    }

    pub(super) fn manifest_of(&self, name: BackupName) -> PathBuf {
        self.path.join(name.manifest(&self.node))
    }

    /// Begins a file, beside its place.
    pub(super) fn begin(&self, path: PathBuf) -> Result<Unfinished, BackupError> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let beside = path.with_file_name(unfinished(name));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let file = options.open(&beside).map_err(BackupError::writing(&beside))?;
        Ok(Unfinished { file, beside, path })
    }

    /// Puts a file in its place when it is durable: it is there whole or not at all.
    pub(super) fn place(&self, finished: &Unfinished) -> Result<(), BackupError> {
        let Unfinished { file, beside, path } = finished;
        file.sync_all().map_err(BackupError::writing(beside))?;
        fs::rename(beside, path).map_err(BackupError::writing(path))?;
        self.sync()
    }

    /// Keeps the `keep` newest full backups with what rests on them; the others go, with their manifests, and are told in
    /// `removed`.
    pub(super) fn retain(&self, keep: usize, removed: &mut Vec<PathBuf>) -> Result<(), BackupError> {
        let listed = self.list()?;
        let mut fulls: Vec<u64> = listed.iter().filter(|found| found.is_full).map(|found| found.name.full_ms).collect();
        fulls.sort_unstable();
        let Some(oldest) = fulls.iter().rev().take(keep.max(1)).next_back().copied() else { return Ok(()) };
        // A differential one goes before what it rests on.
        for old in listed.into_iter().rev().filter(|found| found.name.full_ms < oldest) {
            remove(&old.path)?;
            if old.is_full {
                remove(&self.manifest_of(old.name))?;
            }
            removed.push(old.path);
        }
        self.sync()
    }

    fn sync(&self) -> Result<(), BackupError> {
        let synced = File::open(&self.path).and_then(|folder| folder.sync_all());
        synced.map_err(BackupError::writing(&self.path))
    }
}

fn remove(path: &Path) -> Result<(), BackupError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(BackupError::writing(path)(error)),
        _ => Ok(()),
    }
}
