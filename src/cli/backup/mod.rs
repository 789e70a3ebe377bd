//! `quorate backup`: makes, lists, checks and restores backups of a node.

mod create;
mod restore;
mod unlock;
mod verify;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};

use super::config_check::ConfigArgs;
use super::{Failed, tell};
use crate::backup::{BackupError, Listed, Tally, Verified, list, newest};
use crate::config::{Config, Environment};
use crate::identity::rfc3339;
use create::CreateArgs;
use restore::RestoreArgs;
use verify::VerifyArgs;

pub(super) use restore::RecoverArgs;

#[derive(Subcommand)]
pub(super) enum BackupCommand {
    /// Makes a backup: by the node if it runs, of its store if it does not.
    Create(CreateArgs),
    /// Lists the backups of a node.
    List(ListArgs),
    /// Decrypts a backup and checks every record in it. No node need run.
    Verify(VerifyArgs),
    /// Makes a new store of a backup, in an empty place.
    Restore(RestoreArgs),
}

impl BackupCommand {
    pub(super) fn run(self) -> Result<(), Failed> {
        match self {
            Self::Create(args) => args.run(),
            Self::List(args) => args.run(),
            Self::Verify(args) => args.run(),
            Self::Restore(args) => args.run(),
        }
    }
}

/// Lists the backups of a node, the oldest first.
#[derive(Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The folder of backups, instead of the configuration's.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl ListArgs {
    fn run(self) -> Result<(), Failed> {
        let config = self.config.load(&Environment::of_process())?;
        let listed = list(self.dir.as_ref().unwrap_or(&config.backup.dir), &config.node.name)?;
        let mut text = String::new();
        for Listed { path, made_ms, is_full, bytes, .. } in listed {
            let (made, kind) = (rfc3339(made_ms / 1000), if is_full { "full" } else { "differential" });
            let line = if self.json {
                let line = serde_json::json!({ "path": path, "made": made, "kind": kind, "bytes": bytes });
                writeln!(text, "{line}")
            } else {
                writeln!(text, "{made}  {kind:<12}  {bytes:>12} bytes  {}", path.display())
            };
            line.map_err(|error| Failed::Work(error.into()))?;
        }
        tell(&text)
    }
}

/// Now, in milliseconds since the Unix epoch.
fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

/// The backup that a command is about: the one that is named, or the newest in a folder.
fn chosen(named: Option<PathBuf>, dir: Option<&Path>, config: &Config) -> Result<PathBuf, Failed> {
    match named {
        Some(path) => Ok(path),
        None => Ok(newest(dir.unwrap_or(&config.backup.dir), &config.node.name)?.path),
    }
}

/// What a good backup holds, in lines.
fn describe(path: &Path, verified: &Verified) -> String {
    let Verified { head, tally: Tally { records, wallets, destroyed, shares, missing }, files } = verified;
    let kind = if head.base.is_none() { "full" } else { "differential" };
    let all: u64 = records.values().sum();
    let families: Vec<String> = records.iter().map(|(family, count)| format!("{count} of {family}")).collect();
    let missing = match missing {
        0 => String::new(),
        missing => format!("; {missing} more it has to be dealt again"),
    };
    let destroyed = match destroyed {
        0 => String::new(),
        destroyed => format!("\n  destroyed {destroyed} wallets, which no restore brings back"),
    };
    let files = if files.is_empty() { "none".to_owned() } else { files.join(", ") };
    format!(
        "{}\n  made      {}, {kind}\n  node      {} ({}) of {}\n  records   {all}: {}\n  wallets   {wallets}, with {shares} \
         shares of this node{missing}{destroyed}\n  files     {files}\n",
        path.display(),
        rfc3339(head.created_ms / 1000),
        head.name,
        head.node,
        head.cluster,
        families.join(", "),
    )
}

impl From<BackupError> for Failed {
    fn from(error: BackupError) -> Self {
        if error.is_setup() { Self::Usage(error.into()) } else { Self::Work(error.into()) }
    }
}
