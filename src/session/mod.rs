//! One run of one protocol, driven to exactly one end.
//!
//! A session actor owns one [`Party`](crate::protocol::Party) and a deadline. It takes the messages of its peers, lets
//! the engine compute on a blocking thread, sends what the engine answers, and ends as [`Outcome::Done`] or
//! [`Outcome::Aborted`], reported once to the coordinator actor that started it. It is never restarted: its state is
//! dropped, and thereby wiped, with it.
//!
//! ```text
//!   coordinator actor ──spawn──▶ session ──Round──▶ transport ──▶ peers
//!          ▲                      │   ▲
//!          │                      ▼   │ Stepped
//!          └──── SessionEnd ── blocking pool (engine, payload signatures)
//! ```

mod actor;
mod answering;
mod causes;
mod early;
mod intake;
mod pool;
mod post;
mod sheet;
mod step;
mod table;
#[cfg(test)]
mod tests;

pub use actor::{Hold, SessionActor, SessionArgs, SessionKit, SessionMsg, SessionSnapshot};
pub(crate) use answering::{Answering, MAX_ANSWERING};
pub use causes::Causes;
pub use intake::Intake;
pub use pool::CryptoPool;
pub use post::Post;
pub use sheet::{Draft, SHEET_DOMAIN, SheetContext};
pub use step::{Engine, PAYLOAD_DOMAIN};
pub use table::{Built, Sessions};

use std::collections::BTreeSet;

use crate::error::Code;
use crate::ids::{NodeId, SheetHash};

/// How a session ended.
#[derive(Debug)]
pub enum Outcome<O> {
    /// The engine is through, and this is what it made.
    Done(O),
    /// It ended without an output.
    Aborted(Aborted),
}

/// Why a session ended without an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aborted {
    /// Why.
    pub code: Code,
    /// Who is to blame as far as can be told: for a time-out, those of whom nothing has come.
    pub culprits: BTreeSet<NodeId>,
    /// The open round, from 1.
    pub round: u8,
    /// The peer that announced the abort, where this node did not find the cause itself: the rest is its claim.
    pub reported_by: Option<NodeId>,
}

/// A session has messages that wait to be released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held(pub SheetHash);

/// The one report of a session to the actor that started it.
#[derive(Debug)]
pub struct SessionEnd<O> {
    /// The session.
    pub session: SheetHash,
    /// How it ended.
    pub outcome: Outcome<O>,
}
