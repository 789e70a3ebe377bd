//! How a key generation begins: as the coordinator of a client's request, or as a participant.

use std::collections::BTreeSet;
use std::sync::Arc;

use ractor::{ActorProcessingErr, ActorRef};

use super::actor::{KeygenMsg, KeygenState, NOT_SETTLED, Waiter};
use super::prepare::Prepared;
use super::run::{Phase, Run, answer};
use crate::error::{Code, Failure};
use crate::ids::NodeId;
use crate::protocol::keygen::{Keygen, KeygenOutput};
use crate::protocol::{Party, RunContext, rng};
use crate::session::{Draft, SessionMsg, SheetContext};
use crate::wallet::Commit;
use crate::wire::sheet::Task;

impl KeygenState {
    /// Starts a session for a client's request.
    pub(super) async fn coordinate(&mut self, myself: &ActorRef<KeygenMsg>, prepared: Prepared, reply: Waiter) {
        let wallet = prepared.request.wallet();
        let duplicate = |reason| Err(Failure::new(Code::SessionDuplicate, reason));
        if let Some(run) = self.runs.get_mut(wallet) {
            if run.phase == Phase::FailedStoring {
                let _ = reply.send(duplicate(NOT_SETTLED));
            } else if run.content == prepared.content {
                run.waiters.push(reply);
            } else {
                let _ = reply.send(duplicate("another key generation for this wallet is at work"));
            }
            return;
        }
        if self.unsettled.contains_key(wallet) {
            // Its shares became pending after the request was looked into.
            let _ = reply.send(duplicate(NOT_SETTLED));
            return;
        }
        match self.propose(&prepared) {
            Ok(sheet) => {
                let sheet = Arc::new(sheet);
                self.sessions.post().tell_others(&sheet, || sheet.proposal());
                if let Err(code) = self.start(myself, Arc::clone(&sheet), prepared.content, vec![reply]).await {
                    self.sessions.post().abort(&sheet, code, &BTreeSet::new(), 0);
                }
            }
            Err(failure) => {
                let _ = reply.send(Err(failure));
            }
        }
    }

    /// A client asks for a wallet whose shares are pending here: the request that makes it may be answered already, by
    /// a node that was faster.
    pub(super) fn await_pending(&mut self, prepared: &Prepared, reply: Waiter) {
        let is_under_way = |run: &&mut Run| run.content == prepared.content && run.phase != Phase::FailedStoring;
        match self.runs.get_mut(prepared.request.wallet()).filter(is_under_way) {
            Some(run) => run.late.push(reply),
            None => {
                let _ = reply.send(Err(Failure::new(Code::SessionDuplicate, NOT_SETTLED)));
            }
        }
    }

    /// Writes the sheet of a new wallet, if all nodes are ready.
    fn propose(&self, prepared: &Prepared) -> Result<SheetContext, Failure> {
        let ready = self.view.ready();
        let committee = self.args.peers.committee();
        let absent: BTreeSet<NodeId> =
            committee.iter().map(|member| member.node).filter(|node| !ready.contains(node)).collect();
        if !absent.is_empty() {
            let enough = ready.len() >= usize::from(self.args.threshold.signers());
            let code = if enough { Code::ClusterNotReady } else { Code::NotMajority };
            let reason = format!("{} of {} nodes are ready; a new wallet needs all", ready.len(), committee.len());
            return Err(Failure { code, reason, culprits: absent });
        }
        let request = &prepared.request;
        let task = Task::Keygen {
            wallet: request.wallet().clone(),
            schemes: request.schemes(),
            threshold: self.args.threshold,
            request: request.bytes().to_vec(),
        };
        let deadline_ms = self.args.clock.deadline_ms(self.args.deadline);
        let draft = Draft { task, participants: committee, attempt: 1, deadline_ms };
        SheetContext::draft(draft, &self.args.cluster, &self.args.identity)
    }

    /// Takes part in a session that a peer coordinates. Of two for the same wallet, the lower coordinator's goes on, so
    /// that all nodes decide alike; once shares are being stored, nothing takes their place.
    pub(super) async fn join(
        &mut self,
        myself: &ActorRef<KeygenMsg>,
        from: NodeId,
        sheet: SheetContext,
        prepared: &Prepared,
    ) -> Result<(), Code> {
        if self.sessions.knows(sheet.hash) {
            // The same proposal, once more.
            return Ok(());
        }
        let wallet = prepared.request.wallet();
        if self.unsettled.contains_key(wallet) {
            // Its shares became pending after the proposal was checked.
            return Err(Code::SessionDuplicate);
        }
        let mut waiters = Vec::new();
        if let Some(run) = self.runs.get_mut(wallet) {
            let (running, proposed) = (&run.sheet.sheet, &sheet.sheet);
            // Proposals of one coordinator are checked side by side: the later one counts, whichever is through first.
            let takes_over = from < running.coordinator
                || (from == running.coordinator && proposed.deadline_ms > running.deadline_ms);
            let gives_way = run.phase == Phase::Session && takes_over;
            if run.content != prepared.content || !gives_way {
                return Err(Code::SessionDuplicate);
            }
            waiters.append(&mut run.waiters);
            self.sessions.tell(run.sheet.hash, SessionMsg::cancel(Code::Superseded));
            self.runs.remove(wallet);
        }
        self.start(myself, Arc::new(sheet), prepared.content, waiters).await
    }

    /// Starts this node's side of a session.
    async fn start(
        &mut self,
        myself: &ActorRef<KeygenMsg>,
        sheet: Arc<SheetContext>,
        content: [u8; 32],
        waiters: Vec<Waiter>,
    ) -> Result<(), Code> {
        let started = match self.engine(&sheet) {
            Ok(party) => {
                let started = self.sessions.start(Arc::clone(&sheet), party.into(), None, myself.get_cell()).await;
                started.map_err(|error| error.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        let Task::Keygen { wallet, .. } = &sheet.sheet.task else { return Err(Code::Internal) };
        match started {
            Ok(()) => {
                let commit = Commit::new(sheet.sheet.participants.iter().map(|member| member.node).collect());
                let wallet = wallet.clone();
                let (late, asked, phase) = (Vec::new(), Vec::new(), Phase::Session);
                self.runs.insert(wallet, Run { content, waiters, late, asked, sheet, phase, commit, own: None });
                Ok(())
            }
            Err(error) => {
                tracing::error!(%wallet, %error, "failed to start a key generation");
                let failure = Failure::new(Code::Internal, "the key generation did not start");
                answer(waiters, &Err(failure));
                Err(Code::Internal)
            }
        }
    }

    fn engine(&self, sheet: &SheetContext) -> Result<Box<dyn Party<Output = KeygenOutput>>, ActorProcessingErr> {
        let Task::Keygen { schemes, threshold, .. } = &sheet.sheet.task else {
            return Err("not a key generation".into());
        };
        let me = sheet.sheet.index_of(self.args.identity.id()).ok_or("this node takes no part")?;
        let context = RunContext { session: sheet.hash, me, parties: sheet.sheet.parties() };
        let schemes = schemes.iter().copied().collect();
        Ok(Box::new(Keygen::new(context, *threshold, &schemes, rng::os())?))
    }
}
