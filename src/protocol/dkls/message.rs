//! The engine's messages as bytes: postcard, the format in which the engine frames its own messages (32 bytes and a
//! length per scalar, 33 and a length per point).
//!
//! Decoding a message is also checking it: a value that this module hands out has the lengths that the engine indexes
//! by, holds no identity point, and is addressed from the authenticated sender to this party. Scalars not below the
//! group order and points off the curve do not decode.
//!
//! | message | round | payload, bytes |
//! |---|---|---|
//! | [`SetupFragment`] | pair setup 1 | 33 |
//! | [`SetupCommitments`] | pair setup 2 | 99 |
//! | [`SetupOpenings`] | pair setup 3 | 147,800 |
//! | [`Multiply`] | signing 1 | 26,800 |
//! | [`TransmitPhase2to3`] | signing 2 | 55,400 |
//! | [`Broadcast3to4`] | signing 3 | 66 |

use dkls23_core::protocols::PartiesMessage;
use dkls23_core::protocols::dkg::{
    BroadcastDerivationPhase2to4, BroadcastDerivationPhase3to4, TransmitInitMulPhase3to4,
    TransmitInitZeroSharePhase2to4, TransmitInitZeroSharePhase3to4,
};
use dkls23_core::protocols::signing::{Broadcast3to4, TransmitPhase1to2, TransmitPhase2to3};
use dkls23_core::utilities::hashes::HashOutput;
use dkls23_core::utilities::multiplication::{L as INPUTS, OT_WIDTH};
use dkls23_core::utilities::ot::extension::{BATCH_SIZE, KAPPA};
use dkls23_core::utilities::proofs::{DLogProof, EncProof, R as REPETITIONS, T as CHALLENGE_BITS};
use k256::Scalar;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use super::{Curve, EngineIndex, engine_index, is_proper};
use crate::ids::{Epoch, PartyIndex};
use crate::protocol::AbortReason;
use crate::protocol::fault::Fault;
use crate::secret::SecretBuffer;

/// A commitment's salt in bytes.
const SALT_BYTES: usize = 64;

/// From whom a message came, and who got it.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// The authenticated sender.
    from: PartyIndex,
    engine_from: EngineIndex,
    engine_to: EngineIndex,
}

impl Route {
    /// The way from `from` to `to`.
    pub fn new(from: PartyIndex, to: PartyIndex) -> Result<Self, Fault> {
        Ok(Self { from, engine_from: engine_index(from)?, engine_to: engine_index(to)? })
    }

    fn matches(&self, parties: &PartiesMessage) -> bool {
        parties.sender == self.engine_from && parties.receiver == self.engine_to
    }
}

/// A message that checks itself.
pub trait Message: Serialize + DeserializeOwned {
    /// The longest encoding, in bytes.
    const MAX_BYTES: usize;

    /// Whether lengths, points and addresses are what the engine takes for granted.
    fn is_well_formed(&self, route: &Route) -> bool;
}

/// Encodes in one allocation of the message's largest size, so that no half-written copy of a secret stays behind.
pub fn encode<M: Message>(message: &M) -> Result<SecretBuffer, Fault> {
    let mut bytes = SecretBuffer::zeroed(M::MAX_BYTES);
    let len = postcard::to_slice(message, &mut bytes).map_err(|_| Fault::engine())?.len();
    bytes.truncate(len);
    Ok(bytes)
}

/// Decodes and checks a message that came over `route`; whatever is wrong with it is the sender's fault.
pub fn decode<M: Message>(bytes: &[u8], route: &Route) -> Result<M, Fault> {
    match postcard::take_from_bytes::<M>(bytes) {
        Ok((message, [])) if message.is_well_formed(route) => Ok(message),
        _ => Err(Fault::by(AbortReason::Malformed, [route.from])),
    }
}

/// Pair setup, round 1: the value of the sender's polynomial at the receiver's index.
#[derive(Serialize, Deserialize)]
pub struct SetupFragment(pub Scalar);

impl Message for SetupFragment {
    const MAX_BYTES: usize = 64;

    fn is_well_formed(&self, _: &Route) -> bool {
        true
    }
}

impl Drop for SetupFragment {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Pair setup, round 2: commitments to the proof of the throw-away key share, the zero-share seed and the chain code.
#[derive(Serialize, Deserialize)]
pub struct SetupCommitments {
    /// To [`SetupOpenings::proof`].
    pub proof: HashOutput,
    /// To [`SetupOpenings::zero`].
    pub zero: TransmitInitZeroSharePhase2to4,
    /// To [`SetupOpenings::chain`].
    pub chain: BroadcastDerivationPhase2to4,
}

impl Message for SetupCommitments {
    const MAX_BYTES: usize = 256;

    fn is_well_formed(&self, route: &Route) -> bool {
        route.matches(&self.zero.parties) && self.chain.sender_index == route.engine_from
    }
}

/// Pair setup, round 3: what was committed to, and the base oblivious transfers of both directions.
#[derive(Serialize, Deserialize)]
pub struct SetupOpenings {
    /// The proof of the throw-away key share.
    pub proof: DLogProof<Curve>,
    /// The sender's half of the zero-share seed.
    pub zero: TransmitInitZeroSharePhase3to4,
    /// The base oblivious transfers.
    pub mul: TransmitInitMulPhase3to4<Curve>,
    /// The sender's half of a chain code that nobody uses.
    pub chain: BroadcastDerivationPhase3to4,
}

impl Message for SetupOpenings {
    const MAX_BYTES: usize = 160 * 1024;

    fn is_well_formed(&self, route: &Route) -> bool {
        route.matches(&self.zero.parties)
            && self.zero.salt.len() == SALT_BYTES
            && route.matches(&self.mul.parties)
            && self.mul.enc_proofs.len() == usize::from(KAPPA)
            && self.mul.enc_proofs.iter().all(is_proper_encryption)
            && is_complete(&self.mul.dlog_proof)
            && is_complete(&self.proof)
            && self.chain.sender_index == route.engine_from
            && self.chain.cc_salt.len() == SALT_BYTES
    }
}

impl Drop for SetupOpenings {
    fn drop(&mut self) {
        self.zero.seed.zeroize();
        self.zero.salt.zeroize();
    }
}

/// Whether a proof of a discrete logarithm has all its repetitions, with challenges of the right length.
fn is_complete(proof: &DLogProof<Curve>) -> bool {
    is_proper(&proof.point)
        && proof.rand_commitments.len() == usize::from(REPETITIONS)
        && proof.rand_commitments.iter().all(is_proper)
        && proof.proofs.len() == usize::from(REPETITIONS)
        && proof.proofs.iter().all(|proof| proof.challenge.len() == usize::from(CHALLENGE_BITS / 8))
}

/// Whether no point of an encryption proof is the identity.
fn is_proper_encryption(proof: &EncProof<Curve>) -> bool {
    [&proof.proof0, &proof.proof1]
        .into_iter()
        .flat_map(|half| [&half.base_g, &half.base_h, &half.point_u, &half.point_v])
        .chain([&proof.commitments0, &proof.commitments1].into_iter().flat_map(|half| [&half.rc_g, &half.rc_h]))
        .all(is_proper)
}

/// Signing, round 1: which pair state the sender uses, its commitment, and its half of an oblivious-transfer extension.
#[derive(Serialize, Deserialize)]
pub struct Multiply {
    /// The epoch of the sender's pair state for the receiver.
    pub epoch: Epoch,
    /// The fingerprint of that state.
    pub fingerprint: [u8; 32],
    /// The engine's message.
    pub inner: TransmitPhase1to2,
}

impl Message for Multiply {
    const MAX_BYTES: usize = 28 * 1024;

    fn is_well_formed(&self, route: &Route) -> bool {
        route.matches(&self.inner.parties)
            && self.inner.mul_transmit.u.len() == usize::from(KAPPA)
            && self.inner.mul_transmit.verify_t.len() == usize::from(KAPPA)
    }
}

/// Signing, round 2: openings, products and their check values.
impl Message for TransmitPhase2to3<Curve> {
    const MAX_BYTES: usize = 56 * 1024;

    fn is_well_formed(&self, route: &Route) -> bool {
        let product = &self.mul_transmit;
        route.matches(&self.parties)
            && [&self.gamma_u, &self.gamma_v, &self.public_share, &self.instance_point].into_iter().all(is_proper)
            && self.salt.len() == SALT_BYTES
            && product.vector_of_tau.len() == usize::from(OT_WIDTH)
            && product.vector_of_tau.iter().all(|row| row.len() == usize::from(BATCH_SIZE))
            && product.verify_u.len() == usize::from(INPUTS)
            && product.gamma_sender.len() == usize::from(INPUTS)
    }
}

/// Signing, round 3: the sender's shares of the denominator and the numerator of s.
impl Message for Broadcast3to4<Curve> {
    const MAX_BYTES: usize = 128;

    fn is_well_formed(&self, _: &Route) -> bool {
        true
    }
}
