//! Erased shares leave the store's files, too.

use std::time::Duration;

use ractor::ActorRef;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::actor::{ReshareMsg, ReshareState};
use super::work::Work;
use crate::secret::SecretBytes;
use crate::storage::{BACKUP_PATIENCE, Batch, Durability, Family, StorageError, StorageHandle};
use crate::supervision::beside;

/// The note that shares were deleted and may still be in the store's files.
pub(super) const PURGE_KEY: &[u8] = b"purge-shares";
/// The pause after a purge: many reshares in a row share one. And between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// Puts a note into a batch that deletes shares: [`clear_erased`] has them leave the files. No two notes are the same, so that
/// one which comes while the files are cleared is seen.
pub(crate) fn note_erased(batch: Batch) -> Batch {
    batch.put(Family::Meta, PURGE_KEY, SecretBytes::copy_from(Uuid::new_v4().as_bytes()))
}

/// Has deleted shares leave the store's files, until nothing was deleted since. A backup that is being read is waited for, ten
/// minutes at most.
pub(crate) async fn clear_erased(storage: &StorageHandle) -> Result<(), StorageError> {
    clear_within(storage, BACKUP_PATIENCE).await
}

async fn clear_within(storage: &StorageHandle, patience: Duration) -> Result<(), StorageError> {
    loop {
        let Some(note) = storage.get(Family::Meta, PURGE_KEY).await? else { return Ok(()) };
        storage.purge_within(Family::Shares, [], patience).await?;
        let done = Batch::new()
            .require_hash(Family::Meta, PURGE_KEY, Sha256::digest(note.expose()).into())
            .delete(Family::Meta, PURGE_KEY);
        match storage.write(done, Durability::Buffered).await {
            Ok(()) => return Ok(()),
            // More was deleted meanwhile.
            Err(StorageError::ConditionFailed(_)) => tokio::time::sleep(PAUSE).await,
            Err(error) => return Err(error),
        }
    }
}

impl ReshareState {
    /// Has deleted shares leave the store's files; once more, if that is being done already.
    pub(super) fn purge(&mut self, myself: &ActorRef<ReshareMsg>) {
        self.purge_again = std::mem::replace(&mut self.purging, true);
        if self.purge_again {
            return;
        }
        let storage = self.args.storage.clone();
        beside(myself, async move { Work::Purged(clear_erased(&storage).await) });
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

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "a test is named subject__should_claim")]

    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;

    use super::*;
    use crate::ids::Threshold;
    use crate::storage::Exporting;
    use crate::testing::Bench;

    /// A backup that reads the store again and again, until it is told to be done. It says whether it could.
    struct Backup {
        done: Arc<AtomicBool>,
        made: JoinHandle<Result<(), StorageError>>,
    }

    impl Backup {
        async fn start(storage: &StorageHandle) -> Self {
            let (begun, has_begun) = oneshot::channel();
            let done = Arc::new(AtomicBool::new(false));
            let (storage, told) = (storage.clone(), Arc::clone(&done));
            let made = tokio::spawn(async move {
                let read = move |export: &crate::storage::Export<'_>| {
                    begun.send(()).unwrap();
                    while !told.load(Ordering::Relaxed) {
                        export.each(|record| record.open().map(drop))?;
                    }
                    Ok(())
                };
                storage.export(read).await?
            });
            has_begun.await.unwrap();
            Self { done, made }
        }
    }

    async fn is_noted(storage: &StorageHandle) -> bool {
        storage.get(Family::Meta, PURGE_KEY).await.unwrap().is_some()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn backup__should_be_waited_for_by_who_clears_the_files_but_not_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::new(Threshold::new(2, 3).unwrap());
        let storage = bench.storage(0, folder.path()).await;
        let storage = bench.handle(&storage);
        for (patience, is_made) in [(BACKUP_PATIENCE, true), (Duration::ZERO, false)] {
            let note = Batch::new().put(Family::Meta, PURGE_KEY, SecretBytes::copy_from(b"reshared"));
            storage.write(note, Durability::Synced).await.unwrap();
            let backup = Backup::start(&storage).await;
            let clearing = {
                let storage = storage.clone();
                tokio::spawn(async move { clear_within(&storage, patience).await })
            };
            if is_made {
                let refused = storage.purge(Family::Shares, [], Exporting::Spared).await.unwrap_err();
                assert!(matches!(refused, StorageError::Exporting), "{refused}");
                assert!(is_noted(&storage).await && !backup.made.is_finished());
                backup.done.store(true, Ordering::Relaxed);
            }
            clearing.await.unwrap().unwrap();
            assert!(!is_noted(&storage).await);
            let made = backup.made.await.unwrap();
            match made {
                Ok(()) => assert!(is_made, "it stood in the way"),
                Err(error) => assert!(!is_made && matches!(error, StorageError::Cleared), "{error}"),
            }
        }
    }
}
