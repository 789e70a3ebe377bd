//! What went wrong within a step, before it is known in which round.

use std::collections::BTreeSet;

use super::{Abort, AbortReason};
use crate::ids::PartyIndex;

/// A reason and those who are to blame for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    reason: AbortReason,
    culprits: BTreeSet<PartyIndex>,
    ban: bool,
}

impl Fault {
    /// A fault of `culprits`.
    pub(super) fn by(reason: AbortReason, culprits: impl IntoIterator<Item = PartyIndex>) -> Self {
        Self { reason, culprits: culprits.into_iter().collect(), ban: false }
    }

    /// A fault of `culprit` that leaks reusable state: never again with it.
    pub(super) fn banning(reason: AbortReason, culprit: PartyIndex) -> Self {
        Self { ban: true, ..Self::by(reason, [culprit]) }
    }

    /// A failure on our own side.
    pub(super) fn engine() -> Self {
        Self::by(AbortReason::Engine, [])
    }

    /// `Ok` when there is nobody to blame.
    pub(super) fn unless_empty(reason: AbortReason, culprits: BTreeSet<PartyIndex>) -> Result<(), Self> {
        if culprits.is_empty() { Ok(()) } else { Err(Self::by(reason, culprits)) }
    }

    /// The abort of a run that noticed this in `round`.
    pub(super) fn at(self, round: u8) -> Abort {
        let ban = if self.ban { self.culprits.clone() } else { BTreeSet::new() };
        Abort { reason: self.reason, round, culprits: self.culprits, ban }
    }
}
