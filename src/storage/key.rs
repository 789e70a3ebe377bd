//! What the store is locked with, and how a key-encryption key comes of it.

use hkdf::Hkdf;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::StorageError;
use crate::secret::SecretBytes;
#[cfg(any(test, feature = "testing"))]
use crate::testing::witness::{self, Kind};

/// The length of the store key and of every key that is derived from it or wraps it, in bytes.
pub(super) const KEY_BYTES: usize = 32;

/// The purpose that a raw key is expanded for.
const WRAP_INFO: &[u8] = b"quorate store: wrap";

/// The secret that unlocks a store: it gives the key-encryption key, which wraps the store key.
pub struct KeySource(Secret);

enum Secret {
    Passphrase(SecretBytes),
    Key(SecretBytes),
}

impl KeySource {
    /// A passphrase, taken as the bytes it is, without any normalisation.
    ///
    /// # Errors
    /// When it is empty.
    pub fn passphrase(passphrase: SecretBytes) -> Result<Self, StorageError> {
        if passphrase.is_empty() {
            return Err(StorageError::InvalidKey { problem: "the passphrase is empty" });
        }
        Ok(Self(Secret::Passphrase(passphrase)))
    }

    /// A key of 32 random bytes: the content of a key file, or a credential.
    ///
    /// # Errors
    /// When it has another length.
    pub fn key(key: SecretBytes) -> Result<Self, StorageError> {
        if key.len() != KEY_BYTES {
            return Err(StorageError::InvalidKey { problem: "the key does not have 32 bytes" });
        }
        #[cfg(any(test, feature = "testing"))]
        witness::saw(Kind::KeySource, key.expose());
        Ok(Self(Secret::Key(key)))
    }

    /// How this kind of secret becomes a key; a passphrase with these parameters.
    pub(super) const fn kdf(&self, argon2: Argon2Params) -> Kdf {
        match self.0 {
            Secret::Passphrase(_) => Kdf::Argon2id(argon2),
            Secret::Key(_) => Kdf::Hkdf,
        }
    }

    /// The key-encryption key: Argon2id (RFC 9106) of a passphrase, HKDF-SHA256 (RFC 5869) of a raw key.
    pub(super) fn derive(&self, kdf: Kdf, salt: &[u8]) -> Result<SecretBytes, StorageError> {
        match (&self.0, kdf) {
            (Secret::Passphrase(passphrase), Kdf::Argon2id(params)) => params.hash(passphrase, salt),
            (Secret::Key(secret), Kdf::Hkdf) => expand(secret, salt, WRAP_INFO),
            (_, kdf) => Err(StorageError::WrongKeyKind { stored: kdf.secret_name(), given: self.secret_name() }),
        }
    }

    const fn secret_name(&self) -> &'static str {
        match self.0 {
            Secret::Passphrase(_) => Kdf::PASSPHRASE,
            Secret::Key(_) => Kdf::KEY,
        }
    }
}

/// 32 bytes of HKDF-SHA256 (RFC 5869) for one purpose.
///
/// # Errors
/// Never: one block of output is asked for, of at most 255. But a key of zeros must not come of being wrong there.
pub(super) fn expand(secret: &SecretBytes, salt: &[u8], info: &[u8]) -> Result<SecretBytes, StorageError> {
    let mut expanded = Ok(());
    let key = SecretBytes::filled(KEY_BYTES, |key| {
        expanded = Hkdf::<Sha256>::new(Some(salt), secret.expose()).expand(info, key);
    });
    #[cfg(any(test, feature = "testing"))]
    witness::saw(if info == WRAP_INFO { Kind::StoreKey } else { Kind::SealingKey }, key.expose());
    expanded.map(|()| key).map_err(|_| StorageError::InvalidKey { problem: "no key can be expanded from it" })
}

/// How the secret becomes the key-encryption key, as the header tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kdf {
    /// A passphrase, through Argon2id, version 0x13.
    #[serde(rename = "argon2id")]
    Argon2id(Argon2Params),
    /// A raw key, through HKDF-SHA256.
    #[serde(rename = "hkdf-sha256")]
    Hkdf,
}

impl Kdf {
    const PASSPHRASE: &str = "a passphrase";
    const KEY: &str = "a key";

    const fn secret_name(self) -> &'static str {
        match self {
            Self::Argon2id(_) => Self::PASSPHRASE,
            Self::Hkdf => Self::KEY,
        }
    }
}

/// The cost of guessing a passphrase (RFC 9106): memory, passes, lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Argon2Params {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Default for Argon2Params {
    /// 64 MiB and 3 passes, the second choice of RFC 9106 (section 4), on one lane: the hash runs on one thread.
    fn default() -> Self {
        Self { memory_kib: 64 * 1024, passes: 3, lanes: 1 }
    }
}

impl Argon2Params {
    /// The least memory that a new lock may use, in KiB: 19 MiB.
    pub const MIN_MEMORY_KIB: u32 = 19 * 1024;
    /// The most memory, in KiB: 1 GiB. A stored lock that asks for more is refused, not tried.
    pub const MAX_MEMORY_KIB: u32 = 1024 * 1024;
    /// The fewest passes that a new lock may use.
    pub const MIN_PASSES: u32 = 2;
    /// The most passes.
    pub const MAX_PASSES: u32 = 32;
    /// The most lanes.
    pub const MAX_LANES: u32 = 16;

    /// `memory_kib` KiB of memory, `passes` over it, in `lanes` lanes.
    ///
    /// # Errors
    /// When one is below its floor or above its limit.
    pub const fn new(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self, StorageError> {
        if memory_kib < Self::MIN_MEMORY_KIB {
            return Err(StorageError::KdfParameters { problem: "less than 19 MiB of memory" });
        }
        if passes < Self::MIN_PASSES {
            return Err(StorageError::KdfParameters { problem: "fewer than 2 passes" });
        }
        Self { memory_kib, passes, lanes }.check_stored()
    }

    /// The cheapest parameters there are: a lock that holds nobody off.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub const fn insecure_for_tests() -> Self {
        Self { memory_kib: 8, passes: 1, lanes: 1 }
    }

    /// Checks the limits that hold for what was read from a store. There is no floor above Argon2's own: a lock that
    /// is too cheap was made so by whoever made it, and refusing it would lock the operator out.
    const fn check_stored(self) -> Result<Self, StorageError> {
        let problem = if self.memory_kib > Self::MAX_MEMORY_KIB {
            "more than 1 GiB of memory"
        } else if self.passes > Self::MAX_PASSES {
            "more than 32 passes"
        } else if self.lanes > Self::MAX_LANES {
            "more than 16 lanes"
        } else if self.passes == 0 || self.lanes == 0 || self.memory_kib / 8 < self.lanes {
            "fewer than Argon2 needs"
        } else {
            return Ok(self);
        };
        Err(StorageError::KdfParameters { problem })
    }

    /// Argon2id, version 0x13, of a passphrase. Its memory, from which the key could be read, is wiped.
    fn hash(self, passphrase: &SecretBytes, salt: &[u8]) -> Result<SecretBytes, StorageError> {
        let Self { memory_kib, passes, lanes } = self.check_stored()?;
        let refused = |_| StorageError::KdfParameters { problem: "Argon2 refuses them" };
        let params = argon2::Params::new(memory_kib, passes, lanes, Some(KEY_BYTES)).map_err(refused)?;
        let blocks = params.block_count();
        let mut memory = Zeroizing::new(Vec::new());
        memory
            .try_reserve_exact(blocks)
            .map_err(|_| StorageError::KdfParameters { problem: "the memory they ask for cannot be allocated" })?;
        memory.resize(blocks, argon2::Block::default());
        let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        let mut hashed = Ok(());
        let key = SecretBytes::filled(KEY_BYTES, |key| {
            hashed = argon2.hash_password_into_with_memory(passphrase.expose(), salt, key, memory.as_mut_slice());
        });
        #[cfg(any(test, feature = "testing"))]
        witness::saw(Kind::StoreKey, key.expose());
        hashed.map(|()| key).map_err(refused)
    }
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "a test is named subject__should_claim")]

    use super::*;

    fn passphrase(text: &str) -> KeySource {
        KeySource::passphrase(SecretBytes::copy_from(text.as_bytes())).unwrap()
    }

    #[test]
    fn key_source__should_refuse_what_cannot_lock() {
        assert!(matches!(
            KeySource::passphrase(SecretBytes::copy_from(b"")),
            Err(StorageError::InvalidKey { problem: "the passphrase is empty" })
        ));
        for len in [0, 31, 33] {
            let key = SecretBytes::filled(len, |_| {});
            assert!(matches!(KeySource::key(key), Err(StorageError::InvalidKey { .. })), "{len}");
        }
    }

    #[test]
    fn argon2_params__should_have_a_floor_and_limits() {
        let (memory, passes, lanes) = (Argon2Params::MIN_MEMORY_KIB, Argon2Params::MIN_PASSES, 1);
        assert!(Argon2Params::new(memory, passes, lanes).is_ok());
        for (memory, passes, lanes) in [
            (memory - 1, passes, lanes),
            (memory, passes - 1, lanes),
            (memory, passes, 0),
            (Argon2Params::MAX_MEMORY_KIB + 1, passes, lanes),
            (memory, Argon2Params::MAX_PASSES + 1, lanes),
            (memory, passes, Argon2Params::MAX_LANES + 1),
        ] {
            let refused = Argon2Params::new(memory, passes, lanes);
            assert!(matches!(refused, Err(StorageError::KdfParameters { .. })), "{memory} {passes} {lanes}");
        }
        let default = Argon2Params::default();
        assert!(Argon2Params::new(default.memory_kib, default.passes, default.lanes).is_ok());
    }

    #[test]
    fn derive__should_refuse_stored_parameters_beyond_the_limits_without_trying_them() {
        let costly = Argon2Params { memory_kib: u32::MAX, passes: u32::MAX, lanes: 1 };
        for params in [costly, Argon2Params { lanes: u32::MAX, ..costly }, Argon2Params { memory_kib: 0, ..costly }] {
            let derived = passphrase("p").derive(Kdf::Argon2id(params), &[0; 32]);
            assert!(matches!(derived, Err(StorageError::KdfParameters { .. })), "{params:?}");
        }
    }

    #[test]
    fn derive__should_depend_on_secret_salt_and_parameters() {
        let cheap = Argon2Params::insecure_for_tests();
        let derive = |secret: &str, params, salt| {
            passphrase(secret).derive(Kdf::Argon2id(params), &[salt; 32]).unwrap().expose().to_vec()
        };
        let reference = derive("a", cheap, 1);
        assert_eq!(reference, derive("a", cheap, 1));
        assert_ne!(reference, derive("b", cheap, 1));
        assert_ne!(reference, derive("a", cheap, 2));
        assert_ne!(reference, derive("a", Argon2Params { passes: 2, ..cheap }, 1));
    }

    #[test]
    fn derive__should_name_both_kinds_when_they_differ() {
        let derived = passphrase("p").derive(Kdf::Hkdf, &[0; 32]);
        assert!(matches!(derived, Err(StorageError::WrongKeyKind { stored: "a key", given: "a passphrase" })));
    }
}
