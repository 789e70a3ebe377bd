//! What happens to a request off the actor: reading the store, checking signatures, building engines.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::admission::{Admission, AdmissionRecord, Attempted, RequestKey, admit};
use super::check::{check_against_record, check_against_request, check_frame};
use super::wallets::Wallets;
use super::{OnPeerFailure, SigningMsg};
use crate::clock::Clock;
use crate::destruction::not_here;
use crate::error::{Code, Failure};
use crate::identity::{NodeIdentity, PeerBook};
use crate::ids::{ClusterId, Generation, NodeId, PartyIndex, Scheme, SheetHash, WalletId};
use crate::keys::Signature;
use crate::pairing::{PairingMsg, pair_states};
use crate::policy::Policy;
use crate::process::as_engine;
use crate::protocol::derivation::{Derived, derive};
use crate::protocol::ecdsa_signing::EcdsaSigning;
use crate::protocol::frost_signing::FrostSigning;
use crate::protocol::pair::PairState;
use crate::protocol::share::KeyShare;
use crate::protocol::verify::verify;
use crate::protocol::{Party, RunContext, rng};
use crate::sabotage::{self, Flaw};
use crate::secret::SecretBytes;
use crate::session::{CryptoPool, Engine, Post, SessionKit, SheetContext};
use crate::storage::{Batch, Durability, Family, StorageError, StorageHandle};
use crate::supervision::Address;
use crate::transport::TransportMsg;
use crate::wallet::{WalletCertificate, certificate_key, pending_key, quarantine_key, resharing_key, share_key};
use crate::wire::message::Service;
use crate::wire::request::SignRequest;
use crate::wire::sheet::Task;

/// How long a request waits for a wallet that is pending here: longer than members take to ask each other about one
/// (`resolve_every`, 2 s), and less than messages wait for a session to be announced.
const PENDING_FOR: Duration = Duration::from_secs(4);
/// How often a wallet may be reshared while a request for it is read in.
const SWITCHES: usize = 3;
/// How often it looks.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What signing is started with.
#[derive(Clone)]
pub struct SigningArgs {
    /// The cluster.
    pub cluster: ClusterId,
    /// This node.
    pub identity: Arc<NodeIdentity>,
    /// Everyone's keys.
    pub peers: Arc<PeerBook>,
    /// Whose requests count.
    pub policy: Arc<Policy>,
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
    /// How long a request may take, retries included.
    pub deadline: Duration,
    /// The most requests and sessions at a time.
    pub max_concurrent: usize,
    /// What to do when a peer fails.
    pub on_peer_failure: OnPeerFailure,
    /// The address of this actor, for its sessions and tasks.
    pub myself: Address<SigningMsg>,
}

/// A request with everything that is needed to run it.
pub(super) struct Prepared {
    pub request: SignRequest,
    pub content: [u8; 32],
    pub key: RequestKey,
    pub certificate: Arc<WalletCertificate>,
    pub derived: Derived,
    /// This node's share as it is stored.
    pub share: SecretBytes,
    pub admission: Admission,
}

/// What became of writing a request down.
pub(super) enum Admitted {
    /// It is on disk.
    Written,
    /// Something else is.
    Found(Admission),
}

impl Prepared {
    /// This node's share, checked against the wallet's record: work for the pool.
    fn share(&self) -> Result<KeyShare, Code> {
        let key = self.certificate.record().key(self.request.scheme()).ok_or(Code::KeyNotFound)?;
        KeyShare::from_secret_bytes(self.share.expose(), &key.group).map_err(|error| error.code())
    }
}

/// A participant's reason to stay out.
#[derive(Debug)]
pub(super) struct Refusal {
    pub code: Code,
    pub answer: Option<Signature>,
    /// The proposal was its coordinator's own: its session will have to do without this node.
    pub genuine: bool,
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Self {
        Self { code, answer: None, genuine: true }
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        failure.code.into()
    }
}

/// A failure of the store, as the client is told.
pub(super) fn storage_failure(error: &StorageError) -> Failure {
    tracing::error!(%error, "storage failed a request");
    Failure::new(error.code(), "the node's store failed")
}

/// What the tasks of one life of the actor work with.
#[derive(Clone)]
pub(super) struct Desk {
    pub args: SigningArgs,
    pub wallets: Wallets,
}

impl SigningArgs {
    /// What its sessions have in common.
    pub(super) fn kit(&self) -> SessionKit<Signature> {
        SessionKit {
            post: Post::new(self.identity.id(), Service::Signing, self.transport.clone()),
            identity: Arc::clone(&self.identity),
            peers: Arc::clone(&self.peers),
            bans: Arc::new(self.pairing.clone()),
            pool: self.pool.clone(),
            clock: self.clock,
            owner: Arc::new(self.myself.clone()),
        }
    }
}

/// A request of somebody who may ask, and the key it is for, if the wallet was at hand.
struct Authentic {
    request: SignRequest,
    known: Option<(Arc<WalletCertificate>, Derived)>,
}

impl Desk {
    /// Checks who asks, and reads all that the request needs.
    pub(super) async fn prepare(&self, request: SignRequest) -> Result<Prepared, Failure> {
        let desk = self.clone();
        let authentic = self.args.pool.check(move || desk.authenticate(request)).await.map_err(|_| internal())??;
        self.read(authentic).await
    }

    /// Checks who asks: work for the pool.
    fn authenticate(&self, request: SignRequest) -> Result<Authentic, Failure> {
        self.args.policy.check_sign(&request).map_err(|error| Failure::new(error.code(), error.to_string()))?;
        let known = match self.wallets.get(request.wallet()) {
            Some(certificate) => {
                let derived = derived_key(&certificate, &request)?;
                Some((certificate, derived))
            }
            None => None,
        };
        Ok(Authentic { request, known })
    }

    /// Reads all that an authentic request needs. Where the wallet was reshared since its certificate was read, its share is
    /// gone: then this reads again what the wallet is.
    async fn read(&self, mut authentic: Authentic) -> Result<Prepared, Failure> {
        for _ in 0..SWITCHES {
            match self.try_read(authentic).await? {
                Ok(prepared) => return Ok(prepared),
                Err(request) => {
                    self.wallets.forget(request.wallet());
                    authentic = Authentic { request, known: None };
                }
            }
        }
        Err(not_found(authentic.request.scheme()))
    }

    /// As [`Desk::read`]; gives the request back where there is no share of the key.
    async fn try_read(&self, authentic: Authentic) -> Result<Result<Prepared, SignRequest>, Failure> {
        let Authentic { request, known } = authentic;
        let key = RequestKey { wallet: request.wallet().clone(), request: request.request_id().clone() };
        let (request, certificate, derived) = match known {
            Some((certificate, derived)) => (request, certificate, derived),
            None => {
                let certificate = self.certificate(&key).await?;
                let derive = move || Ok::<_, Failure>((derived_key(&certificate, &request)?, request, certificate));
                let (derived, request, certificate) = self.args.pool.check(derive).await.map_err(|_| internal())??;
                (request, certificate, derived)
            }
        };
        let scheme = request.scheme();
        let record = certificate.record().key(scheme).ok_or_else(|| not_found(scheme))?;
        let share = share_key(&key.wallet, scheme, record.generation);
        let quarantine = quarantine_key(&key.wallet);
        let records = [(Family::Results, key.storage_key()), (Family::Shares, share), (Family::Meta, quarantine)];
        let [stored, share, quarantined] = self.args.storage.get_all(records).await.map_err(|e| storage_failure(&e))?;
        let content = request.content_hash();
        let admission = admit(stored.as_ref().map(SecretBytes::expose), &content).map_err(|_| corrupt())?;
        let Some(share) = share else { return Ok(Err(request)) };
        if quarantined.is_some() {
            return Err(Failure::quarantined());
        }
        Ok(Ok(Prepared { request, content, key, certificate, derived, share, admission }))
    }

    /// As [`Desk::prepare`], for a request that another node knows a later generation of the key for, or an earlier one.
    pub(super) async fn prepare_again(&self, request: SignRequest) -> Result<Prepared, Failure> {
        self.wallets.forget(request.wallet());
        self.read(Authentic { request, known: None }).await
    }

    /// Waits a moment for a wallet's reshare that is pending here, if a session is for the generation after it.
    async fn caught_up(&self, sheet: &SheetContext, mut prepared: Prepared) -> Result<Prepared, Failure> {
        let Task::Sign { scheme, generation, .. } = &sheet.sheet.task else { return Ok(prepared) };
        let until = Instant::now() + PENDING_FOR;
        loop {
            let is_behind = prepared.certificate.record().key(*scheme).is_some_and(|key| key.generation < *generation);
            if !is_behind {
                return Ok(prepared);
            }
            let pending = self.args.storage.get(Family::Shares, resharing_key(&prepared.key.wallet)).await;
            let is_pending = pending.map_err(|error| storage_failure(&error))?.is_some();
            // Taking effect is one write: what was not pending before has done so now, or never will.
            prepared = self.prepare_again(prepared.request).await?;
            if !is_pending || Instant::now() >= until {
                return Ok(prepared);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// As [`Desk::prepare`], for a client of this node. An answer that is stored already, perhaps by a participant without
    /// clients, is made durable: whoever answers a client must find the answer again after a power cut.
    pub(super) async fn prepare_for_client(&self, request: SignRequest) -> Result<Prepared, Failure> {
        let prepared = self.prepare(request).await?;
        if let Admission::Answered(signature) = prepared.admission {
            self.store(&prepared, signature, Durability::Synced).await?;
        }
        Ok(prepared)
    }

    /// The certificate of a wallet that is active here, or becomes so while it is waited for.
    async fn certificate(&self, key: &RequestKey) -> Result<Arc<WalletCertificate>, Failure> {
        let bytes = self.certified(&key.wallet).await.map_err(|error| storage_failure(&error))?;
        let Some(bytes) = bytes else {
            let missing = Failure::new(Code::KeyNotFound, format!("there is no wallet {} on this node", key.wallet));
            return Err(not_here(&self.args.storage, &key.wallet, missing).await);
        };
        let peers = Arc::clone(&self.args.peers);
        let decoded = self.args.pool.check(move || WalletCertificate::decode(bytes.expose(), &peers)).await;
        let certificate = decoded.map_err(|_| internal())?.map(Arc::new).map_err(|error| {
            tracing::error!(wallet = %key.wallet, %error, "a stored wallet certificate is not valid");
            corrupt()
        })?;
        self.wallets.keep(Arc::clone(&certificate));
        Ok(certificate)
    }

    /// Reads a certificate. Where the wallet is pending, its client may have it already from a member that was faster:
    /// then this waits a moment for it to become active here.
    async fn certified(&self, wallet: &WalletId) -> Result<Option<SecretBytes>, StorageError> {
        let storage = &self.args.storage;
        let until = Instant::now() + PENDING_FOR;
        loop {
            // Becoming active is one write: what was not pending before has its certificate now, or never.
            let names = [pending_key(wallet), resharing_key(wallet)].map(|name| (Family::Shares, name));
            let pending = storage.get_all(names).await?.iter().any(Option::is_some);
            let certificate = storage.get(Family::Wallets, certificate_key(wallet)).await?;
            if certificate.is_some() || !pending || Instant::now() >= until {
                return Ok(certificate);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Checks a proposal of `from` against the request in it and everything this node knows.
    pub(super) async fn check(
        &self,
        from: NodeId,
        announced: SheetHash,
        bytes: Vec<u8>,
        signature: [u8; 64],
    ) -> Result<(SheetContext, Prepared), Refusal> {
        let desk = self.clone();
        let checked = self.args.pool.check(move || desk.open(from, announced, bytes, signature)).await;
        let forged = Refusal { code: Code::Internal, answer: None, genuine: false };
        let (sheet, authentic) = checked.map_err(|_| forged)??;
        let prepared = self.read(authentic).await?;
        let prepared = self.caught_up(&sheet, prepared).await?;
        match prepared.admission {
            Admission::Answered(signature) => {
                // What others are told stands for ever: no power cut may take it back.
                self.store(&prepared, signature, Durability::Synced).await?;
                return Err(Refusal { answer: Some(signature), ..Code::SessionDuplicate.into() });
            }
            Admission::Conflict => return Err(Code::RequestConflict.into()),
            Admission::New | Admission::Again(_) => {}
        }
        check_against_record(&sheet.sheet, prepared.certificate.record(), self.args.identity.id())?;
        Ok((sheet, prepared))
    }

    /// Checks what a proposal says by itself: work for the pool.
    fn open(
        &self,
        from: NodeId,
        announced: SheetHash,
        bytes: Vec<u8>,
        signature: [u8; 64],
    ) -> Result<(SheetContext, Authentic), Refusal> {
        let sheet = SheetContext::open(from, announced, bytes, signature, &self.args.peers)
            .map_err(|code| Refusal { code, answer: None, genuine: false })?;
        check_frame(&sheet.sheet, &self.args.cluster, self.args.clock.now_ms())?;
        let Task::Sign { request, .. } = &sheet.sheet.task else { return Err(Code::MsgValidation.into()) };
        let request = SignRequest::parse(request).map_err(|error| error.code())?;
        check_against_request(&sheet, &request)?;
        let authentic = self.authenticate(request)?;
        Ok((sheet, authentic))
    }

    /// Builds this node's engine for a session and lets it take its first step, with the round from which its messages are
    /// held.
    pub(super) async fn build(
        &self,
        sheet: Arc<SheetContext>,
        prepared: Arc<Prepared>,
    ) -> Result<(Engine<Signature>, u8), Code> {
        // Shares of different generations must never meet in a session.
        check_against_record(&sheet.sheet, prepared.certificate.record(), self.args.identity.id())?;
        let is_ecdsa = prepared.request.scheme() == Scheme::Ecdsa;
        let pairs = if is_ecdsa {
            Some(pair_states(&self.args.pairing, &sheet, self.args.identity.id(), self.args.deadline).await?)
        } else {
            None
        };
        let (identity, peers) = (Arc::clone(&self.args.identity), Arc::clone(&self.args.peers));
        let build = move || {
            let me = sheet.sheet.index_of(identity.id()).ok_or(Code::Internal)?;
            let context = RunContext { session: sheet.hash, me, parties: sheet.sheet.parties() };
            let built = as_engine(|| -> Result<(Box<dyn Party<Output = Signature>>, _), Code> {
                Ok(match pairs {
                    Some(pairs) => (Box::new(ecdsa_party(&context, &prepared, pairs)?), EcdsaSigning::SHARE_ROUND),
                    None => (Box::new(frost_party(context, &prepared)?), FrostSigning::SHARE_ROUND),
                })
            });
            let (party, share_round) = built?;
            let engine = Engine::started(party, &sheet, &identity, &peers).ok_or(Code::Internal)?;
            Ok((engine, share_round))
        };
        self.args.pool.run(build).await.map_err(|_| Code::Internal)?
    }

    /// What is on disk of a request.
    pub(super) async fn admission(&self, prepared: &Prepared) -> Result<Admission, Code> {
        let stored = self.args.storage.get(Family::Results, prepared.key.storage_key()).await;
        let stored = stored.map_err(|error| error.code())?;
        admit(stored.as_ref().map(SecretBytes::expose), &prepared.content).map_err(|_| Code::DataCorruption)
    }

    /// Makes the request durable under its id, with the session that is to answer it, if what is on disk is still the
    /// record with the hash `former`, or nothing; and this node's share of the session's generation, in the same moment.
    pub(super) async fn admit(
        &self,
        prepared: &Prepared,
        sheet: &SheetContext,
        former: Option<[u8; 32]>,
    ) -> Result<Admitted, Code> {
        let signers = sheet.sheet.participants.iter().map(|participant| participant.node).collect();
        let attempt = Some(Attempted { session: sheet.hash, signers });
        let record = AdmissionRecord { content: prepared.content, answer: None, attempt };
        let record = record.encode().map_err(|_| Code::Internal)?;
        let name = prepared.key.storage_key();
        let Task::Sign { wallet, scheme, generation, .. } = &sheet.sheet.task else { return Err(Code::Internal) };
        let batch = Batch::new().require_present(Family::Shares, share_key(wallet, *scheme, *generation));
        let batch = match former {
            None => batch.require_absent(Family::Results, name.clone()),
            Some(hash) => batch.require_hash(Family::Results, name.clone(), hash),
        };
        let batch =
            if sabotage::has(Flaw::ForgetsAdmissions) { batch } else { batch.put(Family::Results, name, record) };
        match self.args.storage.write(batch, Durability::Synced).await {
            Ok(()) => Ok(Admitted::Written),
            // The wallet was reshared since the session was agreed to.
            Err(StorageError::ConditionFailed(failed)) if failed.family == Family::Shares => {
                Err(Code::ReshareInProgress)
            }
            Err(StorageError::ConditionFailed(failed)) => {
                let existing = failed.existing.as_ref().map(SecretBytes::expose);
                admit(existing, &prepared.content).map(Admitted::Found).map_err(|_| Code::DataCorruption)
            }
            Err(error) => {
                tracing::error!(%error, "failed to admit a request");
                Err(error.code())
            }
        }
    }

    /// The answer of a request of this content, durable before others are told of it. Where the id stands for another
    /// content here, this one has no answer, and never will have.
    pub(super) async fn answer_on_disk(&self, key: &RequestKey, content: &[u8; 32]) -> Result<Option<Signature>, Code> {
        let (storage, name) = (&self.args.storage, key.storage_key());
        let stored = storage.get(Family::Results, name.clone()).await.map_err(|error| error.code())?;
        let Some(stored) = stored else { return Ok(None) };
        let record = AdmissionRecord::decode(stored.expose()).map_err(|_| Code::DataCorruption)?;
        if record.content != *content {
            return Ok(None);
        }
        if record.answer.is_some() {
            let batch = Batch::new().put(Family::Results, name, stored);
            storage.write(batch, Durability::Synced).await.map_err(|error| error.code())?;
        }
        Ok(record.answer)
    }

    /// Checks a signature that came from elsewhere with independent code, as engines do with their own.
    pub(super) async fn verify(&self, prepared: &Prepared, signature: Signature) -> Result<(), Failure> {
        let (public_key, message) = (prepared.derived.public_key, prepared.request.message().to_vec());
        let tweak = prepared.request.tweak();
        let verified = self.args.pool.check(move || verify(&public_key, &message, tweak, &signature)).await;
        verified
            .map_err(|_| internal())?
            .map_err(|_| Failure::new(Code::SignatureVerification, "the signature does not verify"))
    }

    /// Stores a verified signature as the request's answer.
    pub(super) async fn store(
        &self,
        prepared: &Prepared,
        signature: Signature,
        durability: Durability,
    ) -> Result<(), Failure> {
        let record = AdmissionRecord { content: prepared.content, answer: Some(signature), attempt: None };
        let record = record.encode().map_err(|_| internal())?;
        let batch = Batch::new().put(Family::Results, prepared.key.storage_key(), record);
        self.args.storage.write(batch, durability).await.map_err(|error| storage_failure(&error))
    }
}

/// The key that a request asks to sign with.
fn derived_key(certificate: &WalletCertificate, request: &SignRequest) -> Result<Derived, Failure> {
    let (record, scheme) = (certificate.record(), request.scheme());
    let key = record.key(scheme).ok_or_else(|| not_found(scheme))?;
    derive(&key.group.public_key(), &record.chain_code, &request.path())
        .map_err(|error| Failure::new(error.code(), error.to_string()))
}

/// This node's side of an ECDSA signature: work for the pool.
fn ecdsa_party(
    context: &RunContext,
    prepared: &Prepared,
    pairs: BTreeMap<PartyIndex, Arc<PairState>>,
) -> Result<EcdsaSigning, Code> {
    let digest = prepared.request.message().try_into().map_err(|_| Code::MsgValidation)?;
    let key = prepared.certificate.record().key(Scheme::Ecdsa).ok_or(Code::KeyNotFound)?;
    let wallet = wallet_context(&prepared.key.wallet, key.generation);
    EcdsaSigning::new(context, &prepared.share()?, pairs, &prepared.derived, &wallet, digest)
        .map_err(|error| error.code())
}

/// This node's side of any other signature: work for the pool.
fn frost_party(context: RunContext, prepared: &Prepared) -> Result<FrostSigning, Code> {
    let (request, derived) = (&prepared.request, &prepared.derived);
    let message = request.message().to_vec();
    FrostSigning::new(context, &prepared.share()?, derived, message, request.tweak(), rng::os())
        .map_err(|error| error.code())
}

/// What binds an engine's run to the wallet and the generation of its key.
pub(super) fn wallet_context(wallet: &WalletId, generation: Generation) -> Vec<u8> {
    [&generation.0.to_be_bytes()[..], wallet.as_str().as_bytes()].concat()
}

fn not_found(scheme: Scheme) -> Failure {
    Failure::new(Code::KeyNotFound, format!("the wallet has no {scheme} key on this node"))
}

fn corrupt() -> Failure {
    Failure::new(Code::DataCorruption, "a stored record is damaged")
}

fn internal() -> Failure {
    Failure::new(Code::Internal, "the node failed; its log says more")
}
