//! The transport actor: owns the broker connection and the links.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ed25519_dalek::VerifyingKey;
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use tokio::task::JoinHandle;

use super::broker::{Broker, Connection};
use super::config::LinkConfig;
use super::credit::Budget;
use super::event::{DownReason, PeerEvent, Services};
use super::forgery::Forgery;
use super::link::{Counters, LinkActor, LinkArgs, LinkMsg, LinkTraffic, Readiness, Report};
use super::noise::LinkKeys;
use super::pump::{Route, Routes};
use crate::ids::{ClusterId, NodeId};
use crate::sabotage::{self, Flaw};
use crate::secret::SecretBytes;
use crate::supervision::{Address, Child, Deliver, RestartLimit, STUCK_AFTER, Verdict};
use crate::wire::message::PeerMessage;

/// Links may fail as often as they like: a peer that keeps crashing is no reason for this node to stop.
const RESTARTS: usize = usize::MAX;
/// Within which time failures of a link lengthen the pause before the next restart.
const RESTART_WINDOW: Duration = Duration::from_secs(30);
/// How long a link may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// What the transport takes.
pub enum TransportMsg {
    /// Sends a message to a peer. If its link is not up, the listeners hear that it is down, once more.
    Send {
        /// The peer.
        to: NodeId,
        /// The message.
        message: PeerMessage,
    },
    /// From now on, all peers hear this about this node with every heartbeat, and at once.
    SetReadiness(Readiness),
    /// Asks for the state of all links.
    Snapshot(RpcReplyPort<TransportSnapshot>),
    /// From the transport's own parts.
    Internal(Internal),
    /// Panics in the handler: the harness proves supervision with it.
    #[cfg(any(test, feature = "testing"))]
    InjectPanic,
    /// Panics in the handler of the link to this peer.
    #[cfg(any(test, feature = "testing"))]
    InjectLinkPanic(NodeId),
}

/// What the transport's own parts tell it.
pub struct Internal(Event);

enum Event {
    Reported {
        peer: NodeId,
        life: ActorId,
        report: Report,
    },
    Restart {
        peer: NodeId,
    },
    Connection(Connection),
    InboxEnded,
    /// A lie that is told later.
    #[cfg(any(test, feature = "testing"))]
    Told {
        to: NodeId,
        message: PeerMessage,
    },
}

/// The state of the transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransportSnapshot {
    /// Whether the broker is connected.
    pub connected: bool,
    /// Whether it lets this node use the subjects that it needs.
    pub permitted: bool,
    /// Messages at the inbox that were no frames, or named a sender that is no peer.
    pub strays: u64,
    /// Every peer of the peer book.
    pub links: BTreeMap<NodeId, LinkSnapshot>,
}

/// The state of one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkSnapshot {
    /// The round-trip time, if the link is up.
    pub up: Option<Duration>,
    /// How many lives it has had, this one included.
    pub lives: u64,
    /// What passed, over all lives.
    pub traffic: LinkTraffic,
}

/// What the transport is started with, each time anew.
#[derive(Clone)]
pub struct TransportArgs {
    /// This node.
    pub me: NodeId,
    /// The cluster: nodes of another one have other subjects and other handshakes.
    pub cluster: ClusterId,
    /// The X25519 private key that belongs to this node's Ed25519 identity: the scalar of RFC 8032, section 5.1.5; 32
    /// bytes.
    pub secret: Arc<SecretBytes>,
    /// The Ed25519 keys of the peer book's other nodes.
    pub peers: BTreeMap<NodeId, VerifyingKey>,
    /// The connection to the broker.
    pub broker: Arc<dyn Broker>,
    /// Who gets the messages of peers.
    pub services: Services,
    /// Who hears of the links.
    pub listeners: Vec<Arc<dyn Deliver<PeerEvent>>>,
    /// Times and sizes.
    pub config: LinkConfig,
    /// What tests make of what the node says.
    pub forgery: Forgery,
}

/// The subject that a node listens at.
#[must_use]
pub fn inbox_subject(cluster: &ClusterId, node: NodeId) -> String {
    format!("quorate.{}.{node}", cluster.as_str())
}

/// What the transport owns.
pub struct TransportState {
    args: TransportArgs,
    readiness: Readiness,
    connection: Connection,
    routes: Arc<Routes>,
    links: Links,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for TransportState {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// The links, and what the listeners were told of them. However the transport ends, those that were up are reported down.
struct Links {
    by_peer: BTreeMap<NodeId, LinkChild>,
    listeners: Vec<Arc<dyn Deliver<PeerEvent>>>,
}

struct LinkChild {
    child: Child<LinkMsg>,
    link: Address<LinkMsg>,
    keys: Arc<LinkKeys>,
    counters: Arc<Counters>,
    up: Option<Duration>,
    lives: u64,
}

impl Drop for Links {
    fn drop(&mut self) {
        let peers: Vec<NodeId> = self.by_peer.keys().copied().collect();
        peers.into_iter().for_each(|peer| self.went_down(peer, DownReason::Stopped));
    }
}

/// Owns the broker connection and the links.
pub struct TransportActor;

impl Actor for TransportActor {
    type Msg = TransportMsg;
    type State = TransportState;
    type Arguments = TransportArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<TransportMsg>,
        args: TransportArgs,
    ) -> Result<TransportState, ActorProcessingErr> {
        let mut links = Links { by_peer: BTreeMap::new(), listeners: args.listeners.clone() };
        let mut peers = BTreeMap::new();
        for (&peer, key) in args.peers.iter().filter(|(peer, _)| **peer != args.me) {
            let keys = Arc::new(LinkKeys::new(&args.secret, &args.cluster, args.me, peer, key)?);
            let (link, counters) = (Address::unbound(), Arc::new(Counters::default()));
            let limit =
                RestartLimit { restarts: RESTARTS, within: RESTART_WINDOW, backoff: args.config.restart_backoff };
            let budget = Budget::new(args.config.budget_bytes, args.config.reserve_bytes);
            peers.insert(peer, Route { link: link.clone(), budget, counters: Arc::clone(&counters) });
            let child = Child::new(link.clone(), limit, STUCK_AFTER);
            links.by_peer.insert(peer, LinkChild { child, link, keys, counters, up: None, lives: 0 });
        }
        let routes = Arc::new(Routes { peers, strays: AtomicU64::new(0) });
        let mut watch = args.broker.connection();
        let connection = *watch.borrow_and_update();
        let inbox = args.broker.subscribe(&inbox_subject(&args.cluster, args.me)).await?;
        let (pump, actor) = (Arc::clone(&routes).pump(inbox), myself.clone());
        let pump = tokio::spawn(async move {
            pump.await;
            // A transport that is gone needs no inbox.
            let _ = actor.cast(Event::InboxEnded.into());
        });
        let watch = tokio::spawn(async move {
            while watch.changed().await.is_ok() {
                let connection = *watch.borrow_and_update();
                if myself.cast(Event::Connection(connection).into()).is_err() {
                    return;
                }
            }
        });
        let tasks = vec![pump, watch];
        Ok(TransportState { args, readiness: Readiness::default(), connection, routes, links, tasks })
    }

    async fn post_start(
        &self,
        myself: ActorRef<TransportMsg>,
        state: &mut TransportState,
    ) -> Result<(), ActorProcessingErr> {
        state.start_all(&myself).await;
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<TransportMsg>,
        message: TransportMsg,
        state: &mut TransportState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            #[cfg(any(test, feature = "testing"))]
            TransportMsg::Send { to, message } if state.args.forgery.is_planned() => {
                for super::forgery::Told { to, message, after } in state.args.forgery.of(to, message) {
                    if after.is_zero() {
                        state.send(to, message);
                    } else {
                        myself.send_after(after, move || Event::Told { to, message }.into());
                    }
                }
            }
            #[cfg(any(test, feature = "testing"))]
            TransportMsg::Internal(Internal(Event::Told { to, message })) => state.send(to, message),
            TransportMsg::Send { to, message } => state.send(to, message),
            TransportMsg::SetReadiness(readiness) => {
                for child in state.links.by_peer.values() {
                    // A link that is between two lives starts with the readiness of then.
                    let _ = child.link.cast(LinkMsg::Readiness(readiness.clone()));
                }
                state.readiness = readiness;
            }
            TransportMsg::Snapshot(reply) => {
                // The asker may have stopped waiting.
                let _ = reply.send(state.snapshot());
            }
            TransportMsg::Internal(Internal(Event::Reported { peer, life, report })) => {
                state.links.reported(peer, life, report);
            }
            TransportMsg::Internal(Internal(Event::Restart { peer })) => state.start(&myself, peer).await,
            TransportMsg::Internal(Internal(Event::Connection(connection))) => {
                state.connection_changed(&myself, connection).await;
            }
            TransportMsg::Internal(Internal(Event::InboxEnded)) => {
                return Err("the broker ended the inbox subscription".into());
            }
            #[cfg(any(test, feature = "testing"))]
            #[expect(clippy::panic, reason = "the harness injects it")]
            TransportMsg::InjectPanic => panic!("injected"),
            #[cfg(any(test, feature = "testing"))]
            TransportMsg::InjectLinkPanic(peer) => {
                if let Some(child) = state.links.by_peer.get(&peer) {
                    // A link that is between two lives has crashed already.
                    let _ = child.link.cast(LinkMsg::InjectPanic);
                }
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<TransportMsg>,
        event: SupervisionEvent,
        state: &mut TransportState,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(cell, error) => {
                let reason = error.downcast_ref().copied().unwrap_or(DownReason::Crashed);
                state.ended(&myself, &cell, reason).await;
            }
            SupervisionEvent::ActorTerminated(cell, ..) => state.ended(&myself, &cell, DownReason::Crashed).await,
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {}
        }
        Ok(())
    }

    /// Lets every link say goodbye, and waits for all of them.
    async fn post_stop(&self, _: ActorRef<TransportMsg>, state: &mut TransportState) -> Result<(), ActorProcessingErr> {
        let peers: Vec<NodeId> = state.links.by_peer.keys().copied().collect();
        for child in state.links.by_peer.values_mut() {
            child.child.stop(STOP_LIMIT).await;
        }
        peers.into_iter().for_each(|peer| state.links.went_down(peer, DownReason::Stopped));
        Ok(())
    }
}

impl TransportState {
    fn send(&self, to: NodeId, message: PeerMessage) {
        let up = self.links.by_peer.get(&to).filter(|child| child.up.is_some());
        let sent = up.is_some_and(|child| child.link.cast(LinkMsg::Send(message)).is_ok());
        if !sent {
            self.links.tell(&PeerEvent::Down { peer: to, reason: DownReason::NotUp });
        }
    }

    fn snapshot(&self) -> TransportSnapshot {
        let link =
            |child: &LinkChild| LinkSnapshot { up: child.up, lives: child.lives, traffic: child.counters.read() };
        TransportSnapshot {
            connected: self.connection.connected,
            permitted: self.connection.permitted,
            strays: self.routes.strays.load(Ordering::Relaxed),
            links: self.links.by_peer.iter().map(|(&peer, child)| (peer, link(child))).collect(),
        }
    }

    async fn start_all(&mut self, myself: &ActorRef<TransportMsg>) {
        let peers: Vec<NodeId> = self.links.by_peer.keys().copied().collect();
        for peer in peers {
            self.start(myself, peer).await;
        }
    }

    /// Starts the link to `peer`, unless it runs, or the broker is gone: then all start when it is back.
    async fn start(&mut self, myself: &ActorRef<TransportMsg>, peer: NodeId) {
        let Some(child) = self.links.by_peer.get_mut(&peer) else { return };
        if !self.connection.connected || child.link.current().is_some() {
            return;
        }
        let actor = myself.clone();
        let args = LinkArgs {
            me: self.args.me,
            peer,
            keys: Arc::clone(&child.keys),
            config: self.args.config,
            readiness: self.readiness.clone(),
            broker: Arc::clone(&self.args.broker),
            subject: inbox_subject(&self.args.cluster, peer),
            services: self.args.services.clone(),
            counters: Arc::clone(&child.counters),
            // Without a transport there are no links either.
            report: Arc::new(move |life, report| drop(actor.cast(Event::Reported { peer, life, report }.into()))),
        };
        child.lives += 1;
        if let Err(error) = child.child.start(LinkActor, args, myself.get_cell()).await {
            tracing::error!(%peer, %error, "failed to start a link");
            self.restart_later(myself, peer);
        }
    }

    /// A link ended: once it is gone with its keys, the listeners hear of it, and it starts again.
    async fn ended(&mut self, myself: &ActorRef<TransportMsg>, cell: &ActorCell, reason: DownReason) {
        let Some((&peer, child)) = self.links.by_peer.iter_mut().find(|(_, child)| child.child.is(cell)) else {
            return;
        };
        if child.child.join().await.is_err() {
            tracing::error!(%peer, "a link's former life does not end");
        }
        tracing::info!(%peer, %reason, "link down");
        self.links.went_down(peer, reason);
        self.restart_later(myself, peer);
    }

    fn restart_later(&mut self, myself: &ActorRef<TransportMsg>, peer: NodeId) {
        let Some(child) = self.links.by_peer.get_mut(&peer) else { return };
        let pause = match child.child.failed() {
            Verdict::Restart(pause) => pause,
            Verdict::GiveUp => RESTART_WINDOW,
        };
        if sabotage::has(Flaw::NeverLinksAgain) {
            return;
        }
        myself.send_after(pause, move || Event::Restart { peer }.into());
    }

    async fn connection_changed(&mut self, myself: &ActorRef<TransportMsg>, connection: Connection) {
        let lost = !connection.connected || connection.losses != self.connection.losses;
        self.connection = connection;
        if lost {
            for child in self.links.by_peer.values() {
                // A link that is between two lives has nothing to lose.
                let _ = child.link.cast(LinkMsg::Fail(DownReason::BrokerLost));
            }
        }
        if connection.connected {
            self.start_all(myself).await;
        }
    }
}

impl Links {
    fn tell(&self, event: &PeerEvent) {
        for listener in &self.listeners {
            // A listener that is between two lives learns the state of the links from the next heartbeats.
            let _ = listener.deliver(event.clone());
        }
    }

    /// A link's report. One of a former life comes too late.
    fn reported(&mut self, peer: NodeId, life: ActorId, report: Report) {
        let Some(child) = self.by_peer.get_mut(&peer) else { return };
        if child.link.current().is_none_or(|actor| actor.get_id() != life) {
            return;
        }
        let event = match report {
            Report::Up { rtt } => {
                child.up = Some(rtt);
                tracing::info!(%peer, ?rtt, "link up");
                PeerEvent::Up { peer, rtt }
            }
            Report::Readiness { readiness, rtt } => {
                child.up = Some(rtt);
                PeerEvent::Readiness { peer, readiness, rtt }
            }
        };
        self.tell(&event);
    }

    fn went_down(&mut self, peer: NodeId, reason: DownReason) {
        if self.by_peer.get_mut(&peer).is_some_and(|child| child.up.take().is_some()) {
            self.tell(&PeerEvent::Down { peer, reason });
        }
    }
}

impl From<Event> for TransportMsg {
    fn from(event: Event) -> Self {
        Self::Internal(Internal(event))
    }
}
