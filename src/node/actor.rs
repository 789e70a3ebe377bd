//! The root supervisor: builds the tree, starts again what fails, and gives up when that does not help.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr, SupervisionEvent};
use tokio::sync::{RwLock, watch};
use tokio::time::Instant;

use super::Settings;
use crate::checkup::{CheckupActor, CheckupArgs, CheckupMsg};
use crate::clock::Clock;
use crate::destruction::{DestructionActor, DestructionArgs, DestructionMsg};
use crate::gateway::{Desk, GatewayActor, GatewayArgs, GatewayMsg, GatewaySettings};
use crate::health::{Endpoint, HealthActor, HealthArgs, HealthMsg};
use crate::identity::{NodeIdentity, PeerBook};
use crate::ids::{Epoch, NodeId};
use crate::keygen::{KeygenActor, KeygenArgs, KeygenMsg};
use crate::metrics::Recorder;
use crate::nats;
use crate::pairing::{Banned, PairingActor, PairingArgs, PairingMsg};
use crate::policy::Policy;
use crate::registry::{Discovery, RegistryActor, RegistryArgs, RegistryMsg, View};
use crate::reshare::{ReshareActor, ReshareArgs, ReshareMsg};
use crate::session::CryptoPool;
use crate::signing::{SigningActor, SigningArgs, SigningMsg};
use crate::storage::{StorageActor, StorageArguments, StorageHandle, StorageMsg, StorageTimeouts};
use crate::supervision::{Address, Child, Deliver, RestartLimit, Unavailable, Verdict};
use crate::transport::broker::Broker;
use crate::transport::{Forgery, Services, TransportActor, TransportArgs, TransportMsg};

/// How long the root waits for an answer of a child.
const ASK: Duration = Duration::from_secs(5);
/// The most wallets of clients that are checked up at a time.
const MAX_CHECKUPS: usize = 8;
/// The most wallets that clients wait to have destroyed at a time.
const MAX_DESTRUCTIONS: usize = 32;
/// How long a child may take to stop once it has nothing left to do.
const STOP: Duration = Duration::from_secs(5);

/// What a node is made of.
#[derive(Clone)]
pub struct NodeArgs {
    /// What its operator decided.
    pub settings: Settings,
    /// Who it is.
    pub identity: Arc<NodeIdentity>,
    /// Whom it trusts.
    pub peers: Arc<PeerBook>,
    /// Whose requests it takes.
    pub policy: Arc<Policy>,
    /// Where its records are.
    pub storage: StorageArguments,
    /// What its links run over.
    pub broker: Arc<dyn Broker>,
    /// Who else is alive.
    pub discovery: Arc<dyn Discovery>,
    /// Where engines compute.
    pub pool: CryptoPool,
    /// What tests make of what it says to its peers.
    pub forgery: Forgery,
    /// The clock of deadlines.
    pub clock: Clock,
    /// How clients reach it, beside the calls of its handle.
    pub gateway: Option<Gateway>,
    /// Where it serves health and metrics.
    pub health: Option<Endpoint>,
}

/// How clients reach a node.
#[derive(Clone)]
pub struct Gateway {
    /// What its operator decided.
    pub settings: GatewaySettings,
    /// The broker, as clients use it.
    pub connection: nats::Connection,
}

/// Where a node's actors answer, through all their lives.
#[derive(Clone, Default)]
pub struct Addresses {
    /// The store.
    pub storage: Address<StorageMsg>,
    /// The membership.
    pub registry: Address<RegistryMsg>,
    /// Pair setups and bans.
    pub pairing: Address<PairingMsg>,
    /// Key generation.
    pub keygen: Address<KeygenMsg>,
    /// Signing.
    pub signing: Address<SigningMsg>,
    /// Resharing.
    pub reshare: Address<ReshareMsg>,
    /// Check-ups.
    pub checkup: Address<CheckupMsg>,
    /// Destructions of wallets.
    pub destruction: Address<DestructionMsg>,
    /// The links.
    pub transport: Address<TransportMsg>,
    /// The clients, if any are served over a broker.
    pub gateway: Address<GatewayMsg>,
    /// Health and metrics, if they are served.
    pub health: Address<HealthMsg>,
}

/// What the root takes.
pub enum NodeMsg {
    /// Starts a child again after its pause.
    Restart(ChildName),
    /// Looks whether a child holds a thread.
    Look,
    /// Ends the node in good order: running work first, then the links, the store last.
    Shutdown(RpcReplyPort<()>),
}

/// The children of the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildName {
    /// The store.
    Storage,
    /// The membership.
    Registry,
    /// Pair setups and bans.
    Pairing,
    /// Key generation.
    Keygen,
    /// Signing.
    Signing,
    /// Resharing.
    Reshare,
    /// Check-ups.
    Checkup,
    /// Destructions of wallets.
    Destruction,
    /// The links.
    Transport,
    /// The clients.
    Gateway,
    /// Health and metrics.
    Health,
}

/// Publishes views to whoever watches the node from outside.
struct ViewWatch(watch::Sender<Arc<View>>);

impl Deliver<Arc<View>> for ViewWatch {
    fn deliver(&self, view: Arc<View>) -> Result<(), Unavailable> {
        self.0.send_replace(view);
        Ok(())
    }
}

/// What the root owns.
pub struct NodeState {
    args: NodeArgs,
    addresses: Addresses,
    views: Arc<ViewWatch>,
    keygen_writes: Arc<RwLock<()>>,
    reshare_writes: Arc<RwLock<()>>,
    storage: Child<StorageMsg>,
    registry: Child<RegistryMsg>,
    pairing: Child<PairingMsg>,
    keygen: Child<KeygenMsg>,
    signing: Child<SigningMsg>,
    reshare: Child<ReshareMsg>,
    checkup: Child<CheckupMsg>,
    destruction: Child<DestructionMsg>,
    transport: Child<TransportMsg>,
    gateway: Child<GatewayMsg>,
    health: Child<HealthMsg>,
    recorder: Recorder,
    started: Instant,
    stopping: bool,
}

/// The root supervisor of a node.
pub struct NodeActor;

/// What the root is started with: the node, its addresses, and where its views are published.
pub struct Root {
    pub(super) args: NodeArgs,
    pub(super) addresses: Addresses,
    pub(super) views: watch::Sender<Arc<View>>,
    pub(super) recorder: Recorder,
}

impl Actor for NodeActor {
    type Msg = NodeMsg;
    type State = NodeState;
    type Arguments = Root;

    async fn pre_start(&self, myself: ActorRef<NodeMsg>, root: Root) -> Result<NodeState, ActorProcessingErr> {
        let Root { args, addresses, views, recorder } = root;
        let (restarts, stuck_after) = (args.settings.restarts, args.settings.stuck_after);
        // A store that failed twice cannot be trusted to hold anything.
        let once = RestartLimit { restarts: 1, ..restarts };
        // A node that signs is worth more than what can be seen of it.
        let endless = RestartLimit { restarts: usize::MAX, ..restarts };
        let mut state = NodeState {
            storage: Child::new(addresses.storage.clone(), once, stuck_after),
            registry: Child::new(addresses.registry.clone(), restarts, stuck_after),
            pairing: Child::new(addresses.pairing.clone(), restarts, stuck_after),
            keygen: Child::new(addresses.keygen.clone(), restarts, stuck_after),
            signing: Child::new(addresses.signing.clone(), restarts, stuck_after),
            reshare: Child::new(addresses.reshare.clone(), restarts, stuck_after),
            checkup: Child::new(addresses.checkup.clone(), restarts, stuck_after),
            destruction: Child::new(addresses.destruction.clone(), restarts, stuck_after),
            transport: Child::new(addresses.transport.clone(), restarts, stuck_after),
            gateway: Child::new(addresses.gateway.clone(), restarts, stuck_after),
            health: Child::new(addresses.health.clone(), endless, stuck_after),
            recorder,
            started: Instant::now(),
            views: Arc::new(ViewWatch(views)),
            keygen_writes: Arc::new(RwLock::new(())),
            reshare_writes: Arc::new(RwLock::new(())),
            args,
            addresses,
            stopping: false,
        };
        // Whoever delivers comes after those it delivers to.
        for child in [
            ChildName::Storage,
            ChildName::Registry,
            ChildName::Pairing,
            ChildName::Keygen,
            ChildName::Signing,
            ChildName::Reshare,
            ChildName::Checkup,
            ChildName::Destruction,
            ChildName::Transport,
            ChildName::Gateway,
            ChildName::Health,
        ] {
            state.start(child, myself.get_cell()).await?;
        }
        myself.send_interval(stuck_after, || NodeMsg::Look);
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<NodeMsg>,
        message: NodeMsg,
        state: &mut NodeState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            NodeMsg::Restart(child) if !state.stopping => {
                if let Err(error) = state.start(child, myself.get_cell()).await {
                    tracing::error!(?child, %error, "failed to start an actor again");
                    state.failed(&myself, child).await?;
                }
            }
            NodeMsg::Restart(_) => {}
            NodeMsg::Look => {
                if let Some(child) = state.holding_thread() {
                    return Err(format!("{child:?} hangs and cannot be ended").into());
                }
            }
            NodeMsg::Shutdown(reply) => {
                state.shutdown().await;
                // Whoever asked may have gone.
                let _ = reply.send(());
                myself.stop(None);
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<NodeMsg>,
        event: SupervisionEvent,
        state: &mut NodeState,
    ) -> Result<(), ActorProcessingErr> {
        let (cell, why) = match event {
            SupervisionEvent::ActorFailed(cell, error) => (cell, error.to_string()),
            SupervisionEvent::ActorTerminated(cell, _, reason) => (cell, reason.unwrap_or_default()),
            _ => return Ok(()),
        };
        let Some(child) = state.child(&cell) else { return Ok(()) };
        if state.stopping {
            return Ok(());
        }
        tracing::error!(?child, why, "actor failed");
        state.failed(&myself, child).await
    }
}

impl NodeState {
    /// Which child an event is about.
    fn child(&self, cell: &ActorCell) -> Option<ChildName> {
        Some(match () {
            () if self.storage.is(cell) => ChildName::Storage,
            () if self.registry.is(cell) => ChildName::Registry,
            () if self.pairing.is(cell) => ChildName::Pairing,
            () if self.keygen.is(cell) => ChildName::Keygen,
            () if self.signing.is(cell) => ChildName::Signing,
            () if self.reshare.is(cell) => ChildName::Reshare,
            () if self.checkup.is(cell) => ChildName::Checkup,
            () if self.destruction.is(cell) => ChildName::Destruction,
            () if self.transport.is(cell) => ChildName::Transport,
            () if self.gateway.is(cell) => ChildName::Gateway,
            () if self.health.is(cell) => ChildName::Health,
            () => return None,
        })
    }

    /// A child whose handler never returns and never waits: only the end of the process ends it.
    fn holding_thread(&self) -> Option<ChildName> {
        let holding = [
            (ChildName::Storage, self.storage.holds_thread()),
            (ChildName::Registry, self.registry.holds_thread()),
            (ChildName::Pairing, self.pairing.holds_thread()),
            (ChildName::Keygen, self.keygen.holds_thread()),
            (ChildName::Signing, self.signing.holds_thread()),
            (ChildName::Reshare, self.reshare.holds_thread()),
            (ChildName::Checkup, self.checkup.holds_thread()),
            (ChildName::Destruction, self.destruction.holds_thread()),
            (ChildName::Transport, self.transport.holds_thread()),
            (ChildName::Gateway, self.gateway.holds_thread()),
            (ChildName::Health, self.health.holds_thread()),
        ];
        holding.into_iter().find_map(|(child, holds)| holds.then_some(child))
    }

    /// A child failed: waits until it is gone, state and all, then starts it again after its pause, or gives up.
    async fn failed(&mut self, myself: &ActorRef<NodeMsg>, child: ChildName) -> Result<(), ActorProcessingErr> {
        let (joined, verdict) = match child {
            ChildName::Storage => (self.storage.join().await, self.storage.failed()),
            ChildName::Registry => (self.registry.join().await, self.registry.failed()),
            ChildName::Pairing => (self.pairing.join().await, self.pairing.failed()),
            ChildName::Keygen => (self.keygen.join().await, self.keygen.failed()),
            ChildName::Signing => (self.signing.join().await, self.signing.failed()),
            ChildName::Reshare => (self.reshare.join().await, self.reshare.failed()),
            ChildName::Checkup => (self.checkup.join().await, self.checkup.failed()),
            ChildName::Destruction => (self.destruction.join().await, self.destruction.failed()),
            ChildName::Transport => (self.transport.join().await, self.transport.failed()),
            ChildName::Gateway => (self.gateway.join().await, self.gateway.failed()),
            ChildName::Health => (self.health.join().await, self.health.failed()),
        };
        joined?;
        match verdict {
            Verdict::Restart(pause) => {
                let myself = myself.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(pause).await;
                    // A node that has ended starts nothing.
                    let _ = myself.cast(NodeMsg::Restart(child));
                });
                Ok(())
            }
            Verdict::GiveUp => Err(format!("{child:?} fails too often").into()),
        }
    }

    /// Starts a life of a child, and brings it up to date.
    async fn start(&mut self, child: ChildName, supervisor: ActorCell) -> Result<(), SpawnErr> {
        let to = &self.addresses;
        match child {
            ChildName::Storage => self.storage.start(StorageActor, self.args.storage.clone(), supervisor).await?,
            ChildName::Registry => {
                self.registry.start(RegistryActor, self.registry_args(), supervisor).await?;
                // Without pairing yet, it announces when it starts.
                let _ = to.pairing.cast(PairingMsg::Announce);
            }
            ChildName::Pairing => {
                self.pairing.start(PairingActor, self.pairing_args(), supervisor).await?;
                let _ = to.pairing.cast(PairingMsg::Serve(true));
            }
            ChildName::Keygen => {
                self.keygen.start(KeygenActor, self.keygen_args(), supervisor).await?;
                self.show_view(&self.addresses.keygen).await;
            }
            ChildName::Signing => {
                self.signing.start(SigningActor, self.signing_args(), supervisor).await?;
                self.show_view(&self.addresses.signing).await;
            }
            ChildName::Reshare => {
                self.reshare.start(ReshareActor, self.reshare_args(), supervisor).await?;
                self.show_view(&self.addresses.reshare).await;
            }
            ChildName::Checkup => {
                self.checkup.start(CheckupActor, self.checkup_args(), supervisor).await?;
                self.show_view(&self.addresses.checkup).await;
            }
            ChildName::Destruction => {
                self.destruction.start(DestructionActor, self.destruction_args(), supervisor).await?;
                self.show_view(&self.addresses.destruction).await;
            }
            ChildName::Transport => {
                self.transport.start(TransportActor, self.transport_args(), supervisor).await?;
                let _ = to.pairing.cast(PairingMsg::Announce);
            }
            ChildName::Gateway => {
                if let Some(args) = self.gateway_args() {
                    self.gateway.start(GatewayActor, args, supervisor).await?;
                }
            }
            ChildName::Health => {
                if let Some(args) = self.health_args() {
                    self.health.start(HealthActor, args, supervisor).await?;
                }
            }
        }
        Ok(())
    }

    /// Gives a listener that has just started the view that it missed.
    async fn show_view<M: ractor::Message + From<Arc<View>>>(&self, listener: &Address<M>) {
        if let Ok(view) = self.addresses.registry.call(ASK, RegistryMsg::View).await {
            // One that has failed meanwhile is started again, and shown the view again.
            let _ = listener.deliver(view);
        }
    }

    fn storage_handle(&self) -> StorageHandle {
        StorageHandle::new(self.addresses.storage.clone(), StorageTimeouts::default())
    }

    fn registry_args(&self) -> RegistryArgs {
        let listeners: Vec<Arc<dyn Deliver<Arc<View>>>> = vec![
            Arc::new(self.addresses.keygen.clone()),
            Arc::new(self.addresses.signing.clone()),
            Arc::new(self.addresses.reshare.clone()),
            Arc::new(self.addresses.checkup.clone()),
            Arc::new(self.addresses.destruction.clone()),
            Arc::clone(&self.views) as Arc<dyn Deliver<Arc<View>>>,
        ];
        RegistryArgs {
            me: self.args.identity.id(),
            peers: self.args.peers.ids().filter(|&peer| peer != self.args.identity.id()).collect(),
            discovery: Arc::clone(&self.args.discovery),
            lease_ttl: self.args.settings.lease_ttl,
            broker: self.args.broker.connection(),
            listeners,
        }
    }

    fn pairing_args(&self) -> PairingArgs {
        PairingArgs {
            cluster: self.args.settings.cluster.clone(),
            identity: Arc::clone(&self.args.identity),
            peers: Arc::clone(&self.args.peers),
            transport: self.addresses.transport.clone(),
            storage: self.storage_handle(),
            pool: self.args.pool.clone(),
            clock: self.args.clock,
            deadline: self.args.settings.pair_setup_deadline,
            refresh_every: self.args.settings.pair_refresh_every,
            registry: Arc::new(self.addresses.registry.clone()) as Arc<dyn Deliver<BTreeMap<NodeId, BTreeSet<Epoch>>>>,
            users: vec![
                Arc::new(self.addresses.signing.clone()) as Arc<dyn Deliver<Banned>>,
                Arc::new(self.addresses.reshare.clone()),
                Arc::new(self.addresses.checkup.clone()),
            ],
            myself: self.addresses.pairing.clone(),
        }
    }

    fn keygen_args(&self) -> KeygenArgs {
        let settings = &self.args.settings;
        KeygenArgs {
            cluster: settings.cluster.clone(),
            identity: Arc::clone(&self.args.identity),
            peers: Arc::clone(&self.args.peers),
            policy: Arc::clone(&self.args.policy),
            threshold: settings.threshold,
            chain_code: settings.chain_code,
            transport: self.addresses.transport.clone(),
            storage: self.storage_handle(),
            bans: Arc::new(self.addresses.pairing.clone()),
            pool: self.args.pool.clone(),
            clock: self.args.clock,
            deadline: settings.keygen_deadline,
            resolve_every: settings.resolve_every,
            max_concurrent: settings.max_keygen,
            myself: self.addresses.keygen.clone(),
            writes: Arc::clone(&self.keygen_writes),
        }
    }

    fn signing_args(&self) -> SigningArgs {
        let settings = &self.args.settings;
        SigningArgs {
            cluster: settings.cluster.clone(),
            identity: Arc::clone(&self.args.identity),
            peers: Arc::clone(&self.args.peers),
            policy: Arc::clone(&self.args.policy),
            transport: self.addresses.transport.clone(),
            storage: self.storage_handle(),
            pairing: self.addresses.pairing.clone(),
            pool: self.args.pool.clone(),
            clock: self.args.clock,
            deadline: settings.signing_deadline,
            max_concurrent: settings.max_signing,
            on_peer_failure: settings.on_peer_failure,
            myself: self.addresses.signing.clone(),
        }
    }

    fn reshare_args(&self) -> ReshareArgs {
        let settings = &self.args.settings;
        ReshareArgs {
            cluster: settings.cluster.clone(),
            identity: Arc::clone(&self.args.identity),
            peers: Arc::clone(&self.args.peers),
            policy: Arc::clone(&self.args.policy),
            refresh: Arc::new(settings.refresh.clone()),
            transport: self.addresses.transport.clone(),
            storage: self.storage_handle(),
            pairing: self.addresses.pairing.clone(),
            users: vec![Arc::new(self.addresses.signing.clone())],
            pool: self.args.pool.clone(),
            clock: self.args.clock,
            deadline: settings.reshare_deadline,
            resolve_every: settings.resolve_every,
            max_concurrent: settings.max_reshare,
            myself: self.addresses.reshare.clone(),
            writes: Arc::clone(&self.reshare_writes),
        }
    }

    fn checkup_args(&self) -> CheckupArgs {
        let settings = &self.args.settings;
        CheckupArgs {
            cluster: settings.cluster.clone(),
            identity: Arc::clone(&self.args.identity),
            peers: Arc::clone(&self.args.peers),
            transport: self.addresses.transport.clone(),
            storage: self.storage_handle(),
            pairing: self.addresses.pairing.clone(),
            pool: self.args.pool.clone(),
            clock: self.args.clock,
            deadline: settings.signing_deadline,
            max_concurrent: MAX_CHECKUPS,
            every: settings.checkup_every,
            myself: self.addresses.checkup.clone(),
        }
    }

    fn destruction_args(&self) -> DestructionArgs {
        let (settings, to) = (&self.args.settings, &self.addresses);
        DestructionArgs {
            cluster: settings.cluster.clone(),
            identity: Arc::clone(&self.args.identity),
            peers: Arc::clone(&self.args.peers),
            policy: Arc::clone(&self.args.policy),
            transport: to.transport.clone(),
            storage: self.storage_handle(),
            users: vec![Arc::new(to.signing.clone()), Arc::new(to.reshare.clone()), Arc::new(to.checkup.clone())],
            pool: self.args.pool.clone(),
            clock: self.args.clock,
            deadline: settings.reshare_deadline,
            resolve_every: settings.resolve_every,
            max_concurrent: MAX_DESTRUCTIONS,
            myself: to.destruction.clone(),
        }
    }

    fn transport_args(&self) -> TransportArgs {
        let (to, me) = (&self.addresses, self.args.identity.id());
        TransportArgs {
            me,
            cluster: self.args.settings.cluster.clone(),
            secret: Arc::new(self.args.identity.link_secret()),
            peers: self.args.peers.members().iter().filter(|m| m.id != me).map(|m| (m.id, m.key)).collect(),
            broker: Arc::clone(&self.args.broker),
            services: Services {
                keygen: Arc::new(to.keygen.clone()),
                signing: Arc::new(to.signing.clone()),
                pairing: Arc::new(to.pairing.clone()),
                reshare: Arc::new(to.reshare.clone()),
                checkup: Arc::new(to.checkup.clone()),
                destruction: Arc::new(to.destruction.clone()),
            },
            listeners: vec![
                Arc::new(to.registry.clone()),
                Arc::new(to.pairing.clone()),
                Arc::new(to.keygen.clone()),
                Arc::new(to.signing.clone()),
                Arc::new(to.reshare.clone()),
                Arc::new(to.checkup.clone()),
                Arc::new(to.destruction.clone()),
            ],
            config: self.args.settings.link,
            forgery: self.args.forgery.clone(),
        }
    }

    fn gateway_args(&self) -> Option<GatewayArgs> {
        let Gateway { settings, connection } = self.args.gateway.clone()?;
        Some(GatewayArgs { settings, connection, desk: self.desk() })
    }

    fn health_args(&self) -> Option<HealthArgs> {
        Some(HealthArgs {
            endpoint: self.args.health.clone()?,
            desk: self.desk(),
            addresses: self.addresses.clone(),
            clients: self.args.gateway.as_ref().map(|gateway| gateway.connection.status()),
            clock: self.args.clock,
        })
    }

    fn desk(&self) -> Desk {
        let to = &self.addresses;
        Desk {
            cluster: self.args.settings.cluster.clone(),
            me: self.args.identity.id(),
            peers: Arc::clone(&self.args.peers),
            threshold: self.args.settings.threshold,
            keygen: to.keygen.clone(),
            signing: to.signing.clone(),
            reshare: to.reshare.clone(),
            checkup: to.checkup.clone(),
            destruction: to.destruction.clone(),
            views: self.views.0.subscribe(),
            links: self.args.broker.connection(),
            pool: self.args.pool.clone(),
            keygen_deadline: self.args.settings.keygen_deadline,
            reshare_deadline: self.args.settings.reshare_deadline,
            signing_deadline: self.args.settings.signing_deadline,
            started: self.started,
            recorder: self.recorder.clone(),
        }
    }

    /// Ends the children in good order.
    async fn shutdown(&mut self) {
        self.stopping = true;
        let to = &self.addresses;
        let _ = to.health.cast(HealthMsg::Stopping);
        // Peers stop choosing this node; what runs may end.
        let _ = to.pairing.cast(PairingMsg::Serve(false));
        let drain = self.args.settings.drain;
        // What clients were promised comes first; nothing new is taken from them.
        if self.args.gateway.is_some() && to.gateway.call(drain, GatewayMsg::Drain).await.is_err() {
            tracing::warn!("clients' requests were not answered in time; other nodes get them");
        }
        let (signing, keygen, reshare, checkup, destruction) = tokio::join!(
            to.signing.call(drain, SigningMsg::Drain),
            to.keygen.call(drain, KeygenMsg::Drain),
            to.reshare.call(drain, ReshareMsg::Drain),
            to.checkup.call(drain, CheckupMsg::Drain),
            to.destruction.call(drain, DestructionMsg::Drain)
        );
        if signing.is_err() || keygen.is_err() || reshare.is_err() || checkup.is_err() || destruction.is_err() {
            tracing::warn!("running work did not end in time; it is aborted");
        }
        if to.registry.call(ASK, RegistryMsg::Resign).await.is_err() {
            tracing::warn!("failed to give the lease up; it will run out");
        }
        self.gateway.stop(STOP).await;
        self.signing.stop(STOP).await;
        self.keygen.stop(STOP).await;
        self.reshare.stop(STOP).await;
        self.checkup.stop(STOP).await;
        self.destruction.stop(STOP).await;
        self.pairing.stop(STOP).await;
        self.transport.stop(STOP).await;
        self.registry.stop(STOP).await;
        self.health.stop(STOP).await;
        self.storage.stop(STOP).await;
    }
}
