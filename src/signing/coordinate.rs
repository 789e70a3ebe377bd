//! How a request of this node's clients gets its sessions, its retries, and its answer at the latest.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ractor::ActorRef;

use super::Signed;
use super::actor::{SigningMsg, SigningState};
use super::admission::{Admission, RequestKey};
use super::prepare::{Prepared, SigningArgs};
use super::requests::{Attempt, Coordination, Next, Request, Timer, Waiter, after_abort, answer, waits_for_others};
use super::work::Work;
use crate::error::{Code, Failure};
use crate::ids::{NodeId, SheetHash};
use crate::registry::{View, choose_quorum};
use crate::sabotage::{self, Flaw};
use crate::session::{Aborted, Draft, SheetContext};
use crate::storage::Durability;
use crate::supervision::beside;
use crate::wire::sheet::Task;

/// How long after its deadline a request is given up: a session of this node, with the same deadline, reports first.
const OVERDUE_AFTER: Duration = Duration::from_secs(1);
/// Why a request is refused whose id has another content.
const CONFLICT: &str = "the request id was used with other content";

impl SigningState {
    /// A client's request is checked and read in: answer it, attach it, or run it.
    pub(super) fn prepared(&mut self, myself: &ActorRef<SigningMsg>, prepared: Prepared, reply: Waiter) {
        let conflict = || Failure::new(Code::RequestConflict, CONFLICT);
        match prepared.admission {
            Admission::Answered(signature) => {
                let public_key = prepared.derived.public_key;
                let _ = reply.send(Ok(Signed { signature, public_key, session: None }));
                return;
            }
            Admission::Conflict => {
                let _ = reply.send(Err(conflict()));
                return;
            }
            Admission::New | Admission::Again(_) => {}
        }
        let deadline_ms = self.args.clock.deadline_ms(self.args.deadline);
        let overdue = self.overdue_later(myself, prepared.key.clone(), deadline_ms);
        let coordination = Coordination { attempt: 0, without: Vec::new(), last: None, deadline_ms, overdue };
        if let Some(running) = self.requests.get_mut(&prepared.key) {
            if sabotage::has(Flaw::DropsDuplicateWaiters) {
                return;
            }
            if running.prepared.content == prepared.content {
                running.waiters.push(reply);
                running.coordination.get_or_insert(coordination);
            } else {
                let _ = reply.send(Err(conflict()));
            }
            return;
        }
        let key = prepared.key.clone();
        let request = Request {
            prepared: Arc::new(prepared),
            waiters: vec![reply],
            session: None,
            coordination: Some(coordination),
            storing: false,
        };
        self.requests.insert(key.clone(), request);
        self.launch(myself, &key);
    }

    /// Has the clients of a request answered some time after its deadline, should nothing else have done so.
    fn overdue_later(&self, myself: &ActorRef<SigningMsg>, key: RequestKey, deadline_ms: u64) -> Timer {
        let at = self.args.clock.instant_of(deadline_ms) + OVERDUE_AFTER;
        let myself = myself.clone();
        Timer::of(async move {
            tokio::time::sleep_until(at).await;
            // Signing that is gone has told its clients so.
            let _ = myself.cast(Work::Overdue { key, deadline_ms }.into());
        })
    }

    /// The clients of a request have waited long enough: their answer would come from another node's session, which has
    /// its own time.
    pub(super) fn overdue(&mut self, key: &RequestKey, deadline_ms: u64) {
        let Some(request) = self.requests.get_mut(key) else { return };
        if request.coordination.as_ref().is_none_or(|coordination| coordination.deadline_ms != deadline_ms) {
            // That was an earlier run of the same request.
            return;
        }
        let last = request.coordination.take().and_then(|coordination| coordination.last);
        // Between two sessions, it is the first of them that tells why there is no answer.
        let aborted = last.filter(|_| request.session.is_none()).unwrap_or_else(|| {
            let culprits = request.session.iter().map(|attempt| attempt.sheet.sheet.coordinator).collect();
            Aborted { code: Code::SessionTimeout, culprits, round: 0, reported_by: None }
        });
        let waiters = std::mem::take(&mut request.waiters);
        answer(waiters, &Err(failure_of(&aborted)));
        if request.session.is_none() {
            self.requests.remove(key);
        }
    }

    /// Starts a session for a request of this node's clients.
    pub(super) fn launch(&mut self, myself: &ActorRef<SigningMsg>, key: &RequestKey) {
        self.turn = self.turn.wrapping_add(1);
        let Some(request) = self.requests.get_mut(key) else { return };
        if request.session.is_some() || request.storing {
            // A session of another node took it on in the meantime, or it has its answer.
            return;
        }
        let Some(coordination) = &mut request.coordination else { return };
        coordination.attempt += 1;
        let prepared = Arc::clone(&request.prepared);
        match propose(&self.args, &self.view, &prepared, coordination, self.turn) {
            Ok(sheet) => {
                let sheet = Arc::new(sheet);
                request.session = Some(Attempt::new(Arc::clone(&sheet)));
                self.sessions.begin(&sheet);
                self.sessions.post().tell_others(&sheet, || sheet.proposal());
                self.run(myself, key, sheet);
            }
            Err(failure) => {
                self.fail(key, &failure);
            }
        }
    }

    /// A session failed.
    pub(super) fn aborted(&mut self, myself: &ActorRef<SigningMsg>, session: SheetHash, aborted: Aborted) {
        self.aborted += 1;
        self.last_abort = Some(aborted.clone());
        let peers = &self.args.peers;
        self.causes.count(aborted.code, &aborted.culprits, |culprit| peers.get(culprit).is_some());
        let Some(request) = self.requests.of_session(session) else { return };
        let left = request.session.take();
        let key = request.prepared.key.clone();
        let elsewhere = left.as_ref().is_some_and(|attempt| waits_for_others(&aborted, &attempt.sheet));
        self.leave(left);
        if elsewhere {
            self.fail(&key, &answer_elsewhere(&aborted));
        } else {
            self.settle(myself, key, &aborted);
        }
    }

    /// A request has lost its session: try again, or tell the clients.
    pub(super) fn settle(&mut self, myself: &ActorRef<SigningMsg>, key: RequestKey, aborted: &Aborted) {
        let Some(request) = self.requests.get_mut(&key) else { return };
        let next = match &mut request.coordination {
            Some(coordination) => {
                let now_ms = self.args.clock.now_ms();
                let next = after_abort(aborted, coordination, self.args.on_peer_failure, now_ms);
                if let Next::Retry { without, .. } = &next {
                    coordination.without.clone_from(without);
                }
                coordination.last = Some(aborted.clone());
                next
            }
            None => Next::Fail,
        };
        match next {
            Next::Retry { pause_ms, .. } => beside(myself, async move {
                tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                Work::Relaunch(key)
            }),
            Next::Renew { pause_ms } => {
                let (desk, request) = (self.desk.clone(), request.prepared.request.clone());
                beside(myself, async move {
                    tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                    Work::Renewed { key, result: desk.prepare_again(request).await.map(Box::new) }
                });
            }
            Next::Fail => self.fail(&key, &failure_of(aborted)),
        }
    }

    /// A request has failed.
    fn fail(&mut self, key: &RequestKey, failure: &Failure) {
        if let Some(request) = self.requests.remove(key) {
            request.answer(&Err(failure.clone()));
        }
    }

    /// A request is read in again.
    pub(super) fn renewed(
        &mut self,
        myself: &ActorRef<SigningMsg>,
        key: &RequestKey,
        result: Result<Box<Prepared>, Failure>,
    ) {
        let idle = |request: &&mut Request| request.session.is_none() && !request.storing;
        let Some(request) = self.requests.get_mut(key).filter(idle) else { return };
        match result {
            Ok(prepared) => match prepared.admission {
                Admission::New | Admission::Again(_) => {
                    request.prepared = Arc::new(*prepared);
                    self.launch(myself, key);
                }
                Admission::Answered(signature) => {
                    request.storing = true;
                    self.store(myself, Arc::new(*prepared), None, signature, Durability::Synced);
                }
                Admission::Conflict => self.fail(key, &Failure::new(Code::RequestConflict, CONFLICT)),
            },
            Err(failure) => self.fail(key, &failure),
        }
    }
}

/// Chooses the signers and writes the sheet.
fn propose(
    args: &SigningArgs,
    view: &View,
    prepared: &Prepared,
    coordination: &Coordination,
    turn: u64,
) -> Result<SheetContext, Failure> {
    let request = &prepared.request;
    let scheme = request.scheme();
    let not_here = || Failure::new(Code::KeyNotFound, "the wallet has no such key on this node");
    let key = prepared.certificate.record().key(scheme).ok_or_else(not_here)?;
    let threshold = key.group.threshold();
    let participants = choose_quorum(view, scheme, &key.committee, threshold.signers(), &coordination.without, turn)
        .map_err(|error| Failure::new(Code::NotMajority, error.to_string()))?;
    let task = Task::Sign {
        wallet: prepared.key.wallet.clone(),
        scheme,
        generation: key.generation,
        threshold,
        request_id: prepared.key.request.clone(),
        path: request.path(),
        tweak: request.tweak(),
        message: request.message().to_vec(),
        request: request.bytes().to_vec(),
    };
    let (attempt, deadline_ms) = (coordination.attempt, coordination.deadline_ms);
    SheetContext::draft(Draft { task, participants, attempt, deadline_ms }, &args.cluster, &args.identity)
}

/// How a client is told that the answer to its request may be with nodes that are away.
fn answer_elsewhere(aborted: &Aborted) -> Failure {
    let reason = format!(
        "an earlier session may have signed this request, and its signer {} cannot be asked{}: ask again when it is back",
        listed(&aborted.culprits),
        said_by(aborted)
    );
    Failure { code: aborted.code, reason, culprits: aborted.culprits.clone() }
}

fn said_by(aborted: &Aborted) -> String {
    aborted.reported_by.map_or_else(String::new, |peer| format!(", as node {peer} says"))
}

fn listed(nodes: &BTreeSet<NodeId>) -> String {
    nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// How a client is told of a failed session.
fn failure_of(aborted: &Aborted) -> Failure {
    let said = said_by(aborted);
    let who = match aborted.culprits.len() {
        0 => String::new(),
        _ => format!(" (node {})", listed(&aborted.culprits)),
    };
    let what = match aborted.code {
        Code::PeerUnavailable => "a peer disappeared",
        Code::SessionTimeout => "a peer did not answer in time",
        Code::ProtocolViolation => "a peer broke the protocol",
        Code::Equivocation => "peers disagree on what was broadcast",
        Code::PairMismatch => "a pair of nodes must renew its setup",
        Code::PairBanned => "a pair of nodes is banned",
        _ => "the session failed",
    };
    let reason = format!("{what} in round {}{who}{said}", aborted.round);
    Failure { code: aborted.code, reason, culprits: aborted.culprits.clone() }
}
