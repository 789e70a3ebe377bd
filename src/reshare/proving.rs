//! The proofs of reshared keys: sessions of their own, in which t of the new members sign for the record with the shares
//! that they hold pending.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ractor::ActorRef;
use serde_bytes::ByteArray;

use super::actor::{ReshareMsg, ReshareState};
use super::args::ReshareArgs;
use super::run::{Cause, Held};
use super::work::Work;
use crate::error::{Code, Failure};
use crate::ids::{NodeId, PartyIndex, Scheme, SheetHash, WalletId};
use crate::keys::Signature;
use crate::pairing::pair_states;
use crate::protocol::pair::PairState;
use crate::protocol::{Party, RunContext};
use crate::registry::choose_quorum;
use crate::session::{Built, Draft, Engine, Outcome, SessionEnd, SessionMsg, SheetContext};
use crate::signing::{check_frame, unasked_party};
use crate::supervision::beside;
use crate::wallet::{Pending, WalletCertificate, WalletRecord, proof_message};
use crate::wire::message::PeerMessage;
use crate::wire::sheet::Task;

/// By which part of the time that is left to a run its proofs end before it.
const PROOFS_END_EARLY_BY: u64 = 10;

/// The proofs of a reshare that this node has made.
pub(super) struct Proving {
    own: Held,
    signatures: BTreeMap<NodeId, [u8; 64]>,
    /// The keys that are being proved, by session.
    open: BTreeMap<SheetHash, Scheme>,
    proofs: BTreeMap<Scheme, Signature>,
    /// Who is not asked to take part.
    without: Vec<NodeId>,
    /// All proofs are there, and the certificate is put in force.
    certifying: bool,
}

impl ReshareState {
    /// Has every reshared key of a pending record proved, by members that are not in `without`.
    pub(super) fn prove(
        &mut self,
        myself: &ActorRef<ReshareMsg>,
        wallet: WalletId,
        own: Held,
        signatures: BTreeMap<NodeId, [u8; 64]>,
        without: &[NodeId],
    ) {
        let me = self.args.identity.id();
        let sheets = match self.proof_sheets(&wallet, &own, &signatures, without) {
            Ok(sheets) => sheets,
            Err(failure) => {
                tracing::warn!(%wallet, %failure, "the keys of a reshare cannot be proved now");
                self.not_proved(myself, &wallet, own.session, (failure.code, failure.culprits).into());
                return;
            }
        };
        let mut open = BTreeMap::new();
        for (scheme, sheet) in sheets {
            let session = sheet.hash;
            open.insert(session, scheme);
            self.proofs.begin(&sheet);
            self.proofs.post().tell_others(&sheet, || sheet.proposal());
            let args = self.args.clone();
            beside(myself, async move {
                let result = args.provable(sheet).await.map(Box::new);
                Work::Provable { from: me, session, result }
            });
        }
        let (proofs, without, certifying) = (BTreeMap::new(), without.to_vec(), false);
        self.proving.insert(wallet, Proving { own, signatures, open, proofs, without, certifying });
    }

    /// Writes the sheet of each proof.
    fn proof_sheets(
        &mut self,
        wallet: &WalletId,
        own: &Held,
        signatures: &BTreeMap<NodeId, [u8; 64]>,
        without: &[NodeId],
    ) -> Result<Vec<(Scheme, Arc<SheetContext>)>, Failure> {
        let record = WalletRecord::decode(&own.record)
            .map_err(|_| Failure::new(Code::DataCorruption, "a pending record does not decode"))?;
        self.turn = self.turn.wrapping_add(1);
        let deadline_ms = self.proof_deadline(own.session);
        let mut sheets = Vec::new();
        for key in record.keys.iter().filter(|key| own.schemes.contains(&key.group.scheme())) {
            let (scheme, threshold) = (key.group.scheme(), key.group.threshold());
            let participants =
                choose_quorum(&self.view, scheme, &key.committee, threshold.signers(), without, self.turn)
                    .map_err(|error| Failure::new(Code::NotMajority, error.to_string()))?;
            let task = Task::Prove {
                wallet: wallet.clone(),
                reshare: own.session,
                scheme,
                generation: key.generation,
                threshold,
                signatures: signatures.iter().map(|(&node, &signature)| (node, ByteArray::new(signature))).collect(),
            };
            let draft = Draft { task, participants, attempt: 1, deadline_ms };
            let sheet = SheetContext::draft(draft, &self.args.cluster, &self.args.identity)?;
            sheets.push((scheme, Arc::new(sheet)));
        }
        Ok(sheets)
    }

    /// When the proofs of a reshare must be there. Those of a run that still has its clients end before it does, so that
    /// they are told who was awaited.
    fn proof_deadline(&mut self, reshare: SheetHash) -> u64 {
        let (now_ms, own) = (self.args.clock.now_ms(), self.args.clock.deadline_ms(self.args.deadline));
        match self.run_of(reshare) {
            Some((_, run)) => {
                let left = run.sheet.sheet.deadline_ms.saturating_sub(now_ms);
                now_ms.saturating_add(left - left / PROOFS_END_EARLY_BY)
            }
            None => own,
        }
    }

    /// An engine is built: start its session.
    pub(super) async fn provable(
        &mut self,
        myself: &ActorRef<ReshareMsg>,
        from: NodeId,
        session: SheetHash,
        result: Result<Box<Built<Signature>>, Code>,
    ) {
        let intake = &mut self.proof_intake;
        let started = self.proofs.start_built(intake, from, session, result, myself.get_cell()).await;
        if let Err(cause) = started {
            self.proof_failed(myself, session, cause);
        }
    }

    /// A session that proves a key is over.
    pub(super) fn proved(&mut self, myself: &ActorRef<ReshareMsg>, end: SessionEnd<Signature>) {
        let session = end.session;
        self.proofs.ended(session);
        match end.outcome {
            Outcome::Done(proof) => {
                let of_session = |(_, proving): &(&WalletId, &mut Proving)| proving.open.contains_key(&session);
                let Some((wallet, proving)) = self.proving.iter_mut().find(of_session) else { return };
                if let Some(scheme) = proving.open.remove(&session) {
                    proving.proofs.insert(scheme, proof);
                }
                if proving.open.is_empty() && !proving.certifying {
                    proving.certifying = true;
                    let (args, writing, wallet) = (self.args.clone(), self.args.writing(), wallet.clone());
                    let (own, signatures) = (proving.own.clone(), proving.signatures.clone());
                    let (proofs, knowing) = (proving.proofs.clone(), self.notices.knowing(own.session));
                    beside(myself, async move {
                        let session = own.session;
                        let result = args.certify(&wallet, own, signatures, proofs, &knowing).await;
                        drop(writing);
                        Work::Certified { wallet, session, result }
                    });
                }
            }
            Outcome::Aborted(aborted) => {
                self.last_abort = Some(aborted.clone());
                self.proof_failed(myself, session, aborted);
            }
        }
    }

    /// The certificate that this node put together is in force, or not.
    pub(super) fn certified(
        &mut self,
        myself: &ActorRef<ReshareMsg>,
        wallet: &WalletId,
        session: SheetHash,
        result: Result<super::adopting::Adopted, Code>,
    ) {
        match result {
            Ok(adopted) => {
                self.comes_into_force(session);
                let encoded = adopted.certificate.encode();
                let nodes = adopted.notice.iter().flat_map(|notice| notice.nodes.iter().copied());
                if let Ok(certificate) = encoded {
                    for node in nodes {
                        let (wallet, certificate) = (wallet.clone(), certificate.clone());
                        self.say(node, PeerMessage::Reshared { wallet, certificate });
                    }
                }
                self.in_force(myself, wallet, &adopted);
            }
            Err(code) => {
                if let Some(proving) = self.proving.get_mut(wallet) {
                    proving.certifying = false;
                }
                self.not_proved(myself, wallet, session, (code, BTreeSet::new()).into());
            }
        }
    }

    /// A session that proves a key ended without a proof.
    pub(super) fn proof_failed(&mut self, myself: &ActorRef<ReshareMsg>, session: SheetHash, cause: impl Into<Cause>) {
        let of_session = |(_, proving): &(&WalletId, &Proving)| proving.open.contains_key(&session);
        let Some((wallet, proving)) = self.proving.iter().find(of_session) else { return };
        let (wallet, reshare) = (wallet.clone(), proving.own.session);
        self.not_proved(myself, &wallet, reshare, cause.into());
    }

    /// A reshare could not be proved this time.
    fn not_proved(&mut self, myself: &ActorRef<ReshareMsg>, wallet: &WalletId, reshare: SheetHash, cause: Cause) {
        let code = cause.code;
        let proving = self.stop_proving(wallet, code);
        if self.run_of(reshare).is_some() {
            // One that may not use the wallet yet proves nothing; the others can.
            if code == Code::WalletQuarantined
                && let Some(Proving { own, signatures, mut without, .. }) = proving
                && !cause.culprits.iter().all(|culprit| without.contains(culprit))
            {
                without.extend(cause.culprits);
                self.prove(myself, wallet.clone(), own, signatures, &without);
            } else {
                self.fail(myself, reshare, cause);
            }
        } else if let Some(unsettled) = self.unsettled.get_mut(wallet) {
            // The next attempt does without those; if that leaves too few, with everybody again.
            unsettled.without =
                if unsettled.without.is_empty() { cause.culprits.into_iter().collect() } else { Vec::new() };
            self.not_settled(wallet, code);
        }
    }

    /// Whether the certificate of a wallet's reshare is being put in force.
    pub(super) fn is_certifying(&self, wallet: &WalletId) -> bool {
        self.proving.get(wallet).is_some_and(|proving| proving.certifying)
    }

    /// Ends the sessions that prove a wallet's keys. Gives back what they were for.
    pub(super) fn stop_proving(&mut self, wallet: &WalletId, code: Code) -> Option<Proving> {
        let mut proving = self.proving.remove(wallet)?;
        for session in std::mem::take(&mut proving.open).into_keys() {
            if !self.proofs.call_off(session, code, BTreeSet::new()) {
                self.proofs.tell(session, SessionMsg::cancel(code));
            }
        }
        Some(proving)
    }
}

impl ReshareArgs {
    /// Checks a proposal of `from` to prove a key against what this node holds pending, and builds its engine.
    pub(super) async fn check_proof(
        &self,
        from: NodeId,
        announced: SheetHash,
        bytes: Vec<u8>,
        signature: [u8; 64],
    ) -> Result<Built<Signature>, Code> {
        let peers = Arc::clone(&self.peers);
        let opened = self.pool.run(move || SheetContext::open(from, announced, bytes, signature, &peers)).await;
        let sheet = opened.map_err(|_| Code::Internal)??;
        check_frame(&sheet.sheet, &self.cluster, self.clock.now_ms())?;
        self.provable(Arc::new(sheet)).await
    }

    /// Builds this node's engine for a session that proves a key.
    async fn provable(&self, sheet: Arc<SheetContext>) -> Result<Built<Signature>, Code> {
        let Task::Prove { wallet, scheme, .. } = &sheet.sheet.task else { return Err(Code::MsgValidation) };
        self.ensure_confirmed(wallet).await?;
        let pending = self.pending(wallet).await?.ok_or(Code::KeyNotFound)?;
        let pairs = match scheme {
            Scheme::Ecdsa => pair_states(&self.pairing, &sheet, self.identity.id(), self.deadline).await?,
            Scheme::Ed25519 | Scheme::Bip340 => BTreeMap::new(),
        };
        let args = self.clone();
        let build = move || {
            let party = args.proof_party(&sheet, &pending, pairs)?;
            let engine = Engine::started(party, &sheet, &args.identity, &args.peers).ok_or(Code::Internal)?;
            Ok(Built { sheet, engine })
        };
        self.pool.run(build).await.map_err(|_| Code::Internal)?
    }

    /// Checks a proof's sheet against what is pending, all signatures included, and builds the engine: work for the pool.
    ///
    /// A proof is all that a certificate lacks after the signatures. So this node proves nothing that is not pending here,
    /// and nothing before everybody who took part has signed: those who have dealt must have it on disk that they did.
    fn proof_party(
        &self,
        sheet: &SheetContext,
        pending: &Pending,
        pairs: BTreeMap<PartyIndex, Arc<PairState>>,
    ) -> Result<Box<dyn Party<Output = Signature>>, Code> {
        let Task::Prove { wallet, reshare, scheme, generation, threshold, signatures } = &sheet.sheet.task else {
            return Err(Code::MsgValidation);
        };
        if *reshare != pending.session {
            return Err(Code::SessionStale);
        }
        let record = WalletRecord::decode(&pending.record).map_err(|error| error.code())?;
        let key = record.key(*scheme).filter(|_| record.wallet == *wallet).ok_or(Code::KeyNotFound)?;
        let members = sheet.sheet.participants.iter().all(|participant| key.committee.contains(participant));
        if !members || *generation != key.generation || *threshold != key.group.threshold() {
            return Err(Code::ProtocolViolation);
        }
        let signed = |node: &NodeId| signatures.get(node).is_some_and(|s| self.signs(*node, &pending.record, s));
        if !pending.signers(&record).iter().all(signed) {
            return Err(Code::ProtocolViolation);
        }
        let share = pending.shares().find(|(of, _)| of == scheme).ok_or(Code::KeyNotFound)?.1;
        let me = sheet.sheet.index_of(self.identity.id()).ok_or(Code::ProtocolViolation)?;
        let context = RunContext { session: sheet.hash, me, parties: sheet.sheet.parties() };
        let message = proof_message(&record, key).map_err(|error| error.code())?;
        unasked_party(context, &record, key, &share, pairs, message)
    }

    /// Joins what makes a certificate, and puts it in force.
    async fn certify(
        &self,
        wallet: &WalletId,
        own: Held,
        signatures: BTreeMap<NodeId, [u8; 64]>,
        mut proofs: BTreeMap<Scheme, Signature>,
        knowing: &BTreeSet<NodeId>,
    ) -> Result<super::adopting::Adopted, Code> {
        if let Some(pending) = self.pending(wallet).await? {
            // Keys of other generations that stay have proved themselves before.
            proofs.extend(pending.proofs);
        }
        let peers = Arc::clone(&self.peers);
        let join = move || WalletCertificate::with_proofs(own.record.to_vec(), signatures, proofs, &peers);
        let joined = self.pool.run(join).await.map_err(|_| Code::Internal)?;
        let certificate = joined.map_err(|error| {
            tracing::error!(%wallet, %error, "a reshare cannot be certified");
            error.code()
        })?;
        self.adopt(wallet, certificate, knowing).await
    }
}
