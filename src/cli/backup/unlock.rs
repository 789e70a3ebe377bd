//! What opens backups, for commands.

use std::path::PathBuf;

use clap::Args;

use super::super::Failed;
use super::super::passphrase::typed;
use crate::backup::Unlock;
use crate::config::{BackupSeal, Config, Environment, read_passphrase_file};

/// What opens a backup. Without any of these, the passphrase that the configuration names, or one that is asked for.
#[derive(Args)]
pub(super) struct UnlockArgs {
    /// A file with age private keys (AGE-SECRET-KEY-1...), as age-keygen makes it.
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// A file with the passphrase of the backup.
    #[arg(long, value_name = "FILE", conflicts_with = "identity")]
    backup_password_file: Option<PathBuf>,
}

impl UnlockArgs {
    pub(super) fn read(&self, config: Option<&Config>, environment: &Environment) -> Result<Unlock, Failed> {
        if let Some(file) = &self.identity {
            return Ok(Unlock::identities(&read_passphrase_file("--identity", file)?)?);
        }
        if let Some(file) = &self.backup_password_file {
            return Ok(Unlock::passphrase(read_passphrase_file("--backup-password-file", file)?));
        }
        match config.and_then(|config| config.backup.seal.as_ref()) {
            Some(BackupSeal::Passphrase(source)) => Ok(Unlock::passphrase(source.read(environment)?)),
            Some(BackupSeal::Recipients(_)) => Err(Failed::Usage(anyhow::anyhow!(
                "backups are encrypted to age recipients: give a file with a private key of one of them with --identity"
            ))),
            None => Ok(Unlock::passphrase(typed("Passphrase of the backup: ")?)),
        }
    }
}
