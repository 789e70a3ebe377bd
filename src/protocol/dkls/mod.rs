//! The seam to `dkls23-core`, the one place that knows how its values, indices, errors and encodings become ours.
//!
//! Nothing outside [`pair`](super::pair) and [`ecdsa_signing`](super::ecdsa_signing) uses it, so exchanging the engine
//! touches this folder and those two.
//!
//! # What an engine abort becomes
//!
//! | engine | our reason | culprit | ban |
//! |---|---|---|---|
//! | any reason of kind `BanCounterparty(j)`: the OT extension's consistency check, the multiplication check, either gamma check | `ObliviousTransfer` | j | j |
//! | `SessionBindingMismatch`, `ProofVerificationFailed`, `CommitmentMismatch`, `ZeroShareDecommitFailed`, `ChainCodeCommitmentFailed`, `GammaUInconsistency`, `OtConsistencyCheckFailed`, `MultiplicationVerificationFailed` (recoverable: in a pair setup, where no state survives) | `InvalidProof` | j | none |
//! | `TrivialInstancePoint` | `Malformed` | j | none |
//! | `PolynomialInconsistency` (public shares do not add up to the key), `SignatureVerificationFailed`, `ZeroDenominator`, `TrivialPublicKey` | `InvalidSignature` | none: every signer contributed | none |
//! | wrong counts, indices, routing, missing or malformed local state, a phase out of order, and any reason that names this party | `Engine` | none: checked before the call, so our own fault | none |
//!
//! # What wipes itself
//!
//! The engine's pair state, the data that signing keeps between rounds, and its party do (the build fails if the former
//! stop to). The data that a key generation keeps does not: [`pair`](super::pair) wipes it. Many of these types are
//! printable; none of ours that holds one is.

pub mod message;

use dkls23_core::protocols::signing::{
    Broadcast3to4, KeepPhase1to2, KeepPhase2to3, SignData, TransmitPhase2to3, UniqueKeep1to2, UniqueKeep2to3,
};
use dkls23_core::protocols::{Abort as EngineAbort, AbortKind, AbortReason as EngineReason};
use dkls23_core::utilities::multiplication::{MulReceiver, MulSender};
use dkls23_core::utilities::zero_shares::ZeroShare;
use k256::elliptic_curve::ff::PrimeField;
use k256::elliptic_curve::group::GroupEncoding;
use k256::{AffinePoint, FieldBytes, Scalar};
use zeroize::ZeroizeOnDrop;

pub use dkls23_core::protocols::PartyIndex as EngineIndex;
pub use k256::Secp256k1 as Curve;

use super::AbortReason;
use super::fault::Fault;
use crate::ids::PartyIndex;

const fn wipes_itself<T: ZeroizeOnDrop>() {}
const _: () = {
    wipes_itself::<MulSender<Curve>>();
    wipes_itself::<MulReceiver<Curve>>();
    wipes_itself::<ZeroShare>();
    wipes_itself::<SignData>();
    wipes_itself::<UniqueKeep1to2<Curve>>();
    wipes_itself::<UniqueKeep2to3<Curve>>();
    wipes_itself::<KeepPhase1to2<Curve>>();
    wipes_itself::<KeepPhase2to3<Curve>>();
    wipes_itself::<TransmitPhase2to3<Curve>>();
    wipes_itself::<Broadcast3to4<Curve>>();
};

/// The engine's name for `party`.
pub fn engine_index(party: PartyIndex) -> Result<EngineIndex, Fault> {
    EngineIndex::new(party.get()).map_err(|_| Fault::engine())
}

/// Judges an engine abort by the table of the module. The engine's texts stay behind.
pub fn fault_of(abort: &EngineAbort, me: PartyIndex) -> Fault {
    if let AbortKind::BanCounterparty(party) = abort.kind {
        return named(party, me, |culprit| Fault::banning(AbortReason::ObliviousTransfer, culprit));
    }
    match abort.reason {
        EngineReason::SessionBindingMismatch { counterparty: party }
        | EngineReason::ProofVerificationFailed { counterparty: party }
        | EngineReason::CommitmentMismatch { counterparty: party }
        | EngineReason::ZeroShareDecommitFailed { counterparty: party }
        | EngineReason::ChainCodeCommitmentFailed { party }
        | EngineReason::OtConsistencyCheckFailed { counterparty: party }
        | EngineReason::GammaUInconsistency { counterparty: party }
        | EngineReason::MultiplicationVerificationFailed { counterparty: party, .. } => {
            named(party, me, |culprit| Fault::by(AbortReason::InvalidProof, [culprit]))
        }
        EngineReason::TrivialInstancePoint { counterparty: party } => {
            named(party, me, |culprit| Fault::by(AbortReason::Malformed, [culprit]))
        }
        EngineReason::PolynomialInconsistency
        | EngineReason::SignatureVerificationFailed
        | EngineReason::ZeroDenominator
        | EngineReason::TrivialPublicKey => Fault::by(AbortReason::InvalidSignature, []),
        // Spelt out, so that a reason which a new version adds is the only one to fall through.
        EngineReason::InvalidPartyIndex { .. }
        | EngineReason::WrongCounterpartyCount { .. }
        | EngineReason::DuplicateCounterparty { .. }
        | EngineReason::SelfInCounterparties
        | EngineReason::MissingMulState { .. }
        | EngineReason::MisroutedMessage { .. }
        | EngineReason::UnexpectedSender { .. }
        | EngineReason::DuplicateSender { .. }
        | EngineReason::WrongMessageCount { .. }
        | EngineReason::MissingMessageFromParty { .. }
        | EngineReason::MissingCommittedPoint { .. }
        | EngineReason::TrivialKeyShare
        | EngineReason::LagrangeCoefficientFailed
        | EngineReason::InvalidXCoordinateHex
        | EngineReason::PhaseCalledOutOfOrder { .. }
        | EngineReason::InvalidHex { .. }
        | EngineReason::InvalidLocalState { .. }
        | _ => Fault::engine(),
    }
}

/// Judges an engine abort in a run of two: what nobody can be named for among many is the other's doing here.
pub fn fault_among_two(abort: &EngineAbort, me: PartyIndex, other: PartyIndex) -> Fault {
    match abort.reason {
        EngineReason::PolynomialInconsistency | EngineReason::TrivialPublicKey => {
            Fault::by(AbortReason::InvalidProof, [other])
        }
        _ => fault_of(abort, me),
    }
}

/// A fault of the party that the engine names: unless it names this one.
fn named(party: EngineIndex, me: PartyIndex, fault: impl FnOnce(PartyIndex) -> Fault) -> Fault {
    match PartyIndex::try_from(party.as_u8()) {
        Ok(culprit) if culprit != me => fault(culprit),
        _ => Fault::engine(),
    }
}

/// A scalar from its 32 big-endian bytes, if they are below the group order.
pub fn scalar(bytes: &[u8; 32]) -> Option<Scalar> {
    Scalar::from_repr(FieldBytes::from(*bytes)).into_option()
}

/// A point from its 33 bytes of compressed SEC1, if it is on the curve and not the identity.
pub fn point(bytes: &[u8; 33]) -> Option<AffinePoint> {
    AffinePoint::from_bytes(&(*bytes).into()).into_option().filter(is_proper)
}

/// Whether `point` is not the identity. The type holds it to be on the curve, and the curve's cofactor is 1.
pub fn is_proper(point: &AffinePoint) -> bool {
    *point != AffinePoint::IDENTITY
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(index: u8) -> EngineIndex {
        EngineIndex::new(index).unwrap()
    }

    fn party(index: u8) -> PartyIndex {
        PartyIndex::try_from(index).unwrap()
    }

    #[test]
    fn fault_of__should_follow_the_table() {
        let me = party(1);
        let two = engine(2);
        let recoverable = |reason| fault_of(&EngineAbort::recoverable(engine(1), reason), me);
        let gamma = || EngineReason::GammaUInconsistency { counterparty: two };

        let banned = fault_of(&EngineAbort::ban(engine(1), two, gamma()), me);
        assert_eq!(banned, Fault::banning(AbortReason::ObliviousTransfer, party(2)));
        for reason in [
            gamma(),
            EngineReason::SessionBindingMismatch { counterparty: two },
            EngineReason::CommitmentMismatch { counterparty: two },
            EngineReason::ChainCodeCommitmentFailed { party: two },
        ] {
            assert_eq!(recoverable(reason), Fault::by(AbortReason::InvalidProof, [party(2)]));
        }
        let trivial = recoverable(EngineReason::TrivialInstancePoint { counterparty: two });
        assert_eq!(trivial, Fault::by(AbortReason::Malformed, [party(2)]));
        for reason in [EngineReason::PolynomialInconsistency, EngineReason::SignatureVerificationFailed] {
            assert_eq!(recoverable(reason), Fault::by(AbortReason::InvalidSignature, []));
        }
        for reason in [
            EngineReason::MissingMulState { counterparty: two },
            EngineReason::DuplicateSender { sender: two },
            EngineReason::ProofVerificationFailed { counterparty: engine(1) },
        ] {
            assert_eq!(recoverable(reason), Fault::engine());
        }
    }

    #[test]
    fn fault_among_two__should_name_the_other_and_never_for_a_failure_of_ours() {
        let judge = |reason| fault_among_two(&EngineAbort::recoverable(engine(1), reason), party(1), party(2));
        assert_eq!(judge(EngineReason::TrivialPublicKey), Fault::by(AbortReason::InvalidProof, [party(2)]));
        assert_eq!(judge(EngineReason::TrivialKeyShare), Fault::engine());
    }

    #[test]
    fn curve_values__should_be_refused_outside_their_range() {
        assert!(scalar(&[0; 32]).is_some());
        assert!(scalar(&[0xff; 32]).is_none());
        assert!(point(&[0; 33]).is_none(), "the identity");
        let generator: [u8; 33] = AffinePoint::GENERATOR.to_bytes().into();
        assert_eq!(point(&generator), Some(AffinePoint::GENERATOR));
        let mut off_curve = [0; 33];
        off_curve[0] = 2;
        off_curve[32] = 5;
        assert!(point(&off_curve).is_none(), "no point has x = 5");
    }
}
