//! The key generation actor: see the module's documentation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};

use super::Generated;
use super::prepare::{Admitted, KeygenArgs};
use super::quarantine::Quarantine;
use super::run::{Phase, Run, answer};
use super::settling::Unsettled;
use super::work::{TaskDone, Work};
use crate::destruction::WalletGone;
use crate::error::{Code, Failure};
use crate::ids::{SheetHash, WalletId};
use crate::protocol::keygen::KeygenOutput;
use crate::registry::View;
use crate::reshare::Switched;
#[cfg(any(test, feature = "testing"))]
use crate::session::SessionMsg;
use crate::session::{Aborted, Answering, Causes, Intake, SessionEnd, Sessions};
use crate::supervision::{beside, heard_as};
use crate::transport::{Inbound, PeerEvent};
use crate::wallet::WalletCertificate;
use crate::wire::message::{MAX_LISTED_NODES, PeerMessage, SessionBody};
use crate::wire::request::KeygenRequest;

/// Why a wallet's name is taken.
pub(super) const NOT_SETTLED: &str = "an earlier key generation for this wallet is not settled yet";

/// Where the answer to a client goes.
pub(super) type Waiter = RpcReplyPort<Result<Generated, Failure>>;

/// Where the answer goes to whoever asks what a wallet is.
pub(super) type Asker = RpcReplyPort<Result<Option<Arc<WalletCertificate>>, Failure>>;

/// What key generation takes.
pub enum KeygenMsg {
    /// A client asks for a wallet.
    Generate {
        /// The request as parsed.
        request: KeygenRequest,
        /// Where the answer goes: exactly one comes.
        reply: Waiter,
    },
    /// A client asks what a wallet is.
    Wallet {
        /// Its name.
        wallet: WalletId,
        /// Its certificate, if it is active on this node.
        reply: Asker,
    },
    /// A peer's message.
    Peer(Inbound),
    /// A link changed, or a peer's readiness did.
    Link(PeerEvent),
    /// The membership changed.
    View(Arc<View>),
    /// A wallet was reshared.
    Switched(Switched),
    /// A wallet is destroyed.
    Gone(WalletGone),
    /// The node's operator takes it on himself that a restored wallet is current.
    Release {
        /// The wallet.
        wallet: WalletId,
        /// Where the answer goes, once the wallet is out of quarantine.
        reply: RpcReplyPort<Result<(), Failure>>,
    },
    /// A session ended.
    Ended(SessionEnd<KeygenOutput>),
    /// A task is through with its work.
    Task(TaskDone),
    /// Takes no more requests; answers when none is at work any more.
    Drain(RpcReplyPort<()>),
    /// Asks for what can be observed.
    Snapshot(RpcReplyPort<KeygenSnapshot>),
    /// Asks for the actor of a running session: the harness injects faults there.
    #[cfg(any(test, feature = "testing"))]
    Session(SheetHash, RpcReplyPort<Option<ActorRef<SessionMsg<KeygenOutput>>>>),
    /// Panics in the handler: the harness proves supervision with it.
    #[cfg(any(test, feature = "testing"))]
    InjectPanic,
}

heard_as!(KeygenMsg {
    Inbound => Peer,
    PeerEvent => Link,
    Arc<View> => View,
    Switched => Switched,
    WalletGone => Gone,
    SessionEnd<KeygenOutput> => Ended,
});

impl From<Work> for KeygenMsg {
    fn from(work: Work) -> Self {
        Self::Task(TaskDone(work))
    }
}

/// What can be observed of key generation. No secret is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeygenSnapshot {
    /// The wallets being made.
    pub running: BTreeSet<WalletId>,
    /// The wallets with pending shares that are not settled.
    pub unsettled: BTreeSet<WalletId>,
    /// The wallets that a restore put into quarantine and that are not confirmed.
    pub quarantined: BTreeSet<WalletId>,
    /// Members' queries that are being answered.
    pub answering: usize,
    /// Wallets that became active on this node since it started.
    pub activated: u64,
    /// Runs that ended without one.
    pub aborted: u64,
    /// The last abort.
    pub last_abort: Option<Aborted>,
    /// Why runs ended without a wallet, since the node started.
    pub causes: Causes,
}

/// What key generation owns.
pub struct KeygenState {
    pub(super) args: KeygenArgs,
    pub(super) view: Arc<View>,
    pub(super) runs: BTreeMap<WalletId, Run>,
    pub(super) sessions: Sessions<KeygenOutput>,
    pub(super) unsettled: BTreeMap<WalletId, Unsettled>,
    pub(super) quarantine: Quarantine,
    pub(super) resolving: bool,
    pub(super) intake: Intake,
    pub(super) answering: Answering,
    pub(super) activated: u64,
    pub(super) aborted: u64,
    pub(super) last_abort: Option<Aborted>,
    pub(super) causes: Causes,
}

/// Makes wallets, and settles what interrupted runs left behind.
pub struct KeygenActor;

impl Actor for KeygenActor {
    type Msg = KeygenMsg;
    type State = KeygenState;
    type Arguments = KeygenArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<KeygenMsg>,
        args: KeygenArgs,
    ) -> Result<KeygenState, ActorProcessingErr> {
        let view = Arc::new(View::empty(args.identity.id(), args.peers.ids()));
        let sessions = Sessions::new(args.kit());
        let mut state = KeygenState {
            intake: Intake::new(args.max_concurrent),
            answering: Answering::default(),
            args,
            view,
            runs: BTreeMap::new(),
            sessions,
            unsettled: BTreeMap::new(),
            quarantine: Quarantine::default(),
            resolving: false,
            activated: 0,
            aborted: 0,
            last_abort: None,
            causes: Causes::default(),
        };
        // Tasks of a former life may still write what this life is about to read.
        state.args.former_writes().await;
        state.load_pending().await?;
        state.load_quarantine().await?;
        state.ask_later(&myself);
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<KeygenMsg>,
        message: KeygenMsg,
        state: &mut KeygenState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            KeygenMsg::Generate { request, reply } => state.generate(&myself, request, reply),
            KeygenMsg::Wallet { wallet, reply } => state.ask(wallet, reply),
            KeygenMsg::Peer(inbound) => state.peer(&myself, inbound),
            KeygenMsg::Link(event) => state.link(&myself, &event),
            KeygenMsg::View(view) => state.view = view,
            KeygenMsg::Switched(Switched(certificate)) => state.in_force(&myself, certificate.record()),
            KeygenMsg::Gone(WalletGone(wallet)) => state.quarantine.forget(&wallet),
            KeygenMsg::Release { wallet, reply } => state.release(&myself, wallet, reply),
            KeygenMsg::Ended(end) => state.ended(&myself, end),
            KeygenMsg::Task(TaskDone(work)) => state.work(&myself, work).await,
            KeygenMsg::Drain(reply) => state.intake.drain(reply),
            KeygenMsg::Snapshot(reply) => {
                let _ = reply.send(state.snapshot());
            }
            #[cfg(any(test, feature = "testing"))]
            KeygenMsg::Session(session, reply) => {
                let _ = reply.send(state.sessions.actor(session));
            }
            #[cfg(any(test, feature = "testing"))]
            #[expect(clippy::panic, reason = "the harness injects it")]
            KeygenMsg::InjectPanic => panic!("injected"),
        }
        state.intake.settle(state.runs.is_empty());
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<KeygenMsg>,
        event: SupervisionEvent,
        state: &mut KeygenState,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(sheet) = state.sessions.gone(event).await {
            state.fail(&myself, sheet.hash, Code::Internal, [state.args.identity.id()].into(), None);
        }
        Ok(())
    }
}

impl KeygenState {
    fn snapshot(&self) -> KeygenSnapshot {
        KeygenSnapshot {
            running: self.runs.keys().cloned().collect(),
            unsettled: self.unsettled.keys().cloned().collect(),
            quarantined: self.quarantine.wallets().cloned().collect(),
            answering: self.answering.len(),
            activated: self.activated,
            aborted: self.aborted,
            last_abort: self.last_abort.clone(),
            causes: self.causes.clone(),
        }
    }

    /// A client asks what a wallet is. One whose shares are pending is waited for: a faster node may have told of it.
    fn ask(&mut self, wallet: WalletId, reply: Asker) {
        let is_pending = |run: &&mut Run| !matches!(run.phase, Phase::Session | Phase::FailedStoring);
        if let Some(run) = self.runs.get_mut(&wallet).filter(is_pending) {
            run.asked.push(reply);
            return;
        }
        let args = self.args.clone();
        tokio::spawn(async move {
            // Whoever asked may have gone.
            let _ = reply.send(args.certificate(&wallet).await);
        });
    }

    /// A client asks for a wallet.
    fn generate(&mut self, myself: &ActorRef<KeygenMsg>, request: KeygenRequest, reply: Waiter) {
        let of_clients = self.runs.values().filter(|run| !run.waiters.is_empty()).count();
        if let Err(failure) = self.intake.request(of_clients) {
            let _ = reply.send(Err(failure));
            return;
        }
        self.prepare(myself, request, reply);
    }

    /// Looks into a client's request, beside other work.
    fn prepare(&self, myself: &ActorRef<KeygenMsg>, request: KeygenRequest, reply: Waiter) {
        let (args, activated) = (self.args.clone(), self.activated);
        beside(myself, async move { Work::Prepared { reply, activated, result: args.prepare(request).await } });
    }

    /// A peer's message.
    fn peer(&mut self, myself: &ActorRef<KeygenMsg>, inbound: Inbound) {
        let Inbound { from, message, credit } = inbound;
        match message {
            PeerMessage::KeygenQuery { wallet, session } => self.query(myself, from, wallet, session),
            PeerMessage::KeygenReply { wallet, session, outcome } => {
                self.reply(myself, from, &wallet, session, outcome);
            }
            PeerMessage::Session { session, body: SessionBody::Propose { sheet, signature }, .. } => {
                if !self.sessions.proposed(&mut self.intake, from, session, self.runs.len()) {
                    return;
                }
                let args = self.args.clone();
                beside(myself, async move {
                    let result = args.check(from, session, sheet, signature).await.map(Box::new);
                    // The link's budget is given back once the proposal is dealt with.
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
                    self.fail(myself, session, *code, culprits, Some(from));
                    return;
                }
                self.sessions.route(session, from, body, credit);
            }
            // The transport gives these to others.
            PeerMessage::SigningQuery { .. }
            | PeerMessage::SigningReply { .. }
            | PeerMessage::ReshareQuery { .. }
            | PeerMessage::ReshareReply { .. }
            | PeerMessage::Reshared { .. }
            | PeerMessage::KnowsReshared { .. }
            | PeerMessage::Destroyed { .. }
            | PeerMessage::DestroyedQuery { .. } => {}
        }
    }

    /// A link is lost: its sessions abort, and so does the gathering of signatures.
    fn link(&mut self, myself: &ActorRef<KeygenMsg>, event: &PeerEvent) {
        match event {
            PeerEvent::Down { peer, .. } => {
                self.sessions.peer_down(*peer);
                let waiting: Vec<SheetHash> = self
                    .runs
                    .values()
                    .filter(|run| run.is_gathering() && run.commit.missing().contains(peer))
                    .map(|run| run.sheet.hash)
                    .collect();
                for session in waiting {
                    self.fail(myself, session, Code::PeerUnavailable, [*peer].into(), None);
                }
            }
            PeerEvent::Up { .. } => {
                self.settle(myself);
                self.confirm();
            }
            PeerEvent::Readiness { .. } => {}
        }
    }

    /// What a task reports.
    async fn work(&mut self, myself: &ActorRef<KeygenMsg>, work: Work) {
        match work {
            Work::Prepared { reply, activated, result: Ok(Admitted::New(prepared) | Admitted::Pending(prepared)) }
                if activated != self.activated =>
            {
                // The wallet may be the one that has become active since.
                self.prepare(myself, prepared.request, reply);
            }
            Work::Prepared { reply, activated: _, result } => {
                self.intake.prepared();
                match result {
                    Ok(Admitted::New(prepared)) => self.coordinate(myself, prepared, reply).await,
                    Ok(Admitted::Pending(prepared)) => self.await_pending(&prepared, reply),
                    Ok(Admitted::Exists(certificate)) => {
                        let _ = reply.send(Ok(Generated { certificate, fresh: false }));
                    }
                    Err(failure) => {
                        let _ = reply.send(Err(failure));
                    }
                }
            }
            Work::Checked { from, session, result } => {
                let stands = self.sessions.checked(&mut self.intake, from, session);
                let joined = match result {
                    Ok(_) if !stands => {
                        self.sessions.ended(session);
                        Err(Code::PeerUnavailable)
                    }
                    Ok(checked) => {
                        let (sheet, prepared) = *checked;
                        let joined = self.join(myself, from, sheet, &prepared).await;
                        if joined.is_err() {
                            // It will have to do without this node.
                            self.sessions.ended(session);
                        }
                        joined
                    }
                    Err(code) => Err(code),
                };
                if let Err(code) = joined {
                    tracing::info!(peer = %from, %session, %code, "key generation refused");
                    self.sessions.post().refuse(from, session, code);
                }
            }
            Work::Pended { session, result } => self.pended(myself, session, result),
            Work::Activated { wallet, session, result } => self.active(myself, wallet, session, result),
            Work::CommitDeadline(session) => {
                if let Some((_, run)) = self.run_of(session)
                    && run.is_gathering()
                {
                    let missing = run.commit.missing();
                    self.fail(myself, session, Code::SessionTimeout, missing, None);
                }
            }
            Work::Resolve => {
                self.resolving = false;
                self.settle(myself);
                self.confirm();
                self.ask_later(myself);
            }
            Work::Lifted { wallet, result, reply } => self.lifted(&wallet, result, reply),
            Work::Reread { from, wallet, result } => self.reread(myself, from, wallet, result),
            Work::SetAside { wallet, session, result } => match result {
                Ok(()) => {
                    tracing::info!(%wallet, %session, "a pending share that nobody can certify is set aside");
                    self.unsettled.remove(&wallet);
                }
                Err(code) => self.not_settled(&wallet, code),
            },
            Work::Answer { to, wallet, session, outcome } => {
                self.answering.done(to);
                self.sessions.post().transmit(to, PeerMessage::KeygenReply { wallet, session, outcome });
            }
        }
    }

    /// The run that a session belongs to.
    pub(super) fn run_of(&mut self, session: SheetHash) -> Option<(WalletId, &mut Run)> {
        let (wallet, run) = self.runs.iter_mut().find(|(_, run)| run.sheet.hash == session)?;
        Some((wallet.clone(), run))
    }
}

impl Drop for KeygenState {
    fn drop(&mut self) {
        // The table tells the members of sessions that run. Those of a run whose shares are being stored still wait for
        // this node's signature: they need not wait for the deadline. What is stored is settled by the next life.
        let me = self.args.identity.id();
        for run in self.runs.values().filter(|run| run.phase == Phase::Storing) {
            self.sessions.post().tell_others(&run.sheet, || SessionBody::abandoned(me));
        }
        let failure = Failure::new(Code::Cancelled, "key generation stopped before the request was answered");
        for run in std::mem::take(&mut self.runs).into_values() {
            answer(run.late, &Err(failure.clone()));
            answer(run.waiters, &Err(failure.clone()));
        }
    }
}
