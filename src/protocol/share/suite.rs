//! The three FROST ciphersuites behind one [`Scheme`]: the only place that knows which is which.

use frost_core::keys::{SigningShare, VerifyingShare};
use frost_core::{Ciphersuite, Element, Field, Group, Identifier, Scalar};
use frost_ed25519::Ed25519Sha512;
use frost_secp256k1::Secp256K1Sha256;
use frost_secp256k1_tr::Secp256K1Sha256TR;
use zeroize::{Zeroize, Zeroizing};

use super::ShareError;
use crate::ids::{PartyIndex, Scheme};
use crate::keys::PublicKey;
use crate::secret::SecretBytes;

/// A FROST ciphersuite that a wallet's key can live in, with scalars that can be wiped.
pub(in crate::protocol) trait Suite:
    Ciphersuite<Group: Group<Field: Field<Scalar: Zeroize>>>
{
    /// The scheme whose keys it makes.
    const SCHEME: Scheme;
}

impl Suite for Secp256K1Sha256 {
    const SCHEME: Scheme = Scheme::Ecdsa;
}

impl Suite for Ed25519Sha512 {
    const SCHEME: Scheme = Scheme::Ed25519;
}

impl Suite for Secp256K1Sha256TR {
    const SCHEME: Scheme = Scheme::Bip340;
}

/// Runs an expression with the type `$suite` bound to the ciphersuite of a scheme.
macro_rules! with_suite {
    ($scheme:expr, $suite:ident => $body:expr) => {
        match $scheme {
            $crate::ids::Scheme::Ecdsa => {
                type $suite = ::frost_secp256k1::Secp256K1Sha256;
                $body
            }
            $crate::ids::Scheme::Ed25519 => {
                type $suite = ::frost_ed25519::Ed25519Sha512;
                $body
            }
            $crate::ids::Scheme::Bip340 => {
                type $suite = ::frost_secp256k1_tr::Secp256K1Sha256TR;
                $body
            }
        }
    };
}
pub(in crate::protocol) use with_suite;

/// The scalar field of a ciphersuite.
pub(in crate::protocol) type ScalarField<C> = <<C as Ciphersuite>::Group as Group>::Field;

/// A small number as a scalar, by double and add: fields know one, and addition.
pub(in crate::protocol) fn small_scalar<C: Ciphersuite>(number: u8) -> Scalar<C> {
    (0..u8::BITS).rev().fold(ScalarField::<C>::zero(), |sum, bit| {
        let doubled = sum + sum;
        if number >> bit & 1 == 1 { doubled + ScalarField::<C>::one() } else { doubled }
    })
}

/// What the value at `own` counts for in the value at `at` of the polynomial through the values at all of `points`.
pub(in crate::protocol) fn lagrange<C: Ciphersuite>(
    own: u8,
    points: impl Iterator<Item = u8> + Clone,
    at: u8,
) -> Result<Scalar<C>, ShareError> {
    let product = |from: Scalar<C>| {
        let others = points.clone().filter(|&other| other != own).map(small_scalar::<C>);
        others.fold(ScalarField::<C>::one(), |product, other| product * (from - other))
    };
    let inverse = ScalarField::<C>::invert(&product(small_scalar::<C>(own))).map_err(|_| ShareError::Committee)?;
    Ok(product(small_scalar::<C>(at)) * inverse)
}

/// A party's FROST identifier: its index as a scalar.
pub(in crate::protocol) fn identifier<C: Ciphersuite>(party: PartyIndex) -> Result<Identifier<C>, ShareError> {
    Identifier::try_from(u16::from(party.get())).map_err(|_| ShareError::Index)
}

/// The party of an identifier, among `parties`. FROST names culprits by identifier.
pub(in crate::protocol) fn party_of<C: Ciphersuite>(
    wanted: Identifier<C>,
    parties: impl IntoIterator<Item = PartyIndex>,
) -> Option<PartyIndex> {
    parties.into_iter().find(|&party| identifier::<C>(party) == Ok(wanted))
}

/// Decodes a point: never the identity, never off the curve or out of its prime-order subgroup.
pub(in crate::protocol) fn decode_point<C: Suite>(key: &PublicKey) -> Result<Element<C>, ShareError> {
    if key.scheme() != C::SCHEME {
        return Err(ShareError::Point);
    }
    let encoded = key.as_bytes().try_into().map_err(|_| ShareError::Point)?;
    <C::Group as Group>::deserialize(&encoded).map_err(|_| ShareError::Point)
}

/// Encodes a point. The identity has no encoding.
pub(in crate::protocol) fn encode_point<C: Suite>(point: &Element<C>) -> Result<PublicKey, ShareError> {
    let encoded = <C::Group as Group>::serialize(point).map_err(|_| ShareError::Point)?;
    PublicKey::new(C::SCHEME, encoded.as_ref()).map_err(|_| ShareError::Point)
}

/// Decodes a signing share from FROST's own encoding, which differs from curve to curve.
pub(in crate::protocol) fn decode_signing_share<C: Suite>(
    encoded: &[u8],
) -> Result<Zeroizing<SigningShare<C>>, ShareError> {
    SigningShare::deserialize(encoded).map(Zeroizing::new).map_err(|_| ShareError::Scalar)
}

/// The scalar of a signing share, by way of its encoding: FROST does not give it away.
pub(in crate::protocol) fn scalar_of<C: Suite>(share: &SigningShare<C>) -> Result<Zeroizing<Scalar<C>>, ShareError> {
    let encoded = Zeroizing::new(share.serialize());
    let mut array = encoded.as_slice().try_into().map_err(|_| ShareError::Scalar)?;
    let scalar = ScalarField::<C>::deserialize(&array).map(Zeroizing::new).map_err(|_| ShareError::Scalar);
    array.as_mut().zeroize();
    scalar
}

/// A scalar as a signing share, in FROST's encoding.
pub(in crate::protocol) fn encode_scalar<C: Suite>(scalar: &Scalar<C>) -> SecretBytes {
    let mut array = ScalarField::<C>::serialize(scalar);
    let encoded = SecretBytes::copy_from(array.as_ref());
    array.as_mut().zeroize();
    encoded
}

/// The verifying share that belongs to a signing share, which is in FROST's own encoding.
pub(in crate::protocol) fn verifying_share_of(scheme: Scheme, signing: &[u8]) -> Result<PublicKey, ShareError> {
    let encoded = match scheme {
        // As FROST does it, in a third of the time: there, multiples of the base point are tabulated.
        Scheme::Ecdsa | Scheme::Bip340 => {
            let signing = signing.try_into().map_err(|_| ShareError::Scalar)?;
            let secret = k256::SecretKey::from_bytes(signing).map_err(|_| ShareError::Scalar)?;
            secret.public_key().to_sec1_bytes().into_vec()
        }
        Scheme::Ed25519 => {
            let signing = decode_signing_share::<frost_ed25519::Ed25519Sha512>(signing)?;
            VerifyingShare::from(*signing).serialize().map_err(|_| ShareError::Point)?
        }
    };
    PublicKey::new(scheme, &encoded).map_err(|_| ShareError::Point)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_scalar__should_be_the_identifier_of_its_number() {
        for number in [1_u8, 2, 3, 31, 128, 255] {
            let party = PartyIndex::try_from(number).unwrap();
            for scheme in Scheme::ALL {
                with_suite!(scheme, C => {
                    let encoded = ScalarField::<C>::serialize(&small_scalar::<C>(number));
                    assert_eq!(identifier::<C>(party).unwrap().serialize(), encoded, "{number} {scheme}");
                });
            }
        }
    }
}
