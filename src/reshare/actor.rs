//! The resharing actor: see the module's documentation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};

use super::args::ReshareArgs;
use super::proving::Proving;
use super::refreshing::{RefreshAges, Refreshes};
use super::run::{Cause, Phase, Run, Waiter, answer};
use super::settling::Unsettled;
use super::telling::Notices;
use super::work::{TaskDone, Work};
use crate::destruction::WalletGone;
use crate::error::{Code, Failure};
use crate::ids::{SheetHash, WalletId};
use crate::keys::Signature;
use crate::pairing::Banned;
use crate::protocol::reshare::ReshareOutput;
use crate::registry::View;
use crate::session::{Aborted, Answering, Causes, Intake, SessionEnd, Sessions};
use crate::supervision::{beside, heard_as};
use crate::transport::{Inbound, PeerEvent};
use crate::wire::message::{MAX_LISTED_NODES, PeerMessage, Service, SessionBody};
use crate::wire::request::ReshareRequest;

/// How many keys of a wallet are proved at a time: all of them.
const PROOFS_EACH: usize = 3;

/// What resharing takes.
pub enum ReshareMsg {
    /// A client asks for keys of a wallet to be dealt anew.
    Reshare {
        /// The request as parsed.
        request: ReshareRequest,
        /// Where the answer goes: exactly one comes.
        reply: Waiter,
    },
    /// A peer's message.
    Peer(Inbound),
    /// A link changed, or a peer's readiness did.
    Link(PeerEvent),
    /// The membership changed.
    View(Arc<View>),
    /// The pair with a peer must not be used any more.
    Banned(Banned),
    /// A wallet is destroyed.
    Gone(WalletGone),
    /// A session that dealt keys ended.
    Dealt(SessionEnd<ReshareOutput>),
    /// A session that proved a key ended.
    Proved(SessionEnd<Signature>),
    /// A task is through with its work.
    Task(TaskDone),
    /// Time to look for wallets that are to be refreshed unasked.
    LookForDue,
    /// Takes no more requests; answers when none is at work any more.
    Drain(RpcReplyPort<()>),
    /// Asks for what can be observed.
    Snapshot(RpcReplyPort<ReshareSnapshot>),
    /// Panics in the handler: the harness proves supervision with it.
    #[cfg(any(test, feature = "testing"))]
    InjectPanic,
}

heard_as!(ReshareMsg {
    Inbound => Peer,
    PeerEvent => Link,
    Arc<View> => View,
    Banned => Banned,
    WalletGone => Gone,
    SessionEnd<ReshareOutput> => Dealt,
    SessionEnd<Signature> => Proved,
});

impl From<Work> for ReshareMsg {
    fn from(work: Work) -> Self {
        Self::Task(TaskDone(work))
    }
}

/// What can be observed of resharing. No secret is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReshareSnapshot {
    /// The wallets being reshared.
    pub running: BTreeSet<WalletId>,
    /// The wallets with something pending that is not settled.
    pub unsettled: BTreeSet<WalletId>,
    /// The wallets of which not everybody concerned is known to know the latest.
    pub to_tell: usize,
    /// Whether deleted shares may still be in the store's files.
    pub purging: bool,
    /// The wallets that are refreshed unasked.
    pub ages: RefreshAges,
    /// Refreshes that this node began unasked and that were done, since it started.
    pub refreshed: u64,
    /// Those that were put off, because somebody was away or busy.
    pub postponed: u64,
    /// Those that failed.
    pub failed_refreshes: u64,
    /// Wallets whose reshare took effect on this node since it started.
    pub reshared: u64,
    /// Reshares that were pending here and were given up.
    pub rolled_back: u64,
    /// Runs that ended without a reshare.
    pub aborted: u64,
    /// The last abort.
    pub last_abort: Option<Aborted>,
    /// Why runs ended without a reshare, since the node started.
    pub causes: Causes,
}

/// What resharing owns.
pub struct ReshareState {
    pub(super) args: ReshareArgs,
    pub(super) view: Arc<View>,
    pub(super) runs: BTreeMap<WalletId, Run>,
    pub(super) dealings: Sessions<ReshareOutput>,
    pub(super) proofs: Sessions<Signature>,
    pub(super) proving: BTreeMap<WalletId, Proving>,
    pub(super) unsettled: BTreeMap<WalletId, Unsettled>,
    pub(super) notices: Notices,
    pub(super) refreshes: Refreshes,
    pub(super) looking: bool,
    pub(super) purging: bool,
    pub(super) purge_again: bool,
    pub(super) intake: Intake,
    pub(super) proof_intake: Intake,
    pub(super) answering: Answering,
    pub(super) turn: u64,
    pub(super) reshared: u64,
    pub(super) rolled_back: u64,
    pub(super) aborted: u64,
    pub(super) last_abort: Option<Aborted>,
    pub(super) causes: Causes,
}

/// Deals keys anew, settles what interrupted runs left behind, and tells everybody what became of a wallet.
pub struct ReshareActor;

impl Actor for ReshareActor {
    type Msg = ReshareMsg;
    type State = ReshareState;
    type Arguments = ReshareArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<ReshareMsg>,
        args: ReshareArgs,
    ) -> Result<ReshareState, ActorProcessingErr> {
        let mut state = ReshareState {
            view: Arc::new(View::empty(args.identity.id(), args.peers.ids())),
            dealings: Sessions::new(args.dealing_kit()),
            proofs: Sessions::new(args.proving_kit()),
            intake: Intake::new(args.max_concurrent),
            proof_intake: Intake::new(args.max_concurrent.saturating_mul(PROOFS_EACH)),
            args,
            runs: BTreeMap::new(),
            proving: BTreeMap::new(),
            unsettled: BTreeMap::new(),
            notices: Notices::default(),
            refreshes: Refreshes::default(),
            looking: false,
            purging: false,
            purge_again: false,
            answering: Answering::default(),
            turn: 0,
            reshared: 0,
            rolled_back: 0,
            aborted: 0,
            last_abort: None,
            causes: Causes::default(),
        };
        // Tasks of a former life may still write what this life is about to read.
        state.args.former_writes().await;
        state.load_pending().await?;
        state.load_notices().await?;
        state.look_later(&myself);
        state.purge(&myself);
        state.look_for_due(&myself);
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<ReshareMsg>,
        message: ReshareMsg,
        state: &mut ReshareState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ReshareMsg::Reshare { request, reply } => state.reshare(&myself, request, reply),
            ReshareMsg::Peer(inbound) => state.peer(&myself, inbound),
            ReshareMsg::Link(event) => state.link(&myself, &event),
            ReshareMsg::View(view) => state.view = view,
            ReshareMsg::Banned(Banned(peer)) => {
                // Of the proofs, only those of ECDSA keys need the pair; the others can be had again.
                state.proofs.cancel(Code::PairBanned, |sheet| sheet.index_of(peer).is_some());
            }
            ReshareMsg::Gone(WalletGone(wallet)) => state.gone(&myself, &wallet),
            ReshareMsg::Dealt(end) => state.dealt(&myself, end),
            ReshareMsg::Proved(end) => state.proved(&myself, end),
            ReshareMsg::Task(TaskDone(work)) => state.work(&myself, work).await,
            ReshareMsg::LookForDue => state.look_now(&myself),
            ReshareMsg::Drain(reply) => {
                state.refreshes.stop();
                state.intake.drain(reply);
            }
            ReshareMsg::Snapshot(reply) => {
                // Whoever asked may have gone.
                let _ = reply.send(state.snapshot());
            }
            #[cfg(any(test, feature = "testing"))]
            #[expect(clippy::panic, reason = "the harness injects it")]
            ReshareMsg::InjectPanic => panic!("injected"),
        }
        state.intake.settle(state.runs.is_empty());
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<ReshareMsg>,
        event: SupervisionEvent,
        state: &mut ReshareState,
    ) -> Result<(), ActorProcessingErr> {
        let me = state.args.identity.id();
        if state.proofs.supervises(&event) {
            if let Some(sheet) = state.proofs.gone(event).await {
                state.proof_failed(&myself, sheet.hash, (Code::Internal, [me].into()));
            }
        } else if let Some(sheet) = state.dealings.gone(event).await {
            state.fail(&myself, sheet.hash, (Code::Internal, [me].into()));
        }
        Ok(())
    }
}

impl ReshareState {
    fn snapshot(&self) -> ReshareSnapshot {
        ReshareSnapshot {
            running: self.runs.keys().cloned().collect(),
            unsettled: self.unsettled.keys().cloned().collect(),
            to_tell: self.notices.len(),
            purging: self.purging,
            ages: self.refreshes.ages,
            refreshed: self.refreshes.done,
            postponed: self.refreshes.postponed,
            failed_refreshes: self.refreshes.failed,
            reshared: self.reshared,
            rolled_back: self.rolled_back,
            aborted: self.aborted,
            last_abort: self.last_abort.clone(),
            causes: self.causes.clone(),
        }
    }

    /// A client asks for keys of a wallet to be dealt anew.
    fn reshare(&mut self, myself: &ActorRef<ReshareMsg>, request: ReshareRequest, reply: Waiter) {
        let of_clients = self.runs.values().filter(|run| !run.waiters.is_empty()).count();
        if let Err(failure) = self.intake.request(of_clients) {
            let _ = reply.send(Err(failure));
            return;
        }
        let args = self.args.clone();
        beside(myself, async move { Work::Prepared { reply, result: args.prepare(request).await } });
    }

    /// A peer's message.
    fn peer(&mut self, myself: &ActorRef<ReshareMsg>, inbound: Inbound) {
        let Inbound { from, message, credit } = inbound;
        match message {
            PeerMessage::ReshareQuery { wallet, session } => self.query(myself, from, wallet, session, credit),
            PeerMessage::ReshareReply { wallet, session, outcome } => {
                self.reply(myself, from, &wallet, session, outcome);
            }
            PeerMessage::Reshared { wallet, certificate } => self.told(myself, from, wallet, certificate, credit),
            PeerMessage::KnowsReshared { wallet, session } => self.known(from, wallet, session),
            PeerMessage::Session { service: Service::Proof, session, body } => match body {
                SessionBody::Propose { sheet, signature } => {
                    if !self.proofs.proposed(&mut self.proof_intake, from, session, self.proofs.len()) {
                        return;
                    }
                    let args = self.args.clone();
                    beside(myself, async move {
                        let result = args.check_proof(from, session, sheet, signature).await.map(Box::new);
                        // The link's budget is given back once the proposal is dealt with.
                        drop(credit);
                        Work::Provable { from, session, result }
                    });
                }
                body => self.proofs.route(session, from, body, credit),
            },
            PeerMessage::Session { session, body: SessionBody::Propose { sheet, signature }, .. } => {
                if !self.dealings.proposed(&mut self.intake, from, session, self.runs.len()) {
                    return;
                }
                let args = self.args.clone();
                beside(myself, async move {
                    let result = args.check(from, session, sheet, signature).await.map(Box::new);
                    drop(credit);
                    Work::Checked { from, session, result }
                });
            }
            PeerMessage::Session { session, body: SessionBody::RecordSigned { signature }, .. } => {
                self.record_signed(myself, from, session, signature);
            }
            PeerMessage::Session { session, body, .. } => {
                if let SessionBody::Abort { code, culprits, .. } = &body
                    && self.run_of(session).is_some_and(|(_, run)| run.phase != Phase::Session && run.concerns(from))
                {
                    let culprits = culprits.iter().copied().take(MAX_LISTED_NODES).collect();
                    self.fail(myself, session, Cause { code: *code, culprits, said_by: Some(from) });
                    return;
                }
                self.dealings.route(session, from, body, credit);
            }
            // The transport gives these to key generation and to signing.
            PeerMessage::KeygenQuery { .. }
            | PeerMessage::KeygenReply { .. }
            | PeerMessage::SigningQuery { .. }
            | PeerMessage::SigningReply { .. }
            | PeerMessage::Destroyed { .. }
            | PeerMessage::DestroyedQuery { .. } => {}
        }
    }

    /// A wallet is destroyed: there is nothing left to deal, to settle or to tell, but shares to get out of the files.
    fn gone(&mut self, myself: &ActorRef<ReshareMsg>, wallet: &WalletId) {
        self.stop_proving(wallet, Code::WalletDestroyed);
        if let Some(session) = self.runs.get(wallet).map(|run| run.sheet.hash) {
            self.fail(myself, session, (Code::WalletDestroyed, BTreeSet::new()));
        }
        self.unsettled.remove(wallet);
        self.notices.remove(wallet);
        self.purge(myself);
    }

    /// A link is lost: its sessions abort, and so does the gathering of signatures.
    fn link(&mut self, myself: &ActorRef<ReshareMsg>, event: &PeerEvent) {
        match event {
            PeerEvent::Down { peer, .. } => {
                self.dealings.peer_down(*peer);
                self.proofs.peer_down(*peer);
                let awaited = |run: &Run| run.commit.missing().contains(peer) || run.prover() == Some(*peer);
                let is_missed = |run: &&Run| run.is_gathering() && awaited(run);
                let waiting: Vec<SheetHash> = self.runs.values().filter(is_missed).map(|run| run.sheet.hash).collect();
                for session in waiting {
                    self.fail(myself, session, (Code::PeerUnavailable, [*peer].into()));
                }
            }
            PeerEvent::Up { peer, .. } => {
                self.settle(myself);
                self.tell(*peer);
            }
            PeerEvent::Readiness { .. } => {}
        }
    }

    /// What a task reports.
    async fn work(&mut self, myself: &ActorRef<ReshareMsg>, work: Work) {
        match work {
            Work::Prepared { reply, result } => {
                self.intake.prepared();
                self.prepared(myself, reply, result).await;
            }
            Work::Again { prepared, waiters, without } => {
                self.coordinate(myself, prepared, waiters, without).await;
            }
            Work::Checked { from, session, result } => {
                let stands = self.dealings.checked(&mut self.intake, from, session);
                let joined = match result {
                    Ok(checked) => {
                        let (sheet, prepared) = *checked;
                        let joined = match stands {
                            true => self.join(myself, from, sheet, prepared).await,
                            false => Err(Code::PeerUnavailable),
                        };
                        if joined.is_err() {
                            // It will have to do without this node.
                            self.dealings.ended(session);
                        }
                        joined
                    }
                    Err(code) => Err(code),
                };
                if let Err(code) = joined {
                    tracing::info!(peer = %from, %session, %code, "reshare refused");
                    self.dealings.post().refuse(from, session, code);
                }
            }
            Work::Pended { session, result } => self.pended(myself, session, result),
            Work::CommitDeadline(session) => {
                if let Some((_, run)) = self.run_of(session)
                    && run.is_gathering()
                {
                    let missing = run.commit.missing();
                    let awaited = if missing.is_empty() { run.prover().into_iter().collect() } else { missing };
                    self.fail(myself, session, (Code::SessionTimeout, awaited));
                }
            }
            Work::Provable { from, session, result } => self.provable(myself, from, session, result).await,
            Work::Certified { wallet, session, result } => self.certified(myself, &wallet, session, result),
            Work::Told { from, wallet, result } => self.was_told(myself, from, wallet, result),
            Work::SetAside { wallet, session, result } => self.was_set_aside(&wallet, session, result),
            Work::Answer { to, wallet, session, outcome } => {
                self.answering.done(to);
                self.dealings.post().transmit(to, PeerMessage::ReshareReply { wallet, session, outcome });
            }
            Work::Look => {
                self.looking = false;
                self.settle(myself);
                self.tell_all();
                self.purge(myself);
                self.look_later(myself);
            }
            Work::Purged(result) => self.purged(myself, result),
            Work::DueRefreshes(found) => self.found_due(myself, found),
            Work::Refreshed { wallet, result } => self.refreshed(myself, wallet, result),
        }
    }

    /// The run that a session belongs to.
    pub(super) fn run_of(&mut self, session: SheetHash) -> Option<(WalletId, &mut Run)> {
        let (wallet, run) = self.runs.iter_mut().find(|(_, run)| run.sheet.hash == session)?;
        Some((wallet.clone(), run))
    }
}

impl Drop for ReshareState {
    fn drop(&mut self) {
        // The table tells the members of sessions that run. Those of a run that is being stored still wait for this node's
        // signature: they need not wait for the deadline. What is stored is settled by the next life.
        let me = self.args.identity.id();
        for run in self.runs.values().filter(|run| run.phase == Phase::Storing) {
            self.dealings.post().tell_others(&run.sheet, || SessionBody::abandoned(me));
        }
        let failure = Failure::new(Code::Cancelled, "resharing stopped before the request was answered");
        for run in std::mem::take(&mut self.runs).into_values() {
            answer(run.waiters, &Err(failure.clone()));
        }
    }
}
