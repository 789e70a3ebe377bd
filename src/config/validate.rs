//! From plain values to checked types.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU8;
use std::ops::RangeInclusive;
use std::time::Duration;

use tracing::level_filters::LevelFilter;

use super::backup::check_backup;
use super::mpcium::Remainder;
use super::refresh::check_refresh;
use super::serving::{check_discovery, check_gateway, check_health};
use super::settings::{DestroySettings, KeySettings, LogLevel, PolicySettings, Settings, StorageSettings};
use super::{
    ClusterConfig, Config, ConfigError, LinkConfig, LogConfig, NodeConfig, PairingConfig, ProcessConfig, SecretSource,
    SessionConfig, StorageKeySource, nats,
};
use crate::identity::RequestPublicKey;
use crate::ids::{ClusterId, NodeName, Threshold};
use crate::keys::ChainCode;
use crate::policy::Policy;
use crate::wire::request::AuthorizerId;

/// What stands for a secret in print.
const MASK: &str = "(set)";
/// A session is never done faster than its messages travel, nor worth waiting for longer than ten minutes.
const DEADLINE_MS: RangeInclusive<u64> = 1_000..=600_000;

/// Checks everything.
///
/// # Errors
/// The first key whose value breaks its rules.
pub(super) fn check(settings: Settings, mpcium: Remainder) -> Result<Config, ConfigError> {
    let mut masked = settings.clone();
    masked.cluster.chain_code = masked.cluster.chain_code.map(|_| MASK.to_owned());
    let mut effective = masked
        .lines()
        .map_err(|_| ConfigError::Syntax { origin: String::new(), problem: "a path is not UTF-8 text".to_owned() })?;
    for (key, source) in [("nats.password", &mpcium.nats_password), ("storage.passphrase", &mpcium.storage_passphrase)]
    {
        if source.is_some() {
            effective.extend([key, " = \"", MASK, "\"\n"]);
        }
    }
    let Settings {
        node,
        cluster,
        link,
        pairing,
        keygen,
        signing,
        checkup,
        refresh,
        destroy,
        storage,
        policy,
        process,
        log,
        ..
    } = settings;
    let (nats, discovery, gateway, health, shutdown) =
        (settings.nats, settings.discovery, settings.gateway, settings.health, settings.shutdown);
    let keygen = session("keygen", keygen.deadline_ms, keygen.max_concurrent)?;
    let on_peer_failure = signing.on_peer_failure;
    let signing = session("signing", signing.deadline_ms, signing.max_concurrent)?;
    let name = node.name.ok_or_else(|| ConfigError::key("node.name", "it is missing", "name this node"))?;
    Ok(Config {
        node: NodeConfig {
            name: NodeName::try_from(name).map_err(|error| {
                ConfigError::key("node.name", error.problem, "use the name that the peer book gives this node")
            })?,
            data_dir: node.data_dir,
            peers_file: node.peers_file,
            identity_dir: node.identity_dir,
            identity_passphrase_file: node.identity_passphrase_file,
        },
        cluster: ClusterConfig {
            id: ClusterId::try_from(cluster.id)
                .map_err(|error| ConfigError::key("cluster.id", error.problem, "give all nodes the same short name"))?,
            signers: within("cluster.threshold", cluster.threshold, 2..=Threshold::MAX_PARTIES)?,
            chain_code: cluster.chain_code.as_deref().map(chain_code).transpose()?,
        },
        link: LinkConfig {
            heartbeat_interval: milliseconds("link.heartbeat_interval_ms", link.heartbeat_interval_ms, 50..=60_000)?,
            heartbeat_misses: within("link.heartbeat_misses", link.heartbeat_misses, 1..=100)?,
        },
        pairing: PairingConfig {
            deadline: milliseconds("pairing.deadline_ms", pairing.deadline_ms, DEADLINE_MS)?,
            refresh_every: match within("pairing.refresh_days", pairing.refresh_days, 0..=3_650)? {
                0 => None,
                days => Some(Duration::from_secs(u64::from(days) * 86_400)),
            },
        },
        keygen,
        signing,
        on_peer_failure,
        checkup_every: match within("checkup.every_hours", checkup.every_hours, 0..=8_760)? {
            0 => None,
            hours => Some(Duration::from_secs(u64::from(hours) * 3_600)),
        },
        storage_key: storage_key(storage, mpcium.storage_passphrase.clone())?,
        backup: check_backup(settings.backup, mpcium.storage_passphrase)?,
        refresh: check_refresh(&refresh)?,
        policy: check_policy(policy, &destroy)?,
        nats: nats::check(nats, mpcium.nats_password)?,
        discovery: check_discovery(discovery)?,
        gateway: check_gateway(&gateway, &keygen, &signing)?,
        health: check_health(&health)?,
        drain: milliseconds("shutdown.drain_ms", shutdown.drain_ms, 0..=600_000)?,
        warnings: mpcium.warnings,
        process: ProcessConfig { allow_dumps: process.allow_dumps, lock_memory: process.lock_memory },
        log: LogConfig { level: level(log.level), format: log.format },
        effective,
    })
}

fn session(section: &str, deadline_ms: u64, max_concurrent: u32) -> Result<SessionConfig, ConfigError> {
    let count = |key: &str, value, range| {
        within(&format!("{section}.{key}"), value, range).map(|value| usize::try_from(value).unwrap_or(usize::MAX))
    };
    Ok(SessionConfig {
        deadline: milliseconds(&format!("{section}.deadline_ms"), deadline_ms, DEADLINE_MS)?,
        max_concurrent: count("max_concurrent", max_concurrent, 1..=4_096)?,
    })
}

fn chain_code(text: &str) -> Result<ChainCode, ConfigError> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| {
        let fix = "make one with: openssl rand -hex 32, and give all nodes the same";
        ConfigError::key("cluster.chain_code", "it is not 64 hex digits", fix)
    })?;
    Ok(ChainCode(bytes))
}

/// `mpcium` is the passphrase of a mpcium configuration, which an explicit source replaces.
fn storage_key(storage: StorageSettings, mpcium: Option<SecretSource>) -> Result<StorageKeySource, ConfigError> {
    let StorageSettings { prompt, sealed, .. } = storage;
    if prompt {
        // Somebody is there to be asked: that goes before what the files say.
        return Ok(StorageKeySource::Prompt);
    }
    let passphrase = StorageKeySource::Passphrase;
    let credential = |key: &str, name: String| {
        let is_name = !name.is_empty() && !name.contains('/') && !name.starts_with('.');
        let fix = "give the name under which the unit loads it";
        if is_name { Ok(name) } else { Err(ConfigError::key(key, "it is no name of a credential", fix)) }
    };
    let mut given = Vec::new();
    if let Some(path) = storage.passphrase_file {
        given.push(passphrase(SecretSource::file("storage.passphrase_file", path)));
    }
    if let Some(name) = storage.passphrase_env {
        given.push(passphrase(SecretSource::variable("storage.passphrase_env", name)));
    }
    if let Some(name) = storage.passphrase_credential {
        const KEY: &str = "storage.passphrase_credential";
        given.push(passphrase(SecretSource::credential(KEY, credential(KEY, name)?)));
    }
    if let Some(path) = storage.key_file {
        given.push(StorageKeySource::KeyFile(path));
    }
    if let Some(name) = storage.key_credential {
        given.push(StorageKeySource::KeyCredential(credential("storage.key_credential", name)?));
    }
    if sealed {
        given.push(StorageKeySource::Sealed);
    }
    match (given.pop(), given.is_empty()) {
        (Some(source), true) => Ok(source),
        (None, _) => mpcium.map(passphrase).ok_or_else(|| {
            let fix = "give one of passphrase_file, passphrase_env, passphrase_credential, key_file, key_credential, \
                       prompt = true, or sealed = true";
            ConfigError::key("storage", "nothing says what unlocks the store", fix)
        }),
        (Some(_), false) => Err(ConfigError::key(
            "storage",
            "more than one of passphrase_file, passphrase_env, passphrase_credential, key_file, key_credential and sealed \
             is given",
            "give exactly one, in all sources together",
        )),
    }
}

fn check_policy(settings: PolicySettings, destroy: &DestroySettings) -> Result<Policy, ConfigError> {
    let initiator = public_key("policy.initiator", &settings.initiator)?;
    let authorizer_id = |key: &str, id: String| {
        AuthorizerId::try_from(id).map_err(|error| ConfigError::key(key, error.problem, "use the id in the requests"))
    };
    let authorizers = settings
        .authorizers
        .into_iter()
        .map(|(id, key)| {
            let section = format!("policy.authorizers.{id}");
            Ok((authorizer_id(&section, id)?, public_key(&section, &key)?))
        })
        .collect::<Result<BTreeMap<_, _>, ConfigError>>()?;
    let required = settings
        .required_authorizers
        .into_iter()
        .map(|id| authorizer_id("policy.required_authorizers", id))
        .collect::<Result<BTreeSet<_>, ConfigError>>()?;
    let policy = match destruction(destroy, authorizers.len())? {
        Some(approvals) => Policy::new(initiator).allow_destruction(approvals),
        None => Policy::new(initiator),
    };
    policy
        .allow_legacy_path(settings.allow_legacy_path)
        .allow_minority_threshold(settings.allow_minority_threshold)
        .with_authorizers(authorizers, required)
        .map_err(|unknown| {
            let fix = format!("add a section policy.authorizers.{} with its key", unknown.0);
            ConfigError::key("policy.required_authorizers", unknown.to_string(), fix)
        })
}

/// How many authorizers must approve the destruction of a wallet, where that is allowed at all.
fn destruction(settings: &DestroySettings, authorizers: usize) -> Result<Option<NonZeroU8>, ConfigError> {
    let wrong = |problem: &str, fix: &str| Err(ConfigError::key("destroy.approvals", problem, fix));
    match (settings.allowed, NonZeroU8::new(settings.approvals)) {
        (false, None) => Ok(None),
        (false, Some(_)) => wrong("it is set, and destroy.allowed is not true", "set both, or neither"),
        (true, None) => wrong("it is not set, and destroy.allowed is true", "say how many authorizers must approve"),
        (true, Some(approvals)) if usize::from(approvals.get()) > authorizers => {
            wrong("it is more than there are authorizers", "add sections policy.authorizers.<id>, or lower it")
        }
        (true, approvals) => Ok(approvals),
    }
}

fn public_key(section: &str, settings: &KeySettings) -> Result<RequestPublicKey, ConfigError> {
    let key = format!("{section}.public_key");
    let Some(text) = &settings.public_key else {
        return Err(ConfigError::key(key, "it is missing", "copy public_key from the identity file"));
    };
    RequestPublicKey::parse(settings.algorithm, text).map_err(|error| {
        let fix = format!("copy public_key from the identity file, and check {section}.algorithm");
        ConfigError::key(key, error.to_string(), fix)
    })
}

pub(super) fn milliseconds(key: &str, value: u64, range: RangeInclusive<u64>) -> Result<Duration, ConfigError> {
    within(key, value, range).map(Duration::from_millis)
}

pub(super) fn within<T: PartialOrd + std::fmt::Display>(
    key: &str,
    value: T,
    range: RangeInclusive<T>,
) -> Result<T, ConfigError> {
    if range.contains(&value) {
        return Ok(value);
    }
    let fix = format!("choose a number from {} to {}", range.start(), range.end());
    Err(ConfigError::key(key, "it is out of range", fix))
}

const fn level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}
