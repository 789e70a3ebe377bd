//! Checks finished signatures with libraries that had no part in making them: k256 and ed25519-dalek.

use k256::ecdsa::RecoveryId;
use k256::ecdsa::signature::hazmat::PrehashVerifier;

use super::derivation::output_key;
use crate::error::Code;
use crate::ids::Scheme;
use crate::keys::{PublicKey, Signature, TapTweak};

/// Why a signature is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The signature is of another scheme than the key.
    #[error("signature and key are of different schemes")]
    Scheme,
    /// The public key is no point of its scheme.
    #[error("failed to decode the public key")]
    PublicKey,
    /// A taproot tweak with a key of another scheme.
    #[error("only a taproot key is tweaked")]
    Tweak,
    /// ECDSA signs 32 bytes.
    #[error("digest is not 32 bytes long")]
    DigestLength,
    /// A part of the signature is zero, not reduced or not a point.
    #[error("failed to decode the signature")]
    Encoding,
    /// s is above half the group order: the signature could be changed by anybody.
    #[error("signature has a high s")]
    HighS,
    /// The recovery id leads to another key.
    #[error("recovery id does not lead to the key")]
    Recovery,
    /// The equation does not hold.
    #[error("signature does not verify")]
    Invalid,
}

impl VerifyError {
    /// The stable code.
    #[must_use]
    pub const fn code(self) -> Code {
        Code::SignatureVerification
    }
}

/// Whether `signature` is one of `message` under `key`.
///
/// `message` is the 32-byte digest for ECDSA and the message itself otherwise. With a tweak, a BIP-340 signature is
/// checked against the BIP-341 output key. Stricter than the schemes themselves: ECDSA's s must be low and its recovery
/// id right; Ed25519 points of small order are refused.
///
/// # Errors
/// What is wrong first.
pub fn verify(
    key: &PublicKey,
    message: &[u8],
    tweak: Option<TapTweak>,
    signature: &Signature,
) -> Result<(), VerifyError> {
    if key.scheme() != signature.scheme() {
        return Err(VerifyError::Scheme);
    }
    if tweak.is_some() && key.scheme() != Scheme::Bip340 {
        return Err(VerifyError::Tweak);
    }
    match signature {
        Signature::Ecdsa { recovery, .. } => verify_ecdsa(key, message, &signature.to_bytes(), *recovery),
        Signature::Ed25519(bytes) => verify_ed25519(key, message, bytes),
        Signature::Bip340(bytes) => verify_bip340(key, message, tweak, bytes),
    }
}

fn verify_ecdsa(key: &PublicKey, digest: &[u8], bytes: &[u8; 64], recovery: u8) -> Result<(), VerifyError> {
    let key = k256::ecdsa::VerifyingKey::from_sec1_bytes(key.as_bytes()).map_err(|_| VerifyError::PublicKey)?;
    if digest.len() != 32 {
        return Err(VerifyError::DigestLength);
    }
    let signature = k256::ecdsa::Signature::from_slice(bytes).map_err(|_| VerifyError::Encoding)?;
    if signature.normalize_s() != signature {
        return Err(VerifyError::HighS);
    }
    key.verify_prehash(digest, &signature).map_err(|_| VerifyError::Invalid)?;
    let recovery = RecoveryId::from_byte(recovery).ok_or(VerifyError::Recovery)?;
    match k256::ecdsa::VerifyingKey::recover_from_prehash(digest, &signature, recovery) {
        Ok(recovered) if recovered == key => Ok(()),
        _ => Err(VerifyError::Recovery),
    }
}

fn verify_ed25519(key: &PublicKey, message: &[u8], bytes: &[u8; 64]) -> Result<(), VerifyError> {
    let encoded = key.as_bytes().try_into().map_err(|_| VerifyError::PublicKey)?;
    let key = ed25519_dalek::VerifyingKey::from_bytes(encoded).map_err(|_| VerifyError::PublicKey)?;
    key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(bytes)).map_err(|_| VerifyError::Invalid)
}

fn verify_bip340(
    key: &PublicKey,
    message: &[u8],
    tweak: Option<TapTweak>,
    bytes: &[u8; 64],
) -> Result<(), VerifyError> {
    let x_only: [u8; 32] = match tweak {
        Some(tweak) => output_key(key, tweak).map_err(|_| VerifyError::PublicKey)?,
        None => key.as_bytes().get(1..).and_then(|x| x.try_into().ok()).ok_or(VerifyError::PublicKey)?,
    };
    let key = k256::schnorr::VerifyingKey::from_bytes(&x_only.into()).map_err(|_| VerifyError::PublicKey)?;
    let signature = k256::schnorr::Signature::try_from(bytes.as_slice()).map_err(|_| VerifyError::Encoding)?;
    key.verify_raw(message, &signature).map_err(|_| VerifyError::Invalid)
}

#[cfg(test)]
mod tests;
