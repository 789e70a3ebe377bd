//! The session actor: see the module's documentation for what it promises.

use std::collections::BTreeSet;
use std::mem;
use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::task::JoinHandle;

use super::pool::Panicked;
use super::step::{Incoming, Seat, SignedOutgoing, Stepped};
use super::table::SheetContext;
use super::{Aborted, CryptoPool, Held, Outcome, SessionEnd};
use crate::clock::Clock;
use crate::error::Code;
use crate::identity::{NodeIdentity, PeerBook};
use crate::ids::NodeId;
use crate::pairing::Bans;
use crate::protocol::{Abort, AbortReason, Party};
use crate::supervision::{Address, Deliver};
use crate::transport::{Credit, TransportMsg};
use crate::wire::message::{MAX_LISTED_NODES, PeerMessage, SecretPayload, Service, SessionBody};

/// The most messages of one sender that wait while the engine computes: one for each round of the longest protocol.
const MAX_WAITING_PER_SENDER: usize = 8;

/// Why a session's actor stops when its report is on its way. The runtime hands supervision events over before ordinary
/// messages, so a supervisor learns of the stop before it gets the report.
pub(super) const REPORTED: &str = "reported";

/// What a session takes.
pub enum SessionMsg<O> {
    /// A session message of a peer.
    Peer {
        /// The authenticated sender.
        from: NodeId,
        /// What it says.
        body: SessionBody,
        /// Its share of the link's byte budget, given back when the message is used up.
        credit: Credit,
    },
    /// The messages that are held may leave.
    Release,
    /// The link to a participant is lost.
    PeerDown(NodeId),
    /// End the session with this code.
    Cancel(Code),
    /// The deadline has come.
    Deadline,
    /// A step on the blocking pool is through.
    Stepped(Result<StepDone<O>, Panicked>),
    /// Asks for what can be observed.
    Snapshot(ractor::RpcReplyPort<SessionSnapshot>),
    /// Panics in the handler: the harness proves supervision with it.
    #[cfg(any(test, feature = "testing"))]
    InjectPanic,
}

/// The engine, back from the pool, and what the step led to.
pub struct StepDone<O> {
    party: Box<dyn Party<Output = O>>,
    stepped: Stepped<O>,
}

/// What can be observed of a session. No secret is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSnapshot {
    /// The open round, from 1.
    pub round: u8,
    /// Whose messages the round waits for.
    pub awaited: BTreeSet<NodeId>,
    /// Messages that had no effect so far.
    pub dropped: u64,
    /// Whether messages are held until something is durable.
    pub held: bool,
}

/// Messages that leave only when the coordinator actor says so.
pub struct Hold {
    /// Those of this round and later ones.
    pub from_round: u8,
    /// Who hears, once, that there are such messages.
    pub told: Arc<dyn Deliver<Held>>,
}

/// What a session is started with.
pub struct SessionArgs<O> {
    /// The coordinator actor's service: where its peers' messages for this session go.
    pub service: Service,
    /// The agreed sheet.
    pub sheet: Arc<SheetContext>,
    /// The engine.
    pub party: Box<dyn Party<Output = O>>,
    /// Which messages wait for [`SessionMsg::Release`], if any do.
    pub hold: Option<Hold>,
    /// This node.
    pub identity: Arc<NodeIdentity>,
    /// Everyone's keys.
    pub peers: Arc<PeerBook>,
    /// The way to the peers.
    pub transport: Address<TransportMsg>,
    /// Where bans are made durable.
    pub bans: Arc<dyn Bans>,
    /// Where engines compute.
    pub pool: CryptoPool,
    /// The clock of deadlines.
    pub clock: Clock,
    /// Who gets the one report.
    pub owner: Arc<dyn Deliver<SessionEnd<O>>>,
}

/// What a session owns.
pub struct SessionState<O> {
    args: SessionContext<O>,
    /// `None` while a step runs on the pool, and after the end.
    party: Option<Box<dyn Party<Output = O>>>,
    round: u8,
    awaited: BTreeSet<NodeId>,
    waiting: Vec<(Incoming, Credit)>,
    /// `None` once released, or where nothing has to be held.
    held: Option<Vec<SignedOutgoing>>,
    finished: Option<O>,
    dropped: u64,
    ended: bool,
    deadline: JoinHandle<()>,
}

/// The unchanging part of the arguments.
struct SessionContext<O> {
    service: Service,
    seat: Arc<Seat>,
    hold: Option<Hold>,
    transport: Address<TransportMsg>,
    bans: Arc<dyn Bans>,
    pool: CryptoPool,
    owner: Arc<dyn Deliver<SessionEnd<O>>>,
}

/// Drives one [`Party`] to its end.
pub struct SessionActor<O>(std::marker::PhantomData<fn() -> O>);

impl<O> Default for SessionActor<O> {
    fn default() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<O: Send + 'static> Actor for SessionActor<O> {
    type Msg = SessionMsg<O>;
    type State = SessionState<O>;
    type Arguments = SessionArgs<O>;

    async fn pre_start(
        &self,
        myself: ActorRef<SessionMsg<O>>,
        args: SessionArgs<O>,
    ) -> Result<SessionState<O>, ActorProcessingErr> {
        let me = args.sheet.sheet.index_of(args.identity.id()).ok_or("this node takes no part in the session")?;
        let deadline_at = args.clock.instant_of(args.sheet.sheet.deadline_ms);
        let target = myself.clone();
        let deadline = tokio::spawn(async move {
            tokio::time::sleep_until(deadline_at).await;
            // A session that is gone has no deadline.
            let _ = target.cast(SessionMsg::Deadline);
        });
        let awaited = others(&args.sheet, args.identity.id());
        let seat = Seat { me, sheet: args.sheet, identity: args.identity, peers: args.peers };
        let held = args.hold.is_some().then(Vec::new);
        let mut state = SessionState {
            args: SessionContext {
                service: args.service,
                seat: Arc::new(seat),
                hold: args.hold,
                transport: args.transport,
                bans: args.bans,
                pool: args.pool,
                owner: args.owner,
            },
            party: Some(args.party),
            round: 1,
            awaited,
            waiting: Vec::new(),
            held,
            finished: None,
            dropped: 0,
            ended: false,
            deadline,
        };
        state.run(&myself, |seat, party| seat.start(party));
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<SessionMsg<O>>,
        message: SessionMsg<O>,
        state: &mut SessionState<O>,
    ) -> Result<(), ActorProcessingErr> {
        if state.ended {
            return Ok(());
        }
        match message {
            SessionMsg::Peer { from, body, credit } => state.take(&myself, from, body, credit).await,
            SessionMsg::Release => {
                for message in state.held.take().unwrap_or_default() {
                    state.deliver(message);
                }
                state.complete(&myself);
            }
            SessionMsg::PeerDown(peer) => {
                if state.args.seat.sheet.sheet.index_of(peer).is_some() {
                    state.abort(&myself, Code::PeerUnavailable, [peer].into(), None);
                }
            }
            SessionMsg::Cancel(code) => state.abort(&myself, code, BTreeSet::new(), None),
            SessionMsg::Deadline => {
                let culprits = state.awaited.clone();
                state.abort(&myself, Code::SessionTimeout, culprits, None);
            }
            SessionMsg::Stepped(Ok(done)) => state.stepped(&myself, done).await,
            SessionMsg::Stepped(Err(Panicked)) => state.abort(&myself, Code::Internal, BTreeSet::new(), None),
            SessionMsg::Snapshot(reply) => {
                // Whoever asked may have gone.
                let _ = reply.send(SessionSnapshot {
                    round: state.round,
                    awaited: state.awaited.clone(),
                    dropped: state.dropped,
                    held: state.held.is_some(),
                });
            }
            #[cfg(any(test, feature = "testing"))]
            #[expect(clippy::panic, reason = "the harness injects it")]
            SessionMsg::InjectPanic => panic!("injected"),
        }
        Ok(())
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<SessionMsg<O>>,
        state: &mut SessionState<O>,
    ) -> Result<(), ActorProcessingErr> {
        // The stopped state travels to the supervisor's mailbox: its secrets must not.
        state.wipe();
        Ok(())
    }
}

impl<O> Drop for SessionState<O> {
    fn drop(&mut self) {
        self.deadline.abort();
    }
}

impl<O: Send + 'static> SessionState<O> {
    /// Runs a step of the engine on the pool; the answer comes as [`SessionMsg::Stepped`].
    fn run(
        &mut self,
        myself: &ActorRef<SessionMsg<O>>,
        step: impl FnOnce(&Seat, &mut dyn Party<Output = O>) -> Stepped<O> + Send + 'static,
    ) {
        let Some(mut party) = self.party.take() else { return };
        let (seat, target) = (Arc::clone(&self.args.seat), myself.clone());
        let work = move || {
            let stepped = step(&seat, party.as_mut());
            StepDone { party, stepped }
        };
        // A session that is gone needs no answer; dropping it wipes the engine.
        self.args.pool.submit(work, move |done| drop(target.cast(SessionMsg::Stepped(done))));
    }

    /// Feeds what waits to the engine, if it is idle.
    fn feed(&mut self, myself: &ActorRef<SessionMsg<O>>) {
        if self.party.is_none() || self.waiting.is_empty() {
            return;
        }
        let (messages, credits): (Vec<_>, Vec<_>) = mem::take(&mut self.waiting).into_iter().unzip();
        self.run(myself, move |seat, party| {
            let stepped = seat.receive(party, messages);
            drop(credits);
            stepped
        });
    }

    async fn take(&mut self, myself: &ActorRef<SessionMsg<O>>, from: NodeId, body: SessionBody, credit: Credit) {
        if self.args.seat.sheet.sheet.index_of(from).is_none() {
            self.dropped += 1;
            return;
        }
        match body {
            SessionBody::Round { round, to, payload: SecretPayload(payload), signature } => {
                if self.waiting.iter().filter(|(waiting, _)| waiting.from == from).count() >= MAX_WAITING_PER_SENDER {
                    self.dropped += 1;
                    return;
                }
                self.waiting.push((Incoming { from, round, to, payload, signature }, credit));
                self.feed(myself);
            }
            SessionBody::Abort { code, culprits, round: _ } => {
                let named: BTreeSet<NodeId> = culprits.into_iter().take(MAX_LISTED_NODES).collect();
                self.abort(myself, code, named, Some(from));
            }
            SessionBody::Refuse { code, answer: _ } => {
                // It told nobody but the coordinator.
                self.tell_others(code, &[from].into());
                self.abort(myself, code, [from].into(), Some(from));
            }
            // The coordinator actor handles these; a copy that strays here has no effect.
            SessionBody::Propose { .. } | SessionBody::RecordSigned { .. } => self.dropped += 1,
        }
    }

    async fn stepped(&mut self, myself: &ActorRef<SessionMsg<O>>, done: StepDone<O>) {
        let StepDone { party, stepped } = done;
        self.round = party.round();
        self.awaited = party.awaited().iter().filter_map(|&index| self.args.seat.sheet.sheet.node_at(index)).collect();
        self.party = Some(party);
        tracing::debug!(session = %self.args.seat.sheet.hash, round = self.round, awaited = ?self.awaited, "step");
        for (from, reason) in stepped.dropped {
            self.dropped += 1;
            tracing::debug!(session = %self.args.seat.sheet.hash, peer = %from, %reason, "message dropped");
        }
        for message in stepped.send {
            match (&mut self.held, &self.args.hold) {
                (Some(held), Some(hold)) if message.message.round >= hold.from_round => {
                    if held.is_empty() && hold.told.deliver(Held(self.args.seat.sheet.hash)).is_err() {
                        tracing::debug!(session = %self.args.seat.sheet.hash, "nobody to release the last messages");
                    }
                    held.push(message);
                }
                _ => self.deliver(message),
            }
        }
        match stepped.end {
            Some(Ok(output)) => {
                self.finished = Some(output);
                self.complete(myself);
            }
            Some(Err(abort)) => self.fail(myself, &abort).await,
            None => self.feed(myself),
        }
    }

    /// Reports the output, once the engine is through and nothing is held any more.
    fn complete(&mut self, myself: &ActorRef<SessionMsg<O>>) {
        if self.held.is_none()
            && let Some(output) = self.finished.take()
        {
            self.end(myself, Outcome::Done(output));
        }
    }

    /// The engine aborted: a ban is durable before anything else is said.
    async fn fail(&mut self, myself: &ActorRef<SessionMsg<O>>, abort: &Abort) {
        let sheet = &self.args.seat.sheet.sheet;
        let nodes = |indices: &BTreeSet<_>| -> BTreeSet<NodeId> {
            indices.iter().filter_map(|&index| sheet.node_at(index)).collect()
        };
        let (culprits, banned) = (nodes(&abort.culprits), nodes(&abort.ban));
        tracing::warn!(session = %self.args.seat.sheet.hash, reason = %abort.reason, round = abort.round, ?culprits,
            "protocol abort");
        for peer in banned {
            if let Err(error) = self.args.bans.ban(peer, self.args.seat.sheet.hash).await {
                tracing::error!(%peer, %error, "failed to make a ban durable");
            }
        }
        let code = if abort.reason == AbortReason::Engine { Code::Internal } else { abort.reason.code() };
        self.abort(myself, code, culprits, None);
    }

    /// Ends the session without output and tells the others, unless one of them told us.
    fn abort(
        &mut self,
        myself: &ActorRef<SessionMsg<O>>,
        code: Code,
        culprits: BTreeSet<NodeId>,
        reported_by: Option<NodeId>,
    ) {
        if reported_by.is_none() {
            self.tell_others(code, &culprits);
        }
        self.end(myself, Outcome::Aborted(Aborted { code, culprits, round: self.round, reported_by }));
    }

    fn tell_others(&self, code: Code, culprits: &BTreeSet<NodeId>) {
        let listed: Vec<NodeId> = culprits.iter().copied().take(MAX_LISTED_NODES).collect();
        for peer in others(&self.args.seat.sheet, self.args.seat.identity.id()) {
            self.send(peer, SessionBody::Abort { code, culprits: listed.clone(), round: self.round });
        }
    }

    /// Reports the end and stops.
    fn end(&mut self, myself: &ActorRef<SessionMsg<O>>, outcome: Outcome<O>) {
        self.ended = true;
        self.wipe();
        let session = self.args.seat.sheet.hash;
        if self.args.owner.deliver(SessionEnd { session, outcome }).is_err() {
            tracing::debug!(%session, "session ended with nobody to report to");
        }
        myself.stop(Some(REPORTED.to_owned()));
    }

    /// Sends a message of the engine to those it is for.
    fn deliver(&self, outgoing: SignedOutgoing) {
        let to = outgoing.recipient();
        let SignedOutgoing { message, signature } = outgoing;
        let send = |peer, payload| {
            let payload = SecretPayload(payload);
            self.send(peer, SessionBody::Round { round: message.round, to, payload, signature });
        };
        match to {
            Some(index) => {
                if let Some(peer) = self.args.seat.sheet.sheet.node_at(index) {
                    send(peer, message.payload);
                }
            }
            None => {
                for peer in others(&self.args.seat.sheet, self.args.seat.identity.id()) {
                    send(peer, message.payload.clone());
                }
            }
        }
    }

    fn send(&self, to: NodeId, body: SessionBody) {
        let message = PeerMessage::Session { service: self.args.service, session: self.args.seat.sheet.hash, body };
        // Without a transport there are no links: the coordinator actor hears that they are down.
        let _ = self.args.transport.cast(TransportMsg::Send { to, message });
    }
}

impl<O> SessionState<O> {
    /// Drops everything secret. The engine may be on the pool: it is dropped there, or with its answer.
    fn wipe(&mut self) {
        self.party = None;
        self.waiting.clear();
        self.held = None;
        self.finished = None;
    }
}

/// All participants but `me`.
fn others(sheet: &SheetContext, me: NodeId) -> BTreeSet<NodeId> {
    sheet.sheet.participants.iter().map(|p| p.node).filter(|&node| node != me).collect()
}
