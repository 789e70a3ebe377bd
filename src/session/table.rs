//! The running sessions of one coordinator actor: who runs, who ended, and what came too early.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorId, ActorRef, SpawnErr, SupervisionEvent};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::actor::REPORTED;
use super::{SessionActor, SessionArgs, SessionMsg};
use crate::error::Code;
use crate::identity::{NodeIdentity, PeerBook};
use crate::ids::{NodeId, SheetHash};
use crate::transport::Credit;
use crate::wire::codec::CodecError;
use crate::wire::message::SessionBody;
use crate::wire::sheet::Sheet;

/// The signature domain of sheets.
pub const SHEET_DOMAIN: &str = "quorate/sheet/v1";

/// How long a message waits for its session to be announced.
const EARLY_FOR: Duration = Duration::from_secs(5);
/// The most early messages kept per peer for sessions that nobody has announced. Their bytes are bounded by the link's
/// budget, which they hold.
const MAX_EARLY_PER_PEER: usize = 16;
/// The most messages kept per peer for one session that is announced and does not run yet.
const MAX_EXPECTED_PER_PEER: usize = 8;
/// How many ended sessions are remembered, so that their stragglers are not taken for early messages.
const MAX_REMEMBERED: usize = 4096;

/// A sheet with its name, and the bytes and signature under which it was agreed.
#[derive(Debug)]
pub struct SheetContext {
    /// The sheet.
    pub sheet: Sheet,
    /// Its hash.
    pub hash: SheetHash,
    /// Its encoding.
    pub bytes: Vec<u8>,
    /// The coordinator's signature of it.
    pub signature: [u8; 64],
}

impl SheetContext {
    /// Encodes and signs a sheet that this node coordinates.
    ///
    /// # Errors
    /// When it is too long.
    pub fn propose(sheet: Sheet, identity: &NodeIdentity) -> Result<Self, CodecError> {
        sheet.validate()?;
        let (bytes, hash) = sheet.seal()?;
        let signature = identity.sign(SHEET_DOMAIN, &[&hash.0]);
        Ok(Self { sheet, hash, bytes, signature })
    }

    /// Opens a proposal of `from`: it must be for the hash it came under, and signed by its coordinator, who must be
    /// the sender.
    ///
    /// # Errors
    /// The code to refuse with.
    pub fn open(
        from: NodeId,
        announced: SheetHash,
        bytes: Vec<u8>,
        signature: [u8; 64],
        peers: &PeerBook,
    ) -> Result<Self, Code> {
        let (sheet, hash) = Sheet::open(&bytes).map_err(|_| Code::MsgValidation)?;
        let genuine = hash == announced
            && sheet.coordinator == from
            && peers.verify(from, SHEET_DOMAIN, &[&hash.0], &signature).is_ok();
        if genuine { Ok(Self { sheet, hash, bytes, signature }) } else { Err(Code::ProtocolViolation) }
    }

    /// The proposal as it is sent.
    #[must_use]
    pub fn proposal(&self) -> SessionBody {
        SessionBody::Propose { sheet: self.bytes.clone(), signature: self.signature }
    }
}

/// What became of a message that was handed to the table.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Its session has it.
    Routed,
    /// Its session is not announced yet; it waits.
    Early,
    /// Its session has ended, or there is no room to wait.
    Dropped,
}

struct Running<O> {
    actor: ActorRef<SessionMsg<O>>,
    handle: JoinHandle<()>,
    sheet: Arc<SheetContext>,
}

struct Early {
    session: SheetHash,
    from: NodeId,
    body: SessionBody,
    credit: Credit,
    since: Instant,
}

/// The sessions of one coordinator actor.
pub struct Sessions<O> {
    running: BTreeMap<SheetHash, Running<O>>,
    by_actor: BTreeMap<ActorId, SheetHash>,
    early: VecDeque<Early>,
    /// What came for sessions that are announced: their proposals are being checked, their engines built.
    expected: BTreeMap<SheetHash, Vec<Early>>,
    ended: BTreeSet<SheetHash>,
    ended_order: VecDeque<SheetHash>,
    dropped: u64,
}

impl<O> Default for Sessions<O> {
    fn default() -> Self {
        Self {
            running: BTreeMap::new(),
            by_actor: BTreeMap::new(),
            early: VecDeque::new(),
            expected: BTreeMap::new(),
            ended: BTreeSet::new(),
            ended_order: VecDeque::new(),
            dropped: 0,
        }
    }
}

impl<O: Send + 'static> Sessions<O> {
    /// Starts a session, linked to `supervisor`, and gives it what came for it early.
    ///
    /// # Errors
    /// When the actor does not start.
    pub async fn start(&mut self, args: SessionArgs<O>, supervisor: ActorCell) -> Result<(), SpawnErr> {
        let sheet = Arc::clone(&args.sheet);
        let hash = sheet.hash;
        let (actor, handle) = Actor::spawn_linked(None, SessionActor::default(), args, supervisor).await?;
        self.expect(hash);
        for early in self.expected.remove(&hash).unwrap_or_default() {
            // The session has just started; if it is gone already, its messages are of no use.
            let _ = actor.cast(SessionMsg::Peer { from: early.from, body: early.body, credit: early.credit });
        }
        self.by_actor.insert(actor.get_id(), hash);
        self.running.insert(hash, Running { actor, handle, sheet });
        Ok(())
    }

    /// From now on, messages for this session wait until it starts or is [given up](Self::give_up), however long the
    /// checks before it take: a burst of proposals must not cost any of them its first messages.
    pub fn expect(&mut self, session: SheetHash) {
        self.expire_early();
        let (mine, others): (VecDeque<Early>, VecDeque<Early>) =
            std::mem::take(&mut self.early).into_iter().partition(|early| early.session == session);
        self.early = others;
        self.expected.entry(session).or_default().extend(mine);
    }

    /// An expected session will not start here.
    pub fn give_up(&mut self, session: SheetHash) {
        if let Some(waiting) = self.expected.remove(&session) {
            self.dropped += u64::try_from(waiting.len()).unwrap_or(u64::MAX);
        }
    }

    /// Hands a peer's message to its session.
    pub fn route(&mut self, session: SheetHash, from: NodeId, body: SessionBody, credit: Credit) -> Arrival {
        if let Some(running) = self.running.get(&session) {
            // A session that stops right now drops its messages anyway.
            let _ = running.actor.cast(SessionMsg::Peer { from, body, credit });
            return Arrival::Routed;
        }
        self.expire_early();
        let from_peer = |early: &&Early| early.from == from;
        // Only messages of the protocol may come before their session: all else answers to something.
        let is_round = matches!(body, SessionBody::Round { .. });
        let early = Early { session, from, body, credit, since: Instant::now() };
        match self.expected.get_mut(&session) {
            Some(waiting) if is_round && waiting.iter().filter(from_peer).count() < MAX_EXPECTED_PER_PEER => {
                waiting.push(early);
                Arrival::Early
            }
            None if is_round
                && !self.ended.contains(&session)
                && self.early.iter().filter(from_peer).count() < MAX_EARLY_PER_PEER =>
            {
                self.early.push_back(early);
                Arrival::Early
            }
            _ => {
                self.dropped += 1;
                Arrival::Dropped
            }
        }
    }

    fn expire_early(&mut self) {
        while self.early.front().is_some_and(|early| early.since.elapsed() > EARLY_FOR) {
            self.early.pop_front();
            self.dropped += 1;
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

    /// Tells every session with `peer` that the link to it is lost.
    pub fn peer_down(&self, peer: NodeId) {
        for running in self.running.values().filter(|running| running.sheet.sheet.index_of(peer).is_some()) {
            let _ = running.actor.cast(SessionMsg::PeerDown(peer));
        }
    }

    /// Forgets a session that reported its end, or whose actor is gone. Its name stays known for a while.
    pub fn ended(&mut self, session: SheetHash) {
        if self.ended.insert(session) {
            self.ended_order.push_back(session);
        }
        while self.ended_order.len() > MAX_REMEMBERED {
            if let Some(oldest) = self.ended_order.pop_front() {
                self.ended.remove(&oldest);
            }
        }
    }

    /// Takes note of a supervision event. If a session's actor is gone, joins it; if it will not have reported its end,
    /// says which one it was.
    pub async fn gone(&mut self, event: SupervisionEvent) -> Option<Arc<SheetContext>> {
        let (cell, reported) = match event {
            SupervisionEvent::ActorFailed(cell, _) => (cell, false),
            SupervisionEvent::ActorTerminated(cell, _, reason) => (cell, reason.as_deref() == Some(REPORTED)),
            _ => return None,
        };
        let session = self.by_actor.remove(&cell.get_id())?;
        let running = self.running.remove(&session)?;
        // Its state is dropped when the handle completes; an abnormal end of the task is what we were told of.
        let _ = running.handle.await;
        self.ended(session);
        (!reported).then_some(running.sheet)
    }

    /// The sheets of the sessions that have not reported their end.
    pub fn unfinished(&self) -> impl Iterator<Item = &SheetContext> {
        self.running.iter().filter(|(session, _)| !self.ended.contains(session)).map(|(_, running)| &*running.sheet)
    }

    /// How many sessions run.
    #[must_use]
    pub fn len(&self) -> usize {
        self.running.len()
    }

    /// Whether none does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// The names of the running sessions.
    #[must_use]
    pub fn running(&self) -> Vec<SheetHash> {
        self.running.keys().copied().collect()
    }

    /// Whether a session of that name runs, has run, or is about to.
    #[must_use]
    pub fn knows(&self, session: SheetHash) -> bool {
        self.running.contains_key(&session) || self.ended.contains(&session) || self.expected.contains_key(&session)
    }

    /// Messages that had no session and did not wait for one.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use zeroize::Zeroizing;

    use super::*;
    use crate::wire::message::SecretPayload;

    fn arrive(sessions: &mut Sessions<()>, session: u8, from: u128) -> Arrival {
        let payload = SecretPayload(Zeroizing::new(vec![]));
        let body = SessionBody::Round { round: 1, to: None, payload, signature: [0; 64] };
        sessions.route(SheetHash([session; 32]), NodeId(Uuid::from_u128(from)), body, Credit::none())
    }

    #[test]
    fn messages_of_unknown_sessions__should_wait_up_to_a_limit_per_peer() {
        let mut sessions = Sessions::default();
        for session in 0..16 {
            assert_eq!(arrive(&mut sessions, session, 1), Arrival::Early);
        }
        assert_eq!(arrive(&mut sessions, 16, 1), Arrival::Dropped);
        assert_eq!(arrive(&mut sessions, 16, 2), Arrival::Early, "another peer has its own room");
        assert_eq!(sessions.dropped(), 1);
    }

    #[test]
    fn messages_of_expected_sessions__should_wait_up_to_a_limit_per_session() {
        let mut sessions = Sessions::default();
        for session in 0..100 {
            sessions.expect(SheetHash([session; 32]));
            for _ in 0..8 {
                assert_eq!(arrive(&mut sessions, session, 1), Arrival::Early);
            }
            assert_eq!(arrive(&mut sessions, session, 1), Arrival::Dropped);
        }
        assert!(sessions.knows(SheetHash([7; 32])));
        sessions.give_up(SheetHash([7; 32]));
        assert!(!sessions.knows(SheetHash([7; 32])));
        assert_eq!(sessions.dropped(), 100 + 8);
    }

    #[test]
    fn expected_session__should_keep_what_came_before_it_was_announced() {
        let mut sessions = Sessions::default();
        assert_eq!(arrive(&mut sessions, 1, 1), Arrival::Early);
        sessions.expect(SheetHash([1; 32]));
        assert_eq!((sessions.early.len(), sessions.expected[&SheetHash([1; 32])].len()), (0, 1));
    }
}
