//! The store's header: whose store it is, and the wrapped store key. The only record in plaintext.
//!
//! ```text
//! magic 14 | format 2 | length 2 | statement (MessagePack) | nonce 12 | wrapped key 32 + 16 | SHA-256 of all before 32
//! |<------------------ bound by the wrapping ------------>|
//! ```
//!
//! The wrapping (AES-256-GCM-SIV, RFC 8452) binds everything that stands before it, so that a header cannot be put
//! together from two. The hash tells damage from a wrong passphrase; it protects from nobody.

use aes_gcm_siv::aead::{AeadInOut, KeyInit};
use aes_gcm_siv::{Aes256GcmSiv, Nonce, Tag};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::key::{KEY_BYTES, Kdf};
use super::seal::Slot;
use super::{Argon2Params, KeySource, StorageError};
use crate::ids::{ClusterId, NodeId};
use crate::secret::SecretBytes;
#[cfg(any(test, feature = "testing"))]
use crate::testing::witness::{self, Kind};
use crate::wire::codec;

/// The newest format of the store, and the only one yet.
pub(super) const FORMAT: u16 = 1;

const MAGIC: &[u8; 14] = b"quorate store\0";
const SALT_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const HASH_BYTES: usize = 32;
/// Far above a statement's largest size; it keeps its length within two bytes.
const MAX_STATEMENT_BYTES: usize = 1024;

/// Whose store it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The cluster of the node.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
}

#[derive(Serialize, Deserialize)]
struct Statement {
    cluster: ClusterId,
    node: NodeId,
    kdf: Kdf,
    #[serde(with = "serde_bytes")]
    salt: [u8; SALT_BYTES],
    /// Whether the store key is one of slot 1.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    odd: bool,
}

/// A header whose form is right. Whether its content is, shows when it is unlocked.
pub(super) struct Header<'a> {
    statement: Statement,
    bound: &'a [u8],
    nonce: &'a [u8],
    wrapped: &'a [u8],
    tag: &'a [u8],
}

/// Makes the header that locks `store_key` for its owner.
pub(super) fn lock(
    owner: &Owner,
    source: &KeySource,
    argon2: Argon2Params,
    store_key: &SecretBytes,
    slot: Slot,
) -> Result<Vec<u8>, StorageError> {
    let mut random = [0; SALT_BYTES + NONCE_BYTES];
    rand::TryRng::try_fill_bytes(&mut rand::rngs::SysRng, &mut random).map_err(|_| StorageError::Randomness)?;
    let (salt, nonce) = random.split_at(SALT_BYTES);
    let salt = <[u8; SALT_BYTES]>::try_from(salt).map_err(|_| StorageError::Randomness)?;
    let nonce = Nonce::try_from(nonce).map_err(|_| StorageError::Randomness)?;

    let kdf = source.kdf(argon2);
    let key = source.derive(kdf, &salt)?;
    let statement = Statement { cluster: owner.cluster.clone(), node: owner.node, kdf, salt, odd: slot == Slot::Odd };
    let statement = codec::encode(&statement, MAX_STATEMENT_BYTES).map_err(|_| damaged("its header is too long"))?;
    let len = u16::try_from(statement.len()).map_err(|_| damaged("its header is too long"))?;

    let mut header = Vec::from(MAGIC.as_slice());
    header.extend_from_slice(&FORMAT.to_be_bytes());
    header.extend_from_slice(&len.to_be_bytes());
    header.extend_from_slice(&statement);
    #[cfg(any(test, feature = "testing"))]
    witness::saw(Kind::StoreKey, store_key.expose());
    let mut wrapping = Ok(Tag::default());
    let wrapped = SecretBytes::filled(store_key.len(), |buffer| {
        buffer.copy_from_slice(store_key.expose());
        wrapping = cipher(&key).and_then(|cipher| {
            cipher.encrypt_inout_detached(&nonce, &header, buffer.into()).map_err(|_| damaged("its header is too long"))
        });
    });
    let tag = wrapping?;
    header.extend_from_slice(&nonce);
    header.extend_from_slice(wrapped.expose());
    header.extend_from_slice(&tag);
    let hash = Sha256::digest(&header);
    header.extend_from_slice(&hash);
    Ok(header)
}

impl<'a> Header<'a> {
    /// Parses a header.
    ///
    /// # Errors
    /// When it is of a newer format, or damaged.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, StorageError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| damaged("its header is damaged"))?;
        let (format, _) = rest.split_first_chunk::<2>().ok_or_else(|| damaged("its header is damaged"))?;
        // Before the hash: a newer format may keep its hash elsewhere.
        let format = u16::from_be_bytes(*format);
        if format > FORMAT {
            return Err(StorageError::NewerFormat { found: format, supported: FORMAT });
        }
        Self::parse_hashed(bytes).ok_or_else(|| damaged("its header is damaged"))
    }

    /// Parses what is behind the magic and the format, both seen already.
    fn parse_hashed(bytes: &'a [u8]) -> Option<Self> {
        let (hashed, hash) = bytes.split_last_chunk::<HASH_BYTES>()?;
        if Sha256::digest(hashed).as_slice() != hash {
            return None;
        }
        let (rest, tag) = hashed.split_last_chunk::<TAG_BYTES>()?;
        let (rest, wrapped) = rest.split_last_chunk::<KEY_BYTES>()?;
        let (bound, nonce) = rest.split_last_chunk::<NONCE_BYTES>()?;
        let after_format = bound.get(MAGIC.len().checked_add(2)?..)?;
        let (len, statement) = after_format.split_first_chunk::<2>()?;
        if usize::from(u16::from_be_bytes(*len)) != statement.len() {
            return None;
        }
        let statement = codec::decode(statement, MAX_STATEMENT_BYTES).ok()?;
        Some(Self { statement, bound, nonce, wrapped, tag })
    }

    /// Checks whose store it is.
    ///
    /// # Errors
    /// When it is not `expected`'s.
    pub(super) fn check_owner(&self, expected: &Owner) -> Result<(), StorageError> {
        let Statement { cluster, node, .. } = &self.statement;
        if *cluster != expected.cluster {
            return Err(StorageError::OtherCluster { found: cluster.clone(), expected: expected.cluster.clone() });
        }
        if *node != expected.node {
            return Err(StorageError::OtherNode { found: *node, expected: expected.node });
        }
        Ok(())
    }

    /// Which of two store keys it locks.
    pub(super) const fn slot(&self) -> Slot {
        if self.statement.odd { Slot::Odd } else { Slot::Even }
    }

    /// The store key.
    ///
    /// # Errors
    /// When `source` is not what the store was locked with, or the header was altered by somebody who fixed its hash.
    pub(super) fn unlock(&self, source: &KeySource) -> Result<SecretBytes, StorageError> {
        let key = source.derive(self.statement.kdf, &self.statement.salt)?;
        let nonce = Nonce::try_from(self.nonce).map_err(|_| damaged("its header is damaged"))?;
        let tag = Tag::try_from(self.tag).map_err(|_| damaged("its header is damaged"))?;
        let mut unwrapping = Err(StorageError::WrongKey);
        let store_key = SecretBytes::filled(self.wrapped.len(), |buffer| {
            buffer.copy_from_slice(self.wrapped);
            unwrapping = cipher(&key).and_then(|cipher| {
                cipher
                    .decrypt_inout_detached(&nonce, self.bound, buffer.into(), &tag)
                    .map_err(|_| StorageError::WrongKey)
            });
        });
        #[cfg(any(test, feature = "testing"))]
        witness::saw(Kind::StoreKey, store_key.expose());
        unwrapping.map(|()| store_key)
    }
}

/// The cipher of a key of 32 bytes.
pub(super) fn cipher(key: &SecretBytes) -> Result<Aes256GcmSiv, StorageError> {
    Aes256GcmSiv::new_from_slice(key.expose())
        .map_err(|_| StorageError::InvalidKey { problem: "the key does not have 32 bytes" })
}

fn damaged(problem: &str) -> StorageError {
    StorageError::DamagedFiles { problem: problem.into() }
}

#[cfg(any(test, feature = "testing"))]
pub(crate) mod fuzz {
    //! The header as bytes that anybody may have written.

    use super::*;

    /// A header.
    pub(crate) fn some_header() -> Result<Vec<u8>, StorageError> {
        let owner =
            Owner { cluster: "fuzz".parse().map_err(|_| damaged("no name"))?, node: NodeId(uuid::Uuid::from_u128(1)) };
        let key = SecretBytes::copy_from(&[7; KEY_BYTES]);
        let source = KeySource::key(SecretBytes::copy_from(&[8; KEY_BYTES]))?;
        lock(&owner, &source, Argon2Params::insecure_for_tests(), &key, Slot::Even)
    }

    /// Whether they are one.
    pub(crate) fn is_header(bytes: &[u8]) -> bool {
        Header::parse(bytes).is_ok()
    }
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "a test is named subject__should_claim")]

    use uuid::Uuid;

    use super::*;

    fn owner() -> Owner {
        Owner { cluster: "alpha".parse().unwrap(), node: NodeId(Uuid::from_u128(1)) }
    }

    fn passphrase(text: &str) -> KeySource {
        KeySource::passphrase(SecretBytes::copy_from(text.as_bytes())).unwrap()
    }

    fn store_key() -> SecretBytes {
        SecretBytes::filled(KEY_BYTES, |key| key.fill(9))
    }

    fn locked(source: &KeySource) -> Vec<u8> {
        lock(&owner(), source, Argon2Params::insecure_for_tests(), &store_key(), Slot::Even).unwrap()
    }

    fn fix_hash(header: &mut [u8]) {
        let (hashed, hash) = header.split_last_chunk_mut::<HASH_BYTES>().unwrap();
        *hash = Sha256::digest(hashed).into();
    }

    #[test]
    fn header__should_unlock_with_its_secret_only() {
        let key = |byte| KeySource::key(SecretBytes::filled(KEY_BYTES, |key| key.fill(byte))).unwrap();
        for (right, wrong) in [(passphrase("right"), passphrase("wrong")), (key(1), key(2))] {
            let bytes = locked(&right);
            let header = Header::parse(&bytes).unwrap();
            assert_eq!(header.unlock(&right).unwrap().expose(), store_key().expose());
            assert!(matches!(header.unlock(&wrong), Err(StorageError::WrongKey)));
        }
        let bytes = locked(&passphrase("right"));
        let other_kind = Header::parse(&bytes).unwrap().unlock(&key(1));
        assert!(matches!(other_kind, Err(StorageError::WrongKeyKind { stored: "a passphrase", given: "a key" })));
    }

    #[test]
    fn header__should_refuse_any_flipped_bit() {
        let source = passphrase("right");
        let bytes = locked(&source);
        for position in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[position] ^= 0x40;
            match Header::parse(&altered) {
                Err(StorageError::DamagedFiles { .. }) => {}
                Err(StorageError::NewerFormat { .. }) => assert!((14..16).contains(&position), "{position}"),
                _ => panic!("a flip at {position} was accepted"),
            }
        }
    }

    #[test]
    fn header__should_bind_all_it_says_even_where_the_hash_is_made_to_fit() {
        let source = passphrase("right");
        let bytes = locked(&source);
        for position in 18..bytes.len() - HASH_BYTES {
            let mut altered = bytes.clone();
            altered[position] ^= 1;
            fix_hash(&mut altered);
            let unlocked = Header::parse(&altered).and_then(|header| header.unlock(&source));
            assert!(unlocked.is_err(), "a flip at {position} was accepted");
        }
    }

    #[test]
    fn header__should_tell_newer_format_other_cluster_other_node() {
        let mut bytes = locked(&passphrase("p"));
        let header = Header::parse(&bytes).unwrap();
        assert!(header.check_owner(&owner()).is_ok());
        let node = NodeId(Uuid::from_u128(2));
        assert!(matches!(
            header.check_owner(&Owner { node, ..owner() }),
            Err(StorageError::OtherNode { expected, .. }) if expected == node
        ));
        let cluster: ClusterId = "beta".parse().unwrap();
        assert!(matches!(
            header.check_owner(&Owner { cluster: cluster.clone(), ..owner() }),
            Err(StorageError::OtherCluster { expected, .. }) if expected == cluster
        ));
        bytes[15] = 2;
        assert!(matches!(Header::parse(&bytes), Err(StorageError::NewerFormat { found: 2, supported: 1 })));
    }

    #[test]
    fn header__should_use_fresh_salt_and_nonce_each_time() {
        let (one, two) = (locked(&passphrase("p")), locked(&passphrase("p")));
        let (one, two) = (Header::parse(&one).unwrap(), Header::parse(&two).unwrap());
        assert_ne!(one.statement.salt, two.statement.salt);
        assert_ne!(one.nonce, two.nonce);
        assert_ne!(one.wrapped, two.wrapped);
    }
}
