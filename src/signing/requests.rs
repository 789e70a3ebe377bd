//! The requests that a node works on: who waits for each, and which session answers it.

use std::collections::BTreeMap;
use std::sync::Arc;

use ractor::RpcReplyPort;
use tokio::task::JoinHandle;

use super::admission::RequestKey;
use super::inquiry::Inquiry;
use super::prepare::Prepared;
use super::{OnPeerFailure, Signed};
use crate::error::{Code, Failure};
use crate::ids::{NodeId, SheetHash};
use crate::session::{Aborted, SheetContext};

/// The pause before a session is tried again because a participant was busy with the same request: so long for each
/// attempt so far, which makes ten seconds in all.
const BUSY_PAUSE_MS: u64 = 50;
/// The most sessions for one request.
const MAX_ATTEMPTS: u32 = 20;

/// Where an answer goes.
pub(super) type Waiter = RpcReplyPort<Result<Signed, Failure>>;

/// A task that ends with its owner.
pub(super) struct Timer(JoinHandle<()>);

impl Timer {
    pub fn of(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How a node coordinates a request of its own clients.
pub(super) struct Coordination {
    /// Counts the sessions, from 1.
    pub attempt: u32,
    /// Peers that failed an earlier one.
    pub without: Vec<NodeId>,
    /// Why the last session failed, while there is none.
    pub last: Option<Aborted>,
    /// When the client must have its answer.
    pub deadline_ms: u64,
    /// Sees to that.
    #[expect(dead_code, reason = "it works by being there")]
    pub overdue: Timer,
}

/// The session that is to answer a request.
pub(super) struct Attempt {
    pub sheet: Arc<SheetContext>,
    /// This node's share of the signature is ready to leave.
    pub share_held: bool,
    /// The request is durable for this session, and there is no answer to it yet.
    pub admitted: bool,
    /// What is being found out of an earlier session before this one may go on.
    pub inquiry: Option<Inquiry>,
}

impl Attempt {
    pub fn new(sheet: Arc<SheetContext>) -> Self {
        Self { sheet, share_held: false, admitted: false, inquiry: None }
    }

    /// Whether the share may leave now, because all that it waits for has happened. From then on others may make a
    /// signature of it, so this node stays with the session until it ends.
    pub fn may_have_left(&self) -> bool {
        self.admitted && self.share_held
    }
}

/// A request at work.
pub(super) struct Request {
    pub prepared: Arc<Prepared>,
    pub waiters: Vec<Waiter>,
    /// The session that is to answer it.
    pub session: Option<Attempt>,
    /// How this node coordinates, or would if the session of another node fails; `None` where none of its clients asked.
    pub coordination: Option<Coordination>,
    /// An answer is on its way to the disk.
    pub storing: bool,
}

impl Request {
    /// Answers everyone who waits.
    pub fn answer(self, outcome: &Result<Signed, Failure>) {
        answer(self.waiters, outcome);
    }
}

/// Answers everyone of `waiters`.
pub(super) fn answer(waiters: Vec<Waiter>, outcome: &Result<Signed, Failure>) {
    for waiter in waiters {
        // A client that no longer waits finds the answer stored.
        let _ = waiter.send(outcome.clone());
    }
}

/// What to do after a session for a request has failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Try again, without these peers, after a pause.
    Retry {
        without: Vec<NodeId>,
        pause_ms: u64,
    },
    /// Read in again what the wallet is, after a pause, and try again.
    Renew {
        pause_ms: u64,
    },
    Fail,
}

/// Whether a session failed because nodes are away that have no part in it: an earlier session of the request may have its
/// answer, and they were its signers. Other quorums would wait for the same nodes.
pub(super) fn waits_for_others(aborted: &Aborted, sheet: &SheetContext) -> bool {
    let is_outside = |&culprit: &NodeId| sheet.sheet.index_of(culprit).is_none();
    aborted.code == Code::PeerUnavailable && !aborted.culprits.is_empty() && aborted.culprits.iter().all(is_outside)
}

/// Decides whether another session may answer the request.
pub(super) fn after_abort(
    aborted: &Aborted,
    coordination: &Coordination,
    on_peer_failure: OnPeerFailure,
    now_ms: u64,
) -> Next {
    let pause_ms = BUSY_PAUSE_MS * u64::from(coordination.attempt);
    let time_left = now_ms.saturating_add(pause_ms) < coordination.deadline_ms;
    if !time_left || coordination.attempt >= MAX_ATTEMPTS {
        return Next::Fail;
    }
    let mut without = coordination.without.clone();
    match aborted.code {
        // A participant runs the same request for another coordinator: its answer will be there soon.
        Code::SessionDuplicate | Code::Superseded => Next::Retry { without, pause_ms },
        // It will not sign before others have confirmed the wallet to it, or have dealt it a share again, and those others
        // can sign.
        Code::WalletQuarantined | Code::KeyNotFound if !aborted.culprits.is_empty() => {
            without.extend(aborted.culprits.iter().filter(|culprit| !coordination.without.contains(culprit)));
            Next::Retry { without, pause_ms: 0 }
        }
        // The wallet is being reshared, and the nodes learn of it one after the other.
        Code::SessionStale | Code::ReshareInProgress => Next::Renew { pause_ms },
        // Nobody's fault, and a fresh session has fresh randomness.
        Code::PeerUnavailable
        | Code::SessionTimeout
        | Code::ProtocolViolation
        | Code::PairMismatch
        | Code::Cancelled
            if on_peer_failure == OnPeerFailure::Retry && !aborted.culprits.is_empty() =>
        {
            without.extend(aborted.culprits.iter().filter(|culprit| !coordination.without.contains(culprit)));
            Next::Retry { without, pause_ms: 0 }
        }
        _ => Next::Fail,
    }
}

/// What a second session for a request does to a first that still runs.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Contest {
    /// The new one runs, the old one is cancelled.
    Join,
    /// The old one goes on.
    Stay,
}

/// Decides between the running session of a request and one that `proposer` proposes. When two nodes coordinate the
/// same request, the lower id goes on, so that all nodes decide alike, unless this node's share has left for the other
/// session already: it might be answered twice then. A coordinator that proposes again has given its own former session
/// up.
pub(super) fn contest(running_coordinator: NodeId, committed: bool, proposer: NodeId) -> Contest {
    if proposer == running_coordinator || (proposer < running_coordinator && !committed) {
        Contest::Join
    } else {
        Contest::Stay
    }
}

/// All requests at work, by their key.
#[derive(Default)]
pub(super) struct Requests(BTreeMap<RequestKey, Request>);

impl Requests {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// How many of them clients of this node wait for.
    pub fn of_clients(&self) -> usize {
        self.0.values().filter(|request| request.coordination.is_some()).count()
    }

    pub fn get_mut(&mut self, key: &RequestKey) -> Option<&mut Request> {
        self.0.get_mut(key)
    }

    pub fn insert(&mut self, key: RequestKey, request: Request) {
        self.0.insert(key, request);
    }

    pub fn remove(&mut self, key: &RequestKey) -> Option<Request> {
        self.0.remove(key)
    }

    /// The request that `session` is to answer.
    pub fn of_session(&mut self, session: SheetHash) -> Option<&mut Request> {
        self.0.values_mut().find(|request| request.session.as_ref().is_some_and(|a| a.sheet.hash == session))
    }

    /// The requests at work.
    pub fn iter(&self) -> impl Iterator<Item = &Request> {
        self.0.values()
    }

    /// Empties the table.
    pub fn take_all(&mut self) -> impl Iterator<Item = Request> {
        std::mem::take(&mut self.0).into_values()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn node(number: u128) -> NodeId {
        NodeId(Uuid::from_u128(number))
    }

    fn aborted(code: Code, culprits: &[u128]) -> Aborted {
        let culprits = culprits.iter().map(|&number| node(number)).collect();
        Aborted { code, culprits, round: 1, reported_by: None }
    }

    fn coordination(attempt: u32, deadline_ms: u64) -> Coordination {
        Coordination { attempt, without: vec![node(9)], last: None, deadline_ms, overdue: Timer::of(async {}) }
    }

    #[tokio::test]
    async fn abort__should_be_reported_unless_a_retry_is_configured_and_somebody_is_to_blame() {
        use OnPeerFailure::{Abort, Retry};
        let retry = |without: &[u128], pause_ms| Next::Retry {
            without: without.iter().map(|&number| node(number)).collect(),
            pause_ms,
        };
        for (code, culprits, mode, expected) in [
            (Code::PeerUnavailable, &[2][..], Abort, Next::Fail),
            (Code::PeerUnavailable, &[2], Retry, retry(&[9, 2], 0)),
            (Code::SessionTimeout, &[2, 9], Retry, retry(&[9, 2], 0)),
            (Code::SessionTimeout, &[], Retry, Next::Fail),
            (Code::Cancelled, &[2], Retry, retry(&[9, 2], 0)),
            (Code::Cancelled, &[], Retry, Next::Fail),
            (Code::KeyNotFound, &[2], Abort, retry(&[9, 2], 0)),
            (Code::KeyNotFound, &[], Retry, Next::Fail),
            (Code::WalletQuarantined, &[2], Abort, retry(&[9, 2], 0)),
            (Code::WalletQuarantined, &[], Abort, Next::Fail),
            (Code::RequestConflict, &[2], Retry, Next::Fail),
            (Code::SessionDuplicate, &[2], Abort, retry(&[9], 50)),
            (Code::Superseded, &[2], Abort, retry(&[9], 50)),
            (Code::SessionStale, &[2], Abort, Next::Renew { pause_ms: 50 }),
            (Code::ReshareInProgress, &[], Abort, Next::Renew { pause_ms: 50 }),
        ] {
            assert_eq!(after_abort(&aborted(code, culprits), &coordination(1, 1000), mode, 0), expected, "{code}");
        }
    }

    #[tokio::test]
    async fn retries__should_end_with_the_deadline_and_with_the_attempts() {
        let aborted = aborted(Code::SessionDuplicate, &[2]);
        assert_eq!(after_abort(&aborted, &coordination(1, 1000), OnPeerFailure::Retry, 950), Next::Fail);
        assert_eq!(after_abort(&aborted, &coordination(20, 1000), OnPeerFailure::Retry, 0), Next::Fail);
    }

    #[test]
    fn contest__should_be_won_by_the_lower_coordinator_on_all_nodes() {
        assert_eq!(contest(node(2), false, node(1)), Contest::Join);
        assert_eq!(contest(node(1), false, node(2)), Contest::Stay);
        assert_eq!(contest(node(1), false, node(1)), Contest::Join);
    }

    #[test]
    fn contest__should_be_lost_by_all_others_once_the_share_has_left() {
        assert_eq!(contest(node(2), true, node(1)), Contest::Stay);
        assert_eq!(contest(node(2), true, node(3)), Contest::Stay);
        assert_eq!(contest(node(2), true, node(2)), Contest::Join);
    }
}
