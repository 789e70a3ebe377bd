//! How one record is sealed: AES-256-GCM-SIV (RFC 8452), with the record's place bound in.
//!
//! ```text
//! version 1 | nonce 12, random | ciphertext, as long as the value | tag 16
//! ```
//!
//! The version tells which of two store keys sealed the record: while one takes the place of the other, a store has both.
//!
//! The nonce is drawn anew for every write. AES-GCM-SIV derives a key per nonce, and a nonce that repeats by chance
//! betrays at most that two values of one family and place are equal; RFC 8452, section 9, bounds are far above what
//! one node ever writes.

use aes_gcm_siv::aead::AeadInOut;
use aes_gcm_siv::{Aes256GcmSiv, Nonce, Tag};

use super::header::cipher;
use super::key::expand;
use super::{Family, MAX_VALUE_BYTES, RecordVersion, ShownKey, StorageError};
use crate::secret::SecretBytes;
use crate::stack::wiped_after;

/// The version of records that the key of slot 0 sealed; that of slot 1 is one more.
const FIRST_VERSION: u8 = 1;
const NONCE_BYTES: usize = RecordVersion::BYTES;
const TAG_BYTES: usize = 16;
/// How much longer a sealed value is than the value.
const OVERHEAD_BYTES: usize = 1 + NONCE_BYTES + TAG_BYTES;

const DOMAIN: &[u8] = b"quorate store: record";
const KEY_SALT: &[u8] = b"quorate store: family keys";

/// Which of two store keys: they take turns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Slot {
    /// The first key of a store has this one.
    #[default]
    Even,
    Odd,
}

impl Slot {
    const fn version(self) -> u8 {
        match self {
            Self::Even => FIRST_VERSION,
            Self::Odd => FIRST_VERSION + 1,
        }
    }

    /// The one of the key that comes next.
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Even => Self::Odd,
            Self::Odd => Self::Even,
        }
    }
}

/// Seals and opens the records of one family.
pub(super) struct Seal {
    family: Family,
    version: u8,
    /// On the heap: its key schedule is a secret. It wipes itself.
    cipher: Box<Aes256GcmSiv>,
}

impl Seal {
    /// The seal of a family: its key is HKDF-SHA256 of the store key, with the family's name as purpose. `slot` tells
    /// records of this store key from those of another one.
    pub(super) fn new(family: Family, store_key: &SecretBytes, slot: Slot) -> Result<Self, StorageError> {
        let key = expand(store_key, KEY_SALT, family.as_str().as_bytes())?;
        Ok(Self { family, version: slot.version(), cipher: Box::new(cipher(&key)?) })
    }

    /// Whether it sealed this, by what stands first in it.
    pub(super) fn is_of(&self, sealed: &[u8]) -> bool {
        sealed.first() == Some(&self.version)
    }

    /// Seals a value for its place.
    pub(super) fn seal(&self, key: &[u8], value: &SecretBytes) -> Result<Vec<u8>, StorageError> {
        let mut nonce = Nonce::default();
        rand::TryRng::try_fill_bytes(&mut rand::rngs::SysRng, &mut nonce).map_err(|_| StorageError::Randomness)?;
        let mut sealed = Vec::with_capacity(value.len().saturating_add(OVERHEAD_BYTES));
        sealed.push(self.version);
        sealed.extend_from_slice(&nonce);
        let start = sealed.len();
        sealed.extend_from_slice(value.expose());
        let body = sealed.get_mut(start..).unwrap_or_default();
        let associated = self.associated(key, value.len());
        let sealing = wiped_after(|| self.cipher.encrypt_inout_detached(&nonce, &associated, (&mut *body).into()));
        let tag = sealing.map_err(|_| {
            // Refused for its length alone, before a byte was encrypted.
            zeroize::Zeroize::zeroize(body);
            StorageError::OutOfLimits { what: "bytes of value", len: value.len(), max: MAX_VALUE_BYTES }
        })?;
        sealed.extend_from_slice(&tag);
        Ok(sealed)
    }

    /// Opens what is stored at a place.
    pub(super) fn open(&self, key: &[u8], sealed: &[u8]) -> Result<SecretBytes, StorageError> {
        let damaged = || StorageError::Damaged { family: self.family, key: ShownKey::of(key) };
        let (version, rest) = sealed.split_first().ok_or_else(damaged)?;
        if *version != self.version {
            return Err(damaged());
        }
        let (nonce, rest) = rest.split_first_chunk::<NONCE_BYTES>().ok_or_else(damaged)?;
        let (body, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or_else(damaged)?;
        // The half of the pair of checks that stands after the read: nothing longer was ever written.
        if body.len() > MAX_VALUE_BYTES {
            return Err(damaged());
        }
        let associated = self.associated(key, body.len());
        let (nonce, tag) = (Nonce::from(*nonce), Tag::from(*tag));
        let mut opened = Err(aes_gcm_siv::Error);
        let value = SecretBytes::filled(body.len(), |buffer| {
            buffer.copy_from_slice(body);
            opened = wiped_after(|| self.cipher.decrypt_inout_detached(&nonce, &associated, buffer.into(), &tag));
        });
        opened.map(|()| value).map_err(|_| damaged())
    }

    /// Which write a sealed value came from, without opening it: its nonce.
    pub(super) fn version(&self, key: &[u8], sealed: &[u8]) -> Result<RecordVersion, StorageError> {
        let nonce = sealed.get(1..).and_then(|rest| rest.first_chunk::<NONCE_BYTES>());
        let damaged = || StorageError::Damaged { family: self.family, key: ShownKey::of(key) };
        nonce.map(|nonce| RecordVersion(*nonce)).ok_or_else(damaged)
    }

    /// How long the value in a sealed one is, in bytes.
    pub(super) const fn opened_len(sealed: &[u8]) -> usize {
        sealed.len().saturating_sub(OVERHEAD_BYTES)
    }

    /// What a seal binds: purpose, version, family, key and length, each of fixed length or with its length before it.
    fn associated(&self, key: &[u8], value_len: usize) -> Vec<u8> {
        let family = self.family.as_str().as_bytes();
        let mut associated = Vec::with_capacity(DOMAIN.len() + 1 + 8 + family.len() + 8 + key.len() + 8);
        associated.extend_from_slice(DOMAIN);
        associated.push(self.version);
        for part in [family, key] {
            associated.extend_from_slice(&(part.len() as u64).to_be_bytes());
            associated.extend_from_slice(part);
        }
        associated.extend_from_slice(&(value_len as u64).to_be_bytes());
        associated
    }
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "a test is named subject__should_claim")]

    use super::*;

    fn seal(family: Family) -> Seal {
        Seal::new(family, &SecretBytes::filled(32, |key| key.fill(5)), Slot::Even).unwrap()
    }

    #[test]
    fn seal__should_open_what_it_sealed() {
        let seal = seal(Family::Shares);
        for len in [0, 1, 15, 16, 17, 1024, 52 * 1024, MAX_VALUE_BYTES] {
            let value = SecretBytes::random(len).unwrap();
            let sealed = seal.seal(b"key", &value).unwrap();
            assert_eq!(sealed.len(), len + OVERHEAD_BYTES);
            assert_eq!(seal.open(b"key", &sealed).unwrap().expose(), value.expose(), "{len} bytes");
        }
    }

    #[test]
    fn seal__should_refuse_any_flipped_bit_and_any_truncation() {
        let seal = seal(Family::Shares);
        let sealed = seal.seal(b"key", &SecretBytes::copy_from(b"a share")).unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut altered = sealed.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            let opened = seal.open(b"key", &altered);
            assert!(matches!(opened, Err(StorageError::Damaged { family: Family::Shares, .. })), "bit {bit}");
        }
        for len in 0..sealed.len() {
            assert!(seal.open(b"key", &sealed[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn seal__should_bind_family_and_key() {
        let sealed = seal(Family::Shares).seal(b"key", &SecretBytes::copy_from(b"a share")).unwrap();
        assert!(seal(Family::Shares).open(b"kez", &sealed).is_err());
        assert!(seal(Family::Shares).open(b"ke", &sealed).is_err());
        for family in Family::ALL.into_iter().filter(|family| *family != Family::Shares) {
            assert!(seal(family).open(b"key", &sealed).is_err(), "{family}");
        }
        let other_store = Seal::new(Family::Shares, &SecretBytes::filled(32, |key| key.fill(6)), Slot::Even).unwrap();
        assert!(other_store.open(b"key", &sealed).is_err());
        let other_slot = Seal::new(Family::Shares, &SecretBytes::filled(32, |key| key.fill(5)), Slot::Odd).unwrap();
        let relabelled = [&[2], &sealed[1..]].concat();
        assert!(other_slot.open(b"key", &sealed).is_err() && other_slot.open(b"key", &relabelled).is_err());
    }

    #[test]
    fn seal__should_never_repeat_itself() {
        let seal = seal(Family::Results);
        let value = SecretBytes::copy_from(b"the same value");
        let (one, two) = (seal.seal(b"key", &value).unwrap(), seal.seal(b"key", &value).unwrap());
        assert_ne!(one[1..=NONCE_BYTES], two[1..=NONCE_BYTES]);
        assert_ne!(one[1 + NONCE_BYTES..], two[1 + NONCE_BYTES..]);
    }
}
