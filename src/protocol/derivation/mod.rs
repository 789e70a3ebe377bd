//! Child keys of a shared key, by non-hardened additive derivation: only public data is needed, nothing is stored.
//!
//! ```text
//!   I = HMAC-SHA512(chain code, ser33(P) || index, 4 bytes big-endian)
//!   P' = P + I_L·G        chain code' = I_R        tweak' = tweak + I_L
//! ```
//!
//! On secp256k1 this is BIP-32 public derivation, and a child with `I_L >= n` does not exist. On Ed25519 it is the same
//! recipe as clients of the mpcium protocol compute addresses with: `ser33` is 0x02 or 0x03 by the parity of the affine y,
//! then the affine x, big-endian; `I_L` is taken modulo the group order.
//!
//! Signers add the sum of all `I_L`, the tweak, to their shares.

mod edwards;
mod taproot;

use std::fmt;

use bitcoin::NetworkKind;
use bitcoin::bip32::{ChildNumber, Xpub};
use bitcoin::hashes::{Hash, hash160};
use crypto_bigint::{NonZero, U256};
use frost_core::{Field, Group, Scalar};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha512;

pub use self::taproot::output_key;
use super::share::suite::{ScalarField, Suite, decode_point, encode_point, with_suite};
use crate::error::Code;
use crate::ids::Scheme;
use crate::keys::{ChainCode, DerivationPath, PublicKey};

/// The order of Ed25519's prime-order group (RFC 8032, section 5.1).
const ED25519_ORDER: NonZero<U256> =
    NonZero::<U256>::new_unwrap(U256::from_be_hex("1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed"));

/// Why there is no such key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DerivationError {
    /// The parent is no point of its scheme.
    #[error("failed to decode the public key")]
    PublicKey,
    /// The child does not exist: its hash is beyond the group order, or it is the identity. Take another index.
    #[error("child key does not exist")]
    NoSuchChild,
    /// The scheme has no keys of this kind.
    #[error("not defined for keys of this scheme")]
    Scheme,
}

impl DerivationError {
    /// The stable code.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::PublicKey => Code::DataCorruption,
            Self::NoSuchChild | Self::Scheme => Code::MsgValidation,
        }
    }
}

/// What is added to the parent's secret: a scalar of the scheme's field, as 32 bytes big-endian.
///
/// Not secret by itself, but whoever knows it and the child's secret knows the parent's: so it is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct DerivationTweak([u8; 32]);

impl DerivationTweak {
    /// The scalar, big-endian, reduced.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The scalar in the field of a suite.
    pub(super) fn to_scalar<C: Suite>(&self) -> Option<Scalar<C>> {
        scalar_from_be::<C>(self.0)
    }
}

impl fmt::Debug for DerivationTweak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DerivationTweak(..)")
    }
}

/// A key somewhere below a wallet's key, or that key itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Derived {
    /// The key that signatures verify under.
    pub public_key: PublicKey,
    /// What further children derive with.
    pub chain_code: ChainCode,
    /// The difference to the wallet's key: zero for the wallet's key itself.
    pub tweak: DerivationTweak,
    /// The first four bytes of HASH160(ser33(parent)): zeros for the wallet's key.
    pub parent_fingerprint: [u8; 4],
    /// The length of the path.
    pub depth: u8,
    /// The last index of the path: zero for the wallet's key.
    pub child_number: u32,
}

impl Derived {
    /// The extended public key, Base58Check with the version bytes of BIP-32: `xpub` or `tpub`.
    ///
    /// A BIP-340 key is exported with its parity, as BIP-86 wallets do.
    ///
    /// # Errors
    /// When the scheme is Ed25519, for which BIP-32 defines no extended keys.
    pub fn xpub(&self, network: NetworkKind) -> Result<String, DerivationError> {
        if self.public_key.scheme() == Scheme::Ed25519 {
            return Err(DerivationError::Scheme);
        }
        let extended = Xpub {
            network,
            depth: self.depth,
            parent_fingerprint: self.parent_fingerprint.into(),
            child_number: ChildNumber::from_normal_idx(self.child_number).map_err(|_| DerivationError::NoSuchChild)?,
            public_key: bitcoin::secp256k1::PublicKey::from_slice(self.public_key.as_bytes())
                .map_err(|_| DerivationError::PublicKey)?,
            chain_code: self.chain_code.0.into(),
        };
        Ok(extended.to_string())
    }
}

/// The key at `path` below `key`; at the empty path, the key itself.
///
/// # Errors
/// When `key` is not a valid point, or a child on the way does not exist (probability about 2^-127 on secp256k1, less
/// on Ed25519).
pub fn derive(key: &PublicKey, chain_code: &ChainCode, path: &DerivationPath) -> Result<Derived, DerivationError> {
    with_suite!(key.scheme(), C => derive_in::<C>(key, chain_code, path))
}

fn derive_in<C: Suite>(
    key: &PublicKey,
    chain_code: &ChainCode,
    path: &DerivationPath,
) -> Result<Derived, DerivationError> {
    let mut point = decode_point::<C>(key).map_err(|_| DerivationError::PublicKey)?;
    let mut sum = ScalarField::<C>::zero();
    let mut at = Derived {
        public_key: *key,
        chain_code: *chain_code,
        tweak: DerivationTweak([0; 32]),
        parent_fingerprint: [0; 4],
        depth: 0,
        child_number: 0,
    };
    for &index in path.indices() {
        let parent = ser33(&at.public_key)?;
        let (left, right) = hmac_sha512(&at.chain_code, &parent, index);
        let offset = match C::SCHEME {
            Scheme::Ecdsa | Scheme::Bip340 => scalar_from_be::<C>(left),
            Scheme::Ed25519 => {
                scalar_from_be::<C>(U256::from_be_slice(&left).rem_vartime(&ED25519_ORDER).to_be_bytes().into())
            }
        };
        let offset = offset.ok_or(DerivationError::NoSuchChild)?;
        point = point + C::Group::generator() * offset;
        sum = sum + offset;
        at.public_key = encode_point::<C>(&point).map_err(|_| DerivationError::NoSuchChild)?;
        at.chain_code = ChainCode(right);
        at.parent_fingerprint = fingerprint(&parent);
        at.depth = at.depth.checked_add(1).ok_or(DerivationError::NoSuchChild)?;
        at.child_number = index;
    }
    at.tweak = DerivationTweak(scalar_to_be::<C>(&sum).ok_or(DerivationError::NoSuchChild)?);
    Ok(at)
}

/// The 33 bytes that stand for a key in the derivation hash.
fn ser33(key: &PublicKey) -> Result<[u8; 33], DerivationError> {
    match key.scheme() {
        Scheme::Ecdsa | Scheme::Bip340 => key.as_bytes().try_into().map_err(|_| DerivationError::PublicKey),
        Scheme::Ed25519 => {
            let encoded = key.as_bytes().try_into().map_err(|_| DerivationError::PublicKey)?;
            edwards::ser33(encoded).ok_or(DerivationError::PublicKey)
        }
    }
}

/// I_L and I_R of BIP-32.
fn hmac_sha512(chain_code: &ChainCode, parent: &[u8; 33], index: u32) -> ([u8; 32], [u8; 32]) {
    // A 32-byte key is shorter than the hash's block: it is padded with zeros (RFC 2104).
    let mut block = [0; 128];
    block[..32].copy_from_slice(&chain_code.0);
    let output: [u8; 64] = Hmac::<Sha512>::new(&block.into())
        .chain_update(parent)
        .chain_update(index.to_be_bytes())
        .finalize()
        .into_bytes()
        .into();
    let (mut left, mut right) = ([0; 32], [0; 32]);
    left.copy_from_slice(&output[..32]);
    right.copy_from_slice(&output[32..]);
    (left, right)
}

/// The first four bytes of RIPEMD-160(SHA-256(key)).
fn fingerprint(key: &[u8; 33]) -> [u8; 4] {
    let [a, b, c, d, ..] = hash160::Hash::hash(key).to_byte_array();
    [a, b, c, d]
}

/// A scalar from 32 bytes big-endian; `None` if it is not reduced.
fn scalar_from_be<C: Suite>(mut bytes: [u8; 32]) -> Option<Scalar<C>> {
    if C::SCHEME == Scheme::Ed25519 {
        bytes.reverse();
    }
    let encoded = bytes.as_slice().try_into().ok()?;
    ScalarField::<C>::deserialize(&encoded).ok()
}

/// A scalar as 32 bytes big-endian.
fn scalar_to_be<C: Suite>(scalar: &Scalar<C>) -> Option<[u8; 32]> {
    let mut bytes: [u8; 32] = ScalarField::<C>::serialize(scalar).as_ref().try_into().ok()?;
    if C::SCHEME == Scheme::Ed25519 {
        bytes.reverse();
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;
