//! The public side of a shared key.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use frost_core::keys::{PublicKeyPackage, VerifyingShare};
use frost_core::{Element, Group, VerifyingKey};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::ShareError;
use super::suite::{Suite, decode_point, identifier, lagrange, with_suite};
use crate::ids::{PartyIndex, Scheme, Threshold};
use crate::keys::PublicKey;
use crate::recent::Recent;
use crate::wire::transcript::Transcript;

/// The longest encoded [`GroupKey`], in bytes: 32 verifying shares of 35 bytes, and under 300 for everything else.
pub const MAX_GROUP_BYTES: usize = 2048;

/// A shared key as everybody may know it: the key, its threshold, and every party's verifying share.
///
/// Holds, whatever it was decoded from: every value is a point of the scheme's prime-order group and not the identity;
/// there is one verifying share for each party 1 to n; and all of them lie on one polynomial of degree t - 1, no less,
/// whose value at 0 is the key. So any t of the parties can sign for the key, and no fewer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "EncodedGroupKey", into = "EncodedGroupKey")]
pub struct GroupKey {
    key: PublicKey,
    threshold: Threshold,
    /// Party i's verifying share at position i - 1.
    verifying_shares: Vec<PublicKey>,
}

/// The wire form of [`GroupKey`]: verifying shares in the order of their parties.
#[derive(Serialize, Deserialize)]
struct EncodedGroupKey {
    key: PublicKey,
    threshold: Threshold,
    verifying_shares: Vec<ByteBuf>,
}

/// The hashes of keys that were found to be what [`GroupKey`] promises.
static PASSED: Mutex<Recent<[u8; 32]>> = Mutex::new(Recent::new());

impl GroupKey {
    /// Puts a shared key together, with the verifying shares of the parties 1 to n in their order.
    ///
    /// Interpolates in the exponent: (n - t + 2) x t scalar multiplications. What has passed is remembered for a while: a node
    /// meets the same few keys again and again, in proposals, records, certificates and its store.
    ///
    /// # Errors
    /// When anything that the type promises does not hold.
    pub fn new(key: PublicKey, threshold: Threshold, verifying_shares: Vec<PublicKey>) -> Result<Self, ShareError> {
        if verifying_shares.len() != usize::from(threshold.parties()) {
            return Err(ShareError::Committee);
        }
        let group = Self { key, threshold, verifying_shares };
        let hash = group.hash();
        let passed = || PASSED.lock().unwrap_or_else(PoisonError::into_inner);
        if !passed().contains(hash) {
            with_suite!(key.scheme(), C => check_polynomial::<C>(&key, threshold, &group.verifying_shares))?;
            passed().insert(hash);
        }
        Ok(group)
    }

    /// The hash of everything in it.
    fn hash(&self) -> [u8; 32] {
        let limits = [self.threshold.signers(), self.threshold.parties()];
        let all = Transcript::new("quorate/group-key/v1").field(&limits);
        let points = std::iter::once(&self.key).chain(&self.verifying_shares);
        points.fold(all, |all, point| all.field(point.scheme().as_str().as_bytes()).field(point.as_bytes())).finish()
    }

    /// The key that signatures verify under.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.key
    }

    /// The scheme of the key.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.key.scheme()
    }

    /// t of n.
    #[must_use]
    pub fn threshold(&self) -> Threshold {
        self.threshold
    }

    /// What party `index` verifies by: its signing share times the generator. `None` beyond n.
    #[must_use]
    pub fn verifying_share(&self, index: PartyIndex) -> Option<PublicKey> {
        self.verifying_shares.get(usize::from(index.get()) - 1).copied()
    }

    /// Every party with its verifying share, ascending.
    pub fn verifying_shares(&self) -> impl Iterator<Item = (PartyIndex, PublicKey)> + '_ {
        (1..=self.threshold.parties()).filter_map(|index| {
            let party = PartyIndex::try_from(index).ok()?;
            Some((party, self.verifying_share(party)?))
        })
    }

    /// Takes over the public side of what FROST's key generation made.
    pub(in crate::protocol) fn from_frost<C: Suite>(
        threshold: Threshold,
        package: &PublicKeyPackage<C>,
    ) -> Result<Self, ShareError> {
        let point = |encoded: Result<Vec<u8>, _>| {
            encoded.ok().and_then(|bytes| PublicKey::new(C::SCHEME, &bytes).ok()).ok_or(ShareError::Point)
        };
        let shares = package.verifying_shares();
        let in_order = (1..=threshold.parties()).map(|index| {
            let party = PartyIndex::try_from(index).map_err(|_| ShareError::Index)?;
            point(shares.get(&identifier::<C>(party)?).ok_or(ShareError::Committee)?.serialize())
        });
        let in_order = in_order.collect::<Result<_, _>>()?;
        Self::new(point(package.verifying_key().serialize())?, threshold, in_order)
    }

    /// The public key package of a subset of the parties, every point moved by `offset`: an additive tweak of the key
    /// moves the verifying shares by the same.
    pub(in crate::protocol) fn to_frost<C: Suite>(
        &self,
        parties: impl IntoIterator<Item = PartyIndex>,
        offset: Element<C>,
    ) -> Result<PublicKeyPackage<C>, ShareError> {
        let moved = |key: &PublicKey| -> Result<_, ShareError> {
            let point = decode_point::<C>(key)? + offset;
            <C::Group as Group>::serialize(&point).map_err(|_| ShareError::Point)
        };
        let shares = parties.into_iter().map(|party| {
            let encoded = moved(&self.verifying_share(party).ok_or(ShareError::Index)?)?;
            let share = VerifyingShare::deserialize(encoded.as_ref()).map_err(|_| ShareError::Point)?;
            Ok((identifier::<C>(party)?, share))
        });
        let shares = shares.collect::<Result<BTreeMap<_, _>, ShareError>>()?;
        let key = VerifyingKey::deserialize(moved(&self.key)?.as_ref()).map_err(|_| ShareError::Point)?;
        Ok(PublicKeyPackage::new(shares, key, Some(u16::from(self.threshold.signers()))))
    }
}

impl From<GroupKey> for EncodedGroupKey {
    fn from(group: GroupKey) -> Self {
        Self {
            key: group.key,
            threshold: group.threshold,
            verifying_shares: group.verifying_shares.iter().map(|key| ByteBuf::from(key.as_bytes())).collect(),
        }
    }
}

impl TryFrom<EncodedGroupKey> for GroupKey {
    type Error = ShareError;

    fn try_from(encoded: EncodedGroupKey) -> Result<Self, ShareError> {
        if encoded.verifying_shares.len() > usize::from(Threshold::MAX_PARTIES) {
            return Err(ShareError::Committee);
        }
        let shares = encoded.verifying_shares.iter().map(|bytes| PublicKey::new(encoded.key.scheme(), bytes));
        let shares = shares.collect::<Result<_, _>>().map_err(|_| ShareError::Point)?;
        Self::new(encoded.key, encoded.threshold, shares)
    }
}

/// Whether the first t verifying shares determine the key (at x = 0) and all the others (at their x), and whether one
/// less does not.
fn check_polynomial<C: Suite>(key: &PublicKey, threshold: Threshold, shares: &[PublicKey]) -> Result<(), ShareError> {
    let points = shares.iter().map(decode_point::<C>).collect::<Result<Vec<_>, _>>()?;
    let t = threshold.signers();
    let basis: Vec<(u8, Element<C>)> = (1..=t).zip(points.iter().copied()).collect();
    let rest = (1..=threshold.parties()).zip(points.iter().copied()).skip(usize::from(t));
    for (x, expected) in std::iter::once((0, decode_point::<C>(key)?)).chain(rest) {
        if interpolate::<C>(&basis, x)? != expected {
            return Err(ShareError::Inconsistent);
        }
    }
    let one_less: Vec<_> = basis.into_iter().skip(1).collect();
    if interpolate::<C>(&one_less, 0)? == decode_point::<C>(key)? {
        return Err(ShareError::Inconsistent);
    }
    Ok(())
}

/// The value at `x` of the polynomial through `points`, in the exponent: the sum of each point times its Lagrange
/// coefficient.
fn interpolate<C: Suite>(points: &[(u8, Element<C>)], x: u8) -> Result<Element<C>, ShareError> {
    let mut sum = <C::Group as Group>::identity();
    for &(own, point) in points {
        sum = sum + point * lagrange::<C>(own, points.iter().map(|&(other, _)| other), x)?;
    }
    Ok(sum)
}
