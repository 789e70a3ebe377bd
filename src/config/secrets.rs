//! Where secrets are found, and reading them when they are needed.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{ConfigError, Environment};
use crate::secret::SecretBytes;

/// The longest secret in a file, in bytes.
const MAX_SECRET_BYTES: usize = 4096;

/// What unlocks the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorageKeySource {
    /// A file with a passphrase.
    PassphraseFile(PathBuf),
    /// The name of an environment variable that holds a passphrase.
    PassphraseVariable(String),
    /// A file with a key: 32 bytes as they are, or 64 hex digits.
    KeyFile(PathBuf),
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
            Self::PassphraseFile(path) => {
                read_passphrase_file("storage.passphrase_file", path).map(StorageSecret::Passphrase)
            }
            Self::PassphraseVariable(name) => {
                let value = environment.get(name).map(|value| SecretBytes::copy_from(value.as_bytes()));
                value.filter(|value| !value.is_empty()).map(StorageSecret::Passphrase).ok_or_else(|| {
                    ConfigError::Secret {
                        key: "storage.passphrase_env",
                        problem: format!("the environment variable {name} is not set, or is empty"),
                        fix: "set it to the passphrase",
                    }
                })
            }
            Self::KeyFile(path) => {
                let bytes = read_secret("storage.key_file", path)?;
                let wrong = || ConfigError::Secret {
                    key: "storage.key_file",
                    problem: format!("{} holds neither 32 bytes nor 64 hex digits", path.display()),
                    fix: "make one with: head -c 32 /dev/urandom",
                };
                if bytes.len() == 32 {
                    return Ok(StorageSecret::Key(SecretBytes::copy_from(&bytes)));
                }
                let mut key = Zeroizing::new([0; 32]);
                hex::decode_to_slice(bytes.trim_ascii(), &mut *key).map_err(|_| wrong())?;
                Ok(StorageSecret::Key(SecretBytes::copy_from(&*key)))
            }
        }
    }
}

/// Reads a passphrase: the file's bytes without the line break at their end. `key` is the configuration key that names
/// the file.
///
/// # Errors
/// When the file cannot be read, is empty, or is longer than 4,096 bytes.
pub fn read_passphrase_file(key: &'static str, path: &Path) -> Result<SecretBytes, ConfigError> {
    let bytes = read_secret(key, path)?;
    let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    if text.is_empty() {
        return Err(ConfigError::Secret {
            key,
            problem: format!("{} is empty", path.display()),
            fix: "write the passphrase into it",
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
        return Err(failed(format!("{} is longer than 4,096 bytes", path.display()), "name the right file"));
    }
    Ok(bytes)
}
