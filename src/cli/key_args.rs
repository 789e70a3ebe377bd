//! What every command that makes a key is told about its files.

use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::Failed;
use super::passphrase::new_passphrase;
use crate::identity::{self, DEFAULT_WORK_FACTOR, Existing, Protection};
use crate::secret::SecretBytes;

/// How the files of a new key are written.
#[derive(Args)]
pub(super) struct KeyArgs {
    /// Encrypt the private key under a passphrase (age with scrypt). It is asked for twice.
    #[arg(short, long)]
    encrypt: bool,
    /// Read the passphrase from this file instead of asking for it.
    #[arg(long, value_name = "FILE", requires = "encrypt")]
    password_file: Option<PathBuf>,
    /// Replace files that exist: the key in them is lost.
    #[arg(short, long, visible_alias = "overwrite")]
    force: bool,
}

impl KeyArgs {
    /// What becomes of files that exist.
    pub(super) const fn existing(&self) -> Existing {
        existing(self.force)
    }

    /// The passphrase, if there shall be one.
    pub(super) fn passphrase(&self) -> Result<Option<SecretBytes>, Failed> {
        self.encrypt.then(|| new_passphrase(self.password_file.as_deref())).transpose()
    }
}

/// How a private key is protected, with a passphrase or without.
pub(super) const fn protection(passphrase: Option<&SecretBytes>) -> Protection<'_> {
    match passphrase {
        None => Protection::FileMode,
        Some(passphrase) => Protection::Passphrase { passphrase, work_factor: DEFAULT_WORK_FACTOR },
    }
}

pub(super) const fn existing(force: bool) -> Existing {
    if force { Existing::Replace } else { Existing::Keep }
}

/// Makes the directory of key files, for this user only, if it is not there.
pub(super) fn make_directory(directory: &Path) -> Result<(), Failed> {
    match std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            let unusable = format!("failed to make the directory {}", directory.display());
            Err(Failed::Usage(anyhow::Error::new(error).context(unusable)))
        }
        _ => Ok(()),
    }
}

/// The algorithm of an initiator's or an authorizer's key.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Algorithm {
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// ECDSA on P-256 with SHA-256.
    P256,
}

impl From<Algorithm> for identity::Algorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Ed25519 => Self::Ed25519,
            Algorithm::P256 => Self::P256,
        }
    }
}
