//! Who can read a backup: the age format, to X25519 recipients or under a passphrase.

use std::io::{BufReader, Read, Write};
use std::path::Path;

use age::secrecy::SecretString;
use age::stream::{StreamReader, StreamWriter};
use age::{DecryptError, Decryptor, Encryptor};
use zeroize::Zeroizing;

use super::BackupError;
use crate::identity::{DEFAULT_WORK_FACTOR, MAX_WORK_FACTOR};
use crate::secret::SecretBytes;

const PASSPHRASE: &str = "a passphrase";
const KEYS: &str = "keys";

/// The most recipients of a backup.
const MAX_RECIPIENTS: usize = 16;

/// What backups are encrypted with. The node need not be able to read them: recipients are public keys.
pub struct Seal(Means);

enum Means {
    Recipients(Vec<age::x25519::Recipient>),
    Passphrase(SecretBytes, u8),
}

impl Seal {
    /// To everybody who has the private key of one of these: `age1...`.
    ///
    /// # Errors
    /// When there is none, there are more than 16, or one is no X25519 recipient.
    pub fn recipients<'a>(recipients: impl IntoIterator<Item = &'a str>) -> Result<Self, BackupError> {
        let parsed: Result<Vec<age::x25519::Recipient>, _> = recipients.into_iter().map(str::parse).collect();
        let recipients = parsed.map_err(|_| BackupError::Seal { problem: "a recipient is not of the form age1..." })?;
        if recipients.is_empty() || recipients.len() > MAX_RECIPIENTS {
            return Err(BackupError::Seal { problem: "there must be 1 to 16 recipients" });
        }
        Ok(Self(Means::Recipients(recipients)))
    }

    /// Under a passphrase: UTF-8 text, not empty. Each backup takes about a second and 256 MiB for it.
    ///
    /// # Errors
    /// When it is no such text.
    pub fn passphrase(passphrase: SecretBytes) -> Result<Self, BackupError> {
        Self::passphrase_with(passphrase, DEFAULT_WORK_FACTOR)
    }

    /// The same, so cheap that it holds nobody off.
    ///
    /// # Errors
    /// As [`Seal::passphrase`].
    #[cfg(any(test, feature = "testing"))]
    pub fn insecure_for_tests(passphrase: SecretBytes) -> Result<Self, BackupError> {
        Self::passphrase_with(passphrase, 2)
    }

    fn passphrase_with(passphrase: SecretBytes, work_factor: u8) -> Result<Self, BackupError> {
        text(&passphrase).ok_or(BackupError::Seal { problem: "the passphrase is empty, or not UTF-8 text" })?;
        Ok(Self(Means::Passphrase(passphrase, work_factor)))
    }

    /// Encrypts what is written to what comes back; it has to be finished.
    pub(super) fn wrap<W: Write>(&self, sink: W, path: &Path) -> Result<StreamWriter<W>, BackupError> {
        let unusable = |_| BackupError::Seal { problem: "the recipients do not go together" };
        let encryptor = match &self.0 {
            Means::Recipients(recipients) => {
                Encryptor::with_recipients(recipients.iter().map(|recipient| recipient as &dyn age::Recipient))
            }
            Means::Passphrase(passphrase, work_factor) => {
                let problem = "the passphrase is empty, or not UTF-8 text";
                let mut recipient = age::scrypt::Recipient::new(text(passphrase).ok_or(BackupError::Seal { problem })?);
                recipient.set_work_factor(*work_factor);
                Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient))
            }
        };
        encryptor.map_err(unusable)?.wrap_output(sink).map_err(BackupError::writing(path))
    }
}

/// What opens backups.
pub struct Unlock(Key);

enum Key {
    Identities(Vec<age::x25519::Identity>),
    Passphrase(SecretBytes),
}

impl Unlock {
    /// The private keys in the text of an identity file, as `age-keygen` makes it: `AGE-SECRET-KEY-1...`, one per line,
    /// and comments.
    ///
    /// # Errors
    /// When there is none, or a line is none.
    pub fn identities(text: &SecretBytes) -> Result<Self, BackupError> {
        let problem = "the identity file does not hold keys of the form AGE-SECRET-KEY-1...";
        let text = std::str::from_utf8(text.expose()).map_err(|_| BackupError::Seal { problem })?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let keys: Result<Vec<age::x25519::Identity>, _> = lines.map(str::parse).collect();
        let keys = keys.ok().filter(|keys| !keys.is_empty()).ok_or(BackupError::Seal { problem })?;
        Ok(Self(Key::Identities(keys)))
    }

    /// A passphrase.
    #[must_use]
    pub const fn passphrase(passphrase: SecretBytes) -> Self {
        Self(Key::Passphrase(passphrase))
    }

    /// Decrypts what is read from `source`.
    pub(super) fn unwrap<R: Read>(&self, source: R, path: &Path) -> Result<StreamReader<BufReader<R>>, BackupError> {
        let not_age = |error| match error {
            DecryptError::Io(source) if source.kind() != std::io::ErrorKind::UnexpectedEof => {
                BackupError::Read { path: path.to_owned(), source }
            }
            _ => BackupError::NotABackup { path: path.to_owned() },
        };
        let decryptor = Decryptor::new_buffered(BufReader::new(source)).map_err(not_age)?;
        match (&self.0, decryptor.is_scrypt()) {
            (Key::Identities(keys), false) => decryptor.decrypt(keys.iter().map(|key| key as &dyn age::Identity)),
            (Key::Passphrase(passphrase), true) => {
                let mut key = age::scrypt::Identity::new(text(passphrase).ok_or(BackupError::WrongKey)?);
                key.set_max_work_factor(MAX_WORK_FACTOR);
                decryptor.decrypt(std::iter::once(&key as &dyn age::Identity))
            }
            (Key::Identities(_), true) => {
                return Err(BackupError::WrongKeyKind { stored: PASSPHRASE, given: KEYS });
            }
            (Key::Passphrase(_), false) => {
                return Err(BackupError::WrongKeyKind { stored: KEYS, given: PASSPHRASE });
            }
        }
        .map_err(|error| match error {
            DecryptError::ExcessiveWork { required, .. } => BackupError::Work(required),
            DecryptError::InvalidHeader | DecryptError::InvalidMac => BackupError::Damaged("its head is not authentic"),
            _ => BackupError::WrongKey,
        })
    }
}

/// A new pair of keys, for tests: what encrypts, and the text of the file that opens.
#[cfg(any(test, feature = "testing"))]
#[must_use]
pub fn generated_keys() -> (String, SecretBytes) {
    use age::secrecy::ExposeSecret;
    let identity = age::x25519::Identity::generate();
    let text = identity.to_string();
    (identity.to_public().to_string(), SecretBytes::copy_from(text.expose_secret().as_bytes()))
}

fn text(passphrase: &SecretBytes) -> Option<SecretString> {
    let text = std::str::from_utf8(passphrase.expose()).ok().filter(|text| !text.is_empty())?;
    Some(SecretString::from(Zeroizing::new(text.to_owned()).as_str()))
}
