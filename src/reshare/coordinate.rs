//! How a reshare begins: as the coordinator of a client's request, or as a participant.

use std::collections::BTreeSet;
use std::sync::Arc;

use ractor::ActorRef;

use super::Reshared;
use super::actor::{ReshareMsg, ReshareState};
use super::plan;
use super::prepare::{Admitted, Prepared};
use super::run::{Phase, Run, Waiter, answer};
use crate::error::{Code, Failure};
use crate::ids::NodeId;
use crate::protocol::reshare::{Reshare, ReshareOutput};
use crate::protocol::{Party, RunContext, rng};
use crate::session::{Draft, SessionMsg, SheetContext};
use crate::wallet::Commit;
use crate::wire::sheet::Task;

fn in_progress(reason: &str) -> Result<Reshared, Failure> {
    Err(Failure::new(Code::ReshareInProgress, reason))
}

impl ReshareState {
    /// A client's request is checked and read in.
    pub(super) async fn prepared(
        &mut self,
        myself: &ActorRef<ReshareMsg>,
        reply: Waiter,
        result: Result<Admitted, Failure>,
    ) {
        match result {
            Ok(Admitted::New(prepared)) => {
                self.coordinate(myself, prepared, vec![reply], BTreeSet::new()).await;
            }
            Ok(Admitted::Done(certificate)) => {
                let _ = reply.send(Ok(Reshared { certificate, fresh: false }));
            }
            Err(failure) => {
                let _ = reply.send(Err(failure));
            }
        }
    }

    /// Starts a session for a client's request. Nodes in `without` have no share to deal.
    pub(super) async fn coordinate(
        &mut self,
        myself: &ActorRef<ReshareMsg>,
        prepared: Arc<Prepared>,
        mut waiters: Vec<Waiter>,
        without: BTreeSet<NodeId>,
    ) {
        let wallet = prepared.request.wallet();
        if let Some(run) = self.runs.get_mut(wallet) {
            if run.prepared.content == prepared.content && run.phase != Phase::FailedStoring {
                run.waiters.append(&mut waiters);
            } else {
                answer(waiters, &in_progress("another reshare of the wallet is at work"));
            }
            return;
        }
        if self.unsettled.contains_key(wallet) {
            answer(waiters, &in_progress("an earlier reshare of the wallet is not settled yet"));
            return;
        }
        match self.propose(&prepared, &without) {
            Ok(sheet) => {
                let sheet = Arc::new(sheet);
                self.dealings.post().tell_others(&sheet, || sheet.proposal());
                if let Err(code) = self.start(myself, Arc::clone(&sheet), prepared, waiters, without).await {
                    self.dealings.post().abort(&sheet, code, &BTreeSet::new(), 0);
                }
            }
            Err(failure) => answer(waiters, &Err(failure)),
        }
    }

    /// Writes the sheet of a reshare, if all who are needed are ready.
    fn propose(&self, prepared: &Prepared, without: &BTreeSet<NodeId>) -> Result<SheetContext, Failure> {
        let (request, record) = (&prepared.request, prepared.certificate.record());
        let me = self.args.identity.id();
        let mut without = without.clone();
        if prepared.shares.len() < request.schemes().len() {
            without.insert(me);
        }
        let choice = plan::choose(record, request, me, &self.view.ready(), &without)?;
        let certificate = prepared.certificate.encode();
        let certificate = certificate.map_err(|error| Failure::new(error.code(), "the certificate does not encode"))?;
        let task = Task::Reshare {
            wallet: request.wallet().clone(),
            certificate,
            keys: choice.keys,
            threshold: request.threshold(),
            committee: request.committee().to_vec(),
            request: request.bytes().to_vec(),
        };
        let deadline_ms = self.args.clock.deadline_ms(self.args.deadline);
        let draft = Draft { task, participants: choice.participants, attempt: 1, deadline_ms };
        SheetContext::draft(draft, &self.args.cluster, &self.args.identity)
    }

    /// Takes part in a session that a peer coordinates. Of two for one wallet, the lower coordinator's goes on, so that all
    /// nodes decide alike, whatever they are for; once something is being stored, nothing takes its place.
    pub(super) async fn join(
        &mut self,
        myself: &ActorRef<ReshareMsg>,
        from: NodeId,
        sheet: SheetContext,
        prepared: Prepared,
    ) -> Result<(), Code> {
        if self.dealings.knows(sheet.hash) {
            // The same proposal, once more.
            return Ok(());
        }
        let wallet = prepared.request.wallet();
        if self.unsettled.contains_key(wallet) {
            return Err(Code::ReshareInProgress);
        }
        let mut waiters = Vec::new();
        if let Some(run) = self.runs.get_mut(wallet) {
            let (running, proposed) = (&run.sheet.sheet, &sheet.sheet);
            // Proposals of one coordinator are checked side by side: the later one counts, whichever is through first.
            let takes_over = from < running.coordinator
                || (from == running.coordinator && proposed.deadline_ms > running.deadline_ms);
            if run.phase != Phase::Session || !takes_over {
                return Err(Code::ReshareInProgress);
            }
            let former = std::mem::take(&mut run.waiters);
            if run.prepared.content == prepared.content {
                waiters = former;
            } else {
                answer(former, &in_progress("another reshare of the wallet took over"));
            }
            self.dealings.tell(run.sheet.hash, SessionMsg::cancel(Code::Superseded));
            self.runs.remove(wallet);
        }
        self.start(myself, Arc::new(sheet), Arc::new(prepared), waiters, BTreeSet::new()).await
    }

    /// Starts this node's side of a session.
    async fn start(
        &mut self,
        myself: &ActorRef<ReshareMsg>,
        sheet: Arc<SheetContext>,
        prepared: Arc<Prepared>,
        waiters: Vec<Waiter>,
        without: BTreeSet<NodeId>,
    ) -> Result<(), Code> {
        let started = match self.engine(&sheet, &prepared) {
            Ok(party) => {
                let started = self.dealings.start(Arc::clone(&sheet), party.into(), None, myself.get_cell()).await;
                started.map_err(|error| {
                    tracing::error!(session = %sheet.hash, %error, "failed to start a session");
                    Code::Internal
                })
            }
            Err(code) => Err(code),
        };
        match started {
            Ok(()) => {
                let wallet = prepared.request.wallet().clone();
                let commit = Commit::new(sheet.sheet.participants.iter().map(|member| member.node).collect());
                let (phase, own) = (Phase::Session, None);
                self.runs.insert(wallet, Run { prepared, waiters, sheet, phase, commit, own, without });
                Ok(())
            }
            Err(code) => {
                answer(waiters, &Err(Failure::new(code, "the reshare did not start")));
                Err(code)
            }
        }
    }

    fn engine(
        &self,
        sheet: &SheetContext,
        prepared: &Prepared,
    ) -> Result<Box<dyn Party<Output = ReshareOutput>>, Code> {
        let me = sheet.sheet.index_of(self.args.identity.id()).ok_or(Code::ProtocolViolation)?;
        let context = RunContext { session: sheet.hash, me, parties: sheet.sheet.parties() };
        let plan = plan::engine_plan(&sheet.sheet, prepared.certificate.record())?;
        let engine = Reshare::new(context, plan, prepared.shares.clone(), rng::os());
        engine.map(|engine| Box::new(engine) as _).map_err(|error| {
            tracing::error!(session = %sheet.hash, %error, "a reshare cannot begin");
            error.code()
        })
    }
}
