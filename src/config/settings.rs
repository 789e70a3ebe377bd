//! The configuration as files and variables write it: plain values with their defaults.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::DiscoveryBackend;
use crate::identity::Algorithm;

/// All sections. The commented sample, `config/quorate.toml`, says what each key is for.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug))]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    pub node: NodeSettings,
    pub cluster: ClusterSettings,
    pub link: LinkSettings,
    pub pairing: PairingSettings,
    pub keygen: KeygenSettings,
    pub signing: SigningSettings,
    pub checkup: CheckupSettings,
    pub refresh: RefreshSettings,
    pub destroy: DestroySettings,
    pub storage: StorageSettings,
    pub backup: BackupSettings,
    pub policy: PolicySettings,
    pub nats: NatsSettings,
    pub discovery: DiscoverySettings,
    pub gateway: GatewaySettings,
    pub health: HealthSettings,
    pub shutdown: ShutdownSettings,
    pub process: ProcessSettings,
    pub log: LogSettings,
}

/// What a signing does when a peer fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnPeerFailure {
    /// It is over, and reported as such.
    #[default]
    Abort,
    /// It is tried again without that peer, while a quorum and the deadline remain.
    Retry,
}

/// Whether memory is kept out of swap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LockMemory {
    /// Where the system allows it.
    #[default]
    Auto,
    /// The node does not start otherwise.
    Required,
    /// No.
    Off,
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Pretty,
    /// One JSON object per line.
    Json,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug))]
#[serde(rename_all = "lowercase")]
pub(super) enum LogLevel {
    Off,
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug))]
#[serde(deny_unknown_fields)]
pub(super) struct NodeSettings {
    pub name: Option<String>,
    pub data_dir: PathBuf,
    pub peers_file: PathBuf,
    pub identity_dir: PathBuf,
    pub identity_passphrase_file: Option<PathBuf>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug))]
#[serde(deny_unknown_fields)]
pub(super) struct ClusterSettings {
    pub id: String,
    pub threshold: u8,
    pub chain_code: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug))]
#[serde(deny_unknown_fields)]
pub(super) struct LinkSettings {
    pub heartbeat_interval_ms: u64,
    pub heartbeat_misses: u32,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug))]
#[serde(deny_unknown_fields)]
pub(super) struct PairingSettings {
    pub deadline_ms: u64,
    pub refresh_days: u32,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug))]
#[serde(deny_unknown_fields)]
pub(super) struct KeygenSettings {
    pub deadline_ms: u64,
    pub max_concurrent: u32,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug))]
#[serde(deny_unknown_fields)]
pub(super) struct SigningSettings {
    pub deadline_ms: u64,
    pub max_concurrent: u32,
    pub on_peer_failure: OnPeerFailure,
}

#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug))]
#[serde(deny_unknown_fields)]
pub(super) struct CheckupSettings {
    pub every_hours: u32,
}

#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug))]
#[serde(deny_unknown_fields)]
pub(super) struct RefreshSettings {
    pub every_hours: u32,
    #[serde(default)]
    pub classes: Vec<ClassSettings>,
}

#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug))]
#[serde(deny_unknown_fields)]
pub(super) struct DestroySettings {
    pub allowed: bool,
    pub approvals: u8,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug))]
#[serde(deny_unknown_fields)]
pub(super) struct ClassSettings {
    #[serde(deserialize_with = "list_or_text")]
    pub wallets: Vec<String>,
    pub every_hours: u32,
}

#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug))]
#[serde(deny_unknown_fields)]
pub(super) struct StorageSettings {
    pub passphrase_file: Option<PathBuf>,
    pub passphrase_env: Option<String>,
    pub passphrase_credential: Option<String>,
    pub key_file: Option<PathBuf>,
    pub key_credential: Option<String>,
    pub prompt: bool,
    pub sealed: bool,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug))]
#[serde(deny_unknown_fields)]
pub(super) struct BackupSettings {
    pub enabled: bool,
    pub period_seconds: u64,
    pub dir: PathBuf,
    pub keep: u32,
    pub include_identity: bool,
    #[serde(deserialize_with = "list_or_text")]
    pub recipients: Vec<String>,
    pub passphrase_file: Option<PathBuf>,
    pub passphrase_env: Option<String>,
}

#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug))]
#[serde(deny_unknown_fields)]
pub(super) struct PolicySettings {
    pub initiator: KeySettings,
    pub allow_legacy_path: bool,
    pub allow_minority_threshold: bool,
    pub required_authorizers: Vec<String>,
    #[serde(default)]
    pub authorizers: BTreeMap<String, KeySettings>,
}

#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug))]
#[serde(deny_unknown_fields)]
pub(super) struct KeySettings {
    #[serde(default)]
    pub algorithm: Algorithm,
    pub public_key: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug))]
#[serde(deny_unknown_fields)]
pub(super) struct NatsSettings {
    #[serde(deserialize_with = "list_or_text")]
    pub servers: Vec<String>,
    pub user: Option<String>,
    pub password_file: Option<PathBuf>,
    pub password_env: Option<String>,
    pub token_file: Option<PathBuf>,
    pub token_env: Option<String>,
    pub nkey_file: Option<PathBuf>,
    pub credentials_file: Option<PathBuf>,
    pub tls: NatsTlsSettings,
}

#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug))]
#[serde(deny_unknown_fields)]
pub(super) struct NatsTlsSettings {
    pub required: bool,
    pub ca_file: Option<PathBuf>,
    pub client_cert_file: Option<PathBuf>,
    pub client_key_file: Option<PathBuf>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug))]
#[serde(deny_unknown_fields)]
pub(super) struct DiscoverySettings {
    pub backend: DiscoveryBackend,
    pub lease_ttl_ms: u64,
    pub bucket: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug))]
#[serde(deny_unknown_fields)]
pub(super) struct GatewaySettings {
    pub mpcium: bool,
    pub native: bool,
    pub max_in_flight_keygen: Option<u32>,
    pub max_in_flight_signing: Option<u32>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug))]
#[serde(deny_unknown_fields)]
pub(super) struct HealthSettings {
    pub enabled: bool,
    pub address: String,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug))]
#[serde(deny_unknown_fields)]
pub(super) struct ShutdownSettings {
    pub drain_ms: u64,
}

#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug))]
#[serde(deny_unknown_fields)]
pub(super) struct ProcessSettings {
    pub allow_dumps: bool,
    pub lock_memory: LockMemory,
}

#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug))]
#[serde(deny_unknown_fields)]
pub(super) struct LogSettings {
    pub level: LogLevel,
    pub format: LogFormat,
}

impl Default for NodeSettings {
    fn default() -> Self {
        Self {
            name: None,
            data_dir: "data".into(),
            peers_file: "peers.json".into(),
            identity_dir: "identity".into(),
            identity_passphrase_file: None,
        }
    }
}

impl Default for ClusterSettings {
    fn default() -> Self {
        Self { id: "quorate".to_owned(), threshold: 2, chain_code: None }
    }
}

impl Default for LinkSettings {
    fn default() -> Self {
        Self { heartbeat_interval_ms: 1_000, heartbeat_misses: 3 }
    }
}

impl Default for PairingSettings {
    fn default() -> Self {
        Self { deadline_ms: 60_000, refresh_days: 0 }
    }
}

impl Default for KeygenSettings {
    fn default() -> Self {
        Self { deadline_ms: 30_000, max_concurrent: 32 }
    }
}

impl Default for SigningSettings {
    fn default() -> Self {
        Self { deadline_ms: 30_000, max_concurrent: 256, on_peer_failure: OnPeerFailure::Abort }
    }
}

impl Default for BackupSettings {
    fn default() -> Self {
        Self {
            enabled: false,
            period_seconds: 3_600,
            dir: "backups".into(),
            keep: 7,
            include_identity: false,
            recipients: Vec::new(),
            passphrase_file: None,
            passphrase_env: None,
        }
    }
}

impl Default for NatsSettings {
    fn default() -> Self {
        Self {
            servers: vec!["nats://127.0.0.1:4222".to_owned()],
            user: None,
            password_file: None,
            password_env: None,
            token_file: None,
            token_env: None,
            nkey_file: None,
            credentials_file: None,
            tls: NatsTlsSettings::default(),
        }
    }
}

impl Default for DiscoverySettings {
    fn default() -> Self {
        Self { backend: DiscoveryBackend::Nats, lease_ttl_ms: 6_000, bucket: None }
    }
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self { mpcium: true, native: true, max_in_flight_keygen: None, max_in_flight_signing: None }
    }
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self { enabled: true, address: "127.0.0.1:8080".to_owned() }
    }
}

impl Default for ShutdownSettings {
    fn default() -> Self {
        Self { drain_ms: 20_000 }
    }
}

impl Settings {
    /// One `section.key = value` per line, values as JSON. What is not set is left out.
    pub(super) fn lines(&self) -> Result<String, serde_json::Error> {
        let mut text = String::new();
        write_lines(&mut text, "", &serde_json::to_value(self)?);
        Ok(text)
    }
}

fn write_lines(text: &mut String, key: &str, value: &Value) {
    match value {
        Value::Null => {}
        Value::Object(fields) => {
            for (name, value) in fields {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                write_lines(text, &key, value);
            }
        }
        value => text.extend([key, " = ", &value.to_string(), "\n"]),
    }
}

/// A list of texts, or one text with commas between: environment variables are easier to write so.
fn list_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a list")]
    enum Given {
        List(Vec<String>),
        Text(String),
    }
    Ok(match Given::deserialize(deserializer)? {
        Given::List(list) => list,
        Given::Text(text) => text.split(',').map(|item| item.trim().to_owned()).collect(),
    })
}
