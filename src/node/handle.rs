//! The handle of a running node: how gateways, the demo and tests speak to it.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorRef, SpawnErr};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::actor::Root;
use super::{Addresses, NodeActor, NodeArgs, NodeMsg, UnsealError};
use crate::error::{Code, Failure};
use crate::health::Endpoint;
use crate::ids::{NodeId, WalletId};
use crate::keygen::{Generated, KeygenMsg};
use crate::metrics::{Kind, Recorder};
use crate::registry::View;
use crate::reshare::{ReshareMsg, Reshared};
use crate::signing::{Signed, SigningMsg};
use crate::storage::{KeySource, StorageError};
use crate::supervision::{Address, CallError};
use crate::wallet::WalletCertificate;
use crate::wire::request::{KeygenRequest, ReshareRequest, SignRequest};

/// What a request may take beyond its own deadline before its caller stops waiting.
const GRACE: Duration = Duration::from_secs(10);
/// How often a reshare's deadline passes at most: it begins anew where a node turns out to have no share to deal, and each
/// beginning ends at once or in its time.
pub(crate) const RESHARE_ATTEMPTS: u32 = 2;

/// A node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its store does not open.
    #[error(transparent)]
    Storage(StorageError),
    /// Anything else.
    #[error("failed to start the node: {0}")]
    Failed(String),
}

impl StartError {
    /// Finds the store's own error below those of the actors that were to start.
    pub(super) fn of(error: &SpawnErr) -> Self {
        let mut cause: Option<&(dyn Error + 'static)> = Some(error);
        let mut innermost = error.to_string();
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<StorageError>() {
                return Self::Storage(error.clone());
            }
            innermost = error.to_string();
            cause = error.source();
        }
        Self::Failed(innermost)
    }
}

/// A running node.
pub struct NodeHandle {
    id: NodeId,
    addresses: Addresses,
    views: watch::Receiver<Arc<View>>,
    recorder: Recorder,
    health: Option<SocketAddr>,
    root: ActorRef<NodeMsg>,
    joined: JoinHandle<()>,
    keygen_limit: Duration,
    signing_limit: Duration,
    reshare_limit: Duration,
    stop_limit: Duration,
}

impl NodeHandle {
    /// Starts a node and returns when its whole tree runs.
    ///
    /// # Errors
    /// When an actor does not start; the text says which problem to mend.
    pub async fn start(args: NodeArgs) -> Result<Self, StartError> {
        let id = args.identity.id();
        let refuse = |problem: &dyn std::fmt::Display| StartError::Failed(problem.to_string());
        args.peers.confirm(&args.identity).map_err(|error| refuse(&error))?;
        args.policy.check_threshold(args.settings.threshold).map_err(|error| refuse(&error))?;
        if usize::from(args.settings.threshold.parties()) != args.peers.members().len() {
            return Err(refuse(&"the threshold's parties are not as many as the peer book lists"));
        }
        let (keygen_limit, signing_limit) =
            (args.settings.keygen_deadline + GRACE, args.settings.signing_deadline + GRACE);
        let reshare_limit = args.settings.reshare_deadline * RESHARE_ATTEMPTS + GRACE;
        let stop_limit = args.settings.drain * 2 + GRACE * 6;
        let addresses = Addresses::default();
        let recorder = Recorder::new(args.peers.ids());
        let health = args.health.as_ref().map(Endpoint::address);
        let (sender, views) = watch::channel(Arc::new(View::empty(id, args.peers.ids())));
        let root = Root { args, addresses: addresses.clone(), views: sender, recorder: recorder.clone() };
        let (root, joined) = Actor::spawn(None, NodeActor, root).await.map_err(|error| StartError::of(&error))?;
        Ok(Self {
            id,
            addresses,
            views,
            recorder,
            health,
            root,
            joined,
            keygen_limit,
            signing_limit,
            reshare_limit,
            stop_limit,
        })
    }

    /// The node's id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Where its actors answer.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Where it serves health and metrics, if it does.
    #[must_use]
    pub fn health_address(&self) -> Option<SocketAddr> {
        self.health
    }

    /// Makes a wallet.
    ///
    /// # Errors
    /// The failure that its client is told.
    pub async fn keygen(&self, request: KeygenRequest) -> Result<Generated, Failure> {
        let work = ask(&self.addresses.keygen, self.keygen_limit, |reply| KeygenMsg::Generate { request, reply });
        self.recorder.measured(Kind::Keygen, work).await
    }

    /// Signs.
    ///
    /// # Errors
    /// The failure that its client is told.
    pub async fn sign(&self, request: SignRequest) -> Result<Signed, Failure> {
        let kind = Kind::Sign(Some(request.scheme()));
        let work = ask(&self.addresses.signing, self.signing_limit, |reply| SigningMsg::Sign { request, reply });
        self.recorder.measured(kind, work).await
    }

    /// Deals keys of a wallet anew.
    ///
    /// # Errors
    /// The failure that its client is told.
    pub async fn reshare(&self, request: ReshareRequest) -> Result<Reshared, Failure> {
        let work = ask(&self.addresses.reshare, self.reshare_limit, |reply| ReshareMsg::Reshare { request, reply });
        self.recorder.measured(Kind::Reshare, work).await
    }

    /// What a wallet is, if it is active on this node.
    ///
    /// # Errors
    /// The failure that its client is told.
    pub async fn wallet(&self, wallet: WalletId) -> Result<Option<Arc<WalletCertificate>>, Failure> {
        ask(&self.addresses.keygen, GRACE, |reply| KeygenMsg::Wallet { wallet, reply }).await
    }

    /// The membership as this node sees it, now and whenever it changes.
    #[must_use]
    pub fn views(&self) -> watch::Receiver<Arc<View>> {
        self.views.clone()
    }

    /// Waits until the membership satisfies `condition`.
    ///
    /// # Errors
    /// When the node ends first.
    pub async fn until(&self, condition: impl Fn(&View) -> bool) -> Result<Arc<View>, Failure> {
        let mut views = self.views.clone();
        let view = views.wait_for(|view| condition(view)).await;
        view.map(|view| Arc::clone(&view)).map_err(|_| Failure::new(Code::Cancelled, "the node has ended"))
    }

    /// Ends everything that holds secrets, at once, and closes the store. The node itself goes on, and can be unsealed.
    ///
    /// # Errors
    /// When its store is not closed yet, so that it has to be asked again; when the node has ended.
    pub async fn seal(&self) -> Result<(), Failure> {
        let sealed = Address::of(self.root.clone()).call(self.stop_limit, NodeMsg::Seal).await;
        let sealed = sealed.map_err(|_| Failure::new(Code::Cancelled, "the node has ended"))?;
        sealed.map_err(|error| Failure::new(error.code(), error.to_string()))
    }

    /// Opens the store of a sealed node, and starts all that works with it.
    ///
    /// # Errors
    /// When it is not sealed, the store does not open, or something does not start.
    pub async fn unseal(&self, key: KeySource) -> Result<(), UnsealError> {
        let question = |reply| NodeMsg::Unseal { key, reply };
        let unsealed = Address::of(self.root.clone()).call(self.stop_limit, question).await;
        unsealed.map_err(|_| UnsealError::Failed("the node has ended".to_owned()))?
    }

    /// Whether the node has ended, in order or not.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.joined.is_finished()
    }

    /// Waits until the node has ended.
    pub async fn ended(&mut self) {
        // How the root's task ended is reported by the root itself.
        let _ = (&mut self.joined).await;
    }

    /// Ends the node in good order and waits until its store is closed.
    pub async fn shutdown(self) {
        // A root that is gone already has nothing left to end.
        let _ = self.root.call(NodeMsg::Shutdown, Some(self.stop_limit)).await;
        let _ = self.joined.await;
    }

    /// Ends the node at once, as a crash would: nothing is drained, nobody is told.
    pub async fn kill(self) {
        self.root.kill();
        let _ = self.joined.await;
    }
}

/// Asks an actor of the node; its absence is a failure like any other.
pub(crate) async fn ask<M: ractor::Message, T: Send + 'static>(
    address: &Address<M>,
    limit: Duration,
    question: impl FnOnce(ractor::RpcReplyPort<Result<T, Failure>>) -> M,
) -> Result<T, Failure> {
    address.call(limit, question).await.unwrap_or_else(|error| {
        let (code, reason) = match error {
            CallError::Unavailable => (Code::Cancelled, "the node was interrupted; the request may be sent again"),
            CallError::Timeout => (Code::SessionTimeout, "the node did not answer in time"),
        };
        Err(Failure::new(code, reason))
    })
}
