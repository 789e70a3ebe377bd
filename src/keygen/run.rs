//! A wallet in the making.

use std::sync::Arc;

use super::Generated;
use super::actor::{Asker, Waiter};
use crate::error::Failure;
use crate::ids::NodeId;
use crate::session::SheetContext;
use crate::wallet::Commit;
use crate::wallet::Pending;

/// How far a wallet's making is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The threshold protocol runs.
    Session,
    /// The shares are being made durable.
    Storing,
    /// The run has failed while the shares were being made durable: what becomes of them is known when that is over.
    /// Until then this node must not say that it holds none.
    FailedStoring,
    /// The members' signatures are gathered.
    Committing,
    /// All have signed; the shares become active.
    Activating,
}

/// A wallet in the making.
pub(super) struct Run {
    pub content: [u8; 32],
    pub waiters: Vec<Waiter>,
    /// Those who asked when shares were pending: to them, the wallet is one that was there.
    pub late: Vec<Waiter>,
    /// Those who asked what the wallet is when its shares were pending: a faster node may have said that it is there.
    pub asked: Vec<Asker>,
    pub sheet: Arc<SheetContext>,
    pub phase: Phase,
    /// The members' signatures; those of faster members come before this node has stored its shares.
    pub commit: Commit,
    /// This node's signature, once its shares are durable.
    pub own: Option<Signature>,
}

/// This node's signature of a pending record, with the record.
pub(super) struct Signature {
    pub record: Arc<[u8]>,
    pub signature: [u8; 64],
}

impl Run {
    /// Whether signatures of the other members are still to come.
    pub fn is_gathering(&self) -> bool {
        matches!(self.phase, Phase::Storing | Phase::Committing)
    }

    /// Whether `node` takes part.
    pub fn concerns(&self, node: NodeId) -> bool {
        self.sheet.sheet.index_of(node).is_some()
    }
}

impl Phase {
    /// What it is doing.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Session => "running the protocol",
            Self::Storing | Self::FailedStoring => "storing its shares",
            Self::Committing => "gathering the members' signatures",
            Self::Activating => "activating its shares",
        }
    }
}

impl Signature {
    pub fn of(pending: &Pending) -> Self {
        Self { record: pending.record.as_slice().into(), signature: pending.signature }
    }
}

/// Answers everyone who waits.
pub(super) fn answer(waiters: Vec<Waiter>, answer: &Result<Generated, Failure>) {
    for waiter in waiters {
        // A client that no longer waits finds the wallet when it asks again.
        let _ = waiter.send(answer.clone());
    }
}
