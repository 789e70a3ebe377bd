//! BIP-341: the output key that an internal key and a script tree make.

use k256::elliptic_curve::PrimeField;
use k256::elliptic_curve::point::AffineCoordinates;
use k256::schnorr::VerifyingKey;
use k256::{AffinePoint, ProjectivePoint, Scalar};
use sha2::{Digest, Sha256};

use super::DerivationError;
use crate::ids::Scheme;
use crate::keys::{PublicKey, TapTweak};

/// The x-only key Q = P + H_TapTweak(x(P) || merkle root)·G that coins are sent to and signatures verify under (BIP-341,
/// `taproot_tweak_pubkey`; an empty root for key-path-only outputs, as in BIP-86).
///
/// # Errors
/// When `key` is not a BIP-340 key or not a point, or when the tweak is beyond the group order (probability 2^-128).
pub fn output_key(key: &PublicKey, tweak: TapTweak) -> Result<[u8; 32], DerivationError> {
    if key.scheme() != Scheme::Bip340 {
        return Err(DerivationError::Scheme);
    }
    let (_, x) = key.as_bytes().split_first().ok_or(DerivationError::PublicKey)?;
    let x: [u8; 32] = x.try_into().map_err(|_| DerivationError::PublicKey)?;
    let internal = VerifyingKey::from_bytes(&x.into()).map_err(|_| DerivationError::PublicKey)?;
    let root: &[u8] = match &tweak {
        TapTweak::KeyPathOnly => &[],
        TapTweak::MerkleRoot(root) => root,
    };
    let scalar: Option<Scalar> = Scalar::from_repr(tap_tweak_hash(&x, root).into()).into();
    let tweaked = ProjectivePoint::from(*internal.as_affine())
        + ProjectivePoint::GENERATOR * scalar.ok_or(DerivationError::NoSuchChild)?;
    if tweaked == ProjectivePoint::IDENTITY {
        return Err(DerivationError::NoSuchChild);
    }
    Ok(AffinePoint::from(tweaked).x().into())
}

/// BIP-340's tagged hash with the tag `TapTweak`.
fn tap_tweak_hash(x: &[u8; 32], root: &[u8]) -> [u8; 32] {
    let tag = Sha256::digest(b"TapTweak");
    Sha256::new().chain_update(tag).chain_update(tag).chain_update(x).chain_update(root).finalize().into()
}
