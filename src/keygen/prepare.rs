//! What happens to a key generation off the actor: checks, the store, certificates.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedRwLockReadGuard, RwLock};

use super::KeygenMsg;
use crate::clock::Clock;
use crate::destruction::is_destroyed;
use crate::error::{Code, Failure};
use crate::identity::{NodeIdentity, PeerBook};
use crate::ids::{ClusterId, NodeId, SheetHash, Threshold, WalletId};
use crate::keys::ChainCode;
use crate::pairing::Bans;
use crate::policy::Policy;
use crate::protocol::keygen::KeygenOutput;
use crate::secret::SecretBytes;
use crate::session::{CryptoPool, Post, SessionKit, SheetContext};
use crate::signing::check_frame;
use crate::storage::{Batch, Durability, Family, StorageError, StorageHandle};
use crate::supervision::Address;
use crate::transport::TransportMsg;
use crate::wallet::Pending;
use crate::wallet::{
    RECORD_DOMAIN, WalletCertificate, WalletError, WalletRecord, certificate_key, orphan_key, pending_key, share_key,
    tombstone_key,
};
use crate::wire::codec;
use crate::wire::message::Service;
use crate::wire::request::KeygenRequest;
use crate::wire::sheet::Task;
use crate::wire::transcript::Transcript;

/// What key generation is started with.
#[derive(Clone)]
pub struct KeygenArgs {
    /// The cluster.
    pub cluster: ClusterId,
    /// This node.
    pub identity: Arc<NodeIdentity>,
    /// Everyone's keys: all of them hold a share of every new wallet.
    pub peers: Arc<PeerBook>,
    /// Whose requests count.
    pub policy: Arc<Policy>,
    /// The threshold of new wallets.
    pub threshold: Threshold,
    /// The cluster's chain code; without one, each wallet gets its own.
    pub chain_code: Option<ChainCode>,
    /// The way to the peers.
    pub transport: Address<TransportMsg>,
    /// The store.
    pub storage: StorageHandle,
    /// Where bans go.
    pub bans: Arc<dyn Bans>,
    /// Where engines compute.
    pub pool: CryptoPool,
    /// The clock of deadlines.
    pub clock: Clock,
    /// How long a key generation may take, its commit included.
    pub deadline: Duration,
    /// How often members are asked again about a pending share.
    pub resolve_every: Duration,
    /// The most key generations at a time.
    pub max_concurrent: usize,
    /// The address of this actor, for its sessions and tasks.
    pub myself: Address<KeygenMsg>,
    /// Held shared by every task that writes shares, so that a new life of the actor can wait for those of the former.
    pub writes: Arc<RwLock<()>>,
}

/// Shares could not be made active.
#[derive(Debug)]
pub(super) struct NotActivated {
    pub code: Code,
    /// The member whose signature is not valid.
    pub culprit: Option<NodeId>,
}

impl From<Code> for NotActivated {
    fn from(code: Code) -> Self {
        Self { code, culprit: None }
    }
}

impl From<WalletError> for NotActivated {
    fn from(error: WalletError) -> Self {
        let culprit = match &error {
            WalletError::Signature(node) => Some(*node),
            WalletError::Codec(_) | WalletError::Rule(_) | WalletError::Proof(_) => None,
        };
        tracing::warn!(%error, "a wallet record cannot be certified");
        Self { code: error.code(), culprit }
    }
}

/// The storage record by which a repeated request is recognised.
#[derive(Serialize, Deserialize)]
struct ContentRecord {
    #[serde(with = "serde_bytes")]
    content: [u8; 32],
}

/// Whether these bytes are what a finished key generation leaves for its request.
pub(crate) fn is_content_record(bytes: &[u8]) -> bool {
    codec::decode::<ContentRecord>(bytes, 128).is_ok()
}

/// A request that may run: no wallet of that name is here, whole or pending.
pub(super) struct Prepared {
    pub request: KeygenRequest,
    pub content: [u8; 32],
}

/// What a checked request leads to.
pub(super) enum Admitted {
    /// A new wallet.
    New(Prepared),
    /// Shares of a wallet of that name are pending here.
    Pending(Prepared),
    /// The same request made the wallet before.
    Exists(Arc<WalletCertificate>),
}

fn internal() -> Failure {
    Failure::new(Code::Internal, "the node failed; its log says more")
}

fn storage_failure(error: &StorageError) -> Failure {
    tracing::error!(%error, "storage failed a key generation");
    Failure::new(error.code(), "the node's store failed")
}

/// The storage key of the content record of a wallet's request.
fn content_key(wallet: &WalletId) -> Vec<u8> {
    [b"keygen\0", wallet.as_str().as_bytes()].concat()
}

impl KeygenArgs {
    /// What its sessions have in common.
    pub(super) fn kit(&self) -> SessionKit<KeygenOutput> {
        SessionKit {
            post: Post::new(self.identity.id(), Service::Keygen, self.transport.clone()),
            identity: Arc::clone(&self.identity),
            peers: Arc::clone(&self.peers),
            bans: Arc::clone(&self.bans),
            pool: self.pool.clone(),
            clock: self.clock,
            owner: Arc::new(self.myself.clone()),
        }
    }

    /// Checks who asks, and whether the wallet is new.
    pub(super) async fn prepare(&self, request: KeygenRequest) -> Result<Admitted, Failure> {
        let policy = Arc::clone(&self.policy);
        let request = self
            .pool
            .run(move || policy.check_keygen(&request).map(|()| request))
            .await
            .map_err(|_| internal())?
            .map_err(|error| Failure::new(error.code(), error.to_string()))?;
        let content = request.content_hash();
        let wallet = request.wallet();
        let certificate = self.certificate(wallet).await?;
        let Some(certificate) = certificate else {
            let pending = self.storage.get(Family::Shares, pending_key(wallet)).await;
            return match pending.map_err(|error| storage_failure(&error))? {
                None => Ok(Admitted::New(Prepared { request, content })),
                Some(_) => Ok(Admitted::Pending(Prepared { request, content })),
            };
        };
        let stored = self.storage.get(Family::Results, content_key(wallet)).await.map_err(|e| storage_failure(&e))?;
        let same = stored
            .and_then(|bytes| codec::decode::<ContentRecord>(bytes.expose(), 128).ok())
            .is_some_and(|record| record.content == content);
        if same {
            Ok(Admitted::Exists(certificate))
        } else {
            Err(Failure::new(Code::KeyAlreadyExists, format!("wallet {wallet} exists")))
        }
    }

    /// The certificate of a wallet, if it is active here.
    pub(super) async fn certificate(&self, wallet: &WalletId) -> Result<Option<Arc<WalletCertificate>>, Failure> {
        let stored = self.storage.get(Family::Wallets, certificate_key(wallet)).await;
        let Some(bytes) = stored.map_err(|error| storage_failure(&error))? else {
            return match is_destroyed(&self.storage, wallet).await.map_err(|error| storage_failure(&error))? {
                true => Err(Failure::new(Code::WalletDestroyed, format!("wallet {wallet} was destroyed"))),
                false => Ok(None),
            };
        };
        let peers = Arc::clone(&self.peers);
        let decoded = self.pool.run(move || WalletCertificate::decode(bytes.expose(), &peers)).await;
        decoded.map_err(|_| internal())?.map(|certificate| Some(Arc::new(certificate))).map_err(|error| {
            tracing::error!(%wallet, %error, "a stored wallet certificate is not valid");
            Failure::new(Code::DataCorruption, "a stored record is damaged")
        })
    }

    /// Checks a proposal of `from` against the request in it and everything this node knows.
    pub(super) async fn check(
        &self,
        from: NodeId,
        announced: SheetHash,
        bytes: Vec<u8>,
        signature: [u8; 64],
    ) -> Result<(SheetContext, Prepared), Code> {
        let peers = Arc::clone(&self.peers);
        let opened = self.pool.run(move || SheetContext::open(from, announced, bytes, signature, &peers)).await;
        let sheet = opened.map_err(|_| Code::Internal)??;
        check_frame(&sheet.sheet, &self.cluster, self.clock.now_ms())?;
        let Task::Keygen { wallet, schemes, threshold, request } = &sheet.sheet.task else {
            return Err(Code::MsgValidation);
        };
        let request = KeygenRequest::parse(request).map_err(|error| error.code())?;
        let as_asked = wallet == request.wallet() && *schemes == request.schemes();
        let as_configured = *threshold == self.threshold && sheet.sheet.participants == self.peers.committee();
        if !as_asked || !as_configured {
            return Err(Code::ProtocolViolation);
        }
        match self.prepare(request).await.map_err(|failure| failure.code)? {
            Admitted::New(prepared) => Ok((sheet, prepared)),
            Admitted::Pending(_) => Err(Code::SessionDuplicate),
            Admitted::Exists(_) => Err(Code::KeyAlreadyExists),
        }
    }

    /// Makes new shares durable as pending, and signs the wallet record.
    pub(super) async fn pend(
        &self,
        sheet: &SheetContext,
        content: [u8; 32],
        output: KeygenOutput,
    ) -> Result<Pending, Code> {
        let Task::Keygen { wallet, .. } = &sheet.sheet.task else { return Err(Code::Internal) };
        let chain_code = self.chain_code.unwrap_or_else(|| own_chain_code(&output.transcript));
        let groups = output.shares.values().map(|share| share.group().clone()).collect();
        let record = WalletRecord::new(
            self.cluster.clone(),
            wallet.clone(),
            sheet.hash,
            chain_code,
            groups,
            &sheet.sheet.participants,
        );
        let bytes = record
            .and_then(|record| record.dealt_by(sheet.sheet.deadline_ms).encode())
            .map_err(|error| error.code())?;
        let signature = self.identity.sign(RECORD_DOMAIN, &[&bytes]);
        let shares: Result<BTreeMap<_, _>, _> =
            output.shares.iter().map(|(&scheme, share)| Ok((scheme, share.to_secret_bytes()?))).collect();
        let shares = shares.map_err(|_: crate::protocol::share::ShareError| Code::Internal)?;
        let pending = Pending::new(sheet.hash, content, bytes, signature, &shares);
        let batch = Batch::new()
            .require_absent(Family::Wallets, certificate_key(wallet))
            .require_absent(Family::Wallets, tombstone_key(wallet))
            .require_absent(Family::Shares, pending_key(wallet))
            .put(Family::Shares, pending_key(wallet), pending.encode().map_err(|_| Code::Internal)?);
        match self.storage.write(batch, Durability::Synced).await {
            Ok(()) => Ok(pending),
            Err(StorageError::ConditionFailed(_)) => Err(Code::KeyAlreadyExists),
            Err(error) => {
                tracing::error!(%error, "failed to store new shares");
                // A write without an answer may take effect all the same, also later. Until the store says, this task does
                // not end, so that the node never claims to hold no share while it may. It waits without the shares: the
                // store may be closed for good because the node is sealed.
                drop((pending, shares, output));
                let stored = self.storage.settled(Family::Shares, pending_key(wallet), self.resolve_every).await;
                let stored = stored.and_then(|bytes| Pending::decode(bytes.expose()).ok());
                stored.filter(|stored| stored.session == sheet.hash).ok_or(error.code())
            }
        }
    }

    /// The pending shares of a wallet, if there are any.
    pub(super) async fn pending(&self, wallet: &WalletId) -> Result<Option<Pending>, StorageError> {
        let stored = self.storage.get(Family::Shares, pending_key(wallet)).await?;
        Ok(stored.and_then(|bytes| match Pending::decode(bytes.expose()) {
            Ok(pending) => Some(pending),
            Err(error) => {
                tracing::error!(%wallet, %error, "a pending record does not decode");
                None
            }
        }))
    }

    /// Checks the signatures of all members, and makes the pending shares active: one atomic, durable write.
    pub(super) async fn activate(
        &self,
        wallet: &WalletId,
        signatures: BTreeMap<NodeId, [u8; 64]>,
    ) -> Result<Arc<WalletCertificate>, NotActivated> {
        let Some(pending) = self.pending(wallet).await.map_err(|e| e.code())? else {
            return self.activated(wallet).await;
        };
        let (record, peers) = (pending.record.clone(), Arc::clone(&self.peers));
        let joined = self.pool.run(move || WalletCertificate::new(record, signatures, &peers)).await;
        let certificate = joined.map_err(|_| Code::Internal)??;
        self.activate_with(wallet, &pending, &certificate).await?;
        Ok(Arc::new(certificate))
    }

    /// As [`KeygenArgs::activate`], with a certificate that a member sent.
    pub(super) async fn adopt(
        &self,
        wallet: &WalletId,
        certificate: Vec<u8>,
    ) -> Result<Arc<WalletCertificate>, NotActivated> {
        let Some(pending) = self.pending(wallet).await.map_err(|e| e.code())? else {
            return self.activated(wallet).await;
        };
        let peers = Arc::clone(&self.peers);
        let decoded = self.pool.run(move || WalletCertificate::decode(&certificate, &peers)).await;
        let certificate = decoded.map_err(|_| Code::Internal)??;
        if certificate.record().encode()? != pending.record {
            return Err(Code::ProtocolViolation.into());
        }
        self.activate_with(wallet, &pending, &certificate).await?;
        Ok(Arc::new(certificate))
    }

    /// What is active where nothing is pending any more: an earlier write was answered too late, or not at all.
    async fn activated(&self, wallet: &WalletId) -> Result<Arc<WalletCertificate>, NotActivated> {
        let certificate = self.certificate(wallet).await.map_err(|failure| failure.code)?;
        Ok(certificate.ok_or(Code::KeyNotFound)?)
    }

    async fn activate_with(
        &self,
        wallet: &WalletId,
        pending: &Pending,
        certificate: &WalletCertificate,
    ) -> Result<(), Code> {
        let encoded = certificate.encode().map_err(|error| error.code())?;
        let content = codec::encode(&ContentRecord { content: pending.content }, 128).map_err(|_| Code::Internal)?;
        let mut batch = Batch::new()
            .require_absent(Family::Wallets, certificate_key(wallet))
            .require_absent(Family::Wallets, tombstone_key(wallet))
            .require_present(Family::Shares, pending_key(wallet))
            .put(Family::Wallets, certificate_key(wallet), SecretBytes::from_vec(encoded))
            .put(Family::Results, content_key(wallet), SecretBytes::from_vec(content))
            .delete(Family::Shares, pending_key(wallet));
        for (scheme, share) in pending.shares() {
            let key = certificate.record().key(scheme).ok_or(Code::Internal)?;
            batch = batch.put(Family::Shares, share_key(wallet, scheme, key.generation), share);
        }
        self.storage.write(batch, Durability::Synced).await.map_err(|error| {
            tracing::error!(%wallet, %error, "failed to activate new shares");
            error.code()
        })
    }

    /// Held by a task from before it writes shares until after.
    pub(super) fn writing(&self) -> Option<OwnedRwLockReadGuard<()>> {
        // Only the start of a life holds the lock exclusively, and then there are no tasks.
        Arc::clone(&self.writes).try_read_owned().ok()
    }

    /// Waits until no task of a former life writes any more.
    pub(super) async fn former_writes(&self) {
        drop(self.writes.write().await);
    }

    /// Sets pending shares aside for which, by what the members say, no certificate can exist. The name is free again;
    /// the shares stay, since a member that said so and signed all the same must not cost this node its share.
    pub(super) async fn set_aside(&self, wallet: &WalletId) -> Result<(), Code> {
        let Some(pending) = self.pending(wallet).await.map_err(|error| error.code())? else {
            // An earlier write was answered too late, or not at all.
            return Ok(());
        };
        let batch = Batch::new()
            .require_absent(Family::Wallets, certificate_key(wallet))
            .require_absent(Family::Wallets, tombstone_key(wallet))
            .put(Family::Shares, orphan_key(wallet, pending.session), pending.encode().map_err(|_| Code::Internal)?)
            .delete(Family::Shares, pending_key(wallet));
        self.storage.write(batch, Durability::Synced).await.map_err(|error| error.code())
    }

    /// Whether `signature` is the signature by `member` of a record.
    pub(super) fn signs(&self, member: NodeId, record: &[u8], signature: &[u8; 64]) -> bool {
        self.peers.verify(member, RECORD_DOMAIN, &[record], signature).is_ok()
    }
}

/// The chain code of a wallet in a cluster that has none of its own: all nodes saw the same transcript.
fn own_chain_code(transcript: &[u8; 32]) -> ChainCode {
    ChainCode(Transcript::new("quorate/chain-code/v1").field(transcript).finish())
}
