//! Signing with a shared Ed25519 or BIP-340 key: FROST (RFC 9591), two rounds among exactly t parties.
//!
//! | round | to | carries |
//! |---|---|---|
//! | 1 | all | commitments to two fresh nonces |
//! | 2 | all | the signature share, and the digests of the commitments seen in round 1 |
//!
//! Every signer puts the signature together and checks it with independent code; there is no distinguished aggregator.
//!
//! The digests are there for blame. A share depends on all commitments: had a signer sent two different ones, the shares
//! of the honest would fail for each other. So tables are compared first, by the rules of the echo module, and only where
//! all are equal does a share that fails name its sender.
//!
//! The key that signs is the wallet's key or one derived from it, and for taproot possibly tweaked (BIP-341): the same
//! scalar is added to the key, to each verifying share and to each signing share, which moves the constant term of the
//! polynomial alone. Nonces are drawn when the run starts, used once, and wiped at whatever end.

mod signer;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use self::signer::{Committed, Signed, Signer};
use super::derivation::Derived;
use super::echo::{self, Digest, Table};
use super::fault::Fault;
use super::rng::EngineRng;
use super::rounds::{Staged, broadcast, decode_all};
use super::setup::SetupError;
use super::share::KeyShare;
use super::slots::{Received, Slots};
use super::verify::verify;
use super::{Abort, AbortReason, Party, Progress, RunContext};
use crate::ids::PartyIndex;
use crate::keys::{PublicKey, Signature, TapTweak};
use crate::wire::sheet::MAX_MESSAGE_BYTES;

const COMMITMENTS_DOMAIN: &str = "quorate/frost-signing/commitments/v1";
const ROUNDS: u8 = 2;
/// The largest payload, in bytes: a table of 32 digests (1.1 KiB), and room.
const MAX_PAYLOAD_BYTES: usize = 2 * 1024;

/// Round 1, to all.
#[derive(Serialize, Deserialize)]
struct NonceCommitments {
    /// FROST's encoding.
    commitments: ByteBuf,
}

/// Round 2, to all.
#[derive(Serialize, Deserialize)]
struct PartialSignature {
    /// FROST's encoding: 32 bytes.
    share: ByteBuf,
    /// The commitments seen in round 1, by signer.
    seen: Table,
}

/// One party's side of one signature.
pub struct FrostSigning {
    context: RunContext,
    rng: Box<dyn EngineRng>,
    /// What the signature is checked against.
    key: PublicKey,
    message: Vec<u8>,
    tweak: Option<TapTweak>,
    slots: Slots,
    stage: Stage,
}

/// What a signer holds while a round is open.
enum Stage {
    /// Not started.
    Ready(Box<dyn Signer>),
    /// Round 1: the own commitments' digest.
    Committed(Box<dyn Committed>, Digest),
    /// Round 2: what was seen in round 1.
    Signed(Box<dyn Signed>, Table),
    /// Over.
    Ended,
}

type Step = Progress<Signature>;

impl FrostSigning {
    /// The round whose messages carry the shares of the signature: what went before it says nothing of the message.
    pub const SHARE_ROUND: u8 = ROUNDS;

    /// Prepares to sign `message` with the key of `share`, derived as `derived` says and tweaked by `tweak`: without a
    /// tweak, the derived key itself signs.
    ///
    /// # Errors
    /// When the scheme is ECDSA; when the signers are not exactly t of 1 to n, this party among them and the share its
    /// own; when `derived` is not derived from the share's key; when the key is tweaked and no taproot key; when the
    /// message is longer than 64 KiB.
    pub fn new(
        context: RunContext,
        share: &KeyShare,
        derived: &Derived,
        message: Vec<u8>,
        tweak: Option<TapTweak>,
        rng: Box<dyn EngineRng>,
    ) -> Result<Self, SetupError> {
        if !context.parties.contains(&context.me) {
            return Err(SetupError::NotAParticipant);
        }
        let threshold = share.threshold();
        let members = context.parties.iter().all(|party| party.get() <= threshold.parties());
        if !members || context.parties.len() != usize::from(threshold.signers()) {
            return Err(SetupError::Committee);
        }
        if share.index() != context.me {
            return Err(SetupError::WrongShare);
        }
        if message.len() > MAX_MESSAGE_BYTES {
            return Err(SetupError::MessageTooLong);
        }
        let signer = signer::prepare(&context, share, derived, message.clone(), tweak)?;
        let slots = Slots::new(&context, ROUNDS, MAX_PAYLOAD_BYTES);
        Ok(Self { context, rng, key: derived.public_key, message, tweak, slots, stage: Stage::Ready(signer) })
    }

    /// Start: draw nonces and commit to them.
    fn commit(&mut self, signer: Box<dyn Signer>) -> Result<Step, Fault> {
        let (signer, commitments) = signer.commit(&mut *self.rng)?;
        let own = echo::digest(COMMITMENTS_DOMAIN, &self.context, self.context.me, &commitments);
        self.stage = Stage::Committed(signer, own);
        broadcast(1, &NonceCommitments { commitments: ByteBuf::from(commitments) }, MAX_PAYLOAD_BYTES)
    }

    /// After round 1: use the nonces up.
    fn sign(&mut self, signer: Box<dyn Committed>, own: Digest, received: &Received) -> Result<Step, Fault> {
        let messages = decode_all::<NonceCommitments>(received, MAX_PAYLOAD_BYTES, |_| true)?;
        let mut seen = BTreeMap::from([(self.context.me, own)]);
        for (&party, message) in &messages {
            seen.insert(party, echo::digest(COMMITMENTS_DOMAIN, &self.context, party, &message.commitments));
        }
        let borrowed = messages.iter().map(|(&party, message)| (party, message.commitments.as_slice()));
        let (signer, share) = signer.sign(&borrowed.collect())?;
        let seen = Table::new(&seen);
        let message = PartialSignature { share: ByteBuf::from(share), seen: seen.clone() };
        self.stage = Stage::Signed(signer, seen);
        broadcast(2, &message, MAX_PAYLOAD_BYTES)
    }

    /// After round 2: all must have seen the same commitments; then the shares make a signature or name who cheated.
    fn aggregate(&self, signer: Box<dyn Signed>, seen: &Table, received: &Received) -> Result<Step, Fault> {
        let messages = decode_all::<PartialSignature>(received, MAX_PAYLOAD_BYTES, |message| {
            message.seen.is_for(&self.context.parties)
        })?;
        let tables = messages.iter().map(|(&party, message)| (party, message.seen.clone())).collect();
        let corruptible = self.context.parties.len().saturating_sub(1);
        echo::compare(seen, &tables, &self.context.parties, self.context.me, corruptible)?;
        let borrowed = messages.iter().map(|(&party, message)| (party, message.share.as_slice()));
        let signature = signer.aggregate(&borrowed.collect())?;
        verify(&self.key, &self.message, self.tweak, &signature)
            .map_err(|_| Fault::by(AbortReason::InvalidSignature, []))?;
        Ok(Step { output: Some(signature), ..Step::default() })
    }
}

impl Staged for FrostSigning {
    type Output = Signature;

    fn slots(&mut self) -> &mut Slots {
        &mut self.slots
    }

    fn is_started(&self) -> bool {
        !matches!(self.stage, Stage::Ready(_))
    }

    /// Leaves one stage for the next. On a fault the stage stays [`Stage::Ended`]: what it held is dropped, and wiped.
    fn step(&mut self, received: &Received) -> Result<Step, Fault> {
        match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::Committed(signer, own) => self.sign(signer, own, received),
            Stage::Signed(signer, seen) => self.aggregate(signer, &seen, received),
            Stage::Ready(_) | Stage::Ended => Err(Fault::engine()),
        }
    }
}

impl Party for FrostSigning {
    type Output = Signature;

    fn start(&mut self) -> Result<Step, Abort> {
        let signer = match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::Ready(signer) => signer,
            started => {
                self.stage = started;
                return Ok(Step::default());
            }
        };
        let first = self.commit(signer);
        self.begin(first)
    }

    fn receive(&mut self, from: PartyIndex, round: u8, payload: &[u8]) -> Result<Step, Abort> {
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
