//! The sealed store: where a node keeps shares, pair setups, wallets, results, bans, and its audit log.
//!
//! What it promises:
//! - A synced write that was acknowledged is there after any crash. One that was not may be there or not, but whole.
//! - Of several conditional writes on one record, exactly one wins.
//! - A value never reaches the disk unsealed. Keys of records do: they must hold no secret.
//! - A record that was altered, moved or damaged is refused, never returned. So is a store that is somebody else's, of
//!   a newer format, or in use. The seal does not tell that a record, or the whole folder, was put back to an older
//!   state, or that a record was removed.
//! - The store key can be replaced: see [`Store::rotate`]. A crash in between costs nothing.
//! - Keys and values are wiped from the heap, and as a precaution from the stack, when they are no longer used: the
//!   keys when the store is closed, on whichever way the actor ends.
//!
//! ```text
//!  StorageHandle ──► StorageActor ──► WriteQueue ── a group at a time ──► blocking pool ──► Store ──► RocksDB
//!                         │                                                    │             ▲
//!                         │                            answers, when durable ──┘             │
//!                         └──────────── reads ──► blocking pool, and answers from there ─────┘
//!
//!  passphrase ─ Argon2id ─┐
//!  32-byte key ── HKDF ───┴─► key-encryption key ─ wraps ─► store key ─ HKDF ─► a key per family ─ seals ─► records
//! ```

mod actor;
mod batch;
mod error;
mod export;
mod family;
mod faults;
mod folder;
mod gate;
mod handle;
mod header;
mod key;
mod key_slot;
mod queue;
mod resealing;
mod rotation;
mod seal;
mod seals;
mod snapshot;
mod store;
mod tuning;
mod writer;

#[cfg(test)]
mod tests;

use ractor::RpcReplyPort;

pub use actor::{StorageActor, StorageArguments, StorageState};
pub use batch::{Batch, Durability, MAX_BATCH_BYTES, MAX_BATCH_RECORDS, MAX_KEY_BYTES, MAX_VALUE_BYTES};
pub use error::{Access, ConditionFailed, ShownKey, StorageError};
pub use export::{Export, Exporting, RecordVersion, SealedRecord};
pub use family::Family;
#[cfg(any(test, feature = "testing"))]
pub use faults::{Action, Fault, Hold};
pub use faults::{Faults, Point};
pub(crate) use folder::{LockedFolder, make_folder};
pub use gate::Gate;
pub use handle::{BACKUP_PATIENCE, StorageHandle, StorageTimeouts};
pub use header::Owner;
#[cfg(any(test, feature = "testing"))]
pub(crate) use header::fuzz;
pub use key::{Argon2Params, KeySource};
pub use key_slot::KeySlot;
pub use queue::QueueLimits;
pub use rotation::Rotation;
pub use snapshot::StorageSnapshot;
pub use store::{MAX_PAGE_BYTES, MAX_PAGE_RECORDS, Page, Record, Store, StoreOptions};

use crate::secret::SecretBytes;

/// A job on the whole store. Whoever wants to know what comes of it has it say so.
pub type ExportJob = Box<dyn FnOnce(&Export<'_>) + Send>;

/// Where the storage actor answers a question that can fail.
pub type Reply<T> = RpcReplyPort<Result<T, StorageError>>;

/// Which records to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Of this family.
    pub family: Family,
    /// Whose keys begin with this.
    pub prefix: Vec<u8>,
    /// Whose keys come behind this one.
    pub after: Option<Vec<u8>>,
    /// At most so many, 1 to [`MAX_PAGE_RECORDS`].
    pub limit: usize,
}

/// What the storage actor is asked. [`StorageHandle`] asks it properly.
pub enum StorageMsg {
    /// Read the records with these keys.
    Get {
        /// The families and keys.
        keys: Vec<(Family, Vec<u8>)>,
        /// Where the records go, in the order of the keys, those that there are.
        reply: Reply<Vec<Option<SecretBytes>>>,
    },
    /// Read the records of a range.
    List {
        /// Which ones.
        listing: Listing,
        /// Where they go.
        reply: Reply<Page>,
    },
    /// Write a batch.
    Write {
        /// What to write.
        batch: Batch,
        /// What must be true before it is acknowledged.
        durability: Durability,
        /// Where it is acknowledged.
        reply: Reply<()>,
    },
    /// Run a job on the whole store as it is now, on the blocking pool, for as long as it takes.
    Export(ExportJob),
    /// Lock the store with another secret: see [`Store::rewrap`].
    Rewrap {
        /// What unlocks it now.
        current: KeySource,
        /// What is to unlock it from now on, also in the next life of this actor.
        new: KeySource,
        /// Where it is acknowledged.
        reply: Reply<()>,
    },
    /// Seal all records anew with a new store key, a few at a time, while others read and write: see [`Store::rotate`].
    Rotate {
        /// What unlocks the store.
        source: KeySource,
        /// Where goes how many records were sealed anew, when the former key is gone from the files.
        reply: Reply<u64>,
    },
    /// Have what was deleted under a prefix leave the files too.
    Purge {
        /// The family.
        family: Family,
        /// The prefix.
        prefix: Vec<u8>,
        /// What becomes of exports.
        exporting: Exporting,
        /// Acknowledged when it has.
        reply: Reply<()>,
    },
    /// Tell the state.
    Snapshot {
        /// Where it goes.
        reply: RpcReplyPort<StorageSnapshot>,
    },
    /// Finish what was accepted, close the store, and stop.
    Close {
        /// Acknowledged when the store is closed.
        reply: Reply<()>,
    },
    /// From the writer: the group is done.
    Written,
    /// From a reader: a read failed, and its caller knows.
    ReadFailed(StorageError),
}
