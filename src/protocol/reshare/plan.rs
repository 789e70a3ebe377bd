//! Who deals what to whom in a reshare.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{PartyIndex, Scheme, Threshold};
use crate::protocol::share::GroupKey;

/// One key that is reshared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldKey {
    /// The key, its old threshold and its old verifying shares.
    pub group: GroupKey,
    /// The old quorum: the index in the session, and in the old committee, of each dealer.
    pub dealers: BTreeMap<PartyIndex, PartyIndex>,
}

/// What the parties of a reshare agree on before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResharePlan {
    /// The keys.
    pub keys: BTreeMap<Scheme, OldKey>,
    /// t of n of the new committee.
    pub threshold: Threshold,
    /// The new committee: the index in the session, and in the new committee, of each member.
    pub receivers: BTreeMap<PartyIndex, PartyIndex>,
}

impl ResharePlan {
    /// Everybody who deals a key, by index in the session.
    #[must_use]
    pub fn dealers(&self) -> BTreeSet<PartyIndex> {
        self.keys.values().flat_map(|key| key.dealers.keys().copied()).collect()
    }

    /// The schemes whose keys a party deals.
    pub(super) fn dealt_by(&self, party: PartyIndex) -> impl Iterator<Item = Scheme> + '_ {
        self.keys.iter().filter(move |(_, key)| key.dealers.contains_key(&party)).map(|(&scheme, _)| scheme)
    }

    /// Whether every key is dealt by exactly t of its old committee, and the new committee is 1 to n.
    pub(super) fn is_consistent(&self) -> bool {
        let receivers: BTreeSet<u8> = self.receivers.values().map(|index| index.get()).collect();
        let keys_are = self.keys.iter().all(|(&scheme, key)| {
            let old = key.group.threshold();
            let indices: BTreeSet<PartyIndex> = key.dealers.values().copied().collect();
            scheme == key.group.scheme()
                && key.dealers.len() == usize::from(old.signers())
                && indices.len() == key.dealers.len()
                && indices.iter().all(|index| index.get() <= old.parties())
        });
        keys_are && receivers.len() == self.receivers.len() && receivers.into_iter().eq(1..=self.threshold.parties())
    }

    /// The most parties of a session that can be corrupt: t - 1 of the old committee of some key, and t - 1 of the new
    /// one. More hold a key anyway.
    pub(super) fn corruptible(&self) -> usize {
        let old = self.keys.values().map(|key| usize::from(key.group.threshold().signers()) - 1).sum::<usize>();
        old + usize::from(self.threshold.signers()) - 1
    }
}
