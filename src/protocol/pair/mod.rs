//! What two nodes share before they can sign with ECDSA together, and the protocol that gives it to them.
//!
//! DKLs23 multiplies secrets by oblivious transfer. The costly part of it, the base oblivious transfers, depends on
//! the two nodes and on no key: it is run once per pair of nodes and serves every wallet they hold together.
//!
//! ```text
//!   PairSetup (node A, index 1) ◀── 3 rounds ──▶ PairSetup (node B, index 2)
//!        │                                            │
//!        ▼                                            ▼
//!   PairState (A's half) ── same epoch and fingerprint ── PairState (B's half)
//! ```
//!
//! Why sharing it is sound: the two-party multiplication and the zero sharing of DKLs23 (eprint 2023/765, sections 3
//! and 5) are functionalities that are called by session id and know nothing of the signing key. The engine hashes
//! wallet, key, digest, signer set, direction and a fresh nonce into each of those ids. What follows for whoever holds
//! a state:
//!
//! - A ban concerns the pair, for every wallet: a peer that may try the checks again and again learns the state.
//! - Both sides use the same epoch of it; each side's half of an old one is replaced when its half of the new one is durable.
//! - A state is never shared with a third node and never used with any other counterparty.

mod setup;
mod state;
#[cfg(any(test, feature = "testing"))]
pub mod testbed;
#[cfg(test)]
mod tests;

pub use setup::PairSetup;
pub use state::{PairFingerprint, PairState};

use crate::error::Code;

/// Why a pair state cannot be stored or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PairError {
    /// The stored bytes are no pair state, are damaged, or of a version that this program does not know.
    #[error("failed to read a stored pair state")]
    Damaged,
    /// The state cannot be encoded.
    #[error("failed to encode a pair state")]
    Encode,
}

impl PairError {
    /// The stable code of the error.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::Damaged => Code::DataCorruption,
            Self::Encode => Code::Internal,
        }
    }
}
