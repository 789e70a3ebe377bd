//! What can go wrong with the store, and what an operator can do about it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::Family;
use crate::error::Code;
use crate::ids::{ClusterId, NodeId};
use crate::secret::SecretBytes;

/// The longest key that is repeated in an error, in bytes. A longer one is shown by its beginning.
const MAX_SHOWN_BYTES: usize = 64;

/// A record's key as errors show it: visible ASCII as it is, anything else as hex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownKey(String);

impl ShownKey {
    /// Makes a key fit to be shown.
    #[must_use]
    pub fn of(key: &[u8]) -> Self {
        let shown = key.get(..MAX_SHOWN_BYTES).unwrap_or(key);
        let ellipsis = if shown.len() < key.len() { "..." } else { "" };
        match std::str::from_utf8(shown) {
            Ok(text) if text.bytes().all(|byte| byte.is_ascii_graphic()) => Self(format!("{text}{ellipsis}")),
            _ => Self(format!("0x{}{ellipsis}", hex::encode(shown))),
        }
    }
}

impl fmt::Display for ShownKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a question to the storage actor reads or writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It only reads.
    Read,
    /// It writes. Without an answer, whether it took effect is open: read before you try again.
    Write,
}

/// A condition of a batch did not hold, so that nothing of the batch was written.
#[derive(Debug, thiserror::Error)]
#[error("a condition on {family}/{} does not hold", ShownKey::of(.key))]
pub struct ConditionFailed {
    /// The family of the record that the condition is on.
    pub family: Family,
    /// The record's key.
    pub key: Vec<u8>,
    /// What is stored there, if anything is.
    pub existing: Option<SecretBytes>,
}

/// A failure of the store. Cloned, because all members of a failed group get the same one.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StorageError {
    /// The given passphrase or key does not unwrap the store key.
    #[error("failed to unlock the store: wrong passphrase or key")]
    WrongKey,
    /// The store is locked by another kind of key than the given one.
    #[error("failed to unlock the store: it is locked with {stored}, and {given} was given")]
    WrongKeyKind {
        /// What the store is locked with.
        stored: &'static str,
        /// What was given.
        given: &'static str,
    },
    /// A passphrase or key that cannot lock a store.
    #[error("failed to use the store's passphrase or key: {problem}")]
    InvalidKey {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Argon2 parameters out of their limits, given or stored.
    #[error("failed to accept the parameters of the passphrase's hash: {problem}")]
    KdfParameters {
        /// What is wrong with them.
        problem: &'static str,
    },
    /// A record does not open: altered, moved from another place, or damaged.
    #[error("failed to open a record of {family} (key {key}): it was altered or is damaged")]
    Damaged {
        /// The record's family.
        family: Family,
        /// The record's key.
        key: ShownKey,
    },
    /// The header or the database's own files are damaged.
    #[error("failed to read the store's files: {problem}")]
    DamagedFiles {
        /// What is damaged, as far as it is known.
        problem: Arc<str>,
    },
    /// Written by a newer release.
    #[error("failed to read the store: its format {found} is newer than {supported}, the newest this release knows")]
    NewerFormat {
        /// The format found.
        found: u16,
        /// The newest format that this release reads.
        supported: u16,
    },
    /// The folder belongs to another node.
    #[error("failed to open the store: it belongs to node {found}, and this node is {expected}")]
    OtherNode {
        /// Whose store it is.
        found: NodeId,
        /// Who wanted to open it.
        expected: NodeId,
    },
    /// The folder belongs to a node of another cluster.
    #[error("failed to open the store: it belongs to cluster {found}, and this node is in {expected}")]
    OtherCluster {
        /// Which cluster's store it is.
        found: ClusterId,
        /// The cluster of the node that wanted to open it.
        expected: ClusterId,
    },
    /// Another process, or another node in this process, has the store open.
    #[error("failed to lock the store in {}: it is in use", folder.display())]
    InUse {
        /// The store's folder.
        folder: PathBuf,
    },
    /// The folder cannot be created or written to.
    #[error("failed to use {} as the store's folder: {problem}", folder.display())]
    FolderUnusable {
        /// The folder.
        folder: PathBuf,
        /// The operating system's reason.
        problem: Arc<str>,
    },
    /// The former life of the storage actor still holds the store.
    #[error("failed to open the store: its former use has not ended")]
    StillOpen,
    /// There is no secret to unlock the store with: the node is sealed.
    #[error("failed to open the store: it is sealed")]
    Sealed,
    /// The database failed to read.
    #[error("failed to read from the store: {problem}")]
    Read {
        /// The database's reason.
        problem: Arc<str>,
    },
    /// The database failed to write. Whether the write took effect is open until the store is opened anew.
    #[error("failed to write to the store: {problem}")]
    Write {
        /// The database's reason.
        problem: Arc<str>,
    },
    /// The store is locked with the new secret, and the former lock may still be in its files.
    #[error("failed to clear the former lock from the store's files, though the new one holds: {problem}")]
    LockRemains {
        /// Why.
        problem: Arc<str>,
    },
    /// The operating system gave no randomness.
    #[error("failed to draw randomness for the store")]
    Randomness,
    /// A key, a value, or a batch is larger than its limit, or a key is empty.
    #[error("failed to accept a write: {what} of {len} exceeds the limits of 1 to {max}")]
    OutOfLimits {
        /// What is out of its limits, with its unit.
        what: &'static str,
        /// Its size.
        len: usize,
        /// The largest accepted size.
        max: usize,
    },
    /// A condition of the batch did not hold.
    #[error(transparent)]
    ConditionFailed(Arc<ConditionFailed>),
    /// Too many reads or writes are waiting.
    #[error("failed to accept another {}: too many wait", match access { Access::Read => "read", Access::Write => "write" })]
    Busy {
        /// Which of the two queues is full.
        access: Access,
    },
    /// A backup is being read out of the store: what it sees cannot leave the files.
    #[error("failed to clear the store's files: a backup is being read out of them")]
    Exporting,
    /// A backup took longer than what was erased may stay in the files.
    #[error("failed to read the whole store: what was erased had to leave its files")]
    Cleared,
    /// The storage actor is not there, or ended before it answered.
    #[error("failed to reach the store: it is not running")]
    Unavailable {
        /// What was asked of it.
        access: Access,
    },
    /// The storage actor did not answer in time.
    #[error("failed to get the store's answer in time")]
    Timeout {
        /// What was asked of it.
        access: Access,
    },
}

impl StorageError {
    /// The stable code of the failure.
    ///
    /// A [`StorageError::ConditionFailed`] is an outcome rather than a failure. Who sets conditions knows what theirs
    /// mean; the code here is for those who pass it on unread.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Damaged { .. } | Self::DamagedFiles { .. } => Code::DataCorruption,
            Self::WrongKey
            | Self::WrongKeyKind { .. }
            | Self::InvalidKey { .. }
            | Self::KdfParameters { .. }
            | Self::NewerFormat { .. }
            | Self::OtherNode { .. }
            | Self::OtherCluster { .. }
            | Self::InUse { .. }
            | Self::FolderUnusable { .. }
            | Self::StillOpen
            | Self::Sealed
            | Self::Read { .. }
            | Self::Timeout { access: Access::Read } => Code::StorageRead,
            Self::Write { .. }
            | Self::LockRemains { .. }
            | Self::Randomness
            | Self::OutOfLimits { .. }
            | Self::Timeout { access: Access::Write } => Code::StorageWrite,
            Self::ConditionFailed(_) => Code::SessionDuplicate,
            Self::Busy { .. } | Self::Exporting => Code::ConcurrencyLimit,
            Self::Unavailable { .. } | Self::Cleared => Code::Cancelled,
        }
    }

    /// What an operator can do, where there is something.
    #[must_use]
    pub const fn advice(&self) -> Option<&'static str> {
        Some(match self {
            Self::WrongKey => "check the configured passphrase or key file; nothing was changed",
            Self::WrongKeyKind { .. } => "configure the kind of secret that the store was locked with",
            Self::InvalidKey { .. } => "give a passphrase that is not empty, or a key of exactly 32 bytes",
            Self::KdfParameters { .. } => {
                "leave the parameters at their default; if they were read from the store, restore a backup"
            }
            Self::Damaged { .. } | Self::DamagedFiles { .. } => {
                "stop the node, check the disk, keep a copy of the folder, and restore the last good backup"
            }
            Self::NewerFormat { .. } => "run the release that wrote the store, or a newer one",
            Self::OtherNode { .. } | Self::OtherCluster { .. } => {
                "check the configured folder, node and cluster: a store is never moved between nodes"
            }
            Self::InUse { .. } => "stop the other process that uses the folder, or configure another folder",
            Self::FolderUnusable { .. } => "create the folder, or let the node's user write to it",
            Self::Write { .. } => "check free space and health of the disk; the node opens its store anew",
            Self::LockRemains { .. } => {
                "the new one is the one that counts; change it once more to clear the former one"
            }
            Self::Sealed => "unseal the node",
            Self::Cleared => "nothing, if it happens once: the next backup is made in a minute",
            Self::StillOpen
            | Self::Read { .. }
            | Self::Randomness
            | Self::OutOfLimits { .. }
            | Self::ConditionFailed(_)
            | Self::Busy { .. }
            | Self::Exporting
            | Self::Unavailable { .. }
            | Self::Timeout { .. } => return None,
        })
    }

    /// The database's failure to read, sorted by its kind.
    pub(super) fn reading(error: &rocksdb::Error) -> Self {
        let problem = Arc::from(error.as_ref());
        match error.kind() {
            rocksdb::ErrorKind::Corruption => Self::DamagedFiles { problem },
            _ => Self::Read { problem },
        }
    }

    /// The database's failure to write.
    pub(super) fn writing(error: &rocksdb::Error) -> Self {
        Self::Write { problem: Arc::from(error.as_ref()) }
    }
}
