//! Erased shares leave the store's files, too.

use std::time::Duration;

use ractor::ActorRef;
use sha2::{Digest, Sha256};

use super::actor::{ReshareMsg, ReshareState};
use super::args::ReshareArgs;
use super::work::Work;
use crate::storage::{Batch, Durability, Family, StorageError};
use crate::supervision::beside;

/// The note that shares were deleted and may still be in the store's files.
pub(super) const PURGE_KEY: &[u8] = b"purge-shares";
/// The pause after a purge: many reshares in a row share one.
const PAUSE: Duration = Duration::from_secs(1);

impl ReshareState {
    /// Has deleted shares leave the store's files, unless that is being done.
    pub(super) fn purge(&mut self, myself: &ActorRef<ReshareMsg>) {
        if std::mem::replace(&mut self.purging, true) {
            return;
        }
        let args = self.args.clone();
        beside(myself, async move { Work::Purged(args.purge().await) });
    }
}

impl ReshareArgs {
    /// Purges the files until nothing was deleted since.
    async fn purge(&self) -> Result<(), StorageError> {
        loop {
            let Some(note) = self.storage.get(Family::Meta, PURGE_KEY).await? else { return Ok(()) };
            self.storage.purge(Family::Shares, []).await?;
            let done = Batch::new()
                .require_hash(Family::Meta, PURGE_KEY, Sha256::digest(note.expose()).into())
                .delete(Family::Meta, PURGE_KEY);
            match self.storage.write(done, Durability::Buffered).await {
                Ok(()) => return Ok(()),
                // More was deleted meanwhile.
                Err(StorageError::ConditionFailed(_)) => tokio::time::sleep(PAUSE).await,
                Err(error) => return Err(error),
            }
        }
    }
}
