//! A whole cluster that a test can break, and watch recover.
//!
//! Everything in it is real but the broker and the discovery backend: the actors, the links, the stores on disk, the
//! engines. Its times are short, and its faults are the test's to call:
//!
//! ```text
//!   network()        loss, delay, reordering, partitions, raw messages: decided by the builder's seed
//!   hold_write(n)    stops a node's store right before or after a write; dropped, it lets go; crashed, it stays undone
//!   silence(n)       a node whose links beat and whose engines compute nothing
//!   crash(n, actor)  a panic in one actor; crash_session(n, ..) in one running session
//!   lose(n)          the end of a node as by `kill -9`; restart(n) starts it on its folder again
//! ```
//!
//! Nothing here sleeps for a fixed time: it waits for views, or asks for snapshots until they show what is awaited, and
//! gives up with [`HarnessError::Timeout`] after half a minute.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorRef, ActorStatus, Message, RpcReplyPort};
use tempfile::TempDir;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::error::{Code, Failure};
use crate::ids::{ClusterId, NodeId, RequestId, Scheme, SheetHash, Threshold, WalletId};
use crate::keygen::{Generated, KeygenMsg, KeygenSnapshot};
use crate::keys::{DerivationPath, Signature};
use crate::local_cluster::{LocalCluster, PrepareError};
use crate::node::{Addresses, NodeArgs, NodeHandle, Settings, StartError, ask};
use crate::pairing::{PairingMsg, PairingSnapshot};
use crate::policy::Policy;
use crate::protocol::verify::verify;
use crate::registry::{RegistryMsg, View};
use crate::secret::SecretBytes;
use crate::session::{CryptoPool, SessionMsg, SessionSnapshot};
use crate::signing::{Signed, SigningMsg, SigningSnapshot};
use crate::storage::{
    Batch, Durability, Family, Hold, Listing, MAX_PAGE_RECORDS, Point, StorageActor, StorageError, StorageHandle,
    StorageSnapshot, StorageTimeouts,
};
use crate::supervision::{Address, CallError, RestartLimit};
use crate::transport::memory::Faults;
use crate::transport::{LinkConfig, TransportMsg, TransportSnapshot};
use crate::wallet::{PENDING_PREFIX, WalletCertificate};
use crate::wire::request::{KeygenRequest, RequestError, SignRequest};

/// How long the harness waits for anything before it gives up.
const PATIENCE: Duration = Duration::from_secs(30);
/// The pause between two looks at a snapshot.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// How many computations each node of a harness runs at a time.
const POOL_WIDTH: usize = 2;

/// The harness could not do what the test asked.
#[derive(Debug, thiserror::Error)]
pub enum HarnessError {
    /// There is no such node, or it does not run.
    #[error("node {0} does not run")]
    NotRunning(usize),
    /// What was awaited did not come.
    #[error("waited in vain: {0}")]
    Timeout(String),
    /// The folders of the nodes could not be made.
    #[error("failed to make a folder: {0}")]
    Folder(#[from] std::io::Error),
    /// The cluster could not be prepared.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// A node did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A request did not get its result.
    #[error(transparent)]
    Failure(#[from] Failure),
    /// A request could not be written.
    #[error("failed to write a request: {0}")]
    Request(String),
    /// An actor did not answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A store failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<RequestError> for HarnessError {
    fn from(error: RequestError) -> Self {
        Self::Request(error.to_string())
    }
}

/// An actor of a node, for faults to strike. The store's faults strike at its writes: see [`Cluster::hold_write`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActorName {
    /// The membership.
    Registry,
    /// Pair setups and bans.
    Pairing,
    /// Key generation.
    Keygen,
    /// Signing.
    Signing,
    /// The broker connection.
    Transport,
}

impl ActorName {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Registry, Self::Pairing, Self::Keygen, Self::Signing, Self::Transport];
}

/// Changes to one node's arguments, by its number.
type Change = Box<dyn Fn(usize, &mut NodeArgs)>;
/// A change to the policy.
type PolicyChange = Box<dyn FnOnce(Policy) -> Policy>;

/// What a cluster is to be, before its nodes start.
pub struct ClusterBuilder {
    settings: Settings,
    seed: u64,
    pairs: bool,
    policy: PolicyChange,
    changes: Vec<Change>,
}

impl ClusterBuilder {
    /// Decides the network's faults by `seed`; 1 otherwise.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Changes the settings of all nodes.
    #[must_use]
    pub fn settings(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// Changes the policy of all nodes, which takes the requests of the cluster's own initiator and no others.
    #[must_use]
    pub fn policy(mut self, change: impl FnOnce(Policy) -> Policy + 'static) -> Self {
        self.policy = Box::new(change);
        self
    }

    /// Changes what single nodes are made of, by their number from 0.
    #[must_use]
    pub fn args(mut self, change: impl Fn(usize, &mut NodeArgs) + 'static) -> Self {
        self.changes.push(Box::new(change));
        self
    }

    /// Bans ECDSA between all nodes from the outset, which spares the time of their pair setups.
    #[must_use]
    pub fn without_pairs(mut self) -> Self {
        self.pairs = false;
        self
    }

    /// Starts all nodes, and returns when all see each other ready, pairs included unless there are none.
    ///
    /// # Errors
    /// When a node does not start, or they do not find each other in time.
    pub async fn start(self) -> Result<Cluster, HarnessError> {
        let folder = TempDir::new()?;
        let mut local = LocalCluster::prepare(folder.path(), &self.settings, self.policy)?;
        let mut pools = Vec::new();
        for number in 0..local.len() {
            let Some(args) = local.args_mut(number) else { continue };
            args.pool = CryptoPool::new(POOL_WIDTH);
            self.changes.iter().for_each(|change| change(number, args));
            pools.push(args.pool.clone());
        }
        let network = local.broker().faults(self.seed);
        let mut cluster = Cluster { local, network, pools, requests: AtomicU64::new(0), _folder: folder };
        if !self.pairs {
            cluster.ban_all().await?;
        }
        cluster.local.start_all().await?;
        if self.pairs {
            cluster.until_all("all pairs are set up", |view| view.is_complete(Scheme::Ecdsa)).await?;
        } else {
            cluster.until_ready().await?;
        }
        Ok(cluster)
    }
}

/// A cluster of real nodes in this process, with its faults at hand. Nodes are numbered from 0.
pub struct Cluster {
    local: LocalCluster,
    network: Faults,
    pools: Vec<CryptoPool>,
    requests: AtomicU64,
    _folder: TempDir,
}

/// A node's engines compute nothing as long as this is there.
#[derive(Debug)]
pub struct Silence {
    _release: Vec<std::sync::mpsc::Sender<()>>,
}

impl Cluster {
    /// A cluster with this threshold, short times, and no faults.
    #[must_use]
    pub fn builder(cluster: ClusterId, threshold: Threshold) -> ClusterBuilder {
        ClusterBuilder {
            settings: quick(cluster, threshold),
            seed: 1,
            pairs: true,
            policy: Box::new(|policy| policy),
            changes: Vec::new(),
        }
    }

    /// The cluster without its faults.
    #[must_use]
    pub fn local(&self) -> &LocalCluster {
        &self.local
    }

    /// The network's faults. Its connections have the nodes' names.
    #[must_use]
    pub fn network(&self) -> &Faults {
        &self.network
    }

    /// A running node.
    ///
    /// # Errors
    /// When it does not run.
    pub fn node(&self, number: usize) -> Result<&NodeHandle, HarnessError> {
        self.local.node(number).ok_or(HarnessError::NotRunning(number))
    }

    /// A node's id, running or not.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn id(&self, number: usize) -> Result<NodeId, HarnessError> {
        Ok(self.args(number)?.identity.id())
    }

    /// Where a node's actors answer.
    ///
    /// # Errors
    /// When it does not run.
    pub fn addresses(&self, number: usize) -> Result<&Addresses, HarnessError> {
        self.node(number).map(NodeHandle::addresses)
    }

    fn args(&self, number: usize) -> Result<&NodeArgs, HarnessError> {
        self.local.args(number).ok_or(HarnessError::NotRunning(number))
    }

    fn name(&self, number: usize) -> Result<&str, HarnessError> {
        self.local.name(number).map(|name| name.as_str()).ok_or(HarnessError::NotRunning(number))
    }
}

/// Lives and deaths.
impl Cluster {
    /// Ends a node as `kill -9` would, and returns when all of its actors are gone. Its folder stays.
    ///
    /// # Errors
    /// When it does not run, or its actors do not end.
    pub async fn lose(&mut self, number: usize) -> Result<(), HarnessError> {
        let actors = self.actors(number)?;
        self.local.kill(number).await;
        all_gone(actors).await
    }

    /// Ends a node at a held write: nothing that comes after the point happens.
    ///
    /// # Errors
    /// When it does not run, or its actors do not end.
    pub async fn lose_at(&mut self, number: usize, hold: Hold) -> Result<(), HarnessError> {
        let actors = self.actors(number)?;
        self.local.kill(number).await;
        hold.crash();
        all_gone(actors).await
    }

    /// Waits until a node has failed by itself and all of its actors are gone.
    ///
    /// # Errors
    /// When it does not run, or goes on running.
    pub async fn until_failed(&mut self, number: usize, actors: Vec<ActorCell>) -> Result<(), HarnessError> {
        let node = self.node(number)?;
        eventually("the node fails", async || node.is_ended()).await?;
        all_gone(actors).await?;
        self.local.kill(number).await;
        Ok(())
    }

    /// Starts a node on what its folder holds. One that runs stays as it is.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn restart(&mut self, number: usize) -> Result<(), HarnessError> {
        Ok(self.local.start(number).await?)
    }

    /// Ends a node in good order.
    pub async fn shutdown(&mut self, number: usize) {
        self.local.shutdown(number).await;
    }

    /// Cuts a node off: from now on it hears nobody and nobody hears it, and no broker tells anyone.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn isolate(&self, number: usize) -> Result<(), HarnessError> {
        let name = self.name(number)?;
        for other in (0..self.local.len()).filter(|&other| other != number) {
            self.network.partition(name, self.name(other)?);
        }
        Ok(())
    }

    /// From now on, `to` hears nothing of `from`; the other direction works.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn deafen(&self, to: usize, from: usize) -> Result<(), HarnessError> {
        self.network.cut(self.name(from)?, self.name(to)?);
        Ok(())
    }

    /// Ends all cuts, and returns when all running nodes see each other ready.
    ///
    /// # Errors
    /// When they do not in time.
    pub async fn heal(&self) -> Result<(), HarnessError> {
        self.network.heal();
        self.until_ready().await
    }

    /// Makes an actor panic, and returns when its next life answers.
    ///
    /// # Errors
    /// When it does not run, or no other life follows.
    pub async fn crash(&self, number: usize, actor: ActorName) -> Result<(), HarnessError> {
        let former = self.life(number, actor)?.ok_or(CallError::Unavailable)?.get_id();
        self.inject_panic(number, actor)?;
        let what = format!("{actor:?} of node {number} lives again");
        eventually(&what, async || self.life(number, actor).ok().flatten().is_some_and(|cell| cell.get_id() != former))
            .await
    }

    /// Makes an actor panic, and does not wait.
    ///
    /// # Errors
    /// When the actor does not run.
    pub fn inject_panic(&self, number: usize, actor: ActorName) -> Result<(), HarnessError> {
        let to = self.addresses(number)?;
        let sent = match actor {
            ActorName::Registry => to.registry.cast(RegistryMsg::InjectPanic),
            ActorName::Pairing => to.pairing.cast(PairingMsg::InjectPanic),
            ActorName::Keygen => to.keygen.cast(KeygenMsg::InjectPanic),
            ActorName::Signing => to.signing.cast(SigningMsg::InjectPanic),
            ActorName::Transport => to.transport.cast(TransportMsg::InjectPanic),
        };
        sent.map_err(|_| CallError::Unavailable.into())
    }

    /// Makes the link of a node to another panic.
    ///
    /// # Errors
    /// When the node does not run.
    pub fn crash_link(&self, number: usize, peer: usize) -> Result<(), HarnessError> {
        let message = TransportMsg::InjectLinkPanic(self.id(peer)?);
        self.addresses(number)?.transport.cast(message).map_err(|_| CallError::Unavailable.into())
    }

    /// Makes a running signing session panic, and returns when it is gone.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn crash_session(&self, number: usize, session: SheetHash) -> Result<(), HarnessError> {
        let actor = self.session_actor(number, session).await?.ok_or(CallError::Unavailable)?;
        actor.cast(SessionMsg::InjectPanic).map_err(|_| CallError::Unavailable)?;
        all_gone(vec![actor.get_cell()]).await
    }

    /// The actor of a running signing session, if it runs on this node.
    ///
    /// # Errors
    /// When signing does not answer.
    pub async fn session_actor(
        &self,
        number: usize,
        session: SheetHash,
    ) -> Result<Option<ActorRef<SessionMsg<Signature>>>, HarnessError> {
        call(&self.addresses(number)?.signing, |reply| SigningMsg::Session(session, reply)).await
    }

    /// The current life of an actor, if it has one.
    ///
    /// # Errors
    /// When the node does not run.
    pub fn life(&self, number: usize, actor: ActorName) -> Result<Option<ActorCell>, HarnessError> {
        let to = self.addresses(number)?;
        Ok(match actor {
            ActorName::Registry => cell(&to.registry),
            ActorName::Pairing => cell(&to.pairing),
            ActorName::Keygen => cell(&to.keygen),
            ActorName::Signing => cell(&to.signing),
            ActorName::Transport => cell(&to.transport),
        })
    }

    /// The current lives of all actors of a node, the store's included.
    ///
    /// # Errors
    /// When it does not run.
    pub fn actors(&self, number: usize) -> Result<Vec<ActorCell>, HarnessError> {
        let storage = cell(&self.addresses(number)?.storage);
        let others: Result<Vec<_>, _> = ActorName::ALL.into_iter().map(|actor| self.life(number, actor)).collect();
        Ok(others?.into_iter().chain([storage]).flatten().collect())
    }
}

/// Stores and engines.
impl Cluster {
    /// Stops a node's store at its next write that touches a record of `family`.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn hold_write(&self, number: usize, point: Point, family: Family) -> Result<Hold, HarnessError> {
        Ok(self.storage_faults(number)?.hold_of(point, family))
    }

    /// The faults of a node's store, through all its lives.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn storage_faults(&self, number: usize) -> Result<&crate::storage::Faults, HarnessError> {
        Ok(&self.args(number)?.storage.faults)
    }

    /// The store of a running node.
    ///
    /// # Errors
    /// When it does not run.
    pub fn store(&self, number: usize) -> Result<StorageHandle, HarnessError> {
        Ok(StorageHandle::new(self.addresses(number)?.storage.clone(), StorageTimeouts::default()))
    }

    /// Opens the store of a node that does not run, lets `act` read and change it, and closes it again.
    ///
    /// # Errors
    /// When it cannot be opened or closed, or what `act` returns.
    pub async fn with_store<T>(
        &self,
        number: usize,
        act: impl AsyncFnOnce(&StorageHandle) -> Result<T, StorageError>,
    ) -> Result<T, HarnessError> {
        let args = self.args(number)?.storage.clone();
        let started = Actor::spawn(None, StorageActor, args).await;
        let (actor, joined) = started.map_err(|error| HarnessError::Timeout(format!("a store opens: {error}")))?;
        let store = StorageHandle::new(Address::of(actor), StorageTimeouts::default());
        let done = act(&store).await;
        store.close().await?;
        // How the actor ended is what `close` said.
        let _ = joined.await;
        Ok(done?)
    }

    /// The wallets with pending shares in a running node's store.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn pending_wallets(&self, number: usize) -> Result<BTreeSet<String>, HarnessError> {
        let prefix = PENDING_PREFIX.to_vec();
        let listing = Listing { family: Family::Shares, prefix, after: None, limit: MAX_PAGE_RECORDS };
        let records = self.store(number)?.list(listing).await?.records;
        let name = |key: &[u8]| String::from_utf8_lossy(key.strip_prefix(PENDING_PREFIX).unwrap_or(key)).into_owned();
        Ok(records.iter().map(|record| name(&record.key)).collect())
    }

    /// Takes all places of a node's computing pool: from now on it takes part in nothing, while its links beat on.
    ///
    /// # Errors
    /// When there is no such node.
    pub async fn silence(&self, number: usize) -> Result<Silence, HarnessError> {
        let pool = self.pools.get(number).ok_or(HarnessError::NotRunning(number))?;
        let mut release = Vec::new();
        for _ in 0..POOL_WIDTH {
            let (sender, released) = std::sync::mpsc::channel::<()>();
            let (taken, is_taken) = oneshot::channel();
            let pool = pool.clone();
            tokio::spawn(async move {
                let occupy = move || {
                    let _ = taken.send(());
                    // Ends with an error when the silence is dropped.
                    let _ = released.recv();
                };
                // The place is given back however the computation ends.
                let _ = pool.run(occupy).await;
            });
            // The task that would not answer is gone with the runtime.
            let _ = is_taken.await;
            release.push(sender);
        }
        Ok(Silence { _release: release })
    }

    async fn ban_all(&mut self) -> Result<(), HarnessError> {
        for number in 0..self.local.len() {
            let me = self.id(number)?;
            let others = self.args(number)?.peers.ids().filter(|&peer| peer != me);
            let ban = |batch: Batch, peer: NodeId| {
                batch.put(Family::Bans, peer.0.as_bytes().to_vec(), SecretBytes::copy_from(b"harness"))
            };
            let bans = others.fold(Batch::new(), ban);
            self.with_store(number, async |store| store.write(bans, Durability::Synced).await).await?;
        }
        Ok(())
    }
}

/// Clients.
impl Cluster {
    /// Has a node make a wallet, and returns when it is active on all running nodes: success tells that it is certified,
    /// which the other members may learn a moment later.
    ///
    /// # Errors
    /// The failure that the client is told.
    pub async fn make_wallet(
        &self,
        number: usize,
        wallet: &str,
        schemes: &[Scheme],
    ) -> Result<Arc<WalletCertificate>, HarnessError> {
        let request = self.keygen_request(wallet, schemes)?;
        let certificate = self.node(number)?.keygen(request).await?.certificate;
        let id = wallet_id(wallet)?;
        eventually("the wallet is active everywhere", async || {
            for node in self.local.running() {
                if !matches!(node.wallet(id.clone()).await, Ok(Some(_))) {
                    return false;
                }
            }
            true
        })
        .await?;
        Ok(certificate)
    }

    /// A signed request for a wallet.
    ///
    /// # Errors
    /// When a field breaks its rules.
    pub fn keygen_request(&self, wallet: &str, schemes: &[Scheme]) -> Result<KeygenRequest, HarnessError> {
        Ok(self.local.keygen_request(&wallet_id(wallet)?, schemes)?)
    }

    /// A signed request for a signature of 32 fixed bytes, under a request id that was not used before.
    ///
    /// # Errors
    /// When a field breaks its rules.
    pub fn sign_request(&self, scheme: Scheme, wallet: &str) -> Result<SignRequest, HarnessError> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let request: RequestId = format!("request-{number}").parse().map_err(invalid)?;
        Ok(self.local.sign_request(scheme, &wallet_id(wallet)?, &request, DerivationPath::default(), &[7; 32])?)
    }

    /// Has a node sign, and checks the signature with independent code.
    ///
    /// # Errors
    /// The failure that the client is told.
    pub async fn sign(&self, number: usize, scheme: Scheme, wallet: &str) -> Result<Signed, HarnessError> {
        let request = self.sign_request(scheme, wallet)?;
        Ok(self.client(number)?.sign(request).await?)
    }

    /// A client of a node, which outlives the node.
    ///
    /// # Errors
    /// When the node does not run.
    pub fn client(&self, number: usize) -> Result<Client, HarnessError> {
        Ok(Client(self.addresses(number)?.clone()))
    }
}

/// A client of one node: its requests can wait beside the test.
#[derive(Clone)]
pub struct Client(Addresses);

impl Client {
    /// Asks for a signature, and checks it with independent code.
    ///
    /// # Errors
    /// The failure that the client is told.
    pub async fn sign(&self, request: SignRequest) -> Result<Signed, Failure> {
        let asked = request.clone();
        let signed = ask(&self.0.signing, PATIENCE, |reply| SigningMsg::Sign { request: asked, reply }).await?;
        match verify(&signed.public_key, request.message(), request.tweak(), &signed.signature) {
            Ok(()) => Ok(signed),
            Err(error) => Err(Failure::new(Code::SignatureVerification, error.to_string())),
        }
    }

    /// As [`Client::sign`], beside the test.
    #[must_use]
    pub fn start_signing(&self, request: SignRequest) -> JoinHandle<Result<Signed, Failure>> {
        let client = self.clone();
        tokio::spawn(async move { client.sign(request).await })
    }

    /// Asks for a wallet, beside the test.
    #[must_use]
    pub fn start_keygen(&self, request: KeygenRequest) -> JoinHandle<Result<Generated, Failure>> {
        let address = self.0.keygen.clone();
        tokio::spawn(async move { ask(&address, PATIENCE, |reply| KeygenMsg::Generate { request, reply }).await })
    }
}

/// What can be observed.
impl Cluster {
    /// What signing shows of itself.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn signing(&self, number: usize) -> Result<SigningSnapshot, HarnessError> {
        call(&self.addresses(number)?.signing, SigningMsg::Snapshot).await
    }

    /// What a running signing session shows of itself, if it runs on this node.
    ///
    /// # Errors
    /// When signing does not answer.
    pub async fn session(&self, number: usize, session: SheetHash) -> Result<Option<SessionSnapshot>, HarnessError> {
        let Some(actor) = self.session_actor(number, session).await? else { return Ok(None) };
        // A session that has ended meanwhile does not run.
        Ok(call(&Address::of(actor), SessionMsg::Snapshot).await.ok())
    }

    /// What key generation shows of itself.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn keygen(&self, number: usize) -> Result<KeygenSnapshot, HarnessError> {
        call(&self.addresses(number)?.keygen, KeygenMsg::Snapshot).await
    }

    /// What pairing shows of itself.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn pairing(&self, number: usize) -> Result<PairingSnapshot, HarnessError> {
        call(&self.addresses(number)?.pairing, PairingMsg::Snapshot).await
    }

    /// The registry's view.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn registry(&self, number: usize) -> Result<Arc<View>, HarnessError> {
        call(&self.addresses(number)?.registry, RegistryMsg::View).await
    }

    /// What the transport shows of itself.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn transport(&self, number: usize) -> Result<TransportSnapshot, HarnessError> {
        call(&self.addresses(number)?.transport, TransportMsg::Snapshot).await
    }

    /// What the store shows of itself.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn storage(&self, number: usize) -> Result<StorageSnapshot, HarnessError> {
        Ok(self.store(number)?.snapshot().await?)
    }

    /// Waits until every running node sees every other running node ready.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn until_ready(&self) -> Result<(), HarnessError> {
        let running: BTreeSet<NodeId> = self.local.running().map(NodeHandle::id).collect();
        self.until_all("all running nodes are ready", |view| running.is_subset(&view.ready())).await
    }

    /// Waits until no running node sees this one ready.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn until_unready(&self, number: usize) -> Result<(), HarnessError> {
        let gone = self.id(number)?;
        let what = format!("node {number} is not ready");
        self.until_all(&what, |view| view.me == gone || !view.ready().contains(&gone)).await
    }

    /// Waits until the view of every running node satisfies `condition`.
    ///
    /// # Errors
    /// When that takes too long, or a node ends first.
    pub async fn until_all(&self, what: &str, condition: impl Fn(&View) -> bool) -> Result<(), HarnessError> {
        let waited = tokio::time::timeout(PATIENCE, self.local.until(condition)).await;
        Ok(waited.map_err(|_| HarnessError::Timeout(what.to_owned()))??)
    }

    /// The views of a node, as they come.
    ///
    /// # Errors
    /// When it does not run.
    pub fn views(&self, number: usize) -> Result<watch::Receiver<Arc<View>>, HarnessError> {
        self.node(number).map(NodeHandle::views)
    }
}

/// Looks again and again until `condition` holds.
///
/// # Errors
/// When it does not within half a minute.
pub async fn eventually(what: &str, condition: impl AsyncFn() -> bool) -> Result<(), HarnessError> {
    let look = async {
        while !condition().await {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.map_err(|_| HarnessError::Timeout(what.to_owned()))
}

/// Waits until actors are gone.
async fn all_gone(actors: Vec<ActorCell>) -> Result<(), HarnessError> {
    eventually("actors end", async || actors.iter().all(|actor| actor.get_status() == ActorStatus::Stopped)).await
}

fn cell<M: Message>(address: &Address<M>) -> Option<ActorCell> {
    address.current().map(|actor| actor.get_cell())
}

async fn call<M: Message, T: Send + 'static>(
    address: &Address<M>,
    question: impl FnOnce(RpcReplyPort<T>) -> M,
) -> Result<T, HarnessError> {
    Ok(address.call(PATIENCE, question).await?)
}

fn wallet_id(name: &str) -> Result<WalletId, HarnessError> {
    name.parse().map_err(invalid)
}

fn invalid(error: impl std::fmt::Display) -> HarnessError {
    HarnessError::Request(error.to_string())
}

/// Settings under which a lost peer is noticed within about half a second.
fn quick(cluster: ClusterId, threshold: Threshold) -> Settings {
    let link = LinkConfig {
        heartbeat: Duration::from_millis(100),
        missed_heartbeats: 5,
        handshake_retry: Duration::from_millis(50),
        handshake_retry_max: Duration::from_millis(400),
        handshake_timeout: Duration::from_secs(2),
        restart_backoff: Duration::from_millis(10),
        ..LinkConfig::default()
    };
    let restarts = RestartLimit { restarts: 5, within: Duration::from_secs(60), backoff: Duration::from_millis(20) };
    Settings {
        link,
        restarts,
        signing_deadline: Duration::from_secs(10),
        keygen_deadline: Duration::from_secs(15),
        resolve_every: Duration::from_millis(200),
        lease_ttl: Duration::from_secs(2),
        drain: Duration::from_secs(5),
        ..Settings::new(cluster, threshold)
    }
}
