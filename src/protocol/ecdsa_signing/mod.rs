//! Threshold ECDSA on secp256k1: DKLs23 (eprint 2023/765, protocol 3.6) over FROST shares and standing pair states.
//!
//! ```text
//! round   each of the t signers sends                                          to        bytes
//!   1     pair epoch and fingerprint, commitment to R_i, oblivious transfers   each one  26,800
//!   2     R_i opened, products, check values                                   each one  55,400
//!   3     shares of the numerator and the denominator of s                     all           66
//! ```
//!
//! Every signer ends with the signature: low s, with its recovery id, verified under the key by independent code.
//!
//! What a run is bound to: the sheet's hash (the engine's sign id); the wallet, by the caller's context, its key and
//! its threshold (the engine's session id); the key that signs, the digest, the signer set. A message of rounds 1 and 2 of
//! any other run fails its binding before its content is looked at; one of round 3 spoils the signature.
//!
//! The indices are those of the wallet throughout. A pair state knows none: its setup ran under the indices 1 and 2,
//! and what it left depends on nothing but which side one is on. Where the engine orders the two of a pair (the sign of
//! a zero share, the digest of a pair's setup), it orders them by the wallet's indices on both sides.
//!
//! Two halves of a pair that do not fit are noticed before any transfer is looked at, since what fails there bans. The
//! abort, `PairMismatch`, names the other side, which need not be the one that is out of date: the remedy is a new setup.
//!
//! Who is blamed for what else is the table of the `dkls` module; what does not decode names its sender. The two checks
//! that nobody can be named for, the sum of the public shares and the final signature, say so: try again with other
//! signers, and exclude by elimination.

mod key;
mod stage;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::Arc;

use dkls23_core::protocols::derivation::DerivData;
use dkls23_core::protocols::signing::{Broadcast3to4, SignData, TransmitPhase1to2, TransmitPhase2to3};
use dkls23_core::protocols::{Abort as EngineAbort, Parameters, Party as EngineParty};
use dkls23_core::utilities::zero_shares::ZeroShare;
use k256::Scalar;
use zeroize::Zeroizing;

use self::key::{decode_key, derived_share, session_id, unhex};
use self::stage::{Combining, Multiplying, Opening, Stage};
use crate::ids::{PartyIndex, Scheme, Threshold};
use crate::keys::{PublicKey, Signature};
use crate::protocol::derivation::Derived;
use crate::protocol::dkls::message::{self, Message, Multiply, Route};
use crate::protocol::dkls::{Curve, engine_index, fault_of, scalar};
use crate::protocol::fault::Fault;
use crate::protocol::pair::PairState;
use crate::protocol::rounds::Staged;
use crate::protocol::setup::SetupError;
use crate::protocol::share::KeyShare;
use crate::protocol::slots::{Received, Slots};
use crate::protocol::verify::verify;
use crate::protocol::{Abort, AbortReason, Outgoing, Party, Progress, Recipient, RunContext};
use crate::secret::{SecretBuffer, SecretBytes};
#[cfg(any(test, feature = "testing"))]
use crate::testing::witness::{self, Kind};

const ROUNDS: u8 = 3;
/// The longest payload of a round, in bytes.
const MAX_PAYLOAD_BYTES: usize = <TransmitPhase2to3<Curve> as Message>::MAX_BYTES;

/// One signer's side of one ECDSA signature.
///
/// Compute time of a signer in 2-of-3: 5 ms; it grows with the number of signers (5-of-9: 18 ms). Holds 52 KB of pair state for every
/// other signer from its start to its end.
pub struct EcdsaSigning {
    me: PartyIndex,
    pairs: BTreeMap<PartyIndex, Arc<PairState>>,
    threshold: Threshold,
    session_id: [u8; 32],
    /// The share of the derived key: 32 bytes, big-endian.
    share: SecretBytes,
    key: PublicKey,
    data: SignData,
    slots: Slots,
    stage: Stage,
}

impl EcdsaSigning {
    /// The round whose messages carry the shares of the signature: without them, what went before it is of no use.
    pub const SHARE_ROUND: u8 = ROUNDS;

    /// The run of `context`, whose parties are exactly the t signers by their indices in the wallet: signs `digest` with
    /// `share` under `derived`.
    ///
    /// `pairs` holds the state that this node shares with each other signer's node, by that signer's index; more are
    /// ignored. `wallet` names the wallet and the generation of its key, in any encoding that all signers agree on.
    ///
    /// # Errors
    /// When share, derived key, signers and pairs do not belong together.
    pub fn new(
        context: &RunContext,
        share: &KeyShare,
        pairs: BTreeMap<PartyIndex, Arc<PairState>>,
        derived: &Derived,
        wallet: &[u8],
        digest: [u8; 32],
    ) -> Result<Self, SetupError> {
        let threshold = share.threshold();
        if share.scheme() != Scheme::Ecdsa || derived.public_key.scheme() != Scheme::Ecdsa {
            return Err(SetupError::Scheme);
        }
        let of_committee = |party: &PartyIndex| party.get() <= threshold.parties();
        if !context.parties.contains(&context.me) {
            return Err(SetupError::NotAParticipant);
        }
        if context.me != share.index() {
            return Err(SetupError::WrongShare);
        }
        if context.parties.len() != usize::from(threshold.signers()) || !context.parties.iter().all(of_committee) {
            return Err(SetupError::Committee);
        }
        let mut pairs = pairs;
        pairs.retain(|&party, _| party != context.me && context.parties.contains(&party));
        if let Some(missing) = context.others().find(|party| !pairs.contains_key(party)) {
            return Err(SetupError::MissingPair(missing));
        }
        let derived_share = derived_share(share, derived)?;
        #[cfg(any(test, feature = "testing"))]
        witness::saw(Kind::SigningShare, derived_share.expose());
        let counterparties = context.others().map(engine_index).collect::<Result<_, Fault>>();
        Ok(Self {
            me: context.me,
            pairs,
            threshold,
            session_id: session_id(wallet, share),
            share: derived_share,
            key: derived.public_key,
            data: SignData {
                sign_id: context.session.0.to_vec(),
                counterparties: counterparties.map_err(|_| SetupError::Committee)?,
                message_hash: digest,
            },
            slots: Slots::new(context, ROUNDS, MAX_PAYLOAD_BYTES),
            stage: Stage::Created,
        })
    }

    /// Round 1: who we are to the engine, and our half of the multiplications.
    fn multiply(&mut self) -> Result<Vec<Outgoing>, Fault> {
        if !matches!(self.stage, Stage::Created) {
            return Err(Fault::engine());
        }
        let party = self.engine_party()?;
        let (unique, kept, transmit) = party.sign_phase1(&self.data).map_err(|abort| self.judge(&abort))?;
        #[cfg(any(test, feature = "testing"))]
        saw_scalars(Kind::Nonce, &[&unique.instance_key, &unique.inversion_mask, &unique.zeta]);
        self.stage = Stage::Multiplying(Box::new(Multiplying { party, unique, kept }));
        let send = |inner: TransmitPhase1to2| {
            let to = PartyIndex::try_from(inner.parties.receiver.as_u8()).map_err(|_| Fault::engine())?;
            let pair = self.pairs.get(&to).ok_or_else(Fault::engine)?;
            let message = Multiply { epoch: pair.epoch(), fingerprint: pair.fingerprint().0, inner };
            Ok(Outgoing { to: Recipient::One(to), round: 1, payload: message::encode(&message)? })
        };
        transmit.into_iter().map(send).collect()
    }

    /// Round 2, once everybody's pair state is known to fit ours: a check that fails after that bans.
    fn open(&mut self, mut ours: Box<Multiplying>, received: &Received) -> Result<Vec<Outgoing>, Fault> {
        let messages = self.decode::<Multiply>(received)?;
        for (&from, message) in &messages {
            let pair = self.pairs.get(&from).ok_or_else(Fault::engine)?;
            if message.epoch != pair.epoch() || message.fingerprint != pair.fingerprint().0 {
                return Err(Fault::by(AbortReason::PairMismatch, [from]));
            }
        }
        let messages: Vec<_> = messages.into_values().map(|message| message.inner).collect();
        let (unique, kept) = (ours.take_unique(), mem::take(&mut ours.kept));
        let (unique, kept, transmit) =
            ours.party.sign_phase2(&self.data, unique, kept, &messages).map_err(|abort| self.judge(&abort))?;
        #[cfg(any(test, feature = "testing"))]
        saw_scalars(Kind::SigningShare, &[&unique.key_share]);
        let party = ours.party;
        self.stage = Stage::Opening(Box::new(Opening { party, unique, kept }));
        let send = |message: TransmitPhase2to3<Curve>| {
            let to = PartyIndex::try_from(message.parties.receiver.as_u8()).map_err(|_| Fault::engine())?;
            Ok(Outgoing { to: Recipient::One(to), round: 2, payload: message::encode(&message)? })
        };
        transmit.into_iter().map(send).collect()
    }

    /// Round 3: R is known, and our share of s.
    fn combine(&mut self, mut ours: Box<Opening>, received: &Received) -> Result<Outgoing, Fault> {
        let messages: Vec<_> = self.decode::<TransmitPhase2to3<Curve>>(received)?.into_values().collect();
        let (unique, kept) = (ours.take_unique(), mem::take(&mut ours.kept));
        let (r, share) =
            ours.party.sign_phase3(&self.data, unique, kept, &messages).map_err(|abort| self.judge(&abort))?;
        let payload = message::encode(&share)?;
        self.stage = Stage::Combining(Box::new(Combining { party: ours.party, r, share }));
        Ok(Outgoing { to: Recipient::All, round: 3, payload })
    }

    /// The signature, checked by code that the engine has no part in.
    fn finish(&self, ours: &Combining, received: &Received) -> Result<Signature, Fault> {
        let mut shares: Vec<_> = self.decode::<Broadcast3to4<Curve>>(received)?.into_values().collect();
        shares.push(ours.share.clone());
        let (s, recovery) =
            ours.party.sign_phase4(&self.data, &ours.r, &shares, true).map_err(|abort| self.judge(&abort))?;
        let (r, s) = (unhex(&ours.r).ok_or_else(Fault::engine)?, unhex(&s).ok_or_else(Fault::engine)?);
        let signature = Signature::Ecdsa { r, s, recovery };
        verify(&self.key, &self.data.message_hash, None, &signature)
            .map_err(|_| Fault::by(AbortReason::InvalidSignature, []))?;
        Ok(signature)
    }

    /// The engine's view of this signer: the share, and for each other signer what the two nodes have in common.
    fn engine_party(&self) -> Result<Box<EngineParty<Curve>>, Fault> {
        let bytes = Zeroizing::new(<[u8; 32]>::try_from(self.share.expose()).map_err(|_| Fault::engine())?);
        let pk = decode_key(&self.key).ok_or_else(Fault::engine)?;
        let (mut mul_senders, mut mul_receivers, mut seeds) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        // At its final size: a vector that grows leaves seeds behind.
        seeds.reserve_exact(self.pairs.len());
        for (&party, pair) in &self.pairs {
            let (sender, receiver) = pair.transfers();
            mul_senders.insert(engine_index(party)?, sender);
            mul_receivers.insert(engine_index(party)?, receiver);
            seeds.push(pair.seed_between(self.me, party)?);
        }
        Ok(Box::new(EngineParty {
            parameters: Parameters::new(self.threshold.signers(), self.threshold.parties())
                .map_err(|_| Fault::engine())?,
            party_index: engine_index(self.me)?,
            session_id: self.session_id.to_vec(),
            poly_point: scalar(&bytes).ok_or_else(Fault::engine)?,
            pk,
            zero_share: ZeroShare::initialize(seeds),
            mul_senders,
            mul_receivers,
            // Derivation is done before: the engine hashes the key that signs, and that tells children apart.
            derivation_data: DerivData {
                depth: 0,
                child_number: 0,
                parent_fingerprint: [0; 4],
                poly_point: Scalar::ZERO,
                pk,
                chain_code: [0; 32],
            },
            address: String::new(),
        }))
    }

    fn decode<M: Message>(&self, received: &Received) -> Result<BTreeMap<PartyIndex, M>, Fault> {
        let decode = |(&from, payload): (&PartyIndex, &SecretBuffer)| {
            Ok((from, message::decode(payload, &Route::new(from, self.me)?)?))
        };
        received.iter().map(decode).collect()
    }

    fn judge(&self, abort: &EngineAbort) -> Fault {
        fault_of(abort, self.me)
    }
}

impl Staged for EcdsaSigning {
    type Output = Signature;

    fn slots(&mut self) -> &mut Slots {
        &mut self.slots
    }

    fn is_started(&self) -> bool {
        !matches!(self.stage, Stage::Created)
    }

    fn step(&mut self, received: &Received) -> Result<Progress<Signature>, Fault> {
        match mem::replace(&mut self.stage, Stage::Over) {
            Stage::Multiplying(ours) => self.open(ours, received).map(say),
            Stage::Opening(ours) => self.combine(ours, received).map(|outgoing| say(vec![outgoing])),
            Stage::Combining(ours) => {
                Ok(Progress { output: Some(self.finish(&ours, received)?), ..Progress::default() })
            }
            Stage::Created | Stage::Over => Err(Fault::engine()),
        }
    }
}

#[cfg(any(test, feature = "testing"))]
fn saw_scalars(kind: Kind, scalars: &[&Scalar]) {
    scalars.iter().for_each(|scalar| witness::saw(kind, &Zeroizing::new(scalar.to_bytes())));
}

/// A step that leads to messages.
fn say(send: Vec<Outgoing>) -> Progress<Signature> {
    Progress { send, ..Progress::default() }
}

impl Party for EcdsaSigning {
    type Output = Signature;

    fn start(&mut self) -> Result<Progress<Signature>, Abort> {
        let first = self.multiply().map(say);
        self.begin(first)
    }

    fn receive(&mut self, from: PartyIndex, round: u8, payload: &[u8]) -> Result<Progress<Signature>, Abort> {
        self.take(from, round, payload)
    }

    fn round(&self) -> u8 {
        self.slots.open_round().min(ROUNDS)
    }

    fn awaited(&self) -> BTreeSet<PartyIndex> {
        self.slots.awaited()
    }

    fn max_payload_bytes(&self) -> usize {
        self.slots.max_payload_bytes()
    }
}
