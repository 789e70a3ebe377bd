//! `quorate backup restore`, and mpcium's `recover`.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;

use super::super::config_check::ConfigArgs;
use super::super::store_secret::{StoreSecretArgs, key_source, node_id};
use super::super::{Failed, protection, tell};
use super::unlock::UnlockArgs;
use super::{chosen, describe, now_ms};
use crate::admin::{AskError, Command, ask, socket_path};
use crate::backup::{Target, aside, restore};
use crate::config::Environment;
use crate::identity::PeerBook;
use crate::service::store_options;

/// Makes a new store of a backup, where the node's configuration has its store: there must be nothing. It is locked with
/// what the configuration names. The node then starts from it.
#[derive(Args)]
pub(in crate::cli) struct RestoreArgs {
    /// The backup. Without it, the newest one.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The folder of backups, instead of the configuration's.
    #[arg(long, value_name = "DIR", conflicts_with = "file")]
    dir: Option<PathBuf>,
    /// Where to put the files of the node's identity, if they came along. None is replaced.
    #[arg(long, value_name = "DIR")]
    identity_to: Option<PathBuf>,
    #[command(flatten)]
    more: RestoreMore,
}

/// Restores the newest backup, with the flags that mpcium's command has.
#[derive(Args)]
pub(in crate::cli) struct RecoverArgs {
    /// The folder of backups.
    #[arg(long, value_name = "DIR")]
    backup_dir: PathBuf,
    /// The folder of the new store.
    #[arg(long, value_name = "DIR")]
    recovery_path: PathBuf,
    /// Move what is there aside, once the new store is whole. It is kept, under a name with the time.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    more: RestoreMore,
}

#[derive(Args)]
struct RestoreMore {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    unlock: UnlockArgs,
    #[command(flatten)]
    secret: StoreSecretArgs,
}

impl RestoreArgs {
    pub(super) fn run(self) -> Result<(), Failed> {
        let Self { file, dir, identity_to, more } = self;
        more.run(Place { file, dir, identity_to, to: None, force: false })
    }
}

impl RecoverArgs {
    pub(in crate::cli) fn run(self) -> Result<(), Failed> {
        let Self { backup_dir, recovery_path, force, more } = self;
        let place = Place { file: None, dir: Some(backup_dir), identity_to: None, to: Some(recovery_path), force };
        more.run(place)
    }
}

/// What is restored, and where to.
struct Place {
    file: Option<PathBuf>,
    dir: Option<PathBuf>,
    identity_to: Option<PathBuf>,
    to: Option<PathBuf>,
    force: bool,
}

impl RestoreMore {
    fn run(self, place: Place) -> Result<(), Failed> {
        protection::close()?;
        let environment = Environment::of_process();
        let config = self.config.load(&environment)?;
        let running = ask(&socket_path(&config.node.data_dir, &config.node.name), &Command::Status {});
        if !matches!(running, Err(AskError::NotRunning)) {
            return Err(Failed::Usage(anyhow!("node {} runs: stop it first", config.node.name)));
        }
        let peers = PeerBook::load(&config.node.peers_file, &config.node.identity_dir)?;
        let path = chosen(place.file, place.dir.as_deref(), &config)?;
        let unlock = self.unlock.read(Some(&config), &environment)?;
        let key = key_source(self.secret.read(&config, &environment)?)?;
        let mut store = store_options(&config, node_id(&config)?);
        if let Some(to) = place.to {
            store.folder = to;
        }
        let (folder, now_ms) = (store.folder.clone(), now_ms());
        let aside = place.force.then(|| aside(&folder, now_ms));
        let target = Target { store, key: &key, files: place.identity_to, aside: aside.clone(), now_ms };
        let verified = restore(&path, &unlock, Some(&peers), target)?;
        if let Some(aside) = aside.filter(|aside| aside.exists()) {
            tell(&format!("What was in {} is now in {}.\n", folder.display(), aside.display()))?;
        }
        tell(&format!(
            "{}Restored to {}. Its wallets do not sign before enough other members have confirmed them: start the node \
             while the others run.\n",
            describe(&path, &verified),
            folder.display(),
        ))
    }
}
