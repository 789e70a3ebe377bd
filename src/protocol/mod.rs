//! The threshold engines, without I/O: no runtime, no clock, no global random source.
//!
//! Every run of every protocol is a [`Party`]: a value that takes messages and answers with messages, until it is done
//! or aborts. Whoever drives it (an actor, a test, an adversary) carries the messages; the engine checks everything
//! that is in them and trusts nothing about them but the sender, which the driver must have authenticated.
//!
//! ```text
//!            start()                       receive(from, round, payload)
//!   driver ───────────▶ Party ──▶ Progress { send, output }   ──▶ ... ──▶ Output
//!                             └─▶ Abort { reason, round, culprits, ban }
//! ```

mod confirmation;
pub mod derivation;
mod dkls;
pub mod ecdsa_signing;
mod echo;
mod fault;
pub mod frost_signing;
pub mod keygen;
pub mod pair;
pub mod reshare;
pub mod rng;
mod rounds;
pub mod setup;
pub mod share;
pub mod slots;
#[cfg(any(test, feature = "testing"))]
pub mod testbed;
pub mod verify;

use std::collections::BTreeSet;

use crate::error::Code;
use crate::ids::{PartyIndex, SheetHash};
use crate::secret::SecretBuffer;

/// What a run is bound to, whatever its protocol: the session, this party, and all parties (this one included).
#[derive(Debug, Clone)]
pub struct RunContext {
    /// The hash of the session's sheet. Every transcript, proof and message of the run is bound to it.
    pub session: SheetHash,
    /// This party.
    pub me: PartyIndex,
    /// Everyone who takes part, this party included; sorted and free of duplicates by construction.
    pub parties: BTreeSet<PartyIndex>,
}

impl RunContext {
    /// Everyone else.
    pub fn others(&self) -> impl Iterator<Item = PartyIndex> + '_ {
        self.parties.iter().copied().filter(|&party| party != self.me)
    }
}

/// Who gets a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipient {
    /// Every other party, the same bytes each.
    All,
    /// One party.
    One(PartyIndex),
}

/// A message for the driver to deliver.
#[derive(Clone)]
pub struct Outgoing {
    /// Who gets it.
    pub to: Recipient,
    /// The round it belongs to, from 1.
    pub round: u8,
    /// Its bytes: some rounds carry secret shares, so all are wiped after use.
    pub payload: SecretBuffer,
}

/// Why a message was not taken. Dropping never ends the run: anybody could have sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Dropped {
    /// The sender does not take part in the run, or is this party itself.
    #[error("sender takes no part in the session")]
    NotAParticipant,
    /// The round is over, or not a round of this protocol.
    #[error("message is for no round that is open")]
    WrongRound,
    /// The sender's slot in that round is taken already.
    #[error("second message of one sender in one round")]
    SlotTaken,
    /// The payload is larger than any message of this protocol.
    #[error("message is larger than the protocol's limit")]
    TooLarge,
    /// The run is over.
    #[error("session has ended")]
    Ended,
}

/// What a step of a run led to. The default is nothing.
pub struct Progress<O> {
    /// Messages to deliver, in order.
    pub send: Vec<Outgoing>,
    /// The output: then the run is over, and `send` holds its last messages.
    pub output: Option<O>,
    /// Set when the message was not taken.
    pub dropped: Option<Dropped>,
}

impl<O> Default for Progress<O> {
    fn default() -> Self {
        Self { send: Vec::new(), output: None, dropped: None }
    }
}

/// Why a run ended without an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AbortReason {
    /// A message does not decode, or a value in it is not allowed (identity, off curve, out of range, wrong degree).
    #[error("malformed message")]
    Malformed,
    /// A proof, commitment, opening or share does not verify.
    #[error("failed to verify a proof, commitment or share")]
    InvalidProof,
    /// Participants saw different broadcasts.
    #[error("participants disagree on what was broadcast")]
    Equivocation,
    /// The two sides hold different epochs of their pair setup.
    #[error("pair setup epochs differ")]
    PairMismatch,
    /// Cheating in the oblivious transfer or multiplication checks: the pair must be banned.
    #[error("cheating in the oblivious transfer checks")]
    ObliviousTransfer,
    /// The final signature does not verify, and nobody can be named.
    #[error("signature does not verify")]
    InvalidSignature,
    /// The engine failed on our own side.
    #[error("engine failure")]
    Engine,
}

impl AbortReason {
    /// The stable code of the reason.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::Malformed | Self::InvalidProof | Self::ObliviousTransfer => Code::ProtocolViolation,
            Self::Equivocation => Code::Equivocation,
            Self::PairMismatch => Code::PairMismatch,
            Self::InvalidSignature => Code::SignatureVerification,
            Self::Engine => Code::Internal,
        }
    }
}

/// The end of a run without an output. The engine's state is of no further use and is wiped when dropped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason} in round {round}, culprits {culprits:?}")]
pub struct Abort {
    /// Why.
    pub reason: AbortReason,
    /// The round in which it was noticed.
    pub round: u8,
    /// Who did it; empty where the protocol cannot tell.
    pub culprits: BTreeSet<PartyIndex>,
    /// Those with whom this node must never run ECDSA again, until an operator lifts it. The ban must be durable before
    /// anything else is answered.
    pub ban: BTreeSet<PartyIndex>,
}

/// One party's side of one run of one protocol.
///
/// All calls may compute for milliseconds: drive them from a blocking thread. After an abort or an output the value
/// answers every message with [`Dropped::Ended`].
pub trait Party: Send {
    /// What the run is for.
    type Output;

    /// The first messages. Called once, before any `receive`.
    ///
    /// # Errors
    /// When the engine fails on its own side.
    fn start(&mut self) -> Result<Progress<Self::Output>, Abort>;

    /// Takes one message. `from` must be authenticated by the caller. Messages of a later round may come early; each
    /// sender has one slot per round.
    ///
    /// # Errors
    /// When the message proves a failure that ends the run.
    fn receive(&mut self, from: PartyIndex, round: u8, payload: &[u8]) -> Result<Progress<Self::Output>, Abort>;

    /// The open round, from 1.
    fn round(&self) -> u8;

    /// Whose messages the open round still waits for: the culprits, should the deadline pass now.
    fn awaited(&self) -> BTreeSet<PartyIndex>;

    /// The largest payload any message of this protocol may have, in bytes.
    fn max_payload_bytes(&self) -> usize;
}
