//! A new store key, and every record sealed anew with it.
//!
//! ```text
//! header: key A            both keys are locked beside each other,        header: key B
//!                 ──begin──▶ records are written with B, and opened ──end──▶
//!                            by their version with A or B
//!                                   ▲ each record: open, seal with B │
//!                                   └────────────────────────────────┘
//! ```
//!
//! While the node runs, the storage actor takes these steps between its groups of writes, so that no record is sealed anew
//! over a newer one.
//!
//! A crash at any moment leaves a store that opens: with one key, or with both. Whoever rotates again goes on where it
//! ended. When it is done, the former key is nowhere, and a compaction has taken what it sealed out of the files.

use rocksdb::WriteBatch;

use super::header::{self, Header};
use super::key::KEY_BYTES;
use super::seal::Slot;
use super::seals::Seals;
use super::store::{HEADER_KEY, NEXT_HEADER_KEY, Store, damaged, header_column};
use super::{Durability, Exporting, Family, KeySource, StorageError, tuning};
use crate::secret::SecretBytes;
use crate::stack::wiped_after;

/// Records that are sealed anew with one write.
const STEP_RECORDS: usize = 64;
/// A write ends with the record that brings it to this many bytes.
const STEP_BYTES: usize = 1 << 20;

/// How far a rotation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// The new key is there, locked like the former one.
    Begun,
    /// So many records are sealed with it since this call began.
    Resealed(u64),
    /// The former key is gone.
    Done,
}

/// Where a rotation is: whoever does it takes one step after the other, and lets others write in between.
#[derive(Default)]
pub(super) struct Rotating {
    /// The families whose records are all sealed anew.
    families: usize,
    /// The last record of the next family that was looked at.
    after: Option<Vec<u8>>,
    /// Records that were sealed anew.
    pub resealed: u64,
}

impl Store {
    /// Draws a new store key and seals every record with it, or goes on with what was begun earlier. `source` is what
    /// unlocks the store. `go_on` is told of every step, and may end it between two: the store stays usable, and the next
    /// call goes on.
    ///
    /// Takes the store, because nobody else may write meanwhile. Gives how many records were sealed anew.
    ///
    /// # Errors
    /// When `source` does not unlock the store, a record does not open, or the database fails. Then too, the next call goes
    /// on.
    pub fn rotate(self, source: &KeySource, mut go_on: impl FnMut(Rotation) -> bool) -> Result<u64, StorageError> {
        self.begin_rotation(source)?;
        let mut rotating = Rotating::default();
        let mut step = Rotation::Begun;
        while go_on(step) {
            if !self.rotate_some(&mut rotating)? {
                self.end_rotation()?;
                self.clear_former_key()?;
                // Whoever is told cannot stop anything any more.
                go_on(Rotation::Done);
                break;
            }
            step = Rotation::Resealed(rotating.resealed);
        }
        Ok(rotating.resealed)
    }

    /// Locks a new key beside the present one, if none is there yet: from then on, records are written with it.
    ///
    /// Like each of the following, it writes: whoever calls it is the store's only writer meanwhile.
    ///
    /// # Errors
    /// When `source` does not unlock the store, or the database fails.
    pub(super) fn begin_rotation(&self, source: &KeySource) -> Result<(), StorageError> {
        let stored = self.read_header(HEADER_KEY)?.ok_or_else(|| damaged("its header is missing"))?;
        wiped_after(|| {
            let header = Header::parse(&stored)?;
            let slot = header.slot();
            // Also where a key is there: whoever rotates has to know the secret.
            let present = Seals::new(&header.unlock(source)?, slot)?;
            if self.has_next_key()? {
                return Ok(());
            }
            let next = SecretBytes::random(KEY_BYTES).map_err(|_| StorageError::Randomness)?;
            let locked = header::lock(&self.options.owner, source, self.options.argon2, &next, slot.other())?;
            let both = present.followed_by(&next, slot.other())?;
            // On disk before anything is sealed with it.
            self.write_headers(&[(NEXT_HEADER_KEY, Some(locked))])?;
            self.seals.replace(both);
            Ok(())
        })
    }

    /// Seals the next records anew. Says whether there may be more.
    ///
    /// # Errors
    /// When a record does not open, or the database fails.
    pub(super) fn rotate_some(&self, rotating: &mut Rotating) -> Result<bool, StorageError> {
        while let Some(&family) = Family::ALL.get(rotating.families) {
            if let Some((last, count)) = self.reseal_some(family, rotating.after.as_deref())? {
                rotating.after = Some(last);
                rotating.resealed = rotating.resealed.saturating_add(count);
                return Ok(true);
            }
            rotating.after = None;
            rotating.families = rotating.families.saturating_add(1);
        }
        Ok(false)
    }

    /// Lets the former key go, when no record is sealed with it any more: the header of the new one takes its place, with
    /// one durable write after all records.
    ///
    /// # Errors
    /// When no rotation was begun, or the database fails.
    pub(super) fn end_rotation(&self) -> Result<(), StorageError> {
        if !self.seals.now().has_former() {
            // Its records are sealed with the present key: the header must stay the one that locks it.
            return Err(damaged("no second key is open"));
        }
        let next = self.read_header(NEXT_HEADER_KEY)?.ok_or_else(|| damaged("its header is missing"))?;
        self.write_headers(&[(HEADER_KEY, Some(next)), (NEXT_HEADER_KEY, None)])?;
        self.seals.replace(self.seals.now().alone());
        Ok(())
    }

    /// Takes the former key's header, and what it sealed, out of the files. Others may write meanwhile.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) fn clear_former_key(&self) -> Result<(), StorageError> {
        for family in Family::ALL {
            self.purge(family, &[], Exporting::Ended)?;
        }
        self.compact(header_column(&self.db)?, None, None, Exporting::Ended)
    }

    /// Seals some records of a family anew that the former key sealed, behind `after`. Gives the last one that it looked at
    /// and how many there were; nothing if none is left.
    fn reseal_some(&self, family: Family, after: Option<&[u8]>) -> Result<Option<(Vec<u8>, u64)>, StorageError> {
        let (column, seals) = (self.column(family)?, self.seals.now());
        let (mut rows, mut written) = (self.rows(family)?, WriteBatch::default());
        let (mut last, mut count, mut bytes) = (None, 0_u64, 0_usize);
        rows.seek(after.unwrap_or_default());
        while let Some((key, sealed)) = rows.item() {
            let is_new = after == Some(key) || seals.is_present(family, sealed);
            if !is_new {
                let value = seals.open(family, key, sealed)?;
                let anew = seals.of(family).seal(key, &value)?;
                bytes = bytes.saturating_add(anew.len());
                count = count.saturating_add(1);
                written.put_cf(column, key, anew);
                last = Some(key.to_vec());
            }
            if written.len() >= STEP_RECORDS || bytes >= STEP_BYTES {
                break;
            }
            rows.next();
        }
        rows.status().map_err(|error| StorageError::reading(&error))?;
        if count > 0 {
            // In one log with what follows: it is durable when the end is.
            let written = self.db.write_opt(written, &tuning::write(Durability::Buffered));
            written.map_err(|error| StorageError::writing(&error))?;
        }
        Ok(last.map(|last| (last, count)))
    }

    fn has_next_key(&self) -> Result<bool, StorageError> {
        self.read_header(NEXT_HEADER_KEY).map(|header| header.is_some())
    }
}

/// The seals of a store that is opened: of its key, and of the next one if a rotation was begun.
pub(super) fn seals_of(
    header: &Header<'_>,
    next: Option<&Header<'_>>,
    source: &KeySource,
) -> Result<Seals, StorageError> {
    let present = Seals::new(&header.unlock(source)?, header.slot())?;
    match next {
        None => Ok(present),
        Some(next) if next.slot() == header.slot() => Err(damaged("its two keys cannot be told apart")),
        Some(next) => present.followed_by(&next.unlock(source)?, next.slot()),
    }
}

/// The slot of the first key of a store.
pub(super) const FIRST_SLOT: Slot = Slot::Even;
