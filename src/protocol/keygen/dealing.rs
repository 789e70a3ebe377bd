//! FROST's distributed key generation of one key, as a value per stage, whatever its scheme.
//!
//! ```text
//!   begin() ──▶ Dealer ── deal(packages of the others) ──▶ Receiver ── finish(shares for us) ──▶ KeyShare
//! ```

use std::collections::BTreeMap;

use frost_core::Error;
use frost_core::keys::SigningShare;
use frost_core::keys::dkg::{self, round1, round2};
#[cfg(any(test, feature = "testing"))]
use zeroize::Zeroizing;

use crate::ids::{PartyIndex, Scheme, Threshold};
use crate::protocol::AbortReason;
use crate::protocol::fault::Fault;
use crate::protocol::rng::EngineRng;
use crate::protocol::share::KeyShare;
use crate::protocol::share::suite::{Suite, identifier, party_of, with_suite};
use crate::secret::SecretBuffer;
#[cfg(any(test, feature = "testing"))]
use crate::testing::witness::{self, Kind};

/// One party's shares for the others, each encoded.
pub(super) type SharesByRecipient = BTreeMap<PartyIndex, SecretBuffer>;

/// A party that has chosen its polynomial and not yet dealt it.
pub(super) trait Dealer: Send {
    /// The round-1 package: commitments to the coefficients, and the proof of knowledge of the first.
    fn package(&self) -> &[u8];

    /// Checks everybody else's package and evaluates the polynomial for each.
    fn deal(
        self: Box<Self>,
        packages: &BTreeMap<PartyIndex, &[u8]>,
    ) -> Result<(Box<dyn Receiver>, SharesByRecipient), Fault>;
}

/// A party that has dealt and waits for the others' shares.
pub(super) trait Receiver: Send {
    /// Checks the shares that the others dealt to this party and adds them up.
    fn finish(self: Box<Self>, shares: &BTreeMap<PartyIndex, &[u8]>) -> Result<KeyShare, Fault>;
}

/// Chooses a polynomial of degree t - 1 for a key of `scheme`.
pub(super) fn begin(
    scheme: Scheme,
    me: PartyIndex,
    threshold: Threshold,
    rng: &mut dyn EngineRng,
) -> Result<Box<dyn Dealer>, Fault> {
    with_suite!(scheme, C => FrostDealer::<C>::new(me, threshold, rng).map(|dealer| Box::new(dealer) as _))
}

struct FrostDealer<C: Suite> {
    me: PartyIndex,
    threshold: Threshold,
    /// On the heap, so that moving the dealer copies no coefficient.
    secret: Box<round1::SecretPackage<C>>,
    package: Vec<u8>,
}

struct FrostReceiver<C: Suite> {
    me: PartyIndex,
    threshold: Threshold,
    secret: Box<round2::SecretPackage<C>>,
    packages: BTreeMap<frost_core::Identifier<C>, round1::Package<C>>,
}

impl<C: Suite> FrostDealer<C> {
    fn new(me: PartyIndex, threshold: Threshold, rng: &mut dyn EngineRng) -> Result<Self, Fault> {
        let own = identifier::<C>(me).map_err(|_| Fault::engine())?;
        let (n, t) = (u16::from(threshold.parties()), u16::from(threshold.signers()));
        let (secret, package) = dkg::part1::<C, _>(own, n, t, rng).map_err(|_| Fault::engine())?;
        #[cfg(any(test, feature = "testing"))]
        saw_coefficients(&secret);
        let package = package.serialize().map_err(|_| Fault::engine())?;
        Ok(Self { me, threshold, secret: Box::new(secret), package })
    }

    /// Decodes a package strictly: nothing may follow it, and it commits to exactly t coefficients.
    fn decode(&self, bytes: &[u8]) -> Option<round1::Package<C>> {
        let package = round1::Package::<C>::deserialize(bytes).ok()?;
        let canonical = package.serialize().ok()? == bytes;
        let coefficients = package.commitment().serialize().ok()?.len();
        (canonical && coefficients == usize::from(self.threshold.signers())).then_some(package)
    }
}

impl<C: Suite> Dealer for FrostDealer<C> {
    fn package(&self) -> &[u8] {
        &self.package
    }

    fn deal(
        self: Box<Self>,
        packages: &BTreeMap<PartyIndex, &[u8]>,
    ) -> Result<(Box<dyn Receiver>, SharesByRecipient), Fault> {
        let mut decoded = BTreeMap::new();
        for (&party, bytes) in packages {
            let package = self.decode(bytes).ok_or_else(|| Fault::by(AbortReason::Malformed, [party]))?;
            decoded.insert(identifier::<C>(party).map_err(|_| Fault::engine())?, package);
        }
        let (secret, dealt) =
            dkg::part2(*self.secret, &decoded).map_err(|error| blame(&error, packages.keys().copied()))?;
        let mut shares = SharesByRecipient::new();
        for &party in packages.keys() {
            let package = identifier::<C>(party).ok().and_then(|id| dealt.get(&id)).ok_or_else(Fault::engine)?;
            let share = SecretBuffer::from(package.signing_share().serialize());
            #[cfg(any(test, feature = "testing"))]
            witness::saw(Kind::Dealt, &share);
            shares.insert(party, share);
        }
        let receiver =
            FrostReceiver { me: self.me, threshold: self.threshold, secret: Box::new(secret), packages: decoded };
        Ok((Box::new(receiver), shares))
    }
}

impl<C: Suite> Receiver for FrostReceiver<C> {
    fn finish(self: Box<Self>, shares: &BTreeMap<PartyIndex, &[u8]>) -> Result<KeyShare, Fault> {
        let mut decoded = BTreeMap::new();
        for (&party, bytes) in shares {
            let share = SigningShare::deserialize(bytes).map_err(|_| Fault::by(AbortReason::Malformed, [party]))?;
            decoded.insert(identifier::<C>(party).map_err(|_| Fault::engine())?, round2::Package::new(share));
        }
        let (key, public) = dkg::part3(&self.secret, &self.packages, &decoded)
            .map_err(|error| blame(&error, shares.keys().copied()))?;
        KeyShare::from_frost(self.me, self.threshold, &key, &public).map_err(|_| Fault::engine())
    }
}

/// The coefficients are the last part of the encoding, 32 bytes each.
#[cfg(any(test, feature = "testing"))]
fn saw_coefficients<C: Suite>(secret: &round1::SecretPackage<C>) {
    let encoded = Zeroizing::new(secret.serialize().unwrap_or_default());
    let at = encoded.get(32..).unwrap_or_default();
    let count = at.first().copied().map_or(0, usize::from);
    for coefficient in at.get(1..).unwrap_or_default().chunks_exact(32).take(count) {
        witness::saw(Kind::Coefficient, coefficient);
    }
}

/// FROST names a culprit where a proof or a share is false. Everything else that it reports was ruled out before.
fn blame<C: Suite>(error: &Error<C>, others: impl Iterator<Item = PartyIndex> + Clone) -> Fault {
    let named: Vec<_> = error.culprits().into_iter().filter_map(|id| party_of(id, others.clone())).collect();
    if named.is_empty() { Fault::engine() } else { Fault::by(AbortReason::InvalidProof, named) }
}
