//! How other actors reach the store.

use std::time::Duration;

use ractor::RpcReplyPort;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{
    Access, Batch, Durability, Export, Exporting, Family, KeySource, Listing, Page, StorageError, StorageMsg,
    StorageSnapshot,
};
use crate::secret::SecretBytes;
use crate::supervision::{Address, CallError};

/// How long deleted records may stay in the store's files so that a backup can be read to its end.
pub const BACKUP_PATIENCE: Duration = Duration::from_secs(600);
/// The pause between two tries to purge.
const PURGE_AGAIN: Duration = Duration::from_secs(1);

/// How long a caller waits for the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StorageTimeouts {
    /// For the answer to a read.
    pub read: Duration,
    /// For the answer to a write, its turn in the queue included.
    pub write: Duration,
}

impl Default for StorageTimeouts {
    /// 5 s for a read, 10 s for a write: a disk that is slower than that is as good as gone.
    fn default() -> Self {
        Self { read: Duration::from_secs(5), write: Duration::from_secs(10) }
    }
}

/// The storage actor as others see it. Clones reach the same actor, in whatever life it is.
#[derive(Clone)]
pub struct StorageHandle {
    address: Address<StorageMsg>,
    timeouts: StorageTimeouts,
}

impl StorageHandle {
    /// A handle to the actor that answers at `address`.
    #[must_use]
    pub const fn new(address: Address<StorageMsg>, timeouts: StorageTimeouts) -> Self {
        Self { address, timeouts }
    }

    /// A handle to the same actor that waits as long as this.
    #[cfg(test)]
    pub(crate) fn with(&self, timeouts: StorageTimeouts) -> Self {
        Self { address: self.address.clone(), timeouts }
    }

    /// Reads a record: what was last acknowledged, or something newer.
    ///
    /// # Errors
    /// As [`Store::get`](super::Store::get); when too many reads wait; when the actor is not there or too slow.
    pub async fn get(&self, family: Family, key: impl Into<Vec<u8>>) -> Result<Option<SecretBytes>, StorageError> {
        let [record] = self.get_all([(family, key.into())]).await?;
        Ok(record)
    }

    /// Reads several records with one question, in their order. They need not be of the same moment.
    ///
    /// # Errors
    /// As [`get`](Self::get), if any of them cannot be read.
    pub async fn get_all<const N: usize>(
        &self,
        keys: [(Family, Vec<u8>); N],
    ) -> Result<[Option<SecretBytes>; N], StorageError> {
        let keys = keys.into();
        let records = self.ask(Access::Read, |reply| StorageMsg::Get { keys, reply }).await??;
        // The actor answers each key; a number that differs is no answer.
        records.try_into().map_err(|_| StorageError::Unavailable { access: Access::Read })
    }

    /// Lists one page of records.
    ///
    /// # Errors
    /// As [`Store::list`](super::Store::list); when too many reads wait; when the actor is not there or too slow.
    pub async fn list(&self, listing: Listing) -> Result<Page, StorageError> {
        self.ask(Access::Read, |reply| StorageMsg::List { listing, reply }).await?
    }

    /// Writes a batch, and returns when it is as durable as asked.
    ///
    /// # Errors
    /// [`StorageError::ConditionFailed`], [`StorageError::OutOfLimits`] and [`StorageError::Busy`]: nothing was
    /// written. [`StorageError::Write`], [`StorageError::Unavailable`] and [`StorageError::Timeout`]: whether it was
    /// written is open. Read before you try again, or make the batch conditional.
    pub async fn write(&self, batch: Batch, durability: Durability) -> Result<(), StorageError> {
        self.ask(Access::Write, |reply| StorageMsg::Write { batch, durability, reply }).await?
    }

    /// Runs a job on the whole store as it is when the job begins, and waits for what comes of it, however long that
    /// takes. Reads and writes go on meanwhile. A store that is closed ends the job: its next record is
    /// [`StorageError::Unavailable`].
    ///
    /// # Errors
    /// When the actor is not there, too many reads wait, or the job panics.
    pub async fn export<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Export<'_>) -> T + Send + 'static,
    ) -> Result<T, StorageError> {
        let unavailable = || StorageError::Unavailable { access: Access::Read };
        let (sender, outcome) = oneshot::channel();
        let job = Box::new(move |export: &Export<'_>| {
            // Whoever asked may have gone.
            let _ = sender.send(job(export));
        });
        self.address.cast(StorageMsg::Export(job)).map_err(|_| unavailable())?;
        outcome.await.map_err(|_| unavailable())
    }

    /// Locks the store with another secret, for which `current` must still unlock it. From then on the node's own lives
    /// use the new one. `limit` has room for two hashes of passphrases.
    ///
    /// # Errors
    /// As [`Store::rewrap`](super::Store::rewrap); when the actor is not there or too slow: then it is open which
    /// secret unlocks the store.
    pub async fn rewrap(&self, current: KeySource, new: KeySource, limit: Duration) -> Result<(), StorageError> {
        let question = |reply| StorageMsg::Rewrap { current, new, reply };
        self.address.call(limit, question).await.map_err(|error| failed(error, Access::Write))?
    }

    /// Seals all records anew with a new store key, and waits until that is done, however long it takes. Reads and writes
    /// go on meanwhile. Should the actor end before, the store stays usable, and the next call goes on.
    ///
    /// # Errors
    /// When `source` does not unlock the store, its lock is just being changed, a record does not open, or the actor is not
    /// there or ends.
    pub async fn rotate(&self, source: KeySource) -> Result<u64, StorageError> {
        let unavailable = || StorageError::Unavailable { access: Access::Write };
        let (reply, answer) = oneshot::channel();
        self.address.cast(StorageMsg::Rotate { source, reply: reply.into() }).map_err(|_| unavailable())?;
        answer.await.map_err(|_| unavailable())?
    }

    /// What a record is once all earlier writes of it have taken effect, or never will: for whoever got no answer to one.
    /// Asks the store again and again, with a pause, until it says.
    pub async fn settled(&self, family: Family, key: impl Into<Vec<u8>>, pause: Duration) -> Option<SecretBytes> {
        let key = key.into();
        loop {
            // Writes are done one after the other, and this is one that changes nothing.
            let nothing = Batch::new().require_absent(family, key.clone()).delete(family, key.clone());
            let answer = self.write(nothing, Durability::Synced).await;
            if matches!(answer, Ok(()) | Err(StorageError::ConditionFailed(_)))
                && let Ok(record) = self.get(family, key.clone()).await
            {
                return record;
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Has everything that was deleted under a prefix leave the store's files too, and returns when it has. One at a time.
    ///
    /// # Errors
    /// When the database fails; [`StorageError::Exporting`] while a backup is read that is to be spared;
    /// [`StorageError::Busy`] while another purge is at it, or when a backup does not end; when the actor is not there or too
    /// slow.
    pub async fn purge(
        &self,
        family: Family,
        prefix: impl Into<Vec<u8>>,
        exporting: Exporting,
    ) -> Result<(), StorageError> {
        let prefix = prefix.into();
        self.ask(Access::Write, |reply| StorageMsg::Purge { family, prefix, exporting, reply }).await?
    }

    /// As [`StorageHandle::purge`], for as long as it takes. A backup that is being read is waited for, but no longer than
    /// `patience`.
    ///
    /// # Errors
    /// When the database fails, or the actor is not there or too slow.
    pub async fn purge_within(
        &self,
        family: Family,
        prefix: impl Into<Vec<u8>>,
        patience: Duration,
    ) -> Result<(), StorageError> {
        let (prefix, insisting) = (prefix.into(), Instant::now() + patience);
        loop {
            let exporting = if Instant::now() < insisting { Exporting::Spared } else { Exporting::Ended };
            match self.purge(family, prefix.as_slice(), exporting).await {
                Err(StorageError::Exporting) => {}
                // A backup that does not end is in the way, or another purge.
                Err(error @ StorageError::Busy { .. }) => {
                    tracing::warn!(%error, "deleted records are still in the store's files");
                }
                ended => return ended,
            }
            tokio::time::sleep(PURGE_AGAIN).await;
        }
    }

    /// The actor's account of itself.
    ///
    /// # Errors
    /// When the actor is not there or too slow.
    pub async fn snapshot(&self) -> Result<StorageSnapshot, StorageError> {
        self.ask(Access::Read, |reply| StorageMsg::Snapshot { reply }).await
    }

    /// Stops the actor, and returns when the store is closed and all that was accepted is durable.
    ///
    /// # Errors
    /// When an accepted write fails, or the actor is not there or too slow.
    pub async fn close(&self) -> Result<(), StorageError> {
        self.ask(Access::Write, |reply| StorageMsg::Close { reply }).await?
    }

    async fn ask<T: Send + 'static>(
        &self,
        access: Access,
        question: impl FnOnce(RpcReplyPort<T>) -> StorageMsg,
    ) -> Result<T, StorageError> {
        let limit = match access {
            Access::Read => self.timeouts.read,
            Access::Write => self.timeouts.write,
        };
        self.address.call(limit, question).await.map_err(|error| failed(error, access))
    }
}

const fn failed(error: CallError, access: Access) -> StorageError {
    match error {
        CallError::Unavailable => StorageError::Unavailable { access },
        CallError::Timeout => StorageError::Timeout { access },
    }
}
