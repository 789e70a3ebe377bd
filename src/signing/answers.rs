//! Where a request's answer comes from: its session, or a participant that has it; and what is done with it.

use std::sync::Arc;

use ractor::ActorRef;

use super::Signed;
use super::actor::{SigningMsg, SigningState};
use super::admission::RequestKey;
use super::prepare::Prepared;
use super::work::Work;
use crate::error::{Code, Failure};
use crate::ids::{NodeId, SheetHash};
use crate::keys::Signature;
use crate::session::{Aborted, Outcome, SessionEnd, SessionMsg};
use crate::storage::Durability;
use crate::supervision::beside;

impl SigningState {
    /// A session ended.
    pub(super) fn ended(&mut self, myself: &ActorRef<SigningMsg>, end: SessionEnd<Signature>) {
        self.sessions.ended(end.session);
        match end.outcome {
            Outcome::Done(signature) => {
                self.signed += 1;
                let Some(request) = self.requests.of_session(end.session) else { return };
                request.storing = true;
                // Whoever answers a client must find the answer again after a power cut.
                let durability = if request.waiters.is_empty() { Durability::Buffered } else { Durability::Synced };
                let prepared = Arc::clone(&request.prepared);
                self.store(myself, prepared, Some(end.session), signature, durability);
            }
            Outcome::Aborted(aborted) => self.aborted(myself, end.session, aborted),
        }
    }

    /// A participant says that the request has its answer: take it, if it is one.
    pub(super) fn told(
        &mut self,
        myself: &ActorRef<SigningMsg>,
        from: NodeId,
        session: SheetHash,
        signature: Signature,
    ) {
        let Some(request) = self.requests.of_session(session) else { return };
        if request.session.as_ref().is_none_or(|attempt| attempt.sheet.sheet.index_of(from).is_none()) {
            tracing::debug!(peer = %from, %session, "an answer from a node that takes no part");
            return;
        }
        self.take_answer(myself, from, session, signature);
    }

    /// Checks and stores what `from` says is the answer to a session's request. The session is over.
    pub(super) fn take_answer(
        &mut self,
        myself: &ActorRef<SigningMsg>,
        from: NodeId,
        session: SheetHash,
        signature: Signature,
    ) {
        let Some(request) = self.requests.of_session(session) else { return };
        let (desk, prepared) = (self.desk.clone(), Arc::clone(&request.prepared));
        request.storing = true;
        let left = request.session.take();
        self.sessions.tell(session, SessionMsg::cancel(Code::Superseded));
        self.leave(left);
        beside(myself, async move {
            let (key, durability) = (prepared.key.clone(), Durability::Synced);
            if desk.verify(&prepared, signature).await.is_err() {
                return Work::FalseAnswer { key, from };
            }
            let result = desk.store(&prepared, signature, durability).await;
            Work::Stored { key, session: None, signature, durability, result }
        });
    }

    pub(super) fn store(
        &self,
        myself: &ActorRef<SigningMsg>,
        prepared: Arc<Prepared>,
        session: Option<SheetHash>,
        signature: Signature,
        durability: Durability,
    ) {
        let desk = self.desk.clone();
        beside(myself, async move {
            let result = desk.store(&prepared, signature, durability).await;
            Work::Stored { key: prepared.key.clone(), session, signature, durability, result }
        });
    }

    /// A signature is verified and stored, or not: the request is over.
    pub(super) fn stored(
        &mut self,
        myself: &ActorRef<SigningMsg>,
        key: RequestKey,
        session: Option<SheetHash>,
        signature: Signature,
        durability: Durability,
        result: Result<(), Failure>,
    ) {
        let Some(request) = self.requests.remove(&key) else { return };
        if result.is_ok() && durability == Durability::Buffered && !request.waiters.is_empty() {
            // A client has come since, and must find the answer again.
            self.store(myself, Arc::clone(&request.prepared), session, signature, Durability::Synced);
            self.requests.insert(key, request);
            return;
        }
        if let Some(attempt) = request.session.as_ref().filter(|attempt| Some(attempt.sheet.hash) != session) {
            self.sessions.tell(attempt.sheet.hash, SessionMsg::cancel(Code::Superseded));
        }
        let public_key = request.prepared.derived.public_key;
        request.answer(&result.map(|()| Signed { signature, public_key, session }));
    }

    /// A participant's claim that a request is answered does not hold.
    pub(super) fn false_answer(&mut self, myself: &ActorRef<SigningMsg>, key: RequestKey, from: NodeId) {
        let Some(request) = self.requests.get_mut(&key) else { return };
        request.storing = false;
        if request.session.is_some() {
            // Another session has taken the request on in the meantime.
            return;
        }
        let code = Code::ProtocolViolation;
        let aborted = Aborted { code, culprits: [from].into(), round: 0, reported_by: None };
        self.settle(myself, key, &aborted);
    }
}
