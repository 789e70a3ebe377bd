//! The destruction actor: see the module's documentation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use tokio::time::Instant;

use super::args::Known;
use super::{Destroyed, DestructionArgs};
use crate::error::{Code, Failure};
use crate::ids::{NodeId, WalletId};
use crate::registry::View;
use crate::session::{Answering, Intake};
use crate::supervision::{beside, heard_as};
use crate::transport::{Credit, Inbound, PeerEvent};
use crate::wallet::DestructionCertificate;
use crate::wire::message::PeerMessage;
use crate::wire::request::DestroyRequest;

/// The pause before a destruction is told again doubles with each time, and is at last this many times the first one.
const MAX_PAUSES: u32 = 64;

/// Where the answer to a client goes.
type Waiter = RpcReplyPort<Result<Destroyed, Failure>>;

/// What destructions take.
pub enum DestructionMsg {
    /// A client asks for a wallet to be destroyed.
    Destroy {
        /// The request as parsed.
        request: DestroyRequest,
        /// Where the answer goes: exactly one comes, when all members have stated it or the time is over.
        reply: Waiter,
    },
    /// Asks for the certificate of a wallet's destruction.
    Certificate {
        /// The wallet.
        wallet: WalletId,
        /// What this node knows; nothing where the wallet was not destroyed.
        reply: RpcReplyPort<Result<Option<Arc<DestructionCertificate>>, Failure>>,
    },
    /// A peer's message.
    Peer(Inbound),
    /// A link changed, or a peer's readiness did.
    Link(PeerEvent),
    /// The membership changed.
    View(Arc<View>),
    /// A task is through with its work.
    Task(TaskDone),
    /// Takes no more requests; answers when none is at work any more.
    Drain(RpcReplyPort<()>),
    /// Asks for what can be observed.
    Snapshot(RpcReplyPort<DestructionSnapshot>),
    /// Panics in the handler: the harness proves supervision with it.
    #[cfg(any(test, feature = "testing"))]
    InjectPanic,
}

heard_as!(DestructionMsg {
    Inbound => Peer,
    PeerEvent => Link,
    Arc<View> => View,
});

/// What a task that the actor started reports.
pub struct TaskDone(Work);

/// One of them.
enum Work {
    /// A client's request is carried out on this node, or not.
    CarriedOut { reply: Waiter, result: Result<Known, Failure> },
    /// What a peer said is carried out, or not.
    Heard { from: NodeId, wallet: WalletId, ask: bool, result: Result<(Known, BTreeSet<NodeId>), Code> },
    /// A client has waited long enough.
    Waited(WalletId),
    /// A peer's question is answered.
    Answered(NodeId),
    /// Time to tell those who are not known to know.
    Look,
}

impl From<Work> for DestructionMsg {
    fn from(work: Work) -> Self {
        Self::Task(TaskDone(work))
    }
}

/// What can be observed of destructions. No secret is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestructionSnapshot {
    /// The destroyed wallets of which not everybody is known to know.
    pub open: BTreeSet<WalletId>,
    /// Those of them whose certificates are known to lack the statements of members.
    pub incomplete: BTreeSet<WalletId>,
    /// Wallets that were destroyed on this node since it started.
    pub destroyed: u64,
    /// Certificates of peers that were not taken, since it started.
    pub refused: u64,
}

/// A destruction that not everybody is known to know of.
struct Open {
    waiters: Vec<Waiter>,
    /// What this node knows; nothing until it was read, or heard of.
    certificate: Option<Arc<DestructionCertificate>>,
    /// Who knows as much.
    knowing: BTreeSet<NodeId>,
    /// When it is told again.
    next: Instant,
    pause: Duration,
}

/// What destructions own.
pub struct DestructionState {
    args: DestructionArgs,
    view: Arc<View>,
    open: BTreeMap<WalletId, Open>,
    /// Whom this node has asked about its wallets.
    asked: BTreeSet<NodeId>,
    looking: bool,
    intake: Intake,
    answering: Answering,
    destroyed: u64,
    refused: u64,
}

/// Destroys wallets, and sees to it that all nodes do.
pub struct DestructionActor;

impl Actor for DestructionActor {
    type Msg = DestructionMsg;
    type State = DestructionState;
    type Arguments = DestructionArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<DestructionMsg>,
        args: DestructionArgs,
    ) -> Result<DestructionState, ActorProcessingErr> {
        let mut state = DestructionState {
            view: Arc::new(View::empty(args.identity.id(), args.peers.ids())),
            open: BTreeMap::new(),
            asked: BTreeSet::new(),
            looking: false,
            intake: Intake::new(args.max_concurrent),
            answering: Answering::default(),
            destroyed: 0,
            refused: 0,
            args,
        };
        for wallet in state.args.open().await? {
            state.open(wallet);
        }
        state.look_later(&myself);
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<DestructionMsg>,
        message: DestructionMsg,
        state: &mut DestructionState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            DestructionMsg::Destroy { request, reply } => state.asked_to_destroy(&myself, request, reply),
            DestructionMsg::Certificate { wallet, reply } => {
                let args = state.args.clone();
                tokio::spawn(async move {
                    // Whoever asked may have gone.
                    let _ = reply.send(args.certificate(&wallet).await);
                });
            }
            DestructionMsg::Peer(inbound) => state.peer(&myself, inbound),
            DestructionMsg::Link(PeerEvent::Up { peer, .. }) => state.up(peer),
            DestructionMsg::Link(PeerEvent::Down { peer, .. }) => {
                // What was on its way may be lost: it is asked again.
                state.asked.remove(&peer);
            }
            DestructionMsg::Link(_) => {}
            DestructionMsg::View(view) => state.view = view,
            DestructionMsg::Task(TaskDone(work)) => state.work(&myself, work),
            DestructionMsg::Drain(reply) => state.intake.drain(reply),
            DestructionMsg::Snapshot(reply) => {
                let _ = reply.send(state.snapshot());
            }
            #[cfg(any(test, feature = "testing"))]
            #[expect(clippy::panic, reason = "the harness injects it")]
            DestructionMsg::InjectPanic => panic!("injected"),
        }
        state.intake.settle(state.open.values().all(|open| open.waiters.is_empty()));
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<DestructionMsg>,
        _event: SupervisionEvent,
        _state: &mut DestructionState,
    ) -> Result<(), ActorProcessingErr> {
        // It has no children.
        Ok(())
    }
}

impl DestructionState {
    fn snapshot(&self) -> DestructionSnapshot {
        let lacks = |open: &Open| open.certificate.as_ref().is_some_and(|certificate| !certificate.is_complete());
        let incomplete = self.open.iter().filter(|(_, open)| lacks(open)).map(|(wallet, _)| wallet.clone()).collect();
        DestructionSnapshot {
            open: self.open.keys().cloned().collect(),
            incomplete,
            destroyed: self.destroyed,
            refused: self.refused,
        }
    }

    /// A client asks for a wallet to be destroyed.
    fn asked_to_destroy(&mut self, myself: &ActorRef<DestructionMsg>, request: DestroyRequest, reply: Waiter) {
        let waiting = self.open.values().map(|open| open.waiters.len()).sum();
        if let Err(failure) = self.intake.request(waiting) {
            let _ = reply.send(Err(failure));
            return;
        }
        let args = self.args.clone();
        beside(myself, async move {
            let result = args.carry_out(request).await;
            Work::CarriedOut { reply, result }
        });
    }

    /// The destruction of a wallet, as one that not everybody is known to know of.
    fn open(&mut self, wallet: WalletId) -> &mut Open {
        let pause = self.args.resolve_every;
        self.open.entry(wallet).or_insert_with(|| Open {
            waiters: Vec::new(),
            certificate: None,
            knowing: BTreeSet::new(),
            next: Instant::now(),
            pause,
        })
    }

    /// A peer's message.
    fn peer(&mut self, myself: &ActorRef<DestructionMsg>, inbound: Inbound) {
        let Inbound { from, message, credit } = inbound;
        match message {
            PeerMessage::Destroyed { wallet, certificate, ask } => {
                self.told(myself, from, wallet, certificate, ask, credit);
            }
            PeerMessage::DestroyedQuery { wallets } => {
                if !self.answering.begin(from) {
                    // It asks again with its next life; whoever is to tell it does so besides.
                    return;
                }
                let args = self.args.clone();
                beside(myself, async move {
                    args.tell_of(from, wallets).await;
                    drop(credit);
                    Work::Answered(from)
                });
            }
            // The transport gives these to others.
            _ => {}
        }
    }

    /// A peer says that a wallet was destroyed.
    fn told(
        &mut self,
        myself: &ActorRef<DestructionMsg>,
        from: NodeId,
        wallet: WalletId,
        certificate: Vec<u8>,
        ask: bool,
        credit: Credit,
    ) {
        if !self.answering.begin(from) {
            // It tells again.
            return;
        }
        let args = self.args.clone();
        beside(myself, async move {
            let result = args.hear(&wallet, certificate).await;
            // The link's budget is given back once the message is dealt with.
            drop(credit);
            Work::Heard { from, wallet, ask, result }
        });
    }

    /// A link came up: its peer hears what it is not known to know, and is asked once about the wallets of this node.
    fn up(&mut self, peer: NodeId) {
        for (wallet, open) in &self.open {
            if !open.knowing.contains(&peer) {
                // The view may not show the link yet.
                self.say(peer, wallet.clone(), true);
            }
        }
        if self.asked.insert(peer) {
            let args = self.args.clone();
            tokio::spawn(async move {
                if let Err(error) = args.ask_about_all(peer).await {
                    tracing::warn!(%peer, %error, "failed to ask a peer about destroyed wallets");
                }
            });
        }
    }

    fn work(&mut self, myself: &ActorRef<DestructionMsg>, work: Work) {
        match work {
            Work::CarriedOut { reply, result } => {
                self.intake.prepared();
                self.carried_out(myself, reply, result);
            }
            Work::Heard { from, wallet, ask, result } => {
                self.answering.done(from);
                match result {
                    Ok((known, stated)) => self.heard(myself, from, wallet, ask, &known, &stated),
                    Err(code) => {
                        self.refused += 1;
                        tracing::warn!(peer = %from, %wallet, %code, "a peer's certificate of destruction is not taken");
                    }
                }
            }
            Work::Waited(wallet) => {
                if let Some(open) = self.open.get_mut(&wallet)
                    && let Some(certificate) = open.certificate.clone()
                {
                    answer(std::mem::take(&mut open.waiters), &certificate);
                }
            }
            Work::Answered(to) => self.answering.done(to),
            Work::Look => {
                self.looking = false;
                self.tell_due();
                self.look_later(myself);
            }
        }
    }

    /// A client's request is carried out on this node, or not.
    fn carried_out(&mut self, myself: &ActorRef<DestructionMsg>, reply: Waiter, result: Result<Known, Failure>) {
        let known = match result {
            Ok(known) => known,
            Err(failure) => {
                let _ = reply.send(Err(failure));
                return;
            }
        };
        let wallet = known.certificate.record().wallet.clone();
        self.learned(&known);
        if known.certificate.is_complete() {
            answer(vec![reply], &known.certificate);
        } else {
            self.open(wallet.clone()).waiters.push(reply);
            let (within, waited) = (self.args.deadline, wallet.clone());
            beside(myself, async move {
                tokio::time::sleep(within).await;
                Work::Waited(waited)
            });
        }
        if known.fresh || !known.certificate.is_complete() {
            let open = self.open(wallet.clone());
            open.certificate = Some(Arc::clone(&known.certificate));
            self.tell_all(&wallet);
        }
        self.look_later(myself);
    }

    /// What a peer said is carried out: `stated` are those whose statements it had.
    fn heard(
        &mut self,
        myself: &ActorRef<DestructionMsg>,
        from: NodeId,
        wallet: WalletId,
        ask: bool,
        known: &Known,
        stated: &BTreeSet<NodeId>,
    ) {
        self.learned(known);
        let certificate = Arc::clone(&known.certificate);
        let knows = certificate.stated().is_subset(stated);
        if known.changed || self.open.contains_key(&wallet) {
            let open = self.open(wallet.clone());
            if known.changed {
                // They know less than this node now.
                open.knowing.clear();
                open.next = Instant::now();
            }
            if knows {
                open.knowing.insert(from);
            }
            open.certificate = Some(Arc::clone(&certificate));
            if certificate.is_complete() {
                answer(std::mem::take(&mut open.waiters), &certificate);
            }
        }
        if ask || !knows {
            // Somebody who knows less says when it knows as much. Who has just spoken can be reached.
            self.say(from, wallet.clone(), !knows);
        }
        if known.changed && certificate.is_complete() {
            self.tell_all(&wallet);
        }
        self.settle(&wallet);
        self.look_later(myself);
    }

    fn learned(&mut self, known: &Known) {
        self.destroyed += u64::from(known.fresh);
    }

    /// Forgets a destruction that everybody knows all of.
    fn settle(&mut self, wallet: &WalletId) {
        let me = self.args.identity.id();
        let Some(open) = self.open.get(wallet) else { return };
        let complete = open.certificate.as_ref().is_some_and(|certificate| certificate.is_complete());
        if complete && self.args.peers.ids().all(|node| node == me || open.knowing.contains(&node)) {
            self.open.remove(wallet);
            let (args, wallet) = (self.args.clone(), wallet.clone());
            tokio::spawn(async move { args.settle(&wallet).await });
        }
    }

    /// Tells everybody who is not known to know as much as this node.
    fn tell_all(&self, wallet: &WalletId) {
        let Some(open) = self.open.get(wallet) else { return };
        let me = self.args.identity.id();
        for node in self.args.peers.ids().filter(|node| *node != me && !open.knowing.contains(node)) {
            self.tell(node, wallet.clone(), true);
        }
    }

    /// Tells a node that can be reached what this one knows of a destruction.
    fn tell(&self, to: NodeId, wallet: WalletId, ask: bool) {
        if self.view.peers.get(&to).is_some_and(|peer| peer.linked) {
            self.say(to, wallet, ask);
        }
    }

    /// The same, to one whose link is up.
    fn say(&self, to: NodeId, wallet: WalletId, ask: bool) {
        let args = self.args.clone();
        tokio::spawn(async move { args.tell(to, wallet, ask).await });
    }

    /// Tells again what is due.
    fn tell_due(&mut self) {
        let (now, longest) = (Instant::now(), self.args.resolve_every * MAX_PAUSES);
        let mut due = Vec::new();
        for (wallet, open) in &mut self.open {
            if now >= open.next {
                open.next = now + open.pause;
                open.pause = (open.pause * 2).min(longest);
                due.push(wallet.clone());
            }
        }
        for wallet in due {
            self.tell_all(&wallet);
        }
    }

    /// Looks again after a while, as long as there is somebody to tell.
    fn look_later(&mut self, myself: &ActorRef<DestructionMsg>) {
        if self.looking || self.open.is_empty() {
            return;
        }
        self.looking = true;
        let pause = self.args.resolve_every;
        beside(myself, async move {
            tokio::time::sleep(pause).await;
            Work::Look
        });
    }
}

impl Drop for DestructionState {
    fn drop(&mut self) {
        // What was begun goes on in the next life; a client that asks again then is answered.
        let failure = Failure::new(Code::Cancelled, "the node stopped before all members had answered");
        for open in std::mem::take(&mut self.open).into_values() {
            for waiter in open.waiters {
                let _ = waiter.send(Err(failure.clone()));
            }
        }
    }
}

fn answer(waiters: Vec<Waiter>, certificate: &Arc<DestructionCertificate>) {
    for waiter in waiters {
        // A client that no longer waits may ask for the certificate.
        let _ = waiter.send(Ok(Destroyed { certificate: Arc::clone(certificate) }));
    }
}
