//! Which members of a key's committee have signed in its check-up, and who signs next. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Code;
use crate::ids::{NodeId, Scheme};
use crate::registry::{View, choose_quorum};
use crate::wire::sheet::Participant;

/// How many sessions that blame nobody a member may be in before it counts as failed.
const CHANCES: u8 = 2;

/// The check-up of one key: every member is to be in one session that ends with a signature. This node coordinates, so it
/// is in all of them.
#[derive(Debug)]
pub(super) struct Coverage {
    me: NodeId,
    scheme: Scheme,
    signers: u8,
    committee: Vec<Participant>,
    sound: BTreeSet<NodeId>,
    failed: BTreeMap<NodeId, Code>,
    /// Sessions that blamed nobody, by the members in them that have not signed yet.
    doubts: BTreeMap<NodeId, u8>,
}

impl Coverage {
    /// Nobody has signed yet.
    pub fn new(me: NodeId, scheme: Scheme, signers: u8, committee: Vec<Participant>) -> Self {
        let (sound, failed, doubts) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
        Self { me, scheme, signers, committee, sound, failed, doubts }
    }

    /// Who signs next: this node, as many others as can be that have not signed yet, and others to make the threshold.
    /// `None` when everybody has signed or failed; whoever cannot sign with the others now has failed.
    pub fn next(&mut self, view: &View) -> Option<Vec<Participant>> {
        self.open().next()?;
        let (mut first, sound): (Vec<_>, Vec<_>) =
            self.committee.iter().copied().partition(|member| !self.sound.contains(&member.node));
        first.extend(sound);
        let without: Vec<NodeId> = self.failed.keys().copied().collect();
        let quorum = choose_quorum(view, self.scheme, &first, self.signers, &without, 0).ok();
        let quorum = quorum.filter(|quorum| quorum.iter().any(|member| self.is_open(member.node)));
        if quorum.is_none() {
            let ready = view.ready();
            let left: Vec<NodeId> = self.open().collect();
            for node in left {
                let code = if ready.contains(&node) { Code::NotMajority } else { Code::PeerUnavailable };
                self.failed.insert(node, code);
            }
        }
        quorum
    }

    /// A session of these members ended with a signature.
    pub fn signed(&mut self, quorum: &[Participant]) {
        self.sound.extend(quorum.iter().map(|member| member.node));
    }

    /// A session of these members ended without one.
    pub fn aborted(&mut self, quorum: &[Participant], code: Code, culprits: &BTreeSet<NodeId>) {
        let in_it = quorum.iter().map(|member| member.node);
        let blamed: Vec<NodeId> = in_it.clone().filter(|node| culprits.contains(node)).collect();
        if blamed.contains(&self.me) {
            // Nobody else can be checked by a node that cannot sign.
            self.failed.insert(self.me, code);
            let left: Vec<NodeId> = self.open().collect();
            self.failed.extend(left.into_iter().map(|node| (node, Code::NotMajority)));
        } else if blamed.is_empty() {
            for node in in_it.filter(|&node| !self.sound.contains(&node)) {
                let doubts = self.doubts.entry(node).or_default();
                *doubts += 1;
                if *doubts >= CHANCES {
                    self.failed.insert(node, code);
                }
            }
        } else {
            // Whoever has signed before and fails now has failed.
            for node in blamed {
                self.sound.remove(&node);
                self.failed.insert(node, code);
            }
        }
    }

    /// What is known of each member: `None` where it has signed, otherwise why it has not.
    pub fn members(&self) -> impl Iterator<Item = (NodeId, Option<Code>)> + '_ {
        self.committee.iter().map(|member| (member.node, self.failed.get(&member.node).copied()))
    }

    fn is_open(&self, node: NodeId) -> bool {
        !self.sound.contains(&node) && !self.failed.contains_key(&node)
    }

    fn open(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.committee.iter().map(|member| member.node).filter(|&node| self.is_open(node))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::ids::PartyIndex;
    use crate::registry::PeerStatus;

    fn node(number: u8) -> NodeId {
        NodeId(Uuid::from_u128(number.into()))
    }

    fn committee(n: u8) -> Vec<Participant> {
        (1..=n).map(|number| Participant { node: node(number), index: PartyIndex::try_from(number).unwrap() }).collect()
    }

    /// Node 1's view, in which all but these are ready.
    fn view(n: u8, away: &[u8]) -> View {
        let mut view = View::empty(node(1), (1..=n).map(node));
        for (&peer, status) in &mut view.peers {
            let serving = !away.iter().any(|&number| node(number) == peer);
            *status = PeerStatus { leased: serving, linked: serving, serving, ..PeerStatus::default() };
        }
        view
    }

    fn numbers(quorum: &[Participant]) -> Vec<u8> {
        quorum.iter().map(|member| member.index.get()).collect()
    }

    fn coverage(t: u8, n: u8) -> Coverage {
        Coverage::new(node(1), Scheme::Ed25519, t, committee(n))
    }

    fn failures(coverage: &Coverage) -> Vec<(u8, Code)> {
        let number = |node: NodeId| u8::try_from(node.0.as_u128()).unwrap();
        coverage.members().filter_map(|(node, code)| Some((number(node), code?))).collect()
    }

    #[test]
    fn check_up__should_have_every_member_sign_in_as_few_sessions_as_can_be() {
        for (t, n, sessions) in [(2, 3, 2), (3, 5, 2), (2, 2, 1), (5, 9, 2), (3, 3, 1), (2, 5, 4)] {
            let (mut coverage, view) = (coverage(t, n), view(n, &[]));
            let mut made = 0;
            let mut seen = BTreeSet::new();
            while let Some(quorum) = coverage.next(&view) {
                assert_eq!(quorum.len(), usize::from(t));
                seen.extend(numbers(&quorum));
                coverage.signed(&quorum);
                made += 1;
            }
            assert_eq!((made, seen.len()), (sessions, usize::from(n)), "{t} of {n}");
            assert_eq!(failures(&coverage), vec![]);
        }
    }

    #[test]
    fn check_up__should_go_on_without_whoever_is_away_or_to_blame() {
        let (mut coverage, view) = (coverage(2, 4), view(4, &[3]));
        let first = coverage.next(&view).unwrap();
        assert_eq!(numbers(&first), vec![1, 2]);
        coverage.aborted(&first, Code::DataCorruption, &[node(2)].into());
        let second = coverage.next(&view).unwrap();
        assert_eq!(numbers(&second), vec![1, 4]);
        coverage.signed(&second);
        assert_eq!(coverage.next(&view), None);
        assert_eq!(failures(&coverage), vec![(2, Code::DataCorruption), (3, Code::PeerUnavailable)]);
    }

    #[test]
    fn check_up__should_end_where_nobody_is_blamed_and_where_this_node_is() {
        let (mut nobody, view) = (coverage(2, 2), view(2, &[]));
        for _ in 0..CHANCES {
            let quorum = nobody.next(&view).unwrap();
            nobody.aborted(&quorum, Code::Cancelled, &BTreeSet::new());
        }
        assert_eq!(nobody.next(&view), None);
        assert_eq!(failures(&nobody), vec![(1, Code::Cancelled), (2, Code::Cancelled)]);

        let mut this_one = coverage(2, 2);
        let quorum = this_one.next(&view).unwrap();
        this_one.aborted(&quorum, Code::DataCorruption, &[node(1)].into());
        assert_eq!(this_one.next(&view), None);
        assert_eq!(failures(&this_one), vec![(1, Code::DataCorruption), (2, Code::NotMajority)]);
    }

    #[test]
    fn check_up__should_fail_those_it_has_too_few_others_for() {
        let (mut coverage, view) = (coverage(3, 3), view(3, &[2]));
        assert_eq!(coverage.next(&view), None);
        let expected = vec![(1, Code::NotMajority), (2, Code::PeerUnavailable), (3, Code::NotMajority)];
        assert_eq!(failures(&coverage), expected);
    }
}
