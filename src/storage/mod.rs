//! The sealed store.

mod batch;
mod error;
mod family;
mod folder;
mod header;
mod key;
mod seal;
mod store;
mod tuning;

pub use batch::{Batch, Durability, MAX_BATCH_BYTES, MAX_BATCH_RECORDS, MAX_KEY_BYTES, MAX_VALUE_BYTES};
pub use error::{Access, ConditionFailed, ShownKey, StorageError};
pub use family::Family;
pub use header::Owner;
pub use key::{Argon2Params, KeySource};
pub use store::{MAX_PAGE_BYTES, MAX_PAGE_RECORDS, Page, Record, Store, StoreOptions};
