//! `quorate backup create`.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::anyhow;
use clap::Args;

use super::super::config_check::ConfigArgs;
use super::super::passphrase::typed;
use super::super::store_secret::{StoreSecretArgs, key_source};
use super::super::{Failed, protection, tell};
use super::now_ms;
use crate::admin::{AskError, BackupDone, Command, Done, ask, socket_path};
use crate::backup::{Made, Wanted, create};
use crate::config::{Config, Environment, read_passphrase_file};
use crate::identity::NodeIdentity;
use crate::service::{backups, store_options};
use crate::storage::Store;

/// Makes a backup of a node into the folder that its configuration names.
#[derive(Args)]
pub(in crate::cli) struct CreateArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Make a full backup, also where one of what has changed would be smaller.
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    secret: StoreSecretArgs,
    /// Ask for the passphrase of the node's private key, which signs the backup, if the node does not run and its
    /// configuration names no file with it.
    #[arg(long)]
    decrypt_private_key: bool,
}

impl CreateArgs {
    pub(super) fn run(self) -> Result<(), Failed> {
        protection::close()?;
        let environment = Environment::of_process();
        let config = self.config.load(&environment)?;
        let made =
            match ask(&socket_path(&config.node.data_dir, &config.node.name), &Command::Backup { full: self.full }) {
                Ok(Done::Backup(made)) => made,
                Ok(_) => return Err(Failed::Work(anyhow!("the node answered something else"))),
                Err(AskError::NotRunning) => self.of_stopped(&config, &environment)?,
                Err(error) => return Err(Failed::Work(error.into())),
            };
        let kind = if made.full { "full" } else { "differential" };
        let mut text = format!("{} ({kind}, {} records, {} bytes)\n", made.path.display(), made.records, made.bytes);
        for removed in made.removed {
            text.extend(["removed ", &removed.display().to_string(), "\n"]);
        }
        if let Some(warning) = made.warning {
            text.extend(["but: ", &warning, "\n"]);
        }
        tell(&text)
    }

    /// Of the store of a node that does not run.
    fn of_stopped(&self, config: &Config, environment: &Environment) -> Result<BackupDone, Failed> {
        let passphrase = match &config.node.identity_passphrase_file {
            Some(file) => Some(read_passphrase_file("node.identity_passphrase_file", file)?),
            None if self.decrypt_private_key => Some(typed("Passphrase of the node's private key: ")?),
            None => None,
        };
        let identity = NodeIdentity::load(&config.node.identity_dir, &config.node.name, passphrase.as_ref())?;
        let (node, identity) = (identity.id(), Arc::new(identity));
        let backups = backups(config, environment, &identity)?.ok_or_else(|| {
            Failed::Usage(anyhow!("backup: nothing says what backups are encrypted with; give one of recipients, passphrase_file and passphrase_env"))
        })?;
        let options = store_options(config, node);
        // Opening makes a store where there is none.
        if !options.folder.join("CURRENT").exists() {
            return Err(Failed::Usage(anyhow!("there is no store in {}", options.folder.display())));
        }
        let key = key_source(self.secret.read(config, environment)?)?;
        let store = Store::open(options, &key).map_err(|error| Failed::Work(error.into()))?;
        let wanted = if self.full { Wanted::Full } else { Wanted::Smaller };
        let never = AtomicBool::new(false);
        let Made { path, is_full, records, bytes, removed, warning, .. } =
            create(&store.export(), &backups.settings, wanted, now_ms(), &never)?;
        Ok(BackupDone { path, full: is_full, records, bytes, removed, warning })
    }
}
