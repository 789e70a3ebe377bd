//! What can go wrong with backups, and what an operator can do about it.

use std::path::{Path, PathBuf};

use crate::error::Code;
use crate::ids::{ClusterId, NodeId};
use crate::storage::{Family, ShownKey, StorageError};

/// Why a backup was not made, not read or not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The store failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A folder or a file cannot be read.
    #[error("failed to read {}: {source}", path.display())]
    Read {
        /// The folder or the file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A folder or a file cannot be written: also where the disk is full, or the folder of backups is missing.
    #[error("failed to write {}: {source}", path.display())]
    Write {
        /// The folder or the file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// Something else is making or clearing away backups of this node.
    #[error("failed to make a backup in {}: another one is being made there", folder.display())]
    Busy {
        /// The folder of backups.
        folder: PathBuf,
    },
    /// Something else restores a store into the same folder.
    #[error("failed to restore into {}: something else is being restored there", folder.display())]
    Restoring {
        /// The folder in which the store is to be.
        folder: PathBuf,
    },
    /// Backups cannot be encrypted with what was given.
    #[error("failed to use what backups are encrypted with: {problem}")]
    Seal {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// What backups are encrypted with cannot be read.
    #[error("{0}")]
    Secret(String),
    /// The file is no backup.
    #[error("{} is no backup", path.display())]
    NotABackup {
        /// The file.
        path: PathBuf,
    },
    /// Written by a newer release.
    #[error("failed to read the backup: its format {found} is newer than {supported}, the newest this release knows")]
    NewerFormat {
        /// The format found.
        found: u16,
        /// The newest format that this release reads.
        supported: u16,
    },
    /// None of the keys, or not the passphrase, opens it.
    #[error("failed to decrypt the backup: wrong passphrase, or none of the given keys is for it")]
    WrongKey,
    /// It wants a key and was given a passphrase, or the other way round.
    #[error("failed to decrypt the backup: it is encrypted to {stored}, and {given} was given")]
    WrongKeyKind {
        /// What it is encrypted to.
        stored: &'static str,
        /// What was given.
        given: &'static str,
    },
    /// Its passphrase takes more work than is accepted.
    #[error("failed to decrypt the backup: its passphrase asks for the work factor {0}")]
    Work(u8),
    /// It was altered, cut short, or is damaged.
    #[error("the backup was altered, cut short, or is damaged: {0}")]
    Damaged(&'static str),
    /// It is another cluster's or another node's.
    #[error("the backup is of node {node} in cluster {cluster}, not of this one")]
    Foreign {
        /// Its cluster.
        cluster: ClusterId,
        /// Its node.
        node: NodeId,
    },
    /// The node that it says it is of has not signed it.
    #[error(
        "the backup is not signed by node {node}, of which it says it is: somebody else made it, or the node's identity is another one now"
    )]
    Author {
        /// The node.
        node: NodeId,
    },
    /// A differential backup does not fit to the full one that its name leads to.
    #[error("{} is not the full backup that the differential one rests on", path.display())]
    OtherBase {
        /// The full backup.
        path: PathBuf,
    },
    /// A record in it is not what it should be.
    #[error("the backup holds a record of {family} (key {key}) that is not good: {problem}")]
    Record {
        /// The record's family.
        family: Family,
        /// The record's key.
        key: ShownKey,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// There is no backup of this node in the folder.
    #[error("there is no backup of {name} in {}", folder.display())]
    None {
        /// The folder.
        folder: PathBuf,
        /// The node's name.
        name: String,
    },
    /// There is something where the store is to be restored.
    #[error("failed to restore to {}: there is something already", path.display())]
    Occupied {
        /// The place.
        path: PathBuf,
    },
    /// Whoever made the backup was told to stop.
    #[error("the backup was interrupted")]
    Interrupted,
}

impl BackupError {
    /// The stable code of the failure.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Storage(error) => error.code(),
            Self::Write { .. } | Self::Seal { .. } | Self::Occupied { .. } => Code::StorageWrite,
            Self::Busy { .. } | Self::Restoring { .. } => Code::ConcurrencyLimit,
            Self::Interrupted => Code::Cancelled,
            Self::Damaged(_) | Self::Author { .. } | Self::OtherBase { .. } | Self::Record { .. } => {
                Code::DataCorruption
            }
            Self::Read { .. }
            | Self::Secret(_)
            | Self::NotABackup { .. }
            | Self::NewerFormat { .. }
            | Self::WrongKey
            | Self::WrongKeyKind { .. }
            | Self::Work(_)
            | Self::Foreign { .. }
            | Self::None { .. } => Code::StorageRead,
        }
    }

    /// Whether somebody has to give something else. Otherwise the work failed.
    #[must_use]
    pub const fn is_setup(&self) -> bool {
        matches!(
            self,
            Self::Seal { .. }
                | Self::Secret(_)
                | Self::NotABackup { .. }
                | Self::NewerFormat { .. }
                | Self::WrongKey
                | Self::WrongKeyKind { .. }
                | Self::Work(_)
                | Self::Foreign { .. }
                | Self::None { .. }
                | Self::Occupied { .. }
        )
    }

    pub(super) fn reading(path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        |source| Self::Read { path, source }
    }

    pub(super) fn writing(path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        |source| Self::Write { path, source }
    }

    pub(super) fn record(family: Family, key: &[u8], problem: &'static str) -> Self {
        Self::Record { family, key: ShownKey::of(key), problem }
    }
}
