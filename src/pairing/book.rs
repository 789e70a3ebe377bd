//! What a node knows of its pairs, and what it decides by that: pure, with events and time as values.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::error::Code;
use crate::ids::{Epoch, NodeId};
use crate::protocol::pair::PairState;
use crate::signing::MAX_DEADLINE_AHEAD_MS;
use crate::wire::transcript::Transcript;

/// The pause after a setup, so that the peer's announcement can arrive before it is missed.
const SETTLE: Duration = Duration::from_secs(10);
/// The pause after the first failed setup; it doubles with each further one.
const BACKOFF: Duration = Duration::from_secs(1);
/// The longest pause is this many doublings.
const MAX_DOUBLINGS: u32 = 6;

/// How long after its epoch at the latest a new setup is used by all sessions: longer than the setup may take, and than the
/// deadline of any session that was agreed to before is ahead.
const IN_FORCE_AFTER_MS: u64 = 2 * MAX_DEADLINE_AHEAD_MS;
/// The clocks of two nodes differ by less.
const CLOCKS_DIFFER_MS: u64 = 60 * 1000;
/// Setups that were made at the same time are renewed within this part of their period; and a setup that the node with the
/// lower id has not renewed as much later is renewed by the other one.
const SPREAD: u64 = 10;

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
    /// The setup before, until the new one is in force on both sides.
    former: Option<Arc<PairState>>,
    banned: bool,
    /// The peer serves, and these are the epochs it announces for the pair with us.
    serving: Option<BTreeSet<Epoch>>,
    /// A setup with it runs.
    running: bool,
    failures: u32,
    not_before: Option<Instant>,
    /// An operator, or the schedule, wants a new setup whatever the epochs say.
    wanted: bool,
}

impl Pair {
    /// Whether a setup with the peer may begin.
    fn may_begin(&self, now: Instant) -> bool {
        !self.banned && !self.running && self.not_before.is_none_or(|at| now >= at)
    }

    /// Whether the peer holds a setup, as far as is known: one that cannot be reached is taken to hold it.
    fn has(&self, state: &PairState) -> bool {
        self.serving.as_ref().is_none_or(|epochs| epochs.contains(&state.epoch()))
    }

    /// What a session with this deadline uses. Both sides decide alike, whenever they are asked: where both hold both setups,
    /// the deadline alone decides, which is in the session's sheet.
    fn usable(&self, deadline_ms: u64) -> Option<&Arc<PairState>> {
        let state = self.state.as_ref()?;
        let former = self.former.as_ref().filter(|former| self.has(former));
        let in_force_ms = state.epoch().0.saturating_add(IN_FORCE_AFTER_MS);
        Some(former.filter(|_| !self.has(state) || deadline_ms < in_force_ms).unwrap_or(state))
    }

    /// Whether the setup is to be renewed because of its age: `late` is by how much more.
    fn is_old(&self, me: NodeId, peer: NodeId, now_ms: u64, refresh_ms: u64, late: u64) -> bool {
        let spread = (refresh_ms / SPREAD).max(1);
        let (low, high) = (me.min(peer), me.max(peer));
        let of_pair =
            Transcript::new("quorate/pair-spread/v1").field(low.0.as_bytes()).field(high.0.as_bytes()).finish();
        let later = of_pair.first_chunk().copied().map_or(0, u64::from_be_bytes) % spread;
        let due = |epoch: Epoch| epoch.0.saturating_add(refresh_ms).saturating_add(later).saturating_add(late * spread);
        self.state.as_ref().is_some_and(|state| now_ms >= due(state.epoch()))
    }
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

    /// Takes over the setup before the present one, which an earlier life kept.
    pub fn restore_former(&mut self, peer: NodeId, state: PairState) {
        if let Some(pair) = self.pairs.get_mut(&peer) {
            pair.former = Some(Arc::new(state));
        }
    }

    /// The present setup with the peer, if it stays in use until a new one is in force: both hold it, and nobody wants it
    /// gone.
    #[must_use]
    pub fn kept(&self, peer: NodeId) -> Option<Arc<PairState>> {
        let pair = self.pairs.get(&peer).filter(|pair| !pair.wanted && !pair.banned && pair.serving.is_some())?;
        pair.state.as_ref().filter(|state| pair.has(state)).map(Arc::clone)
    }

    /// Takes over a new setup that is durable now, unless the pair has been banned since; `kept` is the one before, if it
    /// stays in use.
    pub fn hold(&mut self, peer: NodeId, state: PairState, kept: Option<Arc<PairState>>, now: Instant) {
        if let Some(pair) = self.pairs.get_mut(&peer) {
            pair.state = Some(state).filter(|_| !pair.banned).map(Arc::new);
            pair.former = kept.filter(|_| !pair.banned);
            pair.running = false;
            pair.failures = 0;
            pair.wanted = false;
            pair.not_before = Some(now + SETTLE);
        }
    }

    /// The peers whose former setups are of no use any more: the new ones are in force on both sides, and no session with
    /// the former ones runs.
    #[must_use]
    pub fn replaced(&self, now_ms: u64) -> Vec<NodeId> {
        let is_replaced = |pair: &Pair| {
            let state = pair.state.as_ref()?;
            let over_ms = state.epoch().0.saturating_add(IN_FORCE_AFTER_MS + CLOCKS_DIFFER_MS);
            Some(pair.former.is_some() && pair.serving.is_some() && pair.has(state) && now_ms >= over_ms)
        };
        self.pairs.iter().filter(|(_, pair)| is_replaced(pair) == Some(true)).map(|(&peer, _)| peer).collect()
    }

    /// The former setup with the peer is not used any more.
    pub fn retire(&mut self, peer: NodeId) {
        if let Some(pair) = self.pairs.get_mut(&peer) {
            pair.former = None;
        }
    }

    /// The pair must not be used any more. Its state is forgotten at once.
    pub fn ban(&mut self, peer: NodeId) {
        if let Some(pair) = self.pairs.get_mut(&peer) {
            pair.banned = true;
            pair.state = None;
            pair.former = None;
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

    /// The peer says whether it serves, and which epochs of the pair with this node it holds.
    pub fn announced(&mut self, peer: NodeId, serving: bool, epochs: BTreeSet<Epoch>) {
        if let Some(pair) = self.pairs.get_mut(&peer) {
            pair.serving = serving.then_some(epochs);
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
            let announced = pair.serving.as_ref()?.last().copied();
            let apart = announced.is_none() || announced != pair.state.as_ref().map(|state| state.epoch());
            let mine_to_do = pair.wanted || (apart && self.me < peer);
            (mine_to_do && pair.may_begin(now)).then_some(peer)
        };
        self.pairs.iter().filter_map(due).collect()
    }

    /// The peer to propose a setup to because the present one is older than `refresh`, one peer at a time: those with higher
    /// ids propose only what the lower ones do not.
    #[must_use]
    pub fn aged(&self, now: Instant, now_ms: u64, refresh: Duration) -> Option<NodeId> {
        if self.pairs.values().any(|pair| pair.running) {
            return None;
        }
        let refresh_ms = u64::try_from(refresh.as_millis()).unwrap_or(u64::MAX);
        let aged = |(&peer, pair): (&NodeId, &Pair)| {
            let late = u64::from(self.me > peer);
            let is_due = pair.serving.is_some() && pair.is_old(self.me, peer, now_ms, refresh_ms, late);
            (is_due && pair.may_begin(now)).then_some(peer)
        };
        self.pairs.iter().find_map(aged)
    }

    /// The epoch of a new setup with `peer`: later than any this node knows of, and taken from the clock, so that a side
    /// that lost its disk does not propose an epoch that the other has had.
    #[must_use]
    pub fn next_epoch(&self, peer: NodeId, now_ms: u64) -> Epoch {
        let known = self.pairs.get(&peer).and_then(|pair| {
            let own = pair.state.as_ref().map(|state| state.epoch());
            own.max(pair.serving.as_ref().and_then(|epochs| epochs.last().copied()))
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

    /// The states of the pairs with all of `peers`, for a session with this deadline, in milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// The first pair that cannot be used.
    pub fn states(
        &self,
        peers: &BTreeSet<NodeId>,
        deadline_ms: u64,
    ) -> Result<BTreeMap<NodeId, Arc<PairState>>, PairUnavailable> {
        peers
            .iter()
            .map(|&peer| match self.pairs.get(&peer) {
                Some(pair) if pair.banned => Err(PairUnavailable::Banned(peer)),
                Some(pair) => {
                    let state = pair.usable(deadline_ms).ok_or(PairUnavailable::Missing(peer))?;
                    Ok((peer, Arc::clone(state)))
                }
                None => Err(PairUnavailable::Missing(peer)),
            })
            .collect()
    }

    /// All epochs that this node holds, to announce them.
    #[must_use]
    pub fn held(&self) -> BTreeMap<NodeId, BTreeSet<Epoch>> {
        let held = |(&peer, pair): (&NodeId, &Pair)| {
            let epochs: BTreeSet<Epoch> = pair.former.iter().chain(&pair.state).map(|state| state.epoch()).collect();
            (!epochs.is_empty()).then_some((peer, epochs))
        };
        self.pairs.iter().filter_map(held).collect()
    }

    /// The peers with which a former setup is still in use.
    #[must_use]
    pub fn with_former(&self) -> BTreeSet<NodeId> {
        self.pairs.iter().filter(|(_, pair)| pair.former.is_some()).map(|(&peer, _)| peer).collect()
    }

    /// The latest epochs.
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
