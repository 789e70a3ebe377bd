//! Stores that are held and looked into, and engines that are stopped.

use std::collections::BTreeSet;

use ractor::Actor;

use super::{Cluster, HarnessError};
use crate::ids::NodeId;
use crate::pairing::some_ban;
use crate::secret::SecretBytes;
use crate::storage::{
    Batch, Durability, Family, Faults, Hold, Listing, MAX_PAGE_RECORDS, Point, StorageActor, StorageError,
    StorageHandle, StorageTimeouts,
};
use crate::supervision::Address;
use crate::testing::Silence;
use crate::wallet::{PENDING_PREFIX, QUARANTINE_PREFIX, Restored};

/// How many computations each node of a harness runs at a time.
pub(super) const POOL_WIDTH: usize = 2;

impl Cluster {
    /// Stops a node's store at its next write that touches a record of `family`.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn hold_write(&self, number: usize, point: Point, family: Family) -> Result<Hold, HarnessError> {
        Ok(self.storage_faults(number)?.hold_of(point, family))
    }

    /// The faults of a node's store, through all its lives.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn storage_faults(&self, number: usize) -> Result<&Faults, HarnessError> {
        Ok(&self.args(number)?.storage.faults)
    }

    /// The store of a running node.
    ///
    /// # Errors
    /// When it does not run.
    pub fn store(&self, number: usize) -> Result<StorageHandle, HarnessError> {
        Ok(StorageHandle::new(self.addresses(number)?.storage.clone(), StorageTimeouts::default()))
    }

    /// Opens the store of a node that does not run, lets `act` read and change it, and closes it again.
    ///
    /// # Errors
    /// When it cannot be opened or closed, or what `act` returns.
    pub async fn with_store<T>(
        &self,
        number: usize,
        act: impl AsyncFnOnce(&StorageHandle) -> Result<T, StorageError>,
    ) -> Result<T, HarnessError> {
        let args = self.args(number)?.storage.clone();
        let started = Actor::spawn(None, StorageActor, args).await;
        let (actor, joined) = started.map_err(|error| HarnessError::Timeout(format!("a store opens: {error}")))?;
        let store = StorageHandle::new(Address::of(actor), StorageTimeouts::default());
        let done = act(&store).await;
        store.close().await?;
        // How the actor ended is what `close` said.
        let _ = joined.await;
        Ok(done?)
    }

    /// Marks a wallet of a running node as one that came out of a backup. It stays so: nobody is asked to confirm it before
    /// the node starts again.
    ///
    /// # Errors
    /// When the store does not take the mark.
    pub async fn quarantine(&self, number: usize, wallet: &str) -> Result<(), HarnessError> {
        let name = [QUARANTINE_PREFIX, wallet.as_bytes()].concat();
        let mark = Restored { archive: [0; 16], made_ms: 0, restored_ms: 0 };
        let mark = mark.encode().map_err(|error| HarnessError::Timeout(format!("a mark is written: {error}")))?;
        Ok(self.store(number)?.write(Batch::new().put(Family::Meta, name, mark), Durability::Synced).await?)
    }

    /// The wallets with pending shares in a running node's store.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn pending_wallets(&self, number: usize) -> Result<BTreeSet<String>, HarnessError> {
        let prefix = PENDING_PREFIX.to_vec();
        let listing = Listing { family: Family::Shares, prefix, after: None, limit: MAX_PAGE_RECORDS };
        let records = self.store(number)?.list(listing).await?.records;
        let name = |key: &[u8]| String::from_utf8_lossy(key.strip_prefix(PENDING_PREFIX).unwrap_or(key)).into_owned();
        Ok(records.iter().map(|record| name(&record.key)).collect())
    }

    /// The keys of all records of a family that begin with `prefix`, in a running node's store.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn stored_keys(
        &self,
        number: usize,
        family: Family,
        prefix: &[u8],
    ) -> Result<BTreeSet<Vec<u8>>, HarnessError> {
        let listing = Listing { family, prefix: prefix.to_vec(), after: None, limit: MAX_PAGE_RECORDS };
        Ok(self.store(number)?.list(listing).await?.records.into_iter().map(|record| record.key).collect())
    }

    /// Takes all places of a node's computing pool: from now on it takes part in nothing, while its links beat on.
    ///
    /// # Errors
    /// When there is no such node.
    pub async fn silence(&self, number: usize) -> Result<Silence, HarnessError> {
        let pool = self.pools.get(number).ok_or(HarnessError::NotRunning(number))?;
        Ok(Silence::of(pool, POOL_WIDTH).await)
    }

    pub(super) async fn ban_all(&mut self) -> Result<(), HarnessError> {
        for number in 0..self.local.len() {
            let me = self.id(number)?;
            let others = self.args(number)?.peers.ids().filter(|&peer| peer != me);
            let ban = |batch: Batch, peer: NodeId| {
                let (key, ban) = some_ban(peer);
                batch.put(Family::Bans, key, SecretBytes::from_vec(ban))
            };
            let bans = others.fold(Batch::new(), ban);
            self.with_store(number, async |store| store.write(bans, Durability::Synced).await).await?;
        }
        Ok(())
    }
}
