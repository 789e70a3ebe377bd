//! `quorate storage`: what unlocks a node's store.

use anyhow::anyhow;
use clap::{Args, Subcommand};

use super::config_check::ConfigArgs;
use super::store_secret::{NewStoreSecretArgs, StoreSecretArgs, key_source, node_id, to_send};
use super::{Failed, protection, tell};
use crate::admin::{AskError, Command, Done, ask, socket_path};
use crate::config::{Config, Environment};
use crate::service::store_options;
use crate::storage::{Store, StoreOptions};

#[derive(Subcommand)]
pub(super) enum StorageCommand {
    /// Locks the store with another passphrase or key: by the node if it runs, directly if it does not.
    Rekey(RekeyArgs),
    /// Draws a new key for the store, and seals every record anew with it: by the node if it runs, directly if it does not.
    Rotate(RotateArgs),
}

/// Draws a new key for the store, and seals every record anew with it. Cut off at any moment, the store stays usable: run it
/// again, and it goes on.
#[derive(Args)]
pub(super) struct RotateArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    secret: StoreSecretArgs,
}

/// Locks the store with another passphrase or key. Then the configuration has to name the new one.
#[derive(Args)]
pub(super) struct RekeyArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    current: StoreSecretArgs,
    #[command(flatten)]
    new: NewStoreSecretArgs,
}

impl StorageCommand {
    pub(super) fn run(self) -> Result<(), Failed> {
        match self {
            Self::Rekey(args) => args.run(),
            Self::Rotate(args) => args.run(),
        }
    }
}

impl RotateArgs {
    fn run(self) -> Result<(), Failed> {
        protection::close()?;
        let environment = Environment::of_process();
        let config = self.config.load(&environment)?;
        let secret = self.secret.read(&config, &environment)?;
        let command = Command::Rotate { secret: to_send(&secret)? };
        let records = match ask(&socket_path(&config.node.data_dir, &config.node.name), &command) {
            Ok(Done::Rotated(records)) => records,
            Ok(_) => return Err(Failed::Work(anyhow!("the node answered something else"))),
            Err(AskError::NotRunning) => {
                let options = existing_store(&config)?;
                let key = key_source(secret)?;
                let store = Store::open(options, &key).map_err(|error| Failed::Work(error.into()))?;
                store.rotate(&key, |_| true).map_err(|error| Failed::Work(error.into()))?
            }
            Err(error) => return Err(Failed::Work(error.into())),
        };
        tell(&format!(
            "{records} records are sealed with a new key. Copies of the store from before still open with the former one.\n"
        ))
    }
}

/// Where the store of a configured node is. Opening would make one where there is none.
fn existing_store(config: &Config) -> Result<StoreOptions, Failed> {
    let options = store_options(config, node_id(config)?);
    if options.folder.join("CURRENT").exists() {
        return Ok(options);
    }
    Err(Failed::Usage(anyhow!("there is no store in {}", options.folder.display())))
}

impl RekeyArgs {
    fn run(self) -> Result<(), Failed> {
        protection::close()?;
        let environment = Environment::of_process();
        let config = self.config.load(&environment)?;
        let current = self.current.read(&config, &environment)?;
        let new = self.new.read()?;
        let command = Command::Rekey { current: to_send(&current)?, new: to_send(&new)? };
        match ask(&socket_path(&config.node.data_dir, &config.node.name), &command) {
            Ok(Done::Rekeyed) => {}
            Ok(_) => return Err(Failed::Work(anyhow!("the node answered something else"))),
            Err(AskError::NotRunning) => {
                let options = existing_store(&config)?;
                let (current, new) = (key_source(current)?, key_source(new)?);
                let store = Store::open(options, &current).map_err(|error| Failed::Usage(error.into()))?;
                store.rewrap(&current, &new).map_err(|error| Failed::Work(error.into()))?;
            }
            Err(error) => return Err(Failed::Work(error.into())),
        }
        tell(
            "The store is locked with the new secret. Make the configuration name it before the node starts again, and \
             remember that copies of the store from before still open with the former one.\n",
        )
    }
}
