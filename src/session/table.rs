//! The running sessions of one coordinator actor: who runs, who ended, and what came too early.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ractor::{Actor, ActorCell, ActorId, ActorRef, SpawnErr, SupervisionEvent};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::actor::REPORTED;
use super::early::EarlyMessages;
use super::{Engine, Hold, Intake, Post, SessionActor, SessionArgs, SessionKit, SessionMsg, SheetContext};
use crate::error::Code;
use crate::ids::{NodeId, SheetHash};
use crate::recent::Recent;
use crate::supervision::{STUCK_AFTER, Watched};
use crate::transport::Credit;
use crate::wire::message::SessionBody;
use crate::wire::sheet::Sheet;

/// The engine of a session, built off the actor for this node or for a peer that proposes the session.
pub struct Built<O> {
    /// What the session agrees on.
    pub sheet: Arc<SheetContext>,
    /// This node's side of it.
    pub engine: Engine<O>,
}

struct Running<O> {
    actor: ActorRef<SessionMsg<O>>,
    handle: JoinHandle<()>,
    sheet: Arc<SheetContext>,
}

/// A proposal that is being checked.
struct Expected {
    from: NodeId,
    /// Whether the link that it came over was lost since: whoever proposed it has given it up.
    lost: bool,
}

/// A session that this node takes part in, before it starts.
struct Begun {
    sheet: Arc<SheetContext>,
    /// Why it must not start any more, and who is to blame.
    called_off: Option<(Code, BTreeSet<NodeId>)>,
}

impl Begun {
    /// The first reason counts.
    fn call_off(&mut self, code: Code, culprits: BTreeSet<NodeId>) {
        self.called_off.get_or_insert((code, culprits));
    }
}

/// The sessions of one coordinator actor.
///
/// When the table goes, its coordinator actor has failed or stopped: the sessions are killed with it, and the table
/// tells their other participants, also those of sessions that were about to start.
pub struct Sessions<O> {
    kit: SessionKit<O>,
    running: BTreeMap<SheetHash, Running<O>>,
    /// Proposals that are being checked, by the name of their session.
    expected: BTreeMap<SheetHash, Vec<Expected>>,
    /// Agreed to, and not running yet.
    begun: BTreeMap<SheetHash, Begun>,
    by_actor: BTreeMap<ActorId, SheetHash>,
    early: EarlyMessages,
    /// So that their stragglers are not taken for early messages.
    ended: Recent<SheetHash>,
    dropped: u64,
}

impl<O> Drop for Sessions<O> {
    fn drop(&mut self) {
        let running = self.running.values().filter(|running| !self.ended.contains(running.sheet.hash));
        for sheet in running.map(|running| &running.sheet).chain(self.begun.values().map(|begun| &begun.sheet)) {
            self.announce_abort(sheet);
        }
    }
}

impl<O> Sessions<O> {
    /// No sessions yet; those to come have this in common.
    #[must_use]
    pub fn new(kit: SessionKit<O>) -> Self {
        Self {
            kit,
            running: BTreeMap::new(),
            expected: BTreeMap::new(),
            begun: BTreeMap::new(),
            by_actor: BTreeMap::new(),
            early: EarlyMessages::default(),
            ended: Recent::default(),
            dropped: 0,
        }
    }

    /// How the coordinator actor speaks to the other nodes.
    #[must_use]
    pub const fn post(&self) -> &Post {
        &self.kit.post
    }

    /// Tells the other participants that a session is over here, in place of an actor that cannot.
    fn announce_abort(&self, sheet: &SheetContext) {
        let me = self.kit.identity.id();
        self.post().tell_others(sheet, || SessionBody::abandoned(me));
    }
}

impl<O: Send + 'static> Sessions<O> {
    /// A proposal of `from` comes, while as many sessions as `at_work` count. Says whether it is to be checked; then
    /// [`Sessions::checked`] must follow, and until then whatever comes for its session may wait. Otherwise it is refused,
    /// or known already.
    pub fn proposed(&mut self, intake: &mut Intake, from: NodeId, session: SheetHash, at_work: usize) -> bool {
        if self.knows(session) {
            return false;
        }
        if let Err(code) = intake.proposal(from, at_work) {
            self.post().refuse(from, session, code);
            return false;
        }
        self.expected.entry(session).or_default().push(Expected { from, lost: false });
        true
    }

    /// A proposal of `from` under this name has been checked. Says whether it still stands: not if the link to `from` was
    /// lost meanwhile.
    pub fn checked(&mut self, intake: &mut Intake, from: NodeId, session: SheetHash) -> bool {
        intake.checked(from);
        let Some(expected) = self.expected.get_mut(&session) else { return false };
        let position = expected.iter().position(|proposal| proposal.from == from);
        let proposal = position.map(|position| expected.swap_remove(position));
        if expected.is_empty() {
            self.expected.remove(&session);
        }
        proposal.is_some_and(|proposal| !proposal.lost)
    }

    /// This node takes part in a session, which starts later. Says whether it is the first time: nothing must ever run
    /// twice under one name.
    pub fn begin(&mut self, sheet: &Arc<SheetContext>) -> bool {
        let is_new = !self.knows(sheet.hash);
        if is_new {
            self.begun.insert(sheet.hash, Begun { sheet: Arc::clone(sheet), called_off: None });
        }
        is_new
    }

    /// Why a session that has begun must not start any more, and who is to blame.
    #[must_use]
    pub fn called_off(&self, session: SheetHash) -> Option<(Code, BTreeSet<NodeId>)> {
        self.begun.get(&session)?.called_off.clone()
    }

    /// A session that has begun must not start any more. Says whether it has begun and not started.
    pub fn call_off(&mut self, session: SheetHash, code: Code, culprits: BTreeSet<NodeId>) -> bool {
        let begun = self.begun.get_mut(&session);
        begun.map(|begun| begun.call_off(code, culprits)).is_some()
    }

    /// Starts a session, linked to `supervisor`, and gives it what came for it early.
    ///
    /// # Errors
    /// When the actor does not start.
    pub async fn start(
        &mut self,
        sheet: Arc<SheetContext>,
        engine: Engine<O>,
        hold: Option<Hold>,
        supervisor: ActorCell,
    ) -> Result<(), SpawnErr> {
        let hash = sheet.hash;
        let args = SessionArgs { kit: self.kit.clone(), sheet: Arc::clone(&sheet), engine, hold };
        let (actor, handle) =
            Actor::spawn_linked(None, Watched::new(SessionActor::default(), STUCK_AFTER), args, supervisor).await?;
        for early in self.early.take(hash) {
            // The session has just started; if it is gone already, its messages are of no use.
            let _ = actor.cast(SessionMsg::Peer { from: early.from, body: early.body, credit: early.credit });
        }
        self.by_actor.insert(actor.get_id(), hash);
        self.begun.remove(&hash);
        self.running.insert(hash, Running { actor, handle, sheet });
        Ok(())
    }

    /// An engine is built, or not, for a session that this node has begun or that `from` proposes: starts the session. Where
    /// it does not start, whoever waits for this node is told; if it was this node's own, says why, and who is to blame.
    pub async fn start_built(
        &mut self,
        intake: &mut Intake,
        from: NodeId,
        session: SheetHash,
        built: Result<Box<Built<O>>, Code>,
        supervisor: ActorCell,
    ) -> Result<(), (Code, BTreeSet<NodeId>)> {
        let me = self.kit.identity.id();
        let stands = from == me || self.checked(intake, from, session);
        let started = match built.map(|built| *built) {
            // The same proposal, once more.
            Ok(Built { sheet, .. }) if from != me && !self.begin(&sheet) => return Ok(()),
            Ok(Built { sheet, engine }) => {
                let lost = (!stands).then(|| (Code::PeerUnavailable, [from].into()));
                match self.called_off(session).or(lost) {
                    Some(why) => Err(why),
                    None => self.start(sheet, engine, None, supervisor).await.map_err(|error| {
                        tracing::error!(%session, %error, "failed to start a session");
                        (Code::Internal, [me].into())
                    }),
                }
            }
            Err(code) => Err((code, [me].into())),
        };
        let Err((code, culprits)) = started else { return Ok(()) };
        tracing::info!(coordinator = %from, %session, %code, ?culprits, "a session does not start");
        match self.begun.get(&session).map(|begun| Arc::clone(&begun.sheet)) {
            Some(sheet) => {
                self.ended(session);
                self.post().abort(&sheet, code, &culprits, 0);
            }
            // Whoever sent it need not be who wrote it: the name stays free for the one it belongs to.
            None => self.post().refuse(from, session, code),
        }
        if from == me { Err((code, culprits)) } else { Ok(()) }
    }

    /// Hands a peer's message to its session, or keeps it for a session that may be announced yet.
    pub fn route(&mut self, session: SheetHash, from: NodeId, body: SessionBody, credit: Credit) {
        if let Some(running) = self.running.get(&session) {
            // A session that stops right now drops its messages anyway.
            let _ = running.actor.cast(SessionMsg::Peer { from, body, credit });
            return;
        }
        let (now, begun, expected) = (Instant::now(), &self.begun, &self.expected);
        let is_starting = |session| begun.contains_key(&session) || expected.contains_key(&session);
        self.dropped += self.early.expire(now, is_starting);
        // Messages of the protocol may come before the proposal, and so may the end of a session that its coordinator or a
        // faster participant has given up: all else answers to something.
        let announced = is_starting(session);
        let may_overtake = matches!(body, SessionBody::Round { .. } | SessionBody::Abort { .. });
        let may_wait = (announced || may_overtake) && !self.ended.contains(session);
        if !may_wait || !self.early.put(session, from, body, credit, announced, now) {
            self.dropped += 1;
            tracing::debug!(peer = %from, %session, "message for no session");
        }
    }

    /// Tells a session something.
    pub fn tell(&self, session: SheetHash, message: SessionMsg<O>) {
        if let Some(running) = self.running.get(&session) {
            // As for routing: a session that is gone needs nothing.
            let _ = running.actor.cast(message);
        }
    }

    /// The actor of a running session.
    #[must_use]
    pub fn actor(&self, session: SheetHash) -> Option<ActorRef<SessionMsg<O>>> {
        self.running.get(&session).map(|running| running.actor.clone())
    }

    /// Tells every session with `peer` that the link to it is lost. One that has begun does not start any more: what it
    /// sent to the peer may be lost. One that it has proposed does not begin.
    pub fn peer_down(&mut self, peer: NodeId) {
        for proposal in self.expected.values_mut().flatten().filter(|proposal| proposal.from == peer) {
            proposal.lost = true;
        }
        for begun in self.begun.values_mut().filter(|begun| begun.sheet.sheet.index_of(peer).is_some()) {
            begun.call_off(Code::PeerUnavailable, [peer].into());
        }
        for running in self.running.values().filter(|running| running.sheet.sheet.index_of(peer).is_some()) {
            let _ = running.actor.cast(SessionMsg::PeerDown(peer));
        }
    }

    /// Ends the sessions whose sheets satisfy `condition`; those that have begun do not start any more.
    pub fn cancel(&mut self, code: Code, condition: impl Fn(&Sheet) -> bool) {
        for begun in self.begun.values_mut().filter(|begun| condition(&begun.sheet.sheet)) {
            begun.call_off(code, BTreeSet::new());
        }
        for running in self.running.values().filter(|running| condition(&running.sheet.sheet)) {
            let _ = running.actor.cast(SessionMsg::cancel(code));
        }
    }

    /// Forgets a session that reported its end, whose actor is gone, or that never starts. Its name stays known for a
    /// while, so that nothing waits for it.
    pub fn ended(&mut self, session: SheetHash) {
        self.begun.remove(&session);
        self.dropped += u64::try_from(self.early.take(session).len()).unwrap_or(u64::MAX);
        self.ended.insert(session);
    }

    /// Whether an event is about one of these sessions.
    #[must_use]
    pub fn supervises(&self, event: &SupervisionEvent) -> bool {
        event.actor_id().is_some_and(|actor| self.by_actor.contains_key(&actor))
    }

    /// Takes note of a supervision event. If a session's actor is gone, joins it; if it will not have reported its end,
    /// tells the other participants and says which one it was.
    pub async fn gone(&mut self, event: SupervisionEvent) -> Option<Arc<SheetContext>> {
        let (cell, reported) = match event {
            SupervisionEvent::ActorFailed(cell, _) => (cell, false),
            SupervisionEvent::ActorTerminated(cell, _, reason) => (cell, reason.as_deref() == Some(REPORTED)),
            _ => return None,
        };
        let session = self.by_actor.remove(&cell.get_id())?;
        let mut running = self.running.remove(&session)?;
        // Its state is dropped when the handle completes; an abnormal end of the task is what we were told of.
        let _ = (&mut running.handle).await;
        self.ended(session);
        if reported {
            return None;
        }
        tracing::error!(%session, "a session failed without a report");
        self.announce_abort(&running.sheet);
        Some(running.sheet)
    }

    /// How many sessions run or are about to start.
    #[must_use]
    pub fn len(&self) -> usize {
        self.running.len() + self.begun.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The names of the running sessions.
    #[must_use]
    pub fn running(&self) -> Vec<SheetHash> {
        self.running.keys().copied().collect()
    }

    /// Whether a session of that name is about to start, runs or has run.
    #[must_use]
    pub fn knows(&self, session: SheetHash) -> bool {
        self.begun.contains_key(&session) || self.running.contains_key(&session) || self.ended.contains(session)
    }

    /// Messages that had no session and did not wait for one.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}
