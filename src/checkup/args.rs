//! What check-ups are started with, and what their tasks do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::last::{LastCheckup, last_key};
use super::{CheckupMsg, checkup_message};
use crate::clock::Clock;
use crate::error::{Code, Failure};
use crate::identity::{NodeIdentity, PeerBook};
use crate::ids::{ClusterId, NodeId, PartyIndex, Scheme, SheetHash, WalletId};
use crate::keys::Signature;
use crate::pairing::{PairingMsg, pair_states};
use crate::protocol::pair::PairState;
use crate::protocol::{Party, RunContext};
use crate::secret::SecretBytes;
use crate::session::{Built, CryptoPool, Engine, Post, SessionKit, SheetContext};
use crate::signing::{check_frame, unasked_party};
use crate::storage::{Batch, Durability, Family, StorageHandle};
use crate::supervision::Address;
use crate::transport::TransportMsg;
use crate::wallet::{WalletCertificate, WalletRecord, certificate_key, quarantine_key, share_key};
use crate::wire::message::Service;
use crate::wire::sheet::Task;

/// What check-ups are started with.
#[derive(Clone)]
pub struct CheckupArgs {
    /// The cluster.
    pub cluster: ClusterId,
    /// This node.
    pub identity: Arc<NodeIdentity>,
    /// Everyone's keys.
    pub peers: Arc<PeerBook>,
    /// The way to the peers.
    pub transport: Address<TransportMsg>,
    /// The store.
    pub storage: StorageHandle,
    /// Where pair states come from and bans go.
    pub pairing: Address<PairingMsg>,
    /// Where engines compute.
    pub pool: CryptoPool,
    /// The clock of deadlines.
    pub clock: Clock,
    /// How long each session may take.
    pub deadline: Duration,
    /// The most wallets at a time.
    pub max_concurrent: usize,
    /// How old a wallet's last check-up may be before it is checked again unasked; `None`: it never is.
    pub every: Option<Duration>,
    /// The address of this actor, for its sessions and tasks.
    pub myself: Address<CheckupMsg>,
}

impl CheckupArgs {
    /// What its sessions have in common.
    pub(super) fn kit(&self) -> SessionKit<Signature> {
        SessionKit {
            post: Post::new(self.identity.id(), Service::Checkup, self.transport.clone()),
            identity: Arc::clone(&self.identity),
            peers: Arc::clone(&self.peers),
            bans: Arc::new(self.pairing.clone()),
            pool: self.pool.clone(),
            clock: self.clock,
            owner: Arc::new(self.myself.clone()),
        }
    }

    /// The certificate of a wallet that this node is a member of, and whose shares it may use.
    pub(super) async fn certificate(&self, wallet: &WalletId) -> Result<Arc<WalletCertificate>, Failure> {
        let records = [(Family::Wallets, certificate_key(wallet)), (Family::Meta, quarantine_key(wallet))];
        let stored = self.storage.get_all(records).await;
        let [stored, quarantined] = stored.map_err(|error| Failure::new(error.code(), "the node's store failed"))?;
        if quarantined.is_some() {
            return Err(Failure::quarantined());
        }
        let not_here = || Failure::new(Code::KeyNotFound, format!("there is no wallet {wallet} on this node"));
        let Some(bytes) = stored else {
            return Err(crate::destruction::not_here(&self.storage, wallet, not_here()).await);
        };
        let peers = Arc::clone(&self.peers);
        let decoded = self.pool.check(move || WalletCertificate::decode(bytes.expose(), &peers)).await;
        let certificate = decoded
            .map_err(|_| Failure::new(Code::Internal, "the node failed; its log says more"))?
            .map_err(|error| Failure::new(error.code(), "a stored wallet certificate is not valid"))?;
        let me = self.identity.id();
        if certificate.record().keys.iter().all(|key| key.member(me).is_none()) {
            return Err(not_here());
        }
        Ok(Arc::new(certificate))
    }

    /// Opens a proposal of `from`, checks it, and builds this node's engine.
    pub(super) async fn check(
        &self,
        from: NodeId,
        announced: SheetHash,
        bytes: Vec<u8>,
        signature: [u8; 64],
    ) -> Result<Built<Signature>, Code> {
        let peers = Arc::clone(&self.peers);
        let opened = self.pool.check(move || SheetContext::open(from, announced, bytes, signature, &peers)).await;
        let sheet = opened.map_err(|_| Code::Internal)??;
        check_frame(&sheet.sheet, &self.cluster, self.clock.now_ms())?;
        self.ready(Arc::new(sheet)).await
    }

    /// Checks a sheet against this node's record of the wallet, and builds its engine.
    pub(super) async fn ready(&self, sheet: Arc<SheetContext>) -> Result<Built<Signature>, Code> {
        let Task::Checkup { wallet, scheme, generation, .. } = &sheet.sheet.task else {
            return Err(Code::MsgValidation);
        };
        let certificate = self.certificate(wallet).await.map_err(|failure| failure.code)?;
        let share = self.storage.get(Family::Shares, share_key(wallet, *scheme, *generation)).await;
        let share = share.map_err(|error| error.code())?.ok_or(Code::KeyNotFound)?;
        let pairs = match scheme {
            Scheme::Ecdsa => pair_states(&self.pairing, &sheet, self.identity.id(), self.deadline).await?,
            Scheme::Ed25519 | Scheme::Bip340 => BTreeMap::new(),
        };
        let (identity, peers, cluster) = (Arc::clone(&self.identity), Arc::clone(&self.peers), self.cluster.clone());
        let build = move || {
            let me = sheet.sheet.index_of(identity.id()).ok_or(Code::ProtocolViolation)?;
            let context = RunContext { session: sheet.hash, me, parties: sheet.sheet.parties() };
            let party = party(&sheet, context, certificate.record(), &share, pairs, &cluster)?;
            let engine = Engine::started(party, &sheet, &identity, &peers).ok_or(Code::Internal)?;
            Ok(Built { sheet, engine })
        };
        self.pool.run(build).await.map_err(|_| Code::Internal)?
    }

    /// Takes down how a wallet's check-up went.
    pub(super) async fn take_down(&self, wallet: &WalletId, good: bool) -> Result<(), Code> {
        let name = last_key(wallet);
        let earlier = self.storage.get(Family::Results, name.clone()).await.map_err(|error| error.code())?;
        let earlier = earlier.and_then(|record| LastCheckup::decode(record.expose()).ok());
        let last = LastCheckup::after(earlier, self.clock.now_ms(), good);
        let batch = Batch::new().put(Family::Results, name, last.encode().map_err(|_| Code::Internal)?);
        self.storage.write(batch, Durability::Buffered).await.map_err(|error| error.code())
    }
}

/// Checks a sheet against the wallet's record, and builds this node's side of its signature: work for the pool.
fn party(
    sheet: &SheetContext,
    context: RunContext,
    record: &WalletRecord,
    share: &SecretBytes,
    pairs: BTreeMap<PartyIndex, Arc<PairState>>,
    cluster: &ClusterId,
) -> Result<Box<dyn Party<Output = Signature>>, Code> {
    let Task::Checkup { scheme, generation, threshold, .. } = &sheet.sheet.task else {
        return Err(Code::MsgValidation);
    };
    let key = record.key(*scheme).ok_or(Code::KeyNotFound)?;
    if *generation != key.generation {
        return Err(Code::SessionStale);
    }
    let members = sheet.sheet.participants.iter().all(|participant| key.committee.contains(participant));
    if !members || *threshold != key.group.threshold() {
        return Err(Code::ProtocolViolation);
    }
    unasked_party(context, record, key, share, pairs, checkup_message(cluster, sheet.hash, *scheme))
}
