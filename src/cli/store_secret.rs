//! What unlocks a node's store, for commands: from a flag's file, typed, or as the configuration says.

use std::path::PathBuf;

use clap::Args;

use super::Failed;
use super::passphrase::{new_passphrase_at, typed};
use crate::admin::Secret;
use crate::config::{Config, Environment, StorageKeySource, StorageSecret, read_key_file, read_passphrase_file};
use crate::identity::PeerList;
use crate::ids::NodeId;
use crate::storage::KeySource;

/// What unlocks the store now.
#[derive(Args)]
pub(super) struct StoreSecretArgs {
    /// Ask for the passphrase of the store, instead of what the configuration says.
    #[arg(long)]
    prompt_credentials: bool,
    /// A file with the passphrase of the store, instead of what the configuration says.
    #[arg(long, value_name = "FILE", conflicts_with = "prompt_credentials")]
    password_file: Option<PathBuf>,
    /// A file with the key of the store, instead of what the configuration says.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prompt_credentials", "password_file"])]
    key_file: Option<PathBuf>,
}

impl StoreSecretArgs {
    /// The secret that opens the store of a configured node.
    pub(super) fn read(&self, config: &Config, environment: &Environment) -> Result<StorageSecret, Failed> {
        if let Some(given) = self.given()? {
            return Ok(given);
        }
        match &config.storage_key {
            StorageKeySource::Prompt | StorageKeySource::Sealed => self.ask(),
            source => Ok(source.read(environment)?),
        }
    }

    /// The secret that unseals a node: the configuration says nothing of it.
    pub(super) fn read_or_ask(&self) -> Result<StorageSecret, Failed> {
        self.given()?.map_or_else(|| self.ask(), Ok)
    }

    fn given(&self) -> Result<Option<StorageSecret>, Failed> {
        if self.prompt_credentials {
            return self.ask().map(Some);
        }
        let passphrase = self.password_file.as_ref().map(|file| read_passphrase_file("--password-file", file));
        let key = self.key_file.as_ref().map(|file| read_key_file("--key-file", file));
        let passphrase = passphrase.transpose()?.map(StorageSecret::Passphrase);
        Ok(passphrase.or(key.transpose()?.map(StorageSecret::Key)))
    }

    #[expect(clippy::unused_self, reason = "it is one way to read what these arguments name")]
    fn ask(&self) -> Result<StorageSecret, Failed> {
        typed("Passphrase of the store: ").map(StorageSecret::Passphrase)
    }
}

/// What is to unlock the store from now on.
#[derive(Args)]
pub(super) struct NewStoreSecretArgs {
    /// A file with the new passphrase. Without this and the next one, it is asked for, twice.
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<PathBuf>,
    /// A file with the new key: 32 bytes as they are, or 64 hex digits.
    #[arg(long, value_name = "FILE", conflicts_with = "new_password_file")]
    new_key_file: Option<PathBuf>,
}

impl NewStoreSecretArgs {
    pub(super) fn read(&self) -> Result<StorageSecret, Failed> {
        match &self.new_key_file {
            Some(file) => Ok(StorageSecret::Key(read_key_file("--new-key-file", file)?)),
            None => {
                let passphrase = new_passphrase_at(
                    "--new-password-file",
                    self.new_password_file.as_deref(),
                    "New passphrase of the store: ",
                );
                passphrase.map(StorageSecret::Passphrase)
            }
        }
    }
}

/// What opens a store with it.
pub(super) fn key_source(secret: StorageSecret) -> Result<KeySource, Failed> {
    let source = match secret {
        StorageSecret::Passphrase(passphrase) => KeySource::passphrase(passphrase),
        StorageSecret::Key(key) => KeySource::key(key),
    };
    source.map_err(|error| Failed::Usage(error.into()))
}

/// The same, to be sent to the node.
pub(super) fn to_send(secret: &StorageSecret) -> Result<Secret, Failed> {
    match secret {
        StorageSecret::Passphrase(passphrase) => Secret::passphrase(passphrase)
            .ok_or_else(|| Failed::Usage(anyhow::anyhow!("the passphrase is not UTF-8 text: stop the node first"))),
        StorageSecret::Key(key) => Ok(Secret::key(key)),
    }
}

/// The id of the configured node.
pub(super) fn node_id(config: &Config) -> Result<NodeId, Failed> {
    let (name, file) = (&config.node.name, &config.node.peers_file);
    PeerList::load(file)?
        .id_of(name)
        .ok_or_else(|| Failed::Usage(anyhow::anyhow!("{} lists no node named {name}", file.display())))
}
