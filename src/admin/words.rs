//! What can be asked of a node over its socket, and what it answers: JSON, one object per line.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::error::Code;
use crate::ids::{NodeId, WalletId};
use crate::secret::SecretBytes;
use crate::storage::{KeySource, StorageError};

/// A command.
#[derive(Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Make a backup now.
    Backup {
        /// A full one; otherwise one that holds what has changed, if that is much smaller.
        full: bool,
    },
    /// Lock the store with another secret.
    Rekey {
        /// What unlocks it now.
        current: Secret,
        /// What is to unlock it.
        new: Secret,
    },
    /// Draw a new key for the store, and seal every record anew with it.
    Rotate {
        /// What unlocks the store.
        secret: Secret,
    },
    /// Close the store, and wipe all that came out of it.
    Seal {},
    /// Open the store of a sealed node.
    Unseal {
        /// What unlocks it.
        secret: Secret,
    },
    /// Let restored wallets out of quarantine that nobody else can confirm.
    Release {
        /// Which ones; all where none is named.
        wallets: Vec<WalletId>,
    },
    /// Tell how the node is.
    Status {},
}

/// What unlocks a store. Never printed, wiped when dropped.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Secret {
    /// A passphrase: UTF-8 text.
    Passphrase(SecretText),
    /// A key of 32 bytes, as 64 hex digits.
    Key(SecretText),
}

impl Secret {
    /// A passphrase. Bytes that are no UTF-8 text cannot travel.
    #[must_use]
    pub fn passphrase(passphrase: &SecretBytes) -> Option<Self> {
        let text = std::str::from_utf8(passphrase.expose()).ok()?;
        Some(Self::Passphrase(SecretText(Zeroizing::new(text.to_owned()))))
    }

    /// A key.
    #[must_use]
    pub fn key(key: &SecretBytes) -> Self {
        Self::Key(SecretText(Zeroizing::new(hex::encode(key.expose()))))
    }

    /// What unlocks a store with it.
    ///
    /// # Errors
    /// When it cannot unlock any.
    pub fn source(&self) -> Result<KeySource, StorageError> {
        match self {
            Self::Passphrase(text) => KeySource::passphrase(SecretBytes::copy_from(text.0.as_bytes())),
            Self::Key(text) => {
                let mut key = Zeroizing::new([0; 32]);
                hex::decode_to_slice(text.0.as_bytes(), &mut *key)
                    .map_err(|_| StorageError::InvalidKey { problem: "the key is not 64 hex digits" })?;
                KeySource::key(SecretBytes::copy_from(&*key))
            }
        }
    }
}

/// Text that is secret.
pub struct SecretText(Zeroizing<String>);

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

/// What becomes of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It is done.
    Done(Done),
    /// It is not.
    Refused(Refused),
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{problem}")]
pub struct Refused {
    /// The stable code.
    pub code: Code,
    /// What is wrong, for the operator.
    pub problem: String,
}

impl From<&StorageError> for Refused {
    fn from(error: &StorageError) -> Self {
        Self { code: error.code(), problem: error.to_string() }
    }
}

/// A command that was carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Done {
    /// A backup was made.
    Backup(BackupDone),
    /// The store is locked with the new secret.
    Rekeyed,
    /// So many records are sealed with a new key.
    Rotated(u64),
    /// The node is sealed.
    Sealed,
    /// The node is unsealed.
    Unsealed,
    /// So many wallets are out of quarantine.
    Released(u64),
    /// How the node is.
    Status(Box<NodeState>),
}

/// A backup that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupDone {
    /// Where it is, as the node names it.
    pub path: PathBuf,
    /// Whether it is a full one.
    pub full: bool,
    /// The records in it.
    pub records: u64,
    /// How long the file is.
    pub bytes: u64,
    /// Old backups that went.
    pub removed: Vec<PathBuf>,
    /// What went wrong after it was in its place; it is good all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// How a node is, for its operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeState {
    /// Its name.
    pub name: String,
    /// Its id.
    pub node_id: NodeId,
    /// Which program it runs.
    pub version: String,
    /// Whether its store is closed, and all that came out of it wiped.
    pub sealed: bool,
    /// How long the node has been running.
    pub uptime_seconds: u64,
    /// Wallets that were restored and that other members have not confirmed.
    pub quarantined: Vec<WalletId>,
    /// Its backups, if it can make any.
    pub backup: Option<BackupStatus>,
}

/// How a node's backups are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupStatus {
    /// Whether one is being made.
    pub running: bool,
    /// How old the newest one is.
    pub age_seconds: Option<u64>,
    /// How many were made since the node, or its backup actor, started.
    pub made: u64,
    /// How many failed.
    pub failed: u64,
    /// Why the last try failed, if it did.
    pub last_problem: Option<String>,
}
