//! What the actor's tasks report.

use std::sync::Arc;

use super::admission::RequestKey;
use super::prepare::{Admitted, Prepared, Refusal};
use super::requests::Waiter;
use crate::error::{Code, Failure};
use crate::ids::{NodeId, SheetHash};
use crate::keys::Signature;
use crate::session::{Engine, SheetContext};
use crate::storage::Durability;
use crate::wire::message::SigningOutcome;

/// What a task that the actor started reports.
pub struct TaskDone(pub(super) Work);

/// One of them.
pub(super) enum Work {
    /// A client's request is checked and read in.
    Prepared { reply: Waiter, result: Result<Box<Prepared>, Failure> },
    /// A peer's proposal is checked.
    Checked { from: NodeId, session: SheetHash, result: Result<Box<(SheetContext, Prepared)>, Refusal> },
    /// The pause before a retry is over.
    Relaunch(RequestKey),
    /// A request is read in again, since nodes know other generations of its key.
    Renewed { key: RequestKey, result: Result<Box<Prepared>, Failure> },
    /// The clients of a request have waited long enough.
    Overdue { key: RequestKey, deadline_ms: u64 },
    /// An engine is built, and has taken its first step.
    Built { sheet: Arc<SheetContext>, result: Result<(Engine<Signature>, u8), Code> },
    /// A request is on disk for a session, or something else is.
    Admitted { session: SheetHash, result: Result<Admitted, Code> },
    /// Some time has passed since the signers of an earlier session were asked about it.
    StillAsking(SheetHash),
    /// What this node knows of a session that a peer asks about.
    LookedUp { to: NodeId, session: SheetHash, outcome: SigningOutcome },
    /// A signature is verified and stored, or not.
    Stored {
        key: RequestKey,
        session: Option<SheetHash>,
        signature: Signature,
        durability: Durability,
        result: Result<(), Failure>,
    },
    /// A peer's claim that a request is answered does not hold.
    FalseAnswer { key: RequestKey, from: NodeId },
}
