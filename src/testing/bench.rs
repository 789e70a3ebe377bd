//! What one real actor is started with, when the test plays everybody else.
#![expect(clippy::unwrap_used, reason = "the harness of tests panics where a test is wrong")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ractor::Actor;
use tokio::sync::{RwLock, watch};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::clock::Clock;
use crate::identity::{Algorithm, NodeIdentity, PeerBook, RequestKey};
use crate::ids::{ClusterId, NodeId, SheetHash, Threshold};
use crate::keygen::KeygenArgs;
use crate::node::Settings;
use crate::pairing::{PairingArgs, PairingMsg};
use crate::policy::Policy;
use crate::registry::{Discovery, RegistryArgs, RegistryMsg};
use crate::secret::SecretBytes;
use crate::session::{CryptoPool, SHEET_DOMAIN};
use crate::signing::SigningArgs;
use crate::storage::{
    Argon2Params, Faults, KeySource, Owner, StorageActor, StorageArguments, StorageHandle, StorageMsg, StorageTimeouts,
    StoreOptions,
};
use crate::supervision::Address;
use crate::transport::broker::Connection;
use crate::transport::{Credit, Inbound, TransportMsg};
use crate::wire::message::{PeerMessage, Service, SessionBody};
use crate::wire::sheet::Sheet;

/// A cluster of which no node exists: identities, peer book, policy, and what actors' arguments are made of.
///
/// Members are numbered from 0 and have ascending ids, so member k sits at index k + 1 of every committee. The one under
/// test is given by its number; its neighbours are [`Probe`](super::Probe)s, or real.
pub struct Bench {
    /// The settings that arguments are taken from.
    pub settings: Settings,
    /// Everybody's identity.
    pub identities: Vec<Arc<NodeIdentity>>,
    /// Everybody's keys.
    pub peers: Arc<PeerBook>,
    /// Who signs requests.
    pub initiator: RequestKey,
    /// Takes what the initiator signed.
    pub policy: Arc<Policy>,
    /// Where engines compute.
    pub pool: CryptoPool,
    /// The clock of deadlines.
    pub clock: Clock,
    /// The faults of the stores that are started.
    pub faults: Faults,
}

impl Bench {
    /// A cluster with this threshold.
    ///
    /// # Panics
    /// Outside a runtime.
    #[must_use]
    pub fn new(threshold: Threshold) -> Self {
        let cluster: ClusterId = "bench".parse().unwrap();
        let identities: Vec<_> = (0..threshold.parties())
            .map(|number| {
                let id = NodeId(Uuid::from_u128(u128::from(number) + 1));
                Arc::new(NodeIdentity::generate(format!("member{number}").parse().unwrap(), id).unwrap())
            })
            .collect();
        let peers = PeerBook::new(identities.iter().map(|identity| identity.member()).collect()).unwrap();
        let initiator = RequestKey::generate(Algorithm::Ed25519).unwrap();
        Self {
            settings: Settings::new(cluster, threshold),
            policy: Arc::new(Policy::new(initiator.public())),
            identities,
            peers: Arc::new(peers),
            initiator,
            pool: CryptoPool::for_this_machine(),
            clock: Clock::start(),
            faults: Faults::none(),
        }
    }

    /// The identity of a member.
    ///
    /// # Panics
    /// When there is no such member.
    #[must_use]
    pub fn identity(&self, number: usize) -> &Arc<NodeIdentity> {
        self.identities.get(number).unwrap()
    }

    /// The id of a member.
    #[must_use]
    pub fn id(&self, number: usize) -> NodeId {
        self.identity(number).id()
    }

    /// Names and signs a sheet as a member, whatever is in it: the proposal of it.
    ///
    /// # Panics
    /// When it is too long, or there is no such member.
    #[must_use]
    pub fn proposal(&self, number: usize, sheet: &Sheet) -> (SheetHash, SessionBody) {
        let (sheet, session) = sheet.seal().unwrap();
        let signature = self.identity(number).sign(SHEET_DOMAIN, &[&session.0]);
        (session, SessionBody::Propose { sheet, signature })
    }

    /// Something that a member says within a session, as it comes out of its link.
    ///
    /// # Panics
    /// When there is no such member.
    #[must_use]
    pub fn said_by(&self, number: usize, service: Service, session: SheetHash, body: SessionBody) -> Inbound {
        let message = PeerMessage::Session { service, session, body };
        Inbound { from: self.id(number), message, credit: Credit::none() }
    }

    /// Starts a real store for a member, in a folder of its own below `folder`.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn storage(&self, number: usize, folder: &Path) -> Address<StorageMsg> {
        let options = StoreOptions {
            folder: folder.join(self.identity(number).name().as_str()),
            owner: Owner { cluster: self.settings.cluster.clone(), node: self.id(number) },
            argon2: Argon2Params::insecure_for_tests(),
        };
        let key = KeySource::key(SecretBytes::random(32).unwrap()).unwrap();
        let arguments = StorageArguments { faults: self.faults.clone(), ..StorageArguments::new(options, key) };
        let (store, _) = Actor::spawn(None, StorageActor, arguments).await.unwrap();
        Address::of(store)
    }

    /// How actors reach the store at an address.
    #[must_use]
    pub fn handle(&self, storage: &Address<StorageMsg>) -> StorageHandle {
        StorageHandle::new(storage.clone(), StorageTimeouts::default())
    }

    /// Starts an actor and lets it answer at `myself`.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start<A: Actor>(actor: A, args: A::Arguments, myself: &Address<A::Msg>) -> JoinHandle<()> {
        let (actor, joined) = Actor::spawn(None, actor, args).await.unwrap();
        myself.bind(actor);
        joined
    }

    /// What signing is started with.
    #[must_use]
    pub fn signing(
        &self,
        number: usize,
        storage: &Address<StorageMsg>,
        transport: &Address<TransportMsg>,
        pairing: &Address<PairingMsg>,
    ) -> SigningArgs {
        SigningArgs {
            cluster: self.settings.cluster.clone(),
            identity: Arc::clone(self.identity(number)),
            peers: Arc::clone(&self.peers),
            policy: Arc::clone(&self.policy),
            transport: transport.clone(),
            storage: self.handle(storage),
            pairing: pairing.clone(),
            pool: self.pool.clone(),
            clock: self.clock,
            deadline: self.settings.signing_deadline,
            max_concurrent: self.settings.max_signing,
            on_peer_failure: self.settings.on_peer_failure,
            myself: Address::unbound(),
        }
    }

    /// What key generation is started with.
    #[must_use]
    pub fn keygen(
        &self,
        number: usize,
        storage: &Address<StorageMsg>,
        transport: &Address<TransportMsg>,
        pairing: &Address<PairingMsg>,
    ) -> KeygenArgs {
        KeygenArgs {
            cluster: self.settings.cluster.clone(),
            identity: Arc::clone(self.identity(number)),
            peers: Arc::clone(&self.peers),
            policy: Arc::clone(&self.policy),
            threshold: self.settings.threshold,
            chain_code: self.settings.chain_code,
            transport: transport.clone(),
            storage: self.handle(storage),
            bans: Arc::new(pairing.clone()),
            pool: self.pool.clone(),
            clock: self.clock,
            deadline: self.settings.keygen_deadline,
            resolve_every: self.settings.resolve_every,
            max_concurrent: self.settings.max_keygen,
            myself: Address::unbound(),
            writes: Arc::new(RwLock::new(())),
        }
    }

    /// What pairing is started with.
    #[must_use]
    pub fn pairing(
        &self,
        number: usize,
        storage: &Address<StorageMsg>,
        transport: &Address<TransportMsg>,
        registry: &Address<RegistryMsg>,
    ) -> PairingArgs {
        PairingArgs {
            cluster: self.settings.cluster.clone(),
            identity: Arc::clone(self.identity(number)),
            peers: Arc::clone(&self.peers),
            transport: transport.clone(),
            storage: self.handle(storage),
            pool: self.pool.clone(),
            clock: self.clock,
            deadline: self.settings.pair_setup_deadline,
            refresh_every: self.settings.pair_refresh_every,
            registry: Arc::new(registry.clone()),
            users: Vec::new(),
            myself: Address::unbound(),
        }
    }

    /// What the registry is started with; it has no listeners yet, and a broker that never fails.
    #[must_use]
    pub fn registry(&self, number: usize, discovery: Arc<dyn Discovery>, lease_ttl: Duration) -> RegistryArgs {
        let me = self.id(number);
        RegistryArgs {
            me,
            peers: self.peers.ids().filter(|&peer| peer != me).collect(),
            discovery,
            lease_ttl,
            broker: watch::Sender::new(Connection::UP).subscribe(),
            listeners: Vec::new(),
        }
    }
}
