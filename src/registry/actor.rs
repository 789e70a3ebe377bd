//! The registry actor: gathers what is known of the peers and publishes the view.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Discovery, LeaseEvent, View};
use crate::ids::{Epoch, NodeId};
use crate::supervision::Deliver;
use crate::transport::PeerEvent;
use crate::transport::broker::Connection;

/// How long the registry waits before it tries the discovery backend again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What the registry takes.
pub enum RegistryMsg {
    /// A link changed, or a peer's readiness did.
    Peer(PeerEvent),
    /// The pair setups that this node holds, all of them, by peer.
    Pairs(BTreeMap<NodeId, BTreeSet<Epoch>>),
    /// A lease changed.
    Lease(LeaseEvent),
    /// The connection to the broker changed.
    Broker(Connection),
    /// The watch on the leases was lost: forget them all until it is back.
    WatchLost,
    /// Asks for the view.
    View(RpcReplyPort<Arc<View>>),
    /// Gives the lease up: the node is stopping.
    Resign(RpcReplyPort<()>),
    /// Panics in the handler: the harness proves supervision with it.
    #[cfg(any(test, feature = "testing"))]
    InjectPanic,
}

impl From<PeerEvent> for RegistryMsg {
    fn from(event: PeerEvent) -> Self {
        Self::Peer(event)
    }
}

impl From<BTreeMap<NodeId, BTreeSet<Epoch>>> for RegistryMsg {
    fn from(pairs: BTreeMap<NodeId, BTreeSet<Epoch>>) -> Self {
        Self::Pairs(pairs)
    }
}

/// What the registry is started with.
#[derive(Clone)]
pub struct RegistryArgs {
    /// This node.
    pub me: NodeId,
    /// The peer book's other nodes.
    pub peers: Vec<NodeId>,
    /// The discovery backend.
    pub discovery: Arc<dyn Discovery>,
    /// How long a lease holds without renewal; it is renewed three times as often.
    pub lease_ttl: Duration,
    /// The state of the connection to the broker.
    pub broker: watch::Receiver<Connection>,
    /// Who gets every new view.
    pub listeners: Vec<Arc<dyn Deliver<Arc<View>>>>,
}

/// What the registry owns.
pub struct RegistryState {
    view: Arc<View>,
    args: RegistryArgs,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for RegistryState {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Gathers what is known of the peers and publishes the view.
pub struct RegistryActor;

impl Actor for RegistryActor {
    type Msg = RegistryMsg;
    type State = RegistryState;
    type Arguments = RegistryArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<RegistryMsg>,
        args: RegistryArgs,
    ) -> Result<RegistryState, ActorProcessingErr> {
        let tasks = vec![
            tokio::spawn(keep_lease(Arc::clone(&args.discovery), args.me, args.lease_ttl)),
            tokio::spawn(watch_leases(Arc::clone(&args.discovery), myself.clone())),
            tokio::spawn(watch_broker(args.broker.clone(), myself)),
        ];
        let mut view = View::empty(args.me, args.peers.iter().copied());
        view.able = is_able(*args.broker.borrow());
        let state = RegistryState { view: Arc::new(view), args, tasks };
        // What a former life has published counts no more.
        state.publish();
        Ok(state)
    }

    async fn handle(
        &self,
        _myself: ActorRef<RegistryMsg>,
        message: RegistryMsg,
        state: &mut RegistryState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            RegistryMsg::Peer(event) => state.change(|view| apply(view, event)),
            RegistryMsg::Pairs(pairs) => state.change(|view| {
                for (peer, status) in &mut view.peers {
                    status.own_epochs = pairs.get(peer).cloned().unwrap_or_default();
                }
            }),
            RegistryMsg::Lease(event) => {
                let (node, leased) = match event {
                    LeaseEvent::Alive(node) => (node, true),
                    LeaseEvent::Gone(node) => (node, false),
                };
                // A lease of somebody outside the peer book means nothing.
                state.change(|view| {
                    if let Some(status) = view.peers.get_mut(&node) {
                        status.leased = leased;
                    }
                });
            }
            RegistryMsg::Broker(connection) => state.change(|view| view.able = is_able(connection)),
            RegistryMsg::WatchLost => state.change(|view| {
                view.peers.values_mut().for_each(|status| status.leased = false);
            }),
            RegistryMsg::View(reply) => {
                // Whoever asked may have gone.
                let _ = reply.send(Arc::clone(&state.view));
            }
            RegistryMsg::Resign(reply) => {
                state.tasks.iter().for_each(JoinHandle::abort);
                if let Err(error) = state.args.discovery.resign(state.args.me).await {
                    tracing::warn!(%error, "failed to give the lease up; it will run out");
                }
                let _ = reply.send(());
            }
            #[cfg(any(test, feature = "testing"))]
            #[expect(clippy::panic, reason = "the harness injects it")]
            RegistryMsg::InjectPanic => panic!("injected"),
        }
        Ok(())
    }
}

impl RegistryState {
    /// Changes the view and publishes it, if it is another one then.
    fn change(&mut self, change: impl FnOnce(&mut View)) {
        let mut next = View::clone(&self.view);
        change(&mut next);
        if next == *self.view {
            return;
        }
        self.view = Arc::new(next);
        self.publish();
    }

    fn publish(&self) {
        for listener in &self.args.listeners {
            // A listener that is between two lives gets the view when it asks for it at its start.
            let _ = listener.deliver(Arc::clone(&self.view));
        }
    }
}

/// What a link's event changes.
fn apply(view: &mut View, event: PeerEvent) {
    match event {
        PeerEvent::Up { peer, rtt } => {
            if let Some(status) = view.peers.get_mut(&peer) {
                status.linked = true;
                status.rtt = Some(rtt);
            }
        }
        PeerEvent::Down { peer, .. } => {
            if let Some(status) = view.peers.get_mut(&peer) {
                status.linked = false;
                status.serving = false;
                status.announced.clear();
                status.rtt = None;
            }
        }
        PeerEvent::Readiness { peer, readiness, rtt } => {
            if let Some(status) = view.peers.get_mut(&peer) {
                // Only a link that is up reports this: a registry that has just started learns of it here.
                status.linked = true;
                status.serving = readiness.serving;
                status.announced.clear();
                for (with, epoch) in readiness.pairs {
                    status.announced.entry(with).or_default().insert(epoch);
                }
                status.rtt = Some(rtt);
            }
        }
    }
}

/// Whether a node with this connection can take part in anything.
fn is_able(connection: Connection) -> bool {
    connection.connected && connection.permitted
}

/// Follows the connection to the broker.
async fn watch_broker(mut broker: watch::Receiver<Connection>, registry: ActorRef<RegistryMsg>) {
    loop {
        let connection = *broker.borrow_and_update();
        if registry.cast(RegistryMsg::Broker(connection)).is_err() || broker.changed().await.is_err() {
            return;
        }
    }
}

/// Renews the lease, three times in its time to live, for ever.
async fn keep_lease(discovery: Arc<dyn Discovery>, me: NodeId, ttl: Duration) {
    loop {
        if let Err(error) = discovery.renew(me, ttl).await {
            tracing::warn!(%error, "failed to renew the lease");
        }
        tokio::time::sleep(ttl / 3).await;
    }
}

/// Watches the leases, and watches again when the watch is lost.
async fn watch_leases(discovery: Arc<dyn Discovery>, registry: ActorRef<RegistryMsg>) {
    loop {
        match discovery.watch().await {
            Ok(mut events) => {
                while let Some(event) = events.recv().await {
                    if registry.cast(RegistryMsg::Lease(event)).is_err() {
                        return;
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "failed to watch the leases"),
        }
        if registry.cast(RegistryMsg::WatchLost).is_err() {
            return;
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
}
