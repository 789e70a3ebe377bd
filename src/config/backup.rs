//! Backups: whether, how often, where to, and who can read them.

use std::path::PathBuf;
use std::time::Duration;

use super::settings::BackupSettings;
use super::validate::within;
use super::{ConfigError, SecretSource};

/// The most recipients of a backup.
const MAX_RECIPIENTS: usize = 16;

/// How a node is backed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupConfig {
    /// How often the node makes a backup by itself; none means never.
    pub period: Option<Duration>,
    /// Where to. The folder must be there.
    pub dir: PathBuf,
    /// How many full backups are kept, each with the differential ones that rest on it.
    pub keep: usize,
    /// Whether the files of the node's identity come along.
    pub include_identity: bool,
    /// What backups are encrypted with; without it, none can be made.
    pub seal: Option<BackupSeal>,
}

/// What backups are encrypted with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackupSeal {
    /// Public keys, `age1...`: 1 to 16.
    Recipients(Vec<String>),
    /// A passphrase.
    Passphrase(SecretSource),
}

/// `mpcium` is the passphrase of a mpcium configuration, with which mpcium encrypts backups too.
pub(super) fn check_backup(
    settings: BackupSettings,
    mpcium: Option<SecretSource>,
) -> Result<BackupConfig, ConfigError> {
    let BackupSettings { enabled, period_seconds, dir, keep, include_identity, .. } = settings;
    let (recipients, file, env) = (settings.recipients, settings.passphrase_file, settings.passphrase_env);
    for recipient in &recipients {
        if recipient.parse::<age::x25519::Recipient>().is_err() {
            let fix = "give the public keys that age-keygen prints: age1...";
            return Err(ConfigError::key("backup.recipients", "one of them is no age recipient", fix));
        }
    }
    within("backup.recipients", recipients.len(), 0..=MAX_RECIPIENTS)?;
    let seal = match (recipients.is_empty(), file, env) {
        (false, None, None) => Some(BackupSeal::Recipients(recipients)),
        (true, Some(path), None) => Some(BackupSeal::Passphrase(SecretSource::file("backup.passphrase_file", path))),
        (true, None, Some(name)) => Some(BackupSeal::Passphrase(SecretSource::variable("backup.passphrase_env", name))),
        (true, None, None) => mpcium.map(BackupSeal::Passphrase),
        _ => {
            let problem = "more than one of recipients, passphrase_file and passphrase_env is given";
            return Err(ConfigError::key("backup", problem, "give exactly one, in all sources together"));
        }
    };
    if enabled && seal.is_none() {
        let fix = "give one of recipients, passphrase_file and passphrase_env";
        return Err(ConfigError::key("backup", "nothing says what backups are encrypted with", fix));
    }
    let period = within("backup.period_seconds", period_seconds, 1..=31_536_000)?;
    let keep = within("backup.keep", keep, 1..=10_000)?;
    Ok(BackupConfig {
        period: enabled.then(|| Duration::from_secs(period)),
        dir,
        keep: usize::try_from(keep).unwrap_or(usize::MAX),
        include_identity,
        seal,
    })
}
