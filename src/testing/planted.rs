//! A wallet that was never generated.
#![expect(clippy::unwrap_used, reason = "the harness of tests panics where a test is wrong")]

use std::collections::BTreeMap;
use std::sync::Arc;

use ractor::Actor;

use crate::identity::{NodeIdentity, PeerBook};
use crate::ids::{ClusterId, Generation, NodeId, Scheme, SessionId, SheetHash, Threshold, WalletId};
use crate::keys::ChainCode;
use crate::local_cluster::LocalCluster;
use crate::protocol::rng;
use crate::protocol::share::KeyShare;
use crate::protocol::testbed::deal;
use crate::secret::SecretBytes;
use crate::storage::{Batch, Durability, Family, StorageActor, StorageHandle, StorageTimeouts};
use crate::supervision::Address;
use crate::wallet::{RECORD_DOMAIN, WalletCertificate, WalletRecord, certificate_key, share_key};
use crate::wire::request::SignRequest;
use crate::wire::sheet::{SHEET_VERSION, Sheet, Task};

/// A wallet whose shares a dealer made and whose record all members signed: to nodes it is one like any other.
///
/// It saves a key generation, which needs every member to run and to be honest; and the test knows all shares.
pub struct PlantedWallet {
    /// What all members certified.
    pub certificate: Arc<WalletCertificate>,
    /// Everybody's shares.
    pub shares: BTreeMap<NodeId, BTreeMap<Scheme, Arc<KeyShare>>>,
}

impl PlantedWallet {
    /// Deals a wallet to `identities`, who are all members of `peers`, with a key for each of `schemes`.
    ///
    /// # Panics
    /// When identities, threshold and schemes do not fit together.
    #[must_use]
    pub fn deal(
        cluster: &ClusterId,
        peers: &PeerBook,
        identities: &[Arc<NodeIdentity>],
        wallet: &WalletId,
        threshold: Threshold,
        schemes: &[Scheme],
    ) -> Self {
        let committee = peers.committee();
        let mut shares: BTreeMap<NodeId, BTreeMap<Scheme, Arc<KeyShare>>> = BTreeMap::new();
        let mut groups = Vec::new();
        for &scheme in schemes {
            let dealt = deal(scheme, threshold, &mut *rng::os());
            groups.extend(dealt.first().map(|share| share.group().clone()));
            for (member, share) in committee.iter().zip(dealt) {
                shares.entry(member.node).or_default().insert(scheme, Arc::new(share));
            }
        }
        let session = SheetHash(SecretBytes::random(32).unwrap().expose().try_into().unwrap());
        let chain_code = ChainCode([7; 32]);
        let record =
            WalletRecord::new(cluster.clone(), wallet.clone(), session, chain_code, groups, &committee).unwrap();
        let bytes = record.encode().unwrap();
        let signatures = identities.iter().map(|member| (member.id(), member.sign(RECORD_DOMAIN, &[&bytes]))).collect();
        Self { certificate: Arc::new(WalletCertificate::new(bytes, signatures, peers).unwrap()), shares }
    }

    /// The sheet that an honest `coordinator` would write for `request` to this wallet, with those of `nodes` that are
    /// members as its participants. Where the wallet has no such key, what is said of one is true of another: an honest
    /// coordinator would write none.
    ///
    /// # Panics
    /// When the wallet has no keys.
    #[must_use]
    pub fn sheet(&self, request: &SignRequest, coordinator: NodeId, nodes: &[NodeId], deadline_ms: u64) -> Sheet {
        let record = self.certificate.record();
        let key = record.key(request.scheme()).or_else(|| record.keys.first()).unwrap();
        Sheet {
            version: SHEET_VERSION,
            cluster: record.cluster.clone(),
            session: SessionId(SecretBytes::random(32).unwrap().expose().try_into().unwrap()),
            task: Task::Sign {
                wallet: request.wallet().clone(),
                scheme: request.scheme(),
                generation: key.generation,
                threshold: key.group.threshold(),
                request_id: request.request_id().clone(),
                path: request.path(),
                tweak: request.tweak(),
                message: request.message().to_vec(),
                request: request.bytes().to_vec(),
            },
            participants: key.committee.iter().filter(|member| nodes.contains(&member.node)).copied().collect(),
            coordinator,
            attempt: 1,
            deadline_ms,
        }
    }

    /// Deals a wallet to all members of a cluster, none of which runs, and puts it into their stores.
    ///
    /// # Panics
    /// When a store does not open.
    pub async fn in_cluster(
        cluster: &LocalCluster,
        wallet: &WalletId,
        threshold: Threshold,
        schemes: &[Scheme],
    ) -> Self {
        let members: Vec<_> = (0..cluster.len()).filter_map(|number| cluster.args(number)).collect();
        let identities: Vec<_> = members.iter().map(|args| Arc::clone(&args.identity)).collect();
        let args = members.first().unwrap();
        let planted = Self::deal(&args.settings.cluster, &args.peers, &identities, wallet, threshold, schemes);
        for args in members {
            let (store, joined) = Actor::spawn(None, StorageActor, args.storage.clone()).await.unwrap();
            let storage = StorageHandle::new(Address::of(store), StorageTimeouts::default());
            planted.store(args.identity.id(), &storage).await;
            storage.close().await.unwrap();
            joined.await.unwrap();
        }
        planted
    }

    /// Puts what `node` holds of the wallet into its store.
    ///
    /// # Panics
    /// When the store does not take it.
    pub async fn store(&self, node: NodeId, storage: &StorageHandle) {
        storage.write(self.records(node), Durability::Synced).await.unwrap();
    }

    /// What `node` holds of the wallet.
    ///
    /// # Panics
    /// When it does not encode.
    #[must_use]
    pub fn records(&self, node: NodeId) -> Batch {
        let wallet = &self.certificate.record().wallet;
        let encoded = SecretBytes::from_vec(self.certificate.encode().unwrap());
        let mut batch = Batch::new().put(Family::Wallets, certificate_key(wallet), encoded);
        for (&scheme, share) in self.shares.get(&node).into_iter().flatten() {
            let key = share_key(wallet, scheme, Generation::default());
            batch = batch.put(Family::Shares, key, share.to_secret_bytes().unwrap());
        }
        batch
    }
}
