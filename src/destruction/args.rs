//! What destructions are started with, and what their tasks do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::{DestructionMsg, WalletGone};
use crate::clock::Clock;
use crate::error::{Code, Failure};
use crate::identity::{NodeIdentity, PeerBook};
use crate::ids::{ClusterId, Generation, NodeId, Scheme, WalletId};
use crate::policy::Policy;
use crate::reshare::{note_erased, notices_prefix};
use crate::secret::SecretBytes;
use crate::session::CryptoPool;
use crate::storage::{Batch, Durability, Family, Listing, MAX_PAGE_RECORDS, StorageError, StorageHandle};
use crate::supervision::{Address, Deliver};
use crate::transport::TransportMsg;
use crate::wallet::{
    DestructionCertificate, WalletCertificate, WalletRecord, active_prefix, certificate_key, is_tombstone, orphans_of,
    pending_key, quarantine_key, resharing_key, tombstone_key, unverified_record,
};
use crate::wire::message::{MAX_QUERIED_WALLETS, PeerMessage};
use crate::wire::request::DestroyRequest;

/// What the storage keys of destructions that not everybody is known to know begin with.
const OPEN_PREFIX: &[u8] = b"destroying\0";
/// The most records of one kind that a wallet leaves: three shares, those of reshares that were set aside, notices.
const MAX_RECORDS: usize = MAX_PAGE_RECORDS;
/// How often a wallet is tried to be destroyed when something else changes it at the same time.
const ATTEMPTS: usize = 8;
/// The most records read at a time.
const PAGE: usize = 512;

/// What destructions are started with.
#[derive(Clone)]
pub struct DestructionArgs {
    /// The cluster.
    pub cluster: ClusterId,
    /// This node.
    pub identity: Arc<NodeIdentity>,
    /// Everyone's keys.
    pub peers: Arc<PeerBook>,
    /// Whose requests count, and whether wallets may be destroyed at all.
    pub policy: Arc<Policy>,
    /// The way to the peers.
    pub transport: Address<TransportMsg>,
    /// The store.
    pub storage: StorageHandle,
    /// Who works with shares, and hears when there are none any more.
    pub users: Vec<Arc<dyn Deliver<WalletGone>>>,
    /// Where signatures are checked.
    pub pool: CryptoPool,
    /// The clock.
    pub clock: Clock,
    /// How long a client waits for the statements of all members.
    pub deadline: Duration,
    /// How often others are told again, at first.
    pub resolve_every: Duration,
    /// The most requests at a time.
    pub max_concurrent: usize,
    /// The address of this actor, for its tasks.
    pub myself: Address<DestructionMsg>,
}

/// What this node knows of a destruction.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub certificate: Arc<DestructionCertificate>,
    /// Whether it has learned something of it just now.
    pub changed: bool,
    /// Whether it has destroyed the wallet just now.
    pub fresh: bool,
}

/// What is stored under a wallet's name.
struct Before {
    bytes: Option<SecretBytes>,
    record: Option<WalletRecord>,
}

fn internal() -> Failure {
    Failure::new(Code::Internal, "the node failed; its log says more")
}

fn storage_failure(error: &StorageError) -> Failure {
    tracing::error!(%error, "storage failed a destruction");
    Failure::new(error.code(), "the node's store failed")
}

impl DestructionArgs {
    /// Does what a client asks for, if policy allows it.
    pub(super) async fn carry_out(&self, request: DestroyRequest) -> Result<Known, Failure> {
        let policy = Arc::clone(&self.policy);
        let checked = self.pool.run(move || policy.check_destroy(&request).map(|()| request)).await;
        let request =
            checked.map_err(|_| internal())?.map_err(|error| Failure::new(error.code(), error.to_string()))?;
        let wallet = request.wallet().clone();
        if let Some(known) = self.certificate(&wallet).await? {
            if known.request().content_hash() == request.content_hash() {
                return Ok(Known { certificate: known, changed: false, fresh: false });
            }
            return Err(Failure::new(Code::WalletDestroyed, format!("wallet {wallet} was destroyed")));
        }
        let stored = self.storage.get(Family::Wallets, certificate_key(&wallet)).await;
        let stored = stored.map_err(|error| storage_failure(&error))?;
        let stored = stored
            .ok_or_else(|| Failure::new(Code::KeyNotFound, format!("there is no wallet {wallet} on this node")))?;
        let peers = Arc::clone(&self.peers);
        let decode = move || {
            let certificate = WalletCertificate::decode(stored.expose(), &peers)
                .map_err(|_| Failure::new(Code::DataCorruption, "a stored record is damaged"))?;
            DestructionCertificate::new(request, certificate)
                .map_err(|error| Failure::new(Code::MsgValidation, error.to_string()))
        };
        let certificate = self.pool.run(decode).await.map_err(|_| internal())??;
        let destroyed = self.destroy(&wallet, certificate).await;
        destroyed.map_err(|code| Failure::new(code, "the wallet could not be destroyed on this node"))
    }

    /// The certificate of a wallet's destruction, if this node knows of it.
    pub(super) async fn certificate(&self, wallet: &WalletId) -> Result<Option<Arc<DestructionCertificate>>, Failure> {
        let stored = self.storage.get(Family::Wallets, tombstone_key(wallet)).await;
        let Some(bytes) = stored.map_err(|error| storage_failure(&error))? else { return Ok(None) };
        let peers = Arc::clone(&self.peers);
        let decoded = self.pool.run(move || DestructionCertificate::decode(bytes.expose(), &peers)).await;
        decoded.map_err(|_| internal())?.map(|certificate| Some(Arc::new(certificate))).map_err(|error| {
            tracing::error!(%wallet, %error, "a stored certificate of destruction is not valid");
            Failure::new(Code::DataCorruption, "a stored record is damaged")
        })
    }

    /// Does what a peer's certificate says, if the request in it is allowed here; also says whose statements came with it.
    ///
    /// # Errors
    /// When it is not one of this wallet and cluster, or policy does not allow it.
    pub(super) async fn hear(
        &self,
        wallet: &WalletId,
        certificate: Vec<u8>,
    ) -> Result<(Known, BTreeSet<NodeId>), Code> {
        let (peers, policy) = (Arc::clone(&self.peers), Arc::clone(&self.policy));
        let check = move || {
            let certificate = DestructionCertificate::decode(&certificate, &peers).map_err(|error| error.code())?;
            policy.check_destroy(certificate.request()).map_err(|error| error.code())?;
            Ok::<_, Code>(certificate)
        };
        let certificate = self.pool.run(check).await.map_err(|_| Code::Internal)??;
        if certificate.record().wallet != *wallet || certificate.record().cluster != self.cluster {
            return Err(Code::ProtocolViolation);
        }
        let stated = certificate.stated();
        Ok((self.destroy(wallet, certificate).await?, stated))
    }

    /// Erases all that there is of a wallet, in one write that leaves the certificate of its destruction, with this node's
    /// statement; where that is there already, takes over what this one says besides. The request has been checked.
    async fn destroy(&self, wallet: &WalletId, told: DestructionCertificate) -> Result<Known, Code> {
        for _ in 0..ATTEMPTS {
            let known = match self.tombstone(wallet).await? {
                Some((hash, known)) => self.take_over(wallet, known, hash, &told).await?,
                None => self.try_destroy(wallet, told.clone()).await?,
            };
            if let Some(known) = known {
                return Ok(known);
            }
        }
        Err(Code::ConcurrencyLimit)
    }

    /// The certificate of destruction as it is stored, and its hash.
    async fn tombstone(&self, wallet: &WalletId) -> Result<Option<([u8; 32], DestructionCertificate)>, Code> {
        let stored = self.storage.get(Family::Wallets, tombstone_key(wallet)).await.map_err(|error| error.code())?;
        let Some(bytes) = stored else { return Ok(None) };
        let peers = Arc::clone(&self.peers);
        let decode = move || {
            let hash = Sha256::digest(bytes.expose()).into();
            DestructionCertificate::decode(bytes.expose(), &peers).map(|known| (hash, known))
        };
        let decoded = self.pool.run(decode).await.map_err(|_| Code::Internal)?;
        decoded.map(Some).map_err(|error| {
            tracing::error!(%wallet, %error, "a stored certificate of destruction is not valid");
            Code::DataCorruption
        })
    }

    /// Adds what a certificate says to the one that is stored; nothing where that has changed meanwhile.
    async fn take_over(
        &self,
        wallet: &WalletId,
        mut known: DestructionCertificate,
        hash: [u8; 32],
        told: &DestructionCertificate,
    ) -> Result<Option<Known>, Code> {
        if known.request().content_hash() != told.request().content_hash() {
            return Err(Code::WalletDestroyed);
        }
        let changed = known.merge(told);
        if changed {
            let key = tombstone_key(wallet);
            let batch = Batch::new()
                .require_hash(Family::Wallets, key.clone(), hash)
                .put(Family::Wallets, key, encoded(&known)?)
                .put(Family::Meta, open_key(wallet), SecretBytes::copy_from(&[1]));
            match self.storage.write(batch, Durability::Synced).await {
                Ok(()) => {}
                Err(StorageError::ConditionFailed(_)) => return Ok(None),
                Err(error) => return Err(error.code()),
            }
        }
        Ok(Some(Known { certificate: Arc::new(known), changed, fresh: false }))
    }

    /// The write that destroys; nothing where the wallet has changed meanwhile.
    async fn try_destroy(
        &self,
        wallet: &WalletId,
        mut certificate: DestructionCertificate,
    ) -> Result<Option<Known>, Code> {
        let Before { bytes, record } = self.before(wallet).await?;
        if record.as_ref().is_some_and(|own| own.succeeds(certificate.record())) {
            // Whoever asked, or told, does not know of a reshare: those who hold the wallet since must state it too.
            certificate = self.of_latest(&certificate, bytes.as_ref()).await?;
        }
        if let Some(own) = &record {
            let keys = |record: &WalletRecord| record.keys.iter().map(|key| key.public_key()).collect::<Vec<_>>();
            if keys(own) != keys(certificate.record()) {
                tracing::error!(%wallet, "a certificate of destruction is for other keys than this node's wallet has");
                return Err(Code::ProtocolViolation);
            }
        }
        let key = certificate_key(wallet);
        let mut batch = Batch::new().require_absent(Family::Wallets, tombstone_key(wallet));
        batch = match &bytes {
            Some(bytes) => batch
                .require_hash(Family::Wallets, key.clone(), Sha256::digest(bytes.expose()).into())
                .delete(Family::Wallets, key),
            None => batch.require_absent(Family::Wallets, key),
        };
        // What is pending is set aside, or made active, by writes that need it to be there.
        for pending in [pending_key(wallet), resharing_key(wallet)] {
            let stored = self.storage.get(Family::Shares, pending.clone()).await.map_err(|error| error.code())?;
            batch = match stored {
                Some(bytes) => batch
                    .require_hash(Family::Shares, pending.clone(), Sha256::digest(bytes.expose()).into())
                    .delete(Family::Shares, pending),
                None => batch.require_absent(Family::Shares, pending),
            };
        }
        let active = self.keys(Family::Shares, active_prefix(wallet)).await?;
        let erased = record.iter().flat_map(|record| &record.keys).filter_map(|share| {
            let (scheme, generation) = (share.group.scheme(), share.generation);
            active.contains(&crate::wallet::share_key(wallet, scheme, generation)).then_some((scheme, generation))
        });
        let erased: Vec<(Scheme, Generation)> = erased.collect();
        for share in active.into_iter().chain(self.keys(Family::Shares, orphans_of(wallet)).await?) {
            batch = batch.delete(Family::Shares, share);
        }
        // Whoever has not heard of a reshare hears of this instead.
        for notice in self.keys(Family::Meta, notices_prefix(wallet)).await? {
            batch = batch.delete(Family::Meta, notice);
        }
        // Where it came out of a backup, nobody has to confirm it any more.
        batch = batch.delete(Family::Meta, quarantine_key(wallet));
        let now_ms = self.clock.now_ms();
        certificate.state(&self.identity, erased, now_ms).map_err(|error| error.code())?;
        let tombstone = encoded(&certificate)?;
        let batch = batch.put(Family::Wallets, tombstone_key(wallet), SecretBytes::copy_from(tombstone.expose())).put(
            Family::Meta,
            open_key(wallet),
            SecretBytes::copy_from(&[1]),
        );
        let written = match self.storage.write(note_erased(batch), Durability::Synced).await {
            known @ (Ok(()) | Err(StorageError::ConditionFailed(_))) => known,
            // A write without an answer may take effect all the same, also later. Until the store says, nobody is told.
            Err(error) => {
                let stored = self.storage.settled(Family::Wallets, tombstone_key(wallet), self.resolve_every).await;
                if stored.is_some_and(|stored| stored.expose() == tombstone.expose()) { Ok(()) } else { Err(error) }
            }
        };
        match written {
            Ok(()) => {
                for user in &self.users {
                    // One that is not there has no session with the erased shares, and finds none when it is back.
                    let _ = user.deliver(WalletGone(wallet.clone()));
                }
                tracing::info!(%wallet, "wallet destroyed: this node holds no share of it any more");
                Ok(Some(Known { certificate: Arc::new(certificate), changed: true, fresh: true }))
            }
            Err(StorageError::ConditionFailed(_)) => Ok(None),
            Err(error) => {
                tracing::error!(%wallet, %error, "failed to destroy a wallet");
                Err(error.code())
            }
        }
    }

    /// The certificate of a destruction, of the wallet as it is stored here.
    async fn of_latest(
        &self,
        told: &DestructionCertificate,
        stored: Option<&SecretBytes>,
    ) -> Result<DestructionCertificate, Code> {
        let stored = SecretBytes::copy_from(stored.ok_or(Code::Internal)?.expose());
        let (peers, told) = (Arc::clone(&self.peers), told.clone());
        let join = move || {
            let wallet = WalletCertificate::decode(stored.expose(), &peers).map_err(|_| Code::DataCorruption)?;
            let latest = DestructionCertificate::new(told.request().clone(), wallet);
            let mut latest = latest.map_err(|error| error.code())?;
            latest.merge(&told);
            Ok(latest)
        };
        self.pool.run(join).await.map_err(|_| Code::Internal)?
    }

    /// The wallet as this node has it. What does not decode is destroyed all the same.
    async fn before(&self, wallet: &WalletId) -> Result<Before, Code> {
        let bytes = self.storage.get(Family::Wallets, certificate_key(wallet)).await.map_err(|error| error.code())?;
        let record = bytes.as_ref().and_then(|bytes| unverified_record(bytes.expose()).ok());
        Ok(Before { bytes, record })
    }

    /// The storage keys with a prefix.
    async fn keys(&self, family: Family, prefix: Vec<u8>) -> Result<Vec<Vec<u8>>, Code> {
        let listing = Listing { family, prefix, after: None, limit: MAX_RECORDS };
        let page = self.storage.list(listing).await.map_err(|error| error.code())?;
        if page.more {
            // The next attempt finds no fewer: this takes an operator.
            tracing::error!("a wallet has more records than it can have");
            return Err(Code::Internal);
        }
        Ok(page.records.into_iter().map(|record| record.key).collect())
    }

    /// The destructions that not everybody is known to know.
    pub(super) async fn open(&self) -> Result<Vec<WalletId>, StorageError> {
        let (mut open, mut after) = (Vec::new(), None);
        loop {
            let prefix = OPEN_PREFIX.to_vec();
            let page = self.storage.list(Listing { family: Family::Meta, prefix, after, limit: PAGE }).await?;
            after = page.records.last().filter(|_| page.more).map(|last| last.key.clone());
            open.extend(page.records.iter().filter_map(|record| wallet_of(record.key.strip_prefix(OPEN_PREFIX)?)));
            if after.is_none() {
                return Ok(open);
            }
        }
    }

    /// From now on, everybody is known to know.
    pub(super) async fn settle(&self, wallet: &WalletId) {
        // A mark that stays makes this node tell all of them once more.
        let gone = Batch::new().delete(Family::Meta, open_key(wallet));
        let _ = self.storage.write(gone, Durability::Buffered).await;
    }

    /// Tells a node what this one knows of a destruction.
    pub(super) async fn tell(&self, to: NodeId, wallet: WalletId, ask: bool) {
        // What cannot be read now is told another time.
        if let Ok(Some(bytes)) = self.storage.get(Family::Wallets, tombstone_key(&wallet)).await {
            self.say(to, PeerMessage::Destroyed { wallet, certificate: bytes.expose().to_vec(), ask });
        }
    }

    /// Tells a node of those wallets that were destroyed, as far as this node knows.
    pub(super) async fn tell_of(&self, to: NodeId, wallets: Vec<WalletId>) {
        for wallet in wallets.into_iter().take(MAX_QUERIED_WALLETS) {
            self.tell(to, wallet, true).await;
        }
    }

    /// Asks a node about every wallet that this one holds.
    pub(super) async fn ask_about_all(&self, of: NodeId) -> Result<(), StorageError> {
        let mut after = None;
        loop {
            let listing = Listing { family: Family::Wallets, prefix: Vec::new(), after, limit: MAX_QUERIED_WALLETS };
            let page = self.storage.list(listing).await?;
            after = page.records.last().filter(|_| page.more).map(|last| last.key.clone());
            let held = page.records.iter().filter(|record| !is_tombstone(&record.key));
            let wallets: Vec<WalletId> = held.filter_map(|record| wallet_of(&record.key)).collect();
            if !wallets.is_empty() {
                self.say(of, PeerMessage::DestroyedQuery { wallets });
            }
            if after.is_none() {
                return Ok(());
            }
        }
    }

    fn say(&self, to: NodeId, message: PeerMessage) {
        // What a transport between two lives does not send is said again.
        let _ = self.transport.cast(TransportMsg::Send { to, message });
    }
}

fn encoded(certificate: &DestructionCertificate) -> Result<SecretBytes, Code> {
    certificate.encode().map(SecretBytes::from_vec).map_err(|error| error.code())
}

/// The storage key of the mark that not everybody is known to know.
fn open_key(wallet: &WalletId) -> Vec<u8> {
    [OPEN_PREFIX, wallet.as_str().as_bytes()].concat()
}

/// Whether this is one of the notes about destructions in the store: for whoever checks a whole store.
pub(crate) fn is_destruction_note(key: &[u8]) -> bool {
    // What it says is of no meaning.
    key.strip_prefix(OPEN_PREFIX).and_then(wallet_of).is_some()
}

fn wallet_of(name: &[u8]) -> Option<WalletId> {
    std::str::from_utf8(name).ok()?.parse().ok()
}
