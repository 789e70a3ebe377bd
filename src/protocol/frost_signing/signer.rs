//! FROST's two rounds of signing (RFC 9591, section 5), as a value per stage, whatever the scheme.
//!
//! ```text
//!   prepare() ──▶ Signer ── commit() ──▶ Committed ── sign(all commitments) ──▶ Signed ── aggregate(all shares) ──▶ Signature
//! ```
//!
//! Each stage is consumed by the next: nonces cannot be used twice, and what a stage holds is wiped when it is dropped.

use std::collections::BTreeMap;

use frost_core::keys::{KeyPackage, PublicKeyPackage, SigningShare, VerifyingShare};
use frost_core::round1::{self, SigningCommitments, SigningNonces};
use frost_core::round2::{self, SignatureShare};
use frost_core::{CheaterDetection, Ciphersuite, Group, Identifier, Scalar, SigningPackage};
use frost_ed25519::Ed25519Sha512;
use frost_secp256k1_tr::Secp256K1Sha256TR;
use frost_secp256k1_tr::keys::Tweak;
use zeroize::Zeroizing;

use crate::ids::{PartyIndex, Scheme};
use crate::keys::{Signature, TapTweak};
use crate::protocol::derivation::Derived;
use crate::protocol::fault::Fault;
use crate::protocol::rng::EngineRng;
use crate::protocol::setup::SetupError;
use crate::protocol::share::KeyShare;
use crate::protocol::share::suite::{
    Suite, decode_signing_share, encode_point, encode_scalar, identifier, party_of, scalar_of,
};
use crate::protocol::{AbortReason, RunContext};
#[cfg(any(test, feature = "testing"))]
use crate::testing::witness::{self, Kind};

/// A signer with its key and message, before round 1.
pub(super) trait Signer: Send {
    /// Draws fresh nonces; gives the encoded commitments to them.
    fn commit(self: Box<Self>, rng: &mut dyn EngineRng) -> Result<(Box<dyn Committed>, Vec<u8>), Fault>;
}

/// A signer that has committed to its nonces.
pub(super) trait Committed: Send {
    /// Uses the nonces up for one signature share, made with the commitments of all the others. Gives it encoded.
    fn sign(self: Box<Self>, commitments: &BTreeMap<PartyIndex, &[u8]>) -> Result<(Box<dyn Signed>, Vec<u8>), Fault>;
}

/// A signer that has made its signature share. Holds no secret any more.
pub(super) trait Signed: Send {
    /// Puts the signature together from the shares of all the others and its own.
    fn aggregate(self: Box<Self>, shares: &BTreeMap<PartyIndex, &[u8]>) -> Result<Signature, Fault>;
}

/// Builds the signer of a key: the share's key, moved by the derivation, and tweaked.
pub(super) fn prepare(
    context: &RunContext,
    share: &KeyShare,
    derived: &Derived,
    message: Vec<u8>,
    tweak: Option<TapTweak>,
) -> Result<Box<dyn Signer>, SetupError> {
    match share.scheme() {
        Scheme::Ed25519 => Prepared::<Ed25519Sha512>::new(context, share, derived, message, tweak).map(boxed),
        Scheme::Bip340 => Prepared::<Secp256K1Sha256TR>::new(context, share, derived, message, tweak).map(boxed),
        Scheme::Ecdsa => Err(SetupError::Scheme),
    }
}

fn boxed<C: SigningSuite>(prepared: Prepared<C>) -> Box<dyn Signer> {
    Box::new(prepared)
}

/// A suite whose signatures FROST makes.
trait SigningSuite: Suite {
    /// Adds a BIP-341 tweak to a key and its shares; `None` where the scheme has none.
    fn tap(keys: Keys<Self>, tweak: TapTweak) -> Option<Keys<Self>>;

    /// A finished signature as clients get it.
    fn finished(bytes: [u8; 64]) -> Signature;
}

/// A signer's own key package, on the heap, and everybody's public one.
type Keys<C> = (Box<KeyPackage<C>>, PublicKeyPackage<C>);

impl SigningSuite for Ed25519Sha512 {
    fn tap(_: Keys<Self>, _: TapTweak) -> Option<Keys<Self>> {
        None
    }

    fn finished(bytes: [u8; 64]) -> Signature {
        Signature::Ed25519(bytes)
    }
}

impl SigningSuite for Secp256K1Sha256TR {
    fn tap((own, public): Keys<Self>, tweak: TapTweak) -> Option<Keys<Self>> {
        let root = match &tweak {
            TapTweak::KeyPathOnly => None,
            TapTweak::MerkleRoot(root) => Some(root.as_slice()),
        };
        // A clone, because what is moved out of a box is not wiped in it.
        Some((Box::new(KeyPackage::clone(&own).tweak(root)), public.tweak(root)))
    }

    fn finished(bytes: [u8; 64]) -> Signature {
        Signature::Bip340(bytes)
    }
}

struct Prepared<C: Ciphersuite> {
    own: Box<KeyPackage<C>>,
    public: PublicKeyPackage<C>,
    message: Vec<u8>,
}

struct WithNonces<C: Ciphersuite> {
    signer: Prepared<C>,
    nonces: Box<SigningNonces<C>>,
}

struct WithShare<C: Ciphersuite> {
    public: PublicKeyPackage<C>,
    me: Identifier<C>,
    package: SigningPackage<C>,
    share: SignatureShare<C>,
}

impl<C: SigningSuite> Prepared<C> {
    fn new(
        context: &RunContext,
        share: &KeyShare,
        derived: &Derived,
        message: Vec<u8>,
        tweak: Option<TapTweak>,
    ) -> Result<Self, SetupError> {
        let offset = derived.tweak.to_scalar::<C>().ok_or(SetupError::WrongKey)?;
        let moved = C::Group::generator() * offset;
        let public = share.group().to_frost::<C>(context.parties.iter().copied(), moved)?;
        let key = encode_point::<C>(&decode_element::<C>(&public)?)?;
        if key != derived.public_key {
            return Err(SetupError::WrongKey);
        }
        let own = derived_package(share, &public, offset)?;
        let (own, public) = match tweak {
            Some(tweak) => C::tap((own, public), tweak).ok_or(SetupError::Tweak)?,
            None => (own, public),
        };
        #[cfg(any(test, feature = "testing"))]
        witness::saw_encoded(Kind::SigningShare, own.signing_share().serialize());
        Ok(Self { own, public, message })
    }
}

impl<C: SigningSuite> Signer for Prepared<C> {
    fn commit(self: Box<Self>, rng: &mut dyn EngineRng) -> Result<(Box<dyn Committed>, Vec<u8>), Fault> {
        let mut rng = rng;
        let (nonces, commitments) = round1::commit::<C, _>(self.own.signing_share(), &mut rng);
        #[cfg(any(test, feature = "testing"))]
        for nonce in [nonces.hiding(), nonces.binding()] {
            witness::saw_encoded(Kind::Nonce, nonce.serialize());
        }
        let encoded = commitments.serialize().map_err(|_| Fault::engine())?;
        Ok((Box::new(WithNonces { signer: *self, nonces: Box::new(nonces) }), encoded))
    }
}

impl<C: SigningSuite> Committed for WithNonces<C> {
    fn sign(self: Box<Self>, commitments: &BTreeMap<PartyIndex, &[u8]>) -> Result<(Box<dyn Signed>, Vec<u8>), Fault> {
        let Self { signer: Prepared { own, public, message }, nonces } = *self;
        let me = *own.identifier();
        let mut all = BTreeMap::from([(me, *nonces.commitments())]);
        for (&party, bytes) in commitments {
            let decoded = SigningCommitments::<C>::deserialize(bytes).ok();
            let canonical = decoded.filter(|decoded| decoded.serialize().is_ok_and(|again| again == *bytes));
            let decoded = canonical.ok_or_else(|| Fault::by(AbortReason::Malformed, [party]))?;
            all.insert(identifier::<C>(party).map_err(|_| Fault::engine())?, decoded);
        }
        let package = SigningPackage::new(all, &message);
        let share = round2::sign(&package, &nonces, &own).map_err(|_| Fault::engine())?;
        let encoded = share.serialize();
        Ok((Box::new(WithShare { public, me, package, share }), encoded))
    }
}

impl<C: SigningSuite> Signed for WithShare<C> {
    fn aggregate(self: Box<Self>, shares: &BTreeMap<PartyIndex, &[u8]>) -> Result<Signature, Fault> {
        let mut all = BTreeMap::from([(self.me, self.share)]);
        for (&party, bytes) in shares {
            let share = SignatureShare::deserialize(bytes).map_err(|_| Fault::by(AbortReason::Malformed, [party]))?;
            all.insert(identifier::<C>(party).map_err(|_| Fault::engine())?, share);
        }
        let signature = frost_core::aggregate_custom(&self.package, &all, &self.public, CheaterDetection::AllCheaters)
            .map_err(|error| {
                let culprits = error.culprits().into_iter();
                let named: Vec<_> = culprits.filter_map(|id| party_of(id, shares.keys().copied())).collect();
                let reason = if named.is_empty() { AbortReason::InvalidSignature } else { AbortReason::InvalidProof };
                Fault::by(reason, named)
            })?;
        let bytes = signature.serialize().ok().and_then(|bytes| bytes.try_into().ok()).ok_or_else(Fault::engine)?;
        Ok(C::finished(bytes))
    }
}

/// The group's key as a point.
fn decode_element<C: Suite>(public: &PublicKeyPackage<C>) -> Result<frost_core::Element<C>, SetupError> {
    let encoded = public.verifying_key().serialize().ok();
    let encoded = encoded.and_then(|bytes| bytes.as_slice().try_into().ok()).ok_or(SetupError::WrongKey)?;
    C::Group::deserialize(&encoded).map_err(|_| SetupError::WrongKey)
}

/// This signer's key package, its share moved by `offset`.
fn derived_package<C: Suite>(
    share: &KeyShare,
    public: &PublicKeyPackage<C>,
    offset: Scalar<C>,
) -> Result<Box<KeyPackage<C>>, SetupError> {
    let me = identifier::<C>(share.index())?;
    let signing = moved_share::<C>(&*share.signing_share::<C>()?, offset)?;
    let verifying: VerifyingShare<C> = *public.verifying_shares().get(&me).ok_or(SetupError::Committee)?;
    let threshold = u16::from(share.threshold().signers());
    Ok(Box::new(KeyPackage::new(me, *signing, verifying, *public.verifying_key(), threshold)))
}

/// A signing share plus a scalar, by way of their encodings: FROST does not let its shares be added to.
fn moved_share<C: Suite>(share: &SigningShare<C>, offset: Scalar<C>) -> Result<Zeroizing<SigningShare<C>>, SetupError> {
    let sum = Zeroizing::new(*scalar_of(share)? + offset);
    Ok(decode_signing_share(encode_scalar::<C>(&sum).expose())?)
}
