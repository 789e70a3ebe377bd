//! What an operator decides about a node, as validated values.

use std::time::Duration;

use crate::config::{self, Config};
use crate::ids::{ClusterId, Threshold};
use crate::keys::ChainCode;
use crate::policy::RefreshSchedule;
use crate::signing::OnPeerFailure;
use crate::supervision::{RestartLimit, STUCK_AFTER};
use crate::transport::LinkConfig;

/// A node's settings. Everything that is not here comes from its identity, its peer book and its policy.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The cluster.
    pub cluster: ClusterId,
    /// The threshold of new wallets.
    pub threshold: Threshold,
    /// The cluster's chain code; without one, each wallet gets its own.
    pub chain_code: Option<ChainCode>,
    /// How long a signing request may take, retries included.
    pub signing_deadline: Duration,
    /// How long a key generation may take, its commit included.
    pub keygen_deadline: Duration,
    /// How long a reshare may take, its commit included.
    pub reshare_deadline: Duration,
    /// How old a wallet's last check-up may be before it is checked again unasked; `None`: it never is.
    pub checkup_every: Option<Duration>,
    /// Which wallets are refreshed unasked, and how often.
    pub refresh: RefreshSchedule,
    /// How old a pair setup may become before another takes its place; `None`: as old as it gets.
    pub pair_refresh_every: Option<Duration>,
    /// How long a pair setup may take.
    pub pair_setup_deadline: Duration,
    /// How often members are asked again about a pending share.
    pub resolve_every: Duration,
    /// How long a lease holds without renewal.
    pub lease_ttl: Duration,
    /// The most signing requests at a time.
    pub max_signing: usize,
    /// The most key generations at a time.
    pub max_keygen: usize,
    /// The most reshares at a time.
    pub max_reshare: usize,
    /// What signing does when a peer fails.
    pub on_peer_failure: OnPeerFailure,
    /// Heartbeats, handshakes and budgets of the links.
    pub link: LinkConfig,
    /// How often the children that may restart do so before the node fails.
    pub restarts: RestartLimit,
    /// How long a child may be at one message before it counts as failed.
    pub stuck_after: Duration,
    /// How long running work may take to end when the node stops.
    pub drain: Duration,
}

impl Settings {
    /// The defaults for a cluster with this threshold.
    #[must_use]
    pub fn new(cluster: ClusterId, threshold: Threshold) -> Self {
        Self {
            cluster,
            threshold,
            chain_code: None,
            signing_deadline: Duration::from_secs(30),
            keygen_deadline: Duration::from_secs(30),
            reshare_deadline: Duration::from_secs(30),
            checkup_every: None,
            refresh: RefreshSchedule::default(),
            pair_refresh_every: None,
            pair_setup_deadline: Duration::from_secs(60),
            resolve_every: Duration::from_secs(2),
            lease_ttl: Duration::from_secs(6),
            max_signing: 256,
            max_keygen: 32,
            max_reshare: 32,
            on_peer_failure: OnPeerFailure::default(),
            link: LinkConfig::default(),
            restarts: RestartLimit {
                restarts: 5,
                within: Duration::from_secs(60),
                backoff: Duration::from_millis(100),
            },
            stuck_after: STUCK_AFTER,
            drain: Duration::from_secs(20),
        }
    }

    /// What a configuration says, for wallets with this threshold.
    #[must_use]
    pub fn from_config(config: &Config, threshold: Threshold) -> Self {
        Self {
            chain_code: config.cluster.chain_code,
            signing_deadline: config.signing.deadline,
            keygen_deadline: config.keygen.deadline,
            reshare_deadline: config.keygen.deadline,
            checkup_every: config.checkup_every,
            refresh: config.refresh.clone(),
            pair_refresh_every: config.pairing.refresh_every,
            pair_setup_deadline: config.pairing.deadline,
            lease_ttl: config.discovery.lease_ttl,
            drain: config.drain,
            max_signing: config.signing.max_concurrent,
            max_keygen: config.keygen.max_concurrent,
            max_reshare: config.keygen.max_concurrent,
            on_peer_failure: match config.on_peer_failure {
                config::OnPeerFailure::Abort => OnPeerFailure::Abort,
                config::OnPeerFailure::Retry => OnPeerFailure::Retry,
            },
            link: LinkConfig {
                heartbeat: config.link.heartbeat_interval,
                missed_heartbeats: config.link.heartbeat_misses,
                ..LinkConfig::default()
            },
            ..Self::new(config.cluster.id.clone(), threshold)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Flags};

    #[test]
    fn settings__should_take_every_key_of_a_configuration_that_concerns_them() {
        let flags = Flags::default()
            .with("node.name", "node0")
            .with("policy.initiator.public_key", "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
            .with("storage.key_file", "key")
            .with("cluster.id", "of-the-file")
            .with("cluster.chain_code", "07".repeat(32))
            .with("link.heartbeat_interval_ms", 301)
            .with("link.heartbeat_misses", 7)
            .with("checkup.every_hours", 3)
            .with("refresh.every_hours", 5)
            .with("pairing.deadline_ms", 20_001)
            .with("pairing.refresh_days", 2)
            .with("keygen.deadline_ms", 20_002)
            .with("keygen.max_concurrent", 5)
            .with("signing.deadline_ms", 20_003)
            .with("signing.max_concurrent", 9)
            .with("signing.on_peer_failure", "retry")
            .with("discovery.lease_ttl_ms", 20_004)
            .with("shutdown.drain_ms", 20_005);
        let config = Config::load(None, &Environment::of([]), &flags).unwrap();
        let threshold = config.cluster.threshold(3).unwrap();
        let settings = Settings::from_config(&config, threshold);
        assert_eq!((settings.cluster.as_str(), settings.threshold), ("of-the-file", threshold));
        assert_eq!(settings.chain_code, Some(ChainCode([7; 32])));
        assert_eq!((settings.link.heartbeat, settings.link.missed_heartbeats), (Duration::from_millis(301), 7));
        let durations = [
            settings.pair_setup_deadline,
            settings.keygen_deadline,
            settings.signing_deadline,
            settings.lease_ttl,
            settings.drain,
        ];
        assert_eq!(durations, [20_001, 20_002, 20_003, 20_004, 20_005].map(Duration::from_millis));
        assert_eq!(settings.checkup_every, Some(Duration::from_secs(3 * 3_600)));
        assert_eq!(settings.refresh.shortest(), Some(Duration::from_secs(5 * 3_600)));
        assert_eq!(settings.pair_refresh_every, Some(Duration::from_secs(2 * 86_400)));
        assert_eq!((settings.max_keygen, settings.max_signing), (5, 9));
        assert_eq!(settings.on_peer_failure, OnPeerFailure::Retry);
    }
}
