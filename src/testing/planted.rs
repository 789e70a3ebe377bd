//! A wallet that was never generated.
#![expect(clippy::unwrap_used, reason = "the harness of tests panics where a test is wrong")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ractor::Actor;

use crate::identity::{NodeIdentity, PeerBook};
use crate::ids::{ClusterId, NodeId, PartyIndex, Scheme, SessionId, SheetHash, Threshold, WalletId};
use crate::keys::{ChainCode, DerivationPath, Signature};
use crate::local_cluster::LocalCluster;
use crate::protocol::derivation::derive;
use crate::protocol::ecdsa_signing::EcdsaSigning;
use crate::protocol::frost_signing::FrostSigning;
use crate::protocol::pair::testbed::pairs_of;
use crate::protocol::reshare::{OldKey, Reshare, ReshareOutput, ResharePlan};
use crate::protocol::share::KeyShare;
use crate::protocol::testbed::{contexts, deal, run};
use crate::protocol::{Party, RunContext, rng};
use crate::secret::SecretBytes;
use crate::storage::{Batch, Durability, Family, StorageActor, StorageHandle, StorageTimeouts};
use crate::supervision::Address;
use crate::wallet::{
    KeyRecord, NextKey, RECORD_DOMAIN, WalletCertificate, WalletRecord, certificate_key, proof_message, share_key,
};
use crate::wire::request::SignRequest;
use crate::wire::sheet::{Participant, SHEET_VERSION, Sheet, Task};

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
            let generation = self.certificate.record().key(scheme).unwrap().generation;
            let key = share_key(wallet, scheme, generation);
            batch = batch.put(Family::Shares, key, share.to_secret_bytes().unwrap());
        }
        batch
    }
}

impl PlantedWallet {
    /// The wallet after a reshare of all its keys to `committee`, certified by all of `identities`.
    ///
    /// # Panics
    /// When the committee and the threshold do not fit together.
    #[must_use]
    pub fn reshared(
        &self,
        peers: &PeerBook,
        identities: &[Arc<NodeIdentity>],
        committee: &[Participant],
        threshold: Threshold,
    ) -> Self {
        let old = self.certificate.record();
        let nodes: BTreeSet<NodeId> = self.shares.keys().copied().chain(committee.iter().map(|m| m.node)).collect();
        let seats: BTreeMap<NodeId, PartyIndex> =
            nodes.into_iter().zip((1..).map(|index: u8| PartyIndex::try_from(index).unwrap())).collect();
        let seat = |member: &Participant| (*seats.get(&member.node).unwrap(), member.index);
        let old_key = |key: &KeyRecord| {
            let quorum = key.committee.iter().take(usize::from(key.group.threshold().signers()));
            (key.group.scheme(), OldKey { group: key.group.clone(), dealers: quorum.map(seat).collect() })
        };
        let plan = ResharePlan {
            keys: old.keys.iter().map(old_key).collect(),
            threshold,
            receivers: committee.iter().map(seat).collect(),
        };
        let indices: Vec<u8> = seats.values().map(|index| index.get()).collect();
        let parties = seats.keys().zip(contexts(1, &indices)).map(|(node, context)| {
            let shares = self.shares.get(node).cloned().unwrap_or_default();
            let engine = Reshare::new(context.clone(), plan.clone(), shares, rng::os()).unwrap();
            (context.me, Box::new(engine) as Box<dyn Party<Output = ReshareOutput>>)
        });
        let mut outputs = run(parties.collect()).into_outputs().unwrap();
        let shares: BTreeMap<NodeId, BTreeMap<Scheme, Arc<KeyShare>>> = committee
            .iter()
            .map(|member| {
                let output = outputs.get_mut(seats.get(&member.node).unwrap()).unwrap();
                let shares = std::mem::take(&mut output.shares);
                (member.node, shares.into_iter().map(|(scheme, share)| (scheme, Arc::new(share))).collect())
            })
            .collect();
        let session = SheetHash(SecretBytes::random(32).unwrap().expose().try_into().unwrap());
        let groups = outputs.into_values().next().unwrap().groups;
        let next = |group| NextKey { group, committee: committee.to_vec(), dealt_ms: None };
        let next = groups.into_values().map(next).collect();
        let record = old.successor(session, session.0, next).unwrap();
        let bytes = record.encode().unwrap();
        let signatures = identities.iter().map(|member| (member.id(), member.sign(RECORD_DOMAIN, &[&bytes]))).collect();
        let proofs = record.keys.iter().map(|key| (key.group.scheme(), prove(&record, key, &shares))).collect();
        let certificate = WalletCertificate::with_proofs(bytes, signatures, proofs, peers).unwrap();
        Self { certificate: Arc::new(certificate), shares }
    }
}

/// The proof of a reshared key, by the first of its members.
///
/// # Panics
/// When the shares are not those of the key.
#[must_use]
pub fn prove(
    record: &WalletRecord,
    key: &KeyRecord,
    shares: &BTreeMap<NodeId, BTreeMap<Scheme, Arc<KeyShare>>>,
) -> Signature {
    let scheme = key.group.scheme();
    let message = proof_message(record, key).unwrap();
    let derived = derive(&key.public_key(), &record.chain_code, &DerivationPath::default()).unwrap();
    let signers: Vec<u8> = (1..=key.group.threshold().signers()).collect();
    let signer = |context: RunContext| -> (PartyIndex, Box<dyn Party<Output = Signature>>) {
        let node = key.committee.iter().find(|member| member.index == context.me).unwrap().node;
        let share = shares.get(&node).and_then(|shares| shares.get(&scheme)).unwrap();
        let me = context.me;
        if scheme == Scheme::Ecdsa {
            let (pairs, digest) = (pairs_of(&context), message.as_slice().try_into().unwrap());
            return (me, Box::new(EcdsaSigning::new(&context, share, pairs, &derived, b"planted", digest).unwrap()));
        }
        (me, Box::new(FrostSigning::new(context, share, &derived, message.clone(), None, rng::os()).unwrap()))
    };
    let outputs = run(contexts(1, &signers).into_iter().map(signer).collect()).into_outputs().unwrap();
    outputs.into_values().next().unwrap()
}
