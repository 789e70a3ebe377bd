//! The dealing of one key: each old member of a quorum deals its part of the key anew, and every new member adds up what
//! it was dealt. FROST has the polynomials, their commitments and their checks.
//!
//! With the Lagrange coefficients lambda of the quorum, the old shares s make the key: the sum of all lambda·s. Dealer i
//! shares out lambda_i·s_i by a fresh polynomial f_i of degree t' - 1; new member j's share is the sum of all f_i(j).

use std::collections::{BTreeMap, BTreeSet};

use frost_core::keys::{
    IdentifierList, PublicKeyPackage, SecretShare, SigningShare, VerifiableSecretSharingCommitment, split,
};
use frost_core::{Element, Group, Scalar, SigningKey};
use zeroize::Zeroizing;

use super::plan::OldKey;
use crate::ids::{PartyIndex, Threshold};
use crate::protocol::AbortReason;
use crate::protocol::fault::Fault;
use crate::protocol::rng::EngineRng;
use crate::protocol::share::suite::{
    ScalarField, Suite, decode_point, encode_point, identifier, lagrange, scalar_of, with_suite,
};
use crate::protocol::share::{GroupKey, KeyShare, ShareError};
use crate::secret::SecretBuffer;
#[cfg(any(test, feature = "testing"))]
use crate::testing::witness::{self, Kind};

/// What a dealer deals of one key.
pub(super) struct Dealt {
    /// The commitments to the coefficients, one after the other: the first is lambda times the dealer's verifying share.
    pub(super) commitment: Vec<u8>,
    /// The encoded sub-share of each new member, by its new index.
    pub(super) shares: BTreeMap<PartyIndex, SecretBuffer>,
}

/// The commitments of all dealers of one key, by index in the session.
pub(super) type CommitmentsByDealer = BTreeMap<PartyIndex, Vec<u8>>;

/// Deals this party's part of a key to the new committee.
pub(super) fn deal(
    share: &KeyShare,
    quorum: &BTreeSet<PartyIndex>,
    threshold: Threshold,
    rng: &mut dyn EngineRng,
) -> Result<Dealt, Fault> {
    with_suite!(share.scheme(), C => deal_in::<C>(share, quorum, threshold, rng))
}

/// Checks every dealer's commitments, and puts the new key together that they lead to.
///
/// # Errors
/// Names everybody whose commitments are malformed, or are to something else than its part of the key.
pub(super) fn combine(
    key: &OldKey,
    threshold: Threshold,
    commitments: &CommitmentsByDealer,
) -> Result<GroupKey, Fault> {
    with_suite!(key.group.scheme(), C => combine_in::<C>(key, threshold, commitments))
}

/// Checks the sub-shares of new member `me`, and adds them up.
///
/// # Errors
/// Names everybody whose sub-share is malformed, or is not what was committed to.
pub(super) fn receive(
    me: PartyIndex,
    group: &GroupKey,
    commitments: &CommitmentsByDealer,
    shares: &BTreeMap<PartyIndex, &[u8]>,
) -> Result<KeyShare, Fault> {
    with_suite!(group.scheme(), C => receive_in::<C>(me, group, commitments, shares))
}

fn deal_in<C: Suite>(
    share: &KeyShare,
    quorum: &BTreeSet<PartyIndex>,
    threshold: Threshold,
    rng: &mut dyn EngineRng,
) -> Result<Dealt, Fault> {
    let ours = |_: ShareError| Fault::engine();
    let mut rng = rng;
    let scalar = scalar_of(&*share.signing_share::<C>().map_err(ours)?).map_err(ours)?;
    let part = Zeroizing::new(weight::<C>(share.index(), quorum).map_err(ours)? * *scalar);
    let part = SigningKey::<C>::from_scalar(*part).map_err(|_| Fault::engine())?;
    let (n, t) = (threshold.parties(), threshold.signers());
    let members = (1..=n).filter_map(|index| PartyIndex::try_from(index).ok());
    let identifiers: Vec<_> = members.clone().map(identifier::<C>).collect::<Result<_, _>>().map_err(ours)?;
    let custom = IdentifierList::Custom(&identifiers);
    let (dealt, _) = split(&part, n.into(), t.into(), custom, &mut rng).map_err(|_| Fault::engine())?;
    let commitment = dealt.values().next().and_then(|share| share.commitment().serialize_whole().ok());
    let shares = members.zip(&identifiers).filter_map(|(member, identifier)| {
        let share = SecretBuffer::from(dealt.get(identifier)?.signing_share().serialize());
        #[cfg(any(test, feature = "testing"))]
        witness::saw(Kind::Dealt, &share);
        Some((member, share))
    });
    Ok(Dealt { shares: shares.collect(), commitment: commitment.ok_or_else(Fault::engine)? })
}

fn combine_in<C: Suite>(
    key: &OldKey,
    threshold: Threshold,
    commitments: &CommitmentsByDealer,
) -> Result<GroupKey, Fault> {
    let ours = |_: ShareError| Fault::engine();
    let quorum: BTreeSet<PartyIndex> = key.dealers.values().copied().collect();
    let (mut malformed, mut invalid) = (BTreeSet::new(), BTreeSet::new());
    let mut sums = vec![C::Group::identity(); usize::from(threshold.signers())];
    for (&dealer, &old) in &key.dealers {
        let encoded = commitments.get(&dealer).ok_or_else(Fault::engine)?;
        let Some(points) = decode::<C>(encoded, threshold) else {
            malformed.insert(dealer);
            continue;
        };
        let verifying = key.group.verifying_share(old).ok_or_else(Fault::engine)?;
        let part = decode_point::<C>(&verifying).map_err(ours)? * weight::<C>(old, &quorum).map_err(ours)?;
        if points.first() != Some(&part) {
            invalid.insert(dealer);
        }
        sums.iter_mut().zip(points).for_each(|(sum, point)| *sum = *sum + point);
    }
    Fault::unless_empty(AbortReason::Malformed, malformed)?;
    Fault::unless_empty(AbortReason::InvalidProof, invalid)?;

    // Parties that know no more than their own coefficients cannot cancel the others' out; whoever tries has no sub-shares
    // to deal, and it cannot be told here who it was.
    let degenerate = || Fault::by(AbortReason::InvalidProof, []);
    let encoded = sums.iter().map(encode_point::<C>).collect::<Result<Vec<_>, _>>().map_err(|_| degenerate())?;
    let sum = VerifiableSecretSharingCommitment::<C>::deserialize(encoded.iter().map(|point| point.as_bytes()));
    let members = (1..=threshold.parties()).filter_map(|index| PartyIndex::try_from(index).ok());
    let members = members.map(identifier::<C>).collect::<Result<_, _>>().map_err(ours)?;
    let package = PublicKeyPackage::from_commitment(&members, &sum.map_err(|_| Fault::engine())?);
    let group = GroupKey::from_frost(threshold, &package.map_err(|_| Fault::engine())?).map_err(|_| degenerate())?;
    // What everybody committed to adds up to the old key.
    if group.public_key() == key.group.public_key() { Ok(group) } else { Err(Fault::engine()) }
}

fn receive_in<C: Suite>(
    me: PartyIndex,
    group: &GroupKey,
    commitments: &CommitmentsByDealer,
    shares: &BTreeMap<PartyIndex, &[u8]>,
) -> Result<KeyShare, Fault> {
    let own = identifier::<C>(me).map_err(|_| Fault::engine())?;
    let (mut malformed, mut invalid) = (BTreeSet::new(), BTreeSet::new());
    let mut sum = Zeroizing::new(<ScalarField<C> as frost_core::Field>::zero());
    for (&dealer, encoded) in commitments {
        let bytes = shares.get(&dealer).ok_or_else(Fault::engine)?;
        let Ok(share) = SigningShare::<C>::deserialize(bytes).map(Zeroizing::new) else {
            malformed.insert(dealer);
            continue;
        };
        let commitment = VerifiableSecretSharingCommitment::deserialize_whole(encoded).map_err(|_| Fault::engine())?;
        if SecretShare::new(own, *share, commitment).verify().is_err() {
            invalid.insert(dealer);
        }
        *sum = *sum + *scalar_of(&*share).map_err(|_| Fault::engine())?;
    }
    Fault::unless_empty(AbortReason::Malformed, malformed)?;
    Fault::unless_empty(AbortReason::InvalidProof, invalid)?;
    KeyShare::from_scalar::<C>(me, group.clone(), &sum).map_err(|_| Fault::engine())
}

/// Decodes commitments strictly: exactly t points, none of them the identity.
fn decode<C: Suite>(encoded: &[u8], threshold: Threshold) -> Option<Vec<Element<C>>> {
    let commitment = VerifiableSecretSharingCommitment::<C>::deserialize_whole(encoded).ok()?;
    let points = commitment.serialize().ok()?;
    let is_exact = points.len() == usize::from(threshold.signers()) && points.concat() == encoded;
    if !is_exact {
        return None;
    }
    points.iter().map(|point| C::Group::deserialize(&point.as_slice().try_into().ok()?).ok()).collect()
}

/// The Lagrange coefficient of `party` in its quorum, for the key.
fn weight<C: Suite>(party: PartyIndex, quorum: &BTreeSet<PartyIndex>) -> Result<Scalar<C>, ShareError> {
    lagrange::<C>(party.get(), quorum.iter().map(|party| party.get()), 0)
}
