//! The pairing actor: runs pair setups, keeps their results and the bans.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use tokio::time::Instant;

use super::{BanError, Banned, Bans, PairBook, PairUnavailable};
use crate::clock::Clock;
use crate::error::Code;
use crate::identity::{NodeIdentity, PeerBook};
use crate::ids::{ClusterId, Epoch, NodeId, PartyIndex, SessionId, SheetHash};
use crate::protocol::RunContext;
use crate::protocol::pair::{PairSetup, PairState};
use crate::secret::SecretBytes;
use crate::session::{Arrival, CryptoPool, Outcome, SessionArgs, SessionEnd, Sessions, SheetContext};
use crate::signing::check_frame;
use crate::storage::{Batch, Durability, Family, Listing, MAX_PAGE_RECORDS, Record, StorageError, StorageHandle};
use crate::supervision::{Address, Deliver};
use crate::transport::{Inbound, PeerEvent, Readiness, TransportMsg};
use crate::wire::codec;
use crate::wire::message::{PeerMessage, Service, SessionBody};
use crate::wire::sheet::{Participant, SHEET_VERSION, Sheet, Task};

/// What pairing takes.
pub enum PairingMsg {
    /// A peer's message about a setup.
    Peer(Inbound),
    /// A link changed, or a peer's readiness did.
    Link(PeerEvent),
    /// A setup ended.
    Ended(SessionEnd<PairState>),
    /// A finished setup was stored, or not.
    Stored {
        /// With whom.
        peer: NodeId,
        /// Its state, and whether it is durable.
        state: Result<PairState, Code>,
    },
    /// Asks for the states of the pairs with these peers.
    States {
        /// The peers.
        peers: BTreeSet<NodeId>,
        /// All their states, or the first that cannot be had.
        reply: RpcReplyPort<Result<BTreeMap<NodeId, Arc<PairState>>, PairUnavailable>>,
    },
    /// Bans a peer from ECDSA with this node.
    Ban {
        /// The peer.
        peer: NodeId,
        /// Where it cheated.
        session: SheetHash,
        /// Answers when the ban is durable.
        reply: RpcReplyPort<Result<(), BanError>>,
    },
    /// An operator lifts a ban; a new setup follows.
    LiftBan {
        /// The peer.
        peer: NodeId,
        /// Answers when the ban is gone from the store.
        reply: RpcReplyPort<Result<(), BanError>>,
    },
    /// Runs a new setup with a peer whatever the epochs say.
    Renew(NodeId),
    /// Says whether this node takes part in sessions, and announces it to the peers.
    Serve(bool),
    /// Announces the epochs again: the transport or the registry has just started anew.
    Announce,
    /// Asks for what can be observed.
    Snapshot(RpcReplyPort<PairingSnapshot>),
    /// Panics in the handler: the harness proves supervision with it.
    #[cfg(any(test, feature = "testing"))]
    InjectPanic,
}

impl From<Inbound> for PairingMsg {
    fn from(inbound: Inbound) -> Self {
        Self::Peer(inbound)
    }
}

impl From<PeerEvent> for PairingMsg {
    fn from(event: PeerEvent) -> Self {
        Self::Link(event)
    }
}

impl From<SessionEnd<PairState>> for PairingMsg {
    fn from(end: SessionEnd<PairState>) -> Self {
        Self::Ended(end)
    }
}

/// What can be observed of pairing. No secret is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairingSnapshot {
    /// The epochs this node holds, by peer.
    pub epochs: BTreeMap<NodeId, Epoch>,
    /// The banned peers.
    pub banned: BTreeSet<NodeId>,
    /// The setups that run.
    pub running: Vec<SheetHash>,
}

/// What pairing is started with.
#[derive(Clone)]
pub struct PairingArgs {
    /// The cluster.
    pub cluster: ClusterId,
    /// This node.
    pub identity: Arc<NodeIdentity>,
    /// Everyone's keys.
    pub peers: Arc<PeerBook>,
    /// The way to the peers.
    pub transport: Address<TransportMsg>,
    /// The store.
    pub storage: StorageHandle,
    /// Where engines compute.
    pub pool: CryptoPool,
    /// The clock of deadlines.
    pub clock: Clock,
    /// How long a setup may take.
    pub deadline: Duration,
    /// Who hears of every change of the epochs that this node holds.
    pub registry: Arc<dyn Deliver<BTreeMap<NodeId, Epoch>>>,
    /// Who hears of every ban at once.
    pub signing: Arc<dyn Deliver<Banned>>,
    /// The address of this actor, for its sessions.
    pub myself: Address<PairingMsg>,
}

/// What pairing owns.
pub struct PairingState {
    args: PairingArgs,
    book: PairBook,
    sessions: Sessions<PairState>,
    /// With whom each running setup is.
    with: BTreeMap<SheetHash, NodeId>,
    serving: bool,
}

/// Runs pair setups, keeps their results and the bans.
pub struct PairingActor;

impl Actor for PairingActor {
    type Msg = PairingMsg;
    type State = PairingState;
    type Arguments = PairingArgs;

    async fn pre_start(
        &self,
        _myself: ActorRef<PairingMsg>,
        args: PairingArgs,
    ) -> Result<PairingState, ActorProcessingErr> {
        let mut book = PairBook::new(args.identity.id(), args.peers.ids());
        for Record { key, value } in all(&args.storage, Family::Pairs).await? {
            match (node_of(&key), PairState::from_secret_bytes(value.expose())) {
                (Some(peer), Ok(state)) => book.restore(peer, state),
                // A setup that cannot be read is as good as none: a new one follows.
                _ => tracing::error!(key = %hex::encode(&key), "a stored pair setup does not decode"),
            }
        }
        for Record { key, .. } in all(&args.storage, Family::Bans).await? {
            if let Some(peer) = node_of(&key) {
                book.ban(peer);
            }
        }
        let state = PairingState { args, book, sessions: Sessions::default(), with: BTreeMap::new(), serving: false };
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<PairingMsg>,
        message: PairingMsg,
        state: &mut PairingState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            PairingMsg::Peer(inbound) => state.peer(&myself, inbound).await,
            PairingMsg::Link(event) => {
                state.link(event);
                state.propose_due(&myself).await;
            }
            PairingMsg::Ended(end) => state.ended(&myself, end),
            PairingMsg::Stored { peer, state: stored } => {
                match stored {
                    Ok(pair) => {
                        tracing::info!(%peer, epoch = %pair.epoch(), "pair setup stored");
                        state.book.hold(peer, pair, Instant::now());
                    }
                    Err(code) => {
                        tracing::error!(%peer, %code, "failed to store a pair setup");
                        state.book.failed(peer, Instant::now());
                    }
                }
                state.announce();
            }
            PairingMsg::States { peers, reply } => {
                // Whoever asked may have gone.
                let _ = reply.send(state.book.states(&peers));
            }
            PairingMsg::Ban { peer, session, reply } => {
                let stored = state.ban(peer, session).await;
                let _ = reply.send(stored);
            }
            PairingMsg::LiftBan { peer, reply } => {
                let lifted = state.lift(peer).await;
                let _ = reply.send(lifted);
                state.propose_due(&myself).await;
            }
            PairingMsg::Renew(peer) => {
                state.book.want(peer);
                state.propose_due(&myself).await;
            }
            PairingMsg::Serve(serving) => {
                state.serving = serving;
                state.announce();
            }
            PairingMsg::Announce => state.announce(),
            PairingMsg::Snapshot(reply) => {
                let _ = reply.send(PairingSnapshot {
                    epochs: state.book.epochs(),
                    banned: state.book.banned(),
                    running: state.sessions.running(),
                });
            }
            #[cfg(any(test, feature = "testing"))]
            #[expect(clippy::panic, reason = "the harness injects it")]
            PairingMsg::InjectPanic => panic!("injected"),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<PairingMsg>,
        event: SupervisionEvent,
        state: &mut PairingState,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(sheet) = state.sessions.gone(event).await {
            tracing::error!(session = %sheet.hash, "a pair setup failed without a report");
            if let Some(peer) = state.with.remove(&sheet.hash) {
                state.failed(peer);
            }
        }
        Ok(())
    }
}

impl PairingState {
    fn link(&mut self, event: PeerEvent) {
        match event {
            PeerEvent::Up { .. } => {}
            PeerEvent::Readiness { peer, readiness, .. } => {
                let me = self.args.identity.id();
                let epoch = readiness.pairs.iter().find(|(node, _)| *node == me).map(|&(_, epoch)| epoch);
                self.book.announced(peer, readiness.serving, epoch);
            }
            PeerEvent::Down { peer, .. } => {
                self.book.lost(peer);
                self.sessions.peer_down(peer);
            }
        }
    }

    async fn peer(&mut self, myself: &ActorRef<PairingMsg>, inbound: Inbound) {
        let Inbound { from, message, credit } = inbound;
        let PeerMessage::Session { session, body, .. } = message else { return };
        match body {
            SessionBody::Propose { sheet, signature } => {
                if self.sessions.knows(session) {
                    return;
                }
                match self.check(from, session, sheet, signature) {
                    Ok(context) => self.start(myself, from, context).await,
                    Err(code) => {
                        tracing::warn!(peer = %from, %session, %code, "pair setup refused");
                        self.send(from, session, SessionBody::Refuse { code, answer: None });
                    }
                }
            }
            body => {
                if self.sessions.route(session, from, body, credit) == Arrival::Dropped {
                    tracing::debug!(peer = %from, %session, "message for no session");
                }
            }
        }
    }

    /// Checks a proposal against everything this node knows.
    fn check(
        &mut self,
        from: NodeId,
        announced: SheetHash,
        bytes: Vec<u8>,
        signature: [u8; 64],
    ) -> Result<SheetContext, Code> {
        let context = SheetContext::open(from, announced, bytes, signature, &self.args.peers)?;
        let Task::PairSetup { epoch } = context.sheet.task else { return Err(Code::MsgValidation) };
        check_frame(&context.sheet, &self.args.cluster, self.args.clock.now_ms())?;
        if context.sheet.participants != self.seats(from) {
            return Err(Code::MsgValidation);
        }
        self.book.check_proposal(from, epoch)?;
        // Ours with the same peer gives way to the one of the lower id.
        for (&ours, _) in self.with.iter().filter(|(_, peer)| **peer == from) {
            self.sessions.tell(ours, crate::session::SessionMsg::Cancel(Code::Superseded));
        }
        Ok(context)
    }

    /// The two participants of a setup with `peer`: index 1 for the lower id.
    fn seats(&self, peer: NodeId) -> Vec<Participant> {
        let mut nodes = [self.args.identity.id(), peer];
        nodes.sort_unstable();
        let seat = |(node, index): (NodeId, u8)| Some(Participant { node, index: PartyIndex::try_from(index).ok()? });
        nodes.into_iter().zip(1..).filter_map(seat).collect()
    }

    /// Proposes every setup that is due.
    async fn propose_due(&mut self, myself: &ActorRef<PairingMsg>) {
        if !self.serving {
            return;
        }
        for peer in self.book.due(Instant::now()) {
            match self.proposal(peer) {
                Ok(context) => {
                    let (hash, proposal) = (context.hash, context.proposal());
                    self.send(peer, hash, proposal);
                    self.start(myself, peer, context).await;
                }
                Err(error) => {
                    tracing::error!(%peer, %error, "failed to propose a pair setup");
                    self.book.failed(peer, Instant::now());
                }
            }
        }
    }

    fn proposal(&self, peer: NodeId) -> Result<SheetContext, ActorProcessingErr> {
        let now_ms = self.args.clock.now_ms();
        let session = SecretBytes::random(32)?;
        let sheet = Sheet {
            version: SHEET_VERSION,
            cluster: self.args.cluster.clone(),
            session: SessionId(session.expose().try_into()?),
            task: Task::PairSetup { epoch: self.book.next_epoch(peer, now_ms) },
            participants: self.seats(peer),
            coordinator: self.args.identity.id(),
            attempt: 1,
            deadline_ms: now_ms.saturating_add(u64::try_from(self.args.deadline.as_millis())?),
        };
        Ok(SheetContext::propose(sheet, &self.args.identity)?)
    }

    /// Starts this node's side of a setup.
    async fn start(&mut self, myself: &ActorRef<PairingMsg>, peer: NodeId, context: SheetContext) {
        let (hash, sheet) = (context.hash, Arc::new(context));
        match self.session_args(Arc::clone(&sheet)) {
            Ok(args) => match self.sessions.start(args, myself.get_cell()).await {
                Ok(()) => {
                    tracing::info!(%peer, session = %hash, "pair setup begins");
                    self.book.started(peer);
                    self.with.insert(hash, peer);
                    return;
                }
                Err(error) => tracing::error!(%peer, %error, "failed to start a pair setup"),
            },
            Err(error) => tracing::error!(%peer, %error, "failed to prepare a pair setup"),
        }
        self.book.failed(peer, Instant::now());
        self.send(peer, hash, SessionBody::Refuse { code: Code::Internal, answer: None });
    }

    fn session_args(&self, sheet: Arc<SheetContext>) -> Result<SessionArgs<PairState>, ActorProcessingErr> {
        let Task::PairSetup { epoch } = sheet.sheet.task else { return Err("not a pair setup".into()) };
        let me = sheet.sheet.index_of(self.args.identity.id()).ok_or("this node takes no part")?;
        let context = RunContext { session: sheet.hash, me, parties: sheet.sheet.parties() };
        Ok(SessionArgs {
            service: Service::Pairing,
            sheet,
            party: Box::new(PairSetup::new(&context, epoch)?),
            hold: None,
            identity: Arc::clone(&self.args.identity),
            peers: Arc::clone(&self.args.peers),
            transport: self.args.transport.clone(),
            bans: Arc::new(self.args.myself.clone()) as Arc<dyn Bans>,
            pool: self.args.pool.clone(),
            clock: self.args.clock,
            owner: Arc::new(self.args.myself.clone()),
        })
    }

    /// A setup ended: a good one is stored before it is used or announced.
    fn ended(&mut self, myself: &ActorRef<PairingMsg>, end: SessionEnd<PairState>) {
        self.sessions.ended(end.session);
        let Some(peer) = self.with.remove(&end.session) else { return };
        match end.outcome {
            Outcome::Done(pair) => {
                let (storage, myself) = (self.args.storage.clone(), myself.clone());
                tokio::spawn(async move {
                    let stored = store(&storage, peer, &pair).await.map(|()| pair);
                    // Pairing that is gone reads the store when it is back.
                    let _ = myself.cast(PairingMsg::Stored { peer, state: stored });
                });
            }
            Outcome::Aborted(aborted) => {
                tracing::warn!(%peer, code = %aborted.code, round = aborted.round, "pair setup aborted");
                self.failed(peer);
            }
        }
    }

    /// A setup with the peer failed; one that gave way to another has not.
    fn failed(&mut self, peer: NodeId) {
        if !self.with.values().any(|&with| with == peer) {
            self.book.failed(peer, Instant::now());
        }
    }

    async fn ban(&mut self, peer: NodeId, session: SheetHash) -> Result<(), BanError> {
        // In memory first: whatever the store does, nothing uses the pair from here on.
        self.book.ban(peer);
        // One cheat must not have many runs: those under way with the peer end now.
        let _ = self.args.signing.deliver(Banned(peer));
        self.sessions.cancel(Code::PairBanned, |sheet| sheet.index_of(peer).is_some());
        tracing::error!(%peer, %session, "pair banned from ECDSA");
        let record = BanRecord { session, at_ms: self.args.clock.now_ms() };
        let record = SecretBytes::from_vec(record.encode().map_err(|_| BanError::Storage)?);
        let batch = Batch::new().put(Family::Bans, key_of(peer), record).delete(Family::Pairs, key_of(peer));
        let stored = self.args.storage.write(batch, Durability::Synced).await.map_err(|_| BanError::Storage);
        self.announce();
        stored
    }

    async fn lift(&mut self, peer: NodeId) -> Result<(), BanError> {
        let batch = Batch::new().delete(Family::Bans, key_of(peer));
        self.args.storage.write(batch, Durability::Synced).await.map_err(|_| BanError::Storage)?;
        self.book.lift(peer);
        Ok(())
    }

    /// Tells the registry and the peers which epochs this node holds.
    fn announce(&self) {
        let epochs = self.book.epochs();
        let readiness = Readiness { serving: self.serving, pairs: epochs.iter().map(|(&p, &e)| (p, e)).collect() };
        // An actor between two lives asks for an announcement when it is back.
        let _ = self.args.transport.cast(TransportMsg::SetReadiness(readiness));
        let _ = self.args.registry.deliver(epochs);
    }

    fn send(&self, to: NodeId, session: SheetHash, body: SessionBody) {
        let message = PeerMessage::Session { service: Service::Pairing, session, body };
        // Without a transport there are no links; their loss ends the session.
        let _ = self.args.transport.cast(TransportMsg::Send { to, message });
    }
}

/// Makes a finished setup durable, unless the pair has been banned since.
async fn store(storage: &StorageHandle, peer: NodeId, pair: &PairState) -> Result<(), Code> {
    let value = pair.to_secret_bytes().map_err(|_| Code::Internal)?;
    let batch = Batch::new().require_absent(Family::Bans, key_of(peer)).put(Family::Pairs, key_of(peer), value);
    storage.write(batch, Durability::Synced).await.map_err(|error| match error {
        StorageError::ConditionFailed(_) => Code::PairBanned,
        error => error.code(),
    })
}

/// Why and since when a pair is banned.
#[derive(serde::Serialize, serde::Deserialize)]
struct BanRecord {
    session: SheetHash,
    at_ms: u64,
}

impl BanRecord {
    fn encode(&self) -> Result<Vec<u8>, codec::CodecError> {
        codec::encode(self, 256)
    }
}

/// All records of a family that holds one per peer: one page.
async fn all(storage: &StorageHandle, family: Family) -> Result<Vec<Record>, StorageError> {
    let listing = Listing { family, prefix: Vec::new(), after: None, limit: MAX_PAGE_RECORDS };
    storage.list(listing).await.map(|page| page.records)
}

/// The storage key of a peer's records.
fn key_of(peer: NodeId) -> Vec<u8> {
    peer.0.as_bytes().to_vec()
}

/// The peer of a storage key.
fn node_of(key: &[u8]) -> Option<NodeId> {
    uuid::Uuid::from_slice(key).ok().map(NodeId)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Threshold;
    use crate::protocol::pair::testbed;
    use crate::testing::Bench;

    #[tokio::test(flavor = "multi_thread")]
    async fn setup__should_not_be_stored_once_the_pair_is_banned() {
        let (bench, folder) = (Bench::new(Threshold::new(2, 2).unwrap()), tempfile::tempdir().unwrap());
        let (store_of, peer) = (bench.storage(0, folder.path()).await, bench.id(1));
        let storage = bench.handle(&store_of);
        let [half, _] = &testbed::established()[0];
        let ban = Batch::new().put(Family::Bans, key_of(peer), SecretBytes::copy_from(b"ban"));
        storage.write(ban, Durability::Synced).await.unwrap();
        assert_eq!(store(&storage, peer, half).await, Err(Code::PairBanned));
        assert!(storage.get(Family::Pairs, key_of(peer)).await.unwrap().is_none());
        let lifted = Batch::new().delete(Family::Bans, key_of(peer));
        storage.write(lifted, Durability::Synced).await.unwrap();
        store(&storage, peer, half).await.unwrap();
        assert!(storage.get(Family::Pairs, key_of(peer)).await.unwrap().is_some());
    }
}
