//! The signing actor: see the module's documentation.

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};

use super::Signed;
use super::admission::RequestKey;
use super::prepare::{Desk, Refusal, SigningArgs};
use super::requests::{Requests, Waiter};
use super::wallets::Wallets;
use super::work::{TaskDone, Work};
use crate::destruction::WalletGone;
use crate::error::{Code, Failure};
use crate::ids::{Scheme, SheetHash};
use crate::keys::Signature;
use crate::pairing::Banned;
use crate::recent::Recent;
use crate::registry::View;
use crate::reshare::Switched;
use crate::sabotage::{self, Flaw};
#[cfg(any(test, feature = "testing"))]
use crate::session::SessionMsg;
use crate::session::{Aborted, Answering, Causes, Held, Intake, SessionEnd, Sessions};
use crate::supervision::{beside, heard_as};
use crate::transport::{Inbound, PeerEvent};
use crate::wire::message::{PeerMessage, SessionBody};
use crate::wire::request::SignRequest;
use crate::wire::sheet::Task;

/// What signing takes.
pub enum SigningMsg {
    /// A client asks for a signature.
    Sign {
        /// The request as parsed.
        request: SignRequest,
        /// Where the answer goes: exactly one comes.
        reply: RpcReplyPort<Result<Signed, Failure>>,
    },
    /// A peer's message.
    Peer(Inbound),
    /// A link changed, or a peer's readiness did.
    Link(PeerEvent),
    /// The membership changed.
    View(Arc<View>),
    /// The pair with a peer must not be used any more.
    Banned(Banned),
    /// Shares of a wallet are erased that sessions may run with.
    Switched(Switched),
    /// A wallet is destroyed.
    Gone(WalletGone),
    /// A session's share is ready to leave.
    Held(Held),
    /// A session ended.
    Ended(SessionEnd<Signature>),
    /// A task is through with its work.
    Task(TaskDone),
    /// Takes no more requests; answers when none is at work any more.
    Drain(RpcReplyPort<()>),
    /// Asks for what can be observed.
    Snapshot(RpcReplyPort<SigningSnapshot>),
    /// Asks for the actor of a running session: the harness injects faults there.
    #[cfg(any(test, feature = "testing"))]
    Session(SheetHash, RpcReplyPort<Option<ActorRef<SessionMsg<Signature>>>>),
    /// Panics in the handler: the harness proves supervision with it.
    #[cfg(any(test, feature = "testing"))]
    InjectPanic,
    /// Gets stuck in the handler, waiting for ever or holding its thread for so long: likewise.
    #[cfg(any(test, feature = "testing"))]
    InjectHang(Option<std::time::Duration>),
}

heard_as!(SigningMsg {
    Inbound => Peer,
    PeerEvent => Link,
    Arc<View> => View,
    Banned => Banned,
    Switched => Switched,
    WalletGone => Gone,
    Held => Held,
    SessionEnd<Signature> => Ended,
});

impl From<Work> for SigningMsg {
    fn from(work: Work) -> Self {
        Self::Task(TaskDone(work))
    }
}

/// What can be observed of signing. No secret is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningSnapshot {
    /// Requests at work.
    pub requests: usize,
    /// The sessions that run.
    pub sessions: Vec<SheetHash>,
    /// Signatures that this node helped to make.
    pub signed: u64,
    /// Sessions that ended without one.
    pub aborted: u64,
    /// The last abort.
    pub last_abort: Option<Aborted>,
    /// Why they did, since the node started.
    pub causes: Causes,
    /// Messages without a session.
    pub dropped: u64,
}

/// What signing owns.
pub struct SigningState {
    pub(super) args: SigningArgs,
    pub(super) view: Arc<View>,
    pub(super) requests: Requests,
    pub(super) sessions: Sessions<Signature>,
    pub(super) desk: Desk,
    pub(super) intake: Intake,
    /// Sessions whose shares have not left this node, and will not.
    pub(super) kept: Recent<SheetHash>,
    pub(super) answering: Answering,
    pub(super) turn: u64,
    pub(super) signed: u64,
    pub(super) aborted: u64,
    pub(super) last_abort: Option<Aborted>,
    pub(super) causes: Causes,
}

/// Admits requests, chooses quorums, and supervises the signing sessions.
pub struct SigningActor;

impl Actor for SigningActor {
    type Msg = SigningMsg;
    type State = SigningState;
    type Arguments = SigningArgs;

    async fn pre_start(
        &self,
        _myself: ActorRef<SigningMsg>,
        args: SigningArgs,
    ) -> Result<SigningState, ActorProcessingErr> {
        let view = Arc::new(View::empty(args.identity.id(), args.peers.ids()));
        Ok(SigningState {
            desk: Desk { args: args.clone(), wallets: Wallets::default() },
            intake: Intake::new(args.max_concurrent),
            kept: Recent::default(),
            answering: Answering::default(),
            sessions: Sessions::new(args.kit()),
            args,
            view,
            requests: Requests::default(),
            turn: 0,
            signed: 0,
            aborted: 0,
            last_abort: None,
            causes: Causes::default(),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<SigningMsg>,
        message: SigningMsg,
        state: &mut SigningState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            SigningMsg::Sign { request, reply } => state.sign(&myself, request, reply),
            SigningMsg::Peer(inbound) => state.peer(&myself, inbound),
            SigningMsg::Link(PeerEvent::Down { peer, .. }) => {
                if sabotage::has(Flaw::WaitsInHandler) {
                    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
                }
                state.sessions.peer_down(peer);
                state.signer_down(peer);
            }
            SigningMsg::Link(_) => {}
            SigningMsg::View(view) => state.view = view,
            SigningMsg::Banned(Banned(peer)) => state.sessions.cancel(Code::PairBanned, |sheet| {
                let is_ecdsa = matches!(sheet.task, Task::Sign { scheme: Scheme::Ecdsa, .. });
                is_ecdsa && sheet.index_of(peer).is_some()
            }),
            SigningMsg::Switched(Switched(certificate)) => state.switched(certificate),
            SigningMsg::Gone(WalletGone(wallet)) => state.gone(&wallet),
            SigningMsg::Held(Held(session)) => state.share_held(session),
            SigningMsg::Ended(end) => state.ended(&myself, end),
            SigningMsg::Task(TaskDone(work)) => state.work(&myself, work).await,
            SigningMsg::Drain(reply) => state.intake.drain(reply),
            SigningMsg::Snapshot(reply) => {
                // Whoever asked may have gone.
                let _ = reply.send(state.snapshot());
            }
            #[cfg(any(test, feature = "testing"))]
            SigningMsg::Session(session, reply) => {
                let _ = reply.send(state.sessions.actor(session));
            }
            #[cfg(any(test, feature = "testing"))]
            #[expect(clippy::panic, reason = "the harness injects it")]
            SigningMsg::InjectPanic => panic!("injected"),
            #[cfg(any(test, feature = "testing"))]
            SigningMsg::InjectHang(None) => std::future::pending().await,
            #[cfg(any(test, feature = "testing"))]
            SigningMsg::InjectHang(Some(time)) => std::thread::sleep(time),
        }
        state.intake.settle(state.requests.len() == 0);
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<SigningMsg>,
        event: SupervisionEvent,
        state: &mut SigningState,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(sheet) = state.sessions.gone(event).await {
            let me = state.args.identity.id();
            let aborted = Aborted { code: Code::Internal, culprits: [me].into(), round: 0, reported_by: None };
            state.aborted(&myself, sheet.hash, aborted);
        }
        Ok(())
    }
}

impl SigningState {
    fn snapshot(&self) -> SigningSnapshot {
        SigningSnapshot {
            requests: self.requests.len(),
            sessions: self.sessions.running(),
            signed: self.signed,
            aborted: self.aborted,
            last_abort: self.last_abort.clone(),
            causes: self.causes.clone(),
            dropped: self.sessions.dropped(),
        }
    }

    /// A client asks for a signature.
    fn sign(&mut self, myself: &ActorRef<SigningMsg>, request: SignRequest, reply: Waiter) {
        if let Err(failure) = self.intake.request(self.requests.of_clients()) {
            let _ = reply.send(Err(failure));
            return;
        }
        let desk = self.desk.clone();
        beside(myself, async move {
            Work::Prepared { reply, result: desk.prepare_for_client(request).await.map(Box::new) }
        });
    }

    /// A peer's message.
    fn peer(&mut self, myself: &ActorRef<SigningMsg>, inbound: Inbound) {
        let Inbound { from, message, credit } = inbound;
        let (session, body) = match message {
            PeerMessage::Session { session, body, .. } => (session, body),
            PeerMessage::SigningQuery { wallet, request, content, session } => {
                self.asked(myself, from, RequestKey { wallet, request }, content, session);
                return;
            }
            PeerMessage::SigningReply { session, outcome } => {
                self.signer_says(myself, from, session, outcome);
                return;
            }
            _ => return,
        };
        match body {
            SessionBody::Propose { sheet, signature } => {
                let at_work = self.sessions.len();
                if !self.sessions.proposed(&mut self.intake, from, session, at_work) {
                    return;
                }
                let desk = self.desk.clone();
                beside(myself, async move {
                    let result = desk.check(from, session, sheet, signature).await.map(Box::new);
                    // The link's budget is given back once the proposal is dealt with.
                    drop(credit);
                    Work::Checked { from, session, result }
                });
            }
            SessionBody::Refuse { answer: Some(signature), .. } => self.told(myself, from, session, signature),
            body => self.sessions.route(session, from, body, credit),
        }
    }

    /// What a task reports.
    async fn work(&mut self, myself: &ActorRef<SigningMsg>, work: Work) {
        match work {
            Work::Prepared { reply, result } => {
                self.intake.prepared();
                match result {
                    Ok(prepared) => self.prepared(myself, *prepared, reply),
                    Err(failure) => {
                        let _ = reply.send(Err(failure));
                    }
                }
            }
            Work::Checked { from, session, result } => {
                let stands = self.sessions.checked(&mut self.intake, from, session);
                let joined = result.and_then(|checked| {
                    if !stands {
                        return Err(Code::PeerUnavailable.into());
                    }
                    let (sheet, prepared) = *checked;
                    self.join(myself, from, sheet, prepared)
                });
                if let Err(Refusal { code, answer, genuine }) = joined {
                    tracing::info!(peer = %from, %session, %code, "signing session refused");
                    if genuine && !self.sessions.knows(session) {
                        self.sessions.ended(session);
                    }
                    self.sessions.post().send(from, session, SessionBody::Refuse { code, answer });
                }
            }
            Work::Relaunch(key) => self.launch(myself, &key),
            Work::Renewed { key, result } => self.renewed(myself, &key, result),
            Work::Overdue { key, deadline_ms } => self.overdue(&key, deadline_ms),
            Work::Built { sheet, result } => self.built(myself, sheet, result).await,
            Work::Admitted { session, result } => self.admitted(myself, session, result),
            Work::StillAsking(session) => self.still_asking(session),
            Work::LookedUp { to, session, outcome } => {
                self.answering.done(to);
                self.reply(to, session, outcome);
            }
            Work::Stored { key, session, signature, durability, result } => {
                self.stored(myself, key, session, signature, durability, result);
            }
            Work::FalseAnswer { key, from } => self.false_answer(myself, key, from),
        }
    }
}

impl Drop for SigningState {
    fn drop(&mut self) {
        // Dropping a reply port tells its client that nobody answers; an explicit failure is kinder.
        let failure = Failure::new(Code::Cancelled, "signing stopped before the request was answered");
        self.requests.take_all().for_each(|request| request.answer(&Err(failure.clone())));
    }
}
