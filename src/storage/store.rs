//! The store itself: sealed records in RocksDB, read and written synchronously.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use rocksdb::{
    BottommostLevelCompaction, ColumnFamily, CompactOptions, DB, FlushOptions, WaitForCompactOptions, WriteBatch,
};

use super::batch::check_key;
use super::export::{Export, Exports};
use super::folder::LockedFolder;
use super::header::{self, Header, Owner};
use super::key::KEY_BYTES;
use super::rotation::{FIRST_SLOT, seals_of};
use super::seals::{CurrentSeals, Seals};
use super::{Argon2Params, Batch, ConditionFailed, Durability, Exporting, Family, KeySource, StorageError, tuning};
use crate::secret::SecretBytes;
use crate::stack::wiped_after;

/// The most records of one page.
pub const MAX_PAGE_RECORDS: usize = 1024;
/// A page ends with the record that brings its values to this many bytes.
pub const MAX_PAGE_BYTES: usize = 4 << 20;

/// The column family of the header, which RocksDB makes by itself. It holds nothing else.
const HEADER_FAMILY: &str = rocksdb::DEFAULT_COLUMN_FAMILY_NAME;
pub(super) const HEADER_KEY: &[u8] = b"header";
/// The header of the key that is about to take the place of the present one, while records are sealed anew.
pub(super) const NEXT_HEADER_KEY: &[u8] = b"next";

/// Where the store is, whose it is, and how a new one is locked.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The folder, made if it is not there. It holds the store and nothing else.
    pub folder: PathBuf,
    /// Whose store it is. A store of somebody else is not opened.
    pub owner: Owner,
    /// The cost of the passphrase's hash where a store is made or locked anew. An existing lock tells its own.
    pub argon2: Argon2Params,
}

/// A record as it is listed.
#[derive(Debug)]
pub struct Record {
    /// Its key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: SecretBytes,
}

/// Records in the order of their keys.
#[derive(Debug)]
pub struct Page {
    /// The records.
    pub records: Vec<Record>,
    /// Whether more follow: list them with the last record's key as `after`.
    pub more: bool,
}

/// An open store. Shared between threads; closed, and its keys wiped, when the last holder drops it.
///
/// All writes must come from one writer at a time: conditions are evaluated against what the writers before have
/// written, and the store itself does not make two writers wait for each other.
pub struct Store {
    // Fields are dropped in this order: the database is closed before the folder is let go.
    pub(super) db: DB,
    pub(super) seals: CurrentSeals,
    exports: Exports,
    folder: LockedFolder,
    pub(super) options: StoreOptions,
}

impl Store {
    /// Opens the store, or makes a new one in a folder that holds none. Takes as long as the hash of the passphrase
    /// (by default some 0.2 s), and the reading of what was last written.
    ///
    /// # Errors
    /// When the folder is unusable, in use or somebody else's; when the secret is wrong; when the format is newer or
    /// anything is damaged. Nothing is changed then.
    pub fn open(options: StoreOptions, source: &KeySource) -> Result<Self, StorageError> {
        let folder = LockedFolder::acquire(&options.folder)?;
        let (db, unknown) = open_database(&folder)?;
        let seals = wiped_after(|| match (read_header(&db, HEADER_KEY)?, read_header(&db, NEXT_HEADER_KEY)?) {
            (Some(bytes), next) => {
                let header = Header::parse(&bytes)?;
                header.check_owner(&options.owner)?;
                let next = next.as_deref().map(Header::parse).transpose()?;
                seals_of(&header, next.as_ref(), source)
            }
            (None, _) => Seals::new(&create(&db, &options, source)?, FIRST_SLOT),
        })?;
        if let Some(family) = unknown {
            return Err(damaged(&format!("it has a family {family:?} that its format does not know")));
        }
        Ok(Self { db, seals: CurrentSeals::new(seals), exports: Exports::default(), folder, options })
    }

    /// Reads a record.
    ///
    /// # Errors
    /// When the key is out of its limits, the database fails, or the record does not open.
    pub fn get(&self, family: Family, key: &[u8]) -> Result<Option<SecretBytes>, StorageError> {
        check_key(key)?;
        let column = self.column(family)?;
        let (stored, seals) = self.seals.with(|| self.db.get_pinned_cf(column, key));
        let stored = stored.map_err(|error| StorageError::reading(&error))?;
        stored.map(|sealed| seals.open(family, key, &sealed)).transpose()
    }

    /// Lists records whose keys begin with `prefix` and come behind `after`: at most `limit`, 1 to 1024, and not many
    /// more than 4 MiB of values.
    ///
    /// # Errors
    /// When the database fails, or a record does not open: one damaged record fails the page.
    pub fn list(
        &self,
        family: Family,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Page, StorageError> {
        let limit = limit.clamp(1, MAX_PAGE_RECORDS);
        let mut records = Vec::new();
        let mut bytes = 0_usize;
        let column = self.column(family)?;
        let (mut rows, seals) = self.seals.with(|| self.db.raw_iterator_cf(column));
        rows.seek(after.map_or(prefix, |after| after.max(prefix)));
        while let Some((key, sealed)) = rows.item() {
            if !key.starts_with(prefix) {
                break;
            }
            if after == Some(key) {
                rows.next();
                continue;
            }
            if records.len() == limit || bytes >= MAX_PAGE_BYTES {
                return Ok(Page { records, more: true });
            }
            let value = seals.open(family, key, sealed)?;
            bytes = bytes.saturating_add(value.len());
            records.push(Record { key: key.to_vec(), value });
            rows.next();
        }
        // The rows also end where reading fails.
        rows.status().map_err(|error| StorageError::reading(&error))?;
        Ok(Page { records, more: false })
    }

    /// Writes one batch: see [`Store::write_group`].
    ///
    /// # Errors
    /// When the batch is out of its limits, a condition does not hold, or the database fails.
    pub fn write(&self, batch: &Batch, durability: Durability) -> Result<(), StorageError> {
        let outcomes = self.write_group(std::slice::from_ref(batch), durability)?;
        outcomes.into_iter().collect()
    }

    /// Writes many batches at once, in order, with one sync at most. What is not written for a reason of its own, a
    /// condition or a limit, does not hinder the others. A condition sees what the batches before it in the group put.
    ///
    /// Returns each batch's own outcome, in order.
    ///
    /// # Errors
    /// When the database fails to write: then none of the group is acknowledged, and whether it took effect is open
    /// until the store is opened anew.
    pub fn write_group(
        &self,
        group: &[Batch],
        durability: Durability,
    ) -> Result<Vec<Result<(), StorageError>>, StorageError> {
        let mut ahead = Ahead::new();
        let mut rows = WriteBatch::default();
        let mut outcomes = Vec::with_capacity(group.len());
        for batch in group {
            outcomes.push(self.prepare(batch, &ahead).map(|prepared| {
                for (operation, (column, sealed)) in batch.operations.iter().zip(prepared) {
                    match sealed {
                        Some(sealed) => rows.put_cf(column, &operation.key, sealed),
                        None => rows.delete_cf(column, &operation.key),
                    }
                    ahead.insert((operation.family, &operation.key), operation.value.as_ref());
                }
            }));
        }
        if !rows.is_empty() {
            self.db.write_opt(rows, &tuning::write(durability)).map_err(|error| StorageError::writing(&error))?;
        }
        Ok(outcomes)
    }

    /// Makes all that was written so far durable.
    ///
    /// # Errors
    /// When the database fails to.
    pub fn sync(&self) -> Result<(), StorageError> {
        self.db.flush_wal(true).map_err(|error| StorageError::writing(&error))
    }

    /// Locks the store with another passphrase or key, for which `current` must still unlock it, and clears the former
    /// lock from the files. One record is replaced: a crash leaves one lock or the other.
    ///
    /// The store key stays. Whoever has a copy of the folder from before can open that copy with the former secret.
    ///
    /// # Errors
    /// When `current` does not unlock the store, or the database fails. With [`StorageError::LockRemains`], `new` is what
    /// unlocks the store.
    pub fn rewrap(&self, current: &KeySource, new: &KeySource) -> Result<(), StorageError> {
        // While records are sealed anew, both keys are locked anew together.
        let locked: Result<Vec<_>, StorageError> = wiped_after(|| {
            [HEADER_KEY, NEXT_HEADER_KEY]
                .into_iter()
                .filter_map(|name| Some((name, self.read_header(name).transpose()?)))
                .map(|(name, stored)| {
                    let stored = stored?;
                    let header = Header::parse(&stored)?;
                    let store_key = header.unlock(current)?;
                    let StoreOptions { owner, argon2, .. } = &self.options;
                    Ok((name, Some(header::lock(owner, new, *argon2, &store_key, header.slot())?)))
                })
                .collect()
        });
        let locked = locked?;
        if locked.is_empty() {
            return Err(damaged("its header is missing"));
        }
        self.write_headers(&locked)?;
        // From here on the new lock is the one, whatever happens.
        let cleared = header_column(&self.db).and_then(|column| self.compact(column, None, None, Exporting::Ended));
        cleared.map_err(|error| StorageError::LockRemains { problem: error.to_string().into() })
    }

    /// Has everything that was deleted under a prefix leave the files too: what is in memory is written down, and the
    /// files that hold the prefix are written anew.
    ///
    /// # Errors
    /// When the database fails; [`StorageError::Exporting`] when a backup is to be spared that is being read;
    /// [`StorageError::Busy`] when one does not end: what it is written to hangs.
    pub fn purge(&self, family: Family, prefix: &[u8], exporting: Exporting) -> Result<(), StorageError> {
        let column = self.column(family)?;
        self.compact(column, Some(prefix), after_prefix(prefix).as_deref(), exporting)
    }

    /// Writes down what is in memory, of all families, so that the log of writes goes, and then the files anew that hold
    /// a range of `column`. No export may be there: what it sees could not leave the files.
    pub(super) fn compact(
        &self,
        column: &ColumnFamily,
        from: Option<&[u8]>,
        to: Option<&[u8]>,
        exporting: Exporting,
    ) -> Result<(), StorageError> {
        let _alone = self.exports.none(exporting)?;
        let writing = |error: rocksdb::Error| StorageError::writing(&error);
        let columns: Result<Vec<_>, _> = Family::ALL.into_iter().map(|family| self.column(family)).collect();
        let mut columns = columns?;
        columns.push(header_column(&self.db)?);
        self.db.flush_cfs_opt(&columns, &FlushOptions::default()).map_err(writing)?;
        let mut compaction = CompactOptions::default();
        compaction.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        self.db.compact_range_cf_opt(column, from, to, &compaction);
        self.db.wait_for_compact(&WaitForCompactOptions::default()).map_err(writing)
    }

    /// Replaces headers, or removes them, all at once and durably.
    pub(super) fn write_headers(&self, headers: &[(&[u8], Option<Vec<u8>>)]) -> Result<(), StorageError> {
        let (column, mut rows) = (header_column(&self.db)?, WriteBatch::default());
        for (name, header) in headers {
            match header {
                Some(header) => rows.put_cf(column, name, header),
                None => rows.delete_cf(column, name),
            }
        }
        let written = self.db.write_opt(rows, &tuning::write(Durability::Synced));
        written.map_err(|error| StorageError::writing(&error))
    }

    pub(super) fn read_header(&self, name: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        read_header(&self.db, name)
    }

    /// The rows of a family, as they are now.
    pub(super) fn rows(&self, family: Family) -> Result<rocksdb::DBRawIterator<'_>, StorageError> {
        Ok(self.db.raw_iterator_cf(self.column(family)?))
    }

    /// Where the store is.
    #[must_use]
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Checks limits and conditions, and seals the values: for each operation its column and, to put, what to put.
    fn prepare(&self, batch: &Batch, ahead: &Ahead<'_>) -> Result<Vec<Prepared<'_>>, StorageError> {
        batch.check_limits()?;
        for condition in &batch.conditions {
            let (family, key) = (condition.family, &condition.key);
            let from_disk;
            let stored = match ahead.get(&(family, key.as_slice())) {
                Some(written) => *written,
                None => {
                    from_disk = self.get(family, key)?;
                    from_disk.as_ref()
                }
            };
            if !condition.requirement.holds(stored) {
                let existing = stored.map(|value| SecretBytes::copy_from(value.expose()));
                let failed = ConditionFailed { family, key: key.clone(), existing };
                return Err(StorageError::ConditionFailed(Arc::new(failed)));
            }
        }
        let seals = self.seals.now();
        let prepared = batch.operations.iter().map(|operation| {
            let seal = seals.of(operation.family);
            let sealed = operation.value.as_ref().map(|value| seal.seal(&operation.key, value)).transpose()?;
            Ok((self.column(operation.family)?, sealed))
        });
        prepared.collect()
    }

    /// The whole store as it is now, to be read for as long as it takes.
    #[must_use]
    pub fn export(&self) -> Export<'_> {
        Export::new(self, Arc::default())
    }

    pub(super) fn snapshot(&self) -> rocksdb::Snapshot<'_> {
        self.db.snapshot()
    }

    pub(super) const fn exports(&self) -> &Exports {
        &self.exports
    }

    pub(super) const fn seals(&self) -> &CurrentSeals {
        &self.seals
    }

    pub(super) fn column(&self, family: Family) -> Result<&ColumnFamily, StorageError> {
        self.db.cf_handle(family.as_str()).ok_or_else(|| damaged("a family is missing"))
    }
}

/// The first key after all those with a prefix; none where there is no such key.
fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte < u8::MAX)?;
    let mut after = prefix.get(..=last)?.to_vec();
    let byte = after.last_mut()?;
    *byte = byte.checked_add(1)?;
    Some(after)
}

/// Where an operation goes, and the sealed value that it puts, if it does not delete.
type Prepared<'a> = (&'a ColumnFamily, Option<Vec<u8>>);

/// What a group has put or deleted so far.
type Ahead<'a> = HashMap<(Family, &'a [u8]), Option<&'a SecretBytes>>;

/// Opens the database with every family it has, and tells one that this format does not know: all must be opened for
/// the header to be read, which says what release to ask for.
fn open_database(folder: &LockedFolder) -> Result<(DB, Option<String>), StorageError> {
    let options = tuning::database();
    let opening = |error: rocksdb::Error| opening_failed(folder, &error);
    let existing = if folder.path().join("CURRENT").exists() {
        DB::list_cf(&options, folder.path()).map_err(opening)?
    } else {
        Vec::new()
    };
    let mut names: Vec<&str> = Family::ALL.into_iter().map(Family::as_str).chain([HEADER_FAMILY]).collect();
    let unknown: Vec<&str> = existing.iter().map(String::as_str).filter(|name| !names.contains(name)).collect();
    names.extend(&unknown);
    let db = DB::open_cf_descriptors(&options, folder.path(), tuning::families(names)).map_err(opening)?;
    Ok((db, unknown.first().map(|name| (*name).to_owned())))
}

/// Sorts the database's reasons for not opening. Some it tells in words only.
fn opening_failed(folder: &LockedFolder, error: &rocksdb::Error) -> StorageError {
    let text: &str = error.as_ref();
    match error.kind() {
        rocksdb::ErrorKind::IOError if text.contains("lock hold by") || text.contains("While lock file") => {
            StorageError::InUse { folder: folder.path().to_owned() }
        }
        rocksdb::ErrorKind::IOError if text.contains("Permission denied") || text.contains("Read-only") => {
            StorageError::FolderUnusable { folder: folder.path().to_owned(), problem: Arc::from(text) }
        }
        rocksdb::ErrorKind::IOError if text.contains("No such file") => damaged(text),
        _ => StorageError::reading(error),
    }
}

fn read_header(db: &DB, name: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
    db.get_cf(header_column(db)?, name).map_err(|error| StorageError::reading(&error))
}

/// Makes a store: draws its key, locks it. Only in a database without any record, or the records' key would be lost.
fn create(db: &DB, options: &StoreOptions, source: &KeySource) -> Result<SecretBytes, StorageError> {
    for family in Family::ALL {
        let column = db.cf_handle(family.as_str()).ok_or_else(|| damaged("a family is missing"))?;
        let mut rows = db.raw_iterator_cf(column);
        rows.seek_to_first();
        if rows.valid() {
            return Err(damaged("its header is missing"));
        }
        rows.status().map_err(|error| StorageError::reading(&error))?;
    }
    let store_key = SecretBytes::random(KEY_BYTES).map_err(|_| StorageError::Randomness)?;
    let header = header::lock(&options.owner, source, options.argon2, &store_key, FIRST_SLOT)?;
    db.put_cf_opt(header_column(db)?, HEADER_KEY, header, &tuning::write(Durability::Synced))
        .map_err(|error| StorageError::writing(&error))?;
    Ok(store_key)
}

pub(super) fn header_column(db: &DB) -> Result<&ColumnFamily, StorageError> {
    db.cf_handle(HEADER_FAMILY).ok_or_else(|| damaged("a family is missing"))
}

pub(super) fn damaged(problem: &str) -> StorageError {
    StorageError::DamagedFiles { problem: problem.into() }
}
