//! A whole cluster in one process: real nodes, real links, real stores, a broker in memory.
//!
//! The demonstration runs on it, and the test harness adds faults to it. Every node has an identity, a folder and a
//! storage key of its own; they share the process, the broker, the discovery backend and the computing pool.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::clock::Clock;
use crate::error::Failure;
use crate::identity::{Algorithm, NodeIdentity, PeerBook, RequestKey};
use crate::ids::{NodeId, NodeName, RequestId, Scheme, WalletId};
use crate::keys::DerivationPath;
use crate::node::{NodeArgs, NodeHandle, Settings, StartError};
use crate::policy::Policy;
use crate::registry::{MemoryDiscovery, View};
use crate::secret::SecretBytes;
use crate::session::CryptoPool;
use crate::storage::{Argon2Params, KeySource, Owner, StorageArguments, StoreOptions};
use crate::transport::Forgery;
use crate::transport::memory::MemoryBroker;
use crate::wire::request::{KeygenRequest, RequestError, ReshareRequest, SignRequest};

/// A cluster could not be prepared.
#[derive(Debug, thiserror::Error)]
#[error("failed to prepare the cluster: {0}")]
pub struct PrepareError(String);

/// One member: what it is made of, and the node while it runs.
struct Member {
    args: NodeArgs,
    name: NodeName,
    node: Option<NodeHandle>,
    /// It was killed, and has no broker until it is started again.
    killed: bool,
}

/// A cluster of nodes in this process.
pub struct LocalCluster {
    broker: MemoryBroker,
    discovery: MemoryDiscovery,
    initiator: RequestKey,
    members: Vec<Member>,
}

impl LocalCluster {
    /// Prepares `settings.threshold.parties()` nodes with fresh identities and folders below `folder`; none runs yet.
    /// `policy` is made for the key of the cluster's own initiator, which signs all requests built here.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn prepare(
        folder: &Path,
        settings: &Settings,
        policy: impl FnOnce(Policy) -> Policy,
    ) -> Result<Self, PrepareError> {
        let broken = |error: &dyn std::fmt::Display| PrepareError(error.to_string());
        let initiator = RequestKey::generate(Algorithm::Ed25519).map_err(|e| broken(&e))?;
        let policy = Arc::new(policy(Policy::new(initiator.public())));
        let (broker, discovery) = (MemoryBroker::new(), MemoryDiscovery::new());
        let pool = CryptoPool::for_this_machine();
        let clock = Clock::start();
        let identities: Result<Vec<_>, PrepareError> = (0..settings.threshold.parties())
            .map(|number| {
                let name: NodeName = format!("node{number}").parse().map_err(|e| broken(&e))?;
                NodeIdentity::generate(name, NodeId(Uuid::new_v4())).map(Arc::new).map_err(|e| broken(&e))
            })
            .collect();
        let identities = identities?;
        let book = PeerBook::new(identities.iter().map(|identity| identity.member()).collect());
        let peers = Arc::new(book.map_err(|e| broken(&e))?);
        let mut members = Vec::new();
        for identity in identities {
            let name = identity.member().name;
            let options = StoreOptions {
                folder: folder.join(name.as_str()),
                owner: Owner { cluster: settings.cluster.clone(), node: identity.id() },
                argon2: Argon2Params::default(),
            };
            let key = SecretBytes::random(32).map_err(|e| broken(&e))?;
            let key = KeySource::key(key).map_err(|e| broken(&e))?;
            let args = NodeArgs {
                settings: settings.clone(),
                identity,
                peers: Arc::clone(&peers),
                policy: Arc::clone(&policy),
                storage: StorageArguments::new(options, key),
                broker: Arc::new(broker.connect(name.as_str())),
                discovery: Arc::new(discovery.clone()),
                pool: pool.clone(),
                forgery: Forgery::default(),
                clock,
                gateway: None,
                health: None,
                backup: None,
                admin: None,
            };
            members.push(Member { args, name, node: None, killed: false });
        }
        Ok(Self { broker, discovery, initiator, members })
    }

    /// How many members there are, running or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The broker that carries everything.
    #[must_use]
    pub fn broker(&self) -> &MemoryBroker {
        &self.broker
    }

    /// The discovery backend of all nodes.
    #[must_use]
    pub fn discovery(&self) -> &MemoryDiscovery {
        &self.discovery
    }

    /// The key that requests are signed with.
    #[must_use]
    pub fn initiator(&self) -> &RequestKey {
        &self.initiator
    }

    /// What member `number` is made of, to be changed before it is started.
    pub fn args_mut(&mut self, number: usize) -> Option<&mut NodeArgs> {
        self.members.get_mut(number).map(|member| &mut member.args)
    }

    /// What member `number` is made of.
    #[must_use]
    pub fn args(&self, number: usize) -> Option<&NodeArgs> {
        self.members.get(number).map(|member| &member.args)
    }

    /// The name of member `number`.
    #[must_use]
    pub fn name(&self, number: usize) -> Option<&NodeName> {
        self.members.get(number).map(|member| &member.name)
    }

    /// The names of all members, by their ids.
    #[must_use]
    pub fn names(&self) -> BTreeMap<NodeId, NodeName> {
        self.members.iter().map(|member| (member.args.identity.id(), member.name.clone())).collect()
    }

    /// Member `number`, if it runs.
    #[must_use]
    pub fn node(&self, number: usize) -> Option<&NodeHandle> {
        self.members.get(number)?.node.as_ref()
    }

    /// The members that run.
    pub fn running(&self) -> impl Iterator<Item = &NodeHandle> {
        self.members.iter().filter_map(|member| member.node.as_ref())
    }

    /// Starts member `number` on what its folder holds. One that runs stays as it is.
    ///
    /// # Errors
    /// When the node does not start.
    pub async fn start(&mut self, number: usize) -> Result<(), StartError> {
        if let Some(member) = self.members.get_mut(number)
            && member.node.is_none()
        {
            if std::mem::take(&mut member.killed) {
                self.broker.reconnect(member.name.as_str());
            }
            member.node = Some(NodeHandle::start(member.args.clone()).await?);
        }
        Ok(())
    }

    /// Starts all members.
    ///
    /// # Errors
    /// When a node does not start.
    pub async fn start_all(&mut self) -> Result<(), StartError> {
        for number in 0..self.members.len() {
            self.start(number).await?;
        }
        Ok(())
    }

    /// Ends member `number` as a crash of its process would, and returns when it is gone.
    pub async fn kill(&mut self, number: usize) {
        let Some(member) = self.members.get_mut(number) else { return };
        if let Some(node) = member.node.take() {
            // A process that dies has no last words. Within one process, parts that go later could say some.
            self.broker.disconnect(member.name.as_str());
            member.killed = true;
            node.kill().await;
        }
    }

    /// Ends member `number` in good order.
    pub async fn shutdown(&mut self, number: usize) {
        if let Some(node) = self.take(number) {
            node.shutdown().await;
        }
    }

    /// Ends all members in good order.
    pub async fn shutdown_all(&mut self) {
        for number in 0..self.members.len() {
            self.shutdown(number).await;
        }
    }

    fn take(&mut self, number: usize) -> Option<NodeHandle> {
        self.members.get_mut(number)?.node.take()
    }

    /// Waits until every running node sees `condition`.
    ///
    /// # Errors
    /// When a node ends first.
    pub async fn until(&self, condition: impl Fn(&View) -> bool) -> Result<(), Failure> {
        for node in self.running() {
            node.until(&condition).await?;
        }
        Ok(())
    }

    /// Waits until all members are ready and every pair of them is set up.
    ///
    /// # Errors
    /// When a node ends first.
    pub async fn until_complete(&self) -> Result<(), Failure> {
        self.until(|view| view.is_complete(Scheme::Ecdsa)).await
    }

    /// A signed request for a wallet with keys of `schemes`.
    ///
    /// # Errors
    /// When a field breaks its rules.
    pub fn keygen_request(&self, wallet: &WalletId, schemes: &[Scheme]) -> Result<KeygenRequest, RequestError> {
        KeygenRequest::builder(wallet.clone()).key_types(schemes).sign_with(&self.initiator)
    }

    /// A signed request to deal keys of a wallet anew.
    ///
    /// # Errors
    /// When a field breaks its rules.
    pub fn reshare_request(
        &self,
        wallet: &WalletId,
        session: &RequestId,
        signers: u8,
        nodes: &[NodeId],
        schemes: &[Scheme],
    ) -> Result<ReshareRequest, RequestError> {
        let request = ReshareRequest::builder(wallet.clone(), session.clone(), signers, nodes);
        request.key_types(schemes).sign_with(&self.initiator)
    }

    /// A signed request for a signature.
    ///
    /// # Errors
    /// When a field breaks its rules.
    pub fn sign_request(
        &self,
        scheme: Scheme,
        wallet: &WalletId,
        request: &RequestId,
        path: DerivationPath,
        message: &[u8],
    ) -> Result<SignRequest, RequestError> {
        SignRequest::builder(scheme, wallet.clone(), request.clone(), message).path(path).sign_with(&self.initiator)
    }
}

/// How long a cluster in one process needs at most, with room, until its pairs are set up: for the time-outs of callers.
#[must_use]
pub fn setup_limit(parties: u8) -> Duration {
    let pairs = u32::from(parties) * u32::from(parties.saturating_sub(1)) / 2;
    Duration::from_secs(20) + Duration::from_secs(5) * pairs
}
