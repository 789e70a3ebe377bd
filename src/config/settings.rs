//! The configuration as files and variables write it: plain values with their defaults.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

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
    pub storage: StorageSettings,
    pub policy: PolicySettings,
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
pub(super) struct StorageSettings {
    pub passphrase_file: Option<PathBuf>,
    pub passphrase_env: Option<String>,
    pub key_file: Option<PathBuf>,
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
        Self { deadline_ms: 60_000 }
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
