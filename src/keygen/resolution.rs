//! What becomes of a pending share whose key generation did not end here: pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::NodeId;
use crate::sabotage::{self, Flaw};

/// One member's last word on a key generation, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    /// It holds a pending share too; this is its valid signature of the record.
    Signed([u8; 64]),
    /// It holds none, and never signed.
    Absent,
}

/// What to do with the pending share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Ask these members (again).
    Ask(BTreeSet<NodeId>),
    /// All others signed: with this node's own signature, these make the certificate.
    Certify(BTreeMap<NodeId, [u8; 64]>),
    /// Everybody answered and somebody never signed: no certificate can exist, nor ever will.
    SetAside,
}

/// The answers of the other members about one pending share.
///
/// A certificate needs the signature of every member, and a member signs only while it holds its share pending. A
/// member without one says so for good: its session is over, and the others' sessions cannot end without it. So one
/// such member means that there is no certificate. All must have answered before a share is set aside. A liar can
/// still say that it never signed and sign later, for others: so the share is kept, out of the way.
#[derive(Debug, Clone)]
pub struct Resolution {
    others: BTreeSet<NodeId>,
    words: BTreeMap<NodeId, Word>,
}

impl Resolution {
    /// Nobody has answered yet. `others` are all members but this node.
    #[must_use]
    pub fn new(others: BTreeSet<NodeId>) -> Self {
        Self { others, words: BTreeMap::new() }
    }

    /// A member holds a pending share; its signature of this node's record has been verified.
    pub fn signed(&mut self, member: NodeId, signature: [u8; 64]) {
        self.says(member, Word::Signed(signature));
    }

    /// A member holds no share.
    pub fn absent(&mut self, member: NodeId) {
        self.says(member, Word::Absent);
    }

    fn says(&mut self, member: NodeId, word: Word) {
        if self.others.contains(&member) {
            self.words.insert(member, word);
        }
    }

    /// What to do by what is known.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let silent: BTreeSet<NodeId> =
            self.others.iter().copied().filter(|member| !self.words.contains_key(member)).collect();
        if !silent.is_empty() && sabotage::has(Flaw::SetsAsideTooEarly) {
            return Verdict::SetAside;
        }
        if !silent.is_empty() {
            return Verdict::Ask(silent);
        }
        let signatures: Option<BTreeMap<NodeId, [u8; 64]>> = self
            .words
            .iter()
            .map(|(&member, word)| match word {
                Word::Signed(signature) => Some((member, *signature)),
                Word::Absent => None,
            })
            .collect();
        signatures.map_or(Verdict::SetAside, Verdict::Certify)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn node(number: u128) -> NodeId {
        NodeId(Uuid::from_u128(number))
    }

    fn resolution() -> Resolution {
        Resolution::new([2, 3].map(node).into())
    }

    #[test]
    fn resolution__should_ask_until_everybody_has_answered() {
        let mut resolution = resolution();
        assert_eq!(resolution.verdict(), Verdict::Ask([2, 3].map(node).into()));
        resolution.absent(node(2));
        assert_eq!(resolution.verdict(), Verdict::Ask([3].map(node).into()), "one voice settles nothing");
        resolution.absent(node(9));
        assert_eq!(resolution.verdict(), Verdict::Ask([3].map(node).into()), "strangers have no voice");
    }

    #[test]
    fn resolution__should_set_aside_when_somebody_never_signed() {
        let mut resolution = resolution();
        resolution.absent(node(2));
        resolution.signed(node(3), [3; 64]);
        assert_eq!(resolution.verdict(), Verdict::SetAside);
    }

    #[test]
    fn resolution__should_certify_when_all_signed() {
        let mut resolution = resolution();
        resolution.signed(node(2), [2; 64]);
        resolution.signed(node(3), [3; 64]);
        assert_eq!(resolution.verdict(), Verdict::Certify([(node(2), [2; 64]), (node(3), [3; 64])].into()));
    }
}
