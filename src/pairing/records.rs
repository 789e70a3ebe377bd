//! What pairing keeps in the store for each peer: a state, the one before until that is not used any more, and a ban.

use crate::error::Code;
use crate::ids::{NodeId, SheetHash};
use crate::protocol::pair::PairState;
use crate::stack::wiped_after_engine;
use crate::storage::{
    BACKUP_PATIENCE, Batch, Durability, Family, Listing, MAX_PAGE_RECORDS, Record, StorageError, StorageHandle,
};
use crate::wire::codec;

/// Makes a finished setup durable, unless the pair has been banned since, and beside it the one before if that is `kept`.
pub(super) async fn store(
    storage: &StorageHandle,
    peer: NodeId,
    pair: &PairState,
    kept: Option<&PairState>,
) -> Result<(), Code> {
    let value = |pair: &PairState| wiped_after_engine(|| pair.to_secret_bytes()).map_err(|_| Code::Internal);
    let batch = Batch::new().require_absent(Family::Bans, key_of(peer)).put(Family::Pairs, key_of(peer), value(pair)?);
    let batch = match kept {
        Some(kept) => batch.put(Family::Pairs, former_key(peer), value(kept)?),
        None => batch.delete(Family::Pairs, former_key(peer)),
    };
    storage.write(batch, Durability::Synced).await.map_err(|error| match error {
        StorageError::ConditionFailed(_) => Code::PairBanned,
        error => error.code(),
    })
}

/// Erases a former setup, also from the store's files.
pub(super) async fn erase_former(storage: &StorageHandle, peer: NodeId) -> Result<(), StorageError> {
    let batch = Batch::new().delete(Family::Pairs, former_key(peer));
    storage.write(batch, Durability::Synced).await?;
    storage.purge_within(Family::Pairs, former_key(peer), BACKUP_PATIENCE).await
}

/// Why and since when a pair is banned.
#[derive(serde::Serialize, serde::Deserialize)]
pub(super) struct BanRecord {
    pub session: SheetHash,
    pub at_ms: u64,
}

impl BanRecord {
    pub fn encode(&self) -> Result<Vec<u8>, codec::CodecError> {
        codec::encode(self, 256)
    }
}

/// A ban of `peer` as it is stored: its key and its value.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn some_ban(peer: NodeId) -> (Vec<u8>, Vec<u8>) {
    // A ban always encodes.
    (key_of(peer), BanRecord { session: SheetHash([1; 32]), at_ms: 2 }.encode().unwrap_or_default())
}

/// Whether a record of bans is one.
pub(crate) fn is_ban(key: &[u8], value: &[u8]) -> bool {
    node_of(key).is_some() && codec::decode::<BanRecord>(value, 256).is_ok()
}

/// Whether a record of pairs is one: of a peer, with a state in which no byte was changed.
pub(crate) fn is_pair(key: &[u8], value: &[u8]) -> bool {
    node_of(key).or_else(|| former_of(key)).is_some()
        && wiped_after_engine(|| PairState::from_secret_bytes(value)).is_ok()
}

/// All records of a family that holds one per peer: one page.
pub(super) async fn all(storage: &StorageHandle, family: Family) -> Result<Vec<Record>, StorageError> {
    let listing = Listing { family, prefix: Vec::new(), after: None, limit: MAX_PAGE_RECORDS };
    storage.list(listing).await.map(|page| page.records)
}

/// The storage key of a peer's records.
pub(super) fn key_of(peer: NodeId) -> Vec<u8> {
    peer.0.as_bytes().to_vec()
}

/// What follows a peer's id in the storage key of the setup before the present one.
const FORMER: &[u8] = b"\0former";

/// The storage key of the setup with a peer before the present one.
pub(super) fn former_key(peer: NodeId) -> Vec<u8> {
    [&key_of(peer), FORMER].concat()
}

/// The peer of the storage key of a former setup.
pub(super) fn former_of(key: &[u8]) -> Option<NodeId> {
    key.strip_suffix(FORMER).and_then(node_of)
}

/// The peer of a storage key.
pub(super) fn node_of(key: &[u8]) -> Option<NodeId> {
    uuid::Uuid::from_slice(key).ok().map(NodeId)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Threshold;
    use crate::protocol::pair::testbed;
    use crate::secret::SecretBytes;
    use crate::testing::Bench;

    #[tokio::test(flavor = "multi_thread")]
    async fn setup__should_not_be_stored_once_the_pair_is_banned() {
        let (bench, folder) = (Bench::new(Threshold::new(2, 2).unwrap()), tempfile::tempdir().unwrap());
        let (store_of, peer) = (bench.storage(0, folder.path()).await, bench.id(1));
        let storage = bench.handle(&store_of);
        let [half, _] = &testbed::established()[0];
        let ban = Batch::new().put(Family::Bans, key_of(peer), SecretBytes::copy_from(b"ban"));
        storage.write(ban, Durability::Synced).await.unwrap();
        assert_eq!(store(&storage, peer, half, None).await, Err(Code::PairBanned));
        assert!(storage.get(Family::Pairs, key_of(peer)).await.unwrap().is_none());
        let lifted = Batch::new().delete(Family::Bans, key_of(peer));
        storage.write(lifted, Durability::Synced).await.unwrap();
        store(&storage, peer, half, None).await.unwrap();
        assert!(storage.get(Family::Pairs, key_of(peer)).await.unwrap().is_some());
    }
}
