//! Signing: from a client's request to one signature that verifies, or one typed failure.
//!
//! ```text
//! client ─Sign─▶ signing (coordinator)                          signing (participant)
//!                 │ policy, record, admission                     │
//!                 │ quorum, sheet ───────── Propose ────────────▶ │ checks everything itself
//!                 │ session ◀════════ rounds (sessions) ════════▶ │ session
//!                 │   the last round is held until this node's admission record is durable, and until the signers of an
//!                 │   earlier session for the same request have said that it is over
//!                 │ verify, store, answer                         │ store
//! ```
//!
//! One node coordinates each session; any node can, and it has no power but to start it. Requests are known by wallet
//! and request id: see [`admission`](self::RequestKey). When two nodes coordinate the same request at once, the one
//! with the lower id goes on and the other joins it, so that both clients get the same signature.

mod actor;
mod admission;
mod answers;
mod check;
mod coordinate;
mod inquiry;
mod prepare;
mod requests;
mod taking_part;
#[cfg(test)]
mod tests;
mod unasked;
mod wallets;
mod work;

pub use actor::{SigningActor, SigningMsg, SigningSnapshot};
pub use admission::{Admission, AdmissionRecord, Again, Attempted, RequestKey, admit};
pub use check::{MAX_DEADLINE_AHEAD_MS, check_against_record, check_against_request, check_frame};
pub use prepare::SigningArgs;
pub(crate) use unasked::unasked_party;

use crate::ids::SheetHash;
use crate::keys::{PublicKey, Signature};

/// What a node does when a session fails because of a peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnPeerFailure {
    /// Report it to the client.
    #[default]
    Abort,
    /// Start a fresh session without the culprits, while a quorum and the deadline remain.
    Retry,
}

/// A request's successful end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The signature.
    pub signature: Signature,
    /// The key that it verifies under: the wallet's, or the derived child's. A taproot tweak is not applied to it.
    pub public_key: PublicKey,
    /// The session that made it, if it was made just now; `None` if it was stored.
    pub session: Option<SheetHash>,
}
