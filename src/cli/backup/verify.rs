//! `quorate backup verify`.

use std::path::PathBuf;

use clap::Args;

use super::super::config_check::ConfigArgs;
use super::super::{Failed, protection, tell};
use super::unlock::UnlockArgs;
use super::{chosen, describe};
use crate::backup::verify;
use crate::config::Environment;
use crate::identity::PeerBook;

/// Decrypts a backup and checks every record in it: shares against the keys of their wallets, certificates against the
/// signatures of their members.
#[derive(Args)]
pub(in crate::cli) struct VerifyArgs {
    /// The backup. Without it, the newest one of the configured node.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
    /// The folder of backups, instead of the configuration's.
    #[arg(long, value_name = "DIR", conflicts_with = "file")]
    dir: Option<PathBuf>,
    /// With FILE: the list of nodes, so that no configuration is needed.
    #[arg(long, value_name = "FILE", requires = "identity_dir", requires = "file")]
    peers: Option<PathBuf>,
    /// With FILE: the directory with the identity files of all nodes.
    #[arg(long, value_name = "DIR", requires = "peers")]
    identity_dir: Option<PathBuf>,
    #[command(flatten)]
    unlock: UnlockArgs,
}

impl VerifyArgs {
    pub(super) fn run(self) -> Result<(), Failed> {
        protection::close()?;
        let environment = Environment::of_process();
        // Whoever keeps backups need not have the configuration of a node.
        let config = match (&self.file, self.config.is_given()) {
            (Some(_), false) => None,
            _ => Some(self.config.load(&environment)?),
        };
        let peers = match (&self.peers, &self.identity_dir, &config) {
            (Some(peers), Some(identities), _) => Some(PeerBook::load(peers, identities)?),
            (_, _, Some(config)) => Some(PeerBook::load(&config.node.peers_file, &config.node.identity_dir)?),
            _ => None,
        };
        let unlock = self.unlock.read(config.as_ref(), &environment)?;
        let path = match (self.file, &config) {
            (Some(path), _) => path,
            (None, Some(config)) => chosen(None, self.dir.as_deref(), config)?,
            (None, None) => return Err(Failed::Usage(anyhow::anyhow!("name a backup, or a configuration with -c"))),
        };
        let verified = verify(&path, &unlock, peers.as_ref())?;
        let signatures = if peers.is_some() {
            "Every record is good; the node made the backup, and all certificates are signed by all their members.\n"
        } else {
            "Every record is good. Who made the backup and the signatures of certificates were not checked: give --peers and \
             --identity-dir.\n"
        };
        tell(&(describe(&path, &verified) + signatures))
    }
}
