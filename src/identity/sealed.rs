//! Private keys under a passphrase: the age format with its scrypt recipient.

use age::DecryptError;
use age::secrecy::SecretString;
use zeroize::Zeroizing;

use crate::secret::SecretBytes;

/// The work factor (a power of two) that new files get: about a second, and 256 MiB.
pub const DEFAULT_WORK_FACTOR: u8 = 18;
/// The highest work factor that is accepted when reading: a file must not be able to stop a node's start for good.
pub const MAX_WORK_FACTOR: u8 = 22;

/// Why a sealed text was not opened.
pub(super) enum Unsealed {
    /// Wrong passphrase, or damaged.
    Failed,
    /// More than [`MAX_WORK_FACTOR`].
    Work(u8),
}

/// Encrypts `text`, in the binary age format.
///
/// # Errors
/// What is wrong, in words.
pub(super) fn seal(text: &[u8], passphrase: &SecretBytes, work_factor: u8) -> Result<Vec<u8>, &'static str> {
    if !(1..=MAX_WORK_FACTOR).contains(&work_factor) {
        return Err("the work factor is not between 1 and 22");
    }
    if passphrase.is_empty() {
        return Err("the passphrase is empty");
    }
    let passphrase = age_passphrase(passphrase).ok_or("the passphrase is not UTF-8 text")?;
    let mut recipient = age::scrypt::Recipient::new(passphrase);
    recipient.set_work_factor(work_factor);
    age::encrypt(&recipient, text).map_err(|_| "the age library failed")
}

/// Decrypts what [`seal`] or the `age` tool made, armored or not.
pub(super) fn unseal(sealed: &[u8], passphrase: &SecretBytes) -> Result<Zeroizing<Vec<u8>>, Unsealed> {
    let passphrase = age_passphrase(passphrase).ok_or(Unsealed::Failed)?;
    let mut identity = age::scrypt::Identity::new(passphrase);
    identity.set_max_work_factor(MAX_WORK_FACTOR);
    age::decrypt(&identity, sealed).map(Zeroizing::new).map_err(|error| match error {
        DecryptError::ExcessiveWork { required, .. } => Unsealed::Work(required),
        _ => Unsealed::Failed,
    })
}

fn age_passphrase(passphrase: &SecretBytes) -> Option<SecretString> {
    std::str::from_utf8(passphrase.expose()).ok().map(SecretString::from)
}
