//! Gathering the signatures of a wallet record: pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::NodeId;
use crate::sabotage::{self, Flaw};

/// The signatures of one wallet record, as they come in. What they say is checked when all are there.
#[derive(Debug, Clone)]
pub struct Commit {
    members: BTreeSet<NodeId>,
    signatures: BTreeMap<NodeId, [u8; 64]>,
}

impl Commit {
    /// A record that all of `members` must sign.
    #[must_use]
    pub fn new(members: BTreeSet<NodeId>) -> Self {
        Self { members, signatures: BTreeMap::new() }
    }

    /// Takes a member's signature: the first one counts. Says whether it was taken.
    pub fn signed(&mut self, member: NodeId, signature: [u8; 64]) -> bool {
        if !self.members.contains(&member) || self.signatures.contains_key(&member) {
            return false;
        }
        self.signatures.insert(member, signature);
        true
    }

    /// Whose signatures are missing.
    #[must_use]
    pub fn missing(&self) -> BTreeSet<NodeId> {
        self.members.iter().copied().filter(|member| !self.signatures.contains_key(member)).collect()
    }

    /// The signatures so far.
    #[must_use]
    pub const fn signatures(&self) -> &BTreeMap<NodeId, [u8; 64]> {
        &self.signatures
    }

    /// All signatures, if none is missing.
    #[must_use]
    pub fn complete(&self) -> Option<&BTreeMap<NodeId, [u8; 64]>> {
        let spared = usize::from(sabotage::has(Flaw::CertifiesWithoutAll));
        (self.signatures.len() + spared >= self.members.len()).then_some(&self.signatures)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn node(number: u128) -> NodeId {
        NodeId(Uuid::from_u128(number))
    }

    #[test]
    fn commit__should_be_complete_with_one_signature_of_each_member_and_no_sooner() {
        let mut commit = Commit::new([1, 2, 3].map(node).into());
        assert!(commit.signed(node(1), [1; 64]));
        assert!(commit.signed(node(3), [3; 64]));
        assert!(!commit.signed(node(3), [9; 64]), "the first counts");
        assert!(!commit.signed(node(4), [4; 64]), "no member");
        assert_eq!((commit.complete(), commit.missing()), (None, [node(2)].into()));
        assert!(commit.signed(node(2), [2; 64]));
        assert_eq!(commit.complete().unwrap()[&node(3)], [3; 64]);
    }
}
