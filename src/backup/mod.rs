//! Backups: what a node needs to come back after its disk is gone, encrypted to whom its operator chose.
//!
//! ```text
//!              one moment of the store
//!  Store ── Export ──▶ survey ──▶ full, or what changed since the last full ──▶ archive ──▶ age ──▶ file, mode 0600
//!                                   ▲                                                          └──▶ manifest (full only)
//!                                   └── manifest of the last full: versions, no content
//!
//!  file (and the full one below it) ──▶ age ──▶ merged records ──▶ every one checked ──▶ new store, wallets in quarantine
//! ```
//!
//! What it promises:
//! - A backup is of one moment, and holds nobody up while it is made.
//! - It is in its folder whole, durable, or not at all. Old ones go only after a newer one is there.
//! - The node need not be able to read it: recipients are public keys. Nothing outside the encryption is secret.
//! - Whoever reads one gets all of it, unchanged, or an error that says what is wrong: also where somebody put archives
//!   together that do not belong together.
//! - Nothing that is used once is ever in one: nonces and the like are never stored.
//! - A restored wallet does not sign before enough other members have said that they know of nothing newer.
//!
//! It does not promise that a backup is the newest: whoever has the folder can take newer ones away.

mod actor;
mod chain;
mod check;
mod create;
mod error;
mod folder;
mod frame;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod fuzz;
mod manifest;
mod names;
mod reader;
mod restore;
mod seal;
#[cfg(test)]
mod tests;
mod writer;

pub use actor::{BackupActor, BackupArgs, BackupMsg, BackupSnapshot, JobDone, NotMade};
pub use chain::{Backup, Entry};
pub use check::Tally;
pub use create::{BackupSettings, Made, Wanted, create};
pub use error::BackupError;
pub use folder::{Listed, list, newest};
pub use frame::{ArchiveId, File, Head, Record};
pub use restore::{Target, Verified, aside, restore, verify};
#[cfg(any(test, feature = "testing"))]
pub use seal::generated_keys;
pub use seal::{Seal, Unlock};
