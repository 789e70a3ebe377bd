//! Backups of real stores with real records, and of ones that somebody tampered with.

mod cluster;
mod folders;
mod hostile;
mod restoring;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::identity::{NodeIdentity, PeerBook};
use crate::ids::{NodeId, RequestId, Scheme, Threshold, WalletId};
use crate::keys::Signature;
use crate::pairing::some_ban;
use crate::protocol::pair::testbed::established;
use crate::secret::SecretBytes;
use crate::signing::{AdmissionRecord, RequestKey};
use crate::storage::{Argon2Params, Batch, Durability, Family, KeySource, Owner, StorageError, Store, StoreOptions};
use crate::testing::PlantedWallet;

/// When the first backup is made.
const START_MS: u64 = 1_800_000_000_000;
const PASSPHRASE: &[u8] = b"of the backups";

fn secret(bytes: &[u8]) -> SecretBytes {
    SecretBytes::copy_from(bytes)
}

fn key(byte: u8) -> KeySource {
    KeySource::key(secret(&[byte; 32])).unwrap()
}

/// A node's store with something of every kind in it, and a folder for its backups.
struct Stage {
    folder: TempDir,
    identities: Vec<Arc<NodeIdentity>>,
    peers: PeerBook,
    store: Store,
    settings: BackupSettings,
    now_ms: u64,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let identities: Vec<_> = (1..=3)
            .map(|id| NodeIdentity::generate(format!("node{id}").parse().unwrap(), NodeId(Uuid::from_u128(id))))
            .map(|identity| Arc::new(identity.unwrap()))
            .collect();
        let peers = PeerBook::new(identities.iter().map(|identity| identity.member()).collect()).unwrap();
        let owner = Owner { cluster: "alpha".parse().unwrap(), node: identities[0].id() };
        let options = StoreOptions {
            folder: folder.path().join("store"),
            owner: owner.clone(),
            argon2: Argon2Params::insecure_for_tests(),
        };
        let store = Store::open(options, &key(1)).unwrap();
        std::fs::create_dir(folder.path().join("backups")).unwrap();
        let settings = BackupSettings {
            folder: folder.path().join("backups"),
            owner,
            name: identities[0].name().clone(),
            signer: Arc::clone(&identities[0]),
            seal: Box::new(|| Seal::insecure_for_tests(secret(PASSPHRASE))),
            keep: 3,
            files: Vec::new(),
        };
        let stage = Self { folder, identities, peers, store, settings, now_ms: START_MS };
        stage.plant("first");
        stage.plant("second");
        let [half, _] = &established()[0];
        let (ban, banned) = some_ban(stage.identities[2].id());
        let peer = stage.identities[1].id().0.as_bytes().to_vec();
        let records = Batch::new()
            .put(Family::Pairs, peer, half.to_secret_bytes().unwrap())
            .put(Family::Bans, ban, secret(&banned))
            .put(Family::Audit, *b"anything", secret(b"asked and decided"));
        stage.write(&records);
        stage
    }

    fn write(&self, records: &Batch) {
        self.store.write(records, Durability::Synced).unwrap();
    }

    /// A wallet of all nodes.
    fn plant(&self, wallet: &str) -> PlantedWallet {
        let wallet: WalletId = wallet.parse().unwrap();
        let (cluster, threshold) = (&self.settings.owner.cluster, Threshold::new(2, 3).unwrap());
        let planted =
            PlantedWallet::deal(cluster, &self.peers, &self.identities, &wallet, threshold, &[Scheme::Ed25519]);
        self.write(&planted.records(self.identities[0].id()));
        planted
    }

    /// The result of a request.
    fn answer(&self, request: &str) {
        let request: RequestId = request.parse().unwrap();
        let key = RequestKey { wallet: "first".parse().unwrap(), request }.storage_key();
        let record = AdmissionRecord { content: [1; 32], answer: Some(Signature::Ed25519([2; 64])), attempt: None };
        self.write(&Batch::new().put(Family::Results, key, record.encode().unwrap()));
    }

    /// A backup, a minute after the last one.
    fn back_up(&mut self, wanted: Wanted) -> Result<Made, BackupError> {
        self.now_ms += 60_000;
        create(&self.store.export(), &self.settings, wanted, self.now_ms, &AtomicBool::new(false))
    }

    fn verify(&self, path: &Path) -> Result<Verified, BackupError> {
        verify(path, &unlock(), Some(&self.peers))
    }

    /// Restores to a new place, locked with another key than the store itself.
    fn restore(&self, path: &Path) -> Result<(Store, Verified), BackupError> {
        let place = self.folder.path().join(Uuid::new_v4().to_string());
        let options = self.options(&place);
        let key = key(2);
        let target = Target { store: options.clone(), key: &key, files: None, aside: None, now_ms: self.now_ms };
        let verified = restore(path, &unlock(), Some(&self.peers), target)?;
        Ok((Store::open(options, &key).unwrap(), verified))
    }

    fn options(&self, place: &Path) -> StoreOptions {
        let owner = self.settings.owner.clone();
        StoreOptions { folder: place.to_owned(), owner, argon2: Argon2Params::insecure_for_tests() }
    }

    fn files(&self) -> Vec<String> {
        let files = std::fs::read_dir(&self.settings.folder).unwrap();
        let mut names: Vec<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| !name.ends_with(".lock"));
        names.sort();
        names
    }

    fn path(&self, name: &str) -> PathBuf {
        self.settings.folder.join(name)
    }
}

fn unlock() -> Unlock {
    Unlock::passphrase(secret(PASSPHRASE))
}

/// Everything in a store but pair setups and notes, which restoring changes.
fn content(store: &Store) -> BTreeMap<(Family, Vec<u8>), Vec<u8>> {
    let mut content = BTreeMap::new();
    let filled = store.export().each(|record| {
        if !matches!(record.family, Family::Pairs | Family::Meta) {
            content.insert((record.family, record.key.to_vec()), record.open()?.expose().to_vec());
        }
        Ok::<_, BackupError>(())
    });
    filled.unwrap();
    content
}
