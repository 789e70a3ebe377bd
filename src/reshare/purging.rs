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
pub(crate) const PURGE_KEY: &[u8] = b"purge-shares";
/// The pause after a purge: many reshares in a row share one.
const PAUSE: Duration = Duration::from_secs(1);

impl ReshareState {
    /// Has deleted shares leave the store's files; once more, if that is being done already.
    pub(super) fn purge(&mut self, myself: &ActorRef<ReshareMsg>) {
        self.purge_again = std::mem::replace(&mut self.purging, true);
        if self.purge_again {
            return;
        }
        let args = self.args.clone();
        beside(myself, async move { Work::Purged(args.purge().await) });
    }

    /// The store's files are purged, or not.
    pub(super) fn purged(&mut self, myself: &ActorRef<ReshareMsg>, result: Result<(), StorageError>) {
        self.purging = false;
        match result {
            Ok(()) if self.purge_again => self.purge(myself),
            Ok(()) => {}
            Err(error) => tracing::error!(%error, "deleted shares may still be in the store's files"),
        }
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
