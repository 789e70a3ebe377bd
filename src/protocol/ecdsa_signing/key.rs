//! The key that signs, and what a wallet's key is bound to.

use k256::{AffinePoint, ProjectivePoint, Scalar};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::keys::PublicKey;
use crate::protocol::derivation::Derived;
use crate::protocol::dkls::{point, scalar};
use crate::protocol::setup::SetupError;
use crate::protocol::share::{KeyShare, ShareError};
use crate::secret::SecretBytes;

/// The share of the derived key, 32 bytes big-endian: the constant that shifts the polynomial shifts every value of it.
pub(super) fn derived_share(share: &KeyShare, derived: &Derived) -> Result<SecretBytes, SetupError> {
    let wallet = decode_key(&share.public_key()).ok_or(SetupError::WrongKey)?;
    let tweak = scalar(derived.tweak.as_bytes()).ok_or(SetupError::WrongKey)?;
    let key = ProjectivePoint::from(wallet) + ProjectivePoint::GENERATOR * tweak;
    if decode_key(&derived.public_key) != Some(key.to_affine()) {
        return Err(SetupError::WrongKey);
    }
    let bytes = share.signing_scalar();
    let bytes = Zeroizing::new(<[u8; 32]>::try_from(bytes.expose()).map_err(|_| ShareError::Scalar)?);
    let share: Zeroizing<Scalar> = Zeroizing::new(scalar(&bytes).ok_or(ShareError::Scalar)?);
    let sum = Zeroizing::new(*share + tweak);
    let encoded = Zeroizing::new(sum.to_bytes());
    Ok(SecretBytes::copy_from(&encoded))
}

/// The engine's session id: one per wallet and generation, the same for every signature under it.
///
/// SHA-256 over a domain, the length of the caller's context (8 bytes, big-endian), the context, the wallet's key and
/// its threshold.
pub(super) fn session_id(wallet: &[u8], share: &KeyShare) -> [u8; 32] {
    let threshold = share.threshold();
    Sha256::new_with_prefix(b"quorate/ecdsa/v1")
        .chain_update((wallet.len() as u64).to_be_bytes())
        .chain_update(wallet)
        .chain_update(share.public_key().as_bytes())
        .chain_update([threshold.signers(), threshold.parties()])
        .finalize()
        .into()
}

/// 32 bytes from the engine's hex.
pub(super) fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

/// The key as a point.
pub(super) fn decode_key(key: &PublicKey) -> Option<AffinePoint> {
    key.as_bytes().try_into().ok().and_then(point)
}
