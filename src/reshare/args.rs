//! What resharing is started with.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedRwLockReadGuard, RwLock};

use super::{ReshareMsg, Switched};
use crate::clock::Clock;
use crate::error::Code;
use crate::identity::{NodeIdentity, PeerBook};
use crate::ids::{ClusterId, WalletId};
use crate::keys::Signature;
use crate::pairing::PairingMsg;
use crate::policy::{Policy, RefreshSchedule};
use crate::protocol::reshare::ReshareOutput;
use crate::session::{CryptoPool, Post, SessionKit};
use crate::storage::{Family, StorageHandle};
use crate::supervision::{Address, Deliver};
use crate::transport::TransportMsg;
use crate::wallet::quarantine_key;
use crate::wire::message::Service;

/// What resharing is started with.
#[derive(Clone)]
pub struct ReshareArgs {
    /// The cluster.
    pub cluster: ClusterId,
    /// This node.
    pub identity: Arc<NodeIdentity>,
    /// Everyone's keys.
    pub peers: Arc<PeerBook>,
    /// Whose requests count, and which thresholds.
    pub policy: Arc<Policy>,
    /// Which wallets are refreshed unasked, and how often.
    pub refresh: Arc<RefreshSchedule>,
    /// The way to the peers.
    pub transport: Address<TransportMsg>,
    /// The store.
    pub storage: StorageHandle,
    /// Where pair states come from and bans go.
    pub pairing: Address<PairingMsg>,
    /// Who signs with the shares, and hears when others take their place.
    pub users: Vec<Arc<dyn Deliver<Switched>>>,
    /// Where engines compute.
    pub pool: CryptoPool,
    /// The clock of deadlines.
    pub clock: Clock,
    /// How long a reshare may take, its commit included; and each later attempt to prove one.
    pub deadline: Duration,
    /// How often others are asked again about what is pending, and told again what they do not know.
    pub resolve_every: Duration,
    /// The most reshares at a time.
    pub max_concurrent: usize,
    /// The address of this actor, for its sessions and tasks.
    pub myself: Address<ReshareMsg>,
    /// Held shared by every task that writes shares, so that a new life of the actor can wait for those of the former.
    pub writes: Arc<RwLock<()>>,
}

impl ReshareArgs {
    /// What the sessions have in common in which keys are dealt.
    pub(super) fn dealing_kit(&self) -> SessionKit<ReshareOutput> {
        SessionKit {
            post: self.post(Service::Reshare),
            identity: Arc::clone(&self.identity),
            peers: Arc::clone(&self.peers),
            bans: Arc::new(self.pairing.clone()),
            pool: self.pool.clone(),
            clock: self.clock,
            owner: Arc::new(self.myself.clone()),
        }
    }

    /// What the sessions have in common in which keys are proved.
    pub(super) fn proving_kit(&self) -> SessionKit<Signature> {
        SessionKit {
            post: self.post(Service::Proof),
            identity: Arc::clone(&self.identity),
            peers: Arc::clone(&self.peers),
            bans: Arc::new(self.pairing.clone()),
            pool: self.pool.clone(),
            clock: self.clock,
            owner: Arc::new(self.myself.clone()),
        }
    }

    /// Fails where the wallet was restored on this node, and is not confirmed: its shares must not be used.
    pub(super) async fn ensure_confirmed(&self, wallet: &WalletId) -> Result<(), Code> {
        match self.storage.get(Family::Meta, quarantine_key(wallet)).await {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err(Code::WalletQuarantined),
            Err(error) => Err(error.code()),
        }
    }

    fn post(&self, service: Service) -> Post {
        Post::new(self.identity.id(), service, self.transport.clone())
    }

    /// Held by a task from before it writes shares until after.
    pub(super) fn writing(&self) -> Option<OwnedRwLockReadGuard<()>> {
        // Only the start of a life holds the lock exclusively, and then there are no tasks.
        Arc::clone(&self.writes).try_read_owned().ok()
    }

    /// Waits until no task of a former life writes any more.
    pub(super) async fn former_writes(&self) {
        drop(self.writes.write().await);
    }
}
