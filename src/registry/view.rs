//! The membership view: an immutable picture, replaced as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use crate::ids::{Epoch, NodeId, Scheme};
use crate::wire::native::Health;

/// What is known of one peer now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PeerStatus {
    /// Its lease in the discovery backend is alive.
    pub leased: bool,
    /// The link to it is up, proven in both directions.
    pub linked: bool,
    /// It says that it takes part in sessions.
    pub serving: bool,
    /// The epochs of the pair setups that this node holds with it: two while one takes the place of the other.
    pub own_epochs: BTreeSet<Epoch>,
    /// The epochs that it says it holds, by peer.
    pub announced: BTreeMap<NodeId, BTreeSet<Epoch>>,
    /// The last round trip on the link.
    pub rtt: Option<Duration>,
}

impl PeerStatus {
    /// Whether it takes part in sessions now.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.leased && self.linked && self.serving
    }
}

/// Who is there, seen from this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct View {
    /// This node.
    pub me: NodeId,
    /// Everybody else in the peer book.
    pub peers: BTreeMap<NodeId, PeerStatus>,
    /// The broker is connected and lets this node use the subjects that it needs. Without that, this node is not ready
    /// itself.
    pub able: bool,
}

impl View {
    /// A view in which nobody is there yet.
    #[must_use]
    pub fn empty(me: NodeId, peers: impl IntoIterator<Item = NodeId>) -> Self {
        let peers = peers.into_iter().filter(|&peer| peer != me).map(|peer| (peer, PeerStatus::default())).collect();
        Self { me, peers, able: true }
    }

    /// The nodes that take part in sessions now, this one included if it is able to.
    #[must_use]
    pub fn ready(&self) -> BTreeSet<NodeId> {
        let peers = self.peers.iter().filter(|(_, status)| status.is_ready()).map(|(&peer, _)| peer);
        peers.chain(self.able.then_some(self.me)).collect()
    }

    /// Whether `a` and `b` can run `scheme` together, as far as this node is told.
    #[must_use]
    pub fn can_run(&self, scheme: Scheme, a: NodeId, b: NodeId) -> bool {
        let common = |(of_a, of_b): (&BTreeSet<Epoch>, &BTreeSet<Epoch>)| !of_a.is_disjoint(of_b);
        scheme != Scheme::Ecdsa || a == b || self.epochs(a, b).zip(self.epochs(b, a)).is_some_and(common)
    }

    /// The epochs that `holder` holds with `peer`.
    fn epochs(&self, holder: NodeId, peer: NodeId) -> Option<&BTreeSet<Epoch>> {
        if holder == self.me {
            self.peers.get(&peer).map(|status| &status.own_epochs)
        } else {
            self.peers.get(&holder)?.announced.get(&peer)
        }
    }

    /// Whether enough nodes are ready for `signers` of them to sign. Without this one, none are.
    #[must_use]
    pub fn health(&self, signers: u8) -> Health {
        let ready = self.ready().len();
        if ready == self.peers.len() + 1 {
            Health::All
        } else if self.able && ready >= usize::from(signers) {
            Health::Enough
        } else {
            Health::TooFew
        }
    }

    /// Whether every pair of ready nodes, and every node, is set up for `scheme`: nothing is left to prepare.
    #[must_use]
    pub fn is_complete(&self, scheme: Scheme) -> bool {
        let ready = self.ready();
        ready.len() == self.peers.len() + 1 && ready.iter().all(|&a| ready.iter().all(|&b| self.can_run(scheme, a, b)))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId(Uuid::from_u128(u128::from(number)))
    }

    /// Node 0's view of a cluster in which these peers, from node 1 on, are ready.
    fn view(ready: &[bool]) -> View {
        let mut view = View::empty(node(0), (1..).zip(ready).map(|(number, _)| node(number)));
        for (status, &ready) in view.peers.values_mut().zip(ready) {
            (status.leased, status.linked, status.serving) = (true, true, ready);
        }
        view
    }

    #[test]
    fn health__should_be_all_enough_or_too_few() {
        let table = [
            ([true, true], 2, Health::All),
            ([true, false], 2, Health::Enough),
            ([false, false], 2, Health::TooFew),
            ([true, true], 3, Health::All),
            ([false, true], 3, Health::TooFew),
        ];
        for (ready, signers, expected) in table {
            assert_eq!(view(&ready).health(signers), expected, "{ready:?}, {signers} to sign");
        }
    }

    #[test]
    fn peer__should_be_ready_only_if_leased_and_linked_and_serving() {
        let changes: [fn(&mut PeerStatus); 3] =
            [|peer| peer.leased = false, |peer| peer.linked = false, |peer| peer.serving = false];
        for change in changes {
            let mut view = view(&[true, true]);
            assert_eq!(view.ready().len(), 3);
            change(view.peers.get_mut(&node(1)).unwrap());
            assert_eq!((view.ready().len(), view.health(2)), (2, Health::Enough));
        }
    }

    #[test]
    fn node_that_is_not_able__should_not_be_ready_itself() {
        let view = View { able: false, ..view(&[true, true]) };
        assert!(!view.ready().contains(&node(0)) && !view.is_complete(Scheme::Ed25519));
        assert_eq!(view.health(2), Health::TooFew);
    }
}
