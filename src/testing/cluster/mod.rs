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

mod builder;
mod clients;
mod error;
mod life;
mod snapshots;
mod stores;

pub use builder::ClusterBuilder;
pub use clients::Client;
pub use error::HarnessError;
pub use life::ActorName;

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tempfile::TempDir;

use crate::ids::{ClusterId, NodeId, Threshold};
use crate::local_cluster::LocalCluster;
use crate::node::{Addresses, NodeArgs, NodeHandle};
use crate::session::CryptoPool;
use crate::transport::memory::Faults;

/// How long the harness waits for anything before it gives up.
const PATIENCE: Duration = Duration::from_secs(30);
/// The pause between two looks at a snapshot.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// A cluster of real nodes in this process, with its faults at hand. Nodes are numbered from 0.
pub struct Cluster {
    local: LocalCluster,
    network: Faults,
    pools: Vec<CryptoPool>,
    requests: AtomicU64,
    _folder: TempDir,
}

impl Cluster {
    /// A cluster with this threshold, short times, and no faults.
    #[must_use]
    pub fn builder(cluster: ClusterId, threshold: Threshold) -> ClusterBuilder {
        ClusterBuilder::new(cluster, threshold)
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
