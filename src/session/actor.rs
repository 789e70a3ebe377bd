//! The session actor: see the module's documentation for what it promises.

use std::collections::BTreeSet;
use std::mem;
use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::task::{AbortHandle, JoinHandle};

use super::pool::Panicked;
use super::step::{Engine, Incoming, Seat, SignedOutgoing, Stepped};
use super::{Aborted, CryptoPool, Held, Outcome, Post, SessionEnd, SheetContext};
use crate::clock::Clock;
use crate::error::Code;
use crate::halting::{self, Place};
use crate::identity::{NodeIdentity, PeerBook};
use crate::ids::NodeId;
use crate::pairing::Bans;
use crate::protocol::{Abort, AbortReason, Party};
use crate::sabotage::{self, Flaw};
use crate::supervision::Deliver;
use crate::transport::Credit;
use crate::wire::message::{MAX_LISTED_NODES, SecretPayload, SessionBody};

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
    /// End the session with this code, which is the fault of these nodes, if of any.
    Cancel(Code, BTreeSet<NodeId>),
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

impl<O> SessionMsg<O> {
    /// Ends the session with this code, which is nobody's fault.
    #[must_use]
    pub const fn cancel(code: Code) -> Self {
        Self::Cancel(code, BTreeSet::new())
    }
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
    /// Until the engine is through: nobody else can have an output before this node has.
    pub until_finished: bool,
    /// Who hears, once, that there are such messages.
    pub told: Arc<dyn Deliver<Held>>,
}

/// What all sessions of one coordinator actor have in common.
pub struct SessionKit<O> {
    /// How they speak to their peers, whose messages for them come to the coordinator actor.
    pub post: Post,
    /// This node.
    pub identity: Arc<NodeIdentity>,
    /// Everyone's keys.
    pub peers: Arc<PeerBook>,
    /// Where bans are made durable.
    pub bans: Arc<dyn Bans>,
    /// Where engines compute.
    pub pool: CryptoPool,
    /// The clock of deadlines.
    pub clock: Clock,
    /// Who gets the one report of each.
    pub owner: Arc<dyn Deliver<SessionEnd<O>>>,
}

impl<O> Clone for SessionKit<O> {
    fn clone(&self) -> Self {
        Self {
            post: self.post.clone(),
            identity: Arc::clone(&self.identity),
            peers: Arc::clone(&self.peers),
            bans: Arc::clone(&self.bans),
            pool: self.pool.clone(),
            clock: self.clock,
            owner: Arc::clone(&self.owner),
        }
    }
}

/// What a session is started with.
pub struct SessionArgs<O> {
    /// What it has in common with others.
    pub kit: SessionKit<O>,
    /// The agreed sheet.
    pub sheet: Arc<SheetContext>,
    /// The engine.
    pub engine: Engine<O>,
    /// Which messages wait for [`SessionMsg::Release`], if any do.
    pub hold: Option<Hold>,
}

/// What a session owns.
pub struct SessionState<O> {
    kit: SessionKit<O>,
    seat: Arc<Seat>,
    hold: Option<Hold>,
    /// `None` while a step runs on the pool, and after the end.
    party: Option<Box<dyn Party<Output = O>>>,
    round: u8,
    awaited: BTreeSet<NodeId>,
    waiting: Vec<(Incoming, Credit)>,
    /// The step that runs on the pool, or waits for a place there.
    step: Option<AbortHandle>,
    /// Whose messages that step takes.
    computing: BTreeSet<NodeId>,
    /// `None` once released, or where nothing has to be held.
    held: Option<Vec<SignedOutgoing>>,
    told_of_held: bool,
    finished: Option<O>,
    dropped: u64,
    ended: bool,
    deadline: JoinHandle<()>,
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
        let SessionArgs { kit, sheet, engine: Engine { party, first }, hold } = args;
        let seat = Seat::of(&sheet, &kit.identity, &kit.peers).ok_or("this node takes no part in the session")?;
        let deadline_at = kit.clock.instant_of(sheet.sheet.deadline_ms);
        let target = myself.clone();
        let deadline = tokio::spawn(async move {
            tokio::time::sleep_until(deadline_at).await;
            // A session that is gone has no deadline.
            let _ = target.cast(SessionMsg::Deadline);
        });
        let awaited = sheet.others(kit.identity.id()).collect();
        let held = hold.is_some().then(Vec::new);
        let mut state = SessionState {
            kit,
            seat: Arc::new(seat),
            hold,
            party: Some(party),
            round: 1,
            awaited,
            waiting: Vec::new(),
            step: None,
            computing: BTreeSet::new(),
            held,
            told_of_held: false,
            finished: None,
            dropped: 0,
            ended: false,
            deadline,
        };
        match (first, state.party.take()) {
            // It comes as if from the pool, and before anything else.
            (Some(stepped), Some(party)) => myself.cast(SessionMsg::Stepped(Ok(StepDone { party, stepped })))?,
            (_, party) => {
                state.party = party;
                state.run(&myself, |seat, party| seat.start(party));
            }
        }
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
                state.comes_to(Place::Released);
                state.complete(&myself);
            }
            SessionMsg::PeerDown(peer) => {
                if state.seat.sheet.sheet.index_of(peer).is_some() {
                    let culprits = if sabotage::has(Flaw::BlamesNobody) { BTreeSet::new() } else { [peer].into() };
                    state.abort(&myself, Code::PeerUnavailable, culprits, None);
                }
            }
            SessionMsg::Cancel(code, culprits) => state.abort(&myself, code, culprits, None),
            SessionMsg::Deadline if sabotage::has(Flaw::IgnoresDeadlines) => {}
            SessionMsg::Deadline => {
                let culprits = state.late();
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
        self.stop_step();
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
        let (seat, target) = (Arc::clone(&self.seat), myself.clone());
        let work = move || {
            let stepped = step(&seat, party.as_mut());
            StepDone { party, stepped }
        };
        // A session that is gone needs no answer; dropping it wipes the engine.
        let done = move |done| drop(target.cast(SessionMsg::Stepped(done)));
        self.step = Some(self.kit.pool.submit(work, done));
    }

    /// Feeds what waits to the engine, if it is idle.
    fn feed(&mut self, myself: &ActorRef<SessionMsg<O>>) {
        if self.party.is_none() || self.waiting.is_empty() {
            return;
        }
        let (messages, credits): (Vec<_>, Vec<_>) = mem::take(&mut self.waiting).into_iter().unzip();
        self.computing = messages.iter().map(|message: &Incoming| message.from).collect();
        self.run(myself, move |seat, party| {
            let stepped = seat.receive(party, messages);
            drop(credits);
            stepped
        });
    }

    async fn take(&mut self, myself: &ActorRef<SessionMsg<O>>, from: NodeId, body: SessionBody, credit: Credit) {
        if self.seat.sheet.sheet.index_of(from).is_none() {
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
                if self.seat.sheet.sheet.coordinator == self.kit.identity.id() {
                    // It may have no link to some of the others: that may be why it aborts.
                    self.kit.post.abort(&self.seat.sheet, code, &named, self.round);
                }
                self.abort(myself, code, named, Some(from));
            }
            SessionBody::Refuse { code, answer: _ } => {
                // It told nobody but the coordinator.
                self.kit.post.abort(&self.seat.sheet, code, &[from].into(), self.round);
                self.abort(myself, code, [from].into(), Some(from));
            }
            // The coordinator actor handles these; a copy that strays here has no effect.
            SessionBody::Propose { .. } | SessionBody::RecordSigned { .. } => self.dropped += 1,
        }
    }

    async fn stepped(&mut self, myself: &ActorRef<SessionMsg<O>>, done: StepDone<O>) {
        let StepDone { party, stepped } = done;
        self.computing.clear();
        let before = mem::replace(&mut self.round, party.round());
        self.awaited = party.awaited().iter().filter_map(|&index| self.seat.sheet.sheet.node_at(index)).collect();
        self.party = Some(party);
        tracing::debug!(session = %self.seat.sheet.hash, round = self.round, awaited = ?self.awaited, "step");
        // One step may take the messages of several rounds.
        for round in before.saturating_add(1).min(self.round)..=self.round {
            self.comes_to(Place::Round(round));
        }
        if matches!(stepped.end, Some(Ok(_))) {
            self.comes_to(Place::Finished);
        }
        for (from, reason) in stepped.dropped {
            self.dropped += 1;
            tracing::debug!(session = %self.seat.sheet.hash, peer = %from, %reason, "message dropped");
        }
        for message in stepped.send {
            match (&mut self.held, &self.hold) {
                (Some(held), Some(hold)) if message.message.round >= hold.from_round => held.push(message),
                _ => self.deliver(message),
            }
        }
        match stepped.end {
            Some(Ok(output)) => {
                self.finished = Some(output);
                self.tell_of_held();
                self.complete(myself);
            }
            Some(Err(abort)) => self.fail(myself, &abort).await,
            None => {
                self.tell_of_held();
                self.feed(myself);
            }
        }
    }

    /// Tells, once, that messages wait to be released.
    fn tell_of_held(&mut self) {
        let (Some(hold), Some(held)) = (&self.hold, &self.held) else { return };
        let is_time = !held.is_empty() && (!hold.until_finished || self.finished.is_some());
        if self.told_of_held || !is_time {
            return;
        }
        self.told_of_held = true;
        if hold.told.deliver(Held(self.seat.sheet.hash)).is_err() {
            tracing::debug!(session = %self.seat.sheet.hash, "nobody to release the last messages");
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
        let sheet = &self.seat.sheet.sheet;
        let nodes = |indices: &BTreeSet<_>| -> BTreeSet<NodeId> {
            indices.iter().filter_map(|&index| sheet.node_at(index)).collect()
        };
        let (culprits, banned) = (nodes(&abort.culprits), nodes(&abort.ban));
        tracing::warn!(session = %self.seat.sheet.hash, reason = %abort.reason, round = abort.round, ?culprits,
            "protocol abort");
        for peer in banned {
            if let Err(error) = self.kit.bans.ban(peer, self.seat.sheet.hash).await {
                tracing::error!(%peer, %error, "failed to make a ban durable");
            }
        }
        let code = if abort.reason == AbortReason::Engine { Code::Internal } else { abort.reason.code() };
        self.abort(myself, code, culprits, None);
    }

    /// Who is to blame when the deadline has come: those of whom nothing has. What has come and is not computed yet, or is
    /// not released, waits for this node. A coordinator that holds its messages back waits for the
    /// others itself, and for what this node holds back.
    fn late(&self) -> BTreeSet<NodeId> {
        let come: BTreeSet<NodeId> =
            self.waiting.iter().map(|(message, _)| message.from).chain(self.computing.iter().copied()).collect();
        let mut silent: BTreeSet<NodeId> = self.awaited.difference(&come).copied().collect();
        let holds_back = self.held.as_ref().is_some_and(|held| !held.is_empty());
        if self.hold.is_some() && (silent.len() > 1 || holds_back) {
            silent.remove(&self.seat.sheet.sheet.coordinator);
        }
        if silent.is_empty() { [self.seat.identity.id()].into() } else { silent }
    }

    /// Ends the session without output and tells the others, unless one of them told us, and so them.
    fn abort(
        &mut self,
        myself: &ActorRef<SessionMsg<O>>,
        code: Code,
        culprits: BTreeSet<NodeId>,
        reported_by: Option<NodeId>,
    ) {
        if reported_by.is_none() {
            self.kit.post.abort(&self.seat.sheet, code, &culprits, self.round);
        }
        self.end(myself, Outcome::Aborted(Aborted { code, culprits, round: self.round, reported_by }));
    }

    /// Reports the end and stops.
    fn end(&mut self, myself: &ActorRef<SessionMsg<O>>, outcome: Outcome<O>) {
        self.ended = true;
        self.wipe();
        let session = self.seat.sheet.hash;
        if self.kit.owner.deliver(SessionEnd { session, outcome }).is_err() {
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
            let body = SessionBody::Round { round: message.round, to, payload, signature };
            self.kit.post.send(peer, self.seat.sheet.hash, body);
        };
        match to {
            Some(index) => {
                if let Some(peer) = self.seat.sheet.sheet.node_at(index) {
                    send(peer, message.payload);
                }
            }
            None => {
                for peer in self.seat.sheet.others(self.kit.identity.id()) {
                    send(peer, message.payload.clone());
                }
            }
        }
    }
}

impl<O> SessionState<O> {
    /// A place where tests have processes stand still.
    fn comes_to(&self, place: Place) {
        halting::at(place, &self.seat.sheet.sheet, self.kit.identity.id());
    }

    /// Drops everything secret. An engine that waits for a place on the pool goes with its step; one that computes is
    /// dropped as soon as it is through.
    fn wipe(&mut self) {
        self.stop_step();
        self.party = None;
        self.waiting.clear();
        self.held = None;
        self.finished = None;
    }

    fn stop_step(&mut self) {
        if let Some(step) = self.step.take() {
            step.abort();
        }
    }
}
