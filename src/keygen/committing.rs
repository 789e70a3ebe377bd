//! From the end of the protocol to a wallet, or to pending shares: storing, signing, gathering, activating.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ractor::ActorRef;

use super::Generated;
use super::actor::{KeygenMsg, KeygenState};
use super::prepare::NotActivated;
use super::run::{Phase, Run, Signature, answer};
use super::work::Work;
use crate::error::{Code, Failure};
use crate::halting::{self, Place};
use crate::ids::{NodeId, SheetHash, WalletId};
use crate::protocol::keygen::KeygenOutput;
use crate::session::{Outcome, SessionEnd, SessionMsg};
use crate::supervision::beside;
use crate::wallet::WalletCertificate;
use crate::wire::message::{PendingOutcome, SessionBody};

impl KeygenState {
    /// The threshold protocol is over.
    pub(super) fn ended(&mut self, myself: &ActorRef<KeygenMsg>, end: SessionEnd<KeygenOutput>) {
        self.sessions.ended(end.session);
        let session = end.session;
        match end.outcome {
            Outcome::Done(output) => {
                let args = self.args.clone();
                let Some((_, run)) = self.run_of(session) else { return };
                run.phase = Phase::Storing;
                let (sheet, content) = (Arc::clone(&run.sheet), run.content);
                let deadline = args.clock.instant_of(sheet.sheet.deadline_ms);
                beside(myself, async move {
                    tokio::time::sleep_until(deadline).await;
                    Work::CommitDeadline(session)
                });
                let writing = args.writing();
                beside(myself, async move {
                    let result = args.pend(&sheet, content, output).await.map(|pending| Signature::of(&pending));
                    drop(writing);
                    Work::Pended { session, result }
                });
            }
            Outcome::Aborted(aborted) => {
                let (code, culprits, said_by) = (aborted.code, aborted.culprits.clone(), aborted.reported_by);
                self.last_abort = Some(aborted);
                self.fail(myself, session, code, culprits, said_by);
            }
        }
    }

    /// The shares are durable: tell the others that this node has signed.
    pub(super) fn pended(&mut self, myself: &ActorRef<KeygenMsg>, session: SheetHash, result: Result<Signature, Code>) {
        let me = self.args.identity.id();
        let Some((wallet, run)) = self.run_of(session) else { return };
        match result {
            Ok(own) if run.phase == Phase::FailedStoring => {
                self.runs.remove(&wallet);
                self.unsettle(myself, wallet, session, own);
            }
            Ok(own) => {
                let (sheet, signature) = (Arc::clone(&run.sheet), own.signature);
                run.phase = Phase::Committing;
                run.commit.signed(me, signature);
                run.own = Some(own);
                halting::at(Place::Stored, &sheet.sheet, me);
                self.sessions.post().tell_others(&sheet, || SessionBody::RecordSigned { signature });
                self.certify(myself, session);
            }
            Err(code) => {
                let sheet = Arc::clone(&run.sheet);
                // Nothing was written, so nothing is left to settle.
                run.phase = Phase::Session;
                self.sessions.post().abort(&sheet, code, &BTreeSet::new(), 0);
                self.fail(myself, session, code, [me].into(), None);
            }
        }
    }

    /// A member says that its shares are durable.
    pub(super) fn record_signed(
        &mut self,
        myself: &ActorRef<KeygenMsg>,
        from: NodeId,
        session: SheetHash,
        signature: [u8; 64],
    ) {
        if let Some((_, run)) = self.run_of(session) {
            run.commit.signed(from, signature);
            self.certify(myself, session);
        } else if let Some((wallet, _)) = self.unsettled.iter().find(|(_, unsettled)| unsettled.session == session) {
            let wallet = wallet.clone();
            self.reply(myself, from, &wallet, session, PendingOutcome::Pending(signature));
        }
    }

    /// Makes the shares active once all have signed.
    fn certify(&mut self, myself: &ActorRef<KeygenMsg>, session: SheetHash) {
        let Some((wallet, run)) = self.run_of(session) else { return };
        if run.phase != Phase::Committing {
            return;
        }
        let Some(signatures) = run.commit.complete().cloned() else { return };
        run.phase = Phase::Activating;
        self.activate(myself, wallet, session, signatures);
    }

    pub(super) fn activate(
        &self,
        myself: &ActorRef<KeygenMsg>,
        wallet: WalletId,
        session: SheetHash,
        signatures: BTreeMap<NodeId, [u8; 64]>,
    ) {
        let (args, writing) = (self.args.clone(), self.args.writing());
        beside(myself, async move {
            let result = args.activate(&wallet, signatures).await;
            drop(writing);
            Work::Activated { wallet, session, result }
        });
    }

    /// The shares are active, or could not be made so.
    pub(super) fn active(
        &mut self,
        myself: &ActorRef<KeygenMsg>,
        wallet: WalletId,
        session: SheetHash,
        result: Result<Arc<WalletCertificate>, NotActivated>,
    ) {
        match result {
            Ok(certificate) => {
                tracing::info!(%wallet, %session, "wallet active");
                self.activated += 1;
                self.unsettled.remove(&wallet);
                self.in_force(myself, certificate.record());
                if self.run_of(session).is_some()
                    && let Some(run) = self.runs.remove(&wallet)
                {
                    halting::at(Place::Certified, &run.sheet.sheet, self.args.identity.id());
                    for asker in run.asked {
                        // Whoever asked may have gone.
                        let _ = asker.send(Ok(Some(Arc::clone(&certificate))));
                    }
                    answer(run.late, &Ok(Generated { certificate: Arc::clone(&certificate), fresh: false }));
                    answer(run.waiters, &Ok(Generated { certificate, fresh: true }));
                }
            }
            Err(NotActivated { code, culprit }) => {
                if let Some((_, run)) = self.run_of(session) {
                    run.phase = Phase::Committing;
                    self.fail(myself, session, code, culprit.into_iter().collect(), None);
                } else {
                    self.not_settled(&wallet, code);
                }
            }
        }
    }

    /// A run ends without a wallet. Its clients are told, also where it is only a peer that says so; shares that are durable
    /// already stay, to be settled.
    pub(super) fn fail(
        &mut self,
        myself: &ActorRef<KeygenMsg>,
        session: SheetHash,
        code: Code,
        culprits: BTreeSet<NodeId>,
        said_by: Option<NodeId>,
    ) {
        let Some((wallet, run)) = self.run_of(session) else { return };
        let said = said_by.map_or_else(String::new, |peer| format!(", as node {peer} says"));
        let reason = format!("the key generation failed while it was {}{said}", run.phase.name());
        let (waiters, late) = (std::mem::take(&mut run.waiters), std::mem::take(&mut run.late));
        let asked = std::mem::take(&mut run.asked);
        match run.phase {
            Phase::Activating | Phase::FailedStoring => {
                (run.waiters, run.late, run.asked) = (waiters, late, asked);
                return;
            }
            Phase::Storing => run.phase = Phase::FailedStoring,
            Phase::Session => {
                self.sessions.tell(session, SessionMsg::cancel(code));
                self.runs.remove(&wallet);
            }
            Phase::Committing => {
                if let Some(Run { own: Some(own), .. }) = self.runs.remove(&wallet) {
                    self.unsettle(myself, wallet.clone(), session, own);
                }
            }
        }
        self.aborted += 1;
        let peers = &self.args.peers;
        self.causes.count(code, &culprits, |culprit| peers.get(culprit).is_some());
        tracing::warn!(%wallet, %session, %code, ?culprits, "key generation failed");
        let failure = Failure { code, reason, culprits };
        for asker in asked {
            // Not here, or not yet: whoever asked may ask again.
            let _ = asker.send(Ok(None));
        }
        answer(late, &Err(failure.clone()));
        answer(waiters, &Err(failure));
    }
}
