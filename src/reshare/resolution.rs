//! What becomes of a pending reshare that did not end here: pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::NodeId;

/// One node's last word on a reshare, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    /// It holds it pending too; this is its valid signature of the record.
    Signed([u8; 64]),
    /// It holds nothing of it.
    Absent,
}

/// What to do with a pending reshare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Ask these (again).
    Ask(BTreeSet<NodeId>),
    /// All others signed: with this node's own signature, these are what has to be proved.
    Prove(BTreeMap<NodeId, [u8; 64]>),
    /// Everybody answered and somebody holds nothing: it is over.
    SetAside,
}

/// The words of all others who must sign the record of one reshare.
///
/// Its keys are proved only once all have signed, and whoever signs holds it pending. So where somebody never signed there
/// is no certificate. All must have answered before a reshare is set aside, because each of them may have the certificate.
/// Whoever signed and holds nothing now has set it aside, or lost its disk: its signature stands, since those who still
/// hold their shares can bring the reshare to its end.
#[derive(Debug, Clone)]
pub struct Resolution {
    others: BTreeSet<NodeId>,
    words: BTreeMap<NodeId, Word>,
}

impl Resolution {
    /// Nobody has answered yet. `others` are all who must sign but this node.
    #[must_use]
    pub fn new(others: BTreeSet<NodeId>) -> Self {
        Self { others, words: BTreeMap::new() }
    }

    /// A node holds it pending; its signature of this node's record has been verified.
    pub fn signed(&mut self, node: NodeId, signature: [u8; 64]) {
        if self.others.contains(&node) {
            self.words.insert(node, Word::Signed(signature));
        }
    }

    /// A node holds nothing of it.
    pub fn absent(&mut self, node: NodeId) {
        if self.others.contains(&node) {
            self.words.entry(node).or_insert(Word::Absent);
        }
    }

    /// What to do by what is known.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let silent: BTreeSet<NodeId> =
            self.others.iter().copied().filter(|node| !self.words.contains_key(node)).collect();
        if !silent.is_empty() {
            return Verdict::Ask(silent);
        }
        let signatures: Option<BTreeMap<NodeId, [u8; 64]>> = self
            .words
            .iter()
            .map(|(&node, word)| match word {
                Word::Signed(signature) => Some((node, *signature)),
                Word::Absent => None,
            })
            .collect();
        signatures.map_or(Verdict::SetAside, Verdict::Prove)
    }
}

/// Whose turn it is to prove, of the new members that can be reached: the first for a while, then the next. Only the order
/// matters; two that prove at once do no harm.
#[must_use]
pub fn prover(reachable: &BTreeSet<NodeId>, looks: u64) -> Option<NodeId> {
    /// How often all look before it is the next one's turn.
    const LOOKS_EACH: u64 = 3;
    let len = u64::try_from(reachable.len()).ok().filter(|&len| len > 0)?;
    let turn = usize::try_from(looks / LOOKS_EACH % len).ok()?;
    reachable.iter().nth(turn).copied()
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
    fn resolution__should_prove_when_all_signed_even_if_one_has_lost_it_since() {
        let mut resolution = resolution();
        resolution.signed(node(2), [2; 64]);
        resolution.signed(node(3), [3; 64]);
        resolution.absent(node(2));
        assert_eq!(resolution.verdict(), Verdict::Prove([(node(2), [2; 64]), (node(3), [3; 64])].into()));
    }

    #[test]
    fn prover__should_be_the_first_for_a_while_and_then_the_next() {
        let all: BTreeSet<NodeId> = [3, 1, 2].map(node).into();
        let turns: Vec<_> = (0..12).map(|looks| prover(&all, looks).unwrap()).collect();
        assert_eq!(turns, [1, 1, 1, 2, 2, 2, 3, 3, 3, 1, 1, 1].map(node));
        assert_eq!(prover(&BTreeSet::new(), 0), None);
    }
}
