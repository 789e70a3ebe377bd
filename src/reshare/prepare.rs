//! What happens to a reshare off the actor before it is certified: checks, reading and storing.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::args::ReshareArgs;
use super::plan;
use super::schedule;
use crate::destruction::is_destroyed;
use crate::error::{Code, Failure};
use crate::ids::{NodeId, Scheme, SheetHash, WalletId};
use crate::keys::Signature;
use crate::protocol::reshare::ReshareOutput;
use crate::protocol::share::{KeyShare, ShareError};
use crate::secret::SecretBytes;
use crate::session::SheetContext;
use crate::signing::check_frame;
use crate::storage::{Batch, Durability, Family, StorageError};
use crate::wallet::{
    NextKey, Pending, RECORD_DOMAIN, WalletCertificate, WalletRecord, certificate_key, members, resharing_key,
    share_key, tombstone_key,
};
use crate::wire::request::ReshareRequest;
use crate::wire::sheet::Task;

/// A request that may run, with all that is needed for it.
pub(super) struct Prepared {
    pub request: ReshareRequest,
    pub content: [u8; 32],
    /// The wallet before the reshare.
    pub certificate: Arc<WalletCertificate>,
    /// The SHA-256 of the certificate as it is stored; none where this node does not hold the wallet.
    pub stored: Option<[u8; 32]>,
    /// This node's shares of the keys.
    pub shares: BTreeMap<Scheme, Arc<KeyShare>>,
}

/// What a checked request leads to.
pub(super) enum Admitted {
    /// A reshare.
    New(Arc<Prepared>),
    /// The same request led to this before.
    Done(Arc<WalletCertificate>),
}

/// A certificate as it is stored.
pub(super) struct Stored {
    pub certificate: Arc<WalletCertificate>,
    pub sha256: [u8; 32],
}

pub(super) fn internal() -> Failure {
    Failure::new(Code::Internal, "the node failed; its log says more")
}

fn storage_failure(error: &StorageError) -> Failure {
    tracing::error!(%error, "storage failed a reshare");
    Failure::new(error.code(), "the node's store failed")
}

impl ReshareArgs {
    /// Checks who asks, and reads all that the request needs.
    pub(super) async fn prepare(&self, request: ReshareRequest) -> Result<Admitted, Failure> {
        let args = self.clone();
        let authorised = move || args.authorise(&request).map(|()| request);
        let request = self.pool.run(authorised).await.map_err(|_| internal())??;
        let wallet = request.wallet();
        let stored = self
            .stored(wallet)
            .await?
            .ok_or_else(|| Failure::new(Code::KeyNotFound, format!("there is no wallet {wallet} on this node")))?;
        self.admit(stored, request).await
    }

    /// Reads all that a request needs which may be.
    pub(super) async fn admit(&self, stored: Stored, request: ReshareRequest) -> Result<Admitted, Failure> {
        let content = request.content_hash();
        let record = stored.certificate.record();
        if record.is_after(&content) {
            return Ok(Admitted::Done(stored.certificate));
        }
        if let Some(missing) = request.schemes().into_iter().find(|&scheme| record.key(scheme).is_none()) {
            return Err(Failure::new(Code::KeyNotFound, format!("the wallet has no {missing} key")));
        }
        self.ensure_confirmed(&record.wallet).await.map_err(|code| match code {
            Code::WalletQuarantined => Failure::quarantined(),
            code => Failure::new(code, "the node's store failed"),
        })?;
        let shares = self
            .shares(record, &request.schemes())
            .await
            .map_err(|code| Failure::new(code, "a share of the wallet cannot be read"))?;
        let Stored { certificate, sha256 } = stored;
        Ok(Admitted::New(Arc::new(Prepared { request, content, certificate, stored: Some(sha256), shares })))
    }

    /// Whether the request may be: work for the pool.
    fn authorise(&self, request: &ReshareRequest) -> Result<(), Failure> {
        self.policy.check_reshare(request).map_err(|error| Failure::new(error.code(), error.to_string()))?;
        let stranger = request.committee().iter().find(|member| self.peers.get(member.node).is_none());
        stranger.map_or(Ok(()), |stranger| {
            Err(Failure::new(Code::MsgValidation, format!("node {} is not in the peer book", stranger.node)))
        })
    }

    /// The certificate of a wallet, if it is stored here.
    pub(super) async fn stored(&self, wallet: &WalletId) -> Result<Option<Stored>, Failure> {
        let stored = self.storage.get(Family::Wallets, certificate_key(wallet)).await;
        let Some(bytes) = stored.map_err(|error| storage_failure(&error))? else {
            return match is_destroyed(&self.storage, wallet).await.map_err(|error| storage_failure(&error))? {
                true => Err(Failure::new(Code::WalletDestroyed, format!("wallet {wallet} was destroyed"))),
                false => Ok(None),
            };
        };
        let peers = Arc::clone(&self.peers);
        let decode = move || {
            let sha256 = Sha256::digest(bytes.expose()).into();
            WalletCertificate::decode(bytes.expose(), &peers)
                .map(|certificate| Stored { certificate: Arc::new(certificate), sha256 })
        };
        self.pool.run(decode).await.map_err(|_| internal())?.map(Some).map_err(|error| {
            tracing::error!(%wallet, %error, "a stored wallet certificate is not valid");
            Failure::new(Code::DataCorruption, "a stored record is damaged")
        })
    }

    /// This node's shares of some keys of a wallet, those that there are.
    async fn shares(&self, record: &WalletRecord, schemes: &[Scheme]) -> Result<BTreeMap<Scheme, Arc<KeyShare>>, Code> {
        let mut stored = Vec::new();
        for &scheme in schemes {
            let key = record.key(scheme).ok_or(Code::KeyNotFound)?;
            let name = share_key(&record.wallet, scheme, key.generation);
            let share = self.storage.get(Family::Shares, name).await.map_err(|error| error.code())?;
            stored.extend(share.map(|share| (scheme, share, key.group.clone())));
        }
        let decode = move || {
            let decoded = stored.iter().map(|(scheme, bytes, group)| {
                Ok((*scheme, Arc::new(KeyShare::from_secret_bytes(bytes.expose(), group)?)))
            });
            decoded.collect::<Result<_, ShareError>>()
        };
        self.pool.run(decode).await.map_err(|_| Code::Internal)?.map_err(|error| error.code())
    }

    /// Checks a proposal of `from` against the request in it and everything this node knows.
    pub(super) async fn check(
        &self,
        from: NodeId,
        announced: SheetHash,
        bytes: Vec<u8>,
        signature: [u8; 64],
    ) -> Result<(SheetContext, Prepared), Code> {
        let args = self.clone();
        let opened = self.pool.run(move || args.open(from, announced, bytes, signature)).await;
        let (sheet, request, presented) = opened.map_err(|_| Code::Internal)??;
        let held = self.stored(request.wallet()).await.map_err(|failure| failure.code)?;
        let stored = held.as_ref().map(|held| held.sha256);
        let certificate = match held {
            Some(held) if held.certificate.record() == presented.record() => held.certificate,
            // One of the two does not know yet what the wallet is now; it will be told.
            Some(_) => return Err(Code::ReshareInProgress),
            None => Arc::new(presented),
        };
        let (record, content) = (certificate.record(), request.content_hash());
        if record.is_after(&content) {
            return Err(Code::SessionDuplicate);
        }
        plan::check(&sheet.sheet, record, &request)?;
        let Task::Reshare { keys, .. } = &sheet.sheet.task else { return Err(Code::MsgValidation) };
        let me = self.identity.id();
        let dealt: Vec<Scheme> = keys
            .iter()
            .filter(|key| key.dealers.iter().any(|dealer| dealer.node == me))
            .map(|key| key.scheme)
            .collect();
        if !dealt.is_empty() {
            self.ensure_confirmed(request.wallet()).await?;
        }
        let shares = self.shares(record, &dealt).await?;
        if shares.len() != dealt.len() {
            // This node's disk is new, or came out of an old backup: others have to deal.
            return Err(Code::KeyNotFound);
        }
        Ok((sheet, Prepared { request, content, certificate, stored, shares }))
    }

    /// Checks what a proposal says by itself: work for the pool.
    fn open(
        &self,
        from: NodeId,
        announced: SheetHash,
        bytes: Vec<u8>,
        signature: [u8; 64],
    ) -> Result<(SheetContext, ReshareRequest, WalletCertificate), Code> {
        let sheet = SheetContext::open(from, announced, bytes, signature, &self.peers)?;
        check_frame(&sheet.sheet, &self.cluster, self.clock.now_ms())?;
        let Task::Reshare { certificate, keys, request, .. } = &sheet.sheet.task else {
            return Err(Code::MsgValidation);
        };
        let asked = match request.as_slice() {
            [] => None,
            bytes => {
                let request = ReshareRequest::parse(bytes).map_err(|error| error.code())?;
                self.authorise(&request).map_err(|failure| failure.code)?;
                Some(request)
            }
        };
        let certificate = WalletCertificate::decode(certificate, &self.peers).map_err(|_| Code::ProtocolViolation)?;
        let record = certificate.record();
        if record.cluster != self.cluster {
            return Err(Code::ProtocolViolation);
        }
        let request = match asked {
            Some(request) => request,
            None => {
                let schemes: Vec<Scheme> = keys.iter().map(|key| key.scheme).collect();
                let period = self.refresh.period_of(&record.wallet);
                let request = schedule::admitted(record, &schemes, period, self.clock.now_ms())?;
                // No request stands behind it: then only members propose one.
                if request.committee().iter().all(|member| member.node != from) {
                    return Err(Code::ProtocolViolation);
                }
                request
            }
        };
        Ok((sheet, request, certificate))
    }

    /// Makes what came of a session durable as pending, and signs the record that follows.
    pub(super) async fn pend(
        &self,
        sheet: &SheetContext,
        prepared: Arc<Prepared>,
        output: ReshareOutput,
    ) -> Result<Pending, Code> {
        let pending = self.pending_of(sheet, &prepared, output)?;
        let wallet = prepared.request.wallet();
        let certificate = certificate_key(wallet);
        let batch = match prepared.stored {
            Some(sha256) => Batch::new().require_hash(Family::Wallets, certificate, sha256),
            None => Batch::new().require_absent(Family::Wallets, certificate),
        };
        let batch = batch
            .require_absent(Family::Wallets, tombstone_key(wallet))
            .require_absent(Family::Shares, resharing_key(wallet))
            .put(Family::Shares, resharing_key(wallet), pending.encode().map_err(|_| Code::Internal)?);
        match self.storage.write(batch, Durability::Synced).await {
            Ok(()) => Ok(pending),
            // Another reshare took effect, or is pending; or the wallet was destroyed.
            Err(StorageError::ConditionFailed(_)) => Err(Code::ReshareInProgress),
            Err(error) => {
                tracing::error!(%error, "failed to store what came of a reshare");
                // A write without an answer may take effect all the same, also later. Until the store says, this task does
                // not end, so that the node never claims to hold nothing while it may. It waits without any share: the
                // store may be closed for good because the node is sealed.
                let key = resharing_key(wallet);
                drop((pending, prepared));
                let stored = self.storage.settled(Family::Shares, key, self.resolve_every).await;
                let stored = stored.and_then(|bytes| Pending::decode(bytes.expose()).ok());
                stored.filter(|stored| stored.session == sheet.hash).ok_or(error.code())
            }
        }
    }

    fn pending_of(&self, sheet: &SheetContext, prepared: &Prepared, output: ReshareOutput) -> Result<Pending, Code> {
        let before = prepared.certificate.record();
        let committee = prepared.request.committee();
        let dealt_ms = Some(sheet.sheet.deadline_ms);
        let next = |group| NextKey { group, committee: committee.to_vec(), dealt_ms };
        let next = output.groups.into_values().map(next).collect();
        let record = before.successor(sheet.hash, prepared.content, next).map_err(|error| error.code())?;
        let bytes = record.encode().map_err(|error| error.code())?;
        let signature = self.identity.sign(RECORD_DOMAIN, &[&bytes]);
        let shares: Result<BTreeMap<Scheme, SecretBytes>, ShareError> =
            output.shares.iter().map(|(&scheme, share)| Ok((scheme, share.to_secret_bytes()?))).collect();
        let shares = shares.map_err(|_| Code::Internal)?;
        let stays = |(scheme, _): &(&Scheme, &Signature)| record.key(**scheme) == before.key(**scheme);
        let proofs = prepared.certificate.proofs().iter().filter(stays).map(|(&scheme, &proof)| (scheme, proof));
        let participants = sheet.sheet.participants.iter().map(|participant| participant.node).collect();
        Ok(Pending::new(sheet.hash, prepared.content, bytes, signature, &shares).of_reshare(
            participants,
            members(before),
            proofs.collect(),
        ))
    }

    /// What is pending of a wallet's reshare, if anything is.
    pub(super) async fn pending(&self, wallet: &WalletId) -> Result<Option<Pending>, Code> {
        let stored = self.storage.get(Family::Shares, resharing_key(wallet)).await.map_err(|error| error.code())?;
        Ok(stored.and_then(|bytes| match Pending::decode(bytes.expose()) {
            Ok(pending) => Some(pending),
            Err(error) => {
                tracing::error!(%wallet, %error, "a pending reshare does not decode");
                None
            }
        }))
    }

    /// Whether `signature` is the signature by `node` of a record.
    pub(super) fn signs(&self, node: NodeId, record: &[u8], signature: &[u8; 64]) -> bool {
        self.peers.verify(node, RECORD_DOMAIN, &[record], signature).is_ok()
    }
}
