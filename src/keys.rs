//! Public key material and signatures as values: what every layer passes around and clients receive.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{InvalidId, Scheme};

/// A public key in the encoding its scheme signs and derives with.
///
/// | scheme | bytes |
/// |---|---|
/// | ECDSA | 33, SEC1 compressed |
/// | Ed25519 | 32, RFC 8032 |
/// | BIP-340 | 33, SEC1 compressed: BIP-32 derivation needs the parity. The x-only key is the last 32 |
///
/// Holds the length and the prefix to be right; that the bytes are a point is checked by whoever decodes one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "EncodedPublicKey", into = "EncodedPublicKey")]
pub struct PublicKey {
    scheme: Scheme,
    /// Ed25519 keys leave the last byte zero.
    bytes: [u8; 33],
}

/// The wire form of [`PublicKey`].
#[derive(Serialize, Deserialize)]
struct EncodedPublicKey {
    scheme: Scheme,
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
}

impl PublicKey {
    /// Takes the encoded key of `scheme`.
    ///
    /// # Errors
    /// When the length or the SEC1 prefix is not the scheme's.
    pub fn new(scheme: Scheme, encoded: &[u8]) -> Result<Self, InvalidId> {
        let invalid = InvalidId { what: "public key", problem: "its length or prefix is not the scheme's" };
        let mut bytes = [0; 33];
        match (scheme, encoded) {
            (Scheme::Ed25519, _) => {
                let (key, _) = bytes.split_first_chunk_mut::<32>().ok_or(invalid.clone())?;
                *key = encoded.try_into().map_err(|_| invalid)?;
            }
            (Scheme::Ecdsa | Scheme::Bip340, [2 | 3, ..]) => bytes = encoded.try_into().map_err(|_| invalid)?,
            (Scheme::Ecdsa | Scheme::Bip340, _) => return Err(invalid),
        }
        Ok(Self { scheme, bytes })
    }

    /// The scheme the key belongs to.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The encoded key: see the table of the type.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self.scheme {
            Scheme::Ed25519 => &self.bytes[..32],
            Scheme::Ecdsa | Scheme::Bip340 => &self.bytes,
        }
    }
}

impl From<PublicKey> for EncodedPublicKey {
    fn from(key: PublicKey) -> Self {
        Self { scheme: key.scheme, bytes: key.as_bytes().to_vec() }
    }
}

impl TryFrom<EncodedPublicKey> for PublicKey {
    type Error = InvalidId;

    fn try_from(encoded: EncodedPublicKey) -> Result<Self, InvalidId> {
        Self::new(encoded.scheme, &encoded.bytes)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} {})", self.scheme, hex::encode(self.as_bytes()))
    }
}

/// The 32-byte chain code of BIP-32 derivation. Public to whoever may derive addresses, but not for logs.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainCode(#[serde(with = "serde_bytes")] pub [u8; 32]);

impl fmt::Debug for ChainCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChainCode(..)")
    }
}

/// A path of non-hardened child indices, at most 255 deep. The empty path is the wallet's own key.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<u32>", into = "Vec<u32>")]
pub struct DerivationPath(Vec<u32>);

impl DerivationPath {
    /// The deepest path: BIP-32 counts the depth in one byte.
    pub const MAX_DEPTH: usize = 255;

    /// The child indices, from the wallet's key downwards.
    #[must_use]
    pub fn indices(&self) -> &[u32] {
        &self.0
    }
}

impl TryFrom<Vec<u32>> for DerivationPath {
    type Error = InvalidId;

    fn try_from(indices: Vec<u32>) -> Result<Self, InvalidId> {
        let problem = if indices.len() > Self::MAX_DEPTH {
            "it is deeper than 255"
        } else if indices.iter().any(|&index| index >= 1 << 31) {
            "a hardened index cannot be derived from a shared key"
        } else {
            return Ok(Self(indices));
        };
        Err(InvalidId { what: "derivation path", problem })
    }
}

impl From<DerivationPath> for Vec<u32> {
    fn from(path: DerivationPath) -> Self {
        path.0
    }
}

impl fmt::Display for DerivationPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("m")?;
        self.0.iter().try_for_each(|index| write!(f, "/{index}"))
    }
}

/// What BIP-341 adds to a key before it signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TapTweak {
    /// The key commits to no script (BIP-86): the usual address of a single-key wallet.
    KeyPathOnly,
    /// The key commits to a script tree with this merkle root.
    MerkleRoot(#[serde(with = "serde_bytes")] [u8; 32]),
}

/// A finished signature, as a client gets it.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Signature {
    /// ECDSA on secp256k1.
    Ecdsa {
        /// Big-endian r.
        #[serde(with = "serde_bytes")]
        r: [u8; 32],
        /// Big-endian s, never above half the group order.
        #[serde(with = "serde_bytes")]
        s: [u8; 32],
        /// 0 to 3: bit 0 is the parity of R's y, bit 1 says that R's x was reduced.
        recovery: u8,
    },
    /// Ed25519: R then S (RFC 8032).
    Ed25519(#[serde(with = "serde_bytes")] [u8; 64]),
    /// BIP-340: x-only R then s.
    Bip340(#[serde(with = "serde_bytes")] [u8; 64]),
}

impl Signature {
    /// The scheme the signature belongs to.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        match self {
            Self::Ecdsa { .. } => Scheme::Ecdsa,
            Self::Ed25519(_) => Scheme::Ed25519,
            Self::Bip340(_) => Scheme::Bip340,
        }
    }

    /// The 64 bytes of the signature (ECDSA: r then s, without the recovery id).
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 64] {
        match self {
            Self::Ecdsa { r, s, .. } => {
                let mut bytes = [0; 64];
                bytes[..32].copy_from_slice(r);
                bytes[32..].copy_from_slice(s);
                bytes
            }
            Self::Ed25519(bytes) | Self::Bip340(bytes) => *bytes,
        }
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({} {})", self.scheme(), hex::encode(self.to_bytes()))
    }
}
