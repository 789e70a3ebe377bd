//! The whole store as it was at one moment, read while writing goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rocksdb::{ReadOptions, SnapshotWithThreadMode};

use super::seal::Seal;
use super::seals::Seals;
use super::store::Store;
use super::{Access, Family, StorageError};
use crate::secret::SecretBytes;

/// Names one write of one record: drawn anew whenever the record is written, and no secret. Two states of a record have
/// the same version only if nothing was written in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordVersion(pub [u8; RecordVersion::BYTES]);

impl RecordVersion {
    /// Its length.
    pub const BYTES: usize = 12;
}

/// A record as it lies in the store. It is opened only if that is asked for.
pub struct SealedRecord<'a> {
    /// Its family.
    pub family: Family,
    /// Its key.
    pub key: &'a [u8],
    /// The write that it came from.
    pub version: RecordVersion,
    sealed: &'a [u8],
    seals: &'a Seals,
}

impl SealedRecord<'_> {
    /// How long its value is, in bytes.
    #[must_use]
    pub fn value_len(&self) -> usize {
        Seal::opened_len(self.sealed)
    }

    /// Its value.
    ///
    /// # Errors
    /// When it was altered or is damaged.
    pub fn open(&self) -> Result<SecretBytes, StorageError> {
        self.seals.open(self.family, self.key, self.sealed)
    }
}

/// Every record of a store at the moment at which this was made, however often it is read. It holds nobody up: the
/// database keeps what it needs for it until it is dropped.
pub struct Export<'a> {
    store: &'a Store,
    snapshot: SnapshotWithThreadMode<'a, rocksdb::DB>,
    ending: Arc<AtomicBool>,
}

impl<'a> Export<'a> {
    /// Holds the present state, until `ending` is set: then reading fails with [`StorageError::Unavailable`].
    pub(super) fn new(store: &'a Store, ending: Arc<AtomicBool>) -> Self {
        Self { store, snapshot: store.snapshot(), ending }
    }

    /// Shows every record: families in their order, within a family ascending by key.
    ///
    /// # Errors
    /// When the database fails, the store is being closed, or whatever `show` returns: then it stops there.
    pub fn each<E: From<StorageError>>(
        &self,
        mut show: impl FnMut(SealedRecord<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        for family in Family::ALL {
            let seals = self.store.seals();
            let mut options = ReadOptions::default();
            // What is read once must not drive out what is read often.
            options.fill_cache(false);
            let mut rows = self.snapshot.raw_iterator_cf_opt(self.store.column(family)?, options);
            rows.seek_to_first();
            while let Some((key, sealed)) = rows.item() {
                if self.ending.load(Ordering::Relaxed) {
                    return Err(StorageError::Unavailable { access: Access::Read }.into());
                }
                let version = seals.of(family).version(key, sealed)?;
                show(SealedRecord { family, key, version, sealed, seals })?;
                rows.next();
            }
            // The rows also end where reading fails.
            rows.status().map_err(|error| StorageError::reading(&error))?;
        }
        Ok(())
    }
}
