//! Where secrets are found, and reading them when they are needed.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{ConfigError, Environment, mpcium};
use crate::secret::SecretBytes;

/// The longest secret in a file, in bytes.
const MAX_SECRET_BYTES: usize = 4096;

/// Where a secret is found. The secret itself is read when it is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretSource {
    /// The configuration key that names the place.
    key: &'static str,
    place: SecretPlace,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum SecretPlace {
    File(PathBuf),
    Variable(String),
    /// Below the folder in which systemd puts a service's credentials.
    Credential(String),
    /// In a `config.yaml` of mpcium, under the key itself.
    MpciumConfig(PathBuf),
}

impl SecretSource {
    pub(super) const fn file(key: &'static str, path: PathBuf) -> Self {
        Self { key, place: SecretPlace::File(path) }
    }

    pub(super) const fn variable(key: &'static str, name: String) -> Self {
        Self { key, place: SecretPlace::Variable(name) }
    }

    pub(super) const fn credential(key: &'static str, name: String) -> Self {
        Self { key, place: SecretPlace::Credential(name) }
    }

    /// `key` is one of mpcium's, such as `nats.password`.
    pub(super) const fn mpcium(key: &'static str, path: PathBuf) -> Self {
        Self { key, place: SecretPlace::MpciumConfig(path) }
    }

    /// Reads the secret. Of a file, the line break at its end is left out.
    ///
    /// # Errors
    /// When it is missing, empty or too long.
    pub fn read(&self, environment: &Environment) -> Result<SecretBytes, ConfigError> {
        match &self.place {
            SecretPlace::File(path) => read_text(self.key, path),
            SecretPlace::Variable(name) => environment
                .get(name)
                .filter(|value| !value.is_empty() && value.len() <= MAX_SECRET_BYTES)
                .map(|value| SecretBytes::copy_from(value.as_bytes()))
                .ok_or_else(|| ConfigError::Secret {
                    key: self.key,
                    problem: format!("the environment variable {name} is not set, is empty, or is too long"),
                    fix: "set it to the secret",
                }),
            SecretPlace::Credential(name) => read_text(self.key, &credential(self.key, name, environment)?),
            SecretPlace::MpciumConfig(path) => mpcium::read_secret(path, self.key),
        }
    }
}

/// What unlocks the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorageKeySource {
    /// A passphrase.
    Passphrase(SecretSource),
    /// A file with a key: 32 bytes as they are, or 64 hex digits.
    KeyFile(PathBuf),
    /// A credential of systemd with a key, likewise.
    KeyCredential(String),
    /// A passphrase that is asked for on the terminal when the node starts.
    Prompt,
    /// Nothing yet: the node starts sealed, and whoever unseals it brings the secret.
    Sealed,
}

/// The secret that unlocks the store.
#[derive(Debug)]
pub enum StorageSecret {
    /// A passphrase, at least one byte.
    Passphrase(SecretBytes),
    /// A key of exactly 32 bytes.
    Key(SecretBytes),
}

impl StorageKeySource {
    /// Reads the secret.
    ///
    /// # Errors
    /// When it is missing, empty, too long, or no key.
    pub fn read(&self, environment: &Environment) -> Result<StorageSecret, ConfigError> {
        match self {
            Self::Passphrase(source) => source.read(environment).map(StorageSecret::Passphrase),
            Self::KeyFile(path) => read_key("storage.key_file", path).map(StorageSecret::Key),
            Self::KeyCredential(name) => {
                let path = credential("storage.key_credential", name, environment)?;
                read_key("storage.key_credential", &path).map(StorageSecret::Key)
            }
            Self::Sealed => Err(ConfigError::Secret {
                key: "storage.sealed",
                problem: "the configuration leaves it to whoever unseals the node".to_owned(),
                fix: "name a file with it on the command line",
            }),
            Self::Prompt => Err(ConfigError::Secret {
                key: "storage.prompt",
                problem: "the passphrase is to be asked for, and nobody was".to_owned(),
                fix: "start the node on a terminal, or name a file or a variable",
            }),
        }
    }
}

/// Where a credential lies: systemd.exec(5), LoadCredential=.
fn credential(key: &'static str, name: &str, environment: &Environment) -> Result<PathBuf, ConfigError> {
    const FOLDER: &str = "CREDENTIALS_DIRECTORY";
    environment.get(FOLDER).map(|folder| Path::new(folder).join(name)).ok_or_else(|| ConfigError::Secret {
        key,
        problem: format!("the environment variable {FOLDER} is not set"),
        fix: "give the service the credential: LoadCredential= or LoadCredentialEncrypted= in its unit",
    })
}

/// Reads a key: 32 bytes as they are, or 64 hex digits. `key` is the configuration key or the flag that names the file.
///
/// # Errors
/// When the file cannot be read, or holds no key.
pub fn read_key_file(key: &'static str, path: &Path) -> Result<SecretBytes, ConfigError> {
    read_key(key, path)
}

fn read_key(key: &'static str, path: &Path) -> Result<SecretBytes, ConfigError> {
    let bytes = read_secret(key, path)?;
    if bytes.len() == 32 {
        return Ok(SecretBytes::copy_from(&bytes));
    }
    let mut decoded = Zeroizing::new([0; 32]);
    hex::decode_to_slice(bytes.trim_ascii(), &mut *decoded).map_err(|_| ConfigError::Secret {
        key,
        problem: format!("{} holds neither 32 bytes nor 64 hex digits", path.display()),
        fix: "make one with: head -c 32 /dev/urandom",
    })?;
    Ok(SecretBytes::copy_from(&*decoded))
}

/// Reads a passphrase: the file's bytes without the line break at their end. `key` is the configuration key or the flag
/// that names the file.
///
/// # Errors
/// When the file cannot be read, is empty, or is longer than 4,096 bytes.
pub fn read_passphrase_file(key: &'static str, path: &Path) -> Result<SecretBytes, ConfigError> {
    read_text(key, path)
}

fn read_text(key: &'static str, path: &Path) -> Result<SecretBytes, ConfigError> {
    let bytes = read_secret(key, path)?;
    let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    if text.is_empty() {
        return Err(ConfigError::Secret {
            key,
            problem: format!("{} is empty", path.display()),
            fix: "write the secret into it",
        });
    }
    Ok(SecretBytes::copy_from(text))
}

fn read_secret(key: &'static str, path: &Path) -> Result<Zeroizing<Vec<u8>>, ConfigError> {
    let failed = |problem: String, fix| ConfigError::Secret { key, problem, fix };
    // Room for all that is read, so that the secret is never moved.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_SECRET_BYTES + 64));
    File::open(path).and_then(|file| file.take(MAX_SECRET_BYTES as u64 + 1).read_to_end(&mut bytes)).map_err(
        |error| {
            failed(format!("{}: {error}", path.display()), "check that the file exists and that this user may read it")
        },
    )?;
    if bytes.len() > MAX_SECRET_BYTES {
        return Err(failed(
            format!("{} is longer than {MAX_SECRET_BYTES} bytes", path.display()),
            "name the right file",
        ));
    }
    Ok(bytes)
}
