//! Who is alive: leases in a backend behind one trait, and the backend for one process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::ids::NodeId;

/// How many changes a watcher may lag behind before it has to look again at everything.
pub(super) const WATCH_CAPACITY: usize = 256;

/// A change of the leases. It says who is alive, never who is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseEvent {
    /// The node holds a lease.
    Alive(NodeId),
    /// Its lease ran out or was resigned.
    Gone(NodeId),
}

/// The backend cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to reach the discovery backend: {0}")]
pub struct DiscoveryError(pub String);

/// A discovery backend: each node holds a lease while it lives, and watches the leases of the others.
pub trait Discovery: Send + Sync {
    /// Takes or renews the lease of `node` for `ttl`.
    fn renew(&self, node: NodeId, ttl: Duration) -> BoxFuture<'_, Result<(), DiscoveryError>>;

    /// Gives the lease of `node` up.
    fn resign(&self, node: NodeId) -> BoxFuture<'_, Result<(), DiscoveryError>>;

    /// All changes from now on, beginning with an [`LeaseEvent::Alive`] for each lease that is held. The channel closes
    /// when the watch is lost or lags too far behind; whoever needs it watches again.
    fn watch(&self) -> BoxFuture<'_, Result<mpsc::Receiver<LeaseEvent>, DiscoveryError>>;
}

/// Discovery within one process: for the demo and for tests. Clones share the leases.
#[derive(Clone, Default)]
pub struct MemoryDiscovery(Arc<Mutex<Leases>>);

#[derive(Default)]
struct Leases {
    /// Until when each lease holds.
    held: BTreeMap<NodeId, Instant>,
    watchers: Vec<mpsc::Sender<LeaseEvent>>,
}

impl Leases {
    /// Tells every watcher; one that is gone or lags too far is dropped, which closes its channel.
    fn tell(&mut self, event: LeaseEvent) {
        self.watchers.retain(|watcher| watcher.try_send(event).is_ok());
    }
}

impl MemoryDiscovery {
    /// No leases.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn with<T>(&self, act: impl FnOnce(&mut Leases) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends the lease of `node` if it was not renewed until `expiry`.
    fn expire(&self, node: NodeId, expiry: Instant) {
        self.with(|leases| {
            if leases.held.get(&node) == Some(&expiry) {
                leases.held.remove(&node);
                leases.tell(LeaseEvent::Gone(node));
            }
        });
    }
}

impl Discovery for MemoryDiscovery {
    fn renew(&self, node: NodeId, ttl: Duration) -> BoxFuture<'_, Result<(), DiscoveryError>> {
        let expiry = Instant::now() + ttl;
        self.with(|leases| {
            if leases.held.insert(node, expiry).is_none() {
                leases.tell(LeaseEvent::Alive(node));
            }
        });
        let leases = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep_until(expiry).await;
            leases.expire(node, expiry);
        });
        Box::pin(async { Ok(()) })
    }

    fn resign(&self, node: NodeId) -> BoxFuture<'_, Result<(), DiscoveryError>> {
        self.with(|leases| {
            if leases.held.remove(&node).is_some() {
                leases.tell(LeaseEvent::Gone(node));
            }
        });
        Box::pin(async { Ok(()) })
    }

    fn watch(&self) -> BoxFuture<'_, Result<mpsc::Receiver<LeaseEvent>, DiscoveryError>> {
        let (sender, receiver) = mpsc::channel(WATCH_CAPACITY);
        self.with(|leases| {
            for &node in leases.held.keys() {
                // A fresh channel has room for more leases than there can be nodes.
                let _ = sender.try_send(LeaseEvent::Alive(node));
            }
            leases.watchers.push(sender);
        });
        Box::pin(async { Ok(receiver) })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn leases__should_be_seen_renewed_and_run_out() {
        let discovery = MemoryDiscovery::new();
        let (a, b) = (NodeId(Uuid::from_u128(1)), NodeId(Uuid::from_u128(2)));
        discovery.renew(a, Duration::from_secs(3)).await.unwrap();
        let mut events = discovery.watch().await.unwrap();
        assert_eq!(events.recv().await, Some(LeaseEvent::Alive(a)));
        discovery.renew(b, Duration::from_secs(3)).await.unwrap();
        assert_eq!(events.recv().await, Some(LeaseEvent::Alive(b)));
        discovery.resign(b).await.unwrap();
        assert_eq!(events.recv().await, Some(LeaseEvent::Gone(b)));
        tokio::time::sleep(Duration::from_secs(2)).await;
        discovery.renew(a, Duration::from_secs(3)).await.unwrap();
        let renewed = Instant::now();
        assert_eq!(events.recv().await, Some(LeaseEvent::Gone(a)));
        assert_eq!(renewed.elapsed(), Duration::from_secs(3));
    }
}
