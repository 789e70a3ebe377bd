//! Destroying wallets: from a request that policy allows to a certificate in which every member states that it holds no
//! share any more.
//!
//! ```text
//!            allowed?                one write                          told, until all know
//!   request ──────────▶ this node ──▶ shares erased, tombstone ──▶ every node: allowed? one write, statement
//!                                          ▲                                          │
//!                                          └──── certificate: all statements ◀────────┘
//! ```
//!
//! There is nothing to agree on: the request alone decides, and every node judges it by its own policy, whoever brings it.
//! So a node that is away learns of it when it is back, from whoever knows, and nobody can make it believe in one that nobody
//! asked for. A destruction cannot be undone, and needs no two phases: what is erased on one node is to be erased on all.
//!
//! In one durable write a node erases all that it holds of the wallet's keys, also what is pending or was set aside, and puts
//! the certificate of destruction, with its own statement, in the place of the wallet's. The id stays taken for ever. Then it
//! has the erased shares leave the store's files, and tells all others what it knows until each says that it knows as much.
//! A node that starts asks the others about every wallet that it holds: so one that came out of an old backup learns of what
//! was destroyed since.

mod actor;
mod args;
#[cfg(test)]
mod tests;

pub use actor::{DestructionActor, DestructionMsg, DestructionSnapshot};
pub use args::DestructionArgs;
pub(crate) use args::is_destruction_note;

use std::sync::Arc;

use crate::error::{Code, Failure};
use crate::ids::WalletId;
use crate::storage::{Family, StorageError, StorageHandle};
use crate::wallet::{DestructionCertificate, tombstone_key};

/// What came of a request.
#[derive(Debug, Clone)]
pub struct Destroyed {
    /// What the nodes state that could be heard in time. Those that are missing are told as soon as they are back.
    pub certificate: Arc<DestructionCertificate>,
}

/// A wallet is destroyed on this node: whatever runs with its shares must end.
#[derive(Debug, Clone)]
pub struct WalletGone(pub WalletId);

/// Whether a wallet was destroyed, as this node knows.
pub(crate) async fn is_destroyed(storage: &StorageHandle, wallet: &WalletId) -> Result<bool, StorageError> {
    storage.get(Family::Wallets, tombstone_key(wallet)).await.map(|found| found.is_some())
}

/// What is said of a wallet that is not here: `otherwise`, unless it was destroyed.
pub(crate) async fn not_here(storage: &StorageHandle, wallet: &WalletId, otherwise: Failure) -> Failure {
    match is_destroyed(storage, wallet).await {
        Ok(true) => Failure::new(Code::WalletDestroyed, format!("wallet {wallet} was destroyed")),
        Ok(false) => otherwise,
        Err(error) => Failure::new(error.code(), "the node's store failed"),
    }
}
