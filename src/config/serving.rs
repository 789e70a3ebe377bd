//! What a node offers, to its clients, its operator and its peers' discovery.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::settings::{DiscoverySettings, GatewaySettings, HealthSettings};
use super::validate::{milliseconds, within};
use super::{ConfigError, SessionConfig};

/// The longest name of a bucket, in bytes.
const MAX_BUCKET_BYTES: usize = 64;

/// How nodes learn who is alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoveryConfig {
    /// Where leases lie.
    pub backend: DiscoveryBackend,
    /// How long a lease holds without renewal: a node that stops renewing is gone after this.
    pub lease_ttl: Duration,
    /// The bucket of the leases, 1 to 64 letters, digits, `-` and `_`; without one, it is named after the cluster.
    pub bucket: Option<String>,
}

/// Where leases lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiscoveryBackend {
    /// In a key-value bucket of NATS JetStream.
    Nats,
}

/// The interfaces for clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GatewayConfig {
    /// Whether requests are taken from mpcium's streams.
    pub mpcium: bool,
    /// Whether requests are answered directly.
    pub native: bool,
    /// How many key generations this node takes from a stream before it has answered them.
    pub max_in_flight_keygen: usize,
    /// How many signing requests this node takes from a stream before it has answered them.
    pub max_in_flight_signing: usize,
}

/// Health and metrics over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthConfig {
    /// Whether there is such an endpoint.
    pub enabled: bool,
    /// Where it listens.
    pub address: SocketAddr,
}

pub(super) fn check_discovery(settings: DiscoverySettings) -> Result<DiscoveryConfig, ConfigError> {
    let accepted = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if let Some(bucket) = &settings.bucket
        && !((1..=MAX_BUCKET_BYTES).contains(&bucket.len()) && bucket.bytes().all(accepted))
    {
        let fix = "use letters, digits, - and _, 64 at most";
        return Err(ConfigError::key("discovery.bucket", "it is no name of a bucket", fix));
    }
    Ok(DiscoveryConfig {
        backend: settings.backend,
        lease_ttl: milliseconds("discovery.lease_ttl_ms", settings.lease_ttl_ms, 1_000..=300_000)?,
        bucket: settings.bucket,
    })
}

/// A node must not take more from a stream than it works on at once: the rest is for other nodes.
pub(super) fn check_gateway(
    settings: &GatewaySettings,
    keygen: &SessionConfig,
    signing: &SessionConfig,
) -> Result<GatewayConfig, ConfigError> {
    let in_flight = |key, value: Option<u32>, session: &SessionConfig| match value {
        None => Ok(session.max_concurrent),
        Some(value) => within(key, usize::try_from(value).unwrap_or(usize::MAX), 1..=session.max_concurrent),
    };
    Ok(GatewayConfig {
        mpcium: settings.mpcium,
        native: settings.native,
        max_in_flight_keygen: in_flight("gateway.max_in_flight_keygen", settings.max_in_flight_keygen, keygen)?,
        max_in_flight_signing: in_flight("gateway.max_in_flight_signing", settings.max_in_flight_signing, signing)?,
    })
}

pub(super) fn check_health(settings: &HealthSettings) -> Result<HealthConfig, ConfigError> {
    let address = settings.address.parse().map_err(|_| {
        let fix = "write an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080";
        ConfigError::key("health.address", "it is no address to listen on", fix)
    })?;
    Ok(HealthConfig { enabled: settings.enabled, address })
}
