//! What a node knows of its pairs, and what it decides by that: pure, with events and time as values.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::error::Code;
use crate::ids::{Epoch, NodeId};
use crate::protocol::pair::PairState;

/// The pause after a setup, so that the peer's announcement can arrive before it is missed.
const SETTLE: Duration = Duration::from_secs(10);
/// The pause after the first failed setup; it doubles with each further one.
const BACKOFF: Duration = Duration::from_secs(1);
/// The longest pause is this many doublings.
const MAX_DOUBLINGS: u32 = 6;

/// Why a pair cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PairUnavailable {
    /// The pair is banned.
    #[error("the pair with {0} is banned")]
    Banned(NodeId),
    /// There is no setup with the peer yet.
    #[error("there is no pair setup with {0}")]
    Missing(NodeId),
}

impl PairUnavailable {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Banned(_) => Code::PairBanned,
            Self::Missing(_) => Code::PairMismatch,
        }
    }
}

/// One peer, as the pairing actor sees it.
#[derive(Default)]
struct Pair {
    state: Option<Arc<PairState>>,
    banned: bool,
    /// The peer serves, and this is the epoch it announces for the pair with us.
    serving: Option<Option<Epoch>>,
    /// A setup with it runs.
    running: bool,
    failures: u32,
    not_before: Option<Instant>,
    /// An operator, or the schedule, wants a new setup whatever the epochs say.
    wanted: bool,
}

/// All pairs of one node.
pub struct PairBook {
    me: NodeId,
    pairs: BTreeMap<NodeId, Pair>,
}

impl PairBook {
    /// No setup and no ban with any of `peers`.
    #[must_use]
    pub fn new(me: NodeId, peers: impl IntoIterator<Item = NodeId>) -> Self {
        let pairs = peers.into_iter().filter(|&peer| peer != me).map(|peer| (peer, Pair::default())).collect();
        Self { me, pairs }
    }

    /// Takes over a setup that an earlier life stored.
    pub fn restore(&mut self, peer: NodeId, state: PairState) {
        if let Some(pair) = self.pairs.get_mut(&peer) {
            pair.state = Some(Arc::new(state));
        }
    }

    /// Takes over a new setup that is durable now, unless the pair has been banned since.
    pub fn hold(&mut self, peer: NodeId, state: PairState, now: Instant) {
        if let Some(pair) = self.pairs.get_mut(&peer) {
            pair.state = Some(state).filter(|_| !pair.banned).map(Arc::new);
            pair.running = false;
            pair.failures = 0;
            pair.wanted = false;
            pair.not_before = Some(now + SETTLE);
        }
    }

    /// The pair must not be used any more. Its state is forgotten at once.
    pub fn ban(&mut self, peer: NodeId) {
        if let Some(pair) = self.pairs.get_mut(&peer) {
            pair.banned = true;
            pair.state = None;
        }
    }

    /// The ban is lifted; only a new setup makes the pair usable.
    pub fn lift(&mut self, peer: NodeId) {
        if let Some(pair) = self.pairs.get_mut(&peer) {
            pair.banned = false;
            pair.wanted = true;
            pair.not_before = None;
        }
    }

    /// A new setup is wanted with `peer`.
    pub fn want(&mut self, peer: NodeId) {
        if let Some(pair) = self.pairs.get_mut(&peer) {
            pair.wanted = true;
            pair.not_before = None;
        }
    }

    /// The peer says whether it serves, and which epoch of the pair with this node it holds.
    pub fn announced(&mut self, peer: NodeId, serving: bool, epoch: Option<Epoch>) {
        if let Some(pair) = self.pairs.get_mut(&peer) {
            pair.serving = serving.then_some(epoch);
        }
    }

    /// The link to the peer is lost.
    pub fn lost(&mut self, peer: NodeId) {
        if let Some(pair) = self.pairs.get_mut(&peer) {
            pair.serving = None;
        }
    }

    /// A setup with the peer begins.
    pub fn started(&mut self, peer: NodeId) {
        if let Some(pair) = self.pairs.get_mut(&peer) {
            pair.running = true;
        }
    }

    /// A setup with the peer failed.
    pub fn failed(&mut self, peer: NodeId, now: Instant) {
        if let Some(pair) = self.pairs.get_mut(&peer) {
            pair.running = false;
            pair.not_before = Some(now + BACKOFF * (1 << pair.failures.min(MAX_DOUBLINGS)));
            pair.failures = pair.failures.saturating_add(1);
        }
    }

    /// The peers to propose a setup to now. Of two nodes that miss a common epoch, the one with the lower id proposes;
    /// one that was told to want a new setup proposes itself.
    #[must_use]
    pub fn due(&self, now: Instant) -> Vec<NodeId> {
        let due = |(&peer, pair): (&NodeId, &Pair)| {
            let announced = pair.serving?;
            let apart = announced.is_none() || announced != pair.state.as_ref().map(|state| state.epoch());
            let mine_to_do = pair.wanted || (apart && self.me < peer);
            let may = !pair.banned && !pair.running && pair.not_before.is_none_or(|at| now >= at);
            (mine_to_do && may).then_some(peer)
        };
        self.pairs.iter().filter_map(due).collect()
    }

    /// The epoch of a new setup with `peer`: later than any this node knows of, and taken from the clock, so that a side
    /// that lost its disk does not propose an epoch that the other has had.
    #[must_use]
    pub fn next_epoch(&self, peer: NodeId, now_ms: u64) -> Epoch {
        let known = self.pairs.get(&peer).and_then(|pair| {
            let own = pair.state.as_ref().map(|state| state.epoch());
            own.max(pair.serving.flatten())
        });
        Epoch(known.map_or(1, |epoch| epoch.0.saturating_add(1)).max(now_ms))
    }

    /// Whether to take part in a setup that `peer` proposes with `epoch`.
    ///
    /// # Errors
    /// The code to refuse with.
    pub fn check_proposal(&self, peer: NodeId, epoch: Epoch) -> Result<(), Code> {
        let pair = self.pairs.get(&peer).ok_or(Code::ProtocolViolation)?;
        if pair.banned {
            Err(Code::PairBanned)
        } else if pair.state.as_ref().is_some_and(|state| state.epoch() >= epoch) {
            Err(Code::SessionStale)
        } else if pair.running && self.me < peer {
            // Both proposed: the lower id's session is the one that runs.
            Err(Code::SessionDuplicate)
        } else {
            Ok(())
        }
    }

    /// The states of the pairs with all of `peers`.
    ///
    /// # Errors
    /// The first pair that cannot be used.
    pub fn states(&self, peers: &BTreeSet<NodeId>) -> Result<BTreeMap<NodeId, Arc<PairState>>, PairUnavailable> {
        peers
            .iter()
            .map(|&peer| match self.pairs.get(&peer) {
                Some(pair) if pair.banned => Err(PairUnavailable::Banned(peer)),
                Some(Pair { state: Some(state), .. }) => Ok((peer, Arc::clone(state))),
                _ => Err(PairUnavailable::Missing(peer)),
            })
            .collect()
    }

    /// The epochs to announce.
    #[must_use]
    pub fn epochs(&self) -> BTreeMap<NodeId, Epoch> {
        let epoch = |(&peer, pair): (&NodeId, &Pair)| Some((peer, pair.state.as_ref()?.epoch()));
        self.pairs.iter().filter_map(epoch).collect()
    }

    /// The banned peers.
    #[must_use]
    pub fn banned(&self) -> BTreeSet<NodeId> {
        self.pairs.iter().filter(|(_, pair)| pair.banned).map(|(&peer, _)| peer).collect()
    }
}
