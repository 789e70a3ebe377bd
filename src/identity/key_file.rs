//! Reading and writing the files of identities, with limits, modes and without half-written results.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::IdentityError;
use super::sealed::{Unsealed, seal, unseal};
use crate::secret::SecretBytes;

/// The longest file of this layer, in bytes.
pub const MAX_FILE_BYTES: usize = 64 * 1024;

/// How a private key lies on disk.
#[derive(Debug, Clone, Copy)]
pub enum Protection<'a> {
    /// As it is, in a file that only its owner reads (`.key`).
    FileMode,
    /// Encrypted under a passphrase (`.key.age`).
    Passphrase {
        /// UTF-8 text, not empty.
        passphrase: &'a SecretBytes,
        /// scrypt's work factor as a power of two, 1 to [`MAX_WORK_FACTOR`](super::MAX_WORK_FACTOR).
        work_factor: u8,
    },
}

/// What becomes of a file that is already there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and writing fails.
    Keep,
    /// It is replaced.
    Replace,
}

/// The two files of a key that was saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedFiles {
    /// The public key, for everybody.
    pub public: PathBuf,
    /// The private key, mode 0600.
    pub private: PathBuf,
}

/// Reads a public JSON file.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, IdentityError> {
    serde_json::from_slice(&read(path)?).map_err(|error| IdentityError::Content {
        path: path.to_owned(),
        problem: error.to_string(),
        fix: "generate it again or restore it",
    })
}

/// Writes a public JSON file, mode 0644.
pub(super) fn write_json<T: Serialize>(path: &Path, value: &T, existing: Existing) -> Result<(), IdentityError> {
    let failed = |error| IdentityError::Write { path: path.to_owned(), source: io::Error::other(error) };
    let mut text = serde_json::to_vec_pretty(value).map_err(failed)?;
    text.push(b'\n');
    write(path, &text, 0o644, existing)
}

/// Reads the private key text at `path`, or with a passphrase at `path` with `.age` added. Without surrounding blanks.
pub(super) fn read_private(
    path: &Path,
    passphrase: Option<&SecretBytes>,
) -> Result<(PathBuf, Zeroizing<Vec<u8>>), IdentityError> {
    let sealed_path = sealed(path);
    let Some(passphrase) = passphrase else {
        return match read(path) {
            Ok(text) => Ok((path.to_owned(), trimmed(&text))),
            Err(IdentityError::Read { source, .. })
                if source.kind() == io::ErrorKind::NotFound && sealed_path.exists() =>
            {
                Err(IdentityError::PassphraseMissing { path: sealed_path })
            }
            Err(error) => Err(error),
        };
    };
    match unseal(&read(&sealed_path)?, passphrase) {
        Ok(text) => Ok((sealed_path, trimmed(&text))),
        Err(Unsealed::Failed) => Err(IdentityError::Decrypt { path: sealed_path }),
        Err(Unsealed::Work(required)) => Err(IdentityError::WorkFactor { path: sealed_path, required }),
    }
}

/// Writes private key text, mode 0600, at `path` or with `.age` added. Gives the file that was written. What is replaced
/// goes in either form: an old key beside the new one would be found before it, or stay behind in the clear.
pub(super) fn write_private(
    path: &Path,
    text: &[u8],
    protection: Protection<'_>,
    existing: Existing,
) -> Result<PathBuf, IdentityError> {
    let (path, other, bytes) = match protection {
        Protection::FileMode => (path.to_owned(), sealed(path), Zeroizing::new(text.to_vec())),
        Protection::Passphrase { passphrase, work_factor } => {
            let bytes = seal(text, passphrase, work_factor).map_err(IdentityError::Encrypt)?;
            (sealed(path), path.to_owned(), Zeroizing::new(bytes))
        }
    };
    write(&path, &bytes, 0o600, existing)?;
    if existing == Existing::Replace {
        match fs::remove_file(&other) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(IdentityError::Write { path: other, source });
            }
            _ => {}
        }
    }
    Ok(path)
}

/// Fails if a key file, sealed or not, is there and has to stay: a node must not get a second identity by accident.
pub(super) fn refuse_existing(path: &Path, existing: Existing) -> Result<(), IdentityError> {
    if existing == Existing::Keep {
        for path in [path.to_owned(), sealed(path)] {
            if path.exists() {
                return Err(IdentityError::Exists { path });
            }
        }
    }
    Ok(())
}

fn sealed(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".age");
    PathBuf::from(name)
}

/// Reads all of a file into one allocation that never grows, so that a secret leaves no copy behind.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FILE_BYTES + 64));
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes))
        .map_err(|source| IdentityError::Read { path: path.to_owned(), source })?;
    if bytes.len() > MAX_FILE_BYTES {
        return Err(IdentityError::TooLong { path: path.to_owned(), max: MAX_FILE_BYTES });
    }
    Ok(bytes)
}

/// Writes beside the target and then puts the file in its place at once, so that no half-written key is ever found.
fn write(path: &Path, bytes: &[u8], mode: u32, existing: Existing) -> Result<(), IdentityError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.new", uuid::Uuid::new_v4().simple()));
    let beside = PathBuf::from(beside);
    let placed = create(&beside, bytes, mode).and_then(|()| match existing {
        Existing::Replace => fs::rename(&beside, path),
        // A second name for the file fails if the name is taken, where a rename would replace.
        Existing::Keep => fs::hard_link(&beside, path).and_then(|()| fs::remove_file(&beside)),
    });
    placed.map_err(|source| {
        // Best effort: the first failure is the one to report.
        drop(fs::remove_file(&beside));
        match source.kind() {
            io::ErrorKind::AlreadyExists => IdentityError::Exists { path: path.to_owned() },
            _ => IdentityError::Write { path: path.to_owned(), source },
        }
    })
}

fn create(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn trimmed(text: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(text.trim_ascii().to_vec())
}
