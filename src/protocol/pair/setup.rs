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

use super::{PairError, PairFingerprint, PairState};
use crate::ids::{Epoch, PartyIndex, SheetHash};
use crate::protocol::dkls::message::{self, Message, Route, SetupCommitments, SetupFragment, SetupOpenings};
use crate::protocol::dkls::{Curve, EngineIndex, Fault, engine_index, fault_of};
use crate::protocol::slots::Slots;
use crate::protocol::{Abort, Outgoing, Party, Progress, Recipient, RunContext};
use crate::secret::SecretBytes;

const ROUNDS: u8 = 3;
/// Every party of the setup must take part.
const PARTIES: u8 = 2;

/// One side of a pair setup. Compute time per side: 0.3 s, most of it in the second half.
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
    pub fn new(context: &RunContext, epoch: Epoch) -> Result<Self, PairError> {
        let indices = context.parties.iter().map(|party| party.get());
        let peers: Vec<PartyIndex> = context.others().collect();
        let (true, &[peer]) = (indices.eq(1..=PARTIES), peers.as_slice()) else {
            return Err(PairError::Parties);
        };
        let data = SessionData {
            parameters: Parameters::new(PARTIES, PARTIES).map_err(|_| PairError::Parties)?,
            party_index: engine_index(context.me).map_err(|_| PairError::Parties)?,
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

    fn begin(&mut self) -> Result<Outgoing, Fault> {
        if !matches!(self.stage, Stage::Created) {
            return Err(Fault::OURS);
        }
        let points = Zeroizing::new(dkg::phase1::<Curve>(&self.data));
        let fragment = SetupFragment(*value_at(&points, self.peer)?);
        let outgoing = self.say(1, &fragment)?;
        self.stage = Stage::Sharing(points);
        Ok(outgoing)
    }

    /// Works on a complete round.
    fn advance(&mut self, round: u8, payload: &[u8]) -> Result<Step, Fault> {
        let route = Route::new(self.peer, self.me)?;
        self.transcript.hear(payload);
        match (round, mem::replace(&mut self.stage, Stage::Over)) {
            (1, Stage::Sharing(ours)) => self.commit(&ours, &message::decode(payload, &route)?),
            (2, Stage::Committed(ours)) => self.open(ours, message::decode(payload, &route)?),
            (3, Stage::Opened(ours)) => self.finish(&ours, &message::decode(payload, &route)?),
            _ => Err(Fault::OURS),
        }
    }

    fn commit(&mut self, ours: &[Scalar], theirs: &SetupFragment) -> Result<Step, Fault> {
        let fragments = Zeroizing::new(vec![*value_at(ours, self.me)?, theirs.0]);
        let (poly_point, proof, zero, zero_sent, chain, chain_commitment) =
            dkg::phase2::<Curve>(&self.data, &fragments);
        let ours = Committed { poly_point: Zeroizing::new(vec![poly_point]), proof, zero, chain, chain_commitment };
        let said = SetupCommitments {
            proof: ours.proof.commitment,
            zero: zero_sent.into_iter().next().ok_or(Fault::OURS)?,
            chain: ours.chain_commitment.clone(),
        };
        let outgoing = self.say(2, &said)?;
        self.stage = Stage::Committed(Box::new(ours));
        Ok(Step::Say(outgoing))
    }

    fn open(&mut self, ours: Box<Committed>, theirs: SetupCommitments) -> Result<Step, Fault> {
        let (zero, zero_sent, mul, mul_sent, chain) = dkg::phase3::<Curve>(&self.data, &ours.zero, &ours.chain);
        let said = SetupOpenings {
            proof: ours.proof.proof.clone(),
            zero: zero_sent.into_iter().next().ok_or(Fault::OURS)?,
            mul: mul_sent.into_iter().next().ok_or(Fault::OURS)?,
            chain: chain.clone(),
        };
        let opened = Opened { ours, theirs, zero, mul, chain };
        let outgoing = self.say(3, &said)?;
        self.stage = Stage::Opened(Box::new(opened));
        Ok(Step::Say(outgoing))
    }

    fn finish(&mut self, kept: &Opened, theirs: &SetupOpenings) -> Result<Step, Fault> {
        let me = engine_index(self.me)?;
        let peer = engine_index(self.peer)?;
        let their_proof = ProofCommitment { index: peer, proof: theirs.proof.clone(), commitment: kept.theirs.proof };
        let ours = &kept.ours;
        let (mut party, _) = dkg::phase4::<Curve>(
            &self.data,
            ours.poly_point.first().ok_or(Fault::OURS)?,
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
        .map_err(|abort| fault_of(&abort, self.me).among_two(self.peer))?;
        self.keep(&mut party).map(|state| Step::Done(Box::new(state)))
    }

    /// Takes the state out of the engine's result. The key goes down with the rest of it.
    fn keep(&self, party: &mut EngineParty<Curve>) -> Result<PairState, Fault> {
        let (_, sender) = party.mul_senders.pop_first().ok_or(Fault::OURS)?;
        let (_, receiver) = party.mul_receivers.pop_first().ok_or(Fault::OURS)?;
        let seed = party.zero_share.seeds.first().ok_or(Fault::OURS)?;
        let zero_seed = SecretBytes::copy_from(&seed.seed);
        Ok(PairState::new(self.epoch, self.transcript.fingerprint(), sender, receiver, zero_seed))
    }

    fn say<M: Message>(&mut self, round: u8, message: &M) -> Result<Outgoing, Fault> {
        let payload = message::encode(message)?;
        self.transcript.say(&payload);
        Ok(Outgoing { to: Recipient::One(self.peer), round, payload })
    }

    fn end(&mut self, fault: Fault, round: u8) -> Abort {
        self.stage = Stage::Over;
        self.slots.end();
        fault.in_round(round)
    }
}

impl Party for PairSetup {
    type Output = PairState;

    fn start(&mut self) -> Result<Progress<PairState>, Abort> {
        let outgoing = self.begin().map_err(|fault| self.end(fault, 1))?;
        Ok(Progress { send: vec![outgoing], output: None, dropped: None })
    }

    fn receive(&mut self, from: PartyIndex, round: u8, payload: &[u8]) -> Result<Progress<PairState>, Abort> {
        let mut progress = Progress { send: Vec::new(), output: None, dropped: None };
        progress.dropped = self.slots.put(from, round, payload).err();
        loop {
            let round = self.slots.open_round();
            let Some(mut received) = self.slots.take_complete() else { return Ok(progress) };
            let payload = received.remove(&self.peer).unwrap_or_default();
            match self.advance(round, &payload).map_err(|fault| self.end(fault, round))? {
                Step::Say(outgoing) => progress.send.push(outgoing),
                Step::Done(state) => progress.output = Some(*state),
            }
        }
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

/// What a complete round leads to.
enum Step {
    Say(Outgoing),
    Done(Box<PairState>),
}

/// The value at `party`'s index, of values at 1, 2, ...
fn value_at(points: &[Scalar], party: PartyIndex) -> Result<&Scalar, Fault> {
    points.get(usize::from(party.get()).wrapping_sub(1)).ok_or(Fault::OURS)
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
