//! A sealed node: it runs, serves its operator and says how it is, and holds nothing that came out of its store.
//!
//! ```text
//!  sealed ── Unseal: opens the store, then starts whatever works with it ──▶ unsealed
//!  sealed ◀── Seal: ends all that holds secrets at once, then closes the store ── unsealed
//! ```

use std::sync::Arc;
use std::time::Duration;

use ractor::{ActorRef, SpawnErr};

use super::actor::{ASK, ChildName, NodeMsg, NodeState, STOP};
use super::handle::StartError;
use crate::error::Code;
use crate::health::HealthMsg;
use crate::registry::{RegistryMsg, View};
use crate::storage::{KeySource, StorageError};

/// A node was not unsealed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum UnsealError {
    /// It is not sealed.
    #[error("the node is not sealed")]
    NotSealed,
    /// Its store does not open. It stays sealed.
    #[error(transparent)]
    Storage(StorageError),
    /// Something else does not start. It is sealed again.
    #[error("{0}")]
    Failed(String),
}

impl UnsealError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::NotSealed => Code::SessionDuplicate,
            Self::Storage(error) => error.code(),
            Self::Failed(_) => Code::Internal,
        }
    }
}

/// A node does nothing any more, and does not know yet that all which came out of its store is gone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// A backup, or something else that takes its time, still holds the store. It lets go at its next step.
    #[error(
        "the node does nothing any more, but something still holds its store, with the keys in memory: seal it again"
    )]
    NotWiped,
}

impl SealError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::NotWiped => StorageError::StillOpen.code(),
        }
    }
}

impl From<SpawnErr> for UnsealError {
    fn from(error: SpawnErr) -> Self {
        match StartError::of(&error) {
            StartError::Storage(error) => Self::Storage(error),
            StartError::Failed(problem) => Self::Failed(problem),
        }
    }
}

impl ChildName {
    /// What runs in a sealed node too: these hold nothing that came out of its store.
    pub(super) const ALWAYS: [Self; 2] = [Self::Health, Self::Admin];
    /// What works with the store. Whoever delivers comes after those it delivers to.
    pub(super) const WITH_STORE: [Self; 11] = [
        Self::Storage,
        Self::Registry,
        Self::Pairing,
        Self::Keygen,
        Self::Signing,
        Self::Reshare,
        Self::Checkup,
        Self::Destruction,
        Self::Transport,
        Self::Gateway,
        Self::Backup,
    ];
}

impl NodeState {
    /// Whether a child is to run now.
    pub(super) fn is_wanted(&self, child: ChildName) -> bool {
        !self.stopping && (!self.sealed || ChildName::ALWAYS.contains(&child))
    }

    /// Opens the store with `key`, and starts whatever works with it.
    pub(super) async fn unseal(&mut self, myself: &ActorRef<NodeMsg>, key: KeySource) -> Result<(), UnsealError> {
        if !self.sealed {
            return Err(UnsealError::NotSealed);
        }
        self.args.storage.key.put(key);
        for child in ChildName::WITH_STORE {
            if let Err(error) = self.start(child, myself.get_cell()).await {
                // The first failure is the one to report.
                drop(self.seal().await);
                return Err(error.into());
            }
        }
        self.sealed = false;
        tracing::info!("the node is unsealed");
        self.tell_health();
        Ok(())
    }

    /// Ends everything that holds secrets, at once: sessions are cut off, and those who wait for them are told. What was
    /// accepted for the store is still written before it is closed.
    ///
    /// # Errors
    /// When the store is still held after all that. The node is sealed all the same, and can be asked again.
    pub(super) async fn seal(&mut self) -> Result<(), SealError> {
        self.sealed = true;
        self.args.storage.key.clear();
        self.tell_health();
        self.signing.stop(Duration::ZERO).await;
        self.keygen.stop(Duration::ZERO).await;
        self.reshare.stop(Duration::ZERO).await;
        self.checkup.stop(Duration::ZERO).await;
        self.destruction.stop(Duration::ZERO).await;
        self.pairing.stop(Duration::ZERO).await;
        self.backup.stop(Duration::ZERO).await;
        self.gateway.stop(Duration::ZERO).await;
        self.storage.stop(STOP).await;
        // Peers see at once that this node is away.
        if self.addresses.registry.current().is_some()
            && self.addresses.registry.call(ASK, RegistryMsg::Resign).await.is_err()
        {
            tracing::warn!("failed to give the lease up; it will run out");
        }
        self.transport.stop(STOP).await;
        self.registry.stop(STOP).await;
        let peers = self.args.peers.ids();
        self.publish(Arc::new(View::empty(self.args.identity.id(), peers)));
        if self.args.storage.gate.closed(STOP).await.is_err() {
            tracing::error!("the node is sealed, but its store is still held: its keys are not wiped yet");
            return Err(SealError::NotWiped);
        }
        tracing::info!("the node is sealed");
        Ok(())
    }

    /// Tells health whether the node is sealed. A health that is not there now asks when it starts.
    pub(super) fn tell_health(&self) {
        let _ = self.addresses.health.cast(HealthMsg::Sealed(self.sealed));
    }
}
