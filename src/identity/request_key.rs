//! The keys of initiators and authorizers: Ed25519, or ECDSA on P-256.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::signature::{Signer, Verifier};
use p256::pkcs8::{DecodePublicKey, EncodePrivateKey, EncodePublicKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::secret::SecretBytes;
use crate::wire::request::{RequestSigner, SigningFailed};

/// How a request is signed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// Ed25519 over the bytes themselves (RFC 8032); the signature is 64 bytes.
    #[default]
    Ed25519,
    /// ECDSA on P-256 over SHA-256 of the bytes; the signature is ASN.1 DER.
    P256,
}

impl Algorithm {
    /// The name in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::P256 => "p256",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Algorithm {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        [Self::Ed25519, Self::P256]
            .into_iter()
            .find(|algorithm| algorithm.as_str() == text)
            .ok_or(InvalidKey("the algorithm is neither ed25519 nor p256"))
    }
}

/// A text that is no key of its algorithm. Never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidKey(pub &'static str);

/// The public key of an initiator or an authorizer.
#[derive(Clone, PartialEq, Eq)]
pub enum RequestPublicKey {
    /// See [`Algorithm::Ed25519`].
    Ed25519(ed25519_dalek::VerifyingKey),
    /// See [`Algorithm::P256`].
    P256(p256::ecdsa::VerifyingKey),
}

impl RequestPublicKey {
    /// Reads a key as files and configurations give it: 32 bytes of hex for Ed25519; for P-256 the SPKI DER in hex or
    /// base64. Hex may be in either case and may begin with `0x`.
    ///
    /// # Errors
    /// When the text is none of these, or the bytes are no usable key.
    pub fn parse(algorithm: Algorithm, text: &str) -> Result<Self, InvalidKey> {
        let text = text.trim();
        let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
        let from_hex = hex::decode(digits).ok();
        match algorithm {
            Algorithm::Ed25519 => from_hex
                .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
                .and_then(|bytes| ed25519_dalek::VerifyingKey::from_bytes(&bytes).ok())
                .filter(|key| !key.is_weak())
                .map(Self::Ed25519)
                .ok_or(InvalidKey("it is not an Ed25519 public key of 32 bytes in hex")),
            Algorithm::P256 => from_hex
                .or_else(|| STANDARD.decode(text).ok())
                .and_then(|der| p256::ecdsa::VerifyingKey::from_public_key_der(&der).ok())
                .map(Self::P256)
                .ok_or(InvalidKey("it is not a P-256 public key as SPKI DER in hex or base64")),
        }
    }

    /// The algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Ed25519(_) => Algorithm::Ed25519,
            Self::P256(_) => Algorithm::P256,
        }
    }

    /// Whether `signature` is this key's signature of `bytes`. Ed25519 refuses small-order components.
    #[must_use]
    pub fn verifies(&self, bytes: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(bytes, &signature).is_ok()),
            Self::P256(key) => {
                p256::ecdsa::Signature::from_der(signature).is_ok_and(|signature| key.verify(bytes, &signature).is_ok())
            }
        }
    }
}

/// The key as [`RequestPublicKey::parse`] reads it, in lower-case hex.
impl fmt::Display for RequestPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ed25519(key) => f.write_str(&hex::encode(key.as_bytes())),
            Self::P256(key) => {
                let der = key.to_public_key_der().map_err(|_| fmt::Error)?;
                f.write_str(&hex::encode(der.as_bytes()))
            }
        }
    }
}

impl fmt::Debug for RequestPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestPublicKey({} {self})", self.algorithm())
    }
}

/// The private key of an initiator or an authorizer: on the heap, wiped when dropped, never printed.
pub struct RequestKey(Inner);

enum Inner {
    Ed25519(Box<ed25519_dalek::SigningKey>),
    P256(Box<p256::ecdsa::SigningKey>),
}

impl RequestKey {
    /// A fresh key from the operating system's randomness.
    ///
    /// # Errors
    /// When the operating system gives none.
    pub fn generate(algorithm: Algorithm) -> Result<Self, SigningFailed> {
        // A random string is no P-256 scalar with a probability of 2^-32, so a handful of draws is always enough.
        for _ in 0..8 {
            let seed = SecretBytes::random(32).map_err(|_| SigningFailed)?;
            if let Some(key) = Self::from_seed(algorithm, seed.expose()) {
                return Ok(key);
            }
        }
        Err(SigningFailed)
    }

    /// Reads the text of a private key file: for Ed25519 the hex of the 32-byte seed, for P-256 the hex of SEC1 or
    /// PKCS#8 DER.
    ///
    /// # Errors
    /// When the text is no such key.
    pub fn parse(algorithm: Algorithm, text: &[u8]) -> Result<Self, InvalidKey> {
        let bytes = hex::decode(text).map(Zeroizing::new).map_err(|_| InvalidKey("the private key is not hex"))?;
        match algorithm {
            Algorithm::Ed25519 => {
                Self::from_seed(algorithm, &bytes).ok_or(InvalidKey("the private key is not a seed of 32 bytes"))
            }
            Algorithm::P256 => p256::SecretKey::from_der(&bytes)
                .map(|key| Self(Inner::P256(Box::new(key.into()))))
                .map_err(|_| InvalidKey("the private key is not a P-256 key in SEC1 or PKCS#8 DER")),
        }
    }

    /// The text of the private key file, as [`RequestKey::parse`] reads it (P-256: PKCS#8).
    ///
    /// # Errors
    /// When the key does not encode.
    pub fn to_text(&self) -> Result<Zeroizing<Vec<u8>>, InvalidKey> {
        let bytes = match &self.0 {
            Inner::Ed25519(key) => Zeroizing::new(key.as_bytes().to_vec()),
            Inner::P256(key) => key.to_pkcs8_der().map_err(|_| UNENCODABLE)?.to_bytes(),
        };
        let mut text = Zeroizing::new(vec![0; bytes.len().saturating_mul(2)]);
        hex::encode_to_slice(&*bytes, &mut text).map_err(|_| UNENCODABLE)?;
        Ok(text)
    }

    /// The algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match self.0 {
            Inner::Ed25519(_) => Algorithm::Ed25519,
            Inner::P256(_) => Algorithm::P256,
        }
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> RequestPublicKey {
        match &self.0 {
            Inner::Ed25519(key) => RequestPublicKey::Ed25519(key.verifying_key()),
            Inner::P256(key) => RequestPublicKey::P256(*key.verifying_key()),
        }
    }

    fn from_seed(algorithm: Algorithm, seed: &[u8]) -> Option<Self> {
        match algorithm {
            Algorithm::Ed25519 => <&[u8; 32]>::try_from(seed)
                .ok()
                .map(|seed| Self(Inner::Ed25519(Box::new(ed25519_dalek::SigningKey::from_bytes(seed))))),
            Algorithm::P256 => {
                p256::ecdsa::SigningKey::from_slice(seed).ok().map(|key| Self(Inner::P256(Box::new(key))))
            }
        }
    }
}

impl RequestSigner for RequestKey {
    fn sign_request(&self, bytes: &[u8]) -> Result<Vec<u8>, SigningFailed> {
        match &self.0 {
            Inner::Ed25519(key) => {
                key.try_sign(bytes).map(|signature| signature.to_bytes().to_vec()).map_err(|_| SigningFailed)
            }
            Inner::P256(key) => {
                let signature: Result<p256::ecdsa::DerSignature, _> = key.try_sign(bytes);
                signature.map(|signature| signature.as_bytes().to_vec()).map_err(|_| SigningFailed)
            }
        }
    }
}

const UNENCODABLE: InvalidKey = InvalidKey("the private key does not encode");
