//! The protocol that gives two nodes their pair state: DKLs23's key generation for two (eprint 2023/602, protocol 9.1,
//! with the initialisation of eprint 2023/765, functionalities 3.4 and 3.5), whose key is thrown away.
//!
//! ```text
//! round   each sends to the other
//!   1     a value of its random polynomial
//!   2     commitments: proof of its key share, zero-share seed, chain code
//!   3     openings of those, and the base oblivious transfers of both directions (148 KB)
//! ```
//!
//! A run that fails leaves nothing behind that could be used again, so nobody is banned for it. With two parties
//! whatever is wrong is the other's doing: every abort names it, except for failures on this side.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use dkls23_core::protocols::dkg::{
    self, BroadcastDerivationPhase2to4, BroadcastDerivationPhase3to4, KeepInitMulPhase3to4, KeepInitZeroSharePhase2to3,
    KeepInitZeroSharePhase3to4, ProofCommitment, SessionData,
};
use dkls23_core::protocols::{Parameters, Party as EngineParty};
use k256::Scalar;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use super::{PairFingerprint, PairState};
use crate::ids::{Epoch, PartyIndex, SheetHash};
use crate::protocol::dkls::message::{self, Message, Route, SetupCommitments, SetupFragment, SetupOpenings};
use crate::protocol::dkls::{Curve, EngineIndex, engine_index, fault_among_two};
use crate::protocol::fault::Fault;
use crate::protocol::rounds::Staged;
use crate::protocol::setup::SetupError;
use crate::protocol::slots::{Received, Slots};
use crate::protocol::{Abort, Outgoing, Party, Progress, Recipient, RunContext};
use crate::secret::SecretBytes;
#[cfg(any(test, feature = "testing"))]
use crate::testing::witness::{self, Kind};

const ROUNDS: u8 = 3;
/// Every party of the setup must take part.
const PARTIES: u8 = 2;

/// One side of a pair setup. Compute time per side: 0.4 s, most of it in the second half.
pub struct PairSetup {
    me: PartyIndex,
    peer: PartyIndex,
    epoch: Epoch,
    slots: Slots,
    data: SessionData,
    transcript: Transcript,
    stage: Stage,
}

/// What is kept while the open round is waited for.
enum Stage {
    Created,
    /// Round 1 is open: our polynomial's values at 1 and 2.
    Sharing(Zeroizing<Vec<Scalar>>),
    /// Round 2 is open.
    Committed(Box<Committed>),
    /// Round 3 is open.
    Opened(Box<Opened>),
    Over,
}

/// Ours, from round 2 on.
struct Committed {
    /// One scalar, on the heap.
    poly_point: Zeroizing<Vec<Scalar>>,
    proof: ProofCommitment<Curve>,
    zero: BTreeMap<EngineIndex, KeepInitZeroSharePhase2to3>,
    chain: dkg::UniqueKeepDerivationPhase2to3,
    chain_commitment: BroadcastDerivationPhase2to4,
}

impl Drop for Committed {
    fn drop(&mut self) {
        for kept in self.zero.values_mut() {
            kept.seed.zeroize();
            kept.salt.zeroize();
        }
    }
}

/// Ours and what the other committed to, in round 3.
struct Opened {
    ours: Box<Committed>,
    theirs: SetupCommitments,
    zero: BTreeMap<EngineIndex, KeepInitZeroSharePhase3to4>,
    mul: BTreeMap<EngineIndex, KeepInitMulPhase3to4<Curve>>,
    chain: BroadcastDerivationPhase3to4,
}

impl Drop for Opened {
    fn drop(&mut self) {
        for kept in self.zero.values_mut() {
            kept.seed.zeroize();
        }
        for kept in self.mul.values_mut() {
            kept.ot_sender.s.zeroize();
            kept.correlation.zeroize();
            kept.vec_r.zeroize();
        }
    }
}

impl PairSetup {
    /// A run between the parties 1 and 2 of `context`, whose state gets the number `epoch`.
    ///
    /// # Errors
    /// When the parties are not 1 and 2, or this party is neither.
    pub fn new(context: &RunContext, epoch: Epoch) -> Result<Self, SetupError> {
        if !context.parties.contains(&context.me) {
            return Err(SetupError::NotAParticipant);
        }
        let indices = context.parties.iter().map(|party| party.get());
        let peers: Vec<PartyIndex> = context.others().collect();
        let (true, &[peer]) = (indices.eq(1..=PARTIES), peers.as_slice()) else {
            return Err(SetupError::Committee);
        };
        let data = SessionData {
            parameters: Parameters::new(PARTIES, PARTIES).map_err(|_| SetupError::Committee)?,
            party_index: engine_index(context.me).map_err(|_| SetupError::Committee)?,
            session_id: context.session.0.to_vec(),
        };
        Ok(Self {
            me: context.me,
            peer,
            epoch,
            slots: Slots::new(context, ROUNDS, SetupOpenings::MAX_BYTES),
            data,
            transcript: Transcript::new(context.session, epoch, context.me < peer),
            stage: Stage::Created,
        })
    }

    fn share(&mut self) -> Result<Progress<PairState>, Fault> {
        if !matches!(self.stage, Stage::Created) {
            return Err(Fault::engine());
        }
        let points = Zeroizing::new(dkg::phase1::<Curve>(&self.data));
        #[cfg(any(test, feature = "testing"))]
        saw_scalars(&points);
        let fragment = SetupFragment(*value_at(&points, self.peer)?);
        let outgoing = self.say(1, &fragment)?;
        self.stage = Stage::Sharing(points);
        Ok(outgoing)
    }

    fn commit(&mut self, ours: &[Scalar], theirs: &SetupFragment) -> Result<Progress<PairState>, Fault> {
        let fragments = Zeroizing::new(vec![*value_at(ours, self.me)?, theirs.0]);
        let (poly_point, proof, zero, zero_sent, chain, chain_commitment) =
            dkg::phase2::<Curve>(&self.data, &fragments);
        let ours = Committed { poly_point: Zeroizing::new(vec![poly_point]), proof, zero, chain, chain_commitment };
        #[cfg(any(test, feature = "testing"))]
        saw_scalars(&ours.poly_point);
        let said = SetupCommitments {
            proof: ours.proof.commitment,
            zero: zero_sent.into_iter().next().ok_or_else(Fault::engine)?,
            chain: ours.chain_commitment.clone(),
        };
        let outgoing = self.say(2, &said)?;
        self.stage = Stage::Committed(Box::new(ours));
        Ok(outgoing)
    }

    fn open(&mut self, ours: Box<Committed>, theirs: SetupCommitments) -> Result<Progress<PairState>, Fault> {
        let (zero, mut zero_sent, mul, mul_sent, chain) = dkg::phase3::<Curve>(&self.data, &ours.zero, &ours.chain);
        let said = SetupOpenings {
            proof: ours.proof.proof.clone(),
            zero: zero_sent.first().cloned().ok_or_else(Fault::engine)?,
            mul: mul_sent.into_iter().next().ok_or_else(Fault::engine)?,
            chain: chain.clone(),
        };
        for sent in &mut zero_sent {
            sent.seed.zeroize();
            sent.salt.zeroize();
        }
        #[cfg(any(test, feature = "testing"))]
        for kept in mul.values() {
            saw_scalars(&[kept.ot_sender.s]);
            saw_scalars(kept.vec_r.get(..2).unwrap_or_default());
        }
        let opened = Opened { ours, theirs, zero, mul, chain };
        let outgoing = self.say(3, &said)?;
        self.stage = Stage::Opened(Box::new(opened));
        Ok(outgoing)
    }

    fn finish(&mut self, kept: &Opened, theirs: &SetupOpenings) -> Result<Progress<PairState>, Fault> {
        let me = engine_index(self.me)?;
        let peer = engine_index(self.peer)?;
        let their_proof = ProofCommitment { index: peer, proof: theirs.proof.clone(), commitment: kept.theirs.proof };
        let ours = &kept.ours;
        let (mut party, _) = dkg::phase4::<Curve>(
            &self.data,
            ours.poly_point.first().ok_or_else(Fault::engine)?,
            &[ours.proof.clone(), their_proof],
            &kept.zero,
            std::slice::from_ref(&kept.theirs.zero),
            std::slice::from_ref(&theirs.zero),
            &kept.mul,
            std::slice::from_ref(&theirs.mul),
            &BTreeMap::from([(me, ours.chain_commitment.clone()), (peer, kept.theirs.chain.clone())]),
            &BTreeMap::from([(me, kept.chain.clone()), (peer, theirs.chain.clone())]),
            |_| String::new(),
        )
        .map_err(|abort| fault_among_two(&abort, self.me, self.peer))?;
        Ok(Progress { output: Some(self.keep(&mut party)?), ..Progress::default() })
    }

    /// Takes the state out of the engine's result. The key goes down with the rest of it.
    fn keep(&self, party: &mut EngineParty<Curve>) -> Result<PairState, Fault> {
        let (_, sender) = party.mul_senders.pop_first().ok_or_else(Fault::engine)?;
        let (_, receiver) = party.mul_receivers.pop_first().ok_or_else(Fault::engine)?;
        let seed = party.zero_share.seeds.first().ok_or_else(Fault::engine)?;
        let zero_seed = SecretBytes::copy_from(&seed.seed);
        Ok(PairState::new(self.epoch, self.transcript.fingerprint(), sender, receiver, zero_seed))
    }

    fn say<M: Message>(&mut self, round: u8, message: &M) -> Result<Progress<PairState>, Fault> {
        let payload = message::encode(message)?;
        self.transcript.say(&payload);
        let outgoing = Outgoing { to: Recipient::One(self.peer), round, payload };
        Ok(Progress { send: vec![outgoing], ..Progress::default() })
    }
}

impl Staged for PairSetup {
    type Output = PairState;

    fn slots(&mut self) -> &mut Slots {
        &mut self.slots
    }

    fn is_started(&self) -> bool {
        !matches!(self.stage, Stage::Created)
    }

    fn step(&mut self, received: &Received) -> Result<Progress<PairState>, Fault> {
        let payload = received.get(&self.peer).ok_or_else(Fault::engine)?;
        let route = Route::new(self.peer, self.me)?;
        self.transcript.hear(payload);
        match mem::replace(&mut self.stage, Stage::Over) {
            Stage::Sharing(ours) => self.commit(&ours, &message::decode(payload, &route)?),
            Stage::Committed(ours) => self.open(ours, message::decode(payload, &route)?),
            Stage::Opened(ours) => self.finish(&ours, &message::decode(payload, &route)?),
            Stage::Created | Stage::Over => Err(Fault::engine()),
        }
    }
}

impl Party for PairSetup {
    type Output = PairState;

    fn start(&mut self) -> Result<Progress<PairState>, Abort> {
        let first = self.share();
        self.begin(first)
    }

    fn receive(&mut self, from: PartyIndex, round: u8, payload: &[u8]) -> Result<Progress<PairState>, Abort> {
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

#[cfg(any(test, feature = "testing"))]
fn saw_scalars(scalars: &[Scalar]) {
    scalars.iter().for_each(|scalar| witness::saw(Kind::PairSetup, &Zeroizing::new(scalar.to_bytes())));
}

/// The value at `party`'s index, of values at 1, 2, ...
fn value_at(points: &[Scalar], party: PartyIndex) -> Result<&Scalar, Fault> {
    points.get(usize::from(party.get()).wrapping_sub(1)).ok_or_else(Fault::engine)
}

/// All that was said in a setup, in the same order on both sides.
struct Transcript {
    hash: Sha256,
    first: bool,
    said: [u8; 32],
}

impl Transcript {
    /// Of the setup `session` for `epoch`; `first` says whether this party's messages stand before the other's.
    fn new(session: SheetHash, epoch: Epoch, first: bool) -> Self {
        let hash =
            Sha256::new_with_prefix(b"quorate/pair/v1").chain_update(session.0).chain_update(epoch.0.to_be_bytes());
        Self { hash, first, said: [0; 32] }
    }

    /// Adds this party's message of the open round.
    fn say(&mut self, payload: &[u8]) {
        self.said = Sha256::digest(payload).into();
    }

    /// Adds the other's message of the open round, which completes it.
    fn hear(&mut self, payload: &[u8]) {
        let heard: [u8; 32] = Sha256::digest(payload).into();
        let (first, second) = if self.first { (self.said, heard) } else { (heard, self.said) };
        self.hash.update(first);
        self.hash.update(second);
    }

    fn fingerprint(&self) -> PairFingerprint {
        PairFingerprint(self.hash.clone().finalize().into())
    }
}
