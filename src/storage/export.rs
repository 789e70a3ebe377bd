//! The whole store as it was at one moment, read while writing goes on.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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

/// How long whoever clears the files waits for exports to end, which they do at their next record, if the disk that they are
/// written to does not hang.
const ENDING: Duration = Duration::from_secs(3);

/// What becomes of exports when the store's files are to be cleared of what was erased: as long as there is one, that stays in
/// them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exporting {
    /// They go on, and clearing is refused with [`StorageError::Exporting`].
    Spared,
    /// They are ended: for them, reading fails with [`StorageError::Cleared`].
    Ended,
}

/// Which exports there are. What one of them sees stays in the files, so whoever has to clear the files ends them.
#[derive(Default)]
pub(super) struct Exports {
    now: Mutex<Now>,
    changed: Condvar,
    /// How many want all exports to end.
    clearing: AtomicUsize,
}

#[derive(Default)]
struct Now {
    reading: usize,
    /// Somebody clears the files: there is no export.
    alone: bool,
}

/// As long as this is there, an export is.
struct Reading<'a>(&'a Exports);

/// As long as this is there, there is no export.
pub(super) struct NoExports<'a>(&'a Exports);

impl Exports {
    fn begin(&self) -> Reading<'_> {
        let now = self.now();
        let mut now = self.changed.wait_while(now, |now| now.alone).unwrap_or_else(PoisonError::into_inner);
        now.reading = now.reading.saturating_add(1);
        Reading(self)
    }

    fn are_to_end(&self) -> bool {
        self.clearing.load(Ordering::Relaxed) > 0
    }

    /// Sees to it that there is no export. Those that are to end are waited for: as long as one of them takes for one record.
    ///
    /// # Errors
    /// When there is one that is to be spared, or that does not end: what it is written to hangs.
    pub(super) fn none(&self, exporting: Exporting) -> Result<NoExports<'_>, StorageError> {
        match exporting {
            Exporting::Spared => self.spare(),
            Exporting::Ended => self.end_all_within(ENDING),
        }
    }

    fn spare(&self) -> Result<NoExports<'_>, StorageError> {
        let mut now = self.now();
        if now.alone {
            return Err(StorageError::Busy { access: Access::Write });
        }
        if now.reading > 0 {
            return Err(StorageError::Exporting);
        }
        self.clearing.fetch_add(1, Ordering::Relaxed);
        now.alone = true;
        drop(now);
        Ok(NoExports(self))
    }

    fn end_all_within(&self, limit: Duration) -> Result<NoExports<'_>, StorageError> {
        self.clearing.fetch_add(1, Ordering::Relaxed);
        let is_in_the_way = |now: &mut Now| now.alone || now.reading > 0;
        let waited = self.changed.wait_timeout_while(self.now(), limit, is_in_the_way);
        let (mut now, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            self.clearing.fetch_sub(1, Ordering::Relaxed);
            return Err(StorageError::Busy { access: Access::Write });
        }
        now.alone = true;
        Ok(NoExports(self))
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let mut now = self.0.now();
        now.reading = now.reading.saturating_sub(1);
        drop(now);
        self.0.changed.notify_all();
    }
}

impl Drop for NoExports<'_> {
    fn drop(&mut self) {
        // Before the next one may begin.
        self.0.clearing.fetch_sub(1, Ordering::Relaxed);
        self.0.now().alone = false;
        self.0.changed.notify_all();
    }
}

/// Every record of a store at the moment at which this was made, however often it is read. It holds nobody up: the
/// database keeps what it needs for it until it is dropped.
pub struct Export<'a> {
    store: &'a Store,
    // Fields are dropped in this order: nobody is told that no export is there before the snapshot is gone.
    snapshot: SnapshotWithThreadMode<'a, rocksdb::DB>,
    seals: Arc<Seals>,
    _reading: Reading<'a>,
    ending: Arc<AtomicBool>,
}

impl<'a> Export<'a> {
    /// Holds the present state, until `ending` is set, or something has to leave the store's files: then reading fails
    /// with [`StorageError::Unavailable`], or with [`StorageError::Cleared`].
    pub(super) fn new(store: &'a Store, ending: Arc<AtomicBool>) -> Self {
        let reading = store.exports().begin();
        let (snapshot, seals) = store.seals().with(|| store.snapshot());
        Self { store, snapshot, seals, _reading: reading, ending }
    }

    fn go_on(&self) -> Result<(), StorageError> {
        if self.ending.load(Ordering::Relaxed) {
            return Err(StorageError::Unavailable { access: Access::Read });
        }
        if self.store.exports().are_to_end() { Err(StorageError::Cleared) } else { Ok(()) }
    }

    /// Shows every record: families in their order, within a family ascending by key.
    ///
    /// # Errors
    /// When the database fails, the store is being closed or cleared, or whatever `show` returns: then it stops there.
    pub fn each<E: From<StorageError>>(
        &self,
        mut show: impl FnMut(SealedRecord<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        for family in Family::ALL {
            let seals = &*self.seals;
            let mut options = ReadOptions::default();
            // What is read once must not drive out what is read often.
            options.fill_cache(false);
            let mut rows = self.snapshot.raw_iterator_cf_opt(self.store.column(family)?, options);
            rows.seek_to_first();
            while let Some((key, sealed)) = rows.item() {
                self.go_on()?;
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

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "a test is named subject__should_claim")]

    use super::*;

    #[test]
    fn exports__should_keep_who_clears_the_files_waiting_for_a_limited_time() {
        let exports = Exports::default();
        let reading = [exports.begin(), exports.begin()];
        let refused = exports.end_all_within(Duration::ZERO).err().unwrap();
        assert!(matches!(refused, StorageError::Busy { .. }), "{refused}");
        assert!(!exports.are_to_end(), "nobody wants it any more");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !exports.are_to_end() {
                    std::thread::yield_now();
                }
                drop(reading);
            });
            let alone = exports.end_all_within(Duration::from_secs(60)).unwrap();
            assert!(exports.end_all_within(Duration::ZERO).is_err(), "one at a time");
            drop(alone);
        });
        drop(exports.begin());
    }

    #[test]
    fn export__should_be_spared_by_who_clears_the_files_and_can_wait() {
        let exports = Exports::default();
        let reading = exports.begin();
        let refused = exports.none(Exporting::Spared).err().unwrap();
        assert!(matches!(refused, StorageError::Exporting), "{refused}");
        assert!(!exports.are_to_end());
        drop(reading);
        let alone = exports.none(Exporting::Spared).unwrap();
        let refused = exports.none(Exporting::Spared).err().unwrap();
        assert!(matches!(refused, StorageError::Busy { .. }), "one at a time: {refused}");
        drop(alone);
        drop(exports.begin());
        assert!(!exports.are_to_end());
    }
}
