//! From the end of the dealing to the certificate, or to what is pending: storing, signing, gathering, failing.

use std::collections::BTreeSet;
use std::sync::Arc;

use ractor::ActorRef;

use super::Reshared;
use super::actor::{ReshareMsg, ReshareState};
use super::adopting::Adopted;
use super::run::{Cause, Held, Phase, Run, answer};
use super::work::Work;
use crate::error::{Code, Failure};
use crate::halting::{self, Place};
use crate::ids::{NodeId, SheetHash, WalletId};
use crate::protocol::reshare::ReshareOutput;
use crate::session::{Outcome, SessionEnd, SessionMsg};
use crate::supervision::beside;
use crate::wire::message::{PeerMessage, PendingOutcome, SessionBody};

impl ReshareState {
    /// The dealing is over.
    pub(super) fn dealt(&mut self, myself: &ActorRef<ReshareMsg>, end: SessionEnd<ReshareOutput>) {
        let session = end.session;
        self.dealings.ended(session);
        match end.outcome {
            Outcome::Done(output) => {
                let args = self.args.clone();
                let Some((_, run)) = self.run_of(session) else { return };
                run.phase = Phase::Storing;
                let (sheet, prepared) = (Arc::clone(&run.sheet), Arc::clone(&run.prepared));
                let deadline = args.clock.instant_of(sheet.sheet.deadline_ms);
                beside(myself, async move {
                    tokio::time::sleep_until(deadline).await;
                    Work::CommitDeadline(session)
                });
                let writing = args.writing();
                beside(myself, async move {
                    let result = args.pend(&sheet, prepared, output).await.map(|pending| Held::of(&pending));
                    drop(writing);
                    Work::Pended { session, result }
                });
            }
            Outcome::Aborted(aborted) => {
                self.last_abort = Some(aborted.clone());
                self.fail(myself, session, aborted);
            }
        }
    }

    /// What came of it is durable: tell the others that this node has signed.
    pub(super) fn pended(&mut self, myself: &ActorRef<ReshareMsg>, session: SheetHash, result: Result<Held, Code>) {
        let me = self.args.identity.id();
        let Some((wallet, run)) = self.run_of(session) else { return };
        match result {
            Ok(own) if run.phase == Phase::FailedStoring => {
                if let Some(run) = self.runs.remove(&wallet) {
                    self.unsettle(myself, wallet, own, &run);
                }
            }
            Ok(own) => {
                let (sheet, signature) = (Arc::clone(&run.sheet), own.signature);
                run.phase = Phase::Committing;
                run.commit.signed(me, signature);
                run.own = Some(own);
                halting::at(Place::Stored, &sheet.sheet, me);
                self.dealings.post().tell_others(&sheet, || SessionBody::RecordSigned { signature });
                self.gathered(myself, session);
            }
            Err(code) => {
                let sheet = Arc::clone(&run.sheet);
                // Nothing was written, so nothing is left to settle.
                run.phase = Phase::Session;
                self.dealings.post().abort(&sheet, code, &BTreeSet::new(), 0);
                self.fail(myself, session, (code, [me].into()));
            }
        }
    }

    /// Somebody says that what it got is durable.
    pub(super) fn record_signed(
        &mut self,
        myself: &ActorRef<ReshareMsg>,
        from: NodeId,
        session: SheetHash,
        signature: [u8; 64],
    ) {
        if let Some((_, run)) = self.run_of(session) {
            run.commit.signed(from, signature);
            self.gathered(myself, session);
        } else if let Some((wallet, _)) = self.unsettled.iter().find(|(_, unsettled)| unsettled.own.session == session)
        {
            let wallet = wallet.clone();
            self.reply(myself, from, &wallet, session, PendingOutcome::Pending(signature));
        }
    }

    /// Has the keys proved once all have signed, if it is this node that does so.
    fn gathered(&mut self, myself: &ActorRef<ReshareMsg>, session: SheetHash) {
        let me = self.args.identity.id();
        let Some((wallet, run)) = self.run_of(session) else { return };
        if run.phase != Phase::Committing {
            return;
        }
        let (Some(signatures), Some(own)) = (run.commit.complete().cloned(), run.own.clone()) else { return };
        if run.prover() != Some(me) {
            return;
        }
        run.phase = Phase::Proving;
        let is_false = |(node, signature): &(&NodeId, &[u8; 64])| !self.args.signs(**node, &own.record, signature);
        let culprits: BTreeSet<NodeId> = signatures.iter().filter(is_false).map(|(&node, _)| node).collect();
        if culprits.is_empty() {
            self.prove(myself, wallet, own, signatures, &[]);
        } else {
            self.fail(myself, session, (Code::ProtocolViolation, culprits));
        }
    }

    /// A place where tests have processes stand still.
    pub(super) fn comes_into_force(&mut self, session: SheetHash) {
        let me = self.args.identity.id();
        if let Some((_, run)) = self.run_of(session) {
            halting::at(Place::Certified, &run.sheet.sheet, me);
        }
    }

    /// A certificate is in force that was not before.
    pub(super) fn in_force(&mut self, myself: &ActorRef<ReshareMsg>, wallet: &WalletId, adopted: &Adopted) {
        let certificate = &adopted.certificate;
        let session = certificate.record().session;
        if let Some(notice) = adopted.notice.clone() {
            tracing::info!(%wallet, %session, "wallet reshared");
            self.reshared += 1;
            self.notices.insert(wallet.clone(), notice);
            self.purge(myself);
        }
        self.notices.forget(session);
        self.stop_proving(wallet, Code::Superseded);
        self.unsettled.remove(wallet);
        match self.runs.get(wallet).map(|run| run.sheet.hash) {
            Some(of_run) if of_run == session => {
                if let Some(run) = self.runs.remove(wallet) {
                    answer(run.waiters, &Ok(Reshared { certificate: Arc::clone(certificate), fresh: true }));
                }
            }
            // It deals keys of a generation that is gone.
            Some(of_run) if adopted.notice.is_some() => {
                self.fail(myself, of_run, (Code::ReshareInProgress, BTreeSet::new()));
            }
            _ => {}
        }
        self.look_later(myself);
    }

    /// A peer gave a certificate.
    pub(super) fn was_told(
        &mut self,
        myself: &ActorRef<ReshareMsg>,
        from: NodeId,
        wallet: WalletId,
        result: Result<(SheetHash, Adopted), Code>,
    ) {
        self.answering.done(from);
        match result {
            Ok((session, adopted)) => {
                let others = adopted.notice.iter().flat_map(|notice| notice.nodes.iter().copied());
                // Everybody is told, so that nobody need tell this node.
                let told: BTreeSet<NodeId> = others.chain([from]).collect();
                if adopted.certificate.record().session == session {
                    self.comes_into_force(session);
                    self.in_force(myself, &wallet, &adopted);
                    self.known(from, wallet.clone(), session);
                }
                for node in told {
                    self.say(node, PeerMessage::KnowsReshared { wallet: wallet.clone(), session });
                }
            }
            Err(code) => {
                tracing::warn!(peer = %from, %wallet, %code, "a certificate of a peer is not taken");
            }
        }
    }

    /// Says something to a node that can be reached.
    pub(super) fn say(&self, to: NodeId, message: PeerMessage) {
        if self.view.peers.get(&to).is_some_and(|peer| peer.linked) {
            self.dealings.post().transmit(to, message);
        }
    }

    /// A run ends without a certificate. Its clients are told; what is durable already stays, to be settled.
    pub(super) fn fail(&mut self, myself: &ActorRef<ReshareMsg>, session: SheetHash, cause: impl Into<Cause>) {
        let Cause { code, culprits, said_by } = cause.into();
        let me = self.args.identity.id();
        let Some((wallet, run)) = self.run_of(session) else { return };
        let doing = run.phase.name();
        let mut waiters = std::mem::take(&mut run.waiters);
        match run.phase {
            Phase::FailedStoring => {
                run.waiters = waiters;
                return;
            }
            Phase::Storing => run.phase = Phase::FailedStoring,
            Phase::Session => {
                self.dealings.tell(session, SessionMsg::cancel(code));
                if let Some(run) = self.runs.remove(&wallet) {
                    self.notices.forget(session);
                    let has_no_share = matches!(code, Code::KeyNotFound | Code::WalletQuarantined);
                    if has_no_share && run.sheet.sheet.coordinator == me && !waiters.is_empty() {
                        waiters = deal_by_others(myself, run, waiters, &culprits);
                    }
                }
            }
            Phase::Committing | Phase::Proving => {
                if self.is_certifying(&wallet) {
                    if let Some((_, run)) = self.run_of(session) {
                        run.waiters = waiters;
                    }
                    return;
                }
                self.stop_proving(&wallet, code);
                if let Some(run) = self.runs.remove(&wallet)
                    && let Some(own) = run.own.clone()
                {
                    self.unsettle(myself, wallet.clone(), own, &run);
                }
            }
        }
        self.aborted += 1;
        let peers = &self.args.peers;
        self.causes.count(code, &culprits, |culprit| peers.get(culprit).is_some());
        tracing::warn!(%wallet, %session, %code, ?culprits, "reshare failed");
        // For its client, a reshare that another one took the place of is one that came second.
        let code = if code == Code::Superseded { Code::ReshareInProgress } else { code };
        let said = said_by.map_or_else(String::new, |peer| format!(", as node {peer} says"));
        let reason = format!("the reshare failed while it was {doing}{said}");
        answer(waiters, &Err(Failure { code, reason, culprits }));
    }
}

/// Begins again without those that turned out to have no share that they may use, unless that is nothing new. Gives back the waiters that
/// have to be answered.
fn deal_by_others(
    myself: &ActorRef<ReshareMsg>,
    run: Run,
    waiters: Vec<super::run::Waiter>,
    culprits: &BTreeSet<NodeId>,
) -> Vec<super::run::Waiter> {
    if culprits.is_subset(&run.without) {
        return waiters;
    }
    let without = &run.without | culprits;
    let prepared = run.prepared;
    beside(myself, async move { Work::Again { prepared, waiters, without } });
    Vec::new()
}
