//! Why sessions ended without an output, counted.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Code;
use crate::ids::NodeId;

/// Counts aborts by code and by each node that was to blame, or none.
///
/// It holds at most one count for each code and node of the peer book: who else is named, as a peer may name anybody,
/// counts as nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Causes(BTreeMap<(Code, Option<NodeId>), u64>);

impl Causes {
    /// Counts an abort once for each of `culprits` that `is_member` knows.
    pub fn count(&mut self, code: Code, culprits: &BTreeSet<NodeId>, is_member: impl Fn(NodeId) -> bool) {
        let members: Vec<_> = culprits.iter().copied().filter(|&culprit| is_member(culprit)).map(Some).collect();
        let blamed = if members.is_empty() { vec![None] } else { members };
        for culprit in blamed {
            let count = self.0.entry((code, culprit)).or_default();
            *count = count.saturating_add(1);
        }
    }

    /// Each code with a culprit, if it had one, and how often it came.
    pub fn iter(&self) -> impl Iterator<Item = (Code, Option<NodeId>, u64)> {
        self.0.iter().map(|(&(code, culprit), &count)| (code, culprit, count))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn causes__should_be_counted_for_each_member_to_blame() {
        let node = |number| NodeId(Uuid::from_u128(number));
        let mut causes = Causes::default();
        for culprits in [&[1, 2][..], &[2], &[], &[7], &[1, 7]] {
            let culprits = culprits.iter().map(|&number| node(number)).collect();
            causes.count(Code::PeerUnavailable, &culprits, |culprit| culprit != node(7));
        }
        causes.count(Code::SessionTimeout, &BTreeSet::new(), |_| true);
        let expected = [
            (Code::PeerUnavailable, None, 2),
            (Code::PeerUnavailable, Some(node(1)), 2),
            (Code::PeerUnavailable, Some(node(2)), 2),
            (Code::SessionTimeout, None, 1),
        ];
        let mut counted: Vec<_> = causes.iter().collect();
        counted.sort_unstable_by_key(|&(code, culprit, _)| (code.as_str(), culprit));
        assert_eq!(counted, expected);
    }
}
