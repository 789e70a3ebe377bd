//! Makes a store of a backup, in an empty place, and checks backups without one.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::chain::{Backup, Entry};
use super::check::{Checker, Tally};
use super::frame::{Head, MAX_FILE_BYTES, Record};
use super::reader::read_file;
use super::{BackupError, Unlock};
use crate::identity::PeerBook;
use crate::ids::WalletId;
use crate::secret::SecretBytes;
use crate::storage::{Batch, Durability, Family, KeySource, LockedFolder, Owner, Store, StoreOptions, make_folder};
use crate::wallet::{
    ORPHAN_PREFIX, PENDING_PREFIX, QUARANTINE_PREFIX, RESHARING_PREFIX, RESTORED_KEY, Restored, is_tombstone,
    quarantine_key,
};

/// Records of one write, at most. A batch holds more; this keeps the bytes of secrets in memory low.
const BATCH_RECORDS: usize = 64;
/// A write ends with the record that brings it to this many bytes.
const BATCH_BYTES: usize = 1 << 20;

/// What a verified or restored backup was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// What it says of itself.
    pub head: Head,
    /// What it holds.
    pub tally: Tally,
    /// The names of the files that came along.
    pub files: Vec<String>,
}

/// Decrypts a backup and checks everything in it. With a peer book, also the signatures of all certificates, and that the node
/// made it itself.
///
/// # Errors
/// When it cannot be read, is not whole, or a record is not good.
pub fn verify(path: &Path, unlock: &Unlock, peers: Option<&PeerBook>) -> Result<Verified, BackupError> {
    check(Backup::open(path, unlock)?, peers, |_| Ok(()))
}

/// Where and how a backup is restored.
pub struct Target<'a> {
    /// The new store.
    pub store: StoreOptions,
    /// What is to unlock it.
    pub key: &'a KeySource,
    /// Where files that came along go. None is replaced: one that is there has to be the same.
    pub files: Option<PathBuf>,
    /// Where goes what is in the place of the store, once the new one is whole: it is never removed. Without it, nothing, or an
    /// empty folder, may be there.
    pub aside: Option<PathBuf>,
    /// Now, in milliseconds since the Unix epoch.
    pub now_ms: u64,
}

/// Restores a backup, after the same checks as [`verify`]. The store is in its place whole, or not at all.
///
/// Every wallet is in quarantine, also one whose shares are pending: the node uses none of them before enough other members have said that they know of no
/// newer generation. Pair setups are not restored: nodes make new ones when they meet, so that none comes back that was
/// banned since.
///
/// # Errors
/// When the place is not empty and nothing says where what is there goes; when a node has the store there open; when the
/// backup is another node's or not good, or writing fails. What was in the place is there still.
pub fn restore(
    path: &Path,
    unlock: &Unlock,
    peers: Option<&PeerBook>,
    target: Target<'_>,
) -> Result<Verified, BackupError> {
    let (place, aside) = (target.store.folder.clone(), target.aside.clone());
    let _alone = lock(&place)?;
    let former = match &aside {
        None => ensure_empty(&place).map(|()| None)?,
        Some(aside) => Former::of(&place, aside)?,
    };
    let staging = beside(&place, "restoring");
    clear(&staging)?;
    let restored = fill(path, unlock, peers, target, &staging).and_then(|verified| {
        former.as_ref().map_or(Ok(()), Former::move_aside)?;
        fs::rename(&staging, &place).map_err(BackupError::writing(&place)).inspect_err(|_| {
            // The first failure is the one to report. What was there is there again, or where it was moved to.
            former.iter().for_each(Former::move_back);
        })?;
        sync_parent(&place)?;
        Ok(verified)
    });
    restored.inspect_err(|_| {
        // The first failure is the one to report. The next restore clears it away otherwise.
        drop(clear(&staging));
    })
}

/// Where what is in the place of a store is moved to: a name beside it, with the time.
#[must_use]
pub fn aside(place: &Path, now_ms: u64) -> PathBuf {
    beside(place, &format!("before-{now_ms}"))
}

/// What is in the place of a store, and is to be kept elsewhere.
struct Former<'a> {
    place: &'a Path,
    aside: &'a Path,
    /// Nobody opens the store meanwhile.
    _lock: Option<LockedFolder>,
}

impl<'a> Former<'a> {
    /// What there is, if anything. A store that somebody has open is left alone.
    fn of(place: &'a Path, aside: &'a Path) -> Result<Option<Self>, BackupError> {
        if ensure_empty(place).is_ok() {
            return Ok(None);
        }
        if aside.exists() {
            return Err(BackupError::Occupied { path: aside.to_owned() });
        }
        let lock = if place.is_dir() { Some(LockedFolder::acquire(place)?) } else { None };
        Ok(Some(Self { place, aside, _lock: lock }))
    }

    fn move_aside(&self) -> Result<(), BackupError> {
        fs::rename(self.place, self.aside).map_err(BackupError::writing(self.aside))
    }

    fn move_back(&self) {
        drop(fs::rename(self.aside, self.place));
    }
}

/// Fills a store at `staging`, and closes it when all of it is durable.
fn fill(
    path: &Path,
    unlock: &Unlock,
    peers: Option<&PeerBook>,
    target: Target<'_>,
    staging: &Path,
) -> Result<Verified, BackupError> {
    let Target { store: options, key, files, now_ms, .. } = target;
    let backup = Backup::open(path, unlock)?;
    check_owner(backup.head(), &options.owner)?;
    let store = Store::open(StoreOptions { folder: staging.to_owned(), ..options }, key)?;
    let Head { archive, created_ms, .. } = backup.head();
    let mark = Restored { archive: archive.0, made_ms: *created_ms, restored_ms: now_ms };
    let mut filling = Filling { store, batch: Batch::new(), records: 0, mark };
    let mut kept = Vec::new();
    let verified = check(backup, peers, |entry| match entry {
        Entry::Record(record) => filling.add(record),
        Entry::File(file) => {
            kept.push(file);
            Ok(())
        }
    })?;
    filling.finish()?;
    if let Some(folder) = files {
        for file in kept {
            put_file(&folder.join(&file.name), &file.content)?;
        }
    }
    Ok(verified)
}

/// Puts a file that came along in its place, whole and durable. One that is there already is left alone, and has to be the
/// same: an earlier try may have put it there.
fn put_file(path: &Path, content: &SecretBytes) -> Result<(), BackupError> {
    let staging = beside(path, "restoring");
    remove_file(&staging)?;
    let mut options = OpenOptions::new();
    let written = options.write(true).create_new(true).mode(0o600).open(&staging).and_then(|mut copy| {
        copy.write_all(content.expose())?;
        copy.sync_all()
    });
    // A link never takes the place of anything.
    let linked = written.map_err(BackupError::writing(&staging)).and_then(|()| match fs::hard_link(&staging, path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let is_same = read_file(path, MAX_FILE_BYTES).is_ok_and(|there| *there == *content.expose());
            if is_same { Ok(()) } else { Err(BackupError::Occupied { path: path.to_owned() }) }
        }
        linked => linked.map_err(BackupError::writing(path)),
    });
    remove_file(&staging)?;
    linked?;
    sync_parent(path)
}

fn remove_file(path: &Path) -> Result<(), BackupError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(BackupError::writing(path)(error)),
        _ => Ok(()),
    }
}

/// Reads a whole backup and checks everything, while `also` gets what is in it.
fn check(
    backup: Backup<'_>,
    peers: Option<&PeerBook>,
    mut also: impl FnMut(Entry) -> Result<(), BackupError>,
) -> Result<Verified, BackupError> {
    let mut checker = Checker::new(backup.head(), peers);
    let mut files = Vec::new();
    let head = backup.read(peers, |entry| {
        match &entry {
            Entry::Record(record) => checker.take(record)?,
            Entry::File(file) => files.push(file.name.clone()),
        }
        also(entry)
    })?;
    Ok(Verified { head, tally: checker.finish()?, files })
}

fn check_owner(head: &Head, owner: &Owner) -> Result<(), BackupError> {
    if (&head.cluster, head.node) == (&owner.cluster, owner.node) {
        return Ok(());
    }
    Err(BackupError::Foreign { cluster: head.cluster.clone(), node: head.node })
}

/// A store that is being filled.
struct Filling {
    store: Store,
    batch: Batch,
    records: usize,
    mark: Restored,
}

impl Filling {
    fn add(&mut self, record: Record) -> Result<(), BackupError> {
        let Record { family, key, value, .. } = record;
        match family {
            // New ones are made: see `restore`.
            Family::Pairs => return Ok(()),
            // One that was destroyed stays so, whatever other members know.
            Family::Wallets if is_tombstone(&key) => {}
            Family::Wallets => self.mark_wallet(family, &key, &key)?,
            // What is pending now may come into force before anybody says that it is current.
            Family::Shares => {
                if let Some(name) = uncertified(&key) {
                    self.mark_wallet(family, &key, name)?;
                }
            }
            // Marks of the restored store itself stand for those of an earlier one.
            Family::Meta if key == RESTORED_KEY || key.starts_with(QUARANTINE_PREFIX) => return Ok(()),
            _ => {}
        }
        self.put(family, key, value)
    }

    /// Puts the mark of the wallet that a record is of into the same write: it is there with its mark, or not at all.
    fn mark_wallet(&mut self, family: Family, key: &[u8], name: &[u8]) -> Result<(), BackupError> {
        let name = std::str::from_utf8(name).ok().and_then(|name| name.parse().ok());
        let wallet: WalletId = name.ok_or_else(|| BackupError::record(family, key, "it has no proper name"))?;
        self.batch = std::mem::take(&mut self.batch).put(Family::Meta, quarantine_key(&wallet), self.mark()?);
        Ok(())
    }

    fn put(&mut self, family: Family, key: Vec<u8>, value: SecretBytes) -> Result<(), BackupError> {
        self.batch = std::mem::take(&mut self.batch).put(family, key, value);
        self.records += 1;
        if self.records >= BATCH_RECORDS || self.batch.bytes() >= BATCH_BYTES {
            self.records = 0;
            self.store.write(&std::mem::take(&mut self.batch), Durability::Buffered)?;
        }
        Ok(())
    }

    fn mark(&self) -> Result<SecretBytes, BackupError> {
        self.mark.encode().map_err(|_| BackupError::Damaged("its head cannot be noted"))
    }

    /// Marks the store, makes everything durable, and closes the store.
    fn finish(mut self) -> Result<(), BackupError> {
        let mark = self.mark()?;
        self.put(Family::Meta, RESTORED_KEY.to_vec(), mark)?;
        // One log holds all writes: syncing it with the last one makes those before it durable.
        self.store.write(&self.batch, Durability::Synced)?;
        self.store.sync()?;
        Ok(())
    }
}

/// The name of the wallet of shares that wait for a certificate, by the key that they are stored under.
fn uncertified(key: &[u8]) -> Option<&[u8]> {
    let aside = || key.strip_prefix(ORPHAN_PREFIX)?.split(|&byte| byte == 0).next();
    key.strip_prefix(PENDING_PREFIX).or_else(|| key.strip_prefix(RESHARING_PREFIX)).or_else(aside)
}

/// Locks the folder in which the store is to be, until the file is dropped: of two restores at a time, each would take
/// what the other has half done for what a dead one left. The folder is made if it is not there.
fn lock(place: &Path) -> Result<File, BackupError> {
    let parent = parent(place);
    make_folder(parent).map_err(BackupError::writing(parent))?;
    let folder = File::open(parent).map_err(BackupError::reading(parent))?;
    match folder.try_lock() {
        Ok(()) => Ok(folder),
        Err(TryLockError::WouldBlock) => Err(BackupError::Restoring { folder: parent.to_owned() }),
        Err(TryLockError::Error(error)) => Err(BackupError::reading(parent)(error)),
    }
}

fn parent(place: &Path) -> &Path {
    place.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The place itself with an addition to its name.
fn beside(place: &Path, addition: &str) -> PathBuf {
    let mut name = place.as_os_str().to_owned();
    name.push(format!(".{addition}"));
    PathBuf::from(name)
}

fn ensure_empty(place: &Path) -> Result<(), BackupError> {
    match fs::read_dir(place) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotADirectory => Err(BackupError::Occupied { path: place.to_owned() }),
        Err(error) => Err(BackupError::reading(place)(error)),
        Ok(mut files) => match files.next() {
            None => Ok(()),
            Some(_) => Err(BackupError::Occupied { path: place.to_owned() }),
        },
    }
}

fn clear(staging: &Path) -> Result<(), BackupError> {
    match fs::remove_dir_all(staging) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(BackupError::writing(staging)(error)),
        _ => Ok(()),
    }
}

fn sync_parent(place: &Path) -> Result<(), BackupError> {
    let parent = parent(place);
    File::open(parent).and_then(|folder| folder.sync_all()).map_err(BackupError::writing(parent))
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "a test is named subject__should_claim")]

    use super::*;
    use crate::ids::{Generation, Scheme, SheetHash};
    use crate::wallet::{orphan_key, pending_key, resharing_key, share_key};

    #[test]
    fn shares_that_wait__should_be_told_from_those_in_force() {
        let wallet: WalletId = "w".parse().unwrap();
        for key in [pending_key(&wallet), resharing_key(&wallet), orphan_key(&wallet, SheetHash([0; 32]))] {
            assert_eq!(uncertified(&key), Some(b"w".as_slice()));
        }
        assert_eq!(uncertified(&share_key(&wallet, Scheme::Ed25519, Generation(1))), None);
    }
}
