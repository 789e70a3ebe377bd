//! The check-up actor: see the module's documentation.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};

use super::rounds::{Round, Run};
use super::schedule::{Ages, Due};
use super::{CheckedUp, CheckupArgs};
use crate::destruction::WalletGone;
use crate::error::{Code, Failure};
use crate::ids::{NodeId, Scheme, SheetHash, WalletId};
use crate::keys::Signature;
use crate::pairing::Banned;
use crate::registry::View;
use crate::session::{Built, Intake, SessionEnd, Sessions};
use crate::supervision::{beside, heard_as};
use crate::transport::{Inbound, PeerEvent};
use crate::wallet::WalletCertificate;
use crate::wire::sheet::Task;

/// What check-ups take.
pub enum CheckupMsg {
    /// A client asks whether a wallet's shares work.
    Check {
        /// The wallet.
        wallet: WalletId,
        /// Where the answer goes: exactly one comes.
        reply: RpcReplyPort<Result<CheckedUp, Failure>>,
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
    /// A session ended.
    Ended(SessionEnd<Signature>),
    /// A task is through with its work.
    Task(TaskDone),
    /// Time to look for wallets that are due.
    Look,
    /// Takes no more; answers when no check-up is at work any more.
    Drain(RpcReplyPort<()>),
    /// Asks for what can be observed.
    Snapshot(RpcReplyPort<CheckupSnapshot>),
    /// Panics in the handler: the harness proves supervision with it.
    #[cfg(any(test, feature = "testing"))]
    InjectPanic,
}

heard_as!(CheckupMsg {
    Inbound => Peer,
    PeerEvent => Link,
    Arc<View> => View,
    Banned => Banned,
    WalletGone => Gone,
    SessionEnd<Signature> => Ended,
});

/// What a task that the actor started reports.
pub struct TaskDone(pub(super) Work);

/// One of them.
pub(super) enum Work {
    /// A wallet's certificate is read.
    Loaded { wallet: WalletId, result: Result<Arc<WalletCertificate>, Failure> },
    /// The engine of a session that this node or a peer proposes is built.
    Built { from: NodeId, session: SheetHash, result: Result<Box<Built<Signature>>, Code> },
    /// The wallets that are due, and how old the others' check-ups are.
    Due(Result<Due, Code>),
}

impl From<Work> for CheckupMsg {
    fn from(work: Work) -> Self {
        Self::Task(TaskDone(work))
    }
}

/// What can be observed of check-ups. No secret is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckupSnapshot {
    /// Wallets that are being checked.
    pub wallets: usize,
    /// The sessions that run.
    pub sessions: Vec<SheetHash>,
    /// Check-ups in which everybody signed, since the node started.
    pub good: u64,
    /// Check-ups in which somebody did not.
    pub bad: u64,
    /// The wallets that this node checks unasked, as of its last look.
    pub ages: Ages,
}

/// What check-ups own.
pub struct CheckupState {
    pub(super) args: CheckupArgs,
    pub(super) view: Arc<View>,
    pub(super) sessions: Sessions<Signature>,
    pub(super) intake: Intake,
    pub(super) runs: BTreeMap<WalletId, Run>,
    /// The sessions that this node coordinates.
    pub(super) rounds: BTreeMap<SheetHash, Round>,
    /// Wallets that are to be checked unasked.
    pub(super) due: VecDeque<WalletId>,
    pub(super) looking: bool,
    pub(super) ages: Ages,
    pub(super) good: u64,
    pub(super) bad: u64,
}

/// Checks that every member's share works.
pub struct CheckupActor;

impl Actor for CheckupActor {
    type Msg = CheckupMsg;
    type State = CheckupState;
    type Arguments = CheckupArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<CheckupMsg>,
        args: CheckupArgs,
    ) -> Result<CheckupState, ActorProcessingErr> {
        if let Some(every) = args.every {
            myself.send_interval(super::schedule::look_every(every), || CheckupMsg::Look);
        }
        Ok(CheckupState {
            view: Arc::new(View::empty(args.identity.id(), args.peers.ids())),
            sessions: Sessions::new(args.kit()),
            intake: Intake::new(args.max_concurrent),
            args,
            runs: BTreeMap::new(),
            rounds: BTreeMap::new(),
            due: VecDeque::new(),
            looking: false,
            ages: Ages::default(),
            good: 0,
            bad: 0,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<CheckupMsg>,
        message: CheckupMsg,
        state: &mut CheckupState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            CheckupMsg::Check { wallet, reply } => state.asked(&myself, wallet, reply),
            CheckupMsg::Peer(inbound) => state.peer(&myself, inbound),
            CheckupMsg::Link(PeerEvent::Down { peer, .. }) => state.sessions.peer_down(peer),
            CheckupMsg::Link(_) => {}
            CheckupMsg::View(view) => state.view = view,
            CheckupMsg::Banned(Banned(peer)) => state.sessions.cancel(Code::PairBanned, |sheet| {
                let is_ecdsa = matches!(sheet.task, Task::Checkup { scheme: Scheme::Ecdsa, .. });
                is_ecdsa && sheet.index_of(peer).is_some()
            }),
            CheckupMsg::Gone(WalletGone(wallet)) => state.sessions.cancel(
                Code::WalletDestroyed,
                |sheet| matches!(&sheet.task, Task::Checkup { wallet: of, .. } if *of == wallet),
            ),
            CheckupMsg::Ended(end) => state.ended(&myself, end),
            CheckupMsg::Task(TaskDone(work)) => match work {
                Work::Loaded { wallet, result } => state.loaded(&myself, &wallet, result),
                Work::Built { from, session, result } => state.built(&myself, from, session, result).await,
                Work::Due(found) => state.found(&myself, found),
            },
            CheckupMsg::Look => state.look(&myself),
            CheckupMsg::Drain(reply) => {
                state.due.clear();
                state.intake.drain(reply);
            }
            CheckupMsg::Snapshot(reply) => {
                // Whoever asked may have gone.
                let _ = reply.send(state.snapshot());
            }
            #[cfg(any(test, feature = "testing"))]
            #[expect(clippy::panic, reason = "the harness injects it")]
            CheckupMsg::InjectPanic => panic!("injected"),
        }
        state.intake.settle(state.runs.is_empty() && state.sessions.is_empty());
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<CheckupMsg>,
        event: SupervisionEvent,
        state: &mut CheckupState,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(sheet) = state.sessions.gone(event).await {
            let me: BTreeSet<NodeId> = [state.args.identity.id()].into();
            state.round_over(&myself, sheet.hash, Err((Code::Internal, me)));
        }
        Ok(())
    }
}

impl CheckupState {
    fn snapshot(&self) -> CheckupSnapshot {
        CheckupSnapshot {
            wallets: self.runs.len(),
            sessions: self.sessions.running(),
            good: self.good,
            bad: self.bad,
            ages: self.ages,
        }
    }

    /// Reads the certificate of a wallet that is to be checked.
    pub(super) fn load(&self, myself: &ActorRef<CheckupMsg>, wallet: WalletId) {
        let args = self.args.clone();
        beside(myself, async move {
            let result = args.certificate(&wallet).await;
            Work::Loaded { wallet, result }
        });
    }
}

impl Drop for CheckupState {
    fn drop(&mut self) {
        // Dropping a reply port tells its client that nobody answers; an explicit failure is kinder.
        let failure = Failure::new(Code::Cancelled, "check-ups stopped before this one was over");
        for run in std::mem::take(&mut self.runs).into_values() {
            run.answer(&Err(failure.clone()));
        }
    }
}
