//! mpcium's `config.yaml`, taken as it is.
//!
//! ```text
//!  config.yaml ──► Fields (flat, lower case) ──┬─► values under our keys ──► a layer like any file
//!                                              └─► Remainder: where secrets lie, warnings
//! ```
//!
//! Keys are found as mpcium finds them: in any case, nested or with dots. Empty texts count as absent. What mpcium has and
//! this program has not is a warning, and so is a key that neither has.
//!
//! mpcium keeps two secrets in this file. They do not become part of a configuration; they are read from the file again
//! when they are needed. The parser of YAML does not wipe what it read, so that a secret in a file of its own is better
//! kept than here: a warning says so.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use figment::Provider;
use figment::providers::{Format, Yaml};
use figment::value::{Dict, Value};
use zeroize::Zeroizing;

use super::settings::Settings;
use super::{ConfigError, SecretSource, Warning};
use crate::secret::SecretBytes;

/// Any of these makes a file a mpcium configuration.
const MARKS: [&str; 3] = ["mpc_threshold", "badger_password", "event_initiator_pubkey"];

/// Texts with another name here, and the same meaning.
const TEXTS: [(&str, &str); 9] = [
    ("nats.url", "nats.servers"),
    ("nats.username", "nats.user"),
    ("nats.tls.client_cert", "nats.tls.client_cert_file"),
    ("nats.tls.client_key", "nats.tls.client_key_file"),
    ("nats.tls.ca_cert", "nats.tls.ca_file"),
    ("event_initiator_pubkey", "policy.initiator.public_key"),
    ("event_initiator_algorithm", "policy.initiator.algorithm"),
    ("chain_code", "cluster.chain_code"),
    ("backup_dir", "backup.dir"),
];
/// Numbers likewise. mpcium takes zero for its own default.
const NUMBERS: [(&str, &str); 3] = [
    ("max_concurrent_keygen", "keygen.max_concurrent"),
    ("max_concurrent_signing", "signing.max_concurrent"),
    ("backup_period_seconds", "backup.period_seconds"),
];

const STORAGE_PASSPHRASE: &str = "badger_password";
const NATS_PASSWORD: &str = "nats.password";
const AUTHORIZER_KEYS: &str = "authorization.authorizer_public_keys";
/// The longest secret, in bytes, as in files of their own.
const MAX_SECRET_BYTES: usize = 4_096;

/// A value under one of our keys.
pub(super) struct Translated {
    pub theirs: String,
    pub ours: &'static str,
    pub value: Value,
}

/// A mpcium configuration in our terms.
pub(super) struct Translation {
    pub values: Vec<Translated>,
    mpc_threshold: Option<u64>,
    data_dir: PathBuf,
    remainder: Remainder,
}

/// What a mpcium configuration says beyond values: nothing, if there is none.
#[derive(Default)]
pub(super) struct Remainder {
    /// Unlocks the store if nothing else is given.
    pub storage_passphrase: Option<SecretSource>,
    /// The password towards the broker if nothing else is given.
    pub nats_password: Option<SecretSource>,
    /// What to tell the operator.
    pub warnings: Vec<Warning>,
}

/// The content of a YAML file, if it is a mpcium configuration.
///
/// # Errors
/// When a value is of no use to anybody.
pub(super) fn translate(path: &Path) -> Result<Option<Translation>, ConfigError> {
    // A file that does not parse is reported with its place when it is read as one of ours.
    let Some(fields) = Fields::of_file(path) else { return Ok(None) };
    if !MARKS.iter().any(|mark| fields.0.contains_key(*mark)) {
        return Ok(None);
    }
    Translator { fields, values: Vec::new(), warnings: vec![Warning::OwnStore], path }.run().map(Some)
}

/// Reads one of the two secrets that mpcium keeps in its file.
///
/// # Errors
/// When it is not there, no text, or longer than 4,096 bytes.
pub(super) fn read_secret(path: &Path, key: &'static str) -> Result<SecretBytes, ConfigError> {
    let secret = Fields::of_file(path).and_then(|mut fields| fields.take(key)).and_then(|value| match value {
        Value::String(_, text) => Some(Zeroizing::new(text)),
        _ => None,
    });
    secret.filter(|text| text.len() <= MAX_SECRET_BYTES).map(|text| SecretBytes::copy_from(text.as_bytes())).ok_or_else(
        || ConfigError::Secret {
            key,
            problem: format!("{} does not hold it as a text of up to 4,096 bytes", path.display()),
            fix: "put it back, in quotes",
        },
    )
}

impl Translation {
    /// Completes settings that were made from this and other sources.
    pub(super) fn complete(mut self, settings: &mut Settings) -> Remainder {
        // mpcium's nodes may share one db_path. A name of dots alone would be another folder, not one within.
        if let Some(name) = settings.node.name.as_ref().filter(|name| name.contains(|c| c != '.'))
            && settings.node.data_dir == self.data_dir
        {
            settings.node.data_dir.push(name);
        }
        let warnings = &mut self.remainder.warnings;
        if settings.policy.allow_legacy_path {
            warnings.push(Warning::LegacyPathAllowed);
        }
        let signers = settings.cluster.threshold;
        if let Some(mpc_threshold) = self.mpc_threshold
            && mpc_threshold.checked_add(1) == Some(u64::from(signers))
        {
            warnings.push(Warning::ThresholdConverted { mpc_threshold, signers });
        }
        self.remainder
    }
}

struct Translator<'a> {
    fields: Fields,
    values: Vec<Translated>,
    warnings: Vec<Warning>,
    path: &'a Path,
}

impl Translator<'_> {
    fn run(mut self) -> Result<Translation, ConfigError> {
        self.set("config.yaml", "policy.allow_legacy_path", true);
        for (theirs, ours) in TEXTS {
            if let Some(value) = self.fields.take(theirs) {
                self.set(theirs, ours, value);
            }
        }
        for (theirs, ours) in NUMBERS {
            if let Some(value) = self.fields.take(theirs).map(untexted).filter(|value| value.to_u128() != Some(0)) {
                self.set(theirs, ours, value);
            }
        }
        let mpc_threshold = self.threshold()?;
        let data_dir = self.data_dir()?;
        self.health()?;
        if self.text("environment")?.as_deref() == Some("production") {
            self.set("environment", "nats.tls.required", true);
        }
        self.authorization()?;
        let storage_passphrase = self.secret(STORAGE_PASSPHRASE, "storage.passphrase_file")?;
        let nats_password = self.secret(NATS_PASSWORD, "nats.password_file")?;
        self.unused();
        self.warnings.extend(self.fields.0.into_keys().map(Warning::UnknownKey));
        let remainder = Remainder { storage_passphrase, nats_password, warnings: self.warnings };
        Ok(Translation { values: self.values, mpc_threshold, data_dir, remainder })
    }

    fn set(&mut self, theirs: &str, ours: &'static str, value: impl Into<Value>) {
        self.values.push(Translated { theirs: theirs.to_owned(), ours, value: value.into() });
    }

    /// tss-lib's t: one less than the number of signers.
    fn threshold(&mut self) -> Result<Option<u64>, ConfigError> {
        const KEY: &str = "mpc_threshold";
        let Some(value) = self.fields.take(KEY).map(untexted) else { return Ok(None) };
        let threshold = value
            .to_u128()
            .and_then(|value| u64::try_from(value).ok())
            .or_else(|| value.to_i128().and_then(|value| u64::try_from(value).ok()))
            .ok_or_else(|| self.wrong(KEY, "it is not a whole number", "give one less than the number of signers"))?;
        self.set(KEY, "cluster.threshold", threshold.saturating_add(1));
        Ok(Some(threshold))
    }

    /// Beside mpcium's own store, never in its place.
    fn data_dir(&mut self) -> Result<PathBuf, ConfigError> {
        let data_dir = match self.text("db_path")? {
            Some(path) => PathBuf::from(path).join("quorate"),
            None => PathBuf::from("data"),
        };
        self.set("db_path", "node.data_dir", data_dir.to_string_lossy().into_owned());
        Ok(data_dir)
    }

    /// Go listens on everything when the host is empty, and looks names up; here addresses are numbers.
    fn health(&mut self) -> Result<(), ConfigError> {
        const KEY: &str = "healthcheck.address";
        if let Some(enabled) = self.fields.take("healthcheck.enabled") {
            self.set("healthcheck.enabled", "health.enabled", untexted(enabled));
        }
        let Some(address) = self.text(KEY)? else { return Ok(()) };
        let address = match address.rsplit_once(':') {
            Some(("", port)) => format!("0.0.0.0:{port}"),
            Some(("localhost", port)) => format!("127.0.0.1:{port}"),
            _ => address,
        };
        self.set(KEY, "health.address", address);
        Ok(())
    }

    fn authorization(&mut self) -> Result<(), ConfigError> {
        const KEY: &str = "authorization.enabled";
        let enabled = match self.fields.take(KEY) {
            None => false,
            // Whoever meant to switch approvals on must not get none.
            Some(value) => switch(&value)
                .ok_or_else(|| ConfigError::key(KEY, "it is neither true nor false", "write true or false"))?,
        };
        let required = self.fields.take("authorization.required_authorizers");
        let keys = self.fields.take(AUTHORIZER_KEYS);
        if !enabled {
            return Ok(());
        }
        if let Some(required) = required {
            self.set("authorization.required_authorizers", "policy.required_authorizers", required);
        }
        match keys {
            Some(Value::Dict(_, keys)) => {
                let keys: Dict = keys.into_iter().map(|(id, key)| self.authorizer(id, key)).collect();
                self.set(AUTHORIZER_KEYS, "policy.authorizers", keys);
            }
            // Of the wrong kind: that is said where all kinds are checked.
            Some(other) => self.set(AUTHORIZER_KEYS, "policy.authorizers", other),
            None => {}
        }
        Ok(())
    }

    /// An authorizer's key, given as a section or as the bare text of an Ed25519 key.
    fn authorizer(&mut self, id: String, key: Value) -> (String, Value) {
        let fields: Dict = match key {
            Value::Dict(_, fields) => {
                fields.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect()
            }
            bare => [("public_key".to_owned(), bare)].into(),
        };
        let (known, unknown): (Dict, Dict) =
            fields.into_iter().partition(|(name, _)| name == "public_key" || name == "algorithm");
        let unknown = unknown.into_keys().map(|name| Warning::UnknownKey(format!("{AUTHORIZER_KEYS}.{id}.{name}")));
        self.warnings.extend(unknown);
        (id, known.into())
    }

    fn secret(&mut self, key: &'static str, instead: &'static str) -> Result<Option<SecretSource>, ConfigError> {
        if self.text(key)?.map(Zeroizing::new).is_none() {
            return Ok(None);
        }
        self.warnings.push(Warning::SecretInFile { key, instead });
        Ok(Some(SecretSource::mpcium(key, self.path.to_owned())))
    }

    /// What mpcium has and this program has not, and what is named otherwise and is neither text nor number.
    fn unused(&mut self) {
        if self.fields.take_section("consul.") {
            let instead = "discovery is a key-value bucket of NATS, see the section discovery";
            self.warnings.push(Warning::Ignored { key: "consul", instead });
        }
        if let Some(enabled) = self.fields.take("backup_enabled") {
            self.set("backup_enabled", "backup.enabled", untexted(enabled));
        }
    }

    fn text(&mut self, key: &str) -> Result<Option<String>, ConfigError> {
        match self.fields.take(key) {
            None => Ok(None),
            Some(Value::String(_, text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(key, "its value is no text", "put it in quotes")),
        }
    }

    fn wrong(&self, key: &str, problem: &str, fix: &str) -> ConfigError {
        let origin = format!(" (in {})", self.path.display());
        ConfigError::Key { key: key.to_owned(), origin, problem: problem.to_owned(), fix: fix.to_owned() }
    }
}

/// The leaves of the file under their full names, sections before them. The ids of authorizers keep their case.
struct Fields(BTreeMap<String, Value>);

impl Fields {
    fn of_file(path: &Path) -> Option<Self> {
        let mut profiles = Yaml::file_exact(path).data().ok()?;
        let mut fields = Self(BTreeMap::new());
        fields.add("", profiles.remove(&figment::Profile::Default)?);
        Some(fields)
    }

    fn add(&mut self, prefix: &str, dict: Dict) {
        for (name, value) in dict {
            let name = format!("{prefix}{}", name.to_ascii_lowercase());
            match value {
                Value::Dict(_, inner) if name != AUTHORIZER_KEYS => self.add(&format!("{name}."), inner),
                Value::Empty(..) => {}
                Value::String(_, text) if text.is_empty() => {}
                value => {
                    self.0.insert(name, value);
                }
            }
        }
    }

    fn take(&mut self, key: &str) -> Option<Value> {
        self.0.remove(key)
    }

    /// Takes everything that begins so, and says whether there was anything.
    fn take_section(&mut self, prefix: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|key, _| !key.starts_with(prefix));
        self.0.len() < before
    }
}

/// mpcium also takes numbers and truths in quotes. A text that is neither stays one.
fn untexted(value: Value) -> Value {
    match &value {
        Value::String(_, text) if text.eq_ignore_ascii_case("true") => Value::from(true),
        Value::String(_, text) if text.eq_ignore_ascii_case("false") => Value::from(false),
        Value::String(_, text) => text.parse::<u64>().map_or(value, Value::from),
        _ => value,
    }
}

/// A switch as mpcium reads it: what Go's `strconv.ParseBool` takes, and numbers.
fn switch(value: &Value) -> Option<bool> {
    let text = match value {
        Value::Bool(_, on) => return Some(*on),
        Value::Num(_, number) => number.to_u32()?.to_string(),
        Value::String(_, text) => text.clone(),
        _ => return None,
    };
    match text.as_str() {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switch__should_take_what_go_takes_and_nothing_else() {
        let values = [Value::from(true), Value::from("1"), Value::from("t"), Value::from(1_u8), Value::from("True")];
        assert!(values.iter().all(|value| switch(value) == Some(true)));
        assert_eq!([Value::from("f"), Value::from(0_u8), Value::from(false)].map(|v| switch(&v)), [Some(false); 3]);
        for value in [Value::from("yes"), Value::from(2_u8), Value::from(""), Value::from(-1_i8), Value::from(1.0_f64)]
        {
            assert_eq!(switch(&value), None, "{value:?}");
        }
    }
}
