//! What went wrong within a step, before it is known in which round.

use std::collections::BTreeSet;

use super::{Abort, AbortReason};
use crate::ids::PartyIndex;

/// A reason and those who are to blame for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    reason: AbortReason,
    culprits: BTreeSet<PartyIndex>,
}

impl Fault {
    /// A fault of `culprits`.
    pub(super) fn by(reason: AbortReason, culprits: impl IntoIterator<Item = PartyIndex>) -> Self {
        Self { reason, culprits: culprits.into_iter().collect() }
    }

    /// A failure on our own side.
    pub(super) fn engine() -> Self {
        Self::by(AbortReason::Engine, [])
    }

    /// `Ok` when there is nobody to blame.
    pub(super) fn unless_empty(reason: AbortReason, culprits: BTreeSet<PartyIndex>) -> Result<(), Self> {
        if culprits.is_empty() { Ok(()) } else { Err(Self { reason, culprits }) }
    }

    /// The abort of a run that noticed this in `round`.
    pub(super) fn at(self, round: u8) -> Abort {
        Abort { reason: self.reason, round, culprits: self.culprits, ban: BTreeSet::new() }
    }
}
