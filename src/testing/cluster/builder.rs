//! What a cluster is made with.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tempfile::TempDir;

use super::stores::POOL_WIDTH;
use super::{Cluster, HarnessError};
use crate::ids::{ClusterId, Scheme, Threshold};
use crate::local_cluster::LocalCluster;
use crate::node::{NodeArgs, Settings};
use crate::policy::Policy;
use crate::session::CryptoPool;
use crate::supervision::RestartLimit;
use crate::transport::LinkConfig;

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
    pub(super) fn new(cluster: ClusterId, threshold: Threshold) -> Self {
        Self {
            settings: quick(cluster, threshold),
            seed: 1,
            pairs: true,
            policy: Box::new(|policy| policy),
            changes: Vec::new(),
        }
    }

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

/// Settings under which a lost peer is noticed within about half a second.
fn quick(cluster: ClusterId, threshold: Threshold) -> Settings {
    let link = LinkConfig {
        heartbeat: Duration::from_millis(100),
        missed_heartbeats: 5,
        handshake_retry: Duration::from_millis(50),
        handshake_retry_max: Duration::from_millis(400),
        handshake_timeout: Duration::from_secs(2),
        requested_handshake_interval: Duration::from_millis(50),
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
