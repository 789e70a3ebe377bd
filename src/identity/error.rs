//! What can be wrong with identities and their files.

use std::io;
use std::path::PathBuf;

use crate::error::Code;
use crate::ids::{NodeId, NodeName};

/// Why an identity or a peer book cannot be used. Each text names the file and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file could not be read.
    #[error("failed to read {}: check that it exists and that this user may read it", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file could not be written.
    #[error("failed to write {}: check its directory and the space left", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file to be written exists.
    #[error("{} exists already: move it away, or ask for it to be replaced", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A file is longer than any of its kind.
    #[error("{} is longer than {max} bytes: it is no file of this kind", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        max: usize,
    },
    /// A file's content breaks its rules.
    #[error("invalid {}: {problem}; {fix}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong. Never repeats key material.
        problem: String,
        /// What to do.
        fix: &'static str,
    },
    /// An encrypted key was found, and no passphrase was given.
    #[error("{} is encrypted: give its passphrase", path.display())]
    PassphraseMissing {
        /// The file.
        path: PathBuf,
    },
    /// Decryption failed.
    #[error("failed to decrypt {}: the passphrase is wrong or the file is damaged", path.display())]
    Decrypt {
        /// The file.
        path: PathBuf,
    },
    /// Opening the file would take more work than allowed.
    #[error("{} asks for a scrypt work factor of {required}: encrypt the key again with a lower one", path.display())]
    WorkFactor {
        /// The file.
        path: PathBuf,
        /// The work factor it asks for, as a power of two.
        required: u8,
    },
    /// Encryption failed, or a work factor or passphrase cannot be used.
    #[error("failed to encrypt a private key: {0}")]
    Encrypt(&'static str),
    /// The operating system gave no random bytes.
    #[error("failed to get random bytes from the operating system")]
    Random,
    /// A peer book's members break a rule.
    #[error("invalid peer book: {problem}; correct peers.json and the identity files")]
    PeerBook {
        /// What is wrong.
        problem: &'static str,
    },
    /// This node's own identity is not the one that the peer book lists.
    #[error("node {name} is not in the peer book as itself: {problem}")]
    NotMyself {
        /// The node.
        name: NodeName,
        /// What differs.
        problem: &'static str,
    },
    /// A signature of a node that the peer book does not list.
    #[error("node {0} is not in the peer book")]
    UnknownNode(NodeId),
    /// A node's signature does not verify.
    #[error("failed to verify a signature of node {0}")]
    Signature(NodeId),
}

impl IdentityError {
    /// The stable code of the error.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::UnknownNode(_) | Self::Signature(_) => Code::ProtocolViolation,
            _ => Code::Internal,
        }
    }
}
