//! The membership view: an immutable picture, replaced as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use crate::ids::{Epoch, NodeId, Scheme};

/// What is known of one peer now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PeerStatus {
    /// Its lease in the discovery backend is alive.
    pub leased: bool,
    /// The link to it is up, proven in both directions.
    pub linked: bool,
    /// It says that it takes part in sessions.
    pub serving: bool,
    /// The epoch of the pair setup that this node holds with it.
    pub own_epoch: Option<Epoch>,
    /// The epochs that it says it holds, by peer.
    pub announced: BTreeMap<NodeId, Epoch>,
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

/// Whether the cluster can work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Every node of the peer book is ready.
    All,
    /// Enough are ready to sign, not all.
    Enough,
    /// Fewer are ready than must sign.
    TooFew,
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
        scheme != Scheme::Ecdsa || a == b || self.epoch(a, b).is_some_and(|epoch| self.epoch(b, a) == Some(epoch))
    }

    /// The epoch that `holder` holds with `peer`.
    fn epoch(&self, holder: NodeId, peer: NodeId) -> Option<Epoch> {
        if holder == self.me {
            self.peers.get(&peer)?.own_epoch
        } else {
            self.peers.get(&holder)?.announced.get(&peer).copied()
        }
    }

    /// Whether enough nodes are ready for `signers` of them to sign.
    #[must_use]
    pub fn health(&self, signers: u8) -> Health {
        let ready = self.ready().len();
        if ready == self.peers.len() + 1 {
            Health::All
        } else if ready >= usize::from(signers) {
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
