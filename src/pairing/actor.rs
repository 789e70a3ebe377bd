//! The pairing actor: see the module's documentation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use tokio::time::Instant;

use super::records::{BanRecord, all, erase_former, former_key, former_of, key_of, node_of};
use super::setups::Stored;
use super::{BanError, Banned, Bans, PairBook, PairUnavailable};
use crate::clock::Clock;
use crate::error::Code;
use crate::identity::{NodeIdentity, PeerBook};
use crate::ids::{ClusterId, Epoch, NodeId, SheetHash};
use crate::protocol::pair::PairState;
use crate::sabotage::{self, Flaw};
use crate::secret::SecretBytes;
use crate::session::{CryptoPool, Post, SessionEnd, SessionKit, Sessions};
use crate::stack::wiped_after_engine;
use crate::storage::{Batch, Durability, Family, Record, StorageHandle};
use crate::supervision::{Address, Deliver, heard_as};
use crate::transport::{Inbound, PeerEvent, Readiness, TransportMsg};
use crate::wire::message::Service;

/// What pairing takes.
pub enum PairingMsg {
    /// A peer's message about a setup.
    Peer(Inbound),
    /// A link changed, or a peer's readiness did.
    Link(PeerEvent),
    /// A setup ended.
    Ended(SessionEnd<PairState>),
    /// A finished setup was stored, or not.
    Stored(Stored),
    /// Asks for the states of the pairs with these peers.
    States {
        /// The peers.
        peers: BTreeSet<NodeId>,
        /// The deadline of the session that is to use them, in milliseconds since the Unix epoch.
        deadline_ms: u64,
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

heard_as!(PairingMsg {
    Inbound => Peer,
    PeerEvent => Link,
    SessionEnd<PairState> => Ended,
    Stored => Stored,
});

/// What can be observed of pairing. No secret is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairingSnapshot {
    /// The epochs this node holds, by peer.
    pub epochs: BTreeMap<NodeId, Epoch>,
    /// The peers with which a former setup is still in use.
    pub former: BTreeSet<NodeId>,
    /// The age of the oldest setup; zero without any.
    pub oldest: Duration,
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
    /// How old a setup may become before another takes its place; `None`: as old as it gets.
    pub refresh_every: Option<Duration>,
    /// Who hears of every change of the epochs that this node holds.
    pub registry: Arc<dyn Deliver<BTreeMap<NodeId, BTreeSet<Epoch>>>>,
    /// Who hears of every ban at once.
    pub users: Vec<Arc<dyn Deliver<Banned>>>,
    /// The address of this actor, for its sessions.
    pub myself: Address<PairingMsg>,
}

impl PairingArgs {
    /// What its sessions have in common.
    fn kit(&self) -> SessionKit<PairState> {
        SessionKit {
            post: Post::new(self.identity.id(), Service::Pairing, self.transport.clone()),
            identity: Arc::clone(&self.identity),
            peers: Arc::clone(&self.peers),
            bans: Arc::new(self.myself.clone()) as Arc<dyn Bans>,
            pool: self.pool.clone(),
            clock: self.clock,
            owner: Arc::new(self.myself.clone()),
        }
    }
}

/// What pairing owns.
pub struct PairingState {
    pub(super) args: PairingArgs,
    pub(super) book: PairBook,
    pub(super) sessions: Sessions<PairState>,
    /// With whom each running setup is.
    pub(super) with: BTreeMap<SheetHash, NodeId>,
    pub(super) serving: bool,
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
            let former = former_of(&key);
            match (former.or(node_of(&key)), wiped_after_engine(|| PairState::from_secret_bytes(value.expose()))) {
                (Some(peer), Ok(state)) if former.is_some() => book.restore_former(peer, state),
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
        let sessions = Sessions::new(args.kit());
        Ok(PairingState { args, book, sessions, with: BTreeMap::new(), serving: false })
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
                state.retire_replaced();
            }
            PairingMsg::Ended(end) => state.ended(&myself, end),
            PairingMsg::Stored(Stored { peer, state: stored, kept }) => {
                match stored {
                    Ok(pair) => {
                        tracing::info!(%peer, epoch = %pair.epoch(), "pair setup stored");
                        state.book.hold(peer, pair, kept, Instant::now());
                    }
                    Err(code) => {
                        tracing::error!(%peer, %code, "failed to store a pair setup");
                        state.book.failed(peer, Instant::now());
                    }
                }
                state.announce();
            }
            PairingMsg::States { peers, deadline_ms, reply } => {
                // Whoever asked may have gone.
                let _ = reply.send(state.book.states(&peers, deadline_ms));
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
                let epochs = state.book.epochs();
                let oldest = epochs.values().min().map(|epoch| state.args.clock.now_ms().saturating_sub(epoch.0));
                let _ = reply.send(PairingSnapshot {
                    epochs,
                    former: state.book.with_former(),
                    oldest: Duration::from_millis(oldest.unwrap_or_default()),
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
        if let Some(sheet) = state.sessions.gone(event).await
            && let Some(peer) = state.with.remove(&sheet.hash)
        {
            state.failed(peer);
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
                let epochs = readiness.pairs.iter().filter(|(node, _)| *node == me).map(|&(_, epoch)| epoch).collect();
                self.book.announced(peer, readiness.serving, epochs);
            }
            PeerEvent::Down { peer, .. } => {
                self.book.lost(peer);
                self.sessions.peer_down(peer);
            }
        }
    }

    /// Erases former setups once the new ones are in force on both sides.
    fn retire_replaced(&mut self) {
        let replaced = self.book.replaced(self.args.clock.now_ms());
        if replaced.is_empty() {
            return;
        }
        for peer in replaced {
            self.book.retire(peer);
            let storage = self.args.storage.clone();
            tokio::spawn(async move {
                match erase_former(&storage, peer).await {
                    Ok(()) => tracing::info!(%peer, "a former pair setup is erased"),
                    // The next life finds it, and erases it.
                    Err(error) => tracing::warn!(%peer, %error, "failed to erase a former pair setup"),
                }
            });
        }
        self.announce();
    }

    async fn ban(&mut self, peer: NodeId, session: SheetHash) -> Result<(), BanError> {
        // In memory first: whatever the store does, nothing uses the pair from here on.
        self.book.ban(peer);
        // One cheat must not have many runs: those under way with the peer end now.
        for user in &self.args.users {
            // Between two lives, it has no sessions.
            let _ = user.deliver(Banned(peer));
        }
        self.sessions.cancel(Code::PairBanned, |sheet| sheet.index_of(peer).is_some());
        tracing::error!(%peer, %session, "pair banned from ECDSA");
        let record = BanRecord { session, at_ms: self.args.clock.now_ms() };
        let record = SecretBytes::from_vec(record.encode().map_err(|_| BanError::Storage)?);
        let batch = Batch::new()
            .put(Family::Bans, key_of(peer), record)
            .delete(Family::Pairs, key_of(peer))
            .delete(Family::Pairs, former_key(peer));
        let batch = if sabotage::has(Flaw::ForgetsBans) { Batch::new() } else { batch };
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
        let epochs = self.book.held();
        // The latest epoch of a pair comes last.
        let pairs = epochs.iter().flat_map(|(&peer, epochs)| epochs.iter().map(move |&epoch| (peer, epoch))).collect();
        let readiness = Readiness { serving: self.serving, pairs };
        // An actor between two lives asks for an announcement when it is back.
        let _ = self.args.transport.cast(TransportMsg::SetReadiness(readiness));
        let _ = self.args.registry.deliver(epochs);
    }
}
