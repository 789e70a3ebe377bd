//! A session from the agreement on it to the moment at which this node's share of the signature leaves.

use std::collections::BTreeSet;
use std::sync::Arc;

use ractor::ActorRef;

use super::actor::{SigningMsg, SigningState};
use super::admission::{Admission, RequestKey};
use super::prepare::{Prepared, Refusal};
use super::requests::{Attempt, Contest, Request, contest};
use super::work::Work;
use crate::error::Code;
use crate::ids::{NodeId, SheetHash};
use crate::keys::Signature;
use crate::protocol::Party;
use crate::sabotage::{self, Flaw};
use crate::session::{Aborted, Hold, SessionMsg, SheetContext};
use crate::storage::Durability;
use crate::supervision::beside;

impl SigningState {
    /// Builds the engine of a session, and admits the request at the same time: what was read of it before it came into
    /// the table may be out of date.
    pub(super) fn run(&mut self, myself: &ActorRef<SigningMsg>, key: &RequestKey, sheet: Arc<SheetContext>) {
        let Some(request) = self.requests.get_mut(key) else { return };
        let prepared = Arc::clone(&request.prepared);
        if !request.admitted {
            let (desk, key, session, content) = (self.desk.clone(), key.clone(), sheet.hash, prepared.content);
            beside(myself, async move {
                let result = desk.admit(&key, content).await;
                Work::Admitted { key, session, result }
            });
        }
        let desk = self.desk.clone();
        beside(myself, async move {
            let result = desk.build(&sheet, prepared).await;
            Work::Built { sheet, result }
        });
    }

    /// Takes part in a session that a peer coordinates.
    pub(super) fn join(
        &mut self,
        myself: &ActorRef<SigningMsg>,
        from: NodeId,
        sheet: SheetContext,
        prepared: Prepared,
    ) -> Result<(), Refusal> {
        let (key, sheet) = (prepared.key.clone(), Arc::new(sheet));
        if self.sessions.knows(sheet.hash) {
            // The same proposal, once more.
            return Ok(());
        }
        if let Some(running) = self.requests.get_mut(&key) {
            if running.prepared.content != prepared.content {
                return Err(Code::RequestConflict.into());
            }
            if let Some(attempt) = &running.session {
                let committed = running.committed().is_some();
                if contest(attempt.sheet.sheet.coordinator, committed, from) == Contest::Stay {
                    return Err(Code::SessionDuplicate.into());
                }
                self.sessions.tell(attempt.sheet.hash, SessionMsg::Cancel(Code::Superseded));
            }
            // The wallet may have been reshared since the request came: the session is for what was checked with it.
            running.prepared = Arc::new(prepared);
            running.session = Some(Attempt::new(Arc::clone(&sheet)));
        } else {
            let request = Request {
                prepared: Arc::new(prepared),
                waiters: Vec::new(),
                session: Some(Attempt::new(Arc::clone(&sheet))),
                coordination: None,
                admitted: false,
            };
            self.requests.insert(key.clone(), request);
        }
        self.sessions.begin(&sheet);
        self.run(myself, &key, sheet);
        Ok(())
    }

    /// An engine is built: start its session.
    pub(super) async fn built(
        &mut self,
        myself: &ActorRef<SigningMsg>,
        sheet: Arc<SheetContext>,
        result: Result<(Box<dyn Party<Output = Signature>>, u8), Code>,
    ) {
        let hash = sheet.hash;
        if self.requests.of_session(hash).is_none() {
            // Another session took its place, or the answer came, while the engine was built.
            self.call_off(&sheet, Code::Superseded, &BTreeSet::new());
            return;
        }
        let me = self.args.identity.id();
        let called_off = self.sessions.called_off(hash).or_else(|| {
            let late = sheet.sheet.deadline_ms <= self.args.clock.now_ms();
            late.then(|| (Code::SessionTimeout, [me].into()))
        });
        let started = match (called_off, result) {
            (Some(why), _) => Err(why),
            (None, Ok((party, hold_from_round))) => {
                let hold = Hold { from_round: hold_from_round, told: Arc::new(self.args.myself.clone()) };
                let hold = Some(hold).filter(|_| !sabotage::has(Flaw::ReleasesEarly));
                let started = self.sessions.start(Arc::clone(&sheet), party, hold, myself.get_cell()).await;
                started.map_err(|error| {
                    tracing::error!(session = %hash, %error, "failed to start a session");
                    (Code::Internal, [me].into())
                })
            }
            (None, Err(code)) => Err((code, [me].into())),
        };
        if let Err((code, culprits)) = started {
            self.call_off(&sheet, code, &culprits);
            self.aborted(myself, hash, Aborted { code, culprits, round: 0, reported_by: None });
        }
    }

    /// Tells the others that a session which this node agreed to does not start here.
    fn call_off(&mut self, sheet: &SheetContext, code: Code, culprits: &BTreeSet<NodeId>) {
        self.sessions.ended(sheet.hash);
        self.sessions.post().abort(sheet, code, culprits, 0);
    }

    /// A session's share is ready to leave.
    pub(super) fn share_held(&mut self, session: SheetHash) {
        let Some(request) = self.requests.of_session(session) else { return };
        if let Some(attempt) = &mut request.session {
            attempt.share_held = true;
        }
        if request.committed().is_some() {
            self.sessions.tell(session, SessionMsg::Release);
        }
    }

    /// A request's content is durable: let the last round go. Or it must not run.
    pub(super) fn admitted(
        &mut self,
        myself: &ActorRef<SigningMsg>,
        key: &RequestKey,
        session: SheetHash,
        result: Result<Admission, Code>,
    ) {
        // What was found out for an earlier session may be out of date.
        let Some(request) = self.requests.of_session(session) else { return };
        match result {
            Ok(Admission::New | Admission::Again) => {
                request.admitted = true;
                if let Some(attempt) = request.committed() {
                    self.sessions.tell(attempt.sheet.hash, SessionMsg::Release);
                }
            }
            Ok(Admission::Answered(signature)) => {
                self.sessions.tell(session, SessionMsg::Cancel(Code::Superseded));
                request.session = None;
                if request.waiters.is_empty() {
                    self.requests.remove(key);
                } else {
                    let prepared = Arc::clone(&request.prepared);
                    self.store(myself, prepared, None, signature, Durability::Synced);
                }
            }
            Ok(Admission::Conflict) => self.give_up(session, Code::RequestConflict),
            Err(code) => self.give_up(session, code),
        }
    }

    /// Ends a session, and with it the request; one whose engine is still being built, when that is over.
    fn give_up(&mut self, session: SheetHash, code: Code) {
        if !self.sessions.call_off(session, code, [self.args.identity.id()].into()) {
            self.sessions.tell(session, SessionMsg::Cancel(code));
        }
    }
}
