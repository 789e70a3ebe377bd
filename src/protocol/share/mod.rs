//! One party's share of one key, and the key's public side.
//!
//! A key is a Shamir-shared secret f(0) of a polynomial f of degree t - 1 over the scheme's scalar field. Party i holds
//! the signing share f(i); everybody knows the key f(0)·G and all verifying shares f(i)·G. FROST's key packages and the
//! ECDSA engine's party are put together from this when they are needed, and never stored.
//!
//! ```text
//!  KeyShare ── signing share f(i)          secret, one heap allocation, wiped on drop
//!      └────── GroupKey                    public: goes into the wallet record
//!                 ├─ key f(0)·G
//!                 ├─ threshold t of n
//!                 └─ verifying shares f(1)·G ... f(n)·G
//! ```

mod group;
pub(super) mod suite;

use frost_core::Scalar;
use frost_core::keys::{KeyPackage, PublicKeyPackage, SigningShare};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

pub use self::group::{GroupKey, MAX_GROUP_BYTES};
use self::suite::{Suite, decode_signing_share, encode_scalar, verifying_share_of};
use crate::error::Code;
use crate::ids::{PartyIndex, Scheme, Threshold};
use crate::keys::PublicKey;
use crate::secret::SecretBytes;
#[cfg(any(test, feature = "testing"))]
use crate::testing::witness::{self, Kind};
use crate::wire::codec;
use crate::wire::message::SecretPayload;

/// The only stored format of a share so far.
const FORMAT_VERSION: u8 = 1;
/// The longest stored share, in bytes: a scalar of 32, an index, a version, and their names.
pub const MAX_SHARE_BYTES: usize = 128;

/// Why something is not a share of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// The bytes do not decode.
    #[error("failed to decode a key share")]
    Malformed,
    /// The format is not one that this build reads.
    #[error("key share has unknown format {0}")]
    Version(u8),
    /// The party is none of 1 to n.
    #[error("party index is not one of the committee")]
    Index,
    /// Not one verifying share per party.
    #[error("verifying shares are not one per party")]
    Committee,
    /// A point is the identity, off the curve, or of another scheme.
    #[error("failed to decode a point of a key share")]
    Point,
    /// The signing share is no scalar of the scheme's field.
    #[error("failed to decode the scalar of a key share")]
    Scalar,
    /// The verifying shares are not those of the key.
    #[error("verifying shares do not lie on a polynomial of the key")]
    Inconsistent,
    /// The signing share is not the one of its verifying share.
    #[error("signing share does not match its verifying share")]
    Mismatch,
    /// The share cannot be encoded.
    #[error("failed to encode a key share")]
    Encode,
}

impl ShareError {
    /// The stable code: a share comes out of our own store, so one that is not right is damage.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::Encode => Code::Internal,
            _ => Code::DataCorruption,
        }
    }
}

/// One party's share of one key.
///
/// Holds: the index is one of the committee, and the signing share is the one of its verifying share. Neither `Clone`
/// nor printable; the secret is wiped when the value is dropped.
pub struct KeyShare {
    index: PartyIndex,
    group: GroupKey,
    /// In FROST's encoding: 32 bytes, big-endian on secp256k1, little-endian on Ed25519.
    signing: SecretBytes,
}

/// The stored form of [`KeyShare`]: what is secret, and whose it is. The public side stands in the wallet record alone.
#[derive(Serialize, Deserialize)]
struct StoredShare {
    version: u8,
    index: PartyIndex,
    signing: SecretPayload,
}

impl KeyShare {
    /// Checks the parts against each other. `signing` is in FROST's encoding.
    fn new(index: PartyIndex, group: GroupKey, signing: SecretBytes) -> Result<Self, ShareError> {
        #[cfg(any(test, feature = "testing"))]
        witness::saw(Kind::KeyShare, signing.expose());
        let expected = group.verifying_share(index).ok_or(ShareError::Index)?;
        if verifying_share_of(group.scheme(), signing.expose())? != expected {
            return Err(ShareError::Mismatch);
        }
        Ok(Self { index, group, signing })
    }

    /// The scheme of the key.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.group.scheme()
    }

    /// The party whose share this is.
    #[must_use]
    pub fn index(&self) -> PartyIndex {
        self.index
    }

    /// t of n.
    #[must_use]
    pub fn threshold(&self) -> Threshold {
        self.group.threshold()
    }

    /// The key that signatures verify under.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.group.public_key()
    }

    /// What party `index` verifies by. `None` beyond n.
    #[must_use]
    pub fn verifying_share(&self, index: PartyIndex) -> Option<PublicKey> {
        self.group.verifying_share(index)
    }

    /// The public side.
    #[must_use]
    pub fn group(&self) -> &GroupKey {
        &self.group
    }

    /// The signing share as 32 bytes, big-endian on every curve.
    #[must_use]
    pub fn signing_scalar(&self) -> SecretBytes {
        SecretBytes::filled(self.signing.len(), |bytes| {
            bytes.copy_from_slice(self.signing.expose());
            if self.scheme() == Scheme::Ed25519 {
                bytes.reverse();
            }
        })
    }

    /// Encodes the share, secret included, for sealed storage; at most [`MAX_SHARE_BYTES`].
    ///
    /// # Errors
    /// When it does not encode, which no valid share does.
    pub fn to_secret_bytes(&self) -> Result<SecretBytes, ShareError> {
        let stored = StoredShare {
            version: FORMAT_VERSION,
            index: self.index,
            signing: SecretPayload(self.signing.expose().to_vec().into()),
        };
        let bytes = codec::encode_secret(&stored, MAX_SHARE_BYTES).map_err(|_| ShareError::Encode)?;
        Ok(SecretBytes::copy_from(&bytes))
    }

    /// Decodes a share of `group`'s key and checks that it is one.
    ///
    /// # Errors
    /// When it does not decode, is of another format, or is no share of that key.
    pub fn from_secret_bytes(bytes: &[u8], group: &GroupKey) -> Result<Self, ShareError> {
        /// What every format begins with.
        #[derive(Deserialize)]
        struct Versioned {
            version: u8,
        }
        let Versioned { version } = codec::decode(bytes, MAX_SHARE_BYTES).map_err(|_| ShareError::Malformed)?;
        if version != FORMAT_VERSION {
            return Err(ShareError::Version(version));
        }
        let stored: StoredShare = codec::decode(bytes, MAX_SHARE_BYTES).map_err(|_| ShareError::Malformed)?;
        Self::new(stored.index, group.clone(), SecretBytes::copy_from(&stored.signing.0))
    }

    /// Takes over what FROST's key generation made for party `index`.
    pub(super) fn from_frost<C: Suite>(
        index: PartyIndex,
        threshold: Threshold,
        key: &KeyPackage<C>,
        public: &PublicKeyPackage<C>,
    ) -> Result<Self, ShareError> {
        let signing = SecretBytes::from_vec(key.signing_share().serialize());
        Self::new(index, GroupKey::from_frost(threshold, public)?, signing)
    }

    /// The share of party `index` in a key, as a scalar.
    ///
    /// # Errors
    /// When it is no share of that key.
    pub(super) fn from_scalar<C: Suite>(
        index: PartyIndex,
        group: GroupKey,
        scalar: &Scalar<C>,
    ) -> Result<Self, ShareError> {
        Self::new(index, group, encode_scalar::<C>(scalar))
    }

    /// The signing share as FROST takes it.
    pub(super) fn signing_share<C: Suite>(&self) -> Result<Zeroizing<SigningShare<C>>, ShareError> {
        decode_signing_share(self.signing.expose())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::rng::os;
    use crate::protocol::testbed::deal;

    fn shares(scheme: Scheme, t: u8, n: u8) -> Vec<KeyShare> {
        deal(scheme, Threshold::new(t, n).unwrap(), &mut os())
    }

    #[test]
    fn share__should_survive_storage_in_every_scheme() {
        for scheme in Scheme::ALL {
            for share in shares(scheme, 2, 3) {
                let stored = share.to_secret_bytes().unwrap();
                let loaded = KeyShare::from_secret_bytes(stored.expose(), share.group()).unwrap();
                assert_eq!((loaded.index(), loaded.group()), (share.index(), share.group()));
                assert_eq!(loaded.signing_scalar().expose(), share.signing_scalar().expose());
            }
        }
    }

    #[test]
    fn share__should_fit_its_limit_at_the_largest_committee() {
        let share = &shares(Scheme::Ecdsa, 2, 32)[31];
        assert!(share.to_secret_bytes().unwrap().len() < MAX_SHARE_BYTES);
        assert_eq!(share.verifying_share(PartyIndex::try_from(33).unwrap()), None);
    }

    #[test]
    fn share__should_expose_its_scalar_big_endian_on_secp256k1() {
        let share = &shares(Scheme::Ecdsa, 2, 2)[0];
        let secret = k256::SecretKey::from_slice(share.signing_scalar().expose()).unwrap();
        let expected = share.verifying_share(share.index()).unwrap();
        assert_eq!(secret.public_key().to_sec1_bytes().as_ref(), expected.as_bytes());
    }

    #[test]
    fn share__should_refuse_a_damaged_byte_wherever_it_is() {
        for scheme in Scheme::ALL {
            let share = &shares(scheme, 2, 3)[0];
            let stored = share.to_secret_bytes().unwrap();
            for position in 0..stored.len() {
                for mask in [0x01, 0x80] {
                    let mut bytes = stored.expose().to_vec();
                    bytes[position] ^= mask;
                    assert!(KeyShare::from_secret_bytes(&bytes, share.group()).is_err(), "{scheme} byte {position}");
                }
            }
            for len in 0..stored.len() {
                assert!(KeyShare::from_secret_bytes(&stored.expose()[..len], share.group()).is_err());
            }
        }
    }

    #[test]
    fn share__should_name_a_newer_format() {
        let share = &shares(Scheme::Ecdsa, 2, 2)[0];
        let mut bytes = share.to_secret_bytes().unwrap().expose().to_vec();
        let at = bytes.windows(7).position(|window| window == b"version").unwrap() + 7;
        bytes[at] = 2;
        assert_eq!(KeyShare::from_secret_bytes(&bytes, share.group()).err(), Some(ShareError::Version(2)));
    }

    #[test]
    fn share__should_refuse_the_group_of_another_key() {
        let (share, other) = (&shares(Scheme::Ecdsa, 2, 3)[0], &shares(Scheme::Ecdsa, 2, 3)[0]);
        let stored = share.to_secret_bytes().unwrap();
        let loaded = KeyShare::from_secret_bytes(stored.expose(), other.group());
        assert_eq!(loaded.err(), Some(ShareError::Mismatch));
    }

    #[test]
    fn share__should_refuse_the_secret_of_another_party() {
        let all = shares(Scheme::Bip340, 2, 3);
        let signing = SecretBytes::copy_from(all[1].signing.expose());
        assert_eq!(KeyShare::new(all[0].index, all[0].group.clone(), signing).err(), Some(ShareError::Mismatch));
    }

    #[test]
    fn group__should_refuse_shares_that_are_not_of_its_key() {
        let (group, other) = (shares(Scheme::Ed25519, 2, 4), shares(Scheme::Ed25519, 2, 4));
        let (group, other) = (group[0].group(), other[0].group());
        let points: Vec<_> = group.verifying_shares().map(|(_, point)| point).collect();
        let fails = |key, t, points| GroupKey::new(key, Threshold::new(t, 4).unwrap(), points).unwrap_err();
        assert_eq!(fails(other.public_key(), 2, points.clone()), ShareError::Inconsistent);
        assert_eq!(fails(group.public_key(), 2, points[..3].to_vec()), ShareError::Committee);
        for position in 0..4 {
            let mut points = points.clone();
            points[position] = other.public_key();
            for _ in 0..2 {
                assert_eq!(fails(group.public_key(), 2, points.clone()), ShareError::Inconsistent, "share {position}");
            }
        }
        assert_eq!(fails(group.public_key(), 3, points), ShareError::Inconsistent);
        let parabola = shares(Scheme::Ed25519, 3, 4);
        let points = parabola[0].group().verifying_shares().map(|(_, point)| point).collect();
        assert_eq!(fails(parabola[0].public_key(), 2, points), ShareError::Inconsistent);
    }

    #[test]
    fn group__should_survive_encoding_and_check_what_it_decodes() {
        let share = &shares(Scheme::Ecdsa, 2, 3)[0];
        let bytes = codec::encode(share.group(), MAX_GROUP_BYTES).unwrap();
        assert_eq!(codec::decode::<GroupKey>(&bytes, MAX_GROUP_BYTES).unwrap(), *share.group());
        let at = bytes.windows(33).position(|w| w == share.public_key().as_bytes()).unwrap();
        let mut negated = bytes.clone();
        negated[at] ^= 1;
        assert!(codec::decode::<GroupKey>(&negated, MAX_GROUP_BYTES).is_err());
    }
}
