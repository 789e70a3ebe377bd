//! The configuration of a node: read once at its start, checked as a whole, then typed.
//!
//! ```text
//!  defaults < file (TOML or YAML) < environment (QUORATE_SECTION__KEY) < flags ──► Settings ──check──► Config
//! ```
//!
//! A [`Config`] holds no text that still has to be parsed. Every error names the key, where its value came from, what is
//! wrong and what to do; values are not repeated, because some are secret. The secrets themselves (passphrases, keys)
//! are never part of a configuration, only where to find them.
//!
//! mpcium's own `config.yaml` is taken too, and put into these terms first. What an operator should know of it without
//! its being an error comes as [`Warning`]s.

mod backup;
mod error;
mod mpcium;
mod nats;
mod refresh;
mod secrets;
mod serving;
mod settings;
mod sources;
#[cfg(test)]
mod tests;
mod validate;
mod warning;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::Figment;
use figment::providers::{Format, Serialized, Toml, Yaml};
use tracing::level_filters::LevelFilter;

use crate::ids::{ClusterId, InvalidId, NodeName, Threshold};
use crate::keys::ChainCode;
use crate::policy::{Policy, RefreshSchedule};
use mpcium::Translation;
use settings::Settings;

pub use backup::{BackupConfig, BackupSeal};
pub use error::ConfigError;
pub use nats::{ClientCertificate, NatsAuth, NatsConfig, NatsTls};
pub use secrets::{SecretSource, StorageKeySource, StorageSecret, read_key_file, read_passphrase_file};
pub use serving::{DiscoveryBackend, DiscoveryConfig, GatewayConfig, HealthConfig};
pub use settings::{LockMemory, LogFormat, OnPeerFailure};
pub use sources::{Environment, Flags};
pub use warning::Warning;

/// The longest configuration file, in bytes.
pub const MAX_CONFIG_BYTES: u64 = 1024 * 1024;

/// Everything a node is told about itself and its cluster.
#[derive(Debug)]
pub struct Config {
    /// This node.
    pub node: NodeConfig,
    /// Its cluster.
    pub cluster: ClusterConfig,
    /// Links to peers.
    pub link: LinkConfig,
    /// Pair setups.
    pub pairing: PairingConfig,
    /// Key generations.
    pub keygen: SessionConfig,
    /// Signings.
    pub signing: SessionConfig,
    /// What a signing does when a peer fails.
    pub on_peer_failure: OnPeerFailure,
    /// How old a wallet's last check-up may be before it is checked again unasked; `None`: it never is.
    pub checkup_every: Option<Duration>,
    /// Which wallets are refreshed unasked, and how often.
    pub refresh: RefreshSchedule,
    /// What unlocks the store.
    pub storage_key: StorageKeySource,
    /// Backups.
    pub backup: BackupConfig,
    /// What clients may ask for.
    pub policy: Policy,
    /// The broker.
    pub nats: NatsConfig,
    /// Who is alive.
    pub discovery: DiscoveryConfig,
    /// The interfaces for clients.
    pub gateway: GatewayConfig,
    /// Health and metrics.
    pub health: HealthConfig,
    /// How long running work may take to end when the node stops.
    pub drain: Duration,
    /// The process itself.
    pub process: ProcessConfig,
    /// The log.
    pub log: LogConfig,
    /// What the operator should know.
    pub warnings: Vec<Warning>,
    /// All of it as text, secrets masked.
    effective: String,
}

/// This node.
#[derive(Debug)]
pub struct NodeConfig {
    /// Its name in the peer book.
    pub name: NodeName,
    /// Where its store lies.
    pub data_dir: PathBuf,
    /// The list of nodes: `peers.json`.
    pub peers_file: PathBuf,
    /// Where the identity files of all nodes and the private key of this one lie.
    pub identity_dir: PathBuf,
    /// The file with the passphrase of the private key, if that is encrypted.
    pub identity_passphrase_file: Option<PathBuf>,
}

/// The cluster.
#[derive(Debug)]
pub struct ClusterConfig {
    /// Its name, the same on all nodes.
    pub id: ClusterId,
    /// How many nodes must sign with a new wallet, 2 to 32.
    pub signers: u8,
    /// The chain code of every wallet, as mpcium has it; without one, each wallet gets its own.
    pub chain_code: Option<ChainCode>,
}

impl ClusterConfig {
    /// The threshold of new wallets, in a cluster of `parties` nodes.
    ///
    /// # Errors
    /// When more nodes would have to sign than there are.
    pub fn threshold(&self, parties: usize) -> Result<Threshold, InvalidId> {
        Threshold::new(self.signers, u8::try_from(parties).unwrap_or(u8::MAX))
    }
}

/// Links to peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkConfig {
    /// How often a heartbeat goes out.
    pub heartbeat_interval: Duration,
    /// After how many missing heartbeats in a row the peer is lost.
    pub heartbeat_misses: u32,
}

/// Pair setups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairingConfig {
    /// How long one may take.
    pub deadline: Duration,
    /// How old one may become before it is replaced; `None`: as old as it gets.
    pub refresh_every: Option<Duration>,
}

/// One kind of session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionConfig {
    /// How long one may take.
    pub deadline: Duration,
    /// How many run at once; further ones are refused.
    pub max_concurrent: usize,
}

/// The process itself: who gets at its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessConfig {
    /// Whether core dumps are written, and other processes of the same user may read its memory.
    pub allow_dumps: bool,
    /// Whether memory is kept out of swap.
    pub lock_memory: LockMemory,
}

/// The log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogConfig {
    /// What is worth a line.
    pub level: LevelFilter,
    /// How a line looks.
    pub format: LogFormat,
}

impl Config {
    /// Reads and checks the configuration.
    ///
    /// # Errors
    /// When the file cannot be read or parsed, a key is unknown or missing, or a value breaks its rules.
    pub fn load(file: Option<&Path>, environment: &Environment, flags: &Flags) -> Result<Self, ConfigError> {
        let defaults = Figment::from(Serialized::defaults(Settings::default()));
        let (with_file, mpcium) = match file {
            None => (defaults, None),
            Some(path) => merge_file(defaults, path)?,
        };
        let all = flags.merge_into(environment.merge_into(with_file));
        let mut settings: Settings = all.extract().map_err(|error| ConfigError::from_figment(&error))?;
        let mpcium = mpcium.map(|translation| translation.complete(&mut settings)).unwrap_or_default();
        validate::check(settings, mpcium).map_err(|error| error.located(&all))
    }
}

/// The effective configuration, one `section.key = value` per line. Secrets are masked.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.effective)
    }
}

fn merge_file(figment: Figment, path: &Path) -> Result<(Figment, Option<Translation>), ConfigError> {
    let failed = |problem: String| ConfigError::File { path: path.to_owned(), problem };
    let metadata = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?;
    if metadata.len() > MAX_CONFIG_BYTES {
        return Err(failed("it is longer than 1 MiB".to_owned()));
    }
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => Ok((figment.merge(Toml::file_exact(path)), None)),
        Some("yaml" | "yml") => Ok(match mpcium::translate(path)? {
            None => (figment.merge(Yaml::file_exact(path)), None),
            Some(mut translation) => {
                let values = std::mem::take(&mut translation.values);
                (sources::merge_translated(figment, path, values), Some(translation))
            }
        }),
        _ => Err(failed("its name ends neither in .toml nor in .yaml nor in .yml".to_owned())),
    }
}
