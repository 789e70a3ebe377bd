//! The store's folder: made, tried, and locked against a second use.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::StorageError;

/// The file that is locked while the store is open. RocksDB's own lock is taken too, but says less.
const LOCK_FILE: &str = "quorate.lock";

/// The folder, locked until this is dropped.
///
/// The lock is the kernel's (`flock`): it goes with the process, however that ends, and it also holds between two
/// nodes of one process.
#[derive(Debug)]
pub(crate) struct LockedFolder {
    path: PathBuf,
    _lock: File,
}

impl LockedFolder {
    /// Makes the folder, for its owner's eyes only, if it is not there, and locks it.
    ///
    /// # Errors
    /// When the folder cannot be made or written to, or is locked.
    pub(crate) fn acquire(path: &Path) -> Result<Self, StorageError> {
        let unusable = |error: &io::Error| StorageError::FolderUnusable {
            folder: path.to_owned(),
            problem: Arc::from(error.to_string()),
        };
        make_folder(path).map_err(|error| unusable(&error))?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(LOCK_FILE))
            .map_err(|error| unusable(&error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StorageError::InUse { folder: path.to_owned() }),
            Err(TryLockError::Error(error)) => Err(unusable(&error)),
        }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes a folder, and those above it that are missing, for their owner's eyes only. They are there after a loss of power too:
/// what is made durable in a folder goes with it otherwise.
///
/// # Errors
/// When a folder cannot be made.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    let is_missing = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
    let missing: Vec<&Path> = path.ancestors().take_while(is_missing).collect();
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)?;
    for made in missing.into_iter().rev() {
        let above = made.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(above)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "a test is named subject__should_claim")]

    use super::*;

    #[test]
    fn folder__should_be_locked_until_dropped() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("new/store");
        let first = LockedFolder::acquire(&path).unwrap();
        assert!(matches!(LockedFolder::acquire(&path), Err(StorageError::InUse { folder }) if folder == path));
        drop(first);
        assert!(LockedFolder::acquire(&path).is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn folder__should_be_made_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("store");
        let _folder = LockedFolder::acquire(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn folder__should_say_why_it_cannot_be_used() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("file");
        std::fs::write(&file, b"").unwrap();
        for path in [file.clone(), file.join("below")] {
            let refused = LockedFolder::acquire(&path).unwrap_err();
            assert!(matches!(&refused, StorageError::FolderUnusable { folder, .. } if *folder == path), "{refused}");
        }
    }
}
